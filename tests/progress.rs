//! Progress: tasks say how far they have come, on the command line, in the file, and over the client library.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, until};
use orchd_client::api::{Event, ProgressRequest};
use orchd_client::model::Code;
use orchd_client::{Status, TaskId};
use serde_json::{Value, json};
use std::fs::File;
use std::process::Stdio;

const ORCHCTL: &str = env!("CARGO_BIN_EXE_orchctl");

fn told(daemon: &Daemon, id: TaskId) -> Vec<Value> {
    let is_progress = |event: &Event| event.kind == "task.progress";
    let events = daemon.events(Some(id)).into_iter().filter(is_progress);
    events.map(|event| json!([event.data["percentage"], event.data["message"]])).collect()
}

fn until_at(daemon: &Daemon, id: TaskId, text: &str) {
    until(&format!("task {id} is at {text}"), || {
        daemon.task(id).progress.is_some_and(|progress| progress.to_string() == text)
    });
}

#[test]
fn what_a_task_says_is_shown_wherever_it_is_looked_at() {
    let mut daemon = Daemon::start(1);
    let line =
        format!("{ORCHCTL} progress 40.5 --message 'half of it'; {} {ORCHCTL} progress 100%", gate("go"));
    let id = daemon.submit(daemon.shell(line));
    until_at(&daemon, id, "40.5% half of it");
    let listed = daemon.orchctl(&["list"]).out;
    assert!(listed.contains("running 40%") && listed.contains("half of it"), "{listed}");
    let shown = daemon.orchctl(&["show", &id.to_string()]).out;
    assert!(shown.contains("progress") && shown.contains("40.5% half of it"), "{shown}");
    let document = daemon.orchctl(&["list", "--json"]).json();
    assert_eq!(document[0]["progress"], json!({ "percentage": 40.5, "message": "half of it" }));
    // It is durable, and the task goes on saying things to the next daemon.
    daemon.kill_and_restart();
    until_at(&daemon, id, "40.5% half of it");
    daemon.write("go", "");
    let task = daemon.ended_task(id);
    assert_eq!((task.status, task.progress.unwrap().to_string().as_str()), (Status::Completed, "100%"));
    assert_eq!(told(&daemon, id), [json!([40.5, "half of it"]), json!([100.0, null])]);
}

#[test]
fn lines_in_the_file_say_the_same_and_the_last_one_counts() {
    let mut daemon = Daemon::start(1);
    let line = format!(
        "echo 0.25 a quarter > $ORCHD_PROGRESS; {} echo '{{\"percentage\": 50}}' > $ORCHD_PROGRESS; {} \
         printf 'garbage\\n\\n\\377\\n40 of 100\\n' >> $ORCHD_PROGRESS; printf '80%% the last' > $ORCHD_PROGRESS; exit 3",
        gate("one"),
        gate("two")
    );
    let id = daemon.submit(daemon.shell(line));
    until_at(&daemon, id, "25% a quarter");
    daemon.write("one", "");
    until_at(&daemon, id, "50%");
    // What is said while no daemon is there is not lost.
    daemon.kill();
    daemon.write("two", "");
    until("the task has ended", || daemon.processes_of(id).is_empty());
    daemon.start_again();
    let task = daemon.ended_task(id);
    assert_eq!((task.status, task.progress.unwrap().to_string().as_str()), (Status::Failed, "80% the last"));
    // The next run begins with nothing said.
    daemon.orchctl(&["retry", &id.to_string()]).succeeds();
    assert_eq!(daemon.ended_task(id).status, Status::Failed);
    assert_eq!(told(&daemon, id).last(), Some(&json!([80.0, "the last"])));
}

#[test]
fn a_task_that_says_a_million_things_says_a_few_and_the_last() {
    let daemon = Daemon::start(2);
    let line = "seq 1 1000000 | sed 's/.*/0.5 line &/' > $ORCHD_PROGRESS; echo 0.9 > $ORCHD_PROGRESS";
    let id = daemon.submit(daemon.shell(line));
    let task = daemon.ended_task(id);
    assert_eq!((task.status, task.progress.unwrap().to_string().as_str()), (Status::Completed, "90%"));
    let told = told(&daemon, id);
    let seconds = task.execution_time.unwrap().as_secs_f64();
    assert!(told.len() as f64 <= seconds + 2.0, "{} in {seconds} s", told.len());
    // One that takes the pipe away harms itself alone.
    let thief = daemon
        .submit(daemon.shell("rm $ORCHD_PROGRESS; mkdir $ORCHD_PROGRESS; echo 1 > $ORCHD_PROGRESS || true"));
    daemon.wait(&[thief]);
    let next: Vec<TaskId> =
        (0..4).map(|_| daemon.submit(daemon.shell("echo 0.3 > $ORCHD_PROGRESS"))).collect();
    daemon.wait(&next);
    assert!(next.iter().all(|id| daemon.task(*id).progress.is_some_and(|p| p.to_string() == "30%")));
}

