//! The daemon dies: what runs goes on, what was acknowledged is there, nothing runs twice, and every exit
//! code is the true one. What becomes of a worker that dies is in `worker_loss.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, claims, gate, until};
use orchd_client::api::{LogQuery, ShutdownMode};
use orchd_client::{Status, TaskId, TaskSpec};
use std::collections::BTreeSet;
use std::fs;

/// Exit codes of tasks that run while the daemon dies.
const CODES: [i32; 4] = [0, 3, 7, 42];
/// Each task leaves its id in a file, once an attempt.
const LEAVE_A_MARK: &str = "echo $ORCHD_TASK_ID >> ran;";

/// Four tasks that have begun, each with a process of its own, a claim, and an end that it waits for.
fn start_four(daemon: &Daemon) -> Vec<TaskId> {
    let line = |code| format!("{LEAVE_A_MARK} echo hello from $ORCHD_TASK_ID; {} exit {code}", gate("end"));
    let ids = daemon.submit_many(CODES.map(|code| TaskSpec {
        claims: claims(&["cpu=0.1", &format!("lock:number-{code}:exclusive")]),
        ..daemon.shell(line(code))
    }));
    until("four run", || daemon.lines("ran").len() == CODES.len());
    for id in &ids {
        daemon.until_status(*id, Status::Running);
    }
    ids
}

fn open_the_gate(daemon: &Daemon) {
    daemon.write("end", "");
}

fn assert_ended_truly(daemon: &Daemon, ids: &[TaskId]) {
    for (id, code) in ids.iter().zip(CODES) {
        let task = daemon.ended_task(*id);
        assert_eq!(task.status, if code == 0 { Status::Completed } else { Status::Failed }, "{task:?}");
        let result = task.result.unwrap();
        assert_eq!((result.exit_code, result.attempts, task.attempts), (Some(code), 1, 1));
        let output =
            daemon.client().block_on(|client| async move { client.output(*id, LogQuery::default()).await });
        assert_eq!(output.unwrap(), format!("hello from {id}\n"));
    }
}

/// Every id that left a mark left it once.
fn marks(daemon: &Daemon) -> BTreeSet<TaskId> {
    let lines = daemon.lines("ran");
    let ids: BTreeSet<TaskId> = lines.iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(ids.len(), lines.len(), "something ran twice");
    ids
}

#[test]
fn processes_go_on_when_the_daemon_is_killed_and_nothing_is_lost_or_run_twice() {
    let mut daemon = Daemon::start(4);
    let running = start_four(&daemon);
    let waiting = daemon.submit_many((0..1000).map(|_| daemon.shell(LEAVE_A_MARK)));
    let processes: Vec<Vec<u32>> = running.iter().map(|id| daemon.processes_of(*id)).collect();
    daemon.kill();
    for (id, before) in running.iter().zip(&processes) {
        // Its shell is the process with the lowest number of those that were there, or had a number given
        // again; what it waits with comes and goes.
        assert!(daemon.processes_of(*id).iter().any(|pid| before.contains(pid)), "{id} has died");
    }
    daemon.start_again();
    for id in &running {
        assert_eq!(daemon.status(*id), Status::Running);
    }
    let stats = daemon.stats();
    assert_eq!((stats.running, stats.pending, stats.total_tasks), (4, 1000, 1004), "{stats:?}");
    open_the_gate(&daemon);
    assert_ended_truly(&daemon, &running);
    daemon.wait(&waiting);
    assert_eq!(marks(&daemon), running.iter().chain(&waiting).copied().collect());
    let stats = daemon.stats();
    assert_eq!((stats.completed, stats.failed, stats.total_tasks), (1001, 3, 1004), "{stats:?}");
    daemon.assert_nothing_is_held();
}

#[test]
fn what_ends_while_there_is_no_daemon_is_reported_to_the_next_one() {
    let mut daemon = Daemon::start(4);
    let running = start_four(&daemon);
    daemon.kill();
    open_the_gate(&daemon);
    until("all have ended", || running.iter().all(|id| daemon.processes_of(*id).is_empty()));
    daemon.start_again();
    assert_ended_truly(&daemon, &running);
    assert_eq!(marks(&daemon).len(), 4);
    daemon.assert_nothing_is_held();
}

#[test]
fn a_worker_whose_tasks_all_end_without_a_daemon_leaves_and_its_reports_stay() {
    let mut daemon = Daemon::start(4);
    let running = start_four(&daemon);
    let worker = daemon.worker().pid;
    daemon.kill();
    open_the_gate(&daemon);
    until("the worker has left", || !daemon.all_processes().contains(&worker));
    daemon.start_again();
    assert_ended_truly(&daemon, &running);
    let next = daemon.submit(daemon.shell(LEAVE_A_MARK));
    assert_eq!(daemon.ended_task(next).status, Status::Completed);
    assert_eq!(marks(&daemon).len(), 5);
}

#[test]
fn sigterm_ends_the_daemon_well_and_leaves_running_tasks_to_the_worker() {
    let mut daemon = Daemon::start(4);
    let running = start_four(&daemon);
    let waiting = daemon.submit_many((0..20).map(|_| daemon.shell(LEAVE_A_MARK)));
    let worker = daemon.worker().pid;
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!daemon.socket().exists(), "its socket goes with it");
    assert!(running.iter().all(|id| !daemon.processes_of(*id).is_empty()));
    daemon.start_again();
    assert_eq!(daemon.worker().pid, worker, "the worker is adopted");
    open_the_gate(&daemon);
    assert_ended_truly(&daemon, &running);
    daemon.wait(&waiting);
    assert_eq!(marks(&daemon).len(), 24);
    assert_eq!(daemon.worker().pid, worker, "the adopted worker runs new tasks");
}

