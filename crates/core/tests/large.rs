//! Large graphs and long queues: the work of a step depends on what it achieves and not on what waits.
//!
//! Nothing here measures time. What would be quadratic takes minutes instead of a moment; that a free task
//! is not delayed is seen from its start in the very step that added it.

mod kit;

use kit::{World, after, claiming, started, task};
use orchd_core::{Command, Config, EdgeTarget, NewTask, NewWorkflow, Reply, Runner, Scope};
use orchd_model::{
    Amount, Claim, Code, FailFast, Mode, On, Outcome, Priority, Refusal, ResourceSetting, Status, TaskId,
    WorkerId,
};
use std::collections::{BTreeMap, VecDeque};

const MANY: usize = 100_000;

fn world(config: Config, slots: u32) -> World {
    let mut world = World::new(config);
    world.checked = false;
    world.join_process(slots);
    world
}

/// Ends what runs, oldest first, until nothing does.
fn finish(world: &mut World, first: &[TaskId]) -> usize {
    let mut running: VecDeque<TaskId> = first.iter().copied().collect();
    let mut ended = 0;
    while let Some(id) = running.pop_front() {
        running.extend(report(world, id, Outcome::Succeeded));
        ended += 1;
    }
    ended
}

/// Ends an attempt; gives what starts in its place.
fn report(world: &mut World, id: TaskId, outcome: Outcome) -> Vec<TaskId> {
    let (reply, out) = world.report(id, outcome);
    assert_eq!(reply, Ok(Reply::Done));
    started(&out)
}

fn submit(world: &mut World, tasks: Vec<NewTask>) -> Vec<TaskId> {
    let (reply, out) = world.submit(tasks, true, None);
    assert!(reply.is_ok(), "{reply:?}");
    started(&out)
}

fn chain(runner: Runner, on: On) -> Vec<NewTask> {
    let link = |i: usize| NewTask {
        runner: runner.clone(),
        ..after("link", (i > 0).then(|| (EdgeTarget::Index(i - 1), on)))
    };
    (0..MANY).map(link).collect()
}

fn assert_idle(world: &World, expected: &[(&str, usize)]) {
    let expected: BTreeMap<&str, u64> = expected.iter().map(|(name, n)| (*name, *n as u64)).collect();
    assert_eq!(world.counts(), expected);
    assert_eq!((world.core.claims_held(), world.core.backlog(), world.core.unfinished()), (0, 0, 0));
    assert_eq!(world.core.next_wake(), None, "nothing is left to be woken for");
    assert_eq!(world.core.invariants(), Ok(()));
}

#[test]
fn a_chain_of_100_000_tasks_runs_one_after_the_other() {
    let mut world = world(Config::default(), 4);
    let first = submit(&mut world, chain(Runner::Process, On::Success));
    assert_eq!(finish(&mut world, &first), MANY);
    assert_idle(&world, &[("completed", MANY)]);
}

#[test]
fn a_failure_at_the_head_of_a_chain_skips_the_rest_in_one_step_and_retry_revives_it() {
    let mut world = world(Config::default(), 4);
    let first = submit(&mut world, chain(Runner::Process, On::Success));
    let (_, out) = world.report(first[0], Outcome::exited(1));
    assert_eq!(out.events.len(), MANY, "one end each");
    assert_idle(&world, &[("failed", 1), ("skipped", MANY - 1)]);
    let (_, out) = world.retry(&first);
    let again = started(&out);
    assert_eq!((again.clone(), world.core.unfinished()), (first, MANY));
    assert_eq!(finish(&mut world, &again), MANY);
    assert_idle(&world, &[("completed", MANY)]);
}

#[test]
fn a_chain_of_100_000_milestones_is_reached_in_one_step() {
    let mut world = world(Config::default(), 4);
    let none = submit(&mut world, chain(Runner::Nothing, On::Completion));
    assert_eq!(none, []);
    assert_idle(&world, &[("completed", MANY)]);
}

