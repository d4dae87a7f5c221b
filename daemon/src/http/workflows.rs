//! Workflows: submit, list, show.

use axum::Extension;
use axum::extract::{FromRequest, Request, State};
use axum::http::header;
use orchd_api::{Stuck, Workflow, WorkflowAdded, WorkflowQuery};
use orchd_core::{NewWorkflow, Scope, StuckSearch};
use orchd_model::{Code, Refusal, SessionId, TaskSpec, WorkflowId, WorkflowSpec, check_compensations};
use orchd_store::StoredWorkflow;
use orchd_workflow::Submitted;
use std::sync::Arc;

use super::Shell;
use super::answer::{Answered, Body, Id, Query, json};
use crate::documents;
use crate::engine::Request as EngineRequest;
use crate::hooks;
use crate::peer::Peer;
use crate::workflow_figures::WorkflowFigures;

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
    spec.tasks.iter().try_for_each(super::tasks::check_size)?;
    let tasks = shared(std::mem::take(&mut spec.tasks));
    submit_tasks(shell, spec, tasks, peer).await
}

/// Checks and adds a workflow whose tasks are held apart from it.
///
/// # Errors
/// The refusal of the whole.
pub async fn submit_tasks(
    shell: &Arc<Shell>,
    mut head: WorkflowSpec,
    mut tasks: Vec<Arc<TaskSpec>>,
    peer: Peer,
) -> Result<WorkflowAdded, Refusal> {
    let config = shell.live.config();
    config.workflows.fill_head(&mut head);
    head.check_with(tasks.len())?;
    check_compensations(tasks.iter().map(|task| &**task))?;
    let mut submitted = Submitted::new(&head.parameters);
    for (place, task) in tasks.iter_mut().enumerate() {
        // Nobody else has it yet.
        let own = Arc::make_mut(task);
        config.workflows.fill_task(own);
        own.bind_compensation();
        let checked = super::tasks::check(own).and_then(|()| submitted.check(own));
        checked.map_err(|refusal| refusal.of_task(place, &own.name))?;
        super::guard::check_spec(shell, task, peer).await?;
        // Of a million of them this thread has others to serve meanwhile.
        tokio::task::consume_budget().await;
    }
    let session = session_of(shell, &head, &mut tasks, peer).await?;
    let parameters = serde_json::to_string(&head.parameters).map_err(|error| {
        Refusal::new(Code::Malformed, "the parameters are no JSON").value(error.to_string())
    })?;
    let hooks = hooks::prepare(shell, &head.on_event, peer).await?;
    let options = NewWorkflow {
        name: head.name.as_str().into(),
        max_parallel: head.max_parallel,
        fail_fast: head.fail_fast,
        timeout: head.timeout,
        session,
    };
    let names: Vec<String> = tasks.iter().map(|task| task.name.clone()).collect();
    let owner = peer.uid;
    let (workflow, ids) = shell
        .ask(|answer| EngineRequest::AddWorkflow { specs: tasks, options, parameters, hooks, owner, answer })
        .await?;
    Ok(WorkflowAdded { workflow, name: head.name, tasks: names.into_iter().zip(ids).collect() })
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
    head: &WorkflowSpec,
    tasks: &mut [Arc<TaskSpec>],
    peer: Peer,
) -> Result<Option<SessionId>, Refusal> {
    let Some(name) = &head.session else {
        return match tasks.iter().find_map(|task| task.session.as_ref()) {
            Some(session) => Err(Refusal::new(Code::Malformed, "a task of a workflow has its session")
                .value(session.to_string())
                .hint("name the session of the workflow instead")),
            None => Ok(None),
        };
    };
    super::named_session::check_owner(shell, name, peer).await?;
    let id = super::named_session::resolve(shell, &name.to_string()).await?;
    tasks.iter_mut().for_each(|task| Arc::make_mut(task).session = Some(id.into()));
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
    let paused = paused(&shell).await?;
    let mut workflows = Vec::with_capacity(stored.len());
    for workflow in stored {
        workflows.push(document(&shell, workflow, &paused).await?);
    }
    json(workflows)
}

/// One workflow with its figures.
pub async fn show(State(shell): State<Arc<Shell>>, Id(id): Id) -> Answered<Workflow> {
    let id = WorkflowId(id);
    let stored = shell.read(move |history| history.workflow(id)).await?;
    let stored =
        stored.ok_or_else(|| Refusal::new(Code::NotFound, "no such workflow").value(id.to_string()))?;
    let paused = paused(&shell).await?;
    json(document(&shell, stored, &paused).await?)
}

/// What of a workflow nothing will start unless somebody does something. The engine is asked for it piece by piece.
pub async fn stuck(State(shell): State<Arc<Shell>>, Id(id): Id) -> Answered<Vec<Stuck>> {
    let id = WorkflowId(id);
    if shell.read(move |history| history.workflow(id)).await?.is_none() {
        return Err(Refusal::new(Code::NotFound, "no such workflow").value(id.to_string()).into());
    }
    let (mut search, mut is_over) = (StuckSearch::new(id), false);
    while !is_over {
        (search, is_over) = shell
            .look(move |core| {
                let is_over = search.look(core);
                (search, is_over)
            })
            .await?;
    }
    let mut found = search.into_found();
    super::element_names::fill(&shell, &mut found).await?;
    json(found.into_iter().map(documents::stuck).collect())
}

/// The workflows that an operator has paused.
async fn paused(shell: &Arc<Shell>) -> Result<Vec<WorkflowId>, Refusal> {
    let workflow = |scope: &Scope| match scope {
        Scope::Workflow(id) => Some(*id),
        Scope::All | Scope::Priority(_) | Scope::Resource(_) | Scope::Session(_) => None,
    };
    shell.look(move |core| core.paused_scopes().iter().filter_map(workflow).collect()).await
}

async fn document(
    shell: &Arc<Shell>,
    stored: StoredWorkflow,
    paused: &[WorkflowId],
) -> Result<Workflow, Refusal> {
    if let Some(known) = shell.readers.ended_workflows.get(&stored) {
        return Ok(known);
    }
    let (id, now) = (stored.record.id, shell.clock.now());
    let paused = paused.contains(&id);
    if stored.finished_at.is_none()
        && let Some(figures) = shell.statistics.read().workflows.get(id)
    {
        return Ok(Workflow { paused, ..documents::workflow(stored, figures, now) });
    }
    let (tasks, attempts) =
        shell.read(move |history| Ok((history.of_workflow(id)?, history.attempts_of(id)?))).await?;
    let document = documents::workflow(stored, &WorkflowFigures::of(&tasks, &attempts, now), now);
    let document = Workflow { paused, ..document };
    shell.readers.ended_workflows.keep(&document);
    Ok(document)
}
