//! Trying again, and ending what takes too long or is not wanted any more, with everything it started.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, claims, gate, until};
use orchd_client::api::Task;
use orchd_client::model::{Code, ErrorType, Reason, RetrySpec, Span, StatusReason};
use orchd_client::{Status, TaskId, TaskSpec};

fn span(text: &str) -> Option<Span> {
    Some(text.parse().unwrap())
}

fn retries(max_retries: u32, retry_delay: &str) -> RetrySpec {
    RetrySpec { max_retries: Some(max_retries), retry_delay: span(retry_delay), ..RetrySpec::default() }
}

fn outcomes(task: &Task) -> Vec<&str> {
    task.attempt_list.iter().flatten().map(|attempt| attempt.outcome.as_str()).collect()
}

/// A daemon that does not wait long for what does not obey.
fn impatient() -> Daemon {
    Daemon::configured(2, "[scheduler]\ngrace = '300ms'")
}

#[test]
fn a_task_that_fails_twice_and_then_works_has_three_attempts() {
    let daemon = Daemon::start(2);
    let line = "echo $ORCHD_ATTEMPT >> ran; echo attempt $ORCHD_ATTEMPT; [ $ORCHD_ATTEMPT -ge 3 ] || exit 9";
    let retry = RetrySpec { backoff: Some(2.0), ..retries(3, "40ms") };
    let id = daemon.submit(TaskSpec { retry, ..daemon.shell(line) });
    let task = daemon.ended_task(id);
    assert_eq!(task.status, Status::Completed);
    assert_eq!((task.attempts, task.retry_count, task.max_retries), (3, 2, 3));
    assert_eq!(outcomes(&task), ["failed", "failed", "succeeded"]);
    assert_eq!(daemon.lines("ran"), ["1", "2", "3"]);
    let attempts = task.attempt_list.unwrap();
    assert_eq!([0, 1, 2].map(|i: usize| attempts[i].exit_code), [Some(9), Some(9), Some(0)]);
    let pause = |i: usize| attempts[i + 1].started_at.since(attempts[i].finished_at.unwrap());
    assert!(pause(0) >= Span::from_millis(40) && pause(1) >= Span::from_millis(80), "{attempts:?}");
    for attempt in 1..=3 {
        let said = daemon.orchctl(&["logs", &id.to_string(), "--attempt", &attempt.to_string()]);
        assert_eq!(said.succeeds().out, format!("attempt {attempt}\n"));
    }
    let kinds: Vec<String> = daemon.events(Some(id)).into_iter().map(|event| event.kind).collect();
    let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!([count("task.started"), count("task.retrying"), count("task.completed")], [3, 2, 1]);
}

#[test]
fn claims_and_slot_are_free_during_the_delay_before_a_retry() {
    let daemon = Daemon::start(1);
    let claims = claims(&["lock:one:exclusive", "cpu=0.5"]);
    let retry = retries(1, "1h");
    let first = daemon.submit(TaskSpec { retry, claims: claims.clone(), ..daemon.shell("exit 1") });
    daemon.until_status(first, Status::Retrying);
    daemon.assert_nothing_is_held();
    // The only slot, and the same claims.
    let next = daemon.submit(TaskSpec { claims, ..daemon.shell("true") });
    assert_eq!(daemon.ended_task(next).status, Status::Completed);
    let task = daemon.task(first);
    assert_eq!(task.status, Status::Retrying);
    assert!(matches!(task.reasons[0].reason, Reason::Delayed { .. }), "{:?}", task.reasons);
    daemon.orchctl(&["cancel", &first.to_string()]).succeeds();
    assert_eq!(daemon.status(first), Status::Cancelled);
}

