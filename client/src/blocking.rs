//! The client without async: the same calls, each of which returns when it has its answer.
//!
//! ```
//! use orchd_client::{TaskSpec, blocking::Client};
//!
//! # fn main() -> Result<(), orchd_client::Error> {
//! let client = Client::connect_default()?;
//! let task = client.submit(TaskSpec::command(["true"]))?;
//! assert_eq!(task.result()?.exit_code, Some(0));
//! # Ok(())
//! # }
//! ```
//!
//! A blocking client must not be used within async code; its calls panic there.

use orchd_api::{
    Backup, CloseMode, CloseResource, Daemon, DeadLetter, Definition, DefinitionRequest, DefinitionRun,
    DrainReply, Durations, Event, EventQuery, Explanation, Hook, LetterResult, LettersRequest, ListQuery,
    LogQuery, OperationResult, PauseRequest, ProgressRequest, PublishRequest, PublishedEvent, Report,
    ReportQuery, ReportedTask, Resource, ResourceRequest, Schedule, Selector, Session, SessionQuery,
    SettleRequest, ShownDefinition, ShutdownMode, Stats, StoreCheck, Stuck, Task, ThrottleRequest, WaitReply,
    WaitRequest, Worker, Workflow, WorkflowAdded, WorkflowQuery,
};
use orchd_model::{
    Priority, Refusal, ResourceName, ScheduleSpec, SessionId, SessionRef, SessionSpec, Span, Status, TaskId,
    TaskRange, TaskResult, TaskSpec, WorkflowId, WorkflowSpec,
};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

use crate::{Error, LogItem, Settings, default_socket};

#[cfg(feature = "claims")]
mod claim;
#[cfg(feature = "claims")]
pub use claim::ClaimGuard;

/// A client of one daemon with a runtime of its own. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    runtime: Arc<Runtime>,
    client: crate::Client,
}

/// Writes the methods that only differ from the async ones in that they wait.
macro_rules! waiting {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) -> $reply:ty;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// A refusal, or no connection.
            pub fn $name(&self, $($argument: $type),*) -> Result<$reply, Error> {
                self.runtime.block_on(self.client.$name($($argument),*))
            }
        )*
    };
}

impl Client {
    /// Connects to the daemon at a socket.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no daemon answers there.
    pub fn connect(socket: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::connect_with(socket, Settings::default())
    }

    /// Connects to the daemon at [`default_socket`].
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no daemon answers there.
    pub fn connect_default() -> Result<Self, Error> {
        Self::connect(default_socket())
    }

    /// Connects with other limits than usual.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no daemon answers there.
    pub fn connect_with(socket: impl Into<PathBuf>, settings: Settings) -> Result<Self, Error> {
        let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
        let client = runtime.block_on(crate::Client::connect_with(socket, settings))?;
        Ok(Self { runtime, client })
    }

