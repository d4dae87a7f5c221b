//! Sessions: named contexts, each with tasks, workflows and idempotency keys of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use crate::{Code, Refusal, SessionId, check_seen, limits, nearest};

/// How the tasks of a session follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionMode {
    /// As many at once as slots, claims and `max_parallel` allow.
    #[default]
    Parallel,
    /// One at a time, in the order in which they were submitted, whatever their classes.
    Sequential,
    /// Strictly by class, then in the order in which they became ready: none starts while one before it waits.
    Priority,
    /// As `parallel`; a task that claims no cores counts as one core of the machine.
    ResourceAware,
}

impl SessionMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Parallel, Self::Sequential, Self::Priority, Self::ResourceAware];

    /// The word that users write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Sequential => "sequential",
            Self::Priority => "priority",
            Self::ResourceAware => "resource_aware",
        }
    }
}

impl FromStr for SessionMode {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let words = Self::ALL.map(Self::as_str);
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| {
            let refusal = Refusal::new(Code::Malformed, "not a mode").value(text);
            match nearest(text, words) {
                Some(near) => refusal.hint(format!("did you mean {near}?")),
                None => refusal.hint(words.join(", ")),
            }
        })
    }
}

impl fmt::Display for SessionMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What has become of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// It takes work.
    #[default]
    Open,
    /// It takes no more work; some of its tasks have not ended.
    Closing,
    /// All of its tasks have ended.
    Closed,
}

impl SessionStatus {
    /// The word that users read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A session as users name it. In JSON a number or a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a session's name or id")]
pub enum SessionRef {
    /// By its id.
    Id(SessionId),
    /// By its name: the open one, else the newest.
    Name(String),
}

impl FromStr for SessionRef {
    type Err = Infallible;

    /// What is a number is an id.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id))
    }
}

impl From<SessionId> for SessionRef {
    fn from(id: SessionId) -> Self {
        Self::Id(id)
    }
}

impl fmt::Display for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A session to create.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionSpec {
    /// Its name; no other open session has it, and it is no number.
    pub name: String,
    /// How many of its tasks may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// How its tasks follow each other.
    #[serde(default)]
    pub mode: SessionMode,
}

impl SessionSpec {
    /// Checks the limits that the types do not express.
    ///
    /// # Errors
    /// `malformed` with the offending value.
    pub fn check(&self) -> Result<(), Refusal> {
        let malformed = |message: &str, value: &str| Refusal::new(Code::Malformed, message).value(value);
        if self.name.is_empty() || self.name.len() > limits::NAME_BYTES {
            return Err(malformed(&format!("a name has 1 to {} bytes", limits::NAME_BYTES), &self.name));
        }
        check_seen("name", &self.name)?;
        if self.name.parse::<u64>().is_ok() {
            let refusal = malformed("a session's name must not be a number", &self.name);
            return Err(refusal.hint("numbers are ids"));
        }
        match (self.mode, self.max_parallel) {
            (_, Some(0)) => Err(malformed("max_parallel must be at least 1", "0")),
            (SessionMode::Sequential, Some(limit)) if limit > 1 => {
                let refusal = malformed("a sequential session runs one task at a time", &limit.to_string());
                Err(refusal.hint("leave max_parallel out, or take another mode"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_number_and_a_sequence_has_no_width() {
        let spec = |name: &str, max_parallel, mode| SessionSpec { name: name.into(), max_parallel, mode };
        let check = |spec: SessionSpec| spec.check().map_err(|refusal| refusal.value);
        assert_eq!(check(spec("nightly", Some(2), SessionMode::Parallel)), Ok(()));
        assert_eq!(check(spec("nightly", Some(1), SessionMode::Sequential)), Ok(()));
        assert_eq!(check(spec("7", None, SessionMode::Parallel)), Err(Some("7".to_owned())));
        assert_eq!(check(spec("", None, SessionMode::Parallel)), Err(Some(String::new())));
        assert_eq!(check(spec("a\nb", None, SessionMode::Parallel)), Err(Some("a\\u{a}b".to_owned())));
        assert_eq!(check(spec("x", Some(0), SessionMode::Priority)), Err(Some("0".to_owned())));
        assert_eq!(check(spec("x", Some(2), SessionMode::Sequential)), Err(Some("2".to_owned())));
    }

    #[test]
    fn the_words_of_the_modes_are_those_that_are_read() {
        for mode in SessionMode::ALL {
            let word = format!("\"{mode}\"");
            assert_eq!(serde_json::from_str::<SessionMode>(&word).unwrap(), mode);
        }
    }

    #[test]
    fn a_reference_is_a_number_or_a_name() {
        let read = |json: &str| serde_json::from_str::<SessionRef>(json).unwrap();
        assert_eq!(read("7"), SessionRef::Id(SessionId(7)));
        assert_eq!(read("\"a\""), SessionRef::Name("a".to_owned()));
        assert_eq!("7".parse(), Ok(SessionRef::Id(SessionId(7))));
    }
}
