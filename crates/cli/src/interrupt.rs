//! Ctrl-C, SIGTERM and a terminal that is closed, as something to wait for.

use nix::sys::signal::{SigSet, SigmaskHow};
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask this program to end.
pub(crate) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupt {
    /// From now on these signals no longer end the program by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        undisturbed(|| {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: signal(SignalKind::hangup())?,
            })
        })
    }

    /// Returns when one has come.
    pub(crate) async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Begins to listen for signals. One that comes meanwhile waits until that is done: between the system call and the note
/// of what to do it would be lost (signal-hook-registry).
///
/// Flaw: `orchd run` has other threads, and one of them may take it in these microseconds; it has to be sent again.
pub(crate) fn undisturbed<T>(listen: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let listened = listen();
    before.thread_set_mask()?;
    listened
}
