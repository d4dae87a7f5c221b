//! Clients that die or break off: what they were told is true, what they did not say to its end is not done.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, program::Running, until};
use orchd_client::{Status, TaskId};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

const LINE: &str = "{\"command\":[\"true\"]}\n";

/// Sends bytes and no more, and waits until the daemon has closed.
fn break_off(daemon: &Daemon, text: &str) {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(kit::PATIENCE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    // The answer, if there is one, is not what counts.
    drop(stream.read_to_end(&mut Vec::new()));
}

fn assert_serves(daemon: &Daemon) {
    let id = daemon.submit(daemon.shell("true"));
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
}

#[test]
fn half_of_a_request_adds_nothing() {
    let daemon = Daemon::start(1);
    let head = "HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n";
    break_off(&daemon, &format!("POST /v1/tasks {head}\r\n{}", LINE.trim()));
    break_off(&daemon, &format!("POST /v1/tasks {head}\r\n[{},", LINE.trim()));
    let lines = "content-type: application/x-ndjson\r\n";
    break_off(&daemon, &format!("POST /v1/tasks?atomic=true {head}{lines}\r\n{LINE}{LINE}"));
    let chunks = "HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n";
    break_off(&daemon, &format!("POST /v1/tasks?atomic=true {chunks}{lines}\r\n15\r\n{LINE}\r\n"));
    assert_eq!(daemon.stats().total_tasks, 0);
    assert_serves(&daemon);
}

#[test]
fn a_client_that_is_killed_while_it_adds_has_added_what_it_was_told() {
    let daemon = Daemon::start(1);
    let mut command = daemon.program("/bin/sh");
    // Lines without an end, of tasks without a body, and the ids that came back.
    let orchctl = env!("CARGO_BIN_EXE_orchctl");
    let line = format!("while :; do echo '{{\"name\":\"x\"}}'; done | {orchctl} add --from - > ids");
    command.args(["-c", &line]);
    let adding = Running::start(command, b"");
    until("some were added", || daemon.lines("ids").len() > 2000);
    kit::process::kill_program(&daemon.all_processes(), orchctl);
    adding.ended();
    let text = std::fs::read_to_string(daemon.path("ids")).unwrap();
    // The last line may be torn.
    let told: BTreeSet<TaskId> =
        text[..=text.rfind('\n').unwrap()].lines().map(|line| line.parse().unwrap()).collect();
    let there: BTreeSet<TaskId> = daemon.all_tasks().iter().map(|task| task.id).collect();
    assert!(told.is_subset(&there));
    daemon.wait(&Vec::from_iter(there.clone()));
    // What it had sent before it died may still be on its way in.
    assert!(daemon.stats().completed >= there.len() as u64);
    assert_serves(&daemon);
}

#[test]
fn a_client_that_is_killed_while_it_follows_leaves_its_task_alone() {
    let daemon = Daemon::start(1);
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(["add", "--follow", "--shell", "--", &kit::gate("end")]);
    let client = Running::start(command, b"");
    until("it runs", || daemon.stats().running == 1);
    drop(client);
    assert_serves_beside(&daemon);
    daemon.write("end", "");
    until("it has ended", || daemon.stats().completed == 2);
}

/// The only slot is taken, but the daemon answers and adds.
fn assert_serves_beside(daemon: &Daemon) {
    let id = daemon.submit(daemon.shell("true"));
    assert_eq!((daemon.status(id), daemon.stats().running), (Status::Pending, 1));
}
