//! Nobody starves, and nobody is given more than there is: streams of others against one that must not wait
//! for ever, calls against a rate, and random work to its end.

mod kit;

use kit::{World, claiming, spec_of, started};
use orchd_core::{Command, Config, NewTask};
use orchd_model::{Amount, Outcome, Priority, ResourceName, ResourceSetting, Span, Status, TaskId, Time};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

const MINUTE: Span = Span::from_secs(60);
const BURST: u64 = 10;

fn named(name: &str) -> ResourceName {
    name.parse().expect("a resource")
}

/// A world with one process worker, 8 cores, and a rate of 60 tokens a minute.
fn world(slots: u32) -> World {
    let rate = ResourceSetting {
        tokens: Some(Amount::units(60)),
        per: Some(MINUTE),
        burst: Some(Amount::units(BURST)),
        ..ResourceSetting::default()
    };
    let resources =
        vec![(named("cpu"), ResourceSetting::capacity(Amount::units(8))), (named("external_api:x"), rate)];
    let mut world = World::new(Config { resources, aging: Span::ZERO, ..Config::default() });
    world.join_process(slots);
    world
}

fn add(world: &mut World, task: NewTask) -> TaskId {
    world.add(vec![task])[0]
}

fn status(world: &World, id: TaskId) -> Status {
    world.store.task(id).expect("it was added").status()
}

/// Plays a stream of `claims`, each of which runs for `life` steps, against one task that arrives after as many
/// steps; gives how many attempts ended after it had come until it started.
fn stream_against(claims: &str, wanted: &str, life: usize, step: Span) -> usize {
    let mut world = world(64);
    let mut running = VecDeque::new();
    let mut waits: Option<TaskId> = None;
    for number in 0..1000 {
        running.push_back(add(&mut world, claiming("one of many", claims)));
        if number == life {
            waits = Some(add(&mut world, claiming("must not starve", wanted)));
        }
        let to = world.now + step;
        world.pass(to);
        if running.len() >= life {
            let first = *running.front().expect("there are some");
            if status(&world, first) == Status::Running {
                running.pop_front();
                assert!(world.report(first, Outcome::Succeeded).0.is_ok());
            }
        }
        if waits.is_some_and(|id| status(&world, id) == Status::Running) {
            return number - life;
        }
    }
    panic!("it waits still, though a thousand others came and went");
}

#[test]
fn a_stream_of_readers_delays_a_writer_by_those_before_it_alone() {
    // As many readers hold it when the writer comes as are alive at once.
    for life in [1, 3, 10] {
        let waited = stream_against("lock:a", "lock:a:write", life, Span::from_millis(10));
        assert!(waited <= life + 1, "{waited} steps for {life} readers");
    }
}

#[test]
fn a_stream_of_small_tasks_does_not_starve_a_large_one() {
    // It is overtaken for ten seconds, ten steps a second, and then waits for those that run.
    let waited = stream_against("cpu=1", "cpu=8", 8, Span::from_millis(100));
    assert!((100..=110).contains(&waited), "{waited} steps");
}

#[test]
fn calls_are_granted_as_the_bucket_allows_in_strict_order_and_nothing_is_wasted() {
    let mut world = world(1000);
    let end = Time(10 * MINUTE.0);
    let classes = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
    let tasks = (0..200_u64).map(|number| {
        let mut task = claiming("call", &format!("external_api:x={}", 1 + number * 7 % BURST));
        spec_of(&mut task).priority = classes[(number * 13 % 4) as usize];
        task
    });
    let wanted: BTreeMap<TaskId, (Priority, u64)> = {
        let tasks: Vec<NewTask> = tasks.collect();
        let what: Vec<_> =
            tasks.iter().map(|task| (task.spec.priority, task.spec.claims[0].amount)).collect();
        let (reply, out) = world.submit(tasks, false, None);
        assert!(reply.is_ok());
        let mut grants = started(&out);
        let ids = 1..=what.len() as u64;
        let wanted: BTreeMap<TaskId, (Priority, u64)> = ids
            .map(TaskId)
            .zip(what.iter().map(|(class, amount)| (*class, amount.as_thousandths() / 1000)))
            .collect();
        let mut times: Vec<(Time, TaskId)> = grants.drain(..).map(|id| (Time(0), id)).collect();
        times.extend(
            world.pass(end).iter().flat_map(|(at, out)| started(out).into_iter().map(|id| (*at, id))),
        );
        check_grants(&times, &wanted, end);
        wanted
    };
    assert_eq!(wanted.len(), 200);
}

