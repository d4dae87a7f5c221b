//! How a workflow ended: each task, and the figures of the whole.

use orchd_api::{Task, Workflow};
use orchd_model::{SessionId, Span, Time, WorkflowId, WorkflowMetrics, WorkflowStatus};
use schemars::JsonSchema;
use serde::Serialize;
use std::io;

use crate::screen::{Piece, Screen, Tint};
use crate::text;
use crate::verb::why;

/// The document that `--json` prints.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Summary {
    workflow: WorkflowId,
    name: String,
    pub(crate) status: WorkflowStatus,
    paused: bool,
    session: Option<SessionId>,
    max_parallel: Option<u32>,
    timeout: Option<Span>,
    created_at: Time,
    finished_at: Option<Time>,
    metrics: WorkflowMetrics,
    tasks: Vec<Task>,
}

impl Summary {
    pub(crate) fn new(workflow: Workflow, mut tasks: Vec<Task>) -> Self {
        tasks.sort_by_key(|task| task.id);
        Self {
            workflow: workflow.id,
            name: workflow.name,
            status: workflow.status,
            paused: workflow.paused,
            session: workflow.session,
            max_parallel: workflow.max_parallel,
            timeout: workflow.timeout,
            created_at: workflow.created_at,
            finished_at: workflow.finished_at,
            metrics: workflow.metrics,
            tasks,
        }
    }

    pub(crate) fn id(&self) -> String {
        self.workflow.to_string()
    }

    /// The table of tasks, then one sentence; the id alone when `quiet`.
    pub(crate) fn print(&self, screen: Screen, quiet: bool) -> io::Result<()> {
        if quiet {
            return screen.line(self.id());
        }
        const COLUMNS: [&str; 6] = ["TASK", "STATUS", "TRIES", "WAITED", "RAN", "WHY"];
        screen.table(&COLUMNS, self.tasks.iter().map(row).collect())?;
        screen.line("")?;
        let status = screen.tinted(tint(self.status), self.status.as_str());
        let paused = if self.paused { screen.tinted(Tint::Waiting, ", paused") } else { String::new() };
        screen.line(format!("{} {status}{paused} {}", text::plain(&self.name), self.figures()))
    }

    fn figures(&self) -> String {
        let metrics = &self.metrics;
        let parts = [
            (metrics.completed_tasks, "completed"),
            (metrics.failed_tasks, "failed"),
            (metrics.skipped_tasks, "skipped"),
            (metrics.cancelled_tasks, "cancelled"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, status)| format!("{count} {status}"))
            .collect();
        format!(
            "in {}: {} of {}, at most {} at once, parallel efficiency {:.0} %",
            text::duration(metrics.total_duration),
            if parts.is_empty() { "none ended".to_owned() } else { parts.join(", ") },
            text::count(metrics.total_tasks, "task"),
            metrics.peak_concurrency,
            metrics.parallel_efficiency * 100.0
        )
    }
}

/// The colour of a workflow's status.
pub(crate) fn tint(status: WorkflowStatus) -> Tint {
    match status {
        WorkflowStatus::Completed => Tint::Good,
        WorkflowStatus::Failed | WorkflowStatus::TimedOut => Tint::Bad,
        WorkflowStatus::Cancelled => Tint::Faint,
        WorkflowStatus::Running => Tint::Busy,
    }
}

fn row(task: &Task) -> Vec<Piece> {
    vec![
        Piece::text(text::plain(&task.name)),
        Piece::tinted(task.status, task.status),
        Piece::number(task.attempts),
        Piece::number(text::duration_or_dash(task.wait_time)),
        Piece::number(text::duration_or_dash(task.execution_time)),
        Piece::tinted(Tint::Faint, why(task)),
    ]
}
