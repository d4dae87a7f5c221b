//! Fencing: after a worker's death, making sure that nothing of its attempts lives on, before their claims
//! are given to others.
//!
//! Commands die with their worker (`PR_SET_PDEATHSIG`), but their children do not. They are found by the
//! session and group that the table of attempts has, and by `ORCHD_TOKEN` and `ORCHD_RESULT` in the
//! environment they were started with, which a change of session does not wash off. The token alone would
//! not do: tokens count from 1 in every state directory, and a machine may have several.
//!
//! Where there are control groups, everything in the worker's is killed first.
//!
//! Flaw: without control groups, a process that has left both the session and the environment behind is not
//! found.

use orchd_model::Token;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use crate::layout::Stream;
use crate::lock::WorkerLock;
use crate::process::{self, Environment, ProcessStat};
use crate::table::{self, Record};
use crate::{StatePaths, cgroup, slot};

/// Processes are looked for again this soon, doubling up to [`LONGEST_LOOK`].
const FIRST_LOOK: Duration = Duration::from_micros(500);
const LONGEST_LOOK: Duration = Duration::from_millis(100);
/// Looks in a row that find nothing, until there is nothing.
const CLEAN_LOOKS: u32 = 2;
/// An execve(2) shows no environment for a moment; who shows none for so long has none.
const BLANK_PATIENCE: Duration = Duration::from_millis(200);
/// After this long something cannot be killed: it hangs in the kernel, or belongs to somebody else.
const PATIENCE: Duration = Duration::from_secs(10);
/// A process is never older than its record, but for the rounding to ticks.
const TICKS_SLACK: u64 = 2;
/// A process is made within this many ticks (hundredths of a second) of its record's writing, also on a
/// machine under load.
const START_TICKS: u64 = 3000;

/// Whether a worker has ever run with this state directory: what it ran is known.
#[must_use]
pub fn has_table(state_dir: &Path) -> bool {
    state_dir.join("worker").exists()
}

/// Kills every process of the attempts that a dead worker has left, waits until they are gone, gives their
/// output its final names, and forgets them. Returns the tokens of those attempts.
///
/// # Errors
/// `WouldBlock` when the worker is not dead; `TimedOut` when processes cannot be killed, which leaves the
/// table as it was, so that the call can be repeated; and errors of reading and writing files.
pub fn fence(state_dir: &Path) -> io::Result<Vec<Token>> {
    let paths = StatePaths::new(std::path::absolute(state_dir)?);
    if !has_table(state_dir) {
        return Ok(Vec::new());
    }
    // The lock is held meanwhile, so that no new worker begins a new table.
    let Some(_lock) = WorkerLock::take(&paths)? else {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "the worker is still running"));
    };
    clear_attempts(&paths)
}

/// What [`fence`] does, for who holds the lock.
pub(crate) fn clear_attempts(paths: &StatePaths) -> io::Result<Vec<Token>> {
    let records = end(paths)?;
    if !records.is_empty() {
        recover_output(paths, &records);
    }
    table::clear(paths)?;
    Ok(records.iter().map(|record| record.token).collect())
}

/// Kills every process of the attempts in the table, which is left for whoever goes on.
pub(crate) fn end_attempts(paths: &StatePaths) -> io::Result<()> {
    end(paths).map(drop)
}

fn end(paths: &StatePaths) -> io::Result<Vec<Record>> {
    let records = table::read(paths)?;
    // First, as it is quick and leaves nothing out; what was not in a group is found in other ways.
    cgroup::clear(paths)?;
    if !records.is_empty() {
        Lost::new(paths, &records).kill_all()?;
    }
    Ok(records)
}

/// What a process has to do with lost attempts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belonging {
    Theirs,
    /// Younger than they, and without an environment: it may be in the middle of execve(2).
    Unknown,
    Foreign,
}

