//! What operators do: cancel, retry, pause, look at figures, end the daemon.

use axum::extract::State;
use orchd_api as api;
use orchd_core::{Command, Reply, Scope};
use orchd_model::{Code, Refusal, Status, TaskId, TaskRange};
use orchd_store::Filter;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::{Answered, Body, json};
use super::tasks::unknown;
use super::{Shell, element_names};
use crate::documents;
use crate::engine::Request;

/// What has not ended.
pub const OPEN: [Status; 3] = [Status::Pending, Status::Running, Status::Retrying];

/// Who answers.
pub async fn daemon(State(shell): State<Arc<Shell>>) -> Answered<api::Daemon> {
    let (paused, running) = {
        let figures = shell.statistics.read();
        (figures.picture.paused, figures.picture.counters.by_status[Status::Running.index()])
    };
    let state = match shell.shutdown.is_under_way() {
        true => api::DaemonState::ShuttingDown,
        false if paused => api::DaemonState::Paused,
        false => api::DaemonState::Serving,
    };
    json(api::Daemon {
        state,
        running,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        state_dir: shell.state_dir.display().to_string(),
        features: Vec::new(),
    })
}

/// Refuses a selector that says two things: whoever means all and names some would be served in one way only.
pub fn check_selector(selector: &api::Selector) -> Result<(), Refusal> {
    let api::Selector { ids, tag, session, workflow, all } = selector;
    let has_label = tag.is_some() || session.is_some() || workflow.is_some();
    let given: Vec<&str> =
        [(!ids.is_empty(), "ids"), (has_label, "a tag, session or workflow"), (*all, "all")]
            .into_iter()
            .filter_map(|(given, what)| given.then_some(what))
            .collect();
    match given[..] {
        [] => Err(Refusal::new(Code::Malformed, "nothing is selected")
            .hint("name ids, a tag, a session, a workflow, or all")),
        [_] => Ok(()),
        _ => Err(Refusal::new(Code::Malformed, "more than one way to select tasks")
            .value(given.join(" and "))
            .hint("give one of them; a tag, a session and a workflow together mean the tasks that have them all")),
    }
}

/// The tasks that a selector means.
pub async fn select(shell: &Arc<Shell>, selector: api::Selector) -> Result<Vec<TaskRange>, Refusal> {
    check_selector(&selector)?;
    let api::Selector { ids, tag, session, workflow, all: _ } = selector;
    if !ids.is_empty() {
        return Ok(ids);
    }
    let query = api::ListQuery { tag, session, workflow, limit: Some(0), ..api::ListQuery::default() };
    let filter = Filter { statuses: OPEN.to_vec(), ..super::list::filter(shell, query).await? };
    shell.read(move |history| history.ids(&filter)).await
}

/// Cancels tasks; says for each what became of it.
pub async fn cancel(
    State(shell): State<Arc<Shell>>,
    Body(selector): Body<api::Selector>,
) -> Answered<Vec<api::OperationResult>> {
    let is_named = !selector.ids.is_empty();
    // What a workflow does at its end is done also when it is cancelled.
    let (spares, whole) = (!is_named && !selector.all, selector.tag.is_none());
    let tasks = select(&shell, selector).await?;
    let command = if spares { Command::CancelSparing { tasks, whole } } else { Command::Cancel { tasks } };
    let reply = shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    let mut results = results(&shell, reply).await?;
    if !is_named {
        // Meant was what has not ended; some of it may have ended since it was looked for.
        results.retain(|result| result.error.as_ref().is_none_or(|error| error.code != Code::WrongState));
    }
    json(results)
}

/// Runs ended tasks again.
pub async fn retry(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::TaskIds>,
) -> Answered<Vec<api::OperationResult>> {
    let reply = shell.ask(|answer| Request::Retry { ids: request.ids, answer }).await?;
    json(results(&shell, reply).await?)
}

/// What became of each task. The scheduler does not know those that ended long ago; the store does.
pub async fn results(shell: &Arc<Shell>, reply: Reply) -> Result<Vec<api::OperationResult>, Refusal> {
    let Reply::Tasks(tasks) = reply else { return Ok(Vec::new()) };
    let mut results = Vec::with_capacity(tasks.len());
    for (range, outcome) in tasks {
        let (status, error) = match outcome {
            Ok(status) => (Some(status), None),
            Err(refusal) => {
                let tally = shell.read(move |history| history.tally(range)).await?;
                let refusal = if refusal.code == Code::NotFound { ended(range, &tally) } else { refusal };
                (tally.into_iter().max_by_key(|(_, count)| *count).map(|(status, _)| status), Some(refusal))
            }
        };
        results.push(api::OperationResult::new(range, status, error));
    }
    Ok(results)
}

