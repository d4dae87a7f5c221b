//! How many tasks of a workflow, or of a session, run at once: who waits for that waits for nothing that anybody holds.

use orchd_core::Demand;
use orchd_model::{SessionId, WorkflowId};
use orchd_store::{History, StoreError};
use std::collections::BTreeMap;

/// What tasks are counted in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Workflow(WorkflowId),
    Session(SessionId),
}

impl Group {
    /// Those of a task.
    pub fn of(demand: &Demand) -> impl Iterator<Item = Self> {
        demand.workflow.map(Self::Workflow).into_iter().chain(demand.session.map(Self::Session))
    }

    /// What a report calls its limit.
    pub fn limit_name(self) -> &'static str {
        match self {
            Self::Workflow(_) => "max_parallel",
            Self::Session(_) => "max_parallel of the session",
        }
    }
}

/// The limits of those that have one.
#[derive(Default)]
pub struct Limits(BTreeMap<Group, i64>);

impl Limits {
    /// Of the workflows and sessions of these tasks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read<'d>(
        history: &mut dyn History,
        demands: impl Iterator<Item = &'d Demand>,
    ) -> Result<Self, StoreError> {
        let mut found: BTreeMap<Group, Option<u32>> = BTreeMap::new();
        for group in demands.flat_map(Group::of) {
            if found.contains_key(&group) {
                continue;
            }
            let limit = match group {
                Group::Workflow(id) => history.workflow(id)?.and_then(|stored| stored.record.max_parallel),
                Group::Session(id) => history.session(id)?.and_then(|record| record.max_parallel),
            };
            found.insert(group, limit);
        }
        Ok(Self(found.into_iter().filter_map(|(group, limit)| Some((group, limit?.into()))).collect()))
    }

    /// How many tasks of it run at once, if that is limited.
    pub fn get(&self, group: Group) -> Option<i64> {
        self.0.get(&group).copied()
    }
}
