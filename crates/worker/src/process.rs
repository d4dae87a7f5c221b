//! What /proc tells of processes (proc_pid_stat(5)).

use std::fs;
use std::path::Path;

/// `PF_KTHREAD` among the flags of a process.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// A process as /proc shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    pub pid: u32,
    /// Dead but not reaped, which is as good as gone: it runs nothing and holds nothing.
    pub zombie: bool,
    /// A thread of the kernel's own.
    pub kernel: bool,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    /// In clock ticks since the machine started.
    pub started_ticks: u64,
}

/// Reads the stat of one process; none when it is gone.
pub(crate) fn stat(pid: u32) -> Option<ProcessStat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: u32, text: &str) -> Option<ProcessStat> {
    // The name stands in parentheses and may contain anything, parentheses and blanks included.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let flags: u32 = fields.nth(2)?.parse().ok()?;
    let started_ticks = fields.nth(12)?.parse().ok()?;
    let zombie = matches!(state, "Z" | "X" | "x");
    Some(ProcessStat {
        pid,
        zombie,
        kernel: flags & KERNEL_THREAD != 0,
        parent,
        group,
        session,
        started_ticks,
    })
}

/// The memory of a process that is in RAM, bytes; pages that it shares with others are counted in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resident {
    pub now: u64,
    /// The most at a time since it became its program.
    pub peak: u64,
}

/// What a process has in RAM; none when it is gone.
pub(crate) fn resident(pid: u32) -> Option<Resident> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Resident { now: kibibytes(&text, "VmRSS:")?, peak: kibibytes(&text, "VmHWM:")? })
}

/// What it has there with shared pages divided among those that share them (`smaps_rollup`); its cost grows with it.
pub(crate) fn proportional_bytes(pid: u32) -> Option<u64> {
    kibibytes(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
}

/// An amount of memory behind a name, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The ids of all processes that can be seen.
pub(crate) fn all() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Whether a process of this group is alive. Only processes that have not become zombies count.
pub(crate) fn group_lives(group: u32) -> bool {
    all().filter_map(stat).any(|process| process.group == group && !process.zombie)
}

/// The environment that a process was started with.
pub(crate) enum Environment {
    /// `NAME=value`, each with a NUL behind it.
    Is(Vec<u8>),
    /// There is none: the process was started without, or is in the middle of execve(2), when the new one
    /// cannot be seen yet.
    Blank,
    /// The process is gone, or another user's.
    Hidden,
}

impl Environment {
    pub(crate) fn of(pid: u32) -> Self {
        match fs::read(format!("/proc/{pid}/environ")) {
            Ok(bytes) if bytes.is_empty() => Self::Blank,
            Ok(bytes) => Self::Is(bytes),
            Err(_) => Self::Hidden,
        }
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let Self::Is(bytes) = self else { return None };
        let value = bytes
            .split(|b| *b == 0)
            .find_map(|pair| pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")))?;
        str::from_utf8(value).ok()
    }
}

/// A text that is another one after every start of the machine.
pub(crate) fn boot_id() -> String {
    fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"))
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_is_skipped() {
        let line = "42 (a) R (b) S 1 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        let expected = ProcessStat {
            pid: 42,
            zombie: false,
            kernel: false,
            parent: 1,
            group: 40,
            session: 39,
            started_ticks: 98_765,
        };
        assert_eq!(parse(42, line), Some(expected));
    }

    #[test]
    fn this_process_is_alive_and_knows_its_environment() {
        let pid = std::process::id();
        let stat = stat(pid).unwrap();
        assert!(!stat.zombie && group_lives(stat.group));
        let environment = Environment::of(pid);
        assert_eq!(environment.get("PATH"), std::env::var("PATH").ok().as_deref());
        assert_eq!(environment.get("NO_SUCH_VARIABLE"), None);
    }
}
