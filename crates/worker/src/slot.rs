//! The files of one slot: the spools that its attempts write to, and the inputs and the result of the
//! attempt that is in it.
//!
//! Creating two files a task would halve the rate of tasks, so the spools are opened once and given to one
//! silent attempt after the other; only when something was written is a spool moved to the attempt's name
//! and a new one made.
//!
//! Flaw: a process that has left its group with setsid(2), and outlives its attempt, still has the spool
//! open. If the attempt was silent until then, what it writes later is taken for output of the slot's next.

use orchd_model::{AttemptNumber, ErrorType, Outcome, TaskId, Token, limits};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::StatePaths;
use crate::cap::Growth;
use crate::layout::Stream;

/// Descriptors below this are a process's standard ones.
const STDIO_END: i32 = 3;

/// The same file under a descriptor that is not a standard one, so that a child can put it in place of one.
pub(crate) fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if rustix::fd::AsRawFd::as_raw_fd(&fd) >= STDIO_END {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, STDIO_END)?)
}

/// How often the directory of an output is made: the daemon removes empty ones, perhaps just now.
const MAKE_DIRECTORY: u32 = 5;

struct Spool {
    stream: Stream,
    path: PathBuf,
    /// Open and empty, or not open.
    file: Option<OwnedFd>,
    growth: Growth,
}

/// The files of one slot.
pub(crate) struct SlotFiles {
    directory: PathBuf,
    spools: [Spool; 2],
    /// Whether the attempt that is in the slot was given a file of inputs.
    inputs: bool,
    /// The fifo of the attempt's jobserver, if it has one.
    fifo: Option<OwnedFd>,
}

impl SlotFiles {
    pub(crate) fn new(paths: &StatePaths, slot: u32) -> Self {
        let spools = Stream::ALL.map(|stream| Spool {
            stream,
            path: paths.spool(slot, stream),
            file: None,
            growth: Growth::default(),
        });
        Self { directory: paths.slot(slot), spools, inputs: false, fifo: None }
    }

    /// The spools for standard output and error, opened if they are not.
    pub(crate) fn open_spools(&mut self) -> io::Result<[BorrowedFd<'_>; 2]> {
        for spool in &mut self.spools {
            if spool.file.is_none() {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::CLOEXEC;
                let file = rustix::fs::open(&spool.path, flags, Mode::RUSR | Mode::WUSR)?;
                spool.file = Some(above_stdio(file)?);
                spool.growth = Growth::default();
            }
        }
        match &self.spools {
            [Spool { file: Some(out), .. }, Spool { file: Some(err), .. }] => Ok([out.as_fd(), err.as_fd()]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Cuts what is too much of the output so far. Says whether there is more than at the last look.
    pub(crate) fn cap_output(&mut self, cap: u64) -> bool {
        let grown =
            |spool: &mut Spool| spool.file.as_ref().is_some_and(|file| spool.growth.look(file.as_fd(), cap));
        // Both are looked at, whatever is found.
        self.spools.iter_mut().filter_map(|spool| grown(spool).then_some(())).count() > 0
    }

    /// Moves what an ended attempt has written to its name. Output that cannot be kept is dropped, so that
    /// it is not taken for another attempt's.
    pub(crate) fn keep_output(
        &mut self,
        paths: &StatePaths,
        (task, attempt): (TaskId, AttemptNumber),
        cap: u64,
    ) {
        for spool in &mut self.spools {
            let Some(file) = spool.file.take_if(|file| !is_empty(file.as_fd())) else { continue };
            spool.growth.look(file.as_fd(), cap);
            let kept = paths.output(task, attempt, spool.stream);
            if let Err(error) = move_output(&spool.path, &kept) {
                tracing::error!(%task, %attempt, %error, "output could not be kept");
            }
        }
    }

    /// Where the attempt with this token leaves its result.
    pub(crate) fn result_path(&self, token: Token) -> PathBuf {
        self.directory.join(format!("{token}.result"))
    }

    /// Where the attempt that is in the slot may have a fifo.
    pub(crate) fn fifo_path(&self) -> PathBuf {
        self.directory.join("jobserver")
    }

    /// Keeps a fifo open until the attempt has ended.
    pub(crate) fn keep_fifo(&mut self, fifo: Option<OwnedFd>) {
        self.fifo = fifo;
    }

    /// Writes the file that `$ORCHD_INPUTS` names.
    pub(crate) fn write_inputs(&mut self, token: Token, inputs: &Value) -> io::Result<PathBuf> {
        let path = self.inputs_path(token);
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        self.inputs = true;
        file.write_all(inputs.to_string().as_bytes())?;
        Ok(path)
    }

    fn inputs_path(&self, token: Token) -> PathBuf {
        self.directory.join(format!("{token}.inputs"))
    }

    /// Takes the result that an attempt has left, and removes its files.
    pub(crate) fn take_result(&mut self, token: Token) -> Result<Option<Value>, Outcome> {
        if std::mem::take(&mut self.inputs) {
            remove(&self.inputs_path(token));
        }
        if self.fifo.take().is_some() {
            remove(&self.fifo_path());
        }
        let path = self.result_path(token);
        let result = read_result(&path);
        if !matches!(result, Ok(None)) {
            remove(&path);
        }
        result.map_err(|message| Outcome::failed(ErrorType::InvalidResult, message))
    }
}

fn is_empty(file: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| stat.st_size == 0)
}

/// Gives a spool its final name.
pub(crate) fn move_output(spool: &Path, kept: &Path) -> io::Result<()> {
    for _ in 0..MAKE_DIRECTORY {
        match fs::rename(spool, kept) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(directory) = kept.parent() {
                    fs::create_dir_all(directory)?;
                }
            }
            done => return done,
        }
    }
    fs::rename(spool, kept)
}

fn remove(path: &Path) {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir_all(path),
        done => done,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "a slot's file could not be removed");
        }
        _ => {}
    }
}

/// Reads a result file. A task may have put anything in its place: links are not followed, and pipes not
/// waited for.
fn read_result(path: &Path) -> Result<Option<Value>, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err("the result is a symbolic link and not a file".to_owned()),
        Err(error) => return Err(format!("the result cannot be opened: {error}")),
    };
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => {}
        _ => return Err("the result is not a regular file".to_owned()),
    }
    let mut bytes = Vec::new();
    let limit = limits::RESULT_BYTES;
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the result cannot be read: {error}"))?;
    if bytes.len() > limit {
        return Err(format!("the result is larger than {limit} bytes"));
    }
    let value = serde_json::from_slice(&bytes).map_err(|error| format!("the result is no JSON: {error}"))?;
    Ok(Some(value))
}
