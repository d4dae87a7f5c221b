//! Sub-workflows with the real programs: what they are given, what they end with, and how they fail and are retried.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, until};
use orchd_client::Status;
use orchd_client::api::Task;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TEXT: &str = r#"
parameters: { factor: 10 }
workflows:
  sum:
    parameters: { values: { type: list }, start: 0 }
    tasks:
      - { name: each, foreach: parameters.values, shell: 'echo {{ item }} > $ORCHD_RESULT' }
      - name: add
        dependencies: [each]
        shell: 'cp $ORCHD_INPUTS $ORCHD_RESULT'
        transform: "(result.tasks.each.output | sum) + parameters.start"
  twice:
    parameters: { of: [] }
    tasks:
      - { name: first, workflow: sum, parameters: { values: "{{ parameters.of }}" } }
      - { name: second, workflow: sum, dependencies: [first], parameters: { values: "{{ parameters.of }}", start: "{{ tasks.first.output.add }}" } }
tasks:
  - { name: list, shell: 'echo "[1, 2, 3]" > $ORCHD_RESULT' }
  - name: both
    workflow: twice
    dependencies: [list]
    parameters: { of: "{{ tasks.list.output }}" }
    transform: "{'first': result.first.add, 'second': result.second.add * parameters.factor}"
  - { name: never, workflow: sum, when: parameters.factor > 10, parameters: { values: [1] } }
  - { name: behind, shell: 'true', dependencies: [never] }
  - { name: told, dependencies: [both], shell: 'echo {{ tasks.both.output.second }} > $ORCHD_RESULT' }
"#;

fn by_name(daemon: &Daemon) -> BTreeMap<String, Task> {
    daemon.all_tasks().into_iter().map(|task| (task.name.clone(), task)).collect()
}

#[test]
fn a_task_stands_for_a_set_of_tasks_and_ends_with_their_results() {
    let daemon = Daemon::start(4);
    let file = daemon.write("w.yaml", TEXT);
    let said = daemon.orchctl(&["--json", "workflow", "run", file.to_str().unwrap()]).json();
    assert_eq!(said["status"], "completed", "{said}");
    let tasks = by_name(&daemon);
    let data = |name: &str| tasks[name].result.as_ref().unwrap().data.clone().unwrap_or(Value::Null);
    assert_eq!(data("both"), json!({"first": 6, "second": 120}));
    assert_eq!(data("told"), json!(120));
    assert_eq!(data("both.first.each"), json!([1, 2, 3]));
    assert_eq!(tasks["never"].status, Status::Skipped);
    assert_eq!(tasks["never.each"].status, Status::Skipped);
    // People know the task that they have written.
    let why = |name: &str| tasks[name].status_reason.as_ref().unwrap().text.clone();
    let root = format!("needs {} (never), skipped: its condition was false", tasks["never"].id);
    assert_eq!(["never.each", "never.add", "behind"].map(why), [root.clone(), root.clone(), root]);
    assert_eq!(["never", "never.(start)"].map(why), ["its condition was false"; 2]);
    let events = daemon.events(Some(tasks["behind"].id));
    let skipped = events.iter().find(|event| event.kind == "task.skipped").unwrap();
    assert_eq!(skipped.data["task"], json!(tasks["never"].id));
    for verb in ["show", "explain"] {
        let said = daemon.orchctl(&[verb, &tasks["behind"].id.to_string()]);
        assert!(said.succeeds().out.contains("(never), skipped: its condition was false"), "{said:?}");
    }
}

#[test]
fn what_fails_in_it_fails_it_and_runs_again_with_it() {
    let mut daemon = Daemon::start(4);
    let file = daemon.write(
        "w.yaml",
        "workflows:\n  s: { tasks: [{ name: x, shell: 'test -e mended' }, { name: y, shell: 'true', dependencies: [x] }] }\n\
         tasks: [{ name: a, workflow: s }, { name: after, shell: 'true', dependencies: [a] }]\n",
    );
    daemon.orchctl(&["workflow", "run", file.to_str().unwrap()]).fails_with(1, &["a.x"]);
    let tasks = by_name(&daemon);
    let result = tasks["a"].result.as_ref().unwrap();
    assert_eq!(result.error_type.as_ref().unwrap().as_str(), "TaskFailed");
    assert!(result.error_message.as_ref().unwrap().starts_with("1 of 2 tasks failed, the first is a.x ("));
    assert_eq!(tasks["after"].status, Status::Skipped);
    daemon.kill_and_restart();
    daemon.write("mended", "");
    daemon.orchctl(&["retry", &tasks["a"].id.to_string()]).succeeds();
    let ids: Vec<_> = ["a.x", "a.y", "a", "after"].map(|name| tasks[name].id).into();
    daemon.wait(&ids);
    assert!(ids.iter().all(|id| daemon.status(*id) == Status::Completed));
    assert_eq!(daemon.task(tasks["a.x"].id).attempts, 2);
}

