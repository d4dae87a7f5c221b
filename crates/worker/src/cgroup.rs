//! Control groups (version 2, cgroups(7)): one for each slot, so that everything an attempt has started can be
//! ended, whatever session it is in, and that it gets what it has claimed of the machine and no more.
//!
//! ```text
//! BASE                     delegated to us, or the root of the hierarchy
//! └── orchd-HASH           this worker's; HASH is of the state directory
//!     ├── 0  1  2 …        slots; each is used by one attempt after the other
//! ```
//! A group costs its making and its end, a fifth of the rate of short tasks; so a slot keeps its own. Only an
//! attempt with a claim on memory gets a new one: its peak and its page cache shall be its own.
//!
//! What cannot be had here is told by [`Cgroups::label`]; nothing is moved that is not ours. A worker removes its group
//! at its end, and the next one of its state directory that of one that was killed. Where nobody comes back, the group
//! is swept away by the next worker of anybody ([`crate::sweep`]).

use orchd_api::Bounds;
use orchd_model::{Amount, CpuBound, OverMemory};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::{StatePaths, memory, sweep, sys};

/// Where groups may be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupPlace {
    /// In the group that was delegated to the daemon, or in the root of the hierarchy.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// In this directory.
    At(PathBuf),
}

/// The controllers that are used, in the order of [`Controllers`]'s fields.
const CONTROLLERS: [&str; 2] = ["cpu", "memory"];
/// What systemd marks a group with that it has delegated (systemd.resource-control(5), `Delegate=`).
const DELEGATED: [&str; 2] = ["user.delegate", "trusted.delegate"];
/// The length of a period in which cores are counted, microseconds: the kernel's own default.
const PERIOD_US: u64 = 100_000;
/// The weight of one core among those that compete; the kernel's range is 1 to 10 000.
const WEIGHT_OF_A_CORE: u64 = 100;
/// How long what was killed may take to go.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Controllers {
    cpu: bool,
    memory: bool,
}

/// The groups of a worker.
#[derive(Debug)]
pub(crate) struct Cgroups {
    directory: PathBuf,
    note: PathBuf,
    controllers: Controllers,
    _hold: OwnedFd,
}

impl Cgroups {
    /// Makes the group of this worker. The error says why there is none.
    pub(crate) fn create(place: &CgroupPlace, paths: &StatePaths) -> Result<Self, String> {
        let base = find(place)?;
        let directory = base.join(format!("{}{:016x}", sweep::PREFIX, hash(paths.root())));
        let cannot = |what: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", what.display());
        let hold = sweep::make_and_hold(&directory).map_err(|error| cannot(&directory, &error))?;
        if !directory.join("cgroup.kill").exists() {
            let _ = fs::remove_dir(&directory);
            return Err("the kernel is older than 5.14 and has no cgroup.kill".to_owned());
        }
        let enable = |name: &str| {
            let words = format!("+{name}");
            [&base, &directory]
                .into_iter()
                .all(|group| write(group, "cgroup.subtree_control", &words).is_ok())
        };
        let [cpu, memory] = CONTROLLERS.map(enable);
        let note = paths.cgroup();
        fs::write(&note, directory.as_os_str().as_encoded_bytes()).map_err(|error| cannot(&note, &error))?;
        // There may be thousands, and nobody waits for them.
        thread::spawn(move || sweep::sweep(&base));
        Ok(Self { directory, note, controllers: Controllers { cpu, memory }, _hold: hold })
    }

    /// What can be enforced, in one word for programs.
    pub(crate) fn label(&self) -> String {
        let Controllers { cpu, memory } = self.controllers;
        let parts = [(true, "kill"), (cpu, "cpu"), (memory, "memory")];
        let parts: Vec<&str> = parts.into_iter().filter_map(|(there, name)| there.then_some(name)).collect();
        format!("cgroup={}", parts.join(","))
    }

    /// Whether the kernel keeps attempts to their memory.
    pub(crate) fn limits_memory(&self) -> bool {
        self.controllers.memory
    }

