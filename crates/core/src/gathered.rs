//! Reservations over a restart. Most follow from what a task waits for: whoever looks at it again takes the same
//! one. Those that a task keeps while it waits for something else do not, so they are stored.
//!
//! Invariant: what is stored of a task that stands in its queue is all that it has reserved.

use orchd_model::{Amount, Mode, ResourceName, TaskId, Time};
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::rank::Rank;
use crate::resource::{Need, ResourceKey};

/// A reservation as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathered {
    /// Of what.
    pub resource: ResourceName,
    /// How it is wanted.
    pub mode: Mode,
    /// The place of the variant that it is for.
    pub variant: u32,
    /// The amount that is reserved, and since when; none where only the turn is.
    pub amount: Option<(Amount, Time)>,
}

impl Core {
    /// The head of a queue has been parked: notes whether it keeps something that it does not wait for.
    pub(crate) fn note_gathered(&mut self, index: usize, rank: Rank) {
        let variants = &self.queues.get(index).variants;
        let waits_for = |variant: u32| variants.get(variant as usize).and_then(|variant| variant.waits_for);
        let waits_for = |variant: u32| waits_for(variant).map(|(_, resource)| resource);
        let mut of_task = self.ledger.reservations_of(rank.task).iter();
        let is_gathered = of_task.any(|one| waits_for(one.variant) != Some(one.resource));
        self.ledger.set_gathered(rank.task, is_gathered);
    }

    /// Stores what tasks keep, where that has changed.
    pub(crate) fn keep_gathered(&mut self) {
        let Some(tasks) = self.ledger.take_gathered() else { return };
        // Whose client has not come back since a restart has not been given back what he had.
        let tasks_in_memory = &self.tasks;
        self.meta.gathered.retain(|id, _| tasks_in_memory.get(id).is_some_and(|task| task.away));
        for id in tasks {
            let of_task = self.ledger.reservations_of(id).iter().filter_map(|one| {
                let ResourceKey::Named(name) = &self.ledger.get(one.resource).key else { return None };
                let (mode, variant, amount) = (one.mode, one.variant, one.amount);
                Some(Gathered { resource: name.clone(), mode, variant, amount })
            });
            let of_task = of_task.collect();
            self.meta.gathered.insert(id, of_task);
        }
    }

    /// A task stands in its queue again after a restart, and has what it had reserved.
    pub(crate) fn regain(&mut self, id: TaskId) {
        let stored = self.meta.gathered.get(&id).cloned().unwrap_or_default();
        if stored.is_empty() || self.task(id).queued_since().is_none() {
            return;
        }
        let (rank, queue) = (self.rank_of(id), self.task(id).queue);
        for one in stored {
            let Some(resource) = self.ledger.find(&ResourceKey::Named(one.resource)) else { continue };
            let variant = self.queues.get(queue).variants.get(one.variant as usize);
            let is_needed = |need: &Need| need.resource == resource;
            let need = variant.and_then(|variant| variant.needs.iter().copied().find(is_needed));
            let Some(need) = need else { continue };
            let need = Need { mode: one.mode, ..need };
            self.ledger.reserve(need, rank, one.variant, one.amount.map(|(_, since)| since));
        }
        self.ledger.set_gathered(id, true);
    }
}
