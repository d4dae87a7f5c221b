//! Many tasks at once: what was acknowledged exists, runs exactly once, and is counted rightly.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, program, until};
use orchd_client::{Status, TaskId, TaskSpec};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::thread;

/// Tasks of each of two clients.
const TASKS: usize = 10_000;

/// Each task leaves its id in a file, once an attempt.
const LEAVE_A_MARK: &str = "echo $ORCHD_TASK_ID >> ran";

fn ran(daemon: &Daemon) -> Vec<TaskId> {
    daemon.lines("ran").iter().map(|line| line.parse().unwrap()).collect()
}

/// Adds with `orchctl add --from`, and gives the ids that it printed.
fn add_with_orchctl(daemon: &Daemon, count: usize) -> Vec<TaskId> {
    let spec = serde_json::to_string(&daemon.shell(LEAVE_A_MARK)).unwrap() + "\n";
    let said = daemon.orchctl_reading(&["add", "--from", "-"], spec.repeat(count).as_bytes());
    said.succeeds().out.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn two_clients_add_ten_thousand_tasks_each_at_once_and_every_one_runs_exactly_once() {
    let daemon = Daemon::start(4);
    let (by_library, by_orchctl) = thread::scope(|scope| {
        let other = scope.spawn(|| add_with_orchctl(&daemon, TASKS));
        (daemon.submit_many((0..TASKS).map(|_| daemon.shell(LEAVE_A_MARK))), other.join().unwrap())
    });
    let acknowledged: BTreeSet<TaskId> = by_library.iter().chain(&by_orchctl).copied().collect();
    assert_eq!(acknowledged.len(), 2 * TASKS, "an id names one task");
    assert!(by_library.is_sorted() && by_orchctl.is_sorted(), "the answers are in the order of the tasks");
    daemon.wait(&Vec::from_iter(acknowledged.clone()));

    let marks = ran(&daemon);
    assert_eq!(marks.len(), 2 * TASKS, "each ran once");
    assert_eq!(BTreeSet::from_iter(marks), acknowledged);

    let tasks = daemon.all_tasks();
    assert_eq!(tasks.iter().map(|task| task.id).collect::<BTreeSet<_>>(), acknowledged);
    assert!(tasks.iter().all(|task| task.status == Status::Completed && task.attempts == 1));

    let stats = daemon.stats();
    assert_eq!((stats.total_tasks, stats.completed), (20_000, 20_000), "{stats:?}");
    assert_eq!((stats.pending, stats.running, stats.retrying, stats.backlog), (0, 0, 0, 0), "{stats:?}");
    assert_eq!((stats.failed, stats.skipped, stats.cancelled), (0, 0, 0), "{stats:?}");
    assert_eq!((stats.success_rate, stats.failure_rate), (1.0, 0.0));
    daemon.assert_nothing_is_held();
}

#[test]
fn the_same_keys_from_two_clients_at_once_are_the_same_tasks() {
    let daemon = Daemon::start(2);
    let specs =
        || (0..1000).map(|i| TaskSpec { key: Some(format!("key-{i}")), ..daemon.shell(LEAVE_A_MARK) });
    let (ours, theirs) = thread::scope(|scope| {
        let other = scope.spawn(|| daemon.submit_many(specs()));
        (daemon.submit_many(specs()), other.join().unwrap())
    });
    assert_eq!(ours, theirs);
    daemon.wait(&ours);
    assert_eq!(ran(&daemon).len(), 1000);
    assert_eq!(daemon.stats().total_tasks, 1000);
    assert_eq!(daemon.submit_many(specs()), ours, "also when they have ended");
}

#[test]
fn tasks_of_two_clients_end_as_their_commands_do_and_are_counted_so() {
    let daemon = Daemon::start(4);
    let of = |program: &'static str| (0..500).map(move |_| TaskSpec::command([program]));
    let (good, bad) = thread::scope(|scope| {
        let other = scope.spawn(|| daemon.submit_many(of("false")));
        (daemon.submit_many(of("true")), other.join().unwrap())
    });
    daemon.wait(&good);
    daemon.wait(&bad);
    let stats = daemon.stats();
    assert_eq!((stats.completed, stats.failed, stats.total_tasks), (500, 500, 1000), "{stats:?}");
    assert_eq!((stats.success_rate, stats.failure_rate), (0.5, 0.5));
    let failed = daemon.orchctl(&["list", "--status", "failed", "--limit", "0", "--json"]);
    let ids =
        failed.succeeds().json().as_array().unwrap().iter().map(|t| t["id"].as_u64().unwrap()).collect();
    let expected: BTreeSet<u64> = bad.iter().map(|id| id.0).collect();
    assert_eq!(expected, ids);
}

#[test]
fn an_interrupted_add_leaves_whole_tasks_only() {
    const LINES: usize = 3000;
    let daemon = Daemon::start(1);
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(["add", "--hold", "--from", "-"]);
    let adding = program::Running::start_open(command);
    let line =
        |number: usize| format!("{{\"command\":[\"true\",\"{number}\"],\"metadata\":{{\"n\":{number}}}}}\n");
    let lines: String = (0..LINES).map(line).collect();
    adding.write(lines.as_bytes());
    // The last line is cut in the middle.
    adding.write(&line(LINES).as_bytes()[..20]);
    until("some are added", || daemon.stats().pending > 0);
    kit::process::send(adding.pid(), Signal::INT);
    let said = adding.ended();
    assert_eq!(said.code, Some(130), "{}", said.err);
    let tasks = daemon.all_tasks();
    assert!(!tasks.is_empty() && tasks.len() <= LINES, "{}", tasks.len());
    let acknowledged: BTreeSet<TaskId> = said.out.lines().map(|line| line.parse().unwrap()).collect();
    let there: BTreeSet<TaskId> = tasks.iter().map(|task| task.id).collect();
    assert_eq!(acknowledged, there, "what is there was printed");
    for task in tasks {
        let number = task.metadata["n"].as_u64().unwrap().to_string();
        assert_eq!(task.command.unwrap(), ["true", &number]);
    }
}
