//! Tasks that are made for each element of a list, results that are made into others, and tasks at the end of
//! a workflow, with the real programs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, until};
use orchd_client::Status;
use orchd_client::model::ErrorType;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Runs a workflow to its end; the documents of its tasks by their names, and the exit code.
fn ran(daemon: &Daemon, text: &str, arguments: &[&str]) -> (BTreeMap<String, Value>, String) {
    let file = daemon.write("w.yaml", text);
    let run = ["--json", "workflow", "run", file.to_str().unwrap()];
    let said = daemon.orchctl(&[&run[..], arguments].concat());
    let summary = said.json();
    let tasks = summary["tasks"].as_array().unwrap().iter();
    let by_name = tasks.map(|task| (task["name"].as_str().unwrap().to_owned(), task.clone())).collect();
    (by_name, summary["status"].as_str().unwrap().to_owned())
}

fn data<'t>(tasks: &'t BTreeMap<String, Value>, name: &str) -> &'t Value {
    &tasks.get(name).unwrap_or_else(|| panic!("{name} is not among {:?}", tasks.keys()))["result"]["data"]
}

const LISTS: &str = r#"
parameters: { names: [x, "y z"], least: 2 }
tasks:
  - name: list
    shell: 'echo "[{\"f\": \"a\", \"n\": 1}, {\"f\": \"b c\", \"n\": 2}, {\"f\": \"d\", \"n\": 3}]" > $ORCHD_RESULT'
  - name: each
    dependencies: [list]
    foreach: tasks.list.output
    when: item.n >= parameters.least
    env: { F: "{{ item.f }}" }
    shell: 'printf "{\"f\": \"$F\", \"n\": {{ item.n }}, \"i\": $ORCHD_INDEX}" > $ORCHD_RESULT'
    transform: "{'f': result.f, 'sum': result.n + result.i + index}"
  - { name: names, foreach: parameters.names, shell: 'cp $ORCHD_INPUTS $ORCHD_RESULT', transform: result.item }
  - { name: numbers, array: 3-7/2, shell: 'echo $((100 * {index} + 10 * $ORCHD_INDEX + {{ index }})) > $ORCHD_RESULT' }
  - { name: nothing, foreach: [], shell: exit 1 }
  - name: all
    dependencies: [each, names, numbers, nothing]
    parameters: { each: "{{ tasks.each.output }}", n: "{{ tasks.numbers.output | sum }}", none: "{{ tasks.nothing.output }}" }
    shell: cp $ORCHD_INPUTS $ORCHD_RESULT
    transform: "[parameters.each, parameters.n, parameters.none, result.tasks.names.output]"
"#;

#[test]
fn a_task_is_made_for_each_element_of_a_list_and_their_results_come_in_order() {
    let daemon = Daemon::start(4);
    let (tasks, status) = ran(&daemon, LISTS, &[]);
    assert_eq!(status, "completed");
    assert_eq!(*data(&tasks, "each"), json!([null, {"f": "b c", "sum": 4}, {"f": "d", "sum": 7}]));
    assert_eq!(tasks["each[0]"]["status_reason"]["code"], "condition");
    assert_eq!(*data(&tasks, "names"), json!(["x", "y z"]));
    assert_eq!(*data(&tasks, "numbers"), json!([333, 555, 777]));
    let names: Vec<&String> = tasks.keys().filter(|name| name.starts_with("numbers[")).collect();
    assert_eq!(names, ["numbers[3]", "numbers[5]", "numbers[7]"]);
    assert_eq!(*data(&tasks, "all"), json!([data(&tasks, "each"), 1665, [], ["x", "y z"]]));
}

#[test]
fn a_list_is_expanded_once_and_its_elements_run_once_however_often_the_daemon_dies() {
    let mut daemon = Daemon::start(4);
    let text = format!(
        "tasks:\n  - {{ name: list, shell: 'seq 20 | paste -sd, | sed \"s/.*/[&]/\" > $ORCHD_RESULT' }}\n  \
           - {{ name: each, dependencies: [list], foreach: tasks.list.output, shell: '{} echo {{{{ item }}}} >> ran' }}\n  \
           - {{ name: after, dependencies: [each], shell: 'wc -l < ran > $ORCHD_RESULT' }}\n",
        gate("go")
    );
    let file = daemon.write("w.yaml", text);
    daemon.orchctl(&["workflow", "run", "--detach", file.to_str().unwrap()]).succeeds();
    daemon.kill_and_restart();
    until("four elements run", || daemon.stats().running == 4);
    daemon.kill();
    daemon.write("go", "");
    daemon.start_again();
    daemon.kill_and_restart();
    until("all have ended", || daemon.stats().completed == 23);
    let mut ran: Vec<u32> = daemon.lines("ran").iter().map(|line| line.parse().unwrap()).collect();
    ran.sort_unstable();
    assert_eq!(ran, (1..=20).collect::<Vec<u32>>());
    let after = daemon.all_tasks().into_iter().find(|task| task.name == "after").unwrap();
    assert_eq!(after.result.unwrap().data, Some(json!(20)));
    daemon.assert_nothing_is_held();
}

