//! Workflows that go on: after a pause, after a failure, from one of their tasks.

use axum::Extension;
use axum::extract::State;
use orchd_api::{RerunRequest, WorkflowAdded};
use orchd_core::{Command, Reply, Scope, WorkflowRecord};
use orchd_model::{Code, Refusal, TaskId, TaskRange, WorkflowId};
use orchd_store::Filter;
use std::sync::Arc;

use super::Shell;
use super::answer::{Answered, Body, Id, Nothing, json};
use super::operate::OPEN;
use crate::engine::Request;
use crate::peer::Peer;

/// Goes on with a workflow: ends its pause if it has not ended, else runs again what did not complete.
pub async fn resume(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Id(id): Id,
    Body(_): Body<Option<Nothing>>,
) -> Answered<WorkflowAdded> {
    let workflow = own(&shell, WorkflowId(id), peer).await?;
    let stored = workflow.clone();
    let (has_ended, is_paused) = shell
        .look(move |core| {
            let is_paused = core.paused_scopes().contains(&Scope::Workflow(stored.id));
            (core.has_workflow_ended(&stored), is_paused)
        })
        .await?;
    if has_ended {
        return json(run_again(&shell, workflow, None).await?);
    }
    if is_paused {
        let command = Command::Resume(Scope::Workflow(workflow.id));
        shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    }
    let filter = Filter { workflow: Some(workflow.id), statuses: OPEN.to_vec(), ..Filter::default() };
    let open = shell.read(move |history| history.ids(&filter)).await?;
    json(added(&shell, workflow, open).await?)
}

/// Runs tasks of an ended workflow again, and all that comes after them.
pub async fn rerun(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Id(id): Id,
    Body(request): Body<RerunRequest>,
) -> Answered<WorkflowAdded> {
    let workflow = own(&shell, WorkflowId(id), peer).await?;
    if request.from.is_empty() {
        let refusal = Refusal::new(Code::Malformed, "no task is named to begin from");
        return Err(refusal.hint("to run again what did not complete, resume it").into());
    }
    json(run_again(&shell, workflow, Some(request.from)).await?)
}

/// A workflow that this peer may go on with.
pub async fn own(shell: &Arc<Shell>, id: WorkflowId, peer: Peer) -> Result<WorkflowRecord, Refusal> {
    let stored = shell.read(move |history| history.workflow(id)).await?;
    let workflow =
        stored.ok_or_else(|| Refusal::new(Code::NotFound, "no such workflow").value(id.to_string()))?.record;
    match peer.only_owner() {
        Some(owner) if owner != workflow.owner => {
            Err(Refusal::new(Code::NotPermitted, "this workflow is another user's").value(&*workflow.name))
        }
        _ => Ok(workflow),
    }
}

async fn run_again(
    shell: &Arc<Shell>,
    workflow: WorkflowRecord,
    from: Option<Vec<String>>,
) -> Result<WorkflowAdded, Refusal> {
    let id = workflow.id;
    let reply = shell.ask(|answer| Request::Rerun { workflow: id, from, answer }).await?;
    let Reply::Tasks(tasks) = reply else {
        return Err(Refusal::new(Code::WrongState, "not the answer to a workflow that goes on"));
    };
    added(shell, workflow, tasks.into_iter().map(|(range, _)| range).collect()).await
}

/// A workflow with the first of each of these ranges by name.
async fn added(
    shell: &Arc<Shell>,
    workflow: WorkflowRecord,
    tasks: Vec<TaskRange>,
) -> Result<WorkflowAdded, Refusal> {
    let ids: Vec<TaskId> = tasks.iter().map(|range| range.first).collect();
    let names = shell.read(move |history| history.names(&ids)).await?;
    Ok(WorkflowAdded {
        workflow: workflow.id,
        name: workflow.name.into(),
        tasks: names.into_iter().map(|(id, name)| (name.into(), id)).collect(),
    })
}
