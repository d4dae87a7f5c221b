//! What tasks waited for: when they could have started and did not, who held what they wanted?
//!
//! The scheduler does not write down why a task waits, as that changes with every step. Here it is worked out from
//! what was held when: by the attempts, their claims and the capacities of today.

use orchd_api::{LongWait, ResourceWait};
use orchd_core::{Demand, ResourceView, Runner};
use orchd_model::{Amount, Claim, Mode, Priority, ResourceName, Span, Time};
use std::borrow::Cow;
use std::collections::BTreeMap;

use super::life::{Life, Stretch, Turn};
use super::limits::{Group, Limits};

/// Tasks whose waiting is looked into: those that waited longest.
const LOOKED_AT: usize = 1000;
/// Those of them that are named.
const NAMED: usize = 20;
/// The slots of the workers in a report.
const SLOTS: &str = "slots";

/// What there is to be held, and the time.
pub struct Scene {
    pub now: Time,
    /// Slots of the connected workers.
    pub slots: u32,
    /// The resources that are known.
    pub resources: BTreeMap<ResourceName, Bounds>,
}

/// How much of a resource can be held at once.
#[derive(Clone, Copy, Default)]
pub struct Bounds {
    capacity: Option<Amount>,
    concurrency: Option<u32>,
    has_rate: bool,
}

impl From<&ResourceView> for Bounds {
    fn from(view: &ResourceView) -> Self {
        Self { capacity: view.capacity, concurrency: view.concurrency, has_rate: view.rate.is_some() }
    }
}

/// Who held what from when to when.
#[derive(Default)]
pub struct Holdings {
    by_resource: BTreeMap<ResourceName, Vec<Change>>,
    by_group: BTreeMap<Group, Vec<Change>>,
    slots: Vec<Change>,
}

/// A holder comes (+1) or goes (-1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    at: Time,
    sign: i64,
    amount: i64,
    alone: bool,
}

impl Holdings {
    pub fn note(&mut self, demand: &Demand, stretches: &[Stretch]) {
        if stretches.is_empty() {
            return;
        }
        for variant in demand.numbers() {
            let of_it = stretches.iter().filter(|stretch| stretch.variant == variant);
            let held: Vec<(Time, Time)> = of_it.map(|stretch| (stretch.from, stretch.held_to)).collect();
            for claim in &*claims_of(demand, variant) {
                if !self.by_resource.contains_key(&claim.resource) {
                    self.by_resource.insert(claim.resource.clone(), Vec::new());
                }
                if let Some(changes) = self.by_resource.get_mut(&claim.resource) {
                    let amount = claim.amount.as_thousandths().min(i64::MAX as u64 >> 20).cast_signed();
                    push(changes, held.iter().copied(), amount, claim.mode != Mode::Read);
                }
            }
        }
        if demand.runner != Runner::Claimant {
            for group in Group::of(demand) {
                let held = stretches.iter().map(|stretch| (stretch.from, stretch.held_to));
                push(self.by_group.entry(group).or_default(), held, 0, false);
            }
        }
        if demand.runner == Runner::Process {
            let held = stretches.iter().map(|stretch| (stretch.from, stretch.held_to));
            push(&mut self.slots, held, 1000, false);
        }
    }
}

/// What a task must hold in a variant; nearly all have none.
fn claims_of(demand: &Demand, variant: Option<u32>) -> Cow<'_, [Claim]> {
    match variant {
        None => Cow::Borrowed(&demand.claims),
        Some(_) => Cow::Owned(demand.claims_in(variant)),
    }
}

fn push(changes: &mut Vec<Change>, spans: impl Iterator<Item = (Time, Time)>, amount: i64, alone: bool) {
    for (from, to) in spans {
        changes.push(Change { at: from, sign: 1, amount, alone });
        changes.push(Change { at: to, sign: -1, amount: -amount, alone });
    }
}

/// What was held of a resource from an instant on.
#[derive(Clone, Copy)]
struct Step {
    at: Time,
    holders: i64,
    amount: i64,
    alone: i64,
}

/// What was held of a resource, by time.
struct Timeline(Vec<Step>);

