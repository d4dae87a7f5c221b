//! What the page about the references names is there: its commands, their options, and the calls of the library.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

fn source(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What stands between backticks, row by row.
fn spans(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    // The right column only: the left one has the words of the references.
    let right = rows.filter_map(|row| row.rsplit_once(" | ").map(|(_, right)| right.to_owned()));
    let code = right.map(|text| text.split('`').skip(1).step_by(2).map(str::to_owned).collect());
    code.collect()
}

fn help(program: &str, verbs: &[&str]) -> String {
    let said = Command::new(program).args(verbs).arg("--help").output().unwrap();
    assert!(said.status.success(), "{program} {verbs:?} is no command");
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn every_command_that_the_page_names_exists_with_its_options() {
    let (orchctl, orchd) = (env!("CARGO_BIN_EXE_orchctl"), env!("CARGO_BIN_EXE_orchd"));
    let mut commands = 0;
    for row in spans(&source("docs/from-the-references.md")) {
        let mut last = String::new();
        for span in row {
            let words: Vec<&str> = span.split_whitespace().collect();
            let is_verb = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            let verbs = |most: usize| -> Vec<&str> {
                words
                    .iter()
                    .skip(1)
                    .take(most)
                    .take_while(is_verb)
                    .filter(|w| !w.starts_with('-'))
                    .copied()
                    .collect()
            };
            match words.first() {
                Some(&"orchctl") => {
                    last = help(orchctl, &verbs(if words.get(1) == Some(&"workflow") { 2 } else { 1 }));
                    commands += 1;
                }
                Some(&"orchd") => {
                    last = help(orchd, &verbs(1));
                    commands += 1;
                }
                Some(first) if first.starts_with("--") && !last.is_empty() => {}
                _ => continue,
            }
            for option in words.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
                assert!(last.contains(option), "{span}: {option} is no option");
            }
        }
    }
    assert!(commands > 50, "{commands}");
}

#[test]
fn every_call_that_the_page_names_exists() {
    let library: String =
        ["client.rs", "report.rs"].map(|file| source(&format!("client/src/{file}"))).concat();
    let mut calls = 0;
    for span in spans(&source("docs/from-the-references.md")).into_iter().flatten() {
        if let Some(name) = span.strip_prefix("c.") {
            assert!(library.contains(&format!("pub async fn {name}(")), "{name} is no call");
            calls += 1;
        }
    }
    assert!(calls > 10, "{calls}");
}