fn check_grants(grants: &[(Time, TaskId)], wanted: &BTreeMap<TaskId, (Priority, u64)>, end: Time) {
    // Over any window no more than the burst and what came in.
    for (from, (begin, _)) in grants.iter().enumerate() {
        let mut granted = 0;
        for (at, id) in &grants[from..] {
            granted += wanted[id].1;
            let come = (at.0 - begin.0) / 1_000_000;
            assert!(granted <= BURST + come, "{granted} tokens in {} s", come);
        }
    }
    let order: Vec<(Priority, TaskId)> = grants.iter().map(|(_, id)| (wanted[id].0, *id)).collect();
    assert!(order.is_sorted(), "served out of order: {order:?}");
    // Whoever waits at the end waits for tokens that have not come: all that came were drawn.
    let granted: u64 = grants.iter().map(|(_, id)| wanted[id].1).sum();
    let available = BURST + end.0 / 1_000_000;
    let next = wanted.iter().filter(|(id, _)| !grants.iter().any(|(_, other)| other == *id));
    let next = next.map(|(id, (class, tokens))| (*class, *id, *tokens)).min().expect("some wait").2;
    assert!(granted + next > available, "{granted} of {available} were granted, and {next} are waited for");
    assert!(granted * 100 >= available * 99, "{granted} of {available}");
}

#[derive(Clone, Debug)]
struct Work {
    claims: Vec<&'static str>,
    class: Priority,
    timeout: Option<u64>,
    life_ms: u64,
    pause_ms: u64,
    /// How long the rate is throttled when it comes.
    throttle_ms: Option<u64>,
}

fn work() -> impl Strategy<Value = Work> {
    let claim = prop::sample::select(vec![
        "lock:a",
        "lock:a:write",
        "lock:b",
        "lock:b:exclusive",
        "cpu=1",
        "cpu=3",
        "cpu=8",
        "cpu:exclusive",
        "external_api:x=1",
        "external_api:x=10",
        "external_api:x:exclusive",
        "cpu:write=2",
    ]);
    (
        prop::collection::vec(claim, 0..4),
        prop::sample::select(Priority::ALL.to_vec()),
        prop::option::of(10_u64..100),
        1_u64..2_000,
        0_u64..500,
        prop_oneof![4 => Just(None), 1 => (0_u64..30_000).prop_map(Some)],
    )
        .prop_map(|(claims, class, timeout, life_ms, pause_ms, throttle_ms)| Work {
            claims,
            class,
            timeout,
            life_ms,
            pause_ms,
            throttle_ms,
        })
}

/// What happens while a writer waits.
#[derive(Clone, Debug)]
enum Meanwhile {
    /// A reader comes, and lives for so long; whether it has a timeout that says so.
    Reader(Span, bool),
    /// A reader comes that its client runs itself, and lives for so long.
    Guard(Span),
    /// What the writer needs besides is throttled.
    Throttle(Span),
    /// While the workers have yet to find the new scheduler, a client's reader comes that lives for so long.
    Restart(Span),
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    prop_oneof![
        6 => ((1_u64..20_000).prop_map(Span::from_millis), any::<bool>()).prop_map(|(life, timed)| Meanwhile::Reader(life, timed)),
        2 => (1_u64..20_000).prop_map(|ms| Meanwhile::Guard(Span::from_millis(ms))),
        3 => (1_u64..10_000).prop_map(|ms| Meanwhile::Throttle(Span::from_millis(ms))),
        1 => (10_000_u64..40_000).prop_map(|ms| Meanwhile::Throttle(Span::from_millis(ms))),
        1 => (1_u64..20_000).prop_map(|ms| Meanwhile::Restart(Span::from_millis(ms))),
    ]
}

/// What a writer that needs a rate besides finds when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// A reader has the lock.
    Untold,
    /// So it is, and the rate is throttled.
    ToldBehind,
    /// The rate is throttled; the lock is free, and then the first reader takes it.
    ToldBefore,
}

