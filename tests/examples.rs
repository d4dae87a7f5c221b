//! Every example runs as its first lines say, in an empty directory, and leaves nothing behind that it does not name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, Said};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Those that have tests of their own, in `tests/main_job.rs`.
const ELSEWHERE: [&str; 2] = ["code-report.yaml", "data-science.yaml"];

/// An example, what is given with it, its exit code, and what its tasks say at the end.
const RUNS: [(&str, &[&str], i32, &str); 17] = [
    ("fan-out.yaml", &[], 0, "139 primes below 800"),
    ("fan-out.yaml", &["-P", "limit=100"], 0, "25 primes below 100"),
    ("pipeline.yaml", &[], 0, "the is 25 % of the words"),
    ("pipeline.yaml", &["-P", "text=to be or not to be"], 0, "be is 33 % of the words"),
    ("diamond.yaml", &[], 0, "from 4 to 92: 88"),
    ("producer-consumer.yaml", &[], 0, "mean 50, median 50"),
    ("retry.yaml", &[], 0, "there at try 3"),
    ("retry.yaml", &["-P", "good_from=9"], 1, "fetch failed with 75 after 4 tries"),
    ("conditional-deploy.yaml", &[], 0, "version 1.4.2 is live on staging"),
    ("conditional-deploy.yaml", &["-P", "target=production"], 0, "version 1.4.2 is live on production"),
    ("conditional-deploy.yaml", &["-P", "broken=true"], 1, "staging is as it was before"),
    ("compensation.yaml", &[], 0, "paid 720"),
    ("compensation.yaml", &["-P", "balance=100"], 1, "flight OR 17 is cancelled"),
    ("nightly.yaml", &[], 0, "3 tables, 2076 bytes"),
    ("nightly.yaml", &["-P", "tables=[\"one\"]"], 0, "1 tables, 292 bytes"),
    ("project-orchestration.yaml", &["--workflow", "analysis_and_reporting"], 0, "\"Python\":85"),
    ("project-orchestration.yaml", &["--workflow", "dag"], 0, "/sh"),
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Runs an example in a daemon that goes on afterwards, so that what its tasks said can be read.
fn run(name: &str, given: &[&str]) -> (Said, String, Vec<String>) {
    let daemon = Daemon::start(2);
    let file = directory().join(name).to_string_lossy().into_owned();
    let before = entries(&daemon);
    let said = daemon.orchctl(&[&["workflow", "run", &file], given].concat());
    let last = daemon.all_tasks().len();
    let outputs = (1..=last).map(|id| daemon.orchctl(&["logs", &id.to_string()]).out);
    let told = outputs.collect();
    let left = entries(&daemon).difference(&before).cloned().collect();
    (said, told, left)
}

fn entries(daemon: &Daemon) -> BTreeSet<String> {
    let entries = fs::read_dir(daemon.path("")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn every_example_runs_and_says_what_it_should() {
    for (name, given, code, says) in RUNS {
        let (said, told, left) = run(name, given);
        assert_eq!(said.code, Some(code), "{name} {given:?}: {said:?}");
        assert!(told.contains(says), "{name} {given:?}: {says:?} is not in {told:?}, {said:?}");
        assert!(left.is_empty(), "{name} {given:?} left {left:?}");
    }
}

#[test]
fn what_is_done_every_night_is_done_by_a_schedule() {
    let daemon = Daemon::start(2);
    let file = directory().join("nightly.yaml");
    let file = file.to_string_lossy();
    let words =
        ["--cron", "30 3 * * *", "--tz", "UTC", "--overlap", "skip", "--catch-up", "one", "--file", &file];
    daemon.orchctl(&[&["schedule", "add", "nightly"], &words[..]].concat()).succeeds();
    daemon.orchctl(&["schedule", "run", "nightly"]).succeeds();
    kit::until("the run has begun", || !daemon.all_tasks().is_empty());
    daemon.orchctl(&["wait", "--workflow", "nightly"]).succeeds();
    let sum = daemon.all_tasks().into_iter().find(|task| task.name == "sum_up").unwrap();
    let said = daemon.orchctl(&["logs", &sum.id.to_string()]).out;
    assert!(said.ends_with(": 3 tables, 2076 bytes\n") && said.starts_with("20"), "{said}");
    let shown = daemon.orchctl(&["schedule", "show", "nightly"]).succeeds().out.clone();
    assert!(shown.contains("03:30"), "{shown}");
}

#[test]
fn an_example_needs_no_daemon() {
    let place = Daemon::stopped(2, "");
    let file = directory().join("diamond.yaml").to_string_lossy().into_owned();
    let said = place.orchd(&["run", &file]);
    assert!(said.succeeds().out.contains("4 completed of 4 tasks"), "{said:?}");
}

#[test]
fn each_example_is_run_and_listed() {
    let listed = fs::read_to_string(directory().join("README.md")).unwrap();
    let names = fs::read_dir(directory()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    for name in names.filter(|name| name != "README.md") {
        assert!(listed.contains(&format!("[{name}]({name})")), "{name} is not listed");
        let is_run = ELSEWHERE.contains(&&*name) || RUNS.iter().any(|(run, ..)| *run == name);
        assert!(is_run, "{name} is not run");
    }
}
