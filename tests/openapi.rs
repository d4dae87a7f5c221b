//! The API as it is described, as it is shown on its page, and as it is served: all three are the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::http::{ask, ask_with};
use kit::page::{Typed, commands};
use kit::{Daemon, PATIENCE, program};
use orchd_model::TaskSpec;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

const PAGE: &str = "docs/http.md";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Paths and methods.
type Operations = BTreeSet<(String, String)>;

fn source(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The document that the daemon serves.
fn document(daemon: &Daemon) -> Value {
    let answer = ask(daemon, "GET", "/v1/openapi.json", "");
    assert_eq!(answer.status, 200);
    serde_json::from_str(&answer.body).unwrap()
}

fn documented(document: &Value) -> Operations {
    let paths = document["paths"].as_object().unwrap();
    let methods = |(path, item): (&String, &Value)| {
        let path = path.clone();
        let methods: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
        methods.into_iter().map(move |method| (path.clone(), method))
    };
    paths.iter().flat_map(methods).collect()
}

/// The paths of the daemon's router, read from its source.
fn routed() -> BTreeSet<String> {
    let constants = source("crates/api/src/routes.rs");
    let path_of = |name: &str| {
        let line = constants.lines().find(|line| line.starts_with(&format!("pub const {name}: ")));
        line.unwrap_or_else(|| panic!("{name} is no route")).split('"').nth(1).unwrap().to_owned()
    };
    let router = source("daemon/src/http/mod.rs");
    let names = router.split(".route(").skip(1).map(|rest| {
        let name =
            rest.trim_start().strip_prefix("routes::").expect("a route is a constant of orchd_api::routes");
        name.split(',').next().unwrap().to_owned()
    });
    names.map(|name| path_of(&name)).collect()
}

/// Checks a value against a schema of the document.
fn conforms(document: &Value, schema: &Value, value: &Value, what: &str) {
    let mut root = json!({ "components": document["components"] });
    root["allOf"] = json!([schema]);
    let validator = jsonschema::draft202012::new(&root).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
}

fn problem(document: &Value) -> &Value {
    &document["components"]["responses"]["Problem"]["content"]["application/problem+json"]["schema"]
}

#[test]
fn what_is_served_is_documented_and_what_is_documented_is_served() {
    let daemon = Daemon::start(1);
    let document = document(&daemon);
    let documented = documented(&document);
    let mut paths: BTreeSet<String> = documented.iter().map(|(path, _)| path.clone()).collect();
    paths.extend(routed());
    for path in paths {
        for method in METHODS {
            let is_documented = documented.contains(&(path.clone(), method.to_owned()));
            // No document, so that nothing is done; a stream ends with what there is.
            let body = if method == "get" { "" } else { "!" };
            let target = path.replace("{id}", "4711") + "?no_follow=true";
            let answer = ask(&daemon, &method.to_uppercase(), &target, body);
            let what = format!("{method} {path}: {answer:?}");
            let is_unknown = answer.status == 405 || answer.body.contains("no such path");
            assert_eq!(is_documented, !is_unknown, "{what}");
            if answer.status >= 400 {
                let problem_document: Value = serde_json::from_str(&answer.body).expect(&what);
                conforms(&document, problem(&document), &problem_document, &what);
                assert!(answer.head.contains("content-type: application/problem+json"), "{what}");
            }
            if answer.status == 405 {
                let allow = answer.head.lines().find_map(|line| line.strip_prefix("allow: ")).expect(&what);
                let allowed: BTreeSet<&str> =
                    allow.split(',').map(str::trim).filter(|m| *m != "head").collect();
                let known = documented.iter().filter(|(other, _)| *other == path);
                assert_eq!(allowed, known.map(|(_, method)| method.as_str()).collect(), "{what}");
            }
        }
    }
    assert_eq!(ask(&daemon, "GET", "/v1/workers/session", "").status, 426);
    assert_eq!(daemon.stats().total_tasks, 0);
}

#[test]
fn no_body_has_a_field_that_nobody_reads() {
    let daemon = Daemon::start(1);
    let document = document(&daemon);
    let mut count = 0;
    for (path, method) in documented(&document) {
        let content = &document["paths"][&path][&method]["requestBody"]["content"];
        let Some(media) = content.as_object().and_then(|content| content.keys().next()) else { continue };
        let target = path.replace("{id}", "4711");
        for (body, value) in [("{\"nobody_reads_this\": 1}", "nobody_reads_this"), ("{\"allx\": 1}", "allx")]
        {
            let answer = ask_with(&daemon, &method.to_uppercase(), &target, media, body);
            let what = format!("{method} {path}: {answer:?}");
            let problem: Value = serde_json::from_str(&answer.body).expect(&what);
            assert_eq!(
                (&problem["code"], &problem["value"]),
                (&json!("unknown_field"), &json!(value)),
                "{what}"
            );
            // A task has too many for a line.
            let is_task = problem["message"] == "a task spec has no such field";
            assert!(is_task || problem["hint"].is_string(), "{what}");
        }
        count += 1;
    }
    assert!(count > 20, "{count}");
    assert_eq!(daemon.stats().total_tasks, 0);
}

#[test]
fn what_says_nothing_and_what_is_asked_of_nobody_is_refused() {
    let daemon = Daemon::start(1);
    let document = document(&daemon);
    for (path, method) in documented(&document) {
        let target = path.replace("{id}", "4711");
        let answer = ask(&daemon, &method.to_uppercase(), &format!("{target}?nobody_reads_this=1"), "");
        let what = format!("{method} {path}: {answer:?}");
        let problem: Value = serde_json::from_str(&answer.body).expect(&what);
        let name = json!("nobody_reads_this");
        assert_eq!((&problem["code"], &problem["value"]), (&json!("unknown_field"), &name), "{what}");
        assert_eq!((&problem["field"], problem["hint"].is_string()), (&name, true), "{what}");
        if method == "post" && document["paths"][&path][&method]["requestBody"].is_null() {
            let answer = ask(&daemon, "POST", &target, "{\"nobody_reads_this\": 1}");
            let problem: Value = serde_json::from_str(&answer.body).expect(&what);
            assert_eq!((&problem["code"], &problem["field"]), (&json!("unknown_field"), &name), "{answer:?}");
        }
    }
}

#[test]
fn a_query_that_cannot_be_read_is_told_in_our_words() {
    let daemon = Daemon::start(1);
    for (target, value, hint) in [
        ("/v1/tasks?limit=x", "limit: not a whole number of at least 0: x", None),
        ("/v1/tasks?limit=", "limit: not a whole number of at least 0", None),
        ("/v1/tasks?priority=hihg", "priority: no such word: hihg", Some("did you mean high?")),
        ("/v1/events?since=-1", "since: not a whole number of at least 0: -1", None),
        ("/v1/events?no_follow=maybe", "no_follow: not true or false: maybe", None),
    ] {
        let answer = ask(&daemon, "GET", target, "");
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            (answer.status, &problem["value"], &problem["hint"]),
            (400, &json!(value), &json!(hint)),
            "{target}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_spec_has_its_code_its_value_and_its_hint() {
    let daemon = Daemon::start(1);
    for (spec, code, detail, hint) in [
        (
            "{\"comand\": []}",
            "unknown_field",
            "a task spec has no such field: comand",
            "did you mean command?",
        ),
        (
            "{\"priority\": \"hihg\"}",
            "malformed",
            "not a task spec: priority: no such word: hihg",
            "did you mean high?",
        ),
    ] {
        let answer = ask(&daemon, "POST", "/v1/tasks", spec);
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((&problem["code"], &problem["detail"]), (&json!(code), &json!(detail)));
        assert_eq!((answer.status, &problem["hint"]), (400, &json!(hint)));
    }
}

#[test]
fn who_has_said_all_still_gets_an_answer_that_comes_later() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell(kit::gate("end")));
    let socket = daemon.socket();
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = json!({ "ids": [id] }).to_string();
    let head = format!(
        "POST /v1/tasks/wait HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    // Others are served meanwhile, so it has been seen that nothing more comes.
    daemon.until_status(id, orchd_client::Status::Running);
    daemon.write("end", "");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"done\":true"), "{answer}");
}