#[test]
fn what_fails_of_a_list_fails_the_whole_and_runs_again_with_it() {
    let daemon = Daemon::start(4);
    let text = "tasks:\n  - { name: each, foreach: [a, b, c], shell: 'test {{ item }} != b || test -e mended' }\n  \
                - { name: after, dependencies: [each], shell: 'true' }\n  \
                - { name: wrong, foreach: parameters | length, shell: 'true' }\n";
    let (tasks, status) = ran(&daemon, text, &[]);
    assert_eq!(status, "failed");
    let message = tasks["each"]["result"]["error_message"].as_str().unwrap();
    assert!(
        message.starts_with("1 of 3 elements failed, the first is each[1] (")
            && message.contains("exit code 1")
    );
    assert_eq!(tasks["each"]["result"]["error_type"], "ElementFailed");
    assert_eq!(tasks["after"]["status_reason"]["name"], "each");
    assert_eq!(tasks["wrong"]["result"]["error_message"], "foreach: must be a list, not a number");
    daemon.write("mended", "");
    daemon.orchctl(&["retry", &tasks["each"]["id"].to_string()]).succeeds();
    let ids: Vec<_> = ["each", "after", "each[1]"]
        .map(|name| serde_json::from_value(tasks[name]["id"].clone()).unwrap())
        .into();
    daemon.wait(&ids);
    assert!(ids.iter().all(|id| daemon.status(*id) == Status::Completed));
    assert_eq!(daemon.task(ids[2]).attempts, 2);
}

#[test]
fn a_result_that_cannot_be_transformed_fails_its_task_and_names_what_is_missing() {
    let daemon = Daemon::start(2);
    let text = "tasks:\n  - { name: bad, transform: result.rows * 2, shell: 'echo \"{}\" > $ORCHD_RESULT' }\n  \
                - { name: quiet, transform: \"result is none\", shell: 'true' }\n  \
                - { name: said, transform: parameters.a + 1, parameters: { a: 1 } }\n";
    let (tasks, _) = ran(&daemon, text, &[]);
    let result = &tasks["bad"]["result"];
    assert_eq!(result["error_type"], json!(ErrorType::InvalidResult));
    assert_eq!(result["error_message"], "transform: result.rows is not defined: result has no rows");
    assert_eq!((data(&tasks, "quiet"), data(&tasks, "said")), (&json!(true), &json!(2)));
}

#[test]
fn what_is_at_the_end_runs_also_when_the_workflow_is_cancelled_or_times_out() {
    let daemon = Daemon::start(2);
    let text = |head: &str| {
        format!(
            "{head}\ntasks:\n  - {{ name: long, shell: 'echo > began; sleep 600' }}\n  - {{ name: next, dependencies: [long], shell: 'true' }}\n\
             finally:\n  - {{ name: clean, shell: 'echo {{{{ workflow.status }}}} >> ended' }}\n"
        )
    };
    let file = daemon.write("a.yaml", text("name: a"));
    daemon.orchctl(&["workflow", "run", "--detach", file.to_str().unwrap()]).succeeds();
    until("it runs", || daemon.path("began").exists());
    daemon.orchctl(&["cancel", "--workflow", "a"]).succeeds();
    until("all has ended", || daemon.stats().completed == 1);
    let (_, status) = ran(&daemon, &text("name: b\ntimeout: 0.2\nfail_fast: true"), &[]);
    assert_eq!(status, "timed_out");
    assert_eq!(daemon.lines("ended"), ["cancelled", "timed_out"]);
    let file = daemon.write("c.yaml", "name: c\ntasks:\n  - { name: a, dependencies: [z], shell: 'true' }\nfinally:\n  - { name: z, shell: 'true' }\n");
    daemon.orchctl(&["workflow", "check", file.to_str().unwrap()]).fails_with(1, &["runs at the end: z"]);
}

