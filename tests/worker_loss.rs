//! The worker dies: its attempts are lost at once, whatever they started is dead before their claims are
//! free, and they run again, but not for ever.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::program::Running;
use kit::{Daemon, claims, gate, process, until};
use orchd_client::api::{PROTOCOL, Task, Worker, WorkerHello};
use orchd_client::model::{ErrorType, Time};
use orchd_client::{Status, TaskId, TaskSpec, worker};
use rustix::process::Signal;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The first attempt starts processes that shall not outlive it, in its group, and in sessions of their own,
/// and never ends; the next one leaves a mark when any process of an earlier attempt is alive.
///
/// A process is known by what is in its environment. It has none once it is dead, buried or not.
const CHECK_AND_HOLD: &str = r#"
alive() { tr '\0' '\n' < /proc/$1/environ | grep -qx "ORCHD_TOKEN=$2" && tr '\0' '\n' < /proc/$1/environ | grep -qx "ORCHD_SOCKET=$ORCHD_SOCKET"; }
if [ -e held ]; then
    alive $$ $ORCHD_TOKEN || echo blind >> alive
    while read -r pid token; do if alive "$pid" "$token" 2>/dev/null; then echo "$pid" >> alive; fi; done < held
    echo $ORCHD_TASK_ID >> checked
    exit 0
fi
(trap '' TERM; sleep 1000; sleep 1000) &
children=$!
sh -c 'sleep 1000 & echo $!; wait' > grandchild &
setsid sh -c 'echo $$ > stranger; sleep 1000' &
until [ -s grandchild ] && [ -s stranger ]; do sleep 0.01; done
for pid in $$ $children $(cat grandchild stranger); do echo $pid $ORCHD_TOKEN; done > held.new
mv held.new held
wait
"#;

fn holding(daemon: &Daemon) -> TaskSpec {
    TaskSpec { claims: claims(&["lock:one:exclusive", "cpu=0.1"]), ..daemon.shell(CHECK_AND_HOLD) }
}

fn now() -> Time {
    Time(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap())
}

fn outcomes(task: &Task) -> Vec<&str> {
    task.attempt_list.iter().flatten().map(|attempt| attempt.outcome.as_str()).collect()
}

fn assert_all_checked_and_none_alive(daemon: &Daemon, ids: &[TaskId]) {
    for id in ids {
        assert_eq!(daemon.ended_task(*id).status, Status::Completed);
    }
    assert_eq!(daemon.lines("alive"), [""; 0], "a process was alive when its claims were free");
    assert_eq!(daemon.lines("checked").len(), ids.len());
    assert_eq!(daemon.lines("held").len(), 4);
    daemon.assert_nothing_is_held();
}

#[test]
fn attempts_of_a_killed_worker_are_lost_at_once_and_run_again_when_their_processes_are_dead() {
    let daemon = Daemon::start(3);
    let holder = daemon.submit(holding(&daemon));
    until("the first one holds the lock", || daemon.path("held").exists());
    let next = daemon.submit(holding(&daemon));
    let worker = daemon.worker().pid;
    let killed_at = now();
    daemon.kill_worker();
    assert_all_checked_and_none_alive(&daemon, &[holder, next]);

    assert_ne!(daemon.worker().pid, worker, "another worker has come");
    let task = daemon.task(holder);
    assert_eq!(outcomes(&task), ["worker_lost", "succeeded"]);
    assert_eq!(outcomes(&daemon.task(next)), ["succeeded"]);
    let lost_at = task.attempt_list.unwrap()[0].finished_at.unwrap();
    // The promise is a second; a machine that is busy with other tests gets some more.
    assert!(lost_at.since(killed_at).0 < 5_000_000, "lost after {}", lost_at.since(killed_at));
}