#[test]
fn a_message_alone_is_shown_and_leaves_the_percentage_as_it_was() {
    let daemon = Daemon::start(1);
    let line = format!(
        "echo '{{\"message\": \"looking\"}}' > $ORCHD_PROGRESS; {} {ORCHCTL} progress 40; {ORCHCTL} progress -m linking; {} true",
        gate("one"),
        gate("two")
    );
    daemon.write("w.json", json!({ "name": "w", "tasks": [{ "name": "load", "shell": line }] }).to_string());
    let mut command = daemon.program(ORCHCTL);
    command.args(["workflow", "run", "w.json"]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut run = command.stderr(File::create(daemon.path("said")).unwrap()).spawn().unwrap();
    until("the task is there", || daemon.stats().running == 1);
    let id = daemon.all_tasks()[0].id;
    until_at(&daemon, id, "looking");
    let document = daemon.orchctl(&["list", "--json"]).json();
    assert_eq!(document[0]["progress"], json!({ "percentage": null, "message": "looking" }));
    let listed = daemon.orchctl(&["list"]).out;
    assert!(listed.contains("looking") && !listed.contains('%'), "{listed}");
    let shown = daemon.orchctl(&["show", &id.to_string()]).out;
    assert!(shown.lines().any(|line| line.contains("progress") && line.ends_with(" looking")), "{shown}");
    daemon.write("one", "");
    until_at(&daemon, id, "40% linking");
    assert!(daemon.orchctl(&["list"]).out.contains("running 40%"));
    daemon.orchctl(&["progress", "--token", "1"]).fails_with(2, &["PERCENT"]);
    daemon.write("two", "");
    assert!(run.wait().unwrap().success());
    let said = std::fs::read_to_string(daemon.path("said")).unwrap();
    assert!(said.contains("load looking\n") && said.contains("load 40% linking\n"), "{said}");
}

#[test]
fn only_a_running_attempt_says_anything() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell(gate("go")));
    daemon.until_status(id, Status::Running);
    let started = daemon.events(Some(id)).into_iter().find(|event| event.kind == "task.started").unwrap();
    let token = serde_json::from_value(started.data["token"].clone()).unwrap();
    let said = |percent: &str, message: Option<&str>| {
        daemon.client().progress(ProgressRequest {
            token,
            percentage: Some(percent.parse().unwrap()),
            message: message.map(str::to_owned),
        })
    };
    said("10", Some("by a program")).unwrap();
    until_at(&daemon, id, "10% by a program");
    said("20", None).unwrap();
    daemon.write("go", "");
    assert_eq!(daemon.ended_task(id).progress.unwrap().to_string(), "20%");
    assert_eq!(said("30", None).unwrap_err().code(), Some(Code::StaleToken));
    daemon.orchctl(&["progress", "5"]).fails_with(2, &["--token"]);
    daemon.orchctl(&["progress", "101", "--token", "1"]).fails_with(2, &["0 to 100: 101"]);
    daemon.orchctl(&["progress", "-5", "--token", "1"]).fails_with(2, &["0 to 100: -5"]);
    daemon.orchctl(&["progress", "5", "--token", "1"]).fails_with(5, &["no attempt with this token"]);
}

#[test]
fn a_workflow_in_the_foreground_shows_what_its_tasks_say() {
    let daemon = Daemon::start(1);
    daemon.write(
        "w.yaml",
        "name: w\ntasks: [{ name: load, shell: 'echo 0.5 first half > $ORCHD_PROGRESS' }]\n",
    );
    let said = daemon.orchctl(&["workflow", "run", "w.yaml"]);
    assert!(said.succeeds().err.contains("load 50% first half"), "{said:?}");
}
