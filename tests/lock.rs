//! `orchctl lock`: what it holds, it holds exactly as long as it lives; signals reach the command.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::process::{self, until_interruptible};
use kit::program::Running;
use kit::{Daemon, claims, gate, until};
use orchd_client::api::{
    FromWorker, HeldAttempt, PROTOCOL, ResourceHolder, StatusReasonText, ToWorker, WorkerHello,
};
use orchd_client::model::{AttemptNumber, Code, ErrorType, Kept, StatusReason};
use orchd_client::{Status, worker};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Stdio;

fn lock(daemon: &Daemon, options: &[&str], line: &str) -> Running {
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.arg("lock").args(options).args(["--", "sh", "-c", line]);
    Running::start_open(command)
}

fn holders(daemon: &Daemon, name: &str) -> Vec<ResourceHolder> {
    let found = daemon.client().resources().unwrap().into_iter().find(|resource| resource.resource == name);
    found.map_or_else(Vec::new, |resource| resource.holders)
}

/// Says hello with what another one holds, and loosens it.
async fn use_token(daemon: &Daemon, held: HeldAttempt) -> ToWorker {
    let hello = WorkerHello {
        protocol: PROTOCOL,
        features: Vec::new(),
        incarnation: 1,
        kind: "service".to_owned(),
        pid: 1,
        slots: 1,
        handlers: Vec::new(),
        labels: Vec::new(),
        attempts: vec![held],
        claim: None,
    };
    let mut session = worker::connect(&daemon.socket(), hello).await.unwrap();
    let (token, resource) = (held.token, "lock:a".parse().unwrap());
    session.sender.send(&FromWorker::Loosen { token, resource, kept: Kept::Nothing }).await.unwrap();
    loop {
        let message = session.receiver.receive().await.unwrap();
        if matches!(message, ToWorker::Loosened { .. }) {
            return message;
        }
    }
}