#[test]
fn its_tasks_are_cancelled_with_it() {
    let daemon = Daemon::start(4);
    let text = format!(
        "workflows:\n  s: {{ tasks: [{{ name: x, shell: '{} true' }}, {{ name: y, shell: 'true', dependencies: [x] }}] }}\n\
         tasks: [{{ name: a, workflow: s }}]\n",
        gate("never")
    );
    let file = daemon.write("w.yaml", text);
    daemon.orchctl(&["workflow", "run", "--detach", file.to_str().unwrap()]).succeeds();
    until("it runs", || daemon.stats().running == 1);
    let whole = by_name(&daemon)["a"].id;
    daemon.orchctl(&["cancel", &whole.to_string()]).succeeds();
    until("all have ended", || daemon.stats().running == 0);
    let ids: Vec<_> = daemon.all_tasks().into_iter().map(|task| task.id).collect();
    daemon.wait(&ids);
    let tasks = by_name(&daemon);
    assert!(["a", "a.x", "a.y"].iter().all(|name| tasks[*name].status == Status::Cancelled), "{tasks:?}");
    daemon.assert_nothing_is_held();
}

#[test]
fn a_set_is_done_for_each_element_of_a_list_and_ends_with_the_list_of_their_results() {
    let daemon = Daemon::start(4);
    let text = r#"
name: w
parameters: { regions: [eu, us, { id: "a}b" }] }
workflows:
  load:
    parameters: { region: { type: any }, place: { type: integer } }
    tasks:
      - { name: fetch, shell: 'echo {{ parameters.place }} > $ORCHD_RESULT; echo {{ parameters.place }} >> ran' }
      - { name: clean, dependencies: [fetch], shell: '[ {{ parameters.place }} != 2 ] || [ -e mended ] && echo {{ parameters.region | json | quote }} > $ORCHD_RESULT' }
tasks:
  - name: each
    workflow: load
    foreach: parameters.regions
    when: item != "us"
    parameters: { region: "{{ item }}", place: "{{ index }}" }
  - { name: none, workflow: load, foreach: [], parameters: { region: "{{ item }}", place: 1 }, transform: result | length }
  - { name: some, workflow: load, array: 5-6, parameters: { region: x, place: "{{ item }}" }, transform: result | length }
  - { name: told, dependencies: [each, none, some], shell: 'echo "{{ [tasks.none.output, tasks.some.output] }}" > $ORCHD_RESULT' }
"#;
    let file = daemon.write("w.yaml", text);
    daemon.orchctl(&["workflow", "run", file.to_str().unwrap()]).fails_with(1, &["each[2].clean"]);
    let tasks = by_name(&daemon);
    let result = tasks["each"].result.as_ref().unwrap();
    assert_eq!(result.error_type.as_ref().unwrap().as_str(), "ElementFailed");
    assert!(
        result.error_message.as_ref().unwrap().starts_with("1 of 3 elements failed, the first is each[2] (")
    );
    assert_eq!(tasks["each[1].fetch"].status, Status::Skipped);
    let root = format!("needs {} (each[1]), skipped: its condition was false", tasks["each[1]"].id);
    assert_eq!(tasks["each[1].fetch"].status_reason.as_ref().unwrap().text, root);
    daemon.write("mended", "");
    daemon.orchctl(&["workflow", "resume", "w"]).succeeds();
    let tasks = by_name(&daemon);
    let data = |name: &str| tasks[name].result.as_ref().unwrap().data.clone().unwrap_or(Value::Null);
    let expected = json!([
        { "fetch": 0, "clean": "eu" },
        null,
        { "fetch": 2, "clean": { "id": "a}b" } },
    ]);
    assert_eq!((data("each"), data("told")), (expected, json!([0, 2])));
    let mut ran = daemon.lines("ran");
    ran.sort();
    assert_eq!(ran, ["0", "2", "5", "6"]);
    daemon.orchctl(&["workflow", "rerun", "w", "--from", "each"]).succeeds();
    let mut ran = daemon.lines("ran");
    ran.sort();
    assert_eq!(ran, ["0", "0", "2", "2", "5", "6"], "all of it runs again, and nothing else");
}

