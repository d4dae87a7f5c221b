//! What became of many tasks: how long they waited and ran, what failed, what was claimed and what was used.

use orchd_model::{
    Claim, Dependency, ErrorType, Priority, Span, Status, TaskId, Time, WorkflowId, WorkflowStatus,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Attempt, SlowTask};

/// Which tasks a report is about; everything given must hold. Nothing given: every task that is still known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// A workflow's name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// A session's name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Created or ended at most this many seconds ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Span>,
}

/// What became of a selection of tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The workflow, when the report is about one.
    pub workflow: Option<ReportedWorkflow>,
    /// When the first of them was submitted.
    pub from: Option<Time>,
    /// When the last of them ended; now, when some have not.
    pub to: Option<Time>,
    /// How many tasks in which status.
    pub tasks: StatusCounts,
    /// Attempts that have begun.
    pub attempts: u64,
    /// The most attempts that ran at one instant.
    pub peak_concurrency: u64,
    /// From submission to the first start, of each task that has started.
    pub wait_time: Times,
    /// The part of that in which they could have started: after their dependencies and delays.
    pub ready_time: Times,
    /// Of each attempt that has ended.
    pub run_time: Times,
    /// The tasks with the longest attempts, the longest first.
    pub slowest: Vec<SlowTask>,
    /// What failed.
    pub failures: Failures,
    /// What the tasks that waited longest for their turn waited for, summed up by resource.
    pub waits: Vec<ResourceWait>,
    /// The tasks that waited longest for their turn, the longest first.
    pub longest_waits: Vec<LongWait>,
    /// What was claimed and what was used, by the name of the tasks: those that claim too much or too little
    /// first.
    pub usage: Vec<NameUse>,
    /// How many names there are; `usage` has the first ones.
    pub names: u64,
    /// The chain of tasks that decided when the workflow ended, the first to run first; while it is under way, the one
    /// that leads to what has been running for longest.
    pub critical_path: Vec<PathStep>,
}

/// The workflow of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportedWorkflow {
    /// Its id.
    pub id: WorkflowId,
    /// Its name.
    pub name: String,
    /// What has become of it.
    pub status: WorkflowStatus,
}

/// How many tasks are in which status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusCounts {
    /// In all.
    pub total: u64,
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
}

impl StatusCounts {
    /// Counts so many more.
    pub fn add(&mut self, status: Status, count: u64) {
        self.total += count;
        *self.of_mut(status) += count;
    }

    /// How many are in a status.
    #[must_use]
    pub fn of(mut self, status: Status) -> u64 {
        *self.of_mut(status)
    }

    fn of_mut(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Pending => &mut self.pending,
            Status::Running => &mut self.running,
            Status::Retrying => &mut self.retrying,
            Status::Completed => &mut self.completed,
            Status::Failed => &mut self.failed,
            Status::Skipped => &mut self.skipped,
            Status::Cancelled => &mut self.cancelled,
        }
    }
}

/// Times of many, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Times {
    /// Of how many.
    pub count: u64,
    /// Their sum.
    pub total: f64,
    /// Mean.
    pub avg: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// What failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failures {
    /// How many tasks failed of what, the most frequent first.
    pub by_type: Vec<FailureCount>,
    /// The last ones that failed, the newest first.
    pub tasks: Vec<FailedTask>,
}

/// How many tasks failed of one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureCount {
    /// The kind of failure.
    pub error_type: ErrorType,
    /// How many.
    pub count: u64,
}

/// A task that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedTask {
    /// The task.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// The kind of failure.
    pub error_type: Option<ErrorType>,
    /// What went wrong.
    pub error_message: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed for good.
    pub finished_at: Option<Time>,
}

/// For how long a resource, or `slots`, kept tasks from starting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceWait {
    /// The resource; `slots` when all slots of the workers were taken; with ` (reserved)` behind its name what nobody
    /// held against the task, but one before it had reserved.
    pub resource: String,
    /// For how long, summed up over the tasks.
    pub time: Span,
}

/// A task that waited for its turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LongWait {
    /// The task.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// From submission to the first start, or to now.
    pub wait_time: Span,
    /// The part of that in which it could have started: after its dependencies and its delay.
    pub ready_time: Span,
    /// What others held of what it wanted in that time, the longest first. They may overlap; what none of them
    /// explains was waited for another reason: an operator's hold or pause, tasks with a better right, no worker.
    pub on: Vec<ResourceWait>,
}

/// What tasks of one name claimed and used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NameUse {
    /// The name; of the elements of an array the one that theirs are made of.
    pub name: String,
    /// Ended attempts that were measured.
    pub attempts: u64,
    /// How long they ran, summed up, seconds.
    pub run_time: f64,
    /// Cores.
    pub cpu: Used,
    /// Bytes.
    pub memory: Used,
}

/// What was claimed of a resource, and used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Used {
    /// Cpu: mean over the time they ran. Memory: the largest claim. None where nothing was claimed.
    pub claimed: Option<f64>,
    /// Cpu: mean over the time they ran. Memory: the highest peak that is known; none when it is of none of them.
    pub used: Option<f64>,
    /// Memory: what the processes of those had at most whose peak is not known, where that is more.
    pub at_most: Option<f64>,
    /// Whether the two fit each other.
    pub verdict: Verdict,
}

/// Whether a claim fits what is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does, or the difference is too small to matter.
    #[default]
    Fits,
    /// Less than half of what is claimed is used, and that keeps at least one core-second or 16 MiB from others.
    Over,
    /// More is used than claimed: by a tenth and one core-second, or by memory, from a peak of 32 MiB on. Who claims nothing, while
    /// others do, takes more than one core-second and half a core, or 64 MiB.
    Under,
}

/// A step of the chain that decided when a workflow ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathStep {
    /// The task.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// From the end of the step before it, or its submission, to its first start.
    pub wait_time: Span,
    /// From its first start to its end, retries included.
    pub run_time: Span,
}

/// A task with its times, for a drawing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportedTask {
    /// Its id.
    pub id: TaskId,
    /// The last of the tasks that this entry stands for: elements of an array that wait, or ended, alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<TaskId>,
    /// Its name.
    pub name: String,
    /// Whether it is an ad-hoc claim: a client holds it for code of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guard: bool,
    /// The workflow that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
    /// Whether it waits for all others of its workflow: to undo something, or to be done at the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_others: bool,
    /// What has become of it.
    pub status: Status,
    /// Its class.
    pub priority: Priority,
    /// What it must hold to run.
    pub claims: Vec<Claim>,
    /// Its variants: what an attempt held besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims_any: Vec<Vec<Claim>>,
    /// What it depends on; ids.
    pub dependencies: Vec<Dependency>,
    /// When this run began: its submission, or `retry`.
    pub submitted_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// Why it was skipped, cancelled or failed.
    pub why: Option<String>,
    /// What kind of failure it ended with, also one without an attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<ErrorType>,
    /// Its attempts, the one under way included.
    pub attempts: Vec<Attempt>,
}

impl ReportedTask {
    /// What an attempt of it held.
    pub fn claims_of(&self, attempt: &Attempt) -> impl Iterator<Item = &Claim> {
        let variant = attempt.variant.and_then(|variant| self.claims_any.get(variant as usize));
        self.claims.iter().chain(variant.into_iter().flatten())
    }
}