#[test]
fn who_goes_away_while_its_answer_is_awaited_leaves_its_connection_to_others() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell(kit::gate("never")));
    let body = json!({ "ids": [id] }).to_string();
    let request =
        format!("POST /v1/tasks/wait HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for _ in 0..orchd_model::limits::CONNECTIONS {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
    }
    kit::until("there is room for another", || {
        orchd_client::blocking::Client::connect(daemon.socket()).is_ok_and(|client| client.stats().is_ok())
    });
}

#[test]
fn who_is_one_too_many_is_told_so_whatever_it_says() {
    let daemon = Daemon::start(1);
    // It begins with a connection of its own.
    daemon.worker();
    let held = daemon.submit(TaskSpec { hold: true, ..daemon.shell("true") });
    let wish = format!("{{\"ids\":[{held}]}}");
    let length = wish.len();
    let wait = format!("POST /v1/tasks/wait HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{wish}");
    let others: Vec<_> = (0..orchd_model::limits::CONNECTIONS)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            stream.write_all(wait.as_bytes()).unwrap();
            stream
        })
        .collect();
    // More than the socket takes in unread: whoever writes it notices when the other side has gone.
    let body = vec![b' '; 1 << 20];
    let head = format!("POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("at most 1024 connections"), "{answer}");
    daemon.orchctl(&["stats"]).fails_with(5, &["at most 1024 connections", "hint: "]);
    drop(others);
}

