//! P8: what an idle daemon and its worker cost: wake-ups, processor time and memory; and the binaries' sizes.
//!
//! `cargo bench --bench idle [-- SECONDS]`. A wake-up is a context switch of any thread, as the kernel counts
//! them.

mod kit;

use kit::{Daemon, Failure, count, proc_status};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

fn main() -> Result<(), Failure> {
    let seconds = count(60);
    let daemon = Daemon::start(&[])?;
    daemon.orchctl(&["run", "--", "/bin/true"])?;
    // What follows the last task, such as the end of threads that read for it, is not idleness.
    std::thread::sleep(Duration::from_secs(15));
    let processes = [("daemon", daemon.pid()), ("worker", daemon.worker_pid()?)];
    std::thread::sleep(Duration::from_secs(1));
    let before: Vec<Cost> = processes.iter().map(|(_, pid)| cost(*pid)).collect::<Result<_, _>>()?;
    std::thread::sleep(Duration::from_secs(seconds as u64));
    println!("{seconds} s of idleness");
    for ((name, pid), before) in processes.iter().zip(before) {
        let now = cost(*pid)?;
        println!(
            "{name}: {} wake-ups, {} ms of processor time, {:.1} MB resident ({:.1} MB of it its own)",
            now.switches_since(&before),
            (now.ticks - before.ticks) * 10,
            proc_status(*pid, "VmRSS:")? as f64 / 1e6,
            proc_status(*pid, "RssAnon:")? as f64 / 1e6,
        );
    }
    for (name, path) in [("orchd", env!("CARGO_BIN_EXE_orchd")), ("orchctl", env!("CARGO_BIN_EXE_orchctl"))] {
        println!("{name}: {:.1} MB", fs::metadata(path)?.len() as f64 / 1e6);
    }
    Ok(())
}

/// What a process has cost: context switches by thread, and clock ticks.
struct Cost {
    switches: BTreeMap<String, u64>,
    ticks: u64,
}

impl Cost {
    /// Switches since then, of threads that were there: one that has ended was not idle.
    fn switches_since(&self, before: &Self) -> u64 {
        let since = |(thread, now): (&String, &u64)| now - before.switches.get(thread).copied().unwrap_or(0);
        self.switches.iter().map(since).sum()
    }
}

fn cost(pid: u32) -> Result<Cost, Failure> {
    let mut switches = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        let status = fs::read_to_string(thread.path().join("status"))?;
        let counts = status.lines().filter(|line| line.contains("voluntary_ctxt_switches"));
        let count = counts.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum();
        switches.insert(thread.file_name().to_string_lossy().into_owned(), count);
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(Cost { switches, ticks })
}
