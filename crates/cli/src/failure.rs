//! Why a verb did not do what it was asked, with the exit code and the text for people.

use orchd_client::Error;
use orchd_model::Refusal;
use std::io;
use std::path::Path;

use crate::Exit;

/// Why a verb gave up.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The daemon refused, or does not answer.
    #[error(transparent)]
    Client(#[from] Error),
    /// The command line, or a file it names, makes no sense.
    #[error("{0}")]
    Usage(String),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Any of these, with what can be done about it in this case.
    #[error("{failure}")]
    Hinted {
        /// What went wrong.
        failure: Box<Failure>,
        /// What would help.
        hint: String,
    },
    /// Reading or writing here went wrong; a broken pipe among it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// A file of the command line that cannot be read.
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::Usage(format!("cannot read {}: {error}", path.display()))
    }

    /// The same with a further hint.
    pub(crate) fn hinted(self, hint: String) -> Self {
        Self::Hinted { failure: Box::new(self), hint }
    }

    /// Whether the reader of our output went away: no error, nobody wants to know more.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code for this cause.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Client(Error::Refused(refusal)) => Exit::of_code(refusal.code),
            Self::Client(Error::Unreachable { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::NOT_PERMITTED
            }
            Self::Client(Error::Unreachable { .. } | Error::Timeout | Error::Protocol(_) | Error::Io(_)) => {
                Exit::UNREACHABLE
            }
            Self::Usage(_) => Exit::USAGE,
            Self::NotFound(_) => Exit::NOT_FOUND,
            Self::Io(_) => Exit::UNSUCCESSFUL,
            Self::Hinted { failure, .. } => failure.exit(),
        }
    }

    /// What stands on standard error: the message with its value, a hint on a line of its own.
    #[must_use]
    pub fn text(&self, program: &str) -> String {
        let hint = match self {
            Self::Hinted { failure, hint } => return format!("{}\nhint: {hint}", failure.text(program)),
            Self::Client(Error::Unreachable { source, .. }) => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    "\nhint: start it with: orchd (or name its socket with --socket)"
                }
                io::ErrorKind::TimedOut => {
                    "\nhint: something listens there but does not answer; is it orchd?"
                }
                _ => "",
            },
            _ => "",
        };
        format!("{program}: {self}{hint}")
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Client(Error::Refused(refusal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_model::Code;

    #[test]
    fn each_cause_has_its_exit_code_and_its_hint() {
        let unreachable = |kind: io::ErrorKind| {
            Failure::Client(Error::Unreachable { socket: "/x/s".into(), source: kind.into() })
        };
        assert_eq!(unreachable(io::ErrorKind::NotFound).exit(), Exit::UNREACHABLE);
        assert_eq!(unreachable(io::ErrorKind::TimedOut).exit(), Exit::UNREACHABLE);
        assert_eq!(unreachable(io::ErrorKind::PermissionDenied).exit(), Exit::NOT_PERMITTED);
        assert!(unreachable(io::ErrorKind::NotFound).text("orchctl").contains("/x/s"));
        assert!(unreachable(io::ErrorKind::NotFound).text("orchctl").contains("\nhint: "));
        let refused = Failure::from(Refusal::new(Code::NotFound, "no such task").value("9").hint("see list"));
        assert_eq!(refused.exit(), Exit::NOT_FOUND);
        assert_eq!(refused.text("orchctl"), "orchctl: no such task: 9\nhint: see list");
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_broken_pipe());
    }
}
