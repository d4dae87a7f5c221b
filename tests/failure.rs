//! What one failure does to others: who is skipped and why, what goes on, and what a retry brings back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, until};
use orchd_client::api::WorkflowAdded;
use orchd_client::model::{
    Body, Code, Dependency, DependencyTarget, FailFast, On, StatusReason, WorkflowStatus,
};
use orchd_client::{Status, TaskId, TaskSpec, WorkflowSpec};

/// Tasks in a long chain.
const CHAIN: usize = 100_000;

fn after(target: &str, on: On) -> Dependency {
    Dependency { task: DependencyTarget::Name(target.to_owned()), on }
}

/// A named shell task that needs others to complete.
fn named(daemon: &Daemon, name: &str, line: &str, needs: &[&str]) -> TaskSpec {
    let dependencies = needs.iter().map(|need| after(need, On::Success)).collect();
    TaskSpec { name: name.to_owned(), dependencies, ..daemon.shell(line) }
}

fn submit(daemon: &Daemon, fail_fast: FailFast, tasks: Vec<TaskSpec>) -> WorkflowAdded {
    let spec = WorkflowSpec {
        name: "made up".to_owned(),
        parameters: serde_json::Map::new(),
        max_parallel: None,
        fail_fast,
        timeout: None,
        session: None,
        on_event: Vec::new(),
        tasks,
    };
    daemon.client().submit_workflow(&spec).unwrap()
}

fn ended(daemon: &Daemon, added: &WorkflowAdded) {
    daemon.wait(&added.tasks.values().copied().collect::<Vec<_>>());
}

fn why(daemon: &Daemon, id: TaskId) -> StatusReason {
    daemon.task(id).status_reason.unwrap().reason
}

#[test]
fn a_diamond_with_a_failing_branch_skips_its_foot_and_names_the_root_cause() {
    let daemon = Daemon::start(2);
    let added = submit(
        &daemon,
        FailFast::No,
        vec![
            named(&daemon, "top", "true", &[]),
            named(&daemon, "left", "exit 9", &["top"]),
            named(&daemon, "right", "echo right >> ran", &["top"]),
            named(&daemon, "foot", "echo foot >> ran", &["left", "right"]),
            named(&daemon, "below", "echo below >> ran", &["foot"]),
            TaskSpec {
                dependencies: vec![after("left", On::Failure)],
                ..named(&daemon, "rescue", "echo rescue >> ran", &[])
            },
            TaskSpec {
                dependencies: vec![after("below", On::Completion)],
                ..named(&daemon, "always", "echo always >> ran", &[])
            },
        ],
    );
    ended(&daemon, &added);
    let status = |name: &str| daemon.status(added.tasks[name]);
    let expected = [
        ("top", Status::Completed),
        ("left", Status::Failed),
        ("right", Status::Completed),
        ("foot", Status::Skipped),
        ("below", Status::Skipped),
        ("rescue", Status::Completed),
        ("always", Status::Completed),
    ];
    assert_eq!(expected.map(|(name, _)| (name, status(name))), expected);
    let mut ran = daemon.lines("ran");
    ran.sort();
    assert_eq!(ran, ["always", "rescue", "right"]);
    let left = added.tasks["left"];
    let root = StatusReason::Dependency {
        task: left,
        name: "left".to_owned(),
        status: Status::Failed,
        because: None,
    };
    assert_eq!((why(&daemon, added.tasks["foot"]), why(&daemon, added.tasks["below"])), (root.clone(), root));
    let shown = daemon.orchctl(&["why", &added.tasks["below"].to_string()]);
    assert!(shown.succeeds().out.contains(&format!("{left} (left)")), "{shown:?}");
    let workflow = daemon.client().workflow(added.workflow).unwrap();
    assert_eq!(workflow.status, WorkflowStatus::Failed);
    let metrics = workflow.metrics;
    assert_eq!((metrics.completed_tasks, metrics.failed_tasks, metrics.skipped_tasks), (4, 1, 2));
}

/// Each needs the one before it; they are added in one request.
fn chain(first: TaskSpec, next: &TaskSpec) -> impl Iterator<Item = TaskSpec> {
    let name = |i: usize| Some(format!("link-{i}"));
    let others = (1..CHAIN).map(move |i| TaskSpec {
        reference: name(i),
        dependencies: vec![after(&format!("link-{}", i - 1), On::Success)],
        ..next.clone()
    });
    [TaskSpec { reference: name(0), ..first }].into_iter().chain(others)
}

