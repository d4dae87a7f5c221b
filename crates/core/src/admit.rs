//! Admission: the one step that grants all claims, a slot and the start, or nothing.

use orchd_model::{Amount, Mode};

use crate::command::Effect;
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::ledger::{Block, Need, ResourceIndex, ResourceKey};
use crate::queue::{Queue, Waits};
use crate::rank::Rank;

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
        let Some((need, block)) = self.first_block(index, rank) else {
            self.start(index, rank, out);
            return;
        };
        let resource = self.ledger.get(need.resource);
        let is_group = !matches!(resource.key, ResourceKey::Named(_));
        let waits = match block {
            // What an exclusive claim takes varies with the capacity, so any change may be the one.
            Block::Short | Block::Unsatisfiable if need.mode == Mode::Exclusive => {
                Waits::ForAmount(Amount::ZERO)
            }
            Block::Short | Block::Unsatisfiable => Waits::ForAmount(need.amount),
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

    /// What keeps the head of a queue from starting. A task waits for one thing at a time: what no waiting
    /// helps against comes first, then what it was found to wait for, until that lets it pass.
    fn first_block(&self, index: usize, rank: Rank) -> Option<(Need, Block)> {
        let queue = self.queues.get(index);
        let block_of = |need: &Need| {
            let resource = self.ledger.get(need.resource);
            resource.block(need.mode, need.amount, rank).map(|block| (*need, block))
        };
        let mut blocks = queue.needs.iter().filter_map(block_of);
        let first = blocks.next()?;
        let for_good = |block: &Block| matches!(block, Block::Paused | Block::Unsatisfiable);
        let former = |(need, _): &(Need, Block)| Some(need.resource) == queue.waits_for;
        let mut chosen = first;
        for other in std::iter::once(first).chain(blocks) {
            if for_good(&other.1) {
                return Some(other);
            }
            if former(&other) {
                chosen = other;
            }
        }
        Some(chosen)
    }

    fn start(&mut self, index: usize, rank: Rank, out: &mut Output) {
        let runner = &self.queues.get(index).demand.runner;
        let Some(worker) = self.workers.free_for(runner) else { return };
        let task = rank.task;
        self.single_out(task, out);
        let this = self.task(task);
        let attempt = this.attempts.next();
        let waited = this.first_started_at.is_none().then(|| self.now.since(this.run_at));
        let token = self.meta.next_token;
        self.emit(out, Fact::Started { task, attempt, token, worker, waited });
        out.effects.push(Effect::Assign { worker, task, attempt, token });
    }

    /// A resource was paused, resumed or set: what is known of those that need it holds no longer.
    pub(crate) fn reconsider(&mut self, resource: ResourceIndex) {
        for task in self.ledger.reserving_tasks() {
            let needs = &self.queues.get(self.task(task).queue).needs;
            let need = needs.iter().find(|need| need.resource == resource);
            if need.is_some_and(|need| self.ledger.get(resource).is_barred(need.mode, need.amount)) {
                self.ledger.unreserve(task);
            }
        }
        let needs_it = |queue: &Queue| queue.needs.iter().any(|need| need.resource == resource);
        self.queues.look_again(needs_it, &mut self.ledger);
    }
}
