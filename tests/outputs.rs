//! What goes into a task and what comes out of it: output, results, standard input, the directory and the
//! environment. Bytes are passed on as they are, secrets not at all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, Said, gate, program, until};
use orchd_client::api::{LogQuery, LogStream};
use orchd_client::model::{Dependency, DependencyTarget, ErrorType, On, RetrySpec};
use orchd_client::{LogItem, Status, TaskId, TaskSpec};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A value that must not be seen where only names belong.
const SECRET: &str = "hunter2-is-nobodys-business";

fn orchctl(daemon: &Daemon) -> Command {
    daemon.program(env!("CARGO_BIN_EXE_orchctl"))
}

/// What `orchctl logs` prints of a task.
fn logs(daemon: &Daemon, id: TaskId, options: &[&str]) -> Said {
    let said = daemon.orchctl(&[&["logs", &id.to_string()], options].concat());
    said.succeeds();
    said
}

/// Runs a line to its end.
fn ran(daemon: &Daemon, line: &str) -> TaskId {
    let id = daemon.submit(daemon.shell(line));
    daemon.wait(&[id]);
    id
}

/// Adds a task with `orchctl add` and waits for its end.
fn added(daemon: &Daemon, command: Command) -> TaskId {
    let said = program::run(command, b"");
    let id = said.succeeds().out.trim().parse().unwrap();
    daemon.wait(&[id]);
    id
}

/// Every byte there is, in an order without a pattern, and no end of line at the end.
fn bytes_of_all_kinds() -> Vec<u8> {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    (0..=u8::MAX).chain(noise.take(300_000)).chain([b'\n', 0, 0xff]).collect()
}

/// `orchctl` that writes to a file while it runs.
fn orchctl_into(daemon: &Daemon, file: &str, arguments: &[&str]) -> Child {
    let mut command = orchctl(daemon);
    command.args(arguments).stdin(Stdio::null()).stdout(File::create(daemon.path(file)).unwrap());
    command.stderr(Stdio::null()).spawn().unwrap()
}

fn ends_well(mut child: Child) {
    until("orchctl ends", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let below = entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path.display().to_string()] });
    below.collect()
}

#[test]
fn output_and_errors_are_kept_apart_and_the_last_lines_can_be_asked_for() {
    let daemon = Daemon::start(2);
    let id = ran(&daemon, "echo one; echo oh >&2; echo two; echo no >&2; echo three");
    assert_eq!(logs(&daemon, id, &[]).out, "one\ntwo\nthree\n");
    assert_eq!(logs(&daemon, id, &["--stderr"]).out, "oh\nno\n");
    let both = logs(&daemon, id, &["--both"]);
    assert_eq!((&*both.out, &*both.err), ("one\ntwo\nthree\n", "oh\nno\n"));
    assert_eq!(logs(&daemon, id, &["--tail", "2"]).out, "two\nthree\n");
    assert_eq!(logs(&daemon, id, &["--tail", "9"]).out, "one\ntwo\nthree\n");
    assert_eq!(logs(&daemon, id, &["--tail", "0"]).out, "");
    assert_eq!(logs(&daemon, id, &["--stderr", "-n", "1"]).out, "no\n");
    assert_eq!(logs(&daemon, id, &["-f", "--both"]).out, "one\ntwo\nthree\n", "it has ended long ago");
    daemon.orchctl(&["logs", "99"]).fails_with(4, &["99"]);
    daemon.orchctl(&["logs", &id.to_string(), "--attempt", "2"]).fails_with(4, &["2"]);
    daemon.orchctl(&["logs", &id.to_string(), "--both", "--stderr"]).fails_with(2, &["--stderr"]);
}

#[test]
fn each_attempt_keeps_its_own_output() {
    let daemon = Daemon::start(1);
    let retry =
        RetrySpec { max_retries: Some(2), retry_delay: Some("10ms".parse().unwrap()), ..Default::default() };
    let line = "echo attempt $ORCHD_ATTEMPT; [ $ORCHD_ATTEMPT = 3 ]";
    let id = daemon.submit(TaskSpec { retry, ..daemon.shell(line) });
    daemon.wait(&[id]);
    assert_eq!(logs(&daemon, id, &[]).out, "attempt 3\n");
    for attempt in ["1", "2", "3"] {
        assert_eq!(logs(&daemon, id, &["--attempt", attempt]).out, format!("attempt {attempt}\n"));
    }
}

