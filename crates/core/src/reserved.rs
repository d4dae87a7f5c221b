//! Reservations over a restart. A task keeps its turn on what it has reserved, whoever is looked at first when the
//! scheduler is back: so all of them are stored, with the batch in which they change.

use orchd_model::{Mode, ResourceName, TaskId, Time};
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::resource::{Need, ResourceKey};

/// A reservation as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// Of what.
    pub resource: ResourceName,
    /// How it is wanted.
    pub mode: Mode,
    /// The place of the variant that it is for.
    pub variant: u32,
    /// Since when the amount counts as reserved; none where only the turn is.
    pub short_since: Option<Time>,
}

impl Core {
    /// What waiting tasks have reserved now, of those for which that has changed since the last call: nothing of
    /// one that no longer waits. To be stored with the next batch.
    pub fn take_reserved(&mut self) -> Vec<(TaskId, Vec<Reserved>)> {
        let changed = self.ledger.take_reservations_changed();
        changed.into_iter().map(|id| (id, self.reserved_by(id))).collect()
    }

    /// All that waiting tasks have reserved now, by task.
    #[must_use]
    pub fn reserved(&self) -> Vec<(TaskId, Vec<Reserved>)> {
        self.ledger.reserving_tasks().into_iter().map(|id| (id, self.reserved_by(id))).collect()
    }

    fn reserved_by(&self, id: TaskId) -> Vec<Reserved> {
        let stored = self.ledger.reservations_of(id).iter().filter_map(|one| {
            let ResourceKey::Named(resource) = &self.ledger.get(one.resource).key else { return None };
            let short_since = one.amount.map(|(_, since)| since);
            Some(Reserved { resource: resource.clone(), mode: one.mode, variant: one.variant, short_since })
        });
        stored.collect()
    }

    /// Loaded tasks have again what they had reserved when the scheduler ended.
    pub(crate) fn restore_reserved(&mut self, stored: Vec<(TaskId, Vec<Reserved>)>) {
        let mut outdated = Vec::new();
        for (id, reserved) in stored {
            let waits =
                self.tasks.get(&id).is_some_and(|task| task.queued_since().is_some() || task.is_awaited());
            if !waits {
                outdated.push(id);
                continue;
            }
            let (rank, queue) = (self.rank_of(id), self.task(id).queue);
            for one in &reserved {
                let Some(resource) = self.ledger.find(&ResourceKey::Named(one.resource.clone())) else {
                    continue;
                };
                let variant = self.queues.get(queue).variants.get(one.variant as usize);
                let is_needed = |need: &Need| need.resource == resource;
                let need = variant.and_then(|variant| variant.needs.iter().copied().find(is_needed));
                let Some(need) = need else { continue };
                let need = Need { mode: one.mode, ..need };
                let not_before = self.throttled_until(queue, one.variant);
                self.ledger.reserve(need, (rank, one.variant), one.short_since, not_before);
            }
            if self.reserved_by(id) != reserved {
                outdated.push(id);
            }
            self.queues.note_reserving(queue, (rank.since, id), &self.ledger);
            self.watch_aging(queue);
        }
        // What is as it was stored need not be written again.
        self.ledger.take_reservations_changed();
        outdated.into_iter().for_each(|id| self.ledger.note_reservations(id));
    }
}
