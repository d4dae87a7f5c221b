//! The persistent facts: what a restart needs to know of a task, a workflow and the whole.
//!
//! Records are what the store keeps beside the journal. They hold nothing that can be derived from other
//! records: places in queues, counts of unmet dependencies and inherited classes are worked out on load.

use orchd_model::{
    Amount, AttemptNumber, FailFast, Kept, On, Overlap, Priority, Progress, ResourceName, ResourceSetting,
    RetryPolicy, ScheduleId, Sequence, SessionId, SessionMode, SessionStatus, Span, Status, TaskId,
    TaskRange, TaskSpec, Time, Token, WorkerId, WorkflowId, WorkflowStatus,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::blocked::Blocked;
use crate::compensation::Compensation;
use crate::demand::Demand;
use crate::reserved::Reserved;
use crate::resource_state::ResourceState;

/// What runs a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Runner {
    /// A process worker.
    Process,
    /// A worker that registered this handler (`module.action`).
    Handler(Box<str>),
    /// Nothing: a milestone completes when it is reached.
    Nothing,
    /// The client that asked for it: an ad-hoc claim.
    Claimant,
    /// The shell: it becomes its elements, or ends with what is worked out from the results of others.
    Computed,
}

/// A dependency on a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The task that must end first.
    pub task: TaskId,
    /// How it must end.
    pub on: On,
}

/// Why an attempt is being ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// Someone cancelled the task.
    Cancel,
    /// It met its timeout.
    Timeout,
    /// Its task met its deadline.
    Deadline,
}

impl Stop {
    /// Whether this cause takes the place of one that is under way.
    #[must_use]
    pub fn outranks(self, under_way: Self) -> bool {
        match self {
            Self::Cancel => under_way != Self::Cancel,
            Self::Deadline => under_way == Self::Timeout,
            Self::Timeout => false,
        }
    }
}

/// Why a task was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkipCause {
    /// Its `when` was false.
    Condition,
    /// Its `when` could not be evaluated: why.
    ConditionError(Box<str>),
    /// There was nothing to do for it: nothing to undo, or others have taken its place.
    NotNeeded,
    /// Its workflow stopped after this task failed.
    FailFast(TaskId),
    /// It needed, through any number of skipped tasks, this one, which ended in this status.
    Dependency(TaskId, Status),
}

/// What a task is doing. The status that users see follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Its dependencies have not all ended.
    Waiting,
    /// Its dependencies are met and its condition is being evaluated.
    Checking,
    /// Its time has not come.
    Delayed {
        /// When it comes.
        until: Time,
    },
    /// It may run as soon as it fits.
    Ready {
        /// Since when: its place in its class.
        since: Time,
    },
    /// An attempt is under way.
    Running {
        /// The attempt's token.
        token: Token,
        /// Who runs it.
        worker: WorkerId,
        /// Since when.
        started_at: Time,
        /// Whether it is being ended, and why.
        stop: Option<Stop>,
        /// Which of its variants it runs in; none for a task without.
        variant: Option<u32>,
    },
    /// It has ended: completed, failed or cancelled.
    Ended(Status),
    /// It was ruled out.
    Skipped(SkipCause),
    /// Its elements, or what it ends with, are being worked out.
    Computing,
}

/// Its part in what others do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// The task that ends with the result of this one: it was made of it, or stands for its sub-workflow.
    pub group: Option<TaskId>,
    /// What it was expanded into.
    pub elements: Option<Elements>,
    /// Whether it runs when all else of its workflow has ended.
    pub finally: bool,
    /// Whether its result is made into another one before it is kept.
    pub transforms: bool,
    /// What it is to undo, if it is there for that.
    pub compensation: Option<Compensation>,
}

/// Tasks that another was expanded into; their ids are contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elements {
    /// The first.
    pub first: TaskId,
    /// How many; at least 1.
    pub count: u64,
}

impl Elements {
    /// Their ids.
    #[must_use]
    pub fn range(&self) -> TaskRange {
        TaskRange::from_first(self.first, self.count - 1)
    }
}

/// An idempotency key with a hash of the spec it was used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The key.
    pub text: Box<str>,
    /// Hash of the spec.
    pub fingerprint: u64,
}

