//! The verbs that steer: hold, release, reprioritize, pause, resume, resources set, drain, shutdown.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::program::Running;
use kit::{Daemon, claims, gate, until};
use orchd_client::api::EventQuery;
use orchd_client::{Status, TaskId, TaskSpec};
use serde_json::{Value, json};

/// A daemon with one slot, which is taken by a task that runs until `go` is written.
fn busy() -> (Daemon, TaskId) {
    let daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell(gate("go")));
    daemon.until_status(id, Status::Running);
    (daemon, id)
}

fn waiting(daemon: &Daemon, line: &str) -> String {
    daemon.submit(daemon.shell(line)).to_string()
}

fn start(daemon: &Daemon, arguments: &[&str]) -> Running {
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(arguments);
    Running::start(command, b"")
}

fn interrupt(running: &Running) {
    kit::process::send(running.pid(), rustix::process::Signal::INT);
}

#[test]
fn held_tasks_do_not_start_until_they_are_released() {
    let (daemon, first) = busy();
    let (a, b) = (waiting(&daemon, "true"), waiting(&daemon, "true"));
    let said = daemon.orchctl(&["hold", &a, &b]);
    assert_eq!(said.succeeds().out, format!("{a} held\n{b} held\n"));
    // Held twice is held.
    assert_eq!(daemon.orchctl(&["hold", "-q", &a]).succeeds().out, format!("{a}\n"));
    assert!(daemon.orchctl(&["why", &a]).succeeds().out.contains("held"));
    daemon.write("go", "");
    daemon.wait(&[first]);
    let said = daemon.orchctl(&["release", "--json", &a]).json();
    assert_eq!((&said[0]["id"], &said[0]["error"]), (&json!(a.parse::<u64>().unwrap()), &Value::Null));
    daemon.wait(&[a.parse().unwrap()]);
    assert_eq!(daemon.status(b.parse().unwrap()), Status::Pending);
    // What cannot be held or released, each with its reason and exit code.
    let said = daemon.orchctl(&["hold", &a]);
    assert_eq!(said.fails_with(5, &[]).out, format!("{a} not held: task {a} has ended: completed\n"));
    let said = daemon.orchctl(&["release", &a, &b]);
    assert!(said.fails_with(5, &[]).out.contains(&format!("{a} not released")), "{said:?}");
    daemon.wait(&[b.parse().unwrap()]);
    let said = daemon.orchctl(&["hold", &a, "4711"]);
    assert!(said.fails_with(4, &[]).out.contains("4711 not held: no such task"), "{said:?}");
    daemon.orchctl(&["hold"]).fails_with(2, &["ID"]);
    daemon.orchctl(&["release", "x"]).fails_with(2, &["x"]);
}

#[test]
fn what_runs_cannot_be_held_and_what_is_not_held_cannot_be_released() {
    let (daemon, first) = busy();
    let said = daemon.orchctl(&["hold", &first.to_string()]);
    assert!(said.fails_with(5, &[]).out.contains("runs already"), "{said:?}");
    let said = daemon.orchctl(&["release", &waiting(&daemon, "true")]);
    assert!(said.fails_with(5, &[]).out.contains("is not held"), "{said:?}");
}

#[test]
fn a_task_with_a_better_class_goes_first() {
    let (daemon, first) = busy();
    let (a, b) = (waiting(&daemon, "echo a >> order"), waiting(&daemon, "echo b >> order"));
    assert_eq!(daemon.orchctl(&["reprioritize", &b, "HIGH"]).succeeds().out, format!("{b} is high\n"));
    daemon.orchctl(&["reprioritize", &b, "urgent"]).fails_with(2, &["urgent", "critical"]);
    daemon.orchctl(&["reprioritize", "4711", "low"]).fails_with(4, &[]);
    daemon.write("go", "");
    daemon.wait(&[first, a.parse().unwrap(), b.parse().unwrap()]);
    assert_eq!(daemon.lines("order"), ["b", "a"]);
    let said = daemon.orchctl(&["reprioritize", &a, "low"]);
    assert!(said.fails_with(5, &[]).out.contains("has ended"), "{said:?}");
}

