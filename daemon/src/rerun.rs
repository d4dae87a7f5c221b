//! Workflows that go on after their end: looks up their tasks for the scheduler, which decides what runs again.

use orchd_core::{Command, Reply, Rerun, TaskRecord};
use orchd_model::{Code, Refusal, TaskId, Time, WorkflowId, nearest};
use std::collections::BTreeSet;

use crate::engine::{Engine, Gathering, store_refusal};

impl Engine {
    /// Runs tasks of a workflow again: those named and what comes after them, or all that did not complete.
    pub(crate) fn rerun(
        &mut self,
        now: Time,
        workflow: WorkflowId,
        from: Option<&[String]>,
        gathering: &mut Gathering,
    ) -> Result<Reply, Refusal> {
        self.refuse_when_full()?;
        gathering.spared.push(self.sparing.spare());
        let stored = self.history.workflow(workflow).map_err(store_refusal)?;
        let unknown = || Refusal::new(Code::NotFound, "no such workflow").value(workflow.to_string());
        let workflow = stored.ok_or_else(unknown)?.record;
        let tasks = self.history.of_workflow(workflow.id).map_err(store_refusal)?;
        let elements: Vec<TaskId> =
            tasks.iter().filter(|task| task.array.is_some()).map(|task| task.id).collect();
        let elements = self.history.names(&elements).map_err(store_refusal)?;
        let from = from.map(|names| ids(&tasks, &elements, names)).transpose()?;
        let edges: BTreeSet<TaskId> =
            tasks.iter().flat_map(|task| task.edges.iter().map(|edge| edge.task)).collect();
        let edges: Vec<TaskId> = edges.into_iter().filter(|id| self.core.status(*id).is_none()).collect();
        let ended = self.history.ended(&edges).map_err(store_refusal)?.into_iter().collect();
        let rerun = Command::Rerun(Box::new(Rerun { workflow, tasks, from, ended }));
        self.core.handle(now, rerun, &mut gathering.output)
    }
}

/// Whether a task begins the sub-workflow, or one of those of a list, that a task of this name stands for.
fn begins(name: &str, whole: &str) -> bool {
    let Some(rest) = name.strip_prefix(whole).and_then(|rest| rest.strip_suffix(".(start)")) else {
        return false;
    };
    let index = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    rest.is_empty() || index.is_some_and(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The tasks with these names or ids; of one that stands for a sub-workflow also that which begins it. Elements have
/// names of their own.
fn ids(
    tasks: &[TaskRecord],
    elements: &[(TaskId, Box<str>)],
    names: &[String],
) -> Result<Vec<TaskId>, Refusal> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let number: Option<TaskId> = name.parse().ok();
        let is_meant = |task: &&TaskRecord| {
            *task.name == **name || number.is_some_and(|number| task.range().contains(number))
        };
        let before = ids.len();
        ids.extend(tasks.iter().filter(is_meant).map(|task| task.id));
        ids.extend(elements.iter().filter(|(_, element)| **element == **name).map(|(id, _)| *id));
        let stands_for: Vec<&str> =
            tasks.iter().filter(|task| ids[before..].contains(&task.id)).map(|task| &*task.name).collect();
        let begun = tasks.iter().filter(|task| stands_for.iter().any(|whole| begins(&task.name, whole)));
        ids.extend(begun.map(|task| task.id));
        if ids.len() == before {
            let refusal = Refusal::new(Code::NotFound, "no such task of this workflow").value(name);
            let singles = tasks.iter().filter(|task| task.array.is_none()).map(|task| &*task.name);
            let known = singles.chain(elements.iter().map(|(_, element)| &**element));
            return Err(match nearest(name, known) {
                Some(near) => refusal.hint(format!("did you mean {near}?")),
                None => refusal,
            });
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_workflow_begins_with_its_start_and_a_list_of_them_with_each() {
        for (name, is_it) in [
            ("a.(start)", true),
            ("a[12].(start)", true),
            ("a[1].b.(start)", false),
            ("a.b.(start)", false),
            ("ab.(start)", false),
            ("a", false),
        ] {
            assert_eq!(begins(name, "a"), is_it, "{name}");
        }
    }
}
