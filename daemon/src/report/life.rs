//! What is remembered of a task: when it was submitted, could start, started and ended.

use orchd_core::{Demand, Edge, Phase, TaskRecord};
use orchd_model::{Priority, Status, TaskId, TaskRange, Time, WorkflowId};
use orchd_store::{Filter, History, StoreError, StoredAttempt, StoredTask};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::http::list::read;

/// Tasks that are read at once.
const PAGE: usize = 1000;
/// The times of a task, and what they depend on.
pub struct Life {
    pub id: TaskId,
    pub submitted_at: Time,
    not_before: Option<Time>,
    pub edges: Box<[Edge]>,
    pub first_started_at: Option<Time>,
    pub finished_at: Option<Time>,
    /// Which part of its workflow it belongs to.
    pub part: Part,
    /// Whether it did what it should or failed, even without an attempt: a milestone, or a task made of others.
    has_passed: bool,
    pub demand: Arc<Demand>,
    /// Its class, as its user gave it.
    pub priority: Priority,
    /// The variant that it took at last; the first one while it has taken none.
    pub variant: Option<u32>,
}

/// The parts of a workflow, each of which begins when the one before it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Body,
    /// One after the other.
    Undoing,
    End,
}

/// From when on a task could start, and until when it did not.
#[derive(Clone, Copy)]
pub struct Turn {
    pub from: Time,
    pub to: Time,
}

impl Life {
    pub fn new(task: &StoredTask, stretches: &[Stretch]) -> Self {
        let record = &task.record;
        Self {
            id: record.id,
            submitted_at: record.run_at,
            not_before: record.not_before,
            edges: record.edges.clone(),
            first_started_at: record.first_started_at,
            finished_at: task.finished_at,
            part: match record.role {
                // It is one of those at the end, too.
                role if role.compensation.is_some() => Part::Undoing,
                role if role.finally => Part::End,
                _ => Part::Body,
            },
            has_passed: matches!(record.status(), Status::Completed | Status::Failed),
            demand: Arc::clone(&record.demand),
            priority: record.priority,
            variant: stretches
                .last()
                .map_or_else(|| record.demand.numbers().next().flatten(), |last| last.variant),
        }
    }

    /// When it began; a task without an attempt of its own when it ended, none when it was ruled out.
    pub fn began_at(&self) -> Option<Time> {
        self.first_started_at.or(self.finished_at.filter(|_| self.has_passed))
    }

    /// Its turn; none when it never came: it was ruled out, or something that it depends on has not ended.
    pub fn turn(&self, ends: &Ends, now: Time) -> Option<Turn> {
        let to = match (self.first_started_at, self.finished_at) {
            (Some(started_at), _) => started_at,
            (None, Some(_)) => return None,
            (None, None) => now,
        };
        let mut from = self.submitted_at.max(self.not_before.unwrap_or_default());
        if let Some(workflow) = self.demand.workflow.filter(|_| self.part != Part::Body) {
            from = from.max(ends.others.get(&workflow).copied().unwrap_or_default());
        }
        for edge in &self.edges {
            match ends.tasks.get(&edge.task) {
                Some(end) => from = from.max(*end),
                // One that is no longer known ended long ago.
                None if self.first_started_at.is_some() => {}
                None => return None,
            }
        }
        // What it depends on may have been run again since it started.
        Some(Turn { from: from.min(to), to })
    }
}

/// The time of an attempt.
#[derive(Clone, Copy)]
pub struct Stretch {
    /// When it started.
    pub from: Time,
    /// When its processes ended.
    pub ran_to: Time,
    /// When that was known, and what it had claimed was free again.
    pub held_to: Time,
    /// Which variant of its claims it held.
    pub variant: Option<u32>,
}

