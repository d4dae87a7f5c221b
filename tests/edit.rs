//! `edit`: another spec for a task that has not started.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, Said, gate, program};
use orchd_client::{Priority, Status, TaskId, TaskSpec};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

/// Runs `orchctl edit` with a shell line as the editor; `$1` is the file.
fn edit_with(daemon: &Daemon, editor: &str, arguments: &[&str]) -> Said {
    let script = daemon.write("editor", format!("#!/bin/sh\n{editor}\n"));
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(["edit"]).args(arguments).env("EDITOR", &script).env("TMPDIR", daemon.path("."));
    program::run(command, b"")
}

fn drafts(daemon: &Daemon) -> Vec<String> {
    let entries = std::fs::read_dir(daemon.path(".")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("orchctl-")).collect()
}

fn held(daemon: &Daemon, line: &str) -> TaskId {
    daemon.submit(TaskSpec { hold: true, ..daemon.shell(line) })
}

fn output(daemon: &Daemon, id: TaskId) -> String {
    daemon.wait(&[id]);
    daemon.orchctl(&["logs", &id.to_string()]).succeeds().out.clone()
}

#[test]
fn a_task_does_what_the_editor_made_of_it_and_so_over_a_restart() {
    let mut daemon = Daemon::start(1);
    let id = held(&daemon, "echo old $GREETING");
    let text = id.to_string();
    let change = "sed -i 's/echo old/echo new/; s/\"name\": .*/\"name\": \"fresh\", \
                  \"tags\": [\"x\"], \"timeout\": \"1m\",/; s/\"env\": {/\"env\": {\"GREETING\": \"hi\",/' \"$1\"";
    let said = edit_with(&daemon, change, &[&text]);
    assert_eq!(said.succeeds().out, format!("{id} edited\n"));
    assert_eq!(drafts(&daemon), [""; 0], "nothing is left behind");
    daemon.kill_and_restart();
    let task = daemon.task(id);
    assert_eq!((task.name.as_str(), task.tags.as_slice()), ("fresh", &["x".to_owned()][..]));
    assert_eq!(daemon.orchctl(&["list", "--tag", "x", "-q"]).succeeds().out, format!("{id}\n"));
    assert_eq!(daemon.orchctl(&["list", "--name", "fresh", "-q"]).succeeds().out, format!("{id}\n"));
    daemon.orchctl(&["release", &text]).succeeds();
    assert_eq!(output(&daemon, id), "new hi\n");
    let edited = daemon.events(Some(id)).into_iter().find(|event| event.kind == "task.edited").unwrap();
    assert_eq!(edited.data["name"], "fresh");
}

#[test]
fn what_is_shown_is_how_the_task_stands_and_can_be_given_back() {
    let daemon = Daemon::start(1);
    let first = held(&daemon, "true");
    let id =
        daemon.submit(TaskSpec { dependencies: vec![first.into()], ..daemon.shell("echo one") }).to_string();
    daemon.orchctl(&["hold", &id]).succeeds();
    daemon.orchctl(&["reprioritize", &id, "high"]).succeeds();
    let shown = daemon.orchctl(&["edit", &id, "--show"]).json();
    assert_eq!((&shown["hold"], &shown["priority"]), (&json!(true), &json!("high")));
    assert_eq!(shown["dependencies"], json!([{"task": first.0, "on": "success"}]));
    let give = |change: &dyn Fn(&mut Value)| {
        let mut spec = shown.clone();
        change(&mut spec);
        daemon.orchctl_reading(&["edit", &id, "--from", "-"], spec.to_string().as_bytes())
    };
    give(&|_| {}).succeeds();
    give(&|spec| spec["shell"] = json!("echo two")).succeeds();
    give(&|spec| spec["hold"] = json!(false)).succeeds();
    // Each mistake, and the task is as it was.
    for (change, code, words) in [
        (
            &(|spec: &mut Value| spec["shel"] = json!("x")) as &dyn Fn(&mut Value),
            2,
            &["shel", "did you mean shell"][..],
        ),
        (&|spec: &mut Value| spec["claims"] = json!(["cpu=100000"]), 5, &["cpu:system_cpu=100000"]),
        (
            &|spec: &mut Value| spec["dependencies"] = json!([]),
            5,
            &["dependencies of a task cannot be changed"],
        ),
        (&|spec: &mut Value| spec["key"] = json!("k"), 5, &["key of a task cannot be changed: k"]),
        (&|spec: &mut Value| spec["array"] = json!("1-3"), 5, &["number of elements"]),
        (&|spec: &mut Value| spec["ref"] = json!("r"), 5, &["no ref"]),
        (&|spec: &mut Value| spec["session"] = json!(7), 5, &["session of a task cannot be changed: 7"]),
        (&|spec: &mut Value| spec["session"] = json!("s"), 4, &["no such session: s"]),
        (&|spec: &mut Value| spec["when"] = json!("1 +"), 5, &["1 +"]),
        (&|spec: &mut Value| spec["cwd"] = json!("sub"), 5, &["must be absolute: sub"]),
    ] {
        give(change).fails_with(code, words);
    }
    assert_eq!(daemon.task(id.parse().unwrap()).shell.unwrap(), "echo one");
    daemon.orchctl(&["release", &first.to_string()]).succeeds();
    assert_eq!(output(&daemon, id.parse().unwrap()), "one\n");
}

