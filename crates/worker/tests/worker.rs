//! The worker as a process: with a daemon, without one, and after its own death.

mod attempts;
mod house;

use attempts::{assignment, living_with_token, shell, until};
use house::House;
use orchd_api::{FromWorker, StopCause, StopOrder, ToWorker};
use orchd_model::{AttemptNumber, Outcome, Span, TaskId, Token};
use orchd_worker::{Stream, clear_reports, fence, is_running, kill_worker, read_reports, worker_pid};
use std::io::ErrorKind;

const LEASE: Span = Span::from_secs(30);

/// Not a test: the other tests start this program again with this test alone, to be a worker.
#[test]
fn worker_process() {
    house::be_a_worker_if_asked();
}

#[test]
fn work_is_assigned_run_and_reported() {
    let house = House::new();
    let daemon = house.daemon();
    let worker = house.worker();
    let (mut session, hello) = daemon.welcome(LEASE);
    assert_eq!((hello.kind.as_str(), hello.slots, hello.pid), ("process", 2, worker.id()));
    assert!(hello.attempts.is_empty());
    assert_eq!(worker_pid(&house.state_dir()).unwrap(), Some(worker.id()));

    session.assign([assignment(1, &["/bin/ls", "/proc/self/fd"]), shell(2, "exit 4")]);
    let (started, mut ended) = session.reports(2, 2);
    assert!(started.iter().all(|start| start.pid.is_some() && start.spool.is_some()));
    ended.sort_by_key(|report| report.token);
    assert_eq!((ended[0].token, &ended[0].outcome), (Token(1), &Outcome::Succeeded));
    assert_eq!((ended[1].token, &ended[1].outcome), (Token(2), &Outcome::exited(4)));
    let output = house.paths().output(TaskId(1), AttemptNumber(1), Stream::Out);
    assert_eq!(std::fs::read_to_string(output).unwrap(), "0\n1\n2\n3\n", "ls opens the last one");

    session.ack(1);
    session.send(&ToWorker::Exit);
    session.ack(2);
    assert!(worker.ended().success());
    assert!(!is_running(&house.state_dir()).unwrap());
    assert_eq!(read_reports(&house.state_dir()).unwrap(), []);
}

#[test]
fn stop_orders_arrive() {
    let house = House::new();
    let daemon = house.daemon();
    let _worker = house.worker();
    let (mut session, _) = daemon.welcome(LEASE);
    let orders = [1, 2].map(|token| StopOrder { token: Token(token), cause: StopCause::Cancel }).to_vec();
    session.assign([shell(1, "sleep 1000")]);
    session.reports(1, 0);
    session.send(&ToWorker::Stop { orders });
    let (_, ended) = session.reports(0, 1);
    assert_eq!((ended[0].token, &ended[0].outcome), (Token(1), &Outcome::Cancelled));
    session.assign([shell(2, "sleep 1000")]);
    let (_, ended) = session.reports(0, 1);
    assert_eq!((ended[0].token, &ended[0].outcome), (Token(2), &Outcome::Cancelled));
}

#[test]
fn attempts_outlive_the_daemon_and_are_reported_to_the_next() {
    let house = House::new();
    let mut worker = house.worker();
    let (first, second) = (house.fifo("first"), house.fifo("second"));
    let daemon = house.daemon();
    let (mut session, former) = daemon.welcome(LEASE);
    let wait = |gate: &std::path::Path, code: i32| format!("read line < {}; exit {code}", gate.display());
    session.assign([shell(1, &wait(&first, 5)), shell(2, &wait(&second, 6))]);
    let (started, _) = session.reports(2, 0);
    drop((session, daemon));

    std::fs::write(&first, "go\n").unwrap();
    until(|| read_reports(&house.state_dir()).unwrap().len() == 1);
    assert!(worker.is_alive());

    let daemon = house.daemon();
    let (mut session, hello) = daemon.welcome(LEASE);
    assert_eq!((hello.incarnation, hello.pid), (former.incarnation, former.pid));
    let spool = |token| hello.attempts.iter().find(|held| held.token == Token(token)).unwrap().spool;
    assert_eq!(spool(1), None, "it has ended and is not acknowledged");
    let running = started.iter().find(|start| start.token == Token(2)).unwrap();
    assert_eq!(spool(2), running.spool);
    let (_, ended) = session.reports(0, 1);
    assert_eq!((ended[0].token, &ended[0].outcome), (Token(1), &Outcome::exited(5)));
    session.ack(1);
    until(|| read_reports(&house.state_dir()).unwrap().is_empty());

    std::fs::write(&second, "go\n").unwrap();
    let (_, ended) = session.reports(0, 1);
    assert_eq!((ended[0].token, &ended[0].outcome), (Token(2), &Outcome::exited(6)));
    session.ack(2);
    session.send(&ToWorker::Exit);
    assert!(worker.ended().success());
}

