//! The nouns of orchd and the rules for reading each of them.
//!
//! A [`TaskSpec`] is what a user wrote, a [`Claim`] what it needs, a [`Status`] what became of it, a
//! [`Reason`] why it does not run yet, a [`Refusal`] why a wish was not granted. Every other crate speaks
//! in these words.
//!
//! This crate does NOT contain IO, a clock, or any scheduling decision.

mod allotment;
mod amount;
mod array;
mod claim;
mod compensation;
mod definition;
mod dependency;
mod env;
mod event_type;
mod field_error;
mod foreach;
mod glob;
mod hook;
mod id;
pub mod limits;
mod obeyed;
mod outcome;
mod priority;
mod progress;
mod rate;
mod reason;
mod refusal;
mod resource;
mod retry;
mod schedule;
mod schema;
mod session;
mod size;
mod spec;
mod spec_json;
mod status;
mod suggest;
mod time;
mod unique;
mod unseen;
mod workflow;

pub use allotment::{Allotment, CpuBound, JobserverStyle, OverMemory};
pub use amount::Amount;
pub use array::{Indices, PLACEHOLDER, TaskRange, array_name, fill_index};
pub use claim::{Claim, Kept, Mode, merge_claims};
pub use compensation::check_compensations;
pub use definition::DefinitionRun;
pub use dependency::{Dependency, DependencyTarget, On};
pub use env::Env;
pub use event_type::{EVENT_TYPES, EventType, NOTICES, OWN_EVENTS, check_own_type, check_pattern, matches};
pub use field_error::of_field;
pub use foreach::{Foreach, task_of_element};
pub use glob::{Glob, Reached};
pub use hook::{HookSpec, check_hook_timeout, check_hook_url};
pub use id::{AttemptNumber, ScheduleId, Sequence, SessionId, TaskId, Token, WorkerId, WorkflowId};
pub use obeyed::is_obeyed;
pub use outcome::{AttemptReport, ErrorType, Outcome, TaskResult, Usage};
pub use priority::Priority;
pub use progress::{Percentage, Progress};
pub use rate::Rate;
pub use reason::{BlockedVariant, Holder, Reason, StatusReason, TaskAhead, UnmetDependency};
pub use refusal::{Code, Refusal};
pub use resource::{ResourceKind, ResourceName, ResourceSetting};
pub use retry::{Matcher, RetryPolicy, RetrySpec};
pub use schedule::{CatchUp, Overlap, ScheduleSpec};
pub use session::{SessionMode, SessionRef, SessionSpec, SessionStatus};
pub use size::bytes;
pub use spec::{Body, NotBefore, TaskSpec, split_directory};
pub use status::Status;
pub use suggest::nearest;
pub use time::{Span, Time};
pub use unique::UniqueNames;
pub use unseen::check_seen;
pub use workflow::{FailFast, WorkflowMetrics, WorkflowSpec, WorkflowStatus};
