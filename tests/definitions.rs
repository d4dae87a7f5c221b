//! Workflows that a daemon keeps under their names: stored ones, those of its configuration and its directory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, process, until};
use orchd_client::api::DefinitionRun;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

const GREET: &str = "# kept as it is
name: greet
parameters: { who: world }
tasks:
  - { name: say, shell: 'echo {{ parameters.who }} > said', metadata: { note: x } }
  - { name: after, shell: 'true', dependencies: [say] }
";

fn names(daemon: &Daemon) -> Vec<(String, String)> {
    let listed = daemon.orchctl(&["workflow", "list", "--stored", "--json"]).succeeds().json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|one| (text(&one["name"]), text(&one["source"]))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect()
}

#[test]
fn a_stored_workflow_is_listed_shown_run_and_removed_also_after_a_crash() {
    let mut daemon = Daemon::start(2);
    daemon.write("greet.yaml", GREET);
    assert_eq!(daemon.orchctl(&["workflow", "put", "greet.yaml"]).succeeds().out, "greet\n");
    daemon.kill_and_restart();
    assert_eq!(names(&daemon), pairs(&[("greet", "stored")]));
    let said = daemon.orchctl(&["workflow", "show", "greet", "--stored"]);
    assert_eq!(said.succeeds().out, format!("# greet: stored, greet.yaml\n{GREET}"));
    let shown = daemon.client().definition("greet").unwrap();
    assert_eq!((shown.text.as_deref(), shown.spec.unwrap().tasks.len()), (Some(GREET), 2));
    daemon.orchctl(&["workflow", "run", "greet", "-P", "who=moon"]).succeeds();
    assert_eq!(daemon.lines("said"), ["moon"]);
    daemon.orchctl(&["workflow", "run", "gret"]).fails_with(4, &["name: gret", "did you mean greet?"]);
    // A run has the name of its workflow, and is not what is kept under it.
    assert!(daemon.orchctl(&["workflow", "show", "greet"]).succeeds().out.contains("completed"));
    daemon.orchctl(&["workflow", "remove", "greet"]).succeeds();
    daemon.kill_and_restart();
    assert_eq!(names(&daemon), pairs(&[]));
    daemon
        .orchctl(&["workflow", "run", "greet"])
        .fails_with(4, &["kept under this name: greet", "list --stored"]);
    daemon.orchctl(&["workflow", "remove", "greet"]).fails_with(4, &["greet"]);
    assert!(daemon.orchctl(&["workflow", "show", "greet"]).succeeds().out.contains("completed"));
}

#[test]
fn what_is_put_again_takes_the_place_of_what_was() {
    let daemon = Daemon::start(1);
    let several = "workflow:\n  a: { steps: [{ name: x }] }\n  b: { steps: [{ name: y }] }\n";
    daemon.write("several.yaml", several);
    assert_eq!(daemon.orchctl(&["workflow", "put", "several.yaml"]).succeeds().out, "a\nb\n");
    let other = b"name: b\ntasks: [{ name: z }]\n";
    assert_eq!(daemon.orchctl_reading(&["workflow", "put", "-"], other).succeeds().out, "b\n");
    let tasks = |name: &str| daemon.client().definition(name).unwrap().spec.unwrap().tasks;
    assert_eq!((&*tasks("a")[0].name, &*tasks("b")[0].name), ("x", "z"));
    daemon.write("bad.yaml", "name: bad\ntasks: [{ name: x, shel: y }]\n");
    daemon
        .orchctl(&["workflow", "put", "bad.yaml"])
        .fails_with(5, &["bad.yaml:2:20: unknown key of a task: shel\n  hint: did you mean shell?"]);
    daemon.write("number.yaml", "name: 12\ntasks: [{ name: x, shell: y }]\n");
    let said = daemon.orchctl(&["workflow", "put", "number.yaml"]);
    said.fails_with(5, &["the name of a workflow that is kept must not be a number: 12", "ids"]);
    assert_eq!(names(&daemon), pairs(&[("a", "stored"), ("b", "stored")]));
}

