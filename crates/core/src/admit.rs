//! Admission: the one step that grants all claims, a slot and the start, or nothing.

use orchd_model::{Allotment, Amount, Mode, TaskId, Time};

use crate::command::Effect;
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::ledger::ResourceIndex;
use crate::parking::Waits;
use crate::queue::Queue;
use crate::rank::Rank;
use crate::record::Runner;
use crate::resource::{Asker, Block, Need, ResourceKey};
use crate::timer::Timer;
use crate::variant::Variant;

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
        // Tasks are looked at though no slot is free for them, so that each has its turn on what it cannot have:
        // until one of them waits for a slot alone. These are the pools where one does.
        let mut waits_for_slot: Vec<usize> = Vec::new();
        loop {
            while let Some(resource) = self.ledger.take_changed() {
                self.queues.wake(resource, self.now, &mut self.ledger);
            }
            let workers = &self.workers;
            let candidate = self.queues.best_candidate(|index, pool| {
                let is_looked_at = !waits_for_slot.contains(&index) && workers.slots_for(&pool.runner) > 0;
                is_looked_at || workers.is_free_for(&pool.runner)
            });
            let Some((queue, rank)) = candidate else { return };
            self.watches.forget(queue);
            match self.first_fit(queue, rank) {
                Ok(variant) if self.start(queue, variant, rank, out) => {
                    self.note_all_taken(queue, variant);
                    // What it has taken, one that waits for a slot may now wait for, too.
                    if !self.queues.get(queue).needs_nothing() {
                        waits_for_slot.clear();
                    }
                }
                Ok(_) => waits_for_slot.push(self.queues.get(queue).pool),
                Err(blocks) => self.park_head(queue, rank, &blocks),
            }
        }
    }

    /// The head of a queue cannot have all it needs, in none of its variants.
    fn park_head(&mut self, index: usize, rank: Rank, blocks: &[(Need, Block)]) {
        let variants = blocks.iter().zip(0..);
        let blocked = variants.map(|(block, variant)| self.wait_for(index, variant, rank, *block));
        let blocked: Vec<_> = blocked.collect();
        self.queues.park(index, &blocked, &mut self.ledger);
        self.queues.note_reserving(index, (rank.since, rank.task), &self.ledger);
    }

    /// Reserves what blocks a variant, if it may; gives where and how to wait for it.
    fn wait_for(
        &mut self,
        index: usize,
        variant: u32,
        rank: Rank,
        (need, block): (Need, Block),
    ) -> (ResourceIndex, Waits) {
        let resource = self.ledger.get(need.resource);
        let is_group = !matches!(resource.key, ResourceKey::Named(_));
        // Only the first that is short reserves, also where others could be let in beside it.
        let first = (block == Block::Short).then(|| resource.amount_before(need.mode, rank)).flatten();
        let block = first.map_or(block, Block::Beside);
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
            Block::Mode | Block::Rate(_) | Block::Behind(_) => self.reserve_turn(index, variant, rank, need),
            Block::Throttled(_) => {
                self.bear(rank.task, variant, Some(block));
                self.watch(index, variant, rank);
            }
            _ if block.is_bar() => self.bear(rank.task, variant, Some(block)),
            // What a group may run is lent to the first in order, and reserved by nobody.
            Block::Short if !is_group => self.reserve_amount(index, variant, rank, need),
            _ => {}
        }
        let again = match block {
            Block::Rate(until) | Block::Throttled(until) => Some(until),
            Block::Behind(_) => {
                let asker = self.asker(rank);
                self.ledger.get(need.resource).tokens_for_all_at(need.mode, need.amount, &asker)
            }
            _ => None,
        };
        if let Some(at) = again {
            self.timers.set_earlier(Timer::Resource(need.resource), at);
        }
        (need.resource, waits)
    }

    /// No waiting for holders helps a task. What an operator or its own size keeps back must not keep others back.
    /// Who was told to wait keeps what he has reserved, and those pass who are over before he may go on.
    fn bear(&mut self, task: TaskId, variant: u32, bar: Option<Block>) {
        if bar.is_none_or(Block::is_throttle) {
            let not_before = self.throttled_until(self.task(task).queue, variant);
            self.ledger.set_not_before(task, variant, not_before);
        } else {
            self.ledger.unreserve_variant(task, variant);
        }
    }

    /// When the last of what the tasks of a queue need in a variant is no longer throttled, if something is.
    pub(crate) fn throttled_until(&self, index: usize, variant: u32) -> Option<Time> {
        let needs = self.queues.get(index).variants.get(variant as usize)?.needs.iter();
        let ends = needs.filter_map(|need| self.ledger.get(need.resource).throttled_until);
        ends.filter(|until| *until > self.now).max()
    }

    /// The head of a queue has its turn on a resource from now on.
    pub(crate) fn reserve_turn(&mut self, index: usize, variant: u32, rank: Rank, need: Need) {
        let not_before = self.throttled_until(index, variant);
        self.ledger.reserve(need, (rank, variant), None, not_before);
    }

    /// A task that is short of an amount has reserved it once it has been ready for long enough.
    fn reserve_amount(&mut self, index: usize, variant: u32, rank: Rank, need: Need) {
        let due = rank.since + self.config.reservation_delay;
        if due <= self.now {
            let not_before = self.throttled_until(index, variant);
            self.ledger.reserve(need, (rank, variant), Some(due), not_before);
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

    /// The first variant that nothing keeps the head of a queue from starting in, or what blocks each of them.
    fn first_fit(&self, index: usize, rank: Rank) -> Result<u32, Vec<(Need, Block)>> {
        let asker = self.asker(rank);
        let mut blocks = Vec::new();
        for (variant, number) in self.queues.get(index).variants.iter().zip(0..) {
            match self.first_block(variant, &asker) {
                Some(block) => blocks.push(block),
                None => return Ok(number),
            }
        }
        Err(blocks)
    }

    /// What keeps a task from starting in a variant. There it waits for one thing at a time: what no waiting
    /// helps against comes first, throttles after what has no end; then what it was found to wait for, until that
    /// lets it pass.
    fn first_block(&self, variant: &Variant, asker: &Asker) -> Option<(Need, Block)> {
        let block_of = |need: &Need| {
            let resource = self.ledger.get(need.resource);
            resource.block(need.mode, need.amount, asker).map(|block| (*need, block))
        };
        let mut blocks = variant.needs.iter().filter_map(block_of);
        let first = blocks.next()?;
        let Rank { since, task, .. } = asker.rank;
        let former = |(need, _): &(Need, Block)| variant.waits_for == Some((since, task, need.resource));
        let (mut chosen, mut throttle) = (first, None);
        for other in std::iter::once(first).chain(blocks) {
            if other.1.is_throttle() {
                throttle = throttle.or(Some(other));
            } else if other.1.is_bar() {
                return Some(other);
            } else if former(&other) {
                chosen = other;
            }
        }
        throttle.or(Some(chosen))
    }

    /// Nothing but a slot can keep this task from starting. Without one it may be placed ahead; false when it
    /// has to wait for the slot.
    fn start(&mut self, index: usize, variant: u32, rank: Rank, out: &mut Output) -> bool {
        let queue = self.queues.get(index);
        let claimant = self.task(rank.task).claimant();
        let Some(worker) = claimant.or_else(|| self.workers.free_for(&queue.demand.runner)) else {
            if queue.demand.runner == Runner::Process {
                if queue.needs_nothing() {
                    return self.place(rank, out);
                }
                self.recall_after(rank, out);
            }
            return false;
        };
        let task = rank.task;
        let variant = Some(variant).filter(|_| !queue.demand.variants.is_empty());
        let allotment = self.allotment(index, variant);
        self.single_out(task, out);
        let this = self.task(task);
        let attempt = this.attempts.next();
        let waited = this.first_started_at.is_none().then(|| self.now.since(this.run_at));
        let token = self.meta.next_token;
        let at = self.now;
        self.emit(out, Fact::Started { task, attempt, token, worker, at, waited, variant });
        let order = (rank.class, rank.since);
        out.effects.push(Effect::Assign { worker, task, attempt, token, order, allotment, variant });
        true
    }

    /// What the head of a queue has taken, others may wait for now who were told to wait for something else.
    fn note_all_taken(&mut self, index: usize, variant: u32) {
        let needs = self.queues.get(index).needs_in(Some(variant));
        let taken: Vec<ResourceIndex> = needs.iter().map(|need| need.resource).collect();
        taken.into_iter().for_each(|resource| self.note_taken(resource));
    }

    /// What a task of this queue holds of the machine itself when it starts.
    fn allotment(&self, index: usize, variant: Option<u32>) -> Allotment {
        let mut allotment = Allotment::default();
        for need in self.queues.get(index).needs_in(variant) {
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
            let queue = self.queues.get(self.task(task).queue);
            let concerned = queue.variants.iter().zip(0..).filter_map(|(variant, number)| {
                let need = variant.needs.iter().find(|need| need.resource == resource)?;
                Some((number, self.ledger.get(resource).bar(need.mode, need.amount, self.now)))
            });
            for (variant, bar) in concerned.collect::<Vec<(u32, Option<Block>)>>() {
                self.bear(task, variant, bar);
            }
        }
        let needs_it = |queue: &Queue| queue.needs().any(|need| need.resource == resource);
        self.queues.look_again(needs_it, &mut self.ledger);
    }
}
