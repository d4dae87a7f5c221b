//! What a person meets at the prompt: tables that fit, colours where they belong, ids alone, completions, man
//! pages.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::Daemon;
use orchd_client::TaskSpec;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::process::Stdio;

const GREEN: &str = "\u{1b}[";

/// What `orchctl` writes to a terminal so many columns wide.
fn on_terminal(daemon: &Daemon, columns: u16, arguments: &[&str]) -> String {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    tcsetwinsize(&controller, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(arguments).env("TERM", "xterm").stdin(Stdio::null()).stdout(terminal);
    let mut child = command.spawn().unwrap();
    drop(command);
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    let mut controller = fs::File::from(controller);
    // The last one to close the terminal makes this an error.
    while let Ok(read @ 1..) = controller.read(&mut piece) {
        bytes.extend_from_slice(&piece[..read]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut parts = text.split(GREEN);
    plain.push_str(parts.next().unwrap());
    for part in parts {
        plain.push_str(part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
    }
    plain
}

#[test]
fn tables_fit_the_terminal_and_are_whole_elsewhere() {
    let daemon = Daemon::start(1);
    let name = "a-name-that-goes-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on";
    let id = daemon.submit(TaskSpec { name: name.to_owned(), ..daemon.shell("true") });
    daemon.wait(&[id]);
    for columns in [60, 80, 120] {
        for verb in ["list", "resources", "workers", "stats"] {
            let shown = on_terminal(&daemon, columns, &[verb]);
            for line in without_colours(&shown).lines() {
                let width = line.chars().count();
                let prose = verb == "stats" && columns < 120;
                assert!(width <= usize::from(columns) || prose, "{verb} at {columns}: {width} in {line:?}");
            }
        }
    }
    let piped = daemon.orchctl(&["list"]);
    assert!(piped.succeeds().out.lines().any(|line| line.contains(name)), "{piped:?}");
}

#[test]
fn colours_are_for_terminals_unless_it_is_said_otherwise() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell("true"));
    daemon.wait(&[id]);
    for verb in [&["list"][..], &["show", "1"], &["why", "1"], &["events", "--no-follow"]] {
        let with = |color: &'static str| [&["--color", color], verb].concat();
        assert!(on_terminal(&daemon, 100, verb).contains(GREEN), "{verb:?}");
        assert!(!on_terminal(&daemon, 100, &with("never")).contains(GREEN), "{verb:?}");
        assert!(!daemon.orchctl(verb).succeeds().out.contains(GREEN), "{verb:?}");
        assert!(daemon.orchctl(&with("always")).succeeds().out.contains(GREEN), "{verb:?}");
        let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
        command.args(verb).args(["--json", "--color", "always"]);
        assert!(!kit::program::run(command, b"").out.contains(GREEN), "JSON has no colours: {verb:?}");
    }
    daemon.orchctl(&["list", "--color", "sometimes"]).fails_with(2, &["sometimes", "always"]);
}

#[test]
fn quiet_prints_ids_and_nothing_else() {
    let daemon = Daemon::start(1);
    let id = daemon.orchctl(&["add", "-q", "--hold", "--", "true"]).succeeds().out.clone();
    for verb in [&["list", "-q"][..], &["-q", "hold", id.trim()], &["release", "-q", id.trim()]] {
        assert_eq!(daemon.orchctl(verb).succeeds().out, id, "{verb:?}");
    }
    daemon.orchctl(&["wait", "--all"]).succeeds();
    assert_eq!(daemon.orchctl(&["cancel", "-q", "--all"]).succeeds().out, "");
    assert_eq!(daemon.orchctl(&["pause", "-q"]).succeeds().out, "");
    assert_eq!(daemon.orchctl(&["workers", "-q"]).succeeds().out, "1\n");
}

#[test]
fn completions_and_man_pages_know_every_verb() {
    let daemon = Daemon::stopped(1, "");
    let help = daemon.orchctl(&["--help"]);
    let verbs: Vec<&str> = help
        .succeeds()
        .out
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = daemon.orchctl(&["completions", shell]);
        for verb in &verbs {
            assert!(script.succeeds().out.contains(verb), "{shell} knows no {verb}");
        }
    }
    daemon.orchctl(&["completions", "csh"]).fails_with(2, &["csh", "bash"]);
    let said = daemon.orchctl(&["manual", "pages/man1"]);
    assert_eq!(said.succeeds().out, "read it with: man pages/man1/orchctl.1\n");
    let page = |name: &str| fs::read_to_string(daemon.path("pages/man1").join(name)).unwrap();
    assert!(page("orchctl.1").contains(".TH orchctl 1"));
    for verb in &verbs {
        assert!(page(&format!("orchctl-{verb}.1")).contains("SYNOPSIS"), "{verb}");
    }
    daemon.write("file", "");
    daemon.orchctl(&["manual", "file/sub"]).fails_with(2, &["file/sub"]);
}
