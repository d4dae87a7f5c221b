//! Rates from outside: tokens are drawn and come back, tasks that are told to wait come back for nothing, what
//! was really used counts, and all of it outlives the daemon.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, claims, gate, until};
use orchd_client::{Status, TaskId, TaskSpec};
use serde_json::{Value, json};

/// So slow that no token comes while a test runs.
const SLOW: &str = "[resources.\"external_api:x\"]\ntokens = 1\nper = \"10h\"\nburst = 10\n";
const ORCHCTL: &str = env!("CARGO_BIN_EXE_orchctl");

fn drawing(daemon: &Daemon, tokens: u32, line: &str) -> TaskSpec {
    TaskSpec { claims: claims(&[&format!("external_api:x={tokens}")]), ..daemon.shell(line) }
}

fn resource(daemon: &Daemon) -> Value {
    let all = daemon.orchctl(&["--json", "resources"]).json();
    all.as_array().unwrap().iter().find(|one| one["resource"] == "external_api:x").unwrap().clone()
}

fn left(daemon: &Daemon) -> f64 {
    resource(daemon)["rate"]["left"].as_f64().unwrap().floor()
}

#[test]
fn tokens_are_drawn_and_known_after_a_kill() {
    let mut daemon = Daemon::configured(4, SLOW);
    let first = daemon.submit(drawing(&daemon, 7, "true"));
    daemon.wait(&[first]);
    assert_eq!(left(&daemon), 3.0);
    daemon.kill_and_restart();
    assert_eq!(left(&daemon), 3.0);
    // What the bucket has is served, what it has not is waited for in order.
    let (second, third) =
        (daemon.submit(drawing(&daemon, 4, "true")), daemon.submit(drawing(&daemon, 1, "true")));
    assert_eq!((daemon.status(second), daemon.status(third)), (Status::Pending, Status::Pending));
    let why = |id: TaskId| daemon.orchctl(&["--json", "why", &id.to_string()]).json();
    until("the worker is back", || why(second)["reasons"][0]["code"] == "rate");
    assert_eq!(why(second)["reasons"][0]["left"], json!(3));
    assert!(why(second)["earliest_start"].is_string());
    until("the first has been looked at", || why(third)["reasons"][0]["code"] == "reservation");
    assert!(daemon.orchctl(&["list"]).out.contains("rate limited"), "{:?}", daemon.orchctl(&["list"]));
    // A faster rate lets them go.
    daemon.orchctl(&["resources", "set", "external_api:x", "tokens=100", "per=1ms"]).succeeds();
    daemon.wait(&[second, third]);
    daemon.orchctl(&["add", "--claim", "external_api:x=11", "--", "true"]).fails_with(5, &["burst 10"]);
}

#[test]
fn a_task_that_is_told_to_wait_starts_again_and_that_is_no_try() {
    let daemon = Daemon::configured(2, &SLOW.replace("10h", "1ms"));
    let line = format!(
        "test $ORCHD_ATTEMPT -gt 1 || {{ {ORCHCTL} -q resources throttle external_api:x 1h && echo told > told; exit 1; }}"
    );
    let id = daemon.submit(drawing(&daemon, 1, &line));
    until("it has been told", || daemon.task(id).attempts == 1 && daemon.status(id) == Status::Pending);
    assert_eq!(daemon.lines("told"), ["told"]);
    assert_eq!(resource(&daemon)["state"], "throttled");
    // Everybody waits.
    let other = daemon.submit(drawing(&daemon, 1, "true"));
    let why = daemon.orchctl(&["why", &other.to_string()]).out;
    assert!(why.contains("external_api:x is throttled until"), "{why}");
    // An operator has the last word.
    daemon.orchctl(&["resources", "throttle", "external_api:x", "10ms"]).succeeds();
    assert_eq!(daemon.ended_task(other).status, Status::Completed);
    daemon.orchctl(&["cancel", &id.to_string()]).succeeds();
    let open = daemon.orchctl(&["resources", "open", "external_api:x"]);
    open.fails_with(5, &["neither closed nor throttled"]);
}

