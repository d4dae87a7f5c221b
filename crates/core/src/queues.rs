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
//! A queue whose tasks have variants is parked once for each of them, on what blocks its head there, and is
//! woken from all these places when one of the resources changes.
//! Candidates stand in the pool of their runner by the rank of their heads; a pool in which somebody waits for
//! a slot alone is not looked at. When R changes, the first queue of each pool that may fit is woken; the next one only
//! after the first has been served or has gone elsewhere, so that a change costs what it achieves and not
//! what waits.
//!
//! Invariant: a queue with ready tasks is a candidate or parked, and its place is filed under its rank.

use orchd_model::{Amount, Priority, Span, TaskId, Time};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::demand::Demand;
use crate::ledger::{Ledger, ResourceIndex};
use crate::parking::{Entry, Parking, Waits};
use crate::pool::Pool;
use crate::queue::{Place, Queue};
use crate::rank::{Rank, aged, next_aging};
use crate::record::Runner;
use crate::variant::Variant;

/// Queues with the same demand whose tasks may run for different times stand apart, so that short ones can be
/// let in before a reservation is due.
type QueueKey = (Arc<Demand>, Option<Span>);

fn key(demand: &Arc<Demand>, timeout: Option<Span>) -> QueueKey {
    (Arc::clone(demand), timeout.filter(|_| !demand.claims_nothing()))
}

/// All queues, pools and parking places.
#[derive(Debug)]
pub(crate) struct Queues {
    queues: Vec<Option<Queue>>,
    vacant: Vec<usize>,
    index: FxHashMap<QueueKey, usize>,
    pools: Vec<Pool>,
    /// Who is parked on a resource, by pool.
    parked: BTreeMap<(ResourceIndex, usize), Parking>,
    paused_classes: [bool; 4],
    aging: Span,
    /// How long an attempt may live on after its timeout.
    pub grace: Span,
    backlog: u64,
}

impl Queues {
    pub fn new(aging: Span, grace: Span) -> Self {
        Self {
            queues: Vec::new(),
            vacant: Vec::new(),
            index: FxHashMap::default(),
            pools: Vec::new(),
            parked: BTreeMap::new(),
            paused_classes: [false; 4],
            aging,
            grace,
            backlog: 0,
        }
    }

    /// A demand of a new task, in the memory of those that are equal if there are some.
    pub fn shared(&self, demand: Demand, timeout: Option<Span>) -> Arc<Demand> {
        let key = key(&Arc::new(demand), timeout);
        self.index.get_key_value(&key).map_or(&key, |(known, _)| known).0.clone()
    }

