//! `show`: everything about one task.

use clap::Args;
use orchd_api::{Attempt, Event, EventQuery, Task};
use orchd_client::Client;
use orchd_model::{Claim, TaskId};
use serde_json::{Map, Value, json};

use super::events::details;
use crate::context::Context;
use crate::documents::Shown;
use crate::{Exit, Failure, text};

/// Events shown; a task that has more has had very many attempts.
const EVENTS: u64 = 1000;

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The task
    id: TaskId,
}

impl Show {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let task = client.get(self.id).await?;
        let events = events(&client, self.id).await?;
        if context.json {
            context.screen.json(&Shown { task, events })?;
            return Ok(Exit::DONE);
        }
        if context.quiet {
            context.screen.line(task.id.to_string())?;
            return Ok(Exit::DONE);
        }
        let status = context.screen.tinted(task.status, task.status.as_str());
        context.screen.line(format!("{} {} {status}", task.id, text::plain(&task.name)))?;
        let facts = facts(&task);
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &facts {
            context.screen.beside(&format!("  {name:width$}  "), width + 4, value)?;
        }
        for attempt in task.attempt_list.iter().flatten() {
            context.screen.beside("  ", 4, &sentence(attempt))?;
        }
        if !events.is_empty() {
            context.screen.line("  events:")?;
        }
        for event in &events {
            let head = format!("    {:>6}  {}  ", event.sequence, text::instant(event.time));
            let said = format!("{}{}", text::plain(&event.kind), details(&event.data));
            context.screen.beside(&head, head.len(), &said)?;
        }
        Ok(Exit::DONE)
    }
}

async fn events(client: &Client, id: TaskId) -> Result<Vec<Event>, Failure> {
    let query = EventQuery {
        since: Some(0),
        task: Some(id),
        no_follow: true,
        limit: Some(EVENTS),
        ..EventQuery::default()
    };
    let mut stream = client.events(query).await?;
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    Ok(events)
}

/// The facts that are there, each with its name.
fn facts(task: &Task) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut say = |name, value: Option<String>| {
        facts.extend(value.filter(|value| !value.is_empty()).map(|value| (name, text::plain(&value))));
    };
    let joined = |words: &[String], by: &str| words.join(by);
    let handler = task.module.as_ref().map(|module| match &task.action {
        Some(action) => format!("{module}.{action}"),
        None => module.clone(),
    });
    let object = |map: &Map<String, Value>| (!map.is_empty()).then(|| json!(map).to_string());
    say(
        "array",
        task.array.as_ref().map(|array| {
            format!(
                "index {} of {} ({} tasks, ids {})",
                array.index,
                array.indices,
                array.tasks.len(),
                array.tasks
            )
        }),
    );
    say("command", task.command.as_ref().map(|argv| joined(argv, " ")));
    say("shell", task.shell.clone());
    say("handler", handler);
    say("parameters", object(&task.parameters));
    say("directory", task.cwd.clone());
    say("stdin", task.stdin.as_deref().map(beginning));
    say("environment", Some(joined(&task.env, " ")));
    say("priority", Some(task.priority.to_string()));
    say("claims", Some(claims(&task.claims)));
    variants(task).for_each(|variant| say("variant", Some(variant)));
    let edges = task.dependencies.iter().map(|edge| format!("{} ({})", edge.task, edge.on));
    say("after", Some(edges.collect::<Vec<_>>().join(", ")));
    say("undoes", task.compensates.map(|id| id.to_string()));
    say("when", task.when.clone());
    say("timeout", task.timeout.map(text::duration));
    say("deadline", task.deadline.map(text::duration));
    say("retries", Some(retries(task)));
    say("hold", task.hold.then(|| "yes".to_owned()));
    say("key", task.key.clone());
    say("tags", Some(joined(&task.tags, " ")));
    say("metadata", object(&task.metadata));
    say("session", task.session.map(|id| id.to_string()));
    say("workflow", task.workflow.map(|id| id.to_string()));
    say("owner", Some(format!("uid {}", task.owner)));
    say("worker", task.worker.map(|id| id.to_string()));
    say("created", Some(text::instant(task.created_at)));
    say("started", task.started_at.map(text::instant));
    say("finished", task.finished_at.map(text::instant));
    say("waited", task.wait_time.map(text::duration));
    say("ran", task.execution_time.map(text::duration));
    say("total", task.total_time.map(text::duration));
    say("progress", task.progress.as_ref().map(ToString::to_string));
    say("now", task.stopping.map(|cause| cause.sentence().to_owned()));
    for reason in &task.reasons {
        say("reason", Some(text::sentence(&reason.text)));
    }
    say("because", task.status_reason.as_ref().map(|reason| text::sentence(&reason.text)));
    if let Some(result) = &task.result {
        say("error", result.error_type.as_ref().map(ToString::to_string));
        say("message", result.error_message.clone());
        say("exit code", result.exit_code.map(|code| code.to_string()));
        say("result", result.data.as_ref().map(Value::to_string));
        say("ran in", result.variant.map(|variant| format!("variant {variant}")));
        say("used", result.usage.as_ref().map(usage));
    }
    facts
}

