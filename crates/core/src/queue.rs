//! The queues of ready tasks, and where each queue stands.
//!
//! Ready tasks with the same demand share a queue, one ordered list for each class; only the head of a
//! queue is ever looked at. A queue is in one of three places:
//!
//! ```text
//!              a task becomes ready                     its head is blocked on R
//!   empty ─────────────────────────► candidate ───────────────────────────────► parked on R
//!     ▲                                │    ▲                                        │
//!     └──────── its last task leaves ──┘    └─────────── R changed, or its head ─────┘
//! ```
//! Candidates stand in the pool of their runner by the rank of their heads; a pool without a free slot is
//! not looked at. When R changes, the first queue of each pool that may fit is woken; the next one only
//! after the first has been served or has gone elsewhere, so that a change costs what it achieves and not
//! what waits.
//!
//! Invariant: a queue with ready tasks is a candidate or parked, and its place is filed under its rank.

use orchd_model::{Amount, Mode, Priority, Span, TaskId, Time};
use priority_queue::PriorityQueue;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ledger::{Ledger, Need, ResourceIndex, ResourceKey};
use crate::rank::{Rank, aged, next_aging};
use crate::record::{Demand, Runner};

/// How a queue waits for the resource it is parked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For its turn: a mode, a reservation or a pause stands against it.
    InOrder,
    /// For this much to become free; smaller ones may pass.
    ForAmount(Amount),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Empty,
    Candidate,
    Parked(ResourceIndex, Waits),
}

/// The ready tasks of one demand.
#[derive(Debug)]
pub(crate) struct Queue {
    pub demand: Arc<Demand>,
    /// The claims of the demand, and the groups it belongs to, groups first.
    pub needs: Box<[Need]>,
    pub pool: usize,
    /// Tasks in memory with this demand, ready or not; the queue lives as long as there is one.
    pub tasks: u32,
    /// Ready tasks by class, each in the order of the moment they became ready.
    pub ready: [BTreeSet<(Time, TaskId)>; 4],
    /// How many elements of arrays the ready records stand for beyond themselves.
    more: u64,
    place: Place,
    /// The rank of the head when it was last looked at.
    rank: Option<Rank>,
    /// The resource whose change woke it, until it is served.
    woken_by: Option<ResourceIndex>,
    /// What its head was last found to wait for.
    pub waits_for: Option<ResourceIndex>,
}

impl Queue {
    /// How many tasks are ready.
    pub fn backlog(&self) -> u64 {
        self.records() as u64 + self.more
    }

    fn records(&self) -> usize {
        self.ready.iter().map(BTreeSet::len).sum()
    }

    /// The heads of its lists, but for paused classes.
    fn heads<'a>(&'a self, paused: &'a [bool; 4]) -> impl Iterator<Item = (Priority, Time, TaskId)> + 'a {
        Priority::ALL
            .into_iter()
            .filter(|class| !paused[class.index()])
            .filter_map(|class| self.ready[class.index()].first().map(|(since, task)| (class, *since, *task)))
    }
}

/// The queues that need the same kind of worker.
#[derive(Debug)]
pub(crate) struct Pool {
    pub runner: Runner,
    candidates: PriorityQueue<usize, Reverse<Rank>>,
}

/// Who is parked on a resource. Those that wait for an amount are filed by it, and again by its size, so
/// that finding the first that fits looks at few of them however many different amounts there are.
#[derive(Debug, Default)]
struct Parking {
    in_order: BTreeSet<(Rank, usize)>,
    by_amount: BTreeMap<Amount, BTreeSet<(Rank, usize)>>,
    by_size: BTreeMap<u64, BTreeSet<(Rank, usize)>>,
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

fn file<K: Ord>(index: &mut BTreeMap<K, BTreeSet<(Rank, usize)>>, key: K, entry: (Rank, usize)) {
    index.entry(key).or_default().insert(entry);
}

fn unfile<K: Ord>(index: &mut BTreeMap<K, BTreeSet<(Rank, usize)>>, key: &K, entry: &(Rank, usize)) {
    if let Some(same) = index.get_mut(key) {
        same.remove(entry);
        if same.is_empty() {
            index.remove(key);
        }
    }
}

impl Parking {
    fn add(&mut self, waits: Waits, entry: (Rank, usize)) {
        match waits {
            Waits::InOrder => drop(self.in_order.insert(entry)),
            Waits::ForAmount(amount) => {
                file(&mut self.by_amount, amount, entry);
                file(&mut self.by_size, size_of(amount), entry);
            }
        }
    }