/// The attempts that a dead worker has left, and what their processes are known by.
struct Lost<'a> {
    records: &'a [Record],
    tokens: BTreeSet<String>,
    /// Where results of this state directory's attempts go.
    slots: String,
    /// No process of theirs is older.
    oldest_ticks: u64,
}

impl<'a> Lost<'a> {
    fn new(paths: &StatePaths, records: &'a [Record]) -> Self {
        Self {
            records,
            tokens: records.iter().map(|record| record.token.to_string()).collect(),
            // With a slash, so that no other directory begins alike.
            slots: format!("{}/", paths.slots().to_string_lossy()),
            oldest_ticks: records.iter().map(|record| record.started_ticks).min().unwrap_or(0),
        }
    }

    fn kill_all(&self) -> io::Result<()> {
        let start = Instant::now();
        let mut pause = FIRST_LOOK;
        let mut clean_looks = 0;
        // Again and again: what was being made or was changing its program while /proc was read was not seen.
        loop {
            let mut theirs = Vec::new();
            let mut unknown = false;
            for pid in process::all() {
                match self.belonging(pid) {
                    Belonging::Theirs => theirs.push(pid),
                    Belonging::Unknown => unknown = true,
                    Belonging::Foreign => {}
                }
            }
            let clean = theirs.is_empty() && !(unknown && start.elapsed() < BLANK_PATIENCE);
            clean_looks = if clean { clean_looks + 1 } else { 0 };
            if clean_looks == CLEAN_LOOKS {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("processes of lost attempts do not die: {theirs:?}"),
                ));
            }
            for pid in theirs {
                self.kill(pid)?;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    fn belonging(&self, pid: u32) -> Belonging {
        if pid == std::process::id() {
            return Belonging::Foreign;
        }
        let Some(stat) = process::stat(pid) else { return Belonging::Foreign };
        if stat.zombie || stat.kernel || stat.started_ticks + TICKS_SLACK < self.oldest_ticks {
            return Belonging::Foreign;
        }
        if self.records.iter().any(|record| is_of(&stat, record)) {
            return Belonging::Theirs;
        }
        let environment = Environment::of(pid);
        if let Environment::Blank = environment {
            return Belonging::Unknown;
        }
        let has_token = environment.get("ORCHD_TOKEN").is_some_and(|token| self.tokens.contains(token));
        let is_here = environment.get("ORCHD_RESULT").is_some_and(|path| path.starts_with(&self.slots));
        if has_token && is_here { Belonging::Theirs } else { Belonging::Foreign }
    }

    /// Kills a process if it still is what it was found to be, now that a descriptor holds on to it.
    fn kill(&self, pid: u32) -> io::Result<()> {
        let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        let pidfd = match pidfd_open(id, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if self.belonging(pid) != Belonging::Theirs {
            return Ok(());
        }
        match pidfd_send_signal(&pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a process is in the session or group of an attempt, and not in a later one of the same number.
fn is_of(stat: &ProcessStat, record: &Record) -> bool {
    if record.pid == 0 || (stat.session != record.pid && stat.group != record.pid) {
        return false;
    }
    // A number is not given again while its session or group lives. So the leader that has it now is the
    // attempt's own, unless it began later; and without a leader, what has the number is the attempt's.
    process::stat(record.pid).is_none_or(|leader| leader.started_ticks <= record.started_ticks + START_TICKS)
}

/// Gives what lost attempts have written its final names. Output that cannot be moved is not worth failing
/// for.
fn recover_output(paths: &StatePaths, records: &[Record]) {
    for record in records {
        for stream in Stream::ALL {
            let spool = paths.spool(record.slot, stream);
            if fs::metadata(&spool).is_ok_and(|metadata| metadata.len() > 0) {
                let kept = paths.output(record.task, record.attempt, stream);
                if let Err(error) = slot::move_output(&spool, &kept) {
                    tracing::error!(task = %record.task, %error, "output of a lost attempt could not be kept");
                }
            }
        }
    }
}
