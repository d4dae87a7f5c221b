//! `session`: named contexts with tasks, workflows and keys of their own.

use clap::{ArgGroup, Args, Subcommand};
use orchd_api::{CloseMode, Session as Open, SessionQuery, SessionStatistics, WaitRequest};
use orchd_api::{ListQuery, Selector, Task};
use orchd_client::{Client, Error};
use orchd_model::{Code, SessionMode, SessionRef, SessionSpec, SessionStatus, Span, TaskRange};
use std::io::{self, Write};

use crate::command_line::PROGRAM;
use crate::context::Context;
use crate::screen::{Piece, Tint};
use crate::{Exit, Failure, text, words};

#[derive(Debug, Args)]
pub(crate) struct Session {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a session and print its id
    Create(Create),
    /// List the sessions: those that are not closed, then the newest closed
    List,
    /// Show a session: what its tasks hold now, and its statistics
    Show {
        /// Its name or id
        #[arg(value_name = "S")]
        session: SessionRef,
    },
    /// Take no more work into a session, and wait until all of its tasks have ended
    Close(Close),
}

#[derive(Debug, Args)]
struct Create {
    /// Its name; no other open session may have it
    name: String,
    /// At most so many of its tasks run at once
    #[arg(long, value_name = "N")]
    max_parallel: Option<u32>,
    /// How its tasks follow each other
    #[arg(long, value_name = "M", default_value = "parallel", value_parser = words::mode())]
    mode: SessionMode,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what_becomes").args(["cancel", "wait"])))]
struct Close {
    /// Its name or id
    #[arg(value_name = "S")]
    session: SessionRef,
    /// Cancel what has not ended, the default
    #[arg(long)]
    cancel: bool,
    /// Let what has not ended run to its end
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this; the session closes all the same
    #[arg(long, value_name = "DUR")]
    timeout: Option<Span>,
}

impl Session {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.action {
            Action::Create(create) => create.run(context).await,
            Action::List => list(context).await,
            Action::Show { session } => show(context, &session).await,
            Action::Close(close) => close.run(context).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let spec = SessionSpec { name: self.name, max_parallel: self.max_parallel, mode: self.mode };
        spec.check().map_err(|refusal| Failure::Usage(refusal.to_string()))?;
        let session = context.client().await?.create_session(&spec).await?;
        if context.json {
            context.screen.json(&session)?;
        } else {
            context.screen.line(session.id.to_string())?;
        }
        Ok(Exit::DONE)
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let sessions = context.client().await?.sessions(SessionQuery::default()).await?;
    if context.json {
        context.screen.json(&sessions)?;
    } else if context.quiet {
        sessions.iter().try_for_each(|session| context.screen.line(session.id.to_string()))?;
    } else if sessions.is_empty() {
        context.screen.line("no sessions")?;
    } else {
        const COLUMNS: [&str; 8] = ["ID", "NAME", "STATUS", "MODE", "TASKS", "OPEN", "FAILED", "AGE"];
        context.screen.table(&COLUMNS, sessions.iter().map(row).collect())?;
    }
    Ok(Exit::DONE)
}

fn row(session: &Open) -> Vec<Piece> {
    let counts = &session.statistics;
    vec![
        Piece::number(session.id),
        Piece::text(text::plain(&session.name)),
        Piece::tinted(tint(session.status), session.status),
        Piece::text(session.mode.as_str()),
        Piece::number(counts.total_tasks),
        Piece::number(unfinished(counts)),
        Piece::number(counts.failed),
        Piece::number(text::age(session.created_at)),
    ]
}

fn unfinished(counts: &SessionStatistics) -> u64 {
    counts.pending + counts.running + counts.retrying
}

fn tint(status: SessionStatus) -> Tint {
    match status {
        SessionStatus::Open => Tint::Good,
        SessionStatus::Closing => Tint::Waiting,
        SessionStatus::Closed => Tint::Faint,
    }
}

async fn show(context: &Context, session: &SessionRef) -> Result<Exit, Failure> {
    let session = context.client().await?.session(session).await?;
    if context.json {
        context.screen.json(&session)?;
    } else if context.quiet {
        context.screen.line(session.id.to_string())?;
    } else {
        print(context, &session)?;
    }
    Ok(Exit::DONE)
}

fn print(context: &Context, session: &Open) -> Result<(), Failure> {
    let screen = context.screen;
    screen.fact("session", &format!("{} {}", session.id, text::plain(&session.name)))?;
    let paused = if session.paused { screen.tinted(Tint::Waiting, ", paused") } else { String::new() };
    let status = screen.tinted(tint(session.status), session.status.as_str());
    screen.fact("status", &format!("{status}{paused}"))?;
    let limit = session.max_parallel.map_or_else(String::new, |limit| format!(", at most {limit} at once"));
    screen.fact("mode", &format!("{}{limit}", session.mode))?;
    screen.fact("created", &text::instant(session.created_at))?;
    if let Some(at) = session.closed_at {
        screen.fact("closed", &text::instant(at))?;
    }
    print_statistics(context, &session.statistics)?;
    screen.fact("workflows", &format!("{} running", session.workflows))?;
    for resource in &session.resources {
        let by = text::count(resource.tasks, "task");
        screen.fact("holds", &format!("{} of {}, by {by}", resource.held, resource.resource))?;
    }
    Ok(())
}

/// Counts, times and use of a session.
pub(super) fn print_statistics(context: &Context, counts: &SessionStatistics) -> Result<(), Failure> {
    let screen = context.screen;
    let parts = [
        (counts.pending, "pending"),
        (counts.running, "running"),
        (counts.retrying, "retrying"),
        (counts.completed, "completed"),
        (counts.failed, "failed"),
        (counts.skipped, "skipped"),
        (counts.cancelled, "cancelled"),
    ];
    let parts: Vec<String> = parts.into_iter().map(|(count, word)| format!("{count} {word}")).collect();
    screen.fact("tasks", &format!("{} in all: {}", counts.total_tasks, parts.join(", ")))?;
    screen.fact("waited", &format!("avg {}", text::duration(counts.average_wait_time)))?;
    let (mean, all) = (counts.average_execution_time, counts.total_execution_time);
    let attempts = text::count(usize::try_from(counts.attempts).unwrap_or(usize::MAX), "attempt");
    let ran = format!("avg {}; {} in all, {attempts}", text::duration(mean), text::duration(all));
    screen.fact("ran", &ran)?;
    let (success, failure) = (counts.success_rate * 100.0, counts.failure_rate * 100.0);
    screen.fact("success", &format!("{success:.1} %, failure {failure:.1} %"))?;
    let memory = match counts.memory_peak {
        0 => "little".to_owned(),
        peak => format!("up to {}", text::bytes(peak)),
    };
    let used = format!(
        "{} of cpu time, {} of memory, {} read, {} written",
        text::duration(counts.cpu_time),
        memory,
        text::bytes(counts.io_read),
        text::bytes(counts.io_write)
    );
    screen.fact("used", &used)?;
    Ok(())
}

impl Close {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let id = client.session(&self.session).await?.id;
        let mode = if self.wait { CloseMode::Wait } else { CloseMode::Cancel };
        let mut session = match client.close_session(id, mode).await {
            // Its last task has ended meanwhile, which is what is waited for.
            Err(Error::Refused(refusal)) if self.wait && refusal.code == Code::WrongState => {
                client.session(&id.into()).await?
            }
            closed => closed?,
        };
        let done = session.status == SessionStatus::Closed || ended(&client, id.0, self.timeout).await?;
        if done {
            session = client.session(&id.into()).await?;
        }
        if context.json {
            context.screen.json(&session)?;
        } else if !context.quiet {
            let status = context.screen.tinted(tint(session.status), session.status.as_str());
            context.screen.line(format!("{id} {} {status}", text::plain(&session.name)))?;
        }
        if !done {
            let left = usize::try_from(unfinished(&session.statistics)).unwrap_or(usize::MAX);
            writeln!(io::stderr(), "{PROGRAM}: timed out, not yet ended: {}", text::count(left, "task")).ok();
            return Ok(Exit::TIMED_OUT);
        }
        Ok(Exit::DONE)
    }
}

/// Waits until the last task of a session has ended, with which it is closed; false when the time is over.
async fn ended(client: &Client, session: u64, timeout: Option<Span>) -> Result<bool, Failure> {
    let status = Some("pending,running,retrying".to_owned());
    let query =
        ListQuery { session: Some(session.to_string()), status, limit: Some(0), ..ListQuery::default() };
    let open: Vec<TaskRange> = client.list(query).await?.iter().map(Task::tasks).collect();
    if open.is_empty() {
        return Ok(true);
    }
    Ok(client.wait(WaitRequest { select: Selector::from(open), timeout }).await?.done)
}