#[test]
fn a_task_fails_when_its_retries_are_used_up_or_do_not_apply() {
    let daemon = Daemon::start(2);
    let of = |retry, line: &str| daemon.submit(TaskSpec { retry, ..daemon.shell(line) });
    let used_up = of(retries(2, "1ms"), "exit 4");
    let other_code = RetrySpec { retry_on: Some(vec!["1-3".parse().unwrap()]), ..retries(5, "1ms") };
    let other_code = of(other_code, "exit 4");
    let never = RetrySpec { no_retry_on: Some(vec!["NotFound".parse().unwrap()]), ..retries(5, "1ms") };
    let never = TaskSpec { retry: never, ..TaskSpec::command(["/no/such/program"]) };
    let never = daemon.submit(never);
    let by_signal = RetrySpec { retry_on: Some(vec!["SIGKILL".parse().unwrap()]), ..retries(1, "1ms") };
    let by_signal = of(by_signal, "kill -KILL $$");
    for (id, attempts, error) in [
        (used_up, 3, ErrorType::ExitCode),
        (other_code, 1, ErrorType::ExitCode),
        (never, 1, ErrorType::NotFound),
        (by_signal, 2, ErrorType::Signal),
    ] {
        let task = daemon.ended_task(id);
        assert_eq!((task.status, task.attempts), (Status::Failed, attempts), "{task:?}");
        assert_eq!(task.result.unwrap().error_type, Some(error));
    }
    assert_eq!(daemon.task(used_up).result.unwrap().exit_code, Some(4));
}

/// A shell with a child, a grandchild and one that has left the group's shell behind; says when all are there.
const FAMILY: &str =
    "sleep 1000 & sh -c 'sleep 1000 & echo; sleep 1000' > begun & (sleep 1000 & sleep 1000) & wait";

fn family_is_there(daemon: &Daemon, id: TaskId) {
    until("the family is there", || daemon.path("begun").exists() && daemon.processes_of(id).len() >= 6);
}

#[test]
fn a_timeout_ends_a_shell_with_all_that_it_started() {
    let daemon = Daemon::start(2);
    let line = format!("trap 'echo obeyed >> log; exit 0' TERM; {FAMILY}");
    let timeout = span("2s");
    let claims = claims(&["lock:one:exclusive"]);
    let id = daemon.submit(TaskSpec { timeout, claims, ..daemon.shell(line) });
    family_is_there(&daemon, id);
    let task = daemon.ended_task(id);
    assert!(daemon.processes_of(id).is_empty(), "something lives on");
    assert_eq!(task.status, Status::Failed);
    assert_eq!(outcomes(&task), ["timed_out"]);
    assert_eq!(task.result.clone().unwrap().error_type, Some(ErrorType::Timeout));
    let attempt = &task.attempt_list.unwrap()[0];
    assert!(attempt.finished_at.unwrap().since(attempt.started_at) >= Span::from_secs(2), "{attempt:?}");
    assert_eq!(daemon.lines("log"), ["obeyed"], "SIGTERM comes first");
    daemon.assert_nothing_is_held();
}

#[test]
fn a_timeout_ends_those_too_that_do_not_obey_sigterm() {
    let daemon = impatient();
    let line = format!("trap '' TERM; {FAMILY}");
    let id = daemon.submit(TaskSpec { timeout: span("500ms"), ..daemon.shell(line) });
    let task = daemon.ended_task(id);
    assert!(daemon.processes_of(id).is_empty(), "something lives on");
    assert_eq!(outcomes(&task), ["timed_out"]);
}

#[test]
fn each_attempt_has_a_timeout_of_its_own() {
    let daemon = impatient();
    let line = "[ $ORCHD_ATTEMPT = 3 ] || sleep 1000";
    // Long enough for the third try on a busy machine.
    let spec = TaskSpec { timeout: span("2s"), retry: retries(5, "1ms"), ..daemon.shell(line) };
    let task = daemon.ended_task(daemon.submit(spec));
    assert_eq!(task.status, Status::Completed);
    assert_eq!(outcomes(&task), ["timed_out", "timed_out", "succeeded"]);
}

