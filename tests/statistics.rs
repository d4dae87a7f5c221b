//! Figures: what they count, and that they are true after every kind of restart.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate};
use orchd_client::api::Stats;
use orchd_client::model::{FailFast, Span, WorkflowMetrics, WorkflowStatus};
use orchd_client::{Priority, Status, TaskSpec, WorkflowSpec};

/// What a restart must not change.
fn over_the_life(stats: &Stats) -> impl PartialEq + std::fmt::Debug + use<> {
    let counts = [stats.total_tasks, stats.completed, stats.failed, stats.skipped, stats.cancelled];
    let rates = [stats.success_rate, stats.failure_rate];
    let times = [stats.total_execution_time, stats.average_execution_time];
    (counts, rates, times, stats.wait_time, stats.run_time, stats.slowest.clone())
}

#[test]
fn totals_distributions_and_the_slowest_survive_kill_9_and_a_clean_end() {
    let mut daemon = Daemon::start(1);
    let slow = daemon.submit(TaskSpec { name: "slow".to_owned(), ..daemon.shell("sleep 0.3") });
    let ids = daemon.submit_many((0..20).map(|i| daemon.shell(if i < 5 { "false" } else { "true" })));
    daemon.wait(&ids);
    let before = daemon.stats();
    assert_eq!((before.total_tasks, before.completed, before.failed), (21, 16, 5));
    assert_eq!((before.success_rate, before.failure_rate), (16.0 / 21.0, 5.0 / 21.0));
    // Twenty waited for the slow one, which holds the only slot.
    assert!(before.wait_time.p50 >= 0.3 && before.wait_time.avg >= 0.28, "{before:?}");
    assert!(before.run_time.p99 >= 0.3 && before.run_time.p50 < 0.3, "{before:?}");
    assert_eq!(before.average_execution_time, before.run_time.avg);
    assert_eq!((before.slowest[0].id, before.slowest[0].name.as_str()), (slow, "slow"));
    assert_eq!(before.slowest.len(), 10);
    assert!(before.slowest.is_sorted_by(|a, b| a.execution_time >= b.execution_time), "{before:?}");
    assert!(before.throughput.m1 >= 21.0 / 60.0 && before.throughput.m15 >= 21.0 / 900.0, "{before:?}");
    daemon.kill_and_restart();
    let after = daemon.stats();
    assert_eq!(over_the_life(&after), over_the_life(&before), "after kill -9");
    assert_eq!(after.throughput, Default::default(), "nothing has ended since the start");
    assert!(daemon.terminate().success());
    daemon.start_again();
    assert_eq!(over_the_life(&daemon.stats()), over_the_life(&before), "after a clean end");
    daemon.wait(&[daemon.submit(daemon.shell("true"))]);
    assert_eq!(daemon.stats().total_tasks, 22, "and they go on");
}

#[test]
fn figures_survive_restarts_with_more_events_than_are_counted_again() {
    const TASKS: usize = 3000;
    let mut daemon = Daemon::start(4);
    let mut before = None;
    for round in 1..=2 {
        daemon.wait(&daemon.submit_many((0..TASKS).map(|_| TaskSpec::command(["true"]))));
        let stats = daemon.stats();
        assert_eq!(stats.completed, (round * TASKS) as u64);
        daemon.kill_and_restart();
        before = Some(stats);
    }
    assert_eq!(over_the_life(&daemon.stats()), over_the_life(&before.unwrap()));
}

#[test]
fn the_wait_of_a_task_that_was_pending_over_a_restart_counts_from_its_submission() {
    let mut daemon = Daemon::start(1);
    // Else the first task waits for the worker, and perhaps longer than the second one for it.
    daemon.worker();
    let first = daemon.submit(daemon.shell(gate("end")));
    let waiting = daemon.submit(daemon.shell("true"));
    daemon.until_status(first, Status::Running);
    daemon.kill_and_restart();
    daemon.write("end", "");
    let task = daemon.ended_task(waiting);
    let waited = task.wait_time.unwrap().as_secs_f64();
    let stats = daemon.stats();
    // The longer of two; a percentile is at most one in a hundred off.
    assert!(waited > 0.0 && (stats.wait_time.p99 / waited - 1.0).abs() < 0.011, "{waited}, {stats:?}");
}

#[test]
fn unfinished_tasks_are_counted_by_class_and_what_may_start_is_the_backlog() {
    let daemon = Daemon::start(1);
    let running = daemon.submit(daemon.shell(gate("end")));
    daemon.until_status(running, Status::Running);
    let of = |priority| TaskSpec { priority, ..daemon.shell("true") };
    daemon.submit_many([of(Priority::Critical), of(Priority::Low), of(Priority::Low)]);
    daemon.submit(TaskSpec { hold: true, ..of(Priority::High) });
    let stats = daemon.stats();
    let classes = ["critical", "high", "normal", "low"].map(|class| stats.by_priority[class]);
    assert_eq!(classes, [1, 1, 1, 2]);
    assert_eq!((stats.backlog, stats.pending, stats.running), (3, 4, 1), "a held task may not start");
    assert_eq!((stats.slots.used, stats.slots.total, stats.workers), (1, 1, 1));
    assert!(stats.uptime > Span::ZERO && stats.store.bytes > 0);
    assert_eq!(stats.store.sequence, daemon.events(None).last().unwrap().sequence);
    let shown = daemon.orchctl(&["stats"]).succeeds().out.clone();
    assert!(shown.contains("1 critical, 1 high, 1 normal, 2 low; 3 ready"), "{shown}");
}

