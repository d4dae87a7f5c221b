//! Ad-hoc claims, held by this very process: in one order with the claims of tasks, over restarts of the daemon,
//! and never left behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, claims, until};
use orchd_client::api::{Resource, ResourceHolder};
use orchd_client::blocking::ClaimGuard;
use orchd_client::model::{Code, ErrorType, Mode, ResourceName, StatusReason};
use orchd_client::{ClaimOptions, Error, Priority, Status, TaskId, TaskSpec};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

fn resource(daemon: &Daemon, name: &str) -> Option<Resource> {
    daemon.client().resources().unwrap().into_iter().find(|resource| resource.resource == name)
}

fn holders(daemon: &Daemon, name: &str) -> Vec<ResourceHolder> {
    resource(daemon, name).map_or_else(Vec::new, |resource| resource.holders)
}

fn until_waiting(daemon: &Daemon, name: &str, count: u64) {
    until(&format!("{count} wait for {name}"), || {
        resource(daemon, name).is_some_and(|resource| resource.waiting == count)
    });
}

/// Claims in a thread of its own; the guard comes when it is granted.
fn claim_soon(
    daemon: &Daemon,
    texts: &[&str],
    options: ClaimOptions,
) -> mpsc::Receiver<Result<ClaimGuard, Error>> {
    let (granted, grant) = mpsc::channel();
    let (client, claims) = (daemon.client(), claims(texts));
    thread::spawn(move || drop(granted.send(client.claim_with(claims, options))));
    grant
}

fn named(name: &str) -> ClaimOptions {
    ClaimOptions { name: Some(name.to_owned()), ..ClaimOptions::default() }
}

fn at_once() -> ClaimOptions {
    ClaimOptions { wait: Some(Duration::ZERO), ..ClaimOptions::default() }
}

fn lock(name: &str) -> ResourceName {
    name.parse().unwrap()
}

fn claiming(daemon: &Daemon, texts: &[&str]) -> TaskSpec {
    TaskSpec { claims: claims(texts), ..daemon.shell("true") }
}

#[test]
fn a_claim_stands_in_one_order_with_tasks_and_takes_no_slot() {
    let daemon = Daemon::start(1);
    // A task that no worker could run keeps nobody from its turn.
    daemon.worker();
    let guard = daemon.client().claim_with(claims(&["lock:a:exclusive"]), named("first")).unwrap();
    let holder = &holders(&daemon, "lock:a")[0];
    assert_eq!((holder.task, holder.guard, &*holder.name), (guard.task(), true, "first"));
    assert_eq!(daemon.stats().slots.used, 0);
    let task = daemon.submit(claiming(&daemon, &["lock:a:exclusive"]));
    until_waiting(&daemon, "lock:a", 1);
    let low = ClaimOptions { priority: Priority::Low, ..named("low") };
    let low = claim_soon(&daemon, &["lock:a:exclusive"], low);
    until_waiting(&daemon, "lock:a", 2);
    let high = ClaimOptions { priority: Priority::High, ..named("high") };
    let high = claim_soon(&daemon, &["lock:a:exclusive"], high);
    until_waiting(&daemon, "lock:a", 3);
    guard.release().unwrap();
    let high = high.recv().unwrap().unwrap();
    assert_eq!((daemon.status(task), holders(&daemon, "lock:a").len()), (Status::Pending, 1));
    let why = daemon.client().explain(task).unwrap();
    assert!(why.reasons[0].text.contains("high"), "{why:?}");
    drop(high);
    assert_eq!(daemon.ended_task(task).status, Status::Completed);
    let low = low.recv().unwrap().unwrap();
    let id = low.task();
    low.release().unwrap();
    let ended = daemon.task(id);
    assert_eq!((ended.status, ended.guard, ended.attempts), (Status::Completed, true, 1));
    daemon.assert_nothing_is_held();
}

#[test]
fn who_does_not_wait_or_not_for_ever_leaves_no_trace() {
    let daemon = Daemon::start(1);
    let client = daemon.client();
    let guard = client.claim_with(claims(&["lock:a:write"]), named("holder")).unwrap();
    let refused = client.claim_with(claims(&["lock:a"]), at_once()).unwrap_err();
    assert_eq!(refused.code(), Some(Code::TimedOut));
    assert!(refused.to_string().contains("holder"), "{refused}");
    let briefly = ClaimOptions { wait: Some(Duration::from_millis(1)), ..ClaimOptions::default() };
    let late = client.claim_with(claims(&["lock:a"]), briefly).unwrap_err();
    assert_eq!(late.code(), Some(Code::TimedOut), "{late}");
    assert_eq!(resource(&daemon, "lock:a").unwrap().waiting, 0);
    let never = client.claim(claims(&["gpu=1"])).unwrap_err();
    assert_eq!(never.code(), Some(Code::NotConfigured));
    let nothing = client.claim(Vec::new()).unwrap_err();
    assert_eq!(nothing.code(), Some(Code::Malformed));
    drop(guard);
    until("it is free", || holders(&daemon, "lock:a").is_empty());
    client.claim_with(claims(&["lock:a:exclusive"]), at_once()).unwrap().release().unwrap();
    daemon.assert_nothing_is_held();
}

