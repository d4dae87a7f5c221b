//! The suite that every store must pass, and random lives compared with the naive store.

use orchd_model::{
    Priority, ScheduleId, Sequence, SessionId, Span, Status, TaskId, TaskRange, TaskSpec, Time, WorkflowId,
    WorkflowStatus,
};
use orchd_store::{Filter, History, Retention, Store};
use proptest::prelude::*;
use std::collections::BTreeSet;

use crate::memory::MemoryStore;
use crate::world::World;
use crate::{open_boxed, temp_dir};

/// Everything a store can be asked is answered as by the naive one.
fn assert_same(store: &mut dyn Store, naive: &mut MemoryStore, world: &World) {
    assert_eq!(store.load().unwrap(), naive.load().unwrap());
    let (asked, naive) = (&mut *store.reader().unwrap(), naive as &mut dyn History);
    let ids: Vec<TaskId> = (0..=world.meta.next_task.0).map(TaskId).collect();
    for id in &ids {
        assert_eq!(asked.task(*id).unwrap(), naive.task(*id).unwrap());
        assert_eq!(asked.record(*id).unwrap(), naive.record(*id).unwrap());
        assert_eq!(asked.spec(*id).unwrap(), naive.spec(*id).unwrap());
        assert_eq!(asked.attempts(*id).unwrap(), naive.attempts(*id).unwrap());
        assert_eq!(asked.skipped_by(*id).unwrap(), naive.skipped_by(*id).unwrap());
    }
    assert_eq!(asked.ended(&ids).unwrap(), naive.ended(&ids).unwrap());
    assert_eq!(asked.results(&ids).unwrap(), naive.results(&ids).unwrap());
    assert_eq!(asked.names(&ids).unwrap(), naive.names(&ids).unwrap());
    for tag in ["t0", "t1", "none"] {
        assert_eq!(asked.tagged(tag, &ids).unwrap(), naive.tagged(tag, &ids).unwrap(), "{tag}");
    }
    for key in ["k0", "k1", "k2", "unknown"] {
        for session in [None, Some(SessionId(1)), Some(SessionId(3))] {
            assert_eq!(asked.by_key(session, key).unwrap(), naive.by_key(session, key).unwrap());
        }
    }
    for filter in filters(world) {
        assert_eq!(asked.list(&filter).unwrap(), naive.list(&filter).unwrap(), "{filter:?}");
        assert_eq!(asked.ids(&filter).unwrap(), naive.ids(&filter).unwrap(), "{filter:?}");
    }
    for (first, last) in [(1, u64::MAX >> 1), (2, 9), (7, 7), (8, 12)] {
        let range = TaskRange { first: TaskId(first), last: TaskId(last) };
        assert_eq!(asked.failures(range).unwrap(), naive.failures(range).unwrap(), "{range}");
        for owner in [1000, 1001] {
            assert_eq!(asked.of_others(range, owner).unwrap(), naive.of_others(range, owner).unwrap());
        }
        assert_eq!(asked.tally(range).unwrap(), naive.tally(range).unwrap(), "{range}");
    }
    assert_same_groups(asked, naive);
    for (after, limit) in [(0, usize::MAX), (0, 3), (5, 4), (7, 0), (1 << 40, 9)] {
        let (after, what) = (Sequence(after), format!("{limit} events after {after}"));
        assert_eq!(asked.events(after, limit).unwrap(), naive.events(after, limit).unwrap(), "{what}");
    }
    assert_eq!(asked.figures().unwrap(), naive.figures().unwrap());
    for event in naive.events(Sequence(0), usize::MAX).unwrap() {
        // Nothing is left out, and not much more than a batch comes in vain.
        let place = asked.sequence_before(event.time).unwrap();
        assert!(place < event.sequence && place >= naive.sequence_before(event.time).unwrap(), "{event:?}");
    }
    assert!(asked.size_bytes().unwrap() > 0);
}

