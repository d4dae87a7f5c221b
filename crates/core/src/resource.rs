//! One resource: what it has, who holds it, who has reserved it, and what that means for the next who asks.

use orchd_model::{
    Amount, Mode, Rate, ResourceKind, ResourceName, ResourceSetting, SessionId, TaskId, Time, WorkflowId,
};
use std::collections::{BTreeMap, BTreeSet};

use crate::blocked::Clock;
use crate::bucket::Bucket;
use crate::ledger::ResourceIndex;
use crate::rank::Rank;

/// What can be claimed: a user's resource, or the right of a group's tasks to run side by side.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ResourceKey {
    Named(ResourceName),
    Workflow(WorkflowId),
    Session(SessionId),
}

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
    /// When it ends at the latest, where its limits promise that.
    pub ends_by: Option<Time>,
}

/// Who asks for a need, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub rank: Rank,
    pub now: Time,
    /// When it would have ended at the latest if it started now, where its limits promise that.
    pub ends_by: Option<Time>,
}

/// Why a need cannot be granted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// An operator paused the resource.
    Paused,
    /// An operator closed the resource.
    Closed,
    /// It was told to wait until this instant.
    Throttled(Time),
    /// The whole resource is smaller.
    Unsatisfiable,
    /// A holder's mode excludes it.
    Mode,
    /// As many hold it as may.
    Crowded,
    /// Too little is free.
    Short,
    /// There are too few tokens before this instant.
    Rate(Time),
    /// A task that stands before it has reserved the resource.
    Behind(TaskId),
    /// A task that stands before it has reserved so much of the resource that too little is left beside it.
    Beside(TaskId),
}

impl Block {
    /// Whether no waiting for holders helps.
    pub fn is_bar(self) -> bool {
        self.is_throttle() || matches!(self, Self::Paused | Self::Closed | Self::Unsatisfiable)
    }

    /// Whether it is known by when it is over, and no reason to lose a turn.
    pub fn is_throttle(self) -> bool {
        matches!(self, Self::Throttled(_))
    }
}

/// What tasks that stand behind the first reservation of an amount can have of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spare {
    /// The reservation.
    pub behind: Rank,
    /// So much for as long as they like.
    pub amount: Amount,
    /// Whatever is free, if they have ended by this instant.
    pub until: Option<Time>,
}

/// A resource.
#[derive(Debug)]
pub(crate) struct Resource {
    pub key: ResourceKey,
    /// What the machine, the configuration and operators say of it.
    pub setting: ResourceSetting,
    /// Whether any of them says something; if not it vanishes with its last user.
    pub configured: bool,
    pub paused: bool,
    pub closed: bool,
    pub throttled_until: Option<Time>,
    /// Invariant: there if and only if it has a rate.
    pub bucket: Option<Bucket>,
    pub holders: BTreeMap<TaskId, Hold>,
    /// Invariant: the sum of the holders' amounts.
    pub held: Amount,
    /// Queues that need it.
    pub users: u32,
    /// For how long queues have been parked on it.
    pub clock: Clock,
    /// Reservations in read mode, and in the modes that share with nobody.
    reserved_shared: Turns,
    reserved_single: Turns,
    /// Those of the first kind that were short of an amount, which they have reserved since an instant.
    reserved_amounts: BTreeMap<Turn, (Amount, Time)>,
}

/// Whose turn it is, and for which of its variants.
type Turn = (Rank, u32);

/// Turns in their order, and what is known of each.
type Turns = BTreeMap<Turn, Reserved>;

/// What those must know of a turn who come after it.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    /// What a grant is going to take.
    charge: Amount,
    /// The instant before which its task is not going to start, if one is known.
    not_before: Option<Time>,
}

fn turns_before(turns: &Turns, rank: Rank) -> impl Iterator<Item = (&Turn, &Reserved)> {
    turns.range(..(rank, 0))
}

/// How many reservations are looked at for one that cannot be passed.
const PASSED: usize = 64;

impl Resource {
    pub fn new(key: ResourceKey) -> Self {
        Self {
            key,
            setting: ResourceSetting::default(),
            configured: false,
            paused: false,
            closed: false,
            throttled_until: None,
            bucket: None,
            holders: BTreeMap::new(),
            held: Amount::ZERO,
            users: 0,
            clock: Clock::default(),
            reserved_shared: Turns::new(),
            reserved_single: Turns::new(),
            reserved_amounts: BTreeMap::new(),
        }
    }

    /// Whether it is the user's resource with this name.
    pub fn is_named(&self, name: &ResourceName) -> bool {
        matches!(&self.key, ResourceKey::Named(own) if own == name)
    }

