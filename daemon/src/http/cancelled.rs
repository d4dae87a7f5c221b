//! Why tasks were cancelled that nobody has cancelled: their workflow or session came to its end.

use orchd_api::{StatusReasonText, Task};
use orchd_core::WorkflowStop;
use orchd_model::{FailFast, Refusal, SessionId, Status, StatusReason, Time, WorkflowId};
use orchd_store::{History, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Shell;

/// From when on a workflow or a session cancels what is left of it, and why.
type End = (Time, String);

/// What a task belongs to.
type Groups = (Option<WorkflowId>, Option<SessionId>);

/// The ends of those of them that came early.
#[derive(Default)]
struct Ends {
    workflows: BTreeMap<WorkflowId, End>,
    sessions: BTreeMap<SessionId, End>,
}

/// Says so of tasks that were cancelled because their workflow met its timeout or its first failure, or because their
/// session was closed.
///
/// # Errors
/// `store_failed`.
pub async fn say_why(shell: &Arc<Shell>, tasks: &mut [Task]) -> Result<(), Refusal> {
    let is_cancelled = |task: &&mut Task| task.status == Status::Cancelled;
    let cancelled: Vec<&mut Task> = tasks.iter_mut().filter(is_cancelled).collect();
    let groups = cancelled.iter().map(|task| (task.workflow, task.session)).collect();
    let ends = ends(shell, groups).await?;
    for task in cancelled {
        let because = ends.because((task.workflow, task.session), task.finished_at);
        if because.is_some() {
            task.status_reason = Some(StatusReason::Cancelled { because }.into());
        }
    }
    Ok(())
}

/// The same of one task.
///
/// # Errors
/// `store_failed`.
pub async fn reason(
    shell: &Arc<Shell>,
    groups: Groups,
    finished_at: Option<Time>,
) -> Result<Option<StatusReasonText>, Refusal> {
    let because = ends(shell, vec![groups]).await?.because(groups, finished_at);
    Ok(because.map(|because| StatusReason::Cancelled { because: Some(because) }.into()))
}

impl Ends {
    fn because(&self, (workflow, session): Groups, finished_at: Option<Time>) -> Option<String> {
        let of_workflow = workflow.and_then(|id| self.workflows.get(&id));
        let of_session = session.and_then(|id| self.sessions.get(&id));
        // What was cancelled before had another reason.
        let ended =
            [of_workflow, of_session].into_iter().flatten().find(|(end, _)| finished_at >= Some(*end));
        ended.map(|(_, because)| because.clone())
    }
}

async fn ends(shell: &Arc<Shell>, mut groups: Vec<Groups>) -> Result<Ends, Refusal> {
    groups.retain(|groups| *groups != (None, None));
    groups.sort_unstable();
    groups.dedup();
    if groups.is_empty() {
        return Ok(Ends::default());
    }
    shell.read(move |history| look_up(history, &groups)).await
}

fn look_up(history: &mut dyn History, groups: &[Groups]) -> Result<Ends, StoreError> {
    let mut ends = Ends::default();
    for workflow in groups.iter().filter_map(|(workflow, _)| *workflow).collect::<BTreeSet<_>>() {
        ends.workflows.extend(end(history, workflow)?.map(|end| (workflow, end)));
    }
    for session in groups.iter().filter_map(|(_, session)| *session).collect::<BTreeSet<_>>() {
        let record = history.session(session)?;
        let end = record.and_then(|record| Some((record.cancelled_at?, record.name)));
        ends.sessions.extend(end.map(|(at, name)| (session, (at, format!("session {name} was closed")))));
    }
    Ok(ends)
}

fn end(history: &mut dyn History, workflow: WorkflowId) -> Result<Option<End>, StoreError> {
    let Some(record) = history.workflow(workflow)?.map(|stored| stored.record) else { return Ok(None) };
    Ok(match record.stop {
        Some(WorkflowStop::Timeout) => record
            .timeout
            .map(|timeout| (record.run_at + timeout, format!("its workflow met its timeout of {timeout}"))),
        Some(WorkflowStop::Failure(id)) if record.fail_fast == FailFast::Cancel => {
            history.task(id)?.and_then(|failed| {
                Some((failed.finished_at?, format!("fail_fast: {id} ({}) failed", failed.record.name)))
            })
        }
        Some(WorkflowStop::Failure(_)) | None => None,
    })
}
