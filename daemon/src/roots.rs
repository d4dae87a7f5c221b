//! The tasks that others were skipped for, as far as it takes to name them.

use orchd_core::{Phase, SkipCause, TaskRecord};
use orchd_model::{Status, StatusReason, TaskId};
use orchd_store::{History, StoreError};
use std::collections::{BTreeMap, BTreeSet};

/// The first causes of skips, by id. One that is no longer kept is not among them.
#[derive(Debug, Default)]
pub struct Roots(BTreeMap<TaskId, Root>);

#[derive(Debug)]
struct Root {
    name: Box<str>,
    /// Why it was skipped itself, if it was: no other task stands behind it.
    because: Option<StatusReason>,
}

impl Roots {
    /// What is to be looked up for these tasks: each first cause, and how that ended.
    pub fn wanted<'a>(tasks: impl IntoIterator<Item = &'a TaskRecord>) -> BTreeSet<(TaskId, Status)> {
        tasks.into_iter().filter_map(TaskRecord::skipped_after).collect()
    }

    /// Looks them up.
    ///
    /// # Errors
    /// As [`History`].
    pub fn find(history: &mut dyn History, wanted: &BTreeSet<(TaskId, Status)>) -> Result<Self, StoreError> {
        let ids: BTreeSet<TaskId> = wanted.iter().map(|(id, _)| *id).collect();
        let ids: Vec<TaskId> = ids.into_iter().collect();
        let mut roots = Self::default();
        for (id, name) in history.names(&ids)? {
            let because = match wanted.contains(&(id, Status::Skipped)) {
                true => history.record(id)?.and_then(|record| because(&record.phase)),
                false => None,
            };
            roots.0.insert(id, Root { name, because });
        }
        Ok(roots)
    }

    /// The name of one of them; empty when it is not known.
    pub fn name(&self, id: TaskId) -> String {
        self.0.get(&id).map_or_else(String::new, |root| root.name.to_string())
    }

    /// Why one of them was skipped for itself.
    pub fn because(&self, id: TaskId) -> Option<String> {
        self.0.get(&id)?.because.as_ref().map(ToString::to_string)
    }
}

/// Why a task was skipped for itself.
fn because(phase: &Phase) -> Option<StatusReason> {
    match phase {
        Phase::Skipped(SkipCause::Condition) => Some(StatusReason::Condition),
        Phase::Skipped(SkipCause::NotNeeded) => Some(StatusReason::NotNeeded),
        Phase::Skipped(SkipCause::ConditionError(message)) => {
            Some(StatusReason::ConditionError { message: message.to_string() })
        }
        // It may run again by now.
        Phase::Skipped(SkipCause::FailFast(_) | SkipCause::Dependency(..))
        | Phase::Waiting
        | Phase::Checking
        | Phase::Delayed { .. }
        | Phase::Ready { .. }
        | Phase::Running { .. }
        | Phase::Computing
        | Phase::Ended(_) => None,
    }
}