/// What tasks belong to, and what is told of them.
fn assert_same_groups(asked: &mut dyn History, naive: &mut dyn History) {
    for session in [None, Some(SessionId(1)), Some(SessionId(2))] {
        for limit in [None, Some(1)] {
            assert_eq!(asked.workflows(session, limit).unwrap(), naive.workflows(session, limit).unwrap());
        }
        let named = |history: &mut dyn History| history.workflow_by_name(session, "w").unwrap();
        assert_eq!(named(asked), named(naive));
    }
    for name in ["s0", "s1", "s2", "unknown"] {
        assert_eq!(asked.session_by_name(name).unwrap(), naive.session_by_name(name).unwrap());
    }
    for id in 0..9 {
        assert_eq!(asked.session(SessionId(id)).unwrap(), naive.session(SessionId(id)).unwrap());
    }
    for limit in [None, Some(2)] {
        assert_eq!(asked.sessions(limit).unwrap(), naive.sessions(limit).unwrap());
    }
    assert_eq!(asked.workflow(WorkflowId(1)).unwrap(), naive.workflow(WorkflowId(1)).unwrap());
    assert_eq!(asked.schedules().unwrap(), naive.schedules().unwrap());
    assert_eq!(asked.schedule(ScheduleId(1)).unwrap(), naive.schedule(ScheduleId(1)).unwrap());
    for id in [1, 2].map(WorkflowId) {
        assert_eq!(asked.of_workflow(id).unwrap(), naive.of_workflow(id).unwrap());
        assert_eq!(asked.attempts_of(id).unwrap(), naive.attempts_of(id).unwrap());
    }
    for (from, to, limit) in [(0, u64::MAX, 100), (0, u64::MAX, 1), (1_000_000, 1_000_000_000, 100)] {
        let (from, to) = (Time(from), Time(to));
        assert_eq!(
            asked.held_between(from, to, limit).unwrap(),
            naive.held_between(from, to, limit).unwrap()
        );
    }
    assert_eq!(asked.hooks_reached().unwrap(), naive.hooks_reached().unwrap());
    assert_eq!(asked.has_workflow_hooks().unwrap(), naive.has_workflow_hooks().unwrap());
    for stored in naive.workflows(None, None).unwrap() {
        let id = stored.record.id;
        assert_eq!(asked.workflow_hooks(id).unwrap(), naive.workflow_hooks(id).unwrap());
    }
    assert_eq!(asked.dead_letters().unwrap(), naive.dead_letters().unwrap());
}

fn filters(world: &World) -> Vec<Filter> {
    let since = Time(world.now().0 - 10_000);
    vec![
        Filter::default(),
        Filter { limit: Some(3), ..Filter::default() },
        Filter { limit: Some(0), ..Filter::default() },
        Filter { statuses: vec![Status::Completed, Status::Running], ..Filter::default() },
        Filter { statuses: vec![Status::Skipped], limit: Some(2), ..Filter::default() },
        Filter { statuses: vec![Status::Pending, Status::Retrying], ..Filter::default() },
        Filter { priority: Some(Priority::High), ..Filter::default() },
        Filter { tag: Some("t1".to_owned()), ..Filter::default() },
        Filter { workflow: Some(WorkflowId(1)), ..Filter::default() },
        Filter { session: Some(SessionId(1)), ..Filter::default() },
        Filter { name_glob: Some("n?_*".parse().unwrap()), ..Filter::default() },
        Filter { name_glob: Some("'; DROP TABLE task; --".parse().unwrap()), ..Filter::default() },
        Filter { since: Some(since), ..Filter::default() },
        Filter { within: Some(TaskRange { first: TaskId(2), last: TaskId(5) }), ..Filter::default() },
        Filter {
            tag: Some("t0".to_owned()),
            session: Some(SessionId(0)),
            since: Some(since),
            limit: Some(2),
            ..Filter::default()
        },
    ]
}

