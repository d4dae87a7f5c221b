//! The examples are valid, have the shape that their comments draw, and give true figures. They are run here
//! task after task with nothing but `sh`, so that a mistake in them is not mistaken for one of the daemon.

use orchd_model::{Body, Priority, TaskSpec};
use orchd_workflow::{Plan, evaluate, load, render};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    fs::read_to_string(path).expect("the example is there")
}

fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, Value> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// Runs a workflow in `cwd`, one task after another; gives the result of each and what the last one printed.
fn run(name: &str, cwd: &Path, parameters: &[(&str, &str)]) -> (Map<String, Value>, String) {
    let spec = load(name, &example(name), &overrides(parameters)).expect("a valid example");
    let results = tempfile::tempdir().expect("a directory");
    let (mut tasks, mut printed) = (Map::new(), String::new());
    for name in Plan::of(&spec).topological_order {
        let task = spec.tasks.iter().find(|t| t.name == name).expect("a task of the plan");
        let inputs = json!({"parameters": spec.parameters, "tasks": tasks});
        assert!(task.when.as_deref().is_none_or(|when| evaluate(when, &inputs) == Ok(true)), "{name}");
        let task = render(task, &inputs).expect("templates that can be rendered");
        let result = results.path().join(&name);
        printed = run_task(&task, cwd, &result);
        let output: Value =
            serde_json::from_str(&fs::read_to_string(&result).expect("a result")).expect("JSON");
        tasks.insert(name, json!({"status": "completed", "output": output, "exit_code": 0, "attempts": 1}));
    }
    (tasks.into_iter().map(|(name, mut task)| (name, task["output"].take())).collect(), printed)
}

