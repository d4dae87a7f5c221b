//! The jobserver of an attempt: nested builds take a token for every job beyond the first, and there are as
//! many tokens as the attempt has claimed cores beyond the first (GNU make manual, "Sharing Job Slots with GNU
//! make"). They learn of it in `MAKEFLAGS`.
//!
//! Each attempt gets a pipe of its own, so one that was killed while it held tokens costs the next none, and
//! what has run away from an earlier one cannot touch them. Two ways to announce it are in use, and nothing
//! understands both but newer makes and cargo; which one is taken depends on the make that the task would find.
//! That make is read, not run: a program in a task's `PATH` may do anything, and for any length of time.
//!
//! To make, `-j` without a number means to leave the jobserver and run without a limit. A script that stands
//! before it in the task's `PATH` leaves that option out.

use orchd_api::Bounds;
use orchd_model::JobserverStyle;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::StatePaths;

/// More tokens may find no place in a pipe that nobody reads (pipe(7): it may have a single page).
const CPUS_MOST: u64 = 4096;
/// The descriptors of the pipe in the task: numbers that neither shells nor scripts use for themselves.
pub(crate) const DESCRIPTORS: [i32; 2] = [100, 101];
/// The name of an option of make that came with the fifo, in 4.4. Its program has it as text.
const FIFO_OPTION: &[u8] = b"jobserver-style";
/// As much of a make is read: GNU make has less than one MiB, with what debuggers want some.
const MAKE_BYTES: u64 = 16 << 20;
/// Makes that are remembered: one of each `PATH` that tasks have, and those are few.
const MAKES: usize = 64;
/// What make is called.
const NAMES: [&str; 2] = ["make", "gmake"];
const SCRIPT: &str = include_str!("make.sh");

/// A jobserver with its tokens in it.
pub(crate) struct Jobserver {
    /// What `MAKEFLAGS` shall be.
    pub flags: Vec<u8>,
    channel: Channel,
}

enum Channel {
    /// A fifo is kept open here: it would be emptied when nobody has it open.
    Fifo(OwnedFd),
    /// The ends that the process inherits.
    Pipe([OwnedFd; 2]),
}

impl Jobserver {
    /// What the process shall inherit.
    pub(crate) fn inherited(&self) -> Option<[BorrowedFd<'_>; 2]> {
        match &self.channel {
            Channel::Fifo(_) => None,
            Channel::Pipe(ends) => Some([ends[0].as_fd(), ends[1].as_fd()]),
        }
    }

    /// What must be open for as long as the attempt runs.
    pub(crate) fn into_kept(self) -> Option<OwnedFd> {
        match self.channel {
            Channel::Fifo(fifo) => Some(fifo),
            Channel::Pipe(_) => None,
        }
    }
}

/// What changes when a file is replaced or written: its device and number, when (seconds and nanoseconds) and size.
type Version = (u64, u64, i64, i64, u64);

/// Makes jobservers, and knows which kind of them the installed make understands.
#[derive(Default)]
pub(crate) struct Jobservers {
    /// The makes that were read, as they were then, and whether they take a fifo.
    read: BTreeMap<PathBuf, (Version, bool)>,
}

impl Jobservers {
    /// A jobserver for an attempt with these bounds; none when it claims no cores, or wants none. One with a single
    /// core has no token: one job at a time.
    /// `path` is what the task has in `PATH`, `fifo` where a fifo may be made.
    pub(crate) fn open(&mut self, bounds: Bounds, path: &str, fifo: &Path) -> io::Result<Option<Jobserver>> {
        let cpus = bounds.allotment.cpus();
        if bounds.allotment.cpu.is_none() {
            return Ok(None);
        }
        let tokens = vec![b'+'; usize::try_from(cpus.min(CPUS_MOST) - 1).unwrap_or_default()];
        let by_fifo = match bounds.jobserver {
            JobserverStyle::Off => return Ok(None),
            JobserverStyle::Fifo => true,
            JobserverStyle::Pipe => false,
            JobserverStyle::Auto => self.takes_fifo(path),
        };
        // Words of MAKEFLAGS end at blanks.
        let by_fifo = by_fifo && !fifo.as_os_str().as_bytes().iter().any(u8::is_ascii_whitespace);
        let mut flags = format!(" -j{cpus} --jobserver-auth=").into_bytes();
        let channel = if by_fifo {
            flags.extend_from_slice(b"fifo:");
            flags.extend_from_slice(fifo.as_os_str().as_bytes());
            Channel::Fifo(open_fifo(fifo)?)
        } else {
            let [read, write] = DESCRIPTORS;
            flags.extend_from_slice(format!("{read},{write}").as_bytes());
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            Channel::Pipe([above(read)?, above(write)?])
        };
        let end = match &channel {
            Channel::Fifo(fifo) => fifo,
            Channel::Pipe([_, write]) => write,
        };
        rustix::io::write(end, &tokens)?;
        Ok(Some(Jobserver { flags, channel }))
    }

    /// Whether the first make in `path` understands a fifo. Without a make everything that is left does.
    fn takes_fifo(&mut self, path: &str) -> bool {
        let found = path.split(':').flat_map(|directory| NAMES.map(|name| Path::new(directory).join(name)));
        let is_program = |metadata: &fs::Metadata| metadata.is_file() && metadata.mode() & 0o111 != 0;
        let mut programs = found
            .filter_map(|path| fs::metadata(&path).ok().filter(is_program).map(|metadata| (path, metadata)));
        let Some((program, found)) = programs.next() else { return true };
        let version = (found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.len());
        if let Some((_, takes)) = self.read.get(&program).filter(|(then, _)| *then == version) {
            return *takes;
        }
        // One that cannot be read gets the pipe: nearly all that is called make understands it.
        let takes = has_fifo_option(&program).unwrap_or(false);
        tracing::info!(make = %program.display(), fifo = takes, "this make gets its jobserver in this way");
        if self.read.len() >= MAKES {
            self.read.clear();
        }
        self.read.insert(program, (version, takes));
        takes
    }
}

/// Whether a make knows the option that came with the fifo.
fn has_fifo_option(program: &Path) -> io::Result<bool> {
    let mut bytes = Vec::new();
    fs::File::open(program)?.take(MAKE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes.windows(FIFO_OPTION.len()).any(|part| part == FIFO_OPTION))
}

fn open_fifo(path: &Path) -> io::Result<OwnedFd> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
    // Reading and writing: who opens a fifo for one of the two waits for the other end.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The same pipe under a descriptor that is none of those it shall have in the task.
fn above(fd: OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, DESCRIPTORS[1] + 1)?)
}

/// Writes the scripts that stand before make.
pub(crate) fn write_scripts(paths: &StatePaths) -> io::Result<()> {
    let directory = paths.scripts();
    fs::create_dir_all(&directory)?;
    for name in NAMES {
        let path = directory.join(name);
        if fs::read(&path).ok().as_deref() == Some(SCRIPT.as_bytes()) {
            continue;
        }
        let fresh = path.with_extension("new");
        let mut file =
            fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o700).open(&fresh)?;
        io::Write::write_all(&mut file, SCRIPT.as_bytes())?;
        drop(file);
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o700))?;
        fs::rename(fresh, path)?;
    }
    Ok(())
}

/// What a task with a jobserver has in `PATH`. None when the directory's name would break it.
pub(crate) fn path_with_scripts(scripts: &Path, path: &str) -> Option<String> {
    let scripts = scripts.as_os_str().to_str().filter(|scripts| !scripts.contains(':'))?;
    Some(format!("{scripts}:{path}"))
}