/// A line of the page with its answer.
struct Shown {
    operation: Option<(String, String)>,
    status: u16,
}

/// The operation that a line of curl means.
fn operation_of(typed: &Typed, documented: &Operations) -> Option<(String, String)> {
    let command = &typed.command;
    let has_body = [" -d ", " --data"].iter().any(|option| command.contains(option));
    let given = command.split_once(" -X ").map(|(_, rest)| rest.split(' ').next().unwrap().to_lowercase());
    let method = given.unwrap_or_else(|| if has_body { "post" } else { "get" }.to_owned());
    let target = command.split_once("localhost").unwrap().1;
    let path = target.split([' ', '?', '\'']).next().unwrap();
    let fits = |(pattern, of): &&(String, String)| {
        let same = |(a, b): (&str, &str)| a == b || (a == "{id}" && b.parse::<u64>().is_ok());
        let (pattern, path) = (pattern.split('/'), path.split('/'));
        *of == method && pattern.clone().count() == path.clone().count() && pattern.zip(path).all(same)
    };
    documented.iter().find(fits).cloned()
}

/// Runs the line that opens a WebSocket until it is open. As it stands it gives up after a second, which a busy machine
/// may need for less.
fn run_websocket(daemon: &Daemon, documented: &Operations, typed: &Typed) -> Shown {
    let mut shell: Command = daemon.program("sh");
    shell.args(["-c", &format!("exec {} -D head", typed.command.replace(" --max-time 1", ""))]);
    let open = program::Running::start(shell, b"");
    kit::until("the WebSocket is open", || {
        daemon.lines("head").first().is_some_and(|line| line.starts_with("HTTP/1.1 101"))
    });
    drop(open);
    Shown { operation: operation_of(typed, documented), status: 101 }
}

/// Runs a line as it stands, and checks what comes back.
fn run(daemon: &Daemon, document: &Value, documented: &Operations, typed: &Typed) -> Shown {
    if typed.command.contains("Upgrade: websocket") {
        return run_websocket(daemon, documented, typed);
    }
    let mut shell: Command = daemon.program("sh");
    let line = format!("{} -w '\\n%{{http_code}} %{{content_type}}'", typed.command);
    shell.args(["-c", &line]);
    let said = program::run(shell, b"");
    let (body, trailer) = said.out.rsplit_once('\n').unwrap_or_else(|| panic!("{line}: {said:?}"));
    let (status, kind) = trailer.split_once(' ').unwrap();
    let status: u16 = status.parse().unwrap();
    let operation = operation_of(typed, documented);
    let what = format!("{}\n{said:?}", typed.command);
    assert_eq!(said.code, Some(0), "{what}");
    if !typed.shown.is_empty() {
        assert_eq!(body.trim_end(), typed.shown.trim_end(), "{what}");
    }
    if status >= 400 {
        assert_eq!(kind, "application/problem+json", "{what}");
        conforms(document, problem(document), &serde_json::from_str(body).unwrap(), &what);
        return Shown { operation, status };
    }
    let (path, method) = operation.as_ref().unwrap_or_else(|| panic!("not in the document: {what}"));
    let answer = &document["paths"][path][method]["responses"][status.to_string()]["content"];
    check_body(document, &answer[kind], kind, body, &what);
    Shown { operation, status }
}

