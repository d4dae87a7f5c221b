//! A workflow that is sent line by line: its head, then one task a line; all of it or nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, PATIENCE};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

const HEAD: &str = "POST /v1/workflows HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                    content-type: application/x-ndjson\r\n";

/// Sends a request and no more; gives the status and body of the answer, if one comes.
fn exchange(daemon: &Daemon, request: &str) -> (String, Value) {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn send(daemon: &Daemon, lines: &[Value]) -> (String, Value) {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    exchange(daemon, &format!("{HEAD}content-length: {}\r\n\r\n{body}", body.len()))
}

fn post(daemon: &Daemon, path: &str, body: &Value) -> (String, Value) {
    let body = body.to_string();
    let kind = "host: x\r\nconnection: close\r\ncontent-type: application/json";
    let length = body.len();
    exchange(daemon, &format!("POST {path} HTTP/1.1\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}"))
}

#[test]
fn what_the_head_says_holds_for_all_commands_that_do_not_say_otherwise() {
    let daemon = Daemon::start(2);
    std::fs::create_dir(daemon.path("below")).unwrap();
    let lines = [
        json!({"name": "long", "parameters": {"n": 3}, "cwd": daemon.path(""),
               "env": {"PATH": std::env::var("PATH").unwrap(), "WHO": "all"}}),
        json!({"name": "a", "shell": "echo $WHO {{ parameters.n }} > a"}),
        json!({"name": "b", "shell": "echo $WHO > b", "cwd": "below", "env": {"WHO": "me"}, "dependencies": ["a"]}),
    ];
    let (status, added) = send(&daemon, &lines);
    assert_eq!((status.as_str(), &added["name"]), ("200", &json!("long")), "{added}");
    daemon.orchctl(&["wait", "--workflow", "long"]).succeeds();
    assert_eq!((daemon.lines("a"), daemon.lines("below/b")), (vec!["all 3".into()], vec!["me".into()]));
}

#[test]
fn a_workflow_with_a_line_that_is_wrong_or_missing_is_not_added() {
    let daemon = Daemon::start(1);
    let head = json!({"name": "w"});
    let good = json!({"name": "a", "shell": "true"});
    let wrong = json!({"name": "b", "shel": "true"});
    for (lines, words) in [
        (vec![head.clone(), good.clone(), wrong], "shel"),
        (vec![good.clone(), json!("no task")], "no such field: shell"),
        (vec![head.clone(), json!("no task")], "not a task"),
        (vec![head.clone()], "1 to 2000000 tasks"),
        (vec![], "begins with its head"),
        (vec![json!({"name": "w", "cwd": "here"}), good.clone()], "must be absolute"),
        (vec![head.clone(), json!({"name": "b", "shell": "true", "cwd": "here"})], "must be absolute"),
    ] {
        let (status, problem) = send(&daemon, &lines);
        assert_eq!(status, "400", "{lines:?}: {problem}");
        assert!(problem.to_string().contains(words), "{lines:?}: {problem}");
    }
    // A sender who is cut off has not said all that was meant, even where a line had ended.
    let body = format!("{head}\n{good}\n");
    for request in [
        format!("{HEAD}content-length: {}\r\n\r\n{body}", body.len() + 1),
        format!("{HEAD}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()),
    ] {
        let (status, answer) = exchange(&daemon, &request);
        assert!(status.is_empty() || status == "400", "{status} {answer}");
    }
    assert!(daemon.client().workflows().unwrap().is_empty());
    let (status, _) = send(&daemon, &[head, good]);
    assert_eq!(status, "200");
}

#[test]
fn what_a_workflow_does_not_have_is_refused_and_named_wherever_one_is_posted() {
    let daemon = Daemon::start(1);
    let post = |path: &str, body: &Value| post(&daemon, path, body);
    let tasks = json!([{ "name": "a", "shell": "true" }]);
    for (key, hint) in [
        ("fail_fastt", "did you mean fail_fast?"),
        ("max_paralel", "did you mean max_parallel?"),
        ("timeot", "did you mean timeout?"),
        ("finally", "put its tasks into tasks, each with finally: true"),
        ("handlers", "give each task with a module the command that it runs"),
        ("defaults", "give each task what it is to have"),
    ] {
        let whole = json!({ "name": "w", "tasks": tasks, key: 1 });
        let schedule = json!({ "name": "s", "every": 9, "workflow": whole });
        let head = json!({ "name": "w", key: 1 });
        for ((status, problem), path) in [
            (post("/v1/workflows", &whole), key.to_owned()),
            (post("/v1/schedules", &schedule), format!("workflow.{key}")),
            (send(&daemon, &[head, tasks[0].clone()]), key.to_owned()),
        ] {
            let told = (status.as_str(), &problem["code"], &problem["value"], &problem["hint"]);
            assert_eq!(told, ("400", &json!("unknown_field"), &json!(path), &json!(hint)), "{problem}");
        }
    }
    assert_eq!(daemon.orchctl(&["workflow", "list", "--json"]).json(), json!([]));
    assert_eq!(post("/v1/workflows", &json!({ "name": "w", "tasks": tasks })).0, "200");
}

#[test]
fn what_a_query_does_not_have_is_refused_and_named() {
    let daemon = Daemon::start(1);
    for (path, near) in [
        ("events?patern=task.failed", "did you mean pattern?"),
        ("tasks?statuss=failed", "did you mean status?"),
        ("workflows?sesion=x", "did you mean session?"),
        ("sessions?clsed=true", "it has: "),
        ("report?workfow=w", "did you mean workflow?"),
    ] {
        let request = format!("GET /v1/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let (status, problem) = exchange(&daemon, &request);
        assert_eq!(
            (status.as_str(), &problem["code"]),
            ("400", &json!("unknown_field")),
            "{path}: {problem}"
        );
        assert!(problem["hint"].as_str().unwrap().starts_with(near), "{path}: {problem}");
    }
}

#[test]
fn what_would_wait_for_its_own_end_is_refused_however_it_is_sent() {
    let daemon = Daemon::start(1);
    let task = |name: &str, more: Value| {
        let mut task = json!({ "name": name, "shell": "true" });
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        task
    };
    for tasks in [
        vec![task("a", json!({ "finally": true })), task("b", json!({ "dependencies": ["a"] }))],
        vec![
            task("x", json!({})),
            task("a", json!({ "compensates": "x" })),
            task("b", json!({ "dependencies": [{ "task": "a", "on": "completion" }] })),
        ],
        vec![
            task("b", json!({ "dependencies": ["a"] })),
            task("a", json!({ "finally": true, "dependencies": ["c"] })),
            task("c", json!({ "finally": true })),
        ],
    ] {
        let whole = json!({ "name": "w", "tasks": tasks });
        let lines: Vec<Value> = std::iter::once(json!({ "name": "w" })).chain(tasks).collect();
        for (status, problem) in [post(&daemon, "/v1/workflows", &whole), send(&daemon, &lines)] {
            assert_eq!((status.as_str(), &problem["value"]), ("400", &json!("a")), "{problem}");
            let told = &problem["message"];
            assert_eq!(told, "task b: depends on a task that runs at the end", "{problem}");
            assert_eq!(problem["hint"], "only finally tasks come after finally tasks");
        }
    }
    assert!(daemon.client().workflows().unwrap().is_empty());
}

#[test]
fn a_name_that_elements_of_another_task_have_is_refused_however_it_is_sent() {
    let daemon = Daemon::start(1);
    let other = json!({ "name": "a[0]", "shell": "true" });
    for list in [json!({ "foreach": [1, 2] }), json!({ "foreach": "range(2)" }), json!({ "array": "0-1" })] {
        let mut task = json!({ "name": "a", "shell": "true" });
        task.as_object_mut().unwrap().extend(list.as_object().unwrap().clone());
        let whole = json!({ "name": "w", "tasks": [task, other] });
        let (status, problem) = post(&daemon, "/v1/workflows", &whole);
        assert_eq!((status.as_str(), &problem["value"]), ("409", &json!("a[0]")), "{problem}");
        daemon.write("w.json", whole.to_string());
        let words = ["a second task of this name: a[0]", "a is a task for each element"];
        daemon.orchctl(&["workflow", "run", "w.json"]).fails_with(2, &words);
    }
    let alone = json!({ "name": "w", "tasks": [{ "name": "a", "shell": "true" }, other] });
    assert_eq!(post(&daemon, "/v1/workflows", &alone).0, "200", "a has no elements");
    let set = json!({ "s": { "tasks": [{ "name": "a", "shell": "true", "foreach": [1] }] } });
    let beside = json!([{ "name": "n", "workflow": "s" }, { "name": "n.a[0]", "shell": "true" }]);
    daemon.write("w.json", json!({ "name": "w", "workflows": set, "tasks": beside }).to_string());
    daemon.orchctl(&["workflow", "run", "w.json"]).fails_with(2, &["a second task of this name: n.a[0]"]);
}