fn begins() -> impl Strategy<Value = Begins> {
    prop_oneof![Just(Begins::Untold), Just(Begins::ToldBehind), Just(Begins::ToldBefore)]
}

fn throttle(world: &mut World, pause: Span) {
    let command = Command::Throttle { resource: named("external_api:x"), pause, by: None, create: false };
    assert!(world.handle(command).0.is_ok());
}

/// A writer that needs a rate besides, and all that comes after it.
struct Waiting {
    world: World,
    writer: TaskId,
    /// When the readers end.
    ends: BTreeMap<TaskId, Time>,
    lives: BTreeMap<TaskId, Span>,
    timeouts: BTreeMap<TaskId, Span>,
    /// Until when the rate is throttled.
    throttled_until: Time,
    /// Those who came later and passed it: when their timeouts say that they are over, if they do, and when the writer
    /// could start at the earliest, as far as was known then.
    passed: Vec<(Option<Time>, Time)>,
}

impl Waiting {
    /// A reader has the lock, and the writer waits for it.
    fn new(begins: Begins) -> Self {
        let mut world = world(64);
        let mut throttled_until = Time(0);
        if begins != Begins::Untold {
            throttled_until = Time(5_000_000);
            throttle(&mut world, Span::from_secs(5));
        }
        let writer = || claiming("writer", "lock:a:write,external_api:x");
        let early = (begins == Begins::ToldBefore).then(|| add(&mut world, writer()));
        let reader = add(&mut world, claiming("first reader", "lock:a"));
        assert_eq!(status(&world, reader), Status::Running);
        let writer = early.unwrap_or_else(|| add(&mut world, writer()));
        let ends = BTreeMap::from([(reader, Time(3_000_000))]);
        let (lives, timeouts) = Default::default();
        Self { world, writer, ends, lives, timeouts, throttled_until, passed: Vec::new() }
    }

    fn waits(&self) -> bool {
        status(&self.world, self.writer) == Status::Pending
    }

    fn is_throttled(&self) -> bool {
        self.throttled_until > self.world.now
    }

    /// Lets time pass; readers end when it is time for that.
    fn pass(&mut self, to: Time) {
        loop {
            let next = self.ends.iter().map(|(id, at)| (*at, *id)).min().filter(|(at, _)| *at <= to);
            self.world.pass(next.map_or(to, |(at, _)| at));
            self.look();
            let Some((_, id)) = next else { return };
            self.ends.remove(&id);
            assert!(self.world.report(id, Outcome::Succeeded).0.is_ok());
            self.look();
        }
    }

    fn come(&mut self, what: &Meanwhile) {
        match what {
            Meanwhile::Reader(life, timed) => {
                let mut reader = claiming("later reader", "lock:a");
                spec_of(&mut reader).timeout = timed.then_some(*life);
                let id = add(&mut self.world, reader);
                self.lives.insert(id, *life);
                self.timeouts.extend(timed.then_some((id, *life)));
            }
            Meanwhile::Guard(life) => self.come_as_guard(*life),
            Meanwhile::Throttle(pause) => {
                throttle(&mut self.world, *pause);
                self.throttled_until = self.world.now + *pause;
            }
            Meanwhile::Restart(life) => {
                let attached = self.world.core.workers().iter().map(|view| view.id).collect();
                self.world.reload();
                self.come_as_guard(*life);
                self.world.rejoin(&attached);
            }
        }
        self.look();
    }

    fn come_as_guard(&mut self, life: Span) {
        let (id, reply, _) = self.world.claim_as(claiming("later guard", "lock:a"), true);
        assert!(reply.is_ok(), "{reply:?}");
        self.lives.insert(id, life);
        self.look();
    }

