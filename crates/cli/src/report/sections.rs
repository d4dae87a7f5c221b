//! The tables and the comparison of waiting and running.

use orchd_api::{NameUse, ReportedTask};
use orchd_model::{Span, Status, TaskId, Time, WorkflowId};
use orchd_workflow::escaped;
use std::collections::BTreeMap;
use std::fmt::Write;

use super::Drawn;
use super::lanes::end;
use crate::text::{bytes, count, duration};
use crate::verb::{peak, verdict};

/// Rows of a table and of the comparison.
const ROWS: usize = 40;
/// Failures that are listed.
const FAILURES: usize = 500;
/// Steps of the critical path that are listed.
const STEPS: usize = 500;

/// What is in a column, and its heading.
enum Column {
    Text(&'static str),
    Number(&'static str),
}

use Column::{Number, Text};

fn table(text: &mut String, columns: &[Column], rows: impl Iterator<Item = Vec<String>>) {
    let cell = |text: &mut String, tag: &str, column: &Column, value: &str| {
        let class = if matches!(column, Number(_)) { " class=\"n\"" } else { "" };
        _ = write!(text, "<{tag}{class}>{value}</{tag}>");
    };
    text.push_str("<div class=\"wide\"><table><thead><tr>");
    for column in columns {
        let (Text(name) | Number(name)) = column;
        cell(text, "th", column, name);
    }
    text.push_str("</tr></thead><tbody>");
    for row in rows {
        text.push_str("<tr>");
        row.iter().zip(columns).for_each(|(value, column)| cell(text, "td", column, value));
        text.push_str("</tr>");
    }
    text.push_str("</tbody></table></div>");
}

fn none(text: &mut String, words: &str) {
    _ = write!(text, "<p class=\"none\">{words}</p>");
}

/// A task by its name; pointing at it shows it everywhere.
fn named(id: TaskId, name: &str) -> String {
    format!("<a data-t=\"{id}\"><bdi>{}</bdi></a> <small>{id}</small>", escaped(name))
}

pub(crate) fn slowest(text: &mut String, drawn: &Drawn) {
    let slowest = &drawn.report.slowest;
    if slowest.is_empty() {
        return none(text, "Nothing has run to its end.");
    }
    let row = |task: &orchd_api::SlowTask| vec![named(task.id, &task.name), duration(task.execution_time)];
    table(text, &[Text("task"), Number("ran")], slowest.iter().map(row));
}

pub(crate) fn failures(text: &mut String, drawn: &Drawn) {
    let failed: Vec<&ReportedTask> =
        drawn.tasks.iter().filter(|task| task.status == Status::Failed).collect();
    if failed.is_empty() {
        none(text, "Nothing failed.");
        return unfinished(text, drawn);
    }
    let types: Vec<String> = drawn
        .report
        .failures
        .by_type
        .iter()
        .map(|failure| format!("{} {}", failure.count, escaped(failure.error_type.as_str())))
        .collect();
    _ = write!(text, "<p>{}</p>", types.join(", "));
    let rows = failed.iter().take(FAILURES).map(|task| {
        let of_attempt = task.attempts.last().and_then(|attempt| attempt.error_type.as_ref());
        let error = task.error_type.as_ref().or(of_attempt).map_or("-", |error| error.as_str());
        let mut why = format!("<bdi>{}</bdi>", escaped(task.why.as_deref().unwrap_or_default()));
        if let Some(words) = drawn.last_words.get(&task.id) {
            _ = write!(why, "<pre>{}</pre>", escaped(words));
        }
        vec![named(task.id, &task.name), task.attempts.len().to_string(), escaped(error), why]
    });
    table(text, &[Text("task"), Number("attempts"), Text("error"), Text("why, and its last words")], rows);
    if failed.len() > FAILURES {
        _ = write!(text, "<p>And {} more.</p>", failed.len() - FAILURES);
    }
    unfinished(text, drawn);
}

/// What was skipped or cancelled, and for what.
fn unfinished(text: &mut String, drawn: &Drawn) {
    let is_so = |task: &&ReportedTask| matches!(task.status, Status::Skipped | Status::Cancelled);
    let tasks: Vec<&ReportedTask> = drawn.tasks.iter().filter(is_so).collect();
    if tasks.is_empty() {
        return;
    }
    let rows = tasks.iter().take(FAILURES).map(|task| {
        let why = format!("<bdi>{}</bdi>", escaped(task.why.as_deref().unwrap_or_default()));
        vec![named(task.id, &task.name), task.status.to_string(), why]
    });
    _ = write!(text, "<p>Not done:</p>");
    table(text, &[Text("task"), Text("status"), Text("why")], rows);
    if tasks.len() > FAILURES {
        _ = write!(text, "<p>And {} more.</p>", tasks.len() - FAILURES);
    }
}

pub(crate) fn longest_waits(text: &mut String, drawn: &Drawn) {
    if drawn.report.longest_waits.is_empty() {
        return none(text, "No task had to wait for its turn.");
    }
    let rows = drawn.report.longest_waits.iter().map(|wait| {
        let on: Vec<String> =
            wait.on.iter().map(|on| format!("{} {}", escaped(&on.resource), duration(on.time))).collect();
        vec![named(wait.id, &wait.name), duration(wait.wait_time), duration(wait.ready_time), on.join(", ")]
    });
    table(text, &[Text("task"), Number("waited"), Number("for its turn"), Text("on")], rows);
}

pub(crate) fn critical_path(text: &mut String, drawn: &Drawn) {
    let path = &drawn.report.critical_path;
    let sum =
        |part: fn(&orchd_api::PathStep) -> Span| duration(Span(path.iter().map(|step| part(step).0).sum()));
    _ = write!(
        text,
        "<p>{}: ran {}, waited {}.</p>",
        count(path.len(), "task"),
        sum(|step| step.run_time),
        sum(|step| step.wait_time)
    );
    let row = |step: &orchd_api::PathStep| {
        vec![named(step.id, &step.name), duration(step.wait_time), duration(step.run_time)]
    };
    table(text, &[Text("task"), Number("waited"), Number("ran")], path.iter().take(STEPS).map(row));
    if path.len() > STEPS {
        _ = write!(text, "<p>And {} more.</p>", path.len() - STEPS);
    }
}

pub(crate) fn usage(text: &mut String, drawn: &Drawn) {
    let cores = |cores: f64| format!("{cores:.2}");
    let size = |size: f64| bytes(size as u64);
    let row = |used: &NameUse| {
        let said = verdict(used);
        let said = if said == "fits" { said } else { format!("<b class=\"warn\">{said}</b>") };
        vec![
            format!("<bdi>{}</bdi>", escaped(&used.name)),
            used.attempts.to_string(),
            used.cpu.claimed.map_or_else(|| "-".to_owned(), cores),
            used.cpu.used.map_or_else(|| "-".to_owned(), cores),
            used.memory.claimed.map_or_else(|| "-".to_owned(), size),
            escaped(&peak(&used.memory)),
            said,
        ]
    };
    if drawn.report.usage.is_empty() {
        return none(text, "Nothing was measured.");
    }
    const COLUMNS: [Column; 7] = [
        Text("name"),
        Number("attempts"),
        Number("cores claimed"),
        Number("used"),
        Number("memory claimed"),
        Number("peak"),
        Text(""),
    ];
    table(text, &COLUMNS, drawn.report.usage.iter().take(ROWS).map(row));
}

/// How long a task waited for what it depends on, for its turn, and ran or waited between its attempts.
struct Parts<'a> {
    task: &'a ReportedTask,
    before: Span,
    turn: Span,
    run: Span,
}

/// The tasks that took longest from submission to end, each as waiting and running.
pub(crate) fn comparison(text: &mut String, drawn: &Drawn) {
    let ends = Ends::of(&drawn.tasks);
    let mut parts: Vec<Parts<'_>> =
        drawn.tasks.iter().filter_map(|task| split(task, &ends, drawn.now)).collect();
    let all = |parts: &Parts<'_>| parts.before.0 + parts.turn.0 + parts.run.0;
    parts.sort_by_key(|parts| (std::cmp::Reverse(all(parts)), parts.task.id));
    if parts.is_empty() {
        return none(text, "Nothing has run.");
    }
    let longest = parts.first().map_or(1, all).max(1);
    let shown = parts.len().min(ROWS);
    if shown < parts.len() {
        _ = write!(text, "<p>The {shown} of {} tasks that took longest.</p>", parts.len());
    }
    text.push_str(
        "<p class=\"legend\"><i class=\"before\"></i> dependencies and delays <i class=\"turn\"></i> its turn \
         <i class=\"run\"></i> running, retries included</p><div class=\"parts\">",
    );
    for part in &parts[..shown] {
        let width = |span: Span| span.0 as f64 / longest as f64 * 100.0;
        _ = write!(
            text,
            "<div data-t=\"{}\"><span><bdi>{}</bdi></span><div title=\"waited {} for dependencies and delays, {} for its \
             turn, ran {}\"><i class=\"before\" style=\"width:{:.3}%\"></i><i class=\"turn\" style=\"width:{:.3}%\"></i>\
             <i class=\"run\" style=\"width:{:.3}%\"></i></div></div>",
            part.task.id,
            escaped(&part.task.name),
            duration(part.before),
            duration(part.turn),
            duration(part.run),
            width(part.before),
            width(part.turn),
            width(part.run)
        );
    }
    text.push_str("</div>");
}

/// When tasks ended, and of a workflow the last one that does not wait for all others.
#[derive(Default)]
struct Ends {
    tasks: BTreeMap<TaskId, Time>,
    others: BTreeMap<WorkflowId, Time>,
}

impl Ends {
    fn of(tasks: &[ReportedTask]) -> Self {
        let mut ends = Self::default();
        for task in tasks {
            let Some(end) = task.finished_at else { continue };
            ends.tasks.insert(task.id, end);
            if let Some(workflow) = task.workflow.filter(|_| !task.waits_for_others) {
                let last = ends.others.entry(workflow).or_insert(end);
                *last = end.max(*last);
            }
        }
        ends
    }
}

fn split<'a>(task: &'a ReportedTask, ends: &Ends, now: Time) -> Option<Parts<'a>> {
    // Of a task that was run again, the attempts of this run.
    let mut attempts = task.attempts.iter().filter(|attempt| attempt.started_at >= task.submitted_at);
    let started_at = attempts.next()?.started_at;
    let last = task.attempts.last().map_or(started_at, |attempt| end(attempt, now));
    let depends = task.dependencies.iter().filter_map(|edge| match edge.task {
        orchd_model::DependencyTarget::Id(id) => ends.tasks.get(&id).copied(),
        orchd_model::DependencyTarget::Name(_) => None,
    });
    let others =
        task.workflow.filter(|_| task.waits_for_others).and_then(|workflow| ends.others.get(&workflow));
    let ready_at = depends.chain(others.copied()).chain([task.submitted_at]).max()?.min(started_at);
    Some(Parts {
        task,
        before: ready_at.since(task.submitted_at),
        turn: started_at.since(ready_at),
        run: last.since(started_at),
    })
}
