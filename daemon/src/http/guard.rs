//! What a submitter, who is no admin, may ask for.
//!
//! Invariant: what is not allowed here by name is refused, so a route that is added later is for admins until
//! somebody decides otherwise.
//!
//! Its own tasks it may show, steer and edit, cancel and run again; of others' it sees that they are there, by their
//! ids and names in events and waits, and nothing of their output, environment and results. Where it names both, its own
//! are served, and of each other it is told that it is another user's.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use orchd_api::{OperationResult, Selector, routes};
use orchd_model::{Body as TaskBody, Code, DependencyTarget, Refusal, TaskId, TaskRange, TaskSpec};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::answer::{Refused, bytes, parse};
use super::{Shell, named_session};
use crate::peer::Peer;

/// Tasks of others that are told one by one, of a range that a submitter names.
const FOREIGN: usize = 100;
/// Who may do everything.
const ADMINS: &str = "admins are root and the user that the daemon runs as";

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
            | routes::WORKFLOW_STUCK
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
            // Whose task it is about, is looked at there.
            | routes::EVENTS
            | routes::TASKS_WAIT
            | routes::SESSIONS
            | routes::SESSION_CLOSE,
        ) => Right::All,
        ("GET", routes::TASK | routes::TASK_LOGS | routes::TASK_SPEC) | ("POST", routes::TASK_SPEC) => {
            Right::OwnTask
        }
        (
            "POST",
            routes::TASKS_CANCEL
            | routes::TASKS_RETRY
            | routes::TASKS_HOLD
            | routes::TASKS_RELEASE
            | routes::TASKS_REPRIORITIZE,
        ) => Right::OwnSelection,
        _ => Right::None,
    }
}

/// The verb that asks for a route, as people know it; others know the route.
fn verb(method: &Method, route: &str) -> Option<&'static str> {
    Some(match (method.as_str(), route) {
        ("GET", routes::REPORT | routes::REPORT_TASKS) => "report",
        ("GET", routes::HOOKS | routes::HOOKS_DEAD) => "hooks",
        ("POST", routes::HOOKS_RETRY) => "hooks retry",
        ("POST", routes::HOOKS_DROP) => "hooks drop",
        ("POST", routes::PAUSE) => "pause",
        ("POST", routes::RESUME) => "resume",
        ("POST", routes::RESOURCES) => "resources set",
        ("POST", routes::RESOURCES_THROTTLE) => "resources throttle",
        ("POST", routes::RESOURCES_CLOSE) => "resources close",
        ("POST", routes::RESOURCES_OPEN) => "resources open",
        ("POST", routes::SCHEDULES) => "schedule add",
        ("POST", routes::SCHEDULES_REMOVE) => "schedule remove",
        ("POST", routes::SCHEDULES_PAUSE) => "schedule pause",
        ("POST", routes::SCHEDULES_RESUME) => "schedule resume",
        ("POST", routes::SCHEDULES_RUN) => "schedule run",
        ("POST", routes::DRAIN) => "drain",
        ("POST", routes::STORE_BACKUP) => "backup",
        ("POST", routes::STORE_CHECK) => "doctor",
        ("POST", routes::SHUTDOWN) => "shutdown",
        _ => return None,
    })
}

