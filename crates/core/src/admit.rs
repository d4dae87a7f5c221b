//! Admission: the one step that grants all claims, a slot and the start, or nothing.

use crate::command::Effect;
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::ledger::{Block, ResourceKey};
use crate::queue::Waits;
use crate::rank::Rank;
use crate::timer::Timer;

impl Core {
    /// Starts every task that fits, in order. What is blocked on a resource is parked there and no longer
    /// looked at until that resource changes.
    pub(crate) fn admit(&mut self, out: &mut Output) {
        if self.paused || self.draining {
            return;
        }
        loop {
            while let Some(resource) = self.ledger.take_changed() {
                self.queues.wake(resource, &mut self.ledger);
            }
            let workers = &self.workers;
            let candidate = self.queues.best_candidate(|pool| workers.free_for(&pool.runner).is_some());
            let Some((queue, rank)) = candidate else { return };
            self.try_head(queue, rank, out);
        }
    }

    fn try_head(&mut self, index: usize, rank: Rank, out: &mut Output) {
        let queue = self.queues.get(index);
        let blocked = queue.needs.iter().find_map(|need| {
            let resource = self.ledger.get(need.resource);
            resource.block(need.mode, need.amount, rank).map(|block| (*need, block))
        });
        let Some((need, block)) = blocked else {
            self.start(index, rank, out);
            return;
        };
        let resource = self.ledger.get(need.resource);
        let is_group = !matches!(resource.key, ResourceKey::Named(_));
        let amount = Waits::ForAmount(resource.charge(need.mode, need.amount));
        let waits = match block {
            Block::Short | Block::Unsatisfiable => amount,
            Block::Paused | Block::Mode | Block::Behind(_) => Waits::InOrder,
        };
        match block {
            // The first in order is not overtaken: a waiting writer stops later readers.
            Block::Mode | Block::Behind(_) => self.ledger.reserve(need, rank),
            // What an operator, a group's limit or its own size keeps back must not keep others back.
            Block::Paused | Block::Unsatisfiable => self.ledger.unreserve(rank.task),
            Block::Short if is_group => self.ledger.unreserve(rank.task),
            Block::Short => {}
        }
        self.queues.park(index, need.resource, waits, &mut self.ledger);
    }

    fn start(&mut self, index: usize, rank: Rank, out: &mut Output) {
        let runner = &self.queues.get(index).demand.runner;
        let Some(worker) = self.workers.free_for(runner) else { return };
        let task = rank.task;
        let attempt = self.task(task).attempts.next();
        let token = self.meta.next_token;
        self.emit(out, Fact::Started { task, attempt, token, worker });
        out.effects.push(Effect::Assign { worker, task, attempt, token });
        // Its place is taken by the next of the same demand, whose turn may come later by aging.
        if let Some(at) = self.queues.next_aging(index, self.now) {
            self.timers.set_no_later(Timer::Aging(index), at);
        }
    }
}
