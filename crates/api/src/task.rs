//! A task as users see it.

use orchd_model::{
    AttemptNumber, Claim, Dependency, ErrorType, Indices, Matcher, NotBefore, Priority, Progress, Reason,
    SessionId, Span, Status, StatusReason, TaskAhead, TaskId, TaskRange, TaskResult, Time, Usage, WorkerId,
    WorkflowId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::StopCause;

/// A reason with its sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReasonText {
    /// The sentence for people.
    pub text: String,
    /// The same for programs.
    #[serde(flatten)]
    pub reason: Reason,
}

impl From<Reason> for ReasonText {
    fn from(reason: Reason) -> Self {
        Self { text: reason.to_string(), reason }
    }
}

/// Why a task was skipped, cancelled or failed, with its sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusReasonText {
    /// The sentence for people.
    pub text: String,
    /// The same for programs.
    #[serde(flatten)]
    pub reason: StatusReason,
}

impl From<StatusReason> for StatusReasonText {
    fn from(reason: StatusReason) -> Self {
        Self { text: reason.to_string(), reason }
    }
}

/// Everything about one task. `attempt_list` is filled when one task is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The last of the tasks that this entry stands for: elements of an array that wait, or ended, alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<TaskId>,
    /// The array that it is an element of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<ArrayPlace>,
    /// Its name.
    pub name: String,
    /// Whether it is an ad-hoc claim: a client holds it for code of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guard: bool,
    /// What has become of it.
    pub status: Status,
    /// Its class.
    pub priority: Priority,
    /// Why it does not run; empty unless pending or retrying.
    pub reasons: Vec<ReasonText>,
    /// Why it was skipped, cancelled or failed.
    pub status_reason: Option<StatusReasonText>,
    /// Why its attempt is being ended, while its processes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<StopCause>,
    /// How far its last attempt has come, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The handler's module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The handler's action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Parameters.
    pub parameters: Map<String, Value>,
    /// Program and arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The shell line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// The names of its environment variables, never their values.
    pub env: Vec<String>,
    /// Its working directory.
    pub cwd: Option<String>,
    /// Its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Whether it is held.
    pub hold: bool,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Its name in the bulk request that added it.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its condition.
    pub when: Option<String>,
    /// When it may start at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<NotBefore>,
    /// What it must hold to run.
    pub claims: Vec<Claim>,
    /// Its variants: what it must hold besides, the first that fits when it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims_any: Vec<Vec<Claim>>,
    /// Which of its variants it runs in, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<u32>,
    /// What it depends on; ids.
    pub dependencies: Vec<Dependency>,
    /// The task that it undoes if their workflow does not come to a good end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensates: Option<TaskId>,
    /// Whether it runs when all else of its workflow has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finally: bool,
    /// The limit of one attempt.
    pub timeout: Option<Span>,
    /// The limit of the whole task.
    pub deadline: Option<Span>,
    /// Tries after the first.
    pub max_retries: u32,
    /// The delay before the first retry.
    pub retry_delay: Span,
    /// Growth of the delay.
    pub backoff: f64,
    /// No delay is longer.
    pub max_delay: Span,
    /// Spread of the delay.
    pub jitter: f64,
    /// What its claim on memory is multiplied by after an attempt that ended with `OutOfMemory`.
    #[serde(default = "unchanged")]
    pub memory_factor: f64,
    /// Only these failures are retried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<Matcher>,
    /// These failures are never retried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_retry_on: Vec<Matcher>,
    /// Retries used in this run.
    pub retry_count: u32,
    /// Attempts over all runs.
    pub attempts: u32,
    /// Each attempt that has ended, and the one under way; only in `show`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_list: Option<Vec<Attempt>>,
    /// When it was submitted.
    pub created_at: Time,
    /// When its last attempt started.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// From submission to the first start, seconds.
    pub wait_time: Option<Span>,
    /// How long the last attempt ran, seconds.
    pub execution_time: Option<Span>,
    /// From submission to the end, seconds.
    pub total_time: Option<Span>,
    /// What it left.
    pub result: Option<TaskResult>,
    /// Labels.
    pub tags: Vec<String>,
    /// Free-form facts.
    pub metadata: Map<String, Value>,
    /// Its session.
    pub session: Option<SessionId>,
    /// Its workflow.
    pub workflow: Option<WorkflowId>,
    /// The user id of its submitter.
    pub owner: u32,
    /// The worker that runs it.
    pub worker: Option<WorkerId>,
}

/// Where an element stands in its array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArrayPlace {
    /// The ids of all elements.
    pub tasks: TaskRange,
    /// Their indices.
    pub indices: Indices,
    /// The index of this element; the first one's where an entry stands for several.
    pub index: u64,
}

impl Task {
    /// The tasks that this entry stands for.
    #[must_use]
    pub fn tasks(&self) -> TaskRange {
        TaskRange { first: self.id, last: self.last.unwrap_or(self.id) }
    }
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// From 1.
    pub number: AttemptNumber,
    /// `running`, or how it ended.
    pub outcome: String,
    /// The kind of failure.
    pub error_type: Option<ErrorType>,
    /// What went wrong.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Which of the task's variants it runs, or ran, in, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<u32>,
    /// When it started.
    pub started_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// How long it ran.
    pub execution_time: Option<Span>,
    /// The process's exit code.
    pub exit_code: Option<i32>,
    /// Who ran it.
    pub worker: Option<WorkerId>,
    /// What it used.
    pub usage: Option<Usage>,
}

/// Why a task does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The task.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// What has become of it.
    pub status: Status,
    /// Why its attempt is being ended, while its processes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<StopCause>,
    /// The class it was given.
    pub priority: Priority,
    /// The class it competes in now, by aging or inheritance.
    pub competes_as: Priority,
    /// The task it inherits its class from, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited_from: Option<TaskAhead>,
    /// Every reason at once.
    pub reasons: Vec<ReasonText>,
    /// Why it was skipped, cancelled or failed.
    #[serde(default)]
    pub status_reason: Option<StatusReasonText>,
    /// Tasks that stand before it for what it waits for, the first ones.
    pub ahead: Vec<TaskAhead>,
    /// How many stand before it.
    pub ahead_count: usize,
    /// The instant before which it cannot start, unless an operator changes something: delays, throttles, and the
    /// tokens that it and those before it draw.
    pub earliest_start: Option<Time>,
    /// By when what it waits for is free at the latest, where the timeouts of the holders make that certain and no
    /// other task stands before it.
    pub free_by: Option<Time>,
}

/// Which tasks to list; everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Statuses, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// A class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// A label it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// A session's name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// A workflow's name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// A glob (`*`, `?`, `[a-z]`) that its name matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Created or ended at most this many seconds ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Span>,
    /// At most this many, 0 for all; 100 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The factor of a daemon that knows of none.
fn unchanged() -> f64 {
    1.0
}