fn check_body(document: &Value, media: &Value, kind: &str, body: &str, what: &str) {
    let check = |schema: &Value, text: &str| {
        assert!(schema.is_object(), "there is no schema: {what}");
        conforms(document, schema, &serde_json::from_str(text).expect(what), what);
    };
    match kind {
        "" => {}
        "application/json" => check(&media["schema"], body),
        "application/x-ndjson" => body.lines().for_each(|line| check(&media["x-line"], line)),
        "application/octet-stream" => assert!(media.is_object(), "{what}"),
        "text/event-stream" => {
            let mut seen = 0;
            for event in body.split("\n\n").filter(|event| !event.trim().is_empty()) {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).expect(what);
                let (name, data) = (field("event: "), field("data: "));
                let types = &media["x-events"];
                check(types.get(name).unwrap_or(&types["*"]), data);
                seen += 1;
            }
            assert!(seen > 0, "{what}");
        }
        other => panic!("{other} is not expected: {what}"),
    }
}

#[test]
fn every_line_of_the_page_does_what_it_says_and_every_operation_has_one() {
    let mut daemon = Daemon::start(2);
    let document = document(&daemon);
    let documented = documented(&document);
    let mut done: BTreeMap<(String, String), u16> = BTreeMap::new();
    for typed in commands(PAGE) {
        let Shown { operation, status } = run(&daemon, &document, &documented, &typed);
        assert_eq!(status >= 400, typed.section == "Errors", "{typed:?}: {status}");
        if status < 400 {
            done.extend(operation.map(|operation| (operation, status)));
        }
    }
    for operation in &documented {
        assert!(done.contains_key(operation), "{PAGE} has no line for {operation:?}");
    }
    assert!(daemon.ended().success(), "its last line ends the daemon");
}

#[test]
fn the_documents_of_a_task_in_every_status_conform() {
    let daemon = Daemon::start(1);
    let document = document(&daemon);
    let failing = daemon.submit(daemon.shell("exit 7"));
    let spec = daemon.shell("true");
    let skipped = daemon.submit(TaskSpec { dependencies: vec![failing.into()], ..spec.clone() });
    let cancelled = daemon.submit(TaskSpec { hold: true, ..spec.clone() });
    daemon.client().cancel(cancelled.into()).unwrap();
    daemon.wait(&[failing, skipped]);
    let retry = json!({ "shell": "exit 1", "max_retries": 1, "retry_delay": "1h", "cwd": "/" });
    let added = ask(&daemon, "POST", "/v1/tasks", &retry.to_string());
    let added: Value = serde_json::from_str(&added.body).unwrap();
    let retrying = orchd_client::TaskId(added["id"].as_u64().unwrap());
    daemon.until_status(retrying, orchd_client::Status::Retrying);
    let claims = kit::claims(&["cpu=1", "lock:a:exclusive", "memory=1MiB"]);
    let running = daemon.submit(TaskSpec { claims: claims.clone(), ..daemon.shell(kit::gate("end")) });
    daemon.until_status(running, orchd_client::Status::Running);
    let pending = daemon.submit(TaskSpec { claims, ..spec });
    for id in [failing, skipped, cancelled, retrying, running, pending] {
        for (path, of) in [("/v1/tasks/{id}", ""), ("/v1/tasks/{id}/explain", "/explain")] {
            let answer = ask(&daemon, "GET", &format!("/v1/tasks/{id}{of}"), "");
            let schema =
                &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
            conforms(&document, schema, &serde_json::from_str(&answer.body).unwrap(), &answer.body);
        }
    }
    for path in ["/v1/stats", "/v1/resources", "/v1/workers", "/v1/tasks"] {
        let schema =
            &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let answer = ask(&daemon, "GET", path, "");
        conforms(&document, schema, &serde_json::from_str(&answer.body).unwrap(), path);
    }
}
