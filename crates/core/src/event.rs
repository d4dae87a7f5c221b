//! Events: durable facts in the past tense, and the only way the state changes.

use orchd_model::{
    Amount, AttemptNumber, Kept, Outcome, Priority, Progress, ResourceName, ResourceSetting, ScheduleId,
    ScheduleSpec, Sequence, SessionId, Span, Status, TaskId, TaskResult, TaskSpec, Time, Token, Usage,
    WorkerId, WorkflowId, WorkflowStatus,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::command::Trigger;
use crate::news::News;
use crate::record::{
    Elements, Placement, Recall, ScheduleRecord, Scope, SessionRecord, SkipCause, Stop, TaskRecord,
    TickOutcome, WorkerRecord, WorkflowRecord, WorkflowStop,
};

/// A fact, with its place in the total order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place: one more than the event before it.
    pub sequence: Sequence,
    /// When it happened.
    pub time: Time,
    /// The workflow it is about, or that its task belongs to.
    pub workflow: Option<WorkflowId>,
    /// The session it is about, or that its task or workflow belongs to.
    pub session: Option<SessionId>,
    /// How many tasks with the ids after that of its task it is about as well.
    pub more: u64,
    /// What happened.
    pub fact: Fact,
}

/// An attempt that is over. Its claims and its slot are free from this event on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// Which attempt.
    pub number: AttemptNumber,
    /// Its token.
    pub token: Token,
    /// Who ran it.
    pub worker: WorkerId,
    /// When it started.
    pub started_at: Time,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it ran.
    pub execution_time: Span,
    /// What it used.
    pub usage: Option<Usage>,
    /// Which of the task's variants it ran in; none for a task without.
    pub variant: Option<u32>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// A task was added.
    Submitted {
        /// The task as it begins.
        record: Box<TaskRecord>,
        /// What the user wrote; in the task's row, not in the journal.
        #[serde(skip)]
        spec: Option<Arc<TaskSpec>>,
    },
    /// A record that stands for several elements of an array was cut in two.
    Split {
        /// The record.
        task: TaskId,
        /// The first element that has a record of its own from now on.
        at: TaskId,
    },
    /// Its dependencies are met; its condition is to be evaluated.
    Checked {
        /// The task.
        task: TaskId,
    },
    /// It may run as soon as it fits.
    Readied {
        /// The task.
        task: TaskId,
    },
    /// It waits for an instant.
    Delayed {
        /// The task.
        task: TaskId,
        /// The instant.
        until: Time,
    },
    /// An operator holds it.
    Held {
        /// The task.
        task: TaskId,
    },
    /// An operator lets it go.
    Released {
        /// The task.
        task: TaskId,
    },
    /// Its class was changed.
    Reprioritized {
        /// The task.
        task: TaskId,
        /// The new class.
        priority: Priority,
    },
    /// An attempt began: all its claims and a slot are taken.
    Started {
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: AttemptNumber,
        /// Its token.
        token: Token,
        /// Who runs it.
        worker: WorkerId,
        /// From the beginning of the run, when it is the first start of it.
        waited: Option<Span>,
        /// When: the instant of the event, or the earlier one that the worker told.
        at: Time,
        /// Which of its variants was taken; none for a task without.
        variant: Option<u32>,
    },
    /// A worker was given it ahead of a slot; it stays pending.
    Placed {
        /// The task and where it is.
        placement: Placement,
    },
    /// A worker is asked to give back what it was given ahead.
    Recalling {
        /// The task.
        task: TaskId,
        /// Why.
        recall: Recall,
    },
    /// A worker has given back what it was given ahead, or lost it: it has not begun.
    Recalled {
        /// The task.
        task: TaskId,
        /// The token that it was placed under.
        token: Token,
    },
    /// Its attempt is being ended from outside.
    Stopping {
        /// The task.
        task: TaskId,
        /// Why.
        stop: Stop,
    },
    /// An attempt failed, and another will follow.
    Retried {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: Box<AttemptEnd>,
        /// When the next may start.
        until: Time,
    },
    /// An attempt ended without using up a try: snoozed, or never begun by its worker.
    Returned {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: Box<AttemptEnd>,
        /// When the next may start.
        until: Time,
    },
    /// A task ended well.
    Completed {
        /// The task.
        task: TaskId,
        /// Its last attempt; none for a milestone.
        attempt: Option<Box<AttemptEnd>>,
        /// What it left; in the task's row, not in the journal.
        #[serde(skip)]
        result: Option<Box<TaskResult>>,
    },
    /// A task failed for good.
    Failed {
        /// The task.
        task: TaskId,
        /// Its last attempt; none when it met its deadline without one.
        attempt: Option<Box<AttemptEnd>>,
        /// What it left; in the task's row, not in the journal.
        #[serde(skip)]
        result: Option<Box<TaskResult>>,
    },
    /// A task was cancelled.
    Cancelled {
        /// The task.
        task: TaskId,
        /// The attempt that was under way.
        attempt: Option<Box<AttemptEnd>>,
        /// What that attempt left; none when nothing was under way. In the task's row, not in the journal.
        #[serde(skip)]
        result: Option<Box<TaskResult>>,
    },
    /// A task was ruled out.
    Skipped {
        /// The task.
        task: TaskId,
        /// Why.
        cause: SkipCause,
    },
    /// An ended task runs again under the same id.
    Revived {
        /// The task as it begins anew.
        record: Box<TaskRecord>,
        /// How its last run ended.
        was: Status,
    },
    /// A workflow was added; its tasks follow.
    WorkflowSubmitted {
        /// The workflow as it begins.
        record: Box<WorkflowRecord>,
    },
    /// A workflow starts nothing new.
    WorkflowStopped {
        /// The workflow.
        workflow: WorkflowId,
        /// Why.
        stop: WorkflowStop,
    },
    /// The last task of a workflow ended.
    WorkflowEnded {
        /// The workflow.
        workflow: WorkflowId,
        /// How.
        status: WorkflowStatus,
    },
    /// An ended workflow goes on because one of its tasks was revived.
    WorkflowReopened {
        /// The workflow, with its counts from before the revival.
        record: Box<WorkflowRecord>,
    },
    /// An operator paused something.
    Paused {
        /// What.
        scope: Scope,
    },
    /// An operator ended a pause.
    Resumed {
        /// Of what.
        scope: Scope,
    },
    /// A resource was set.
    ResourceSet {
        /// The resource.
        resource: ResourceName,
        /// What was said about it.
        setting: Box<ResourceSetting>,
    },
    /// A resource is given to nobody for a while.
    Throttled {
        /// The resource.
        resource: ResourceName,
        /// Until when.
        until: Time,
        /// The task that was told to wait; none when an operator said so.
        task: Option<TaskId>,
    },
    /// A resource is given to nobody until it is opened.
    Closed {
        /// The resource.
        resource: ResourceName,
    },
    /// A closed or throttled resource is given out again.
    Opened {
        /// The resource.
        resource: ResourceName,
    },
    /// A task has used another number of tokens than it drew.
    Settled {
        /// The resource.
        resource: ResourceName,
        /// The task.
        task: TaskId,
        /// What it was taken to use so far.
        drawn: Amount,
        /// What it has used in all.
        used: Amount,
    },
    /// A worker said hello for the first time.
    WorkerJoined {
        /// The worker.
        worker: Box<WorkerRecord>,
    },
    /// A worker is gone, and so is all it held.
    WorkerLost {
        /// The worker.
        worker: WorkerId,
    },
    /// A task that has not started has another spec.
    Edited {
        /// The task as it is from now on.
        record: Box<TaskRecord>,
        /// What the user wrote; in the task's row, not in the journal.
        #[serde(skip)]
        spec: Option<Arc<TaskSpec>>,
    },
    /// A running attempt has given a claim back early, or turned it into a read.
    Loosened {
        /// The task.
        task: TaskId,
        /// What it had claimed.
        resource: ResourceName,
        /// What it keeps of that.
        kept: Kept,
    },
    /// A client is gone with its ad-hoc claim, which has ended.
    WorkerLeft {
        /// The client, as a worker.
        worker: WorkerId,
    },
    /// A task whose attempt ran out of memory claims more of it.
    Enlarged {
        /// The task, which waits for its next attempt.
        task: TaskId,
        /// The variant that ran out of it; none for a task without.
        variant: Option<u32>,
        /// Its claim from now on.
        memory: Amount,
    },
    /// A running attempt has said how far it has come.
    Progressed {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
        /// How far.
        progress: Progress,
    },
    /// What a compensation is there to undo has been done.
    Armed {
        /// The compensation.
        task: TaskId,
    },
    /// A compensation is to run.
    Called {
        /// The compensation.
        task: TaskId,
        /// The one that runs before it.
        after: Option<TaskId>,
    },
    /// A session was created.
    SessionCreated {
        /// The session as it begins.
        record: Box<SessionRecord>,
    },
    /// A session takes no more work; some of its tasks have not ended.
    SessionClosing {
        /// The session.
        session: SessionId,
        /// Whether what has not ended is cancelled.
        cancel: bool,
    },
    /// A session takes no more work, and all of its tasks have ended.
    SessionClosed {
        /// The session.
        session: SessionId,
    },
    /// Its dependencies are met; its elements, or what it ends with, are to be worked out.
    Computing {
        /// The task.
        task: TaskId,
    },
    /// A task has become its elements, which were added just before, and waits for them.
    Expanded {
        /// The task.
        task: TaskId,
        /// Its elements.
        elements: Elements,
    },
    /// A schedule was added.
    ScheduleAdded {
        /// The schedule as it begins.
        record: Box<ScheduleRecord>,
        /// What the user wrote; in the schedule's row, not in the journal.
        #[serde(skip)]
        spec: Option<Arc<ScheduleSpec>>,
    },
    /// A tick of a schedule has come.
    ScheduleTicked {
        /// The schedule.
        schedule: ScheduleId,
        /// Why.
        trigger: Trigger,
        /// The time that it stands for.
        at: Time,
        /// The tick after it.
        next: Option<Time>,
        /// How many before it were passed over.
        missed: u64,
        /// What became of it.
        outcome: TickOutcome,
    },
    /// A schedule is paused.
    SchedulePaused {
        /// The schedule.
        schedule: ScheduleId,
    },
    /// A schedule goes on.
    ScheduleResumed {
        /// The schedule.
        schedule: ScheduleId,
        /// Its next tick.
        next: Option<Time>,
    },
    /// A schedule is gone.
    ScheduleRemoved {
        /// The schedule.
        schedule: ScheduleId,
    },
    /// A user has published an event.
    Published {
        /// What it says.
        news: Box<News>,
    },
    /// An ended element whose list is made anew: it stands for itself, and belongs to the workflow no longer.
    Replaced {
        /// The element.
        task: TaskId,
    },
    /// A workflow is cancelled for the first time: what it does at its end is spared.
    WorkflowCancelling {
        /// The workflow.
        workflow: WorkflowId,
    },
}