    /// Notes who has started, and that the writer waits for nobody else.
    fn look(&mut self) {
        for (id, ..) in self.world.running() {
            if id != self.writer && !self.ends.contains_key(&id) {
                self.ends.insert(id, self.world.now + self.lives[&id]);
                if self.waits() {
                    let grace = self.world.config.grace;
                    let over = self.timeouts.get(&id).map(|timeout| self.world.now + *timeout + grace);
                    self.passed.push((over, self.throttled_until));
                }
            }
        }
        assert!(
            !self.waits() || self.is_throttled() || !self.ends.is_empty(),
            "nothing stands in its way at {:?}",
            self.world.now
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// A writer waits for the readers that were there before it. Those who came later pass only if their timeouts say
    /// that they are over before it may start. However often it is told to wait, before it comes or after, and over a
    /// restart, too.
    #[test]
    fn a_writer_that_is_told_to_wait_is_passed_by_those_alone_that_are_over_in_time(
        begins in begins(),
        meanwhile in prop::collection::vec((0_u64..3_000, meanwhile()), 1..60),
    ) {
        let mut waiting = Waiting::new(begins);
        for (pause, what) in &meanwhile {
            waiting.pass(waiting.world.now + Span::from_millis(*pause));
            waiting.come(what);
        }
        waiting.pass(waiting.world.now + Span::from_secs(100));
        prop_assert!(!waiting.waits());
        let is_proven = |(over, start): &(Option<Time>, Time)| over.is_some_and(|over| over <= *start);
        prop_assert!(waiting.passed.iter().all(is_proven), "{:?}", waiting.passed);
    }

    /// With finite work every task starts and ends, whatever it claims, and the daemon is restarted meanwhile.
    #[test]
    fn finite_work_ends(work in prop::collection::vec(work(), 1..60), slots in 1_u32..6, restart in 0_usize..60) {
        let mut world = world(slots);
        let mut ends: BTreeMap<TaskId, Time> = BTreeMap::new();
        let mut lives: BTreeMap<TaskId, Span> = BTreeMap::new();
        let mut coming = work.iter();
        let mut next_at = Time(0);
        for number in 0.. {
            for (id, ..) in world.running() {
                ends.entry(id).or_insert(world.now + lives[&id]);
            }
            let next = coming.as_slice().first().map(|_| next_at);
            let end = ends.iter().map(|(id, at)| (*at, *id)).min();
            let wake = world.core.next_wake();
            let Some(to) = [next, end.map(|(at, _)| at), wake].into_iter().flatten().min() else { break };
            world.pass(to);
            if let Some((_, id)) = end.filter(|(at, _)| *at <= to) {
                ends.remove(&id);
                prop_assert!(world.report(id, Outcome::Succeeded).0.is_ok());
            } else if next.is_some_and(|at| at <= to) {
                let one = coming.next().expect("it was seen");
                next_at = world.now + Span::from_millis(one.pause_ms);
                let mut task = claiming("work", &distinct(&one.claims).join(","));
                spec_of(&mut task).priority = one.class;
                spec_of(&mut task).timeout = one.timeout.map(Span::from_secs);
                if let Some(pause) = one.throttle_ms {
                    throttle(&mut world, Span::from_millis(pause));
                }
                lives.insert(add(&mut world, task), Span::from_millis(one.life_ms));
            }
            if number == restart {
                let attached = world.core.workers().iter().map(|view| view.id).collect();
                world.reload();
                world.rejoin(&attached);
            }
            prop_assert!(number < 10_000, "it does not end: {:?}", world.core.resources());
        }
        prop_assert_eq!(world.core.unfinished(), 0, "{:?}", world.core.unfinished_tasks().iter().map(|id| world.core.explain(*id)).collect::<Vec<_>>());
        prop_assert_eq!(world.core.claims_held(), 0);
    }
}

/// At most one claim a resource: two of them may be more than there is.
fn distinct<'a>(claims: &[&'a str]) -> Vec<&'a str> {
    let resource = |claim: &str| claim.parse::<orchd_model::Claim>().expect("a claim").resource;
    let mut kept: Vec<&str> = Vec::new();
    for claim in claims {
        if !kept.iter().any(|other| resource(other) == resource(claim)) {
            kept.push(claim);
        }
    }
    kept
}

#[test]
fn a_throttled_or_closed_resource_stops_nobody_else() {
    let mut world = world(4);
    let resource = named("external_api:x");
    assert!(world.handle(Command::Close { resource, create: false }).0.is_ok());
    let kept = add(&mut world, claiming("kept", "external_api:x,lock:a:write"));
    let free = add(&mut world, claiming("free", "lock:a"));
    assert_eq!((status(&world, kept), status(&world, free)), (Status::Pending, Status::Running));
}