/// Why nothing is done to tasks that the scheduler does not know.
fn ended(range: TaskRange, tally: &BTreeMap<Status, u64>) -> Refusal {
    let statuses: Vec<&str> = tally.keys().map(|status| status.as_str()).collect();
    match (range.single(), tally.values().sum::<u64>()) {
        (Some(id), 0) => unknown(id),
        (None, 0) => Refusal::new(Code::NotFound, "no such tasks").value(range.to_string()),
        (Some(id), _) => {
            Refusal::new(Code::WrongState, format!("task {id} has ended")).value(statuses.join(", "))
        }
        (None, count) => {
            let message = format!("{count} of the tasks {range} have ended");
            Refusal::new(Code::WrongState, message).value(statuses.join(", "))
        }
    }
}

async fn scope(shell: &Arc<Shell>, request: api::PauseRequest) -> Result<Scope, Refusal> {
    let given = [
        request.resource.is_some(),
        request.session.is_some(),
        request.workflow.is_some(),
        request.priority.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() > 1 {
        return Err(Refusal::new(Code::Malformed, "one scope at a time"));
    }
    Ok(match request {
        api::PauseRequest { priority: Some(priority), .. } => Scope::Priority(priority),
        api::PauseRequest { resource: Some(name), .. } => Scope::Resource(name.parse()?),
        api::PauseRequest { workflow: Some(name), .. } => {
            Scope::Workflow(super::workflows::resolve(shell, None, &name).await?)
        }
        api::PauseRequest { session: Some(name), .. } => {
            Scope::Session(super::named_session::resolve(shell, &name).await?)
        }
        api::PauseRequest { .. } => Scope::All,
    })
}

/// No new starts in a scope.
pub async fn pause(State(shell): State<Arc<Shell>>, Body(request): Body<api::PauseRequest>) -> Answered<()> {
    let create = request.create;
    let command = Command::Pause { scope: scope(&shell, request).await?, create };
    shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    json(())
}

/// Ends a pause.
pub async fn resume(State(shell): State<Arc<Shell>>, Body(request): Body<api::PauseRequest>) -> Answered<()> {
    let command = Command::Resume(scope(&shell, request).await?);
    shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    json(())
}

/// Counts, times, rates, resources.
pub async fn stats(State(shell): State<Arc<Shell>>) -> Answered<api::Stats> {
    let (mut resources, workers) = shell.look(|core| (core.resources(), core.workers())).await?;
    element_names::fill(&shell, &mut resources).await?;
    let slowest = shell.statistics.read().distributions.slowest().to_vec();
    let ids: Vec<TaskId> = slowest.iter().map(|(id, _)| *id).collect();
    let (bytes, names) = shell.read(move |history| Ok((history.size_bytes()?, history.names(&ids)?))).await?;
    let attached = || workers.iter().filter(|worker| worker.attached && !worker.claimant);
    let used: usize = attached().map(|worker| worker.tasks.len()).sum();
    let mut stats = documents::stats(&shell.statistics.read(), shell.clock.now(), shell.clock.started_at());
    stats.workers = attached().count();
    stats.slots = api::Slots {
        used: u32::try_from(used).unwrap_or(u32::MAX),
        total: attached().map(|worker| worker.slots).sum(),
    };
    stats.resources = resources.into_iter().map(documents::resource).collect();
    stats.slowest = documents::slowest(&slowest, names);
    stats.store.bytes = bytes;
    stats.shutting_down = shell.shutdown.is_under_way();
    json(stats)
}

/// Every resource.
pub async fn resources(State(shell): State<Arc<Shell>>) -> Answered<Vec<api::Resource>> {
    let mut resources = shell.look(orchd_core::Core::resources).await?;
    element_names::fill(&shell, &mut resources).await?;
    json(resources.into_iter().map(documents::resource).collect())
}

/// Ends the daemon, or lets it go on after all; answers before it ends.
pub async fn shutdown(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::ShutdownRequest>,
) -> Answered<()> {
    shell.shutdown.ask(request.mode).await?;
    json(())
}
