//! Every operation of the API. A route that is served must be here; `tests/openapi.rs` asks a daemon for each
//! method of each path, and compares.

use orchd_model::{ScheduleSpec, SessionSpec, TaskSpec, WorkflowSpec};

use super::operation::{Content, NDJSON, Operation, schema};
use crate::{
    AddBody, AddItem, AddQuery, AddReply, Backup, BackupRequest, CloseRequest, CloseResource, Daemon,
    DeadLetter, Definition, DefinitionNamed, DefinitionRequest, DefinitionRun, DrainReply, DrainRequest,
    Durations, Event, EventQuery, Explanation, FromWorker, Hook, LetterResult, LettersRequest, ListQuery,
    LogChunk, LogEnd, LogQuery, OperationResult, PauseRequest, ProgressRequest, PublishRequest,
    PublishedEvent, Report, ReportQuery, ReportedTask, ReprioritizeRequest, RerunRequest, Resource,
    ResourceNamed, ResourceRequest, Schedule, ScheduleNamed, Selector, Session, SessionQuery, SettleRequest,
    ShownDefinition, ShutdownRequest, Stats, StoreCheck, Stuck, Task, TaskIds, ThrottleRequest, ToWorker,
    WaitReply, WaitRequest, Worker, Workflow, WorkflowAdded, WorkflowLine, WorkflowQuery, routes,
};

/// Every operation, in the order of [`routes`].
#[must_use]
pub fn operations() -> Vec<Operation> {
    let mut operations = vec![
        Operation::get(routes::DAEMON, "daemon", "Who answers: version, process id, state directory")
            .answers::<Daemon>(),
        Operation::get(routes::OPENAPI, "openapi", "This document")
            .answers::<serde_json::Map<String, serde_json::Value>>(),
        Operation::get(routes::STATS, "stats", "Counts, times, rates").answers::<Stats>(),
        Operation::get(routes::RESOURCES, "listResources", "Every resource: capacity, held, free, waiting")
            .answers::<Vec<Resource>>(),
        Operation::post(routes::RESOURCES, "setResource", "Say what a resource has; it may be a new one")
            .reads::<ResourceRequest>()
            .answers::<Resource>(),
        Operation::post(
            routes::RESOURCES_THROTTLE,
            "throttleResource",
            "Give a resource to nobody for a while",
        )
        .reads::<ThrottleRequest>()
        .answers::<Resource>(),
        Operation::post(routes::RESOURCES_CLOSE, "closeResource", "Give a resource to nobody")
            .reads::<CloseResource>()
            .answers::<Resource>(),
        Operation::post(routes::RESOURCES_OPEN, "openResource", "Give a closed or throttled one out again")
            .reads::<ResourceNamed>()
            .answers::<Resource>(),
        Operation::post(routes::RESOURCES_SETTLE, "settleResource", "Say what was really used of a rate")
            .reads::<SettleRequest>()
            .answers::<Resource>(),
        Operation::get(routes::WORKERS, "listWorkers", "Every worker that is connected or holds attempts")
            .answers::<Vec<Worker>>(),
        Operation::get(routes::WORKERS_SESSION, "workerSession", "A worker's session: a WebSocket")
            .upgrades::<FromWorker, ToWorker>(),
        Operation::get(routes::EVENTS, "events", "Every change of state, from now or from a sequence")
            .query::<EventQuery>()
            .answers_events(&[("*", schema::<Event>)]),
        Operation::post(routes::EVENTS, "publish", "An event of your own, for all who listen")
            .reads::<PublishRequest>()
            .answers::<PublishedEvent>(),
        Operation::post(
            routes::PAUSE,
            "pause",
            "No new starts of what is named; of everything without a name",
        )
        .reads::<PauseRequest>()
        .answers::<()>(),
        Operation::post(routes::RESUME, "resume", "End a pause").reads::<PauseRequest>().answers::<()>(),
        Operation::post(routes::DRAIN, "drain", "No new starts; answers when nothing runs")
            .reads::<DrainRequest>()
            .answers::<DrainReply>(),
        Operation::post(routes::STORE_BACKUP, "backup", "Copy the store to a new file, while it is in use")
            .reads::<BackupRequest>()
            .answers::<Backup>(),
        Operation::post(routes::STORE_CHECK, "checkStore", "Look through the store for damage")
            .answers::<StoreCheck>(),
        Operation::post(routes::SHUTDOWN, "shutdown", "End the daemon")
            .reads::<ShutdownRequest>()
            .answers::<()>(),
    ];
    operations.extend(of_hooks());
    operations.extend(of_sessions());
    operations.extend(of_tasks());
    operations.extend(of_workflows());
    operations.extend(of_definitions());
    operations.extend(of_schedules());
    operations
}

