//! A shutdown that waits: what holds meanwhile, who is told, and how it is undone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::process::{self, until_interruptible};
use kit::program::Running;
use kit::{Daemon, gate, until};
use orchd_client::Status;
use rustix::process::Signal;

fn shutdown(daemon: &Daemon) -> Running {
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(["shutdown", "--wait"]);
    Running::start(command, b"")
}

fn until_under_way(daemon: &Daemon) {
    until("it is under way", || daemon.stats().shutting_down);
}

#[test]
fn who_stops_waiting_for_the_end_is_told_what_holds_and_can_undo_it() {
    let daemon = Daemon::start(2);
    let runs = daemon.submit(daemon.shell(gate("go")));
    daemon.until_status(runs, Status::Running);
    daemon.orchctl(&["shutdown", "--abort"]).fails_with(5, &["no shutdown is under way", "hint: "]);
    let ends = shutdown(&daemon);
    until_under_way(&daemon);
    daemon.orchctl(&["add", "--", "true"]).fails_with(5, &["shutting down", "orchctl shutdown --abort"]);
    daemon
        .orchctl(&["lock", "--no-wait", "--claim", "lock:a", "--", "true"])
        .fails_with(5, &["shutting down"]);
    let listed = daemon.orchctl(&["list"]);
    let told = "orchctl: the daemon starts nothing, 1 task running: shutting down, unless: orchctl shutdown --abort\n";
    assert_eq!(listed.succeeds().err, told);
    assert!(daemon.orchctl(&["stats"]).succeeds().out.contains(", shutting down after what runs"));
    let found = daemon.orchctl(&["doctor", "--quick"]).succeeds().out.clone();
    assert!(found.contains("shutting down: nothing new starts, 1 task running"), "{found}");
    until_interruptible(ends.pid());
    process::send(ends.pid(), Signal::INT);
    let said = ends.ended();
    said.fails_with(130, &[
        "orchctl: waits for 1 running task; nothing new starts\n",
        "the daemon still shuts down: nothing new starts, and it ends after 1 running task\nhint: orchctl shutdown --abort",
    ]);
    assert!(daemon.stats().shutting_down);
    assert_eq!(daemon.orchctl(&["shutdown", "--abort"]).succeeds().out, "the daemon goes on\n");
    let next = daemon.submit(daemon.shell("true"));
    assert_eq!(daemon.ended_task(next).status, Status::Completed);
    assert_eq!(daemon.orchctl(&["list"]).succeeds().err, "");
    daemon.write("go", "");
    assert_eq!(daemon.ended_task(runs).status, Status::Completed);
}

#[test]
fn who_waits_for_the_end_learns_that_somebody_has_aborted_it_and_the_next_one_ends_it() {
    let mut daemon = Daemon::start(1);
    let runs = daemon.submit(daemon.shell(gate("go")));
    daemon.until_status(runs, Status::Running);
    let ends = shutdown(&daemon);
    until_under_way(&daemon);
    daemon.orchctl(&["shutdown", "--abort", "-q"]).succeeds();
    ends.ended().fails_with(5, &["the daemon goes on: somebody has aborted the shutdown"]);
    let ends = shutdown(&daemon);
    until_under_way(&daemon);
    daemon.write("go", "");
    ends.ended().succeeds();
    assert!(daemon.ended().success());
    daemon.start_again();
    assert_eq!(daemon.status(runs), Status::Completed);
}

#[test]
fn a_pause_of_everything_is_told_with_every_list() {
    let daemon = Daemon::start(1);
    daemon.orchctl(&["pause"]).succeeds();
    let listed = daemon.orchctl(&["list"]);
    let told =
        "orchctl: the daemon starts nothing, 0 tasks running: everything is paused, until: orchctl resume\n";
    assert_eq!(listed.succeeds().err, told);
    assert_eq!(daemon.orchctl(&["list", "-q"]).succeeds().err, "");
    assert!(daemon.orchctl(&["doctor", "--quick"]).succeeds().out.contains("everything is paused"));
    assert_eq!(daemon.orchctl(&["doctor", "--quick", "-q"]).succeeds().out, "");
}
