//! Reports as files: a page that needs nothing but itself, and a trace for Perfetto.
//!
//! Both are made from the summed-up report and from its tasks with their attempts. Whatever is in a name stays text.

mod axis;
mod chart;
mod gantt;
mod lanes;
mod page;
mod sections;
mod series;
mod trace;

use orchd_api::{Report, ReportedTask};
use orchd_model::{TaskId, Time, WorkflowStatus};
use std::collections::BTreeMap;

pub(crate) use page::{page, picture};
pub(crate) use trace::trace;

/// What is drawn.
pub(crate) struct Drawn {
    /// The figures.
    pub(crate) report: Report,
    /// The tasks, by id.
    pub(crate) tasks: Vec<ReportedTask>,
    /// How much of each resource can be held at once, where that is limited.
    pub(crate) capacities: BTreeMap<String, f64>,
    /// The last lines that tasks wrote before they failed: of the last ones that did.
    pub(crate) last_words: BTreeMap<TaskId, String>,
    /// What is still running ran until then.
    pub(crate) now: Time,
}

impl Drawn {
    /// Whether it is about a workflow that has not ended.
    fn is_under_way(&self) -> bool {
        self.report.workflow.as_ref().is_some_and(|workflow| workflow.status == WorkflowStatus::Running)
    }

    /// From when to when there is something to be drawn.
    fn span(&self) -> (Time, Time) {
        let from = self.report.from.unwrap_or(self.now);
        let attempts = self.tasks.iter().flat_map(|task| &task.attempts);
        let first = attempts.clone().map(|attempt| attempt.started_at).min().unwrap_or(from);
        let last = attempts.map(|attempt| lanes::end(attempt, self.now)).max().unwrap_or(from);
        let from = from.min(first);
        let to = self.report.to.unwrap_or(self.now).max(last);
        // Nothing is drawn in no time at all.
        (from, to.max(Time(from.0 + 1000)))
    }
}
