//! The configuration: where each value comes from, reading it again, and who may do what.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, process, until};
use orchd_client::{Status, TaskSpec};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The value and source of a key, as `check-config` prints it.
fn effective(said: &kit::Said, key: &str) -> (serde_json::Value, String) {
    let settings = said.json();
    let setting = settings.as_array().unwrap().iter().find(|setting| setting["key"] == key);
    let setting = setting.unwrap_or_else(|| panic!("{key} is not in {settings}"));
    (setting["value"].clone(), setting["from"].as_str().unwrap().to_owned())
}

/// Has the daemon read its configuration again, and waits until its log has one line more with these words.
fn reload(daemon: &Daemon, config: &str, words: &str) {
    let told = |daemon: &Daemon| daemon.lines("daemon.log").iter().filter(|l| l.contains(words)).count();
    let before = told(daemon);
    daemon.write("orchd.toml", config);
    process::send(daemon.pid(), Signal::HUP);
    until("the configuration is read again", || told(daemon) > before);
}

const READ_AGAIN: &str = "the configuration has been read again";

#[test]
fn check_config_says_of_each_value_where_it_comes_from() {
    let daemon = Daemon::stopped(0, "[scheduler]\nslots = 3\naging = \"1m\"\n");
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchd"));
    command.args(["check-config", "--json", "--slots", "5"]).env("ORCHD_RETENTION_TASKS", "7");
    let said = kit::program::run(command, b"");
    let file = daemon.path("orchd.toml");
    assert_eq!(effective(said.succeeds(), "scheduler.slots"), (5.into(), "--slots".to_owned()));
    assert_eq!(effective(&said, "scheduler.aging"), ("1m".into(), format!("{}:3", file.display())));
    assert_eq!(effective(&said, "retention.tasks"), (7.into(), "ORCHD_RETENTION_TASKS".to_owned()));
    assert_eq!(effective(&said, "scheduler.grace"), ("10s".into(), "default".to_owned()));
    let state_dir = daemon.state_dir().display().to_string();
    assert_eq!(effective(&said, "daemon.state_dir"), (state_dir.into(), "ORCHD_STATE_DIR".to_owned()));
    let said = daemon.orchd(&["check-config", "--socket", "/tmp/some/socket"]);
    assert!(said.succeeds().out.contains("daemon.socket = \"/tmp/some/socket\"  # --socket\n"), "{said:?}");
}

#[test]
fn a_wrong_configuration_keeps_the_daemon_from_starting_and_says_why() {
    let daemon = Daemon::stopped(0, "[scheduler]\nslot = 3\n");
    let place = format!("{}:2:1: unknown key: scheduler.slot", daemon.path("orchd.toml").display());
    for arguments in [&[][..], &["check-config"], &["worker"]] {
        daemon.orchd(arguments).fails_with(2, &[&place, "did you mean slots?"]);
    }
    daemon.write("orchd.toml", "");
    daemon.orchd(&["--slots", "99999999"]).fails_with(2, &["--slots", "99999999", "10000"]);
    for (name, value) in [("LOG_LEVEL", "LOUD"), ("MAX_PARALLEL_TASKS", "99999999"), ("RUST_LOG", "=x=")] {
        let mut command = daemon.program(env!("CARGO_BIN_EXE_orchd"));
        command.env(name, value);
        kit::program::run(command, b"").fails_with(2, &[name, value]);
    }
}

#[test]
fn slots_change_while_tasks_run() {
    let daemon = Daemon::configured(0, "[scheduler]\nslots = 1\n");
    let spec = || daemon.shell(gate("open"));
    let ids = daemon.submit_many([spec(), spec(), spec(), spec()]);
    let running = || daemon.stats().running;
    until("one runs", || running() == 1);
    reload(&daemon, "[scheduler]\nslots = 3\n", READ_AGAIN);
    until("three run", || running() == 3);
    let worker = daemon.worker();
    reload(&daemon, "[scheduler]\nslots = 2\n", READ_AGAIN);
    assert_eq!((daemon.stats().slots.total, running()), (2, 3));
    daemon.write("open", "");
    daemon.wait(&ids);
    assert_eq!(daemon.worker().pid, worker.pid, "the worker is the same");
    daemon.assert_nothing_is_held();
}

#[test]
fn the_next_daemon_gives_an_adopted_worker_its_own_number_of_slots() {
    let mut daemon = Daemon::configured(0, "[scheduler]\nslots = 1\n");
    let spec = || daemon.shell(format!("touch begun; {}", gate("open")));
    let ids = daemon.submit_many([spec(), spec()]);
    // Not only assigned: a worker that has nothing to do ends with its daemon.
    until("the first one has begun", || daemon.path("begun").exists());
    let worker = daemon.worker();
    daemon.kill();
    daemon.write("orchd.toml", "[scheduler]\nslots = 2\n");
    daemon.start_again();
    daemon.until_status(ids[1], Status::Running);
    assert_eq!(daemon.worker().pid, worker.pid);
    daemon.write("open", "");
    daemon.wait(&ids);
}

