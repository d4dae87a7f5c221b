//! The client: one method a request of the API.

use bytes::Bytes;
use futures_util::Stream;
use orchd_api::{
    Added, Backup, BackupRequest, CloseResource, Daemon, Definition, DefinitionNamed, DefinitionRequest,
    DefinitionRun, DrainReply, DrainRequest, Durations, EventQuery, Explanation, ListQuery, LogQuery,
    OperationResult, PauseRequest, ProgressRequest, ReprioritizeRequest, RerunRequest, Resource,
    ResourceNamed, ResourceRequest, Selector, SettleRequest, ShownDefinition, ShutdownMode, ShutdownRequest,
    Stats, StoreCheck, Task, TaskIds, ThrottleRequest, WaitReply, WaitRequest, Worker, Workflow,
    WorkflowAdded, WorkflowQuery, routes,
};
use orchd_model::{
    Priority, Refusal, ResourceName, Span, TaskId, TaskRange, TaskResult, TaskSpec, WorkflowId, WorkflowSpec,
};
use serde::de::IgnoredAny;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connection::{Call, Transport};
use crate::{Error, Events, Logs, TaskHandle, bulk, default_socket, workflow};

/// How long a client waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// To connect and get a first answer from the daemon.
    pub connect_timeout: Duration,
    /// For the answer of a request that is not meant to last. Waits and streams have no such limit.
    pub request_timeout: Duration,
    /// How long a client that had a connection tries to get it back.
    pub reconnect_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(60),
            reconnect_for: Duration::from_secs(30),
        }
    }
}

/// A client of one daemon. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) transport: Arc<Transport>,
}

impl Client {
    /// Connects to the daemon at a socket.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no daemon answers there.
    pub async fn connect(socket: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::connect_with(socket, Settings::default()).await
    }

    /// Connects to the daemon at [`default_socket`].
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no daemon answers there.
    pub async fn connect_default() -> Result<Self, Error> {
        Self::connect(default_socket()).await
    }

    /// Connects with other limits than usual.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no daemon answers there.
    pub async fn connect_with(socket: impl Into<PathBuf>, settings: Settings) -> Result<Self, Error> {
        let transport = Transport::new(socket.into(), settings);
        let connection = transport.first_connection().await?;
        transport.give_back(connection);
        Ok(Self { transport: Arc::new(transport) })
    }

    /// A client that connects with its first request and saves the question whether a daemon answers: for a
    /// program that has one thing to say and ends. What is wrong with the socket is the first request's error.
    #[must_use]
    pub fn lazy(socket: impl Into<PathBuf>, settings: Settings) -> Self {
        Self { transport: Arc::new(Transport::lazy(socket.into(), settings)) }
    }