#[test]
fn a_chain_of_a_hundred_thousand_tasks_is_skipped_to_its_end_when_the_first_fails() {
    let mut daemon = Daemon::start(2);
    let first = TaskSpec { name: "first".to_owned(), ..daemon.shell(gate("end") + " exit 3") };
    let ids = daemon.submit_many(chain(first, &TaskSpec::command(["true"])));
    assert_eq!(ids.len(), CHAIN);
    assert_eq!(daemon.stats().pending, CHAIN as u64 - 1);
    // A long chain is also loaded.
    daemon.kill_and_restart();
    daemon.write("end", "");
    daemon.wait(&ids);
    let stats = daemon.stats();
    assert_eq!((stats.failed, stats.skipped, stats.completed), (1, CHAIN as u64 - 1, 0), "{stats:?}");
    let root = StatusReason::Dependency {
        task: ids[0],
        name: "first".to_owned(),
        status: Status::Failed,
        because: None,
    };
    for id in [ids[1], ids[CHAIN / 2], ids[CHAIN - 1]] {
        assert_eq!(why(&daemon, id), root);
    }
}

#[test]
fn a_chain_of_a_hundred_thousand_milestones_is_completed_to_its_end() {
    let daemon = Daemon::start(2);
    let first = daemon.shell(gate("end"));
    let ids = daemon.submit_many(chain(first, &TaskSpec::new(Body::Milestone)));
    daemon.write("end", "");
    daemon.wait(&ids);
    let stats = daemon.stats();
    assert_eq!((stats.completed, stats.total_tasks), (CHAIN as u64, CHAIN as u64), "{stats:?}");
    let finished = |id| daemon.task(id).finished_at.unwrap();
    assert!(finished(ids[0]) <= finished(ids[1]) && finished(ids[1]) <= finished(ids[CHAIN - 1]));
}

#[test]
fn each_link_of_a_chain_of_commands_runs_after_the_one_before_it() {
    let daemon = Daemon::start(4);
    let next = daemon.shell("echo $ORCHD_TASK_ID >> ran");
    let ids = daemon.submit_many(chain(next.clone(), &next).take(500));
    daemon.wait(&ids);
    assert_eq!(daemon.lines("ran"), ids.iter().map(ToString::to_string).collect::<Vec<_>>());
}

/// One task that fails while another one runs, one that is ready and has no slot, one that needs a task which
/// still runs.
fn failing_while_others_wait(daemon: &Daemon, fail_fast: FailFast) -> WorkflowAdded {
    let fails = format!("{} exit 1", gate("fail"));
    let runs = format!("echo runs >> begun; {}", gate("end"));
    let added = submit(
        daemon,
        fail_fast,
        vec![
            named(daemon, "fails", &fails, &[]),
            named(daemon, "runs", &runs, &[]),
            named(daemon, "ready", "true", &[]),
            named(daemon, "later", "true", &["runs"]),
        ],
    );
    for name in ["fails", "runs"] {
        daemon.until_status(added.tasks[name], Status::Running);
    }
    until("it has begun", || !daemon.lines("begun").is_empty());
    assert_eq!(daemon.status(added.tasks["ready"]), Status::Pending);
    daemon.write("fail", "");
    daemon.wait(&[added.tasks["fails"]]);
    added
}

#[test]
fn without_fail_fast_everything_independent_goes_on() {
    let daemon = Daemon::start(2);
    let added = failing_while_others_wait(&daemon, FailFast::No);
    daemon.write("end", "");
    ended(&daemon, &added);
    let completed = ["runs", "ready", "later"].map(|name| daemon.status(added.tasks[name]));
    assert_eq!(completed, [Status::Completed; 3]);
}