#[test]
fn a_running_task_is_read_as_far_as_it_has_come() {
    let daemon = Daemon::start(2);
    let id = daemon.submit(daemon.shell(format!("echo one; touch begun; {} echo two", gate("go"))));
    until("it has begun", || daemon.path("begun").exists());
    assert_eq!(logs(&daemon, id, &[]).out, "one\n", "it does not wait for the rest");
    daemon.write("go", "");
    daemon.wait(&[id]);
    assert_eq!(logs(&daemon, id, &[]).out, "one\ntwo\n");
}

#[test]
fn a_growing_task_is_followed_to_its_end() {
    let daemon = Daemon::start(2);
    let line = format!("echo one; {} echo two; {} echo oh >&2; exit 3", gate("go"), gate("end"));
    let id = daemon.submit(daemon.shell(line));
    daemon.until_status(id, Status::Running);
    let shown = orchctl_into(&daemon, "shown", &["logs", "-f", &id.to_string()]);
    until("the first line is shown", || daemon.lines("shown") == ["one"]);
    daemon.write("go", "");
    until("the second line is shown", || daemon.lines("shown") == ["one", "two"]);
    // One that comes later begins at the last line.
    let late = orchctl_into(&daemon, "late", &["logs", "--follow", "--tail", "1", &id.to_string()]);
    until("the last line is shown", || daemon.lines("late") == ["two"]);
    daemon.write("end", "");
    ends_well(shown);
    ends_well(late);
    assert_eq!(daemon.lines("shown"), ["one", "two"]);
    assert_eq!(daemon.lines("late"), ["two"]);
    assert_eq!(daemon.status(id), Status::Failed, "logs shows; it does not judge");
}

#[test]
fn a_task_that_has_not_started_can_be_followed() {
    let daemon = Daemon::start(1);
    let first = daemon.submit(daemon.shell(gate("go")));
    let id = daemon.submit(TaskSpec {
        dependencies: vec![Dependency { task: DependencyTarget::Id(first), on: On::Success }],
        ..daemon.shell("printf 'out\\n'; printf 'err\\n' >&2")
    });
    assert_eq!(logs(&daemon, id, &[]).out, "", "nothing yet");
    let query = LogQuery { follow: true, stream: LogStream::Both, ..LogQuery::default() };
    let mut items = daemon.client().logs(id, query).unwrap();
    let shown = orchctl_into(&daemon, "shown", &["logs", "-f", &id.to_string()]);
    assert_eq!(daemon.status(id), Status::Pending);
    daemon.write("go", "");
    ends_well(shown);
    assert_eq!(daemon.lines("shown"), ["out"]);
    let mut seen = [Vec::new(), Vec::new()];
    let end = loop {
        match items.next().unwrap().unwrap() {
            LogItem::Chunk(chunk) => {
                seen[usize::from(chunk.stream == LogStream::Stderr)].extend(chunk.bytes().unwrap());
            }
            LogItem::End(end) => break end,
        }
    };
    assert_eq!(
        (seen, end.status, end.exit_code),
        ([b"out\n".into(), b"err\n".into()], Status::Completed, Some(0))
    );
}

#[test]
fn following_a_task_that_is_cancelled_before_it_starts_ends() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(TaskSpec { hold: true, ..daemon.shell("echo never") });
    let shown = orchctl_into(&daemon, "shown", &["logs", "-f", &id.to_string()]);
    daemon.orchctl(&["cancel", &id.to_string()]).succeeds();
    ends_well(shown);
    assert!(daemon.lines("shown").is_empty());
}

#[test]
fn bytes_of_all_kinds_come_out_as_they_were_written() {
    let daemon = Daemon::start(2);
    let bytes = bytes_of_all_kinds();
    daemon.write("bytes", &bytes);
    let id = ran(&daemon, "cat bytes; cat bytes >&2");
    assert!(logs(&daemon, id, &[]).bytes == bytes, "standard output");
    assert!(logs(&daemon, id, &["--stderr"]).bytes == bytes, "standard error");
    assert!(logs(&daemon, id, &["-f"]).bytes == bytes, "followed");
    let said = daemon.orchctl(&["run", "--", "cat", "bytes"]);
    assert!(said.succeeds().bytes == bytes, "run");
}

