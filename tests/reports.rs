//! Reports say what was: counts, waits and what for, failures and why, claims against use.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, claims, gate, until};
use orchd_client::api::{Report, ReportQuery, Verdict};
use orchd_client::{Status, TaskSpec};
use orchd_model::WorkflowId;
use std::time::Instant;

fn report(daemon: &Daemon) -> Report {
    daemon.client().report(ReportQuery::default()).unwrap()
}

fn named(spec: TaskSpec, name: &str, wanted: &[&str]) -> TaskSpec {
    TaskSpec { name: name.to_owned(), claims: claims(wanted), ..spec }
}

#[test]
fn counts_failures_and_their_reasons_are_those_of_the_tasks() {
    let daemon = Daemon::start(2);
    let good = daemon.submit(daemon.shell("true"));
    let bad = daemon.submit(TaskSpec { name: "bad".into(), ..daemon.shell("exit 3") });
    daemon.wait(&[good, bad]);
    let found = report(&daemon);
    assert_eq!((found.tasks.total, found.tasks.completed, found.tasks.failed), (2, 1, 1));
    assert_eq!((found.attempts, found.run_time.count, found.wait_time.count), (2, 2, 2));
    assert_eq!(found.failures.by_type[0].error_type.as_str(), "ExitCode");
    let failed = &found.failures.tasks[0];
    assert_eq!((failed.id, failed.name.as_str()), (bad, "bad"));
    assert_eq!(failed.error_message.as_deref(), Some("exit code 3"));
    assert!(found.to >= found.from && found.from.is_some());
    let later = ReportQuery { since: Some("0s".parse().unwrap()), ..ReportQuery::default() };
    assert_eq!(daemon.client().report(later).unwrap().tasks.total, 0);
}

#[test]
fn no_more_run_at_once_than_there_are_slots_however_late_it_is_told() {
    let daemon = Daemon::start(2);
    daemon.write("w.yaml", "tasks: [{ name: a, array: 0-4999, command: ['true'] }]\n");
    daemon.orchctl(&["workflow", "run", "-q", "w.yaml"]).succeeds();
    let found = report(&daemon);
    assert_eq!((found.attempts, found.peak_concurrency), (5000, 2));
    let metrics = daemon.client().workflow(WorkflowId(1)).unwrap().metrics;
    assert_eq!(metrics.peak_concurrency, 2);
}

#[test]
fn who_may_not_run_beside_the_others_of_its_workflow_or_session_waited_for_that() {
    let daemon = Daemon::start(4);
    let tasks = "[{ name: a, shell: 'sleep 0.1' }, { name: b, shell: 'sleep 0.1' }]\n";
    daemon.write("w.yaml", format!("max_parallel: 1\ntasks: {tasks}"));
    daemon.write("v.yaml", format!("tasks: {tasks}"));
    daemon.orchctl(&["session", "create", "s", "--max-parallel", "1"]).succeeds();
    daemon.orchctl(&["workflow", "run", "-q", "w.yaml"]).succeeds();
    daemon.orchctl(&["workflow", "run", "-q", "--session", "s", "v.yaml"]).succeeds();
    let mut longest = report(&daemon).longest_waits;
    longest.retain(|wait| wait.name == "b");
    let mut on: Vec<&str> = longest.iter().map(|wait| wait.on[0].resource.as_str()).collect();
    on.sort_unstable();
    assert_eq!(on, ["max_parallel", "max_parallel of the session"]);
}

#[test]
fn who_waited_longest_is_named_with_what_it_waited_on() {
    let daemon = Daemon::start(2);
    // Else the first task waits for the worker.
    daemon.worker();
    let submitted = Instant::now();
    let line = format!("echo > began; {}", gate("go"));
    let holder = daemon.submit(named(daemon.shell(line), "holder", &["lock:deploy:write"]));
    until("it has begun", || daemon.path("began").exists());
    let took = submitted.elapsed();
    let waiter = daemon.submit(named(daemon.shell("true"), "waiter", &["lock:deploy:write"]));
    let free = daemon.submit(named(daemon.shell("true"), "free", &[]));
    daemon.wait(&[free]);
    // What took its time to begin is known to have run that much shorter: it shall run at the same time all the same.
    let over = Instant::now() + took;
    until("as much time has passed", || Instant::now() > over);
    // It still waits, and is told of already.
    let found = report(&daemon);
    assert_eq!(
        (found.longest_waits[0].id, found.longest_waits[0].on[0].resource.as_str()),
        (waiter, "lock:deploy")
    );
    daemon.write("go", "");
    daemon.wait(&[holder, waiter]);
    let found = report(&daemon);
    let longest = &found.longest_waits[0];
    assert_eq!((longest.id, longest.name.as_str()), (waiter, "waiter"));
    assert_eq!(longest.on[0].resource, "lock:deploy");
    assert!(longest.on[0].time <= longest.ready_time && longest.ready_time <= longest.wait_time);
    assert_eq!(found.waits[0].resource, "lock:deploy");
    assert_eq!(found.peak_concurrency, 2);
}

