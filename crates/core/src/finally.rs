//! Tasks that run when all else of their workflow has ended, however it ended: to clean up, to tell somebody.
//!
//! Neither `fail_fast` nor the timeout of the workflow stops them: they begin when nothing else is left, and
//! the workflow ends when they have. What undoes what others did comes before them.

use orchd_model::{Reason, TaskId, TaskRange, UnmetDependency, WorkflowId};
use std::collections::BTreeSet;

use crate::command::Reply;
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::record::{Phase, Scope, WorkflowRecord};

impl Core {
    /// Whether a task waits for the rest of its workflow.
    pub(crate) fn waits_for_others(&self, id: TaskId) -> bool {
        let Some(workflow) = self.workflow_of(id).filter(|_| self.is_finally(id)) else { return false };
        workflow.others() > 0 || (workflow.compensations > 0 && !self.compensates(id))
    }

    /// Whether a task is one of those that run at the end.
    pub(crate) fn is_finally(&self, id: TaskId) -> bool {
        self.task(id).role().finally
    }

    /// Cancels tasks, but for those that are to run when their workflow is cancelled: of workflows that are meant as a
    /// whole these are spared the first time. A pause would keep them from running, and ends.
    pub(crate) fn cancel_sparing(&mut self, tasks: Vec<TaskRange>, whole: bool, out: &mut Output) -> Reply {
        let tasks = match whole {
            true => {
                let first = self.first_cancelled(&tasks);
                let left = self.sparing(tasks, |core, id| {
                    core.is_finally(id) && core.workflow_of(id).is_some_and(|record| !record.cancelling)
                });
                for workflow in first {
                    self.emit(out, Fact::WorkflowCancelling { workflow });
                    let scope = Scope::Workflow(workflow);
                    if self.meta.paused.contains(&scope) {
                        self.emit(out, Fact::Resumed { scope });
                    }
                }
                left
            }
            false => self.sparing(tasks, Self::waits_for_others),
        };
        self.each(&tasks, out, Self::cancel)
    }

    /// The workflows of these tasks that have something to do at their end and were not cancelled yet.
    fn first_cancelled(&self, tasks: &[TaskRange]) -> BTreeSet<WorkflowId> {
        let ids = tasks.iter().flat_map(|range| self.records_in(*range));
        let workflows = ids.filter_map(|id| self.workflow_of(id));
        let first = workflows.filter(|record| !record.cancelling && record.finally > 0);
        first.map(|record| record.id).collect()
    }

    fn sparing(&self, ranges: Vec<TaskRange>, is_spared: impl Fn(&Self, TaskId) -> bool) -> Vec<TaskRange> {
        let mut left = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut first = range.first;
            for id in self.records_in(range).into_iter().filter(|id| is_spared(self, *id)) {
                if first < id {
                    left.push(TaskRange { first, last: TaskId(id.0 - 1) });
                }
                first = id.next();
            }
            if first <= range.last {
                left.push(TaskRange { first, last: range.last });
            }
        }
        left
    }

    pub(crate) fn apply_workflow_cancelling(&mut self, id: WorkflowId) {
        if let Some(record) = self.workflows.get_mut(&id) {
            record.cancelling = true;
        }
    }

    /// Whether the result of a running task is made into another one before it is kept.
    #[must_use]
    pub fn transforms(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.role().transforms)
    }

    fn workflow_of(&self, id: TaskId) -> Option<&WorkflowRecord> {
        let workflow = self.queues.get(self.task(id).queue).demand.workflow?;
        self.workflows.get(&workflow)
    }

    /// Nothing is left of a workflow but the tasks that run at its end: they begin.
    pub(crate) fn begin_finally(&mut self, workflow: WorkflowId, out: &mut Output) {
        let Some(record) = self.workflows.get(&workflow).filter(|record| record.finally > 0) else { return };
        for id in record.task_ids().collect::<Vec<_>>() {
            let Some(task) = self.tasks.get(&id) else { continue };
            if task.role().finally && matches!(task.phase, Phase::Waiting) && task.unmet == 0 {
                self.proceed(id, out);
            }
        }
    }

    /// The unfinished rest of its workflow, for a task that waits for nothing else.
    pub(crate) fn unfinished_others(&self, id: TaskId) -> Option<Reason> {
        let workflow = self.workflow_of(id)?;
        // What undoes something goes before the rest of the end.
        let (also, compensations) = match self.compensates(id) {
            true => (false, 0),
            false => (true, workflow.compensations),
        };
        let others = workflow.task_ids().filter_map(|other| {
            let task = self.tasks.get(&other)?;
            let role = task.role();
            let goes_before = !role.finally || (also && role.compensation.is_some());
            (!task.has_ended() && goes_before).then(|| UnmetDependency {
                task: other,
                name: task.name.to_string(),
                on: orchd_model::On::Completion,
                status: task.status(),
            })
        });
        let tasks = others.take(Reason::SHOWN).collect();
        let count = usize::try_from(workflow.others() + compensations).unwrap_or(usize::MAX);
        Some(Reason::Dependencies { tasks, count })
    }
}
