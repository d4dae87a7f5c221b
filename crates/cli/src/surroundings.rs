//! What a daemon finds around it: the lock of its state directory, room on the disk, control groups. Looked
//! at from outside, so that it can be told also when no daemon runs.

use orchd_store::{Inspected, StoreError, inspect};
use rustix::fs::{Access, access, statvfs};
use rustix::process::{Flock, FlockType, fcntl_getlk};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnosis::Check;
use crate::text;

/// What helps whoever may not see everything.
pub(crate) const AS_ADMIN: &str = "the daemon's user and root see more";

/// With less room than this the daemon soon refuses new work.
const ROOM: u64 = 1 << 30;
/// With less it has to live from its reserve.
const NO_ROOM: u64 = 64 << 20;

/// The store in the state directory.
const FILE: &str = "orchd.db";

/// Where a daemon of this user keeps its state: `$ORCHD_STATE_DIR`, `/var/lib/orchd` for root,
/// `$XDG_STATE_HOME/orchd`, `~/.local/state/orchd`.
pub(crate) fn state_dir() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = named("ORCHD_STATE_DIR") {
        return Some(path);
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/orchd"));
    }
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    Some(state.join("orchd"))
}

/// Where to look.
pub(crate) struct Surroundings {
    pub(crate) state_dir: Option<PathBuf>,
    /// The daemon that answers.
    pub(crate) daemon: Option<u32>,
}

impl Surroundings {
    /// Who holds the state directory.
    pub(crate) fn lock(&self) -> Check {
        let Some(directory) = &self.state_dir else {
            return Check::warning("lock", "no state directory: neither XDG_STATE_HOME nor HOME is set");
        };
        let shown = directory.display();
        let path = directory.join("lock");
        match holder(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Check::ok("lock", format!("{shown} has never had a daemon"))
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Check::warning("lock", format!("{shown} is closed to this user")).hint(AS_ADMIN)
            }
            Err(error) => Check::warning("lock", format!("{}: {error}", path.display())),
            Ok(None) => Check::ok("lock", format!("{shown} is held by nobody")),
            Ok(Some(pid)) => self.held_by(&shown, pid),
        }
    }

    fn held_by(&self, directory: &impl std::fmt::Display, pid: u32) -> Check {
        let found = format!("{directory} is held by pid {pid}");
        match self.daemon {
            Some(daemon) if pid == daemon => Check::ok("lock", format!("{found}, the daemon that answers")),
            Some(_) => Check::failed("lock", format!("{found}, another daemon")),
            None => Check::warning("lock", format!("{found}, which does not answer here"))
                .hint("it listens elsewhere, or hangs: name its socket with --socket, or end it"),
        }
    }

    /// How much room there is for the store and for output.
    pub(crate) fn disk(&self) -> Check {
        // A directory that is not there yet will stand in the nearest one that is.
        let place = self.state_dir.as_deref().and_then(|path| path.ancestors().find(|path| path.exists()));
        let Some(place) = place else { return Check::warning("disk", "no state directory to look at") };
        let stat = match statvfs(place) {
            Ok(stat) => stat,
            Err(error) => return Check::warning("disk", format!("{}: {error}", place.display())),
        };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let found = format!("{} free at {}", text::bytes(free), place.display());
        if stat.f_files > 0 && stat.f_favail == 0 {
            return Check::failed("disk", format!("{found}, but no file can be made any more"));
        }
        match free {
            0..NO_ROOM => Check::failed("disk", found).hint("free some space: new work is refused meanwhile"),
            NO_ROOM..ROOM => Check::warning("disk", found).hint("old output and backups may go"),
            _ => Check::ok("disk", found),
        }
    }

    /// The store while no daemon answers for it.
    pub(crate) fn store(&self) -> Check {
        let Some(directory) = &self.state_dir else {
            return Check::warning("store", "no state directory to look at");
        };
        match inspect(directory) {
            Ok(None) => Check::ok("store", format!("{} has none yet", directory.display())),
            Ok(Some(Inspected { bytes, damage: None, .. })) => {
                Check::ok("store", self.whole_store(Some(bytes)))
            }
            Ok(Some(Inspected { path, damage: Some(damage), .. })) => {
                let found = format!("{}: {damage}", path.display());
                Check::failed("store", found).hint("keep a copy of it, then put a backup in its place")
            }
            Err(StoreError::Io { source, path, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                Check::warning("store", format!("{} is closed to this user", path.display())).hint(AS_ADMIN)
            }
            Err(error) => Check::failed("store", error.to_string()),
        }
    }

    /// What is told of a store without damage.
    pub(crate) fn whole_store(&self, size: Option<u64>) -> String {
        let path = self.state_dir.as_ref().map(|directory| format!("{}: ", directory.join(FILE).display()));
        let size = size.map(|size| format!("{}, ", text::bytes(size)));
        format!("{}{}no damage found", path.unwrap_or_default(), size.unwrap_or_default())
    }

    /// What is enforced. A worker knows; without one, whether it could be.
    pub(crate) fn cgroup(&self, worker: Option<&str>) -> Check {
        if let Some(enforced) = worker {
            return enforcement(enforced);
        }
        let whose = self.daemon.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let watched = "claims on cpu and memory cannot be enforced";
        let Some(group) = control_group(&whose) else {
            return Check::warning("cgroup", format!("no control groups v2 here: {watched}"));
        };
        let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
        let missing: Vec<&str> = ["cpu", "memory"]
            .into_iter()
            .filter(|name| !controllers.split_whitespace().any(|c| c == *name))
            .collect();
        let shown = group.display();
        if !missing.is_empty() {
            let check =
                Check::warning("cgroup", format!("{shown} has no {}: {watched}", missing.join(" and ")));
            return check.hint("with systemd: Delegate=yes in the unit");
        }
        if access(&group, Access::WRITE_OK).is_err() {
            let check = Check::warning("cgroup", format!("{shown} is not ours to divide: {watched}"));
            return check.hint("with systemd: Delegate=yes in the unit");
        }
        Check::ok("cgroup", format!("{shown} is delegated, with cpu and memory"))
    }
}

