//! What is wrong with a request is told when it is made: which field, what was given, and what would help.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::Daemon;
use kit::http::{ask, ask_with};
use orchd_client::Status;
use orchd_model::TaskSpec;
use serde_json::{Value, json};

#[test]
fn a_key_that_nobody_knows_is_named_with_its_path_wherever_it_stands() {
    let daemon = Daemon::start(1);
    let workflow = |rest: &str| format!("{{\"name\": \"w\", {rest}}}");
    for (target, body, path, hint) in [
        (
            "/v1/workflows",
            workflow("\"tasks\": [{\"shell\": \"true\"}, {\"retry\": {\"maxx\": 3}}]"),
            "tasks[1].retry",
            Value::Null,
        ),
        (
            "/v1/workflows",
            workflow("\"tasks\": [{\"claims\": [\"cpu=1\", {\"type\": \"cpu\", \"amout\": 1}]}]"),
            "tasks[0].claims[1].amout",
            json!("did you mean amount?"),
        ),
        (
            "/v1/workflows",
            workflow("\"tasks\": [], \"on_event\": [{\"evnts\": [\"*\"]}]"),
            "on_event[0].evnts",
            json!("did you mean events?"),
        ),
        (
            "/v1/tasks",
            "{\"dependencies\": [{\"task\": 1, \"onn\": \"failure\"}]}".to_owned(),
            "dependencies[0].onn",
            json!("did you mean on?"),
        ),
        (
            "/v1/schedules",
            "{\"name\": \"s\", \"every\": \"1h\", \"task\": {\"comand\": [\"true\"]}}".to_owned(),
            "task.comand",
            json!("did you mean command?"),
        ),
    ] {
        let answer = ask(&daemon, "POST", target, &body);
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        let told = (&problem["code"], &problem["field"], &problem["value"], &problem["hint"]);
        assert_eq!(told, (&json!("unknown_field"), &json!(path), &json!(path), &hint), "{answer:?}");
    }
    let answer = ask(&daemon, "POST", "/v1/tasks", "[{\"claims\": [{\"typ\": \"cpu\"}]}]");
    let items: Value = serde_json::from_str(&answer.body).unwrap();
    let error = &items[0]["error"];
    assert_eq!(
        (&error["code"], &error["field"]),
        (&json!("unknown_field"), &json!("claims[0].typ")),
        "{items}"
    );
}

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

#[test]
fn a_template_that_cannot_be_filled_in_is_refused_when_its_workflow_is_submitted() {
    let daemon = Daemon::start(1);
    for (task, field, value, hint) in [
        (r#""shell": "{{ parameters.rows""#, "shell", "{{ parameters.rows", "a literal {{"),
        (r#""shell": "{{ parameters.row }}""#, "shell", "row", "did you mean rows?"),
        (r#""shell": "{{ tasks.b.output }}""#, "shell", "b", "add it to the dependencies"),
        (r#""shell": "true", "when": "1 +""#, "when", "1 +", "write an expression such as"),
        (r#""shell": "true", "when": "result.x""#, "when", "result", "known are"),
        (r#""shell": "true", "transform": "result | sm""#, "transform", "sm", "did you mean sum?"),
    ] {
        let head = r#""name": "w", "parameters": {"rows": 1}"#;
        let tasks = [r#"{"name": "a", "shell": "true"}"#.to_owned(), format!(r#"{{"name": "x", {task}}}"#)];
        let workflow = format!(r#"{{{head}, "tasks": [{}]}}"#, tasks.join(", "));
        let schedule = format!(r#"{{"name": "s", "every": "1h", "workflow": {workflow}}}"#);
        let lines = format!("{{{head}}}\n{}\n", tasks.join("\n"));
        for (target, kind, body) in [
            ("/v1/workflows", "application/json", &workflow),
            ("/v1/workflows", "application/x-ndjson", &lines),
            ("/v1/schedules", "application/json", &schedule),
        ] {
            let answer = ask_with(&daemon, "POST", target, kind, body);
            let problem: Value = serde_json::from_str(&answer.body).unwrap();
            let told = (&problem["code"], &problem["field"], &problem["value"]);
            let field = format!("tasks[1].{field}");
            assert_eq!(told, (&json!("malformed"), &json!(field), &json!(value)), "{target}: {answer:?}");
            assert!(problem["hint"].as_str().unwrap().starts_with(hint), "{answer:?}");
            assert!(problem["message"].as_str().unwrap().starts_with("task x: "), "{answer:?}");
        }
    }
    // A task by itself has no templates: its braces are its own business.
    let id =
        daemon.submit(TaskSpec { cwd: Some("/".to_owned()), ..TaskSpec::command(["echo", "{{ .Names"]) });
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
    assert_eq!(daemon.stats().total_tasks, 1);
}

#[test]
fn the_use_of_a_key_by_another_task_names_the_field() {
    let daemon = Daemon::start(1);
    let add = |line: &str| {
        let answer = ask(&daemon, "POST", "/v1/tasks", &format!(r#"{{"key": "k", "shell": "{line}"}}"#));
        serde_json::from_str::<Value>(&answer.body).unwrap()
    };
    assert_eq!(add("true")["id"], json!(1));
    let problem = add("false");
    let told = (&problem["code"], &problem["field"], &problem["value"]);
    assert_eq!(told, (&json!("conflict"), &json!("key"), &json!("k")));
}
