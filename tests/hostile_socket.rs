//! The socket in the hands of somebody who does not speak our language, or speaks without an end: the daemon
//! answers with an error or closes, keeps its memory bounded, and goes on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, PATIENCE, until};
use orchd_client::blocking::Client;
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

/// What is far too much.
const FAR_TOO_MUCH: usize = 100 << 20;
/// What the daemon's memory never comes near, kB.
const BOUND_KB: u64 = 400 << 10;

/// A connection on which neither side waits for ever.
fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Says all that is ever said on a connection; gives what came back until the daemon closed it.
fn say(daemon: &Daemon, words: &[u8]) -> String {
    converse(daemon, words, b' ', 0, true)
}

/// Sends a head and so many bytes; gives what came back until the daemon closed the connection.
fn exchange(daemon: &Daemon, head: &[u8], byte: u8, count: usize) -> String {
    converse(daemon, head, byte, count, false)
}

/// Sends while somebody else reads. Whoever hangs up need not be answered.
fn converse(daemon: &Daemon, head: &[u8], byte: u8, count: usize, hang_up: bool) -> String {
    let mut stream = connect(daemon);
    let mut reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut answer = Vec::new();
        // A connection that is broken off ends here as well as one that is closed.
        let ended = reading.read_to_end(&mut answer);
        let waited = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!waited, "neither an answer nor an end: {}", String::from_utf8_lossy(&answer));
        answer
    });
    let piece = vec![byte; 1 << 20];
    // The daemon need not take all of it.
    let mut sent = stream.write_all(head);
    let mut left = count;
    while sent.is_ok() && left > 0 {
        let part = left.min(piece.len());
        sent = stream.write_all(&piece[..part]);
        left -= part;
    }
    if hang_up {
        drop(stream.shutdown(Shutdown::Write));
    }
    String::from_utf8_lossy(&reader.join().unwrap()).into_owned()
}

/// The daemon serves, has not grown, and not even for a moment has grown too much.
fn still_serves(daemon: &Daemon) {
    let said = daemon.orchctl(&["run", "--", "echo", "alive"]);
    assert_eq!(said.succeeds().out, "alive\n");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    for figure in ["VmRSS:", "VmHWM:"] {
        let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kilobytes < BOUND_KB, "{line}");
    }
}