    /// Whether processes can be started in these groups.
    fn check(&self) -> Result<(), String> {
        let mut slot = self.slot(0);
        let group = slot.prepare(None).map_err(|error| format!("{}: {error}", self.directory.display()))?;
        let group = group.try_clone_to_owned().map_err(|error| error.to_string())?;
        let probe = thread::spawn(move || {
            sys::block_all_signals();
            sys::starts_in(group.as_fd())
        });
        match probe.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                Err(format!("processes cannot be started in {}: {error}", self.directory.display()))
            }
            Err(_) => Err("the thread that tries it has panicked".to_owned()),
        }
    }

    /// The group of a slot.
    pub(crate) fn slot(&self, slot: u32) -> SlotGroup {
        SlotGroup {
            directory: self.directory.join(slot.to_string()),
            controllers: self.controllers,
            open: None,
            limits: Limits::default(),
            fresh: false,
            was_killed: Cell::new(false),
            cpu_before: Cpu::default(),
        }
    }
}

/// Makes the groups of a worker if it can, and says in one line what is enforced and what is not.
pub(crate) fn start(place: &CgroupPlace, paths: &StatePaths) -> Option<Cgroups> {
    let checked = Cgroups::create(place, paths).and_then(|groups| groups.check().map(|()| groups));
    let groups = match checked {
        Ok(groups) => groups,
        Err(reason) => {
            tracing::info!(
                %reason,
                "no control groups: process groups are ended; claims on memory are watched, those on cpu are not"
            );
            return None;
        }
    };
    let Controllers { cpu, memory } = groups.controllers;
    tracing::info!(
        group = %groups.directory.display(),
        processes = "ended as a whole",
        cpu = if cpu { "limited" } else { "not limited" },
        memory = if memory { "limited" } else { "watched" },
        "control groups"
    );
    Some(groups)
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        match remove(&self.directory) {
            Ok(()) => drop(fs::remove_file(&self.note)),
            Err(error) => {
                tracing::warn!(%error, group = %self.directory.display(), "a group could not be removed");
            }
        }
    }
}

/// The limits of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Limits {
    cpu_max: Option<Amount>,
    cpu_weight: Option<Amount>,
    memory: Option<Amount>,
}

impl Limits {
    fn new(bounds: Bounds, controllers: Controllers) -> Self {
        let cpu = bounds.allotment.cpu.filter(|_| controllers.cpu);
        let memory = bounds.allotment.memory.filter(|_| controllers.memory);
        Self {
            cpu_max: cpu.filter(|_| bounds.cpu_bound == CpuBound::Limit),
            cpu_weight: cpu.filter(|_| bounds.cpu_bound != CpuBound::Off),
            memory: memory.filter(|_| bounds.over_memory != OverMemory::Off),
        }
    }
}

/// The files of a group that are open.
struct Open {
    directory: OwnedFd,
    events: OwnedFd,
    kill: OwnedFd,
}

/// Cpu time, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub user_us: u64,
    pub system_us: u64,
}

/// What an attempt and all that it has started used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupUsage {
    pub cpu: Option<Cpu>,
    pub memory_peak: Option<u64>,
    /// How many of its processes were killed since it had no more memory.
    pub oom_kills: u64,
}

/// The group of one slot.
pub(crate) struct SlotGroup {
    directory: PathBuf,
    controllers: Controllers,
    open: Option<Open>,
    /// The limits that are set.
    limits: Limits,
    /// Whether nothing but the attempt that is in it has used it.
    fresh: bool,
    /// Whether it was killed. Since Linux 6.15 a process that is cloned into a group that was killed before may
    /// be killed, too: `cgroup_css_set_fork` compares the count of kills with that of its parent's group.
    was_killed: Cell<bool>,
    cpu_before: Cpu,
}