#[test]
fn what_has_started_meanwhile_is_not_changed_and_the_text_is_kept() {
    let daemon = Daemon::start(1);
    let id = held(&daemon, &gate("go"));
    let text = id.to_string();
    let orchctl = env!("CARGO_BIN_EXE_orchctl");
    let slow = format!(
        "{orchctl} release {id} && until {orchctl} list --status running -q | grep -qx {id}; do :; done; echo ' ' >> \"$1\""
    );
    let said = edit_with(&daemon, &slow, &[&text]);
    said.fails_with(5, &["has started: running", "your text is kept: orchctl edit"]);
    let [draft] = &drafts(&daemon)[..] else { panic!("one is kept") };
    for file in std::fs::read_dir(daemon.path(draft)).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "its environment may hold secrets");
    }
    daemon.write("go", "");
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
    edit_with(&daemon, "echo ' ' >> \"$1\"", &[&text]).fails_with(5, &["has ended: completed"]);
    daemon.orchctl(&["edit", "4711", "--from", "/dev/null"]).fails_with(2, &["not a task spec"]);
    daemon.orchctl(&["edit", "4711"]).fails_with(4, &["no such task: 4711"]);
    daemon
        .orchctl_reading(&["edit", "4711", "--from", "-"], b"{\"shell\": \"true\"}")
        .fails_with(4, &["4711"]);
}

#[test]
fn nobody_types_for_nothing() {
    let daemon = Daemon::start(1);
    let ended = daemon.submit(daemon.shell("true"));
    daemon.wait(&[ended]);
    let running = daemon.submit(daemon.shell(gate("go")));
    daemon.until_status(running, Status::Running);
    let array = daemon.orchctl(&["add", "--hold", "--array", "1-3", "--", "true"]);
    let first: u64 = array.succeeds().out.split('-').next().unwrap().parse().unwrap();
    for (id, words) in [
        (ended.0, "has ended: completed"),
        (running.0, "has started: running"),
        (first, "shares its spec with its array"),
        (first + 1, "shares its spec with its array"),
    ] {
        let said = edit_with(&daemon, "touch opened", &[&id.to_string()]);
        said.fails_with(5, &[words]);
        assert!(said.err.contains(&format!("task {id} ")), "{said:?}");
        let spec = br#"{"shell": "true"}"#;
        daemon.orchctl_reading(&["edit", &id.to_string(), "--from", "-"], spec).fails_with(5, &[words]);
    }
    assert!(!daemon.path("opened").exists());
    daemon.write("go", "");
    daemon.wait(&[running]);
}

#[test]
fn what_others_change_meanwhile_stays_unless_it_is_what_was_edited() {
    let daemon = Daemon::start(1);
    let first = held(&daemon, "true");
    let waiting = || TaskSpec { hold: true, dependencies: vec![first.into()], ..daemon.shell("true") };
    let (id, other) = (daemon.submit(waiting()), daemon.submit(waiting()));
    let orchctl = env!("CARGO_BIN_EXE_orchctl");
    let meanwhile = |id| format!("{orchctl} release {id} && {orchctl} reprioritize {id} low");
    let rename = "sed -i 's/\"name\": .*/\"name\": \"fresh\",/' \"$1\"";
    edit_with(&daemon, &format!("{} && {rename}", meanwhile(id)), &[&id.to_string()]).succeeds();
    let task = daemon.task(id);
    assert_eq!((task.name.as_str(), task.hold, task.priority), ("fresh", false, Priority::Low));
    let raise = "sed -i 's/\"priority\": .*/\"priority\": \"high\",/' \"$1\"";
    let said = edit_with(&daemon, &format!("{} && {raise}", meanwhile(other)), &[&other.to_string()]);
    said.fails_with(5, &["changed it meanwhile: priority", "your text is kept"]);
    let task = daemon.task(other);
    assert_eq!((task.name == "fresh", task.hold, task.priority), (false, false, Priority::Low));
}

#[test]
fn an_editor_that_changes_nothing_or_fails_changes_nothing() {
    let daemon = Daemon::start(1);
    let id = held(&daemon, "echo same");
    let text = id.to_string();
    assert_eq!(edit_with(&daemon, "true", &[&text]).succeeds().out, format!("{id} not changed\n"));
    edit_with(&daemon, "exit 3", &[&text])
        .fails_with(2, &["the editor has ended", "nothing is changed", "\nhint: $VISUAL or $EDITOR"]);
    edit_with(&daemon, "echo '{' > \"$1\"", &[&text])
        .fails_with(2, &["not a task spec", "your text is kept"]);
    assert!(daemon.events(Some(id)).iter().all(|event| event.kind != "task.edited"));
    // Who may read it: nobody else.
    let mode = "stat -c %a \"$(dirname \"$1\")\" > mode";
    edit_with(&daemon, mode, &[&text]).succeeds();
    assert_eq!(daemon.lines("mode"), ["700"]);
    let array = daemon.orchctl(&["add", "--hold", "--array", "1-3", "--", "true"]);
    let first = array.succeeds().out.split(['-', '\n']).next().unwrap().to_owned();
    edit_with(&daemon, "echo ' ' >> \"$1\"", &[&first]).fails_with(5, &["array"]);
}
