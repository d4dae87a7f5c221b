//! The table of running attempts: a small file mapped into memory, one record a slot, so that whoever finds
//! the worker dead knows which processes it had. Writing a record is a few stores and no system call.
//!
//! ```text
//! header  8 words: magic, version, slots, boot id (5 words)
//! record  8 words: token (0 = empty), task, attempt, started (ticks), pid, 3 spare
//! ```
//! Invariant: a record's token is written after all the rest and cleared before it, so a record that is read
//! is whole; its pid is written by the child itself before it becomes the program, so no program runs
//! unrecorded.

use orchd_model::{AttemptNumber, TaskId, Token};
use rustix::fd::AsFd;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::SharedWords;
use crate::{StatePaths, process};

const MAGIC: u64 = u64::from_le_bytes(*b"orchdATT");
const VERSION: u64 = 1;
const RECORD_WORDS: usize = 8;
const BOOT_BYTES: usize = 40;

/// An attempt as the table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub slot: u32,
    pub token: Token,
    pub task: TaskId,
    pub attempt: AttemptNumber,
    /// When its process was started, in clock ticks since the machine started; never later than /proc says.
    pub started_ticks: u64,
    /// Its process, process group and session; 0 when there was none yet.
    pub pid: u32,
}

/// The table as its owner, the worker, has it.
pub(crate) struct AttemptsTable {
    words: SharedWords,
}

impl AttemptsTable {
    /// Makes an empty table in place of any that is there.
    pub(crate) fn create(paths: &StatePaths, slots: u32) -> io::Result<Self> {
        let path = paths.attempts();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(path)?;
        let count = RECORD_WORDS * (1 + slots as usize);
        file.set_len((count * size_of::<u64>()) as u64)?;
        let words = SharedWords::map(file.as_fd(), count)?;
        let mut boot = [0; BOOT_BYTES];
        let text = process::boot_id();
        let length = text.len().min(BOOT_BYTES);
        boot[..length].copy_from_slice(&text.as_bytes()[..length]);
        let boot = boot.chunks_exact(8).map(word);
        for (word, value) in
            words.words().iter().zip([MAGIC, VERSION, u64::from(slots)].into_iter().chain(boot))
        {
            word.store(value, Ordering::Release);
        }
        Ok(Self { words })
    }

    /// Writes the record of an attempt that is about to start, and gives the place for its pid.
    pub(crate) fn enter(&self, slot: u32, token: Token, task: TaskId, attempt: AttemptNumber) -> &AtomicU64 {
        let [token_word, rest @ ..] = self.record(slot) else { unreachable!("a record has words") };
        for (word, value) in rest.iter().zip([task.0, u64::from(attempt.0), now_ticks(), 0]) {
            word.store(value, Ordering::Relaxed);
        }
        token_word.store(token.0, Ordering::Release);
        &rest[3]
    }

    /// Empties a slot's record.
    pub(crate) fn leave(&self, slot: u32) {
        self.record(slot)[0].store(0, Ordering::Release);
    }

    fn record(&self, slot: u32) -> &[AtomicU64] {
        let at = RECORD_WORDS * (1 + slot as usize);
        &self.words.words()[at..at + RECORD_WORDS]
    }
}

/// Reads the records that a worker has left; none when there is no table. Those written before the machine
/// was last started have pid 0, since their processes are gone.
pub(crate) fn read(paths: &StatePaths) -> io::Result<Vec<Record>> {
    let bytes = match fs::read(paths.attempts()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let words: Vec<u64> = bytes.chunks_exact(8).map(word).collect();
    let mut records = words.chunks_exact(RECORD_WORDS);
    // A worker that was killed before it had written the header had started nothing.
    let Some(header) = records.next().filter(|header| header[0] == MAGIC) else { return Ok(Vec::new()) };
    if header[1] != VERSION {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("attempts table of version {} in {}", header[1], paths.attempts().display()),
        ));
    }
    let boot = &bytes[24..24 + BOOT_BYTES];
    let same_boot = boot.starts_with(process::boot_id().as_bytes());
    let running = records.enumerate().filter(|(_, record)| record[0] != 0);
    Ok(running
        .map(|(slot, record)| Record {
            slot: slot as u32,
            token: Token(record[0]),
            task: TaskId(record[1]),
            attempt: AttemptNumber(record[2] as u32),
            started_ticks: record[3],
            pid: if same_boot { record[4] as u32 } else { 0 },
        })
        .collect())
}

impl StatePaths {
    /// Whether the attempt with this token is in the slot now, so that everything in the slot's spools up to
    /// now is its own. False when that cannot be found out.
    #[must_use]
    pub fn is_held_by(&self, slot: u32, token: Token) -> bool {
        let at = (RECORD_WORDS * (1 + slot as usize) * size_of::<u64>()) as u64;
        let mut bytes = [0; size_of::<u64>()];
        let read = File::open(self.attempts()).and_then(|table| table.read_exact_at(&mut bytes, at));
        read.is_ok() && word(&bytes) == token.0
    }
}

/// Forgets all records.
pub(crate) fn clear(paths: &StatePaths) -> io::Result<()> {
    match fs::remove_file(paths.attempts()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Clock ticks since the machine started, as /proc counts them: hundredths of a second on every architecture.
fn now_ticks() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 100 + now.tv_nsec.unsigned_abs() / 10_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_entered_can_be_read_until_it_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let paths = StatePaths::new(directory.path());
        paths.create(2).unwrap();
        assert_eq!(read(&paths).unwrap(), []);
        let table = AttemptsTable::create(&paths, 2).unwrap();
        table.enter(1, Token(7), TaskId(3), AttemptNumber(2)).store(99, Ordering::Release);
        let [record] = read(&paths).unwrap()[..] else { panic!("one record") };
        assert_eq!((record.slot, record.token, record.pid), (1, Token(7), 99));
        assert_eq!((record.task, record.attempt), (TaskId(3), AttemptNumber(2)));
        assert_eq!(
            [(0, 7), (1, 7), (1, 8), (2, 7)].map(|(slot, token)| paths.is_held_by(slot, Token(token))),
            [false, true, false, false]
        );
        let own = process::stat(std::process::id()).unwrap();
        assert!(record.started_ticks >= own.started_ticks);
        table.leave(1);
        assert!(!paths.is_held_by(1, Token(7)));
        assert_eq!(read(&paths).unwrap(), []);
    }
}
