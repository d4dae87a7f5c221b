//! `stats`: counts, times, rates, once or every second.

use clap::Args;
use orchd_api::{Distribution, SlowTask, Stats as Figures};
use orchd_client::Client;
use orchd_model::{Priority, SessionRef, Status};
use std::time::Duration;

use super::{resources, session};
use crate::context::Context;
use crate::screen::Tint;
use crate::{Exit, Failure, text};

const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Slow tasks in one line; `--json` has all that there are.
const SLOWEST: usize = 3;
/// Home, then clear what is below (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Again every second
    #[arg(long)]
    watch: bool,
    /// Those of this session alone
    #[arg(long, value_name = "S")]
    session: Option<SessionRef>,
}

impl Stats {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        loop {
            self.look(context, &client).await?;
            if !self.watch {
                return Ok(Exit::DONE);
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }

    async fn look(&self, context: &Context, client: &Client) -> Result<(), Failure> {
        let clear = || if self.watch { context.screen.clear(CLEAR) } else { Ok(()) };
        if let Some(session) = &self.session {
            let session = client.session(session).await?;
            if context.json {
                context.screen.json(&session.statistics)?;
            } else if !context.quiet {
                clear()?;
                session::print_statistics(context, &session.statistics)?;
            }
            return Ok(());
        }
        let figures = client.stats().await?;
        if context.json {
            context.screen.json(&figures)?;
        } else if !context.quiet {
            clear()?;
            print(context, &figures)?;
        }
        Ok(())
    }
}

fn print(context: &Context, figures: &Figures) -> Result<(), Failure> {
    let screen = context.screen;
    let counts = counts(figures).map(|(status, count)| {
        let text = format!("{count} {status}");
        if count == 0 { screen.tinted(Tint::Faint, &text) } else { screen.tinted(status, &text) }
    });
    screen.fact("tasks", &format!("{} in all: {}", figures.total_tasks, counts.join(", ")))?;
    let classes = Priority::ALL.map(|class| {
        format!("{} {class}", figures.by_priority.get(class.as_str()).copied().unwrap_or_default())
    });
    screen.fact("unfinished", &format!("{}; {} ready", classes.join(", "), figures.backlog))?;
    screen.fact("waited", &distribution(&figures.wait_time))?;
    let all = seconds(figures.total_execution_time);
    screen.fact("ran", &format!("{}; {all} in all", distribution(&figures.run_time)))?;
    if !figures.slowest.is_empty() {
        let slow = |task: &SlowTask| {
            format!("{} ({}) {}", task.id, text::plain(&task.name), text::duration(task.execution_time))
        };
        let slowest: Vec<String> = figures.slowest.iter().take(SLOWEST).map(slow).collect();
        screen.fact("slowest", &slowest.join(", "))?;
    }
    let (success, failure) = (figures.success_rate * 100.0, figures.failure_rate * 100.0);
    screen.fact("success", &format!("{success:.1} %, failure {failure:.1} %"))?;
    let rate = figures.throughput;
    screen.fact(
        "throughput",
        &format!("{:.2}/s over 1 min, {:.2}/s over 5 min, {:.2}/s over 15 min", rate.m1, rate.m5, rate.m15),
    )?;
    let state = match figures {
        _ if figures.shutting_down => ", shutting down after what runs",
        _ if figures.paused => ", paused",
        _ => "",
    };
    let paused = screen.tinted(Tint::Waiting, state);
    let workers = text::count(figures.workers, "worker");
    let slots = format!("{} of {} used, {workers}{paused}", figures.slots.used, figures.slots.total);
    screen.fact("slots", &slots)?;
    screen.fact(
        "daemon",
        &format!(
            "up {}, {} running, {}, store {} at event {}",
            text::duration(figures.uptime),
            text::count(figures.workflows, "workflow"),
            text::count(figures.sessions, "session"),
            text::bytes(figures.store.bytes),
            figures.store.sequence
        ),
    )?;
    if !figures.resources.is_empty() {
        screen.line("")?;
        resources::print(context, &figures.resources)?;
    }
    Ok(())
}

/// How many there are in each status.
pub(crate) fn counts(figures: &Figures) -> [(Status, u64); 7] {
    Status::ALL.map(|status| {
        let count = match status {
            Status::Pending => figures.pending,
            Status::Running => figures.running,
            Status::Retrying => figures.retrying,
            Status::Completed => figures.completed,
            Status::Failed => figures.failed,
            Status::Skipped => figures.skipped,
            Status::Cancelled => figures.cancelled,
        };
        (status, count)
    })
}

/// A mean and percentiles, as people read them.
pub(crate) fn distribution(times: &Distribution) -> String {
    let [avg, p50, p95, p99] = [times.avg, times.p50, times.p95, times.p99].map(seconds);
    format!("avg {avg}, p50 {p50}, p95 {p95}, p99 {p99}")
}

fn seconds(seconds: f64) -> String {
    orchd_model::Span::from_secs_f64(seconds).map_or_else(|_| "-".to_owned(), text::duration)
}
