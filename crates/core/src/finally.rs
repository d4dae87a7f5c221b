//! Tasks that run when all else of their workflow has ended, however it ended: to clean up, to tell somebody.
//!
//! Neither `fail_fast` nor the timeout of the workflow stops them: they begin when nothing else is left, and
//! the workflow ends when they have. What undoes what others did comes before them.

use orchd_model::{Reason, TaskId, TaskRange, UnmetDependency, WorkflowId};

use crate::core::{Core, Output};
use crate::record::{Phase, WorkflowRecord};

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

    /// Without those that wait for the rest of their workflow: they are what is to run when it is cancelled.
    #[must_use]
    pub fn sparing_finally(&self, ranges: Vec<TaskRange>) -> Vec<TaskRange> {
        let mut left = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut first = range.first;
            for id in self.records_in(range).into_iter().filter(|id| self.waits_for_others(*id)) {
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
