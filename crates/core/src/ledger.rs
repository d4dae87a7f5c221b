//! The ledger of claims: all resources, and the reservations of each task.
//!
//! Invariant: held amounts never exceed a capacity that was not lowered meanwhile; a write or exclusive
//! holder is the only one. Which tasks wait for a resource is the business of the queues.

use orchd_model::{Amount, Mode, ResourceName, ResourceSetting, TaskId, Time};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

use crate::blocked::Clock;
use crate::rank::Rank;
use crate::resource::{Hold, Need, Reservation, Resource, ResourceKey};
use crate::resource_state::ResourceState;

/// Position of a resource in the ledger.
pub(crate) type ResourceIndex = usize;

/// All resources.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    resources: Vec<Option<Resource>>,
    vacant: Vec<ResourceIndex>,
    index: FxHashMap<ResourceKey, ResourceIndex>,
    reservations: FxHashMap<TaskId, Vec<Reservation>>,
    /// Tasks that have reserved something or given it up since that was last asked for.
    reservations_changed: BTreeSet<TaskId>,
    /// Resources whose clocks have started or stopped, and whose have gone with them.
    clocks_changed: BTreeSet<ResourceIndex>,
    clocks_gone: BTreeSet<ResourceName>,
    /// Resources on which something became free since the queues last looked.
    changed: Vec<ResourceIndex>,
    /// The present, for what is counted over time.
    pub now: Time,
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
            if let ResourceKey::Named(name) = resource.key {
                self.note_gone(name);
            }
        }
    }

    /// Says something more of a resource; what is not said stays.
    pub fn configure(&mut self, index: ResourceIndex, setting: &ResourceSetting, now: Time) {
        let resource = self.get_mut(index);
        resource.configured = true;
        resource.set(resource.setting.overlaid(setting), now);
        self.note_change(index);
    }

    /// Sets all that is configured; what is not said is without a limit. A resource that is not configured
    /// any more goes with its last user.
    pub fn reconfigure(
        &mut self,
        index: ResourceIndex,
        setting: ResourceSetting,
        is_configured: bool,
        now: Time,
    ) {
        let resource = self.get_mut(index);
        resource.configured = is_configured;
        resource.set(setting, now);
        self.note_change(index);
        self.vacate_if_idle(index);
    }

    /// Limits how many tasks of a group run at once.
    pub fn limit_group(&mut self, index: ResourceIndex, max_parallel: Option<u32>) {
        self.get_mut(index).setting.capacity = max_parallel.map(|limit| Amount::units(u64::from(limit)));
        self.note_change(index);
    }

    /// Keeps a group as long as there may be tasks of it, or no longer.
    pub fn keep_group(&mut self, index: ResourceIndex, kept: bool) {
        self.get_mut(index).configured = kept;
        self.vacate_if_idle(index);
    }

    /// What is known of a resource beyond what is said of it, and worth keeping.
    pub fn state(&self, index: ResourceIndex) -> ResourceState {
        let Resource { closed, throttled_until, bucket, .. } = *self.get(index);
        ResourceState { closed, throttled_until, bucket }
    }

    /// Changes what is known of a resource beyond what is said of it.
    pub fn set_state(&mut self, index: ResourceIndex, state: ResourceState) {
        let resource = self.get_mut(index);
        resource.closed = state.closed;
        resource.throttled_until = state.throttled_until;
        if resource.bucket.is_some() {
            resource.bucket = state.bucket.or(resource.bucket);
        }
        self.note_change(index);
        self.vacate_if_idle(index);
    }

    /// Pauses or resumes a resource.
    pub fn set_paused(&mut self, index: ResourceIndex, paused: bool) {
        self.get_mut(index).paused = paused;
        self.note_change(index);
        self.vacate_if_idle(index);
    }

    /// Grants a need. Tokens are drawn apart from that.
    pub fn hold(&mut self, need: Need, task: TaskId, since: Time, ends_by: Option<Time>) {
        let resource = self.get_mut(need.resource);
        let amount = resource.charge(need.mode, need.amount);
        resource.holders.insert(task, Hold { mode: need.mode, amount, since, ends_by });
        resource.held += amount;
        // What has to wait for it leaves room for those that end before it.
        if resource.first_amount().is_some() {
            self.note_change(need.resource);
        }
    }

    /// Draws the tokens of a granted need; false when it has no rate.
    pub fn draw(&mut self, need: Need, now: Time) -> bool {
        let resource = self.get_mut(need.resource);
        let Some((_, bucket)) = resource.rate(now) else { return false };
        resource.bucket = Some(bucket.without(resource.charge(need.mode, need.amount)));
        true
    }

    /// A holder has used so many tokens: what it drew too much comes back, what it drew too little is a debt.
    pub fn settle(&mut self, index: ResourceIndex, task: TaskId, used: Amount, now: Time) {
        let resource = self.get_mut(index);
        let Some((rate, bucket)) = resource.rate(now) else { return };
        let Some(hold) = resource.holders.get_mut(&task) else { return };
        resource.bucket = Some(bucket.with(hold.amount, rate).without(used));
        let drawn = std::mem::replace(&mut hold.amount, used);
        resource.held = resource.held - drawn + used;
        self.note_change(index);
    }

    /// A holder is known to have used so many tokens; the bucket knows already.
    pub fn note_used(&mut self, index: ResourceIndex, task: TaskId, used: Amount) {
        let resource = self.get_mut(index);
        if let Some(hold) = resource.holders.get_mut(&task) {
            resource.held = resource.held - hold.amount + used;
            hold.amount = used;
        }
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

    /// Reserves a resource for a variant of a task, or moves its reservation to a new rank. With an instant it
    /// reserves the amount as well, since then. `not_before`: when the task can start at the earliest, if that is
    /// known.
    pub fn reserve(
        &mut self,
        need: Need,
        (rank, variant): (Rank, u32),
        short_since: Option<Time>,
        not_before: Option<Time>,
    ) {
        let Need { resource, mode, amount } = need;
        let of_task = self.reservations.entry(rank.task).or_default();
        let wanted = amount;
        let amount = short_since.map(|since| (amount, since));
        let is_it = |r: &Reservation| (r.resource, r.variant) == (resource, variant);
        let index = of_task.iter().position(is_it).unwrap_or_else(|| {
            of_task.push(Reservation { resource, mode, wanted, rank, variant, amount, not_before });
            self.reservations_changed.insert(rank.task);
            of_task.len() - 1
        });
        let old = of_task[index];
        let new = Reservation { rank, amount: old.amount.or(amount), not_before, ..old };
        of_task[index] = new;
        if old.amount != new.amount {
            self.reservations_changed.insert(rank.task);
        }
        let first = self.get(resource).first_amount();
        self.get_mut(resource).remove_reservation(&old);
        self.get_mut(resource).insert_reservation(&new);
        // Who stands beside the first may have more beside another.
        if first != self.get(resource).first_amount() {
            self.note_change(resource);
        }
    }

    /// A task cannot start in a variant before an instant, or that is no longer known: those who are over by then
    /// may pass what it has reserved.
    pub fn set_not_before(&mut self, task: TaskId, variant: u32, not_before: Option<Time>) {
        let Some(mut of_task) = self.reservations.remove(&task) else { return };
        for reservation in of_task.iter_mut().filter(|one| one.variant == variant) {
            if reservation.not_before != not_before {
                reservation.not_before = not_before;
                self.get_mut(reservation.resource).insert_reservation(reservation);
                self.note_change(reservation.resource);
            }
        }
        self.reservations.insert(task, of_task);
    }

    /// Moves all reservations of a task to its new rank.
    pub fn rerank_reservations(&mut self, rank: Rank) {
        let Some(mut of_task) = self.reservations.remove(&rank.task) else { return };
        for reservation in &mut of_task {
            let old = *reservation;
            reservation.rank = rank;
            self.get_mut(old.resource).remove_reservation(&old);
            self.get_mut(old.resource).insert_reservation(reservation);
            if rank != old.rank {
                self.note_change(old.resource);
            }
        }
        self.reservations.insert(rank.task, of_task);
    }

    /// Gives up every reservation of a task.
    pub fn unreserve(&mut self, task: TaskId) {
        let Some(of_task) = self.reservations.remove(&task) else { return };
        self.reservations_changed.insert(task);
        for reservation in of_task {
            self.get_mut(reservation.resource).remove_reservation(&reservation);
            self.note_change(reservation.resource);
        }
    }

    /// Gives up what a task has reserved for one of its variants.
    pub fn unreserve_variant(&mut self, task: TaskId, variant: u32) {
        let Some(mut of_task) = self.reservations.remove(&task) else { return };
        for reservation in of_task.extract_if(.., |reservation| reservation.variant == variant) {
            self.reservations_changed.insert(task);
            self.get_mut(reservation.resource).remove_reservation(&reservation);
            self.note_change(reservation.resource);
        }
        if !of_task.is_empty() {
            self.reservations.insert(task, of_task);
        }
    }

    /// What a task has reserved.
    pub fn reservations_of(&self, task: TaskId) -> &[Reservation] {
        self.reservations.get(&task).map_or(&[], Vec::as_slice)
    }

    /// What is stored of the reservations of a task is not true any more.
    pub fn note_reservations(&mut self, task: TaskId) {
        self.reservations_changed.insert(task);
    }

    /// Tasks that have reserved something or given it up since the last call.
    pub fn take_reservations_changed(&mut self) -> BTreeSet<TaskId> {
        std::mem::take(&mut self.reservations_changed)
    }

    /// Every task that has a reservation, by id.
    pub fn reserving_tasks(&self) -> Vec<TaskId> {
        let mut tasks: Vec<TaskId> = self.reservations.keys().copied().collect();
        tasks.sort_unstable();
        tasks
    }

    /// One more queue waits for a resource.
    pub fn begin_wait(&mut self, index: ResourceIndex) {
        let now = self.now;
        self.clock(index).begin_wait(now);
    }

    /// One queue less waits for a resource.
    pub fn end_wait(&mut self, index: ResourceIndex) {
        let now = self.now;
        self.clock(index).end_wait(now);
    }

    /// The clock of a resource, which is about to change.
    pub fn clock(&mut self, index: ResourceIndex) -> &mut Clock {
        self.clocks_changed.insert(index);
        &mut self.get_mut(index).clock
    }

    /// A resource is gone, and what is stored of its clock with it.
    pub fn note_gone(&mut self, name: ResourceName) {
        self.clocks_gone.insert(name);
    }

    /// Resources that are gone, and those whose clocks may have changed, since the last call.
    pub fn take_clocks(&mut self) -> (BTreeSet<ResourceName>, BTreeSet<ResourceIndex>) {
        (std::mem::take(&mut self.clocks_gone), std::mem::take(&mut self.clocks_changed))
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
    use crate::resource::{Asker, Block};
    use orchd_model::{Priority, WorkflowId};

    fn rank(task: u64) -> Rank {
        Rank { class: Priority::Normal, since: Time(0), task: TaskId(task) }
    }

    fn asker(task: u64) -> Asker {
        Asker { rank: rank(task), now: Time(0), ends_by: None }
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
                    ledger.hold(need(held, held_amount), TaskId(1), Time(0), None);
                    let block = ledger.get(index).block(asked, Amount::units(asked_amount), &asker(2));
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
        ledger.reserve(need(Mode::Write), (rank(5), 0), None, None);
        let block = |ledger: &Ledger, mode, task| ledger.get(index).block(mode, Amount::ONE, &asker(task));
        assert_eq!(block(&ledger, Mode::Read, 6), Some(Block::Behind(TaskId(5))));
        assert_eq!(block(&ledger, Mode::Read, 4), None);
        assert_eq!(block(&ledger, Mode::Write, 5), None);
        ledger.unreserve(TaskId(5));
        ledger.reserve(need(Mode::Read), (rank(5), 0), None, None);
        assert_eq!(block(&ledger, Mode::Read, 6), None);
        assert_eq!(block(&ledger, Mode::Exclusive, 6), Some(Block::Behind(TaskId(5))));
    }
}
