//! Ctrl-C, SIGTERM and a terminal that is closed, as something to wait for.

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
    ///
    /// Flaw: one that comes in the microseconds between the system call and the note of what to do (signal-hook-registry)
    /// is lost; it has to be sent again.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
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