#[test]
fn each_scope_is_paused_and_resumed_and_survives_a_restart() {
    let mut daemon = Daemon::start(2);
    daemon.orchctl(&["resources", "set", "lock:a", "concurrency=9"]).succeeds();
    for scope in [&[][..], &["--priority", "low"], &["--resource", "lock:a"]] {
        let said = daemon.orchctl(&[&["pause"], scope].concat());
        assert!(said.succeeds().out.starts_with("paused: "), "{said:?}");
        let low = orchd_client::Priority::Low;
        let spec = TaskSpec { priority: low, claims: claims(&["lock:a"]), ..daemon.shell("true") };
        let id = daemon.submit(spec);
        daemon.kill_and_restart();
        assert!(daemon.orchctl(&["why", &id.to_string()]).succeeds().out.contains("paused"));
        daemon.orchctl(&[&["resume"], scope].concat()).succeeds();
        assert_eq!(daemon.ended_task(id).status, Status::Completed);
        daemon.orchctl(&[&["resume"], scope].concat()).fails_with(5, &["not paused"]);
    }
    daemon.orchctl(&["pause", "--workflow", "nothing"]).fails_with(4, &["nothing"]);
    daemon.orchctl(&["pause", "--session", "9"]).fails_with(4, &["no such session: 9"]);
    daemon.orchctl(&["pause", "--priority", "low", "--resource", "lock:a"]).fails_with(2, &["--resource"]);
    daemon.orchctl(&["pause", "--resource", "lock"]).fails_with(2, &["lock:NAME"]);
}

#[test]
fn a_paused_workflow_starts_nothing_and_others_go_on() {
    let (daemon, first) = busy();
    let file = "name: wf\ntasks:\n  - name: a\n    shell: 'true'\n";
    daemon.write("wf.yaml", file);
    let added = daemon.orchctl(&["workflow", "run", "wf.yaml", "--detach", "--json"]).json();
    assert_eq!(daemon.orchctl(&["pause", "--workflow", "wf"]).succeeds().out, "paused: workflow wf\n");
    daemon.write("go", "");
    let other = daemon.submit(daemon.shell("true"));
    daemon.wait(&[first, other]);
    let id = TaskId(added["tasks"]["a"].as_u64().unwrap());
    assert_eq!(daemon.status(id), Status::Pending);
    daemon.orchctl(&["resume", "--workflow", "wf"]).succeeds();
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
}

#[test]
fn a_resource_is_set_in_parts_and_keeps_what_was_said_before() {
    let mut daemon = Daemon::start(4);
    let resource = |daemon: &Daemon, name: &str| -> Value {
        let all = daemon.orchctl(&["resources", "--json"]).json();
        all.as_array().unwrap().iter().find(|one| one["resource"] == name).cloned().unwrap()
    };
    let said = daemon.orchctl(&["resources", "set", "lock:licence", "capacity=3", "--json"]).json();
    assert_eq!((&said["capacity"], &said["concurrency"]), (&json!(3), &Value::Null));
    assert!(
        daemon.orchctl(&["resources", "set", "lock:licence", "concurrency=2"]).succeeds().out.contains("3")
    );
    daemon.kill_and_restart();
    let kept = resource(&daemon, "lock:licence");
    assert_eq!((&kept["capacity"], &kept["concurrency"]), (&json!(3), &json!(2)), "over a restart, too");
    assert!(daemon.orchctl(&["resources", "-q"]).succeeds().out.lines().any(|line| line == "lock:licence"));
    let spec = || TaskSpec { claims: claims(&["lock:licence"]), ..daemon.shell(gate("go")) };
    let ids = daemon.submit_many([spec(), spec(), spec()]);
    until("two hold it", || resource(&daemon, "lock:licence")["holders"].as_array().unwrap().len() == 2);
    assert!(daemon.orchctl(&["why", &ids[2].to_string()]).out.contains("lock:licence"));
    daemon.orchctl(&["resources", "set", "lock:licence", "concurrency=3"]).succeeds();
    daemon.until_status(ids[2], Status::Running);
    daemon.write("go", "");
    daemon.wait(&ids);
}