#[test]
fn fail_fast_skips_what_is_pending_and_lets_what_runs_finish() {
    let daemon = Daemon::start(2);
    let added = failing_while_others_wait(&daemon, FailFast::Yes);
    daemon.wait(&[added.tasks["ready"], added.tasks["later"]]);
    assert_eq!(daemon.status(added.tasks["runs"]), Status::Running);
    daemon.write("end", "");
    ended(&daemon, &added);
    assert_eq!(daemon.status(added.tasks["runs"]), Status::Completed);
    let cause = StatusReason::FailFast { task: added.tasks["fails"], name: "fails".to_owned() };
    for name in ["ready", "later"] {
        assert_eq!(daemon.status(added.tasks[name]), Status::Skipped);
        assert_eq!(why(&daemon, added.tasks[name]), cause);
    }
}

#[test]
fn fail_fast_cancel_also_ends_what_runs() {
    let daemon = Daemon::start(2);
    let added = failing_while_others_wait(&daemon, FailFast::Cancel);
    ended(&daemon, &added);
    assert_eq!(daemon.status(added.tasks["runs"]), Status::Cancelled);
    assert!(daemon.processes_of(added.tasks["runs"]).is_empty());
    let skipped = ["ready", "later"].map(|name| daemon.status(added.tasks[name]));
    assert_eq!(skipped, [Status::Skipped; 2]);
    daemon.assert_nothing_is_held();
}

#[test]
fn dependents_of_a_cancelled_task_are_skipped_but_for_those_that_only_want_its_end() {
    let daemon = Daemon::start(2);
    let first = daemon.submit(daemon.shell(gate("never")));
    let dependent = |on| {
        let dependencies = vec![Dependency { task: DependencyTarget::Id(first), on }];
        daemon.submit(TaskSpec { dependencies, ..daemon.shell("true") })
    };
    let [success, failure, completion] = [On::Success, On::Failure, On::Completion].map(dependent);
    let far = daemon.submit(TaskSpec { dependencies: vec![success.into()], ..daemon.shell("true") });
    daemon.until_status(first, Status::Running);
    daemon.orchctl(&["cancel", &first.to_string()]).succeeds();
    daemon.wait(&[first, success, failure, completion, far]);
    let statuses = [first, success, failure, far, completion].map(|id| daemon.status(id));
    let expected = [Status::Cancelled, Status::Skipped, Status::Skipped, Status::Skipped, Status::Completed];
    assert_eq!(statuses, expected);
    for id in [success, failure, far] {
        let StatusReason::Dependency { task, status, .. } = why(&daemon, id) else { panic!("{id}") };
        assert_eq!((task, status), (first, Status::Cancelled));
    }
    let late = daemon.submit(TaskSpec { dependencies: vec![first.into()], ..daemon.shell("true") });
    assert_eq!(daemon.ended_task(late).status, Status::Skipped, "also one that comes later");
}

#[test]
fn a_retry_of_a_failed_task_revives_what_was_skipped_because_of_it() {
    let mut daemon = Daemon::start(2);
    let first = daemon.submit(daemon.shell("[ -e works ]"));
    let other = daemon.submit(daemon.shell("false"));
    let needs = |ids: &[TaskId]| {
        let dependencies = ids.iter().copied().map(Dependency::from).collect();
        daemon.submit(TaskSpec { dependencies, ..daemon.shell("echo $ORCHD_TASK_ID >> ran") })
    };
    let near = needs(&[first]);
    let far = needs(&[near]);
    let both = needs(&[first, other]);
    daemon.wait(&[first, other, near, far, both]);
    assert_eq!([near, far, both].map(|id| daemon.status(id)), [Status::Skipped; 3]);

    daemon.kill_and_restart();
    daemon.write("works", "");
    daemon.orchctl(&["retry", &first.to_string()]).succeeds();
    daemon.wait(&[first, near, far, both]);
    let statuses = [first, near, far, both].map(|id| daemon.status(id));
    assert_eq!(statuses, [Status::Completed, Status::Completed, Status::Completed, Status::Skipped]);
    assert_eq!(daemon.lines("ran"), [near, far].map(|id| id.to_string()));
    let task = daemon.task(first);
    assert_eq!((task.attempts, task.attempt_list.unwrap().len()), (2, 2), "attempt numbers go on");
    let refused = daemon.client().retry(vec![first.into()]).unwrap();
    let code = refused[0].error.as_ref().unwrap().code;
    assert_eq!(code, Code::WrongState, "what completed is not retried");
    assert_eq!(daemon.stats().completed, 3);
}
