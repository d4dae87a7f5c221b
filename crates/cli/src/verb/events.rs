//! `events`: every change of state, from now on or from a sequence number.

use clap::Args;
use orchd_api::{Event, EventQuery, check_pattern};
use orchd_model::{Refusal, TaskId, TaskRange};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::screen::Tint;
use crate::{Exit, Failure, text};

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Types of events: exact, task.*, or * for all, which is the default
    #[arg(value_name = "PATTERN", value_parser = pattern)]
    patterns: Vec<String>,
    /// Those after this sequence number, 0 for all from the start [default: from now on; with --no-follow
    /// from the start]
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,
    /// Only those of this task
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Only those of this workflow
    #[arg(long, value_name = "W")]
    workflow: Option<String>,
    /// Only those of this session
    #[arg(long, value_name = "S")]
    session: Option<String>,
    /// Only those of tasks with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// End after so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// End when there are no more, instead of waiting for new ones
    #[arg(long)]
    no_follow: bool,
}

impl Events {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let query = EventQuery {
            pattern: (!self.patterns.is_empty()).then(|| self.patterns.join(",")),
            // Without a place to begin, what there is to read without following is all of it.
            since: self.since.or(self.no_follow.then_some(0)),
            task: self.task,
            workflow: self.workflow,
            session: self.session,
            tag: self.tag,
            no_follow: self.no_follow,
            limit: self.limit,
        };
        let mut events = context.client().await?.events(query).await?;
        while let Some(event) = events.next().await {
            let event = event?;
            if context.json {
                context.screen.json(&event)?;
            } else if context.quiet {
                context.screen.line(event.sequence.to_string())?;
            } else {
                context.screen.line(line(context, &event))?;
            }
        }
        Ok(Exit::DONE)
    }
}

/// A pattern that means something.
fn pattern(text: &str) -> Result<String, Refusal> {
    text.split(',').map(str::trim).try_for_each(check_pattern).map(|()| text.to_owned())
}

fn line(context: &Context, event: &Event) -> String {
    let about = [
        event.task.map(|first| match event.last {
            Some(last) => format!("tasks {}", TaskRange { first, last }),
            None => format!("task {first}"),
        }),
        event.workflow.map(|id| format!("workflow {id}")),
        event.session.map(|id| format!("session {id}")),
    ];
    let about: Vec<String> = about.into_iter().flatten().collect();
    let kind = format!("{:18}", text::plain(&event.kind));
    let kind = context.screen.tinted(tint(&event.kind), &kind);
    let line = format!(
        "{:>6}  {}  {kind}  {}{}",
        event.sequence,
        text::instant(event.time),
        about.join(", "),
        details(&event.data)
    );
    line.trim_end().to_owned()
}

fn tint(kind: &str) -> Tint {
    match kind.rsplit('.').next().unwrap_or_default() {
        "completed" => Tint::Good,
        "failed" | "timed_out" | "lost" => Tint::Bad,
        "started" | "running" | "progress" => Tint::Busy,
        "retrying" => Tint::Waiting,
        "skipped" | "cancelled" => Tint::Faint,
        _ => Tint::Plain,
    }
}

/// What an event says beside its type, on one line.
pub(super) fn details(data: &Map<String, Value>) -> String {
    data.iter().filter(|(_, value)| !value.is_null()).fold(String::new(), |mut text, (name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("  {name}={}", text::plain(&value)));
        text
    })
}
