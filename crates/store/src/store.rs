//! The two sides of a store: one writer that commits batches, any number of readers that ask.
//!
//! Invariant: what [`Store::commit`] has returned for is on disk, and a batch is there whole or not at all.

use orchd_core::{
    AttemptEnd, Blocked, EndedTask, Event, Meta, Reserved, ScheduleRecord, SessionRecord, Snapshot,
    TaskRecord, WorkflowRecord,
};
use orchd_model::{
    AttemptNumber, Glob, Priority, ResourceName, ScheduleId, ScheduleSpec, Sequence, SessionId, Status,
    TaskId, TaskRange, TaskResult, TaskSpec, Time, WorkflowId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::{DeadLetter, DefinitionChange, Figures, HookChange, StoreError, StoredDefinition};

/// Everything that becomes durable together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The events, in their order; their sequences are contiguous and follow those of the batch before.
    pub events: Vec<Event>,
    /// Every task that an event touched, as it is after the last event. One that was added and not touched
    /// again may be left out: it is as its event says.
    pub tasks: Vec<TaskRecord>,
    /// Every workflow that an event touched, as it is after the last event.
    pub workflows: Vec<WorkflowRecord>,
    /// Every session that an event concerns, as it is after the last event.
    pub sessions: Vec<SessionRecord>,
    /// The parameters, a JSON object, of the workflows that were submitted in this batch.
    pub workflow_parameters: Vec<(WorkflowId, String)>,
    /// Every schedule that an event touched and that is still there, as it is after the last event.
    pub schedules: Vec<ScheduleRecord>,
    /// For how long resources were waited for, where that has changed; nothing of one that is gone.
    pub blocked: Vec<(ResourceName, Option<Blocked>)>,
    /// What waiting tasks have reserved, of those for which that has changed: nothing of one that no longer waits.
    pub reserved: Vec<(TaskId, Vec<Reserved>)>,
    /// Everything else, as it is after the last event.
    pub meta: Meta,
    /// The hooks, a JSON array, of the workflows that were submitted in this batch and have some.
    pub workflow_hooks: Vec<(WorkflowId, String)>,
    /// What is to be kept of hooks.
    pub hooks: Vec<HookChange>,
    /// Distributions up to an event of an earlier batch, when it is time to write them.
    pub figures: Option<Figures>,
    /// Workflows that are kept under their names, or no longer are.
    pub definitions: Vec<DefinitionChange>,
}

impl Batch {
    /// Whether there is nothing to make durable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_said = self.definitions.is_empty() && self.hooks.is_empty();
        self.events.is_empty() && self.reserved.is_empty() && is_said
    }
}

/// The writing side of a store, owned by one thread.
pub trait Store: Send {
    /// Everything that has not ended. Its cost follows that, not the history.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a record cannot be read.
    fn load(&mut self) -> Result<Snapshot, StoreError>;

    /// Makes a batch durable.
    ///
    /// # Errors
    /// On every error nothing of the batch is there. After [`StoreError::Full`] the same batch may be
    /// committed again once there is space.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// A reading side of its own, for any thread. It sees every batch committed before each question.
    ///
    /// # Errors
    /// When the files cannot be opened again.
    fn reader(&self) -> Result<Box<dyn History>, StoreError>;

    /// Deletes a bounded part of what `retention` no longer keeps; call again while `more` is set.
    /// Unfinished tasks and the tasks of running workflows always stay, and so do events that the last
    /// written [`Figures`] do not count.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn trim(&mut self, retention: &Retention) -> Result<Trimmed, StoreError>;

    /// Checks the whole store, in time that grows with its size; not part of a start.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first findings.
    fn integrity(&mut self) -> Result<(), StoreError>;

    /// Gives up the space kept for a full disk, so that running work can still be recorded. Says whether
    /// there was any.
    ///
    /// # Errors
    /// When the space cannot be given back to the file system.
    fn release_reserve(&mut self) -> Result<bool, StoreError>;

    /// Takes the reserve again, if it is not held.
    ///
    /// # Errors
    /// [`StoreError::Full`] while there is no space for it.
    fn restore_reserve(&mut self) -> Result<(), StoreError>;

