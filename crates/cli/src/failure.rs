//! Why a verb did not do what it was asked, with the exit code and the text for people.

use orchd_client::Error;
use orchd_model::{Code, Refusal};
use schemars::JsonSchema;
use serde::Serialize;
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

    /// What stands on standard error: the message with its value, a hint on a line of its own. Of what is refused for
    /// several reasons, each.
    #[must_use]
    pub fn text(&self, program: &str) -> String {
        match self {
            Self::Client(Error::Refused(refusal)) => {
                let all = refusal.clone().apart().map(|refusal| format!("{program}: {refusal}"));
                all.collect::<Vec<_>>().join("\n")
            }
            Self::Hinted { failure, hint } => format!("{}\nhint: {hint}", failure.text(program)),
            _ => match self.hint() {
                Some(hint) => format!("{program}: {self}\nhint: {hint}"),
                None => format!("{program}: {self}"),
            },
        }
    }

    /// What would help, where the failure does not say so itself.
    fn hint(&self) -> Option<&'static str> {
        let Self::Client(Error::Unreachable { source, .. }) = self else { return None };
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Some("start it with: orchd (or name its socket with --socket)")
            }
            io::ErrorKind::TimedOut => Some("something listens there but does not answer; is it orchd?"),
            _ => None,
        }
    }

    /// The same for programs, in the shape of a refusal of the API.
    #[must_use]
    pub fn document(&self) -> FailureDocument {
        match self {
            Self::Client(Error::Refused(refusal)) => FailureDocument::from(refusal.clone()),
            Self::Hinted { failure, hint } => {
                let document = failure.document();
                let hints: Vec<String> = document.hint.into_iter().chain([hint.clone()]).collect();
                FailureDocument { hint: Some(hints.join("\n")), ..document }
            }
            _ => FailureDocument::of_text(self.code(), &self.to_string(), self.hint()),
        }
    }

    /// What the daemon has no code for.
    fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::NotFound(_) => Code::NotFound.as_str(),
            Self::Io(_) => "io",
            Self::Client(_) | Self::Hinted { .. } if self.exit() == Exit::NOT_PERMITTED => {
                Code::NotPermitted.as_str()
            }
            Self::Client(_) | Self::Hinted { .. } => "unreachable",
        }
    }
}

/// A failure as `--json` tells it on standard error: a refusal as the API has it, or what has no answer of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailureDocument {
    /// The stable cause: a code of the API, or `usage`, `unreachable`, `io`.
    pub code: String,
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// Where it stands in what was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The offending value as it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Which task of several it is about, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<usize>,
    /// What else is wrong.
    #[serde(skip_serializing_if = "<[Refusal]>::is_empty")]
    pub more: Box<[Refusal]>,
}

impl FailureDocument {
    /// What was said in words; hints may stand on lines of their own behind it.
    pub(crate) fn of_text(code: &str, text: &str, hint: Option<&str>) -> Self {
        let mut lines = text.trim_end().split("\nhint: ");
        let message = lines.next().unwrap_or_default().to_owned();
        let hints: Vec<&str> = lines.chain(hint).collect();
        let hint = (!hints.is_empty()).then(|| hints.join("\n"));
        let code = code.to_owned();
        Self { code, message, field: None, value: None, hint, item: None, more: Box::default() }
    }

    /// One line of JSON.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| error.to_string())
    }
}

impl From<Refusal> for FailureDocument {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, message, field, value, hint, item, more } = refusal;
        Self { code: code.as_str().to_owned(), message, field, value, hint, item, more }
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

    #[test]
    fn for_programs_a_failure_has_the_shape_of_a_refusal() {
        let refused =
            Failure::from(Refusal::new(Code::Conflict, "taken").field("key").value("k").hint("another"));
        assert_eq!(
            refused.document().line(),
            r#"{"code":"conflict","message":"taken","field":"key","value":"k","hint":"another"}"#
        );
        let hinted = refused.hinted("or none".to_owned()).document();
        assert_eq!(hinted.hint.as_deref(), Some("another\nor none"));
        let usage = Failure::Usage("not a duration: x\nhint: write seconds".to_owned()).document();
        assert_eq!(
            (&*usage.code, &*usage.message, usage.hint.as_deref()),
            ("usage", "not a duration: x", Some("write seconds"))
        );
        let gone = Error::Unreachable { socket: "/x/s".into(), source: io::ErrorKind::NotFound.into() };
        let gone = Failure::Client(gone).document();
        assert_eq!((&*gone.code, gone.hint.is_some()), ("unreachable", true));
        let denied =
            Error::Unreachable { socket: "/x/s".into(), source: io::ErrorKind::PermissionDenied.into() };
        assert_eq!(Failure::Client(denied).document().code, "not_permitted");
    }

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
        let both = Refusal::of_all(["a", "b"].map(|value| Refusal::new(Code::NotFound, "no").value(value)));
        assert_eq!(
            both.map(|both| Failure::from(both).text("orchctl")).unwrap(),
            "orchctl: no: a\norchctl: no: b"
        );
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_broken_pipe());
    }
}