/// A spec with a little of everything, different for each number.
fn spec(number: usize) -> TaskSpec {
    let mut spec = TaskSpec::command(["/bin/echo".to_owned(), format!("{number} \u{1f980} \"quoted\"")]);
    spec.name = format!("n{}_{number}", number % 3);
    spec.priority = Priority::ALL[number % 4];
    spec.tags = [format!("t{}", number % 2)].into();
    spec.key = number.is_multiple_of(2).then(|| format!("k{}", number % 3));
    spec.session = number.is_multiple_of(3).then_some(SessionId(number as u64 % 2).into());
    let variants = ["gpu=1", "cpu=4"].map(|claim| vec![claim.parse().unwrap()]);
    spec.claims_any = number.is_multiple_of(3).then_some(variants).into_iter().flatten().collect();
    spec.claims = number.is_multiple_of(4).then(|| "memory=512MiB".parse().unwrap()).into_iter().collect();
    spec.array = number.is_multiple_of(7).then(|| "1-5".parse().unwrap());
    spec.timeout = number.is_multiple_of(5).then_some(Span(1_500_000));
    spec.retry.max_retries = (number % 2 == 1).then_some(3);
    if number % 3 != 1 {
        spec.env = [("HOME".to_owned(), format!("/home/{}", number % 2))].into();
    }
    spec
}

/// Something that happens to the task at some position, if it may.
#[derive(Clone, Debug)]
enum Step {
    Submit,
    Start(usize),
    Complete(usize),
    Fail(usize),
    Retry(usize),
    Cancel(usize),
    Skip(usize, Option<usize>),
    Revive(usize),
    Hold(usize),
    Edit(usize, usize),
    Split(bool, usize, u64),
    SubmitWorkflow(u64),
    EndWorkflow,
    ReopenWorkflow,
    CreateSession,
    CloseSession(usize),
    SetResource(Option<u64>, Option<u32>),
    Schedule(usize),
    Commit,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Step::{
        Cancel, CloseSession, Commit, Complete, CreateSession, Edit, EndWorkflow, Fail, Hold, Reopen,
        ReopenWorkflow, Retry, Revive, Schedule, SetResource, Skip, Split, Start, Submit, SubmitWorkflow,
    };
    let at = || 0..1000_usize;
    prop::collection::vec(
        prop_oneof![
            6 => Just(Submit),
            6 => at().prop_map(Start),
            3 => at().prop_map(Complete),
            2 => at().prop_map(Fail),
            2 => at().prop_map(Retry),
            1 => at().prop_map(Cancel),
            2 => (at(), prop::option::of(at())).prop_map(|(task, root)| Skip(task, root)),
            2 => at().prop_map(Revive),
            1 => at().prop_map(Hold),
            2 => (at(), 0..20_usize).prop_map(|(task, number)| Edit(task, number)),
            2 => (any::<bool>(), at(), 1..5_u64).prop_map(|(ended, task, keep)| Split(ended, task, keep)),
            1 => (1..4_u64).prop_map(SubmitWorkflow),
            1 => Just(CreateSession),
            1 => at().prop_map(CloseSession),
            1 => Just(EndWorkflow),
            1 => Just(ReopenWorkflow),
            1 => (prop::option::of(any::<u64>()), prop::option::of(any::<u32>())).prop_map(|(a, b)| SetResource(a, b)),
            2 => at().prop_map(Schedule),
            3 => Just(Commit),
            1 => Just(Reopen),
        ],
        1..80,
    )
}

