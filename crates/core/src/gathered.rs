//! Reservations over a restart. Most follow from what a task waits for: whoever looks at it again takes the same
//! one. Those that a task keeps while it waits for something else do not, so they are stored.
//!
//! Who has given up once what it had reserved is stored, too: it does so but once.
//!
//! Invariant: what is stored of a task that stands in its queue is all that it has reserved.

use orchd_model::{Amount, Mode, ResourceName, TaskId, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
        self.queues.note_reserving(index, (rank.since, rank.task), &self.ledger);
    }

    /// Stores what tasks keep, where that has changed.
    pub(crate) fn keep_gathered(&mut self) {
        for id in self.ledger.take_kept_changed() {
            if self.ledger.is_gathered(id) {
                let of_task = self.ledger.reservations_of(id).iter().filter_map(|one| {
                    let ResourceKey::Named(name) = &self.ledger.get(one.resource).key else { return None };
                    let (mode, variant, amount) = (one.mode, one.variant, one.amount);
                    Some(Gathered { resource: name.clone(), mode, variant, amount })
                });
                let of_task = of_task.collect();
                self.meta.gathered.insert(id, of_task);
            } else {
                self.meta.gathered.remove(&id);
            }
            if self.ledger.has_given_way(id) {
                self.meta.gave_way.insert(id);
            } else {
                self.meta.gave_way.remove(&id);
            }
        }
    }

    /// What tasks had reserved when the daemon ended.
    pub(crate) fn regain_all(&mut self) {
        let ids = self.meta.gathered.keys().chain(&self.meta.gave_way).copied();
        for id in ids.collect::<BTreeSet<TaskId>>() {
            self.regain(id);
        }
    }

    /// A task stands in its queue again after a restart, and has what it had reserved.
    pub(crate) fn regain(&mut self, id: TaskId) {
        if self.task(id).queued_since().is_none() {
            return;
        }
        if self.meta.gave_way.contains(&id) {
            self.ledger.note_gave_way(id);
        }
        let stored = self.meta.gathered.get(&id).cloned().unwrap_or_default();
        if stored.is_empty() {
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
        self.ledger.set_gathered(id, !self.ledger.reservations_of(id).is_empty());
        self.queues.note_reserving(queue, (rank.since, id), &self.ledger);
        self.watch_aging(queue);
    }
}