    /// The socket of this client.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.transport.socket()
    }

    /// Does this whenever a connection is lost and the daemon is looked for (as long as [`Settings::reconnect_for`]
    /// says), once in an outage, in place of what was to be done before: somebody may wonder why nothing happens.
    pub fn on_outage(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.transport.on_outage(Arc::new(tell));
    }

    /// Adds a task. When the reply is lost it is asked for again only if the spec has a key, because only
    /// then the same request cannot add two tasks.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), orchd_client::Error> {
    /// # let client = orchd_client::Client::connect_default().await?;
    /// use orchd_client::TaskSpec;
    /// let spec = TaskSpec { key: Some("nightly-7".into()), ..TaskSpec::command(["echo", "night"]) };
    /// let task = client.submit(spec).await?;
    /// println!("{}", task.id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn submit(&self, spec: TaskSpec) -> Result<TaskHandle, Error> {
        let call = Call::post(routes::TASKS, &spec)?.repeatable(spec.key.is_some());
        let added: Added = self.transport.ask(call).await?;
        Ok(self.task(added.id))
    }

    /// A handle of a task that exists.
    #[must_use]
    pub fn task(&self, id: TaskId) -> TaskHandle {
        TaskHandle::new(id, self.clone())
    }

    /// Adds any number of tasks in one request, as they come from the iterator and as fast as the daemon
    /// takes them. The results are in the order of the specs, of an array the first element's id; one refusal
    /// does not sink the others.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), orchd_client::Error> {
    /// # let client = orchd_client::Client::connect_default().await?;
    /// use orchd_client::TaskSpec;
    /// let specs = (0..100).map(|i| TaskSpec::command(["echo", &format!("{i}.png")]));
    /// let added = client.submit_many(specs).await?;
    /// assert!(added.iter().all(Result::is_ok));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A refusal of the whole request, or no connection. What the daemon took before a connection broke
    /// stays added; give the specs keys to be able to send them again.
    pub async fn submit_many<I>(&self, specs: I) -> Result<Vec<Result<TaskId, Refusal>>, Error>
    where
        I: IntoIterator<Item = TaskSpec>,
    {
        let mut results = Vec::new();
        let specs = futures_util::stream::iter(specs);
        let first = |tasks: TaskRange| tasks.first;
        self.submit_stream(specs, false, |item| results.push(item.map(first))).await?;
        Ok(results)
    }

    /// Adds tasks in one request as they become available, and calls `each` with every result as it comes,
    /// in the order of the specs. `atomic`: all or none; then the first refusal is the error.
    ///
    /// # Errors
    /// A refusal of the whole request, or no connection; what `each` was told stays true.
    pub async fn submit_stream<S>(
        &self,
        specs: S,
        atomic: bool,
        each: impl FnMut(Result<TaskRange, Refusal>),
    ) -> Result<(), Error>
    where
        S: Stream<Item = TaskSpec>,
    {
        bulk::submit(&self.transport, specs, atomic, each).await
    }

    /// Cancels tasks and says for each what became of it.
    ///
    /// # Errors
    /// A refusal of the request, or no connection.
    pub async fn cancel(&self, select: Selector) -> Result<Vec<OperationResult>, Error> {
        // A task that is cancelled twice is cancelled, but the second answer would say that it had ended.
        self.transport.ask(Call::post(routes::TASKS_CANCEL, &select)?).await
    }

    /// Runs ended tasks again.
    ///
    /// # Errors
    /// A refusal of the request, or no connection.
    pub async fn retry(&self, ids: Vec<TaskRange>) -> Result<Vec<OperationResult>, Error> {
        self.transport.ask(Call::post(routes::TASKS_RETRY, &TaskIds { ids })?).await
    }

    /// Keeps tasks from starting until they are released.
    ///
    /// # Errors
    /// A refusal of the request, or no connection.
    pub async fn hold(&self, ids: Vec<TaskRange>) -> Result<Vec<OperationResult>, Error> {
        self.transport.ask(Call::post(routes::TASKS_HOLD, &TaskIds { ids })?.repeatable(true)).await
    }

    /// Lets held tasks go.
    ///
    /// # Errors
    /// A refusal of the request, or no connection.
    pub async fn release(&self, ids: Vec<TaskRange>) -> Result<Vec<OperationResult>, Error> {
        // A second answer would say that they are not held.
        self.transport.ask(Call::post(routes::TASKS_RELEASE, &TaskIds { ids })?).await
    }

    /// Changes the class of tasks that have not ended.
    ///
    /// # Errors
    /// A refusal of the request, or no connection.
    pub async fn reprioritize(
        &self,
        ids: Vec<TaskRange>,
        priority: Priority,
    ) -> Result<Vec<OperationResult>, Error> {
        let request = ReprioritizeRequest { ids, priority };
        self.transport.ask(Call::post(routes::TASKS_REPRIORITIZE, &request)?.repeatable(true)).await
    }

    /// Everything about one task.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn get(&self, id: TaskId) -> Result<Task, Error> {
        self.transport.ask(Call::get(routes::with_id(routes::TASK, id.0))).await
    }

    /// The spec of a task as it stands: with the class and the hold that operators gave it since.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn spec(&self, id: TaskId) -> Result<TaskSpec, Error> {
        self.transport.ask(Call::get(routes::with_id(routes::TASK_SPEC, id.0))).await
    }

    /// Gives a task that has not started another spec. Its key, dependencies, session and workflow stay.
    ///
    /// # Errors
    /// A refusal, `wrong_state` when it has started meanwhile, or no connection.
    pub async fn edit(&self, id: TaskId, spec: &TaskSpec) -> Result<Task, Error> {
        let path = routes::with_id(routes::TASK_SPEC, id.0);
        self.transport.ask(Call::post(&path, spec)?).await
    }

    /// The tasks that a query selects: unfinished first, then the newest ended.
    ///
    /// # Errors
    /// A refusal of the query, or no connection.
    pub async fn list(&self, query: ListQuery) -> Result<Vec<Task>, Error> {
        self.transport.ask(Call::query(routes::TASKS, &query)?).await
    }

    /// Why a task does not run.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn explain(&self, id: TaskId) -> Result<Explanation, Error> {
        self.transport.ask(Call::get(routes::with_id(routes::TASK_EXPLAIN, id.0))).await
    }

    /// Waits until every task of a selection has ended, or the timeout has passed: then `done` is false.
    /// The wait goes on over a restart of the daemon.
    ///
    /// # Errors
    /// A refusal of the request, or no connection.
    pub async fn wait(&self, request: WaitRequest) -> Result<WaitReply, Error> {
        let begun = Instant::now();
        let call = || {
            let left = |total| Duration::from(total).saturating_sub(begun.elapsed()).into();
            let request = WaitRequest { select: request.select.clone(), timeout: request.timeout.map(left) };
            Ok(Call::post(routes::TASKS_WAIT, &request)?.repeatable(true).patient())
        };
        self.transport.ask_again(call).await
    }

    /// Waits until a task has ended and gives what it left. A task that was skipped, or cancelled before
    /// it ran, has a result without success that says why.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn result(&self, id: TaskId) -> Result<TaskResult, Error> {
        loop {
            self.wait(WaitRequest { select: id.into(), timeout: None }).await?;
            let task = self.get(id).await?;
            // Someone may have started a new run in between.
            if task.status.is_terminal() {
                return Ok(task.result.clone().unwrap_or_else(|| without_attempt(&task)));
            }
        }
    }

    /// Figures about the daemon and its tasks.
    ///
    /// # Errors
    /// No connection.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.transport.ask(Call::get(routes::STATS)).await
    }

    /// The connected workers.
    ///
    /// # Errors
    /// No connection.
    pub async fn workers(&self) -> Result<Vec<Worker>, Error> {
        self.transport.ask(Call::get(routes::WORKERS)).await
    }

    /// The resources, who holds them and how many wait.
    ///
    /// # Errors
    /// No connection.
    pub async fn resources(&self) -> Result<Vec<Resource>, Error> {
        self.transport.ask(Call::get(routes::RESOURCES)).await
    }

    /// Says what a resource has; gives it as it is then.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn set_resource(&self, request: ResourceRequest) -> Result<Resource, Error> {
        self.transport.ask(Call::post(routes::RESOURCES, &request)?.repeatable(true)).await
    }

    /// Gives a resource to nobody for a while. With the token of a running attempt, that was told to wait, the
    /// attempt's task starts again afterwards if it fails now, and that is no try.
    ///
    /// # Errors
    /// `stale_token` when the attempt is over, another refusal, or no connection.
    pub async fn throttle(&self, request: ThrottleRequest) -> Result<Resource, Error> {
        self.transport.ask(Call::post(routes::RESOURCES_THROTTLE, &request)?.repeatable(true)).await
    }

    /// Gives a resource to nobody until it is opened.
    ///
    /// # Errors
    /// `wrong_state` when it is closed already, another refusal, or no connection.
    pub async fn close_resource(&self, request: CloseResource) -> Result<Resource, Error> {
        self.transport.ask(Call::post(routes::RESOURCES_CLOSE, &request)?).await
    }

    /// Gives a closed or throttled resource out again.
    ///
    /// # Errors
    /// `wrong_state` when it is neither, another refusal, or no connection.
    pub async fn open_resource(&self, resource: &ResourceName) -> Result<Resource, Error> {
        let request = ResourceNamed { resource: resource.clone() };
        self.transport.ask(Call::post(routes::RESOURCES_OPEN, &request)?).await
    }

    /// Says how many tokens of a rate a running attempt has really used, in place of those it drew.
    ///
    /// # Errors
    /// `stale_token` when the attempt is over, another refusal, or no connection.
    pub async fn settle(&self, request: SettleRequest) -> Result<Resource, Error> {
        self.transport.ask(Call::post(routes::RESOURCES_SETTLE, &request)?.repeatable(true)).await
    }

    /// Starts nothing new, and waits until nothing runs or the timeout has passed: then `done` is false.
    ///
    /// # Errors
    /// `wrong_state` when somebody resumed meanwhile, or no connection.
    pub async fn drain(&self, timeout: Option<Span>) -> Result<DrainReply, Error> {
        let begun = Instant::now();
        let call = || {
            let left = |total| Duration::from(total).saturating_sub(begun.elapsed()).into();
            let request = DrainRequest { timeout: timeout.map(left) };
            Ok(Call::post(routes::DRAIN, &request)?.repeatable(true).patient())
        };
        self.transport.ask_again(call).await
    }

    /// Who answers on the socket.
    ///
    /// # Errors
    /// No connection.
    pub async fn daemon(&self) -> Result<Daemon, Error> {
        self.transport.ask(Call::get(routes::DAEMON)).await
    }

    /// Says how far a running attempt has come. In a task its token is in `$ORCHD_TOKEN`.
    ///
    /// # Errors
    /// `stale_token` when the attempt is over, another refusal, or no connection.
    pub async fn progress(&self, request: ProgressRequest) -> Result<(), Error> {
        self.change(Call::post(routes::TASKS_PROGRESS, &request)?.repeatable(true)).await
    }

    /// Nothing new starts of what is named; nothing named: of everything.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn pause(&self, what: PauseRequest) -> Result<(), Error> {
        self.change(Call::post(routes::PAUSE, &what)?.repeatable(true)).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn resume(&self, what: PauseRequest) -> Result<(), Error> {
        self.change(Call::post(routes::RESUME, &what)?.repeatable(true)).await
    }

    /// Copies the store to a new file, which the daemon writes.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn backup(&self, file: &Path) -> Result<Backup, Error> {
        let path = file.display().to_string();
        self.transport.ask(Call::post(routes::STORE_BACKUP, &BackupRequest { path })?.patient()).await
    }

    /// Looks through the store for damage.
    ///
    /// # Errors
    /// No connection.
    pub async fn check_store(&self) -> Result<StoreCheck, Error> {
        let nothing = serde_json::Map::new();
        self.transport.ask(Call::post(routes::STORE_CHECK, &nothing)?.patient().repeatable(true)).await
    }

    /// Ends the daemon, or lets one go on that waits for running tasks before it ends.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn shutdown(&self, mode: ShutdownMode) -> Result<(), Error> {
        self.change(Call::post(routes::SHUTDOWN, &ShutdownRequest { mode })?.patient()).await
    }

    async fn change(&self, call: Call) -> Result<(), Error> {
        self.transport.ask::<IgnoredAny>(call).await.map(drop)
    }

    /// Submits a workflow: all of its tasks, or none.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn submit_workflow(&self, spec: &WorkflowSpec) -> Result<WorkflowAdded, Error> {
        workflow::submit(&self.transport, spec).await
    }

    /// A workflow and its figures.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn workflow(&self, id: WorkflowId) -> Result<Workflow, Error> {
        self.transport.ask(Call::get(routes::with_id(routes::WORKFLOW, id.0))).await
    }

    /// Goes on with a workflow: ends its pause, or runs again what did not complete. Gives the tasks that have
    /// not ended now.
    ///
    /// # Errors
    /// `not_found`, `wrong_state` when it completed, or no connection.
    pub async fn resume_workflow(&self, id: WorkflowId) -> Result<WorkflowAdded, Error> {
        let route = routes::with_id(routes::WORKFLOW_RESUME, id.0);
        self.transport.ask(Call::post(route, &())?).await
    }

    /// Runs tasks of an ended workflow again, given by names or ids, and all that comes after them. Gives what
    /// runs again.
    ///
    /// # Errors
    /// `not_found` for the workflow or a task, `wrong_state` while some of it has not ended, or no connection.
    pub async fn rerun_workflow(&self, id: WorkflowId, from: Vec<String>) -> Result<WorkflowAdded, Error> {
        let route = routes::with_id(routes::WORKFLOW_RERUN, id.0);
        self.transport.ask(Call::post(route, &RerunRequest { from })?).await
    }

    /// The newest workflows.
    ///
    /// # Errors
    /// No connection.
    pub async fn workflows(&self) -> Result<Vec<Workflow>, Error> {
        self.list_workflows(WorkflowQuery::default()).await
    }

    /// The workflows that a query selects, the newest first.
    ///
    /// # Errors
    /// A refusal of the query, or no connection.
    pub async fn list_workflows(&self, query: WorkflowQuery) -> Result<Vec<Workflow>, Error> {
        self.transport.ask(Call::query(routes::WORKFLOWS, &query)?).await
    }

    /// The workflows that are kept under their names.
    ///
    /// # Errors
    /// No connection.
    pub async fn definitions(&self) -> Result<Vec<Definition>, Error> {
        self.transport.ask(Call::get(routes::DEFINITIONS)).await
    }

    /// A workflow that is kept under this name.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn definition(&self, name: &str) -> Result<ShownDefinition, Error> {
        let named = DefinitionNamed { name: name.to_owned() };
        self.transport.ask(Call::query(routes::DEFINITIONS_SHOW, &named)?).await
    }

    /// Keeps the workflows of a file under their names, in place of those that have them.
    ///
    /// # Errors
    /// A refusal with everything that is wrong with the file, or no connection.
    pub async fn put_definitions(&self, file: &DefinitionRequest) -> Result<Vec<Definition>, Error> {
        self.transport.ask(Call::post(routes::DEFINITIONS, file)?.repeatable(true)).await
    }

    /// Keeps a workflow no longer; its runs stay.
    ///
    /// # Errors
    /// `not_found`, another refusal, or no connection.
    pub async fn remove_definition(&self, name: &str) -> Result<(), Error> {
        let named = DefinitionNamed { name: name.to_owned() };
        self.change(Call::post(routes::DEFINITIONS_REMOVE, &named)?).await
    }

    /// Submits a workflow by the name that it is kept under.
    ///
    /// # Errors
    /// A refusal, or no connection.
    pub async fn run_definition(&self, run: &DefinitionRun) -> Result<WorkflowAdded, Error> {
        self.transport.ask(Call::post(routes::DEFINITIONS_RUN, run)?).await
    }

    /// How long the tasks of the latest workflows of this name took.
    ///
    /// # Errors
    /// No connection.
    pub async fn durations(&self, workflow: &str) -> Result<Durations, Error> {
        let named = DefinitionNamed { name: workflow.to_owned() };
        self.transport.ask(Call::query(routes::DURATIONS, &named)?).await
    }

    /// The events that a query selects, from now on when it names no sequence. The stream goes on without
    /// a gap after the connection broke.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), orchd_client::Error> {
    /// # let client = orchd_client::Client::connect_default().await?;
    /// use orchd_client::api::EventQuery;
    /// let query = EventQuery { pattern: Some("task.*".into()), ..EventQuery::default() };
    /// let mut events = client.events(query).await?;
    /// let task = client.submit(orchd_client::TaskSpec::command(["true"])).await?;
    /// while let Some(event) = events.next().await {
    ///     let event = event?;
    ///     println!("{event:?}");
    ///     if event.task == Some(task.id) && event.kind == "task.completed" {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A refusal of the query, or no connection.
    pub async fn events(&self, query: EventQuery) -> Result<Events, Error> {
        Events::open(self.clone(), query).await
    }

    /// The output of a task, as it is written when the query says `follow`.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn logs(&self, id: TaskId, query: LogQuery) -> Result<Logs, Error> {
        Logs::open(self.clone(), id, query).await
    }

    /// The output of a task so far, as plain bytes: one stream of one attempt.
    ///
    /// # Errors
    /// `not_found`, or no connection.
    pub async fn output(&self, id: TaskId, query: LogQuery) -> Result<Bytes, Error> {
        let query = LogQuery { follow: false, ..query };
        self.transport.bytes(Call::query(&routes::with_id(routes::TASK_LOGS, id.0), &query)?).await
    }
}

/// The result of a task that ended without an attempt.
fn without_attempt(task: &Task) -> TaskResult {
    let message = task.status_reason.as_ref().map_or_else(|| task.status.to_string(), |why| why.text.clone());
    TaskResult {
        success: task.status == orchd_model::Status::Completed,
        error_message: Some(message),
        attempts: task.attempts,
        ..TaskResult::default()
    }
}
