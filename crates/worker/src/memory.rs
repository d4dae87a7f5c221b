//! Memory of attempts with a claim on it: what they use, watched by looking at their processes again and again
//! where the kernel does not limit it, and how an attempt ends that has used too much.
//!
//! A look costs time that grows with the machine's processes, so only attempts with a claim are looked at, and
//! what goes up and down between two looks is seen only as far as getrusage(2) tells of it.

use orchd_model::{Amount, ErrorType, Outcome, OverMemory, Usage};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::process;

/// From one look to the next: a task that allocates a gigabyte a second is found half of that too late.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// The memory of one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryWatch {
    /// What it has claimed, bytes.
    pub claim: u64,
    over: OverMemory,
    /// The most that was seen.
    peak: u64,
    /// Whether it was found to have used more than its claim.
    exceeded: bool,
}

impl MemoryWatch {
    /// The watch of an attempt; none when nothing is to be done about its memory.
    pub(crate) fn new(claim: Option<Amount>, over: OverMemory) -> Option<Self> {
        let claim = claim?.as_thousandths() / Amount::ONE.as_thousandths();
        (over != OverMemory::Off).then_some(Self { claim, over, peak: 0, exceeded: false })
    }

    /// Looks at the attempt's processes. True when they are to be killed for what they use.
    pub(crate) fn look(&mut self, processes: &[u32]) -> bool {
        let resident: u64 = processes.iter().filter_map(|pid| process::resident_bytes(*pid)).sum();
        // Pages that several of them share are counted more than once; the exact figure is dear.
        let used = match resident > self.claim {
            true => processes.iter().filter_map(|pid| process::proportional_bytes(*pid)).sum(),
            false => resident,
        };
        self.peak = self.peak.max(used);
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
        usage.memory_peak = usage.memory_peak.max(self.peak);
        usage.memory_claim = Some(self.claim);
    }
}

/// How an attempt ends whose memory limit ended it.
pub(crate) fn out_of_memory(peak: u64, claim: u64) -> Outcome {
    let message = format!("ended by its memory limit: used {}, claims {}", mebibytes(peak), mebibytes(claim));
    Outcome::failed(ErrorType::OutOfMemory, message)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The processes of attempts, found by their sessions and by who started whom.
pub(crate) struct Family {
    /// Process, parent, session.
    all: Vec<(u32, u32, u32)>,
}

impl Family {
    /// Looks at all processes of the machine.
    pub(crate) fn look() -> Self {
        let stats = process::all().filter_map(process::stat).filter(|stat| !stat.zombie && !stat.kernel);
        let mut all: Vec<_> = stats.map(|stat| (stat.pid, stat.parent, stat.session)).collect();
        // Parents mostly have smaller numbers than their children, so that one pass finds nearly all.
        all.sort_unstable();
        Self { all }
    }

    /// The processes of the attempt with this leader.
    pub(crate) fn of(&self, leader: u32) -> Vec<u32> {
        let mut found = BTreeSet::new();
        loop {
            let before = found.len();
            for (pid, parent, session) in &self.all {
                if *session == leader || *pid == leader || found.contains(parent) {
                    found.insert(*pid);
                }
            }
            if found.len() == before {
                return found.into_iter().collect();
            }
        }
    }
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
    fn a_family_is_found_by_session_and_by_parents() {
        // 10 leads; 12 has left the session and 7, whose number came round again, is its child.
        let all = vec![(7, 12, 12), (10, 1, 10), (11, 10, 10), (12, 11, 12), (20, 1, 20)];
        assert_eq!(Family { all }.of(10), [7, 10, 11, 12]);
    }

    #[test]
    fn what_this_process_uses_is_found_out() {
        let own = [std::process::id()];
        let mut watch = MemoryWatch::new(Some(Amount::units(4096)), OverMemory::Kill).unwrap();
        assert!(watch.look(&own) && watch.is_fatal());
        assert!(!watch.look(&own), "it is said once");
        let mut usage = Usage::default();
        watch.add_to(&mut usage);
        assert!(usage.memory_peak > 4096 && usage.memory_claim == Some(4096), "{usage:?}");
        let mut roomy = MemoryWatch::new(Some(Amount::units(1 << 50)), OverMemory::Kill).unwrap();
        assert!(!roomy.look(&own) && !roomy.is_fatal());
        assert!(MemoryWatch::new(Some(Amount::ONE), OverMemory::Off).is_none());
    }

    #[test]
    fn the_message_has_the_peak() {
        let message = out_of_memory(3 << 19, 1 << 20).message().unwrap();
        assert_eq!(message, "ended by its memory limit: used 1.5 MiB, claims 1.0 MiB");
    }
}
