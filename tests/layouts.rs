//! Workflows within a configuration, as another tool wrote it: the file as it stands is checked, planned and run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, program, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::process::Stdio;

/// A configuration as it is found: a pipeline of steps, a graph of tasks, and what the machine may give.
const CONFIG: &str = r#"
# Workflow manager settings
workflow:
  manager:
    enable_performance_monitoring: true
    max_parallel_tasks: 4

  # Sample workflow definition
  sample_workflow:
    name: "analysis_and_reporting"
    steps:
      - name: "data_collection"
        module: "data_visualization"
        action: "create_bar_chart"
        parameters:
          data: {"Python": 85, "JavaScript": 75}
        dependencies: []

      - name: "security_audit"
        module: "security_audit"
        action: "scan_codebase"
        dependencies: ["data_collection"]

# DAG configuration
dag:
  tasks:
    - name: "init"
      module: "environment_setup"
      dependencies: []
    - name: "build"
      dependencies: ["init"]
  execution:
    max_parallel: 3
    timeout_seconds: 300

# Resource management
resources:
  cpu_limit: 4
  memory_limit_gb: 8
"#;

/// Commands for the handlers, and a diamond beside the other workflows.
const MORE: &str = r#"
handlers:
  data_visualization.create_bar_chart: [sh, -c, 'cat "$ORCHD_INPUTS" > chart.json; echo "{\"bars\": 2}" > "$ORCHD_RESULT"']
  security_audit.scan_codebase: { command: [sh, -c, 'echo scanned > audit'] }
  environment_setup: [touch, environment]
  make.one: [sh, -c, 'echo x >> made']
"#;
const DIAMOND: &str = r#"
  sample_analysis_workflow:
    steps:
      - { name: task1, module: make, action: one }
      - { name: task2, module: make, action: one, dependencies: [task1] }
      - { name: task3, module: make, action: one, dependencies: [task1] }
      - { name: task4, module: make, action: one, dependencies: [task2, task3] }
  slow:
    tasks: [{ name: a, shell: exec sleep 600 }, { name: b, shell: exec sleep 600 }]
"#;

fn with_commands() -> String {
    CONFIG.replace("\n# DAG configuration", &format!("{DIAMOND}\n# DAG configuration")) + MORE
}

/// The same document in the other format.
fn as_json() -> String {
    let document = orchd_workflow::read_document("c.yaml", &with_commands()).unwrap();
    serde_json::to_string_pretty(&document.value).unwrap()
}

#[test]
fn the_configuration_as_it_stands_is_checked_and_planned() {
    let daemon = Daemon::stopped(0, "");
    daemon.write("config.yaml", CONFIG);
    let said = daemon.orchctl(&["workflow", "check", "config.yaml"]);
    let valid = "analysis_and_reporting: valid, 2 tasks in 2 stages, at most 1 at once\ndag: valid, 2 tasks in 2 stages";
    assert!(said.succeeds().out.starts_with(valid), "{said:?}");
    for handler in
        ["data_visualization.create_bar_chart", "security_audit.scan_codebase", "environment_setup"]
    {
        assert!(said.err.contains(&format!("no command is bound to this handler: {handler}")), "{said:?}");
    }
    let plans = daemon.orchctl(&["workflow", "plan", "config.yaml", "--json"]).succeeds().json();
    assert_eq!(plans[0]["execution_order"], json!([["data_collection"], ["security_audit"]]));
    assert_eq!(plans[1]["execution_order"], json!([["init"], ["build"]]));
    assert_eq!(plans[1]["warnings"][0]["line"], 27);
}

#[test]
fn a_duration_that_is_none_is_told_when_the_file_is_checked() {
    let daemon = Daemon::stopped(0, "");
    let tasks = "tasks:\n- { name: a, metadata: { expected_duration: soon } }\n- { name: b, metadata: { expected_duration: 5m } }\n";
    daemon.write("w.yaml", tasks);
    let said = daemon.orchctl(&["workflow", "check", "w.yaml"]);
    let words = "w.yaml:2:3: expected_duration is not a duration, and means nothing: \"soon\"";
    assert!(said.succeeds().err.contains(words), "{said:?}");
    assert_eq!(said.err.matches("expected_duration").count(), 1, "{said:?}");
}

