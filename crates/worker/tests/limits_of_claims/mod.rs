//! How attempts are kept to what they have claimed, and ended as a whole.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use crate::attempts::shell;
use crate::bench::Bench;
use orchd_api::{Assignment, Bounds, StopCause, StopOrder};
use orchd_model::{Allotment, Amount, ErrorType, Outcome, OverMemory, Span, Token};
use orchd_worker::CgroupPlace;
use std::path::Path;

const MIB: u64 = 1 << 20;

fn with_memory(mut task: Assignment, mebibytes: u64, over_memory: OverMemory) -> Assignment {
    let allotment = Allotment { cpu: None, memory: Some(Amount::units(mebibytes * MIB)) };
    task.bounds = Some(Bounds { allotment, over_memory, ..Bounds::default() });
    task
}

/// A shell that has 64 MiB in a variable, and then waits for ever.
fn hungry(token: u64, gate: &Path) -> Assignment {
    let fill = "x=$(head -c 67108864 /dev/zero | tr '\\0' x)";
    shell(token, &format!("{fill}; read forever < {}", gate.display()))
}

/// A process in a session of its own and with no environment, which nothing but its control group knows; it
/// leaves its number in `pid`.
fn runaway(pid: &Path, gate: &Path) -> String {
    let inner =
        format!("echo $$ > {0}.new; mv {0}.new {0}; read forever < {1}", pid.display(), gate.display());
    format!("setsid env -i /bin/sh -c '{inner}' & while ! [ -e {} ]; do :; done", pid.display())
}

