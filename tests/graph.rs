//! Graphs of tasks that cannot be run: each is refused whole, in words that name the path, however large.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::Daemon;
use orchd_client::model::{Code, Dependency, DependencyTarget, FailFast, On, Refusal};
use orchd_client::{Error, Status, TaskSpec, WorkflowSpec};

/// Tasks in a large graph.
const LARGE: usize = 100_000;

/// A workflow: names, and which they need.
fn workflow<'a>(daemon: &Daemon, edges: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>) -> WorkflowSpec {
    let on = |name: &str| Dependency { task: DependencyTarget::Name(name.to_owned()), on: On::Success };
    let task = |(name, needs): (&str, Vec<&str>)| TaskSpec {
        name: name.to_owned(),
        dependencies: needs.into_iter().map(on).collect(),
        ..daemon.shell("true")
    };
    WorkflowSpec {
        name: "made up".to_owned(),
        parameters: serde_json::Map::new(),
        max_parallel: None,
        fail_fast: FailFast::No,
        timeout: None,
        session: None,
        on_event: Vec::new(),
        tasks: edges.into_iter().map(task).collect(),
    }
}

fn refused(daemon: &Daemon, spec: &WorkflowSpec) -> Refusal {
    let refusal = match daemon.client().submit_workflow(spec) {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(daemon.stats().total_tasks, 0, "all of it or nothing");
    assert!(daemon.client().workflows().unwrap().is_empty());
    refusal
}

fn assert_serves(daemon: &Daemon) {
    let id = daemon.submit(daemon.shell("true"));
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
}

#[test]
fn a_cycle_is_refused_and_its_path_named() {
    let daemon = Daemon::start(1);
    let edges =
        [("first", vec![]), ("a", vec!["first", "c"]), ("b", vec!["a"]), ("c", vec!["b"]), ("d", vec!["c"])];
    let refusal = refused(&daemon, &workflow(&daemon, edges));
    assert_eq!(refusal.code, Code::Cycle);
    let path = refusal.value.as_deref().unwrap();
    let names: Vec<&str> = path.split(" -> ").collect();
    assert!(names.len() == 4 && names.first() == names.last(), "{path}");
    assert!(["a", "b", "c"].iter().all(|name| names.contains(name)), "{path}");
    assert_serves(&daemon);
}

#[test]
fn a_task_that_needs_itself_or_nobody_knows_whom_is_refused() {
    let daemon = Daemon::start(1);
    let alone = refused(&daemon, &workflow(&daemon, [("first", vec![]), ("alone", vec!["alone"])]));
    assert!(alone.code == Code::SelfDependency && alone.to_string().contains("alone"), "{alone:?}");
    let unknown = refused(&daemon, &workflow(&daemon, [("first", vec![]), ("next", vec!["frist"])]));
    assert_eq!(unknown.code, Code::UnknownDependency);
    assert!(unknown.to_string().contains("did you mean first?"), "{unknown:?}");
    let by_line = "{\"command\":[\"true\"],\"ref\":\"me\",\"dependencies\":[\"me\"]}\n";
    daemon
        .orchctl_reading(&["add", "--from", "-"], by_line.as_bytes())
        .fails_with(5, &["line 1: ", "itself: me"]);
    assert_serves(&daemon);
}

#[test]
fn a_cycle_of_a_hundred_thousand_tasks_is_found() {
    let daemon = Daemon::start(1);
    let names: Vec<String> = (0..LARGE).map(|i| format!("task-{i}")).collect();
    let before = |i: usize| vec![names[(i + LARGE - 1) % LARGE].as_str()];
    let edges = names.iter().enumerate().map(|(i, name)| (name.as_str(), before(i)));
    let refusal = refused(&daemon, &workflow(&daemon, edges));
    assert_eq!(refusal.code, Code::Cycle);
    assert!(refusal.to_string().len() < 1000, "not all of it is told");
    assert_serves(&daemon);
}

#[test]
fn a_condition_that_does_not_parse_is_refused_at_once() {
    let daemon = Daemon::start(1);
    let add = ["add", "--when", "tasks.a.output >", "--", "true"];
    daemon.orchctl(&add).fails_with(5, &["does not parse", "tasks.a.output >"]);
    let mut spec = workflow(&daemon, [("first", vec![]), ("next", vec!["first"])]);
    spec.tasks[1].when = Some("((".to_owned());
    assert_eq!(refused(&daemon, &spec).code, Code::Malformed);
    // One that fails only when it is evaluated skips its task, and says why.
    let spec = TaskSpec { when: Some("nobody.knows".to_owned()), ..daemon.shell("true") };
    let task = daemon.ended_task(daemon.submit(spec));
    assert_eq!(task.status, Status::Skipped);
    assert!(task.status_reason.unwrap().text.contains("nobody"));
}
