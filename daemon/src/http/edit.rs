//! The spec of a task: as it stands, and another one for a task that has not started.

use axum::Extension;
use axum::extract::{Request, State};
use orchd_api::Task;
use orchd_model::{Code, Dependency, DependencyTarget, Refusal, TaskId, TaskSpec};
use orchd_workflow::Submitted;
use std::sync::Arc;

use super::answer::{Answered, Id, bytes, json};
use super::tasks::{read_spec, show, unknown};
use super::{Shell, guard};
use crate::engine::Request as EngineRequest;
use crate::peer::Peer;

/// What was asked for, with what operators have changed since.
pub async fn spec(State(shell): State<Arc<Shell>>, Id(id): Id) -> Answered<TaskSpec> {
    let id = TaskId(id);
    let stored = shell.read(move |history| history.task(id)).await?.ok_or_else(|| unknown(id))?;
    let record = stored.record;
    let edge = |edge: &orchd_core::Edge| Dependency { task: DependencyTarget::Id(edge.task), on: edge.on };
    json(TaskSpec {
        priority: record.priority,
        hold: record.hold,
        dependencies: record.edges.iter().map(edge).collect(),
        reference: None,
        workflow: None,
        ..Arc::unwrap_or_clone(stored.spec)
    })
}

/// Checks the templates of a task that belongs to a workflow; those of others are text.
async fn check_templates(shell: &Arc<Shell>, task: TaskId, spec: &TaskSpec) -> Result<(), Refusal> {
    let workflow = shell
        .read(move |history| match history.record(task)?.and_then(|record| record.demand.workflow) {
            Some(id) => history.workflow(id),
            None => Ok(None),
        })
        .await?;
    let Some(workflow) = workflow else { return Ok(()) };
    let parameters = serde_json::from_str(&workflow.parameters).unwrap_or_default();
    Submitted::new(&parameters).check(spec)
}

/// Gives a task that has not started another spec.
pub async fn replace(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Id(id): Id,
    request: Request,
) -> Answered<Task> {
    let spec = read_spec(&bytes(request, &()).await?)?;
    guard::check_spec(&shell, &spec, peer).await?;
    let task = TaskId(id);
    check_templates(&shell, task, &spec).await?;
    if spec.reference.is_some() {
        return Err(Refusal::new(Code::Malformed, "a task that exists has no ref").into());
    }
    match shell.ask(|answer| EngineRequest::Edit { task, spec, answer }).await {
        Ok(_) => show(State(shell), Id(id)).await,
        Err(refusal) if refusal.code == Code::NotFound => {
            // The scheduler does not know those that ended long ago; the store does.
            let record = shell.read(move |history| history.record(task)).await?;
            let status = record.map(|record| record.status()).filter(|status| status.is_terminal());
            let Some(status) = status else { return Err(refusal.into()) };
            let ended = Refusal::new(Code::WrongState, format!("task {task} has ended"));
            Err(ended.value(status.as_str()).into())
        }
        Err(refusal) => Err(refusal.into()),
    }
}
