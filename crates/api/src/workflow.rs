//! Workflows as users see them.

use orchd_model::{Span, TaskId, Time, WorkflowId, WorkflowMetrics, WorkflowStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// A workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workflow {
    /// Its id.
    pub id: WorkflowId,
    /// Its name.
    pub name: String,
    /// What has become of it.
    pub status: WorkflowStatus,
    /// How many of its tasks may run at once.
    pub max_parallel: Option<u32>,
    /// Its limit.
    pub timeout: Option<Span>,
    /// When it was submitted.
    pub created_at: Time,
    /// When its last task ended.
    pub finished_at: Option<Time>,
    /// Figures.
    pub metrics: WorkflowMetrics,
}
