//! Arrays: one record that stands for all elements that wait alike.
//!
//! A record stands for its own id and for `more` ids after it. It is cut where elements go different ways:
//!
//! ```text
//!   [17 .. 26]  17 starts   [17] [18 .. 26]   20 is held   [17] [18 .. 19] [20] [21 .. 26]
//! ```
//! So an array costs what has happened to it and not what it counts, in memory, in the journal and on disk.
//! The order is that of the elements themselves: all of a record became ready at the same moment, and ids
//! decide after that.
//!
//! Invariant: a task that has started, or that another depends on, stands for itself alone.

use orchd_model::{TaskId, TaskRange};

use crate::core::{Core, Ended, Output};
use crate::event::{Event, Fact};
use crate::record::TaskRecord;

impl Core {
    /// The record in memory that stands for a task: its own, or that of a range it is in.
    #[must_use]
    pub fn standing_for(&self, id: TaskId) -> Option<TaskId> {
        if self.tasks.contains_key(&id) {
            return Some(id);
        }
        let (first, last) = self.spans.range(..=id).next_back()?;
        (id <= *last).then_some(*first)
    }

    /// Cuts records so that none reaches over the ends of `range`. Gives those inside, by id.
    pub(crate) fn cut_out(&mut self, range: TaskRange, out: &mut Output) -> Vec<TaskId> {
        let after = TaskId(range.last.0.saturating_add(1));
        for at in [range.first, after] {
            if let Some(task) = self.standing_for(at).filter(|task| *task != at) {
                self.emit(out, Fact::Split { task, at });
            }
        }
        self.records_in(range)
    }

    /// The records in memory whose own ids are in the range, by id.
    pub(crate) fn records_in(&self, range: TaskRange) -> Vec<TaskId> {
        if range.len() <= self.tasks.len() as u64 {
            let ids = (range.first.0..=range.last.0).map(TaskId);
            return ids.filter(|id| self.tasks.contains_key(id)).collect();
        }
        let mut inside: Vec<TaskId> = self.tasks.keys().copied().filter(|id| range.contains(*id)).collect();
        inside.sort_unstable();
        inside
    }

    /// Makes a task stand for itself alone, if it is in memory.
    pub(crate) fn single_out(&mut self, id: TaskId, out: &mut Output) {
        self.cut_out(id.into(), out);
    }

    /// Takes the record of a range that has ended back into memory, until the next commit, so that it can
    /// be cut.
    pub(crate) fn recall(&mut self, record: TaskRecord) {
        let id = record.id;
        // It was counted when it was added and when it ended.
        self.insert_counted(record);
        self.forget_after_commit(id);
    }

    fn forget_after_commit(&mut self, id: TaskId) {
        let sequence = self.meta.next_sequence;
        self.task_mut(id).ended_by = sequence;
        self.ended.push_back((sequence, Ended::Task(id)));
    }

    /// The elements from `at` on go their own way from now on.
    pub(crate) fn apply_split(&mut self, event: &Event, id: TaskId, at: TaskId) {
        let Some(record) = self.record(id) else { return };
        let range = record.range();
        let left = at.0 - id.0 - 1;
        self.task_mut(id).set_more(left);
        self.note_span(id);
        // It keeps its place in its queue, and what it has reserved.
        let task = self.task(id);
        if task.queued_since().is_some() {
            self.queues.count_less(task.queue, record.more - left);
        }
        let right = TaskRecord { id: at, more: range.last.0 - at.0, key: None, ..record };
        self.insert_counted(right);
        self.link(at);
        if self.task(at).has_ended() {
            self.task_mut(at).ended_by = event.sequence;
            self.ended.push_back((event.sequence, Ended::Task(at)));
        }
    }

    /// Notes whether a record stands for more than its own id.
    pub(crate) fn note_span(&mut self, id: TaskId) {
        match self.tasks.get(&id).map(|task| task.more()) {
            Some(more) if more > 0 => drop(self.spans.insert(id, TaskId(id.0 + more))),
            Some(_) | None => drop(self.spans.remove(&id)),
        }
    }
}
