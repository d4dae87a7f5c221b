//! Adding tasks: how, and the replies.

use orchd_model::{Refusal, TaskId, TaskSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Its id.
    pub id: TaskId,
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
    /// The id, or why there is none.
    ///
    /// # Errors
    /// The refusal of this item.
    pub fn into_result(self) -> Result<TaskId, Refusal> {
        match self {
            Self::Added(added) => Ok(added.id),
            Self::Refused { error } => Err(error),
        }
    }
}

impl From<Result<TaskId, Refusal>> for AddItem {
    fn from(result: Result<TaskId, Refusal>) -> Self {
        match result {
            Ok(id) => Self::Added(Added { id }),
            Err(error) => Self::Refused { error },
        }
    }
}