#[test]
fn a_short_wait_is_over_by_itself() {
    let daemon = Daemon::configured(2, &SLOW.replace("10h", "1ms"));
    let line = format!(
        "test $ORCHD_ATTEMPT -gt 1 || {{ {ORCHCTL} -q resources throttle external_api:x 50ms; exit 1; }}"
    );
    let task = daemon.ended_task(daemon.submit(drawing(&daemon, 1, &line)));
    assert_eq!((task.status, task.attempts, task.retry_count), (Status::Completed, 2, 0));
    let kinds: Vec<String> = daemon.events(Some(task.id)).iter().map(|event| event.kind.clone()).collect();
    assert!(kinds.iter().any(|kind| kind == "resource.throttled"), "{kinds:?}");
}

#[test]
fn what_was_really_used_counts() {
    let daemon = Daemon::configured(2, SLOW);
    let settle = |used: u32| format!("{ORCHCTL} -q resources settle external_api:x {used}; {}", gate("go"));
    let less = daemon.submit(drawing(&daemon, 5, &settle(1)));
    until("what was not used is back", || left(&daemon) == 9.0);
    let more = daemon.submit(drawing(&daemon, 2, &settle(40)));
    until("there is a debt", || left(&daemon) == 0.0);
    daemon.write("go", "");
    daemon.wait(&[less, more]);
    // An attempt that is over has nothing to say any more, and nobody else has.
    for verb in [&["settle", "external_api:x", "1"][..], &["throttle", "external_api:x", "1s"]] {
        let said = daemon.orchctl(&[&["resources"], verb, &["--token", "1"]].concat());
        said.fails_with(5, &["no attempt with this token is running"]);
    }
    daemon.orchctl(&["resources", "settle", "external_api:x", "1"]).fails_with(2, &["--token"]);
}

#[test]
fn a_closed_resource_is_given_to_nobody_until_it_is_opened_whatever_happens_to_the_daemon() {
    let mut daemon = Daemon::configured(2, SLOW);
    assert_eq!(
        daemon.orchctl(&["--json", "resources", "close", "lock:a", "--create"]).json()["state"],
        "closed"
    );
    let id = daemon.submit(TaskSpec { claims: claims(&["lock:a"]), ..daemon.shell("true") });
    daemon.kill_and_restart();
    assert!(daemon.orchctl(&["why", &id.to_string()]).out.contains("lock:a is closed"));
    daemon.orchctl(&["resources", "close", "lock:a"]).fails_with(5, &["closed already"]);
    // Whoever mistypes a name has not closed anything.
    for verb in [&["resources", "close", "lock:b"][..], &["resources", "throttle", "lock:b", "1m"]] {
        daemon.orchctl(verb).fails_with(4, &["no such resource: lock:b", "--create"]);
    }
    daemon.orchctl(&["pause", "--resource", "lock:b"]).fails_with(4, &["no such resource: lock:b"]);
    daemon.orchctl(&["resources", "throttle", "lock:a", "1h"]).succeeds();
    let shut = daemon.orchctl(&["resources"]).out;
    assert!(shut.contains("closed, throttled until "), "{shut}");
    daemon.orchctl(&["resources", "close", "gpu"]).fails_with(4, &["no such resource", "gpu:system_gpu"]);
    daemon.orchctl(&["resources", "open", "lock:a"]).succeeds();
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
}

#[test]
fn a_large_task_is_not_starved_by_small_ones() {
    let config = "[scheduler]\nreservation_delay = 0\n[resources.gpu]\ncapacity = 4\n";
    let daemon = Daemon::configured(8, config);
    let spec = |amount: u32, line: &str| TaskSpec {
        claims: claims(&[&format!("gpu={amount}")]),
        ..daemon.shell(line)
    };
    let small = daemon.submit(spec(1, &gate("one")));
    daemon.until_status(small, Status::Running);
    let large = daemon.submit(spec(4, "true"));
    let later = daemon.submit(spec(1, "true"));
    let why = || daemon.orchctl(&["why", &later.to_string()]).out;
    until("the large one has reserved all", || why().contains("which has reserved gpu:system_gpu"));
    daemon.write("one", "");
    daemon.wait(&[small, large, later]);
    let started = |id: TaskId| daemon.task(id).started_at;
    assert!(started(large) <= started(later));
    daemon.assert_nothing_is_held();
}
