//! The state directory: private to its owner and held by one process at a time.
//!
//! Invariant: as long as a [`StateDir`] lives, no other process has one of the same directory. The lock is
//! a flock(2) on the file `lock`, which the kernel drops with its holder however that dies; the process id
//! in that file is for people and decides nothing. The file is closed on exec, so children do not hold it.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::StoreError;

/// Nobody but the owner reads results, environments and output.
const PRIVATE: u32 = 0o700;

/// A process that the holder was starting when it was killed has all its files until it is another program.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A locked state directory. Clones hold the same lock.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: Arc<File>,
}

impl StateDir {
    /// Creates the directory if need be, checks it, and locks it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process holds it, [`StoreError::Unsafe`] when others own it or
    /// can get in.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE)
            .create(&path)
            .map_err(|e| StoreError::io("create the state directory", &path, e))?;
        check_private(&path)?;
        let lock = take_lock(&path)?;
        Ok(Self { path, _lock: Arc::new(lock) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The directory, and the link that leads to it if there is one, must be ours, and only ours. An empty
/// directory that others can enter is closed to them; one with something in it may serve another purpose
/// and is refused.
fn check_private(path: &Path) -> Result<(), StoreError> {
    let refuse = |problem| Err(StoreError::Unsafe { path: path.to_owned(), problem });
    let failed = |e| StoreError::io("look at the state directory", path, e);
    let us = rustix::process::geteuid().as_raw();
    let link = fs::symlink_metadata(path).map_err(failed)?;
    if link.is_symlink() && link.uid() != us && link.uid() != 0 {
        return refuse("is a link of another user");
    }
    let dir = fs::metadata(path).map_err(failed)?;
    if !dir.is_dir() {
        return refuse("is not a directory");
    }
    if dir.uid() != us {
        return refuse("belongs to another user");
    }
    if dir.mode() & 0o077 == 0 {
        return Ok(());
    }
    if fs::read_dir(path).map_err(failed)?.next().is_some() {
        return refuse("is open to other users; if it is meant for orchd: chmod 700");
    }
    fs::set_permissions(path, Permissions::from_mode(PRIVATE)).map_err(failed)
}

/// The process that says that it holds the lock.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

fn take_lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let failed = |e| StoreError::io("lock", &path, e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(failed)?;
    let give_up = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                let pid = holder(&mut file);
                if !pid.is_some_and(is_gone) || Instant::now() > give_up {
                    return Err(StoreError::Locked { path: dir.to_owned(), pid });
                }
                std::thread::park_timeout(LOOK_AGAIN);
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
    }
    // A full disk must not keep the daemon from starting for want of a number that only people read.
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = written {
        tracing::warn!(%error, "cannot write the process id into the lock file");
    }
    Ok(file)
}