impl Timeline {
    fn new(mut changes: Vec<Change>) -> Self {
        changes.sort_unstable();
        let mut steps: Vec<Step> = Vec::with_capacity(changes.len());
        let (mut holders, mut amount, mut alone) = (0, 0, 0);
        for change in changes {
            holders += change.sign;
            amount += change.amount;
            alone += if change.alone { change.sign } else { 0 };
            let step = Step { at: change.at, holders, amount, alone };
            match steps.last_mut() {
                Some(last) if last.at == change.at => *last = step,
                _ => steps.push(step),
            }
        }
        Self(steps)
    }

    /// The parts of a turn in which something was so.
    fn parts(&self, turn: Turn, is_so: impl Fn(&Step) -> bool) -> Vec<Turn> {
        let first = self.0.partition_point(|step| step.at <= turn.from).saturating_sub(1);
        let mut parts: Vec<Turn> = Vec::new();
        for (place, step) in self.0.iter().enumerate().skip(first) {
            if step.at >= turn.to {
                break;
            }
            let until = self.0.get(place + 1).map_or(turn.to, |next| next.at).min(turn.to);
            if !is_so(step) {
                continue;
            }
            let from = step.at.max(turn.from);
            match parts.last_mut() {
                // However many came and went meanwhile, it was so all the time.
                Some(last) if last.to == from => last.to = until,
                _ => parts.push(Turn { from, to: until }),
            }
        }
        parts
    }
}

/// The parts of a turn that are in none of `others`.
fn without(turn: Turn, others: &[Turn]) -> Vec<Turn> {
    let mut others = others.to_vec();
    others.sort_unstable_by_key(|other| other.from);
    let (mut left, mut from) = (Vec::new(), turn.from);
    for other in others {
        let to = other.from.min(turn.to);
        if from < to {
            left.push(Turn { from, to });
        }
        from = from.max(other.to);
    }
    if from < turn.to {
        left.push(Turn { from, to: turn.to });
    }
    left
}

/// Those of one class who waited for a resource.
struct Line {
    steps: Timeline,
    /// By when they began to wait: until when anybody waited who had begun by then, and anybody who wants it alone.
    ends: Vec<(Time, Time, Option<Time>)>,
}

impl Line {
    /// Of turns, and whether each wants it alone.
    fn new(mut waits: Vec<(Turn, bool)>) -> Self {
        waits.sort_unstable_by_key(|(turn, _)| turn.from);
        let mut changes = Vec::with_capacity(2 * waits.len());
        let mut ends = Vec::with_capacity(waits.len());
        let (mut all, mut alone) = (Time(0), None);
        for (turn, is_alone) in waits {
            push(&mut changes, std::iter::once((turn.from, turn.to)), 0, is_alone);
            all = all.max(turn.to);
            alone = if is_alone { alone.max(Some(turn.to)) } else { alone };
            ends.push((turn.from, all, alone));
        }
        Self { steps: Timeline::new(changes), ends }
    }

    /// Until when somebody waited who had begun before an instant and does not share with this claim.
    fn first_until(&self, instant: Time, shares: bool) -> Option<Time> {
        let earlier = self.ends.partition_point(|(from, ..)| *from < instant);
        let (_, all, alone) = self.ends.get(earlier.checked_sub(1)?)?;
        if shares { *alone } else { Some(*all) }
    }

    /// When somebody waited who does not share with this claim.
    fn parts(&self, turn: Turn, shares: bool) -> Vec<Turn> {
        self.steps.parts(turn, |step| if shares { step.alone > 0 } else { step.holders > 0 })
    }
}

/// Who waited for a resource, the best class first: a later one does not pass an earlier one of its class, and nobody
/// one of a better class. What became better by waiting counts as what it was.
type Waiters = BTreeMap<ResourceName, BTreeMap<Priority, Line>>;

/// What this task waited for though nobody held it: a task before it had reserved it.
fn reserved(
    waiters: &Waiters,
    (claims, class): (&[Claim], Priority),
    turn: Turn,
    blocked: &[Turn],
    scene: &Scene,
) -> Vec<(String, Span)> {
    if claims.is_empty() {
        return Vec::new();
    }
    let free = without(turn, blocked);
    let of_claim = |claim: &Claim| {
        let bounds = scene.resources.get(&claim.resource).copied().unwrap_or_default();
        let lines = waiters.get(&claim.resource).filter(|_| !bounds.has_rate)?;
        let shares = claim.mode == Mode::Read && bounds.capacity.is_none();
        let better = lines.iter().filter(|(other, _)| **other < class);
        let mut behind: Vec<Turn> = better.flat_map(|(_, line)| line.parts(turn, shares)).collect();
        let own = lines.get(&class).and_then(|line| line.first_until(turn.from, shares));
        behind.extend(own.map(|to| Turn { from: turn.from, to }));
        behind.extend(blocked);
        let time = length(&free) - length(&without(turn, &behind));
        Some((format!("{} (reserved)", claim.resource), Span(time)))
    };
    claims.iter().filter_map(of_claim).collect()
}

