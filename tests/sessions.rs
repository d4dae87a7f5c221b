//! Sessions: isolation, limits, order, closing, and what of it survives a restart.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate};
use orchd_client::api::CloseMode;
use orchd_client::{SessionMode, SessionSpec, Status, TaskId, TaskSpec};
use serde_json::json;

fn create(daemon: &Daemon, name: &str, mode: SessionMode) -> String {
    let spec = SessionSpec { name: name.into(), max_parallel: None, mode };
    daemon.client().create_session(&spec).unwrap().id.to_string()
}

fn add(daemon: &Daemon, arguments: &[&str]) -> TaskId {
    let said = daemon.orchctl(&[&["add"], arguments].concat());
    said.succeeds().out.trim().parse().unwrap()
}

#[test]
fn a_session_is_made_shown_listed_used_and_closed() {
    let mut daemon = Daemon::start(4);
    let id = daemon.orchctl(&["session", "create", "nightly", "--max-parallel", "1"]).succeeds().out.clone();
    assert_eq!(id, "1\n");
    daemon.orchctl(&["session", "create", "nightly"]).fails_with(5, &["nightly", "close it first"]);
    daemon.orchctl(&["session", "create", "7"]).fails_with(2, &["number"]);
    daemon.orchctl(&["session", "create", "x", "--mode", "serial"]).fails_with(2, &["serial"]);
    let too_wide = ["session", "create", "x", "--mode", "sequential", "--max-parallel", "2"];
    daemon.orchctl(&too_wide).fails_with(2, &["one task at a time: 2"]);
    let first = add(&daemon, &["--session", "nightly", "--shell", "--", &gate("go")]);
    let second = add(&daemon, &["--session", "1", "--", "true"]);
    daemon.until_status(first, Status::Running);
    let why = daemon.orchctl(&["why", &second.to_string()]).succeeds().out.clone();
    assert!(why.contains("session nightly runs its limit of 1 at once"), "{why}");
    // It is there after a restart, with its limit.
    daemon.kill_and_restart();
    let shown = daemon.orchctl(&["session", "show", "nightly", "--json"]).json();
    assert_eq!((&shown["status"], &shown["statistics"]["running"]), (&json!("open"), &json!(1)));
    assert_eq!(shown["statistics"]["pending"], 1);
    assert_eq!(daemon.orchctl(&["list", "--session", "nightly", "-q"]).succeeds().out.lines().count(), 2);
    daemon.orchctl(&["list", "--session", "weekly"]).fails_with(4, &["weekly"]);
    daemon.write("go", "");
    daemon.orchctl(&["wait", "--session", "nightly"]).succeeds();
    let stats = daemon.orchctl(&["stats", "--session", "nightly", "--json"]).json();
    assert_eq!((&stats["completed"], &stats["attempts"]), (&json!(2), &json!(2)));
    let closed = daemon.orchctl(&["session", "close", "nightly"]).succeeds().out.clone();
    assert_eq!(closed, "1 nightly closed\n");
    daemon.orchctl(&["add", "--session", "nightly", "--", "true"]).fails_with(5, &["closed"]);
    daemon.orchctl(&["add", "--session", "1", "--", "true"]).fails_with(5, &["closed"]);
    daemon.orchctl(&["add", "--session", "99", "--", "true"]).fails_with(4, &["99"]);
    daemon.orchctl(&["session", "close", "nightly"]).fails_with(5, &["closed"]);
    daemon.orchctl(&["retry", &first.to_string()]).fails_with(5, &[]);
    // The name is free again, and means the open one.
    assert_eq!(daemon.orchctl(&["session", "create", "nightly"]).succeeds().out, "2\n");
    assert_eq!(daemon.orchctl(&["session", "show", "-q", "nightly"]).succeeds().out, "2\n");
    let events =
        daemon.orchctl(&["events", "--session", "1", "--no-follow", "session.*"]).succeeds().out.clone();
    assert!(events.contains("session.created") && events.contains("session.closed"), "{events}");
}

#[test]
fn keys_and_names_of_two_sessions_do_not_clash() {
    let daemon = Daemon::start(4);
    for name in ["a", "b"] {
        create(&daemon, name, SessionMode::Parallel);
    }
    let keyed = |session: &str, text: &str| {
        add(&daemon, &["--session", session, "--key", "k", "--name", "job", "--", "echo", text])
    };
    let (a, b) = (keyed("a", "in a"), keyed("b", "in b"));
    assert!(a != b);
    assert_eq!(keyed("a", "in a"), a);
    let outside = add(&daemon, &["--key", "k", "--", "echo", "outside"]);
    assert!(outside != a && outside != b);
    let file = daemon.write("w.yaml", "name: deploy\ntasks:\n  - {name: step, shell: 'sleep 100'}\n");
    let file = file.to_str().unwrap();
    for session in ["a", "b"] {
        daemon.orchctl(&["workflow", "run", "--detach", "--session", session, file]).succeeds();
    }
    let shown = |session: &str| {
        let said = daemon.orchctl(&["workflow", "show", "deploy", "--session", session, "--json"]).json();
        (said["workflow"].as_u64().unwrap(), said["status"].as_str().unwrap().to_owned())
    };
    assert_eq!((shown("a").0, shown("b").0), (1, 2));
    // What is cancelled by name is that of the session.
    daemon.orchctl(&["cancel", "--workflow", "deploy", "--session", "a"]).succeeds();
    daemon.orchctl(&["wait", "--session", "a"]).fails_with(1, &[]);
    assert_eq!((shown("a").1.as_str(), shown("b").1.as_str()), ("cancelled", "running"));
    let list = daemon.orchctl(&["workflow", "list", "--session", "b", "--json"]).json();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["session"]), (1, &json!(2)));
    let listed = daemon.orchctl(&["session", "show", "b"]).succeeds().out.clone();
    assert!(listed.contains("1 running"), "{listed}");
    daemon.orchctl(&["session", "close", "b", "--cancel"]).succeeds();
    assert_eq!(shown("b").1, "cancelled");
}

