//! What tasks need besides that were told to wait. Such a task stands where the throttle is, and nowhere else; whoever
//! takes another of its needs meanwhile, so that it could not have it now, finds it here, and it has its turn there
//! from that moment on: it waits for him, and for nobody who comes later.
//!
//! Filed by resource, so that a grant costs what it concerns and not what waits. Who has his turn is filed no more.

use orchd_model::{Amount, Mode, TaskId, Time};
use std::collections::{BTreeMap, BTreeSet};

use crate::core::Core;
use crate::ledger::ResourceIndex;
use crate::rank::Rank;

/// What a grant is going to take, the queue, and the place of its variant.
type Watch = (Amount, usize, u32);

/// The head of a queue when it was told to wait: since when it is ready, and which it is.
type Head = (Time, TaskId);

/// A resource, and whether it is needed in a mode that shares.
type Place = (ResourceIndex, bool);

/// Who was told to wait, and what else he needs.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    by_resource: BTreeMap<Place, BTreeSet<Watch>>,
    by_queue: BTreeMap<usize, (Head, Vec<(Place, Watch)>)>,
}

impl Watches {
    fn add(&mut self, queue: usize, head: Head, place: Place, watch: Watch) {
        self.by_resource.entry(place).or_default().insert(watch);
        self.by_queue.entry(queue).or_insert((head, Vec::new())).1.push((place, watch));
    }

    /// The queue is looked at again, or is no more.
    pub fn forget(&mut self, queue: usize) {
        let Some((_, watches)) = self.by_queue.remove(&queue) else { return };
        for (place, watch) in watches {
            self.remove(place, watch);
        }
    }

    fn remove(&mut self, place: Place, watch: Watch) {
        let Some(all) = self.by_resource.get_mut(&place) else { return };
        all.remove(&watch);
        if all.is_empty() {
            self.by_resource.remove(&place);
        }
    }
}

impl Core {
    /// The head of a queue was told to wait: it has its turn on what it could not have anyhow, and watches the rest.
    pub(crate) fn watch(&mut self, index: usize, variant: u32, rank: Rank) {
        for need in self.queues.get(index).needs_in(Some(variant)).to_vec() {
            let resource = self.ledger.get(need.resource);
            if resource.is_taken_from(need.mode, need.amount, self.now) {
                self.reserve_turn(index, variant, rank, need);
            } else {
                let watch = (resource.charge(need.mode, need.amount), index, variant);
                let place = (need.resource, need.mode == Mode::Read);
                self.watches.add(index, (rank.since, rank.task), place, watch);
            }
        }
    }

    /// Somebody has taken some of a resource: those who were told to wait, and could not have it now, have their turn.
    pub(crate) fn note_taken(&mut self, resource: ResourceIndex) {
        for shares in [false, true] {
            let place = (resource, shares);
            let Some(all) = self.watches.by_resource.get(&place) else { continue };
            // Who needs less than one who can have it can have it, too.
            let mode = if shares { Mode::Read } else { Mode::Write };
            let is_taken =
                |(charge, ..): &&Watch| self.ledger.get(resource).is_taken_from(mode, *charge, self.now);
            let taken: Vec<Watch> = all.iter().rev().take_while(is_taken).copied().collect();
            for watch in taken {
                let (_, index, variant) = watch;
                let Some(rank) = self.watching(index, variant) else { continue };
                self.watches.remove(place, watch);
                let needs = self.queues.get(index).needs_in(Some(variant));
                let need = needs.iter().copied().find(|need| need.resource == resource);
                self.reserve_turn(index, variant, rank, need.expect("it was filed under what it needs"));
                self.queues.note_reserving(index, (rank.since, rank.task), &self.ledger);
            }
        }
    }

    /// The head of a queue, if it is still the one that was told to wait, and nothing else stands against it.
    fn watching(&self, index: usize, variant: u32) -> Option<Rank> {
        let queue = self.queues.get(index);
        let ((since, task), _) = self.watches.by_queue.get(&index)?;
        let rank = queue.rank.filter(|rank| (rank.since, rank.task) == (*since, *task))?;
        let is_barred = queue.needs_in(Some(variant)).iter().any(|need| self.is_barred(need));
        (!is_barred).then_some(rank)
    }
}