#[test]
fn a_claim_is_given_back_in_parts_and_turned_into_a_read() {
    let daemon = Daemon::start(1);
    let client = daemon.client();
    let guard = client.claim(claims(&["lock:a:exclusive", "lock:b:write"])).unwrap();
    let a = claim_soon(&daemon, &["lock:a:exclusive"], named("a"));
    let b = claim_soon(&daemon, &["lock:b"], named("b"));
    until_waiting(&daemon, "lock:a", 1);
    until_waiting(&daemon, "lock:b", 1);
    guard.release_one(&lock("lock:a")).unwrap();
    guard.release_one(&lock("lock:a")).unwrap();
    let a = a.recv().unwrap().unwrap();
    guard.downgrade(&lock("lock:b")).unwrap();
    let b = b.recv().unwrap().unwrap();
    let modes: Vec<Mode> = holders(&daemon, "lock:b").iter().map(|holder| holder.mode).collect();
    assert_eq!(modes, [Mode::Read, Mode::Read]);
    let writer = client.claim_with(claims(&["lock:b:write"]), at_once()).unwrap_err();
    assert_eq!(writer.code(), Some(Code::TimedOut));
    assert_eq!(guard.release_one(&lock("lock:c")).unwrap_err().code(), Some(Code::NotFound));
    assert_eq!(guard.downgrade(&lock("lock:a")).unwrap_err().code(), Some(Code::WrongState));
    for guard in [a, b, guard] {
        guard.release().unwrap();
    }
    daemon.assert_nothing_is_held();
}

#[test]
fn what_is_held_and_waited_for_survives_the_daemon() {
    let mut daemon = Daemon::start(1);
    let guard = daemon.client().claim_with(claims(&["lock:a:exclusive", "lock:b"]), named("holder")).unwrap();
    guard.release_one(&lock("lock:b")).unwrap();
    let (task, token) = (guard.task(), guard.token());
    let next = claim_soon(&daemon, &["lock:a:exclusive"], named("next"));
    until_waiting(&daemon, "lock:a", 1);
    daemon.kill_and_restart();
    // Both are back, and nothing has changed.
    until_waiting(&daemon, "lock:a", 1);
    let held: Vec<TaskId> = holders(&daemon, "lock:a").iter().map(|holder| holder.task).collect();
    assert_eq!((held, holders(&daemon, "lock:b").len()), (vec![task], 0));
    assert!(next.try_recv().is_err());
    assert!(guard.is_held() && guard.token() == token);
    daemon.kill();
    // The release is asked for while nobody is there to hear it.
    let releasing = thread::spawn(move || guard.release());
    daemon.start_again();
    releasing.join().unwrap().unwrap();
    assert_eq!(daemon.status(task), Status::Completed);
    let next = next.recv().unwrap().unwrap();
    assert!(next.token() > token);
    daemon.kill_and_restart();
    next.downgrade(&lock("lock:a")).unwrap();
    next.release().unwrap();
    daemon.assert_nothing_is_held();
}

#[test]
fn a_claim_that_is_cancelled_is_told_so() {
    let daemon = Daemon::start(1);
    let client = daemon.client();
    let guard = client.claim(claims(&["lock:a:exclusive"])).unwrap();
    let waits = claim_soon(&daemon, &["lock:a:exclusive"], named("waits"));
    until_waiting(&daemon, "lock:a", 1);
    let pending = |task: &orchd_client::api::Task| task.status == Status::Pending;
    let mut waiting = None;
    until("it is on disk", || {
        waiting = daemon.all_tasks().into_iter().find(pending).map(|task| task.id);
        waiting.is_some()
    });
    let waiting = waiting.unwrap();
    client.cancel(waiting.into()).unwrap();
    assert_eq!(waits.recv().unwrap().unwrap_err().code(), Some(Code::WrongState));
    assert_eq!(daemon.status(waiting), Status::Cancelled);
    // One that is held is asked for: it is given back when its owner can.
    let id = guard.task();
    client.cancel(id.into()).unwrap();
    until("it is asked for", || guard.wanted().is_some());
    assert!(guard.is_held() && holders(&daemon, "lock:a").len() == 1);
    guard.release().unwrap();
    assert_eq!(daemon.status(id), Status::Cancelled);
    let again = client.retry(vec![id.into()]).unwrap();
    assert!(again[0].error.is_some(), "{again:?}");
    daemon.assert_nothing_is_held();
}

#[test]
fn who_does_not_come_back_within_the_lease_has_lost_it() {
    let mut daemon = Daemon::configured(1, "[scheduler]\nlease = 0.2\n");
    let lock = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    let held = kit::program::Running::start_open(holding(lock, "lock:a:exclusive"));
    until("it holds", || holders(&daemon, "lock:a").len() == 1);
    let id = holders(&daemon, "lock:a")[0].task;
    daemon.kill();
    drop(held);
    daemon.start_again();
    let guard = daemon.client().claim_with(claims(&["lock:a:exclusive"]), named("guard")).unwrap();
    let lost = daemon.ended_task(id);
    assert_eq!(lost.result.unwrap().error_type, Some(ErrorType::WorkerLost));
    assert!(matches!(lost.status_reason.unwrap().reason, StatusReason::Failed { .. }));
    guard.release().unwrap();
    daemon.assert_nothing_is_held();
}

#[test]
fn a_guard_that_has_outlived_its_runtime_holds_nothing_and_knows_it() {
    let daemon = Daemon::start(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guard = runtime.block_on(async {
        let client = orchd_client::Client::connect(daemon.socket()).await.unwrap();
        client.claim(claims(&["lock:a:exclusive"])).await.unwrap()
    });
    assert!(guard.is_held() && guard.loss().is_none());
    drop(runtime);
    assert!(!guard.is_held());
    assert!(matches!(guard.loss(), Some(orchd_client::Loss::Gone(_))));
    until("it is free", || holders(&daemon, "lock:a").is_empty());
}

fn holding(mut orchctl: std::process::Command, claim: &str) -> std::process::Command {
    orchctl.args(["lock", "--claim", claim, "--", "sleep", "1000"]);
    orchctl
}
