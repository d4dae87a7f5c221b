//! Admission: the one step that grants all claims, a slot and the start, or nothing.

use orchd_model::{Allotment, Amount, Mode};

use crate::command::Effect;
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::ledger::ResourceIndex;
use crate::parking::Waits;
use crate::queue::Queue;
use crate::rank::Rank;
use crate::resource::{Asker, Block, Need, ResourceKey};
use crate::timer::Timer;

impl Core {
    /// Starts every task that fits, in order. What is blocked on a resource is parked there and no longer
    /// looked at until that resource changes.
    pub(crate) fn admit(&mut self, out: &mut Output) {
        if std::mem::take(&mut self.placements_doubted) {
            self.reconsider_placements(out);
        }
        if self.starts_nothing() {
            return;
        }
        // Whether tasks are looked at for which no slot is free: until one of them waits for a slot alone.
        let mut looks_ahead = true;
        loop {
            while let Some(resource) = self.ledger.take_changed() {
                self.queues.wake(resource, self.now, &mut self.ledger);
            }
            let workers = &self.workers;
            let candidate = self.queues.best_candidate(|pool| {
                workers.free_for(&pool.runner).is_some() || (looks_ahead && workers.takes_ahead(&pool.runner))
            });
            let Some((queue, rank)) = candidate else { return };
            match self.first_block(queue, rank) {
                Some(block) => self.park_head(queue, rank, block),
                None => looks_ahead &= self.start(queue, rank, out),
            }
        }
    }

    /// The head of a queue cannot have all it needs.
    fn park_head(&mut self, index: usize, rank: Rank, (need, block): (Need, Block)) {
        let is_group = !matches!(self.ledger.get(need.resource).key, ResourceKey::Named(_));
        let waits = match block {
            // What an exclusive claim takes varies with the capacity, so any change may be the one.
            Block::Short | Block::Crowded | Block::Unsatisfiable if need.mode == Mode::Exclusive => {
                Waits::ForAmount(Amount::ZERO)
            }
            Block::Short | Block::Crowded | Block::Unsatisfiable => Waits::ForAmount(need.amount),
            Block::Beside(_) => Waits::Beside(need.amount),
            Block::Paused
            | Block::Closed
            | Block::Throttled(_)
            | Block::Mode
            | Block::Rate(_)
            | Block::Behind(_) => Waits::InOrder,
        };
        match block {
            // The first in order is not overtaken: a waiting writer stops later readers.
            Block::Mode | Block::Rate(_) | Block::Behind(_) => self.ledger.reserve(need, rank, None),
            // What an operator, a group's limit or its own size keeps back must not keep others back.
            _ if block.is_bar() => self.ledger.unreserve(rank.task),
            Block::Short if is_group => self.ledger.unreserve(rank.task),
            Block::Short => self.reserve_amount(index, rank, need),
            _ => {}
        }
        if let Block::Rate(until) | Block::Throttled(until) = block {
            self.timers.set_earlier(Timer::Resource(need.resource), until);
        }
        self.queues.park(index, need.resource, waits, &mut self.ledger);
    }

    /// A task that is short of an amount has reserved it once it has been ready for long enough.
    fn reserve_amount(&mut self, index: usize, rank: Rank, need: Need) {
        let due = rank.since + self.config.reservation_delay;
        if due <= self.now {
            self.ledger.reserve(need, rank, Some(due));
        } else {
            self.timers.set(Timer::Reservation(index), due);
        }
    }

    /// Who asks, when the head of a queue does.
    pub(crate) fn asker(&self, rank: Rank) -> Asker {
        let timeout = self.queues.get(self.task(rank.task).queue).timeout;
        let ends_by = timeout.map(|timeout| self.now + timeout + self.config.grace);
        Asker { rank, now: self.now, ends_by }
    }

    /// What keeps the head of a queue from starting. A task waits for one thing at a time: what no waiting
    /// helps against comes first, then what it was found to wait for, until that lets it pass.
    fn first_block(&self, index: usize, rank: Rank) -> Option<(Need, Block)> {
        let queue = self.queues.get(index);
        if queue.needs.is_empty() {
            return None;
        }
        let asker = self.asker(rank);
        let block_of = |need: &Need| {
            let resource = self.ledger.get(need.resource);
            resource.block(need.mode, need.amount, &asker).map(|block| (*need, block))
        };
        let mut blocks = queue.needs.iter().filter_map(block_of);
        let first = blocks.next()?;
        let former = |(need, _): &(Need, Block)| Some(need.resource) == queue.waits_for;
        let mut chosen = first;
        for other in std::iter::once(first).chain(blocks) {
            if other.1.is_bar() {
                return Some(other);
            }
            if former(&other) {
                chosen = other;
            }
        }
        Some(chosen)
    }

    /// Nothing but a slot can keep this task from starting. Without one it may be placed ahead; false when it
    /// has to wait for the slot.
    fn start(&mut self, index: usize, rank: Rank, out: &mut Output) -> bool {
        let queue = self.queues.get(index);
        let claimant = self.task(rank.task).claimant();
        let Some(worker) = claimant.or_else(|| self.workers.free_for(&queue.demand.runner)) else {
            if queue.needs.is_empty() {
                return self.place(rank, out);
            }
            self.recall_after(rank, out);
            return false;
        };
        let task = rank.task;
        let allotment = self.allotment(index);
        self.single_out(task, out);
        let this = self.task(task);
        let attempt = this.attempts.next();
        let waited = this.first_started_at.is_none().then(|| self.now.since(this.run_at));
        let token = self.meta.next_token;
        let at = self.now;
        self.emit(out, Fact::Started { task, attempt, token, worker, at, waited });
        let order = (rank.class, rank.since);
        out.effects.push(Effect::Assign { worker, task, attempt, token, order, allotment });
        true
    }

    /// What a task of this queue holds of the machine itself when it starts.
    fn allotment(&self, index: usize) -> Allotment {
        let mut allotment = Allotment::default();
        for need in &self.queues.get(index).needs {
            let resource = self.ledger.get(need.resource);
            if let ResourceKey::Named(name) = &resource.key {
                allotment.note(name, resource.charge(need.mode, need.amount));
            }
        }
        allotment
    }

    /// A resource was paused, resumed or set: what is known of those that need it holds no longer.
    pub(crate) fn reconsider(&mut self, resource: ResourceIndex) {
        for task in self.ledger.reserving_tasks() {
            let needs = &self.queues.get(self.task(task).queue).needs;
            let need = needs.iter().find(|need| need.resource == resource);
            let bar = |need: &Need| self.ledger.get(resource).bar(need.mode, need.amount, self.now);
            if need.and_then(bar).is_some() {
                self.ledger.unreserve(task);
            }
        }
        let needs_it = |queue: &Queue| queue.needs.iter().any(|need| need.resource == resource);
        self.queues.look_again(needs_it, &mut self.ledger);
    }
}