fn lives(pid: &Path) -> bool {
    let pid = std::fs::read_to_string(pid).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// A runner that has control groups; none, and a word about it, where the machine gives us none.
fn with_groups(slots: u32) -> Option<Bench> {
    let bench = Bench::new(slots);
    let has_groups = bench.runner().labels() != ["cgroup=none"];
    if !has_groups {
        eprintln!("no control groups may be made here: not tried");
    }
    has_groups.then_some(bench)
}

#[test]
fn what_has_left_the_session_is_gone_when_the_end_is_told() {
    let Some(bench) = with_groups(1) else { return };
    let (pid, gate) = (bench.path("pid"), bench.fifo("gate"));
    let report = bench.run(shell(1, &runaway(&pid, &gate)));
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert!(!lives(&pid));
}

#[test]
fn a_stop_ends_what_has_left_the_session() {
    let Some(bench) = with_groups(1) else { return };
    let (pid, gate) = (bench.path("pid"), bench.fifo("gate"));
    let ready = bench.fifo("ready");
    let script = format!(
        "{}; echo ready > {}; read forever < {}",
        runaway(&pid, &gate),
        ready.display(),
        gate.display()
    );
    let mut task = shell(1, &script);
    task.grace = Span::ZERO;
    bench.runner().assign(task);
    assert_eq!(std::fs::read_to_string(&ready).unwrap(), "ready\n");
    assert!(lives(&pid));
    bench.runner().stop(StopOrder { token: Token(1), cause: StopCause::Cancel });
    assert_eq!(bench.ended(1)[0].outcome, Outcome::Cancelled);
    assert!(!lives(&pid));
}

#[test]
fn a_group_goes_from_attempt_to_attempt_and_away_with_the_runner() {
    let Some(bench) = with_groups(2) else { return };
    let group = std::fs::read_to_string(bench.paths().root().join("worker/cgroup")).unwrap();
    for token in 1..=3 {
        bench.run(shell(token, "cat /proc/self/cgroup"));
        let own = String::from_utf8(bench.output(token, orchd_worker::Stream::Out).unwrap()).unwrap();
        let line = own.lines().find(|line| line.starts_with("0::")).unwrap();
        let (above, slot) = line.rsplit_once('/').unwrap();
        assert!(group.ends_with(above.rsplit('/').next().unwrap()) && ["0", "1"].contains(&slot), "{line}");
    }
    drop(bench);
    assert!(!Path::new(&group).exists());
}

#[test]
fn without_control_groups_attempts_run_as_well() {
    let bench = Bench::with_cgroup(1, CgroupPlace::Off);
    assert_eq!(bench.runner().labels(), ["cgroup=none"]);
    assert_eq!(bench.run(shell(1, "true")).outcome, Outcome::Succeeded);
    assert!(!bench.paths().root().join("worker/cgroup").exists());
}

#[test]
fn more_memory_than_claimed_ends_an_attempt_where_that_is_wanted() {
    for place in [CgroupPlace::Off, CgroupPlace::Auto] {
        let bench = Bench::with_cgroup(1, place.clone());
        let report = bench.run(with_memory(hungry(1, &bench.fifo("gate")), 32, OverMemory::Kill));
        assert_eq!(report.outcome.error_type(), Some(ErrorType::OutOfMemory), "{place:?}: {report:?}");
        let usage = report.usage.unwrap();
        assert_eq!(usage.memory_claim, Some(32 * MIB));
        let message = report.outcome.message().unwrap();
        assert!(message.ends_with("claims 32.0 MiB"), "{message}");
    }
}

#[test]
fn more_memory_than_claimed_is_told_where_it_is_not_limited() {
    let bench = Bench::with_cgroup(1, CgroupPlace::Off);
    let gate = bench.fifo("gate");
    bench.runner().assign(with_memory(hungry(1, &gate), 32, OverMemory::Warn));
    // It comes to its gate when it has all its memory.
    std::fs::write(&gate, "go\n").unwrap();
    let report = bench.ended(1).remove(0);
    assert_eq!(report.outcome, Outcome::Succeeded);
    let usage = report.usage.unwrap();
    assert!(usage.memory_claim == Some(32 * MIB) && usage.memory_peak > Some(64 * MIB), "{usage:?}");

    std::fs::remove_file(&gate).unwrap();
    let gate = bench.fifo("gate");
    bench.runner().assign(with_memory(hungry(2, &gate), 32, OverMemory::Off));
    std::fs::write(&gate, "go\n").unwrap();
    assert_eq!(bench.ended(1)[0].usage.unwrap().memory_claim, None);
}

#[test]
fn what_has_left_the_session_is_killed_with_an_attempt_that_uses_too_much() {
    let bench = Bench::with_cgroup(1, CgroupPlace::Off);
    let (pid, gate) = (bench.path("pid"), bench.fifo("gate"));
    let fill = "x=$(head -c 67108864 /dev/zero | tr '\\\\0' x)";
    let hungry = format!("echo $$ > {}; {fill}; read forever < {}", pid.display(), gate.display());
    let task = shell(1, &format!("setsid /bin/sh -c \"{}\" & wait", hungry.replace('$', "\\$")));
    let report = bench.run(with_memory(task, 32, OverMemory::Kill));
    assert_eq!(report.outcome.error_type(), Some(ErrorType::OutOfMemory), "{report:?}");
    assert!(!lives(&pid), "{report:?}");
}

#[test]
fn what_uses_less_than_the_worker_is_not_said_to_use_more_than_it_claims() {
    let bench = Bench::with_cgroup(1, CgroupPlace::Off);
    let (ready, gate) = (bench.fifo("ready"), bench.fifo("gate"));
    let line = format!("echo ready > {}; read forever < {}", ready.display(), gate.display());
    bench.runner().assign(with_memory(shell(1, &line), 6, OverMemory::Kill));
    assert_eq!(std::fs::read_to_string(&ready).unwrap(), "ready\n");
    // It is looked at when it is stopped, at the latest.
    bench.runner().stop(StopOrder { token: Token(1), cause: StopCause::Cancel });
    let report = bench.ended(1).remove(0);
    assert_eq!(report.outcome, Outcome::Cancelled);
    let usage = report.usage.unwrap();
    assert!(usage.memory_peak.is_some_and(|peak| peak < 6 * MIB), "{usage:?}");
    assert!(usage.memory_at_most > usage.memory_peak, "{usage:?}");
}