#[test]
fn what_is_for_workflows_is_refused_elsewhere() {
    let daemon = Daemon::start(1);
    for line in [
        r#"{"shell": "true", "foreach": [1]}"#,
        r#"{"shell": "true", "finally": true}"#,
        r#"{"within": "x", "shell": "true"}"#,
        r#"{"collect": true}"#,
        r#"{"shell": "true", "transform": "a +"}"#,
    ] {
        daemon.orchctl_reading(&["add", "--from", "-"], line.as_bytes()).fails_with(5, &["line 1: "]);
    }
    let line = r#"{"shell": "echo 4 > $ORCHD_RESULT", "transform": "result * 2"}"#;
    daemon.orchctl_reading(&["add", "--from", "-"], line.as_bytes()).succeeds();
    until("it has ended", || daemon.stats().completed == 1);
    assert_eq!(daemon.all_tasks()[0].result.as_ref().unwrap().data, Some(json!(8)));
}

const AGAIN: &str = r#"
tasks:
  - { name: list, shell: 'cat list > $ORCHD_RESULT' }
  - { name: each, dependencies: [list], foreach: tasks.list.output, shell: 'echo {{ item }} >> ran; [ {{ item }} != 0 ]' }
  - { name: numbered, dependencies: [list], array: 1-3, shell: 'echo n{index} >> ran' }
"#;

#[test]
fn what_is_made_anew_takes_the_place_of_what_was() {
    let daemon = Daemon::start(4);
    daemon.write("list", "[1, 0]");
    let (tasks, status) = ran(&daemon, AGAIN, &[]);
    assert_eq!((tasks.len(), status.as_str()), (8, "failed"));
    let old = tasks["each[1]"]["id"].to_string();
    let rerun = |from: &str| daemon.orchctl(&["--json", "workflow", "rerun", "w", "--from", from]);
    let check = |shown: Value, elements: u64| {
        let metrics = &shown["metrics"];
        assert_eq!((&shown["status"], &metrics["success_rate"]), (&json!("completed"), &json!(1.0)));
        assert_eq!(metrics["total_tasks"], elements + 6);
        assert_eq!(shown["tasks"].as_array().unwrap().len() as u64, elements + 6);
        let graph = daemon.orchctl(&["workflow", "graph", "w", "--mermaid"]).succeeds().out.clone();
        assert_eq!(graph.matches("each[").count() as u64, elements, "{graph}");
    };
    daemon.write("list", "[5, 6, 7]");
    check(rerun("list").succeeds().json(), 3);
    daemon.write("list", "[8]");
    check(rerun("list").succeeds().json(), 1);
    // What was done is kept, for itself.
    let kept = daemon.orchctl(&["--json", "show", &old]).succeeds().json();
    assert_eq!((&kept["status"], &kept["workflow"]), (&json!("failed"), &Value::Null));
    std::fs::remove_file(daemon.path("ran")).unwrap();
    check(rerun("numbered[2]").succeeds().json(), 1);
    assert_eq!(daemon.lines("ran"), ["n2"]);
    rerun("numbered[7]").fails_with(4, &["numbered[7]", "did you mean numbered["]);
}

#[test]
fn several_elements_together_are_called_as_the_task_that_they_were_made_for() {
    let daemon = Daemon::start(1);
    let line = format!("echo > began; {}", gate("go"));
    let text = format!("name: w\ntasks:\n  - {{ name: a, foreach: [1, 2, 3], shell: '{line}' }}\n");
    daemon.write("w.yaml", text);
    daemon.orchctl(&["workflow", "run", "--detach", "w.yaml"]).succeeds();
    until("the first runs", || daemon.path("began").exists());
    let listed = daemon.orchctl(&["list"]).succeeds().out.clone();
    assert!(listed.contains("a[0]") && !listed.contains("{index}"), "{listed}");
    let events = daemon.events(None);
    let submitted = events.iter().filter(|event| event.kind == "task.submitted");
    let names: Vec<_> = submitted.map(|event| event.data["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "a"]);
    daemon.write("go", "");
    until("all has ended", || daemon.stats().completed == 4);
    let report = daemon.orchctl(&["report", "w", "--json"]).succeeds().out.clone();
    let report: Value = serde_json::from_str(&report).unwrap();
    let used: Vec<_> = report["usage"].as_array().unwrap().iter().map(|used| &used["name"]).collect();
    assert!(used.is_empty() || used == ["a"], "{used:?}");
}