    /// Ends the store in good order. Without it nothing committed is lost, only the next start is slower.
    ///
    /// # Errors
    /// When the last write-back fails; what was committed is durable all the same.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// The reading side of a store.
pub trait History: Send {
    /// What the user asked for.
    ///
    /// # Errors
    /// As every question: [`StoreError::Corrupt`] and failures of the disk.
    fn spec(&mut self, task: TaskId) -> Result<Option<Arc<TaskSpec>>, StoreError>;
    /// Everything about one task but its attempts. The record may stand for more elements of its array; the
    /// spec is that of the array.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn task(&mut self, task: TaskId) -> Result<Option<StoredTask>, StoreError>;
    /// The record that stands for one task, ended or not.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn record(&mut self, task: TaskId) -> Result<Option<TaskRecord>, StoreError>;
    /// The ended attempts of a task, by number.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn attempts(&mut self, task: TaskId) -> Result<Vec<StoredAttempt>, StoreError>;
    /// The ended attempts of all tasks of a workflow, by task and number.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn attempts_of(&mut self, workflow: WorkflowId) -> Result<Vec<(TaskId, StoredAttempt)>, StoreError>;
    /// Tasks that may have held something between two instants, with their attempts that have ended: of those that have
    /// ended at most `limit`, those that ended first, and of those under way as many, by id.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn held_between(
        &mut self,
        from: Time,
        to: Time,
        limit: usize,
    ) -> Result<Vec<(TaskRecord, Vec<StoredAttempt>)>, StoreError>;
    /// The tasks that pass the filter: unfinished ones by id, then the newest ended.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn list(&mut self, filter: &Filter) -> Result<Vec<StoredTask>, StoreError>;
    /// The tasks that pass the filter, in the order of [`History::list`]; elements of an array that wait, or
    /// ended, alike are one range.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn ids(&mut self, filter: &Filter) -> Result<Vec<TaskRange>, StoreError>;
    /// The records of those in a range that failed, were skipped or cancelled, by id; the first may begin
    /// before the range and the last end after it.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn failures(&mut self, range: TaskRange) -> Result<Vec<TaskRecord>, StoreError>;
    /// The records of all tasks of a workflow, by id.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn of_workflow(&mut self, workflow: WorkflowId) -> Result<Vec<TaskRecord>, StoreError>;
    /// A task in a range that belongs to another owner than this one.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn of_others(&mut self, range: TaskRange, owner: u32) -> Result<Option<TaskId>, StoreError>;
    /// How many of the known tasks in a range are in which status. Costs a look at each row.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn tally(&mut self, range: TaskRange) -> Result<BTreeMap<Status, u64>, StoreError>;
    /// Those of the given tasks that have ended, in the given order.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn ended(&mut self, tasks: &[TaskId]) -> Result<Vec<(TaskId, EndedTask)>, StoreError>;
    /// The newest task of a session, or of none, with this idempotency key, and the hash of its spec.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn by_key(&mut self, session: Option<SessionId>, key: &str) -> Result<Option<(TaskId, u64)>, StoreError>;
    /// The tasks that were skipped because of this one, by id.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn skipped_by(&mut self, root: TaskId) -> Result<Vec<TaskRecord>, StoreError>;
    /// What the known ones among these tasks left, in the given order.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn results(&mut self, tasks: &[TaskId]) -> Result<Vec<TaskOutput>, StoreError>;

    /// How tasks ended and what they left, without their names: many elements share one large spec.
    ///
    /// # Errors
    /// The database is damaged or cannot be read.
    fn ends(&mut self, tasks: &[TaskId]) -> Result<Vec<TaskEnd>, StoreError>;
    /// The names of the known ones among these tasks, in the given order.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn names(&mut self, tasks: &[TaskId]) -> Result<Vec<(TaskId, Box<str>)>, StoreError>;
    /// Those of the known ones among these tasks that have this tag.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn tagged(&mut self, tag: &str, tasks: &[TaskId]) -> Result<BTreeSet<TaskId>, StoreError>;
    /// One workflow.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn workflow(&mut self, workflow: WorkflowId) -> Result<Option<StoredWorkflow>, StoreError>;
    /// The newest workflow of this name: of this session, or, when none is given, one that is in none if
    /// there is one.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn workflow_by_name(
        &mut self,
        session: Option<SessionId>,
        name: &str,
    ) -> Result<Option<StoredWorkflow>, StoreError>;
    /// One session.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn session(&mut self, session: SessionId) -> Result<Option<SessionRecord>, StoreError>;
    /// The session of this name that is not closed, else the newest.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn session_by_name(&mut self, name: &str) -> Result<Option<SessionRecord>, StoreError>;
    /// The sessions that are not closed, then the others, the newest first; `None`: all.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn sessions(&mut self, limit: Option<usize>) -> Result<Vec<SessionRecord>, StoreError>;
    /// The newest workflows, the newest first, of a session or of all; `None`: all.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn workflows(
        &mut self,
        session: Option<SessionId>,
        limit: Option<usize>,
    ) -> Result<Vec<StoredWorkflow>, StoreError>;
    /// Every definition by its name; their texts are left out.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn definitions(&mut self) -> Result<Vec<StoredDefinition>, StoreError>;
    /// One definition with its text.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn definition(&mut self, name: &str) -> Result<Option<StoredDefinition>, StoreError>;
    /// How long the tasks of the latest workflows of this name took where they completed: the mean, seconds by
    /// name.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn durations(&mut self, workflow: &str) -> Result<BTreeMap<String, f64>, StoreError>;
    /// One schedule.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn schedule(&mut self, schedule: ScheduleId) -> Result<Option<StoredSchedule>, StoreError>;
    /// Every schedule, by name.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn schedules(&mut self) -> Result<Vec<StoredSchedule>, StoreError>;
    /// Events after a place in the order, the oldest first. Specs and results are not in them. When the
    /// first one does not follow `after`, those between have been trimmed.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn events(&mut self, after: Sequence, limit: usize) -> Result<Vec<Event>, StoreError>;
    /// The distributions that were written last.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn figures(&mut self) -> Result<Option<Figures>, StoreError>;
    /// Copies the store, as it is now, to a new file that can take its place. Commits go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Io`] when there is a file of that name, [`StoreError::Full`].
    fn backup(&mut self, to: &Path) -> Result<(), StoreError>;
    /// Looks for damage, in time that grows with the size of the store. Commits go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first findings.
    fn check(&mut self) -> Result<(), StoreError>;
    /// An event before which nothing happened at this instant or later; zero when there may be none.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn sequence_before(&mut self, time: Time) -> Result<Sequence, StoreError>;
    /// How far each hook has come.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn hooks_reached(&mut self) -> Result<BTreeMap<String, Sequence>, StoreError>;
    /// The hooks of a workflow, a JSON array; none when it has none, or is not kept.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn workflow_hooks(&mut self, id: WorkflowId) -> Result<Option<String>, StoreError>;
    /// Whether any workflow has hooks.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn has_workflow_hooks(&mut self) -> Result<bool, StoreError>;
    /// The events that hooks could not deliver, the oldest first.
    ///
    /// # Errors
    /// As [`History::spec`].
    fn dead_letters(&mut self) -> Result<Vec<DeadLetter>, StoreError>;
    /// What the store takes on disk, bytes.
    ///
    /// # Errors
    /// When the files cannot be asked.
    fn size_bytes(&mut self) -> Result<u64, StoreError>;
}

