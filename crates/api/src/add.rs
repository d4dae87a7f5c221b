//! Replies to adding tasks.

use orchd_model::{Refusal, TaskId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
