//! Whether a worker lives: it holds a lock on `worker.lock` for as long as it does.
//!
//! The lock is a POSIX record lock (fcntl(2), `F_SETLK`): the kernel knows whose it is, so the pid that it
//! tells is the holder's and never a stale number in a file; and it belongs to one process, so a child that
//! is about to exec does not keep it.

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, PidfdFlags, Signal, fcntl_getlk, pidfd_open, pidfd_send_signal};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::StatePaths;

/// The lock of a living worker. It is given up when this is dropped, and when the process ends in any way.
///
/// Invariant: this process opens the lock file once; closing a second descriptor would give up the lock.
#[derive(Debug)]
pub(crate) struct WorkerLock {
    _file: File,
}

impl WorkerLock {
    /// Takes the lock; none when another process has it.
    pub(crate) fn take(paths: &StatePaths) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(paths.lock())?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The process id of the worker of this state directory; none when no worker lives.
///
/// # Errors
/// When the lock file cannot be opened, unless it does not exist.
pub fn worker_pid(state_dir: &Path) -> io::Result<Option<u32>> {
    let file = match File::open(StatePaths::new(state_dir).lock()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let holder = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?;
    Ok(holder.and_then(|lock| lock.pid).map(|pid| pid.as_raw_nonzero().get().unsigned_abs()))
}

/// Whether a worker of this state directory lives.
///
/// # Errors
/// When the lock file cannot be opened, unless it does not exist.
pub fn is_running(state_dir: &Path) -> io::Result<bool> {
    Ok(worker_pid(state_dir)?.is_some())
}

/// Sends SIGKILL to the worker of this state directory, whatever it does, and tells whether there was one.
/// It may still be dying when this returns: the lock is free once it is gone.
///
/// # Errors
/// When the worker cannot be found out about or may not be killed.
pub fn kill_worker(state_dir: &Path) -> io::Result<bool> {
    let Some(pid) = worker_pid(state_dir)? else { return Ok(false) };
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return Ok(false);
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    // The descriptor names the holder only if the lock is still held by that pid now that it is open.
    if worker_pid(state_dir)? != Some(pid.as_raw_nonzero().get().unsigned_abs()) {
        return Ok(false);
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
