//! A task in memory: the persistent facts in their compact form, and what is derived from other tasks.

use orchd_model::{
    AttemptNumber, Kept, On, Priority, Progress, ResourceName, RetryPolicy, Sequence, Span, Status, TaskId,
    Time, WorkerId,
};
use std::sync::Arc;

use crate::demand::Demand;
use crate::record::{Edge, Key, Phase, Role, TaskRecord, status};

/// What few tasks have; apart, so that the others stay small.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub timeout: Option<Span>,
    pub deadline: Option<Span>,
    pub not_before: Option<Time>,
    pub key: Option<Key>,
    pub array: Option<TaskId>,
    /// Invariant: zero without an array, and for whatever has started or is depended on.
    pub more: u64,
    pub claimant: Option<WorkerId>,
    /// Invariant: empty unless the task runs.
    pub loosened: Vec<(ResourceName, Kept)>,
    pub progress: Option<Progress>,
    pub role: Role,
}

/// One edge, seen from the task that must end first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dependent {
    pub task: TaskId,
    pub on: On,
    /// The run of the dependent that it belongs to.
    pub run_at: Time,
}

/// Who waits for a task.
#[derive(Debug, Default)]
pub(crate) struct Dependents {
    /// Every edge that points to this task, in the order they were added; entries of tasks that have ended
    /// meanwhile stay, those of former runs too.
    pub edges: Vec<Dependent>,
    /// How many unfinished dependents compete in each class.
    pub by_class: [u32; 4],
}

/// A task in memory.
#[derive(Debug)]
pub(crate) struct Task {
    pub name: Box<str>,
    pub owner: u32,
    pub priority: Priority,
    pub conditional: bool,
    pub hold: bool,
    /// Whether a worker was given it ahead of a slot; then it stands in no queue.
    pub placed: bool,
    /// Derived: its claimant is not connected; then it stands in no queue.
    pub away: bool,
    /// Derived: another of its session goes first; then it stands in no queue.
    pub behind: bool,
    /// Derived: the best class of an unfinished dependent, if it is better than `priority`.
    pub inherited: Option<Priority>,
    /// Derived: the queue of its demand.
    pub queue: usize,
    pub edges: Box<[Edge]>,
    /// Derived: edges whose task has not ended.
    pub unmet: u32,
    /// Derived.
    pub dependents: Option<Box<Dependents>>,
    pub retry: Arc<RetryPolicy>,
    pub limits: Option<Box<Limits>>,
    pub created_at: Time,
    pub run_at: Time,
    pub first_started_at: Option<Time>,
    pub attempts: AttemptNumber,
    pub tries: u32,
    pub losses: u32,
    pub phase: Phase,
    /// The event that ended it; zero before.
    pub ended_by: Sequence,
}

impl Task {
    /// Takes a record into memory; `queue` is the one of its demand.
    pub fn new(record: TaskRecord, queue: usize) -> Self {
        let limits = Limits {
            timeout: record.timeout,
            deadline: record.deadline,
            not_before: record.not_before,
            key: record.key,
            array: record.array,
            more: record.more,
            claimant: record.claimant,
            loosened: record.loosened,
            progress: record.progress,
            role: record.role,
        };
        let limited = limits.timeout.is_some()
            || limits.deadline.is_some()
            || limits.not_before.is_some()
            || limits.key.is_some()
            || limits.array.is_some()
            || limits.claimant.is_some()
            || limits.progress.is_some()
            || !limits.loosened.is_empty()
            || limits.role != Role::default();
        Self {
            name: record.name,
            owner: record.owner,
            priority: record.priority,
            conditional: record.conditional,
            hold: record.hold,
            placed: false,
            away: false,
            behind: false,
            inherited: None,
            queue,
            edges: record.edges,
            unmet: 0,
            dependents: None,
            retry: record.retry,
            limits: limited.then(|| Box::new(limits)),
            created_at: record.created_at,
            run_at: record.run_at,
            first_started_at: record.first_started_at,
            attempts: record.attempts,
            tries: record.tries,
            losses: record.losses,
            phase: record.phase,
            ended_by: Sequence(0),
        }
    }

    /// The persistent facts of this task.
    pub fn record(&self, id: TaskId, demand: &Arc<Demand>) -> TaskRecord {
        let limits = self.limits.as_deref();
        TaskRecord {
            id,
            name: self.name.clone(),
            owner: self.owner,
            priority: self.priority,
            demand: Arc::clone(demand),
            edges: self.edges.clone(),
            conditional: self.conditional,
            retry: Arc::clone(&self.retry),
            timeout: limits.and_then(|l| l.timeout),
            deadline: limits.and_then(|l| l.deadline),
            not_before: limits.and_then(|l| l.not_before),
            key: limits.and_then(|l| l.key.clone()),
            hold: self.hold,
            created_at: self.created_at,
            run_at: self.run_at,
            first_started_at: self.first_started_at,
            attempts: self.attempts,
            tries: self.tries,
            losses: self.losses,
            phase: self.phase.clone(),
            array: limits.and_then(|l| l.array),
            more: self.more(),
            claimant: self.claimant(),
            loosened: limits.map_or_else(Vec::new, |l| l.loosened.clone()),
            progress: limits.and_then(|l| l.progress.clone()),
            role: self.role(),
        }
    }