/// Which tasks. What is empty or `None` does not matter; the rest must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these statuses.
    pub statuses: Vec<Status>,
    /// Of this class.
    pub priority: Option<Priority>,
    /// With this tag.
    pub tag: Option<String>,
    /// Of this workflow.
    pub workflow: Option<WorkflowId>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// With a name that matches; of what stands for several elements of an array, those whose names do.
    pub name_glob: Option<Glob>,
    /// Created or ended at this instant or later.
    pub since: Option<Time>,
    /// Added by this user.
    pub owner: Option<u32>,
    /// One of these; what stands for others as well is cut to these.
    pub within: Option<TaskRange>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// A task as it is on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTask {
    /// Its record; a running attempt is in its phase, the first start of this run beside it.
    pub record: TaskRecord,
    /// What the user asked for.
    pub spec: Arc<TaskSpec>,
    /// What it left; none while it has not ended, or when it ended without an attempt's result.
    pub result: Option<TaskResult>,
    /// When the last attempt of this run started.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
}

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAttempt {
    /// How it ended.
    pub end: AttemptEnd,
    /// When that became known.
    pub finished_at: Time,
}

/// What a task left for those that depend on it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskOutput {
    /// The task.
    pub id: TaskId,
    /// Its name.
    pub name: Box<str>,
    /// What has become of it.
    pub status: Status,
    /// Its result.
    pub result: Option<TaskResult>,
    /// Attempts over all its runs.
    pub attempts: u32,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEnd {
    /// The task.
    pub id: TaskId,
    /// What has become of it.
    pub status: Status,
    /// The task behind its end and how that ended, if it was skipped because of another.
    pub root: Option<(TaskId, Status)>,
    /// Its result.
    pub result: Option<TaskResult>,
}

impl TaskEnd {
    /// The end of a task, as its record tells it.
    #[must_use]
    pub fn new(id: TaskId, record: &TaskRecord, result: Option<TaskResult>) -> Self {
        Self { id, status: record.status(), root: record.skipped_after(), result }
    }
}

/// A workflow as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWorkflow {
    /// Its record.
    pub record: WorkflowRecord,
    /// When its last task ended.
    pub finished_at: Option<Time>,
    /// Its parameters, a JSON object.
    pub parameters: String,
}

/// A schedule as it is on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSchedule {
    /// Its record.
    pub record: ScheduleRecord,
    /// What the user asked for.
    pub spec: ScheduleSpec,
}

/// What is kept of what has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most so many ended tasks, the newest.
    pub tasks: u64,
    /// Nothing that ended earlier than this.
    pub since: Time,
}

/// What one call of [`Store::trim`] deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Tasks, with their specs, results, tags and attempts; of each the number of its last attempt.
    pub tasks: Vec<(TaskId, AttemptNumber)>,
    /// Workflows.
    pub workflows: usize,
    /// Sessions.
    pub sessions: usize,
    /// Batches of the journal.
    pub journal_batches: usize,
    /// Whether another call will find more.
    pub more: bool,
    /// The end of what ended first and is still there; nothing may be older than that.
    pub oldest: Option<Time>,
}
