//! Tasks that undo what others did, when their workflow does not come to a good end.
//!
//! ```text
//!   waits for its task ──completed──► armed ──all else of the workflow has ended──┬─ well ──► skipped
//!                      └─otherwise──► skipped                                      └─ not ───► called
//! ```
//! Those that are called run one after the other, the one whose task completed last first: each gets an edge to the
//! one before it, so that the order is theirs for good. One that fails does not keep the others from running. What
//! runs at the end of the workflow comes after them.
//!
//! Invariant: a compensation that is not called waits; `compensations` of a workflow counts those that have not
//! ended, and they are part of its `finally`.

use orchd_model::{On, Sequence, TaskId, WorkflowId};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

use crate::core::{Core, Output};
use crate::event::Fact;
use crate::record::{Edge, Phase, SkipCause, TaskRecord, WorkflowRecord};

/// What a compensation is to undo, and how far that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compensation {
    /// The task whose work it undoes.
    pub of: TaskId,
    /// When that completed, in the order of all events; none: it has not.
    pub armed: Option<Sequence>,
    /// Whether it is to run.
    pub called: bool,
}

impl Compensation {
    /// The compensation of a new task.
    pub(crate) fn new(of: TaskId) -> Self {
        Self { of, armed: None, called: false }
    }
}

impl WorkflowRecord {
    /// Whether something of it has not gone as it should have.
    fn goes_wrong(&self) -> bool {
        self.stop.is_some() || self.failed > 0 || self.cancelled > 0
    }
}

impl Core {
    /// Whether a task undoes what another one did.
    pub(crate) fn compensates(&self, id: TaskId) -> bool {
        self.task(id).role().compensation.is_some()
    }

    /// Whether a task waits for being called.
    pub(crate) fn is_uncalled(&self, id: TaskId) -> bool {
        self.task(id).role().compensation.is_some_and(|compensation| !compensation.called)
    }

    /// The task of a compensation has completed.
    pub(crate) fn arm(&mut self, id: TaskId, out: &mut Output) {
        self.emit(out, Fact::Armed { task: id });
    }

    pub(crate) fn apply_armed(&mut self, id: TaskId, sequence: Sequence) {
        self.change_compensation(id, |compensation| compensation.armed = Some(sequence));
    }

    /// Nothing is left of a workflow but what runs at its end: what is to be undone is, the last first.
    pub(crate) fn compensate(&mut self, workflow: WorkflowId, out: &mut Output) {
        let Some(record) = self.workflows.get(&workflow) else { return };
        let is_needed = record.goes_wrong();
        let mut waiting: Vec<(Reverse<Option<Sequence>>, TaskId)> = Vec::new();
        for id in record.task_ids() {
            let Some(task) = self.tasks.get(&id).filter(|task| matches!(task.phase, Phase::Waiting)) else {
                continue;
            };
            let role = task.role();
            if let Some(compensation) = role.compensation.filter(|compensation| !compensation.called) {
                waiting.push((Reverse(compensation.armed), id));
            }
        }
        waiting.sort_unstable();
        let mut before = None;
        for (_, id) in waiting {
            if !is_needed {
                self.skip(id, SkipCause::NotNeeded, out);
                continue;
            }
            self.emit(out, Fact::Called { task: id, after: before });
            if before.is_none() {
                self.proceed(id, out);
            }
            before = Some(id);
        }
    }

    pub(crate) fn apply_called(&mut self, id: TaskId, after: Option<TaskId>) {
        self.change_compensation(id, |compensation| compensation.called = true);
        if let Some(before) = after {
            let task = self.task_mut(id);
            let edge = Edge { task: before, on: On::Completion };
            task.edges = task.edges.iter().copied().chain([edge]).collect();
            self.link(id);
        }
    }

    fn change_compensation(&mut self, id: TaskId, change: impl FnOnce(&mut Compensation)) {
        self.task_mut(id).set_role(|role| role.compensation.as_mut().map_or((), change));
    }
}

impl TaskRecord {
    /// Lets a compensation wait again; for its task if that runs again, too.
    pub(crate) fn recall_compensation(&mut self, runs_again: impl Fn(TaskId) -> bool) {
        let Some(compensation) = &mut self.role.compensation else { return };
        let of = compensation.of;
        compensation.called = false;
        compensation.armed = compensation.armed.filter(|_| !runs_again(of));
        self.edges = self.edges.iter().copied().filter(|edge| edge.task == of).collect();
    }

    /// Whether it is a compensation that was never called, and that no other task has ruled out.
    pub(crate) fn waits_to_be_called(&self) -> bool {
        self.role.compensation.is_some_and(|compensation| !compensation.called) && self.skip_root().is_none()
    }

    /// The task whose work was undone, or was begun to be.
    pub(crate) fn undone(&self) -> Option<TaskId> {
        let compensation = self.role.compensation.filter(|compensation| compensation.called);
        compensation.filter(|_| self.first_started_at.is_some()).map(|compensation| compensation.of)
    }
}