impl SlotGroup {
    /// Makes the group ready for an attempt, and gives the descriptor that clone3(2) wants.
    pub(crate) fn prepare(&mut self, bounds: Option<Bounds>) -> io::Result<BorrowedFd<'_>> {
        let limits = bounds.map_or_else(Limits::default, |bounds| Limits::new(bounds, self.controllers));
        self.fresh = limits.memory.is_some();
        if self.fresh || self.was_killed.get() {
            self.remove()?;
            self.was_killed.set(false);
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.make()?,
        };
        if limits != self.limits {
            self.set(limits)?;
        }
        if bounds.is_some() {
            self.cpu_before = cpu(&self.directory);
        }
        Ok(self.open.insert(open).directory.as_fd())
    }

    fn make(&mut self) -> io::Result<Open> {
        // One that an earlier worker has left may have been killed.
        absent(fs::remove_dir(&self.directory))?;
        fs::create_dir(&self.directory)?;
        let file = |name: &str, flags| {
            rustix::fs::open(self.directory.join(name), flags | OFlags::CLOEXEC, Mode::empty())
        };
        let directory = file("", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let (events, kill) = (file("cgroup.events", OFlags::RDONLY)?, file("cgroup.kill", OFlags::WRONLY)?);
        // Whatever an earlier worker has set.
        self.limits = Limits { memory: Some(Amount::ZERO), ..Limits::default() };
        Ok(Open { directory, events, kill })
    }

    fn set(&mut self, limits: Limits) -> io::Result<()> {
        if self.controllers.cpu {
            write(&self.directory, "cpu.max", &cpu_max(limits.cpu_max))?;
            write(&self.directory, "cpu.weight", &cpu_weight(limits.cpu_weight))?;
        }
        if self.controllers.memory {
            let bytes = limits.memory.map(|memory| memory.as_thousandths() / Amount::ONE.as_thousandths());
            let max = bytes.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
            write(&self.directory, "memory.max", &max)?;
            // Memory that is claimed is not on a disk; a kernel without swap has no such file.
            let swap = if bytes.is_some() { "0" } else { "max" };
            absent(write(&self.directory, "memory.swap.max", swap))?;
            // An attempt that has lost one of its processes is not worth going on.
            let together = if bytes.is_some() { "1" } else { "0" };
            write(&self.directory, "memory.oom.group", together)?;
        }
        self.limits = limits;
        Ok(())
    }

    /// The processes in it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        memory::processes_in(&self.directory)
    }

    /// Kills everything that is in the group. True when there is nothing.
    pub(crate) fn is_cleared(&self) -> bool {
        let Some(open) = &self.open else { return true };
        if !is_populated(open.events.as_fd()) {
            return true;
        }
        self.was_killed.set(true);
        if let Err(error) = rustix::io::write(&open.kill, b"1") {
            tracing::error!(%error, group = %self.directory.display(), "a group could not be killed");
        }
        false
    }

    /// What the attempt used; asked when nothing of it lives.
    pub(crate) fn usage(&self) -> GroupUsage {
        let now = cpu(&self.directory);
        let cpu = Cpu {
            user_us: now.user_us.saturating_sub(self.cpu_before.user_us),
            system_us: now.system_us.saturating_sub(self.cpu_before.system_us),
        };
        let cpu = Some(cpu).filter(|_| self.open.is_some());
        if !self.fresh {
            return GroupUsage { cpu, ..GroupUsage::default() };
        }
        let peak = fs::read_to_string(self.directory.join("memory.peak"));
        let events = fs::read_to_string(self.directory.join("memory.events")).unwrap_or_default();
        GroupUsage {
            cpu,
            memory_peak: peak.ok().and_then(|text| text.trim().parse().ok()),
            oom_kills: number(&events, "oom_kill").unwrap_or_default(),
        }
    }

    fn remove(&mut self) -> io::Result<()> {
        self.open = None;
        absent(fs::remove_dir(&self.directory))
    }
}

fn cpu_max(claim: Option<Amount>) -> String {
    let Some(claim) = claim else { return format!("max {PERIOD_US}") };
    // The kernel takes no less than a millisecond.
    let quota = (claim.as_thousandths().saturating_mul(PERIOD_US) / 1000).max(1000);
    format!("{quota} {PERIOD_US}")
}

fn cpu_weight(claim: Option<Amount>) -> String {
    let thousandths = claim.unwrap_or(Amount::ONE).as_thousandths();
    (thousandths.saturating_mul(WEIGHT_OF_A_CORE) / 1000).clamp(1, 10_000).to_string()
}

