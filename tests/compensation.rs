//! What was done is undone when its workflow does not come to a good end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Two bookings and a payment, each of which leaves a line in `done`; `pay` is the command of the last.
fn journey(daemon: &Daemon, pay: &str) {
    let book = |name: &str, after: &[&str]| {
        let line = format!("echo {name} >> done; echo '\"id of {name}\"' > $ORCHD_RESULT");
        json!({ "name": name, "shell": line, "dependencies": after })
    };
    let undo = |name: &str| {
        let line = format!("echo undo {{{{ tasks.{name}.output }}}} >> done");
        json!({ "name": format!("undo {name}"), "shell": line, "compensates": name })
    };
    let tasks = [
        book("flight", &[]),
        book("hotel", &["flight"]),
        json!({ "name": "pay", "shell": pay, "dependencies": ["hotel"] }),
        undo("flight"),
        undo("hotel"),
    ];
    let end = [json!({ "name": "end", "shell": "echo end >> done" })];
    daemon.write("w.json", json!({ "name": "w", "tasks": tasks, "finally": end }).to_string());
}

fn statuses(shown: &Value) -> Vec<(String, String)> {
    let text = |task: &Value, field: &str| task[field].as_str().unwrap().to_owned();
    let of = |task: &Value| (text(task, "name"), text(task, "status"));
    let mut found: Vec<_> = shown["tasks"].as_array().unwrap().iter().map(of).collect();
    found.sort();
    found
}

#[test]
fn what_completed_is_undone_the_last_first_and_done_again_when_the_workflow_goes_on() {
    let mut daemon = Daemon::start(2);
    journey(&daemon, &format!("echo pay >> done; {} [ -e paid ]", gate("go")));
    daemon.orchctl(&["workflow", "run", "w.json", "--detach"]).succeeds();
    until("it pays", || daemon.lines("done") == ["flight", "hotel", "pay"]);
    daemon.kill_and_restart();
    daemon.write("go", "");
    daemon.orchctl(&["wait", "--workflow", "w"]).fails_with(1, &[]);
    let first = ["flight", "hotel", "pay", "undo id of hotel", "undo id of flight", "end"];
    assert_eq!(daemon.lines("done"), first);
    assert_eq!(daemon.orchctl(&["workflow", "show", "w", "--json"]).json()["status"], "failed");
    daemon.write("paid", "");
    let shown = daemon.orchctl(&["workflow", "resume", "w", "--json"]).json();
    assert_eq!(shown["status"], "completed");
    assert_eq!(daemon.lines("done")[6..], ["flight", "hotel", "pay", "end"]);
    let expected = ["end", "flight", "hotel", "pay"].map(|name| (name, "completed"));
    let expected = expected.into_iter().chain([("undo flight", "skipped"), ("undo hotel", "skipped")]);
    let expected: Vec<_> = expected.map(|(name, status)| (name.to_owned(), status.to_owned())).collect();
    assert_eq!(statuses(&shown), expected);
    assert_eq!(shown["metrics"]["success_rate"], 1.0, "what was not needed is no failure");
    let undo = shown["tasks"].as_array().unwrap().iter().find(|task| task["name"] == "undo hotel").unwrap();
    assert_eq!(undo["status_reason"]["code"], "not_needed");
    let named = ["workflow", "rerun", "w", "--from", "undo hotel"];
    daemon.orchctl(&named).fails_with(5, &["when its workflow needs it"]);
    daemon.assert_nothing_is_held();
}

#[test]
fn a_cancelled_workflow_is_undone_too() {
    let daemon = Daemon::start(2);
    journey(&daemon, &format!("echo pay >> done; {}", gate("never")));
    daemon.orchctl(&["workflow", "run", "w.json", "--detach"]).succeeds();
    until("it pays", || daemon.lines("done").len() == 3);
    daemon.orchctl(&["cancel", "--workflow", "w"]).succeeds();
    daemon.orchctl(&["wait", "--workflow", "w"]);
    assert_eq!(daemon.lines("done")[3..], ["undo id of hotel", "undo id of flight", "end"]);
    assert_eq!(daemon.orchctl(&["workflow", "show", "w", "--json"]).json()["status"], "cancelled");
}

#[test]
fn the_first_cancel_spares_what_undoes_also_when_it_comes_late_and_the_second_does_not() {
    let mut daemon = Daemon::start(2);
    let tasks = json!([
        { "name": "a", "shell": "true" },
        { "name": "pay", "shell": "exit 1", "dependencies": ["a"] },
        { "name": "undo a", "shell": format!("echo began >> done; {} echo undone >> done", gate("go")), "compensates": "a" },
    ]);
    let end = json!([{ "name": "end", "shell": "echo end >> done" }]);
    daemon.write("w.json", json!({ "name": "w", "tasks": tasks, "finally": end }).to_string());
    daemon.orchctl(&["workflow", "run", "w.json", "--detach"]).succeeds();
    until("it is being undone", || daemon.lines("done") == ["began"]);
    let cancel = ["cancel", "--workflow", "w"];
    let said = daemon.orchctl(&cancel);
    assert!(said.succeeds().out.contains("once more cancels that, too"), "{said:?}");
    daemon.kill_and_restart();
    daemon.write("go", "");
    daemon.orchctl(&["wait", "--workflow", "w"]).fails_with(1, &[]);
    assert_eq!(daemon.lines("done"), ["began", "undone", "end"]);
    std::fs::remove_file(daemon.path("go")).unwrap();
    daemon.orchctl(&["workflow", "run", "w.json", "--detach"]).succeeds();
    until("it is being undone", || daemon.lines("done").len() == 4);
    daemon.orchctl(&cancel).succeeds();
    daemon.kill_and_restart();
    daemon.orchctl(&cancel).succeeds();
    daemon.orchctl(&["wait", "--workflow", "w"]).fails_with(1, &[]);
    assert_eq!(daemon.lines("done")[3..], ["began"]);
    let shown = daemon.orchctl(&["workflow", "show", "w", "--json"]).json();
    let expected = [("a", "completed"), ("end", "cancelled"), ("pay", "failed"), ("undo a", "cancelled")];
    assert_eq!(statuses(&shown), expected.map(|(name, status)| (name.to_owned(), status.to_owned())));
}