#[test]
fn cancelling_a_running_task_ends_its_whole_group() {
    let daemon = impatient();
    for line in [FAMILY.to_owned(), format!("trap '' TERM; {FAMILY}")] {
        drop(std::fs::remove_file(daemon.path("begun")));
        let id = daemon.submit(TaskSpec { retry: retries(5, "1ms"), ..daemon.shell(line) });
        family_is_there(&daemon, id);
        daemon.orchctl(&["cancel", &id.to_string()]).succeeds();
        let task = daemon.ended_task(id);
        assert!(daemon.processes_of(id).is_empty(), "something lives on");
        assert_eq!((task.status, task.attempts), (Status::Cancelled, 1), "and it is not tried again");
        assert_eq!(task.status_reason.unwrap().reason, StatusReason::Cancelled { because: None });
    }
    daemon.assert_nothing_is_held();
}

#[test]
fn a_cancelled_pending_task_never_runs() {
    let mut daemon = Daemon::start(1);
    let first = daemon.submit(daemon.shell(gate("end")));
    daemon.until_status(first, Status::Running);
    let line = "echo $ORCHD_TASK_ID >> ran";
    let ids = daemon.submit_many((0..50).map(|_| daemon.shell(line)));
    let (cancelled, kept) = ids.split_at(25);
    let results = daemon.client().cancel(cancelled.to_vec().into()).unwrap();
    assert!(results.iter().all(|result| result.status == Some(Status::Cancelled)));
    daemon.kill_and_restart();
    daemon.write("end", "");
    daemon.wait(&ids);
    assert_eq!(daemon.lines("ran"), kept.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert!(cancelled.iter().all(|id| daemon.task(*id).attempts == 0));
}

#[test]
fn tasks_that_are_cancelled_while_they_start_have_run_or_have_not_but_are_ended() {
    let daemon = impatient();
    let line = "echo $ORCHD_TASK_ID >> ran; sleep 1000";
    for _ in 0..50 {
        // Added and cancelled in one breath: the assignment and the order to stop race each other.
        let ids = daemon.submit_many((0..2).map(|_| daemon.shell(line)));
        daemon.client().cancel(ids.clone().into()).unwrap();
        daemon.wait(&ids);
        for id in ids {
            assert_eq!(daemon.status(id), Status::Cancelled, "{:?}", daemon.task(id));
            assert!(daemon.processes_of(id).is_empty());
        }
    }
    let ran = daemon.lines("ran").len();
    let next = daemon.submit_many((0..4).map(|_| daemon.shell("true")));
    daemon.wait(&next);
    assert_eq!(daemon.lines("ran").len(), ran, "nothing of them starts later");
    daemon.assert_nothing_is_held();
}

#[test]
fn cancelling_what_has_ended_or_does_not_exist_says_so_and_changes_nothing() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell("true"));
    daemon.wait(&[id]);
    let said = daemon.orchctl(&["cancel", &id.to_string()]);
    assert!(said.code == Some(1) && said.out.contains("has ended"), "{said:?}");
    assert_eq!(daemon.status(id), Status::Completed);
    let said = daemon.orchctl(&["cancel", "4711"]);
    assert!(said.code == Some(4) && (said.out + &said.err).contains("4711"));
    let results = daemon.client().cancel(id.into()).unwrap();
    assert_eq!(results[0].error.as_ref().unwrap().code, Code::WrongState);
}

#[test]
fn a_deadline_ends_a_task_wherever_it_is() {
    let daemon = impatient();
    let deadline = span("2s");
    let running = daemon.submit(TaskSpec { deadline, ..daemon.shell("sleep 1000 & wait") });
    let retrying = daemon.submit(TaskSpec { deadline, retry: retries(3, "1h"), ..daemon.shell("exit 1") });
    let hold = daemon.submit(TaskSpec { deadline, hold: true, ..daemon.shell("echo >> ran") });
    for id in [running, retrying, hold] {
        let task = daemon.ended_task(id);
        assert_eq!(task.status, Status::Failed, "{task:?}");
        let result = task.result.clone().unwrap();
        assert_eq!(result.error_type, Some(ErrorType::Deadline), "{result:?}");
        assert_eq!(task.status_reason.unwrap().reason, StatusReason::Deadline);
    }
    assert_eq!(outcomes(&daemon.task(running)), ["deadline_met"]);
    assert!(daemon.processes_of(running).is_empty());
    assert_eq!(daemon.task(hold).attempts, 0);
    assert!(!daemon.path("ran").exists());
}
