//! Commands that end with the daemon, however it ends: they are started by a small process (`orchd tethered`) that leads
//! their process group, waits for both ends, and kills the group when the daemon is gone.
//!
//! What leaves the group goes on.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getpid, getppid, kill_current_process_group, kill_process,
    pidfd_open, setrlimit,
};
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};

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

/// The process itself: runs the command, and ends as it does.
///
/// # Errors
/// When it cannot watch the two.
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
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process without a number")?;
    let command = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch the command")?;
    let mut ends = [&daemon, &command].map(|end| PollFd::new(end, PollFlags::IN));
    loop {
        match poll(&mut ends, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the command"),
        }
        if !ends[1].revents().is_empty() {
            break;
        }
        if !ends[0].revents().is_empty() {
            // This process, too.
            kill_current_process_group(Signal::KILL).context("cannot end the command")?;
        }
    }
    let status = child.wait().context("cannot wait for the command")?;
    if let Some(signal) = status.signal().and_then(Signal::from_named_raw) {
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        // The command has left a core, if it was to.
        let _ = setrlimit(Resource::Core, none);
        let _ = kill_process(getpid(), signal);
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
