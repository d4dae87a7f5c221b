//! The ledger of claims: what each resource has, who holds it, who has reserved it.
//!
//! Invariant: held amounts never exceed a capacity that was not lowered meanwhile; a write or exclusive
//! holder is the only one. Which tasks wait for a resource is the business of the queues.

use orchd_model::{Amount, Mode, ResourceName, ResourceSetting, SessionId, TaskId, Time, WorkflowId};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};

use crate::rank::Rank;

/// What can be claimed: a user's resource, or the right of a group's tasks to run side by side.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ResourceKey {
    Named(ResourceName),
    Workflow(WorkflowId),
    Session(SessionId),
}

/// Position of a resource in the ledger.
pub(crate) type ResourceIndex = usize;

/// One claim of a demand, resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub resource: ResourceIndex,
    pub mode: Mode,
    pub amount: Amount,
}

/// What one holder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub mode: Mode,
    pub amount: Amount,
    pub since: Time,
}

/// Why a need cannot be granted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// An operator paused the resource.
    Paused,
    /// The whole resource is smaller.
    Unsatisfiable,
    /// A holder's mode excludes it.
    Mode,
    /// Too little is free.
    Short,
    /// A task that stands before it has reserved the resource.
    Behind(TaskId),
}

/// A resource.
#[derive(Debug)]
pub(crate) struct Resource {
    pub key: ResourceKey,
    pub capacity: Option<Amount>,
    pub concurrency: Option<u32>,
    /// Whether an operator or the machine says what it has; if not it vanishes with its last user.
    pub configured: bool,
    pub paused: bool,
    pub holders: BTreeMap<TaskId, Hold>,
    /// Invariant: the sum of the holders' amounts.
    pub held: Amount,
    /// Queues that need it.
    pub users: u32,
    /// Reservations in read mode, and in the modes that share with nobody.
    reserved_shared: BTreeSet<Rank>,
    reserved_single: BTreeSet<Rank>,
}

impl Resource {
    fn new(key: ResourceKey) -> Self {
        Self {
            key,
            capacity: None,
            concurrency: None,
            configured: false,
            paused: false,
            holders: BTreeMap::new(),
            held: Amount::ZERO,
            users: 0,
            reserved_shared: BTreeSet::new(),
            reserved_single: BTreeSet::new(),
        }
    }

    /// Whether its only holder shares with nobody.
    pub fn is_held_alone(&self) -> bool {
        self.holders.len() == 1 && self.holders.values().any(|hold| hold.mode != Mode::Read)
    }

    /// What is left of the capacity.
    pub fn free(&self) -> Option<Amount> {
        self.capacity.map(|capacity| capacity.saturating_sub(self.held))
    }

    /// Whether one more holder is allowed, whatever it wants.
    pub fn takes_a_holder(&self) -> bool {
        self.concurrency.is_none_or(|limit| self.holders.len() < limit as usize)
    }

    /// How much a grant of this need takes: an exclusive holder has the whole.
    pub fn charge(&self, mode: Mode, amount: Amount) -> Amount {
        if mode == Mode::Exclusive { self.capacity.unwrap_or(amount) } else { amount }
    }

    /// Whether no waiting for holders helps: it is paused, or smaller than the claim.
    pub fn is_barred(&self, mode: Mode, amount: Amount) -> bool {
        self.paused || self.capacity.is_some_and(|capacity| self.charge(mode, amount) > capacity)
    }

    /// Why the need of a task with this rank cannot be granted now, if it cannot.
    pub fn block(&self, mode: Mode, amount: Amount, rank: Rank) -> Option<Block> {
        if self.is_barred(mode, amount) {
            return Some(if self.paused { Block::Paused } else { Block::Unsatisfiable });
        }
        let charge = self.charge(mode, amount);
        if self.holders.values().next().is_some_and(|hold| !hold.mode.admits(mode)) {
            return Some(Block::Mode);
        }
        if self.free().is_some_and(|free| charge > free) || !self.takes_a_holder() {
            return Some(Block::Short);
        }
        self.reserved_before(mode, rank).map(|rank| Block::Behind(rank.task))
    }

