//! The verbs that look: list, show, why, logs, wait, workers; and the selectors of cancel.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::program::Running;
use kit::{Daemon, gate, until};
use orchd_client::{Priority, Status, TaskId, TaskSpec};
use serde_json::json;

fn start(daemon: &Daemon, arguments: &[&str]) -> Running {
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(arguments);
    Running::start(command, b"")
}

fn named(daemon: &Daemon, name: &str) -> TaskSpec {
    TaskSpec { name: name.to_owned(), ..daemon.shell("true") }
}

/// The ids that a list shows.
fn listed(daemon: &Daemon, arguments: &[&str]) -> Vec<TaskId> {
    let said = daemon.orchctl(&[&["list", "-q"], arguments].concat());
    said.succeeds().out.lines().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn a_list_is_narrowed_by_each_filter() {
    let daemon = Daemon::start(1);
    let good = daemon.submit(TaskSpec { tags: ["night".to_owned()].into(), ..named(&daemon, "copy-a") });
    let bad = daemon.submit(TaskSpec { name: "copy-b".into(), ..daemon.shell("exit 1") });
    daemon.wait(&[good, bad]);
    daemon.write("wf.yaml", "name: wf\ntasks:\n  - name: inside\n    shell: 'true'\n");
    let added = daemon.orchctl(&["workflow", "run", "wf.yaml", "--detach", "--json"]).json();
    let inside = TaskId(added["tasks"]["inside"].as_u64().unwrap());
    daemon.wait(&[inside]);
    let held = daemon.submit(TaskSpec { hold: true, priority: Priority::Low, ..named(&daemon, "held") });
    assert_eq!(listed(&daemon, &[]), [held, inside, bad, good], "unfinished, then the newest ended");
    assert_eq!(listed(&daemon, &["--status", "failed,pending"]), [held, bad]);
    assert_eq!(listed(&daemon, &["--priority", "low"]), [held]);
    assert_eq!(listed(&daemon, &["--tag", "night"]), [good]);
    assert_eq!(listed(&daemon, &["--workflow", "wf"]), [inside]);
    assert_eq!(listed(&daemon, &["--workflow", &added["workflow"].to_string()]), [inside]);
    assert_eq!(listed(&daemon, &["--name", "copy-?"]), [bad, good]);
    assert_eq!(listed(&daemon, &["--name", "[c]opy-[^b]"]), [good]);
    assert_eq!(listed(&daemon, &["--limit", "2"]), [held, inside]);
    assert_eq!(listed(&daemon, &["--limit", "0"]).len(), 4);
    assert_eq!(listed(&daemon, &["--since", "1h", "--status", "completed"]), [inside, good]);
    assert_eq!(listed(&daemon, &["--since", "0"]), [TaskId(0); 0]);
    assert_eq!(daemon.orchctl(&["list", "--tag", "none"]).succeeds().out, "no tasks\n");
    assert_eq!(daemon.orchctl(&["list", "--tag", "none", "--json"]).json(), json!([]));
    for (arguments, code, words) in [
        (["--status", "done"], 2, &["done", "completed"][..]),
        (["--priority", "urgent"], 2, &["urgent"]),
        (["--workflow", "none"], 4, &["no such workflow: none"]),
        (["--session", "5"], 4, &["no such session: 5"]),
        (["--name", "["], 2, &["has no ]: [", "[[]"]),
        (["--name", "a[^]"], 2, &["has no ]"]),
        (["--limit", "-1"], 2, &["-1"]),
        (["--since", "soon"], 2, &["soon"]),
    ] {
        daemon.orchctl(&[&["list"], &arguments[..]].concat()).fails_with(code, words);
    }
}

#[test]
fn a_long_list_is_written_as_it_comes_and_whoever_has_read_enough_is_asked_for_nothing() {
    let daemon = Daemon::start(1);
    daemon.orchctl(&["pause"]).succeeds();
    let ids = daemon.submit_many((0..2500).map(|i| named(&daemon, &format!("task-{}", "x".repeat(i % 30)))));
    let all: Vec<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(daemon.orchctl(&["list", "--limit", "0", "-q"]).succeeds().out.lines().count(), all.len());
    let document = daemon.orchctl(&["list", "--limit", "0", "--json"]).json();
    let listed = document.as_array().unwrap().iter().map(|task| task["id"].to_string());
    assert!(listed.eq(all.iter().cloned()));
    let said = daemon.orchctl(&["list", "--limit", "0"]);
    let table: Vec<&str> = said.succeeds().out.lines().collect();
    assert_eq!((table.len(), table[0].starts_with("ID ")), (all.len() + 1, true), "{}", table[0]);
    let place = |line: &str| line.find("pending");
    assert!(table[1..].iter().all(|line| place(line) == place(table[1])), "columns stand below each other");
    assert_eq!(listed_by(&daemon, &["list", "--limit", "2400", "-q"]), 2400);
    for form in ["-q", "--json", "--color=never"] {
        let mut list = daemon.program("/bin/sh");
        list.args(["-c", "orchctl list --limit 0 $0 | head -c 5; echo end", form]);
        list.env("PATH", programs());
        let said = kit::program::run(list, b"");
        assert_eq!((said.succeeds().out.len(), said.err.as_str()), (9, ""), "{said:?}");
    }
}

/// How many lines a verb writes.
fn listed_by(daemon: &Daemon, arguments: &[&str]) -> usize {
    daemon.orchctl(arguments).succeeds().out.lines().count()
}

/// Where programs are looked for, ours first.
fn programs() -> String {
    let ours = std::path::Path::new(env!("CARGO_BIN_EXE_orchctl")).parent().unwrap();
    format!("{}:/usr/bin:/bin", ours.display())
}

#[test]
fn who_watches_is_told_that_the_daemon_has_gone_and_goes_on_with_the_next() {
    let mut daemon = Daemon::start(1);
    daemon.submit(daemon.shell("true"));
    let mut events = daemon.program("/bin/sh");
    events.args(["-c", "exec orchctl events --since 0 -q > seen 2> said"]).env("PATH", programs());
    let events = Running::start(events, b"");
    until("it has begun", || !daemon.lines("seen").is_empty());
    daemon.terminate();
    let told = "orchctl: connection to the daemon lost: trying to get it back for 30s";
    until("it is told", || daemon.lines("said") == [told]);
    daemon.start_again();
    let last = daemon.orchctl(&["publish", "custom.again"]).succeeds().out.trim().to_owned();
    until("it goes on", || daemon.lines("seen").contains(&last));
    drop(events);
    assert_eq!(daemon.lines("said"), [told]);
}

#[test]
fn the_output_of_a_task_that_waits_is_followed_as_soon_as_it_runs() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(TaskSpec { hold: true, ..daemon.shell("echo out; echo err >&2; exit 3") });
    let follow = start(&daemon, &["logs", "-f", &id.to_string()]);
    let both = start(&daemon, &["logs", "-f", "--both", &id.to_string()]);
    let json = start(&daemon, &["logs", "-f", "--json", "--stderr", &id.to_string()]);
    // Without -f there is nothing yet, and that is no error.
    assert_eq!(daemon.orchctl(&["logs", &id.to_string()]).succeeds().out, "");
    daemon.orchctl(&["release", &id.to_string()]).succeeds();
    assert_eq!(follow.ended().succeeds().out, "out\n");
    let both = both.ended();
    assert_eq!((both.succeeds().out.as_str(), both.err.as_str()), ("out\n", "err\n"));
    let chunk = json.ended().succeeds().json();
    assert_eq!((&chunk["text"], &chunk["stream"]), (&json!("err\n"), &json!("stderr")));
    daemon.orchctl(&["logs", "4711", "-f"]).fails_with(4, &["4711"]);
    daemon.orchctl(&["logs", &id.to_string(), "--attempt", "2"]).fails_with(4, &["has had 1"]);
    daemon.orchctl(&["logs", &id.to_string(), "--stderr", "--both"]).fails_with(2, &["--both"]);
}

