//! The scheduler of orchd as a pure state machine.

mod command;
mod event;
mod record;

pub use command::{Command, EdgeTarget, Effect, EndedTask, Join, NewTask, NewWorkflow, Reply, Submission};
pub use event::{AttemptEnd, Event, Fact};
pub use record::{
    Counters, Demand, Edge, Key, Meta, Phase, Runner, Scope, SkipCause, Snapshot, Stop, TaskRecord, WorkerRecord,
    WorkflowRecord, WorkflowStop,
};