#[test]
fn what_it_is_told_is_held_against_the_types_of_its_parameters() {
    let daemon = Daemon::start(2);
    let text = r#"
workflows:
  s:
    parameters: { rows: { type: integer }, mode: { type: string, enum: [fast, slow] }, any: 1 }
    tasks: [{ name: x, shell: 'true' }]
tasks:
  - { name: before, shell: 'echo "{\"rows\": \"many\", \"n\": 4}" > $ORCHD_RESULT' }
  - { name: good, workflow: s, dependencies: [before], parameters: { rows: "1{{ tasks.before.output.n }}", mode: "{{ 'fast' }}" } }
  - { name: bad, workflow: s, dependencies: [before], parameters: { rows: "{{ tasks.before.output.rows }}", mode: "{{ tasks.before.output.rows }}" } }
"#;
    let file = daemon.write("w.yaml", text);
    daemon.orchctl(&["workflow", "run", file.to_str().unwrap()]).fails_with(1, &[]);
    let tasks = by_name(&daemon);
    assert_eq!(
        tasks["good.(start)"].result.as_ref().unwrap().data,
        Some(json!({"rows": 14, "mode": "fast", "any": 1}))
    );
    let result = tasks["bad.(start)"].result.as_ref().unwrap();
    assert_eq!(result.error_type.as_ref().unwrap().as_str(), "InvalidParameter");
    let said = result.error_message.as_deref().unwrap();
    assert!(said.contains("parameter rows must be a whole number: many"), "{said}");
    assert!(
        said.contains("parameter mode is none of its choices: \"many\" (one of \"fast\", \"slow\")"),
        "{said}"
    );
    assert_eq!(tasks["bad.x"].status, Status::Skipped);
}

#[test]
fn a_set_that_could_not_start_is_a_failure_of_what_is_around_it() {
    let daemon = Daemon::start(4);
    let text = r#"
workflows:
  inner: { parameters: { v: { type: integer } }, tasks: [{ name: one, shell: 'true' }] }
  outer:
    tasks:
      - { name: seed, shell: 'echo "\"many\"" > $ORCHD_RESULT' }
      - { name: i, workflow: inner, dependencies: [seed], parameters: { v: "{{ tasks.seed.output }}" } }
tasks:
  - { name: list, shell: 'echo "[1, 2, \"many\"]" > $ORCHD_RESULT' }
  - { name: each, workflow: inner, dependencies: [list], foreach: [0, 1, 2], when: item != 1, parameters: { v: "{{ tasks.list.output[item] }}" } }
  - { name: one, workflow: inner, dependencies: [list], parameters: { v: "{{ tasks.list.output }}" } }
  - { name: nested, workflow: outer }
  - { name: fine, workflow: inner, dependencies: [list], foreach: [0, 1], when: item != 1, parameters: { v: "{{ tasks.list.output[item] }}" } }
  - { name: broken, shell: 'test -e mended' }
  - { name: late, workflow: inner, dependencies: [broken], foreach: [0], parameters: { v: "{{ item }}" } }
  - { name: tell, dependencies: [late], shell: echo late >> deployed }
  - { name: deploy, dependencies: [each], shell: echo each >> deployed }
  - { name: publish, dependencies: [nested], shell: echo nested >> deployed }
  - { name: alarm, dependencies: [{ task: each, on: failure }, { task: one, on: failure }, { task: nested, on: failure }, fine], shell: echo alarm >> deployed }
"#;
    let file = daemon.write("w.yaml", text);
    daemon.orchctl(&["workflow", "run", file.to_str().unwrap()]).fails_with(1, &[]);
    let tasks = by_name(&daemon);
    let [each, nested] = ["each", "nested"].map(|name| {
        let result = tasks[name].result.as_ref().unwrap();
        let said = result.error_message.clone().unwrap();
        (result.error_type.as_ref().unwrap().as_str().to_owned(), said)
    });
    let (start, of) = (tasks["each[2].(start)"].id, tasks["each[2]"].id);
    let expected = format!(
        "1 of 3 elements failed, the first is each[2] ({of}): each[2].(start) ({start}) failed: parameter v "
    );
    assert_eq!(each.0, "ElementFailed");
    assert!(each.1.starts_with(&expected), "{}", each.1);
    let one = tasks["one"].result.as_ref().unwrap();
    assert_eq!(one.error_type.as_ref().unwrap().as_str(), "TaskFailed");
    assert_eq!((tasks["one"].status, tasks["one.one"].status), (Status::Failed, Status::Skipped));
    assert_eq!(nested.0, "TaskFailed");
    assert!(nested.1.starts_with("1 of 2 tasks failed, the first is nested.i ("), "{}", nested.1);
    assert_eq!(tasks["each[1]"].status, Status::Skipped);
    assert_eq!(tasks["fine"].status, Status::Completed, "what a condition rules out is no failure");
    assert_eq!(tasks["late"].status, Status::Skipped, "nothing of it was to be done");
    assert_eq!(daemon.lines("deployed"), ["alarm"]);
    daemon.write("mended", "");
    daemon.orchctl(&["retry", &tasks["broken"].id.to_string()]).succeeds();
    daemon.wait(&[tasks["tell"].id]);
    assert_eq!(daemon.lines("deployed"), ["alarm", "late"]);
}