#[test]
fn defaults_and_resources_change_for_those_that_wait_and_come_later() {
    let daemon = Daemon::configured(2, "[resources.\"external_api:x\"]\nconcurrency = 1\n");
    let claiming = || TaskSpec { claims: kit::claims(&["external_api:x"]), ..daemon.shell(gate("open")) };
    let ids = daemon.submit_many([claiming(), claiming()]);
    daemon.until_status(ids[0], Status::Running);
    reload(
        &daemon,
        "[resources.\"external_api:x\"]\nconcurrency = 2\n[defaults]\nmax_retries = 1\nretry_delay = 0\n",
        READ_AGAIN,
    );
    daemon.until_status(ids[1], Status::Running);
    daemon.write("open", "");
    daemon.wait(&ids);
    let failed = daemon.submit(daemon.shell("exit 1"));
    assert_eq!(daemon.ended_task(failed).attempts, 2);
}

#[test]
fn a_broken_configuration_changes_nothing_and_says_so() {
    let daemon = Daemon::configured(0, "[scheduler]\nslots = 2\n");
    daemon.worker();
    reload(&daemon, "[scheduler]\nslots = \n", "the configuration stays as it was");
    assert_eq!(daemon.stats().slots.total, 2);
    reload(&daemon, "[scheduler]\nslots = 2\nlease = 5\n", READ_AGAIN);
    let log = daemon.lines("daemon.log").join("\n");
    assert!(log.contains("scheduler.lease"), "what needs a start is named: {log}");
    assert!(!log.contains("daemon.socket"), "what has not changed is not: {log}");
}

#[test]
fn workflows_have_the_configured_defaults_where_they_say_nothing() {
    let daemon = Daemon::configured(2, "[dag.execution]\nmax_parallel = 1\nretry_attempts = 1\n");
    let file = daemon.write("w.yaml", "defaults: { retry_delay: 0 }\ntasks: [{ name: a, shell: exit 1 }]\n");
    let path = file.to_str().unwrap();
    assert_eq!(daemon.orchctl(&["workflow", "run", path]).code, Some(1));
    let [task] = &daemon.all_tasks()[..] else { panic!("one task") };
    assert_eq!(task.attempts, 2);
    let file = daemon.write("v.yaml", "tasks: [{ name: a, shell: exit 1, max_retries: 0 }]\n");
    daemon.orchctl(&["workflow", "run", file.to_str().unwrap()]);
    assert!(daemon.all_tasks().iter().any(|task| task.attempts == 1));
}

/// Another user, as far as one who may become any can try it.
struct Other<'a>(&'a Daemon);

impl Other<'_> {
    const UID: &'static str = "65534";

    fn orchctl(&self, arguments: &[&str]) -> kit::Said {
        let program = self.0.path("orchctl");
        if !program.exists() {
            // The build directory may be closed to others.
            fs::copy(env!("CARGO_BIN_EXE_orchctl"), &program).unwrap();
        }
        let as_other = ["--reuid", Self::UID, "--regid", Self::UID, "--clear-groups"];
        let mut command = self.0.program("setpriv");
        command.args(as_other).arg(program).args(arguments);
        kit::program::run(command, b"")
    }
}

/// What is its own it may steer and edit, also where it names others' beside it.
fn steers_what_is_its_own(daemon: &Daemon, other: &Other<'_>, id: &str, own: &str) {
    assert_eq!(other.orchctl(&["reprioritize", own, "low"]).succeeds().out, format!("{own} is low\n"));
    let said = other.orchctl(&["hold", id, own]);
    let told = format!("{id} not held: another user's task: {id}\n{own} held\n");
    assert_eq!(said.fails_with(7, &[]).out, told);
    let range = format!("{id}-{own}");
    let said = other.orchctl(&["release", &range, "4711"]);
    assert!(
        said.fails_with(4, &[]).out.contains(&format!("{own} released\n4711 not released: no such")),
        "{said:?}"
    );
    let spec = other.orchctl(&["edit", own, "--show", "--json"]).json();
    daemon.write("handler.json", json!({ "module": "m", "action": "b", "cwd": spec["cwd"] }).to_string());
    fs::set_permissions(daemon.path("handler.json"), fs::Permissions::from_mode(0o644)).unwrap();
    other.orchctl(&["edit", own, "--from", "handler.json"]).succeeds();
    assert!(other.orchctl(&["show", own]).succeeds().out.contains("m.b"));
    daemon.write("command.json", "{\"shell\": \"id\"}");
    fs::set_permissions(daemon.path("command.json"), fs::Permissions::from_mode(0o644)).unwrap();
    other
        .orchctl(&["edit", own, "--from", "command.json"])
        .fails_with(7, &["commands run as the daemon's user"]);
    let more = other.orchctl(&["add", "--handler", "m.a"]).succeeds().out.trim().to_owned();
    let said = other.orchctl(&["cancel", &more, id]);
    assert_eq!(
        said.fails_with(7, &[]).out,
        format!("{id} not cancelled: another user's task: {id}\n{more} cancelled\n")
    );
}