#[test]
fn a_task_that_is_cancelled_and_still_dying_says_so_everywhere() {
    let daemon = Daemon::start(1);
    let line = format!("trap 'touch asked' TERM; touch ready; {} true", gate("go"));
    let id = daemon.submit(daemon.shell(line));
    until("the trap is set", || daemon.path("ready").exists());
    let text = id.to_string();
    assert!(!daemon.orchctl(&["why", &text]).out.contains("cancelled"));
    assert_eq!(daemon.orchctl(&["cancel", &text]).succeeds().out, format!("{id} cancelled, ending\n"));
    until("it was asked to end", || daemon.path("asked").exists());
    for verb in [&["why", &text][..], &["show", &text], &["list"]] {
        let said = daemon.orchctl(verb);
        assert!(said.succeeds().out.contains("being cancelled"), "{said:?}");
    }
    assert_eq!(daemon.orchctl(&["show", &text, "--json"]).json()["stopping"], "cancel");
    assert_eq!(daemon.orchctl(&["why", &text, "--json"]).json()["stopping"], "cancel");
    daemon.write("go", "");
    assert_eq!(daemon.ended_task(id).status, Status::Cancelled);
    assert!(daemon.orchctl(&["show", &text, "--json"]).json().get("stopping").is_none());
}

#[test]
fn a_wait_exits_by_what_it_waited_for() {
    let daemon = Daemon::start(2);
    let (good, bad) = (daemon.submit(daemon.shell("true")), daemon.submit(daemon.shell("exit 1")));
    let (good, bad) = (good.to_string(), bad.to_string());
    assert_eq!(daemon.orchctl(&["wait", &good]).succeeds().out, format!("{good} completed\n"));
    daemon.orchctl(&["wait", &good, &bad]).fails_with(1, &[]);
    assert_eq!(daemon.orchctl(&["wait", &good, "-q"]).succeeds().out, "");
    daemon.orchctl(&["wait", "4711"]).fails_with(4, &[]);
    daemon.orchctl(&["wait", "--session", "5"]).fails_with(4, &["no such session: 5"]);
    daemon.orchctl(&["wait", "--workflow", "none"]).fails_with(4, &["none"]);
    daemon.orchctl(&["wait"]).fails_with(2, &["--all"]);
    daemon.orchctl(&["wait", "--all"]).succeeds();
    let open = daemon.submit(daemon.shell(gate("never"))).to_string();
    daemon.orchctl(&["wait", "--all", "--timeout", "10ms"]).fails_with(6, &["not yet ended: 1 task"]);
    assert_eq!(daemon.orchctl(&["wait", &open, "--timeout", "1ms", "--json"]).json()["done"], false);
}