#[test]
fn both_killed_together_lose_nothing_and_leave_nothing_alive() {
    let mut daemon = Daemon::start(3);
    let holder = daemon.submit(holding(&daemon));
    until("the first one holds the lock", || daemon.path("held").exists());
    let next = daemon.submit(holding(&daemon));
    let waiting = daemon.submit_many((0..100).map(|_| daemon.shell("echo $ORCHD_TASK_ID >> ran")));
    let worker = daemon.worker().pid;
    process::send(worker, Signal::KILL);
    daemon.kill();
    daemon.start_again();
    assert_all_checked_and_none_alive(&daemon, &[holder, next]);
    assert_eq!(outcomes(&daemon.task(holder)), ["worker_lost", "succeeded"]);
    daemon.wait(&waiting);
    let stats = daemon.stats();
    assert_eq!((stats.completed, stats.total_tasks), (102, 102), "{stats:?}");
}

#[test]
fn a_worker_that_was_adopted_is_missed_when_it_dies() {
    let mut daemon = Daemon::start(3);
    let holder = daemon.submit(holding(&daemon));
    until("the first one holds the lock", || daemon.path("held").exists());
    let worker = daemon.worker().pid;
    daemon.kill_and_restart();
    assert_eq!(daemon.worker().pid, worker, "the worker is adopted");
    assert_eq!(daemon.status(holder), Status::Running);
    let next = daemon.submit(holding(&daemon));
    daemon.kill_worker();
    assert_all_checked_and_none_alive(&daemon, &[holder, next]);
}

#[test]
fn a_worker_that_dies_before_the_next_daemon_hears_of_it_is_missed_too() {
    // The lease is so long that nothing is found out by it.
    let mut daemon = Daemon::configured(3, "[scheduler]\nlease = '1h'");
    let holder = daemon.submit(holding(&daemon));
    until("the first one holds the lock", || daemon.path("held").exists());
    let worker = daemon.worker().pid;
    process::send(worker, Signal::STOP);
    daemon.kill_and_restart();
    let next = daemon.submit(holding(&daemon));
    process::send(worker, Signal::KILL);
    assert_all_checked_and_none_alive(&daemon, &[holder, next]);
}

#[test]
fn a_worker_that_hangs_is_ended_when_its_lease_is_over() {
    let daemon = Daemon::configured(3, "[scheduler]\nlease = '1s'");
    let holder = daemon.submit(holding(&daemon));
    until("the first one holds the lock", || daemon.path("held").exists());
    let next = daemon.submit(holding(&daemon));
    process::send(daemon.worker().pid, Signal::STOP);
    assert_all_checked_and_none_alive(&daemon, &[holder, next]);
    assert_eq!(outcomes(&daemon.task(holder)), ["worker_lost", "succeeded"]);
}

#[test]
fn an_idle_worker_that_is_killed_is_replaced() {
    let daemon = Daemon::start(2);
    for _ in 0..3 {
        daemon.kill_worker();
        let id = daemon.submit(daemon.shell("true"));
        assert_eq!(daemon.ended_task(id).status, Status::Completed);
    }
}

#[test]
fn a_task_that_kills_its_worker_fails_after_as_many_losses_as_are_allowed() {
    for allowed in [0_u32, 1, 3] {
        let config = format!("[scheduler]\nmax_worker_losses = {allowed}");
        let daemon = Daemon::configured(2, &config);
        let line = "echo $ORCHD_ATTEMPT >> ran; kill -KILL $PPID; sleep 1000";
        let id = daemon.submit(daemon.shell(line));
        let task = daemon.ended_task(id);
        assert_eq!(task.status, Status::Failed);
        let result = task.result.clone().unwrap();
        assert_eq!(result.error_type, Some(ErrorType::WorkerLost), "{result:?}");
        assert_eq!(outcomes(&task), vec!["worker_lost"; allowed as usize + 1]);
        let attempts: Vec<String> = (1..=allowed + 1).map(|attempt| attempt.to_string()).collect();
        assert_eq!(daemon.lines("ran"), attempts);
        let after = daemon.submit(daemon.shell("true"));
        assert_eq!(daemon.ended_task(after).status, Status::Completed, "others go on");
        daemon.assert_nothing_is_held();
    }
}

