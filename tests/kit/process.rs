//! Processes, found by what is in their environment: a number may be another one's by now.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Sends a signal to a process, which may be gone.
pub fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    let _ = kill_process(pid, signal);
}

/// Every process that runs, and its environment; one that is dead and not yet buried has none.
fn all() -> impl Iterator<Item = (u32, Vec<u8>)> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    numbers.filter_map(|pid| Some((pid, fs::read(format!("/proc/{pid}/environ")).ok()?)))
}

/// The processes that were started with all of these, `NAME=VALUE` each.
pub fn with_variables(wanted: &[&[u8]]) -> Vec<u32> {
    let has_all = |environ: &[u8]| {
        wanted.iter().all(|wanted| environ.split(|byte| *byte == 0).any(|variable| variable == *wanted))
    };
    all().filter(|(_, environ)| has_all(environ)).map(|(pid, _)| pid).collect()
}

/// The processes that have a path in their environment.
pub fn all_of(directory: &Path) -> Vec<u32> {
    let path = OsStr::as_bytes(directory.as_os_str());
    let is_ours = |environ: &[u8]| environ.windows(path.len()).any(|part| part == path);
    all().filter(|(_, environ)| is_ours(environ)).map(|(pid, _)| pid).collect()
}

/// Ends them, until there is nothing left.
pub fn kill_all_of(directory: &Path) {
    loop {
        let living = all_of(directory);
        if living.is_empty() {
            return;
        }
        for pid in living {
            send(pid, Signal::KILL);
        }
    }
}

/// Removes the control groups of a worker that was killed, which it would have removed at its end: where it has noted
/// them. What cannot be removed the next worker removes.
pub fn remove_groups(note: &Path) {
    let Ok(directory) = fs::read_to_string(note) else { return };
    let slots = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
    for group in slots.filter(|path| path.is_dir()) {
        drop(fs::remove_dir(group));
    }
    drop(fs::remove_dir(directory));
}

/// Kills those of these processes that run a program.
pub fn kill_program(processes: &[u32], program: &str) {
    let runs =
        |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(program));
    processes.iter().filter(|pid| runs(**pid)).for_each(|pid| send(*pid, Signal::KILL));
}

/// Waits until a process has a handler of its own for SIGINT.
pub fn until_interruptible(pid: u32) {
    const SIGINT_BIT: u64 = 1 << (2 - 1);
    super::until("it listens for SIGINT", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let caught = u64::from_str_radix(line("SigCgt:").trim(), 16).unwrap_or_default();
        assert!(!line("State:").contains('Z'), "it has ended");
        caught & SIGINT_BIT != 0
    });
}