/// Ends what a dead worker has left in its groups, waits until it is gone, and removes them.
pub(crate) fn clear(paths: &StatePaths) -> io::Result<()> {
    let note = paths.cgroup();
    let directory = match fs::read_to_string(&note) {
        Ok(text) => PathBuf::from(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let own = directory.file_name().is_some_and(sweep::is_ours);
    if !own || !directory.is_dir() {
        return absent(fs::remove_file(&note));
    }
    absent(write(&directory, "cgroup.kill", "1"))?;
    let end = Instant::now() + PATIENCE;
    while has_processes(&directory) {
        if Instant::now() > end {
            let message = format!("processes in {} do not die", directory.display());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        thread::sleep(LOOK_AGAIN);
    }
    if let Err(error) = remove(&directory) {
        tracing::warn!(%error, group = %directory.display(), "a group could not be removed");
    }
    absent(fs::remove_file(&note))
}

/// Whether anything lives in a group or below it.
pub(crate) fn has_processes(group: &Path) -> bool {
    fs::read(group.join("cgroup.events")).is_ok_and(|text| says_populated(&text))
}

/// Removes a group that is empty of processes, and those below it.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            absent(fs::remove_dir(entry.path()))?;
        }
    }
    absent(fs::remove_dir(directory))
}

/// The group in which ours may be made.
fn find(place: &CgroupPlace) -> Result<PathBuf, String> {
    match place {
        CgroupPlace::Off => return Err("switched off".to_owned()),
        CgroupPlace::At(path) => return Ok(path.clone()),
        CgroupPlace::Auto => {}
    }
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let mounts = read("/proc/self/mounts")?;
    let root = mounted(&mounts).ok_or("no control groups of version 2 are mounted")?;
    let groups = read("/proc/self/cgroup")?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let own = own.ok_or("this process is in no control group of version 2")?.trim_matches('/');
    if own.is_empty() {
        return Ok(root);
    }
    let own = root.join(own);
    // With DelegateSubgroup= the daemon is in a group below the delegated one.
    let above = own.parent().filter(|above| *above != root);
    let delegated = above.into_iter().chain([&*own]).find(|group| is_delegated(group));
    delegated.map(Path::to_owned).ok_or_else(|| format!("{} is not delegated to orchd", own.display()))
}

fn mounted(mounts: &str) -> Option<PathBuf> {
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    mounts.find_map(|mut words| {
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })
}

fn is_delegated(group: &Path) -> bool {
    DELEGATED.iter().any(|name| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(group, *name, &mut value).is_ok_and(|length| value[..length].starts_with(b"1"))
    })
}

/// Makes the name of a group; FNV-1a.
fn hash(path: &Path) -> u64 {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Writes a file of a group in one call.
fn write(group: &Path, name: &str, text: &str) -> io::Result<()> {
    let file = rustix::fs::open(group.join(name), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

/// What is not there need not be touched.
fn absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn is_populated(events: BorrowedFd<'_>) -> bool {
    let mut text = [0_u8; 128];
    match rustix::io::pread(events, &mut text, 0) {
        Ok(length) => says_populated(&text[..length]),
        Err(Errno::NODEV) => false,
        Err(error) => {
            tracing::error!(%error, "a group's events cannot be read");
            false
        }
    }
}

fn says_populated(events: &[u8]) -> bool {
    events.split(|byte| *byte == b'\n').any(|line| line == b"populated 1")
}

fn cpu(group: &Path) -> Cpu {
    let text = fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
    Cpu {
        user_us: number(&text, "user_usec").unwrap_or_default(),
        system_us: number(&text, "system_usec").unwrap_or_default(),
    }
}

/// The number behind a name in a flat keyed file.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_of_cores_becomes_a_quota_and_a_weight() {
        let limit = |thousandths| Some(Amount::thousandths(thousandths));
        assert_eq!(
            [limit(2500), limit(1), None].map(cpu_max),
            ["250000 100000", "1000 100000", "max 100000"]
        );
        assert_eq!(
            [limit(2500), limit(1), limit(1_000_000), None].map(cpu_weight),
            ["250", "1", "10000", "100"]
        );
    }

    #[test]
    fn files_of_groups_are_read_by_name() {
        assert!(says_populated(b"populated 1\nfrozen 0\n") && !says_populated(b"populated 0\nfrozen 1\n"));
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!((number(events, "oom_kill"), number(events, "oom_")), (Some(2), None));
        assert_eq!(mounted("a /x tmpfs rw\nb /y cgroup2 rw\n"), Some(PathBuf::from("/y")));
    }
}
