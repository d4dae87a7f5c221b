//! Workflows: submit, list, show.

use axum::Extension;
use axum::extract::{FromRequest, Request, State};
use axum::http::header;
use orchd_api::{Workflow, WorkflowAdded, WorkflowQuery};
use orchd_core::NewWorkflow;
use orchd_model::{Code, Refusal, SessionId, TaskSpec, WorkflowId, WorkflowSpec};
use orchd_store::StoredWorkflow;
use std::sync::Arc;

use super::Shell;
use super::answer::{Answered, Body, Id, Query, json};
use crate::documents;
use crate::engine::Request as EngineRequest;
use crate::hooks;
use crate::peer::Peer;

/// How many workflows a list shows when nobody says.
const LISTED: usize = 100;
/// After so many tasks the place that they took in a list is given back.
const GIVEN_BACK: usize = 16_384;

/// Adds a workflow: all of its tasks or none.
pub async fn add(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answered<WorkflowAdded> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/x-ndjson")) {
        return json(super::workflow_lines::add(&shell, peer, request).await?);
    }
    let Body(spec) = Body::<WorkflowSpec>::from_request(request, &()).await?;
    json(submit(&shell, spec, peer).await?)
}

/// Checks and adds a workflow.
///
/// # Errors
/// The refusal of the whole.
pub async fn submit(
    shell: &Arc<Shell>,
    mut spec: WorkflowSpec,
    peer: Peer,
) -> Result<WorkflowAdded, Refusal> {
    shell.live.config().workflows.fill(&mut spec);
    spec.check()?;
    spec.bind_compensations()?;
    spec.tasks.iter().try_for_each(super::tasks::check)?;
    for task in &spec.tasks {
        super::guard::check_spec(shell, task, peer).await?;
    }
    let session = session_of(shell, &mut spec, peer).await?;
    let parameters = serde_json::to_string(&spec.parameters).map_err(|error| {
        Refusal::new(Code::Malformed, "the parameters are no JSON").value(error.to_string())
    })?;
    let hooks = hooks::prepare(shell, &spec.on_event, peer).await?;
    let options = NewWorkflow {
        name: spec.name.as_str().into(),
        max_parallel: spec.max_parallel,
        fail_fast: spec.fail_fast,
        timeout: spec.timeout,
        session,
    };
    let specs = shared(spec.tasks);
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    let (workflow, ids) = shell
        .ask(|answer| EngineRequest::AddWorkflow {
            specs,
            options,
            parameters,
            hooks,
            owner: peer.uid,
            answer,
        })
        .await?;
    Ok(WorkflowAdded { workflow, name: spec.name, tasks: names.into_iter().zip(ids).collect() })
}

/// Each task by itself. The place that the list took is given back on the way: collected into another one it would be
/// that one's, which is a hundred times too large.
fn shared(mut tasks: Vec<TaskSpec>) -> Vec<Arc<TaskSpec>> {
    let mut shared = Vec::with_capacity(tasks.len());
    while let Some(task) = tasks.pop() {
        shared.push(Arc::new(task));
        if tasks.len().is_multiple_of(GIVEN_BACK) {
            tasks.shrink_to_fit();
        }
    }
    shared.reverse();
    shared
}

/// The session of a workflow, which is that of all its tasks.
async fn session_of(
    shell: &Arc<Shell>,
    spec: &mut WorkflowSpec,
    peer: Peer,
) -> Result<Option<SessionId>, Refusal> {
    let Some(name) = &spec.session else {
        let of_a_task = spec.tasks.iter().find_map(|task| task.session.as_ref());
        return match of_a_task {
            Some(session) => Err(Refusal::new(Code::Malformed, "a task of a workflow has its session")
                .value(session.to_string())
                .hint("name the session of the workflow instead")),
            None => Ok(None),
        };
    };
    super::named_session::check_owner(shell, name, peer).await?;
    let id = super::named_session::resolve(shell, &name.to_string()).await?;
    for task in &mut spec.tasks {
        task.session = Some(id.into());
    }
    Ok(Some(id))
}

/// The workflow with this name, the newest of several, or this id; of a session, if one is given.
///
/// # Errors
/// `not_found`.
pub async fn resolve(
    shell: &Arc<Shell>,
    session: Option<SessionId>,
    name: &str,
) -> Result<WorkflowId, Refusal> {
    let found = find(shell, session, name).await?;
    found
        .map(|stored| stored.record.id)
        .ok_or_else(|| Refusal::new(Code::NotFound, "no such workflow").value(name))
}

async fn find(
    shell: &Arc<Shell>,
    session: Option<SessionId>,
    name: &str,
) -> Result<Option<StoredWorkflow>, Refusal> {
    let wanted = name.to_owned();
    let found = shell
        .read(move |history| match wanted.parse() {
            Ok(id) => history.workflow(id),
            Err(_) => history.workflow_by_name(session, &wanted),
        })
        .await?;
    Ok(found.filter(|stored| session.is_none() || stored.record.session == session))
}

/// Lists workflows, the newest first.
pub async fn list(
    State(shell): State<Arc<Shell>>,
    Query(query): Query<WorkflowQuery>,
) -> Answered<Vec<Workflow>> {
    let session = match &query.session {
        Some(name) => Some(super::named_session::resolve(&shell, name).await?),
        None => None,
    };
    let limit = match query.limit.unwrap_or(LISTED) {
        0 => None,
        limit => Some(limit),
    };
    let stored = match &query.name {
        Some(name) => find(&shell, session, name).await?.into_iter().collect(),
        None => shell.read(move |history| history.workflows(session, limit)).await?,
    };
    let mut workflows = Vec::with_capacity(stored.len());
    for workflow in stored {
        workflows.push(document(&shell, workflow).await?);
    }
    json(workflows)
}

/// One workflow with its figures.
pub async fn show(State(shell): State<Arc<Shell>>, Id(id): Id) -> Answered<Workflow> {
    let id = WorkflowId(id);
    let stored = shell.read(move |history| history.workflow(id)).await?;
    let stored =
        stored.ok_or_else(|| Refusal::new(Code::NotFound, "no such workflow").value(id.to_string()))?;
    json(document(&shell, stored).await?)
}

async fn document(shell: &Arc<Shell>, stored: StoredWorkflow) -> Result<Workflow, Refusal> {
    if let Some(known) = shell.readers.ended_workflows.get(&stored) {
        return Ok(known);
    }
    let id = stored.record.id;
    let (tasks, attempts) =
        shell.read(move |history| Ok((history.of_workflow(id)?, history.attempts_of(id)?))).await?;
    let document = documents::workflow(stored, &tasks, &attempts, shell.clock.now());
    shell.readers.ended_workflows.keep(&document);
    Ok(document)
}