/// All that a restart needs to know of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: Box<str>,
    /// The user id of its submitter.
    pub owner: u32,
    /// The class its user gave it.
    pub priority: Priority,
    /// What it needs to run.
    pub demand: Arc<Demand>,
    /// What must end first.
    pub edges: Box<[Edge]>,
    /// Whether it has a `when`.
    pub conditional: bool,
    /// Its retry policy.
    pub retry: Arc<RetryPolicy>,
    /// The limit of one attempt.
    pub timeout: Option<Span>,
    /// The limit of the whole task, from its submission or revival.
    pub deadline: Option<Span>,
    /// When this run may start at the earliest.
    pub not_before: Option<Time>,
    /// Its idempotency key.
    pub key: Option<Key>,
    /// Whether an operator holds it.
    pub hold: bool,
    /// When it was submitted.
    pub created_at: Time,
    /// When this run began: submission, or revival by `retry`.
    pub run_at: Time,
    /// When the first attempt of this run started.
    pub first_started_at: Option<Time>,
    /// Attempts over all runs.
    pub attempts: AttemptNumber,
    /// Attempts of this run that count against the retry policy.
    pub tries: u32,
    /// Attempts of this run that were lost with their worker.
    pub losses: u32,
    /// What it is doing.
    pub phase: Phase,
    /// The first element of the array that it belongs to. The spec of all elements is there.
    pub array: Option<TaskId>,
    /// How many tasks with the ids after its own it stands for as well: elements of an array that wait, or
    /// have ended, alike.
    pub more: u64,
    /// The client that runs it and ends with it, for an ad-hoc claim.
    pub claimant: Option<WorkerId>,
    /// Claims of the running attempt that it has given back early or turned into reads.
    pub loosened: Vec<(ResourceName, Kept)>,
    /// What its last attempt said of how far it has come.
    pub progress: Option<Progress>,
    /// Its part in what others do.
    pub role: Role,
}

impl TaskRecord {
    /// All elements of the array that begins with this task, or the task itself; `spec` is its own.
    #[must_use]
    pub fn array_range(&self, spec: &TaskSpec) -> TaskRange {
        TaskRange::from_first(
            self.array.unwrap_or(self.id),
            spec.array.map_or(0, |indices| indices.len() - 1),
        )
    }

    /// Since when the attempt that is under way runs, if one is.
    #[must_use]
    pub fn running_since(&self) -> Option<Time> {
        if let Phase::Running { started_at, .. } = self.phase { Some(started_at) } else { None }
    }

    /// The tasks that it stands for.
    #[must_use]
    pub fn range(&self) -> TaskRange {
        TaskRange::from_first(self.id, self.more)
    }

    /// The status that users see.
    #[must_use]
    pub fn status(&self) -> Status {
        status(&self.phase, self.tries, self.losses)
    }

    /// The tasks that were skipped because of this one, or that this one was skipped because of, are found
    /// by this: the root cause of its skip.
    #[must_use]
    pub fn skip_root(&self) -> Option<TaskId> {
        self.skipped_after().map(|(task, _)| task)
    }

    /// The task that it was skipped because of, and how that ended.
    #[must_use]
    pub fn skipped_after(&self) -> Option<(TaskId, Status)> {
        match &self.phase {
            Phase::Skipped(SkipCause::Dependency(root, status)) => Some((*root, *status)),
            Phase::Skipped(SkipCause::FailFast(root)) => Some((*root, Status::Failed)),
            Phase::Skipped(SkipCause::Condition | SkipCause::ConditionError(_) | SkipCause::NotNeeded)
            | Phase::Waiting
            | Phase::Checking
            | Phase::Delayed { .. }
            | Phase::Ready { .. }
            | Phase::Running { .. }
            | Phase::Computing
            | Phase::Ended(_) => None,
        }
    }
}

/// The status that users see: what has been tried and waits to be tried again is `retrying`.
pub(crate) fn status(phase: &Phase, tries: u32, losses: u32) -> Status {
    match phase {
        Phase::Waiting | Phase::Checking | Phase::Computing => Status::Pending,
        Phase::Delayed { .. } | Phase::Ready { .. } if tries + losses > 0 => Status::Retrying,
        Phase::Delayed { .. } | Phase::Ready { .. } => Status::Pending,
        Phase::Running { .. } => Status::Running,
        Phase::Ended(status) => *status,
        Phase::Skipped(_) => Status::Skipped,
    }
}