#[test]
fn a_report_is_sent_again_until_it_is_acknowledged() {
    let house = House::new();
    let daemon = house.daemon();
    let worker = house.worker();
    let (mut session, _) = daemon.welcome(LEASE);
    session.assign([shell(1, "exit 9")]);
    session.reports(1, 1);
    // The same assignment again: it has ended, and must not run twice.
    session.assign([shell(1, "exit 9")]);
    session.reports(0, 1);
    drop(session);
    let (mut session, hello) = daemon.welcome(LEASE);
    assert_eq!(hello.attempts.len(), 1);
    let (_, ended) = session.reports(0, 1);
    assert_eq!(ended[0].outcome, Outcome::exited(9));
    session.ack(1);
    session.send(&ToWorker::Exit);
    assert!(worker.ended().success());
}

#[test]
fn without_a_daemon_a_worker_spools_its_last_report_and_ends() {
    let house = House::new();
    let gate = house.fifo("gate");
    let daemon = house.daemon();
    let worker = house.worker();
    let (mut session, _) = daemon.welcome(LEASE);
    session.assign([shell(1, &format!("read line < {}; echo '[1]' > $ORCHD_RESULT", gate.display()))]);
    session.reports(1, 0);
    drop((session, daemon));
    std::fs::write(&gate, "go\n").unwrap();
    assert!(worker.ended().success());
    let reports = read_reports(&house.state_dir()).unwrap();
    assert_eq!((reports.len(), reports[0].token), (1, Token(1)));
    assert_eq!(reports[0].data, Some(serde_json::json!([1])));

    // A daemon that does not read them gets them from the next worker.
    let daemon = house.daemon();
    let worker = house.worker();
    let (mut session, _) = daemon.welcome(LEASE);
    assert_eq!(session.reports(0, 1).1, reports);
    drop((session, daemon));
    assert!(worker.ended().success());
    clear_reports(&house.state_dir()).unwrap();
    assert_eq!(read_reports(&house.state_dir()).unwrap(), []);
}

#[test]
fn heartbeats_come_while_something_is_held() {
    let house = House::new();
    let daemon = house.daemon();
    let _worker = house.worker();
    let (mut session, _) = daemon.welcome(Span::from_millis(30));
    session.assign([shell(1, "sleep 1000")]);
    session.reports(1, 0);
    assert_eq!(session.receive(), FromWorker::Heartbeat);
    assert_eq!(session.receive(), FromWorker::Heartbeat);
}

#[test]
fn sigterm_ends_an_idle_worker_only() {
    let house = House::new();
    let gate = house.fifo("gate");
    let daemon = house.daemon();
    let Some(worker) = house.worker_that_blocks_sigterm() else { return };
    let (mut session, _) = daemon.welcome(LEASE);
    session.assign([shell(1, &format!("read line < {}", gate.display()))]);
    session.reports(1, 0);
    worker.terminate();
    std::fs::write(&gate, "go\n").unwrap();
    let (_, ended) = session.reports(0, 1);
    assert_eq!(ended[0].outcome, Outcome::Succeeded);
    session.ack(1);
    worker.terminate();
    assert!(worker.ended().success());
}