impl Fact {
    /// The task that this fact is about.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Self::Submitted { record, .. } | Self::Revived { record, .. } | Self::Edited { record, .. } => {
                Some(record.id)
            }
            Self::Placed { placement } => Some(placement.task),
            Self::Throttled { task, .. } => *task,
            Self::Published { news } => news.task,
            Self::Split { task, .. }
            | Self::Settled { task, .. }
            | Self::Checked { task }
            | Self::Armed { task }
            | Self::Replaced { task }
            | Self::Called { task, .. }
            | Self::Computing { task }
            | Self::Expanded { task, .. }
            | Self::Readied { task }
            | Self::Delayed { task, .. }
            | Self::Held { task }
            | Self::Released { task }
            | Self::Reprioritized { task, .. }
            | Self::Started { task, .. }
            | Self::Recalling { task, .. }
            | Self::Recalled { task, .. }
            | Self::Stopping { task, .. }
            | Self::Loosened { task, .. }
            | Self::Retried { task, .. }
            | Self::Enlarged { task, .. }
            | Self::Progressed { task, .. }
            | Self::Returned { task, .. }
            | Self::Completed { task, .. }
            | Self::Failed { task, .. }
            | Self::Cancelled { task, .. }
            | Self::Skipped { task, .. } => Some(*task),
            Self::WorkflowSubmitted { .. }
            | Self::WorkflowStopped { .. }
            | Self::WorkflowEnded { .. }
            | Self::WorkflowReopened { .. }
            | Self::WorkflowCancelling { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::ResourceSet { .. }
            | Self::Closed { .. }
            | Self::Opened { .. }
            | Self::WorkerJoined { .. }
            | Self::WorkerLost { .. }
            | Self::WorkerLeft { .. }
            | Self::SessionCreated { .. }
            | Self::SessionClosing { .. }
            | Self::SessionClosed { .. }
            | Self::ScheduleAdded { .. }
            | Self::ScheduleTicked { .. }
            | Self::SchedulePaused { .. }
            | Self::ScheduleResumed { .. }
            | Self::ScheduleRemoved { .. } => None,
        }
    }

    /// The schedule that this fact is about.
    #[must_use]
    pub fn schedule(&self) -> Option<ScheduleId> {
        match self {
            Self::ScheduleAdded { record, .. } => Some(record.id),
            Self::ScheduleTicked { schedule, .. }
            | Self::SchedulePaused { schedule }
            | Self::ScheduleResumed { schedule, .. }
            | Self::ScheduleRemoved { schedule } => Some(*schedule),
            _ => None,
        }
    }

    /// The tasks whose records it changes: where a task was placed ahead is kept beside the records.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> + use<> {
        let (task, other) = match self {
            Self::Split { task, at } => (Some(*task), Some(*at)),
            Self::Placed { .. }
            | Self::Recalling { .. }
            | Self::Recalled { .. }
            | Self::Throttled { .. }
            | Self::Published { .. }
            | Self::Settled { .. } => (None, None),
            _ => (self.task(), None),
        };
        task.into_iter().chain(other)
    }

    /// The workflow that this fact itself is about.
    #[must_use]
    pub fn workflow(&self) -> Option<WorkflowId> {
        match self {
            Self::WorkflowSubmitted { record } | Self::WorkflowReopened { record } => Some(record.id),
            Self::WorkflowStopped { workflow, .. }
            | Self::WorkflowEnded { workflow, .. }
            | Self::WorkflowCancelling { workflow } => Some(*workflow),
            Self::Published { news } => news.workflow,
            _ => None,
        }
    }

    /// The session that this fact itself is about.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::SessionCreated { record } => Some(record.id),
            Self::SessionClosing { session, .. } | Self::SessionClosed { session } => Some(*session),
            Self::Published { news } => news.session,
            _ => None,
        }
    }

    /// The attempt that this fact ended.
    #[must_use]
    pub fn attempt_end(&self) -> Option<&AttemptEnd> {
        match self {
            Self::Retried { attempt, .. } | Self::Returned { attempt, .. } => Some(attempt),
            Self::Completed { attempt, .. }
            | Self::Failed { attempt, .. }
            | Self::Cancelled { attempt, .. } => attempt.as_deref(),
            _ => None,
        }
    }

    /// What the task left, for a fact that ended it.
    #[must_use]
    pub fn result(&self) -> Option<&TaskResult> {
        match self {
            Self::Completed { result, .. } | Self::Failed { result, .. } | Self::Cancelled { result, .. } => {
                result.as_deref()
            }
            _ => None,
        }
    }
}
