//! `report`: what became of the tasks of a workflow, or of the last time.

use clap::Args;
use orchd_api::{LongWait, NameUse, ReportQuery, Resource, ResourceWait, Times, Used, Verdict};
use orchd_api::{Report as Figures, StatusCounts};
use orchd_client::Client;
use orchd_model::{Span, Status, TaskId};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::last_words::last_words;
use crate::report::{Drawn, page, trace};
use crate::screen::{Piece, Screen, Tint};
use crate::{Exit, Failure, output, text};

/// Rows of each table; `--json` has all that there are.
const ROWS: usize = 10;
/// Steps of the critical path.
const STEPS: usize = 100;
/// Failures of a page that are shown with what the task wrote last, and how many lines of it.
const LAST_WORDS: (usize, u64) = (50, 5);

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// A workflow's name or id; without one, all tasks that are still known
    workflow: Option<String>,
    /// Only what was added or ended in this time
    #[arg(long, value_name = "DUR", conflicts_with = "workflow")]
    since: Option<Span>,
    /// Only the tasks of a session
    #[arg(long, value_name = "S", conflicts_with = "workflow")]
    session: Option<String>,
    /// Write a page with every attempt, the graph, waits, claims and failures; - for standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open; - for standard output
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl Report {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let query = ReportQuery { workflow: self.workflow, session: self.session, since: self.since };
        let client = context.client().await?;
        let report = client.report(query.clone()).await?;
        if self.html.is_some() || self.trace.is_some() {
            let mut drawn = drawn(&client, report, query).await?;
            if self.html.is_some() {
                let (tasks, lines) = LAST_WORDS;
                drawn.last_words = last_words_of(&client, &drawn.report, tasks, lines).await;
            }
            if let Some(file) = &self.html {
                write(file, |to| to.write_all(page(&drawn).as_bytes()))?;
            }
            if let Some(file) = &self.trace {
                write(file, |to| trace(&drawn, to))?;
            }
            let is_written_here = [&self.html, &self.trace].into_iter().flatten().any(|file| is_stdout(file));
            return tell(context, &client, &drawn.report, is_written_here).await;
        }
        tell(context, &client, &report, false).await
    }
}

/// What is asked for beside files.
async fn tell(
    context: &Context,
    client: &Client,
    report: &Figures,
    is_written_here: bool,
) -> Result<Exit, Failure> {
    if is_written_here {
        return Ok(Exit::DONE);
    }
    if context.json {
        context.screen.json(report)?;
    } else if !context.quiet {
        print(context.screen, report, &last_words_of(client, report, ROWS, 1).await)?;
    }
    Ok(Exit::DONE)
}

/// What is drawn, with the tasks and what there is of each resource.
pub(crate) async fn drawn(client: &Client, report: Figures, query: ReportQuery) -> Result<Drawn, Failure> {
    let tasks = client.reported_tasks(query).await?;
    let resources = client.resources().await?;
    let limited = |resource: &Resource| Some((resource.resource.clone(), resource.capacity?.as_f64()));
    // A rate is used up and not held: it has no line that cannot be crossed.
    let held = resources.iter().filter(|resource| resource.rate.is_none());
    let capacities = held.filter_map(limited).collect();
    Ok(Drawn { report, tasks, capacities, last_words: BTreeMap::new(), now: text::now() })
}

/// What the last tasks that failed wrote last.
async fn last_words_of(
    client: &Client,
    report: &Figures,
    tasks: usize,
    lines: u64,
) -> BTreeMap<TaskId, String> {
    let mut found = BTreeMap::new();
    for task in report.failures.tasks.iter().take(tasks) {
        if let Some(words) = last_words(client, task.id, lines).await {
            found.insert(task.id, words);
        }
    }
    found
}

fn is_stdout(file: &Path) -> bool {
    file == Path::new("-")
}

fn write(file: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    if is_stdout(file) {
        let mut to = BufWriter::new(io::stdout().lock());
        return Ok(fill(&mut to).and_then(|()| to.flush()).map_err(output::failed)?);
    }
    let written = File::create(file).and_then(|opened| {
        let mut to = BufWriter::new(opened);
        fill(&mut to).and_then(|()| to.flush())
    });
    written.map_err(|error| Failure::Usage(format!("cannot write {}: {error}", file.display())))
}

