//! The scheduler of orchd as a pure state machine.
//!
//! [`Core::handle`] takes a [`Command`] and the time, and gives events (durable facts) and effects
//! (instructions to the shell). The same commands at the same times give the same events, always.
//!
//! | to learn about | read |
//! |---|---|
//! | what may come in and go out | `command`, `event`, `record` |
//! | how a task is added and begins | `submit`, `dependency` |
//! | arrays of tasks | `array` |
//! | tasks that become their elements, or end with what others left | `group` |
//! | tasks at the end of a workflow | `finally`, `compensation` |
//! | workflows that go on after their end | `rerun` |
//! | the order of ready tasks | `rank`, `class`, `queue`, `pool`, `parking` |
//! | claims | `resource`, `resource_state`, `blocked`, `ledger`, `bucket`, `demand`, `variant`, `admit`, `reserved` |
//! | attempts, retries, lost workers | `attempt`, `worker` |
//! | tasks given to workers ahead of their slots | `place` |
//! | sessions, and the order inside them | `session`, `turns` |
//! | operators' verbs | `operate`, `steer` |
//! | work that comes again and again | `schedule` |
//! | why a task waits, and until when | `explain`, `estimate` |
//! | events that users publish | `news` |
//! | what is always true | `invariants` |
//!
//! This crate does NOT contain IO, a clock, threads, logging, randomness, or iteration over hash maps whose
//! order could be seen from outside.

mod admit;
mod apply;
mod array;
mod attempt;
mod blocked;
mod bucket;
mod claimant;
mod class;
mod command;
mod compensation;
mod configure;
mod core;
mod demand;
mod dependency;
mod edit;
mod estimate;
mod event;
mod explain;
mod finally;
mod group;
mod invariants;
mod keys;
mod ledger;
mod load;
mod news;
mod operate;
mod parking;
mod place;
mod pool;
mod progress;
mod queue;
mod queues;
mod rank;
mod record;
mod rerun;
mod reserved;
mod resource;
mod resource_state;
mod schedule;
mod session;
mod steer;
mod stuck;
mod submit;
mod task;
mod timer;
mod turns;
mod variant;
mod view;
mod watches;
mod worker;

pub use crate::core::{Config, Core, Output};
pub use blocked::Blocked;
pub use bucket::Bucket;
pub use command::{
    Command, EdgeTarget, Effect, EndedTask, Firing, Join, NewClaim, NewSchedule, NewSession, NewTask,
    NewWorkflow, Reply, Submission, Trigger,
};
pub use compensation::Compensation;
pub use demand::Demand;
pub use event::{AttemptEnd, Event, Fact};
pub use explain::Explained;
pub use news::News;
pub use record::{
    Counters, Edge, Elements, Key, Meta, Phase, Placement, Recall, Role, Run, Runner, ScheduleRecord, Scope,
    SessionRecord, SkipCause, Snapshot, Stop, TaskRecord, TickOutcome, WorkerNote, WorkerRecord,
    WorkflowRecord, WorkflowStop,
};
pub use rerun::Rerun;
pub use reserved::Reserved;
pub use resource_state::ResourceState;
pub use stuck::{Stuck, StuckSearch};
pub use view::{RateView, ResourceView, WorkerView};
