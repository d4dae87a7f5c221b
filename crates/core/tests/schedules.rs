//! Schedules: each tick happens once, whatever is said twice and whenever the daemon is killed.

mod kit;

use kit::{World, task};
use orchd_core::{
    Command, Config, Effect, Fact, Firing, NewSchedule, NewTask, NewWorkflow, Reply, Run, Submission,
    TickOutcome, Trigger,
};
use orchd_model::{
    Body, CatchUp, Code, FailFast, Outcome, Overlap, Refusal, ScheduleId, ScheduleSpec, Span, Status, TaskId,
    TaskSpec, Time,
};
use std::sync::Arc;

const MINUTE: u64 = 60_000_000;

fn minute(number: u64) -> Time {
    Time(number * MINUTE)
}

fn world(overlap: Overlap) -> (World, ScheduleId) {
    let mut world = World::new(Config { aging: Span::ZERO, ..Config::default() });
    world.join_process(4);
    let Ok(Reply::Scheduled(id)) = add(&mut world, "nightly", overlap) else { panic!("it is added") };
    (world, id)
}

fn add(world: &mut World, name: &str, overlap: Overlap) -> Result<Reply, Refusal> {
    let spec = ScheduleSpec {
        name: name.to_owned(),
        cron: None,
        timezone: None,
        every: Some(Span(MINUTE)),
        overlap,
        catch_up: CatchUp::None,
        task: Some(Box::new(TaskSpec::new(Body::Milestone))),
        workflow: None,
        definition: None,
    };
    let new = NewSchedule { spec: Arc::new(spec), owner: 1000, created_at: minute(0), next: minute(1) };
    world.handle(Command::AddSchedule(Box::new(new))).0
}

fn tasks(tasks: Vec<NewTask>) -> Submission {
    Submission { tasks, owner: 1000, ..Submission::default() }
}

fn firing(schedule: ScheduleId, at: u64) -> Firing {
    Firing {
        schedule,
        trigger: Trigger::Calendar { expected: minute(at) },
        at: minute(at),
        next: Some(minute(at + 1)),
        missed: 0,
        work: Some(Ok(tasks(vec![task("run")]))),
    }
}

fn fire(world: &mut World, firing: Firing) -> Result<TickOutcome, Code> {
    match world.handle(Command::Fire(Box::new(firing))).0 {
        Ok(Reply::Ticked(outcome)) => Ok(outcome),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.code),
    }
}

fn started(outcome: &Result<TickOutcome, Code>) -> TaskId {
    match outcome {
        Ok(TickOutcome::Started(Run::Tasks { first, more: 0 })) => *first,
        other => panic!("nothing was started: {other:?}"),
    }
}

#[test]
fn a_tick_happens_once_also_over_a_restart() {
    let (mut world, id) = world(Overlap::Allow);
    let first = started(&fire(&mut world, firing(id, 1)));
    assert_eq!(world.status(first), Status::Running);
    world.reload();
    assert_eq!(fire(&mut world, firing(id, 1)), Err(Code::WrongState));
    let second = started(&fire(&mut world, firing(id, 2)));
    assert_ne!(first, second);
    let record = world.core.schedule_record(id).unwrap();
    assert_eq!((record.started, record.next, record.skipped), (2, Some(minute(3)), 0));
}

#[test]
fn what_was_missed_is_counted_and_passed_over() {
    let (mut world, id) = world(Overlap::Skip);
    let late = Firing { trigger: Trigger::Calendar { expected: minute(1) }, missed: 6, ..firing(id, 7) };
    started(&fire(&mut world, late));
    let trigger = Trigger::Calendar { expected: minute(8) };
    let all = Firing { trigger, missed: 3, work: None, ..firing(id, 10) };
    assert_eq!(fire(&mut world, all), Ok(TickOutcome::Missed));
    let record = world.core.schedule_record(id).unwrap();
    assert_eq!((record.started, record.missed, record.next), (1, 9, Some(minute(11))));
}

#[test]
fn a_tick_is_skipped_while_the_run_before_it_has_not_ended() {
    let (mut world, id) = world(Overlap::Skip);
    let first = started(&fire(&mut world, firing(id, 1)));
    assert_eq!(fire(&mut world, firing(id, 2)), Ok(TickOutcome::Skipped));
    world.report(first, Outcome::Succeeded).0.unwrap();
    started(&fire(&mut world, firing(id, 3)));
    let record = world.core.schedule_record(id).unwrap();
    assert_eq!((record.started, record.skipped), (2, 1));
}

