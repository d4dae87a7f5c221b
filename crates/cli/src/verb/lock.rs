//! `lock`: holds claims while a command runs in the foreground, flock(1) for any resource.
//!
//! The claims are held as long as this process lives, so it stays beside the command and passes signals on.

use clap::{Args, ValueEnum};
use orchd_client::api::StopCause;
use orchd_client::{Claim, ClaimGuard, ClaimOptions, Client, Error, Loss, Priority};
use orchd_model::{Code, ErrorType, Outcome, Span};
use rustix::process::Signal;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::command_line::PROGRAM;
use crate::context::Context;
use crate::foreground::{Foreground, Happened, Signals, cannot_run};
use crate::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct Lock {
    /// What to hold: TYPE[:IDENTIFIER][:read|write|exclusive][=AMOUNT], such as lock:deploy:exclusive; may be
    /// given again: all or nothing
    #[arg(long, value_name = "CLAIM", required = true)]
    claim: Vec<Claim>,
    /// Name shown to people [default: the command's file name]
    #[arg(long)]
    name: Option<String>,
    /// Class to wait in: critical, high, normal, low
    #[arg(long, short, value_name = "CLASS", default_value_t)]
    priority: Priority,
    /// Give up after waiting so long
    #[arg(long, value_name = "DUR", conflicts_with = "no_wait")]
    wait_timeout: Option<Span>,
    /// Give up at once when it is not free
    #[arg(long)]
    no_wait: bool,
    /// What becomes of the command when the claims are lost or wanted back
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    on_loss: OnLoss,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What becomes of the command when its claims no longer protect it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OnLoss {
    /// It is ended: SIGTERM, and SIGKILL after the daemon's grace
    #[default]
    Stop,
    /// It goes on without them
    Continue,
}

impl Lock {
    /// With `--json` the command's output goes to standard error, and the task that stood for the claims is the
    /// one document on standard output.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let wait = if self.no_wait { Some(Duration::ZERO) } else { self.wait_timeout.map(Into::into) };
        let name = self.name.clone().unwrap_or_else(|| file_name(&self.command));
        let options = ClaimOptions { name: Some(name), priority: self.priority, wait };
        let client = context.client().await?;
        // From here on none is missed: what comes when the claims are there is meant for the command.
        let mut signals = Signals::listen()?;
        let guard = tokio::select! {
            guard = self.claim(&client, options) => guard?,
            signal = signals.next() => return Ok(gave_up(signal)),
        };
        let task = guard.task();
        let variables = [
            ("ORCHD_TASK_ID", task.to_string().into()),
            ("ORCHD_TOKEN", guard.token().to_string().into()),
            ("ORCHD_SOCKET", std::path::absolute(client.socket())?.into_os_string()),
        ];
        let (exit, outcome) = match Foreground::start(&self.command, &variables, context.json, signals) {
            Ok(command) => self.stand_by(command, &guard).await?,
            Err(error) => {
                let message = format!("cannot run {}: {error}", self.command[0].display());
                tell(&message);
                let not_found = error.kind() == io::ErrorKind::NotFound;
                let kind = if not_found { ErrorType::NotFound } else { ErrorType::PermissionDenied };
                (cannot_run(&error), Outcome::failed(kind, message))
            }
        };
        // The command has ended, and that is what counts.
        let away = guard.daemon_away();
        let is_away = tokio::select! {
            released = guard.release_as(outcome) => match released {
                Ok(()) => false,
                // It was told before.
                Err(error) if error.code().is_some() => false,
                Err(_) => true,
            },
            () = away => true,
            () = tokio::time::sleep(context.global.connect_timeout.into()) => true,
        };
        if is_away {
            tell(
                "the daemon is away: the claims are free when it is back and finds that this process has ended",
            );
        } else if context.json {
            context.screen.json(&client.get(task).await?)?;
        }
        Ok(exit)
    }

    /// Waits for the claims; when its place is lost, behind those that came meanwhile.
    async fn claim(&self, client: &Client, mut options: ClaimOptions) -> Result<ClaimGuard, Error> {
        let (begun, wait) = (Instant::now(), options.wait);
        loop {
            match client.claim_with(self.claim.clone(), options.clone()).await {
                Err(Error::Refused(refusal)) if refusal.code == Code::StaleToken => {
                    tell(&format!("{}; queued anew", refusal.message));
                    options.wait = wait.map(|wait| wait.saturating_sub(begun.elapsed()));
                }
                ended => return ended,
            }
        }
    }

    /// Waits for the end of the command, and passes on what is meant for it.
    async fn stand_by(
        &self,
        mut command: Foreground,
        guard: &ClaimGuard,
    ) -> Result<(Exit, Outcome), Failure> {
        let mut told = false;
        loop {
            let loss = async { if told { std::future::pending().await } else { guard.lost().await } };
            let happened = tokio::select! {
                happened = command.happens() => happened?,
                loss = loss => Happened::Lost(loss),
            };
            match happened {
                Happened::Ended(exit, outcome) => return Ok((exit, outcome)),
                Happened::Signal(signal) => command.pass_on(signal),
                Happened::Overdue => command.kill(),
                Happened::Lost(loss) => {
                    told = true;
                    let (why, name) = (words(&loss), self.command[0].display());
                    match self.on_loss {
                        OnLoss::Stop => {
                            tell(&format!("{why}: {name} is ended"));
                            command.end_within(guard.grace());
                        }
                        OnLoss::Continue => tell(&format!("{why}: {name} goes on")),
                    }
                }
            }
        }
    }
}

/// How a wait for claims ends with a signal.
fn gave_up(signal: Signal) -> Exit {
    match signal {
        Signal::INT | Signal::TERM | Signal::HUP => Exit::INTERRUPTED,
        other => Exit::of_signal(other.as_raw()),
    }
}

fn words(loss: &Loss) -> String {
    match loss {
        Loss::Wanted(StopCause::Cancel) => "the claims are wanted back, somebody cancelled them".to_owned(),
        Loss::Wanted(StopCause::Timeout | StopCause::Deadline) => {
            "the claims are wanted back, their time is over".to_owned()
        }
        Loss::Gone(refusal) => format!("the claims are lost, others may have them: {}", refusal.message),
    }
}

fn tell(text: &str) {
    // When standard error is closed there is nobody to tell.
    writeln!(io::stderr(), "{PROGRAM}: {text}").ok();
}

fn file_name(command: &[OsString]) -> String {
    let program = command.first().map(Path::new);
    let file = program.and_then(Path::file_name).map(|file| file.to_string_lossy().into_owned());
    file.filter(|name| !name.is_empty()).unwrap_or_else(|| "lock".to_owned())
}