    fn remove(&mut self, waits: Waits, entry: &(Rank, usize)) {
        match waits {
            Waits::InOrder => drop(self.in_order.remove(entry)),
            Waits::ForAmount(amount) => {
                unfile(&mut self.by_amount, &amount, entry);
                unfile(&mut self.by_size, &size_of(amount), entry);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.in_order.is_empty() && self.by_amount.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &(Rank, usize)> {
        self.in_order.iter().chain(self.by_amount.values().flatten())
    }

    /// The first of those that wait for no more than `free`.
    fn first_that_fits(&self, free: Amount) -> Option<&(Rank, usize)> {
        let size = size_of(free);
        let smaller = self.by_size.range(..size).filter_map(|(_, same)| same.first());
        let same_size = self.by_amount.range(least_of(size)..=free).filter_map(|(_, same)| same.first());
        smaller.chain(same_size).min()
    }
}

/// All queues, pools and parking places.
#[derive(Debug)]
pub(crate) struct Queues {
    queues: Vec<Option<Queue>>,
    vacant: Vec<usize>,
    index: FxHashMap<Arc<Demand>, usize>,
    pools: Vec<Pool>,
    /// Who is parked on a resource, by pool.
    parked: BTreeMap<(ResourceIndex, usize), Parking>,
    paused_classes: [bool; 4],
    aging: Span,
    backlog: u64,
}

impl Queues {
    pub fn new(aging: Span) -> Self {
        Self {
            queues: Vec::new(),
            vacant: Vec::new(),
            index: FxHashMap::default(),
            pools: Vec::new(),
            parked: BTreeMap::new(),
            paused_classes: [false; 4],
            aging,
            backlog: 0,
        }
    }

    /// The queue of a demand, with one more task in memory that refers to it.
    pub fn join(&mut self, demand: &Arc<Demand>, ledger: &mut Ledger) -> usize {
        if let Some(index) = self.index.get(demand) {
            let index = *index;
            self.get_mut(index).tasks += 1;
            return index;
        }
        let groups = [demand.workflow.map(ResourceKey::Workflow), demand.session.map(ResourceKey::Session)];
        let groups = groups.into_iter().flatten().map(|key| (key, Mode::Read, Amount::ONE));
        let claims = demand.claims.iter().map(|c| (ResourceKey::Named(c.resource.clone()), c.mode, c.amount));
        let needs: Box<[Need]> = groups
            .chain(claims)
            .map(|(key, mode, amount)| Need { resource: ledger.intern(&key), mode, amount })
            .collect();
        for need in &needs {
            ledger.add_user(need.resource);
        }
        let queue = Queue {
            demand: Arc::clone(demand),
            needs,
            pool: self.pool_of(&demand.runner),
            tasks: 1,
            ready: Default::default(),
            more: 0,
            place: Place::Empty,
            rank: None,
            woken_by: None,
            waits_for: None,
        };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.queues[index] = Some(queue);
                index
            }
            None => {
                self.queues.push(Some(queue));
                self.queues.len() - 1
            }
        };
        self.index.insert(Arc::clone(demand), index);
        index
    }

    /// One task less in memory that refers to the queue.
    pub fn leave(&mut self, index: usize, ledger: &mut Ledger) {
        let queue = self.get_mut(index);
        queue.tasks -= 1;
        if queue.tasks > 0 {
            return;
        }
        let queue = self.queues[index].take().expect("looked at just now");
        self.index.remove(&queue.demand);
        self.vacant.push(index);
        for need in &queue.needs {
            ledger.drop_user(need.resource);
        }
    }

    fn pool_of(&mut self, runner: &Runner) -> usize {
        self.pools.iter().position(|pool| pool.runner == *runner).unwrap_or_else(|| {
            self.pools.push(Pool { runner: runner.clone(), candidates: PriorityQueue::new() });
            self.pools.len() - 1
        })
    }

    /// The queue at a position that [`Queues::join`] gave.
    pub fn get(&self, index: usize) -> &Queue {
        self.queues[index].as_ref().expect("a queue lives as long as a task refers to it")
    }

    /// Whether there is a queue at this position.
    pub fn exists(&self, index: usize) -> bool {
        self.queues.get(index).is_some_and(Option::is_some)
    }

    fn get_mut(&mut self, index: usize) -> &mut Queue {
        self.queues[index].as_mut().expect("a queue lives as long as a task refers to it")
    }

    /// Every queue with its position.
    pub fn all(&self) -> impl Iterator<Item = (usize, &Queue)> {
        self.queues.iter().enumerate().filter_map(|(index, queue)| queue.as_ref().map(|queue| (index, queue)))
    }

    /// How many tasks are ready, in all queues.
    pub fn backlog(&self) -> u64 {
        self.backlog
    }

    /// Whether a class is paused.
    pub fn is_class_paused(&self, class: Priority) -> bool {
        self.paused_classes[class.index()]
    }

    /// Pauses or resumes a class. Gives the queues with ready tasks.
    pub fn set_class_paused(
        &mut self,
        class: Priority,
        paused: bool,
        now: Time,
        ledger: &mut Ledger,
    ) -> Vec<usize> {
        self.paused_classes[class.index()] = paused;
        let nonempty: Vec<usize> = self.all().filter(|(_, q)| q.backlog() > 0).map(|(i, _)| i).collect();
        for index in &nonempty {
            self.rank_anew(*index, now, ledger);
        }
        nonempty
    }

    /// A task became ready.
    pub fn insert(
        &mut self,
        index: usize,
        class: Priority,
        since: Time,
        task: TaskId,
        now: Time,
        ledger: &mut Ledger,
    ) {
        if self.get_mut(index).ready[class.index()].insert((since, task)) {
            self.backlog += 1;
            self.rank_anew(index, now, ledger);
        }
    }

    /// A record that became ready stands for so many tasks beyond itself.
    pub fn count_more(&mut self, index: usize, more: u64) {
        self.get_mut(index).more += more;
        self.backlog += more;
    }

    /// A record that is no longer ready stood for so many tasks beyond itself.
    pub fn count_less(&mut self, index: usize, more: u64) {
        self.get_mut(index).more -= more;
        self.backlog -= more;
    }

    /// A task is no longer ready: it started, ended or is held.
    pub fn remove(
        &mut self,
        index: usize,
        class: Priority,
        since: Time,
        task: TaskId,
        now: Time,
        ledger: &mut Ledger,
    ) {
        if self.get_mut(index).ready[class.index()].remove(&(since, task)) {
            self.backlog -= 1;
            ledger.unreserve(task);
            self.rank_anew(index, now, ledger);
        }
    }

    /// A ready task competes in another class from now on. What it has reserved stays with it.
    pub fn reclass(
        &mut self,
        index: usize,
        (from, to): (Priority, Priority),
        (since, task): (Time, TaskId),
        now: Time,
        ledger: &mut Ledger,
    ) {
        let queue = self.get_mut(index);
        queue.ready[from.index()].remove(&(since, task));
        queue.ready[to.index()].insert((since, task));
        if self.is_class_paused(to) {
            ledger.unreserve(task);
        } else {
            ledger.rerank_reservations(Rank { class: aged(to, since, now, self.aging), since, task });
        }
        self.rank_anew(index, now, ledger);
    }

    /// Looks at the head again, and files the queue under its rank if that has changed.
    fn rank_anew(&mut self, index: usize, now: Time, ledger: &mut Ledger) {
        let (aging, paused) = (self.aging, self.paused_classes);
        let queue = self.get_mut(index);
        let rank = queue
            .heads(&paused)
            .map(|(base, since, task)| Rank { class: aged(base, since, now, aging), since, task })
            .min();
        if rank == queue.rank {
            return;
        }
        self.take_from_place(index, ledger);
        let queue = self.get_mut(index);
        queue.rank = rank;
        queue.waits_for = None;
        if rank.is_some() {
            self.stand_as_candidate(index);
        }
    }

    fn stand_as_candidate(&mut self, index: usize) {
        let queue = self.get_mut(index);
        let Some(rank) = queue.rank else { return };
        queue.place = Place::Candidate;
        let pool = queue.pool;
        self.pools[pool].candidates.push(index, Reverse(rank));
    }

    /// Tasks climb after another time from now on. Gives the queues whose timers must be set anew.
    pub fn set_aging(&mut self, aging: Span, now: Time, ledger: &mut Ledger) -> Vec<usize> {
        self.aging = aging;
        let queues: Vec<usize> = self.all().map(|(index, _)| index).collect();
        for index in &queues {
            self.age(*index, now, ledger);
        }
        queues
    }

    /// Time has passed: looks at every head again, and moves their reservations with them.
    pub fn age(&mut self, index: usize, now: Time, ledger: &mut Ledger) {
        let heads: Vec<_> = self.get(index).heads(&self.paused_classes).collect();
        for (base, since, task) in heads {
            ledger.rerank_reservations(Rank { class: aged(base, since, now, self.aging), since, task });
        }
        self.rank_anew(index, now, ledger);
    }

    /// Lets the parked queues that `concerns` chooses be looked at again, wherever they are parked.
    pub fn look_again(&mut self, concerns: impl Fn(&Queue) -> bool, ledger: &mut Ledger) {
        let parked = |queue: &Queue| matches!(queue.place, Place::Parked(..)) && concerns(queue);
        let chosen: Vec<usize> = self.all().filter(|(_, q)| parked(q)).map(|(index, _)| index).collect();
        for index in chosen {
            self.take_from_place(index, ledger);
            self.stand_as_candidate(index);
        }
    }

    /// When aging may next change the rank of this queue.
    pub fn next_aging(&self, index: usize, now: Time) -> Option<Time> {
        self.queues
            .get(index)?
            .as_ref()?
            .heads(&self.paused_classes)
            .filter_map(|(base, since, _)| next_aging(base, since, now, self.aging))
            .min()
    }

    fn take_from_place(&mut self, index: usize, ledger: &mut Ledger) {
        let queue = self.get_mut(index);
        let (place, rank, pool) = (queue.place, queue.rank, queue.pool);
        let woken_by = queue.woken_by.take();
        queue.place = Place::Empty;
        match (place, rank) {
            (Place::Candidate, _) => drop(self.pools[pool].candidates.remove(&index)),
            (Place::Parked(resource, waits), Some(rank)) => self.unfile(resource, pool, waits, (rank, index)),
            (Place::Empty | Place::Parked(..), _) => {}
        }
        if let Some(resource) = woken_by {
            ledger.note_change(resource);
        }
    }

    fn unfile(&mut self, resource: ResourceIndex, pool: usize, waits: Waits, entry: (Rank, usize)) {
        let Some(parking) = self.parked.get_mut(&(resource, pool)) else { return };
        parking.remove(waits, &entry);
        if parking.is_empty() {
            self.parked.remove(&(resource, pool));
        }
    }

    /// Parks a candidate on the resource that blocks its head.
    pub fn park(&mut self, index: usize, resource: ResourceIndex, waits: Waits, ledger: &mut Ledger) {
        // Parked in order where it was woken: nobody behind it can go either. Else the next one may.
        let queue = self.get_mut(index);
        queue.waits_for = Some(resource);
        if queue.woken_by == Some(resource) && waits == Waits::InOrder {
            queue.woken_by = None;
        }
        self.take_from_place(index, ledger);
        let queue = self.get_mut(index);
        let Some(rank) = queue.rank else { return };
        queue.place = Place::Parked(resource, waits);
        let pool = queue.pool;
        self.parked.entry((resource, pool)).or_default().add(waits, (rank, index));
    }

    /// A resource changed: in each pool the first queue that may fit becomes a candidate.
    pub fn wake(&mut self, resource: ResourceIndex, ledger: &mut Ledger) {
        if !ledger.exists(resource) || ledger.get(resource).is_held_alone() {
            return;
        }
        let pools: Vec<usize> =
            self.parked.range((resource, 0)..=(resource, usize::MAX)).map(|((_, pool), _)| *pool).collect();
        for pool in pools {
            let Some(index) = self.first_to_wake(resource, pool, ledger) else { continue };
            self.take_from_place(index, ledger);
            self.get_mut(index).woken_by = Some(resource);
            self.stand_as_candidate(index);
        }
    }

    fn first_to_wake(&self, resource: ResourceIndex, pool: usize, ledger: &Ledger) -> Option<usize> {
        let parking = self.parked.get(&(resource, pool))?;
        let resource = ledger.get(resource);
        let fits = parking.first_that_fits(resource.free().unwrap_or(Amount::MAX));
        let fits = fits.filter(|_| resource.takes_a_holder());
        parking.in_order.first().into_iter().chain(fits).min().map(|(_, index)| *index)
    }

    /// The candidate that comes first among the pools that `is_open` lets through.
    pub fn best_candidate(&self, mut is_open: impl FnMut(&Pool) -> bool) -> Option<(usize, Rank)> {
        self.pools
            .iter()
            .filter_map(|pool| pool.candidates.peek().map(|(index, Reverse(rank))| (pool, *index, *rank)))
            .filter(|(pool, ..)| is_open(pool))
            .map(|(_, index, rank)| (rank, index))
            .min()
            .map(|(rank, index)| (index, rank))
    }

    /// Queues that are parked on a resource.
    pub fn parked_on(&self, resource: ResourceIndex) -> impl Iterator<Item = &Queue> {
        self.parked
            .range((resource, 0)..=(resource, usize::MAX))
            .flat_map(|(_, parking)| parking.all())
            .map(|(_, index)| self.get(*index))
    }

    /// Checks the invariants of this module.
    pub fn check(&self, now: Time) -> Result<(), String> {
        let mut backlog = 0;
        for (index, queue) in self.all() {
            backlog += queue.backlog();
            let filed = match queue.place {
                Place::Empty => queue.rank.is_none(),
                Place::Candidate => {
                    let filed = self.pools[queue.pool].candidates.get_priority(&index);
                    filed.map(|Reverse(rank)| *rank) == queue.rank && queue.rank.is_some()
                }
                Place::Parked(resource, waits) => {
                    queue.rank.is_some_and(|rank| self.is_filed(resource, queue.pool, waits, (rank, index)))
                }
            };
            if !filed {
                return Err(format!("queue {index} at {now:?} is not where it says: {queue:?}"));
            }
            if queue.records() == 0 && queue.more > 0 {
                return Err(format!("queue {index} is empty, but counts {} tasks", queue.more));
            }
            let active = queue.heads(&self.paused_classes).next().is_some();
            if active != queue.rank.is_some() {
                return Err(format!("queue {index} has ready tasks but no rank, or the other way round"));
            }
        }
        let candidates: usize = self.pools.iter().map(|pool| pool.candidates.len()).sum();
        let placed = self.all().filter(|(_, queue)| queue.place == Place::Candidate).count();
        if candidates != placed || backlog != self.backlog {
            return Err(format!(
                "{candidates} candidates, {placed} placed; backlog {backlog} or {}",
                self.backlog
            ));
        }
        Ok(())
    }

    fn is_filed(&self, resource: ResourceIndex, pool: usize, waits: Waits, entry: (Rank, usize)) -> bool {
        self.parked.get(&(resource, pool)).is_some_and(|parking| match waits {
            Waits::InOrder => parking.in_order.contains(&entry),
            Waits::ForAmount(amount) => {
                parking.by_amount.get(&amount).is_some_and(|same| same.contains(&entry))
                    && parking.by_size.get(&size_of(amount)).is_some_and(|same| same.contains(&entry))
            }
        })
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
