//! The configuration that holds now. Reading it again replaces the whole; whoever has begun with the former
//! one goes on with it.

use anyhow::{Context, Result};
use orchd_api::ToWorker;
use orchd_core::Command;
use parking_lot::RwLock;
use std::sync::Arc;

use crate::config::{Config, Flags, Policy};
use crate::engine::Request;
use crate::http::Shell;
use crate::logs::Logs;

/// The configuration, and what it means for tasks.
pub struct Live {
    now: RwLock<(Arc<Config>, Arc<Policy>)>,
}

impl Live {
    /// Begins with a configuration.
    ///
    /// # Errors
    /// When its retry defaults make no sense.
    pub fn new(config: Config) -> Result<Self> {
        let policy = Policy::new(&config).context("in [defaults]")?;
        Ok(Self { now: RwLock::new((Arc::new(config), Arc::new(policy))) })
    }

    /// What is configured.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.now.read().0)
    }

    /// The daemon in a few words, for a service manager.
    pub fn status(&self) -> String {
        let config = self.config();
        format!("listening on {}, {} slots", config.socket.display(), config.slots)
    }

    /// What that means for a task.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.now.read().1)
    }
}

/// Opens the log and reads the configuration again. One that is wrong changes nothing.
///
/// # Errors
/// Everything that is wrong with it.
pub async fn reload(shell: &Arc<Shell>, flags: &Flags, logs: &Logs) -> Result<()> {
    logs.reopen();
    let flags = flags.clone();
    let loaded = tokio::task::spawn_blocking(move || Config::load(&flags));
    let mut config = loaded.await.context("the configuration could not be read")??;
    let policy = Arc::new(Policy::new(&config).context("in [defaults]")?);
    logs.show(&config.log)?;
    let former = shell.live.config();
    for key in config.fixed_changes(&former) {
        tracing::warn!(key, "a change that takes effect at the next start only");
    }
    // What is in force stays what it was, so that the next reload tells the same again.
    config.keep_fixed(&former);
    crate::args::warn(&config);
    let config = Arc::new(config);
    *shell.live.now.write() = (Arc::clone(&config), policy);
    let command = Command::Configure(Box::new(config.core.clone()));
    // The answer goes through the writer, which so learns that something may be due earlier.
    shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    shell.send(Request::HoldBack(crate::load_guard::at_first(&config.load_guard))).await?;
    if config.access.lets_others_in() != former.access.lets_others_in() {
        crate::socket::share(&config.socket, config.access.lets_others_in())?;
    }
    if config.slots != former.slots {
        resize(shell, config.slots).await?;
    }
    tracing::info!(slots = config.slots, "the configuration has been read again");
    Ok(())
}

/// Every worker that runs processes gets another number of slots.
async fn resize(shell: &Arc<Shell>, slots: u32) -> Result<()> {
    for worker in shell.sessions.resizable() {
        shell.sessions.send(worker, ToWorker::Slots { slots });
        let command = Command::Resize { worker, slots };
        shell.send(Request::Command { command, answer: None }).await?;
    }
    Ok(())
}