#[test]
fn a_critical_task_at_the_end_of_a_chain_lends_its_class_to_all_of_it() {
    let mut world = world(Config::default(), 1);
    let busy = submit(&mut world, vec![task("busy")]);
    submit(&mut world, vec![task("rival")]);
    let mut tasks = chain(Runner::Process, On::Success);
    kit::spec_of(&mut tasks[MANY - 1]).priority = Priority::Critical;
    submit(&mut world, tasks);
    let head = TaskId(3);
    let competes_as = |world: &World| world.core.explain(head).map(|explained| explained.competes_as);
    assert_eq!(competes_as(&world), Some(Priority::Critical));
    let last = TaskId(2 + MANY as u64);
    let lower = Command::Reprioritize { tasks: last.into(), priority: Priority::Low };
    assert!(world.handle(lower).0.is_ok());
    assert_eq!(competes_as(&world), Some(Priority::Normal));
    assert_eq!(started(&world.report(busy[0], Outcome::Succeeded).1), [TaskId(2)]);
}

#[test]
fn a_fan_out_and_fan_in_of_100_000_tasks_completes() {
    let mut world = world(Config::default(), 64);
    let mut tasks = vec![task("source")];
    tasks.extend((0..MANY).map(|_| after("leaf", [(EdgeTarget::Index(0), On::Success)])));
    tasks.push(after("sink", (1..=MANY).map(|i| (EdgeTarget::Index(i), On::Success))));
    let first = submit(&mut world, tasks);
    assert_eq!(finish(&mut world, &first), MANY + 2);
    assert_idle(&world, &[("completed", MANY + 2)]);
}

#[test]
fn a_revived_fan_out_waits_for_each_dependency_once() {
    let mut world = world(Config::default(), 2);
    let sources = submit(&mut world, vec![task("a"), task("b")]);
    let edges = || sources.iter().map(|id| (EdgeTarget::Id(*id), On::Success));
    submit(&mut world, (0..MANY).map(|_| after("leaf", edges())).collect());
    report(&mut world, sources[0], Outcome::exited(1));
    assert_eq!(world.core.unfinished(), 1);
    let again = started(&world.retry(&sources[..1]).1);
    let (_, out) = world.report(sources[1], Outcome::Succeeded);
    assert_eq!(started(&out), [], "all wait for the one that runs again");
    assert_eq!(finish(&mut world, &again), MANY + 1);
    assert_idle(&world, &[("completed", MANY + 2)]);
}

#[test]
fn a_circle_of_100_000_tasks_is_refused_with_its_path() {
    let mut world = world(Config::default(), 1);
    let mut tasks = chain(Runner::Process, On::Success);
    tasks[0].edges.push((EdgeTarget::Index(MANY - 1), On::Success));
    let (reply, out) = world.submit(tasks, false, None);
    let Ok(Reply::Submitted { tasks, .. }) = reply else { panic!("each is refused on its own: {reply:?}") };
    let path = "link -> link -> link -> link -> link -> link -> link -> link -> (99992 more) -> link";
    let names_it = |refusal: &Refusal| refusal.code == Code::Cycle && refusal.value.as_deref() == Some(path);
    assert!(tasks.iter().all(|id| id.as_ref().is_err_and(|refusal| names_it(refusal))));
    assert_eq!(out.events, []);
}

#[test]
fn tasks_blocked_on_one_lock_do_not_delay_a_free_one() {
    let mut world = world(Config::default(), 4);
    let holder = submit(&mut world, vec![claiming("holder", "lock:busy:write")]);
    let modes = ["read", "write", "exclusive"];
    // Some share a demand, and most have one of their own: each also wants its own lock, or an own amount.
    let blocked = |i: usize| {
        let mut new = match i % 3 {
            0 => claiming("blocked", "lock:busy:write"),
            1 => claiming("blocked", &format!("lock:busy:{},lock:own{i}:write", modes[i / 3 % 3])),
            _ => claiming("blocked", &format!("lock:busy:write={i}")),
        };
        kit::spec_of(&mut new).priority = Priority::Critical;
        new
    };
    assert_eq!(submit(&mut world, (0..17_000).map(blocked).collect()), []);
    for round in 0..1000 {
        let free = claiming("free", if round % 2 == 0 { "" } else { "lock:other:write" });
        let start = submit(&mut world, vec![free]);
        assert_eq!(start.len(), 1, "it starts in the step that adds it");
        report(&mut world, start[0], Outcome::Succeeded);
    }
    let (_, out) = world.report(holder[0], Outcome::Succeeded);
    assert_eq!(finish(&mut world, &started(&out)), 17_000);
    assert_idle(&world, &[("completed", 18_001)]);
}