/// All that a restart needs to know of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRecord {
    /// Its id.
    pub id: WorkflowId,
    /// Its name.
    pub name: Box<str>,
    /// The user id of its submitter.
    pub owner: u32,
    /// The session it belongs to.
    pub session: Option<SessionId>,
    /// The first of its tasks; ids of one workflow are contiguous.
    pub first_task: TaskId,
    /// How many tasks it has.
    pub task_count: u64,
    /// How many of them may run at once.
    pub max_parallel: Option<u32>,
    /// What happens after the first failure.
    pub fail_fast: FailFast,
    /// The limit of each of its runs.
    pub timeout: Option<Span>,
    /// When it was submitted.
    pub created_at: Time,
    /// When its latest run began: submission, or the revival of one of its tasks after it had ended or stopped.
    pub run_at: Time,
    /// How long its runs took that are over.
    pub ran: Span,
    /// What has become of it.
    pub status: WorkflowStatus,
    /// Whether nothing new of it may start, and why.
    pub stop: Option<WorkflowStop>,
    /// Tasks that have not ended.
    pub unfinished: u64,
    /// Tasks that failed.
    pub failed: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Tasks that have not ended and begin when all others have.
    pub finally: u64,
    /// Those of them that undo what others did.
    pub compensations: u64,
    /// Tasks that some of its tasks were expanded into; they are beside those that it was submitted with.
    pub grown: Vec<Elements>,
    /// Whether it was cancelled: what it does at its end was spared, and is not spared again.
    pub cancelling: bool,
}

impl WorkflowRecord {
    /// The ids of all its tasks.
    pub fn task_ids(&self) -> impl Iterator<Item = TaskId> + '_ {
        let first = Elements { first: self.first_task, count: self.task_count };
        let all = std::iter::once(first).chain(self.grown.iter().copied());
        all.flat_map(|part| (part.first.0..part.first.0 + part.count).map(TaskId))
    }

    /// So many of its tasks have no longer ended like this.
    pub(crate) fn forget_end(&mut self, was: Status, count: u64) {
        self.failed -= if was == Status::Failed { count } else { 0 };
        self.cancelled -= if was == Status::Cancelled { count } else { 0 };
    }

    /// Unfinished tasks that do not wait for the others.
    pub(crate) fn others(&self) -> u64 {
        self.unfinished - self.finally
    }
}

/// All that a restart needs to know of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Its name.
    pub name: Box<str>,
    /// The user id of who created it.
    pub owner: u32,
    /// How many of its tasks may run at once.
    pub max_parallel: Option<u32>,
    /// How they follow each other.
    pub mode: SessionMode,
    /// When it was created.
    pub created_at: Time,
    /// When it was closed.
    pub closed_at: Option<Time>,
    /// Since when what has not ended of it is cancelled, as it is being closed.
    pub cancelled_at: Option<Time>,
    /// What has become of it.
    pub status: SessionStatus,
    /// Counts of its tasks.
    pub counters: Counters,
    /// CPU time that its attempts have used.
    pub cpu_time: Span,
    /// Most memory that one of them is known to have used, bytes.
    pub memory_peak: u64,
    /// What they have read from storage, bytes.
    pub io_read: u64,
    /// What they have written to storage, bytes.
    pub io_write: u64,
}

/// Why a workflow starts nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkflowStop {
    /// This task failed, and `fail_fast` is on.
    Failure(TaskId),
    /// It met its timeout.
    Timeout,
}

/// What a tick of a schedule has added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Run {
    /// A task, or the elements of an array.
    Tasks {
        /// The first one.
        first: TaskId,
        /// How many follow it.
        more: u64,
    },
    /// A workflow.
    Workflow(WorkflowId),
}

/// What became of a tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TickOutcome {
    /// Its run was added.
    Started(Run),
    /// It waits for the run before it.
    Queued,
    /// The run before it had not ended.
    Skipped,
    /// Its run was refused, for this reason.
    Refused(String),
    /// It came while no daemon was there, and was passed over.
    Missed,
}

/// All that a restart needs to know of a schedule, beside what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// Its id.
    pub id: ScheduleId,
    /// Its name.
    pub name: Box<str>,
    /// The user id of its submitter.
    pub owner: u32,
    /// What happens while an earlier run has not ended.
    pub overlap: Overlap,
    /// When it was added.
    pub created_at: Time,
    /// Its next tick; none when its calendar has no more.
    pub next: Option<Time>,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// The latest tick, and what became of it.
    pub last: Option<(Time, TickOutcome)>,
    /// The latest run.
    pub run: Option<Run>,
    /// Ticks that wait for it to end.
    pub queued: VecDeque<Time>,
    /// Runs that were added.
    pub started: u64,
    /// Ticks without a run, because the one before had not ended or theirs was refused.
    pub skipped: u64,
    /// Ticks that came while no daemon was there, and were passed over.
    pub missed: u64,
}