fn print(screen: Screen, report: &Figures, words: &BTreeMap<TaskId, String>) -> Result<(), Failure> {
    if let Some(workflow) = &report.workflow {
        let status = screen.tinted(crate::summary::tint(workflow.status), workflow.status.as_str());
        screen.line(format!("workflow {} ({}) {status}", workflow.id, text::plain(&workflow.name)))?;
    }
    screen.fact("tasks", &counts(screen, &report.tasks))?;
    if report.tasks.total == 0 {
        return Ok(());
    }
    if let (Some(from), Some(to)) = (report.from, report.to) {
        let took = text::duration(to.since(from));
        screen.fact("time", &format!("{took}, from {} to {}", text::instant(from), text::instant(to)))?;
    }
    screen.fact("attempts", &format!("{}, at most {} at once", report.attempts, report.peak_concurrency))?;
    screen.fact("waited", &times(&report.wait_time))?;
    screen.fact("for turns", &times(&report.ready_time))?;
    screen.fact("ran", &times(&report.run_time))?;
    screen.fact("share", &share(report))?;
    if !report.waits.is_empty() {
        screen.fact("waited for", &waits(&report.waits, ROWS))?;
    }
    slowest(screen, report)?;
    longest_waits(screen, &report.longest_waits)?;
    failures(screen, report, words)?;
    usage(screen, report)?;
    critical_path(screen, report)
}

fn counts(screen: Screen, counts: &StatusCounts) -> String {
    let parts: Vec<String> = Status::ALL
        .into_iter()
        .filter(|status| counts.of(*status) > 0)
        .map(|status| screen.tinted(status, &format!("{} {status}", counts.of(status))))
        .collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        format!("{} in all: {}", counts.total, parts.join(", "))
    }
}

fn times(times: &Times) -> String {
    if times.count == 0 {
        return "-".to_owned();
    }
    let [avg, p50, p95, p99, max, total] =
        [times.avg, times.p50, times.p95, times.p99, times.max, times.total].map(seconds);
    format!("avg {avg}, p50 {p50}, p95 {p95}, p99 {p99}, longest {max}; {total} in all")
}

fn seconds(seconds: f64) -> String {
    Span::from_secs_f64(seconds).map_or_else(|_| "-".to_owned(), text::duration)
}

/// Wait against run time.
fn share(report: &Figures) -> String {
    let (turns, runs) = (report.ready_time.total, report.run_time.total);
    let before = (report.wait_time.total - turns).max(0.0);
    let all = before + turns + runs;
    if all <= 0.0 {
        return "-".to_owned();
    }
    let [before, turns, runs] = [before, turns, runs].map(|part| part / all * 100.0);
    format!("{before:.0} % waiting for dependencies and delays, {turns:.0} % for turns, {runs:.0} % running")
}

fn waits(waits: &[ResourceWait], most: usize) -> String {
    let wait = |wait: &ResourceWait| format!("{} {}", text::plain(&wait.resource), text::duration(wait.time));
    waits.iter().take(most).map(wait).collect::<Vec<_>>().join(", ")
}

fn heading(screen: Screen, words: &str) -> Result<(), Failure> {
    screen.line("")?;
    Ok(screen.line(words)?)
}

fn slowest(screen: Screen, report: &Figures) -> Result<(), Failure> {
    if report.slowest.is_empty() {
        return Ok(());
    }
    heading(screen, "slowest tasks")?;
    let row = |task: &orchd_api::SlowTask| {
        vec![
            Piece::number(task.id),
            Piece::text(text::plain(&task.name)),
            Piece::number(text::duration(task.execution_time)),
        ]
    };
    Ok(screen.table(&["ID", "NAME", "RAN"], report.slowest.iter().take(ROWS).map(row).collect())?)
}

fn longest_waits(screen: Screen, longest: &[LongWait]) -> Result<(), Failure> {
    if longest.is_empty() {
        return Ok(());
    }
    heading(screen, "longest waits for a turn")?;
    let row = |wait: &LongWait| {
        vec![
            Piece::number(wait.id),
            Piece::text(text::plain(&wait.name)),
            Piece::number(text::duration(wait.wait_time)),
            Piece::number(text::duration(wait.ready_time)),
            Piece::text(if wait.on.is_empty() { "-".to_owned() } else { waits(&wait.on, 3) }),
        ]
    };
    const COLUMNS: [&str; 5] = ["ID", "NAME", "WAITED", "TURN", "ON"];
    Ok(screen.table(&COLUMNS, longest.iter().take(ROWS).map(row).collect())?)
}