fn status_of(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

#[test]
fn garbage_is_answered_with_an_error_and_forgotten() {
    let daemon = Daemon::start(1);
    for garbage in [
        &b"\0\x01\x02\xff\xfe\n\n\r\n\r\n"[..],
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/stats HTTP/9.9\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n",
    ] {
        let answer = say(&daemon, garbage);
        assert!(answer.is_empty() || status_of(&answer).starts_with('4'), "{answer}");
    }
    // Half a request, and one whose sender left before the answer.
    drop(say(&daemon, b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{\"comm"));
    for _ in 0..50 {
        connect(&daemon).write_all(b"GET /v1/stats HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    }
    assert_eq!(daemon.stats().total_tasks, 0);
    still_serves(&daemon);
}

#[test]
fn documents_that_make_no_sense_are_refused_with_a_typed_error() {
    let daemon = Daemon::start(1);
    let deep = format!("{{\"command\": [\"true\"], \"metadata\": {{\"x\": {}", "[".repeat(200_000));
    for (route, body, status) in [
        ("POST /v1/tasks", "{\"command\": [\"true\"", "400"),
        ("POST /v1/tasks", "\0\u{1}", "400"),
        ("POST /v1/tasks", "", "400"),
        ("POST /v1/tasks", "null", "400"),
        ("POST /v1/tasks", "7", "400"),
        ("POST /v1/tasks", "{\"command\": \"true\"}", "400"),
        ("POST /v1/tasks", "{\"command\": [\"true\"], \"max_retries\": -1}", "400"),
        ("POST /v1/tasks", "{\"command\": [\"true\"], \"workflow\": 9}", "400"),
        ("POST /v1/tasks", &deep, "400"),
        ("POST /v1/tasks/wait", "[]", "400"),
        ("POST /v1/tasks/cancel", "{\"ids\": [\"x\"]}", "400"),
        ("GET /v1/tasks/seven", "", "400"),
        ("GET /v1/tasks?limit=many", "", "400"),
        ("GET /v1/tasks/4711", "", "404"),
        ("GET /v1/nonsense", "", "404"),
        ("GET /../../etc/passwd", "", "404"),
        ("DELETE /v1/tasks", "", "405"),
        ("GET /v1/workers/session", "", "426"),
        ("PATCH /v1/tasks/1", "", "405"),
    ] {
        let length = body.len();
        let head = format!(
            "{route} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let answer = exchange(&daemon, head.as_bytes(), 0, 0);
        assert_eq!(status_of(&answer), status, "{route} {:.80}: {answer}", body);
        assert!(answer.contains("application/problem+json") && answer.contains("\"code\":"), "{answer}");
    }
    assert_eq!(daemon.stats().total_tasks, 0);
    still_serves(&daemon);
}

#[test]
fn a_head_a_body_or_a_line_without_an_end_does_not_fill_the_memory() {
    let daemon = Daemon::start(1);
    let post = "POST /v1/tasks HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let answer = exchange(&daemon, b"GET /", b'x', FAR_TOO_MUCH);
    assert!(answer.is_empty() || status_of(&answer).starts_with('4'), "{answer}");
    let answer = exchange(&daemon, b"GET /v1/stats HTTP/1.1\r\nx: ", b'x', FAR_TOO_MUCH);
    assert!(answer.is_empty() || status_of(&answer).starts_with('4'), "{answer}");
    still_serves(&daemon);
    let head = format!("{post}content-type: application/json\r\ncontent-length: {FAR_TOO_MUCH}\r\n\r\n");
    let answer = exchange(&daemon, head.as_bytes(), b' ', FAR_TOO_MUCH);
    assert!(answer.is_empty() || status_of(&answer) == "413", "{answer}");
    still_serves(&daemon);
    let head = format!("{post}content-type: application/x-ndjson\r\ncontent-length: {FAR_TOO_MUCH}\r\n\r\n");
    let answer = exchange(&daemon, head.as_bytes(), b'x', FAR_TOO_MUCH);
    let is_refused = answer.contains("too_large") || status_of(&answer) == "413";
    assert!(answer.is_empty() || is_refused, "{answer}");
    still_serves(&daemon);
    // What is blank is passed over, however much of it there is.
    for byte in [b' ', b'\n'] {
        let answer = exchange(&daemon, head.as_bytes(), byte, FAR_TOO_MUCH);
        assert_eq!(status_of(&answer), "200", "{answer}");
        still_serves(&daemon);
    }
    // One chunk of a chunked body.
    let head = format!(
        "{post}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{FAR_TOO_MUCH:x}\r\n"
    );
    let answer = exchange(&daemon, head.as_bytes(), b'[', FAR_TOO_MUCH);
    assert!(answer.is_empty() || status_of(&answer) == "413", "{answer}");
    still_serves(&daemon);
}

#[test]
fn a_frame_without_an_end_ends_a_worker_session_and_nothing_else() {
    let daemon = Daemon::start(1);
    let worker = daemon.worker().pid;
    let upgrade =
        b"GET /v1/workers/session HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let masked = [0, 0, 0, 0];
    let length = (FAR_TOO_MUCH as u64).to_be_bytes();
    let huge = [&upgrade[..], &[0x81, 0x80 | 127], &length, &masked].concat();
    let answer = exchange(&daemon, &huge, b'x', FAR_TOO_MUCH);
    assert_eq!(status_of(&answer), "101", "{answer}");
    still_serves(&daemon);
    // The same in pieces: frames of 1 MiB that never end the message.
    let text = vec![b'x'; 1 << 20];
    let piece = |first: u8| [&[first, 0x80 | 127][..], &(1_u64 << 20).to_be_bytes(), &masked, &text].concat();
    let pieces = [&upgrade[..], &piece(0x01), &piece(0x00).repeat(40)].concat();
    assert_eq!(status_of(&say(&daemon, &pieces)), "101");
    // Words that no worker says, and bytes that are no frames.
    for frame in [
        &b"\x81\x82\0\0\0\0{}"[..],
        b"\x82\x82\0\0\0\0\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x81\x03abc",
    ] {
        assert_eq!(status_of(&say(&daemon, &[&upgrade[..], frame].concat())), "101");
    }
    still_serves(&daemon);
    assert_eq!(daemon.worker().pid, worker, "the worker is the one there was");
    assert_eq!(daemon.client().workers().unwrap().len(), 1);
}

#[test]
fn who_is_answered_early_may_send_to_its_end() {
    let daemon = Daemon::start(1);
    let far = 64 << 20;
    for (kind, status) in [("application/x-ndjson", "200"), ("application/json", "413")] {
        let mut stream = connect(&daemon);
        let head = format!(
            "POST /v1/tasks HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            far + 1
        );
        stream.write_all(head.as_bytes()).unwrap();
        // Nobody reads while this is sent.
        stream.write_all(&vec![b'x'; far + 1]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(status_of(&answer), status, "{answer}");
        assert!(answer.contains("too_large"), "{answer}");
    }
    still_serves(&daemon);
}

#[test]
fn a_task_is_as_small_in_a_workflow_or_a_schedule_as_alone() {
    let daemon = Daemon::start(1);
    let task = format!(r#"{{"name": "t", "command": ["wc"], "stdin": "{}"}}"#, "x".repeat(20 << 20));
    let workflow = format!(r#"{{"name": "w", "tasks": [{task}]}}"#);
    for (path, body) in [
        ("workflows", workflow.clone()),
        ("schedules", format!(r#"{{"name": "s", "every": "1h", "task": {task}}}"#)),
        ("schedules", format!(r#"{{"name": "s", "every": "1h", "workflow": {workflow}}}"#)),
    ] {
        let head = format!(
            "POST /v1/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = say(&daemon, head.as_bytes());
        assert_eq!(status_of(&answer), "413", "{path}: {answer}");
        assert!(answer.contains("a task spec has at most 1048576 bytes"), "{answer}");
    }
    still_serves(&daemon);
}

/// Asks for all events that come, which no connection is done with.
const EVENTS: &[u8] = b"GET /v1/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n";

#[test]
fn many_silent_connections_keep_nobody_out() {
    let daemon = Daemon::start(1);
    daemon.worker();
    let mut silent: Vec<UnixStream> = (0..3000).map(|_| connect(&daemon)).collect();
    still_serves(&daemon);
    // Nor do those that begin to say something.
    for stream in &mut silent {
        // It may have had to go.
        drop(stream.write_all(b"GET /v1/st"));
    }
    still_serves(&daemon);
    drop(silent);
    let busy: Vec<UnixStream> = (0..1100)
        .map(|_| {
            let mut stream = connect(&daemon);
            drop(stream.write_all(EVENTS));
            stream
        })
        .collect();
    // Now there are too many; who comes is told so, however many say nothing before it.
    let silent: Vec<UnixStream> = (0..1000).map(|_| connect(&daemon)).collect();
    let answer = exchange(&daemon, b"GET /v1/stats HTTP/1.1\r\nhost: x\r\n\r\n", 0, 0);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("busy") && answer.contains("at most 1024 connections"), "{answer}");
    drop((silent, busy));
    until("the daemon takes connections again", || Client::connect(daemon.socket()).is_ok());
    still_serves(&daemon);
}

#[test]
fn a_submitter_with_very_many_connections_does_not_keep_admins_from_theirs() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tried: only root can become another user");
        return;
    }
    let mut daemon = Daemon::configured(1, "[access]\nusers = [\"65534\"]\n");
    daemon.worker();
    for directory in ["", "run"] {
        fs::set_permissions(daemon.path(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let socket = daemon.socket();
    let nobody = Uid::from_raw(65_534);
    let others = std::thread::spawn(move || {
        // Of this thread alone.
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let ask = |_| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            drop(stream.write_all(EVENTS));
            stream
        };
        let streams: Vec<UnixStream> = (0..1060).map(ask).collect();
        let mut last = String::new();
        let mut late = ask(0);
        late.shutdown(Shutdown::Write).unwrap();
        late.read_to_string(&mut last).unwrap();
        assert!(last.contains("at most 512 connections of one user"), "{last}");
        streams
    });
    let others = others.join().unwrap();
    daemon.orchctl(&["shutdown"]).succeeds();
    assert!(daemon.ended().success());
    drop(others);
}