/// What an operator can pause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Every task.
    All,
    /// Every task that competes in this class.
    Priority(Priority),
    /// Every task that claims this resource.
    Resource(ResourceName),
    /// Every task of this workflow.
    Workflow(WorkflowId),
    /// Every task of this session.
    Session(SessionId),
}

/// A worker that may hold attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Its id.
    pub id: WorkerId,
    /// The random number of its process.
    pub incarnation: u64,
    /// What it said of itself, for people.
    pub note: WorkerNote,
}

/// What a worker says of itself for people to read; nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerNote {
    /// `process` or `service`.
    pub kind: Box<str>,
    /// Its process id.
    pub pid: u32,
    /// Labels it gave itself.
    pub labels: Vec<Box<str>>,
}

/// A task that a worker was given ahead of a slot. It is not an attempt yet: the worker says when it begins,
/// and gives it back unbegun when it is wanted back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The task, which is ready.
    pub task: TaskId,
    /// The attempt that it may become.
    pub attempt: AttemptNumber,
    /// The token of that attempt.
    pub token: Token,
    /// Who has it.
    pub worker: WorkerId,
    /// The class it competed in when it was placed.
    pub class: Priority,
    /// Since when it is ready.
    pub since: Time,
    /// Whether it is wanted back, and why.
    pub recall: Option<Recall>,
}

/// Why a task that was placed ahead is wanted back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recall {
    /// To stand in the queue again.
    Queue,
    /// To end; if it has begun, its attempt is ended for this cause.
    End(Stop),
}

/// Counts over the life of the state directory, or of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Tasks by [`Status::index`].
    pub by_status: [u64; 7],
    /// Unfinished tasks by [`Priority::index`].
    pub unfinished_by_priority: [u64; 4],
    /// Attempts that ended.
    pub attempts_ended: u64,
    /// Sum of their execution times.
    pub execution_time: Span,
    /// Tasks that started at least once in some run.
    pub first_starts: u64,
    /// Sum of their times from the beginning of the run to the first start.
    pub wait_time: Span,
}

/// All that a restart needs beside tasks and workflows. Small; written with every batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// The next task's id.
    pub next_task: TaskId,
    /// The next workflow's id.
    pub next_workflow: WorkflowId,
    /// The next session's id.
    pub next_session: SessionId,
    /// The next worker's id.
    pub next_worker: WorkerId,
    /// The next schedule's id.
    pub next_schedule: ScheduleId,
    /// The next attempt's token.
    pub next_token: Token,
    /// The next event's place.
    pub next_sequence: Sequence,
    /// The last instant that was seen: time never goes back behind it.
    pub last_time: Time,
    /// Counts.
    pub counters: Counters,
    /// What is paused.
    pub paused: Vec<Scope>,
    /// What operators set at run time.
    pub resources: Vec<(ResourceName, ResourceSetting)>,
    /// Running attempts that were told to come back at an instant, and have passed it on: if they fail now,
    /// that is no try.
    pub told_to_wait: BTreeMap<Token, Time>,
    /// What running attempts were found to have used of rates, where it is not what they drew.
    pub settled: BTreeMap<Token, BTreeMap<ResourceName, Amount>>,
    /// Resources that are closed, throttled or have a rate.
    pub states: BTreeMap<ResourceName, ResourceState>,
    /// Workers that may hold attempts.
    pub workers: Vec<WorkerRecord>,
    /// What was placed ahead and has neither begun nor come back, by token. Bounded by the workers' windows.
    pub placed: Vec<Placement>,
}

/// What a store gives back at the start: everything that has not ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Everything else.
    pub meta: Meta,
    /// Unfinished tasks, by id.
    pub tasks: Vec<TaskRecord>,
    /// Running workflows, by id.
    pub workflows: Vec<WorkflowRecord>,
    /// Sessions that are not closed, by id.
    pub sessions: Vec<SessionRecord>,
    /// Schedules, by id.
    pub schedules: Vec<ScheduleRecord>,
    /// For how long resources were waited for.
    pub blocked: Vec<(ResourceName, Blocked)>,
    /// What waiting tasks have reserved.
    pub reserved: Vec<(TaskId, Vec<Reserved>)>,
}