    /// Adds a task.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub fn submit(&self, spec: TaskSpec) -> Result<TaskHandle, Error> {
        let id = self.runtime.block_on(self.client.submit(spec))?.id;
        Ok(self.task(id))
    }

    /// A handle of a task that exists.
    #[must_use]
    pub fn task(&self, id: TaskId) -> TaskHandle {
        TaskHandle { id, client: self.clone() }
    }

    /// Adds any number of tasks in one request; the results are in the order of the specs.
    ///
    /// # Errors
    /// A refusal of the whole request, or no connection.
    pub fn submit_many<I>(&self, specs: I) -> Result<Vec<Result<TaskId, Refusal>>, Error>
    where
        I: IntoIterator<Item = TaskSpec>,
    {
        self.runtime.block_on(self.client.submit_many(specs))
    }

    waiting! {
        /// Copies the store to a new file, which the daemon writes.
        backup(file: &Path) -> Backup;
        /// Looks through the store for damage.
        check_store() -> StoreCheck;
        /// Cancels tasks and says for each what became of it.
        cancel(select: Selector) -> Vec<OperationResult>;
        /// Runs ended tasks again.
        retry(ids: Vec<TaskRange>) -> Vec<OperationResult>;
        /// Keeps tasks from starting until they are released.
        hold(ids: Vec<TaskRange>) -> Vec<OperationResult>;
        /// Lets held tasks go.
        release(ids: Vec<TaskRange>) -> Vec<OperationResult>;
        /// Changes the class of tasks that have not ended.
        reprioritize(ids: Vec<TaskRange>, priority: Priority) -> Vec<OperationResult>;
        /// Everything about one task.
        get(id: TaskId) -> Task;
        /// The spec of a task as it stands.
        spec(id: TaskId) -> TaskSpec;
        /// Gives a task that has not started another spec.
        edit(id: TaskId, spec: &TaskSpec) -> Task;
        /// The tasks that a query selects: unfinished first, then the newest ended.
        list(query: ListQuery) -> Vec<Task>;
        /// Why a task does not run.
        explain(id: TaskId) -> Explanation;
        /// Waits until every task of a selection has ended, or the timeout has passed.
        wait(request: WaitRequest) -> WaitReply;
        /// Waits until a task has ended and gives what it left.
        result(id: TaskId) -> TaskResult;
        /// Figures about the daemon and its tasks.
        stats() -> Stats;
        /// What became of the tasks of a workflow, or of those of the last time.
        report(query: ReportQuery) -> Report;
        /// The tasks of a report with their attempts, by id.
        reported_tasks(query: ReportQuery) -> Vec<ReportedTask>;
        /// The connected workers.
        workers() -> Vec<Worker>;
        /// The resources, who holds them and how many wait.
        resources() -> Vec<Resource>;
        /// Says what a resource has; gives it as it is then.
        set_resource(request: ResourceRequest) -> Resource;
        /// Gives a resource to nobody for a while.
        throttle(request: ThrottleRequest) -> Resource;
        /// Gives a resource to nobody until it is opened.
        close_resource(request: CloseResource) -> Resource;
        /// Gives a closed or throttled resource out again.
        open_resource(resource: &ResourceName) -> Resource;
        /// Says how many tokens of a rate a running attempt has really used.
        settle(request: SettleRequest) -> Resource;
        /// Starts nothing new, and waits until nothing runs or the timeout has passed.
        drain(timeout: Option<Span>) -> DrainReply;
        /// Who answers on the socket.
        daemon() -> Daemon;
        /// Says how far a running attempt has come. In a task its token is in `$ORCHD_TOKEN`.
        progress(request: ProgressRequest) -> ();
        /// The hooks and how they do.
        hooks() -> Vec<Hook>;
        /// The events that hooks could not deliver.
        dead_letters() -> Vec<DeadLetter>;
        /// Tries to deliver some of them once more.
        retry_dead_letters(which: LettersRequest) -> Vec<LetterResult>;
        /// Forgets some of them.
        drop_dead_letters(which: LettersRequest) -> Vec<LetterResult>;
        /// Nothing new starts of what is named; nothing named: of everything.
        pause(what: PauseRequest) -> ();
        /// Ends a pause.
        resume(what: PauseRequest) -> ();
        /// Ends the daemon.
        shutdown(mode: ShutdownMode) -> ();
        /// Submits a workflow: all of its tasks, or none.
        submit_workflow(spec: &WorkflowSpec) -> WorkflowAdded;
        /// A workflow and its figures.
        workflow(id: WorkflowId) -> Workflow;
        /// Which tasks of a workflow nothing will ever start unless somebody does something, by reason.
        stuck(id: WorkflowId) -> Vec<Stuck>;
        /// Goes on with a workflow: ends its pause, or runs again what did not complete.
        resume_workflow(id: WorkflowId) -> WorkflowAdded;
        /// Runs tasks of an ended workflow again, and all that comes after them.
        rerun_workflow(id: WorkflowId, from: Vec<String>) -> WorkflowAdded;
        /// The newest workflows.
        workflows() -> Vec<Workflow>;
        /// The workflows that are kept under their names.
        definitions() -> Vec<Definition>;
        /// A workflow that is kept under this name.
        definition(name: &str) -> ShownDefinition;
        /// Keeps the workflows of a file under their names.
        put_definitions(file: &DefinitionRequest) -> Vec<Definition>;
        /// Keeps a workflow no longer; its runs stay.
        remove_definition(name: &str) -> ();
        /// Submits a workflow by the name that it is kept under.
        run_definition(run: &DefinitionRun) -> WorkflowAdded;
        /// How long the tasks of the latest workflows of this name took.
        durations(workflow: &str) -> Durations;
        /// The workflows that a query selects, the newest first.
        list_workflows(query: WorkflowQuery) -> Vec<Workflow>;
        /// Creates a session.
        create_session(spec: &SessionSpec) -> Session;
        /// The sessions that are not closed, then the others, the newest first.
        sessions(query: SessionQuery) -> Vec<Session>;
        /// A session with its statistics.
        session(session: &SessionRef) -> Session;
        /// Takes no more work into a session.
        close_session(id: SessionId, mode: CloseMode) -> Session;
        /// Publishes an event of a type of one's own, `custom.NAME`.
        publish(event: &PublishRequest) -> PublishedEvent;
        /// Adds a schedule.
        add_schedule(spec: &ScheduleSpec) -> Schedule;
        /// Every schedule, by name.
        schedules() -> Vec<Schedule>;
        /// Forgets a schedule, by its name or id. Its runs go on.
        remove_schedule(schedule: &str) -> Schedule;
        /// No ticks of a schedule until it is resumed.
        pause_schedule(schedule: &str) -> Schedule;
        /// Ticks of a schedule again, from now on.
        resume_schedule(schedule: &str) -> Schedule;
        /// A run of a schedule now, beside the ticks of its calendar.
        run_schedule(schedule: &str) -> Schedule;
    }

    /// The events that a query selects, as an iterator that waits for each.
    ///
    /// # Errors
    /// A refusal of the query, or no connection.
    pub fn events(
        &self,
        query: EventQuery,
    ) -> Result<impl Iterator<Item = Result<Event, Error>> + use<>, Error> {
        let mut events = self.runtime.block_on(self.client.events(query))?;
        let runtime = self.runtime.clone();
        Ok(std::iter::from_fn(move || runtime.block_on(events.next())))
    }

    /// The output of a task, as an iterator that waits for each piece.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub fn logs(
        &self,
        id: TaskId,
        query: LogQuery,
    ) -> Result<impl Iterator<Item = Result<LogItem, Error>> + use<>, Error> {
        let mut logs = self.runtime.block_on(self.client.logs(id, query))?;
        let runtime = self.runtime.clone();
        Ok(std::iter::from_fn(move || runtime.block_on(logs.next())))
    }

    /// Runs anything async of this client, for what has no method here.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn block_on<F, T>(&self, work: impl FnOnce(crate::Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.runtime.block_on(work(self.client.clone()))
    }
}

/// A task and the client to ask about it.
#[derive(Clone)]
pub struct TaskHandle {
    /// The task.
    pub id: TaskId,
    client: Client,
}

impl TaskHandle {
    fn handle(&self) -> crate::TaskHandle {
        self.client.client.task(self.id)
    }

    /// Waits until the task has ended and gives its status.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub fn wait(&self) -> Result<Status, Error> {
        self.client.runtime.block_on(self.handle().wait())
    }

    /// Waits until the task has ended and gives what it left.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub fn result(&self) -> Result<TaskResult, Error> {
        self.client.result(self.id)
    }

    /// Cancels the task and says what became of it.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub fn cancel(&self) -> Result<OperationResult, Error> {
        self.client.runtime.block_on(self.handle().cancel())
    }

    /// Why the task does not run.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub fn explain(&self) -> Result<Explanation, Error> {
        self.client.explain(self.id)
    }
}