#[test]
fn only_who_is_let_in_gets_in_and_only_as_far_as_that() {
    if !rustix::process::geteuid().is_root() || Command::new("setpriv").arg("--version").output().is_err() {
        // The decision itself has its tests beside it.
        eprintln!("not tried with another user: that takes root and setpriv");
        return;
    }
    let mut daemon = Daemon::stopped(2, "");
    for name in ["", "run"] {
        let path = daemon.path(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).unwrap();
    }
    daemon.start_again();
    let id = daemon.submit(daemon.shell("echo secret")).to_string();
    daemon.ended_task(id.parse().unwrap());
    // A closed socket cannot even be connected to.
    assert_ne!(Other(&daemon).orchctl(&["stats"]).code, Some(0));
    reload(&daemon, &format!("[access]\nusers = [\"{}\"]\n", Other::UID), READ_AGAIN);
    let other = Other(&daemon);
    other.orchctl(&["stats"]).succeeds();
    assert!(!other.orchctl(&["list"]).succeeds().out.contains("echo"), "others' tasks are not listed");
    for arguments in [
        &["show", id.as_str()][..],
        &["logs", &id],
        &["cancel", &id],
        &["retry", &id],
        &["add", "--", "id"],
        &["add", "--handler", "m.a", "--after", &id],
        &["hold", &id],
        &["reprioritize", &id, "low"],
        &["edit", &id, "--show"],
    ] {
        other.orchctl(arguments).fails_with(7, &[]);
    }
    for (arguments, verb) in [
        (&["pause"][..], "pause"),
        (&["shutdown"], "shutdown"),
        (&["resources", "close", "lock:a"], "resources close"),
        (&["report"], "report"),
        (&["backup", "copy.db"], "backup"),
    ] {
        let words = format!("only an admin may do this: {verb}\nhint: admins are root and the user that");
        other.orchctl(arguments).fails_with(7, &[&words]);
    }
    let said = other.orchctl(&["doctor"]);
    assert!(said.succeeds().out.contains("warning  store      only an admin may"), "{said:?}");
    let own = other.orchctl(&["add", "--handler", "m.a"]).succeeds().out.trim().to_owned();
    assert!(other.orchctl(&["show", &own]).succeeds().out.contains("m.a"));
    steers_what_is_its_own(&daemon, &other, &id, &own);
    other.orchctl(&["cancel", "--all"]).succeeds();
    daemon.until_status(own.parse().unwrap(), Status::Cancelled);
    // Where anybody can connect, who is not meant is told so.
    reload(&daemon, "[access]\nusers = [\"65533\"]\n", READ_AGAIN);
    Other(&daemon).orchctl(&["stats"]).fails_with(7, &["may not connect: uid 65534", "hint: "]);
    reload(&daemon, "", READ_AGAIN);
    assert_ne!(Other(&daemon).orchctl(&["stats"]).code, Some(0));
}

#[test]
fn at_debug_the_log_follows_each_task_and_tells_what_it_waits_for() {
    let file = "tasks:\n  - { name: a, shell: exit 1 }\n  - { name: b, shell: 'true', dependencies: [a] }\n  \
                - { name: c, module: no, action: body }\n";
    let log_of = |variable: &str, value: &str| {
        let mut daemon = Daemon::stopped(1, "");
        daemon.environment.insert(variable.to_owned(), value.to_owned());
        daemon.start_again();
        daemon.worker();
        daemon.write("w.yaml", file);
        daemon.orchctl(&["workflow", "run", "w.yaml", "--detach"]).succeeds();
        daemon.orchctl(&["publish", "custom.secret", "--data", "{\"password\": \"hunter2\"}"]).succeeds();
        daemon.orchctl(&["cancel", "--workflow", "w"]).succeeds();
        daemon.orchctl(&["wait", "--workflow", "w"]).fails_with(1, &[]);
        daemon.terminate();
        daemon.lines("daemon.log").join("\n")
    };
    let told = log_of("LOG_LEVEL", "DEBUG");
    for words in ["workflow.submitted", "task.started", "no worker for no.body", "task.cancelled"] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    assert!(told.contains("custom.secret") && !told.contains("hunter2"), "{told}");
    assert!(!told.contains("/v1/workflows"), "{told}");
    assert!(log_of("RUST_LOG", "trace").contains("/v1/workflows"));
    assert!(!log_of("LOG_LEVEL", "INFO").contains("task.started"));
}
