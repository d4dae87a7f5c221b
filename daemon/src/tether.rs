//! Commands that end with the daemon, however it ends: they are started by a small process (`orchd tethered`) that leads
//! their process group, waits for both ends, and kills the group when the daemon is gone, or the command has ended.
//!
//! Invariant: the group is gone before its leader is, so its number is nobody else's as long as somebody may kill it.
//! What leaves the group goes on.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getpgid, getpid, getppid, kill_current_process_group,
    kill_process, kill_process_group, pidfd_open, setpgid, setrlimit,
};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode};

/// What shells exit with when there is no such command.
const NO_COMMAND: u8 = 127;

/// A command for these words, in a process group of its own, that ends with this process.
pub fn command(words: &[String]) -> Command {
    // This very program, also when its file has been replaced by an upgrade meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("orchd").arg("tethered").arg(std::process::id().to_string()).arg("--").args(words);
    command.process_group(0);
    command
}

/// The process itself: runs the command, and ends as it does, once all it has started in the group has ended.
///
/// # Errors
/// When it cannot watch the daemon, or cannot end the group.
pub fn run(parent: u32, words: &[OsString]) -> Result<ExitCode> {
    let parent = i32::try_from(parent).ok().and_then(Pid::from_raw).context("no process has this number")?;
    let daemon = pidfd_open(parent, PidfdFlags::empty());
    // Once its number was somebody else's.
    if getppid() != Some(parent) {
        return Ok(ExitCode::FAILURE);
    }
    let daemon = daemon.context("cannot watch the daemon")?;
    let (program, arguments) = words.split_first().context("the command is empty")?;
    let mut child = match Command::new(program).args(arguments).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{}: {error}", program.display());
            return Ok(NO_COMMAND.into());
        }
    };
    if let Err(error) = until_ended(&child, &daemon) {
        eprintln!("orchd: {error:#}");
        end_group()?;
    }
    end_rest_of_group(parent).context("cannot end what the command has started")?;
    let status = child.wait().context("cannot wait for the command")?;
    if let Some(signal) = status.signal().and_then(Signal::from_named_raw) {
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        // The command has left a core, if it was to.
        let _ = setrlimit(Resource::Core, none);
        let _ = kill_process(getpid(), signal);
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Returns once the command has ended; with the daemon its group ends, and this process with it.
fn until_ended(child: &Child, daemon: &OwnedFd) -> Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process without a number")?;
    let command = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch the command")?;
    let mut ends = [daemon, &command].map(|end| PollFd::new(end, PollFlags::IN));
    loop {
        match poll(&mut ends, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the command"),
        }
        if !ends[1].revents().is_empty() {
            return Ok(());
        }
        if !ends[0].revents().is_empty() {
            end_group()?;
        }
    }
}

/// Kills the group, and this process with it.
fn end_group() -> Result<()> {
    kill_current_process_group(Signal::KILL).context("cannot end the command")
}

/// Kills what is left of the group, but not this process, which has to say how the command ended: it goes over to the
/// daemon's group first. The number of its own stays taken, as it is this process's.
fn end_rest_of_group(daemon: Pid) -> Result<()> {
    let moved = getpgid(Some(daemon)).and_then(|group| setpgid(None, Some(group)));
    if moved.is_err() {
        // The daemon is gone, and nobody asks any more.
        return end_group();
    }
    match kill_process_group(getpid(), Signal::KILL) {
        // Nothing is left.
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
