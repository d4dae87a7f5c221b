//! The moment at which a process starts: when the kernel opens its program, a copy of `/bin/true` that inotify(7)
//! watches.

use rustix::fs::inotify;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Failure;

/// A program of which one learns when it is started.
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    watch: OwnedFd,
}

impl Program {
    /// Puts one there.
    pub fn in_directory(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join("program");
        std::fs::copy("/bin/true", &path)?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&watch, &path, inotify::WatchFlags::OPEN)?;
        Ok(Self { path, watch })
    }

    /// Waits until it is started, and gives the time since this moment.
    pub fn start_after(&self, started: Instant) -> Result<Duration, Failure> {
        let mut space = [MaybeUninit::uninit(); 4096];
        inotify::Reader::new(&self.watch, &mut space).next()?;
        Ok(started.elapsed())
    }
}
