//! `list`: tasks in a table.

use clap::Args;
use orchd_api::{DaemonState, ListQuery, StopCause, Task};
use orchd_client::Client;
use orchd_model::{Glob, Priority, Span, Status};
use std::io::{self, Write};

use crate::command_line::PROGRAM;
use crate::context::Context;
use crate::screen::{Piece, Rows, Tint};
use crate::{Exit, Failure, text, words};

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only these statuses
    #[arg(long, value_delimiter = ',', value_name = "S,..", value_parser = words::status())]
    status: Vec<Status>,
    /// Only this class
    #[arg(long, short, value_name = "CLASS", value_parser = words::class())]
    priority: Option<Priority>,
    /// Only those with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only those of this session
    #[arg(long, value_name = "S")]
    session: Option<String>,
    /// Only those of this workflow
    #[arg(long, value_name = "W")]
    workflow: Option<String>,
    /// Only those whose name matches this glob
    #[arg(long, value_name = "GLOB")]
    name: Option<Glob>,
    /// At most this many, 0 for all [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only those created or ended within this time
    #[arg(long, value_name = "DUR")]
    since: Option<Span>,
}

/// What is said of a task in its row.
pub(crate) const COLUMNS: [&str; 8] = ["ID", "NAME", "STATUS", "PRIORITY", "TRIES", "AGE", "TIME", "WHY"];
/// How many are listed where nobody says.
const LISTED: usize = 100;

impl List {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let limit = self.limit.unwrap_or(LISTED);
        let statuses: Vec<&str> = self.status.iter().map(|status| status.as_str()).collect();
        let query = ListQuery {
            status: (!statuses.is_empty()).then(|| statuses.join(",")),
            priority: self.priority,
            tag: self.tag,
            session: self.session,
            workflow: self.workflow,
            name: self.name.map(|glob| glob.to_string()),
            since: self.since,
            // One more tells whether there are more.
            limit: Some(if limit == 0 { 0 } else { limit.saturating_add(1) }),
        };
        let client = context.client().await?;
        let mut listing = client.listing(query).await?;
        let mut shown = Shown::begin(context);
        let mut left = if limit == 0 { usize::MAX } else { limit };
        let mut page: Vec<Task> = Vec::new();
        let mut has_more = false;
        while let Some(tasks) = listing.next().await {
            let mut tasks = tasks?;
            has_more = tasks.len() > left;
            tasks.truncate(left);
            left -= tasks.len();
            page.append(&mut tasks);
            if page.len() >= PAGE {
                shown.page(&std::mem::take(&mut page))?;
            }
        }
        shown.page(&page)?;
        shown.end()?;
        if has_more && !context.json && !context.quiet {
            writeln!(io::stderr(), "{PROGRAM}: there are more than {limit}\nhint: --limit 0 lists all").ok();
        }
        if !context.json && !context.quiet {
            tell_state(&client).await?;
        }
        Ok(Exit::DONE)
    }
}

/// A daemon that starts nothing says so: what is listed as pending stays so.
async fn tell_state(client: &Client) -> Result<(), Failure> {
    let daemon = client.daemon().await?;
    let state = match daemon.state {
        DaemonState::Serving => return Ok(()),
        DaemonState::Paused => "everything is paused, until: orchctl resume",
        DaemonState::ShuttingDown => "shutting down, unless: orchctl shutdown --abort",
    };
    let running = text::count(usize::try_from(daemon.running).unwrap_or(usize::MAX), "task");
    writeln!(io::stderr(), "{PROGRAM}: the daemon starts nothing, {running} running: {state}").ok();
    Ok(())
}

/// Tasks that are written at once: a list of millions takes no more memory than these, and begins at once.
const PAGE: usize = 1000;

/// A list that is being written.
struct Shown<'a> {
    context: &'a Context,
    rows: Rows,
    is_empty: bool,
}

impl<'a> Shown<'a> {
    fn begin(context: &'a Context) -> Self {
        Self { context, rows: context.screen.rows(&COLUMNS), is_empty: true }
    }

    /// Writes the next tasks. One JSON array has them all.
    fn page(&mut self, tasks: &[Task]) -> Result<(), Failure> {
        if tasks.is_empty() {
            return Ok(());
        }
        let is_first = std::mem::take(&mut self.is_empty);
        let screen = self.context.screen;
        if self.context.json {
            screen.json_elements(tasks, is_first)?;
        } else if self.context.quiet {
            let ids: Vec<String> = tasks.iter().map(|task| task.tasks().to_string()).collect();
            screen.line(ids.join("\n"))?;
        } else {
            self.rows.write(tasks.iter().map(row).collect())?;
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        let (screen, is_empty) = (self.context.screen, self.is_empty);
        match (self.context.json, self.context.quiet) {
            (true, _) => screen.line(if is_empty { "[]" } else { "]" })?,
            (false, false) if is_empty => screen.line("no tasks")?,
            (false, _) => {}
        }
        Ok(())
    }
}

/// What is said of a task, column by column.
pub(crate) fn row(task: &Task) -> Vec<Piece> {
    vec![
        Piece::number(task.tasks()),
        Piece::text(text::plain(&task.name)),
        Piece::tinted(task.status, status(task)),
        Piece::tinted(task.priority, task.priority),
        Piece::number(task.attempts),
        Piece::number(text::age(task.created_at)),
        Piece::number(time(task)),
        Piece::tinted(Tint::Faint, why(task)),
    ]
}

/// The status, with how much of a running task is done, where it says so.
fn status(task: &Task) -> String {
    let percentage = task.progress.as_ref().and_then(|progress| progress.percentage);
    match (task.status, percentage) {
        (Status::Running, Some(percentage)) => format!("{} {}%", task.status, percentage.whole()),
        (status, _) => status.to_string(),
    }
}

/// How long it has run: the last attempt, or the one under way.
fn time(task: &Task) -> String {
    match (task.status, task.started_at) {
        (Status::Running, Some(started)) => text::age(started),
        _ => text::duration_or_dash(task.execution_time),
    }
}

/// The first reason why it does not run, or why it ended as it did.
pub(crate) fn why(task: &Task) -> String {
    let more = task.reasons.len().saturating_sub(1);
    let first = task.reasons.first().map(|reason| reason.text.as_str());
    let first = first.or_else(|| task.stopping.map(StopCause::sentence));
    let at = task.progress.as_ref().filter(|_| task.status == Status::Running);
    let first = first.or_else(|| at.and_then(|progress| progress.message.as_deref()));
    let first = first.or_else(|| task.status_reason.as_ref().map(|reason| reason.text.as_str()));
    let mut why = text::sentence(first.unwrap_or_default());
    if more > 0 {
        why.push_str(&format!(" (and {more} more)"));
    }
    why
}