fn of_schedules() -> Vec<Operation> {
    let named = [
        (routes::SCHEDULES_REMOVE, "removeSchedule", "Forget a schedule; its runs go on"),
        (routes::SCHEDULES_PAUSE, "pauseSchedule", "No ticks of a schedule until it is resumed"),
        (routes::SCHEDULES_RESUME, "resumeSchedule", "Ticks of a schedule again, from now on"),
        (routes::SCHEDULES_RUN, "runSchedule", "A run of a schedule now"),
    ];
    let mut operations = vec![
        Operation::post(routes::SCHEDULES, "addSchedule", "Add work that comes again and again")
            .reads::<ScheduleSpec>()
            .answers::<Schedule>(),
        Operation::get(routes::SCHEDULES, "listSchedules", "Every schedule, by name")
            .answers::<Vec<Schedule>>(),
    ];
    operations.extend(named.map(|(route, id, summary)| {
        Operation::post(route, id, summary).reads::<ScheduleNamed>().answers::<Schedule>()
    }));
    operations
}

fn of_workflows() -> Vec<Operation> {
    vec![
        Operation::post(routes::WORKFLOWS, "addWorkflow", "Add a workflow: all of its tasks or none")
            .reads::<WorkflowSpec>()
            .reads_lines::<WorkflowLine>()
            .answers::<WorkflowAdded>(),
        Operation::get(routes::WORKFLOWS, "listWorkflows", "Workflows, the newest first")
            .query::<WorkflowQuery>()
            .answers::<Vec<Workflow>>(),
        Operation::get(routes::WORKFLOW, "showWorkflow", "One workflow with its figures")
            .answers::<Workflow>(),
        Operation::get(
            routes::WORKFLOW_STUCK,
            "stuckTasks",
            "What of a workflow nothing will start unless somebody does something, by reason",
        )
        .answers::<Vec<Stuck>>(),
        Operation::post(
            routes::WORKFLOW_RESUME,
            "resumeWorkflow",
            "Go on with a workflow: end its pause, or run again what did not complete",
        )
        .answers::<WorkflowAdded>(),
        Operation::post(
            routes::WORKFLOW_RERUN,
            "rerunWorkflow",
            "Run tasks of an ended workflow again, and all that comes after them",
        )
        .reads::<RerunRequest>()
        .answers::<WorkflowAdded>(),
    ]
}

fn of_hooks() -> Vec<Operation> {
    vec![
        Operation::get(routes::HOOKS, "listHooks", "Hooks and how they do").answers::<Vec<Hook>>(),
        Operation::get(routes::HOOKS_DEAD, "listDeadLetters", "Events that hooks could not deliver")
            .answers::<Vec<DeadLetter>>(),
        Operation::post(routes::HOOKS_RETRY, "retryDeadLetters", "Try to deliver some of them once more")
            .reads::<LettersRequest>()
            .answers::<Vec<LetterResult>>(),
        Operation::post(routes::HOOKS_DROP, "dropDeadLetters", "Forget some of them")
            .reads::<LettersRequest>()
            .answers::<Vec<LetterResult>>(),
    ]
}

fn of_definitions() -> Vec<Operation> {
    vec![
        Operation::get(routes::DEFINITIONS, "listDefinitions", "Workflows that are kept under their names")
            .answers::<Vec<Definition>>(),
        Operation::post(routes::DEFINITIONS, "putDefinitions", "Keep the workflows of a file")
            .reads::<DefinitionRequest>()
            .answers::<Vec<Definition>>(),
        Operation::get(routes::DEFINITIONS_SHOW, "showDefinition", "A definition with its text")
            .query::<DefinitionNamed>()
            .answers::<ShownDefinition>(),
        Operation::post(routes::DEFINITIONS_REMOVE, "removeDefinition", "Keep a definition no longer")
            .reads::<DefinitionNamed>()
            .answers::<()>(),
        Operation::post(routes::DEFINITIONS_RUN, "runDefinition", "Add a workflow by its name")
            .reads::<DefinitionRun>()
            .answers::<WorkflowAdded>(),
        Operation::get(routes::DURATIONS, "durations", "How long the tasks of a workflow took lately")
            .query::<DefinitionNamed>()
            .answers::<Durations>(),
    ]
}

