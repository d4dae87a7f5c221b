//! Events: every change of state, in one total order.

use orchd_model::{Refusal, Sequence, SessionId, TaskId, Time, WorkflowId, check_pattern, matches};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The type of an event, as text `noun.verb`.
pub type EventKind = String;

/// One change of state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its place in the total order.
    pub sequence: Sequence,
    /// When it happened.
    pub time: Time,
    /// What happened: `task.started`, …
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The task it is about.
    #[serde(default)]
    pub task: Option<TaskId>,
    /// The last task it is about, where it is about several elements of an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<TaskId>,
    /// The workflow it is about, or of the task.
    #[serde(default)]
    pub workflow: Option<WorkflowId>,
    /// The session it is about, or of the task.
    #[serde(default)]
    pub session: Option<SessionId>,
    /// More about it.
    #[serde(default)]
    pub data: Map<String, Value>,
}

/// Which events to stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Patterns separated by commas: exact, `task.*` or `*`; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Only those after this sequence; 0: from the first that is kept; none: from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Only those of this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Only those of this workflow (name or id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Only those of this session (name or id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Only those of tasks with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// End when there is nothing more to send, instead of waiting for new events.
    #[serde(default)]
    pub no_follow: bool,
    /// End after this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// An event that a user publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// Its type: `custom.NAME`.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// What it says; as JSON at most 8 KiB.
    #[serde(default)]
    pub data: Map<String, Value>,
    /// The task it is about; its workflow and session are then known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The workflow it is about (name or id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The session it is about (name or id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// An event that was published: it is on disk, and subscribers are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishedEvent {
    /// Its place in the total order.
    pub sequence: Sequence,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: EventKind,
}

impl Event {
    /// Whether it is about this task.
    #[must_use]
    pub fn is_about(&self, task: TaskId) -> bool {
        self.task.is_some_and(|first| (first..=self.last.unwrap_or(first)).contains(&task))
    }
}

impl EventQuery {
    /// Whether an event of this type is wanted.
    #[must_use]
    pub fn wants_kind(&self, kind: &str) -> bool {
        let Some(patterns) = &self.pattern else { return true };
        patterns.split(',').map(str::trim).any(|pattern| matches(pattern, kind))
    }

    /// Whether every pattern means something.
    ///
    /// # Errors
    /// `malformed`, with the first pattern that no type of events matches.
    pub fn check(&self) -> Result<(), Refusal> {
        let patterns = self.pattern.iter().flat_map(|patterns| patterns.split(','));
        patterns.map(str::trim).try_for_each(check_pattern)
    }
}
