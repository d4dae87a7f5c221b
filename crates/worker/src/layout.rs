//! Where the worker keeps things in the state directory.
//!
//! ```text
//! STATE/worker.lock                 held while a worker lives
//! STATE/worker/attempts             the table of running attempts
//! STATE/worker/reports              ended attempts that no daemon has acknowledged
//! STATE/worker/inputs.json          what $ORCHD_INPUTS names when there are no inputs; never changes
//! STATE/worker/cgroup               the directory of the worker's control group, while it has one
//! STATE/worker/bin/                 what stands before make in the PATH of tasks with a jobserver
//! STATE/worker/slots/N/             inputs and results of the attempt in slot N, and its jobserver's fifo
//! STATE/output/spool/N.out|N.err    what the attempt in slot N writes
//! STATE/output/K/ID.ATTEMPT.out|err what an ended attempt has written; K is ID / 1000
//! ```
//! A file of output that would be empty does not exist.

use orchd_model::{AttemptNumber, TaskId};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Tasks whose output shares a directory: directories stay small enough to list.
const TASKS_PER_DIRECTORY: u64 = 1000;

/// One of the two streams of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Out, Self::Err];

    fn suffix(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

/// Every path in the state directory that belongs to the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePaths {
    root: PathBuf,
}

impl StatePaths {
    /// The paths below `state_dir`.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { root: state_dir.into() }
    }

    /// The state directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that a worker keeps locked while it lives.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("worker.lock")
    }

    /// The table of running attempts.
    #[must_use]
    pub fn attempts(&self) -> PathBuf {
        self.root.join("worker/attempts")
    }

    /// Ended attempts that no daemon has acknowledged, one JSON document a line.
    #[must_use]
    pub fn reports(&self) -> PathBuf {
        self.root.join("worker/reports")
    }

    /// What `$ORCHD_INPUTS` names when there are neither parameters nor dependencies.
    #[must_use]
    pub fn no_inputs(&self) -> PathBuf {
        self.root.join("worker/inputs.json")
    }

    /// The directory of the worker's control group, while it has one.
    pub(crate) fn cgroup(&self) -> PathBuf {
        self.root.join("worker/cgroup")
    }

    /// Programs that stand before others in the `PATH` of some tasks.
    pub(crate) fn scripts(&self) -> PathBuf {
        self.root.join("worker/bin")
    }

    /// The directories of the slots.
    #[must_use]
    pub fn slots(&self) -> PathBuf {
        self.root.join("worker/slots")
    }

    /// Where the attempt in slot `slot` finds its inputs and leaves its result.
    #[must_use]
    pub fn slot(&self, slot: u32) -> PathBuf {
        self.slots().join(slot.to_string())
    }

    /// Where the attempt in slot `slot` says how far it has come.
    #[must_use]
    pub fn progress(&self, slot: u32) -> PathBuf {
        self.slots().join(format!("{slot}.progress"))
    }

    /// The directory of spools.
    #[must_use]
    pub fn spools(&self) -> PathBuf {
        self.root.join("output/spool")
    }

    /// Where a running attempt writes; `spool` is the number it was reported with.
    #[must_use]
    pub fn spool(&self, spool: u32, stream: Stream) -> PathBuf {
        self.spools().join(format!("{spool}.{}", stream.suffix()))
    }

    /// What an ended attempt has written; no such file when it was silent.
    #[must_use]
    pub fn output(&self, task: TaskId, attempt: AttemptNumber, stream: Stream) -> PathBuf {
        self.root.join(format!(
            "output/{}/{task}.{attempt}.{}",
            task.0 / TASKS_PER_DIRECTORY,
            stream.suffix()
        ))
    }

    /// Makes the directories that must be there before anything runs, for the owner alone.
    pub(crate) fn create(&self, slots: u32) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(self.spools())?;
        for slot in 0..slots {
            builder.create(self.slot(slot))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_grouped_by_thousands_of_tasks() {
        let paths = StatePaths::new("/s");
        let path = |id| paths.output(TaskId(id), AttemptNumber(2), Stream::Err);
        assert_eq!(path(7), Path::new("/s/output/0/7.2.err"));
        assert_eq!(path(12_345), Path::new("/s/output/12/12345.2.err"));
    }
}
