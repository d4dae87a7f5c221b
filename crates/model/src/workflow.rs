//! Workflows: graphs of tasks that are submitted together and end together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

use crate::spec::check_limit_of_time;
use crate::{Code, HookSpec, Refusal, SessionRef, Span, TaskSpec, check_seen, limits};

/// What a workflow does after its first final failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FailFast {
    /// Independent branches go on.
    #[default]
    No,
    /// Nothing new starts: what is pending is skipped, what runs may finish.
    Yes,
    /// Nothing new starts, and what runs is cancelled.
    Cancel,
}

impl Serialize for FailFast {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            _ if !serializer.is_human_readable() => serializer.serialize_u8(*self as u8),
            Self::No => serializer.serialize_bool(false),
            Self::Yes => serializer.serialize_bool(true),
            Self::Cancel => serializer.serialize_str("cancel"),
        }
    }
}

impl<'de> Deserialize<'de> for FailFast {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Word {
            Cancel,
        }
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "true, false or \"cancel\"")]
        enum Written {
            Flag(bool),
            Word(Word),
        }
        if !deserializer.is_human_readable() {
            return Ok(match u8::deserialize(deserializer)? {
                0 => Self::No,
                1 => Self::Yes,
                _ => Self::Cancel,
            });
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Flag(false) => Self::No,
            Written::Flag(true) => Self::Yes,
            Written::Word(Word::Cancel) => Self::Cancel,
        })
    }
}

/// A validated workflow as it is submitted: its tasks depend on each other by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowSpec {
    /// The workflow's name.
    pub name: String,
    /// What `{{ parameters.x }}` stands for in its tasks.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// How many of its tasks may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// What happens after the first failure.
    #[serde(default)]
    pub fail_fast: FailFast,
    /// The limit of the whole workflow from its submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// The session it belongs to, with all of its tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionRef>,
    /// Who is told of its events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_event: Vec<HookSpec>,
    /// Its tasks, each with a name of its own.
    #[serde(default)]
    pub tasks: Vec<TaskSpec>,
}

impl WorkflowSpec {
    /// All of it but its tasks.
    #[must_use]
    pub fn without_tasks(&self) -> Self {
        let Self { name, parameters, max_parallel, fail_fast, timeout, session, on_event, tasks: _ } = self;
        Self {
            name: name.clone(),
            parameters: parameters.clone(),
            max_parallel: *max_parallel,
            fail_fast: *fail_fast,
            timeout: *timeout,
            session: session.clone(),
            on_event: on_event.clone(),
            tasks: Vec::new(),
        }
    }

    /// Gives the tasks that say nothing of retries so many.
    pub fn fill_retries(&mut self, max_retries: u32) {
        self.tasks.iter_mut().for_each(|task| task.fill_retries(max_retries));
    }

    /// Checks the limits that the types do not express.
    ///
    /// # Errors
    /// `malformed` or `too_large` with the offending value.
    pub fn check(&self) -> Result<(), Refusal> {
        self.check_with(self.tasks.len())
    }

    /// The same for one whose tasks, so many, are held apart from it.
    ///
    /// # Errors
    /// As [`WorkflowSpec::check`].
    pub fn check_with(&self, tasks: usize) -> Result<(), Refusal> {
        if self.name.is_empty() || self.name.len() > limits::NAME_BYTES {
            return Err(Refusal::new(
                Code::Malformed,
                format!("a name has 1 to {} bytes", limits::NAME_BYTES),
            )
            .value(&self.name));
        }
        check_seen("name", &self.name)?;
        if !(1..=limits::WORKFLOW_TASKS).contains(&tasks) {
            let code = if tasks == 0 { Code::Malformed } else { Code::TooLarge };
            let refusal = Refusal::new(code, format!("a workflow has 1 to {} tasks", limits::WORKFLOW_TASKS));
            return Err(refusal.value(tasks.to_string()));
        }
        if self.max_parallel == Some(0) {
            return Err(Refusal::new(Code::Malformed, "max_parallel must be at least 1").value("0"));
        }
        if self.on_event.len() > limits::WORKFLOW_HOOKS {
            let message = format!("a workflow has at most {} hooks", limits::WORKFLOW_HOOKS);
            return Err(Refusal::new(Code::TooLarge, message).value(self.on_event.len().to_string()));
        }
        self.on_event.iter().try_for_each(HookSpec::check)?;
        check_limit_of_time("timeout", self.timeout)
    }
}

/// What has become of a workflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowStatus {
    /// Some of its tasks have not ended.
    #[default]
    Running,
    /// Every task completed, or was skipped by its own condition.
    Completed,
    /// At least one task failed.
    Failed,
    /// At least one task was cancelled, and none failed.
    Cancelled,
    /// It met its timeout.
    TimedOut,
}

impl WorkflowStatus {
    /// The word that users read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for WorkflowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The figures of a workflow, as far as its tasks have ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowMetrics {
    /// From submission to the end of the last task, seconds; of one that went on after its end: the sum of its runs.
    pub total_duration: Span,
    /// Tasks in all.
    pub total_tasks: usize,
    /// Tasks that completed.
    pub completed_tasks: usize,
    /// Tasks that failed.
    pub failed_tasks: usize,
    /// Tasks that were skipped.
    pub skipped_tasks: usize,
    /// Tasks that were cancelled.
    pub cancelled_tasks: usize,
    /// Mean execution time of the tasks that ran.
    pub avg_task_duration: Span,
    /// Longest execution time.
    pub max_task_duration: Span,
    /// Shortest execution time.
    pub min_task_duration: Span,
    /// The most tasks that ran at one instant.
    pub peak_concurrency: usize,
    /// Sum of execution times / (total duration x peak concurrency), 0..1.
    pub parallel_efficiency: f64,
    /// Completed / (completed + failed), 0..1.
    pub success_rate: f64,
}