/// How long times are that do not overlap, microseconds.
fn length(times: &[Turn]) -> u64 {
    times.iter().map(|time| time.to.since(time.from).0).sum()
}

/// What all of these tasks waited for, each in its turn.
fn waiters(lives: &[Life], turns: &[Option<Turn>]) -> Waiters {
    let mut waits: BTreeMap<ResourceName, BTreeMap<Priority, Vec<(Turn, bool)>>> = BTreeMap::new();
    for (life, turn) in lives.iter().zip(turns) {
        let Some(turn) = turn.filter(|turn| turn.from < turn.to) else { continue };
        for claim in &*claims_of(&life.demand, life.variant) {
            if !waits.contains_key(&claim.resource) {
                waits.insert(claim.resource.clone(), BTreeMap::new());
            }
            if let Some(classes) = waits.get_mut(&claim.resource) {
                classes.entry(life.priority).or_default().push((turn, claim.mode != Mode::Read));
            }
        }
    }
    let lines = |classes: BTreeMap<Priority, Vec<(Turn, bool)>>| {
        classes.into_iter().map(|(class, waits)| (class, Line::new(waits))).collect()
    };
    waits.into_iter().map(|(name, classes)| (name, lines(classes))).collect()
}

/// Whether a claim could not be granted beside what is held.
fn blocks(step: &Step, claim: &Claim, bounds: Bounds) -> bool {
    let wants_alone = claim.mode != Mode::Read;
    let held = Amount::thousandths(step.amount.max(0).cast_unsigned());
    step.holders > 0
        && (wants_alone
            || step.alone > 0
            || bounds.capacity.is_some_and(|capacity| !bounds.has_rate && held + claim.amount > capacity)
            || bounds.concurrency.is_some_and(|most| step.holders >= i64::from(most)))
}

/// The places of the tasks that waited longest for their turn, the longest first.
pub fn longest(lives: &[Life], turns: &[Option<Turn>]) -> Vec<usize> {
    let length = |place: usize| turns[place].map_or(0, |turn| turn.to.since(turn.from).0);
    let mut waiting: Vec<usize> = (0..lives.len()).filter(|place| length(*place) > 0).collect();
    waiting.sort_unstable_by_key(|place| (std::cmp::Reverse(length(*place)), *place));
    waiting.truncate(LOOKED_AT);
    waiting
}

/// What these tasks waited for: in all by resource, and the first ones each. Names are left open.
pub fn longest_waits(
    lives: &[Life],
    turns: &[Option<Turn>],
    waiting: &[usize],
    holdings: Holdings,
    (scene, limits): (&Scene, &Limits),
) -> (Vec<ResourceWait>, Vec<LongWait>) {
    let slots = Timeline::new(holdings.slots);
    let by_resource: BTreeMap<ResourceName, Timeline> =
        holdings.by_resource.into_iter().map(|(name, changes)| (name, Timeline::new(changes))).collect();
    let limited = holdings.by_group.into_iter().filter(|(group, _)| limits.get(*group).is_some());
    let by_group: BTreeMap<Group, Timeline> =
        limited.map(|(group, changes)| (group, Timeline::new(changes))).collect();
    let waiters = waiters(lives, turns);
    let mut sums: BTreeMap<String, Span> = BTreeMap::new();
    let mut longest = Vec::new();
    for place in waiting {
        let (life, Some(turn)) = (&lives[*place], turns[*place]) else { continue };
        let (mut on, mut blocked) = (Vec::new(), Vec::new());
        let mut note = |name: String, parts: Vec<Turn>| {
            on.push((name, Span(parts.iter().map(|part| part.to.since(part.from).0).sum())));
            blocked.extend(parts);
        };
        if life.demand.runner == Runner::Process && scene.slots > 0 {
            let all = i64::from(scene.slots);
            note(SLOTS.to_owned(), slots.parts(turn, |step| step.holders >= all));
        }
        for group in Group::of(&life.demand) {
            if let (Some(all), Some(ran)) = (limits.get(group), by_group.get(&group)) {
                note(group.limit_name().to_owned(), ran.parts(turn, |step| step.holders >= all));
            }
        }
        let claims = claims_of(&life.demand, life.variant);
        for claim in &*claims {
            let bounds = scene.resources.get(&claim.resource).copied().unwrap_or_default();
            let held = by_resource.get(&claim.resource);
            let parts =
                held.map_or_else(Vec::new, |held| held.parts(turn, |step| blocks(step, claim, bounds)));
            note(claim.resource.to_string(), parts);
        }
        on.extend(reserved(&waiters, (&claims, life.priority), turn, &blocked, scene));
        explain_by_rate(&claims, turn, scene, &mut on);
        let mut on: Vec<ResourceWait> = on
            .into_iter()
            .filter(|(_, time)| time.0 > 0)
            .map(|(resource, time)| ResourceWait { resource, time })
            .collect();
        on.sort_by_key(|wait| std::cmp::Reverse(wait.time));
        for wait in &on {
            sums.entry(wait.resource.clone()).or_default().0 += wait.time.0;
        }
        if longest.len() < NAMED {
            let (wait_time, ready_time) = (turn.to.since(life.submitted_at), turn.to.since(turn.from));
            longest.push(LongWait { id: life.id, name: String::new(), wait_time, ready_time, on });
        }
    }
    let mut sums: Vec<ResourceWait> =
        sums.into_iter().map(|(resource, time)| ResourceWait { resource, time }).collect();
    sums.sort_by_key(|wait| std::cmp::Reverse(wait.time));
    (sums, longest)
}

