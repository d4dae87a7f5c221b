//! Commands: wishes that come in and may be refused; replies; effects: instructions to the shell.

use orchd_model::{
    Allotment, Amount, AttemptReport, FailFast, Kept, On, Outcome, Priority, Progress, Refusal, ResourceName,
    ResourceSetting, RetryPolicy, ScheduleId, ScheduleSpec, Sequence, SessionId, SessionMode, Span, Status,
    TaskId, TaskRange, TaskSpec, Time, Token, WorkerId, WorkflowId,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::Config;
use crate::news::News;
use crate::record::{Role, Runner, Scope, Stop, TaskRecord, TickOutcome, WorkerNote, WorkflowRecord};
use crate::rerun::Rerun;
use serde::{Deserialize, Serialize};

/// Where an edge of a new task points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeTarget {
    /// A task that exists.
    Id(TaskId),
    /// The task at this position of the same submission.
    Index(usize),
}

/// A task to add, with all that was looked up for it.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// What the user wrote.
    pub spec: Arc<TaskSpec>,
    /// Its retry policy, defaults filled in.
    pub retry: Arc<RetryPolicy>,
    /// What runs it.
    pub runner: Runner,
    /// Its dependencies.
    pub edges: Vec<(EdgeTarget, On)>,
    /// A hash of the spec, compared when a key is used again.
    pub fingerprint: u64,
    /// The ended task with the same key and the hash of its spec, if there is one on disk.
    pub same_key: Option<(TaskId, u64)>,
}

impl NewTask {
    /// How many tasks it is: the elements of an array, else one.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.spec.array.map_or(1, |indices| indices.len())
    }

    /// What its user calls it in the request that it comes with.
    pub(crate) fn label(&self) -> &str {
        self.spec.reference.as_deref().unwrap_or(&self.spec.name)
    }

    /// Its part in what others do, as far as its spec says it.
    pub(crate) fn role(&self) -> Role {
        let transforms = self.spec.transform.is_some() && self.runner != Runner::Computed;
        Role { finally: self.spec.finally, transforms, ..Role::default() }
    }
}

/// A task that has ended and is no longer in the core's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedTask {
    /// How it ended.
    pub status: Status,
    /// For a skipped one: the root cause and how that ended.
    pub root: Option<(TaskId, Status)>,
}

/// The options of a workflow to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewWorkflow {
    /// Its name.
    pub name: Box<str>,
    /// How many of its tasks may run at once.
    pub max_parallel: Option<u32>,
    /// What happens after the first failure.
    pub fail_fast: FailFast,
    /// Its limit.
    pub timeout: Option<Span>,
    /// The session it belongs to, with all of its tasks.
    pub session: Option<SessionId>,
}

/// A session to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Its name.
    pub name: Box<str>,
    /// How many of its tasks may run at once.
    pub max_parallel: Option<u32>,
    /// How they follow each other.
    pub mode: SessionMode,
    /// The user id of who creates it.
    pub owner: u32,
}

/// Tasks to add in one step.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// The tasks.
    pub tasks: Vec<NewTask>,
    /// Whether one refusal refuses all. A workflow is always atomic.
    pub atomic: bool,
    /// The workflow they form, if they do.
    pub workflow: Option<NewWorkflow>,
    /// The user id of the submitter.
    pub owner: u32,
    /// Dependencies that have ended and are no longer in memory.
    pub ended: BTreeMap<TaskId, EndedTask>,
}

/// What a worker says of itself when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// A random number that its process keeps over reconnections.
    pub incarnation: u64,
    /// Attempts it can hold at a time.
    pub slots: u32,
    /// Whether it runs processes.
    pub process: bool,
    /// Handlers: `module.action`, `module.*` or `*`.
    pub handlers: Vec<Box<str>>,
    /// Tokens of the attempts it holds, ended but unreported ones included.
    pub holds: Vec<Token>,
    /// For people.
    pub note: WorkerNote,
}

/// An ad-hoc claim: a task that the client which asks for it runs itself.
#[derive(Clone, Debug)]
pub struct NewClaim {
    /// The client as a worker. One that was connected before says what it holds.
    pub join: Join,
    /// Name, class and claims.
    pub task: NewTask,
    /// The user id of the client.
    pub owner: u32,
    /// Whether it waits for what is not free.
    pub waits: bool,
    /// Whether it stood in the order before, and means to stand there still.
    pub returns: bool,
}

/// A schedule to add.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// What the user wrote.
    pub spec: Arc<ScheduleSpec>,
    /// The user id of the submitter.
    pub owner: u32,
    /// When it was asked for, by the clock of the calendar.
    pub created_at: Time,
    /// Its first tick.
    pub next: Time,
}

/// What brings a tick about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// Its time has come.
    Calendar {
        /// The tick that was waited for: this one, or the first of those that were missed.
        expected: Time,
    },
    /// It came before, and the run that it waited for has ended.
    Queue,
    /// Somebody wants a run now.
    Operator,
}