    /// The first reservation before `rank` that excludes a claim in `mode`.
    fn reserved_before(&self, mode: Mode, rank: Rank) -> Option<Rank> {
        let single = self.reserved_single.first();
        let shared = self.reserved_shared.first().filter(|_| mode != Mode::Read);
        single.into_iter().chain(shared).min().copied().filter(|first| *first < rank)
    }

    /// How many tasks have a reservation.
    pub fn reservations(&self) -> usize {
        self.reserved_shared.len() + self.reserved_single.len()
    }

    fn reservations_of(&mut self, mode: Mode) -> &mut BTreeSet<Rank> {
        if mode == Mode::Read { &mut self.reserved_shared } else { &mut self.reserved_single }
    }

    fn is_idle(&self) -> bool {
        self.users == 0 && self.holders.is_empty() && !self.configured && !self.paused
    }
}

#[derive(Clone, Copy, Debug)]
struct Reservation {
    resource: ResourceIndex,
    mode: Mode,
    rank: Rank,
}

/// All resources.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    resources: Vec<Option<Resource>>,
    vacant: Vec<ResourceIndex>,
    index: FxHashMap<ResourceKey, ResourceIndex>,
    reservations: FxHashMap<TaskId, Vec<Reservation>>,
    /// Resources on which something became free since the queues last looked.
    changed: Vec<ResourceIndex>,
}

impl Ledger {
    /// The resource with this key; it comes into being at first use.
    pub fn intern(&mut self, key: &ResourceKey) -> ResourceIndex {
        if let Some(index) = self.index.get(key) {
            return *index;
        }
        let resource = Some(Resource::new(key.clone()));
        let index = match self.vacant.pop() {
            Some(index) => {
                self.resources[index] = resource;
                index
            }
            None => {
                self.resources.push(resource);
                self.resources.len() - 1
            }
        };
        self.index.insert(key.clone(), index);
        index
    }

    /// Where the resource with this key is, if it exists.
    pub fn find(&self, key: &ResourceKey) -> Option<ResourceIndex> {
        self.index.get(key).copied()
    }

    /// The resource at a position that a need or [`Ledger::find`] gave.
    pub fn get(&self, index: ResourceIndex) -> &Resource {
        self.resources[index].as_ref().expect("a resource lives as long as a queue or holder refers to it")
    }

    /// Whether there is a resource at this position.
    pub fn exists(&self, index: ResourceIndex) -> bool {
        self.resources.get(index).is_some_and(Option::is_some)
    }

    fn get_mut(&mut self, index: ResourceIndex) -> &mut Resource {
        self.resources[index].as_mut().expect("a resource lives as long as a queue or holder refers to it")
    }

    /// Every resource, in the order of their keys.
    pub fn all(&self) -> Vec<(ResourceIndex, &Resource)> {
        let mut all: Vec<_> =
            self.resources.iter().enumerate().filter_map(|(i, r)| r.as_ref().map(|r| (i, r))).collect();
        all.sort_by(|a, b| a.1.key.cmp(&b.1.key));
        all
    }

    /// One more queue needs it.
    pub fn add_user(&mut self, index: ResourceIndex) {
        self.get_mut(index).users += 1;
    }

    /// One queue less needs it.
    pub fn drop_user(&mut self, index: ResourceIndex) {
        self.get_mut(index).users -= 1;
        self.vacate_if_idle(index);
    }

    fn vacate_if_idle(&mut self, index: ResourceIndex) {
        if self.get(index).is_idle() {
            let resource = self.resources[index].take().expect("looked at just now");
            self.index.remove(&resource.key);
            self.vacant.push(index);
        }
    }