#[test]
fn a_cancelled_attempt_leaves_its_time_in_the_task_and_in_the_figures() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell("touch begun; sleep 60"));
    kit::until("it runs", || daemon.path("begun").exists());
    daemon.client().cancel(id.into()).unwrap();
    let task = daemon.ended_task(id);
    let time = task.execution_time.unwrap();
    assert!(time > Span::ZERO);
    let result = task.result.unwrap();
    assert_eq!((result.success, result.attempts, result.execution_time), (false, 1, time));
    assert_eq!(task.attempt_list.unwrap()[0].execution_time, Some(time));
    assert_eq!(daemon.stats().total_execution_time, time.as_secs_f64());
    let pending = daemon.submit(TaskSpec { hold: true, ..daemon.shell("true") });
    daemon.client().cancel(pending.into()).unwrap();
    let task = daemon.task(pending);
    assert_eq!((task.result, task.execution_time), (None, None), "it never ran");
}

#[test]
fn a_workflow_that_met_its_timeout_was_busy_while_it_ran() {
    let daemon = Daemon::start(2);
    let spec = WorkflowSpec {
        name: "too long".to_owned(),
        parameters: serde_json::Map::new(),
        max_parallel: None,
        fail_fast: FailFast::No,
        timeout: Some(Span::from_secs(3)),
        session: None,
        on_event: Vec::new(),
        tasks: ["a", "b"]
            .map(|name| TaskSpec { name: name.to_owned(), ..daemon.shell("touch $ORCHD_TASK_ID; sleep 60") })
            .into(),
    };
    let added = daemon.client().submit_workflow(&spec).unwrap();
    let ids: Vec<_> = added.tasks.values().copied().collect();
    kit::until("both run", || ids.iter().all(|id| daemon.path(&id.to_string()).exists()));
    let running = daemon.client().workflow(added.workflow).unwrap().metrics;
    assert!(running.parallel_efficiency > 0.0, "{running:?}");
    daemon.wait(&ids);
    let workflow = daemon.client().workflow(added.workflow).unwrap();
    assert_eq!(workflow.status, WorkflowStatus::TimedOut);
    let metrics = workflow.metrics;
    assert_eq!(metrics.peak_concurrency, 2);
    assert!(metrics.parallel_efficiency > 0.0 && metrics.avg_task_duration > Span::ZERO, "{metrics:?}");
}

#[test]
fn a_workflow_that_goes_on_has_the_same_figures_by_its_events_and_by_its_tasks() {
    let mut daemon = Daemon::start(2);
    let tasks = [
        format!("{{\"name\": \"long\", \"shell\": \"{} true\"}}", gate("go")),
        "{\"name\": \"good\", \"shell\": \"true\"}".to_owned(),
        "{\"name\": \"array\", \"shell\": \"true\", \"array\": \"0-9\", \"dependencies\": [\"good\"]}"
            .to_owned(),
        "{\"name\": \"bad\", \"shell\": \"false\", \"max_retries\": 2, \"retry_delay\": 0}".to_owned(),
        "{\"name\": \"after\", \"shell\": \"true\", \"dependencies\": [\"bad\"]}".to_owned(),
        "{\"name\": \"last\", \"shell\": \"true\", \"dependencies\": [\"long\"]}".to_owned(),
        "{\"name\": \"mark\"}".to_owned(),
    ];
    daemon.write("w.json", format!("{{\"name\": \"w\", \"tasks\": [{}]}}", tasks.join(", ")));
    daemon.orchctl(&["workflow", "run", "--detach", "w.json"]).succeeds();
    let figures = |daemon: &Daemon| {
        let listed = daemon.client().workflows().unwrap().remove(0);
        assert_eq!(listed.status, WorkflowStatus::Running);
        let (total_duration, parallel_efficiency) = (Span::ZERO, 0.0);
        WorkflowMetrics { total_duration, parallel_efficiency, ..listed.metrics }
    };
    kit::until("all but two have ended", || {
        let now = figures(&daemon);
        now.completed_tasks + now.failed_tasks + now.skipped_tasks == now.total_tasks - 2
    });
    let by_events = figures(&daemon);
    assert_eq!((by_events.failed_tasks, by_events.skipped_tasks), (1, 1), "{by_events:?}");
    assert_eq!(by_events.peak_concurrency, 2, "{by_events:?}");
    assert!(by_events.max_task_duration >= by_events.min_task_duration, "{by_events:?}");
    daemon.kill_and_restart();
    assert_eq!(figures(&daemon), by_events);
    daemon.write("go", "");
    kit::until("it ends", || daemon.client().workflows().unwrap()[0].status == WorkflowStatus::Failed);
}
