//! What operators change about tasks that wait and about resources: hold, release, reprioritize, set.

use axum::extract::State;
use orchd_api as api;
use orchd_core::{Command, Reply};
use orchd_model::{Code, Priority, Refusal, ResourceKind, ResourceSetting, Status, TaskId};
use std::sync::Arc;
use tokio::sync::oneshot;

use super::Shell;
use super::answer::{Answered, Body, json};
use super::operate::results;
use crate::documents;
use crate::engine::Request;

/// Keeps tasks from starting.
pub async fn hold(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::TaskIds>,
) -> Answered<Vec<api::OperationResult>> {
    json(each(&shell, &request.ids, |task| Command::Hold { task }).await?)
}

/// Lets held tasks go.
pub async fn release(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::TaskIds>,
) -> Answered<Vec<api::OperationResult>> {
    json(each(&shell, &request.ids, |task| Command::Release { task }).await?)
}

/// Changes the class of tasks.
pub async fn reprioritize(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::ReprioritizeRequest>,
) -> Answered<Vec<api::OperationResult>> {
    let priority: Priority = request.priority;
    json(each(&shell, &request.ids, |task| Command::Reprioritize { task, priority }).await?)
}

/// One command a task, sent without waiting for the one before, so that many share a commit.
async fn each(
    shell: &Arc<Shell>,
    ids: &[TaskId],
    command: impl Fn(TaskId) -> Command,
) -> Result<Vec<api::OperationResult>, Refusal> {
    let mut answers = Vec::with_capacity(ids.len());
    for id in ids {
        let (answer, answered) = oneshot::channel();
        shell.send(Request::Command { command: command(*id), answer: Some(answer) }).await?;
        answers.push((*id, answered));
    }
    let mut outcomes = Vec::with_capacity(ids.len());
    for (id, answered) in answers {
        let outcome = answered.await.map_err(|_| super::stopped())?;
        let outcome = match outcome {
            Ok(_) => Ok(status(shell, id).await?),
            Err(refusal) => Err(refusal),
        };
        outcomes.push((id, outcome));
    }
    results(shell, Reply::Tasks(outcomes)).await
}

/// The status of a task, which may have run and ended since.
async fn status(shell: &Arc<Shell>, id: TaskId) -> Result<Status, Refusal> {
    if let Some(status) = shell.look(move |core| core.status(id)).await? {
        return Ok(status);
    }
    let record = shell.read(move |history| history.record(id)).await?;
    record.map(|record| record.status()).ok_or_else(|| super::tasks::unknown(id))
}

/// Says what a resource has.
pub async fn set_resource(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::ResourceRequest>,
) -> Answered<api::Resource> {
    let (resource, setting) = setting(request)?;
    let name = resource.clone();
    let command = Command::SetResource { resource, setting };
    shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    let resources = shell.look(orchd_core::Core::resources).await?;
    let view = resources.into_iter().find(|view| view.name == name);
    let view =
        view.ok_or_else(|| Refusal::new(Code::NotFound, "no such resource").value(name.to_string()))?;
    json(documents::resource(view))
}

/// What can be set of a resource of this type.
fn setting(request: api::ResourceRequest) -> Result<(orchd_model::ResourceName, ResourceSetting), Refusal> {
    let api::ResourceRequest { resource, capacity, concurrency, tokens, per, burst } = request;
    if tokens.is_some() || per.is_some() || burst.is_some() {
        let rate = Refusal::new(Code::Unsupported, "this daemon does not limit rates yet");
        return Err(rate.value(resource.to_string()).hint("set capacity or concurrency"));
    }
    if capacity.is_none() && concurrency.is_none() {
        return Err(Refusal::new(Code::Malformed, "nothing is set")
            .value(resource.to_string())
            .hint("give capacity or concurrency"));
    }
    if concurrency == Some(0) {
        return Err(Refusal::new(Code::Malformed, "a concurrency is at least 1")
            .value("0")
            .hint(format!("to start nothing that needs it: orchctl pause --resource {resource}")));
    }
    if resource.counted_as() == ResourceKind::Rate && capacity.is_some() {
        return Err(Refusal::new(Code::Malformed, "this resource has a concurrency, not a capacity")
            .value(resource.to_string()));
    }
    Ok((resource, ResourceSetting { capacity, concurrency }))
}
