//! Adding tasks: how, and the replies.

use orchd_model::{Refusal, TaskId, TaskRange, TaskSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddQuery {
    /// All or none.
    #[serde(default)]
    pub atomic: bool,
}

/// What is added with one JSON document.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AddBody {
    /// One task.
    One(Box<TaskSpec>),
    /// Several tasks.
    Several(Vec<TaskSpec>),
}

/// The reply to a JSON document: an object to one task, an array to an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AddReply {
    /// To one task.
    One(Added),
    /// To several, in their order.
    Several(Vec<AddItem>),
}

/// A task that was added, or the existing one with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Added {
    /// Its id; of an array the first element's.
    pub id: TaskId,
    /// The last element's id, of an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<TaskId>,
}

impl Added {
    /// The tasks that were added.
    #[must_use]
    pub fn range(&self) -> TaskRange {
        TaskRange { first: self.id, last: self.last.unwrap_or(self.id) }
    }
}

impl From<TaskRange> for Added {
    fn from(range: TaskRange) -> Self {
        let last = (range.last != range.first).then_some(range.last);
        Self { id: range.first, last }
    }
}

/// What became of one item of a bulk request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AddItem {
    /// It was added.
    Added(Added),
    /// It was refused.
    Refused {
        /// Why.
        error: Refusal,
    },
}

impl AddItem {
    /// The ids, or why there are none.
    ///
    /// # Errors
    /// The refusal of this item.
    pub fn into_result(self) -> Result<TaskRange, Refusal> {
        match self {
            Self::Added(added) => Ok(added.range()),
            Self::Refused { error } => Err(error),
        }
    }
}

impl From<Result<TaskRange, Refusal>> for AddItem {
    fn from(result: Result<TaskRange, Refusal>) -> Self {
        match result {
            Ok(range) => Self::Added(range.into()),
            Err(error) => Self::Refused { error },
        }
    }
}