fn run_task(task: &TaskSpec, cwd: &Path, result: &Path) -> String {
    let Body::Shell { line } = &task.body else { panic!("{}: the examples are shell", task.name) };
    let mut child = Command::new("/bin/sh")
        .args(["-c", line])
        .current_dir(cwd)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", cwd)
        .envs(&task.env)
        .env("ORCHD_RESULT", result)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = child.stdin.take().expect("a pipe");
    _ = stdin.write_all(task.stdin.as_deref().unwrap_or_default().as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("an end");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", task.name);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A tree with known figures, in a directory whose name needs quotes.
fn tree(base: &Path) -> PathBuf {
    let root = base.join("a tree's \"root\"");
    for (path, content) in [
        ("src/main.rs", "fn main() {\n    // TODO one\n    // FIXME and TODO two\n}\n"),
        ("src/lib.rs", "// TODOs and aTODO and TODO_x are none\n"),
        ("src/odd name $(x) 'q' \"d\" `b` \\n|.rs", "// FIXME: odd\nno newline at the end"),
        ("src/tab\tin.RS", "a\nb\n"),
        ("src/=x=y.py", "print('TODO')\n"),
        ("-rf", "dashes\n"),
        ("Makefile", "all:\n\ttrue\n"),
        (".gitignore", "target\n"),
        ("data.bin", "TODO\n\0\n"),
        ("copy/one.txt", "same content\n"),
        ("copy/two.txt", "same content\n"),
        ("copy/three.md", "same content\n"),
        ("copy/empty1", ""),
        ("copy/empty2", ""),
        ("copy/other.txt", "thirteen byte\n"),
        ("target/ignored.rs", "// TODO\n"),
        ("node_modules/ignored.js", "// TODO\n"),
        ("sub/.git/ignored.c", "// TODO\n"),
        ("file/target", "a file named target counts\n"),
        ("new\nline.rs", "// TODO\n"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
    std::os::unix::fs::symlink("src/main.rs", root.join("link.rs")).expect("a link");
    root
}

fn git(root: &Path, arguments: &[&str]) {
    let name = [
        "-c",
        "user.name=A \"quoted\" Name",
        "-c",
        "user.email=a@example.org",
        "-c",
        "init.defaultBranch=main",
    ];
    let output = Command::new("git")
        .args(name)
        .args(arguments)
        .current_dir(root)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_COMMITTER_DATE", "2024-02-03T23:30:00-02:00")
        .output()
        .expect("git");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_code_report_has_eight_tasks_on_four_levels() {
    let plan =
        Plan::of(&load("code-report.yaml", &example("code-report.yaml"), &overrides(&[])).expect("valid"));
    assert_eq!((plan.total_tasks, plan.stages, plan.max_parallelism), (8, 4, 5));
    assert_eq!(plan.critical_path.tasks, ["inventory", "lines", "chart", "report"]);
}

#[test]
fn the_code_report_tells_the_truth_about_a_tree() {
    let base = tempfile::tempdir().expect("a directory");
    let root = tree(base.path());
    let root = root.to_str().expect("a name in UTF-8");
    for round in 1..=2 {
        // In the second round the report lies within the tree, and from there on is left out.
        let out = if round == 1 { "out dir".to_owned() } else { format!("{root}/deep/report") };
        let (results, printed) = run("code-report.yaml", base.path(), &[("path", root), ("out", &out)]);
        let sizes = [56, 39, 35, 4, 14, 7, 11, 7, 7, 13, 13, 13, 0, 0, 14, 27];
        assert_eq!(
            results["inventory"],
            json!({"files": 16, "bytes": sizes.iter().sum::<i32>(), "unreadable": 0, "oddly_named": 1})
        );
        assert_eq!(results["lines"]["total"], 20);
        assert_eq!(
            results["lines"]["languages"],
            json!([
                {"name": "Rust", "lines": 8, "files": 4}, {"name": "Other", "lines": 5, "files": 6},
                {"name": "Text", "lines": 3, "files": 3}, {"name": "Makefile", "lines": 2, "files": 1},
                {"name": "Markdown", "lines": 1, "files": 1}, {"name": "Python", "lines": 1, "files": 1}
            ])
        );
        assert_eq!(results["largest"], json!({"shown": 10, "largest": 56, "bytes": 235}));
        assert_eq!(results["todos"], json!({"lines": 4, "todo": 3, "fixme": 2}));
        assert_eq!(results["duplicates"], json!({"groups": 1, "files": 3, "wasted_bytes": 26}));
        assert_eq!(results["history"]["repository"], false);
        let out = base.path().join(out);
        let report = fs::read_to_string(out.join("report.md")).expect("a report");
        for part in
            ["| lines | 20 |", "| Rust | 8 | 4 |", "- 56 bytes: `src/main.rs`", "not in a git repository"]
        {
            assert!(report.contains(part), "{part}\n{report}");
        }
        let chart = fs::read_to_string(out.join("languages.svg")).expect("a chart");
        assert_eq!(
            (chart.matches("fill=\"#3b7dd8\"").count(), results["chart"]["bars"].as_u64()),
            (5, Some(5))
        );
        assert!(printed.contains("16 files, 20 lines"), "{printed}");
    }
}

#[test]
fn the_code_report_counts_commits_and_bears_an_empty_tree() {
    let base = tempfile::tempdir().expect("a directory");
    let history =
        |parameters: &[(&str, &str)]| run("code-report.yaml", base.path(), parameters).0["history"].take();
    git(base.path(), &["init", "-q", "."]);
    let none = json!({"repository": true, "commits": 0, "authors": 0, "first": "", "last": ""});
    assert_eq!(history(&[]), none);
    fs::create_dir(base.path().join("sub")).expect("a directory");
    fs::write(base.path().join("sub/a.rs"), "x\n").expect("a file");
    git(base.path(), &["add", "sub"]);
    git(base.path(), &["commit", "-q", "-m", "one"]);
    git(base.path(), &["commit", "-q", "--allow-empty", "-m", "two"]);
    let both =
        json!({"repository": true, "commits": 2, "authors": 1, "first": "2024-02-04", "last": "2024-02-04"});
    assert_eq!(history(&[("path", ".")]), both);
    assert_eq!(history(&[("path", "sub")])["commits"], 1);
    // Below the top of a repository its files are found, too.
    fs::write(base.path().join("sub/b.rs"), "x\n").expect("a file");
    let (results, _) = run("code-report.yaml", base.path(), &[("path", "sub"), ("out", "elsewhere")]);
    assert_eq!(results["duplicates"], json!({"groups": 1, "files": 2, "wasted_bytes": 2}));
    fs::create_dir(base.path().join("untracked")).expect("a directory");
    assert_eq!(history(&[("path", "untracked")]), none);
}

#[test]
fn the_data_science_pipeline_has_its_classes_and_learns() {
    let spec = load("data-science.yaml", &example("data-science.yaml"), &overrides(&[])).expect("valid");
    let classes: Vec<Priority> = spec.tasks.iter().map(|t| t.priority).collect();
    use Priority::{Critical, High, Low, Normal};
    assert_eq!(classes, [High, High, High, Critical, Normal, Normal, High, Low]);
    let plan = Plan::of(&spec);
    assert_eq!((plan.total_tasks, plan.stages, plan.max_parallelism), (8, 5, 3));

    let base = tempfile::tempdir().expect("a directory");
    let (results, printed) = run("data-science.yaml", base.path(), &[("out", "o o")]);
    let (again, _) = run("data-science.yaml", base.path(), &[("out", "o o")]);
    assert_eq!(results, again);
    let figure = |task: &str, name: &str| results[task][name].as_f64().expect("a number");
    assert_eq!((figure("analyze", "rows"), figure("analyze", "test")), (3000.0, 600.0));
    assert_ne!(results["generate_a"]["mean_y"], results["generate_b"]["mean_y"]);
    assert!((figure("train_linear", "slope") - 2.5).abs() < 0.5, "{results:?}");
    assert!(figure("train_bins", "rmse") < figure("train_linear", "rmse"), "{results:?}");
    assert!(figure("ensemble", "rmse") < figure("train_linear", "rmse"), "{results:?}");
    assert!(printed.contains("best          bins"), "{printed}");
    assert_eq!(fs::read_to_string(base.path().join("o o/report.txt")).expect("a report"), printed);
}
