//! Pictures of the scheduler for people: resources and workers.

use orchd_model::{Amount, Holder, ResourceName, TaskId, WorkerId};

use crate::core::Core;
use crate::ledger::ResourceKey;
use crate::queue::Queue;
use crate::record::WorkerNote;

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
    /// Tasks whose turn is reserved on it.
    pub reserved: usize,
    /// Tasks that wait for it.
    pub waiting: u64,
    /// The first holders.
    pub holders: Vec<Holder>,
    /// Whether an operator has paused it.
    pub paused: bool,
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
        named
            .map(|(index, resource, name)| ResourceView {
                name: name.clone(),
                capacity: resource.capacity,
                concurrency: resource.concurrency,
                held: resource.held,
                free: resource.free(),
                reserved: resource.reservations(),
                waiting: self.queues.parked_on(index).map(Queue::backlog).sum(),
                holders: self.holders(resource),
                paused: resource.paused,
            })
            .collect()
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
