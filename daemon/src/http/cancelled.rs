//! Why tasks were cancelled that nobody has cancelled: their workflow came to its end.

use orchd_api::{StatusReasonText, Task};
use orchd_core::WorkflowStop;
use orchd_model::{FailFast, Refusal, Status, StatusReason, Time, WorkflowId};
use orchd_store::{History, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shell;

/// From when on a workflow cancels what is left of it, and why.
type End = (Time, String);

/// Says so of tasks that were cancelled because their workflow met its timeout or its first failure.
///
/// # Errors
/// `store_failed`.
pub async fn say_why(shell: &Arc<Shell>, tasks: &mut [Task]) -> Result<(), Refusal> {
    let is_cancelled = |task: &&mut Task| task.status == Status::Cancelled && task.workflow.is_some();
    let cancelled: Vec<&mut Task> = tasks.iter_mut().filter(is_cancelled).collect();
    let workflows: Vec<WorkflowId> = cancelled.iter().filter_map(|task| task.workflow).collect();
    let ends = ends(shell, workflows).await?;
    for task in cancelled {
        let because = because(&ends, task.workflow, task.finished_at);
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
    workflow: Option<WorkflowId>,
    finished_at: Option<Time>,
) -> Result<Option<StatusReasonText>, Refusal> {
    let ends = ends(shell, workflow.into_iter().collect()).await?;
    let because = because(&ends, workflow, finished_at);
    Ok(because.map(|because| StatusReason::Cancelled { because: Some(because) }.into()))
}

fn because(
    ends: &BTreeMap<WorkflowId, End>,
    workflow: Option<WorkflowId>,
    finished_at: Option<Time>,
) -> Option<String> {
    let (end, because) = ends.get(&workflow?)?;
    // What was cancelled before had another reason.
    finished_at.filter(|at| at >= end).map(|_| because.clone())
}

async fn ends(
    shell: &Arc<Shell>,
    mut workflows: Vec<WorkflowId>,
) -> Result<BTreeMap<WorkflowId, End>, Refusal> {
    workflows.sort_unstable();
    workflows.dedup();
    if workflows.is_empty() {
        return Ok(BTreeMap::new());
    }
    shell
        .read(move |history| {
            let mut ends = BTreeMap::new();
            for workflow in workflows {
                if let Some(end) = end(history, workflow)? {
                    ends.insert(workflow, end);
                }
            }
            Ok(ends)
        })
        .await
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