fn claims(claims: &[Claim]) -> String {
    claims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// How a text begins, and how long it is where that is not all.
fn beginning(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}… ({})", &text[..end], text::bytes(text.len() as u64)),
        None => text.trim_end().to_owned(),
    }
}

fn variants(task: &Task) -> impl Iterator<Item = String> {
    (0..).zip(&task.claims_any).map(|(number, variant)| {
        let taken = if task.variant == Some(number) { ", taken" } else { "" };
        format!("{number}: {}{taken}", claims(variant))
    })
}

fn retries(task: &Task) -> String {
    if task.max_retries == 0 {
        return String::new();
    }
    let grows = match task.backoff {
        1.0 => String::new(),
        factor => format!(", times {factor} each time, at most {}", text::duration(task.max_delay)),
    };
    let between = text::duration(task.retry_delay);
    format!("{} of {} used, {between} between{grows}", task.retry_count, task.max_retries)
}

fn usage(usage: &orchd_model::Usage) -> String {
    format!(
        "cpu {:.2}s user {:.2}s system, memory peak {}, read {}, written {}",
        usage.cpu_user,
        usage.cpu_system,
        memory(usage),
        text::bytes(usage.io_read),
        text::bytes(usage.io_write)
    )
}

/// Whom a bound is about: one that nobody has waited for is not in the kernel's figures (getrusage(2)).
const EACH: &str = "for each process that was waited for";

/// The peak as far as it is known, and whether that is more than what was claimed.
fn memory(usage: &orchd_model::Usage) -> String {
    let over = usage.memory_claim.filter(|claim| usage.memory_peak > Some(*claim));
    match (usage.memory_peak.map(text::bytes), usage.memory_at_most.map(text::bytes), over) {
        (Some(peak), _, Some(claim)) => format!("{peak} (more than the {} it claims)", text::bytes(claim)),
        (Some(peak), Some(most), None) => format!("{peak} or more, at most {most} {EACH}"),
        (Some(peak), None, None) => peak,
        (None, Some(most), _) => format!("at most {most} {EACH}"),
        (None, None, _) => "not known".to_owned(),
    }
}

fn sentence(attempt: &Attempt) -> String {
    let mut sentence = format!("attempt {}: {}", attempt.number, text::plain(&attempt.outcome));
    if let Some(error) = &attempt.error_type {
        sentence.push_str(&format!(" ({})", text::plain(error.as_str())));
    }
    if let Some(message) = &attempt.error_message {
        sentence.push_str(&format!(", {}", text::plain(message)));
    }
    sentence.push_str(&format!(", started {}", text::instant(attempt.started_at)));
    if let Some(time) = attempt.execution_time {
        sentence.push_str(&format!(", ran {}", text::duration(time)));
    }
    if let Some(variant) = attempt.variant {
        sentence.push_str(&format!(", variant {variant}"));
    }
    if let Some(worker) = attempt.worker {
        sentence.push_str(&format!(", worker {worker}"));
    }
    sentence
}
