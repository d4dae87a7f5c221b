//! What is wrong with a request is told when it is made: which field, what was given, and what would help.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::Daemon;
use kit::http::ask;
use serde_json::{Value, json};

#[test]
fn a_scope_is_named_by_a_number_or_by_a_name() {
    let daemon = Daemon::start(1);
    let workflow = "{\"name\": \"w\", \"tasks\": [{\"name\": \"a\", \"shell\": \"true\", \"hold\": true}]}";
    assert_eq!(ask(&daemon, "POST", "/v1/workflows", workflow).status, 200);
    assert_eq!(ask(&daemon, "POST", "/v1/sessions", "{\"name\": \"s\"}").status, 200);
    for scope in ["{\"workflow\": 1}", "{\"workflow\": \"w\"}", "{\"session\": 1}", "{\"session\": \"s\"}"] {
        for target in ["/v1/pause", "/v1/resume"] {
            let answer = ask(&daemon, "POST", target, scope);
            assert_eq!(answer.status, 200, "{target} {scope}: {answer:?}");
        }
    }
    let cancelled = ask(&daemon, "POST", "/v1/tasks/cancel", "{\"workflow\": 1}");
    assert!(cancelled.body.contains("\"status\":\"cancelled\""), "{cancelled:?}");
    let unknown = ask(&daemon, "POST", "/v1/pause", "{\"workflow\": 4711}");
    assert_eq!(unknown.status, 404, "{unknown:?}");
    let other = ask(&daemon, "POST", "/v1/pause", "{\"workflow\": [1]}");
    assert!(other.status == 400 && other.body.contains("a name or an id"), "{other:?}");
}

#[test]
fn names_in_which_something_cannot_be_seen_are_refused_as_those_of_resources_are() {
    let daemon = Daemon::start(1);
    let task = "{\"name\": \"a\", \"shell\": \"true\"}";
    for (target, body) in [
        ("/v1/tasks", "{\"name\": \"x\u{200b}\", \"shell\": \"true\"}".to_owned()),
        ("/v1/tasks", "{\"tags\": [\"x\u{200b}\"], \"shell\": \"true\"}".to_owned()),
        ("/v1/tasks", "{\"claims\": [\"lock:x\u{200b}\"], \"shell\": \"true\"}".to_owned()),
        ("/v1/sessions", "{\"name\": \"x\u{200b}\"}".to_owned()),
        ("/v1/workflows", format!("{{\"name\": \"x\u{200b}\", \"tasks\": [{task}]}}")),
        ("/v1/workflows", "{\"name\": \"w\", \"tasks\": [{\"name\": \"x\u{200b}\"}]}".to_owned()),
        ("/v1/schedules", format!("{{\"name\": \"x\u{200b}\", \"every\": \"1h\", \"task\": {task}}}")),
    ] {
        let answer = ask(&daemon, "POST", target, &body);
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("must not contain the invisible character '\\u{200b}': "),
            "{target}: {detail}"
        );
        assert!(detail.contains("x\\u{200b}") && !detail.contains('\u{200b}'), "{target}: {detail}");
        assert_eq!(answer.status, 400, "{target}");
    }
    daemon.write(
        "w.yaml",
        "name: w\ntasks:\n  - { name: \"x\\u200b\", shell: 'true', tags: [\"y\\u00ad\"] }\n",
    );
    let words =
        ["w.yaml:3:", "a name must not contain the invisible", "a tag must not contain the invisible"];
    daemon.orchctl(&["workflow", "run", "w.yaml"]).fails_with(2, &words);
    daemon.write("w.yaml", "name: \"x\\u200b\"\ntasks: [{ name: a, shell: 'true' }]\n");
    daemon.orchctl(&["workflow", "run", "w.yaml"]).fails_with(2, &["w.yaml:1:", "a name must not contain"]);
    daemon.orchctl(&["add", "--tag", "x\u{200b}", "--", "true"]).fails_with(2, &["a tag must not contain"]);
    assert_eq!(daemon.stats().total_tasks, 0);
}