/// A tick of a schedule.
#[derive(Clone, Debug)]
pub struct Firing {
    /// Which.
    pub schedule: ScheduleId,
    /// Why.
    pub trigger: Trigger,
    /// The time that it stands for.
    pub at: Time,
    /// The tick after it; none when the calendar has no more.
    pub next: Option<Time>,
    /// How many ticks before it were missed and are passed over.
    pub missed: u64,
    /// What it adds, or why that cannot be; none when it is passed over itself.
    pub work: Option<Result<Submission, Refusal>>,
}

/// A wish. Refused ones change nothing.
#[derive(Clone, Debug)]
pub enum Command {
    /// Add tasks.
    Submit(Submission),
    /// End tasks for good.
    Cancel {
        /// Which.
        tasks: Vec<TaskRange>,
    },
    /// End tasks for good, but for those that are for the end of their workflow.
    CancelSparing {
        /// Which.
        tasks: Vec<TaskRange>,
        /// Whether all of their workflows is meant: what is done at the end is spared once, and then not. Else it is
        /// spared as long as it waits for others.
        whole: bool,
    },
    /// Run ended tasks again; records come from the store.
    Retry {
        /// The tasks that were asked for.
        wanted: Vec<TaskRange>,
        /// Their records; one may stand for more than was asked for.
        tasks: Vec<TaskRecord>,
        /// The tasks that were skipped because of them, those that end with their results, and failed elements.
        skipped: Vec<TaskRecord>,
        /// Their workflows, where those have ended.
        workflows: Vec<WorkflowRecord>,
        /// Dependencies of all of them that have ended and are no longer in memory.
        ended: BTreeMap<TaskId, EndedTask>,
    },
    /// Run tasks of a workflow again that has ended; its records come from the store.
    Rerun(Box<Rerun>),
    /// Give a task that has not started another spec.
    Edit {
        /// Which.
        task: TaskId,
        /// What it is from now on.
        new: Box<NewTask>,
    },
    /// Keep tasks from starting.
    Hold {
        /// Which.
        tasks: TaskRange,
    },
    /// Let held tasks go.
    Release {
        /// Which; together, so that the first in order among them begins first.
        tasks: Vec<TaskRange>,
    },
    /// Change the class of tasks.
    Reprioritize {
        /// Which.
        tasks: TaskRange,
        /// The new class.
        priority: Priority,
    },
    /// No new starts in a scope.
    Pause {
        /// Of what.
        scope: Scope,
        /// Also if it is a lock that nobody has used yet.
        create: bool,
    },
    /// End a pause.
    Resume(Scope),
    /// Say what a resource has.
    SetResource {
        /// Which.
        resource: ResourceName,
        /// What is said.
        setting: ResourceSetting,
    },
    /// Give a resource to nobody for a while.
    Throttle {
        /// Which.
        resource: ResourceName,
        /// For how long.
        pause: Span,
        /// The running attempt that asks for it; none for an operator.
        by: Option<Token>,
        /// Also if it is a lock that nobody has used yet.
        create: bool,
    },
    /// Give a resource to nobody until it is opened.
    Close {
        /// Which.
        resource: ResourceName,
        /// Also if it is a lock that nobody has used yet.
        create: bool,
    },
    /// Give a closed or throttled resource out again.
    Open {
        /// Which.
        resource: ResourceName,
    },
    /// A running attempt has used another number of tokens than it drew.
    Settle {
        /// The attempt.
        token: Token,
        /// What they are tokens of.
        resource: ResourceName,
        /// How many it has used in all.
        used: Amount,
    },
    /// Go on with another configuration.
    Configure(Box<Config>),
    /// A worker has another number of slots from now on.
    Resize {
        /// Which.
        worker: WorkerId,
        /// How many attempts it can hold at a time.
        slots: u32,
    },
    /// A condition was evaluated.
    Decide {
        /// The task.
        task: TaskId,
        /// Whether it holds, or why that cannot be said.
        verdict: Result<bool, String>,
    },
    /// A task that is being computed has come to its end.
    Computed {
        /// The task.
        task: TaskId,
        /// How it ends.
        outcome: Outcome,
        /// What it leaves.
        data: Option<Value>,
    },
    /// A task that is being computed becomes its elements.
    Expand {
        /// The task.
        task: TaskId,
        /// They, as an array.
        elements: Box<NewTask>,
    },
    /// A worker has connected.
    Join(Join),
    /// A client has connected to hold claims, or again to go on with that.
    Claim(Box<NewClaim>),
    /// A running attempt needs less of what it claims.
    Loosen {
        /// Who runs it.
        worker: WorkerId,
        /// The attempt.
        token: Token,
        /// What it claims.
        resource: ResourceName,
        /// What it keeps of that.
        kept: Kept,
    },
    /// A worker's connection broke; its lease runs. An ad-hoc claim ends with its connection.
    Detach {
        /// Which.
        worker: WorkerId,
    },
    /// A worker is alive.
    Heartbeat {
        /// Which.
        worker: WorkerId,
    },
    /// A worker is gone, and its processes are dead.
    Lose {
        /// Which.
        worker: WorkerId,
        /// The attempts that it had begun and that left no report, where that is known: what it was given
        /// besides never ran, and is no loss.
        began: Option<Vec<Token>>,
    },
    /// What was placed ahead has begun. About other attempts this says nothing new.
    Begun {
        /// Who says so; none when it was found in the state directory.
        worker: Option<WorkerId>,
        /// The attempt.
        token: Token,
        /// When it began.
        at: Time,
    },
    /// A worker gives an attempt back that it has not begun.
    Unbegun {
        /// Who.
        worker: WorkerId,
        /// The attempt.
        token: Token,
    },
    /// An attempt has ended.
    Report {
        /// Who says so; none when the report was found in the state directory.
        worker: Option<WorkerId>,
        /// The report.
        report: AttemptReport,
    },
    /// A running attempt says how far it has come.
    Progress {
        /// The attempt.
        token: Token,
        /// How far.
        progress: Progress,
        /// The user who says so, if it must be the owner of the task.
        by: Option<u32>,
    },
    /// Create a session.
    CreateSession(NewSession),
    /// Take no more work into a session.
    CloseSession {
        /// Which.
        session: SessionId,
        /// Whether what has not ended is cancelled.
        cancel: bool,
    },
    /// Add a schedule.
    AddSchedule(Box<NewSchedule>),
    /// Forget a schedule. Its runs go on.
    RemoveSchedule {
        /// Which.
        schedule: ScheduleId,
    },
    /// Pause a schedule, or end that.
    PauseSchedule {
        /// Which.
        schedule: ScheduleId,
        /// Whether it is paused.
        paused: bool,
        /// The next tick, when it goes on.
        next: Option<Time>,
    },
    /// A tick of a schedule has come.
    Fire(Box<Firing>),
    /// An event that a user publishes.
    Publish(Box<News>),
    /// Nothing but the passing of time.
    Tick,
    /// Every event up to this one is on disk: what ended by then needs no memory.
    Committed {
        /// The last durable event.
        through: Sequence,
    },
}

