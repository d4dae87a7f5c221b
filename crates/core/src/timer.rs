//! The one place where the core keeps instants at which something must be done.

use orchd_model::{TaskId, Time, WorkerId, WorkflowId};
use priority_queue::PriorityQueue;
use std::cmp::Reverse;

use crate::ledger::ResourceIndex;

/// What happens when a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The task's delay is over: it becomes ready.
    Delay(TaskId),
    /// The attempt has met its timeout: it is stopped.
    Timeout(TaskId),
    /// The task has met its deadline: it fails, its attempt is stopped first.
    Deadline(TaskId),
    /// The head of one of this queue's lists may have climbed a class: the queue is ranked anew.
    Aging(usize),
    /// The head of this queue has been short of an amount for long enough to reserve it.
    Reservation(usize),
    /// The resource has tokens for the first that waits for them, or is no longer throttled.
    Resource(ResourceIndex),
    /// What was placed ahead may have climbed a class: it may have to be placed anew.
    Placed(TaskId),
    /// The worker was not heard of for a lease: it is fenced.
    Lease(WorkerId),
    /// Tasks with reservations may have been without a worker for a lease: they give them up.
    Unserved,
    /// The workflow has met its timeout: what is left of it is cancelled.
    Workflow(WorkflowId),
    /// What the attempt says of its progress may be told again.
    Progress(TaskId),
}

/// Timers by their instants. At most one of each.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: PriorityQueue<Timer, Reverse<(Time, Timer)>>,
}

impl Timers {
    /// Sets a timer, in place of the one there may be.
    pub fn set(&mut self, timer: Timer, at: Time) {
        self.queue.push(timer, Reverse((at, timer)));
    }

    /// Sets a timer unless it is set to an earlier instant.
    pub fn set_earlier(&mut self, timer: Timer, at: Time) {
        if self.queue.get_priority(&timer).is_none_or(|Reverse((set, _))| at < *set) {
            self.set(timer, at);
        }
    }

    /// Removes a timer, if it is set.
    pub fn clear(&mut self, timer: Timer) {
        self.queue.remove(&timer);
    }

    /// Whether a timer is set.
    pub fn is_set(&self, timer: Timer) -> bool {
        self.queue.get(&timer).is_some()
    }

    /// The earliest instant.
    pub fn next(&self) -> Option<Time> {
        self.queue.peek().map(|(_, Reverse((at, _)))| *at)
    }

    /// Takes the earliest timer that is due, ties in the order of [`Timer`].
    pub fn pop_due(&mut self, now: Time) -> Option<Timer> {
        if self.next()? <= now { self.queue.pop().map(|(timer, _)| timer) } else { None }
    }
}
