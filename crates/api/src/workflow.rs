//! Workflows as users see them.

use orchd_model::{
    FailFast, HookSpec, SessionId, SessionRef, Span, TaskId, TaskSpec, Time, WorkflowId, WorkflowMetrics,
    WorkflowSpec, WorkflowStatus,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::ReasonText;
use crate::name_or_id::{self, NameOrId};

/// The first line of a workflow that is sent as `application/x-ndjson`; each line after it is a task.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct WorkflowHead {
    /// All but its tasks: these follow.
    #[serde(flatten)]
    pub spec: WorkflowSpec,
    /// Environment variables for its commands, where they do not say their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The directory of its commands; relative ones of theirs begin there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// A head as it is read: flattened fields would take in silence what nobody knows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFields {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
    max_parallel: Option<u32>,
    #[serde(default)]
    fail_fast: FailFast,
    timeout: Option<Span>,
    session: Option<SessionRef>,
    #[serde(default)]
    on_event: Vec<HookSpec>,
    #[serde(default)]
    tasks: Vec<TaskSpec>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<String>,
}

impl<'de> Deserialize<'de> for WorkflowHead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = HeadFields::deserialize(deserializer)?;
        let HeadFields {
            name,
            parameters,
            max_parallel,
            fail_fast,
            timeout,
            session,
            on_event,
            tasks,
            env,
            cwd,
        } = fields;
        let spec =
            WorkflowSpec { name, parameters, max_parallel, fail_fast, timeout, session, on_event, tasks };
        Ok(Self { spec, env, cwd })
    }
}

/// A line of a workflow.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum WorkflowLine {
    /// The first one.
    Head(Box<WorkflowHead>),
    /// All others.
    Task(Box<TaskSpec>),
}

/// A workflow that was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowAdded {
    /// Its id.
    pub workflow: WorkflowId,
    /// Its name.
    pub name: String,
    /// The ids of its tasks by name.
    pub tasks: BTreeMap<String, TaskId>,
}

/// Where a workflow begins again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RerunRequest {
    /// Tasks of it, by their names or ids; at least one.
    #[serde(deserialize_with = "name_or_id::several")]
    #[schemars(with = "Vec<NameOrId>")]
    pub from: Vec<String>,
}

/// A workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workflow {
    /// Its id.
    pub id: WorkflowId,
    /// Its name.
    pub name: String,
    /// What has become of it.
    pub status: WorkflowStatus,
    /// Whether an operator has paused it: nothing new of it starts.
    #[serde(default)]
    pub paused: bool,
    /// How many of its tasks may run at once.
    pub max_parallel: Option<u32>,
    /// Its limit.
    pub timeout: Option<Span>,
    /// The session it belongs to.
    #[serde(default)]
    pub session: Option<SessionId>,
    /// When it was submitted.
    pub created_at: Time,
    /// When its last task ended.
    pub finished_at: Option<Time>,
    /// Figures.
    pub metrics: WorkflowMetrics,
}

/// The tasks of a workflow that one reason keeps from ever starting, unless somebody does something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stuck {
    /// Why they do not start.
    pub reason: ReasonText,
    /// The first of them, at most ten, by id.
    pub tasks: Vec<StuckTask>,
    /// How many there are.
    pub count: u64,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StuckTask {
    /// The task.
    pub id: TaskId,
    /// Its name.
    pub name: String,
}

/// Which workflows to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowQuery {
    /// The one with this name, the newest of several, or this id; none: an empty list. Without a session one
    /// that is in none goes before those that are in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only those of this session (name or id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// At most this many, 0 for all; 100 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}