    /// Its part in what others do.
    pub fn role(&self) -> Role {
        self.limits.as_ref().map(|limits| limits.role).unwrap_or_default()
    }

    /// Changes its part in what others do.
    pub fn set_role(&mut self, change: impl FnOnce(&mut Role)) {
        change(&mut self.limits.get_or_insert_default().role);
    }

    /// The client that runs it and ends with it, for an ad-hoc claim.
    pub fn claimant(&self) -> Option<WorkerId> {
        self.limits.as_ref()?.claimant
    }

    /// What its attempt keeps of a claim that it has loosened.
    pub fn kept(&self, resource: &ResourceName) -> Option<Kept> {
        let loosened = &self.limits.as_ref()?.loosened;
        loosened.iter().find(|(name, _)| name == resource).map(|(_, kept)| *kept)
    }

    /// Notes what its attempt keeps of a claim; none: all claims are whole again.
    pub fn note_kept(&mut self, loosened: Option<(&ResourceName, Kept)>) {
        let Some((resource, kept)) = loosened else {
            if let Some(limits) = &mut self.limits {
                limits.loosened.clear();
            }
            return;
        };
        let all = &mut self.limits.get_or_insert_default().loosened;
        all.retain(|(name, _)| name != resource);
        all.push((resource.clone(), kept));
    }

    /// How far its attempt has come, as it says.
    pub fn progress(&self) -> Option<&Progress> {
        self.limits.as_ref()?.progress.as_ref()
    }

    /// Notes how far its attempt has come; none: it has said nothing yet.
    pub fn note_progress(&mut self, progress: Option<&Progress>) {
        if progress.is_some() || self.limits.is_some() {
            self.limits.get_or_insert_default().progress = progress.cloned();
        }
    }

    /// How many tasks after its own id it stands for as well.
    pub fn more(&self) -> u64 {
        self.limits.as_ref().map_or(0, |limits| limits.more)
    }

    /// How many tasks it stands for.
    pub fn count(&self) -> u64 {
        self.more() + 1
    }

    /// Changes how many tasks an element of an array stands for.
    pub fn set_more(&mut self, more: u64) {
        if let Some(limits) = &mut self.limits {
            limits.more = more;
        }
    }

    /// The status that users see.
    pub fn status(&self) -> Status {
        status(&self.phase, self.tries, self.losses)
    }

    /// Which of its variants it runs in; none while it does not run, and for one without.
    pub fn variant(&self) -> Option<u32> {
        match self.phase {
            Phase::Running { variant, .. } => variant,
            Phase::Waiting
            | Phase::Computing
            | Phase::Checking
            | Phase::Delayed { .. }
            | Phase::Ready { .. }
            | Phase::Ended(_)
            | Phase::Skipped(_) => None,
        }
    }

    /// Whether this run is over.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_) | Phase::Skipped(_))
    }

    /// The class it competes in before aging: its own or an inherited one.
    pub fn base_class(&self) -> Priority {
        self.inherited.map_or(self.priority, |class| class.min(self.priority))
    }

    /// The best class that its dependents lend it, if that is better than its own.
    pub fn lent_class(&self) -> Option<Priority> {
        let by_class = self.dependents.as_ref()?.by_class;
        let best = Priority::ALL.into_iter().find(|class| by_class[class.index()] > 0);
        best.filter(|class| *class < self.priority)
    }

    /// Since when it stands in its queue, if it does.
    pub fn queued_since(&self) -> Option<Time> {
        self.ready_since().filter(|_| !self.behind)
    }

    /// Since when nothing but its turn, its claims and a slot stand between it and its start, if so.
    pub fn ready_since(&self) -> Option<Time> {
        match self.phase {
            Phase::Ready { since } if !self.hold && !self.placed && !self.away => Some(since),
            _ => None,
        }
    }

    /// Whether it would stand in its queue if its client were back.
    pub fn is_awaited(&self) -> bool {
        self.away && !self.hold && matches!(self.phase, Phase::Ready { .. })
    }

    /// When this run meets its deadline.
    pub fn deadline_at(&self) -> Option<Time> {
        self.limits.as_ref()?.deadline.map(|span| self.run_at + span)
    }

    /// The limit of one attempt.
    pub fn timeout(&self) -> Option<Span> {
        self.limits.as_ref()?.timeout
    }

    /// When an attempt that starts at `start` is ended at the latest, if it is.
    pub fn ends_by(&self, start: Time) -> Option<Time> {
        let timeout = self.timeout().map(|timeout| start + timeout);
        timeout.into_iter().chain(self.deadline_at()).min()
    }

    /// When this run may start at the earliest.
    pub fn not_before(&self) -> Option<Time> {
        self.limits.as_ref()?.not_before
    }
}