/// What a worker enforces by control groups: `kill`, `cpu`, `memory`, or `none`.
fn enforcement(enforced: &str) -> Check {
    let has = |name: &str| enforced.split(',').any(|word| word == name);
    if !has("kill") {
        let found =
            "no control groups: process groups are ended, claims on memory are watched, those on cpu are not";
        return Check::warning("cgroup", found).hint("worker.log in the state directory tells why");
    }
    let part = |name: &str, otherwise: &str| if has(name) { "limited" } else { otherwise }.to_owned();
    let (cpu, memory) = (part("cpu", "not limited"), part("memory", "watched"));
    let found = format!("attempts are ended as a whole, cpu is {cpu}, memory is {memory}");
    if has("cpu") && has("memory") {
        return Check::ok("cgroup", found);
    }
    let hint = "with systemd: Delegate=yes and DelegateSubgroup=daemon in the unit";
    Check::warning("cgroup", found).hint(hint)
}

/// The process that holds the lock. Looking takes nothing from anybody.
fn holder(path: &Path) -> io::Result<Option<u32>> {
    let holder = fcntl_getlk(File::open(path)?, &Flock::from(FlockType::WriteLock))?;
    let pid = holder.and_then(|lock| lock.pid);
    Ok(pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs()))
}

/// The directory of a process's control group (version 2), cgroups(7).
fn control_group(process: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    let root = mounts.find_map(|mut words| {
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })?;
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = own.trim_matches('/');
    Some(if own.is_empty() { root } else { root.join(own) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Verdict;

    fn at(path: &Path, daemon: Option<u32>) -> Surroundings {
        Surroundings { state_dir: Some(path.to_owned()), daemon }
    }

    #[test]
    fn what_a_worker_enforces_is_told_in_words() {
        let told = |enforced| {
            let check = at(Path::new("/"), None).cgroup(Some(enforced));
            (check.verdict, check.found)
        };
        let all = "attempts are ended as a whole, cpu is limited, memory is limited";
        assert_eq!(told("kill,cpu,memory"), (Verdict::Ok, all.to_owned()));
        let some = "attempts are ended as a whole, cpu is not limited, memory is watched";
        assert_eq!(told("kill"), (Verdict::Warning, some.to_owned()));
        assert!(told("none").1.starts_with("no control groups"));
    }

    #[test]
    fn the_lock_tells_who_has_the_state_directory() {
        let directory = tempfile::tempdir().unwrap();
        assert!(at(directory.path(), None).lock().found.ends_with("has never had a daemon"));
        fs::write(directory.path().join("lock"), "4711\n").unwrap();
        assert!(at(directory.path(), None).lock().found.ends_with("held by nobody"));
        let held = |daemon| at(directory.path(), daemon).held_by(&"here", 4711).verdict;
        assert_eq!([Some(4711), Some(12), None].map(held), [Verdict::Ok, Verdict::Failed, Verdict::Warning]);
    }

    #[test]
    fn room_is_looked_for_where_the_state_directory_will_be() {
        let directory = tempfile::tempdir().unwrap();
        let check = at(&directory.path().join("not/yet/there"), None).disk();
        assert!(check.found.contains(&directory.path().display().to_string()), "{check:?}");
    }
}
