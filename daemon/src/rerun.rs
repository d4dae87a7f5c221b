//! Workflows that go on after their end: looks up their tasks for the scheduler, which decides what runs again.

use orchd_core::{Command, Output, Reply, Rerun, TaskRecord};
use orchd_model::{Code, Refusal, TaskId, Time, WorkflowId, nearest};
use std::collections::BTreeSet;

use crate::engine::{Engine, store_refusal};

impl Engine {
    /// Runs tasks of a workflow again: those named and what comes after them, or all that did not complete.
    pub fn rerun(
        &mut self,
        now: Time,
        workflow: WorkflowId,
        from: Option<&[String]>,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        self.refuse_when_full()?;
        let stored = self.history.workflow(workflow).map_err(store_refusal)?;
        let unknown = || Refusal::new(Code::NotFound, "no such workflow").value(workflow.to_string());
        let workflow = stored.ok_or_else(unknown)?.record;
        let tasks = self.history.of_workflow(workflow.id).map_err(store_refusal)?;
        let from = from.map(|names| ids(&tasks, names)).transpose()?;
        let edges: BTreeSet<TaskId> =
            tasks.iter().flat_map(|task| task.edges.iter().map(|edge| edge.task)).collect();
        let edges: Vec<TaskId> = edges.into_iter().filter(|id| self.core.status(*id).is_none()).collect();
        let ended = self.history.ended(&edges).map_err(store_refusal)?.into_iter().collect();
        self.core.handle(now, Command::Rerun(Box::new(Rerun { workflow, tasks, from, ended })), out)
    }
}

/// The tasks with these names or ids.
fn ids(tasks: &[TaskRecord], names: &[String]) -> Result<Vec<TaskId>, Refusal> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let number: Option<TaskId> = name.parse().ok();
        let is_meant = |task: &&TaskRecord| {
            *task.name == **name || number.is_some_and(|number| task.range().contains(number))
        };
        let before = ids.len();
        ids.extend(tasks.iter().filter(is_meant).map(|task| task.id));
        if ids.len() == before {
            let refusal = Refusal::new(Code::NotFound, "no such task of this workflow").value(name);
            return Err(match nearest(name, tasks.iter().map(|task| &*task.name)) {
                Some(near) => refusal.hint(format!("did you mean {near}?")),
                None => refusal,
            });
        }
    }
    Ok(ids)
}