#[test]
fn what_ended_before_the_worker_died_is_not_run_again() {
    let daemon = Daemon::start(4);
    let ended = daemon.submit_many((0..200).map(|_| daemon.shell("echo $ORCHD_TASK_ID >> ran")));
    let running = daemon.submit(daemon.shell(format!("echo begun >> log; {}", gate("end"))));
    daemon.wait(&ended);
    until("it runs", || daemon.lines("log").len() == 1);
    daemon.kill_worker();
    until("it runs again", || daemon.lines("log").len() == 2);
    daemon.write("end", "");
    assert_eq!(daemon.ended_task(running).status, Status::Completed);
    assert_eq!(daemon.lines("ran").len(), 200);
    assert!(ended.iter().all(|id| daemon.task(*id).attempts == 1));
}

#[test]
fn what_a_task_leaves_behind_is_ended_and_not_those_that_come_after_it() {
    let daemon = Daemon::start(1);
    let first = daemon.submit(daemon.shell("sleep 1000 & exit 0"));
    let after = daemon.submit_many((0..5).map(|_| daemon.shell("sleep 0.01 & wait")));
    daemon.wait(&after);
    assert!(daemon.processes_of(first).is_empty());
    for id in after.into_iter().chain([first]) {
        assert_eq!(daemon.task(id).status, Status::Completed, "{:?}", daemon.task(id).result);
    }
}

/// Not a test: others start this program again with this alone, to be a service that takes a task and does nothing
/// about it. It closes its connection when it is told to, and stays.
#[test]
fn service_process() {
    if std::env::var_os(SERVICE).is_none() {
        return;
    }
    let socket = std::env::var_os("ORCHD_SOCKET").unwrap();
    let hello = WorkerHello {
        protocol: PROTOCOL,
        features: Vec::new(),
        incarnation: u64::from(std::process::id()),
        kind: "service".to_owned(),
        pid: std::process::id(),
        slots: 1,
        handlers: vec!["k.*".to_owned()],
        labels: Vec::new(),
        attempts: Vec::new(),
        claim: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let session = runtime.block_on(worker::connect(Path::new(&socket), hello)).unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop(session);
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

const SERVICE: &str = "ORCHD_TEST_SERVICE";

fn service(daemon: &Daemon) -> Running {
    let mut command = daemon.program(std::env::current_exe().unwrap().to_str().unwrap());
    command.args(["service_process", "--exact", "--nocapture"]).env(SERVICE, "1");
    Running::start_open(command)
}

fn assert_is_lost(daemon: &Daemon, id: TaskId) {
    until("its attempt is lost", || outcomes(&daemon.task(id)) == ["worker_lost"]);
    daemon.assert_nothing_is_held();
    let after = TaskSpec { claims: claims(&["lock:h:exclusive"]), ..daemon.shell("true") };
    assert_eq!(daemon.ended_task(daemon.submit(after)).status, Status::Completed);
}

#[test]
fn a_service_that_is_killed_is_lost_at_once_and_one_that_only_hangs_up_is_not() {
    // The lease is so long that nothing is found out by it.
    let daemon = Daemon::configured(1, "[scheduler]\nlease = '1h'\nmax_worker_losses = 0");
    let held = || {
        let handler = TaskSpec::handler("k", "a", serde_json::Map::new());
        daemon.submit(TaskSpec { claims: claims(&["lock:h:exclusive"]), ..handler })
    };
    let killed = service(&daemon);
    let task = held();
    daemon.until_status(task, Status::Running);
    process::send(killed.pid(), Signal::KILL);
    assert_is_lost(&daemon, task);

    let hangs_up = service(&daemon);
    let task = held();
    daemon.until_status(task, Status::Running);
    hangs_up.write(b"\n");
    let is_away = |worker: &Worker| worker.kind == "service" && worker.connected_at.is_none();
    until("it has hung up", || daemon.client().workers().unwrap().iter().any(is_away));
    assert_eq!(daemon.status(task), Status::Running, "it may come back");
    // It has the time of the lease, as long as it lives.
    process::send(hangs_up.pid(), Signal::KILL);
    assert_is_lost(&daemon, task);
}
