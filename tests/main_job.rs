//! The main job: `orchd run FILE` on a daemon of its own, as the README shows it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::program::Running;
use kit::{Daemon, Said, process, until};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).to_string_lossy().into_owned()
}

fn git(root: &Path, arguments: &[&str]) {
    let said = Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args(arguments)
        .current_dir(root)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// A tree with known figures: three languages, two equal files, names with spaces, two commits.
fn tree(place: &Daemon) -> PathBuf {
    let root = place.path("some tree");
    for (name, text) in [
        ("src/main.rs", "fn main() {}\n// TODO: say more\n"),
        ("src/two words.rs", "// FIXME\n\n"),
        ("tool.py", "print(1)\nprint(2)\nprint(3)\n"),
        ("a.sh", "exit 0\n"),
        ("copy of a.sh", "exit 0\n"),
    ] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    git(&root, &["init", "-q"]);
    git(&root, &["add", "src"]);
    git(&root, &["commit", "-q", "-m", "one"]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "-q", "-m", "two"]);
    root
}

fn report_on(place: &Daemon, more: &[&str]) -> Said {
    let (path, out) =
        (format!("path={}", tree(place).display()), format!("out={}", place.path("out").display()));
    let file = example("code-report.yaml");
    let arguments = ["run", &file, "-P", &path, "-P", &out];
    place.orchd(&[&arguments, more].concat())
}

#[test]
fn the_code_report_is_written_and_its_figures_are_true() {
    let place = Daemon::stopped(2, "");
    let said = report_on(&place, &[]);
    said.succeeds();
    for task in ["inventory", "history", "lines", "largest", "todos", "duplicates", "chart", "report"] {
        assert!(
            said.out.lines().any(|line| line.starts_with(task) && line.contains("completed")),
            "{task}: {said:?}"
        );
    }
    let report = fs::read_to_string(place.path("out/report.md")).unwrap();
    for row in [
        "| files | 5 |",
        "| lines | 9 |",
        "| lines with TODO | 1 |",
        "| lines with FIXME | 1 |",
        "| groups of equal files | 1 |",
        "| bytes in needless copies | 7 |",
        "| commits | 2 |",
        "| authors | 1 |",
        "| Rust | 4 | 2 |",
        "| Python | 3 | 1 |",
        "| Shell | 2 | 2 |",
    ] {
        assert!(report.contains(row), "{row} is not in {report}");
    }
    assert!(report.contains("two words.rs"), "{report}");
    let chart = fs::read_to_string(place.path("out/languages.svg")).unwrap();
    assert!(
        chart.starts_with("<svg") && chart.contains("Rust") && chart.trim_end().ends_with("</svg>"),
        "{chart}"
    );
}

#[test]
fn a_run_leaves_one_document_when_json_is_asked_for() {
    let place = Daemon::stopped(2, "");
    let document = report_on(&place, &["--json"]).succeeds().json();
    assert_eq!(document["status"], "completed");
    assert_eq!(document["metrics"]["completed_tasks"], 8);
    assert_eq!(document["tasks"].as_array().map(Vec::len), Some(8));
}

#[test]
fn the_eight_task_pipeline_of_a_data_scientist_completes() {
    let place = Daemon::stopped(2, "");
    let said = place.orchd(&["run", &example("data-science.yaml"), "--json"]);
    let document = said.succeeds().json();
    assert_eq!(document["metrics"]["completed_tasks"], 8, "{document}");
}

#[test]
fn a_failed_task_is_named_and_the_exit_code_says_so() {
    let place = Daemon::stopped(2, "");
    let file = place.write(
        "w.yaml",
        "name: w\ntasks:\n  - { name: good, shell: 'true' }\n  - { name: bad, shell: 'echo oh >&2; exit 3' }\n  - { name: after, shell: 'true', dependencies: [bad] }\n",
    );
    let said = place.orchd(&["run", &file.to_string_lossy()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let told = format!("{}{}", said.out, said.err);
    assert!(told.contains("exit code 3") && told.contains("skipped") && told.contains("oh"), "{told}");
}

#[test]
fn a_workflow_file_that_makes_no_sense_is_refused_with_every_mistake_and_its_line() {
    let place = Daemon::stopped(2, "");
    let file = place.write(
        "w.yaml",
        "name: w\ntasks:\n  - { name: a, shel: 'true' }\n  - { name: b, shell: x, dependencies: [c] }\n",
    );
    let said = place.orchd(&["run", &file.to_string_lossy()]);
    said.fails_with(2, &["w.yaml:3:", "shell", "w.yaml:4:", "c"]);
    place.orchd(&["run", "/no/such/file.yaml"]).fails_with(2, &["/no/such/file.yaml"]);
}

#[test]
fn a_run_that_is_killed_takes_its_tasks_with_it() {
    let place = Daemon::stopped(2, "");
    let file = place
        .write("w.yaml", "name: w\ntasks:\n  - { name: a, shell: 'sleep 1000 & echo $$ $! > pid; wait' }\n");
    let mut command = place.program(env!("CARGO_BIN_EXE_orchd"));
    // Nobody is left to remove its temporary directory.
    command.args(["run", &file.to_string_lossy()]).env("TMPDIR", place.path(""));
    let run = Running::start(command, b"");
    until("the task runs", || place.lines("pid").len() == 1);
    let pids = place.lines("pid")[0].clone();
    let (task, child) = pids.split_once(' ').unwrap();
    let [task, child] = [task, child].map(|pid| PathBuf::from("/proc").join(pid));
    assert!(task.exists() && child.exists());
    process::send(run.pid(), Signal::KILL);
    until("the task is gone", || !task.exists());
    until("what it has started is gone, too", || !child.exists());
}
