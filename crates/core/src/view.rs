//! Pictures of the scheduler for people: resources and workers.

use orchd_model::{Amount, Holder, Rate, ResourceName, Span, TaskId, Time, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

use crate::core::Core;
use crate::ledger::ResourceIndex;
use crate::record::WorkerNote;
use crate::resource::{Need, Resource, ResourceKey};

/// A resource as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceView {
    /// Which one.
    pub name: ResourceName,
    /// Units that can be held at once.
    pub capacity: Option<Amount>,
    /// How many holders at once.
    pub concurrency: Option<u32>,
    /// Units held.
    pub held: Amount,
    /// Units free; none without a capacity.
    pub free: Option<Amount>,
    /// Tasks that have reserved it.
    pub reserved: usize,
    /// Tasks that wait for it, and perhaps for others as well.
    pub waiting: u64,
    /// The first holders.
    pub holders: Vec<Holder>,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// Whether an operator has closed it.
    pub closed: bool,
    /// Nobody gets it before this instant.
    pub throttled_until: Option<Time>,
    /// Its rate, if it has one, and the tokens that are there.
    pub rate: Option<RateView>,
    /// For how long somebody has waited for it since it came into being, over restarts. A task that waits for several
    /// adds to one at a time.
    pub blocked: Span,
}

/// A rate as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateView {
    /// What flows in.
    pub rate: Rate,
    /// Tokens that are there.
    pub left: Amount,
    /// When there is one more; none when the bucket is full.
    pub next_refill: Option<Time>,
}

/// A worker as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Its id.
    pub id: WorkerId,
    /// Attempts it can hold at a time.
    pub slots: u32,
    /// Tasks whose attempts it holds.
    pub tasks: Vec<TaskId>,
    /// Handlers it registered.
    pub handlers: Vec<String>,
    /// Whether it is connected.
    pub attached: bool,
    /// What it said of itself when it joined.
    pub note: WorkerNote,
    /// Whether it is the client of an ad-hoc claim, and there for nothing else.
    pub claimant: bool,
}

impl Core {
    /// Every resource that is configured, held or waited for, by name.
    #[must_use]
    pub fn resources(&self) -> Vec<ResourceView> {
        let named = self.ledger.all().into_iter().filter_map(|(index, resource)| match &resource.key {
            ResourceKey::Named(name) => Some((index, resource, name)),
            ResourceKey::Workflow(_) | ResourceKey::Session(_) => None,
        });
        let waiting = self.waiting(|_| true);
        let waiting = |index| waiting.get(&index).copied().unwrap_or(0);
        named.map(|(index, resource, name)| self.view_of(resource, name, waiting(index))).collect()
    }

    /// A resource; one of which nothing is known has nothing.
    #[must_use]
    pub fn resource_view(&self, name: &ResourceName) -> ResourceView {
        let key = ResourceKey::Named(name.clone());
        match self.ledger.find(&key) {
            Some(index) => {
                let waiting = self.waiting(|other| other == index).get(&index).copied();
                self.view_of(self.ledger.get(index), name, waiting.unwrap_or(0))
            }
            None => self.view_of(&Resource::new(key), name, 0),
        }
    }

    /// How many tasks wait for each of the resources that are asked for: all that the first of their demand cannot
    /// have now, as [`Core::explain`] tells it. Looked up for who asks, and not kept: that costs a start nothing.
    fn waiting(&self, is_asked_for: impl Fn(ResourceIndex) -> bool) -> BTreeMap<ResourceIndex, u64> {
        let mut waiting = BTreeMap::new();
        for (_, queue) in self.queues.all() {
            let Some(rank) = queue.rank else { continue };
            let asker = self.asker(rank);
            let is_blocked = |need: &&Need| {
                is_asked_for(need.resource)
                    && self.ledger.get(need.resource).block(need.mode, need.amount, &asker).is_some()
            };
            let blocked: BTreeSet<ResourceIndex> =
                queue.needs().filter(is_blocked).map(|need| need.resource).collect();
            for resource in blocked {
                *waiting.entry(resource).or_default() += queue.backlog();
            }
        }
        waiting
    }

    fn view_of(&self, resource: &Resource, name: &ResourceName, waiting: u64) -> ResourceView {
        ResourceView {
            name: name.clone(),
            capacity: resource.capacity(),
            concurrency: resource.setting.concurrency,
            held: resource.held,
            free: resource.free(),
            reserved: resource.reserved_by(),
            waiting,
            holders: self.holders(resource),
            paused: resource.paused,
            closed: resource.closed,
            throttled_until: resource.throttled_until.filter(|until| *until > self.now),
            rate: resource.rate(self.now).map(|(rate, bucket)| RateView {
                rate,
                left: bucket.left(),
                next_refill: bucket.next_refill(rate),
            }),
            blocked: resource.clock.blocked().until(self.now),
        }
    }

    /// Every worker that is connected or may still hold attempts, by id.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerView> {
        self.workers
            .all()
            .map(|(id, worker)| WorkerView {
                id,
                slots: worker.slots,
                tasks: worker.tasks.iter().copied().collect(),
                handlers: worker.handlers.iter().map(ToString::to_string).collect(),
                attached: worker.attached,
                note: worker.note.clone(),
                claimant: worker.claim.is_some(),
            })
            .collect()
    }

    /// How many claims are held, over all resources. Zero when nothing runs.
    #[must_use]
    pub fn claims_held(&self) -> usize {
        self.ledger.all().iter().map(|(_, resource)| resource.holders.len()).sum()
    }
}