#[test]
fn a_silent_task_costs_no_file() {
    let daemon = Daemon::start(2);
    let outputs = daemon.state_dir().join("output");
    let silent = daemon.submit_many((0..20).map(|_| daemon.shell("true")));
    daemon.wait(&silent);
    // What a slot writes to is made once, whatever runs there.
    let of_slots = files(&outputs);
    assert!(of_slots.len() <= 4 && of_slots.iter().all(|path| path.contains("/spool/")), "{of_slots:?}");
    let loud = ran(&daemon, "echo hello");
    let kept: Vec<String> = files(&outputs).into_iter().filter(|path| !path.contains("/spool/")).collect();
    assert!(matches!(&kept[..], [one] if one.ends_with(&format!("/{loud}.1.out"))), "{kept:?}");
    assert_eq!(logs(&daemon, silent[0], &["--both"]).out, "");
}

#[test]
fn output_and_results_are_there_after_a_restart() {
    let mut daemon = Daemon::start(2);
    let id = ran(&daemon, "echo kept; echo too >&2; echo '{\"rows\": 7}' > $ORCHD_RESULT");
    let before = daemon.task(id);
    daemon.kill_and_restart();
    assert_eq!(logs(&daemon, id, &[]).out, "kept\n");
    assert_eq!(logs(&daemon, id, &["--stderr", "-f"]).out, "too\n");
    assert_eq!(daemon.task(id), before);
    assert_eq!(before.result.unwrap().data, Some(json!({"rows": 7})));
}

