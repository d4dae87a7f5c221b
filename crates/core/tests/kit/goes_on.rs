//! Workflows that go on, and tasks that undo others, in scenarios.

use orchd_core::{Command, EdgeTarget, NewTask, TaskRecord};
use orchd_model::{On, TaskId};

use super::script::Script;
use super::spec_of;

impl Script {
    /// `rerun NAME TASK...`
    pub(super) fn rerun(&mut self, words: &[&str]) -> Vec<String> {
        let (workflow, from) = words.split_first().expect("the name of a workflow");
        let from: Vec<TaskId> = from.iter().map(|name| self.task(name)).collect();
        let id = self.workflows[*workflow];
        let (reply, out) = self.world().rerun(id, (!from.is_empty()).then_some(from));
        self.answer(reply, &out)
    }

    /// `cancel workflow NAME`
    pub(super) fn cancel_workflow(&mut self, name: &str) -> Command {
        let workflow = Some(self.workflows[name]);
        let tasks = self.world().store.tasks.values().filter(|task| task.demand.workflow == workflow);
        let open = tasks.filter(|task| !task.status().is_terminal());
        Command::CancelSparing { tasks: open.map(TaskRecord::range).collect(), whole: true }
    }
}

/// `undoes=NAME`
pub(super) fn undo(new: &mut NewTask, edges: Vec<(EdgeTarget, On)>, name: &str) {
    new.edges = edges;
    let spec = spec_of(new);
    (spec.finally, spec.compensates) = (true, Some(name.to_owned()));
}
