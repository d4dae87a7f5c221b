//! Rules of the house that no compiler checks: floors, sizes, names, links. Reads the files of the
//! workspace as text.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which floor each package stands on; a package may depend on lower floors only.
const FLOORS: [(&str, u32); 10] = [
    ("orchd-model", 0),
    ("orchd-core", 1),
    ("orchd-api", 1),
    ("orchd-workflow", 1),
    ("orchd-store", 2),
    ("orchd-client", 2),
    ("orchd-worker", 3),
    ("orchd-cli", 3),
    ("orchd-daemon", 4),
    ("orchd", 5),
];

/// What the scheduler must never depend on.
const NOT_IN_CORE: [&str; 8] =
    ["tokio", "tracing", "rusqlite", "crossbeam-channel", "parking_lot", "rand", "libc", "rustix"];

/// Longest source file, lines.
const FILE_LINES: usize = 600;
/// Longest function, lines from its signature to its closing brace.
const FUNCTION_LINES: usize = 70;

/// Words that say nothing, as parts of identifiers of types and modules.
const FORBIDDEN: [&str; 7] = ["manager", "helper", "util", "common", "misc", "imp", "stuff"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder with one of these endings, but for build output.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    // What is made at the top level, by the compiler and by the examples, is not ours to keep tidy.
    let ignored = read(&root().join(".gitignore"));
    let made: Vec<PathBuf> =
        ignored.lines().filter_map(|line| line.strip_prefix('/')).map(|name| root().join(name)).collect();
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if made.contains(&path) {
                continue;
            }
            if path.is_dir() && !matches!(&*name, "target" | ".git" | "node_modules") {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifests() -> BTreeMap<String, toml::Table> {
    let paths = files(&root(), &["Cargo.toml"]);
    let parsed = paths.iter().map(|path| read(path).parse::<toml::Table>().unwrap());
    parsed
        .filter_map(|table| {
            let name = table.get("package")?.get("name")?.as_str()?.to_owned();
            Some((name, table))
        })
        .collect()
}

fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let table = manifest.get("dependencies").and_then(|d| d.as_table());
    table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn every_package_depends_on_lower_floors_only() {
    let floors = BTreeMap::from(FLOORS);
    let manifests = manifests();
    assert_eq!(
        manifests.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        floors.keys().copied().collect::<BTreeSet<_>>(),
        "every package has a floor"
    );
    for (name, manifest) in &manifests {
        for dependency in dependencies(manifest) {
            if let Some(below) = floors.get(dependency.as_str()) {
                assert!(*below < floors[name.as_str()], "{name} must not depend on {dependency}");
            }
        }
    }
}

#[test]
fn the_scheduler_depends_on_nothing_that_does_io() {
    let core = dependencies(&manifests()["orchd-core"]);
    for crate_name in NOT_IN_CORE {
        assert!(!core.contains(crate_name), "orchd-core must not depend on {crate_name}");
    }
    for path in files(&root().join("crates/core/src"), &[".rs"]) {
        for word in ["std::time::Instant", "SystemTime", "std::fs", "std::net", "std::thread", "std::io"] {
            assert!(!read(&path).contains(word), "{} mentions {word}", path.display());
        }
    }
}

#[test]
fn every_dependency_has_a_line_in_the_docs() {
    let listed = read(&root().join("docs/dependencies.md"));
    for (name, manifest) in manifests() {
        for dependency in dependencies(&manifest).iter().filter(|d| !d.starts_with("orchd-")) {
            assert!(
                listed.contains(&format!("`{dependency}`")),
                "docs/dependencies.md has no line for {dependency}, which {name} uses"
            );
        }
    }
}

#[test]
fn files_and_functions_stay_readable() {
    let mut too_long = Vec::new();
    for path in files(&root(), &[".rs"]) {
        let text = read(&path);
        let count = text.lines().count();
        if count > FILE_LINES {
            too_long.push(format!("{} has {count} lines, at most {FILE_LINES}", path.display()));
        }
        for (line, name, length) in functions(&text) {
            if length > FUNCTION_LINES {
                let place = path.display();
                too_long.push(format!("{place}:{line}: {name} has {length} lines, at most {FUNCTION_LINES}"));
            }
        }
    }
    assert!(too_long.is_empty(), "{}", too_long.join("\n"));
}

/// Functions of a formatted file: the line they begin on, their names, their lengths.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    let mut open: Vec<(usize, usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "fn");
        let qualifiers = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern", "\"C\""];
        if let Some(at) = at
            && words[..at].iter().all(|word| qualifiers.contains(word))
            && !line.trim_end().ends_with([';', '}'])
        {
            let name = words.get(at + 1).copied().unwrap_or_default();
            open.push((number, indent, name.split(['(', '<']).next().unwrap_or(name).to_owned()));
        } else if line.trim() == "}"
            && let Some(index) = open.iter().rposition(|(_, at, _)| *at == indent)
        {
            let (start, _, name) = open.remove(index);
            found.push((start + 1, name, number - start + 1));
        }
    }
    found
}

