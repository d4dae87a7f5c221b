//! The paths of the API, version 1. `{id}` stands for a number.

/// `GET`: the daemon's version, pid and features ([`crate::Daemon`]).
pub const DAEMON: &str = "/v1/daemon";
/// `GET`: the OpenAPI document of this API ([`crate::openapi::document`]).
pub const OPENAPI: &str = "/v1/openapi.json";
/// `POST`: add tasks. `GET`: list them ([`crate::ListQuery`] → array of [`crate::Task`]).
///
/// The body of a `POST` is one spec (reply [`crate::Added`], or a problem), an array of specs (reply: array
/// of [`crate::AddItem`]), or with content type `application/x-ndjson` one spec a line (reply: NDJSON of
/// [`crate::AddItem`], one line an item, in order). `?atomic=true`: all or none.
pub const TASKS: &str = "/v1/tasks";
/// `GET`: one task in full ([`crate::Task`] with `attempt_list`).
pub const TASK: &str = "/v1/tasks/{id}";
/// `GET`: what was asked for, environment included (`TaskSpec`). `POST`: give a task that has not started
/// another spec (`TaskSpec` → [`crate::Task`]).
pub const TASK_SPEC: &str = "/v1/tasks/{id}/spec";
/// `GET`: why it does not run ([`crate::Explanation`]).
pub const TASK_EXPLAIN: &str = "/v1/tasks/{id}/explain";
/// `GET`: its output ([`crate::LogQuery`]); server-sent events with `Accept: text/event-stream`
/// ([`crate::LogChunk`]), else the plain bytes.
pub const TASK_LOGS: &str = "/v1/tasks/{id}/logs";
/// `POST`: cancel ([`crate::Selector`] → array of [`crate::OperationResult`]).
pub const TASKS_CANCEL: &str = "/v1/tasks/cancel";
/// `POST`: run ended tasks again ([`crate::TaskIds`] → array of [`crate::OperationResult`]).
pub const TASKS_RETRY: &str = "/v1/tasks/retry";
/// `POST`: keep tasks from starting ([`crate::TaskIds`] → array of [`crate::OperationResult`]).
pub const TASKS_HOLD: &str = "/v1/tasks/hold";
/// `POST`: let held tasks go ([`crate::TaskIds`] → array of [`crate::OperationResult`]).
pub const TASKS_RELEASE: &str = "/v1/tasks/release";
/// `POST`: change the class of tasks ([`crate::ReprioritizeRequest`] → array of
/// [`crate::OperationResult`]).
pub const TASKS_REPRIORITIZE: &str = "/v1/tasks/reprioritize";
/// `POST`: how far a running attempt has come ([`crate::ProgressRequest`]).
pub const TASKS_PROGRESS: &str = "/v1/tasks/progress";
/// `POST`: wait until all of a selection have ended ([`crate::WaitRequest`] → [`crate::WaitReply`]).
pub const TASKS_WAIT: &str = "/v1/tasks/wait";
/// `GET`: figures ([`crate::Stats`]).
pub const STATS: &str = "/v1/stats";
/// `GET`: what became of many tasks ([`crate::ReportQuery`] → [`crate::Report`]).
pub const REPORT: &str = "/v1/report";
/// `GET`: the same tasks with their times, by id ([`crate::ReportQuery`] → array of [`crate::ReportedTask`]).
pub const REPORT_TASKS: &str = "/v1/report/tasks";
/// `GET`: resources (array of [`crate::Resource`]). `POST`: say what one has ([`crate::ResourceRequest`] →
/// [`crate::Resource`]).
pub const RESOURCES: &str = "/v1/resources";
/// `POST`: give a resource to nobody for a while ([`crate::ThrottleRequest`] → [`crate::Resource`]).
pub const RESOURCES_THROTTLE: &str = "/v1/resources/throttle";
/// `POST`: give a resource to nobody ([`crate::CloseResource`] → [`crate::Resource`]).
pub const RESOURCES_CLOSE: &str = "/v1/resources/close";
/// `POST`: give a closed or throttled resource out again ([`crate::ResourceNamed`] → [`crate::Resource`]).
pub const RESOURCES_OPEN: &str = "/v1/resources/open";
/// `POST`: put right what an attempt has drawn of a rate ([`crate::SettleRequest`] → [`crate::Resource`]).
pub const RESOURCES_SETTLE: &str = "/v1/resources/settle";
/// `GET`: connected workers (array of [`crate::Worker`]).
pub const WORKERS: &str = "/v1/workers";
/// `GET`: a worker session, a WebSocket ([`crate::FromWorker`], [`crate::ToWorker`]).
pub const WORKERS_SESSION: &str = "/v1/workers/session";
/// `GET`: server-sent events ([`crate::EventQuery`] → [`crate::Event`], the id is the sequence).
/// `POST`: publish an event of a type of one's own ([`crate::PublishRequest`] → [`crate::PublishedEvent`]).
pub const EVENTS: &str = "/v1/events";
/// `GET`: hooks and how they do (array of [`crate::Hook`]).
pub const HOOKS: &str = "/v1/hooks";
/// `GET`: events that hooks could not deliver (array of [`crate::DeadLetter`]).
pub const HOOKS_DEAD: &str = "/v1/hooks/dead";
/// `POST`: try to deliver some of them once more ([`crate::LettersRequest`] → array of
/// [`crate::LetterResult`]).
pub const HOOKS_RETRY: &str = "/v1/hooks/retry";
/// `POST`: forget some of them ([`crate::LettersRequest`] → array of [`crate::LetterResult`]).
pub const HOOKS_DROP: &str = "/v1/hooks/drop";
/// `POST`: submit a workflow (`WorkflowSpec` → [`crate::WorkflowAdded`]); with content type
/// `application/x-ndjson` [`crate::WorkflowHead`], then one task a line, any number. `GET`: list them
/// ([`crate::WorkflowQuery`] → array of [`crate::Workflow`]).
pub const WORKFLOWS: &str = "/v1/workflows";
/// `GET`: one workflow ([`crate::Workflow`]).
pub const WORKFLOW: &str = "/v1/workflows/{id}";
/// `GET`: which of its tasks nothing will ever start unless somebody does something, by reason (array of
/// [`crate::Stuck`]).
pub const WORKFLOW_STUCK: &str = "/v1/workflows/{id}/stuck";
/// `POST`: go on with a workflow: end its pause, or run again what did not complete
/// ([`crate::WorkflowAdded`] with the tasks that have not ended now).
pub const WORKFLOW_RESUME: &str = "/v1/workflows/{id}/resume";
/// `POST`: run tasks of an ended workflow again, and all that comes after them ([`crate::RerunRequest`] →
/// [`crate::WorkflowAdded`] with the tasks that run again).
pub const WORKFLOW_RERUN: &str = "/v1/workflows/{id}/rerun";
/// `GET`: the workflows that are kept under their names (array of [`crate::Definition`]). `POST`: keep those of
/// a file ([`crate::DefinitionRequest`] → array of [`crate::Definition`]).
pub const DEFINITIONS: &str = "/v1/definitions";
/// `GET`: one of them ([`crate::DefinitionNamed`] → [`crate::ShownDefinition`]).
pub const DEFINITIONS_SHOW: &str = "/v1/definitions/show";
/// `POST`: keep one no longer ([`crate::DefinitionNamed`]).
pub const DEFINITIONS_REMOVE: &str = "/v1/definitions/remove";
/// `POST`: submit one ([`crate::DefinitionRun`] → [`crate::WorkflowAdded`]).
pub const DEFINITIONS_RUN: &str = "/v1/definitions/run";
/// `GET`: how long the tasks of a workflow took ([`crate::DefinitionNamed`] → [`crate::Durations`]).
pub const DURATIONS: &str = "/v1/durations";
/// `POST`: create a session (`SessionSpec` → [`crate::Session`]). `GET`: list them
/// ([`crate::SessionQuery`] → array of [`crate::Session`]).
pub const SESSIONS: &str = "/v1/sessions";
/// `GET`: one session with its statistics ([`crate::Session`]).
pub const SESSION: &str = "/v1/sessions/{id}";
/// `POST`: take no more work into a session ([`crate::CloseRequest`] → [`crate::Session`]).
pub const SESSION_CLOSE: &str = "/v1/sessions/{id}/close";
/// `POST`: add a schedule (`ScheduleSpec` → [`crate::Schedule`]). `GET`: list them.
pub const SCHEDULES: &str = "/v1/schedules";
/// `POST`: forget a schedule ([`crate::ScheduleNamed`] → [`crate::Schedule`]).
pub const SCHEDULES_REMOVE: &str = "/v1/schedules/remove";
/// `POST`: no ticks of a schedule ([`crate::ScheduleNamed`] → [`crate::Schedule`]).
pub const SCHEDULES_PAUSE: &str = "/v1/schedules/pause";
/// `POST`: ticks of a schedule again ([`crate::ScheduleNamed`] → [`crate::Schedule`]).
pub const SCHEDULES_RESUME: &str = "/v1/schedules/resume";
/// `POST`: a run of a schedule now ([`crate::ScheduleNamed`] → [`crate::Schedule`]).
pub const SCHEDULES_RUN: &str = "/v1/schedules/run";
/// `POST`: no new starts of what is named ([`crate::PauseRequest`]).
pub const PAUSE: &str = "/v1/pause";
/// `POST`: end a pause ([`crate::PauseRequest`]).
pub const RESUME: &str = "/v1/resume";
/// `POST`: start nothing new, and wait until nothing runs ([`crate::DrainRequest`] →
/// [`crate::DrainReply`]).
pub const DRAIN: &str = "/v1/drain";
/// `POST`: copy the store to a new file, while it is in use ([`crate::BackupRequest`] → [`crate::Backup`]).
pub const STORE_BACKUP: &str = "/v1/store/backup";
/// `POST`: look through the store for damage ([`crate::StoreCheck`]); takes time that grows with its size.
pub const STORE_CHECK: &str = "/v1/store/check";
/// `POST`: end the daemon ([`crate::ShutdownRequest`]).
pub const SHUTDOWN: &str = "/v1/shutdown";

/// The path of one task, explanation or log: a route with its `{id}` filled in.
#[must_use]
pub fn with_id(route: &str, id: u64) -> String {
    route.replace("{id}", &id.to_string())
}
