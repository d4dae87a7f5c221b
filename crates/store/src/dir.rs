//! The state directory: private to its owner and held by one process at a time.
//!
//! Invariant: as long as a [`StateDir`] lives, nobody else has one of the same directory. The lock is a POSIX record
//! lock (fcntl(2), `F_SETLK`) on the file `lock`. The kernel drops it with its holder however that dies, tells whose it
//! is, and gives it to one process: a child that is about to become another program does not keep it. The process id in
//! that file is for people and does not decide who holds it. A holder that ends empties the file, so that the next one
//! waits for it.

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{ErrorKind, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::StoreError;

/// Nobody but the owner reads results, environments and output.
const PRIVATE: u32 = 0o700;

/// The lock files that this process holds, by device and number: the kernel would give it the same lock again, and take
/// it away when either is closed.
static HELD: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// A locked state directory. Clones hold the same lock.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    lock: Arc<Lock>,
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
        Ok(Self { path, lock: Arc::new(lock) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that this process is about to give the directory up. Whoever finds it locked can tell by that.
    pub fn leave(&self) {
        if let Some(Err(error)) = self.lock.file.as_ref().map(|file| file.set_len(0)) {
            tracing::warn!(%error, "the next daemon cannot tell that this one ends");
        }
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

/// A lock that is held.
#[derive(Debug)]
struct Lock {
    /// There until it is given up.
    file: Option<File>,
    number: (u64, u64),
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.file.take());
        held.remove(&self.number);
    }
}

fn number(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Whether a process has been killed and is being taken apart: it has no program any more (proc_pid_exe(5)).
fn is_dying(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn take_lock(dir: &Path) -> Result<Lock, StoreError> {
    let path = dir.join("lock");
    let failed = |e| StoreError::io("lock", &path, e);
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    // Asked before it is opened: closing it again would give up the lock.
    if fs::metadata(&path).is_ok_and(|found| held.contains(&number(&found))) {
        return Err(StoreError::Locked { path: dir.to_owned(), pid: Some(std::process::id()), ends: false });
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(failed)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::AGAIN | Errno::ACCESS) => {
            // Nobody, if it was given up at this very moment.
            let holder =
                fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).map_err(|e| failed(e.into()))?;
            let pid = holder.and_then(|lock| lock.pid);
            let pid = pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
            let is_left = file.metadata().map_err(failed)?.len() == 0;
            return Err(StoreError::Locked {
                path: dir.to_owned(),
                pid,
                ends: is_left || pid.is_some_and(is_dying),
            });
        }
        Err(error) => return Err(failed(error.into())),
    }
    let number = number(&file.metadata().map_err(failed)?);
    held.insert(number);
    // A full disk must not keep the daemon from starting for want of a number that only people read.
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = written {
        tracing::warn!(%error, "cannot write the process id into the lock file");
    }
    Ok(Lock { file: Some(file), number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_has_the_file_open_does_not_keep_the_lock_of_a_dead_holder() {
        let directory = tempfile::tempdir().unwrap();
        let held = StateDir::open(directory.path()).unwrap();
        let file = held.lock.file.as_ref().unwrap().try_clone().unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::from(file)).spawn().unwrap();
        drop(held);
        let again = StateDir::open(directory.path());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(again.is_ok(), "{again:?}");
    }

    #[test]
    fn one_process_has_it_once() {
        let directory = tempfile::tempdir().unwrap();
        let held = StateDir::open(directory.path()).unwrap();
        for _ in 0..2 {
            let refused = StateDir::open(directory.path()).unwrap_err();
            let us = Some(std::process::id());
            assert!(matches!(refused, StoreError::Locked { pid, .. } if pid == us), "{refused}");
        }
        drop(held);
        StateDir::open(directory.path()).unwrap();
    }
}