    /// The queue of a demand, with one more task in memory that refers to it.
    pub fn join(&mut self, demand: &Arc<Demand>, timeout: Option<Span>, ledger: &mut Ledger) -> usize {
        let key = key(demand, timeout);
        let timeout = key.1;
        if let Some(index) = self.index.get(&key) {
            let index = *index;
            self.get_mut(index).tasks += 1;
            return index;
        }
        let variants: Box<[Variant]> =
            demand.numbers().map(|number| Variant::new(demand, number, ledger)).collect();
        let queue = Queue {
            demand: Arc::clone(demand),
            timeout,
            variants,
            pool: self.pool_of(&demand.runner),
            tasks: 1,
            ready: Default::default(),
            more: 0,
            place: Place::Empty,
            rank: None,
            woken_by: None,
            reserving: BTreeSet::new(),
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
        self.index.insert(key, index);
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
        self.index.remove(&(Arc::clone(&queue.demand), queue.timeout));
        self.vacant.push(index);
        for need in queue.needs() {
            ledger.drop_user(need.resource);
        }
    }

    fn pool_of(&mut self, runner: &Runner) -> usize {
        self.pools.iter().position(|pool| pool.runner == *runner).unwrap_or_else(|| {
            self.pools.push(Pool::new(runner));
            self.pools.len() - 1
        })
    }

    /// Every pool, in the order in which they came into being.
    pub fn pools_mut(&mut self) -> &mut [Pool] {
        &mut self.pools
    }

    /// The pool that a queue belongs to.
    pub fn pool(&self, index: usize) -> &Pool {
        &self.pools[self.get(index).pool]
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

    /// A task has been looked at, and what it has reserved may have changed.
    pub fn note_reserving(&mut self, index: usize, (since, task): (Time, TaskId), ledger: &Ledger) {
        let reserving = &mut self.get_mut(index).reserving;
        reserving.insert((since, task));
        reserving.retain(|(_, task)| !ledger.reservations_of(*task).is_empty());
    }

    /// Time has passed: looks at every head again, and moves all reservations with their tasks.
    pub fn age(&mut self, index: usize, now: Time, ledger: &mut Ledger) {
        let climbing: Vec<_> = self.get(index).climbing(&self.paused_classes).collect();
        for (base, since, task) in climbing {
            ledger.rerank_reservations(Rank { class: aged(base, since, now, self.aging), since, task });
        }
        self.rank_anew(index, now, ledger);
    }

    /// Lets the parked queues that `concerns` chooses be looked at again, wherever they are parked.
    pub fn look_again(&mut self, concerns: impl Fn(&Queue) -> bool, ledger: &mut Ledger) {
        let parked = |queue: &Queue| queue.place == Place::Parked && concerns(queue);
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
            .climbing(&self.paused_classes)
            .filter_map(|(base, since, _)| next_aging(base, since, now, self.aging))
            .min()
    }

    fn take_from_place(&mut self, index: usize, ledger: &mut Ledger) {
        let queue = self.get_mut(index);
        let (place, rank, pool, timeout) = (queue.place, queue.rank, queue.pool, queue.timeout);
        let woken_by = queue.woken_by.take();
        queue.place = Place::Empty;
        match (place, rank) {
            (Place::Candidate, _) => drop(self.pools[pool].candidates.remove(&index)),
            (Place::Parked, Some(rank)) => {
                for variant in 0..self.get(index).variants.len() {
                    let Some((resource, waits)) = self.get_mut(index).variants[variant].parked.take() else {
                        continue;
                    };
                    self.unfile((resource, pool), waits, timeout, (rank, index));
                    ledger.end_wait(resource);
                }
            }
            (Place::Empty | Place::Parked, _) => {}
        }
        if let Some(resource) = woken_by {
            ledger.note_change(resource);
        }
    }

    fn unfile(&mut self, place: (ResourceIndex, usize), waits: Waits, timeout: Option<Span>, entry: Entry) {
        let Some(parking) = self.parked.get_mut(&place) else { return };
        parking.remove(waits, timeout, &entry);
        if parking.is_empty() {
            self.parked.remove(&place);
        }
    }

    /// A parked queue is looked at again.
    pub fn look_at(&mut self, index: usize, ledger: &mut Ledger) {
        if self.get(index).place == Place::Parked {
            self.take_from_place(index, ledger);
            self.stand_as_candidate(index);
        }
    }

    /// Parks a candidate on what blocks its head, in each of its variants.
    pub fn park(&mut self, index: usize, blocked: &[(ResourceIndex, Waits)], ledger: &mut Ledger) {
        let woken_by = self.get_mut(index).woken_by.take();
        self.take_from_place(index, ledger);
        let queue = self.get_mut(index);
        let Some(rank) = queue.rank else { return };
        queue.place = Place::Parked;
        for (variant, (resource, waits)) in queue.variants.iter_mut().zip(blocked) {
            variant.waits_for = Some((rank.since, rank.task, *resource));
            variant.parked = Some((*resource, *waits));
        }
        let (pool, timeout) = (queue.pool, queue.timeout);
        for (resource, waits) in blocked {
            self.parked.entry((*resource, pool)).or_default().add(*waits, timeout, (rank, index));
            ledger.begin_wait(*resource);
        }
        if let Some(by) = woken_by {
            // Parked in order where it was woken: nobody behind it can go either. Nor is it woken again for
            // nothing, for ever. Else the next one may go.
            let in_order = blocked.contains(&(by, Waits::InOrder));
            if !in_order && self.first_to_wake(by, pool, ledger.now, ledger) != Some(index) {
                ledger.note_change(by);
            }
        }
    }

    /// A resource changed: in each pool the first queue that may fit becomes a candidate.
    pub fn wake(&mut self, resource: ResourceIndex, now: Time, ledger: &mut Ledger) {
        if !ledger.exists(resource) || ledger.get(resource).is_held_alone() {
            return;
        }
        let pools: Vec<usize> =
            self.parked.range((resource, 0)..=(resource, usize::MAX)).map(|((_, pool), _)| *pool).collect();
        for pool in pools {
            let Some(index) = self.first_to_wake(resource, pool, now, ledger) else { continue };
            self.take_from_place(index, ledger);
            self.get_mut(index).woken_by = Some(resource);
            self.stand_as_candidate(index);
        }
        if let Some((first, until)) = ledger.get(resource).passable() {
            let longest = self.longest_until(until, now);
            self.wake_passing(resource, (first, longest), ledger);
        }
    }

    /// Those that wait for their turn behind a reservation, and may be over before it can be honoured, become
    /// candidates.
    fn wake_passing(
        &mut self,
        resource: ResourceIndex,
        (first, longest): (Rank, Option<Span>),
        ledger: &mut Ledger,
    ) {
        let Some(longest) = longest else { return };
        let parked = self.parked.range((resource, 0)..=(resource, usize::MAX));
        let passing: Vec<usize> = parked.flat_map(|(_, parking)| parking.passing(first, longest)).collect();
        for index in passing {
            self.take_from_place(index, ledger);
            self.stand_as_candidate(index);
        }
    }

    /// How long the timeout of an attempt may be that starts now and must have ended by then.
    fn longest_until(&self, until: Time, now: Time) -> Option<Span> {
        until.0.checked_sub(now.0)?.checked_sub(self.grace.0).map(Span)
    }

    fn first_to_wake(&self, index: ResourceIndex, pool: usize, now: Time, ledger: &Ledger) -> Option<usize> {
        let parking = self.parked.get(&(index, pool))?;
        let resource = ledger.get(index);
        let free = resource.free().or(resource.whole()).unwrap_or(Amount::MAX);
        let spare = resource.spare();
        let longest = spare.and_then(|spare| self.longest_until(spare.until?, now));
        let amount_of = |queue: usize| self.get(queue).beside(index).unwrap_or_default();
        let fits = parking.first_for_amount(free).filter(|_| resource.takes_a_holder());
        let beside = parking.first_beside(free, spare, longest, amount_of);
        parking.in_order.first().into_iter().chain(fits).chain(beside).min().map(|(_, index)| *index)
    }

    /// The candidate that comes first among the pools that `is_open` lets through.
    pub fn best_candidate(&self, is_open: impl Fn(usize, &Pool) -> bool) -> Option<(usize, Rank)> {
        let heads = self.pools.iter().enumerate().filter_map(|(at, pool)| Some((at, pool, pool.best()?)));
        let open = heads.filter(|(at, pool, _)| is_open(*at, pool)).map(|(.., head)| head);
        open.min().map(|(rank, index)| (index, rank))
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
                Place::Parked => queue.rank.is_some_and(|rank| {
                    queue.variants.iter().all(|variant| self.is_filed(queue, variant, (rank, index)))
                }),
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

    fn is_filed(&self, queue: &Queue, variant: &Variant, entry: Entry) -> bool {
        variant.parked.is_some_and(|(resource, waits)| {
            let parking = self.parked.get(&(resource, queue.pool));
            parking.is_some_and(|parking| parking.contains(waits, queue.timeout, &entry))
        })
    }
}
