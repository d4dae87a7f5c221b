//! Two daemons on one machine leave each other's tasks alone, though both count their tokens from 1.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, until};
use orchd_client::Status;
use orchd_client::blocking::Client;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::Signal;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn a_socket_in_use_is_refused_before_anything_is_made() {
    let one = Daemon::start(1);
    let other = one.path("other").display().to_string();
    one.orchd(&["--state-dir", &other]).fails_with(1, &["another process listens", "hint: ", "--socket"]);
    assert!(!one.path("other").exists());
    let pid = one.pid().to_string();
    one.orchd(&[]).fails_with(1, &["in use by process", &pid]);
}

#[test]
fn the_next_daemon_may_be_started_while_the_last_one_ends() {
    let mut daemon = Daemon::start(1);
    for signal in [Signal::TERM, Signal::KILL].repeat(5) {
        daemon.replace(signal);
    }
    // By hand, as one that takes long to end: the file of a holder that ends is empty.
    daemon.terminate();
    let lock = File::options().write(true).truncate(true).open(daemon.state_dir().join("lock")).unwrap();
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let mut next = daemon.program(env!("CARGO_BIN_EXE_orchd"));
    // Ended with everything else that belongs to the test.
    let mut next = next.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut said, mut told) = (BufReader::new(next.stderr.take().unwrap()), String::new());
    said.read_line(&mut told).unwrap();
    assert!(told.contains(&format!("waiting for process {}", std::process::id())), "{told}");
    assert!(Client::connect(daemon.socket()).is_err());
    drop(lock);
    until("it answers", || Client::connect(daemon.socket()).is_ok());
    next.kill().unwrap();
    next.wait().unwrap();
}

#[test]
fn what_is_no_store_is_left_alone_and_no_reason_to_start_again() {
    let mut daemon = Daemon::start(1);
    daemon.terminate();
    let store = daemon.state_dir().join("orchd.db");
    for garbage in ["garbage", &"SQLite format 3\0 and more of it".repeat(1000)] {
        std::fs::write(&store, garbage).unwrap();
        daemon.orchd(&[]).fails_with(65, &["store", "hint: ", "backup"]);
        assert_eq!(std::fs::read(&store).unwrap(), garbage.as_bytes());
    }
}

#[test]
fn the_death_of_one_daemons_worker_does_not_touch_the_tasks_of_the_other() {
    let (one, other) = (Daemon::start(2), Daemon::start(2));
    let lost = one.submit(one.shell(gate("never")));
    let kept = other.submit(other.shell(gate("open")));
    until("both run", || one.status(lost) == Status::Running && other.status(kept) == Status::Running);
    until("both have processes", || {
        !one.processes_of(lost).is_empty() && !other.processes_of(kept).is_empty()
    });
    let before = other.processes_of(kept);

    one.kill_worker();
    until("the lost task runs again", || one.task(lost).attempts == 2);
    assert!(other.processes_of(kept).iter().any(|pid| before.contains(pid)), "its shell goes on");

    other.write("open", "");
    let task = other.ended_task(kept);
    assert_eq!((task.status, task.attempts), (Status::Completed, 1));
}
