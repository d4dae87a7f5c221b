//! Where what is too many ends, counted one by one.

use orchd_model::{TaskId, TaskRange, Time};
use orchd_store::StoredTask;
use std::cmp::Reverse;

/// The end and the id of the newest ended task beside those that are kept.
pub fn last_too_many<'a>(tasks: impl Iterator<Item = &'a StoredTask>, kept: u64) -> Option<(Time, TaskId)> {
    let mut ends: Vec<(Time, TaskRange)> =
        tasks.filter_map(|task| Some((task.finished_at?, task.record.range()))).collect();
    ends.sort_unstable_by_key(|end| Reverse(*end));
    let mut left = kept;
    for (at, range) in ends {
        if range.len() > left {
            return Some((at, TaskId(range.last.0 - left)));
        }
        left -= range.len();
    }
    None
}
