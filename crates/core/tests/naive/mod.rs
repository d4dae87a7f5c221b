//! A scheduler for comparison: the rules of the contract by full scans, without queues, parking or timers.
//!
//! How it reserves: a ready task that comes first of its demand is looked at in order, while a slot is free for it or
//! nobody before it waits for nothing but one. It waits for one thing at a time: for what is paused or too small for
//! it, else for what it was found to wait for before, until that lets it pass, else for its first need that is not
//! free. If that is held in a conflicting mode or reserved by a task before it, or has too few tokens, it reserves it,
//! until it starts, ends, is held or paused; and if it is short of an amount, once it has been ready for the
//! reservation delay. One with variants does so for each of them, and starts in the first that has all. One that is
//! throttled waits for that, and reserves each other need at once when it is held in a conflicting mode, or has too
//! few tokens; those pass who have ended when the throttle is over. Reserved tokens are kept: others
//! draw what is left beside them.

use orchd_model::{Amount, Claim, Mode, On, Priority, Span, Status, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod judge;
pub mod steps;
mod throttles;
mod tokens;

use throttles::Watches;

/// A resource, `workflow 1` or `session 1`; how; how much.
pub type Need = (String, Mode, Amount);
/// The pool, the needs of each variant, how those are written, and the timeout of those that claim something.
type Demand = (usize, Vec<Vec<Need>>, Vec<Vec<Claim>>, Option<Span>);
/// Class, ready since, task.
pub type Rank = (Priority, Time, usize);

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Waiting,
    Delayed(Time),
    Ready(Time),
    /// The worker; whether it is being cancelled.
    Running(u64, bool),
    Ended(Status),
}

#[derive(Clone, Debug)]
pub struct Task {
    pub class: Priority,
    /// What it needs in each of its variants; one for a task without.
    pub variants: Vec<Vec<Need>>,
    /// What it claims in any case, then what in each variant: those who say the same in other words are strangers.
    pub written: Vec<Vec<Claim>>,
    /// The one that its latest attempt runs, or ran, in.
    pub variant: usize,
    /// 0: processes, 1: a handler, 2: a milestone.
    pub pool: usize,
    pub dependencies: Vec<(usize, On)>,
    pub workflow: Option<usize>,
    pub max_retries: u32,
    pub delay: Span,
    pub not_before: Option<Time>,
    pub hold: bool,
    pub state: State,
    pub run_at: Time,
    pub tries: u32,
    pub losses: u32,
    /// Why it was skipped.
    pub root: Option<usize>,
    pub timeout: Option<Span>,
    /// When its latest attempt began.
    pub started: Time,
    /// For which variant, and what.
    pub reserved: BTreeSet<(usize, String)>,
    /// Of which it was short of an amount that it has reserved, for which variant, and since when.
    pub reserved_amounts: BTreeMap<(String, usize), (Amount, Time)>,
}