#[test]
fn one_hundred_thousand_tasks_over_a_thousand_locks_finish() {
    let mut world = world(Config::default(), 64);
    let tasks = (0..MANY).map(|i| {
        let mode = if i % 5 == 0 { "read" } else { "write" };
        claiming("t", &format!("lock:l{}:{mode}", i * 7919 % 1000))
    });
    let first = submit(&mut world, tasks.collect());
    assert_eq!(first.len(), 64);
    assert_eq!(finish(&mut world, &first), MANY);
    assert_idle(&world, &[("completed", MANY)]);
}

#[test]
fn twenty_thousand_tasks_that_each_want_another_amount_finish() {
    let memory = (
        "memory:system_memory".parse().expect("a resource"),
        ResourceSetting::capacity(Amount::units(16_000_000)),
    );
    let mut world = world(Config { resources: vec![memory], ..Config::default() }, 64);
    let tasks = (0..20_000).map(|i| claiming("t", &format!("memory={}", 1_000_000 + i * 7919 % 20_000 * 50)));
    let first = submit(&mut world, tasks.collect());
    assert_eq!(finish(&mut world, &first), 20_000);
    assert_idle(&world, &[("completed", 20_000)]);
}

#[test]
fn a_workflow_of_100_000_tasks_stops_at_its_first_failure() {
    let mut world = world(Config::default(), 8);
    let fail_fast = FailFast::Cancel;
    let workflow =
        NewWorkflow { name: "w".into(), max_parallel: Some(4), fail_fast, timeout: None, session: None };
    let (_, out) = world.submit((0..MANY).map(|_| task("t")).collect(), true, Some(workflow));
    let running = started(&out);
    assert_eq!(running.len(), 4);
    report(&mut world, running[0], Outcome::exited(1));
    for id in &running[1..] {
        report(&mut world, *id, Outcome::Cancelled);
    }
    assert_idle(&world, &[("failed", 1), ("skipped", MANY - 4), ("cancelled", 3)]);
}

#[test]
fn pausing_and_a_lost_worker_cost_what_they_concern() {
    let mut world = world(Config { max_worker_losses: u32::MAX, ..Config::default() }, 100);
    submit(&mut world, (0..MANY).map(|_| claiming("t", "lock:l")).collect());
    for _ in 0..20 {
        for scope in [
            Scope::All,
            Scope::Priority(Priority::Normal),
            Scope::Resource("lock:l".parse().expect("a resource")),
        ] {
            assert!(world.handle(Command::Pause { scope: scope.clone(), create: false }).0.is_ok());
            assert!(world.handle(Command::Resume(scope)).0.is_ok());
        }
    }
    for worker in 1..20 {
        let (_, out) = world.handle(Command::Lose { worker: WorkerId(worker), began: None });
        assert_eq!(started(&out), []);
        world.workers.clear();
        world.join(orchd_core::Join {
            incarnation: worker + 100,
            slots: 100,
            process: true,
            handlers: Vec::new(),
            holds: Vec::new(),
            note: orchd_core::WorkerNote::default(),
        });
        assert_eq!(world.core.claims_held(), 100);
    }
    let first: Vec<TaskId> = world.running().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(finish(&mut world, &first), MANY);
    assert_idle(&world, &[("completed", MANY)]);
}

