//! `shutdown`: ends the daemon, and returns when it is gone.

use clap::Args;
use orchd_api::{DaemonState, ShutdownMode};
use orchd_client::{Client, Error, Settings};
use std::io::{self, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

use crate::command_line::PROGRAM;
use crate::context::Context;
use crate::documents::Ended;
use crate::interrupt::undisturbed;
use crate::{Exit, Failure, text};

/// Between two looks whether the daemon is gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
#[command(override_usage = "orchctl shutdown [--wait | --cancel | --abort]")]
pub(crate) struct Shutdown {
    /// First wait until the running tasks have ended
    #[arg(long, conflicts_with_all = ["cancel", "abort"])]
    wait: bool,
    /// Cancel the running tasks
    #[arg(long, conflicts_with = "abort")]
    cancel: bool,
    /// End a shutdown that still waits: the daemon goes on
    #[arg(long)]
    abort: bool,
}

impl Shutdown {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mode = match (self.wait, self.cancel, self.abort) {
            (true, _, _) => ShutdownMode::Wait,
            (_, true, _) => ShutdownMode::Cancel,
            (_, _, true) => ShutdownMode::Abort,
            (false, false, false) => ShutdownMode::Leave,
        };
        let client = context.client().await?;
        let daemon = client.daemon().await?;
        let pid = daemon.pid;
        let mut interrupt = undisturbed(|| signal(SignalKind::interrupt()))?;
        match client.shutdown(mode).await {
            // It went before it answered.
            Ok(()) | Err(Error::Io(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if mode == ShutdownMode::Abort {
            if context.json {
                context.screen.json(&Ended { shutdown: mode, pid })?;
            } else if !context.quiet {
                context.screen.line("the daemon goes on")?;
            }
            return Ok(Exit::DONE);
        }
        if mode == ShutdownMode::Wait && daemon.running > 0 && !context.quiet {
            tell(&format!("waits for {}; nothing new starts", tasks(daemon.running)));
        }
        let went_on = tokio::select! {
            went_on = until_gone(&client, pid) => went_on,
            _ = interrupt.recv() => return Ok(left(&client, pid).await),
        };
        if went_on {
            tell("the daemon goes on: somebody has aborted the shutdown");
            return Ok(Exit::REFUSED);
        }
        if context.json {
            context.screen.json(&Ended { shutdown: mode, pid })?;
        }
        Ok(Exit::DONE)
    }
}

/// Who does not wait any more is told what goes on without him.
async fn left(client: &Client, pid: u32) -> Exit {
    if let Some((state, running)) = look(client, pid).await
        && state == DaemonState::ShuttingDown
    {
        let running = tasks(running);
        tell(&format!(
            "the daemon still shuts down: nothing new starts, and it ends after {running}\n\
             hint: {PROGRAM} shutdown --abort lets it go on; {PROGRAM} shutdown ends it now, and tasks stay with their worker"
        ));
    }
    Exit::INTERRUPTED
}

fn tasks(running: u64) -> String {
    text::count(usize::try_from(running).unwrap_or(usize::MAX), "running task")
}

fn tell(text: &str) {
    // When standard error is closed there is nobody to tell.
    writeln!(io::stderr(), "{PROGRAM}: {text}").ok();
}

/// Waits until the daemon is gone; true when it goes on after all.
async fn until_gone(client: &Client, pid: u32) -> bool {
    loop {
        match look(client, pid).await {
            None => return false,
            Some((DaemonState::ShuttingDown, _)) => tokio::time::sleep(LOOK_EVERY).await,
            Some((DaemonState::Serving | DaemonState::Paused, _)) => return true,
        }
    }
}

/// What the same daemon does, if it still answers; a supervisor may have started the next one already.
async fn look(client: &Client, pid: u32) -> Option<(DaemonState, u64)> {
    let settings = Settings { reconnect_for: Duration::ZERO, ..Settings::default() };
    let client = Client::connect_with(client.socket(), settings).await.ok()?;
    let daemon = client.daemon().await.ok().filter(|daemon| daemon.pid == pid)?;
    Some((daemon.state, daemon.running))
}