fn as_toml() -> String {
    toml::to_string(&serde_json::from_str::<Value>(&as_json()).unwrap()).unwrap()
}

#[test]
fn yaml_json_and_toml_give_the_same_plans() {
    let daemon = Daemon::stopped(0, "");
    daemon.write("config.yaml", with_commands());
    daemon.write("config.json", as_json());
    daemon.write("config.toml", as_toml());
    let plans = |file: &str| daemon.orchctl(&["workflow", "plan", file, "--json"]).succeeds().json();
    // The keys of a JSON object have no order, and neither have the workflows.
    let sorted = |file: &str| {
        let mut plans = plans(file).as_array().unwrap().clone();
        plans.sort_by_key(|plan| plan["name"].to_string());
        plans
    };
    let yaml = sorted("config.yaml");
    assert_eq!(yaml, sorted("config.json"));
    assert_eq!(yaml, sorted("config.toml"));
    let diamond = yaml.iter().find(|plan| plan["name"] == "sample_analysis_workflow").unwrap();
    assert_eq!((&diamond["stages"], &diamond["total_tasks"]), (&json!(3), &json!(4)));
    assert_eq!(diamond["execution_order"], json!([["task1"], ["task2", "task3"], ["task4"]]));
    assert_eq!(diamond["max_parallelism"], 2);
}

#[test]
fn one_of_several_workflows_is_chosen_and_runs_with_the_bound_commands() {
    let daemon = Daemon::start(2);
    daemon.write("config.yaml", with_commands());
    let run = ["workflow", "run", "config.yaml"];
    let names = "analysis_and_reporting, sample_analysis_workflow, slow, dag";
    daemon.orchctl(&run).fails_with(2, &[names, "--workflow NAME"]);
    daemon
        .orchctl(&[&run[..], &["--workflow", "analysis"]].concat())
        .fails_with(2, &["no such workflow in the file: analysis"]);
    let said = daemon.orchctl(&[&run[..], &["--workflow", "analysis_and_reporting", "--json"]].concat());
    assert_eq!(said.succeeds().json()["status"], "completed");
    let listed = daemon.orchctl(&["workflow", "list", "--json"]).succeeds().json();
    assert_eq!((&listed[0]["max_parallel"], &listed[0]["timeout"]), (&json!(3), &json!(300.0)));
    let inputs: Value =
        serde_json::from_str(&fs::read_to_string(daemon.path("chart.json")).unwrap()).unwrap();
    assert_eq!(inputs["parameters"]["data"], json!({"Python": 85, "JavaScript": 75}));
    assert_eq!(daemon.lines("audit"), ["scanned"]);
    let tasks = daemon.orchctl(&["list", "--workflow", "analysis_and_reporting", "--json"]).json();
    assert_eq!((&tasks[0]["module"], &tasks[0]["command"][0]), (&json!("security_audit"), &json!("sh")));
    assert_eq!(tasks[1]["result"]["data"], json!({"bars": 2}));
    daemon.orchctl(&[&run[..], &["--workflow", "dag"]].concat()).succeeds();
    assert!(daemon.path("environment").exists());
}

#[test]
fn a_handler_without_a_command_waits_for_a_worker() {
    let daemon = Daemon::start(1);
    daemon.write("config.yaml", CONFIG);
    let run = ["workflow", "run", "config.yaml", "--workflow", "dag", "--detach", "--json"];
    let task = daemon.orchctl(&run).succeeds().json()["tasks"]["init"].to_string();
    let said = daemon.orchctl(&["why", &task]);
    assert!(said.succeeds().out.contains("no worker for environment_setup"), "{said:?}");
}