#[test]
fn cancel_selects_by_id_tag_workflow_or_all() {
    let daemon = Daemon::start(1);
    let hold = |spec| TaskSpec { hold: true, ..spec };
    let plain = daemon.submit(hold(daemon.shell("true")));
    let tagged = daemon.submit(TaskSpec { tags: ["t".to_owned()].into(), ..hold(daemon.shell("true")) });
    daemon.write("wf.yaml", "name: wf\ntasks:\n  - name: a\n    shell: 'true'\n    hold: true\n");
    let added = daemon.orchctl(&["workflow", "run", "wf.yaml", "--detach", "--json"]).json();
    let inside = added["tasks"]["a"].to_string();
    assert_eq!(daemon.orchctl(&["cancel", "--tag", "t"]).succeeds().out, format!("{tagged} cancelled\n"));
    assert_eq!(daemon.orchctl(&["cancel", "--workflow", "wf", "-q"]).succeeds().out, format!("{inside}\n"));
    assert_eq!(daemon.orchctl(&["cancel", "--all"]).succeeds().out, format!("{plain} cancelled\n"));
    assert_eq!(daemon.orchctl(&["cancel", "--all"]).succeeds().out, "nothing to cancel\n");
    assert_eq!(daemon.orchctl(&["cancel", "--tag", "none", "--json"]).json(), json!([]));
    let said = daemon.orchctl(&["cancel", &plain.to_string()]);
    assert!(said.fails_with(1, &[]).out.contains("not cancelled"), "{said:?}");
    daemon.orchctl(&["cancel", &plain.to_string(), "4711"]).fails_with(4, &[]);
    daemon.orchctl(&["cancel", "--workflow", "none"]).fails_with(4, &["none"]);
    daemon.orchctl(&["cancel", "--session", "5"]).fails_with(4, &["no such session: 5"]);
    daemon.orchctl(&["cancel"]).fails_with(2, &["--all"]);
}

#[test]
fn only_what_did_not_complete_runs_again() {
    let daemon = Daemon::start(1);
    let good = daemon.submit(daemon.shell("true"));
    let bad = daemon.submit(daemon.shell("[ -e fixed ]"));
    daemon.wait(&[good, bad]);
    daemon.write("fixed", "");
    let said = daemon.orchctl(&["retry", &good.to_string()]);
    let why = format!("only failed, skipped and cancelled tasks run again: task {good} is completed");
    assert!(said.fails_with(5, &[]).out.contains(&why), "{said:?}");
    assert_eq!(daemon.orchctl(&["retry", &bad.to_string()]).succeeds().out, format!("{bad} pending\n"));
    assert_eq!(daemon.ended_task(bad).status, Status::Completed);
    daemon.orchctl(&["retry", "4711"]).fails_with(4, &[]);
}

#[test]
fn a_worker_is_known_before_it_has_come_back() {
    let mut daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell(gate("go")));
    daemon.until_status(id, Status::Running);
    let worker = daemon.worker();
    // One that cannot speak does not come back.
    kit::process::send(worker.pid, rustix::process::Signal::STOP);
    daemon.kill_and_restart();
    let said = daemon.orchctl(&["workers", "--json"]).json();
    assert_eq!((&said[0]["kind"], &said[0]["pid"]), (&json!("process"), &json!(worker.pid)));
    assert!(said[0]["connected_at"].is_null(), "{said}");
    assert!(daemon.orchctl(&["workers"]).succeeds().out.contains("lost"));
    kit::process::send(worker.pid, rustix::process::Signal::CONT);
    daemon.write("go", "");
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
}
