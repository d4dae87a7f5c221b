//! Sessions as users see them.

use orchd_model::{Amount, ResourceName, SessionId, SessionMode, SessionStatus, Span, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A named context of tasks and workflows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its name.
    pub name: String,
    /// What has become of it.
    pub status: SessionStatus,
    /// How many of its tasks may run at once.
    pub max_parallel: Option<u32>,
    /// How its tasks follow each other.
    pub mode: SessionMode,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// The user id of who created it.
    pub owner: u32,
    /// When it was created.
    pub created_at: Time,
    /// When it was closed.
    pub closed_at: Option<Time>,
    /// Workflows of it that have not ended.
    pub workflows: usize,
    /// What its running tasks hold.
    pub resources: Vec<SessionResource>,
    /// Counts and times of its tasks.
    pub statistics: SessionStatistics,
}

/// What the running tasks of a session hold of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionResource {
    /// `type:identifier`.
    pub resource: ResourceName,
    /// Units held.
    pub held: Amount,
    /// By how many tasks.
    pub tasks: usize,
}

/// Counts, times and use over the life of a session. Retention takes nothing from them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionStatistics {
    /// Tasks in all.
    pub total_tasks: u64,
    /// Tasks that wait.
    pub pending: u64,
    /// Tasks that run.
    pub running: u64,
    /// Tasks that will be tried again.
    pub retrying: u64,
    /// Tasks that ended well.
    pub completed: u64,
    /// Tasks that failed.
    pub failed: u64,
    /// Tasks that were skipped.
    pub skipped: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Unfinished tasks by class.
    pub by_priority: BTreeMap<String, u64>,
    /// Attempts that ended.
    pub attempts: u64,
    /// Sum of their execution times, seconds.
    pub total_execution_time: Span,
    /// Mean of their execution times, seconds.
    pub average_execution_time: Span,
    /// Mean time from submission to the first start, seconds.
    pub average_wait_time: Span,
    /// Completed / (completed + failed), 0..1; 0 when none has ended.
    pub success_rate: f64,
    /// Failed / (completed + failed), 0..1; 0 when none has ended.
    pub failure_rate: f64,
    /// CPU time that its attempts have used, seconds.
    pub cpu_time: Span,
    /// Most memory that one of them is known to have used, bytes; what takes little is not measured (0).
    pub memory_peak: u64,
    /// What they have read from storage, bytes.
    pub io_read: u64,
    /// What they have written to storage, bytes.
    pub io_write: u64,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionQuery {
    /// The one with this name that is not closed, else the newest; none: an empty list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At most this many, 0 for all; 100 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What becomes of the tasks of a session that is closed and have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloseMode {
    /// They are cancelled.
    #[default]
    Cancel,
    /// They run to their end.
    Wait,
}

/// Close a session. Answers at once: it is `closing` until all of its tasks have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// What becomes of what has not ended.
    #[serde(default)]
    pub mode: CloseMode,
}
