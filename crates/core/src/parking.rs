//! Parking places: the queues whose heads wait for one resource, filed so that a change of it finds the first
//! one that may go without looking at the others.

use orchd_model::{Amount, Span};
use std::collections::{BTreeMap, BTreeSet};

use crate::rank::Rank;
use crate::resource::Spare;

/// How a queue waits for the resource it is parked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For its turn: a mode, a reservation or a pause stands against it.
    InOrder,
    /// For this much to become free; smaller ones may pass.
    ForAmount(Amount),
    /// For this much to be left beside what a task before it has reserved; smaller and shorter ones may pass.
    Beside(Amount),
}

/// A queue under the rank of its head.
pub(crate) type Entry = (Rank, usize);

/// How many queues are looked at for one that can be let in for a while before a reservation is due.
const BACKFILL_LOOKS: usize = 64;

/// Who is parked on a resource.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    pub in_order: BTreeSet<Entry>,
    for_amount: ByAmount,
    beside: ByAmount,
    /// Those whose tasks have a timeout, by that: in order, and beside a reservation.
    timed_in_order: BTreeMap<Span, BTreeSet<Entry>>,
    timed_beside: BTreeMap<Span, BTreeSet<Entry>>,
}

/// Queues by the amount they wait for, and again by its size, so that finding the first that fits looks at
/// few of them however many different amounts there are.
#[derive(Debug, Default)]
struct ByAmount {
    by_amount: BTreeMap<Amount, BTreeSet<Entry>>,
    by_size: BTreeMap<u64, BTreeSet<Entry>>,
}

/// Sizes are the amounts to their four leading binary digits. The order of sizes is that of the amounts.
fn size_of(amount: Amount) -> u64 {
    let dropped = (u64::BITS - amount.as_thousandths().leading_zeros()).saturating_sub(4);
    (u64::from(dropped) << 4) | (amount.as_thousandths() >> dropped)
}

/// The least amount of a size.
fn least_of(size: u64) -> Amount {
    Amount::thousandths((size & 15) << (size >> 4))
}

fn file<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Entry>>, key: K, entry: Entry) {
    index.entry(key).or_default().insert(entry);
}

fn unfile<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Entry>>, key: &K, entry: &Entry) {
    if let Some(same) = index.get_mut(key) {
        same.remove(entry);
        if same.is_empty() {
            index.remove(key);
        }
    }
}

impl ByAmount {
    fn add(&mut self, amount: Amount, entry: Entry) {
        file(&mut self.by_amount, amount, entry);
        file(&mut self.by_size, size_of(amount), entry);
    }

    fn remove(&mut self, amount: Amount, entry: &Entry) {
        unfile(&mut self.by_amount, &amount, entry);
        unfile(&mut self.by_size, &size_of(amount), entry);
    }

    fn contains(&self, amount: Amount, entry: &Entry) -> bool {
        self.by_amount.get(&amount).is_some_and(|same| same.contains(entry))
            && self.by_size.get(&size_of(amount)).is_some_and(|same| same.contains(entry))
    }

    /// The first of those that wait for no more than `free`.
    fn first_that_fits(&self, free: Amount) -> Option<&Entry> {
        let size = size_of(free);
        let smaller = self.by_size.range(..size).filter_map(|(_, same)| same.first());
        let same_size = self.by_amount.range(least_of(size)..=free).filter_map(|(_, same)| same.first());
        smaller.chain(same_size).min()
    }
}

impl Parking {
    pub fn add(&mut self, waits: Waits, timeout: Option<Span>, entry: Entry) {
        match waits {
            Waits::InOrder => {
                self.in_order.insert(entry);
                if let Some(timeout) = timeout {
                    file(&mut self.timed_in_order, timeout, entry);
                }
            }
            Waits::ForAmount(amount) => self.for_amount.add(amount, entry),
            Waits::Beside(amount) => {
                self.beside.add(amount, entry);
                if let Some(timeout) = timeout {
                    file(&mut self.timed_beside, timeout, entry);
                }
            }
        }
    }

    pub fn remove(&mut self, waits: Waits, timeout: Option<Span>, entry: &Entry) {
        match waits {
            Waits::InOrder => {
                self.in_order.remove(entry);
                if let Some(timeout) = timeout {
                    unfile(&mut self.timed_in_order, &timeout, entry);
                }
            }
            Waits::ForAmount(amount) => self.for_amount.remove(amount, entry),
            Waits::Beside(amount) => {
                self.beside.remove(amount, entry);
                if let Some(timeout) = timeout {
                    unfile(&mut self.timed_beside, &timeout, entry);
                }
            }
        }
    }

    pub fn contains(&self, waits: Waits, timeout: Option<Span>, entry: &Entry) -> bool {
        let is_in = |timed: &BTreeMap<Span, BTreeSet<Entry>>| {
            timeout.is_none_or(|timeout| timed.get(&timeout).is_some_and(|same| same.contains(entry)))
        };
        match waits {
            Waits::InOrder => self.in_order.contains(entry) && is_in(&self.timed_in_order),
            Waits::ForAmount(amount) => self.for_amount.contains(amount, entry),
            Waits::Beside(amount) => self.beside.contains(amount, entry) && is_in(&self.timed_beside),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty() && self.for_amount.by_amount.is_empty() && self.beside.by_amount.is_empty()
    }

    /// The first of those that wait for no more than `free`.
    pub fn first_for_amount(&self, free: Amount) -> Option<&Entry> {
        self.for_amount.first_that_fits(free)
    }

    /// Some of those that wait for their turn after a rank, and whose attempts take no longer than this.
    pub fn passing(&self, first: Rank, longest: Span) -> impl Iterator<Item = usize> {
        let short = self.timed_in_order.range(..=longest).flat_map(|(_, same)| same);
        short.filter(move |(rank, _)| *rank > first).take(BACKFILL_LOOKS).map(|(_, index)| *index)
    }

    /// The first of those beside a reservation that can be let in, or have to wait for something else.
    pub fn first_beside(
        &self,
        free: Amount,
        spare: Option<Spare>,
        longest: Option<Span>,
        amount_of: impl Fn(usize) -> Amount,
    ) -> Option<&Entry> {
        // Nothing is reserved before it any more: it waits for something else now, if it waits.
        let first = self.beside.first_that_fits(Amount::MAX)?;
        let Some(spare) = spare.filter(|spare| spare.behind < first.0) else { return Some(first) };
        let fits = self.beside.first_that_fits(free.min(spare.amount));
        let short = longest.into_iter().flat_map(|longest| self.timed_beside.range(..=longest));
        let short = short.flat_map(|(_, same)| same).take(BACKFILL_LOOKS);
        fits.into_iter().chain(short.filter(|(_, index)| amount_of(*index) <= free)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_the_order_of_the_amounts_and_begin_where_they_say() {
        let amounts =
            (0..2000).chain((4..64).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, 3 << (bits - 1)]));
        let mut amounts: Vec<Amount> = amounts.chain([u64::MAX]).map(Amount::thousandths).collect();
        amounts.sort_unstable();
        for pair in amounts.windows(2) {
            assert!(size_of(pair[0]) <= size_of(pair[1]), "{pair:?}");
        }
        for amount in amounts {
            let least = least_of(size_of(amount));
            assert!(least <= amount && size_of(least) == size_of(amount), "{amount} {least}");
        }
    }
}