fn of_sessions() -> Vec<Operation> {
    vec![
        Operation::post(routes::SESSIONS, "createSession", "Create a session")
            .reads::<SessionSpec>()
            .answers::<Session>(),
        Operation::get(routes::SESSIONS, "listSessions", "Sessions, those that are not closed first")
            .query::<SessionQuery>()
            .answers::<Vec<Session>>(),
        Operation::get(routes::SESSION, "showSession", "One session with its statistics")
            .answers::<Session>(),
        Operation::post(routes::SESSION_CLOSE, "closeSession", "Take no more work into a session")
            .reads::<CloseRequest>()
            .answers::<Session>(),
    ]
}

fn of_tasks() -> Vec<Operation> {
    vec![
        Operation::post(routes::TASKS, "addTasks", "Add a task, an array of tasks, or one task a line")
            .query::<AddQuery>()
            .reads::<AddBody>()
            .reads_lines::<TaskSpec>()
            .answers::<AddReply>()
            .answers_with(NDJSON, Content::Lines(schema::<AddItem>)),
        Operation::get(routes::TASKS, "listTasks", "Tasks, the unfinished first, then the newest ended")
            .query::<ListQuery>()
            .answers::<Vec<Task>>(),
        Operation::get(routes::TASK, "showTask", "Everything about one task, its attempts included")
            .answers::<Task>(),
        Operation::get(
            routes::TASK_SPEC,
            "taskSpec",
            "What was asked for, as it stands, environment included",
        )
        .answers::<TaskSpec>(),
        Operation::post(routes::TASK_SPEC, "editTask", "Give a task that has not started another spec")
            .reads::<TaskSpec>()
            .answers::<Task>(),
        Operation::get(routes::TASK_EXPLAIN, "explainTask", "Why it does not run").answers::<Explanation>(),
        Operation::get(routes::TASK_LOGS, "logs", "Its output: the bytes, or events with where they belong")
            .query::<LogQuery>()
            .answers_with("application/octet-stream", Content::Bytes)
            .answers_events(&[("chunk", schema::<LogChunk>), ("end", schema::<LogEnd>)]),
        Operation::post(
            routes::TASKS_CANCEL,
            "cancelTasks",
            "Cancel a selection; says for each what became of it",
        )
        .reads::<Selector>()
        .answers::<Vec<OperationResult>>(),
        Operation::post(routes::TASKS_RETRY, "retryTasks", "Run ended tasks again, under the same ids")
            .reads::<TaskIds>()
            .answers::<Vec<OperationResult>>(),
        Operation::post(routes::TASKS_HOLD, "holdTasks", "Keep tasks from starting")
            .reads::<TaskIds>()
            .answers::<Vec<OperationResult>>(),
        Operation::post(routes::TASKS_RELEASE, "releaseTasks", "Let held tasks go")
            .reads::<TaskIds>()
            .answers::<Vec<OperationResult>>(),
        Operation::post(routes::TASKS_REPRIORITIZE, "reprioritizeTasks", "Change the class of tasks")
            .reads::<ReprioritizeRequest>()
            .answers::<Vec<OperationResult>>(),
        Operation::post(
            routes::TASKS_WAIT,
            "waitForTasks",
            "Answers when every task of a selection has ended",
        )
        .reads::<WaitRequest>()
        .answers::<WaitReply>(),
        Operation::post(routes::TASKS_PROGRESS, "tellProgress", "How far a running attempt has come")
            .reads::<ProgressRequest>()
            .answers::<()>(),
        Operation::get(routes::REPORT, "report", "What became of many tasks: waits, runs, failures, claims")
            .query::<ReportQuery>()
            .answers::<Report>(),
        Operation::get(routes::REPORT_TASKS, "reportedTasks", "The tasks of a report with their attempts")
            .query::<ReportQuery>()
            .answers::<Vec<ReportedTask>>(),
    ]
}
