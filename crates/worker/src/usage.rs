//! What an attempt has used: what the kernel says of its first process and those that one has waited for, and what is
//! known beside that.
//!
//! A process that is started the vfork way runs in the worker's memory until execve(2), and the kernel then takes the
//! worker's peak for its own (`setmax_mm_hiwater_rss`): the `ru_maxrss` of getrusage(2) is never below that. Such a
//! figure says no more than that the processes of the attempt had not more.

use orchd_model::{AttemptReport, Outcome, Usage};

use crate::cgroup::GroupUsage;
use crate::memory::{self, MemoryWatch};
use crate::process;

/// The kernel sums up pages for each processor, and what it says of the same process differs by so much.
const ROUGHLY: u64 = 1 << 20;

/// The peak of this process, under which nothing is known of those that it starts.
#[derive(Default)]
pub(crate) struct OwnPeak(u64);

impl OwnPeak {
    /// Whether a figure of the kernel's may be this process's own.
    fn may_be(&mut self, bytes: u64) -> bool {
        let own = |peak: u64| bytes <= peak.saturating_add(ROUGHLY);
        // It only grows, so that it need be looked up only for what was larger.
        own(self.0) || {
            self.0 = process::resident(std::process::id()).map_or(u64::MAX, |resident| resident.peak);
            own(self.0)
        }
    }

    /// What the kernel tells of an attempt. Linux counts memory in KiB and blocks in sectors of 512 bytes
    /// (getrusage(2)).
    pub(crate) fn usage(&mut self, raw: &libc::rusage) -> Usage {
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        let peak = raw.ru_maxrss.unsigned_abs() * 1024;
        let is_unsure = self.may_be(peak);
        Usage {
            cpu_user: seconds(raw.ru_utime),
            cpu_system: seconds(raw.ru_stime),
            memory_peak: Some(peak).filter(|_| !is_unsure),
            memory_at_most: Some(peak).filter(|_| is_unsure),
            memory_claim: None,
            io_read: raw.ru_inblock.unsigned_abs() * 512,
            io_write: raw.ru_oublock.unsigned_abs() * 512,
        }
    }
}

/// Puts what is known of all that an attempt has started in place of what the kernel tells of its leader.
pub(crate) fn account(
    report: &mut AttemptReport,
    used: GroupUsage,
    memory: Option<MemoryWatch>,
    by_itself: bool,
) {
    let usage = report.usage.get_or_insert_default();
    if let Some(cpu) = used.cpu {
        let seconds = |microseconds: u64| microseconds as f64 / 1e6;
        (usage.cpu_user, usage.cpu_system) = (seconds(cpu.user_us), seconds(cpu.system_us));
    }
    let Some(memory) = memory else { return };
    memory.add_to(usage);
    if let Some(peak) = used.memory_peak {
        (usage.memory_peak, usage.memory_at_most) = (Some(peak), None);
    }
    let failed = matches!(report.outcome, Outcome::Failed { .. }) && by_itself;
    if failed && (memory.is_fatal() || used.oom_kills > 0) {
        report.outcome = memory::out_of_memory(usage.memory_peak, memory.claim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_the_workers_own_is_a_bound_and_no_figure() {
        let own = process::resident(std::process::id()).unwrap().peak;
        let mut peak = OwnPeak::default();
        assert!(peak.may_be(own / 2) && peak.may_be(own));
        assert!(!peak.may_be(own * 100));
    }
}