#[test]
fn parameters_are_checked_when_a_name_is_run() {
    let daemon = Daemon::start(1);
    daemon.write("p.yaml", "name: p\nparameters: { n: { type: integer, required: true } }\ntasks: [{ name: x, shell: 'echo {{ parameters.n }} > n' }]\n");
    daemon.orchctl(&["workflow", "put", "p.yaml"]).succeeds();
    daemon.orchctl(&["workflow", "run", "p"]).fails_with(5, &["n"]);
    daemon.orchctl(&["workflow", "run", "p", "-P", "n=many"]).fails_with(5, &["many"]);
    let parameters = json!({"n": 7}).as_object().unwrap().clone();
    let cwd = Some(daemon.path("").display().to_string());
    let run = DefinitionRun { name: "p".to_owned(), parameters, cwd, ..DefinitionRun::default() };
    let added = daemon.client().run_definition(&run).unwrap();
    daemon.wait(&[added.tasks["x"]]);
    assert_eq!(daemon.lines("n"), ["7"]);
    let relative = DefinitionRun { cwd: Some("x".to_owned()), ..run };
    assert!(daemon.client().run_definition(&relative).unwrap_err().to_string().contains("absolute"));
}

#[test]
fn the_configuration_and_its_directory_give_names_too() {
    let mut daemon = Daemon::stopped(
        1,
        "[[workflow.inner.steps]]\nname = \"a\"\nmodule = \"m\"\n[handlers]\nm = [\"touch\", \"ran\"]\n",
    );
    fs::create_dir(daemon.path("workflows")).unwrap();
    daemon.write("outside.yaml", "name: outside\ntasks: [{ name: a }]\n");
    daemon.write("workflows/one.yaml", GREET.replace("greet", "one"));
    daemon.write("workflows/bad.yaml", "tasks: [{ name: a, shel: b }]\n");
    daemon.write("workflows/twin.yaml", "name: inner\ntasks: [{ name: a }]\n");
    symlink("../outside.yaml", daemon.path("workflows/link.yaml")).unwrap();
    daemon.start_again();
    assert_eq!(names(&daemon), pairs(&[("inner", "configuration"), ("one", "directory")]));
    let log = fs::read_to_string(daemon.path("daemon.log")).unwrap();
    for words in [
        "bad.yaml:1:20: unknown key of a task: shel",
        "link.yaml: a link",
        "twin.yaml: workflow inner is skipped",
    ] {
        assert!(log.contains(words), "{words} is not in {log}");
    }
    daemon.orchctl(&["workflow", "run", "inner"]).succeeds();
    assert!(daemon.path("ran").exists());
    // What an operator has set up cannot be replaced, and its configuration is not shown.
    daemon.write("mine.yaml", "name: one\ntasks: [{ name: a }]\n");
    daemon.orchctl(&["workflow", "put", "mine.yaml"]).fails_with(5, &["one", "workflows/one.yaml"]);
    daemon.orchctl(&["workflow", "remove", "one"]).fails_with(5, &["one"]);
    let shown = daemon.client().definition("inner").unwrap();
    assert!(shown.definition.file.ends_with("/orchd.toml"), "{}", shown.definition.file);
    assert_eq!((shown.text, shown.spec.unwrap().tasks.len()), (None, 1));
    // SIGHUP reads the directory again.
    fs::remove_file(daemon.path("workflows/one.yaml")).unwrap();
    daemon.write("workflows/two.yaml", GREET.replace("greet", "two"));
    process::send(daemon.pid(), Signal::HUP);
    until("the directory is read again", || names(&daemon).iter().any(|(name, _)| name == "two"));
    assert_eq!(names(&daemon), pairs(&[("inner", "configuration"), ("two", "directory")]));
}

#[test]
fn a_plan_remembers_how_long_tasks_took() {
    let daemon = Daemon::start(2);
    let slow = "name: slow\ntasks: [{ name: a, shell: sleep 0.3 }, { name: b, dependencies: [a] }]\n";
    daemon.write("slow.yaml", slow);
    let plan = |arguments: &[&str]| {
        let all = [&["workflow", "plan"], arguments, &["--json"]].concat();
        daemon.orchctl(&all).succeeds().json()
    };
    daemon.orchctl(&["workflow", "put", "slow.yaml"]).succeeds();
    assert_eq!(plan(&["slow"])["durations"]["a"], json!({"seconds": 1.0, "source": "assumed"}));
    daemon.orchctl(&["workflow", "run", "slow"]).succeeds();
    for arguments in [&["slow"][..], &["slow", "--stored"], &["slow.yaml", "--remembered"]] {
        let plan = plan(arguments);
        let (source, seconds) =
            (&plan["durations"]["a"]["source"], plan["durations"]["a"]["seconds"].as_f64());
        assert_eq!(source, "remembered", "{plan}");
        assert!(seconds.unwrap() >= 0.3, "{plan}");
        assert_eq!(plan["critical_path"]["duration"], plan["estimate"]["makespan"], "{plan}");
    }
    assert_eq!(plan(&["slow.yaml"])["durations"]["a"]["source"], "assumed");
}