#[test]
fn there_is_one_worker_in_a_state_directory() {
    let house = House::new();
    let daemon = house.daemon();
    let worker = house.worker();
    let (_session, _) = daemon.welcome(LEASE);
    assert_eq!(house.worker().ended().code(), Some(3));
    assert_eq!(worker_pid(&house.state_dir()).unwrap(), Some(worker.id()));
}

#[test]
fn a_fence_leaves_nothing_of_a_dead_workers_attempts() {
    let house = House::new();
    let state = house.state_dir();
    assert_eq!(fence(&state).unwrap(), []);
    let daemon = house.daemon();
    let worker = house.worker();
    let (mut session, hello) = daemon.welcome(LEASE);
    // What knows neither its session nor its environment any more is found where there are control groups.
    let [pid, gate] = ["pid", "gate"].map(|name| state.join(name));
    let inner = format!("echo $$ > {0}.new; mv {0}.new {0}; read x < {1}", pid.display(), gate.display());
    let has_groups = hello.labels != ["cgroup=none"];
    let runaway = match has_groups {
        true => format!("mkfifo {}; setsid env -i sh -c '{inner}' &", gate.display()),
        false => format!("echo none > {};", pid.display()),
    };
    session.assign([
        shell(1, "sleep 1000 & setsid sleep 1000 & env -i sleep 1000 & echo partial; echo $!; wait"),
        shell(2, &format!("{runaway} (setsid sh -c 'sleep 1000; :' &) ; trap '' TERM HUP; sleep 1000")),
    ]);
    session.reports(2, 0);
    let spool = |stream| house.paths().output(TaskId(1), AttemptNumber(1), stream);
    let written = || {
        let spools = (0..2).map(|slot| house.paths().spool(slot, Stream::Out));
        spools.filter_map(|spool| std::fs::read_to_string(spool).ok()).any(|text| text.lines().count() == 2)
    };
    until(|| living_with_token(&state, 1).len() >= 3 && living_with_token(&state, 2).len() >= 3 && written());
    until(|| pid.exists());
    assert_eq!(fence(&state).unwrap_err().kind(), ErrorKind::WouldBlock);

    assert!(kill_worker(&state).unwrap());
    until(|| !is_running(&state).unwrap());
    let mut tokens = fence(&state).unwrap();
    tokens.sort_unstable();
    assert_eq!(tokens, [Token(1), Token(2)]);
    if has_groups {
        let pid = std::fs::read_to_string(&pid).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(stat.is_err() || stat.unwrap().contains(") Z "));
        assert!(!state.join("worker/cgroup").exists());
    }
    assert_eq!(living_with_token(&state, 1), Vec::<u32>::new());
    assert_eq!(living_with_token(&state, 2), Vec::<u32>::new());
    // The one without an environment was in the session.
    let output = std::fs::read_to_string(spool(Stream::Out)).unwrap();
    let [text, pid] = output.lines().collect::<Vec<_>>()[..] else { panic!("{output:?}") };
    assert_eq!(text, "partial");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    assert!(stat.is_err() || stat.unwrap().contains(") Z "));
    assert_eq!(fence(&state).unwrap(), []);
    assert!(!kill_worker(&state).unwrap());
    drop(worker);
}

#[test]
fn a_new_worker_ends_what_a_dead_one_has_left() {
    let house = House::new();
    let state = house.state_dir();
    let daemon = house.daemon();
    let worker = house.worker();
    let (mut session, _) = daemon.welcome(LEASE);
    session.assign([shell(1, "setsid sleep 1000 & wait")]);
    session.reports(1, 0);
    until(|| living_with_token(&state, 1).len() == 2);
    drop(worker);
    let _worker = house.worker();
    let (_session, hello) = daemon.welcome(LEASE);
    assert!(hello.attempts.is_empty());
    assert_eq!(living_with_token(&state, 1), Vec::<u32>::new());
}
