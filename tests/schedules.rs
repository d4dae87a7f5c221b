//! Schedules end to end: ticks come, survive a kill, wait for each other, and are refused where they make no sense.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn shown(daemon: &Daemon, name: &str) -> Value {
    daemon.orchctl(&["schedule", "show", name, "--json"]).succeeds().json()
}

fn started(daemon: &Daemon, name: &str) -> u64 {
    shown(daemon, name)["started"].as_u64().unwrap()
}

/// The data of the ticks that there were, in order.
fn ticks(daemon: &Daemon) -> Vec<Value> {
    let said = daemon.orchctl(&["events", "schedule.ticked", "--since", "0", "--no-follow", "--json"]);
    let events = said.succeeds().out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.map(|event| event["data"].clone()).collect()
}

#[test]
fn each_tick_has_one_run_also_over_a_kill() {
    let mut daemon = Daemon::start(2);
    let said = daemon.orchctl(&[
        "schedule",
        "add",
        "often",
        "--every",
        "1s",
        "--",
        "sh",
        "-c",
        "echo $ORCHD_SCHEDULE $ORCHD_TICK",
    ]);
    assert!(said.succeeds().out.starts_with("schedule 1 often\n"), "{said:?}");
    until("two ticks have come", || started(&daemon, "often") >= 2);
    daemon.kill();
    daemon.start_again();
    let before = started(&daemon, "often");
    until("ticks come again", || started(&daemon, "often") > before + 1);
    daemon.orchctl(&["schedule", "pause", "often"]).succeeds();
    let ticks = ticks(&daemon);
    let times: Vec<&str> = ticks.iter().map(|tick| tick["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted() && times.iter().collect::<BTreeSet<_>>().len() == times.len(), "{times:?}");
    let runs: Vec<&Value> = ticks.iter().map(|tick| &tick["run"]).filter(|run| !run.is_null()).collect();
    let tasks = daemon.all_tasks();
    assert_eq!(tasks.len(), runs.len(), "each run is one task");
    assert_eq!(started(&daemon, "often"), runs.len() as u64);
    // The first tick comes an interval after the schedule was added, and the others are whole intervals later.
    let fraction = |text: &str| text.split('.').nth(1).unwrap().to_owned();
    let created = shown(&daemon, "often")["created_at"].as_str().unwrap().to_owned();
    assert!(times.iter().all(|time| fraction(time) == fraction(&created)), "{created}: {times:?}");
    daemon.orchctl(&["wait", "--all"]).succeeds();
    let output = daemon.orchctl(&["logs", "1"]).succeeds().out.clone();
    assert_eq!(output.trim_end(), format!("often {}", times[0]));
}

#[test]
fn a_queued_run_begins_when_the_one_before_it_has_ended() {
    let daemon = Daemon::start(2);
    let file = "name: chain\nparameters: {word: none}\ntasks:\n- {name: one, shell: 'until [ -e go ]; do sleep 0.01; done'}\n\
                - {name: two, shell: 'echo {{ parameters.word }}', dependencies: [one]}\n";
    daemon.write("chain.yaml", file);
    let path = daemon.path("chain.yaml").display().to_string();
    let add = [
        "schedule",
        "add",
        "chain",
        "--every",
        "1s",
        "--overlap",
        "queue",
        "--file",
        &path,
        "-P",
        "word=said",
    ];
    daemon.orchctl(&add).succeeds();
    until("a second tick waits", || !shown(&daemon, "chain")["queued"].as_array().unwrap().is_empty());
    assert_eq!(started(&daemon, "chain"), 1);
    daemon.write("go", "");
    until("it runs", || started(&daemon, "chain") >= 2);
    daemon.orchctl(&["schedule", "remove", "chain"]).succeeds();
    daemon.orchctl(&["wait", "--all"]).succeeds();
    let tasks = daemon.all_tasks();
    let said = tasks.iter().filter(|task| task.name == "two").map(|task| task.id.to_string());
    for id in said {
        assert_eq!(daemon.orchctl(&["logs", &id]).succeeds().out, "said\n");
    }
    assert_eq!(daemon.orchctl(&["schedule", "list", "--json"]).succeeds().json(), json!([]));
}

#[test]
fn what_makes_no_sense_is_refused_and_an_operator_steers_the_rest() {
    let daemon = Daemon::start(1);
    let add = |rest: &[&str]| daemon.orchctl(&[&["schedule", "add"], rest].concat());
    add(&["late", "--every", "1h", "--after", "99999999", "--", "true"]).fails_with(4, &["99999999"]);
    add(&["s", "--cron", "61 * * * *", "--", "true"]).fails_with(2, &["61 * * * *", "hint"]);
    add(&["s", "--cron", "0 0 30 2 *", "--", "true"]).fails_with(5, &["never comes", "0 0 30 2 *"]);
    add(&["s", "--cron", "@daily", "--tz", "Europe/Berlim", "--", "true"]).fails_with(2, &["Europe/Berlim"]);
    add(&["s", "--every", "0.5", "--", "true"]).fails_with(2, &["at least a second"]);
    add(&["s", "--every", "1h", "--key", "k", "--", "true"]).fails_with(5, &["idempotency key", "k"]);
    add(&["12", "--every", "1h", "--", "true"]).fails_with(2, &["is no number: 12", "ids"]);
    add(&["s", "--every", "1h", "--session", "nope", "--", "true"]).fails_with(4, &["no such session: nope"]);
    add(&["s", "--every", "1h", "--claim", "cpu=5000", "--", "true"]).fails_with(5, &["cpu:system_cpu=5000"]);
    let file = daemon.write("large.yaml", "tasks: [{ name: a, shell: 'true', claims: [cpu=5000] }]\n");
    let file = file.to_str().unwrap();
    add(&["s", "--every", "1h", "--file", file]).fails_with(5, &["task a: ", "cpu:system_cpu=5000"]);
    add(&["s", "--", "true"]).fails_with(2, &["--cron"]);
    add(&["s", "--every", "1h", "--overlap", "quue", "--", "true"]).fails_with(2, &["did you mean queue?"]);
    add(&["s", "--every", "1h", "--cron", "@daily", "--", "true"]).fails_with(2, &["--cron"]);
    add(&["nightly", "--cron", "30 3 * * mon-fri", "--tz", "UTC", "--", "true"]).succeeds();
    add(&["nightly", "--every", "1h", "--", "true"]).fails_with(5, &["nightly"]);
    daemon.orchctl(&["schedule", "show", "nightli"]).fails_with(4, &["did you mean nightly?"]);
    daemon.orchctl(&["schedule", "remove", "nightli"]).fails_with(4, &["did you mean nightly?"]);
    let schedule = shown(&daemon, "nightly");
    assert_eq!((&schedule["timezone"], &schedule["adds"]), (&json!("UTC"), &json!({ "task": "true" })));
    assert_eq!(schedule["upcoming"].as_array().unwrap().len(), 5);
    daemon.orchctl(&["schedule", "pause", "1"]).succeeds();
    assert_eq!(shown(&daemon, "nightly")["upcoming"], json!([]));
    daemon.orchctl(&["schedule", "run", "nightly"]).succeeds();
    assert_eq!(shown(&daemon, "nightly")["last"]["task"], json!(1));
    daemon.orchctl(&["wait", "1"]).succeeds();
    daemon.orchctl(&["schedule", "resume", "nightly"]).succeeds();
    assert!(daemon.orchctl(&["schedule", "list"]).succeeds().out.contains("started 1"));
    assert_eq!(daemon.orchctl(&["schedule", "list", "-q"]).succeeds().out, "1\n");
}

#[test]
fn a_workflow_that_is_kept_under_a_name_is_what_it_is_at_the_tick() {
    let daemon = Daemon::start(1);
    let keep = |word: &str| {
        daemon.write("w.yaml", format!("name: w\nparameters: {{who: x}}\ntasks:\n- {{name: a, shell: 'echo {word} {{{{ parameters.who }}}}'}}\n"));
        daemon.orchctl(&["workflow", "put", &daemon.path("w.yaml").display().to_string()]).succeeds();
    };
    let add = |rest: &[&str]| daemon.orchctl(&[&["schedule", "add", "s", "--every", "1h"], rest].concat());
    add(&["--workflow", "w"]).fails_with(4, &["kept under this name: w"]);
    keep("first");
    add(&["--workflow", "w", "-P", "what=me"]).fails_with(5, &["what"]);
    add(&["--workflow", "w", "--priority", "high"]).fails_with(2, &["priority"]);
    add(&["--workflow", "w", "-P", "who=me"]).succeeds();
    assert_eq!(shown(&daemon, "s")["adds"], json!({ "definition": "w" }));
    daemon.orchctl(&["schedule", "run", "s"]).succeeds();
    // A tick during the last run would be skipped.
    daemon.orchctl(&["wait", "--all"]).succeeds();
    keep("second");
    daemon.orchctl(&["schedule", "run", "s"]).succeeds();
    daemon.orchctl(&["wait", "--all"]).succeeds();
    assert_eq!(daemon.orchctl(&["logs", "1"]).succeeds().out, "first me\n");
    assert_eq!(daemon.orchctl(&["logs", "2"]).succeeds().out, "second me\n");
    daemon.orchctl(&["workflow", "remove", "w"]).succeeds();
    daemon.orchctl(&["schedule", "run", "s"]).fails_with(5, &["refused", "w"]);
    assert_eq!(shown(&daemon, "s")["last"]["outcome"], json!("refused"));
    let told = ticks(&daemon).pop().unwrap();
    let error = told["error"].as_str().unwrap();
    assert!(error.contains('w') && !error.contains('\n'), "an event is told in a line: {error:?}");
}
