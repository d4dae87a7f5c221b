//! Graphs of ten thousand to a million tasks: what a task costs to be read and checked, and to be submitted.
//!
//! `cargo bench --bench graph [-- LARGEST]`. Each task but the first depends on the one half as far along, and
//! on the one before it: a chain, a tree and every width between. Everything is paused, so that only adding is
//! measured. The cost of a task shall not grow by more than half from the smallest to the largest graph.
//!
//! Small graphs are submitted several times, until there are as many tasks as in one of a hundred thousand: the
//! store moves its log into its file now and then, and that is part of what a task costs.

mod kit;

use kit::{Daemon, Failure, count, proc_status};
use std::fmt::Write;
use std::time::Duration;

/// How much dearer a task of the largest graph may be than one of the smallest.
const GROWTH: f64 = 1.5;
/// So many tasks are submitted of each size at least.
const ENOUGH: usize = 100_000;

fn main() -> Result<(), Failure> {
    let largest = count(1_000_000);
    let daemon = Daemon::start(&[])?;
    daemon.orchctl(&["pause"])?;
    let mut costs: Vec<(f64, f64)> = Vec::new();
    println!("{:>9}  {:>13}  {:>14}  {:>13}", "tasks", "check us/task", "submit us/task", "daemon B/task");
    for tasks in [10_000, 100_000, 1_000_000].into_iter().filter(|tasks| *tasks <= largest) {
        let file = daemon.path("graph.json");
        std::fs::write(&file, graph(tasks))?;
        let file = file.to_string_lossy().into_owned();
        let each = |took: Duration| took.as_secs_f64() * 1e6 / tasks as f64;
        let checked = best(|| daemon.orchctl(&["workflow", "check", &file]))?;
        let before = proc_status(daemon.pid(), "VmRSS")?;
        let rounds = (ENOUGH / tasks).max(1);
        let mut run = Duration::ZERO;
        for _ in 0..rounds {
            run += daemon.orchctl(&["--quiet", "workflow", "run", "--detach", &file])?;
        }
        let added = (rounds * tasks) as f64;
        let kept = proc_status(daemon.pid(), "VmRSS")?.saturating_sub(before) as f64 / added;
        let (check, submit) = (each(checked), run.as_secs_f64() * 1e6 / added - each(checked));
        println!("{tasks:>9}  {check:>13.2}  {submit:>14.2}  {kept:>13.0}");
        costs.push((check, submit));
        daemon.orchctl(&["cancel", "--all"])?;
    }
    if let (Some(first), Some(last)) = (costs.first(), costs.last()) {
        let (check, submit) = (last.0 / first.0, last.1 / first.1);
        println!(
            "the largest against the smallest: check {check:.2}x, submit {submit:.2}x (at most {GROWTH}x)"
        );
    }
    Ok(())
}

fn best(mut run: impl FnMut() -> Result<Duration, Failure>) -> Result<Duration, Failure> {
    let (first, second) = (run()?, run()?);
    Ok(first.min(second))
}

fn graph(tasks: usize) -> String {
    let mut text = String::from("{\"name\":\"graph\",\"tasks\":[\n{\"name\":\"t0\",\"command\":[\"true\"]}");
    for task in 1..tasks {
        let (half, last) = (task / 2, task - 1);
        let half = if half == last { String::new() } else { format!("\"t{half}\",") };
        // Writing to memory cannot fail.
        let _ = write!(
            text,
            ",\n{{\"name\":\"t{task}\",\"command\":[\"true\"],\"dependencies\":[{half}\"t{last}\"]}}"
        );
    }
    text + "]}\n"
}
