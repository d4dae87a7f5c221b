//! `doctor`: whether all that orchd needs is there, with or without a daemon that answers.

use clap::Args;
use orchd_api::DaemonState;
use orchd_client::{Client, Error, default_socket};
use orchd_model::Code;
use std::path::PathBuf;

use crate::context::Context;
use crate::diagnosis::{Check, Diagnosis, Verdict};
use crate::screen::Tint;
use crate::surroundings::{AS_ADMIN, Surroundings, state_dir};
use crate::{Exit, Failure, text};

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Leave out the look through the whole store, which takes time that grows with its size
    #[arg(long)]
    quick: bool,
}

impl Doctor {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut checks = Vec::new();
        let reached = context.client().await;
        checks.push(socket(context, reached.as_ref().err()));
        let mut place = state_dir();
        let mut pid = None;
        if let Ok(client) = &reached {
            let daemon = client.daemon().await?;
            (place, pid) = (Some(PathBuf::from(&daemon.state_dir)), Some(daemon.pid));
            checks.push(version(&daemon.version, daemon.pid));
            checks.push(starts(daemon.state, daemon.running));
        }
        let enforced = match &reached {
            Ok(client) => enforced(client).await,
            Err(_) => None,
        };
        let surroundings = Surroundings { state_dir: place, daemon: pid };
        checks.push(surroundings.lock());
        checks.push(surroundings.disk());
        checks.push(surroundings.cgroup(enforced.as_deref()));
        if let Ok(client) = &reached {
            checks.push(workers(client).await);
        }
        match &reached {
            _ if self.quick => {}
            Ok(client) => checks.push(store(client, &surroundings).await),
            Err(_) => checks.push(surroundings.store()),
        }
        let healthy = !checks.iter().any(|check| check.verdict == Verdict::Failed);
        let diagnosis = Diagnosis { healthy, checks };
        print(context, &diagnosis)?;
        Ok(match &reached {
            Err(failure) => failure.exit(),
            Ok(_) if healthy => Exit::DONE,
            Ok(_) => Exit::UNSUCCESSFUL,
        })
    }
}

fn print(context: &Context, diagnosis: &Diagnosis) -> Result<(), Failure> {
    if context.json {
        context.screen.json(diagnosis)?;
        return Ok(());
    }
    if context.quiet {
        let mut failed = diagnosis.checks.iter().filter(|check| check.verdict == Verdict::Failed);
        failed.try_for_each(|check| context.screen.line(check.name))?;
        return Ok(());
    }
    for check in &diagnosis.checks {
        let (word, tint) = match check.verdict {
            Verdict::Ok => ("ok", Tint::Good),
            Verdict::Warning => ("warning", Tint::Waiting),
            Verdict::Failed => ("failed", Tint::Bad),
        };
        let word = context.screen.tinted(tint, &format!("{word:8}"));
        let head = format!("{word} {:10} ", check.name);
        context.screen.beside(&head, COLUMNS, &text::plain(&check.found))?;
        if let Some(hint) = &check.hint {
            let blank = " ".repeat(COLUMNS);
            context.screen.beside(&blank, COLUMNS, &format!("hint: {}", text::plain(hint)))?;
        }
    }
    Ok(())
}

/// How wide the verdict and the name of a check are.
const COLUMNS: usize = 20;

fn socket(context: &Context, failure: Option<&Failure>) -> Check {
    let named = context.global.socket.clone().filter(|path| !path.as_os_str().is_empty());
    let path = named.unwrap_or_else(default_socket);
    let Some(failure) = failure else {
        return Check::ok("socket", format!("{} answers", path.display()));
    };
    let told = failure.text("");
    let mut lines = told.trim_start_matches(": ").lines();
    let check = Check::failed("socket", lines.next().unwrap_or_default());
    match lines.next().and_then(|line| line.strip_prefix("hint: ")) {
        Some(hint) => check.hint(hint),
        None if matches!(failure, Failure::Client(Error::Unreachable { .. })) && !path.exists() => {
            check.hint("start it with: orchd")
        }
        None => check,
    }
}

fn version(daemon: &str, pid: u32) -> Check {
    let ours = env!("CARGO_PKG_VERSION");
    let found = format!("orchd {daemon}, pid {pid}; orchctl {ours}");
    if daemon == ours {
        return Check::ok("versions", found);
    }
    Check::warning("versions", found).hint("they speak the same API, but one of the two is older: upgrade it")
}

/// Whether new tasks start.
fn starts(state: DaemonState, running: u64) -> Check {
    let running = text::count(usize::try_from(running).unwrap_or(usize::MAX), "task");
    match state {
        DaemonState::Serving => Check::ok("daemon", format!("serving, {running} running")),
        DaemonState::Paused => {
            let check = Check::warning("daemon", format!("everything is paused, {running} running"));
            check.hint("orchctl resume ends it")
        }
        DaemonState::ShuttingDown => {
            let check =
                Check::warning("daemon", format!("shutting down: nothing new starts, {running} running"));
            check.hint("orchctl shutdown --abort lets it go on")
        }
    }
}

/// A daemon that is not well may refuse what it is asked; that is a finding, too.
fn refused(name: &'static str, error: &Error) -> Check {
    Check::failed(name, error.to_string())
}

async fn workers(client: &Client) -> Check {
    let workers = match client.workers().await {
        Ok(workers) => workers,
        Err(error) => return refused("workers", &error),
    };
    let connected = workers.iter().filter(|worker| worker.connected_at.is_some());
    let slots: u32 = connected.clone().map(|worker| worker.slots).sum();
    let count = connected.count();
    if count == 0 {
        let check = Check::failed("workers", "no worker is connected: nothing runs");
        return check.hint("the end of worker.log in the state directory tells why");
    }
    Check::ok("workers", format!("{}, {}", text::count(count, "worker"), text::count(slots as usize, "slot")))
}

/// What the local worker says it enforces.
async fn enforced(client: &Client) -> Option<String> {
    let workers = client.workers().await.ok()?;
    let labels = workers.into_iter().filter(|worker| worker.connected_at.is_some()).flat_map(|w| w.labels);
    labels.filter_map(|label| label.strip_prefix("cgroup=").map(str::to_owned)).next()
}

async fn store(client: &Client, surroundings: &Surroundings) -> Check {
    match client.check_store().await.map(|found| found.problem) {
        Ok(None) => {
            let bytes = client.stats().await.ok().map(|stats| stats.store.bytes);
            Check::ok("store", surroundings.whole_store(bytes))
        }
        Ok(Some(problem)) => Check::failed("store", problem),
        // It is not ill because of who asks.
        Err(Error::Refused(refusal)) if refusal.code == Code::NotPermitted => {
            Check::warning("store", "only an admin may have it looked through").hint(AS_ADMIN)
        }
        Err(error) => refused("store", &error),
    }
}
