//! Control groups that nobody comes back to: their workers were killed, and their state directories removed.
//!
//! Invariant: a worker holds its group with flock(2) for as long as it lives, so that a group which can be locked is
//! nobody's. Only what is empty can be removed at all.

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cgroup;

/// What the names of the groups of workers begin with, before 16 hexadecimal digits.
pub(crate) const PREFIX: &str = "orchd-";
const DIGITS: usize = 16;

/// Whether a group has the name of a worker's.
pub(crate) fn is_ours(name: &OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Makes a group, if it is not there, and takes hold of it: it is not swept away for as long as this is open.
pub(crate) fn make_and_hold(group: &Path) -> io::Result<OwnedFd> {
    loop {
        match fs::create_dir(group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let held = match open(group) {
            Err(Errno::NOENT) => continue,
            held => held?,
        };
        // Who sweeps has it for a moment.
        flock(&held, FlockOperation::LockShared)?;
        let is_still_there = fs::metadata(group).is_ok_and(|found| is_same(&held, &found));
        if is_still_there {
            return Ok(held);
        }
    }
}

/// Removes the groups below `base` that were left behind.
pub(crate) fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    let groups = entries.flatten().filter(|entry| is_ours(&entry.file_name()));
    let removed = groups.filter(|entry| is_removed(&entry.path())).count();
    if removed > 0 {
        tracing::info!(removed, "control groups that nobody came back to are gone");
    }
}

/// Removes a group if it is nobody's.
fn is_removed(group: &Path) -> bool {
    if cgroup::has_processes(group) {
        return false;
    }
    // It goes away while this is held.
    let Ok(held) = open(group) else { return false };
    flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok() && cgroup::remove(group).is_ok()
}

fn open(group: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(group, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn is_same(held: &OwnedFd, found: &fs::Metadata) -> bool {
    fstat(held).is_ok_and(|held| (held.st_dev, held.st_ino) == (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_that_are_empty_and_nobodys_are_swept_away() {
        let base = tempfile::tempdir().unwrap();
        let group = |number: u64| base.path().join(format!("{PREFIX}{number:016x}"));
        let (abandoned, held, used) = (group(1), group(2), group(3));
        let foreign = base.path().join("orchd-of-somebody");
        for path in [&abandoned, &held, &used, &foreign] {
            fs::create_dir(path).unwrap();
            fs::create_dir(path.join("0")).unwrap();
        }
        fs::write(used.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        let hold = make_and_hold(&held).unwrap();
        sweep(base.path());
        let left = [&abandoned, &held, &used, &foreign].map(|path| path.join("0").exists());
        assert_eq!(left, [false, true, true, true]);
        assert!(!abandoned.exists());
        drop(hold);
        sweep(base.path());
        assert!(!held.exists());
        assert!(held.parent().is_some() && make_and_hold(&held).is_ok() && held.exists());
    }
}
