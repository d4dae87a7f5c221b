//! Distributions over the life of a state directory, which cannot be derived from what is left of its history.

use orchd_model::{Sequence, Span, TaskId};
use serde::{Deserialize, Serialize};

/// How long tasks waited and ran, up to one event. What came after it is in the journal, from which trimming
/// takes nothing that is not counted here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The last event that is counted.
    pub through: Sequence,
    /// Times from the beginning of a run to its first start: microseconds, and how many.
    pub waits: Vec<(u64, u64)>,
    /// Times of attempts: microseconds, and how many.
    pub runs: Vec<(u64, u64)>,
    /// The tasks with the longest attempts, the longest first.
    pub slowest: Vec<(TaskId, Span)>,
}