#[test]
fn names_say_what_things_are() {
    for path in files(&root(), &[".rs"]) {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = read(&path);
        let kinds = ["struct", "enum", "trait", "mod"];
        let declared = text.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = words.iter().position(|word| kinds.contains(word))?;
            (words[..at].iter().all(|w| w.starts_with("pub"))).then(|| words.get(at + 1).copied()).flatten()
        });
        for name in declared.chain([&*stem]) {
            for part in parts(name) {
                assert!(!FORBIDDEN.contains(&&*part), "{}: {name} says nothing", path.display());
            }
        }
    }
}

/// The words of an identifier, in lower case.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in name.chars().take_while(|c| c.is_alphanumeric() || *c == '_') {
        if c == '_' || c.is_uppercase() {
            parts.push(String::new());
        }
        if c != '_' {
            parts.last_mut().unwrap().extend(c.to_lowercase());
        }
    }
    parts
}

#[test]
fn nothing_is_unfinished_or_ignored_and_no_test_sleeps() {
    let anywhere = ["todo!", "unimplemented!", "dbg!", "#[ignore"];
    let in_tests = ["thread::sleep(", "time::sleep("];
    let mut found = Vec::new();
    // This file names what it looks for.
    for path in files(&root(), &[".rs"]).iter().filter(|path| !path.ends_with("tests/tidy.rs")) {
        let text = read(path);
        let is_test = path.components().any(|part| part.as_os_str() == "tests");
        let words = anywhere.iter().chain(in_tests.iter().filter(|_| is_test));
        found.extend(
            words.filter(|word| text.contains(**word)).map(|word| format!("{} has {word}", path.display())),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn links_in_the_docs_lead_somewhere() {
    for path in files(&root(), &[".md"]) {
        let text = read(&path);
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let linked = path.parent().unwrap().join(target);
            assert!(linked.exists(), "{} links to {target}, which is not there", path.display());
        }
    }
}

#[test]
fn the_claim_matrix_in_the_docs_is_the_one_in_the_code() {
    use orchd_model::Mode;
    let docs = read(&root().join("docs/claims.md"));
    let row = |held: Option<Mode>| {
        let name = held.map_or("nothing", Mode::as_str);
        let cell = |asked| if held.is_none_or(|held| held.admits(asked)) { "grant" } else { "wait" };
        let cells: Vec<&str> = Mode::ALL.into_iter().map(cell).collect();
        format!("| {name} | {} |", cells.join(" | "))
    };
    for held in [None, Some(Mode::Read), Some(Mode::Write), Some(Mode::Exclusive)] {
        assert!(docs.contains(&row(held)), "docs/claims.md lacks the row: {}", row(held));
    }
}

#[test]
fn the_top_level_is_as_agreed() {
    for name in
        ["Cargo.toml", "Cargo.lock", "crates", "daemon", "client", "tests", "benches", "docs", "README.md"]
    {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}