#[test]
fn what_the_closing_of_a_session_cancels_says_so() {
    let mut daemon = Daemon::start(1);
    create(&daemon, "s", SessionMode::Parallel);
    let by_hand = add(&daemon, &["--session", "s", "--hold", "--", "true"]);
    daemon.orchctl(&["cancel", &by_hand.to_string()]).succeeds();
    let running = add(&daemon, &["--session", "s", "--", "sleep", "100"]);
    let waiting = add(&daemon, &["--session", "s", "--", "true"]);
    daemon.until_status(running, Status::Running);
    daemon.orchctl(&["session", "close", "s", "--cancel"]).succeeds();
    daemon.kill_and_restart();
    for id in [running, waiting] {
        for verb in ["show", "why"] {
            let told = daemon.orchctl(&[verb, &id.to_string()]).succeeds().out.clone();
            assert!(told.contains("cancelled: session s was closed"), "{verb} {id}: {told}");
        }
    }
    let told = daemon.orchctl(&["show", &by_hand.to_string()]).succeeds().out.clone();
    assert!(told.contains("cancelled") && !told.contains("was closed"), "{told}");
}

#[test]
fn a_sequential_session_keeps_its_order_over_a_restart() {
    let mut daemon = Daemon::start(4);
    create(&daemon, "line", SessionMode::Sequential);
    add(&daemon, &["--session", "line", "--shell", "--", &gate("go")]);
    let lines = ["low", "critical", "high", "normal"];
    let ids = lines.map(|class| {
        add(&daemon, &["--session", "line", "-p", class, "--shell", "--", &format!("echo {class} >> order")])
    });
    daemon.kill_and_restart();
    daemon.write("go", "");
    daemon.wait(&ids);
    assert_eq!(daemon.lines("order"), lines);
}

#[test]
fn one_that_waits_lets_its_tasks_end_and_takes_no_more() {
    let daemon = Daemon::start(2);
    let id = create(&daemon, "w", SessionMode::Parallel);
    let task = add(&daemon, &["--session", "w", "--shell", "--", &gate("go")]);
    let said = daemon.orchctl(&["session", "close", "w", "--wait", "--timeout", "0"]);
    assert_eq!(said.fails_with(6, &["not yet ended: 1 task"]).out, format!("{id} w closing\n"));
    daemon.orchctl(&["add", "--session", "w", "--", "true"]).fails_with(5, &["closing"]);
    let spec = TaskSpec { session: Some("w".parse().unwrap()), ..TaskSpec::command(["true"]) };
    assert!(daemon.client().submit(spec).is_err());
    daemon.write("go", "");
    assert_eq!(daemon.orchctl(&["session", "close", "w", "--wait"]).out, format!("{id} w closed\n"));
    assert_eq!(daemon.status(task), Status::Completed);
    let again = daemon.client().close_session(id.parse().unwrap(), CloseMode::Cancel);
    assert!(again.is_err());
}

#[test]
fn a_paused_session_starts_nothing_and_one_that_is_aware_counts_cores() {
    let daemon = Daemon::configured(4, "[resources.cpu]\ncapacity = 2\n");
    create(&daemon, "aware", SessionMode::ResourceAware);
    daemon.orchctl(&["pause", "--session", "aware"]).succeeds();
    let ids = [0; 3].map(|_| add(&daemon, &["--session", "aware", "--shell", "--", &gate("go")]));
    assert!(daemon.orchctl(&["why", &ids[0].to_string()]).succeeds().out.contains("paused"));
    daemon.orchctl(&["resume", "--session", "aware"]).succeeds();
    daemon.until_status(ids[0], Status::Running);
    daemon.until_status(ids[1], Status::Running);
    let shown = daemon.orchctl(&["session", "show", "aware", "--json"]).json();
    let held = json!([{ "resource": "cpu:system_cpu", "held": 2, "tasks": 2 }]);
    assert_eq!(shown["resources"], held);
    assert!(daemon.orchctl(&["why", &ids[2].to_string()]).succeeds().out.contains("short of cpu"));
    daemon.write("go", "");
    daemon.wait(&ids);
}
