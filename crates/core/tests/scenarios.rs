//! The scheduler's behaviour as text: every file of `scenarios/` is a story of commands and what they led to.
//!
//! `BLESS=1 cargo test -p orchd-core --test scenarios` writes what really happened into the files; read the
//! difference before you commit it.

mod kit;

use orchd_model::Reason;
use std::fs;
use std::path::PathBuf;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

#[test]
fn every_scenario_goes_as_it_is_written() {
    let directory = directory();
    let bless = std::env::var_os("BLESS").is_some();
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() > 10, "the scenarios are in {}", directory.display());
    let mut wrong = Vec::new();
    for path in files {
        let written = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let happened = std::panic::catch_unwind(|| kit::script::run(&written));
        let Ok((happened, _)) = happened else {
            wrong.push(format!("{name}: panicked, see above"));
            continue;
        };
        if happened == written {
            continue;
        }
        if bless {
            fs::write(&path, &happened).unwrap();
        } else {
            wrong.push(format!("{name}:\n{}", difference(&written, &happened)));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_reason_why_a_task_waits_has_a_scenario_of_its_own() {
    let schema = schemars::schema_for!(Reason).to_value();
    let codes = schema["oneOf"].as_array().unwrap().iter().map(|one| &one["properties"]["code"]["const"]);
    let codes: Vec<&str> = codes.map(|code| code.as_str().unwrap()).collect();
    assert!(codes.len() > 10, "{codes:?}");
    for code in codes {
        let path = directory().join(format!("why_{code}.txt"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, told) = kit::script::run(&text);
        assert!(told.contains(code), "{} tells {told:?}", path.display());
    }
}

/// The first lines in which two texts differ, with their numbers.
fn difference(written: &str, happened: &str) -> String {
    let at = written.lines().zip(happened.lines()).take_while(|(a, b)| a == b).count();
    let show = |text: &str| -> String {
        let lines = text.lines().enumerate().skip(at.saturating_sub(3)).take(10);
        lines.map(|(number, line)| format!("  {:4} {line}\n", number + 1)).collect()
    };
    format!(" written:\n{} happened:\n{}", show(written), show(happened))
}