#[test]
fn a_run_of_which_nothing_runs_says_what_it_waits_for() {
    let daemon = Daemon::start(1);
    daemon.write("config.yaml", CONFIG);
    let bound = CONFIG.to_owned() + "handlers: {environment_setup: [touch, environment]}\n";
    daemon.write("bound.yaml", bound);
    let begin = |program: &str, arguments: &[&str]| {
        let mut command = daemon.program(program);
        command.env_remove("ORCHD_CONFIG").args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(daemon.path("said")).unwrap()).spawn().unwrap()
    };
    let until_said = |words: &str| {
        let said = || fs::read_to_string(daemon.path("said")).unwrap();
        until(words, || said().contains(words));
        said()
    };
    let none = "waiting: init: no worker for environment_setup\nhint: bind a command";
    for (program, arguments) in [
        (env!("CARGO_BIN_EXE_orchctl"), &["workflow", "run", "config.yaml", "--workflow", "dag"][..]),
        (env!("CARGO_BIN_EXE_orchd"), &["run", "config.yaml", "--workflow", "dag"]),
    ] {
        let mut run = begin(program, arguments);
        assert!(!until_said(none).contains("waiting: build"), "it waits for init, and that is known");
        kit::process::send(run.id(), Signal::INT);
        assert_eq!(run.wait().unwrap().code(), Some(130));
    }
    daemon.orchctl(&["pause"]).succeeds();
    let mut run =
        begin(env!("CARGO_BIN_EXE_orchctl"), &["workflow", "run", "bound.yaml", "--workflow", "dag"]);
    until_said("waiting: init, build: paused (all)");
    daemon.orchctl(&["resume"]).succeeds();
    assert!(run.wait().unwrap().success());
}

#[test]
fn what_is_stuck_is_told_while_others_run_however_many_wait_before_it() {
    let daemon = Daemon::start(1);
    let mut tasks = vec![json!({ "name": "runs", "shell": gate("go") })];
    tasks.extend((0..1500).map(|n| json!({ "name": format!("w{n}"), "dependencies": ["runs"] })));
    tasks.push(json!({ "name": "held", "shell": "true", "hold": true }));
    tasks.push(json!({ "name": "each", "module": "nobody", "array": "1-12" }));
    daemon.write("w.json", json!({ "name": "w", "tasks": tasks }).to_string());
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(["workflow", "run", "w.json"]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut run = command.stderr(File::create(daemon.path("said")).unwrap()).spawn().unwrap();
    let said = || fs::read_to_string(daemon.path("said")).unwrap();
    let none = "waiting: each[1], each[2], each[3] and 9 more: no worker for nobody\nhint: bind a command";
    until("it is told", || said().contains("waiting: held: held\n") && said().contains(none));
    let [workflow] = &daemon.client().workflows().unwrap()[..] else { panic!() };
    let stuck = daemon.client().stuck(workflow.id).unwrap();
    let found: Vec<_> =
        stuck.iter().map(|stuck| (&*stuck.reason.text, stuck.tasks.len(), stuck.count)).collect();
    assert_eq!(found, [("held", 1, 1), ("no worker for nobody", 10, 12)]);
    daemon.write("go", "");
    daemon.orchctl(&["cancel", "--workflow", "w"]).succeeds();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    assert_eq!(daemon.client().stuck(workflow.id).unwrap(), [], "it has ended");
}

#[test]
fn a_shown_workflow_says_why_its_tasks_wait_and_that_it_is_paused() {
    let daemon = Daemon::start(1);
    daemon.write("config.yaml", CONFIG);
    let run = ["workflow", "run", "config.yaml", "--workflow", "dag", "--detach", "--quiet"];
    let id = daemon.orchctl(&run).succeeds().out.trim().to_owned();
    let show = |arguments: &[&str]| daemon.orchctl(&[&["workflow", "show", &id], arguments].concat());
    let said = show(&[]).succeeds().out.clone();
    assert!(
        said.contains("no worker for environment_setup")
            && said.contains("waiting for 1 task: 1 (init, pending)"),
        "{said}"
    );
    daemon.orchctl(&["workflow", "pause", &id]).succeeds();
    let said = show(&[]).succeeds().out.clone();
    assert!(said.contains("dag running, paused in"), "{said}");
    let shown = show(&["--json"]).json();
    assert_eq!((&shown["status"], &shown["paused"]), (&json!("running"), &json!(true)));
    assert_eq!((&shown["max_parallel"], &shown["session"]), (&json!(3), &Value::Null));
    assert!(shown["created_at"].is_string() && shown["finished_at"].is_null(), "{shown}");
    let listed = daemon.orchctl(&["workflow", "list"]).succeeds().out.clone();
    assert!(listed.contains("running, paused"), "{listed}");
    assert_eq!(daemon.orchctl(&["workflow", "list", "--json"]).json()[0]["paused"], true);
    daemon.orchctl(&["workflow", "resume", &id, "--detach"]).succeeds();
    assert_eq!(show(&["--json"]).json()["paused"], false);
}

#[test]
fn a_daemon_of_its_own_takes_the_whole_configuration() {
    let daemon = Daemon::stopped(0, "");
    daemon.write("config.yaml", with_commands());
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = daemon.program(env!("CARGO_BIN_EXE_orchd"));
        command.env_remove("ORCHD_CONFIG").envs(variables.iter().copied());
        command.args(["run", "config.yaml", "--json"]).args(arguments);
        program::run(command, b"")
    };
    run(&[], &[]).fails_with(2, &["several workflows in config.yaml", "--workflow NAME"]);
    run(&["--workflow", "sample_analysis_workflow"], &[]).succeeds();
    assert_eq!(daemon.lines("made").len(), 4);
    let said = run(&["--workflow", "slow"], &[("MAX_PARALLEL_TASKS", "1"), ("WORKFLOW_TIMEOUT", "0.3")]);
    assert_eq!((said.code, &said.json()["status"]), (Some(1), &json!("timed_out")));
    assert_eq!(said.json()["metrics"]["peak_concurrency"], 1);
    run(&["--workflow", "dag"], &[("MAX_PARALLEL_TASKS", "many")])
        .fails_with(2, &["MAX_PARALLEL_TASKS", "many"]);
}