#[test]
fn a_task_that_all_slots_kept_waiting_waited_for_slots() {
    let daemon = Daemon::start(1);
    // Else the first task waits for the worker.
    daemon.worker();
    let busy = daemon.submit(daemon.shell(gate("go")));
    daemon.until_status(busy, Status::Running);
    let behind = daemon.submit(daemon.shell("true"));
    let after = daemon
        .submit(TaskSpec { dependencies: vec![behind.into()], ..named(daemon.shell("true"), "after", &[]) });
    until("some time has passed", || {
        report(&daemon).longest_waits.first().is_some_and(|w| w.ready_time.0 > 50_000)
    });
    daemon.write("go", "");
    daemon.wait(&[behind, after]);
    let found = report(&daemon);
    assert_eq!(
        (found.longest_waits[0].id, found.longest_waits[0].on[0].resource.as_str()),
        (behind, "slots")
    );
    // What comes after a dependency does not wait for its turn meanwhile.
    let after = found.longest_waits.iter().find(|wait| wait.id == after);
    assert!(after.is_none_or(|wait| wait.ready_time < found.longest_waits[0].ready_time));
    assert!(found.wait_time.total > found.ready_time.total);
}

#[test]
fn over_and_under_claimers_are_named() {
    let daemon =
        Daemon::configured(4, "[resources.cpu]\ncapacity = 64\n[resources.memory]\ncapacity = '8GiB'\n");
    // A second and a half of 40 cores and of memory that nobody touches.
    let idle = daemon.submit(named(daemon.shell("sleep 0.2"), "idle", &["cpu=40", "memory=1GiB"]));
    // Well over a core-second on a hundredth of a core.
    let line =
        "while read -r stat < /proc/$$/stat; do set -- $stat; [ $((${14} + ${15})) -lt 110 ] || exit 0; done";
    let greedy = daemon.submit(named(daemon.shell(line), "greedy", &["cpu=0.01"]));
    let unmeasured = daemon.submit(TaskSpec { name: "milestone".into(), ..daemon.shell("exit 0") });
    daemon.wait(&[idle, greedy, unmeasured]);
    let found = report(&daemon);
    let of = |name: &str| found.usage.iter().find(|used| used.name == name).unwrap();
    assert_eq!((of("idle").cpu.verdict, of("idle").memory.verdict), (Verdict::Over, Verdict::Over));
    assert_eq!((of("greedy").cpu.verdict, of("greedy").memory.verdict), (Verdict::Under, Verdict::Fits));
    assert_eq!(of("milestone").cpu.verdict, Verdict::Fits);
    assert_eq!(found.usage[2].name, "milestone", "what fits comes last");
    let text = daemon.orchctl(&["report"]);
    let line = |name: &str| {
        text.out.lines().find(|line| line.starts_with(name) && line.contains("claim")).unwrap().to_owned()
    };
    assert!(line("idle").ends_with("claims too much cpu, claims too much memory"), "{text:?}");
    assert!(line("greedy").ends_with("claims too little cpu"), "{text:?}");
}

#[test]
fn the_critical_path_is_the_chain_that_ended_last() {
    let daemon = Daemon::start(4);
    let file = "name: d\ntasks:\n  - { name: a, shell: 'true' }\n  - { name: fast, shell: 'true', dependencies: [a] }\n  \
                - { name: slow, shell: 'sleep 0.2', dependencies: [a] }\n  - { name: end, shell: 'true', dependencies: [fast, slow] }\n  \
                - { name: never, shell: 'true', dependencies: [{ task: end, on: failure }] }\n";
    daemon.write("d.yaml", file);
    daemon.orchctl(&["workflow", "run", "d.yaml"]).succeeds();
    let about = ReportQuery { workflow: Some("d".into()), ..ReportQuery::default() };
    let found = daemon.client().report(about.clone()).unwrap();
    let path: Vec<&str> = found.critical_path.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(path, ["a", "slow", "end"]);
    assert_eq!(found.tasks.skipped, 1);
    let tasks = daemon.client().reported_tasks(about).unwrap();
    assert_eq!(tasks.len(), 5);
    assert!(tasks.is_sorted_by_key(|task| task.id));
    assert_eq!(tasks.iter().map(|task| task.attempts.len()).sum::<usize>(), 4);
    assert!(tasks[4].why.as_deref().is_some_and(|why| why.contains("end")), "{:?}", tasks[4]);
}

