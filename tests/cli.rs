//! `orchctl` as its users see it: each file of `tests/cli` is a conversation with a daemon of its own, so that
//! the first task's id is 1. `TRYCMD=overwrite cargo test --test cli` writes what comes now.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::Daemon;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Conversations at a time: most of them wait for processes, not for the processor.
const AT_ONCE: usize = 4;

fn conversations() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "trycmd")).collect();
    found.sort();
    found
}

fn hold(path: &Path) {
    let daemon = Daemon::start(2);
    // What waits would else say that there is no worker yet.
    daemon.worker();
    let programs = Path::new(env!("CARGO_BIN_EXE_orchctl")).parent().unwrap();
    trycmd::TestCases::new()
        .register_bin("orchctl", Path::new(env!("CARGO_BIN_EXE_orchctl")))
        .register_bin("sh", Path::new("/bin/sh"))
        .env("ORCHD_SOCKET", daemon.socket().to_string_lossy())
        .env("ORCHD_CONFIG", daemon.path("orchd.toml").to_string_lossy())
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .env("COLUMNS", "100")
        .case(path)
        .run();
}

#[test]
fn orchctl_says_what_its_users_expect() {
    let found = conversations();
    assert!(found.len() > 10, "{found:?}");
    for some in found.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for path in some {
                scope.spawn(|| hold(path));
            }
        });
    }
}

#[test]
fn every_verb_has_a_conversation() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_orchctl")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let verbs =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Long descriptions go on in lines that are indented more.
    let names =
        verbs.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !name.is_empty());
    let said: String = conversations().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let missing: BTreeSet<&str> =
        names.filter(|name| *name != "help" && !said.contains(&format!("$ orchctl {name}"))).collect();
    assert!(missing.is_empty(), "no conversation has {missing:?}");
}