#[test]
fn a_setting_that_makes_no_sense_is_refused() {
    let daemon = Daemon::start(1);
    for (settings, code, words) in [
        (&["cpu", "capacity=0x"][..], 2, &["0x"][..]),
        (&["cpu", "capacitty=3"], 2, &["capacitty", "did you mean capacity"]),
        (&["cpu", "capacity"], 2, &["KEY=VALUE"]),
        (&["cpu"], 2, &["KEY=VALUE"]),
        (&["lock", "capacity=1"], 2, &["lock:NAME"]),
        (&["cpu", "capacity=1", "capacity=2"], 2, &["twice"]),
        (&["lock:a", "concurrency=0"], 5, &["more than nothing", "resources close lock:a"]),
        (&["external_api:x", "tokens=60"], 5, &["external_api:x", "tokens=60 per=1m"]),
        (&["external_api:x", "tokens=60", "per=0", "burst=10"], 5, &["per", "more than nothing"]),
        (&["cpu", "tokens=60", "per=1m"], 5, &["cpu:system_cpu", "no rate"]),
        (&["external_api:x", "capacity=3"], 5, &["concurrency"]),
    ] {
        daemon.orchctl(&[&["resources", "set"], settings].concat()).fails_with(code, words);
    }
    daemon.orchctl(&["resources", "set", "external_api:x", "concurrency=1"]).succeeds();
    daemon.orchctl(&["run", "--claim", "external_api:x", "--", "true"]).succeeds();
}

#[test]
fn a_drain_returns_when_nothing_runs_and_the_daemon_goes_on_serving() {
    let (daemon, first) = busy();
    let said = daemon.orchctl(&["drain", "--timeout", "10ms"]);
    said.fails_with(6, &["still running: 1 task"]);
    assert_eq!(
        daemon.orchctl(&["drain", "--timeout", "10ms", "--json"]).json(),
        json!({"done": false, "running": 1})
    );
    // New work is taken, and waits.
    let next = daemon.submit(daemon.shell("true"));
    assert!(daemon.orchctl(&["why", &next.to_string()]).out.contains("paused (all)"));
    let drain = start(&daemon, &["drain"]);
    daemon.write("go", "");
    let said = drain.ended();
    assert!(said.succeeds().out.contains("orchctl resume"), "{said:?}");
    assert_eq!((daemon.status(first), daemon.status(next)), (Status::Completed, Status::Pending));
    daemon.orchctl(&["resume"]).succeeds();
    assert_eq!(daemon.ended_task(next).status, Status::Completed);
}

#[test]
fn a_drain_that_somebody_ends_says_so() {
    let (daemon, _) = busy();
    let drain = start(&daemon, &["drain"]);
    until("it drains", || daemon.stats().paused);
    daemon.orchctl(&["resume"]).succeeds();
    // Any event lets it look again.
    daemon.submit(daemon.shell("true"));
    drain.ended().fails_with(5, &["resumed"]);
}

#[test]
fn events_are_chosen_by_pattern_task_and_place() {
    let daemon = Daemon::start(1);
    let first = daemon.submit(daemon.shell("true"));
    let second = daemon.submit(daemon.shell("exit 3"));
    daemon.wait(&[first, second]);
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let said = daemon.orchctl(&[&["events", "--no-follow", "--json"], arguments].concat());
        said.succeeds().out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&[]);
    assert_eq!(all.len(), daemon.events(None).len(), "from the start");
    let keys: Vec<&String> = all[0].as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 7, "every key is there, null or not: {keys:?}");
    assert!(all.iter().all(|event| event["workflow"].is_null() && event["session"].is_null()));
    let ends = lines(&["task.completed", "task.failed"]);
    let kinds: Vec<&str> = ends.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["task.completed", "task.failed"]);
    assert_eq!(ends[1]["data"]["exit_code"], 3);
    assert!(lines(&["worker.*"]).iter().all(|event| event["type"].as_str().unwrap().starts_with("worker.")));
    assert!(lines(&["--task", &second.to_string()]).iter().all(|event| event["task"] == second.0));
    let last = all.last().unwrap()["sequence"].as_u64().unwrap();
    assert_eq!(lines(&["--since", &(last - 1).to_string()]).len(), 1);
    assert_eq!(lines(&["--limit", "2"]).len(), 2);
    let text = daemon.orchctl(&["events", "--no-follow", "task.failed"]);
    assert!(text.succeeds().out.contains(&format!("task {second}")) && text.out.contains("exit_code=3"));
    daemon.orchctl(&["events", "--workflow", "none", "--no-follow"]).fails_with(4, &["none"]);
    daemon.orchctl(&["events", "--session", "none", "--no-follow"]).fails_with(4, &["none"]);
}