#[test]
fn a_client_that_is_killed_makes_way_for_the_next_and_its_token_is_refused() {
    let daemon = Daemon::start(1);
    let first = lock(&daemon, &["--claim", "lock:a:exclusive"], "echo $ORCHD_TOKEN > token; exec sleep 1000");
    until("it has begun", || !daemon.lines("token").is_empty());
    let holder = holders(&daemon, "lock:a")[0].clone();
    let second = lock(&daemon, &["--claim", "lock:a:exclusive"], "echo $ORCHD_TOKEN");
    until("the second waits", || daemon.stats().pending == 1);
    process::send(first.pid(), Signal::KILL);
    // It waits for nothing but that death: there is a lease of 30 seconds, and it is not waited for.
    let said = second.ended();
    let [old, new] = [&daemon.lines("token")[0], said.out.trim()].map(|token| token.parse::<u64>().unwrap());
    assert!(said.code == Some(0) && new > old, "{said:?} after {old}");
    let lost = daemon.ended_task(holder.task);
    assert_eq!((lost.status, lost.result.unwrap().error_type), (Status::Failed, Some(ErrorType::WorkerLost)));
    let StatusReasonText { reason, .. } = lost.status_reason.unwrap();
    assert!(matches!(reason, StatusReason::Failed { .. }), "{reason:?}");
    let third = daemon.client().claim(claims(&["lock:a:exclusive"])).unwrap();
    let held = HeldAttempt {
        task: holder.task,
        attempt: AttemptNumber(1),
        token: orchd_client::model::Token(old),
        spool: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ToWorker::Loosened { refusal, .. } = runtime.block_on(use_token(&daemon, held)) else { panic!() };
    assert_eq!(refusal.unwrap().code, Code::StaleToken);
    // Nor does somebody else's token do, though it is a good one.
    let held = HeldAttempt { task: third.task(), token: third.token(), ..held };
    let ToWorker::Loosened { refusal, .. } = runtime.block_on(use_token(&daemon, held)) else { panic!() };
    assert_eq!(refusal.unwrap().code, Code::StaleToken);
    assert_eq!(holders(&daemon, "lock:a").len(), 1);
    third.release().unwrap();
    daemon.assert_nothing_is_held();
}

#[test]
fn a_signal_reaches_the_command_and_its_answer_is_the_exit_code() {
    let daemon = Daemon::start(1);
    for (signal, name, code) in [(Signal::TERM, "TERM", 3), (Signal::INT, "INT", 4), (Signal::HUP, "HUP", 5)]
    {
        let line = format!("trap 'exit {code}' {name}; echo > ready{code}; while :; do sleep 0.01; done");
        let running = lock(&daemon, &["--claim", "lock:a:exclusive"], &line);
        until("it has begun", || !daemon.lines(&format!("ready{code}")).is_empty());
        process::send(running.pid(), signal);
        assert_eq!(running.ended().code, Some(code));
    }
    let held = daemon.client().claim(claims(&["lock:a"])).unwrap();
    let waits = lock(&daemon, &["--claim", "lock:a:write"], "echo never");
    until("it waits", || daemon.stats().pending == 1);
    process::send(waits.pid(), Signal::INT);
    let said = waits.ended();
    assert_eq!((said.code, &*said.out), (Some(130), ""));
    held.release().unwrap();
    until("it is withdrawn", || daemon.stats().pending == 0);
    daemon.assert_nothing_is_held();
}

#[test]
fn a_daemon_that_comes_back_changes_nothing_for_the_command() {
    let mut daemon = Daemon::start(1);
    let running =
        lock(&daemon, &["--claim", "lock:a:exclusive"], &format!("echo > ready; {} exit 7", gate("go")));
    until("it has begun", || !daemon.lines("ready").is_empty());
    daemon.kill_and_restart();
    until("it is back", || holders(&daemon, "lock:a").len() == 1);
    daemon.write("go", "");
    let said = running.ended();
    assert_eq!((said.code, &*said.err), (Some(7), ""));
    daemon.assert_nothing_is_held();
}

#[test]
fn who_waits_and_is_stopped_for_longer_than_the_lease_is_told_that_it_waits_anew() {
    let mut daemon = Daemon::configured(1, "[scheduler]\nlease = 0.2\n");
    daemon.orchctl(&["resources", "close", "lock:a", "--create"]).succeeds();
    let waits = lock(&daemon, &["--claim", "lock:a:exclusive"], "echo ran");
    until("it waits", || daemon.stats().pending == 1);
    process::send(waits.pid(), Signal::STOP);
    daemon.kill_and_restart();
    until("its place is lost", || daemon.stats().pending == 0);
    process::send(waits.pid(), Signal::CONT);
    until("it waits anew", || daemon.stats().pending == 1);
    daemon.orchctl(&["resources", "open", "lock:a"]).succeeds();
    let said = waits.ended();
    assert_eq!((said.code, &*said.out), (Some(0), "ran\n"));
    assert_eq!(said.err, "orchctl: lost its place: silent for longer than the lease; queued anew\n");
    daemon.assert_nothing_is_held();
}

#[test]
fn a_daemon_that_is_away_waits_for_nobody_whose_process_has_ended() {
    let mut daemon = Daemon::configured(1, "[scheduler]\nlease = \"1h\"\n");
    let hour = "1h";
    let line = format!("echo > ready; {} exit 8", gate("go"));
    let options = ["--connect-timeout", hour, "--claim", "lock:a:exclusive"];
    let ends = lock(&daemon, &options, &line);
    let dies = lock(&daemon, &["--claim", "lock:b:exclusive"], "echo > ready2; exec sleep 1000");
    let stays = lock(&daemon, &["--claim", "lock:c:exclusive"], "echo > ready3; exec sleep 1000");
    until("they have begun", || ["ready", "ready2", "ready3"].iter().all(|it| !daemon.lines(it).is_empty()));
    daemon.kill();
    daemon.write("go", "");
    ends.ended().fails_with(8, &["the daemon is away"]);
    // This one is stopped: it does not come back, and is not thought to be dead.
    process::send(dies.pid(), Signal::STOP);
    process::send(stays.pid(), Signal::STOP);
    daemon.start_again();
    until("nobody holds it", || holders(&daemon, "lock:a").is_empty());
    assert_eq!([holders(&daemon, "lock:b").len(), holders(&daemon, "lock:c").len()], [1, 1]);
    process::send(dies.pid(), Signal::KILL);
    until("it is free with its process", || holders(&daemon, "lock:b").is_empty());
    assert_eq!(holders(&daemon, "lock:c").len(), 1);
    process::send(stays.pid(), Signal::CONT);
    process::send(stays.pid(), Signal::TERM);
    assert_eq!(stays.ended().code, Some(143));
    daemon.assert_nothing_is_held();
}

#[test]
fn the_task_of_a_lock_ends_as_its_command_does() {
    let daemon = Daemon::start(1);
    let ended = |command: &[&str]| {
        let mut lock = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
        lock.args(["--json", "lock", "--claim", "lock:a", "--"]).args(command);
        let said = Running::start_open(lock).ended();
        let task = said.json();
        let result = &task["result"];
        (said.code, task["status"].clone(), result["exit_code"].clone(), result["error_type"].clone())
    };
    let null = serde_json::Value::Null;
    assert_eq!(ended(&["true"]), (Some(0), "completed".into(), 0.into(), null.clone()));
    assert_eq!(ended(&["sh", "-c", "exit 3"]), (Some(3), "failed".into(), 3.into(), "ExitCode".into()));
    let killed = ended(&["sh", "-c", "kill -KILL $$"]);
    assert_eq!(killed, (Some(137), "failed".into(), null.clone(), "Signal".into()));
    assert_eq!(ended(&["./no-such-program"]), (Some(127), "failed".into(), null.clone(), "NotFound".into()));
    assert_eq!(ended(&["/"]), (Some(126), "failed".into(), null, "PermissionDenied".into()));
    daemon.assert_nothing_is_held();
}

#[test]
fn what_is_wanted_back_is_told_and_the_command_may_go_on() {
    let daemon = Daemon::start(1);
    let said = std::fs::File::create(daemon.path("said")).unwrap();
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(["lock", "--on-loss", "continue", "--claim", "lock:a:exclusive", "--", "sh", "-c"]);
    command.arg(
        "orchctl=$1; $orchctl cancel -q $ORCHD_TASK_ID; until grep -q 'goes on' said; do :; done; exit 9",
    );
    command
        .args(["sh", env!("CARGO_BIN_EXE_orchctl")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said);
    let mut child = command.spawn().unwrap();
    until("it ends", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(9));
    daemon.assert_nothing_is_held();
}

#[test]
fn an_interrupt_is_never_lost_whenever_it_comes() {
    let daemon = Daemon::start(4);
    for _ in 0..30 {
        let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
        command.args(["lock", "--claim", "lock:a:exclusive", "--", "sleep", "1000"]);
        let running = Running::start_open(command);
        until_interruptible(running.pid());
        process::send(running.pid(), Signal::INT);
        let said = running.ended();
        assert_eq!(said.code, Some(130), "{said:?}");
    }
    until("the last one has let go", || holders(&daemon, "lock:a").is_empty());
}

#[test]
fn a_daemon_that_dies_right_after_its_first_answer_is_waited_for() {
    let mut daemon = Daemon::stopped(1, "");
    std::fs::create_dir(daemon.path("run")).unwrap();
    let listener = UnixListener::bind(daemon.socket()).unwrap();
    let running = lock(&daemon, &["--claim", "lock:a:exclusive"], "echo held");
    let (mut stream, _) = listener.accept().unwrap();
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        asked.extend(byte);
    }
    drop(listener);
    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    drop(stream);
    daemon.start_again();
    assert_eq!(running.ended().succeeds().out, "held\n");
}