#[test]
fn an_array_of_sub_workflows_has_its_indices_as_any_array() {
    let daemon = Daemon::start(2);
    let text = r#"
workflows:
  s:
    parameters: { v: { type: integer }, i: { type: integer }, text: { type: string }, number: { type: integer } }
    tasks:
      - { name: t, shell: 'echo "[{{ parameters.v }}, {{ parameters.i }}, \"{{ parameters.text }}\", {{ parameters.number }}]" > $ORCHD_RESULT' }
tasks:
  - name: sub
    workflow: s
    array: 3-7/2
    when: "index != 7"
    parameters: { v: "{{ item }}", i: "{{ index }}", text: "no {index} of {{ 7 }}", number: "{index}" }
"#;
    let file = daemon.write("w.yaml", text);
    daemon.orchctl(&["workflow", "run", file.to_str().unwrap()]).succeeds();
    let tasks = by_name(&daemon);
    let statuses = ["sub[3].t", "sub[5].t", "sub[7].t"].map(|name| tasks[name].status);
    assert_eq!(statuses, [Status::Completed, Status::Completed, Status::Skipped]);
    let data = |name: &str| tasks[name].result.as_ref().unwrap().data.clone().unwrap_or(Value::Null);
    assert_eq!(data("sub[3].t"), json!([3, 3, "no 3 of 7", 3]));
    assert_eq!(data("sub[5].t"), json!([5, 5, "no 5 of 7", 5]));
}

#[test]
fn a_list_of_sub_workflows_keeps_what_a_failed_one_has_done_as_a_single_one_does() {
    let daemon = Daemon::start(4);
    let text = r#"
workflows:
  s:
    parameters: { ok: false }
    tasks: [{ name: t, shell: 'echo 5 > $ORCHD_RESULT' }, { name: u, shell: '{{ parameters.ok | lower }} || exit 3', dependencies: [t] }]
  outer: { tasks: [{ name: in, workflow: s }] }
tasks:
  - { name: one, workflow: s, transform: result.t }
  - { name: nested, workflow: outer }
  - { name: many, workflow: s, foreach: [1, 2, 3], when: item != 2, parameters: { ok: "{{ item == 3 }}" }, transform: result | length }
  - { name: told, dependencies: [{ task: many, on: completion }], shell: 'echo {{ tasks.many.output[0].t }} > $ORCHD_RESULT' }
"#;
    let file = daemon.write("w.yaml", text);
    daemon.orchctl(&["workflow", "run", file.to_str().unwrap()]).fails_with(1, &[]);
    let tasks = by_name(&daemon);
    let data = |name: &str| tasks[name].result.as_ref().unwrap().data.clone().unwrap_or(Value::Null);
    let kept = json!({ "t": 5, "u": null });
    assert_eq!(data("one"), kept, "transform is about a success");
    assert_eq!(data("nested"), json!({ "in": kept }));
    assert_eq!(data("many"), json!([kept, null, kept]));
    assert_eq!(data("told"), json!(5));
}
