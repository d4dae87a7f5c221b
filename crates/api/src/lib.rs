//! What goes over orchd's socket, written once for both sides: requests, replies, events, errors, the
//! messages of a worker session, and the routes.
//!
//! All of it is JSON over HTTP/1.1. Unknown fields are ignored in answers, and refused in what is submitted and in queries.
//!
//! This crate does NOT contain IO or scheduling.

mod add;
mod claim;
mod definition;
mod event;
mod hook;
mod log;
mod name_or_id;
mod named_session;
pub mod openapi;
mod operate;
mod problem;
mod report;
pub mod routes;
mod schedule;
mod session;
mod stats;
mod task;
mod workflow;

pub use add::{AddBody, AddItem, AddQuery, AddReply, Added};
pub use claim::{CLAIMANT, ClaimRequest};
pub use definition::{
    Definition, DefinitionNamed, DefinitionRequest, DefinitionSource, Durations, ShownDefinition,
};
pub use event::{Event, EventKind, EventQuery, PublishRequest, PublishedEvent};
pub use hook::{DeadLetter, Hook, LetterResult, LettersRequest};
pub use log::{LogChunk, LogEnd, LogQuery, LogStream};
pub use named_session::{CloseMode, CloseRequest, Session, SessionQuery, SessionResource, SessionStatistics};
pub use operate::{
    Backup, BackupRequest, CloseResource, Daemon, DaemonState, DrainReply, DrainRequest, OperationResult,
    PauseRequest, ProgressRequest, ReprioritizeRequest, ResourceNamed, ResourceRequest, Selector,
    SettleRequest, ShutdownMode, ShutdownRequest, StoreCheck, TaskIds, ThrottleRequest, WaitReply,
    WaitRequest,
};
pub use orchd_model::DefinitionRun;
pub use orchd_model::{EVENT_TYPES, EventType, NOTICES, OWN_EVENTS, check_own_type, check_pattern, matches};
pub use problem::{MEDIA_TYPE, Problem};
pub use report::{
    FailedTask, FailureCount, Failures, LongWait, NameUse, PathStep, Report, ReportQuery, ReportedTask,
    ReportedWorkflow, ResourceWait, StatusCounts, Times, Used, Verdict,
};
pub use schedule::{Schedule, ScheduleNamed, ScheduleTick, ScheduledWork, TickWord};
pub use session::{
    Assignment, AttemptProgress, Bounds, FromWorker, HeldAttempt, PROTOCOL, SLOTS, StartedAttempt, StopCause,
    StopOrder, ToWorker, Work, WorkerHello,
};
pub use stats::{
    Distribution, Resource, ResourceHolder, ResourceRate, Slots, SlowTask, Stats, StoreStats, Throughput,
    Worker,
};
pub use task::{ArrayPlace, Attempt, Explanation, ListQuery, ReasonText, StatusReasonText, Task};
pub use workflow::{
    RerunRequest, Stuck, StuckTask, Workflow, WorkflowAdded, WorkflowHead, WorkflowLine, WorkflowQuery,
};