#[test]
fn slots_of_the_command_line_win_over_the_environment_and_the_file() {
    let daemon = Daemon::stopped(0, "");
    let [a, b] = [("a", "b"), ("b", "a")].map(|(own, other)| format!("touch {own}; {}", gate(other)));
    let tasks = json!([{ "name": "a", "shell": a }, { "name": "b", "shell": b }]);
    let of_a_file =
        json!({ "workflow": { "manager": { "max_parallel_tasks": 1 }, "wide": { "tasks": tasks } } });
    daemon.write("wide.json", json!({ "name": "wide", "tasks": tasks }).to_string());
    daemon.write("config.json", of_a_file.to_string());
    for file in ["wide.json", "config.json"] {
        let said = |program: &str, verb: &[&str]| {
            let mut command = daemon.program(program);
            command.env_remove("ORCHD_CONFIG").env("MAX_PARALLEL_TASKS", "1");
            command.args(verb).args([file, "--slots", "2", "--json"]);
            program::run(command, b"").succeeds().json()
        };
        let plan = said(env!("CARGO_BIN_EXE_orchctl"), &["workflow", "plan"]);
        assert_eq!(plan["estimate"]["peak_parallelism"], 2, "{file}");
        let ended = said(env!("CARGO_BIN_EXE_orchd"), &["run"]);
        assert_eq!(ended["metrics"]["peak_concurrency"], 2, "{file}");
    }
}

#[test]
fn what_is_misspelt_is_named_with_its_place() {
    let daemon = Daemon::stopped(0, "");
    let text = with_commands()
        .replace("max_parallel_tasks", "max_paralel_tasks")
        .replace("timeout_seconds", "timeout_secs")
        .replace("cpu_limit", "cpu_limits")
        .replace("memory_limit_gb: 8", "memory_limit_gb: 0")
        + "resouces: {}\n";
    daemon.write("config.yaml", text);
    let said = daemon.orchctl(&["workflow", "check", "config.yaml"]);
    said.fails_with(
        1,
        &[
            "config.yaml:6:5: unknown key of workflow.manager: max_paralel_tasks\n  hint: did you mean max_parallel_tasks?",
            "unknown key of dag.execution: timeout_secs\n  hint: did you mean timeout_seconds?",
            "unknown key of resources: cpu_limits\n  hint: did you mean cpu_limit?",
            "resources.memory_limit_gb: a capacity must be more than nothing: 0",
            "unknown key of a configuration: resouces\n  hint: did you mean resources?",
        ],
    );
}