    /// Sets what an operator says; what is not said stays.
    pub fn configure(&mut self, index: ResourceIndex, setting: &ResourceSetting) {
        let resource = self.get_mut(index);
        resource.configured = true;
        resource.capacity = setting.capacity.or(resource.capacity);
        resource.concurrency = setting.concurrency.or(resource.concurrency);
        self.note_change(index);
    }

    /// Sets all that is configured; what is not said is without a limit. A resource that is not configured
    /// any more goes with its last user.
    pub fn reconfigure(&mut self, index: ResourceIndex, setting: &ResourceSetting, is_configured: bool) {
        let resource = self.get_mut(index);
        resource.configured = is_configured;
        resource.capacity = setting.capacity;
        resource.concurrency = setting.concurrency;
        self.note_change(index);
        self.vacate_if_idle(index);
    }

    /// Limits how many tasks of a group run at once.
    pub fn limit_group(&mut self, index: ResourceIndex, max_parallel: Option<u32>) {
        self.get_mut(index).capacity = max_parallel.map(|limit| Amount::units(u64::from(limit)));
        self.note_change(index);
    }

    /// Pauses or resumes a resource.
    pub fn set_paused(&mut self, index: ResourceIndex, paused: bool) {
        self.get_mut(index).paused = paused;
        self.note_change(index);
        self.vacate_if_idle(index);
    }

    /// Grants a need.
    pub fn hold(&mut self, need: Need, task: TaskId, since: Time) {
        let resource = self.get_mut(need.resource);
        let amount = resource.charge(need.mode, need.amount);
        resource.holders.insert(task, Hold { mode: need.mode, amount, since });
        resource.held += amount;
    }

    /// Gives back what a task holds of a resource.
    pub fn release(&mut self, index: ResourceIndex, task: TaskId) {
        let resource = self.get_mut(index);
        if let Some(hold) = resource.holders.remove(&task) {
            resource.held -= hold.amount;
            self.note_change(index);
        }
    }

    /// Turns what a task holds into a read of so much.
    pub fn downgrade(&mut self, index: ResourceIndex, task: TaskId, amount: Amount) {
        let resource = self.get_mut(index);
        if let Some(hold) = resource.holders.get_mut(&task) {
            resource.held = resource.held - hold.amount + amount;
            (hold.mode, hold.amount) = (Mode::Read, amount);
            self.note_change(index);
        }
    }

    /// Reserves a resource for a task, or moves its reservation to a new rank.
    pub fn reserve(&mut self, need: Need, rank: Rank) {
        let Need { resource, mode, .. } = need;
        let of_task = self.reservations.entry(rank.task).or_default();
        let old =
            of_task.iter_mut().find(|r| r.resource == resource).map(|r| std::mem::replace(&mut r.rank, rank));
        if old.is_none() {
            of_task.push(Reservation { resource, mode, rank });
        }
        let reserved = self.get_mut(resource).reservations_of(mode);
        if let Some(old) = old.filter(|old| *old != rank) {
            reserved.remove(&old);
        }
        self.get_mut(resource).reservations_of(mode).insert(rank);
    }

    /// Moves all reservations of a task to its new rank.
    pub fn rerank_reservations(&mut self, rank: Rank) {
        let Some(mut of_task) = self.reservations.remove(&rank.task) else { return };
        for reservation in &mut of_task {
            let reserved = self.get_mut(reservation.resource).reservations_of(reservation.mode);
            reserved.remove(&reservation.rank);
            reserved.insert(rank);
            if rank > reservation.rank {
                self.note_change(reservation.resource);
            }
            reservation.rank = rank;
        }
        self.reservations.insert(rank.task, of_task);
    }

    /// Gives up every reservation of a task.
    pub fn unreserve(&mut self, task: TaskId) {
        for reservation in self.reservations.remove(&task).unwrap_or_default() {
            self.get_mut(reservation.resource).reservations_of(reservation.mode).remove(&reservation.rank);
            self.note_change(reservation.resource);
        }
    }

