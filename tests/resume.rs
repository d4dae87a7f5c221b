//! Workflows that go on: after kill -9 of `orchd run` and of the daemon, after a failure, after a pause, from a task.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::program::Running;
use kit::{Daemon, gate, until};
use orchd_client::model::{Span, Time};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Three tasks in a row that leave their names in `ran`; the second one waits for a file.
fn three(daemon: &Daemon) {
    let file = json!({ "name": "three", "tasks": [
        { "name": "a", "shell": "echo a >> ran; echo 7 > $ORCHD_RESULT" },
        { "name": "b", "shell": format!("echo b >> ran; {}", gate("go")), "dependencies": ["a"] },
        { "name": "c", "shell": "echo c{{ tasks.a.output }} >> ran", "dependencies": ["a", "b"] },
    ] });
    daemon.write("three.json", file.to_string());
}

/// The document in a file, once there is one.
fn document(daemon: &Daemon, name: &str) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(daemon.path(name)).ok()?).ok()
}

/// How many attempts each task had, by name.
fn attempts(document: &Value) -> Vec<u64> {
    let mut tasks = document["tasks"].as_array().unwrap().clone();
    tasks.sort_by_key(|task| task["name"].to_string());
    tasks.iter().map(|task| task["attempts"].as_u64().unwrap()).collect()
}

#[test]
fn a_run_that_was_killed_goes_on_with_what_did_not_complete() {
    let daemon = Daemon::stopped(2, "");
    three(&daemon);
    let kept = ["run", "three.json", "--state-dir", "kept", "--output", "result.json"];
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchd"));
    command.args(kept);
    let run = Running::start_open(command);
    until("the second task runs and the file tells of the first", || {
        let told = document(&daemon, "result.json");
        let first = told.map(|told| told["tasks"][0]["status"].clone());
        daemon.lines("ran") == ["a", "b"] && first == Some(json!("completed"))
    });
    kit::process::send(run.pid(), Signal::KILL);
    run.ended();
    let told = document(&daemon, "result.json").unwrap();
    assert_eq!((&told["status"], &told["tasks"][0]["result"]["data"]), (&json!("running"), &json!(7)));
    until("its worker and its tasks are gone", || daemon.all_processes().is_empty());
    daemon.orchd(&kept).fails_with(5, &["unfinished run of three", "--resume"]);
    daemon.write("other.json", json!({ "name": "three", "tasks": [{ "name": "x" }] }).to_string());
    let other = ["run", "other.json", "--state-dir", "kept", "--resume"];
    daemon.orchd(&other).fails_with(5, &["another file"]);
    daemon.orchd(&["run", "three.json", "--resume"]).fails_with(2, &["--state-dir"]);
    daemon.write("go", "");
    let resumed = [&kept[..], &["--resume", "--json"]].concat();
    let ended = daemon.orchd(&resumed).json();
    assert_eq!((&ended["status"], attempts(&ended)), (&json!("completed"), vec![1, 2, 1]));
    assert_eq!(daemon.lines("ran"), ["a", "b", "b", "c7"]);
    let time = |name: &str| serde_json::from_value::<Time>(ended[name].clone()).unwrap();
    let total: Span = serde_json::from_value(ended["metrics"]["total_duration"].clone()).unwrap();
    assert!(total < time("finished_at").since(time("created_at")), "nothing ran before it went on: {ended}");
    assert_eq!(document(&daemon, "result.json").unwrap(), ended);
    // Once more there is nothing to do.
    assert_eq!(daemon.orchd(&resumed).json(), ended);
    assert_eq!(daemon.lines("ran").len(), 4);
}

#[test]
fn a_run_goes_on_however_often_it_was_killed() {
    let daemon = Daemon::stopped(2, "[scheduler]\nmax_worker_losses = 1\n");
    three(&daemon);
    let mut kept = vec!["run", "three.json", "--state-dir", "kept"];
    for killed in 1..=3 {
        let mut command = daemon.program(env!("CARGO_BIN_EXE_orchd"));
        command.args(&kept);
        let run = Running::start_open(command);
        until("the second task runs", || daemon.lines("ran").len() == 1 + killed);
        kit::process::send(run.pid(), Signal::KILL);
        run.ended();
        until("its worker and its tasks are gone", || daemon.all_processes().is_empty());
        kept.truncate(4);
        kept.push("--resume");
    }
    daemon.write("go", "");
    kept.push("--json");
    let ended = daemon.orchd(&kept).json();
    assert_eq!((&ended["status"], attempts(&ended)), (&json!("completed"), vec![1, 4, 1]));
    assert_eq!(daemon.lines("ran"), ["a", "b", "b", "b", "b", "c7"]);
}

#[test]
fn nothing_is_begun_where_no_run_is_to_be_gone_on_with() {
    let daemon = Daemon::stopped(2, "");
    daemon.write(
        "w.json",
        json!({ "name": "w", "tasks": [{ "name": "a", "shell": "echo a >> ran" }] }).to_string(),
    );
    std::fs::create_dir(daemon.path("empty")).unwrap();
    for directory in ["nowhere", "empty"] {
        let resume = ["run", "w.json", "--resume", "--state-dir", directory];
        let hint = format!("no run was begun in this directory: {directory}\nhint: without --resume");
        daemon.orchd(&resume).fails_with(2, &[&hint]);
    }
    assert!(!daemon.path("nowhere").exists());
    assert_eq!(std::fs::read_dir(daemon.path("empty")).unwrap().count(), 0);
    assert!(daemon.lines("ran").is_empty());
}

