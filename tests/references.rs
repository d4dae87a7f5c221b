//! What the page about the references names is there: its commands are taken as they stand, and its calls, keys and
//! files exist.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::Daemon;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/from-the-references.md";

/// What a reader puts in the place of a word in capitals.
const WORDS: [(&str, &str); 22] = [
    ("FILE", "w.yaml"),
    ("ID", "1"),
    ("W", "w"),
    ("S", "s"),
    ("X", "x"),
    ("R", "lock:deploy"),
    ("NAME", "w"),
    ("TAG", "t"),
    ("SEQ", "0"),
    ("DUR", "5s"),
    ("TIME", "2100-01-01T00:00:00Z"),
    ("CRON", "0 2 * * *"),
    ("JSON", "{}"),
    ("CMD", "true"),
    ("CLASS", "low"),
    ("PATTERN", "task.*"),
    ("MODULE.ACTION", "charts.draw"),
    ("TYPE:IDENTIFIER:MODE=AMOUNT", "file:scratch:write=1"),
    ("K=V", "a=2"),
    ("PERCENT", "40"),
    ("TEXT", "half"),
    ("KEY=VALUE", "capacity=2"),
];

fn source(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What stands between backticks, row by row, in the right column; the left one has the words of the references.
fn rows() -> Vec<Vec<String>> {
    let page = source(PAGE);
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let right = rows.filter_map(|row| row.rsplit_once(" | ").map(|(_, right)| right.replace("\\|", "|")));
    right.map(|text| text.split('`').skip(1).step_by(2).map(str::to_owned).collect()).collect()
}

/// The commands: options on their own belong to the command before them in the row.
fn commands() -> Vec<String> {
    let mut found = Vec::new();
    for row in rows() {
        let mut last: Option<String> = None;
        for span in row {
            if span.starts_with("orchctl ") || span.starts_with("orchd ") {
                last = Some(span.clone());
                found.push(span);
            } else if let (true, Some(command)) = (span.starts_with("--"), &last) {
                found.push(match command.split_once(" -- ") {
                    Some((before, after)) => format!("{before} {span} -- {after}"),
                    None => format!("{command} {span}"),
                });
            }
        }
    }
    found
}

/// The words of a command as a shell would split them, with examples in the place of words in capitals.
fn typed(command: &str) -> Vec<String> {
    let words = command.split(" > ").next().unwrap().split_whitespace().map(|word| word.trim_matches('\''));
    let example = |word: &str| match WORDS.iter().find(|(name, _)| *name == word) {
        Some((_, example)) => (*example).to_owned(),
        None if word.starts_with("examples/") => {
            Path::new(env!("CARGO_MANIFEST_DIR")).join(word).display().to_string()
        }
        None => {
            let is_open = word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase());
            assert!(!is_open, "{command}: nothing stands for {word}");
            word.to_owned()
        }
    };
    words.map(example).collect()
}

#[test]
fn every_command_that_the_page_names_is_taken_as_it_stands() {
    // Nobody answers: what is taken says so, and does nothing else.
    let mut nobody = Daemon::stopped(1, "");
    nobody.environment.insert("ORCHD_TOKEN".into(), "1".into());
    nobody.write("w.yaml", "name: w\nparameters: { a: 1 }\ntasks: [{ name: a, shell: 'true' }]\n");
    let commands = commands();
    for command in &commands {
        let words = typed(command);
        let (program, words) = words.split_first().unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        for file in words.iter().filter(|word| word.ends_with(".yaml")) {
            assert!(nobody.path(file).exists(), "{command}: no {file}");
        }
        let said = match program.as_str() {
            // A live view needs a terminal and has no end: its help has the last word.
            "orchctl" if words == ["top"] => nobody.orchctl(&["top", "--help"]),
            "orchctl" => nobody.orchctl(&[&["--connect-timeout", "1ms"], &words[..]].concat()),
            // It would go on for ever, or run an example that has a test of its own: its help has the last word.
            _ => nobody.orchd(&[&words[..], &["--help"]].concat()),
        };
        assert!(matches!(said.code, Some(0 | 3)), "{command}: {said:?}");
    }
    assert!(commands.len() > 80, "{}", commands.len());
}

#[test]
fn every_call_that_the_page_names_exists() {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("client/src")).unwrap();
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let library: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut calls = 0;
    for span in rows().into_iter().flatten() {
        if let Some(name) = span.strip_prefix("c.") {
            let is_call = |open: &str| library.contains(&format!("pub async fn {name}{open}"));
            assert!(is_call("(") || is_call("<"), "{name} is no call");
            calls += 1;
        }
    }
    assert!(calls > 20, "{calls}");
}

#[test]
fn every_key_of_a_file_that_the_page_names_is_known() {
    let place = Daemon::stopped(1, "");
    let schema = place.orchctl(&["workflow", "schema"]).succeeds().out.clone();
    let config = source("docs/configuration.md");
    let mut keys = 0;
    for span in rows().into_iter().flatten() {
        let Some((key, _)) = span.split_once(": ") else { continue };
        if key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            let is_known = schema.contains(&format!("\"{key}\"")) || config.contains(key);
            assert!(is_known, "{span}: {key} is no key");
            keys += 1;
        }
    }
    assert!(keys > 10, "{keys}");
}
