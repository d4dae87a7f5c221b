//! Memory of attempts with a claim on it: what they use, watched by looking at their processes again and again
//! where the kernel does not limit it, and how an attempt ends that has used too much.
//!
//! A look costs time that grows with the machine's processes, so only attempts with a claim are looked at. The first
//! process alone is looked at more often in its first half second: the kernel knows its peak since execve(2), and most
//! tasks are short. What all processes together have between two looks is not seen.

use orchd_model::{Amount, ErrorType, Outcome, OverMemory, Usage};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::family::{self, Family, Member};
use crate::process;

/// From one look to the next: a task that allocates a gigabyte a second is found half of that too late.
pub(crate) const LOOK: Duration = Duration::from_millis(500);
/// From the start to the first look at the first process; the next ones come twice as late each, up to [`LOOK`].
pub(crate) const PEEK_FIRST: Duration = Duration::from_millis(5);

/// The memory of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct MemoryWatch {
    /// What it has claimed, bytes.
    pub claim: u64,
    over: OverMemory,
    /// The most that was seen.
    peak: u64,
    /// Whether it was found to have used more than its claim.
    exceeded: bool,
    /// When the first process is looked at again, after the look before.
    peek: Option<Duration>,
    /// Its processes at the last look, where no group says which they are: one whose parent has ended since is still
    /// one of them.
    family: BTreeSet<Member>,
    /// Those that were killed for what they use.
    killed: BTreeSet<Member>,
}

impl MemoryWatch {
    /// The watch of an attempt; none when nothing is to be done about its memory.
    pub(crate) fn new(claim: Option<Amount>, over: OverMemory) -> Option<Self> {
        let claim = claim?.as_thousandths() / Amount::ONE.as_thousandths();
        let (family, killed) = (BTreeSet::new(), BTreeSet::new());
        let peek = Some(PEEK_FIRST);
        (over != OverMemory::Off).then_some(Self {
            claim,
            over,
            peak: 0,
            exceeded: false,
            peek,
            family,
            killed,
        })
    }

    /// Looks at the first process alone; gives when to do so again.
    pub(crate) fn peek(&mut self, leader: u32) -> Option<Duration> {
        if let Some(resident) = process::resident(leader) {
            self.peak = self.peak.max(resident.peak);
        }
        self.peek = self.peek.map(|pause| pause * 2).filter(|pause| *pause < LOOK);
        self.peek
    }

    /// Looks at what the attempt with this first process has started, as far as it can be found, and kills all of it
    /// if it uses too much. Says whether it did.
    pub(crate) fn look_at_family(&mut self, all: &Family, leader: u32) -> bool {
        self.family = all.of(leader, &self.family);
        let processes: Vec<u32> = self.family.iter().map(|member| member.pid).collect();
        let is_too_much = self.look(&processes);
        if is_too_much {
            self.killed = family::kill(leader, &self.family);
        }
        is_too_much
    }

    /// Whether all that was killed is gone.
    pub(crate) fn is_cleared(&self) -> bool {
        !self.killed.iter().any(Member::lives)
    }

    /// Looks at the attempt's processes. True when they are to be killed for what they use.
    pub(crate) fn look(&mut self, processes: &[u32]) -> bool {
        let found: Vec<_> = processes.iter().filter_map(|pid| process::resident(*pid)).collect();
        let resident: u64 = found.iter().map(|resident| resident.now).sum();
        let largest = found.iter().map(|resident| resident.peak).max().unwrap_or(0);
        // Pages that several of them share are counted more than once; the exact figure is dear.
        let used = match resident > self.claim {
            true => processes.iter().filter_map(|pid| process::proportional_bytes(*pid)).sum(),
            false => resident,
        };
        self.peak = self.peak.max(used).max(largest);
        if used <= self.claim || self.exceeded {
            return false;
        }
        self.exceeded = true;
        self.over == OverMemory::Kill
    }

    /// Whether it is to end for what it has used.
    pub(crate) fn is_fatal(&self) -> bool {
        self.exceeded && self.over == OverMemory::Kill
    }

    /// Adds what was seen to what the kernel has counted.
    pub(crate) fn add_to(&self, usage: &mut Usage) {
        let seen = Some(self.peak).filter(|peak| *peak > 0);
        usage.memory_peak = usage.memory_peak.max(seen);
        usage.memory_at_most = usage.memory_at_most.filter(|most| seen.is_none_or(|seen| *most > seen));
        usage.memory_claim = Some(self.claim);
    }
}

/// How an attempt ends whose memory limit ended it.
pub(crate) fn out_of_memory(peak: Option<u64>, claim: u64) -> Outcome {
    let used = peak.map_or_else(|| "more".to_owned(), mebibytes);
    let message = format!("ended by its memory limit: used {used}, claims {}", mebibytes(claim));
    Outcome::failed(ErrorType::OutOfMemory, message)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The processes of a control group.
pub(crate) fn processes_in(group: &std::path::Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_uses_is_found_out() {
        let own = [std::process::id()];
        let mut watch = MemoryWatch::new(Some(Amount::units(4096)), OverMemory::Kill).unwrap();
        assert!(watch.look(&own) && watch.is_fatal());
        assert!(!watch.look(&own), "it is said once");
        let mut usage = Usage::default();
        watch.add_to(&mut usage);
        assert!(usage.memory_peak > Some(4096) && usage.memory_claim == Some(4096), "{usage:?}");
        let mut roomy = MemoryWatch::new(Some(Amount::units(1 << 50)), OverMemory::Kill).unwrap();
        assert!(!roomy.look(&own) && !roomy.is_fatal());
        assert!(MemoryWatch::new(Some(Amount::ONE), OverMemory::Off).is_none());
    }

    #[test]
    fn the_first_process_is_looked_at_often_at_first() {
        let own = std::process::id();
        let mut watch = MemoryWatch::new(Some(Amount::units(1 << 50)), OverMemory::Warn).unwrap();
        let looks = std::iter::from_fn(|| watch.peek(own)).count();
        assert_eq!(looks, 6, "10, 20, 40, 80, 160, 320 ms");
        let mut usage = Usage { memory_at_most: Some(1 << 50), ..Usage::default() };
        watch.add_to(&mut usage);
        assert!(usage.memory_peak.is_some() && usage.memory_at_most == Some(1 << 50), "{usage:?}");
        usage.memory_at_most = Some(1);
        watch.add_to(&mut usage);
        assert_eq!(usage.memory_at_most, None, "more was seen");
    }

    #[test]
    fn the_message_has_the_peak() {
        let message = out_of_memory(Some(3 << 19), 1 << 20).message().unwrap();
        assert_eq!(message, "ended by its memory limit: used 1.5 MiB, claims 1.0 MiB");
    }
}