#[test]
fn a_workflow_goes_on_by_itself_when_its_daemon_was_killed() {
    let mut daemon = Daemon::start(2);
    three(&daemon);
    daemon.orchctl(&["workflow", "run", "three.json", "--detach"]).succeeds();
    until("the second task runs", || daemon.lines("ran") == ["a", "b"]);
    daemon.kill_and_restart();
    daemon.write("go", "");
    daemon.orchctl(&["wait", "--workflow", "three"]).succeeds();
    assert_eq!(daemon.lines("ran"), ["a", "b", "c7"]);
    let shown = daemon.orchctl(&["workflow", "show", "three", "--json"]).json();
    assert_eq!((&shown["status"], attempts(&shown)), (&json!("completed"), vec![1, 1, 1]));
}

#[test]
fn a_failed_workflow_keeps_what_completed_and_begins_again_where_it_is_told_to() {
    let daemon = Daemon::start(2);
    let task = |name: &str, line: &str, after: &[&str]| json!({ "name": name, "shell": format!("echo {name} >> ran; {line}"), "dependencies": after });
    let tasks = [
        task("get", "true", &[]),
        task("make", "[ -e ok ]", &["get"]),
        task("ship", "true", &["make"]),
        task("other", "true", &[]),
    ];
    daemon.write("w.json", json!({ "name": "w", "tasks": tasks }).to_string());
    daemon.orchctl(&["workflow", "run", "w.json"]).fails_with(1, &[]);
    daemon.orchctl(&["workflow", "resume", "w"]).fails_with(1, &[]);
    daemon.write("ok", "");
    let resume = ["workflow", "resume", "w", "--json", "--output", "out.json"];
    let ended = daemon.orchctl(&resume).json();
    assert_eq!((&ended["status"], attempts(&ended)), (&json!("completed"), vec![1, 3, 1, 1]));
    assert_eq!(document(&daemon, "out.json").unwrap(), ended);
    let metrics = &ended["metrics"];
    assert_eq!((&metrics["completed_tasks"], &metrics["success_rate"]), (&json!(4), &json!(1.0)));
    daemon.orchctl(&["workflow", "resume", "w"]).fails_with(5, &["completed", "run it again"]);
    daemon.orchctl(&["workflow", "rerun", "w"]).fails_with(2, &["--from"]);
    daemon
        .orchctl(&["workflow", "rerun", "w", "--from", "mak"])
        .fails_with(4, &["mak", "did you mean make?"]);
    daemon.orchctl(&["workflow", "rerun", "v", "--from", "make"]).fails_with(4, &["v"]);
    let again = daemon.orchctl(&["workflow", "rerun", "w", "--from", "make", "--detach", "--json"]).json();
    let names: Vec<&String> = again["tasks"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["make", "ship"]);
    daemon.orchctl(&["wait", "--workflow", "w"]).succeeds();
    let ran = |name: &str| daemon.lines("ran").iter().filter(|line| *line == name).count();
    assert_eq!([ran("get"), ran("other"), ran("make"), ran("ship")], [1, 1, 4, 2]);
    let kinds: Vec<String> = daemon.events(None).into_iter().map(|event| event.kind).collect();
    let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!([count("workflow.reopened"), count("workflow.completed")], [3, 2]);
    daemon.assert_nothing_is_held();
}

#[test]
fn a_paused_workflow_starts_nothing_until_it_is_resumed() {
    let mut daemon = Daemon::start(2);
    three(&daemon);
    daemon.orchctl(&["workflow", "run", "three.json", "--detach"]).succeeds();
    until("the second task runs", || daemon.lines("ran") == ["a", "b"]);
    assert_eq!(daemon.orchctl(&["workflow", "pause", "three"]).succeeds().out, "paused: workflow 1\n");
    daemon.write("go", "");
    until("what ran has ended", || daemon.stats().running == 0);
    daemon.kill_and_restart();
    let why = daemon.orchctl(&["why", "3"]).succeeds().out.clone();
    assert!(why.contains("paused (workflow three (1))"), "{why}");
    daemon.orchctl(&["workflow", "rerun", "three", "--from", "c"]).fails_with(5, &["has not ended"]);
    daemon.orchctl(&["workflow", "resume", "three"]).succeeds();
    assert_eq!(daemon.lines("ran"), ["a", "b", "c7"]);
}

#[test]
fn a_workflow_of_tasks_with_keys_is_added_once() {
    let daemon = Daemon::start(2);
    let file = |third: &str| {
        json!({ "name": "keyed", "tasks": [
            { "name": "a", "shell": "echo a >> ran", "key": "a" },
            { "name": "b", "shell": "echo b >> ran", "key": "b", "dependencies": ["a"] },
            { "name": third, "shell": "true", "key": third, "dependencies": ["b"] },
        ] })
    };
    daemon.write("first.json", file("c").to_string());
    daemon.write("second.json", file("d").to_string());
    let run = |name: &str| daemon.orchctl(&["workflow", "run", name, "--detach", "--json"]).json();
    let first = run("first.json");
    assert_eq!(run("first.json"), first);
    daemon.orchctl(&["wait", "--workflow", "1"]).succeeds();
    assert_eq!(run("first.json"), first);
    // Some are new: these depend on those that were there.
    let second = run("second.json");
    assert_eq!((&second["workflow"], &second["tasks"]["b"]), (&json!(2), &first["tasks"]["b"]));
    daemon.orchctl(&["wait", "--workflow", "2"]).succeeds();
    assert_eq!(daemon.lines("ran"), ["a", "b"]);
}