#[test]
fn what_a_sub_workflow_did_is_undone_by_tasks_of_its_own() {
    let mut daemon = Daemon::start(2);
    let text = r#"
name: w
workflows:
  trip:
    parameters: { to: { type: string } }
    tasks:
      - { name: flight, shell: 'echo "\"a flight to {{ parameters.to }}\"" > $ORCHD_RESULT; echo flight {{ parameters.to }} >> done' }
      - { name: undo, compensates: flight, shell: 'echo undo {{ tasks.flight.output }}, {{ parameters.to }} >> done' }
      - { name: hotel, shell: 'true', dependencies: [flight] }
tasks:
  - { name: trips, workflow: trip, foreach: [rome, oslo], parameters: { to: "{{ item }}" } }
  - { name: one, workflow: trip, dependencies: [trips], parameters: { to: "bonn" } }
  - { name: told, dependencies: [one], shell: 'echo {{ tasks.one.output | json | quote }} >> done' }
  - { name: pay, dependencies: [told], shell: "GATE [ -e paid ]" }
"#;
    daemon.write("w.yaml", text.replace("GATE", &gate("go")));
    daemon.orchctl(&["workflow", "run", "w.yaml", "--detach"]).succeeds();
    until("it pays", || daemon.lines("done").len() == 4);
    assert_eq!(daemon.lines("done")[2..], ["flight bonn", r#"{"flight":"a flight to bonn","hotel":null}"#]);
    daemon.kill_and_restart();
    daemon.write("go", "");
    daemon.orchctl(&["wait", "--workflow", "w"]).fails_with(1, &[]);
    let done = daemon.lines("done");
    assert_eq!(done[4], "undo a flight to bonn, bonn", "the last first");
    let mut others = done[5..].to_vec();
    others.sort();
    assert_eq!(others, ["undo a flight to oslo, oslo", "undo a flight to rome, rome"]);
    daemon.write("paid", "");
    daemon.orchctl(&["workflow", "resume", "w"]).succeeds();
    assert_eq!(daemon.lines("done").len(), 11, "what was undone is done again");
    daemon.assert_nothing_is_held();
}

#[test]
fn what_cannot_be_undone_is_refused() {
    let daemon = Daemon::start(1);
    let undo = |more: &str| format!("tasks:\n- {{name: a}}\n- {{name: b}}\n- {{name: u, {more}}}\n");
    for (tasks, words) in [
        ("compensates: aa", &["aa", "unknown", "did you mean a?"][..]),
        ("compensates: u", &["u", "itself"]),
        ("compensates: a, dependencies: [b]", &["waits for nothing but"]),
        ("compensates: [a]", &["compensates"]),
    ] {
        daemon.write("w.yaml", undo(tasks));
        daemon.orchctl(&["workflow", "run", "w.yaml"]).fails_with(2, words);
    }
    let chained = format!("{}- {{name: v, compensates: u}}\n", undo("compensates: a"));
    daemon.write("w.yaml", chained);
    daemon.orchctl(&["workflow", "run", "w.yaml"]).fails_with(2, &["runs at the end"]);
    let line = "{\"shell\": \"true\", \"compensates\": \"a\"}\n";
    daemon.orchctl_reading(&["add", "--from", "-"], line.as_bytes()).fails_with(5, &["compensates"]);
}

/// The answer to a request, which need not say more than what it is about.
fn post(daemon: &Daemon, path: &str, body: &Value) -> String {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let body = body.to_string();
    let head = "host: localhost\r\nconnection: close\r\ncontent-type: application/json";
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_sent_without_a_file_is_undone_too_and_so_is_what_a_schedule_adds() {
    let daemon = Daemon::start(2);
    let tasks = json!([
        { "name": "a", "shell": "echo a >> done", "cwd": daemon.path("") },
        { "name": "b", "shell": "exit 1", "dependencies": ["a"] },
        { "name": "u", "shell": "echo undo a >> done", "cwd": daemon.path(""), "compensates": "a" },
    ]);
    let workflow = json!({ "name": "w", "tasks": tasks });
    assert!(post(&daemon, "/v1/workflows", &workflow).contains("200 OK"));
    until("it is undone", || daemon.lines("done") == ["a", "undo a"]);
    let schedule = json!({ "name": "s", "every": "1h", "workflow": workflow });
    assert!(post(&daemon, "/v1/schedules", &schedule).contains("200 OK"));
    assert!(post(&daemon, "/v1/schedules/run", &json!({ "schedule": "s" })).contains("200 OK"));
    until("it is undone", || daemon.lines("done") == ["a", "undo a", "a", "undo a"]);
    let wrong = json!({ "name": "w", "tasks": [{ "name": "u", "compensates": "aa" }] });
    assert!(post(&daemon, "/v1/workflows", &wrong).contains("unknown_dependency"));
}
