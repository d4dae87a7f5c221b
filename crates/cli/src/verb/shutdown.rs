//! `shutdown`: ends the daemon, and returns when it is gone.

use clap::Args;
use orchd_api::ShutdownMode;
use orchd_client::{Client, Error, Settings};
use std::time::Duration;

use crate::context::Context;
use crate::documents::Ended;
use crate::{Exit, Failure};

/// Between two looks whether the daemon is gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
#[command(override_usage = "orchctl shutdown [--wait | --cancel]")]
pub(crate) struct Shutdown {
    /// First wait until the running tasks have ended
    #[arg(long, conflicts_with = "cancel")]
    wait: bool,
    /// Cancel the running tasks
    #[arg(long)]
    cancel: bool,
}

impl Shutdown {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mode = match (self.wait, self.cancel) {
            (true, _) => ShutdownMode::Wait,
            (false, true) => ShutdownMode::Cancel,
            (false, false) => ShutdownMode::Leave,
        };
        let client = context.client().await?;
        let pid = client.daemon().await?.pid;
        match client.shutdown(mode).await {
            // It went before it answered.
            Ok(()) | Err(Error::Io(_)) => {}
            Err(error) => return Err(error.into()),
        }
        while is_there(&client, pid).await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if context.json {
            context.screen.json(&Ended { shutdown: mode, pid })?;
        }
        Ok(Exit::DONE)
    }
}

/// Whether the same daemon still answers; a supervisor may have started the next one already.
async fn is_there(client: &Client, pid: u32) -> bool {
    let settings = Settings { reconnect_for: Duration::ZERO, ..Settings::default() };
    match Client::connect_with(client.socket(), settings).await {
        Ok(client) => client.daemon().await.is_ok_and(|daemon| daemon.pid == pid),
        Err(_) => false,
    }
}
