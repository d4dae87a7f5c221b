//! The cap on output: of a stream that has grown beyond it the beginning and the end are kept.
//!
//! Tasks write to files of their own accord, so nobody can stop a write; what is in the middle is given back to
//! the file system while the task goes on (a hole, fallocate(2)). Positions in the file stay what they were. A file
//! that was cut is marked as such, so that it is read rightly whatever the cap is then.
//!
//! Guarantee: a stream takes at most its cap on disk, and what is written between two looks, which are
//! [`LOOK_LATEST`] apart at most. After its attempt has ended it is within the cap.

use rustix::fd::BorrowedFd;
use rustix::fs::{FallocateFlags, Mode};
use rustix::io::Errno;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// The first look at the output of an attempt, and the next one after output has grown: at some gigabytes a
/// second it has not outgrown the usual cap by more than as much again.
pub(crate) const LOOK_FIRST: Duration = Duration::from_millis(250);
/// Output that does not grow is looked at ever less often, down to this.
pub(crate) const LOOK_LATEST: Duration = Duration::from_secs(2);
/// Holes begin and end at whole blocks.
const BLOCK: u64 = 4096;
/// The mark of a file that was cut: the sticky bit, which means nothing else for a file (inode(7)).
const CUT: Mode = Mode::SVTX;

/// Whether the middle of this output was too much and is not kept: the holes of the file are that.
#[must_use]
pub fn is_cut(output: &Metadata) -> bool {
    Mode::from_raw_mode(output.mode()).contains(CUT)
}

/// What is known of the size of one stream.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    seen: u64,
    /// The end of the hole.
    cut: u64,
    /// Whether the file system can make no holes.
    unable: bool,
}

impl Growth {
    /// Takes note of the size of the file and cuts what is too much. Says whether it has grown.
    pub(crate) fn look(&mut self, file: BorrowedFd<'_>, cap: u64) -> bool {
        let size = rustix::fs::fstat(file).map_or(0, |stat| stat.st_size.unsigned_abs());
        let has_grown = size > self.seen;
        self.seen = size;
        if let Some((start, end)) = hole(size, cap).filter(|(_, end)| *end > self.cut && !self.unable) {
            let from = start.max(self.cut);
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Marked first: zeros that nobody wrote must not be taken for output.
            let marked = rustix::fs::fchmod(file, Mode::RUSR | Mode::WUSR | CUT);
            match marked.and_then(|()| rustix::fs::fallocate(file, flags, from, end - from)) {
                Ok(()) => self.cut = end,
                Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::warn!(%error, size, "output grows beyond its cap: the file system cannot cut it");
                    self.unable = true;
                }
            }
        }
        has_grown
    }
}

/// Which part of a stream of this size is too much: a quarter of the cap is kept before it, the rest after it.
fn hole(size: u64, cap: u64) -> Option<(u64, u64)> {
    let start = (cap / 4).next_multiple_of(BLOCK);
    let end = size.checked_sub(cap.checked_sub(start)?)? / BLOCK * BLOCK;
    (size > cap && end > start).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use std::io::Write;

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        assert_eq!(hole(1 << 20, 1 << 20), None);
        for (size, cap) in [((1 << 20) + 8192, 1 << 20), (10 << 30, 1 << 30), (100 << 20, 65_536)] {
            let (start, end) = hole(size, cap).unwrap();
            assert!(start + (size - end) >= cap && start + (size - end) < cap + BLOCK, "{size} {cap}");
            assert_eq!((start % BLOCK, end % BLOCK), (0, 0));
        }
    }

    #[test]
    fn a_stream_that_grows_on_takes_no_more_than_its_cap() {
        let mut file = tempfile::tempfile().unwrap();
        let (mut growth, cap) = (Growth::default(), 1 << 20);
        assert!(!growth.look(file.as_fd(), cap));
        assert!(!is_cut(&file.metadata().unwrap()));
        for _ in 0..20 {
            file.write_all(&vec![b'x'; 1 << 20]).unwrap();
            assert!(growth.look(file.as_fd(), cap));
        }
        let metadata = file.metadata().unwrap();
        assert!(is_cut(&metadata));
        assert_eq!(metadata.len(), 20 << 20);
        assert!(metadata.blocks() * 512 <= cap + 2 * BLOCK, "{} blocks", metadata.blocks());
    }
}