/// The times of the attempts; the one under way until now.
pub fn stretches(record: &TaskRecord, attempts: &[StoredAttempt], now: Time) -> Vec<Stretch> {
    let ended = attempts.iter().map(|StoredAttempt { end, finished_at }| Stretch {
        from: end.started_at,
        ran_to: end.started_at + end.execution_time,
        held_to: *finished_at,
        variant: end.variant,
    });
    let running = match record.phase {
        Phase::Running { started_at, variant, .. } => {
            Some(Stretch { from: started_at, ran_to: now, held_to: now, variant })
        }
        Phase::Waiting
        | Phase::Checking
        | Phase::Computing
        | Phase::Delayed { .. }
        | Phase::Ready { .. }
        | Phase::Ended(_)
        | Phase::Skipped(_) => None,
    };
    ended.chain(running).collect()
}

/// How long tasks that have started waited for their turn, microseconds.
pub fn started_after(lives: &[Life], turns: &[Option<Turn>]) -> Vec<u64> {
    let started = lives.iter().zip(turns).filter(|(life, _)| life.first_started_at.is_some());
    started.filter_map(|(_, turn)| turn.map(|turn| turn.to.since(turn.from).0)).collect()
}

/// When tasks ended.
pub struct Ends {
    tasks: BTreeMap<TaskId, Time>,
    /// Of a workflow the last one that does not wait for all others.
    others: BTreeMap<WorkflowId, Time>,
}

/// When each task ended that is here, or that one here depends on.
///
/// # Errors
/// When the store cannot be read.
pub fn ends(history: &mut dyn History, lives: &[Life]) -> Result<Ends, StoreError> {
    let mut others: BTreeMap<WorkflowId, Time> = BTreeMap::new();
    for life in lives.iter().filter(|life| life.part == Part::Body) {
        if let (Some(workflow), Some(end)) = (life.demand.workflow, life.finished_at) {
            let last = others.entry(workflow).or_insert(end);
            *last = end.max(*last);
        }
    }
    let mut ends: BTreeMap<TaskId, Time> =
        lives.iter().filter_map(|life| Some((life.id, life.finished_at?))).collect();
    let is_here = |id: TaskId| lives.binary_search_by_key(&id, |life| life.id).is_ok();
    let mut elsewhere: Vec<TaskId> =
        lives.iter().flat_map(|life| &life.edges).map(|edge| edge.task).filter(|id| !is_here(*id)).collect();
    elsewhere.sort_unstable();
    elsewhere.dedup();
    for id in elsewhere {
        if let Some(end) = history.task(id)?.and_then(|task| task.finished_at) {
            ends.insert(id, end);
        }
    }
    Ok(Ends { tasks: ends, others })
}

/// What a filter selects, by id, so that neighbours are read together.
///
/// # Errors
/// When the store cannot be read.
pub fn wanted(history: &mut dyn History, filter: &Filter) -> Result<Vec<TaskRange>, StoreError> {
    let mut wanted = history.ids(filter)?;
    wanted.sort_unstable_by_key(|range| range.first);
    Ok(wanted)
}

/// Reads these tasks with their attempts, by id, those that still match. Few are in memory at a time.
///
/// # Errors
/// When the store cannot be read.
pub fn each(
    history: &mut dyn History,
    filter: &Filter,
    wanted: &[TaskRange],
    mut note: impl FnMut(StoredTask, Vec<StoredAttempt>),
) -> Result<(), StoreError> {
    for page in wanted.chunks(PAGE) {
        for (task, attempts) in page_of(history, filter, page)? {
            note(task, attempts);
        }
    }
    Ok(())
}

/// A page of tasks with their attempts, by id.
///
/// # Errors
/// When the store cannot be read.
pub fn page_of(
    history: &mut dyn History,
    filter: &Filter,
    page: &[TaskRange],
) -> Result<Vec<(StoredTask, Vec<StoredAttempt>)>, StoreError> {
    let mut tasks = read(history, page, filter)?;
    tasks.sort_unstable_by_key(|task| task.record.id);
    let mut found = Vec::with_capacity(tasks.len());
    for task in tasks {
        let has_some = task.record.attempts.0 > 0;
        let attempts = if has_some { history.attempts(task.record.id)? } else { Vec::new() };
        found.push((task, attempts));
    }
    Ok(found)
}
