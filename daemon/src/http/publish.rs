//! Events that users publish: what they are about must be there, and be theirs.

use axum::Extension;
use axum::extract::State;
use orchd_api::{PublishRequest, PublishedEvent, check_own_type};
use orchd_core::{Command, News, Reply};
use orchd_model::{Code, Refusal, SessionId, TaskId, WorkflowId, limits};
use std::sync::Arc;

use super::answer::{Answered, Body, json};
use super::{Shell, guard, named_session, workflow_runs, workflows};
use crate::engine::Request;
use crate::peer::Peer;

/// Publishes one.
pub async fn publish(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<PublishRequest>,
) -> Answered<PublishedEvent> {
    check_own_type(&request.kind)?;
    let data = serde_json::Value::Object(request.data.clone()).to_string();
    if data.len() > limits::EVENT_BYTES {
        let message = format!("an event says at most {} bytes", limits::EVENT_BYTES);
        let refusal = Refusal::new(Code::TooLarge, message).value(data.len().to_string());
        return Err(refusal.hint("write more into a file, and say which").into());
    }
    let (workflow, session) = about(&shell, &request, peer).await?;
    let kind = request.kind;
    let news = News {
        kind: kind.as_str().into(),
        task: request.task,
        workflow,
        session,
        owner: peer.uid,
        data: data.into(),
    };
    let command = Command::Publish(Box::new(news));
    let reply = shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    let Reply::Published(sequence) = reply else {
        return Err(Refusal::new(Code::WrongState, "not the answer to an event").into());
    };
    json(PublishedEvent { sequence, kind })
}

/// The workflow and the session that it is about, or those of its task.
async fn about(
    shell: &Arc<Shell>,
    request: &PublishRequest,
    peer: Peer,
) -> Result<(Option<WorkflowId>, Option<SessionId>), Refusal> {
    let mut session = match &request.session {
        Some(name) => {
            let id = named_session::resolve(shell, name).await?;
            named_session::check_owner(shell, &id.into(), peer).await?;
            Some(id)
        }
        None => None,
    };
    let mut workflow = None;
    if let Some(name) = &request.workflow {
        let id = workflows::resolve(shell, session, name).await?;
        session = session.or(workflow_runs::own(shell, id, peer).await?.session);
        workflow = Some(id);
    }
    let Some(id) = request.task else { return Ok((workflow, session)) };
    let of_task = of_task(shell, id, peer).await?;
    let contradicts =
        (workflow.is_some() && workflow != of_task.0) || (session.is_some() && session != of_task.1);
    if contradicts {
        let refusal = Refusal::new(Code::WrongState, "the task belongs to another workflow or session");
        return Err(refusal.value(id.to_string()).hint("name the task alone"));
    }
    Ok(of_task)
}

async fn of_task(
    shell: &Arc<Shell>,
    id: TaskId,
    peer: Peer,
) -> Result<(Option<WorkflowId>, Option<SessionId>), Refusal> {
    if let Some(owner) = peer.only_owner() {
        guard::check_owner(shell, id.into(), owner).await?;
    }
    let stored = shell.read(move |history| history.task(id)).await?;
    let stored = stored.ok_or_else(|| Refusal::new(Code::NotFound, "no such task").value(id.to_string()))?;
    Ok((stored.record.demand.workflow, stored.record.demand.session))
}