    /// Whether nobody has said how much of it there is, though without that there is none: not even who said a part
    /// of it, such as the burst of a rate.
    pub fn is_missing(&self) -> bool {
        let ResourceKey::Named(name) = &self.key else { return false };
        match name.counted_as() {
            ResourceKind::Lock => false,
            ResourceKind::Quantity => self.setting.capacity.is_none(),
            ResourceKind::Rate => self.setting.rate().is_none() && self.setting.concurrency.is_none(),
        }
    }

    /// Units that can be held at once.
    pub fn capacity(&self) -> Option<Amount> {
        self.setting.capacity
    }

    /// The rate, with the bucket as it is now.
    pub fn rate(&self, now: Time) -> Option<(Rate, Bucket)> {
        let rate = self.setting.rate()?;
        Some((rate, self.bucket?.at(rate, now)))
    }

    /// Whether its only holder shares with nobody.
    pub fn is_held_alone(&self) -> bool {
        self.holders.len() == 1 && self.holders.values().any(|hold| hold.mode != Mode::Read)
    }

    /// What is left of the capacity.
    pub fn free(&self) -> Option<Amount> {
        self.capacity().map(|capacity| capacity.saturating_sub(self.held))
    }

    /// Whether one more holder is allowed, whatever it wants.
    pub fn takes_a_holder(&self) -> bool {
        self.setting.concurrency.is_none_or(|limit| self.holders.len() < limit as usize)
    }

    /// The most that one claim can have: the whole capacity, or a full bucket.
    pub fn whole(&self) -> Option<Amount> {
        self.capacity().or(self.setting.rate().map(|rate| rate.burst))
    }

    /// How much a grant of this need takes: an exclusive holder has the whole.
    pub fn charge(&self, mode: Mode, amount: Amount) -> Amount {
        if mode == Mode::Exclusive { self.whole().unwrap_or(amount) } else { amount }
    }

    /// What stands against it however much is free: it is paused, closed, throttled, or smaller than the
    /// claim.
    pub fn bar(&self, mode: Mode, amount: Amount, now: Time) -> Option<Block> {
        self.bars(mode, amount, now).next()
    }

    fn bars(&self, mode: Mode, amount: Amount, now: Time) -> impl Iterator<Item = Block> {
        let too_small =
            self.is_missing() || self.whole().is_some_and(|whole| self.charge(mode, amount) > whole);
        let throttled = self.throttled_until.filter(|until| *until > now);
        let bars = [
            self.closed.then_some(Block::Closed),
            self.paused.then_some(Block::Paused),
            too_small.then_some(Block::Unsatisfiable),
            throttled.map(Block::Throttled),
        ];
        bars.into_iter().flatten()
    }

    /// Whether what others hold, or have drawn, keeps a claim from it.
    pub fn is_taken_from(&self, mode: Mode, amount: Amount, now: Time) -> bool {
        self.excludes(mode) || self.rate_block(mode, amount, now).is_some()
    }

    /// Whether a holder shares with nobody, or this mode does not.
    fn excludes(&self, mode: Mode) -> bool {
        self.holders.values().next().is_some_and(|hold| !hold.mode.admits(mode))
    }

    /// Why the need of this task cannot be granted now, if it cannot.
    pub fn block(&self, mode: Mode, amount: Amount, asker: &Asker) -> Option<Block> {
        self.blocks(mode, amount, asker).next()
    }