fn apply(world: &mut World, step: &Step) {
    let live = |world: &World, position: usize| world.pick(false, position);
    match step {
        Step::Submit => drop(world.submit(spec(world.meta.next_task.0 as usize))),
        Step::Start(at) => live(world, *at).into_iter().for_each(|id| world.start(id)),
        Step::Complete(at) => live(world, *at).into_iter().for_each(|id| world.complete(id)),
        Step::Fail(at) => live(world, *at).into_iter().for_each(|id| world.fail(id)),
        Step::Retry(at) => live(world, *at).into_iter().for_each(|id| world.retry(id)),
        Step::Cancel(at) => live(world, *at).into_iter().for_each(|id| world.cancel(id)),
        Step::Skip(at, root) => {
            let root = root.and_then(|at| world.pick(true, at));
            live(world, *at).into_iter().for_each(|id| world.skip(id, root));
        }
        Step::Revive(at) => world.pick(true, *at).into_iter().for_each(|id| world.revive(id)),
        Step::Edit(at, number) => live(world, *at).into_iter().for_each(|id| world.edit(id, spec(*number))),
        Step::Hold(at) => live(world, *at).into_iter().for_each(|id| world.hold(id)),
        Step::Split(ended, at, keep) => {
            world.pick(*ended, *at).into_iter().for_each(|id| world.split(id, *keep));
        }
        Step::SubmitWorkflow(tasks) => drop(world.submit_workflow("w", *tasks)),
        Step::EndWorkflow | Step::ReopenWorkflow => {
            let Some(id) = world.workflows.keys().next_back().copied() else { return };
            match step {
                Step::EndWorkflow => world.end_workflow(id, WorkflowStatus::Completed),
                _ => world.reopen_workflow(id),
            }
        }
        Step::CreateSession => drop(world.create_session()),
        Step::CloseSession(at) => {
            let ids: Vec<SessionId> = world.sessions.keys().copied().collect();
            ids.get(at % ids.len().max(1)).into_iter().for_each(|id| world.close_session(*id));
        }
        Step::SetResource(capacity, concurrency) => world.set_resource(*capacity, *concurrency),
        Step::Schedule(what) => world.schedule(*what),
        Step::Commit | Step::Reopen => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_lives_read_back_as_from_the_naive_store(steps in steps(), keep in 0..20_u64) {
        let dir = temp_dir();
        let (mut store, mut naive, mut world) = (open_boxed(&dir), MemoryStore::default(), World::new());
        for step in &steps {
            apply(&mut world, step);
            if matches!(step, Step::Commit | Step::Reopen) {
                let batch = world.batch();
                store.commit(&batch).unwrap();
                naive.commit(&batch).unwrap();
            }
            if matches!(step, Step::Reopen) {
                drop(store);
                store = open_boxed(&dir);
                prop_assert_eq!(store.load().unwrap(), naive.load().unwrap());
            }
        }
        let batch = world.batch();
        store.commit(&batch).unwrap();
        naive.commit(&batch).unwrap();
        assert_same(&mut *store, &mut naive, &world);
        let retention = Retention { tasks: keep, since: Time(world.now().0 - keep * 2000) };
        prop_assert_eq!(store.trim(&retention).unwrap(), naive.trim(&retention).unwrap());
        assert_same(&mut *store, &mut naive, &world);
        store.integrity().unwrap();
    }
}

fn a_fresh_store_is_empty(mut store: Box<dyn Store>) {
    let snapshot = store.load().unwrap();
    assert_eq!((snapshot.tasks.len(), snapshot.workflows.len(), snapshot.meta.next_task), (0, 0, TaskId(0)));
    assert_eq!(store.reader().unwrap().list(&Filter::default()).unwrap(), []);
    assert_eq!(store.reader().unwrap().events(Sequence(0), 10).unwrap(), []);
}

fn a_restart_reads_nothing_finished(mut store: Box<dyn Store>) {
    let mut world = World::new();
    let tasks: Vec<TaskId> = (0..4).map(|n| world.submit(spec(n))).collect();
    store.commit(&world.batch()).unwrap();
    world.complete(tasks[0]);
    world.cancel(tasks[1]);
    world.skip(tasks[2], Some(tasks[1]));
    store.commit(&world.batch()).unwrap();
    let snapshot = store.load().unwrap();
    assert_eq!(snapshot.tasks, [world.tasks[&tasks[3]].clone()]);
    assert_eq!(snapshot.meta, world.meta);
}

fn a_task_born_and_ended_in_one_batch_is_history(mut store: Box<dyn Store>) {
    let mut world = World::new();
    let id = world.submit(spec(1));
    world.start(id);
    world.complete(id);
    store.commit(&world.batch()).unwrap();
    assert!(store.load().unwrap().tasks.is_empty());
    let task = store.reader().unwrap().task(id).unwrap().unwrap();
    assert_eq!(task.record.status(), Status::Completed);
    assert!(task.started_at < task.finished_at && task.result.unwrap().success);
    assert_eq!(store.reader().unwrap().attempts(id).unwrap().len(), 1);
}

fn a_revived_task_has_no_end_and_no_result(mut store: Box<dyn Store>) {
    let mut world = World::new();
    let id = world.submit(spec(1));
    world.start(id);
    world.fail(id);
    store.commit(&world.batch()).unwrap();
    world.revive(id);
    store.commit(&world.batch()).unwrap();
    let task = store.reader().unwrap().task(id).unwrap().unwrap();
    assert_eq!((task.result, task.started_at, task.finished_at), (None, None, None));
    assert_eq!(store.load().unwrap().tasks.len(), 1);
    assert_eq!(store.reader().unwrap().attempts(id).unwrap().len(), 1, "attempts stay");
}

fn a_reader_on_another_thread_sees_what_was_committed(mut store: Box<dyn Store>) {
    let mut world = World::new();
    let mut reader = store.reader().unwrap();
    let id = world.submit(spec(2));
    store.commit(&world.batch()).unwrap();
    let seen = std::thread::spawn(move || reader.record(id).unwrap()).join().unwrap();
    assert_eq!(seen.as_ref(), world.tasks.get(&id));
}

fn ids_are_not_reused_after_everything_is_trimmed(mut store: Box<dyn Store>) {
    let mut world = World::new();
    for number in 0..1200 {
        let id = world.submit(TaskSpec { array: None, ..spec(number) });
        world.complete(id);
    }
    store.commit(&world.batch()).unwrap();
    let all = Retention { tasks: 0, since: Time(0) };
    while store.trim(&all).unwrap().more {}
    assert!(store.reader().unwrap().ids(&Filter::default()).unwrap().is_empty());
    assert_eq!(store.load().unwrap().meta.next_task, TaskId(1201));
}

fn tasks_of_a_running_workflow_are_not_trimmed(mut store: Box<dyn Store>) {
    let mut world = World::new();
    let workflow = world.submit_workflow("w", 2);
    world.complete(TaskId(1));
    store.commit(&world.batch()).unwrap();
    let all = Retention { tasks: 0, since: world.now() + Span(1) };
    assert_eq!(store.trim(&all).unwrap().tasks, []);
    world.complete(TaskId(2));
    world.end_workflow(workflow, WorkflowStatus::Completed);
    store.commit(&world.batch()).unwrap();
    let all = Retention { tasks: 0, since: world.now() + Span(1) };
    let trimmed = store.trim(&all).unwrap();
    assert_eq!(trimmed.tasks.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(trimmed.workflows, 1);
}

fn a_task_that_ends_while_a_list_is_read_is_in_it_once(mut store: Box<dyn Store>) {
    const TASKS: usize = 300;
    let mut world = World::new();
    let ids: Vec<TaskId> = (0..TASKS).map(|_| world.submit(TaskSpec::shell("true"))).collect();
    store.commit(&world.batch()).unwrap();
    let mut reader = store.reader().unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for id in ids {
                world.start(id);
                world.complete(id);
                store.commit(&world.batch()).unwrap();
            }
        });
        while !writer.is_finished() {
            let listed = reader.list(&Filter::default()).unwrap();
            let different: BTreeSet<TaskId> = listed.iter().map(|task| task.record.id).collect();
            assert_eq!((listed.len(), different.len()), (TASKS, TASKS));
        }
    });
}

/// Puts a store under the suite: a name, and an expression that makes an empty one from a directory.
macro_rules! suite {
    ($name:ident, $make:expr, $($test:ident),+ $(,)?) => {
        mod $name {
            $(#[test]
            fn $test() {
                let dir = crate::temp_dir();
                super::$test($make(&dir));
            })+
        }
    };
    ($name:ident, $make:expr) => {
        suite!(
            $name,
            $make,
            a_fresh_store_is_empty,
            a_restart_reads_nothing_finished,
            a_task_born_and_ended_in_one_batch_is_history,
            a_revived_task_has_no_end_and_no_result,
            a_reader_on_another_thread_sees_what_was_committed,
            ids_are_not_reused_after_everything_is_trimmed,
            tasks_of_a_running_workflow_are_not_trimmed,
            a_task_that_ends_while_a_list_is_read_is_in_it_once,
        );
    };
}

suite!(sqlite, crate::open_boxed);
suite!(memory, |_: &tempfile::TempDir| Box::new(crate::memory::MemoryStore::default()));
