//! The pipe of a slot in which attempts say how far they have come: what `$ORCHD_PROGRESS` names.
//!
//! A pipe with a name that this process keeps open, so that whoever writes to it neither waits nor gets a signal, and
//! nothing grows on disk. Writers may say anything and as much as they like: of what has gathered since the
//! last look only the last line that means something counts, and it is told a few times a second at most.
//!
//! Flaw: a process that outlives its attempt still knows the path, and can speak for the slot's next one.

use orchd_model::Progress;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the pipe is left alone after something was read: what is written meanwhile costs one more read, and
/// 64 KiB, which it takes, are many lines.
const GATHER: Duration = Duration::from_millis(10);
/// How often an attempt's progress is told to the daemon at most.
const TELL: Duration = Duration::from_millis(250);
/// What a pipe holds at most, and is read in one go.
pub(crate) const PIPE_BYTES: usize = 64 << 10;
/// A line that is longer means nothing.
const LINE_BYTES: usize = 4096;

/// The pipe of a slot.
pub(crate) struct ProgressPipe {
    path: PathBuf,
    fifo: Option<OwnedFd>,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
    /// Whether the line that is under way is too long.
    overlong: bool,
    /// What was said last, if it was not told yet.
    latest: Option<Progress>,
    told_at: Option<Instant>,
}

/// What is to be done after a look.
pub(crate) struct Looked {
    /// To be told now.
    pub(crate) tell: Option<Progress>,
    /// When to look again, whatever happens.
    pub(crate) again: Option<Instant>,
    /// Whether the next word is to be noticed as soon as it comes.
    pub(crate) listen: bool,
}

impl ProgressPipe {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, fifo: None, rest: Vec::new(), overlong: false, latest: None, told_at: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fifo(&self) -> Option<&OwnedFd> {
        self.fifo.as_ref()
    }

    /// Makes the pipe, if it is not there: an earlier task may have taken it away. True when it is a new one.
    pub(crate) fn make(&mut self) -> io::Result<bool> {
        let is_there = || {
            let found = rustix::fs::lstat(&self.path);
            found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
        };
        if self.fifo.is_some() && is_there() {
            return Ok(false);
        }
        self.fifo = None;
        match rustix::fs::unlink(&self.path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => std::fs::remove_dir_all(&self.path)?,
            Err(error) => return Err(error.into()),
        }
        rustix::fs::mkfifoat(CWD, &self.path, Mode::RUSR | Mode::WUSR)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.fifo = Some(rustix::fs::open(&self.path, flags, Mode::empty())?);
        Ok(true)
    }

    /// Reads what has gathered.
    pub(crate) fn look(&mut self, now: Instant, buffer: &mut [u8]) -> Looked {
        if self.read(buffer) {
            let tell = self.due(now);
            return Looked { tell, again: Some(now + GATHER), listen: false };
        }
        let tell = self.due(now);
        let again = self.latest.is_some().then(|| self.told_at.map_or(now, |told| told + TELL));
        Looked { tell, again, listen: true }
    }

    /// Takes the last word of an attempt that has ended, and is ready for the next one.
    pub(crate) fn finish(&mut self, buffer: &mut [u8]) -> Option<Progress> {
        self.read(buffer);
        if !self.overlong {
            self.hear(Progress::from_line(&self.rest));
        }
        self.rest.clear();
        self.overlong = false;
        self.told_at = None;
        self.latest.take()
    }

    fn due(&mut self, now: Instant) -> Option<Progress> {
        if self.told_at.is_some_and(|told| now < told + TELL) {
            return None;
        }
        let latest = self.latest.take()?;
        self.told_at = Some(now);
        Some(latest)
    }

    /// Reads once, as much as a pipe holds. False when there was nothing.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let Some(fifo) = &self.fifo else { return false };
        match rustix::io::read(fifo, &mut *buffer) {
            Ok(length @ 1..) => {
                self.take(&buffer[..length]);
                true
            }
            // Nothing has gathered. It has no end, since this process has it open for writing, too.
            Ok(0) | Err(_) => false,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        if !self.rest.is_empty() || self.overlong {
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return self.keep(bytes) };
            self.keep(&bytes[..end]);
            if !self.overlong {
                self.hear(Progress::from_line(&self.rest));
            }
            self.rest.clear();
            self.overlong = false;
            bytes = &bytes[end + 1..];
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (lines, rest) = bytes.split_at(whole);
        self.keep(rest);
        // From the end: what came before the last line that says how far it is does not matter any more.
        let last = lines.rsplit(|byte| *byte == b'\n').filter(|line| line.len() <= LINE_BYTES);
        let mut word: Option<Progress> = None;
        for before in last.filter_map(Progress::from_line) {
            let says_how_far = before.percentage.is_some();
            word = Some(word.map_or_else(|| before.clone(), |word| word.after(Some(&before))));
            if says_how_far {
                break;
            }
        }
        self.hear(word);
    }

    fn hear(&mut self, word: Option<Progress>) {
        self.latest = word.map(|word| word.after(self.latest.as_ref())).or(self.latest.take());
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.overlong || self.rest.len() + bytes.len() > LINE_BYTES {
            self.overlong = true;
            self.rest.clear();
        } else {
            self.rest.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pieces: &[&[u8]]) -> Option<String> {
        let mut pipe = ProgressPipe::new(PathBuf::new());
        pieces.iter().for_each(|piece| pipe.take(piece));
        pipe.finish(&mut [0; 16]).map(|progress| progress.to_string())
    }

    #[test]
    fn the_last_line_that_means_something_counts_however_it_comes() {
        let text = b"0.1 one\ngarbage\n0.25 two\n\xff\xfe\n{\"x\": 1}\n";
        assert_eq!(said(&[text]).as_deref(), Some("25% two"));
        for size in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(said(&pieces).as_deref(), Some("25% two"), "in pieces of {size}");
        }
        assert_eq!(said(&[b"0.1\n0.", b"5 no newline"]).as_deref(), Some("50% no newline"));
        assert_eq!(said(&[b"garbage"]), None);
        let text = b"0.4 one\n{\"message\": \"two\"}\ngarbage\n{\"message\": \"three\"}\n";
        for size in 1..=text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(said(&pieces).as_deref(), Some("40% three"), "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_passed_over_and_takes_no_memory() {
        let mut pipe = ProgressPipe::new(PathBuf::new());
        pipe.take(b"0.5 ");
        for _ in 0..100 {
            pipe.take(&[b'x'; LINE_BYTES]);
            assert!(pipe.rest.len() <= LINE_BYTES);
        }
        pipe.take(b"\n0.75 after\n");
        assert_eq!(pipe.finish(&mut [0; 16]).unwrap().to_string(), "75% after");
    }
}
