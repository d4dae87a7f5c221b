//! The runner without a daemon: assignments go in, events come out.

mod attempts;
mod bench;
mod builds;
mod limits_of_claims;

use attempts::{assignment, shell};
use bench::Bench;
use orchd_api::{StopCause, StopOrder, Work};
use orchd_model::{AttemptNumber, ErrorType, Outcome, Span, TaskId, Token, limits};
use orchd_worker::Stream;
use serde_json::json;

fn failed(outcome: &Outcome) -> (ErrorType, String) {
    match outcome {
        Outcome::Failed { error_type, message, .. } => (error_type.clone(), message.clone()),
        other => panic!("{other:?} is no failure"),
    }
}

#[test]
fn exit_codes_and_signals_are_told_as_they_are() {
    let bench = Bench::new(2);
    assert_eq!(bench.run(shell(1, "exit 0")).outcome, Outcome::Succeeded);
    assert_eq!(bench.run(shell(2, "exit 7")).outcome, Outcome::exited(7));
    assert_eq!(bench.run(shell(3, "kill -KILL $$")).outcome, Outcome::signalled(9));
    assert_eq!(bench.run(shell(4, "kill -TERM $$")).outcome, Outcome::signalled(15));
}

#[test]
fn usage_is_measured() {
    let bench = Bench::new(1);
    let report = bench.run(shell(1, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"));
    let usage = report.usage.unwrap();
    assert!(usage.cpu_user > 0.0, "{usage:?}");
    assert!(report.execution_time > Span::ZERO);
    // The kernel counts this process's memory as that of what it starts, so that nothing smaller can be told.
    let small = (usage.memory_peak, usage.memory_at_most.is_some_and(|most| most > 100 << 10));
    assert_eq!(small, (None, true), "{usage:?}");
    let fill = "x=$(head -c 134217728 /dev/zero | tr '\\0' x)";
    let usage = bench.run(shell(2, fill)).usage.unwrap();
    assert!(usage.memory_peak > Some(128 << 20) && usage.memory_at_most.is_none(), "{usage:?}");
}

#[test]
fn many_attempts_each_end_once() {
    let bench = Bench::new(3);
    for token in 1..=200 {
        bench.runner().assign(shell(token, &format!("exit {}", token % 5)));
    }
    let reports = bench.ended(200);
    for token in 1..=200 {
        let mine: Vec<_> = reports.iter().filter(|report| report.token == Token(token)).collect();
        let [report] = mine[..] else { panic!("{} reports of {token}", mine.len()) };
        assert_eq!(report.outcome, Outcome::exited((token % 5) as i32));
    }
    assert!(bench.runner().is_idle());
}

#[test]
fn a_silent_task_leaves_no_file() {
    let bench = Bench::new(1);
    bench.run(shell(1, "true"));
    assert_eq!(bench.output(1, Stream::Out), None);
    assert_eq!(bench.output(1, Stream::Err), None);
    assert!(!bench.paths().output(TaskId(1), AttemptNumber(1), Stream::Out).parent().unwrap().exists());
}

#[test]
fn output_is_kept_byte_for_byte_and_apart() {
    let bench = Bench::new(1);
    bench.run(shell(1, r"printf 'a\000\377\nb'; printf 'oops' >&2"));
    bench.run(shell(2, "echo second"));
    bench.run(shell(3, "echo only-err >&2"));
    assert_eq!(bench.output(1, Stream::Out).unwrap(), b"a\0\xff\nb");
    assert_eq!(bench.output(1, Stream::Err).unwrap(), b"oops");
    assert_eq!(bench.output(2, Stream::Out).unwrap(), b"second\n");
    assert_eq!(bench.output(2, Stream::Err), None);
    assert_eq!(bench.output(3, Stream::Out), None);
    assert_eq!(bench.output(3, Stream::Err).unwrap(), b"only-err\n");
}

#[test]
fn output_can_be_read_in_its_spool_while_the_task_runs() {
    let bench = Bench::new(1);
    let gate = bench.fifo("gate");
    bench.runner().assign(shell(1, &format!("echo early; read line < {}; echo late", gate.display())));
    let started = bench.started();
    let spool = bench.paths().spool(started.spool.unwrap(), Stream::Out);
    bench.until(|| std::fs::read(&spool).unwrap() == b"early\n");
    std::fs::write(&gate, "go\n").unwrap();
    bench.ended(1);
    assert_eq!(bench.output(1, Stream::Out).unwrap(), b"early\nlate\n");
}

#[test]
fn a_result_is_read_as_json() {
    let bench = Bench::new(1);
    let report = bench.run(shell(1, r#"echo '{"rows": 12}' > "$ORCHD_RESULT""#));
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert_eq!(report.data, Some(json!({"rows": 12})));
    assert_eq!(bench.run(shell(2, "true")).data, None);
}

#[test]
fn a_result_that_is_none_fails_an_attempt_that_succeeded() {
    let bench = Bench::new(1);
    let too_large = format!(
        r#"{{ printf '"'; head -c {} /dev/zero | tr '\0' x; printf '"'; }} > "$ORCHD_RESULT""#,
        limits::RESULT_BYTES
    );
    for (token, script) in [
        r#"echo '{"rows":' > "$ORCHD_RESULT""#,
        r#": > "$ORCHD_RESULT""#,
        r#"mkfifo "$ORCHD_RESULT""#,
        r#"ln -s /etc/hostname "$ORCHD_RESULT""#,
        r#"mkdir "$ORCHD_RESULT"; : > "$ORCHD_RESULT/x""#,
        &too_large,
    ]
    .into_iter()
    .enumerate()
    {
        let report = bench.run(shell(token as u64 + 1, script));
        assert_eq!(failed(&report.outcome).0, ErrorType::InvalidResult, "{script}");
        assert_eq!(report.data, None);
        assert_eq!(std::fs::read_dir(bench.paths().slot(0)).unwrap().count(), 0, "{script}");
    }
    let report = bench.run(shell(99, r#": > "$ORCHD_RESULT"; exit 4"#));
    assert_eq!(report.outcome, Outcome::exited(4));
}

#[test]
fn what_cannot_be_started_is_explained() {
    let bench = Bench::new(1);
    let plain = bench.path("plain");
    std::fs::write(&plain, "no program").unwrap();
    let plain = plain.to_str().unwrap();
    let script = bench.executable("script", "#!/no/such/interpreter\n");
    let text = bench.executable("text", "just text\n");
    let (script, text) = (script.to_str().unwrap(), text.to_str().unwrap());
    for (token, (argv, error_type, message)) in [
        (vec!["no-such-program"], ErrorType::NotFound, "program not found: no-such-program".to_owned()),
        (vec!["/no/such"], ErrorType::NotFound, "program not found: /no/such".to_owned()),
        (vec![], ErrorType::NotFound, "the command is empty".to_owned()),
        (vec![plain], ErrorType::PermissionDenied, format!("program may not be run: {plain}")),
        (
            vec![script],
            ErrorType::NotFound,
            format!("the interpreter of this program was not found: {script}"),
        ),
        (
            vec![text],
            ErrorType::PermissionDenied,
            format!("neither a program nor a script with a #! line: {text}"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let report = bench.run(assignment(token as u64 + 1, &argv));
        assert_eq!(failed(&report.outcome), (error_type, message));
    }
}

#[test]
fn a_missing_directory_is_named() {
    let bench = Bench::new(1);
    let mut task = shell(1, "true");
    if let Work::Command { cwd, .. } = &mut task.work {
        *cwd = Some("/no/such/directory".to_owned());
    }
    let (error_type, message) = failed(&bench.run(task).outcome);
    assert_eq!(error_type, ErrorType::NotFound);
    assert_eq!(message, "working directory not found: /no/such/directory");
}

#[test]
fn the_directory_and_standard_input_are_as_asked() {
    let bench = Bench::new(1);
    let mut task = shell(1, "pwd; cat");
    if let Work::Command { cwd, stdin, .. } = &mut task.work {
        *cwd = Some("/usr".to_owned());
        *stdin = Some("line one\nline two".to_owned());
    }
    bench.run(task);
    assert_eq!(bench.output(1, Stream::Out).unwrap(), b"/usr\nline one\nline two");
    bench.run(shell(2, "pwd; cat"));
    assert_eq!(bench.output(2, Stream::Out).unwrap(), b"/\n");
}

#[test]
fn a_program_is_looked_up_in_the_tasks_own_path() {
    let bench = Bench::new(1);
    bench.executable("mytool", "#!/bin/sh\necho mine\n");
    let mut task = assignment(1, &["mytool"]);
    if let Work::Command { env, .. } = &mut task.work {
        env.insert("PATH".to_owned(), format!("/no/such:{}", bench.path("").display()));
    }
    assert_eq!(bench.run(task).outcome, Outcome::Succeeded);
    assert_eq!(bench.output(1, Stream::Out).unwrap(), b"mine\n");
}

#[test]
fn the_environment_is_what_was_given_and_orchds_own() {
    let bench = Bench::new(1);
    let mut task = assignment(5, &["/usr/bin/env", "-0"]);
    task.task = TaskId(77);
    task.attempt = AttemptNumber(3);
    if let Work::Command { env, .. } = &mut task.work {
        env.clear();
        env.insert("A".to_owned(), "x y\nz".to_owned());
        env.insert("ORCHD_TOKEN".to_owned(), "forged".to_owned());
    }
    bench.run(task);
    let path = bench.paths().output(TaskId(77), AttemptNumber(3), Stream::Out);
    let text = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    let mut lines: Vec<&str> = text.split_terminator('\0').collect();
    lines.sort_unstable();
    let slot = bench.paths().slot(0);
    assert_eq!(
        lines,
        [
            "A=x y\nz".to_owned(),
            "ORCHD_ATTEMPT=3".to_owned(),
            "ORCHD_CPUS=1".to_owned(),
            format!("ORCHD_INPUTS={}", bench.paths().no_inputs().display()),
            format!("ORCHD_PROGRESS={}", bench.paths().progress(0).display()),
            format!("ORCHD_RESULT={}", slot.join("5.result").display()),
            "ORCHD_SOCKET=/run/test.sock".to_owned(),
            "ORCHD_TASK_ID=77".to_owned(),
            "ORCHD_TOKEN=5".to_owned(),
        ]
    );
}

#[test]
fn no_signal_is_blocked_or_ignored_and_streams_are_in_place() {
    let bench = Bench::new(1);
    bench.run(shell(1, "grep -E '^Sig(Blk|Ign)' /proc/self/status; readlink /proc/self/fd/0"));
    let text = String::from_utf8(bench.output(1, Stream::Out).unwrap()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mask = |line: &str| u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap();
    // 32 and 33 belong to the C library, which does not let anybody change them.
    let changeable = !(0b11 << 31);
    assert_eq!((mask(lines[0]), mask(lines[1]) & changeable), (0, 0), "{text}");
    assert_eq!(lines[2], "/dev/null");
}

#[test]
fn a_task_may_use_all_processors_though_its_spawner_is_pinned() {
    let bench = Bench::new(2);
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap();
    let gate = bench.fifo("gate");
    let script = format!("read line < {}; grep ^Cpus_allowed: /proc/self/status", gate.display());
    bench.runner().assign(shell(1, &script));
    bench.started();
    std::fs::write(&gate, "go\n").unwrap();
    bench.ended(1);
    assert_eq!(String::from_utf8(bench.output(1, Stream::Out).unwrap()).unwrap().trim_end(), own);
}

#[test]
fn inputs_are_in_the_file_that_is_named() {
    let bench = Bench::new(1);
    let mut task = shell(1, "cat \"$ORCHD_INPUTS\"");
    task.inputs = Some(json!({"parameters": {"x": 1}, "tasks": {}}));
    bench.run(task);
    assert_eq!(bench.output(1, Stream::Out).unwrap(), br#"{"parameters":{"x":1},"tasks":{}}"#);
    bench.run(shell(2, "cat \"$ORCHD_INPUTS\""));
    let empty: serde_json::Value = serde_json::from_slice(&bench.output(2, Stream::Out).unwrap()).unwrap();
    assert_eq!(empty, json!({"parameters": {}, "tasks": {}}));
    assert_eq!(std::fs::read_dir(bench.paths().slot(0)).unwrap().count(), 0);
}

#[test]
fn a_timeout_ends_the_whole_group() {
    let bench = Bench::new(1);
    let mut task = shell(1, "sh -c 'sleep 1000 & sleep 1000' & sleep 1000");
    task.timeout = Some(Span::from_millis(50));
    let report = bench.run(task);
    assert_eq!(report.outcome, Outcome::TimedOut);
    assert_eq!(bench.living_with_token(1), Vec::<u32>::new());
}

#[test]
fn what_outlives_its_leader_is_killed_before_the_end_is_told() {
    let bench = Bench::new(1);
    let report = bench.run(shell(1, "trap '' HUP TERM; sleep 1000 & (sleep 1000 & sleep 1000) & exit 3"));
    assert_eq!(report.outcome, Outcome::exited(3));
    assert_eq!(bench.living_with_token(1), Vec::<u32>::new());
}

#[test]
fn a_stop_is_told_by_its_cause() {
    let bench = Bench::new(1);
    for (token, cause, outcome) in [
        (1, StopCause::Cancel, Outcome::Cancelled),
        (2, StopCause::Timeout, Outcome::TimedOut),
        (3, StopCause::Deadline, Outcome::DeadlineMet),
    ] {
        bench.runner().assign(shell(token, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"));
        let started = bench.started();
        let spool = bench.paths().spool(started.spool.unwrap(), Stream::Out);
        bench.until(|| std::fs::read(&spool).unwrap() == b"ready\n");
        bench.runner().stop(StopOrder { token: Token(token), cause });
        assert_eq!(bench.ended(1)[0].outcome, outcome);
        assert_eq!(bench.living_with_token(token), Vec::<u32>::new());
    }
}

#[test]
fn what_ignores_sigterm_is_killed_after_the_grace() {
    let bench = Bench::new(1);
    let mut task = shell(1, "trap '' TERM; echo ready; while :; do sleep 1000; done");
    task.grace = Span::from_millis(50);
    bench.runner().assign(task);
    let started = bench.started();
    let spool = bench.paths().spool(started.spool.unwrap(), Stream::Out);
    bench.until(|| std::fs::read(&spool).unwrap() == b"ready\n");
    bench.runner().stop(StopOrder { token: Token(1), cause: StopCause::Cancel });
    let report = bench.ended(1).remove(0);
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert!(report.execution_time >= Span::from_millis(50));
    assert_eq!(bench.living_with_token(1), Vec::<u32>::new());
}

#[test]
fn a_stopped_process_can_be_ended_without_waiting_for_the_grace() {
    let bench = Bench::new(1);
    let mut task = shell(1, "kill -STOP $$");
    task.grace = Span::from_secs(3600);
    bench.runner().assign(task);
    let pid = bench.started().pid.unwrap();
    bench.until(|| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T "));
    bench.runner().stop(StopOrder { token: Token(1), cause: StopCause::Cancel });
    assert_eq!(bench.ended(1)[0].outcome, Outcome::Cancelled);
}

#[test]
fn a_tombstone_keeps_an_assignment_from_starting() {
    let bench = Bench::new(1);
    bench.runner().stop(StopOrder { token: Token(9), cause: StopCause::Deadline });
    let mark = bench.path("mark");
    bench.runner().assign(shell(9, &format!("touch {}", mark.display())));
    assert_eq!(bench.ended(1)[0].outcome, Outcome::DeadlineMet);
    assert!(!mark.exists() && bench.runner().is_idle());
}

#[test]
fn an_assignment_beyond_the_slots_waits_and_can_be_stopped_there() {
    let bench = Bench::new(1);
    let gate = bench.fifo("gate");
    bench.runner().assign(shell(1, &format!("read line < {}", gate.display())));
    bench.runner().assign(shell(2, "exit 2"));
    bench.runner().assign(shell(3, "exit 3"));
    bench.started();
    bench.runner().stop(StopOrder { token: Token(2), cause: StopCause::Cancel });
    bench.unbegun(2);
    std::fs::write(&gate, "go\n").unwrap();
    let ended = bench.ended(2);
    assert_eq!((ended[0].token, ended[1].token), (Token(1), Token(3)));
    assert_eq!(ended[1].outcome, Outcome::exited(3));
}

#[test]
fn many_slots_do_not_change_the_limits_of_tasks() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let own = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let bench = Bench::new(1500);
    bench.run(shell(1, "grep '^Max open files' /proc/self/limits"));
    assert_eq!(String::from_utf8(bench.output(1, Stream::Out).unwrap()).unwrap().trim_end(), own.trim_end());
}
