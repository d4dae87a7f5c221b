//! The pages for people are true: every command of them is typed into one shell, in an empty directory, and
//! what they show is what comes, but for numbers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::page::commands;
use kit::{Daemon, program};
use std::path::Path;

/// Between what two commands say.
const BORDER: char = '\u{1e}';

/// A line without what differs from day to day and from machine to machine: numbers, and how wide columns are.
fn shape(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        let word = if is_number { "#" } else { word };
        // A duration may have one word or two.
        if word != "#" || words.last() != Some(&"#") {
            words.push(word);
        }
    }
    words.join(" ").replace(|c: char| c.is_ascii_digit(), "#")
}

/// Whether what came is what was shown; `...` stands for any lines.
fn is_as_shown(shown: &[String], came: &[String]) -> bool {
    match shown.split_first() {
        None => came.is_empty(),
        Some((first, rest)) if first == "..." => (0..=came.len()).any(|n| is_as_shown(rest, &came[n..])),
        Some((first, rest)) => {
            came.split_first().is_some_and(|(line, others)| line == first && is_as_shown(rest, others))
        }
    }
}

fn follow(page: &str) {
    // Its directory and its places; the page starts the daemon itself.
    let daemon = Daemon::stopped(2, "");
    let typed = commands(page);
    let script: Vec<String> =
        typed.iter().map(|typed| format!("printf '{BORDER}'\n{}\n", typed.command)).collect();
    let mut shell = daemon.program("bash");
    let programs = Path::new(env!("CARGO_BIN_EXE_orchd")).parent().unwrap();
    shell.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
    // The shell says on its own when a process in the background was killed.
    shell.args(["-c", "exec 2>&1; trap : CHLD; set +m; source /dev/stdin 2>&1"]);
    let said = program::run(shell, script.concat().as_bytes());
    let mut came = said.out.split(BORDER);
    assert_eq!(came.next(), Some(""), "nothing is said before the first command");
    for typed in &typed {
        let came = came.next().unwrap_or_else(|| panic!("not reached: {typed:?}\n{said:#?}"));
        let lines = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.contains(" Killed ")).map(shape).collect()
        };
        let (shown, came_lines) = (lines(&typed.shown), lines(came));
        assert!(
            is_as_shown(&shown, &came_lines),
            "{}\nshown:\n{}\ncame:\n{came}",
            typed.command,
            typed.shown
        );
    }
}

#[test]
fn the_first_hour_goes_as_its_guide_says() {
    follow("docs/guide.md");
}