#[test]
fn events_of_a_workflow_are_followed_as_they_happen() {
    let (daemon, _) = busy();
    daemon.write("wf.yaml", "name: wf\ntasks:\n  - name: a\n    shell: 'true'\n");
    let added = daemon.orchctl(&["workflow", "run", "wf.yaml", "--detach", "--json"]).json();
    let follow =
        start(&daemon, &["events", "--workflow", "wf", "workflow.*", "--limit", "1", "--since", "0"]);
    assert!(follow.ended().succeeds().out.contains("workflow.submitted"));
    let sequence = daemon.stats().store.sequence.0.to_string();
    let follow = start(
        &daemon,
        &["events", "--workflow", "wf", "--since", &sequence, "task.completed", "--limit", "1"],
    );
    daemon.write("go", "");
    let said = follow.ended();
    let task = added["tasks"]["a"].as_u64().unwrap();
    assert!(
        said.succeeds().out.contains(&format!("task {task}, workflow {}", added["workflow"])),
        "{said:?}"
    );
}

#[test]
fn whatever_waits_ends_cleanly_when_it_is_interrupted() {
    let (daemon, first) = busy();
    let id = first.to_string();
    let file = daemon.write("spec.ndjson", "{\"shell\":\"true\"}\n");
    let file = file.to_str().unwrap();
    for arguments in [
        &["wait", &id][..],
        &["logs", "-f", &id],
        &["events"],
        &["stats", "--watch"],
        &["drain"],
        &["add", "-w", "--", "true"],
        &["add", "-f", "--", "true"],
        &["add", "-w", "--from", file],
        &["add", "--from", "-"],
        &["add", "--from", "-", "--atomic"],
    ] {
        let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
        command.args(arguments);
        let running = Running::start_open(command);
        kit::process::until_interruptible(running.pid());
        interrupt(&running);
        let said = running.ended();
        assert_eq!(said.code, Some(130), "{arguments:?}: {said:?}");
        assert_eq!(said.err, "", "{arguments:?}");
    }
    assert_eq!(daemon.status(first), Status::Running, "nobody touched what was watched");
    let sum = EventQuery {
        since: Some(0),
        no_follow: true,
        pattern: Some("task.cancelled".into()),
        ..EventQuery::default()
    };
    assert_eq!(daemon.client().events(sum).unwrap().count(), 0);
}

#[test]
fn shutdown_leaves_waits_or_cancels_as_it_is_asked() {
    let (mut daemon, first) = busy();
    daemon.orchctl(&["shutdown"]).succeeds();
    assert!(daemon.ended().success());
    daemon.start_again();
    assert_eq!(daemon.status(first), Status::Running, "it stayed with its worker");
    let shutdown = start(&daemon, &["shutdown", "--wait"]);
    daemon.write("go", "");
    shutdown.ended().succeeds();
    assert!(daemon.ended().success());
    daemon.start_again();
    assert_eq!(daemon.status(first), Status::Completed);
    let second = daemon.submit(daemon.shell(gate("never")));
    daemon.until_status(second, Status::Running);
    let said = daemon.orchctl(&["shutdown", "--cancel", "--json"]);
    assert_eq!(said.succeeds().json()["shutdown"], "cancel");
    daemon.ended();
    daemon.start_again();
    assert_eq!(daemon.ended_task(second).status, Status::Cancelled);
    // Who waits may lose patience.
    let third = daemon.submit(daemon.shell(gate("never")));
    daemon.until_status(third, Status::Running);
    let waiting = start(&daemon, &["shutdown", "--wait"]);
    until("nothing new is taken", || daemon.orchctl(&["add", "--", "true"]).code != Some(0));
    daemon.orchctl(&["shutdown", "--cancel"]).succeeds();
    waiting.ended();
    daemon.ended();
    daemon.start_again();
    assert_eq!(daemon.ended_task(third).status, Status::Cancelled);
    daemon.orchctl(&["shutdown", "--wait", "--cancel"]).fails_with(2, &["--cancel"]);
    daemon.orchctl(&["shutdown"]).succeeds();
    daemon.ended();
    daemon.orchctl(&["shutdown"]).fails_with(3, &["not reachable"]);
}

#[test]
fn what_ends_while_everything_is_cancelled_is_no_failure() {
    let daemon = Daemon::start(4);
    daemon.submit_many((0..3000).map(|_| daemon.shell("true")));
    until("some have ended", || daemon.stats().completed > 10);
    let said = daemon.orchctl(&["cancel", "--all"]);
    assert!(!said.succeeds().out.contains("not cancelled"), "{said:?}");
    daemon.orchctl(&["wait", "--all"]);
    daemon.orchctl(&["cancel", "1"]).fails_with(1, &[]);
}
