//! What operators change about tasks that wait and about resources: hold, release, reprioritize, set.

use axum::extract::State;
use orchd_api as api;
use orchd_core::{Command, Reply};
use orchd_model::{Code, Priority, Refusal, ResourceName, ResourceSetting, TaskRange};
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
    // In one step: one after the other the first would begin before a better one behind it.
    let command = Command::Release { tasks: request.ids };
    let reply = shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    json(results(&shell, reply).await?)
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
    let api::ResourceRequest { resource, capacity, concurrency, tokens, per, burst } = request;
    let setting = ResourceSetting { capacity, concurrency, tokens, per, burst };
    if setting == ResourceSetting::default() {
        return Err(Refusal::new(Code::Malformed, "nothing is set")
            .value(resource.to_string())
            .hint("give capacity, concurrency, or tokens and per")
            .into());
    }
    change(&shell, resource.clone(), Command::SetResource { resource, setting }).await
}

/// Gives a resource to nobody for a while.
pub async fn throttle(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::ThrottleRequest>,
) -> Answered<api::Resource> {
    let api::ThrottleRequest { resource, retry_after, token, create } = request;
    let command = Command::Throttle { resource: resource.clone(), pause: retry_after, by: token, create };
    change(&shell, resource, command).await
}

/// Gives a resource to nobody until it is opened.
pub async fn close(
    State(shell): State<Arc<Shell>>,
    Body(api::CloseResource { resource, create }): Body<api::CloseResource>,
) -> Answered<api::Resource> {
    change(&shell, resource.clone(), Command::Close { resource, create }).await
}

/// Gives a closed or throttled resource out again.
pub async fn open(
    State(shell): State<Arc<Shell>>,
    Body(api::ResourceNamed { resource }): Body<api::ResourceNamed>,
) -> Answered<api::Resource> {
    change(&shell, resource.clone(), Command::Open { resource }).await
}

/// Puts right what an attempt has drawn of a rate.
pub async fn settle(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::SettleRequest>,
) -> Answered<api::Resource> {
    let api::SettleRequest { resource, used, token } = request;
    let command = Command::Settle { token, resource: resource.clone(), used };
    change(&shell, resource, command).await
}

/// Changes a resource; answers with it as it is then.
async fn change(shell: &Arc<Shell>, name: ResourceName, command: Command) -> Answered<api::Resource> {
    shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    let view = shell.look(move |core| core.resource_view(&name)).await?;
    json(documents::resource(view))
}