#[test]
fn a_queued_tick_is_called_when_the_run_before_it_has_ended() {
    let (mut world, id) = world(Overlap::Queue);
    let first = started(&fire(&mut world, firing(id, 1)));
    assert_eq!(fire(&mut world, firing(id, 2)), Ok(TickOutcome::Queued));
    assert_eq!(fire(&mut world, firing(id, 3)), Ok(TickOutcome::Queued));
    let queued = |at| Firing { trigger: Trigger::Queue, ..firing(id, at) };
    assert_eq!(fire(&mut world, queued(2)), Err(Code::WrongState), "the first run has not ended");
    let out = world.report(first, Outcome::Succeeded).1;
    assert!(out.effects.contains(&Effect::Call { schedule: id }));
    assert!(world.handle(Command::Tick).1.effects.is_empty(), "it is called once");
    // The call is lost with the daemon, and comes again.
    world.reload();
    assert!(world.handle(Command::Tick).1.effects.contains(&Effect::Call { schedule: id }));
    assert_eq!(fire(&mut world, queued(3)), Err(Code::WrongState), "in their order");
    let second = started(&fire(&mut world, queued(2)));
    assert_eq!(fire(&mut world, queued(3)), Err(Code::WrongState));
    let next = world.core.schedule_record(id).unwrap().next;
    assert_eq!(next, Some(minute(4)), "what waited does not change the calendar");
    // A cancelled run has ended, too.
    let workers: std::collections::BTreeSet<_> = world.workers.keys().copied().collect();
    world.rejoin(&workers);
    world.handle(Command::Cancel { tasks: vec![second.into()] }).0.unwrap();
    assert!(world.report(second, Outcome::Cancelled).1.effects.contains(&Effect::Call { schedule: id }));
    started(&fire(&mut world, queued(3)));
}

#[test]
fn the_run_before_is_cancelled_where_that_is_wished() {
    let (mut world, id) = world(Overlap::Cancel);
    let workflow = NewWorkflow {
        name: "w".into(),
        max_parallel: Some(1),
        fail_fast: FailFast::No,
        timeout: None,
        session: None,
    };
    let work = Submission { workflow: Some(workflow), ..tasks(vec![task("one"), task("two")]) };
    let first = fire(&mut world, Firing { work: Some(Ok(work)), ..firing(id, 1) });
    let Ok(TickOutcome::Started(Run::Workflow(_))) = first else { panic!("{first:?}") };
    let (reply, out) = world.handle(Command::Fire(Box::new(firing(id, 2))));
    assert!(matches!(reply, Ok(Reply::Ticked(TickOutcome::Started(_)))));
    assert!(out.effects.iter().any(|effect| matches!(effect, Effect::Stop { .. })), "what runs is stopped");
    assert!(
        out.events.iter().any(|event| matches!(event.fact, Fact::Cancelled { .. })),
        "what waits is cancelled"
    );
}

#[test]
fn a_refused_run_says_why_and_the_next_tick_comes() {
    let (mut world, id) = world(Overlap::Skip);
    let work = Some(Ok(tasks(vec![kit::claiming("run", "external_api:nobody")])));
    let outcome = fire(&mut world, Firing { work, ..firing(id, 1) });
    let Ok(TickOutcome::Refused(why)) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("external_api:nobody"), "{why}");
    started(&fire(&mut world, firing(id, 2)));
}

#[test]
fn names_are_taken_once_and_given_back() {
    let (mut world, id) = world(Overlap::Skip);
    assert_eq!(add(&mut world, "nightly", Overlap::Skip).unwrap_err().code, Code::Conflict);
    world.handle(Command::RemoveSchedule { schedule: id }).0.unwrap();
    world.reload();
    let Ok(Reply::Scheduled(other)) = add(&mut world, "nightly", Overlap::Skip) else {
        panic!("it is added")
    };
    assert_ne!(id, other);
    assert_eq!(fire(&mut world, firing(id, 1)), Err(Code::NotFound));
}

#[test]
fn a_paused_schedule_has_no_ticks_but_those_somebody_wants_now() {
    let (mut world, id) = world(Overlap::Skip);
    let pause = |paused, next| Command::PauseSchedule { schedule: id, paused, next };
    world.handle(pause(true, None)).0.unwrap();
    world.reload();
    assert_eq!(fire(&mut world, firing(id, 1)), Err(Code::WrongState));
    let now = Firing { trigger: Trigger::Operator, next: None, ..firing(id, 1) };
    started(&fire(&mut world, now));
    world.handle(pause(false, Some(minute(5)))).0.unwrap();
    assert_eq!(world.core.schedule_record(id).unwrap().next, Some(minute(5)));
}
