//! The processes of an attempt where no control group says which they are: found by their session and by who started
//! whom, and ended as a whole.
//!
//! A process whose parent has ended cannot be found by it any more; whoever looks again and again gives what was found
//! before.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;

use crate::process;

/// How often more processes are looked for: each time those that were found have been stopped, so that there are more
/// only of what was just being started.
const LOOKS: u32 = 100;

/// A process that is known again: its number may be another one's later, but not that of one as old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub pid: u32,
    started_ticks: u64,
}

impl Member {
    /// Whether it runs, or could go on running.
    pub(crate) fn lives(&self) -> bool {
        process::stat(self.pid).is_some_and(|stat| !stat.zombie && stat.started_ticks == self.started_ticks)
    }

    /// Sends it a signal, and to no other process.
    fn signal(&self, signal: Signal) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let sent = pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| {
            // From here on the number can only mean what the descriptor does.
            if self.lives() { pidfd_send_signal(&pidfd, signal) } else { Ok(()) }
        });
        match sent {
            // Members that have become another user cannot be signalled.
            Ok(()) | Err(Errno::SRCH | Errno::PERM) => {}
            Err(error) => tracing::error!(pid = self.pid, %error, "a process could not be signalled"),
        }
    }
}

/// All processes of the machine at an instant.
pub(crate) struct Family {
    /// Each with its parent and its session.
    all: Vec<(Member, u32, u32)>,
}

impl Family {
    /// Looks at all processes of the machine.
    pub(crate) fn look() -> Self {
        let stats = process::all().filter_map(process::stat).filter(|stat| !stat.zombie && !stat.kernel);
        let member =
            |stat: &process::ProcessStat| Member { pid: stat.pid, started_ticks: stat.started_ticks };
        let mut all: Vec<_> = stats.map(|stat| (member(&stat), stat.parent, stat.session)).collect();
        // Parents mostly have smaller numbers than their children, so that one pass finds nearly all.
        all.sort_unstable();
        Self { all }
    }

    /// The processes of the attempt with this leader, and those that were known to be and live.
    pub(crate) fn of(&self, leader: u32, known: &BTreeSet<Member>) -> BTreeSet<Member> {
        let mut found = BTreeSet::new();
        let mut pids = BTreeSet::new();
        loop {
            let before = found.len();
            for (member, parent, session) in &self.all {
                let is_first = *session == leader || member.pid == leader || known.contains(member);
                if is_first || pids.contains(parent) {
                    pids.insert(member.pid);
                    found.insert(*member);
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }
}

/// Kills the processes of the attempt with this leader, those that are known and those that can be found. They are
/// stopped first, so that none starts another one unseen. Gives those that were killed.
pub(crate) fn kill(leader: u32, known: &BTreeSet<Member>) -> BTreeSet<Member> {
    let mut stopped = BTreeSet::new();
    let mut found = known.clone();
    for _ in 0..LOOKS {
        found
            .iter()
            .filter(|member| !stopped.contains(*member))
            .for_each(|member| member.signal(Signal::STOP));
        stopped.append(&mut found);
        found = Family::look().of(leader, &stopped);
        if found.is_subset(&stopped) {
            break;
        }
    }
    stopped.append(&mut found);
    stopped.iter().for_each(|member| member.signal(Signal::KILL));
    stopped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(pid: u32) -> Member {
        Member { pid, started_ticks: 1000 + u64::from(pid) }
    }

    #[test]
    fn a_family_is_found_by_session_by_parents_and_by_what_was_known() {
        // 10 leads; 12 has left the session and 7, whose number came round again, is its child; 30 has lost its parent.
        let all =
            [(7, 12, 12), (10, 1, 10), (11, 10, 10), (12, 11, 12), (20, 1, 20), (30, 1, 30), (31, 30, 31)];
        let family = Family { all: all.map(|(pid, parent, session)| (member(pid), parent, session)).into() };
        let found = |known: &[Member]| -> Vec<u32> {
            family.of(10, &known.iter().copied().collect()).iter().map(|member| member.pid).collect()
        };
        assert_eq!(found(&[]), [7, 10, 11, 12]);
        assert_eq!(found(&[member(30), member(99)]), [7, 10, 11, 12, 30, 31]);
        assert_eq!(found(&[Member { pid: 30, started_ticks: 1 }]), [7, 10, 11, 12], "another one by now");
    }
}