/// A small generator of numbers (xorshift64, Marsaglia, JSS 8(14), 2003): the same at every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// What is held, kept apart from the core: by resource the modes and amounts of the running tasks.
#[derive(Default)]
struct Held(BTreeMap<String, Vec<(TaskId, Mode, Amount)>>);

impl Held {
    fn take(&mut self, id: TaskId, claims: &[Claim], capacity: &BTreeMap<String, Amount>) {
        for claim in claims {
            let name = claim.resource.to_string();
            let holders = self.0.entry(name.clone()).or_default();
            holders.push((id, claim.mode, claim.amount));
            let alone = holders.iter().any(|(_, mode, _)| *mode != Mode::Read);
            assert!(!alone || holders.len() == 1, "{name} is held by {holders:?}");
            let sum = holders.iter().fold(Amount::ZERO, |sum, (_, _, amount)| sum + *amount);
            assert!(capacity.get(&name).is_none_or(|capacity| sum <= *capacity), "{sum} of {name} are held");
        }
    }

    fn give_back(&mut self, id: TaskId) {
        self.0.values_mut().for_each(|holders| holders.retain(|(holder, ..)| *holder != id));
    }
}

#[test]
fn a_random_load_never_exceeds_a_capacity_and_leaves_nothing_held() {
    let mut numbers = Numbers(0x0c0f_fee0);
    let mut capacity = BTreeMap::new();
    let mut names: Vec<String> = (0..10).map(|i| format!("lock:l{i}")).collect();
    for (i, kind) in ["cpu", "memory", "disk", "gpu", "licence"].iter().cycle().take(10).enumerate() {
        let name = format!("{kind}:r{i}");
        capacity.insert(name.clone(), Amount::units(1 + i as u64));
        names.push(name);
    }
    let resources = capacity.iter().map(|(name, units)| {
        let setting = ResourceSetting::capacity(*units);
        (name.parse().expect("a resource"), setting)
    });
    let mut world = world(Config { resources: resources.collect(), ..Config::default() }, 30);
    let mut claims: BTreeMap<TaskId, Vec<Claim>> = BTreeMap::new();
    let mut held = Held::default();
    let mut running: Vec<TaskId> = Vec::new();
    while world.core.meta().next_task <= TaskId(10_000) || !running.is_empty() {
        let add = world.core.meta().next_task <= TaskId(10_000) && numbers.below(10) < 5;
        let out = if add || running.is_empty() {
            let new = random_task(&mut numbers, &names, &capacity);
            let wanted = new.spec.claims.clone();
            let id = world.core.meta().next_task;
            claims.insert(id, wanted);
            world.submit(vec![new], false, None).1
        } else {
            let id = running.swap_remove(numbers.below(running.len()));
            held.give_back(id);
            world.report(id, Outcome::Succeeded).1
        };
        for id in started(&out) {
            held.take(id, &claims[&id], &capacity);
            running.push(id);
        }
    }
    assert_idle(&world, &[("completed", 10_000)]);
    assert_eq!(world.status(TaskId(1)), Status::Completed);
}

fn random_task(numbers: &mut Numbers, names: &[String], capacity: &BTreeMap<String, Amount>) -> NewTask {
    let mut new = task("t");
    let mut claims = Vec::new();
    for _ in 0..numbers.below(4) {
        let name = &names[numbers.below(names.len())];
        if claims.iter().any(|claim: &Claim| claim.resource.to_string() == *name) {
            continue;
        }
        let mode = Mode::ALL[numbers.below(10).saturating_sub(7)];
        let amount = capacity.get(name).map_or(Amount::ONE, |capacity| {
            Amount::thousandths(500 * (1 + numbers.below(capacity.as_thousandths() as usize / 500) as u64))
        });
        claims.push(Claim::new(name.parse().expect("a resource"), mode, Some(amount)).expect("a claim"));
    }
    kit::spec_of(&mut new).claims = orchd_model::merge_claims(claims);
    kit::spec_of(&mut new).priority = Priority::ALL[numbers.below(4)];
    new
}
