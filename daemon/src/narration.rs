//! What the scheduler does, line by line in the log of who looks for a mistake: each event with what it says, and why what
//! could have begun waits. At level debug, and of no cost without it.

use orchd_core::{Core, Event, Fact};
use orchd_model::{OWN_EVENTS, Reason, TaskId};

use crate::feed;

/// Of so many tasks of a batch it is found out why they wait: it costs a look at all that stands before them.
const EXPLAINED: usize = 32;

/// Tells these events, which are on disk.
pub fn tell(events: &[Event]) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    for event in events.iter().filter_map(feed::describe) {
        // What users publish may be anything.
        let data = if event.kind.starts_with(OWN_EVENTS) { Default::default() } else { event.data };
        let data = serde_json::Value::Object(data);
        let (task, last) = (event.task.map(|id| id.0), event.last.map(|id| id.0));
        let (workflow, session) = (event.workflow.map(|id| id.0), event.session.map(|id| id.0));
        tracing::debug!(sequence = event.sequence.0, task, last, workflow, session, %data, "{}", event.kind);
    }
}

/// Tells why tasks wait that these events have made ready, or added, and not begun.
pub fn explain(core: &Core, events: &[Event]) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let news = events.iter().filter_map(|event| match &event.fact {
        Fact::Submitted { record, .. } | Fact::Revived { record, .. } => Some(record.id),
        Fact::Readied { task } | Fact::Retried { task, .. } => Some(*task),
        _ => None,
    });
    let mut tasks: Vec<TaskId> = news.take(EXPLAINED).collect();
    tasks.sort_unstable();
    tasks.dedup();
    for task in tasks {
        let reasons = core.explain(task).map(|explained| explained.reasons).unwrap_or_default();
        if !reasons.is_empty() {
            let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
            tracing::debug!(%task, reasons = reasons.join("; "), "waits");
        }
    }
}