#[test]
fn shutdown_leaves_waits_for_or_cancels_what_runs() {
    for (mode, option) in [(ShutdownMode::Leave, None), (ShutdownMode::Cancel, Some("--cancel"))] {
        let mut daemon = Daemon::configured(4, "[scheduler]\ngrace = '200ms'");
        let running = start_four(&daemon);
        let arguments: Vec<&str> = ["shutdown"].into_iter().chain(option).collect();
        daemon.orchctl(&arguments).succeeds();
        assert_eq!(daemon.ended().code(), Some(0));
        let lives = running.iter().any(|id| !daemon.processes_of(*id).is_empty());
        assert_eq!(lives, mode == ShutdownMode::Leave, "{mode:?}");
        daemon.start_again();
        let expected = if lives { Status::Running } else { Status::Cancelled };
        assert!(running.iter().all(|id| daemon.status(*id) == expected), "{mode:?}");
    }
    let mut daemon = Daemon::start(4);
    let running = start_four(&daemon);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| daemon.orchctl(&["shutdown", "--wait"]));
        let client = daemon.client();
        until("nothing new starts", || {
            let added = client.submit(daemon.shell("true"));
            added.is_err() || client.stats().is_ok_and(|stats| stats.paused)
        });
        assert!(running.iter().all(|id| !daemon.processes_of(*id).is_empty()), "it waits");
        open_the_gate(&daemon);
        asked.join().unwrap().succeeds();
    });
    assert_eq!(daemon.ended().code(), Some(0));
    daemon.start_again();
    assert_ended_truly(&daemon, &running);
}

#[test]
fn acknowledged_tasks_survive_kills_in_the_middle_of_adding_and_running() {
    const TASKS: usize = 1500;
    const KILLS: usize = 5;
    let mut daemon = Daemon::start(3);
    let socket = daemon.socket();
    let specs: Vec<TaskSpec> = (0..TASKS)
        .map(|i| TaskSpec { key: Some(format!("key-{i}")), ..daemon.shell(LEAVE_A_MARK) })
        .collect();
    // A key makes it safe to ask again when the answer was lost.
    let adder = std::thread::spawn(move || {
        let client = orchd_client::blocking::Client::connect(socket).unwrap();
        specs.into_iter().map(|spec| client.submit(spec).unwrap().id).collect::<Vec<TaskId>>()
    });
    for kill in 1..=KILLS {
        until("more have run", || daemon.lines("ran").len() >= kill * TASKS / (KILLS + 1));
        daemon.kill_and_restart();
    }
    let acknowledged = adder.join().unwrap();
    assert_eq!(acknowledged.iter().collect::<BTreeSet<_>>().len(), TASKS);
    daemon.wait(&acknowledged);
    assert_eq!(marks(&daemon), acknowledged.iter().copied().collect());
    let tasks = daemon.all_tasks();
    assert_eq!(tasks.len(), TASKS);
    assert!(tasks.iter().all(|task| task.status == Status::Completed));
    let stats = daemon.stats();
    assert_eq!((stats.completed, stats.total_tasks), (TASKS as u64, TASKS as u64), "{stats:?}");
    daemon.assert_nothing_is_held();
}

#[test]
fn ids_are_not_given_again_after_a_kill() {
    let mut daemon = Daemon::start(1);
    let first = daemon.submit_many((0..10).map(|_| daemon.shell("true")));
    daemon.kill_and_restart();
    let second = daemon.submit_many((0..10).map(|_| daemon.shell("true")));
    assert!(second.iter().all(|id| id > first.last().unwrap()), "{first:?} {second:?}");
    daemon.wait(&second);
    let tokens: Vec<u64> = daemon
        .events(None)
        .iter()
        .filter(|event| event.kind == "task.started")
        .map(|event| event.data["token"].as_u64().unwrap())
        .collect();
    assert!(tokens.is_sorted_by(|a, b| a < b), "tokens only grow: {tokens:?}");
    let sequences: Vec<u64> = daemon.events(None).iter().map(|event| event.sequence.0).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "events are in one order");
}

#[test]
fn retries_and_delays_go_on_after_a_kill() {
    let mut daemon = Daemon::start(2);
    let line = format!("{LEAVE_A_MARK} [ -e works ]");
    let retry = orchd_client::model::RetrySpec {
        max_retries: Some(1000),
        retry_delay: Some("50ms".parse().unwrap()),
        ..Default::default()
    };
    let id = daemon.submit(TaskSpec { retry, ..daemon.shell(line) });
    until("it was tried", || daemon.lines("ran").len() >= 2);
    daemon.kill_and_restart();
    let tried = daemon.lines("ran").len();
    until("it is tried again", || daemon.lines("ran").len() > tried);
    fs::write(daemon.path("works"), "").unwrap();
    let task = daemon.ended_task(id);
    assert_eq!(task.status, Status::Completed);
    assert_eq!(task.attempts as usize, daemon.lines("ran").len(), "each attempt is counted once");
    assert_eq!(task.attempt_list.unwrap().len(), task.attempts as usize);
}