fn failures(screen: Screen, report: &Figures, words: &BTreeMap<TaskId, String>) -> Result<(), Failure> {
    let failures = &report.failures;
    if failures.tasks.is_empty() {
        return Ok(());
    }
    let types: Vec<String> = failures
        .by_type
        .iter()
        .map(|f| format!("{} {}", f.count, text::plain(f.error_type.as_str())))
        .collect();
    heading(screen, &format!("failures: {}", types.join(", ")))?;
    let row = |task: &orchd_api::FailedTask| {
        vec![
            Piece::number(task.id),
            Piece::text(text::plain(&task.name)),
            Piece::number(task.attempts),
            Piece::tinted(Tint::Bad, task.error_type.as_ref().map_or("-", |error| error.as_str())),
            Piece::text(text::plain(&why(task, words))),
        ]
    };
    const COLUMNS: [&str; 5] = ["ID", "NAME", "TRIES", "ERROR", "WHY"];
    Ok(screen.table(&COLUMNS, failures.tasks.iter().take(ROWS).map(row).collect())?)
}

/// What the daemon says of a failure, and what the task said itself.
fn why(task: &orchd_api::FailedTask, words: &BTreeMap<TaskId, String>) -> String {
    let message = task.error_message.as_deref().unwrap_or_default();
    match words.get(&task.id) {
        Some(words) => format!("{message}: {words}"),
        None => message.to_owned(),
    }
}

fn usage(screen: Screen, report: &Figures) -> Result<(), Failure> {
    let claims = |used: &NameUse| used.cpu.claimed.is_some() || used.memory.claimed.is_some();
    if !report.usage.iter().any(claims) {
        return Ok(());
    }
    heading(screen, "claimed against used, by name")?;
    let cores = |cores: f64| format!("{cores:.2}");
    let row = |used: &NameUse| {
        vec![
            Piece::text(text::plain(&used.name)),
            Piece::number(used.attempts),
            Piece::number(used.cpu.claimed.map_or_else(|| "-".to_owned(), cores)),
            Piece::number(used.cpu.used.map_or_else(|| "-".to_owned(), cores)),
            Piece::number(used.memory.claimed.map_or_else(|| "-".to_owned(), |b| text::bytes(b as u64))),
            Piece::number(peak(&used.memory)),
            Piece::tinted(tint(used), verdict(used)),
        ]
    };
    const COLUMNS: [&str; 7] = ["NAME", "TRIES", "CPU", "USED", "MEMORY", "PEAK", "VERDICT"];
    screen.table(&COLUMNS, report.usage.iter().take(ROWS).map(row).collect())?;
    if report.names > ROWS as u64 {
        screen.line(format!("and {} names more", report.names - ROWS as u64))?;
    }
    Ok(())
}

/// The highest peak of memory, as far as it is known.
pub(crate) fn peak(memory: &Used) -> String {
    let bytes = |bytes: f64| text::bytes(bytes as u64);
    match (memory.used, memory.at_most) {
        (_, Some(most)) => format!("<= {}", bytes(most)),
        (Some(used), None) => bytes(used),
        (None, None) => "-".to_owned(),
    }
}

fn tint(used: &NameUse) -> Tint {
    match (used.cpu.verdict, used.memory.verdict) {
        (Verdict::Under, _) | (_, Verdict::Under) => Tint::Bad,
        (Verdict::Over, _) | (_, Verdict::Over) => Tint::Waiting,
        (Verdict::Fits, Verdict::Fits) => Tint::Faint,
    }
}

/// What is to be said of the claims of a name.
pub(crate) fn verdict(used: &NameUse) -> String {
    let of = |what: &str, used: &Used| match (used.verdict, used.claimed) {
        (Verdict::Fits, _) => None,
        (Verdict::Over, _) => Some(format!("claims too much {what}")),
        (Verdict::Under, Some(_)) => Some(format!("claims too little {what}")),
        (Verdict::Under, None) => Some(format!("claims no {what}")),
    };
    let said: Vec<String> =
        [of("cpu", &used.cpu), of("memory", &used.memory)].into_iter().flatten().collect();
    if said.is_empty() { "fits".to_owned() } else { said.join(", ") }
}

fn critical_path(screen: Screen, report: &Figures) -> Result<(), Failure> {
    if report.critical_path.is_empty() {
        return Ok(());
    }
    heading(screen, "critical path as it was")?;
    let row = |step: &orchd_api::PathStep| {
        vec![
            Piece::number(step.id),
            Piece::text(text::plain(&step.name)),
            Piece::number(text::duration(step.wait_time)),
            Piece::number(text::duration(step.run_time)),
        ]
    };
    let path = &report.critical_path;
    screen.table(&["ID", "NAME", "WAITED", "RAN"], path.iter().take(STEPS).map(row).collect())?;
    if path.len() > STEPS {
        screen.line(format!("and {} more", text::count(path.len() - STEPS, "task")))?;
    }
    Ok(())
}
