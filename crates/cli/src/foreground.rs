//! A command in the foreground, with our own standard streams: it is in our process group, so what the terminal
//! sends to us it has, too; what is sent to us alone is passed on.

use orchd_client::Loss;
use orchd_model::Outcome;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, sleep_until};

use crate::Exit;
use crate::interrupt::undisturbed;

/// What can happen while a command runs.
pub(crate) enum Happened {
    /// It has ended.
    Ended(Exit, Outcome),
    /// A signal came that is meant for it.
    Signal(Signal),
    /// It was asked to end, and has not in time.
    Overdue,
    /// The claims under which it runs are lost, or wanted back.
    Lost(Loss),
}

/// A command that runs.
pub(crate) struct Foreground {
    child: Child,
    signals: Signals,
    started_at: Instant,
    /// When it is killed if it has not ended.
    overdue_at: Option<Instant>,
}

/// What comes so soon after the start may have been sent when there was no command yet.
const JUST_STARTED: Duration = Duration::from_millis(50);

impl Foreground {
    /// Starts it; it gets what `signals` have noted since they are listened for. `quiet`: standard output is ours
    /// alone, so its goes to standard error.
    pub(crate) fn start(
        words: &[OsString],
        variables: &[(&str, OsString)],
        quiet: bool,
        signals: Signals,
    ) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
        if quiet {
            command.stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
        }
        Ok(Self { child: command.spawn()?, signals, started_at: Instant::now(), overdue_at: None })
    }

    /// Waits for whatever comes next.
    pub(crate) async fn happens(&mut self) -> io::Result<Happened> {
        let overdue = async {
            match self.overdue_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = self.child.wait() => {
                let (exit, outcome) = ended(status?);
                Ok(Happened::Ended(exit, outcome))
            }
            signal = self.signals.next() => Ok(Happened::Signal(signal)),
            () = overdue => {
                self.overdue_at = None;
                Ok(Happened::Overdue)
            }
        }
    }

    /// Passes a signal on, unless the terminal has sent it to the command as well. Once too often does no harm.
    pub(crate) fn pass_on(&self, signal: Signal) {
        let was_there = self.started_at.elapsed() > JUST_STARTED;
        let by_keyboard = was_there && [Signal::INT, Signal::QUIT].contains(&signal);
        if !(by_keyboard && in_foreground_of_terminal()) {
            self.send(signal);
        }
    }

    /// Asks it to end; when it has not after this time it is overdue.
    pub(crate) fn end_within(&mut self, grace: Duration) {
        self.send(Signal::TERM);
        self.overdue_at = Some(Instant::now() + grace);
    }

    /// Ends it.
    pub(crate) fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        // Its number is its own until it has been waited for; one that has just ended needs no signal.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Whether what is typed at the terminal reaches our process group.
fn in_foreground_of_terminal() -> bool {
    let terminal = File::open("/dev/tty");
    terminal.is_ok_and(|terminal| rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

fn ended(status: ExitStatus) -> (Exit, Outcome) {
    match (status.code(), status.signal()) {
        (Some(code), _) => (Exit::of_command(code), Outcome::exited(code)),
        (None, Some(signal)) => (Exit::of_signal(signal), Outcome::signalled(signal)),
        (None, None) => (Exit::of_command(-1), Outcome::exited(-1)),
    }
}

/// The exit code that shells give to what cannot be run.
pub(crate) fn cannot_run(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::NotFound { Exit::NO_COMMAND } else { Exit::NOT_EXECUTABLE }
}

/// The signals that people send to commands.
pub(crate) struct Signals {
    hangup: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
    terminate: unix::Signal,
    user_1: unix::Signal,
    user_2: unix::Signal,
}

impl Signals {
    /// From now on these signals no longer end the program by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        undisturbed(|| {
            Ok(Self {
                hangup: unix::signal(SignalKind::hangup())?,
                interrupt: unix::signal(SignalKind::interrupt())?,
                quit: unix::signal(SignalKind::quit())?,
                terminate: unix::signal(SignalKind::terminate())?,
                user_1: unix::signal(SignalKind::user_defined1())?,
                user_2: unix::signal(SignalKind::user_defined2())?,
            })
        })
    }

    /// The next one that comes.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.user_1.recv() => Signal::USR1,
            _ = self.user_2.recv() => Signal::USR2,
        }
    }
}
