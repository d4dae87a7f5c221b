//! Priority inheritance: a task that an unfinished task of a better class depends on, through any number
//! of edges, competes in that class until the dependent no longer needs it.
//!
//! Each task counts its unfinished dependents by the class they compete in, so that a change costs one
//! step for each edge it travels and nothing where the class stays the same. No recursion: a chain of a
//! million tasks is legal.

use orchd_model::{Priority, TaskId};

use crate::core::Core;
use crate::record::Phase;
use crate::task::Dependent;

impl Core {
    /// Registers a waiting task with those it depends on, and lends them its class.
    pub(crate) fn link(&mut self, id: TaskId) {
        let task = self.task(id);
        if !matches!(task.phase, Phase::Waiting) || task.edges.is_empty() {
            return;
        }
        let (edges, run_at) = (task.edges.clone(), task.run_at);
        let mut unmet = 0;
        for edge in &edges {
            if let Some(dependency) = self.tasks.get_mut(&edge.task)
                && !dependency.has_ended()
                // One that was revived after this task was added has been waited for already.
                && dependency.run_at <= run_at
            {
                unmet += 1;
                dependency.dependents.get_or_insert_default().edges.push(Dependent {
                    task: id,
                    on: edge.on,
                    run_at,
                });
            }
        }
        self.task_mut(id).unmet = unmet;
        self.change_class(id, None, Some(self.task(id).base_class()));
    }

    /// The class that `id` competes in has changed, or it needs its dependencies no longer.
    pub(crate) fn change_class(&mut self, id: TaskId, old: Option<Priority>, new: Option<Priority>) {
        let mut changes = vec![(id, old, new)];
        while let Some((id, old, new)) = changes.pop() {
            if old == new {
                continue;
            }
            let task = self.task(id);
            let (edges, run_at) = (task.edges.clone(), task.run_at);
            for edge in &edges {
                let Some(dependency) = self.tasks.get_mut(&edge.task) else { continue };
                if dependency.has_ended() || dependency.run_at > run_at {
                    continue;
                }
                let Some(dependents) = &mut dependency.dependents else { continue };
                if let Some(old) = old {
                    dependents.by_class[old.index()] -= 1;
                }
                if let Some(new) = new {
                    dependents.by_class[new.index()] += 1;
                }
                let inherited = dependency.lent_class();
                if inherited != dependency.inherited {
                    let before = dependency.base_class();
                    self.reclass(edge.task, |task| task.inherited = inherited);
                    changes.push((edge.task, Some(before), Some(self.task(edge.task).base_class())));
                }
            }
        }
    }
}
