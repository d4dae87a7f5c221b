//! When a waiting task may start: not before an instant, and by when what it waits for is free at the latest. Each is
//! given only where what is known now makes it certain, as long as no operator changes something.

use orchd_model::{Amount, Priority, Reason, ResourceName, TaskId, Time};

use crate::core::Core;
use crate::ledger::ResourceIndex;
use crate::queue::Queue;
use crate::rank::{Rank, aged};
use crate::record::Runner;
use crate::resource::{Block, Need};

impl Core {
    /// The instant before which a task cannot start: delays, throttles and the tokens that it and those before it draw
    /// are known. Holders may end at any time, so they tell nothing here. Of several variants the first counts, and
    /// whatever is closed or too small may be changed, which ends a throttle, too. `more` are elements before it of its own array.
    pub(crate) fn earliest_start(
        &self,
        id: TaskId,
        more: u64,
        variant: Option<u32>,
        reasons: &[Reason],
    ) -> Option<Time> {
        if reasons.iter().any(|reason| matches!(reason, Reason::Closed { .. } | Reason::Unsatisfiable { .. }))
        {
            return None;
        }
        let needs = self.queues.get(self.task(id).queue).needs_in(variant);
        let refilled = needs.iter().filter_map(|need| self.refilled(id, more, need));
        let known = reasons.iter().filter_map(|reason| match reason {
            Reason::Delayed { until } | Reason::Rate { until, .. } | Reason::Throttled { until, .. } => {
                Some(*until)
            }
            Reason::Variants { variants } => {
                let starts =
                    variants.iter().map(|one| self.earliest_start(id, more, Some(one.variant), &one.reasons));
                starts.min().flatten()
            }
            _ => None,
        });
        known.chain(refilled).max()
    }

    /// When enough tokens will have come for those that are served before a task, and for itself. Only those count
    /// before it that nothing but an operator takes out of their queue.
    fn refilled(&self, id: TaskId, more: u64, need: &Need) -> Option<Time> {
        self.task(id).queued_since()?;
        let resource = self.ledger.get(need.resource);
        let (rate, bucket) = resource.rate(self.now)?;
        let own = resource.charge(need.mode, need.amount);
        if own > rate.burst {
            return None;
        }
        let rank = self.rank_of(id);
        let before = self.queues.all().filter_map(|(_, queue)| {
            let need = queue.waits_for(need.resource)?;
            // Others of a workflow may end it, a client that goes takes its claim with it, another variant may draw
            // nothing, and nobody is served who cannot be until an operator says something else.
            let is_certain = queue.demand.workflow.is_none()
                && queue.demand.runner != Runner::Claimant
                && queue.variants.len() == 1
                && !queue.needs().any(|need| self.is_barred(need));
            let drawn = resource.charge(need.mode, need.amount).as_thousandths();
            is_certain.then(|| drawn.saturating_mul(self.tasks_before(queue, rank)))
        });
        let before = before.fold(own.as_thousandths().saturating_mul(more), u64::saturating_add);
        let ready = bucket.ready_at(own + Amount::thousandths(before), rate);
        (ready > self.now).then_some(ready)
    }

    /// Whether nothing but an operator can let anybody have it.
    pub(crate) fn is_barred(&self, need: &Need) -> bool {
        let bar = self.ledger.get(need.resource).bar(need.mode, need.amount, self.now);
        bar.is_some_and(|bar| !bar.is_throttle())
    }

    /// How many tasks of a queue stand before a rank, and have no deadline.
    fn tasks_before(&self, queue: &Queue, rank: Rank) -> u64 {
        let of_class = |class: Priority| {
            let ranks = queue.ready[class.index()].iter().map(move |(since, task)| Rank {
                class: aged(class, *since, self.now, self.config.aging),
                since: *since,
                task: *task,
            });
            let before = ranks.take_while(|other| *other < rank).map(|other| self.task(other.task));
            before.filter(|task| task.deadline_at().is_none()).map(|task| task.count()).sum::<u64>()
        };
        Priority::ALL.into_iter().map(of_class).sum()
    }

    /// By when all that keeps a task back is over at the latest: holders have their timeouts, and what they give back
    /// is reserved for it. Of several variants the first counts. Not for one that others stand before.
    pub(crate) fn free_by(&self, id: TaskId, variant: Option<u32>, reasons: &[Reason]) -> Option<Time> {
        let ends = reasons.iter().map(|reason| match reason {
            Reason::Delayed { until } | Reason::Rate { until, .. } | Reason::Throttled { until, .. } => {
                Some(*until)
            }
            Reason::Resource { resource, .. } => self.given_back_by(id, variant, resource),
            Reason::Variants { variants } => {
                variants.iter().filter_map(|one| self.free_by(id, Some(one.variant), &one.reasons)).min()
            }
            _ => None,
        });
        ends.collect::<Option<Vec<Time>>>()?.into_iter().max()
    }

    /// By when the holders of a resource have given back what a task needs of it.
    fn given_back_by(&self, id: TaskId, variant: Option<u32>, name: &ResourceName) -> Option<Time> {
        let needs = self.queues.get(self.task(id).queue).needs_in(variant);
        let need = needs.iter().find(|need| self.ledger.get(need.resource).is_named(name))?;
        let resource = self.ledger.get(need.resource);
        let asker = self.asker(self.rank_of(id));
        let block = resource
            .blocks(need.mode, need.amount, &asker)
            .find(|block| matches!(block, Block::Mode | Block::Short | Block::Crowded))?;
        let is_certain = match block {
            // Nobody who comes later is let in.
            Block::Mode => true,
            // Smaller ones are, until the amount is reserved.
            _ => self.has_reserved(id, variant, need.resource),
        };
        is_certain.then(|| resource.free_by(need.mode, need.amount)).flatten()
    }

    fn has_reserved(&self, id: TaskId, variant: Option<u32>, resource: ResourceIndex) -> bool {
        let variant = variant.unwrap_or(0);
        let mut of_task = self.ledger.reservations_of(id).iter();
        of_task.any(|one| one.resource == resource && one.variant == variant && one.amount.is_some())
    }
}