/// Lets a request pass, or refuses it.
pub async fn guard(State(shell): State<Arc<Shell>>, request: Request, next: Next) -> Response {
    match check(&shell, request).await {
        Ok(Passed::Whole(request)) => next.run(request).await,
        Ok(Passed::Part { own, foreign }) => {
            let answer = match own {
                Some(own) => next.run(own).await,
                None => Json(Vec::<OperationResult>::new()).into_response(),
            };
            told_of(answer, foreign).await.unwrap_or_else(IntoResponse::into_response)
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// What of a request may be done.
enum Passed {
    Whole(Request),
    /// What is asked of the submitter's own tasks, if any are selected, and what is said of those it named besides.
    Part {
        own: Option<Request>,
        foreign: Vec<OperationResult>,
    },
}

async fn check(shell: &Arc<Shell>, request: Request) -> Result<Passed, Refused> {
    let Some(owner) = request.extensions().get::<Peer>().and_then(Peer::only_owner) else {
        return Ok(Passed::Whole(request));
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.as_deref().unwrap_or_default();
    match right(request.method(), route) {
        Right::All => Ok(Passed::Whole(request)),
        Right::OwnTask => {
            let id = request.uri().path().split('/').find_map(|part| part.parse().ok());
            if let Some(id) = id {
                check_owner(shell, TaskId(id).into(), owner).await?;
            }
            Ok(Passed::Whole(request))
        }
        Right::OwnSelection => check_selection(shell, request, owner).await,
        Right::None => {
            let what = verb(request.method(), route).unwrap_or(request.uri().path());
            Err(not_permitted("only an admin may do this", what).hint(ADMINS).into())
        }
    }
}

/// What of a body is the selection.
const SELECTION: [&str; 5] = ["ids", "tag", "session", "workflow", "all"];

/// Puts the ids of the selected tasks that are the submitter's in place of the selection, so that nothing is added to
/// it meanwhile.
async fn check_selection(shell: &Arc<Shell>, request: Request, owner: u32) -> Result<Passed, Refused> {
    let (mut parts, body) = request.into_parts();
    let text = bytes(Request::from_parts(parts.clone(), body), &()).await?;
    // Beside the selection there may be what is to be done.
    let mut wish: Map<String, Value> = parse(if text.is_empty() { b"{}" } else { &text })?;
    let chosen: Map<String, Value> = SELECTION.iter().filter_map(|name| wish.remove_entry(*name)).collect();
    let selector: Selector = parse(&serde_json::to_vec(&chosen).map_err(|error| broken(&error))?)?;
    let are_named = !selector.ids.is_empty();
    let selected = super::operate::select(shell, selector).await?;
    let (mut own, mut foreign) = (Vec::with_capacity(selected.len()), Vec::new());
    for tasks in selected {
        let (ours, others) = parted(shell, tasks, owner).await?;
        own.extend(ours);
        // A label may stand on others' tasks, too; those are not meant.
        for tasks in others.into_iter().filter(|_| are_named) {
            let status = shell.read(move |history| history.tally(tasks)).await?.into_keys().next();
            let refusal = not_permitted("another user's task", &tasks.to_string());
            foreign.push(OperationResult::new(tasks, status, Some(refusal)));
        }
    }
    if own.is_empty() {
        return Ok(Passed::Part { own: None, foreign });
    }
    let ids = serde_json::to_value(own).map_err(|error| broken(&error))?;
    wish.insert("ids".to_owned(), ids);
    let text = serde_json::to_vec(&wish).map_err(|error| broken(&error))?;
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Passed::Part { own: Some(Request::from_parts(parts, Body::from(text))), foreign })
}

/// What of these is the submitter's or nobody's, and what another's.
async fn parted(
    shell: &Arc<Shell>,
    tasks: TaskRange,
    owner: u32,
) -> Result<(Vec<TaskRange>, Vec<TaskRange>), Refusal> {
    let (mut own, mut foreign, mut rest) = (Vec::new(), Vec::new(), Some(tasks));
    while let Some(tasks) = rest {
        let Some(id) = shell.read(move |history| history.of_others(tasks, owner)).await? else {
            own.push(tasks);
            break;
        };
        if id > tasks.first {
            own.push(TaskRange { first: tasks.first, last: TaskId(id.0 - 1) });
        }
        // Whoever names a range with so many tasks of others in it means something else.
        let is_last = foreign.len() + 1 == FOREIGN || id == tasks.last;
        foreign.push(TaskRange { first: id, last: if is_last { tasks.last } else { id } });
        rest = (!is_last).then(|| TaskRange { first: TaskId(id.0 + 1), last: tasks.last });
    }
    Ok((own, foreign))
}

/// Adds what is said of others' tasks to what became of the submitter's own.
async fn told_of(answer: Response, foreign: Vec<OperationResult>) -> Result<Response, Refused> {
    if foreign.is_empty() || !answer.status().is_success() {
        return Ok(answer);
    }
    let body = to_bytes(answer.into_body(), usize::MAX).await.map_err(|error| broken(&error))?;
    let mut results: Vec<OperationResult> = parse(&body)?;
    results.extend(foreign);
    results.sort_by_key(|result| result.id);
    Ok(Json(results).into_response())
}

/// A document of ours that cannot be written or read again; it is a mistake of ours.
fn broken(error: &impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::Malformed, "the answer could not be made").value(error.to_string())
}

/// Refuses tasks of another owner. What does not exist is left to whoever looks for it.
pub async fn check_owner(shell: &Arc<Shell>, tasks: TaskRange, owner: u32) -> Result<(), Refusal> {
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
            ("POST", routes::TASKS_REPRIORITIZE, Right::OwnSelection),
            ("POST", routes::TASK_SPEC, Right::OwnTask),
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
