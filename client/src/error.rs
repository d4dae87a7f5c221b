//! Everything that can go wrong with a request.

use orchd_model::{Code, Refusal};
use std::io;
use std::path::PathBuf;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers on the socket: nothing listens there, or what listens says nothing.
    #[error("daemon not reachable: {}: {source}", socket.display())]
    Unreachable {
        /// The path of the socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon took the request and did not answer in time ([`crate::Settings::request_timeout`]).
    #[error("the daemon did not answer in time")]
    Timeout,
    /// The daemon refused the request.
    #[error(transparent)]
    Refused(Refusal),
    /// The answer is not what this version understands.
    #[error("unexpected answer from the daemon: {0}")]
    Protocol(String),
    /// The connection broke and the request could not safely be repeated.
    #[error("connection to the daemon lost: {0}")]
    Io(#[from] io::Error),
}

impl Error {
    /// The code of a refusal, if this is one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Unreachable { .. } | Self::Timeout | Self::Protocol(_) | Self::Io(_) => None,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