/// Tokens are used up and not held: what nothing else explains was waited for the rate that is claimed.
fn explain_by_rate(claims: &[Claim], turn: Turn, scene: &Scene, on: &mut [(String, Span)]) {
    let has_rate =
        |claim: &&Claim| scene.resources.get(&claim.resource).is_some_and(|bounds| bounds.has_rate);
    let Some(rated) = claims.iter().find(has_rate) else { return };
    let explained = on.iter().map(|(_, time)| time.0).max().unwrap_or(0);
    let rest = turn.to.since(turn.from).0.saturating_sub(explained);
    let name = rated.resource.to_string();
    if let Some((_, time)) = on.iter_mut().find(|(resource, _)| *resource == name) {
        time.0 += rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(holds: &[(u64, u64, u64, Mode)]) -> Timeline {
        let mut changes = Vec::new();
        for (from, to, amount, mode) in holds {
            let amount = Amount::units(*amount).as_thousandths().cast_signed();
            push(&mut changes, std::iter::once((Time(*from), Time(*to))), amount, *mode != Mode::Read);
        }
        Timeline::new(changes)
    }

    fn blocked(holds: &[(u64, u64, u64, Mode)], turn: (u64, u64), claim: &str, bounds: Bounds) -> u64 {
        let claim: Claim = claim.parse().unwrap();
        let turn = Turn { from: Time(turn.0), to: Time(turn.1) };
        length(&timeline(holds).parts(turn, |step| blocks(step, &claim, bounds)))
    }

    #[test]
    fn a_lock_is_waited_for_while_somebody_holds_it_against_the_claim() {
        let holds = [(10, 30, 1, Mode::Write), (50, 60, 1, Mode::Read)];
        let none = Bounds::default();
        assert_eq!(blocked(&holds, (0, 100), "lock:a", none), 20);
        assert_eq!(blocked(&holds, (0, 100), "lock:a:write", none), 30);
        assert_eq!(blocked(&holds, (20, 55), "lock:a:exclusive", none), 15);
        assert_eq!(blocked(&holds, (60, 100), "lock:a:write", none), 0);
        assert_eq!(blocked(&[], (0, 100), "lock:a:write", none), 0);
    }

    /// Who waits for `lock:a`: class, from, to, mode.
    fn lock_waiters(waits: &[(Priority, u64, u64, Mode)]) -> Waiters {
        let turn = |from: u64, to: u64| Turn { from: Time(from), to: Time(to) };
        let of = |class: Priority| {
            let of_it = waits.iter().filter(|wait| wait.0 == class);
            let turns = of_it.map(|(_, from, to, mode)| (turn(*from, *to), *mode != Mode::Read));
            (class, Line::new(turns.collect()))
        };
        Waiters::from([("lock:a".parse().unwrap(), Priority::ALL.into_iter().map(of).collect())])
    }

    fn reserved_for(
        waiters: &Waiters,
        claim: &str,
        class: Priority,
        turn: (u64, u64),
        blocked: &[(u64, u64)],
    ) -> u64 {
        let scene = Scene { now: Time(100), slots: 4, resources: BTreeMap::new() };
        let turn_of = |(from, to): (u64, u64)| Turn { from: Time(from), to: Time(to) };
        let blocked: Vec<Turn> = blocked.iter().copied().map(turn_of).collect();
        let claims: Vec<Claim> = vec![claim.parse().unwrap()];
        let on = reserved(waiters, (&claims, class), turn_of(turn), &blocked, &scene);
        assert_eq!((on.len(), on[0].0.as_str()), (1, "lock:a (reserved)"));
        on[0].1.0
    }

    #[test]
    fn what_was_so_all_the_time_is_one_part_and_what_is_left_beside_parts_is_found_in_any_order() {
        // Ten thousand come and go, one after the other.
        let holds: Vec<(u64, u64, u64, Mode)> = (0..10_000).map(|n| (n, n + 1, 1, Mode::Read)).collect();
        let turn = Turn { from: Time(5), to: Time(20_000) };
        let parts = timeline(&holds).parts(turn, |step| step.holders > 0);
        assert_eq!(ends(&parts), [(5, 10_000)]);
        let part = |from, to| Turn { from: Time(from), to: Time(to) };
        let others = [part(50, 60), part(0, 10), part(55, 70), part(90, 90), part(98, 200)];
        assert_eq!(ends(&without(part(5, 100), &others)), [(10, 50), (70, 90), (90, 98)]);
        assert_eq!(ends(&without(part(5, 100), &[])), [(5, 100)]);
        assert_eq!(ends(&without(part(5, 100), &[part(0, 200), part(300, 400)])), []);
    }

    fn ends(parts: &[Turn]) -> Vec<(u64, u64)> {
        parts.iter().map(|part| (part.from.0, part.to.0)).collect()
    }

    #[test]
    fn what_is_free_and_wanted_by_a_writer_before_is_waited_for_as_reserved() {
        // Somebody reads from 0 to 50; a writer waits from 10 to 50; a reader that comes at 20 starts at 70, when the
        // writer has ended.
        let normal = Priority::Normal;
        let waiters = lock_waiters(&[(normal, 10, 50, Mode::Write), (normal, 20, 70, Mode::Read)]);
        assert_eq!(reserved_for(&waiters, "lock:a", normal, (20, 70), &[(50, 70)]), 30);
        // Slots were full up to 40.
        assert_eq!(reserved_for(&waiters, "lock:a", normal, (20, 70), &[(0, 40), (50, 70)]), 10);
    }

    #[test]
    fn who_is_first_waits_for_nothing_that_is_reserved() {
        // A writer is told to wait, and others come behind it.
        let (normal, low) = (Priority::Normal, Priority::Low);
        let waits = [(normal, 10, 50, Mode::Write), (normal, 20, 70, Mode::Read), (low, 0, 80, Mode::Write)];
        let waiters = lock_waiters(&waits);
        assert_eq!(reserved_for(&waiters, "lock:a:write", normal, (10, 50), &[]), 0);
        assert_eq!(reserved_for(&waiters, "lock:a", normal, (20, 70), &[]), 30);
        // One of a better class goes first, also when it comes later.
        assert_eq!(reserved_for(&waiters, "lock:a:write", low, (0, 80), &[]), 60);
        assert_eq!(reserved_for(&waiters, "lock:a", low, (0, 80), &[]), 40);
    }

    #[test]
    fn a_quantity_is_waited_for_while_less_is_free_than_wanted() {
        let holds = [(0, 40, 2, Mode::Read), (20, 60, 1, Mode::Read)];
        let four = Bounds { capacity: Some(Amount::units(4)), ..Bounds::default() };
        assert_eq!(blocked(&holds, (0, 100), "cpu=1", four), 0);
        assert_eq!(blocked(&holds, (0, 100), "cpu=2", four), 20);
        assert_eq!(blocked(&holds, (0, 100), "cpu=3", four), 40);
        assert_eq!(blocked(&holds, (0, 100), "cpu=4", four), 60);
        let one_at_a_time = Bounds { concurrency: Some(1), ..Bounds::default() };
        assert_eq!(blocked(&holds, (0, 100), "external_api:x=1", one_at_a_time), 60);
    }
}
