//! What a submitter, who is no admin, may ask for.
//!
//! Invariant: what is not allowed here by name is refused, so a route that is added later is for admins until
//! somebody decides otherwise.
//!
//! Its own tasks it may show, cancel and run again; of others' it sees that they are there, by their ids and
//! names in events and waits, and nothing of their output, environment and results.

use axum::Json;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use orchd_api::{OperationResult, Selector, routes};
use orchd_model::{Body as TaskBody, Code, DependencyTarget, Refusal, TaskId, TaskRange, TaskSpec};
use std::sync::Arc;

use super::answer::{Refused, bytes, parse};
use super::{Shell, named_session};
use crate::peer::Peer;

/// What a submitter may do with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// As an admin.
    All,
    /// With a task of its own, which the path names.
    OwnTask,
    /// With tasks of its own, which the body selects.
    OwnSelection,
    /// Nothing.
    None,
}

fn right(method: &Method, route: &str) -> Right {
    match (method.as_str(), route) {
        (
            "GET",
            routes::DAEMON
            | routes::OPENAPI
            | routes::TASKS
            | routes::STATS
            | routes::RESOURCES
            | routes::WORKERS
            // There it may claim something for itself, and nothing else.
            | routes::WORKERS_SESSION
            | routes::EVENTS
            | routes::WORKFLOWS
            | routes::WORKFLOW
            | routes::DEFINITIONS
            | routes::DEFINITIONS_SHOW
            | routes::DURATIONS
            | routes::SESSIONS
            | routes::SESSION
            | routes::SCHEDULES
            | routes::TASK_EXPLAIN,
        )
        // Whose session it is, is looked at where it is closed; and whose workflow, where it goes on.
        | (
            "POST",
            routes::TASKS
            | routes::WORKFLOWS
            | routes::WORKFLOW_RESUME
            | routes::WORKFLOW_RERUN
            | routes::DEFINITIONS
            | routes::DEFINITIONS_REMOVE
            | routes::DEFINITIONS_RUN
            // Whose attempt it is, is looked at when its token is.
            | routes::TASKS_PROGRESS
            | routes::TASKS_WAIT
            | routes::SESSIONS
            | routes::SESSION_CLOSE,
        ) => Right::All,
        ("GET", routes::TASK | routes::TASK_LOGS) => Right::OwnTask,
        ("POST", routes::TASKS_CANCEL | routes::TASKS_RETRY | routes::TASKS_HOLD | routes::TASKS_RELEASE) => {
            Right::OwnSelection
        }
        _ => Right::None,
    }
}

/// Lets a request pass, or refuses it.
pub async fn guard(State(shell): State<Arc<Shell>>, request: Request, next: Next) -> Response {
    match check(&shell, request).await {
        Ok(Some(request)) => next.run(request).await,
        // Nothing of what is selected is the submitter's.
        Ok(None) => Json(Vec::<OperationResult>::new()).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn check(shell: &Arc<Shell>, request: Request) -> Result<Option<Request>, Refused> {
    let Some(owner) = request.extensions().get::<Peer>().and_then(Peer::only_owner) else {
        return Ok(Some(request));
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    match right(request.method(), route.as_deref().unwrap_or_default()) {
        Right::All => Ok(Some(request)),
        Right::OwnTask => {
            let id = request.uri().path().split('/').find_map(|part| part.parse().ok());
            if let Some(id) = id {
                check_owner(shell, TaskId(id).into(), owner).await?;
            }
            Ok(Some(request))
        }
        Right::OwnSelection => check_selection(shell, request, owner).await,
        Right::None => Err(not_permitted("only an admin may do this", request.uri().path()).into()),
    }
}

/// Puts the ids of the selected tasks in place of the selection, so that nothing is added to it meanwhile.
async fn check_selection(
    shell: &Arc<Shell>,
    request: Request,
    owner: u32,
) -> Result<Option<Request>, Refused> {
    let (mut parts, body) = request.into_parts();
    let text = bytes(Request::from_parts(parts.clone(), body), &()).await?;
    let selector: Selector = parse(if text.is_empty() { b"{}" } else { &text })?;
    let names_them = !selector.ids.is_empty();
    let selected = super::operate::select(shell, selector).await?;
    let mut own = Vec::with_capacity(selected.len());
    for tasks in selected {
        match check_owner(shell, tasks, owner).await {
            Ok(()) => own.push(tasks),
            Err(refusal) if names_them => return Err(refusal.into()),
            // A label may stand on others' tasks, too.
            Err(_) => {}
        }
    }
    if own.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_vec(&Selector::from(own)).unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Some(Request::from_parts(parts, Body::from(text))))
}

/// Refuses tasks of another owner. What does not exist is left to whoever looks for it.
async fn check_owner(shell: &Arc<Shell>, tasks: TaskRange, owner: u32) -> Result<(), Refusal> {
    match shell.read(move |history| history.of_others(tasks, owner)).await? {
        Some(id) => Err(not_permitted("this task is another user's", &id.to_string())),
        None => Ok(()),
    }
}

/// Refuses what would give a submitter more than it has: commands run as the daemon's user, and the results
/// of a dependency are handed on.
///
/// # Errors
/// `not_permitted`.
pub async fn check_spec(shell: &Arc<Shell>, spec: &TaskSpec, peer: Peer) -> Result<(), Refusal> {
    let Some(owner) = peer.only_owner() else { return Ok(()) };
    let is_process = match &spec.body {
        TaskBody::Command { .. } | TaskBody::Shell { .. } => true,
        TaskBody::Milestone => false,
        TaskBody::Handler { command: Some(_), .. } => true,
        TaskBody::Handler { .. } => {
            let handler = spec.body.handler().unwrap_or_default();
            shell.live.policy().bound_command(&handler).is_some()
        }
    };
    if is_process {
        let message = "commands run as the daemon's user, so only that user and root may add them";
        return Err(not_permitted(message, &spec.name).hint("add a task for a handler of a service"));
    }
    if let Some(session) = &spec.session {
        named_session::check_owner(shell, session, peer).await?;
    }
    for dependency in &spec.dependencies {
        let tasks = match &dependency.task {
            DependencyTarget::Id(id) => Some(TaskRange::from(*id)),
            DependencyTarget::Name(name) => name.parse().ok(),
        };
        if let Some(tasks) = tasks {
            check_owner(shell, tasks, owner).await?;
        }
    }
    Ok(())
}

fn not_permitted(message: &str, value: &str) -> Refusal {
    Refusal::new(Code::NotPermitted, message).value(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_for_admins() {
        for (method, route, expected) in [
            ("GET", routes::STATS, Right::All),
            ("POST", routes::TASKS, Right::All),
            ("GET", routes::TASK_LOGS, Right::OwnTask),
            ("POST", routes::TASKS_CANCEL, Right::OwnSelection),
            ("POST", routes::PAUSE, Right::None),
            ("POST", routes::SHUTDOWN, Right::None),
            ("GET", routes::WORKERS_SESSION, Right::All),
            ("POST", routes::RESOURCES, Right::None),
            ("POST", "/v1/of/the/future", Right::None),
        ] {
            assert_eq!(right(&method.parse().unwrap(), route), expected, "{method} {route}");
        }
    }
}
