//! Schedules: add, list, remove, pause, resume, run now.

use axum::Extension;
use axum::extract::State;
use orchd_api as api;
use orchd_core::{Command, Core, NewSchedule, Reply, TickOutcome, Trigger};
use orchd_model::{Code, DependencyTarget, Refusal, ScheduleSpec};
use orchd_store::StoredSchedule;
use orchd_workflow::Submitted;
use std::sync::Arc;

use super::answer::{Answered, Body, json};
use super::{Shell, guard, named_session};
use crate::calendar::Calendar;
use crate::documents;
use crate::engine::Request;
use crate::firing::Tick;
use crate::peer::Peer;
use crate::schedules::{self, adds_now, wall_clock};

/// Ticks to come that are shown.
const UPCOMING: usize = 5;

/// Adds a schedule.
pub async fn add(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Body(mut spec): Body<ScheduleSpec>,
) -> Answered<api::Schedule> {
    spec.check()?;
    let now = wall_clock();
    let calendar = Calendar::of(&spec, now)?;
    if spec.cron.is_some() && spec.timezone.is_none() {
        // What holds when it is added holds for ever, wherever the daemon moves.
        spec.timezone = calendar.zone().filter(|zone| zone != "local");
    }
    if let Some(workflow) = &mut spec.workflow {
        workflow.check()?;
        workflow.bind_compensations()?;
    }
    let adds = adds_now(&shell, &spec).await??;
    if let Some(task) = &adds.task {
        schedules::check(task)?;
        guard::check_spec(&shell, task, peer).await?;
    }
    if let Some(workflow) = &adds.workflow {
        let mut submitted = Submitted::new(&workflow.parameters);
        for (place, task) in workflow.tasks.iter().enumerate() {
            let checked = schedules::check(task).and_then(|()| submitted.check(task));
            checked.map_err(|refusal| refusal.of_task(place, &task.name))?;
            guard::check_spec(&shell, task, peer).await?;
        }
    }
    let adds = Arc::new(adds);
    let added = Arc::clone(&adds);
    shell.look(move |core| check_claims(core, &added)).await??;
    check_dependencies(&shell, &adds).await?;
    let sessions = adds.task.iter().filter_map(|task| task.session.as_ref());
    for session in sessions.chain(adds.workflow.iter().filter_map(|workflow| workflow.session.as_ref())) {
        named_session::resolve(&shell, &session.to_string()).await?;
    }
    let next = calendar.after(now).ok_or_else(|| Refusal::new(Code::Malformed, "there is no next tick"))?;
    let new = NewSchedule { spec: Arc::new(spec), owner: peer.uid, created_at: now, next };
    let command = Command::AddSchedule(Box::new(new));
    let reply = shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    shell.schedules.notify_one();
    let Reply::Scheduled(id) = reply else {
        return Err(Refusal::new(Code::WrongState, "not the answer to a schedule").into());
    };
    let stored = shell.read(move |history| history.schedule(id)).await?;
    json(document(stored.ok_or_else(|| unknown(&id.to_string()))?)?)
}

/// Whether the tasks that what is added depends on by their ids are known.
async fn check_dependencies(shell: &Arc<Shell>, adds: &ScheduleSpec) -> Result<(), Refusal> {
    let tasks = adds.task.iter().map(|task| &**task).chain(adds.workflow.iter().flat_map(|w| &w.tasks));
    for dependency in tasks.flat_map(|task| &task.dependencies) {
        let DependencyTarget::Id(id) = dependency.task else { continue };
        if shell.read(move |history| history.record(id)).await?.is_none() {
            return Err(Refusal::unknown_dependency(id));
        }
    }
    Ok(())
}

/// Whether what is added can ever have what it claims, as things are now.
fn check_claims(core: &Core, adds: &ScheduleSpec) -> Result<(), Refusal> {
    if let Some(task) = &adds.task {
        core.check_claims_of(task)?;
    }
    let tasks = adds.workflow.iter().flat_map(|workflow| &workflow.tasks);
    tasks.into_iter().enumerate().try_for_each(|(place, task)| {
        core.check_claims_of(task).map_err(|refusal| refusal.of_task(place, &task.name))
    })
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(Code::NotFound, "no such schedule").value(name)
}

/// Lists schedules by name.
pub async fn list(State(shell): State<Arc<Shell>>) -> Answered<Vec<api::Schedule>> {
    let stored = shell.read(|history| history.schedules()).await?;
    json(stored.into_iter().map(document).collect::<Result<_, _>>()?)
}

