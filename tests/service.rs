//! The daemon as a service: what it tells its manager, and its log.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, PATIENCE, process, until};
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;

/// A service manager that hears what it is told.
struct Listener(UnixDatagram);

impl Listener {
    fn of(daemon: &mut Daemon) -> Self {
        let path = daemon.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        daemon.environment.insert("NOTIFY_SOCKET".to_owned(), path.to_str().unwrap().to_owned());
        Self(socket)
    }

    /// The next thing it is told.
    fn hear(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).unwrap();
        std::str::from_utf8(&buffer[..length]).unwrap().lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_service_manager_is_told_of_start_reload_and_end() {
    let mut daemon = Daemon::stopped(0, "[scheduler]\nslots = 2\n");
    let listener = Listener::of(&mut daemon);
    daemon.start_again();
    let ready = listener.hear();
    assert_eq!(ready[0], "READY=1");
    assert!(ready[1].starts_with("STATUS=listening on ") && ready[1].ends_with(", 2 slots"), "{ready:?}");
    daemon.write("orchd.toml", "[scheduler]\nslots = 3\n");
    process::send(daemon.pid(), Signal::HUP);
    let reloading = listener.hear();
    assert_eq!(reloading[0], "RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    let ready = listener.hear();
    assert!(ready[0] == "READY=1" && ready[1].ends_with(", 3 slots"), "{ready:?}");
    // A task is no service: it must not be able to speak for the daemon.
    let task = daemon.submit(daemon.shell("test -z \"$NOTIFY_SOCKET\""));
    assert_eq!(daemon.ended_task(task).status, orchd_client::Status::Completed);
    assert!(daemon.terminate().success());
    assert_eq!(listener.hear()[0], "STOPPING=1");
}

#[test]
fn a_watchdog_is_fed_as_long_as_the_engine_answers() {
    let mut daemon = Daemon::stopped(1, "");
    let listener = Listener::of(&mut daemon);
    daemon.environment.insert("WATCHDOG_USEC".to_owned(), "20000".to_owned());
    daemon.start_again();
    assert_eq!(listener.hear()[0], "READY=1");
    for _ in 0..3 {
        assert_eq!(listener.hear(), ["WATCHDOG=1"]);
    }
}

#[test]
fn a_log_file_is_rotated_at_the_size_that_is_asked_for_and_no_line_is_lost_or_cut() {
    let mut daemon =
        Daemon::stopped(1, "[log]\nfile = \"own.log\"\nlevel = \"DEBUG\"\nmax_bytes = \"16KiB\"\n");
    daemon.start_again();
    daemon.orchctl(&["pause"]).succeeds();
    let ids = daemon.submit_many((0..150).map(|_| daemon.shell("true")));
    let files = ["own.log.3", "own.log.2", "own.log.1", "own.log"];
    let lines = || files.iter().flat_map(|file| daemon.lines(file)).collect::<Vec<_>>();
    let is_told = |lines: &[String]| {
        ids.iter().all(|id| {
            let words = format!(" task={id} data=");
            lines.iter().filter(|line| line.contains("task.submitted") && line.contains(&words)).count() == 1
        })
    };
    until("each task is told once", || is_told(&lines()));
    assert!(!daemon.lines("own.log.1").is_empty(), "the first file was full");
    assert!(lines().iter().all(|line| line.starts_with("20") && line.contains('Z')), "lines are whole");
}

#[test]
fn the_log_goes_to_the_file_that_is_asked_for_and_its_level_can_change() {
    let mut daemon = Daemon::stopped(1, "[log]\nfile = \"own.log\"\nlevel = \"ERROR\"\n");
    daemon.start_again();
    daemon.worker();
    assert_eq!(daemon.lines("own.log"), [""; 0]);
    daemon.write("orchd.toml", "[log]\nfile = \"own.log\"\nlevel = \"DEBUG\"\nformat = \"json\"\n");
    process::send(daemon.pid(), Signal::HUP);
    until("it logs", || daemon.lines("own.log").iter().any(|line| line.contains("read again")));
    let log = daemon.lines("own.log").join("\n");
    assert!(log.contains("log.format"), "what needs a start is named: {log}");
    assert_eq!(daemon.lines("daemon.log"), [""; 0]);
}