#[test]
fn the_critical_path_goes_through_milestones_elements_of_lists_and_what_waits_for_all_others() {
    let daemon = Daemon::start(4);
    let file = "name: e\ntasks:\n  - { name: a, shell: 'true' }\n  - { name: fast, shell: 'true', dependencies: [a] }\n  \
                - { name: each, foreach: [0, 0.2], shell: 'sleep {{ item }}', dependencies: [a] }\n  \
                - { name: both, dependencies: [fast, each] }\n  - { name: end, shell: 'true', dependencies: [both] }\n\
                finally:\n  - { name: clean, shell: 'true', dependencies: [{ task: a, on: completion }] }\n";
    daemon.write("e.yaml", file);
    daemon.orchctl(&["workflow", "run", "e.yaml"]).succeeds();
    let about = ReportQuery { workflow: Some("e".into()), ..ReportQuery::default() };
    let found = daemon.client().report(about.clone()).unwrap();
    let path: Vec<&str> = found.critical_path.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(path, ["a", "each[1]", "each", "both", "end", "clean"]);
    // What waits for all others does not wait for its turn while they run.
    let clean = found.longest_waits.iter().find(|wait| wait.name == "clean");
    assert!(clean.is_none_or(|wait| wait.wait_time.0 - wait.ready_time.0 >= 200_000), "{clean:?}");
    let tasks = daemon.client().reported_tasks(about).unwrap();
    let finally: Vec<&str> =
        tasks.iter().filter(|task| task.waits_for_others).map(|task| task.name.as_str()).collect();
    assert_eq!(finally, ["clean"]);
    assert!(tasks.iter().all(|task| task.workflow.is_some()));
}

#[test]
fn what_is_undone_and_what_is_done_at_the_end_come_behind_all_others_on_the_critical_path() {
    let daemon = Daemon::start(4);
    let file = "name: u\ntasks:\n  - { name: a, shell: 'true' }\n  - { name: b, shell: 'exit 1', dependencies: [a] }\n  \
                - { name: undo, shell: 'true', compensates: a }\nfinally:\n  - { name: clean, shell: 'true' }\n";
    daemon.write("u.yaml", file);
    assert_eq!(daemon.orchctl(&["workflow", "run", "u.yaml"]).code, Some(1));
    let about = ReportQuery { workflow: Some("u".into()), ..ReportQuery::default() };
    let found = daemon.client().report(about).unwrap();
    let path: Vec<&str> = found.critical_path.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(path, ["a", "b", "undo", "clean"]);
}

#[test]
fn a_report_on_many_tasks_and_arrays_counts_each_of_them() {
    let daemon = Daemon::start(4);
    let specs = (0..2500).map(|i| TaskSpec {
        name: format!("t{}", i % 3),
        hold: i % 5 == 0,
        ..TaskSpec::command(["true"])
    });
    let added = daemon.submit_many(specs);
    let array: Vec<String> = ["add", "--array", "1-3000", "--hold", "--", "true"].map(str::to_owned).to_vec();
    daemon.orchctl(&array).succeeds();
    daemon.wait(
        &added.iter().copied().enumerate().filter(|(i, _)| i % 5 != 0).map(|(_, id)| id).collect::<Vec<_>>(),
    );
    let found = report(&daemon);
    assert_eq!((found.tasks.total, found.tasks.completed, found.tasks.pending), (5500, 2000, 3500));
    assert_eq!((found.attempts, found.names), (2000, 3));
    let tasks = daemon.client().reported_tasks(ReportQuery::default()).unwrap();
    assert_eq!(tasks.iter().map(|task| task.attempts.len()).sum::<usize>(), 2000);
}

#[test]
fn a_page_says_how_a_task_failed_that_never_ran() {
    let daemon = Daemon::start(1);
    let file = daemon.write(
        "w.yaml",
        "name: w\ntasks: [{ name: late, shell: 'true', hold: true, deadline: 0.01 }, { name: bad, shell: exit 3 }]\n",
    );
    daemon.orchctl(&["workflow", "run", file.to_str().unwrap()]).fails_with(1, &[]);
    let page = daemon.path("page.html");
    daemon.orchctl(&["report", "w", "--html", page.to_str().unwrap()]).succeeds();
    let page = std::fs::read_to_string(page).unwrap();
    for error in ["<td>Deadline</td>", "<td>ExitCode</td>"] {
        assert!(page.contains(error), "{error}");
    }
}