#[test]
fn who_follows_a_running_task_goes_on_when_the_daemon_is_started_anew() {
    let mut daemon = Daemon::start(1);
    let line = format!("echo first; {} echo last; exit 5", gate("open"));
    let run = orchctl_into(&daemon, "ran", &["run", "--", "sh", "-c", &line]);
    let has_come = |file: &str| fs::read(daemon.path(file)).is_ok_and(|bytes| bytes == b"first\n");
    until("it writes", || has_come("ran"));
    let follow = orchctl_into(&daemon, "follow", &["logs", "-f", "1"]);
    until("it is followed", || has_come("follow"));
    daemon.terminate();
    daemon.start_again();
    daemon.write("open", "");
    for (mut child, file, code) in [(run, "ran", 5), (follow, "follow", 0)] {
        until("it has ended", || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{file}");
        assert_eq!(daemon.lines(file), ["first", "last"]);
    }
}

#[test]
fn a_task_reads_the_file_it_was_given_or_nothing() {
    let daemon = Daemon::start(2);
    daemon.write("words", "one two\nthree");
    assert_eq!(daemon.orchctl(&["run", "--stdin", "words", "--", "cat"]).succeeds().out, "one two\nthree");
    let piped = daemon.orchctl_reading(&["run", "--stdin", "-", "--", "wc", "-c"], b"12345");
    assert_eq!(piped.succeeds().out.trim(), "5");
    // Whoever has nothing to read is at the end of it at once.
    assert_eq!(daemon.orchctl_reading(&["run", "--", "cat"], b"not for the task").succeeds().out, "");
    daemon.orchctl(&["add", "--stdin", "no-such-file", "--", "cat"]).fails_with(2, &["no-such-file"]);
}

#[test]
fn a_task_runs_where_its_submitter_stands_or_where_it_is_told() {
    let daemon = Daemon::start(2);
    fs::create_dir_all(daemon.path("here/below")).unwrap();
    let here = daemon.path("here").canonicalize().unwrap();
    let pwd = |options: &[&str]| {
        let mut command = orchctl(&daemon);
        command.arg("run").args(options).args(["--", "sh", "-c", "pwd -P"]).current_dir(&here);
        program::run(command, b"").succeeds().out.trim().to_owned()
    };
    assert_eq!(pwd(&[]), here.to_str().unwrap());
    assert_eq!(pwd(&["--cwd", "below"]), here.join("below").to_str().unwrap());
    assert_eq!(pwd(&["--cwd", "/"]), "/");
    let said = daemon.orchctl(&["run", "--cwd", "/no/such/place", "--", "pwd"]);
    said.fails_with(127, &["/no/such/place"]);
}

#[test]
fn only_the_listed_variables_of_the_submitter_reach_a_task() {
    let daemon = Daemon::start(2);
    let env = |options: &[&str]| -> Vec<String> {
        let mut command = orchctl(&daemon);
        command.env("TOKEN", SECRET).env("LANG", "C").env("LC_ALL", "POSIX").env("TZ", "UTC");
        command.arg("add").args(options).args(["--", "env"]);
        let id = added(&daemon, command);
        logs(&daemon, id, &[]).out.lines().map(str::to_owned).collect()
    };
    let token = format!("TOKEN={SECRET}");
    let usual = env(&[]);
    for listed in ["LANG=C", "LC_ALL=POSIX", "TZ=UTC"] {
        assert!(usual.iter().any(|line| line == listed), "{listed} is not in {usual:?}");
    }
    assert!(usual.iter().any(|line| line.starts_with("PATH=")), "{usual:?}");
    assert!(!usual.iter().any(|line| line.contains(SECRET)), "{usual:?}");
    assert!(!usual.iter().any(|line| line.starts_with("ORCHD_STATE_DIR=")), "{usual:?}");
    assert!(env(&["--env-all"]).contains(&token));
    assert!(env(&["-e", &token]).contains(&token));
    let both = env(&["--env-all", "--env", "TOKEN=other", "--env", "EMPTY="]);
    assert!(both.contains(&"TOKEN=other".to_owned()) && both.contains(&"EMPTY=".to_owned()), "{both:?}");
}

#[test]
fn values_of_variables_are_shown_nowhere() {
    let mut daemon = Daemon::start(2);
    let mut add = orchctl(&daemon);
    add.args(["add", "--max-retries", "1", "--retry-delay", "0", "-e", &format!("TOKEN={SECRET}")]);
    add.args(["--", "sh", "-c", "test -n \"$TOKEN\"; exit 3"]);
    let id = added(&daemon, add);
    let held = daemon.orchctl(&["add", "--hold", "-e", &format!("TOKEN={SECRET}"), "--", "true"]);
    let held = held.succeeds().out.trim().to_owned();
    for restart in [false, true] {
        if restart {
            daemon.kill_and_restart();
        }
        let ended = id.to_string();
        for words in [
            &["list"][..],
            &["list", "--json", "--limit", "0"],
            &["show", &ended],
            &["show", &ended, "--json"],
            &["show", &held, "--json"],
            &["why", &held, "--json"],
            &["stats", "--json"],
            &["workers", "--json"],
        ] {
            let said = daemon.orchctl(words);
            said.succeeds();
            assert!(!said.out.contains(SECRET) && !said.err.contains(SECRET), "{words:?}: {said:?}");
        }
        let task = daemon.orchctl(&["show", &ended, "--json"]).json();
        assert!(task["env"].as_array().unwrap().contains(&json!("TOKEN")), "its name is shown: {task}");
        let events = serde_json::to_string(&daemon.events(None)).unwrap();
        assert!(!events.contains(SECRET), "{events}");
    }
    for log in ["daemon.log", "state/worker.log"] {
        assert!(!daemon.lines(log).concat().contains(SECRET), "{log}");
    }
}

#[test]
fn a_dependent_finds_the_results_of_what_it_depends_on() {
    let daemon = Daemon::start(2);
    let rows = ran(&daemon, "echo '{\"rows\": [1, 2, 3]}' > \"$ORCHD_RESULT\"");
    let bad = ran(&daemon, "exit 3");
    let after = |on: &str| ["--after".to_owned(), on.to_owned()];
    let words: Vec<String> = ["add".to_owned(), "--params".to_owned(), "{\"limit\": 2}".to_owned()]
        .into_iter()
        .chain(after(&rows.to_string()))
        .chain(after(&format!("{bad}:failure")))
        .chain(["--", "sh", "-c", "cat $ORCHD_INPUTS"].map(str::to_owned))
        .collect();
    let id: TaskId = daemon.orchctl(&words).succeeds().out.trim().parse().unwrap();
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
    let inputs: Value = serde_json::from_str(&logs(&daemon, id, &[]).out).unwrap();
    assert_eq!(inputs["parameters"], json!({"limit": 2}));
    let first = &inputs["tasks"][rows.to_string()];
    assert_eq!(first["output"], json!({"rows": [1, 2, 3]}), "{inputs}");
    assert_eq!(
        (&first["status"], &first["exit_code"], &first["attempts"]),
        (&json!("completed"), &json!(0), &json!(1))
    );
    let second = &inputs["tasks"][bad.to_string()];
    assert_eq!((&second["status"], &second["exit_code"]), (&json!("failed"), &json!(3)), "{inputs}");
    let shown = daemon.orchctl(&["show", &rows.to_string(), "--json"]).succeeds().json();
    assert_eq!(shown["result"]["data"], json!({"rows": [1, 2, 3]}), "{shown}");
    assert_eq!((&shown["result"]["success"], &shown["result"]["exit_code"]), (&json!(true), &json!(0)));
}

#[test]
fn a_result_that_is_no_json_or_too_large_is_a_failure() {
    let daemon = Daemon::start(2);
    for line in [
        "echo '{\"rows\":' > $ORCHD_RESULT",
        "printf '\\377\\376' > $ORCHD_RESULT",
        "(printf '\"'; head -c 300000 /dev/zero | tr '\\0' x; printf '\"') > $ORCHD_RESULT",
        "mkdir $ORCHD_RESULT",
    ] {
        let task = daemon.task(ran(&daemon, line));
        assert_eq!(task.status, Status::Failed, "{line}: {task:?}");
        let result = task.result.unwrap();
        assert_eq!(result.error_type, Some(ErrorType::InvalidResult), "{line}: {result:?}");
        assert_eq!(result.data, None);
        assert!(result.error_message.is_some_and(|message| !message.is_empty()), "{line}");
    }
    // What one attempt left is not the next one's.
    let task = daemon.task(ran(&daemon, "true"));
    assert_eq!((task.status, task.result.unwrap().data), (Status::Completed, None));
}

#[test]
fn run_passes_on_output_errors_and_the_exit_code() {
    let daemon = Daemon::start(2);
    let said = daemon.orchctl(&["run", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((said.code, &*said.out, &*said.err), (Some(3), "out\n", "err\n"));
    assert_eq!(daemon.orchctl(&["run", "--shell", "--", "echo a | tr a b"]).succeeds().out, "b\n");
    daemon.orchctl(&["run", "--", "no-such-command-anywhere"]).fails_with(127, &["no-such-command-anywhere"]);
    daemon.write("no-program", "text");
    daemon.orchctl(&["run", "--", "./no-program"]).fails_with(126, &["no-program"]);
    for (signal, number) in [("TERM", 15), ("KILL", 9), ("USR1", 10)] {
        let said = daemon.orchctl(&["run", "--", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(said.code, Some(128 + number), "{said:?}");
    }
    let said = daemon.orchctl(&["--json", "run", "--", "sh", "-c", "echo out; exit 4"]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert_eq!((&said.json()["result"]["exit_code"], &*said.err), (&json!(4), "out\n"));
}

#[test]
fn a_hundred_tasks_are_followed_at_once() {
    const TASKS: usize = 100;
    let daemon = Daemon::start(8);
    let line = |number| format!("echo begin {number}; {} echo end {number}", gate("go"));
    let ids = daemon.submit_many((0..TASKS).map(|number| daemon.shell(line(number))));
    // Most of them have not started.
    let followers = std::thread::scope(|scope| {
        let follow = |id: TaskId| {
            let query = LogQuery { follow: true, ..LogQuery::default() };
            let mut bytes = Vec::new();
            for item in daemon.client().logs(id, query).unwrap() {
                if let LogItem::Chunk(chunk) = item.unwrap() {
                    bytes.extend(chunk.bytes().unwrap());
                }
            }
            String::from_utf8(bytes).unwrap()
        };
        let followers: Vec<_> = ids.iter().map(|id| scope.spawn(move || follow(*id))).collect();
        daemon.write("go", "");
        followers.into_iter().map(|follower| follower.join().unwrap()).collect::<Vec<_>>()
    });
    for (number, text) in followers.into_iter().enumerate() {
        assert_eq!(text, format!("begin {number}\nend {number}\n"));
    }
}

#[test]
fn a_task_that_writes_much_is_followed_to_its_last_byte() {
    const MEBIBYTES: usize = 64;
    let daemon = Daemon::start(2);
    let line = format!("{} head -c {MEBIBYTES}M /dev/zero; echo end", gate("go"));
    let id = daemon.submit(daemon.shell(line));
    let shown = orchctl_into(&daemon, "shown", &["logs", "-f", &id.to_string()]);
    daemon.until_status(id, Status::Running);
    daemon.write("go", "");
    ends_well(shown);
    let bytes = fs::read(daemon.path("shown")).unwrap();
    assert_eq!(bytes.len(), (MEBIBYTES << 20) + 4);
    assert!(bytes.ends_with(b"\0end\n"));
}
