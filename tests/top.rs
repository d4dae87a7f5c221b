//! `orchctl top` in a terminal of its own: what is seen is what the daemon says, and keys reach it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::Daemon;
use kit::terminal::{ROWS, Terminal};
use orchd_client::{Status, TaskSpec};
use rustix::process::Signal;
use std::process::Child;

/// What a terminal is told when a program that drew on all of it gives it back (xterm, DEC private mode 1049).
const GIVEN_BACK: &str = "\u{1b}[?1049l";

/// `top`, and who looks at it.
struct Watched {
    terminal: Terminal,
    screen: vt100::Parser,
    child: Child,
}

impl Watched {
    fn start(daemon: &Daemon) -> Self {
        const COLUMNS: u16 = 100;
        let terminal = Terminal::open(COLUMNS);
        let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
        command.arg("top");
        let child = terminal.spawn_interactive(command);
        Self { terminal, screen: vt100::Parser::new(ROWS, COLUMNS, 0), child }
    }

    fn until(&mut self, word: &str) {
        self.terminal.until_seen(&mut self.screen, word, |seen| seen.contains(word));
    }

    fn press(&self, keys: &str) {
        self.terminal.press(keys);
    }

    /// The exit code; the terminal was given back.
    fn ends_with(mut self) -> Option<i32> {
        let code = self.child.wait().unwrap().code();
        assert!(self.terminal.read_to_end().contains(GIVEN_BACK));
        code
    }
}

#[test]
fn tasks_are_watched_and_steered() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(TaskSpec { name: "nightly".to_owned(), ..daemon.shell("sleep 1000") });
    let mut top = Watched::start(&daemon);
    top.until("nightly");
    top.until("running ");
    top.press("c");
    top.until("cancel");
    top.press("y");
    daemon.until_status(id, Status::Cancelled);
    top.until("cancelled");
    let next = daemon.submit(TaskSpec { hold: true, name: "weekly".to_owned(), ..daemon.shell("true") });
    top.until("weekly");
    top.press("\r");
    top.until("why:");
    top.press("\u{1b}[Hh");
    daemon.until_status(next, Status::Completed);
    top.press("q");
    assert_eq!(top.ends_with(), Some(0));
}

#[test]
fn the_terminal_is_given_back_when_it_is_interrupted_and_when_it_is_ended() {
    let daemon = Daemon::start(1);
    for ended in [false, true] {
        let mut top = Watched::start(&daemon);
        top.until("q quit");
        if ended {
            kit::process::send(top.child.id(), Signal::TERM);
        } else {
            top.press("\u{3}");
        }
        assert_eq!(top.ends_with(), Some(130));
    }
}

#[test]
fn a_daemon_that_goes_away_is_waited_for() {
    let mut daemon = Daemon::start(1);
    let mut top = Watched::start(&daemon);
    top.until("q quit");
    daemon.kill();
    top.until("the daemon does not answer");
    daemon.start_again();
    top.until("q quit");
    top.press("q");
    assert_eq!(top.ends_with(), Some(0));
}

#[test]
fn without_a_terminal_it_says_what_programs_use() {
    let daemon = Daemon::start(1);
    daemon.orchctl(&["top"]).fails_with(2, &["terminal", "stats --json"]);
    daemon.orchctl(&["top", "--every", "0s"]).fails_with(2, &["terminal"]);
}
