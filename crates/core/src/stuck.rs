//! Tasks that nothing will ever start unless somebody does something: they are held, or paused, or what they claim is
//! closed or too small, or nobody runs their handler.
//!
//! What stands against one task stands against all with its demand and class, so it is found out once for these; what is
//! left is a look at each task. A large workflow is looked through piece by piece, so that nobody waits for that.

use orchd_model::{Priority, Reason, TaskId, WorkflowId};
use rustc_hash::FxHashMap;

use crate::core::Core;
use crate::record::Phase;
use crate::task::Task;

/// Tasks in a piece: about a millisecond.
const PIECE: usize = 20_000;

/// The tasks that one reason keeps from ever starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Why they do not start.
    pub reason: Reason,
    /// The first of them with their names, at most [`Reason::SHOWN`].
    pub tasks: Vec<(TaskId, String)>,
    /// How many there are.
    pub count: u64,
}

/// A workflow that is looked through for what is stuck.
#[derive(Clone, Debug)]
pub struct StuckSearch {
    workflow: WorkflowId,
    /// How many of its tasks have been looked at.
    seen: usize,
    found: Vec<Stuck>,
}

impl StuckSearch {
    /// Nothing has been looked at yet.
    #[must_use]
    pub fn new(workflow: WorkflowId) -> Self {
        Self { workflow, seen: 0, found: Vec::new() }
    }

    /// What was found, one entry a reason.
    #[must_use]
    pub fn into_found(self) -> Vec<Stuck> {
        self.found
    }

    /// Looks at the next piece; true when there is none. Nothing of a workflow that has ended is stuck.
    pub fn look(&mut self, core: &Core) -> bool {
        let Some(record) = core.workflow(self.workflow) else { return true };
        let ids: Vec<TaskId> = record.task_ids().skip(self.seen).take(PIECE).collect();
        self.seen += ids.len();
        let mut alike: FxHashMap<(usize, Priority), Vec<usize>> = FxHashMap::default();
        for id in &ids {
            let Some(task) = core.tasks.get(id).filter(|task| waits(task)) else { continue };
            if task.hold {
                let place = self.place_of(Reason::Held);
                self.note(place, *id, task);
            }
            let places = alike.entry((task.queue, task.base_class())).or_insert_with(|| {
                let of_all = |reason: &Reason| reason.wants_somebody() && *reason != Reason::Held;
                core.reasons(*id).into_iter().filter(of_all).map(|reason| self.place_of(reason)).collect()
            });
            places.iter().for_each(|place| self.note(*place, *id, task));
        }
        ids.len() < PIECE
    }

    fn place_of(&mut self, reason: Reason) -> usize {
        self.found.iter().position(|stuck| stuck.reason == reason).unwrap_or_else(|| {
            self.found.push(Stuck { reason, tasks: Vec::new(), count: 0 });
            self.found.len() - 1
        })
    }

    fn note(&mut self, place: usize, id: TaskId, task: &Task) {
        let stuck = &mut self.found[place];
        stuck.count += task.count();
        if stuck.tasks.len() < Reason::SHOWN {
            stuck.tasks.push((id, task.name.to_string()));
        }
    }
}

/// Whether a task has not begun, and nobody works it out.
fn waits(task: &Task) -> bool {
    match task.phase {
        Phase::Waiting | Phase::Delayed { .. } | Phase::Ready { .. } => true,
        Phase::Checking | Phase::Computing | Phase::Running { .. } | Phase::Ended(_) | Phase::Skipped(_) => {
            false
        }
    }
}
