//! Reports: what became of many tasks, from what the store has of them.
//!
//! The tasks are read page by page and in the order of their ids. Of each a few numbers are remembered until all
//! have been read, so a report on a million tasks takes some hundred megabytes for some seconds, and no more of the
//! store than one reader.

mod claims;
mod failures;
mod life;
mod limits;
mod path;
mod times;
mod waits;

use orchd_api::{Report, SlowTask, StatusCounts};
use orchd_core::Runner;
use orchd_model::{Span, TaskId, Time};
use orchd_store::{Filter, History, StoreError, StoredAttempt, StoredTask};
use std::collections::BTreeMap;

use crate::at_once::AtOnce;
use claims::Uses;
use failures::Failed;
use life::{Life, each};
pub use life::{page_of, wanted};
use limits::Limits;
use times::times;
pub use waits::Scene;
use waits::{Holdings, longest_waits};

/// Slow tasks that are named.
const SLOWEST: usize = 20;
/// Of tasks that a report is not about, so many are looked at for what they held.
const OTHERS: usize = 200_000;

/// What has been read so far.
#[derive(Default)]
struct Gathered {
    tasks: StatusCounts,
    attempts: u64,
    waits: Vec<u64>,
    runs: Vec<u64>,
    slowest: Vec<(TaskId, Span)>,
    failed: Failed,
    uses: Uses,
    holdings: Holdings,
    lives: Vec<Life>,
    at_once: AtOnce,
}

impl Gathered {
    fn note(&mut self, task: &StoredTask, attempts: &[StoredAttempt], now: Time) {
        let record = &task.record;
        self.tasks.add(record.status(), record.range().len());
        if let Some(started_at) = record.first_started_at {
            self.waits.push(started_at.since(record.run_at).0);
        }
        for attempt in attempts {
            self.runs.push(attempt.end.execution_time.0);
        }
        if let Some(longest) = attempts.iter().map(|attempt| attempt.end.execution_time).max() {
            self.note_slow(record.id, longest);
        }
        let stretches = life::stretches(record, attempts, now);
        self.attempts += stretches.len() as u64;
        if record.demand.runner != Runner::Claimant {
            stretches.iter().for_each(|stretch| self.at_once.ran(stretch.from, stretch.ran_to));
        }
        self.failed.note(task);
        self.uses.note(record, attempts);
        self.holdings.note(&record.demand, &stretches);
        self.lives.push(Life::new(task, &stretches));
    }

    fn note_slow(&mut self, task: TaskId, time: Span) {
        let place = self.slowest.partition_point(|(_, longer)| *longer >= time);
        if place < SLOWEST {
            self.slowest.insert(place, (task, time));
            self.slowest.truncate(SLOWEST);
        }
    }
}

/// Makes the report on what a filter selects. The path that decided when it ended is only looked for in a workflow.
///
/// # Errors
/// When the store cannot be read.
pub fn report(history: &mut dyn History, filter: &Filter, scene: &Scene) -> Result<Report, StoreError> {
    let mut gathered = Gathered::default();
    let wanted = wanted(history, filter)?;
    each(history, filter, &wanted, |task, attempts| gathered.note(&task, &attempts, scene.now))?;
    let ends = life::ends(history, &gathered.lives)?;
    let ready: Vec<Option<life::Turn>> =
        gathered.lives.iter().map(|life| life.turn(&ends, scene.now)).collect();
    let waiting = waits::longest(&gathered.lives, &ready);
    let turns = || waiting.iter().filter_map(|place| ready[*place]);
    if let (Some(from), Some(to)) = (turns().map(|turn| turn.from).min(), turns().map(|turn| turn.to).max()) {
        note_others(history, filter, &mut gathered, life::Turn { from, to }, scene.now)?;
    }
    let peak_concurrency = std::mem::take(&mut gathered.at_once).most();
    let holdings = std::mem::take(&mut gathered.holdings);
    let waiters = waiting.iter().map(|place| &*gathered.lives[*place].demand);
    let limits = Limits::read(history, waiters)?;
    let (waits, longest_waits) = longest_waits(&gathered.lives, &ready, &waiting, holdings, (scene, &limits));
    let path = match filter.workflow {
        Some(_) => path::critical(&gathered.lives, scene.now),
        None => Vec::new(),
    };
    let named = gathered.slowest.iter().map(|(id, _)| *id);
    let named = named.chain(longest_waits.iter().map(|wait| wait.id)).chain(path.iter().map(|step| step.id));
    let ids: Vec<TaskId> = named.chain(gathered.failed.ids()).collect();
    let names = Names(history.names(&ids)?.into_iter().collect());
    let (usage, name_count) = gathered.uses.compared();
    let first = gathered.lives.iter().map(|life| life.submitted_at).min();
    let has_ended = gathered.lives.iter().all(|life| life.finished_at.is_some());
    let last = gathered.lives.iter().filter_map(|life| life.finished_at).max();
    Ok(Report {
        workflow: None,
        from: first,
        to: if has_ended { last } else { Some(scene.now) },
        tasks: gathered.tasks,
        attempts: gathered.attempts,
        peak_concurrency,
        wait_time: times(gathered.waits),
        ready_time: times(life::started_after(&gathered.lives, &ready)),
        run_time: times(gathered.runs),
        slowest: gathered
            .slowest
            .into_iter()
            .map(|(id, execution_time)| SlowTask { id, name: names.of(id), execution_time })
            .collect(),
        failures: gathered.failed.document(&names),
        waits,
        longest_waits: longest_waits.into_iter().map(|wait| names.name_wait(wait)).collect(),
        usage,
        names: name_count,
        critical_path: path.into_iter().map(|step| names.name_step(step)).collect(),
    })
}

/// Adds what tasks that the report is not about held in a time.
fn note_others(
    history: &mut dyn History,
    selection: &Filter,
    gathered: &mut Gathered,
    time: life::Turn,
    now: Time,
) -> Result<(), StoreError> {
    if *selection == Filter::default() {
        // There are no others.
        return Ok(());
    }
    let known = &gathered.lives;
    let is_other = |id: TaskId| known.binary_search_by_key(&id, |life| life.id).is_err();
    for (record, attempts) in history.held_between(time.from, time.to, OTHERS)? {
        let is_of_it = selection.workflow.is_some() && record.demand.workflow == selection.workflow;
        if is_other(record.id) && !is_of_it {
            gathered.holdings.note(&record.demand, &life::stretches(&record, &attempts, now));
        }
    }
    Ok(())
}

/// Names of the tasks that a report speaks of.
struct Names(BTreeMap<TaskId, Box<str>>);

impl Names {
    fn of(&self, id: TaskId) -> String {
        self.0.get(&id).map(ToString::to_string).unwrap_or_default()
    }

    fn name_wait(&self, wait: orchd_api::LongWait) -> orchd_api::LongWait {
        orchd_api::LongWait { name: self.of(wait.id), ..wait }
    }

    fn name_step(&self, step: orchd_api::PathStep) -> orchd_api::PathStep {
        orchd_api::PathStep { name: self.of(step.id), ..step }
    }
}