/// The answer to a command that was not refused as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Done, nothing to say.
    Done,
    /// For each new task its id, or why it was refused.
    Submitted {
        /// In the order of the submission.
        tasks: Vec<Result<TaskId, Box<Refusal>>>,
        /// The workflow they form.
        workflow: Option<WorkflowId>,
    },
    /// For each task, or tasks that fared alike, what became of them.
    Tasks(Vec<(TaskRange, Result<Status, Refusal>)>),
    /// The worker's id.
    Joined(WorkerId),
    /// The new session's id.
    Session(SessionId),
    /// The schedule's id.
    Scheduled(ScheduleId),
    /// What became of a tick.
    Ticked(TickOutcome),
    /// The place of a published event.
    Published(Sequence),
}

/// An instruction to the shell, let out when the events that caused it are on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this attempt to the worker.
    Assign {
        /// To whom.
        worker: WorkerId,
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: orchd_model::AttemptNumber,
        /// Its token.
        token: Token,
        /// The class it competes in and since when it is ready: those that wait for a slot go by this, then
        /// by task.
        order: (Priority, Time),
        /// What it has claimed of the machine itself.
        allotment: Allotment,
        /// Which of its variants it runs in; none for a task without.
        variant: Option<u32>,
    },
    /// Have the worker give back what it was given ahead, unless that has begun.
    Recall {
        /// Who has it.
        worker: WorkerId,
        /// Which attempt it would be.
        token: Token,
    },
    /// Have the worker end this attempt, or give it back if it has not begun.
    Stop {
        /// To whom.
        worker: WorkerId,
        /// Which attempt.
        token: Token,
        /// Why.
        stop: Stop,
    },
    /// Tell a connected client that its ad-hoc claim has ended before it was granted.
    Dismiss {
        /// The client, as a worker.
        worker: WorkerId,
    },
    /// Evaluate the condition of this task and answer with [`Command::Decide`].
    Evaluate {
        /// The task.
        task: TaskId,
    },
    /// Work out the elements of this task, or what it ends with, and answer with [`Command::Expand`] or
    /// [`Command::Computed`].
    Compute {
        /// The task.
        task: TaskId,
        /// Its elements, which have all ended, if it has become them.
        elements: Option<TaskRange>,
    },
    /// The lease of this worker is over: make sure that it and its processes are dead, then answer with
    /// [`Command::Lose`].
    Fence {
        /// Which.
        worker: WorkerId,
    },
    /// A tick of this schedule has waited long enough: bring its work with [`Command::Fire`].
    Call {
        /// Which.
        schedule: ScheduleId,
    },
}