impl Task {
    pub fn status(&self) -> Status {
        match self.state {
            State::Waiting => Status::Pending,
            State::Delayed(_) | State::Ready(_) if self.tries + self.losses > 0 => Status::Retrying,
            State::Delayed(_) | State::Ready(_) => Status::Pending,
            State::Running(..) => Status::Running,
            State::Ended(status) => status,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    fn unreserve(&mut self) {
        self.reserved.clear();
        self.reserved_amounts.clear();
    }

    fn unreserve_variant(&mut self, variant: usize) {
        self.reserved.retain(|(of, _)| *of != variant);
        self.reserved_amounts.retain(|(_, of), _| *of != variant);
    }

    /// What it needs in the variant that it runs in.
    pub fn held(&self) -> &[Need] {
        &self.variants[self.variant]
    }

    /// How it needs a resource in a variant.
    fn mode(&self, variant: usize, resource: &str) -> Option<Mode> {
        mode_in(&self.variants[variant], resource)
    }
}

fn mode_in(needs: &[Need], resource: &str) -> Option<Mode> {
    needs.iter().find(|(name, ..)| name == resource).map(|(_, mode, _)| *mode)
}

#[derive(Clone, Debug, Default)]
pub struct Workflow {
    /// Whether a failure stops it; whether it also cancels what runs.
    pub fail_fast: Option<bool>,
    pub stopped_by: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Worker {
    pub id: u64,
    pub pool: usize,
    pub slots: usize,
    pub attached: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Block {
    Barred,
    Throttled,
    Mode,
    Short,
    Behind,
    Rate,
    Beside,
}

/// A token bucket into which one thousandth of a token flows in each microsecond.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    pub burst: u64,
    pub level: u64,
    pub at: Time,
}

impl Bucket {
    pub fn level(&self, now: Time) -> u64 {
        self.burst.min(self.level + now.since(self.at).0)
    }
}

#[derive(Debug, Default)]
pub struct Naive {
    pub now: Time,
    pub aging: Span,
    pub max_losses: u32,
    pub tasks: Vec<Task>,
    pub workflows: Vec<Workflow>,
    pub workers: Vec<Worker>,
    pub capacity: BTreeMap<String, Amount>,
    pub buckets: BTreeMap<String, Bucket>,
    /// Until when.
    pub throttled: BTreeMap<String, Time>,
    pub reservation_delay: Span,
    pub grace: Span,
    pub paused: BTreeSet<String>,
    pub paused_classes: BTreeSet<Priority>,
    pub paused_all: bool,
    /// What the first task of a demand was found to wait for in each variant, which task that was, and since when it
    /// was ready.
    waits_for: BTreeMap<Demand, (Time, usize, Vec<String>)>,
    watches: Watches,
    /// Counted resources of which nobody has said how much there is.
    pub missing: BTreeSet<String>,
    ended: VecDeque<usize>,
}

impl Naive {
    pub fn new(aging: Span, max_losses: u32, capacity: BTreeMap<String, Amount>) -> Self {
        Self { aging, max_losses, capacity, ..Self::default() }
    }

    // What follows from ends

    pub fn begin(&mut self, id: usize) {
        let task = &self.tasks[id];
        if task.state != State::Waiting {
            return;
        }
        let ended = |(other, _): &&(usize, On)| self.tasks[*other].has_ended();
        match task
            .dependencies
            .iter()
            .filter(ended)
            .find(|(other, on)| !on.is_met_by(self.tasks[*other].status()))
        {
            Some((other, _)) => self.skip(id, self.root_of(*other)),
            None => self.proceed_if_met(id),
        }
    }

    fn root_of(&self, id: usize) -> usize {
        self.tasks[id].root.unwrap_or(id)
    }

    /// Whether a dependency keeps its dependent waiting; one that was revived later has been waited for.
    fn is_waited_for(&self, id: usize, dependency: usize) -> bool {
        !self.tasks[dependency].has_ended() && self.tasks[dependency].run_at <= self.tasks[id].run_at
    }

    fn proceed_if_met(&mut self, id: usize) {
        let task = &self.tasks[id];
        let is_met = |(other, on): &(usize, On)| {
            let other = &self.tasks[*other];
            other.run_at > task.run_at || on.is_met_by(other.status())
        };
        if !task.dependencies.iter().all(is_met) {
            return;
        }
        let until = self.tasks[id].not_before.filter(|until| *until > self.now);
        self.tasks[id].state = until.map_or(State::Ready(self.now), State::Delayed);
        self.reach_milestone(id);
    }

    pub fn reach_milestone(&mut self, id: usize) {
        let task = &self.tasks[id];
        if task.pool == 2 && !task.hold && matches!(task.state, State::Ready(_)) {
            self.end(id, Status::Completed);
        }
    }

    fn skip(&mut self, id: usize, root: usize) {
        self.tasks[id].root = Some(root);
        self.end(id, Status::Skipped);
    }

    pub fn end(&mut self, id: usize, status: Status) {
        self.tasks[id].state = State::Ended(status);
        self.ended.push_back(id);
    }

    pub fn settle(&mut self) {
        while let Some(id) = self.ended.pop_front() {
            let status = self.tasks[id].status();
            for other in 0..self.tasks.len() {
                let edges = self.tasks[other].dependencies.clone();
                let mut edges = edges.iter().filter(|(dependency, _)| *dependency == id).peekable();
                let is_later = self.tasks[id].run_at > self.tasks[other].run_at;
                if self.tasks[other].state != State::Waiting || edges.peek().is_none() || is_later {
                    continue;
                }
                if edges.all(|(_, on)| on.is_met_by(status)) {
                    self.proceed_if_met(other);
                } else {
                    self.skip(other, self.root_of(id));
                }
            }
            self.fail_fast(id, status);
        }
    }

    fn fail_fast(&mut self, failed: usize, status: Status) {
        let Some(workflow) = self.tasks[failed].workflow else { return };
        let Some(cancels) = self.workflows[workflow].fail_fast else { return };
        if status != Status::Failed || self.workflows[workflow].stopped_by.is_some() {
            return;
        }
        self.workflows[workflow].stopped_by = Some(failed);
        for id in 0..self.tasks.len() {
            match self.tasks[id].state {
                _ if self.tasks[id].workflow != Some(workflow) => {}
                State::Ended(_) => {}
                State::Running(worker, _) if cancels => self.tasks[id].state = State::Running(worker, true),
                State::Running(..) => {}
                State::Waiting | State::Delayed(_) | State::Ready(_) => self.skip(id, failed),
            }
        }
    }

    /// A running attempt ended; `None` as a delay: not to be tried again.
    pub fn end_attempt(&mut self, id: usize, status: Status, again_in: Option<Span>) {
        let State::Running(_, is_cancelled) = self.tasks[id].state else { panic!("{id} does not run") };
        let stopped_by = self.tasks[id].workflow.and_then(|w| self.workflows[w].stopped_by);
        match (again_in, stopped_by) {
            _ if is_cancelled => self.end(id, Status::Cancelled),
            (None, _) => self.end(id, status),
            (Some(_), Some(failed)) => self.skip(id, failed),
            (Some(delay), None) if delay == Span::ZERO => self.tasks[id].state = State::Ready(self.now),
            (Some(delay), None) => self.tasks[id].state = State::Delayed(self.now + delay),
        }
    }

    // Order

    /// The class each task competes in before aging: its own, or a better one of a task that needs it.
    pub fn classes(&self) -> Vec<Priority> {
        let mut classes: Vec<Priority> = self.tasks.iter().map(|task| task.class).collect();
        loop {
            let before = classes.clone();
            for (id, task) in self.tasks.iter().enumerate().filter(|(_, task)| task.state == State::Waiting) {
                for (other, _) in &task.dependencies {
                    if self.is_waited_for(id, *other) {
                        classes[*other] = classes[*other].min(classes[id]);
                    }
                }
            }
            if classes == before {
                return classes;
            }
        }
    }

    fn rank(&self, id: usize, classes: &[Priority]) -> Option<Rank> {
        let State::Ready(since) = self.tasks[id].state else { return None };
        let base = classes[id].index();
        let steps = self.now.since(since).0.checked_div(self.aging.0).unwrap_or(0) as usize;
        let aged = base.saturating_sub(steps).max(Priority::High.index().min(base));
        let competes = !self.tasks[id].hold && !self.paused_classes.contains(&classes[id]);
        competes.then_some((Priority::ALL[aged], since, id))
    }

    /// The first task of each demand, in order.
    pub fn heads(&self) -> Vec<Rank> {
        let classes = self.classes();
        let mut ranks: Vec<Rank> = (0..self.tasks.len()).filter_map(|id| self.rank(id, &classes)).collect();
        ranks.sort_unstable();
        let mut seen = BTreeSet::new();
        ranks.retain(|rank| seen.insert(self.demand(rank.2)));
        ranks
    }

    fn demand(&self, id: usize) -> Demand {
        let Task { pool, variants, written, timeout, .. } = &self.tasks[id];
        let claims = written.iter().flatten().next().is_some();
        (*pool, variants.clone(), written.clone(), timeout.filter(|_| claims))
    }

    pub fn is_open(&self, pool: usize) -> bool {
        let slots: usize = self.workers.iter().filter(|w| w.pool == pool).map(|w| self.free_slots(w)).sum();
        slots > 0
    }

    fn free_slots(&self, worker: &Worker) -> usize {
        let here = |task: &&Task| matches!(task.state, State::Running(id, _) if id == worker.id);
        let taken = self.tasks.iter().filter(here).count();
        if worker.attached { worker.slots.saturating_sub(taken) } else { 0 }
    }

    /// The worker with most free slots, the oldest among equals.
    pub fn choose_worker(&self, pool: usize) -> u64 {
        let free = self.workers.iter().filter(|w| w.pool == pool && self.free_slots(w) > 0);
        free.max_by_key(|w| (self.free_slots(w), std::cmp::Reverse(w.id))).expect("the pool is open").id
    }

    // Claims

    fn holders(&self, resource: &str) -> Vec<(Mode, Amount)> {
        let running = self.tasks.iter().filter(|task| matches!(task.state, State::Running(..)));
        let needs = running.flat_map(Task::held).filter(|(name, ..)| name == resource);
        needs.map(|(_, mode, amount)| (*mode, self.charge(resource, *mode, *amount))).collect()
    }

    fn charge(&self, resource: &str, mode: Mode, amount: Amount) -> Amount {
        if mode == Mode::Exclusive { self.whole(resource).unwrap_or(amount) } else { amount }
    }

    fn whole(&self, resource: &str) -> Option<Amount> {
        let burst = self.buckets.get(resource).map(|bucket| Amount::thousandths(bucket.burst));
        self.capacity.get(resource).copied().or(burst)
    }

    fn is_barred(&self, (resource, mode, amount): &Need) -> bool {
        let charge = self.charge(resource, *mode, *amount);
        let is_missing = self.missing.contains(resource);
        let is_shut = self.paused.contains(resource) || is_missing;
        is_shut || self.whole(resource).is_some_and(|c| charge > c)
    }

    /// Whether a holder's mode does.
    fn excludes(&self, (resource, mode, _): &Need) -> bool {
        self.holders(resource).iter().any(|(held, _)| !held.admits(*mode))
    }

    fn held_block(&self, need: &Need) -> Option<Block> {
        let (resource, mode, amount) = need;
        let holders = self.holders(resource);
        let held = holders.iter().fold(Amount::ZERO, |sum, (_, amount)| sum + *amount);
        let wanted = held + self.charge(resource, *mode, *amount);
        if self.is_barred(need) {
            Some(Block::Barred)
        } else if self.is_throttled(need) {
            Some(Block::Throttled)
        } else if self.excludes(need) {
            Some(Block::Mode)
        } else if self.capacity.get(resource).is_some_and(|capacity| wanted > *capacity) {
            Some(Block::Short)
        } else {
            None
        }
    }

    /// When there are tokens enough for this need, if there are not.
    pub fn refill(&self, (resource, mode, amount): &Need) -> Option<Time> {
        let level = self.buckets.get(resource)?.level(self.now);
        let missing = self.charge(resource, *mode, *amount).as_thousandths().saturating_sub(level);
        (missing > 0).then(|| self.now + Span(missing))
    }

    fn block(&self, need: &Need, rank: Rank, classes: &[Priority]) -> Option<Block> {
        let excludes = |task: &Task| {
            task.reserved.iter().filter(|(_, resource)| *resource == need.0).any(|(variant, resource)| {
                let shares = (need.1, task.mode(*variant, resource)) == (Mode::Read, Some(Mode::Read));
                !shares && !self.is_over_by(rank.2, self.throttled_until(task, *variant))
            })
        };
        let before = |id: usize| self.rank(id, classes).is_some_and(|other| other < rank);
        let is_reserved = (0..self.tasks.len()).any(|id| excludes(&self.tasks[id]) && before(id))
            || self.is_short_of_tokens(need, rank, classes);
        let held = self.held_block(need);
        let is_short = held == Some(Block::Short);
        if (is_short || held.is_none()) && !self.fits_beside(need, rank, classes, is_short) {
            return Some(Block::Beside);
        }
        let held = held.or(is_reserved.then_some(Block::Behind));
        held.or(self.refill(need).map(|_| Block::Rate))
    }

    /// Whether it may be granted beside what the first before it has reserved: it is left over once all that
    /// held the resource then have ended, or has ended when that can be honoured at the latest.
    fn fits_beside(
        &self,
        (resource, mode, amount): &Need,
        rank: Rank,
        classes: &[Priority],
        is_short: bool,
    ) -> bool {
        let reserving = |id: usize| {
            let rank = self.rank(id, classes)?;
            let amounts = self.tasks[id].reserved_amounts.iter().filter(|((of, _), _)| of == resource);
            amounts.map(|((_, variant), amount)| (rank, *variant, *amount)).min()
        };
        let first = (0..self.tasks.len()).filter_map(reserving).min().filter(|(first, ..)| *first < rank);
        let Some((reserving, variant, (wanted, since))) = first else { return true };
        if is_short {
            return false;
        }
        let need_of = |task: &Task| task.held().iter().find(|need| need.0 == *resource).cloned();
        let holds = |task: &&Task| matches!(task.state, State::Running(..)) && need_of(task).is_some();
        let held = |task: &Task| {
            let need = need_of(task).expect("it holds it");
            self.charge(resource, need.1, need.2)
        };
        let holders: Vec<&Task> = self.tasks.iter().filter(holds).collect();
        let sum = |tasks: &[&Task]| tasks.iter().fold(Amount::ZERO, |sum, task| sum + held(task));
        let capacity = self.capacity[resource];
        let later: Vec<&Task> = holders.iter().filter(|task| task.started > since).copied().collect();
        let charge = self.charge(resource, *mode, *amount);
        if sum(&later) + wanted + charge <= capacity {
            return true;
        }
        let end = |task: &Task| Some(task.started + task.timeout? + self.grace);
        // The first end of a holder after which, all who must have ended by then gone, it can be honoured.
        let mut ends: Vec<Time> = holders.iter().filter_map(|task| end(task)).collect();
        ends.sort_unstable();
        let honoured = ends.into_iter().find(|at| {
            let left: Vec<&Task> =
                holders.iter().filter(|task| end(task).is_none_or(|end| end > *at)).copied().collect();
            sum(&left) + wanted <= capacity
        });
        let throttled_until = self.throttled_until(&self.tasks[reserving.2], variant);
        self.is_over_by(rank.2, honoured.max(throttled_until))
    }

    /// Starts what fits, in order; gives what it started, and in which variants.
    pub fn admit(&mut self) -> Vec<(usize, usize)> {
        let mut started = Vec::new();
        let mut waits_for_slot = BTreeSet::new();
        loop {
            self.drop_reservations();
            let heads = self.heads();
            if self.paused_all {
                return started;
            }
            let next =
                heads.into_iter().find_map(|rank| Some((rank.2, self.look(rank, &mut waits_for_slot)?)));
            let Some((next, variant)) = next else { return started };
            let worker = self.choose_worker(self.tasks[next].pool);
            if self.tasks[next].variants.iter().any(|needs| !needs.is_empty()) {
                waits_for_slot.clear();
            }
            self.start(next, variant, worker);
            started.push((next, variant));
        }
    }

    /// A task takes all it needs in a variant.
    pub fn start(&mut self, id: usize, variant: usize, worker: u64) {
        for (resource, mode, amount) in self.tasks[id].variants[variant].clone() {
            let charge = self.charge(&resource, mode, amount).as_thousandths();
            if let Some(bucket) = self.buckets.get_mut(&resource) {
                *bucket = Bucket { level: bucket.level(self.now) - charge, at: self.now, ..*bucket };
            }
        }
        let task = &mut self.tasks[id];
        (task.state, task.started, task.variant) = (State::Running(worker, false), self.now, variant);
        task.unreserve();
        self.note_taken();
    }

    fn drop_reservations(&mut self) {
        let classes = self.classes();
        for id in 0..self.tasks.len() {
            let task = &self.tasks[id];
            let barred: Vec<usize> = (0..task.variants.len())
                .filter(|variant| task.variants[*variant].iter().any(|need| self.is_barred(need)))
                .collect();
            if self.rank(id, &classes).is_none() {
                self.tasks[id].unreserve();
            }
            for variant in barred {
                self.tasks[id].unreserve_variant(variant);
            }
        }
    }

    /// The variant in which this task can start now; if there is none, it reserves what it waits for.
    /// Without a slot it only reserves; if it waits for nothing else, nobody after it in its pool is looked at.
    fn look(&mut self, rank: Rank, waits_for_slot: &mut BTreeSet<usize>) -> Option<usize> {
        let (id, demand) = (rank.2, self.demand(rank.2));
        let pool = self.tasks[id].pool;
        let is_served = self.workers.iter().any(|w| w.attached && w.pool == pool && w.slots > 0);
        let is_open = self.is_open(pool);
        if !is_open && (!is_served || waits_for_slot.contains(&pool)) {
            return None;
        }
        self.watches.remove(&demand);
        let variants = 0..self.tasks[id].variants.len();
        let former = self.waits_for.get(&demand).filter(|(since, task, _)| (*since, *task) == (rank.1, id));
        let former = former.map(|(.., resources)| resources.clone());
        let former = |variant: usize| former.as_ref().map(|resources| resources[variant].as_str());
        let blocks: Vec<_> = variants.map(|variant| self.block_in(rank, variant, former(variant))).collect();
        if let Some(variant) = blocks.iter().position(Option::is_none) {
            if !is_open {
                waits_for_slot.insert(pool);
            }
            return is_open.then_some(variant);
        }
        let blocks: Vec<(String, Block)> = blocks.into_iter().flatten().collect();
        for (variant, (need, block)) in blocks.iter().enumerate() {
            let is_group = need.contains(' ');
            let task = &mut self.tasks[id];
            match block {
                Block::Mode | Block::Behind | Block::Rate => {
                    task.reserved.insert((variant, need.clone()));
                }
                Block::Short if !is_group => self.reserve_amount(rank, variant, need),
                Block::Throttled => self.watch(rank, variant),
                Block::Short | Block::Barred | Block::Beside => {}
            }
        }
        self.waits_for.insert(demand, (rank.1, id, blocks.into_iter().map(|(need, _)| need).collect()));
        None
    }

    /// What a task waits for in a variant.
    fn block_in(&self, rank: Rank, variant: usize, former: Option<&str>) -> Option<(String, Block)> {
        let classes = self.classes();
        let needs = &self.tasks[rank.2].variants[variant];
        let blocks: Vec<(&Need, Block)> =
            needs.iter().filter_map(|n| Some((n, self.block(n, rank, &classes)?))).collect();
        let stands = |one: Block| blocks.iter().find(move |(_, block)| *block == one);
        let chosen = stands(Block::Barred).or_else(|| stands(Block::Throttled));
        let chosen = chosen.or_else(|| blocks.iter().find(|(need, _)| Some(need.0.as_str()) == former));
        chosen.or(blocks.first()).map(|(need, block)| (need.0.clone(), *block))
    }

    fn reserve_amount(&mut self, rank: Rank, variant: usize, resource: &str) {
        let due = rank.1 + self.reservation_delay;
        if due <= self.now {
            let task = &mut self.tasks[rank.2];
            let mut needs = task.variants[variant].iter();
            let amount = needs.find(|need| need.0 == resource).expect("it waits for it").2;
            task.reserved.insert((variant, resource.to_owned()));
            task.reserved_amounts.entry((resource.to_owned(), variant)).or_insert((amount, due));
        }
    }

    /// After a restart all is reserved that was, and workers are away.
    pub fn restart(&mut self) {
        self.waits_for.clear();
        self.watches.clear();
        self.workers.iter_mut().for_each(|worker| worker.attached = false);
    }
}
