//! What operators change about tasks that wait and about resources: hold, release, reprioritize, set.

use axum::extract::State;
use orchd_api as api;
use orchd_core::{Command, Reply};
use orchd_model::{Code, Priority, Refusal, ResourceKind, ResourceSetting, TaskRange};
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
    json(each(&shell, &request.ids, |tasks| Command::Hold { tasks }).await?)
}

/// Lets held tasks go.
pub async fn release(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::TaskIds>,
) -> Answered<Vec<api::OperationResult>> {
    json(each(&shell, &request.ids, |tasks| Command::Release { tasks }).await?)
}

/// Changes the class of tasks.
pub async fn reprioritize(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::ReprioritizeRequest>,
) -> Answered<Vec<api::OperationResult>> {
    let priority: Priority = request.priority;
    json(each(&shell, &request.ids, |tasks| Command::Reprioritize { tasks, priority }).await?)
}

/// One command a task, sent without waiting for the one before, so that many share a commit.
async fn each(
    shell: &Arc<Shell>,
    ids: &[TaskRange],
    command: impl Fn(TaskRange) -> Command,
) -> Result<Vec<api::OperationResult>, Refusal> {
    let mut answers = Vec::with_capacity(ids.len());
    for id in ids {
        let (answer, answered) = oneshot::channel();
        shell.send(Request::Command { command: command(*id), answer: Some(answer) }).await?;
        answers.push(answered);
    }
    let mut outcomes = Vec::with_capacity(ids.len());
    for answered in answers {
        if let Reply::Tasks(results) = answered.await.map_err(|_| super::stopped())?? {
            outcomes.extend(results);
        }
    }
    results(shell, Reply::Tasks(outcomes)).await
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
