//! Ended tasks that run again, and what runs again together with them.

use orchd_core::{Command, Reply, Runner, TaskRecord};
use orchd_model::{Refusal, Status, TaskId, TaskRange, Time, WorkflowId};
use orchd_store::{History, StoreError};
use std::collections::BTreeSet;

use crate::engine::{Engine, Gathering, store_refusal};

impl Engine {
    /// Loads ended tasks, and those that were skipped because of them, and runs them again.
    pub(crate) fn retry(
        &mut self,
        now: Time,
        wanted: &[TaskRange],
        gathering: &mut Gathering,
    ) -> Result<Reply, Refusal> {
        self.refuse_when_full()?;
        gathering.spared.push(self.sparing.spare());
        let mut tasks = Vec::new();
        let mut unknown = Vec::new();
        let mut skipped = Vec::new();
        for range in wanted {
            let live = range.single().and_then(|id| self.core.record(id));
            let records = match (live, range.single()) {
                (Some(record), _) => vec![record],
                (None, Some(id)) => self.history.record(id).map_err(store_refusal)?.into_iter().collect(),
                // Of many, those are meant that can be run again.
                (None, None) => self.history.failures(*range).map_err(store_refusal)?,
            };
            if records.is_empty() {
                unknown.push(*range);
            }
            for record in &records {
                skipped.extend(goes_with(&mut *self.history, record).map_err(store_refusal)?);
            }
            tasks.extend(records);
        }
        let mut workflows = Vec::new();
        let ids: BTreeSet<WorkflowId> = tasks.iter().filter_map(|task| task.demand.workflow).collect();
        for id in ids {
            workflows.extend(self.history.workflow(id).map_err(store_refusal)?.map(|stored| stored.record));
        }
        let edges: BTreeSet<TaskId> =
            tasks.iter().chain(&skipped).flat_map(|task| task.edges.iter().map(|edge| edge.task)).collect();
        let edges: Vec<TaskId> = edges.into_iter().filter(|id| self.core.status(*id).is_none()).collect();
        let ended = self.history.ended(&edges).map_err(store_refusal)?.into_iter().collect();
        let wanted = wanted.to_vec();
        let retry = Command::Retry { wanted, tasks, skipped, workflows, ended };
        let reply = self.core.handle(now, retry, &mut gathering.output)?;
        let Reply::Tasks(mut results) = reply else { return Ok(reply) };
        results.extend(unknown.into_iter().map(|range| (range, Err(Refusal::no_such_task(range)))));
        Ok(Reply::Tasks(results))
    }
}

/// What may be run again with a task: what was skipped because of it, what ends with its result, and what
/// failed of it when it stands for others. What really goes with it is the scheduler's to say.
///
/// # Errors
/// As [`History`].
fn goes_with(history: &mut dyn History, wanted: &TaskRecord) -> Result<Vec<TaskRecord>, StoreError> {
    let mut found = history.skipped_by(wanted.id)?;
    let mut group = wanted.role.group;
    while let Some(id) = group {
        let Some(record) = history.record(id)? else { break };
        group = record.role.group;
        found.push(record);
        found.extend(history.skipped_by(id)?);
    }
    let mut wholes = vec![wanted.clone()];
    while let Some(whole) = wholes.pop() {
        if whole.demand.runner != Runner::Computed {
            continue;
        }
        for edge in &whole.edges {
            let Some(part) = history.record(edge.task)? else { continue };
            if part.role.group == Some(whole.id) && part.status() != Status::Completed {
                found.push(part.clone());
                found.extend(history.skipped_by(part.id)?);
                wholes.push(part);
            }
        }
    }
    Ok(found)
}