    /// Every task that has a reservation, by id.
    pub fn reserving_tasks(&self) -> Vec<TaskId> {
        let mut tasks: Vec<TaskId> = self.reservations.keys().copied().collect();
        tasks.sort_unstable();
        tasks
    }

    /// Whoever waits for this resource should look again.
    pub fn note_change(&mut self, index: ResourceIndex) {
        if self.changed.last() != Some(&index) {
            self.changed.push(index);
        }
    }

    /// A resource that changed since the last call, the latest first.
    pub fn take_changed(&mut self) -> Option<ResourceIndex> {
        self.changed.pop()
    }

    /// Checks the invariants of this module.
    pub fn check(&self) -> Result<(), String> {
        for resource in self.resources.iter().flatten() {
            let sum = resource.holders.values().fold(Amount::ZERO, |sum, hold| sum + hold.amount);
            if sum != resource.held {
                return Err(format!("{:?} says {} held, its holders {sum}", resource.key, resource.held));
            }
            let single = resource.holders.values().filter(|hold| hold.mode != Mode::Read).count();
            if single > 0 && resource.holders.len() > 1 {
                return Err(format!("{:?} has conflicting holders", resource.key));
            }
        }
        let listed: usize = self.reservations.values().map(Vec::len).sum();
        let reserved: usize = self.resources.iter().flatten().map(Resource::reservations).sum();
        if listed != reserved {
            return Err(format!("{listed} reservations are listed by task, {reserved} by resource"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_model::Priority;

    fn rank(task: u64) -> Rank {
        Rank { class: Priority::Normal, since: Time(0), task: TaskId(task) }
    }

    /// Every pair of modes and amounts on a resource of 2: what is granted beside what.
    #[test]
    fn the_matrix_and_the_capacity_decide_together() {
        for held in Mode::ALL {
            for asked in Mode::ALL {
                for (held_amount, asked_amount) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
                    let mut ledger = Ledger::default();
                    let index = ledger.intern(&ResourceKey::Workflow(WorkflowId(1)));
                    ledger.limit_group(index, Some(2));
                    let need = |mode, units| Need { resource: index, mode, amount: Amount::units(units) };
                    ledger.hold(need(held, held_amount), TaskId(1), Time(0));
                    let block = ledger.get(index).block(asked, Amount::units(asked_amount), rank(2));
                    let expected = if held != Mode::Read || asked != Mode::Read {
                        Some(Block::Mode)
                    } else if held_amount + asked_amount > 2 {
                        Some(Block::Short)
                    } else {
                        None
                    };
                    assert_eq!(block, expected, "{held} {held_amount} held, {asked} {asked_amount} asked");
                    assert_eq!(ledger.check(), Ok(()));
                }
            }
        }
    }

    #[test]
    fn a_reservation_stops_only_those_behind_it_that_it_excludes() {
        let mut ledger = Ledger::default();
        let index = ledger.intern(&ResourceKey::Workflow(WorkflowId(1)));
        let need = |mode| Need { resource: index, mode, amount: Amount::ONE };
        ledger.reserve(need(Mode::Write), rank(5));
        let block = |ledger: &Ledger, mode, task| ledger.get(index).block(mode, Amount::ONE, rank(task));
        assert_eq!(block(&ledger, Mode::Read, 6), Some(Block::Behind(TaskId(5))));
        assert_eq!(block(&ledger, Mode::Read, 4), None);
        assert_eq!(block(&ledger, Mode::Write, 5), None);
        ledger.unreserve(TaskId(5));
        ledger.reserve(need(Mode::Read), rank(5));
        assert_eq!(block(&ledger, Mode::Read, 6), None);
        assert_eq!(block(&ledger, Mode::Exclusive, 6), Some(Block::Behind(TaskId(5))));
    }
}