    /// Everything that stands against it, each kind of cause once.
    pub fn blocks<'a>(
        &'a self,
        mode: Mode,
        amount: Amount,
        asker: &'a Asker,
    ) -> impl Iterator<Item = Block> + 'a {
        let bars = self.bars(mode, amount, asker.now);
        let mode_block = std::iter::once_with(move || self.excludes(mode).then_some(Block::Mode));
        let beside = std::iter::once_with(move || self.beside_block(mode, amount, asker));
        let short = std::iter::once_with(move || self.short_block(mode, amount));
        let behind = std::iter::once_with(move || {
            self.reserved_before(mode, amount, asker).map(|first| Block::Behind(first.task))
        });
        let rate = std::iter::once_with(move || self.rate_block(mode, amount, asker.now));
        bars.chain(mode_block.chain(beside).chain(short).chain(behind).chain(rate).flatten())
    }

    /// What a task before it leaves that has reserved an amount. Comes before what is free now: only the first
    /// that is short reserves.
    fn beside_block(&self, mode: Mode, amount: Amount, asker: &Asker) -> Option<Block> {
        let behind = self.amount_before(mode, asker.rank)?;
        let is_let_in = self.spare().is_none_or(|spare| spare.admits(amount, asker.ends_by));
        (!is_let_in).then_some(Block::Beside(behind))
    }

    /// Who has reserved an amount and stands before one that shares.
    pub fn amount_before(&self, mode: Mode, rank: Rank) -> Option<TaskId> {
        let ((first, _), _) = self.reserved_amounts.first_key_value()?;
        // What shares with nobody is behind it all the same.
        (mode == Mode::Read && *first < rank).then_some(first.task)
    }

    /// What its holders leave.
    fn short_block(&self, mode: Mode, amount: Amount) -> Option<Block> {
        if self.free().is_some_and(|free| self.charge(mode, amount) > free) {
            return Some(Block::Short);
        }
        (!self.takes_a_holder()).then_some(Block::Crowded)
    }

    /// What the bucket has.
    fn rate_block(&self, mode: Mode, amount: Amount, now: Time) -> Option<Block> {
        let (rate, bucket) = self.rate(now)?;
        if self.charge(mode, amount) > rate.burst {
            // It will never have so many.
            return None;
        }
        let ready = bucket.ready_at(self.charge(mode, amount), rate);
        (ready > now).then_some(Block::Rate(ready))
    }

    /// The first reservation before this one that keeps back a claim in `mode`: whoever has ended before it can be
    /// honoured passes, and who leaves the tokens that are reserved.
    fn reserved_before(&self, mode: Mode, amount: Amount, asker: &Asker) -> Option<Rank> {
        let is_over =
            |turn: &Reserved| asker.ends_by.zip(turn.not_before).is_some_and(|(end, start)| end <= start);
        let before = |turns| turns_before(turns, asker.rank).take(PASSED + 1);
        let excludes =
            |(at, (_, reserved)): &(usize, (&Turn, &Reserved))| *at == PASSED || !is_over(reserved);
        let first = |turns| before(turns).enumerate().find(excludes).map(|(_, ((rank, _), _))| *rank);
        let single = first(&self.reserved_single);
        let shared = (mode != Mode::Read).then(|| first(&self.reserved_shared)).flatten();
        single.into_iter().chain(shared).min().or_else(|| self.short_of_tokens_before(mode, amount, asker))
    }

    /// The first of those before this one that have reserved tokens, if too few are left for them all when the
    /// first of them can start.
    fn short_of_tokens_before(&self, mode: Mode, amount: Amount, asker: &Asker) -> Option<Rank> {
        let (rate, bucket) = self.rate(asker.now)?;
        let (first, reserved, needed_at) = self.tokens_before(asker)?;
        let left = bucket.without(self.charge(mode, amount));
        let is_enough = reserved <= rate.burst && left.ready_at(reserved, rate) <= needed_at;
        (!is_enough).then_some(first)
    }

    /// The first of those before this one that have reserved tokens, how many that are in all, and when they may be
    /// needed first. Of more than can be looked at, more than there will ever be.
    fn tokens_before(&self, asker: &Asker) -> Option<(Rank, Amount, Time)> {
        let turns =
            [&self.reserved_shared, &self.reserved_single].map(|turns| turns_before(turns, asker.rank));
        let turns: Vec<(&Turn, &Reserved)> = turns.into_iter().flat_map(|turns| turns.take(PASSED)).collect();
        let first = turns.iter().map(|((rank, _), _)| *rank).min()?;
        let needed_at = turns.iter().map(|(_, reserved)| reserved.not_before.unwrap_or(asker.now)).min()?;
        let sum = turns.iter().fold(Amount::ZERO, |sum, (_, reserved)| sum + reserved.charge);
        Some((first, if turns.len() < PASSED { sum } else { Amount::MAX }, needed_at))
    }

    /// When there are tokens for one that is kept back by those before it, and for them: the first instant after now
    /// at which it is worth looking again.
    pub fn tokens_for_all_at(&self, mode: Mode, amount: Amount, asker: &Asker) -> Option<Time> {
        let (rate, bucket) = self.rate(asker.now)?;
        let own = self.charge(mode, amount);
        let (_, reserved, _) = self.tokens_before(asker)?;
        let enough = [own, own + reserved].into_iter().filter(|tokens| *tokens <= rate.burst);
        enough.map(|tokens| bucket.ready_at(tokens, rate)).find(|at| *at > asker.now)
    }

    /// The first reservation that excludes who shares, if whoever has ended by an instant may pass it; and that
    /// instant.
    pub fn passable(&self) -> Option<(Rank, Time)> {
        let ((first, _), reserved) = self.reserved_single.first_key_value()?;
        reserved.not_before.map(|start| (*first, start))
    }

    /// What those behind the first reservation of an amount can have: what is left beside it once all that
    /// held the resource when it was reserved have ended, and for a while what they have not given back yet.
    /// (EASY backfilling: D. Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995.)
    pub fn spare(&self) -> Option<Spare> {
        let (turn, (wanted, since)) = self.reserved_amounts.first_key_value()?;
        let capacity = self.capacity()?;
        let later = self.holders.values().filter(|hold| hold.since > *since);
        let later = later.fold(Amount::ZERO, |sum, hold| sum + hold.amount);
        let mut ends: Vec<(Time, Amount)> =
            self.holders.values().filter_map(|hold| Some((hold.ends_by?, hold.amount))).collect();
        ends.sort_unstable();
        let mut free = self.free().unwrap_or_default();
        let until = ends.into_iter().find_map(|(at, amount)| {
            free += amount;
            (free >= *wanted).then_some(at)
        });
        let amount = capacity.saturating_sub(*wanted).saturating_sub(later);
        let not_before = self.reserved_shared.get(turn).and_then(|reserved| reserved.not_before);
        let until = until.max(not_before);
        Some(Spare { behind: turn.0, amount, until })
    }

    /// When its holders will have given back what this claim needs at the latest, where their limits promise
    /// that.
    pub fn free_by(&self, mode: Mode, amount: Amount) -> Option<Time> {
        let mut ends: Vec<&Hold> = self.holders.values().collect();
        // Those without a limit end last.
        ends.sort_by_key(|hold| hold.ends_by.unwrap_or(Time(u64::MAX)));
        let excludes = |hold: &Hold| !hold.mode.admits(mode);
        let charge = self.charge(mode, amount);
        let (mut held, mut count) = (self.held, ends.len());
        let mut excluding = ends.iter().filter(|hold| excludes(hold)).count();
        let last = ends.into_iter().find(|hold| {
            held -= hold.amount;
            count -= 1;
            excluding -= usize::from(excludes(hold));
            let has_room = self.setting.concurrency.is_none_or(|limit| count < limit as usize);
            excluding == 0 && has_room && self.capacity().is_none_or(|capacity| held + charge <= capacity)
        });
        last?.ends_by
    }

    /// The first reservation of an amount, which alone counts.
    pub fn first_amount(&self) -> Option<(Turn, Amount)> {
        self.reserved_amounts.first_key_value().map(|(turn, (amount, _))| (*turn, *amount))
    }

    /// How many reservations there are.
    pub fn reservations(&self) -> usize {
        self.reserved_shared.len() + self.reserved_single.len()
    }

    /// How many tasks have reserved it, each in one of its variants or in several.
    pub fn reserved_by(&self) -> usize {
        let turns = self.reserved_shared.keys().chain(self.reserved_single.keys());
        turns.map(|(rank, _)| rank.task).collect::<BTreeSet<_>>().len()
    }

    fn reservations_of(&mut self, mode: Mode) -> &mut Turns {
        if mode == Mode::Read { &mut self.reserved_shared } else { &mut self.reserved_single }
    }

    pub fn remove_reservation(&mut self, reservation: &Reservation) {
        self.reservations_of(reservation.mode).remove(&reservation.turn());
        self.reserved_amounts.remove(&reservation.turn());
    }

    pub fn insert_reservation(&mut self, reservation: &Reservation) {
        let Reservation { mode, wanted, not_before, .. } = *reservation;
        let reserved = Reserved { charge: self.charge(mode, wanted), not_before };
        self.reservations_of(mode).insert(reservation.turn(), reserved);
        if let Some(amount) = reservation.amount {
            self.reserved_amounts.insert(reservation.turn(), amount);
        }
    }

    /// Says something of it; a bucket that it did not have before is full.
    pub fn set(&mut self, setting: ResourceSetting, now: Time) {
        let (old, new) = (self.setting.rate(), setting.rate());
        self.bucket = match (old, self.bucket, new) {
            (Some(old), Some(bucket), Some(new)) if old != new => Some(bucket.rerated(old, new, now)),
            (_, Some(bucket), Some(_)) => Some(bucket),
            (_, None, Some(new)) => Some(Bucket::full(new, now)),
            (_, _, None) => None,
        };
        self.setting = setting;
    }

    pub fn is_idle(&self) -> bool {
        let is_kept = self.configured || self.paused || self.closed || self.throttled_until.is_some();
        self.users == 0 && self.holders.is_empty() && !is_kept
    }
}

impl Spare {
    /// Whether a claim of this amount fits beside the reservation, if its holder has ended by then.
    pub fn admits(&self, amount: Amount, ends_by: Option<Time>) -> bool {
        amount <= self.amount || ends_by.zip(self.until).is_some_and(|(end, until)| end <= until)
    }
}

/// A task's turn on a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reservation {
    pub resource: ResourceIndex,
    pub mode: Mode,
    pub wanted: Amount,
    pub rank: Rank,
    /// The place of the variant that it is for.
    pub variant: u32,
    /// The amount that it was short of, and since when that counts.
    pub amount: Option<(Amount, Time)>,
    /// The instant before which its task is not going to start, if one is known.
    pub not_before: Option<Time>,
}

impl Reservation {
    fn turn(&self) -> Turn {
        (self.rank, self.variant)
    }
}
