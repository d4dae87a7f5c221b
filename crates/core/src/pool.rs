//! The queues that need the same kind of worker, and which of them is to be looked at first.

use orchd_model::Time;
use priority_queue::PriorityQueue;
use std::cmp::Reverse;

use crate::rank::Rank;
use crate::record::Runner;

/// The queues that need the same kind of worker.
#[derive(Debug)]
pub(crate) struct Pool {
    pub runner: Runner,
    /// Since when no connected worker has run its tasks.
    pub unserved_since: Option<Time>,
    /// Queues by the ranks of their heads.
    pub candidates: PriorityQueue<usize, Reverse<Rank>>,
}

impl Pool {
    pub fn new(runner: &Runner) -> Self {
        Self { runner: runner.clone(), unserved_since: None, candidates: PriorityQueue::new() }
    }

    /// The candidate that comes first, and the rank of its head.
    pub fn best(&self) -> Option<(Rank, usize)> {
        self.candidates.peek().map(|(index, Reverse(rank))| (*rank, *index))
    }
}