/// The schedule of this name or id.
async fn find(shell: &Arc<Shell>, name: &str) -> Result<StoredSchedule, Refusal> {
    let all = shell.read(|history| history.schedules()).await?;
    let names: Vec<String> = all.iter().map(|stored| stored.record.name.to_string()).collect();
    let id = name.parse().ok();
    let by_id = |stored: &StoredSchedule| id == Some(stored.record.id);
    let place = names.iter().position(|known| known == name).or_else(|| all.iter().position(by_id));
    match place.and_then(|place| all.into_iter().nth(place)) {
        Some(stored) => Ok(stored),
        None => Err(match orchd_model::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => unknown(name).hint(format!("did you mean {near}?")),
            None => unknown(name),
        }),
    }
}

/// Forgets a schedule; its runs go on.
pub async fn remove(
    State(shell): State<Arc<Shell>>,
    Body(named): Body<api::ScheduleNamed>,
) -> Answered<api::Schedule> {
    let found = find(&shell, &named.schedule).await?;
    let command = Command::RemoveSchedule { schedule: found.record.id };
    shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    json(document(found)?)
}

/// No ticks until it is resumed.
pub async fn pause(
    State(shell): State<Arc<Shell>>,
    Body(named): Body<api::ScheduleNamed>,
) -> Answered<api::Schedule> {
    set_paused(&shell, &named.schedule, true).await
}

/// Ticks again, from now on.
pub async fn resume(
    State(shell): State<Arc<Shell>>,
    Body(named): Body<api::ScheduleNamed>,
) -> Answered<api::Schedule> {
    set_paused(&shell, &named.schedule, false).await
}

async fn set_paused(shell: &Arc<Shell>, name: &str, paused: bool) -> Answered<api::Schedule> {
    let found = find(shell, name).await?;
    let schedule = found.record.id;
    let next = Calendar::of(&found.spec, found.record.created_at)?.after(wall_clock());
    let command = Command::PauseSchedule { schedule, paused, next };
    shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    shell.schedules.notify_one();
    let stored = shell.read(move |history| history.schedule(schedule)).await?;
    json(document(stored.ok_or_else(|| unknown(name))?)?)
}

/// A run now, beside the ticks of its calendar.
pub async fn run(
    State(shell): State<Arc<Shell>>,
    Body(named): Body<api::ScheduleNamed>,
) -> Answered<api::Schedule> {
    let found = find(&shell, &named.schedule).await?;
    let schedule = found.record.id;
    let tick = Tick {
        schedule,
        trigger: Trigger::Operator,
        at: wall_clock(),
        next: None,
        missed: 0,
        adds: Some(adds_now(&shell, &found.spec).await?),
        owner: found.record.owner,
    };
    if let Reply::Ticked(TickOutcome::Refused(why)) =
        shell.ask(|answer| Request::Fire { tick, answer }).await?
    {
        return Err(Refusal::new(Code::WrongState, format!("the run was refused: {why}")).into());
    }
    let stored = shell.read(move |history| history.schedule(schedule)).await?;
    json(document(stored.ok_or_else(|| unknown(&named.schedule))?)?)
}

fn document(stored: StoredSchedule) -> Result<api::Schedule, Refusal> {
    let StoredSchedule { record, spec } = stored;
    let calendar = Calendar::of(&spec, record.created_at)?;
    let adds = match (&spec.workflow, &spec.definition, &spec.task) {
        (Some(workflow), _, _) => api::ScheduledWork::Workflow(workflow.name.clone()),
        (None, Some(run), _) => api::ScheduledWork::Definition(run.name.clone()),
        (None, None, task) => {
            api::ScheduledWork::Task(task.as_ref().map_or_else(String::new, |task| task.name.clone()))
        }
    };
    Ok(api::Schedule {
        id: record.id,
        name: record.name.into(),
        owner: record.owner,
        timezone: calendar.zone(),
        cron: spec.cron,
        every: spec.every,
        overlap: spec.overlap,
        catch_up: spec.catch_up,
        adds,
        created_at: record.created_at,
        paused: record.paused,
        upcoming: calendar.from(record.next.filter(|_| !record.paused), UPCOMING),
        last: record.last.map(|(at, outcome)| documents::tick(at, outcome)),
        queued: record.queued.into(),
        started: record.started,
        skipped: record.skipped,
        missed: record.missed,
    })
}
