//! Where a value comes from, and a value with that.

use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(String),
    /// A place in the file.
    File { path: PathBuf, line: Option<u32> },
    /// What the machine has.
    Machine,
    /// Nobody has said anything.
    Default,
}

impl Source {
    fn kind(&self) -> &'static str {
        match self {
            Self::Flag(_) => "flag",
            Self::Variable(_) => "environment",
            Self::File { .. } => "file",
            Self::Machine => "machine",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Machine => f.write_str("the machine"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value of the effective configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its name, as it would be written in TOML.
    pub key: String,
    /// What holds; nothing when it is not set and has no default.
    pub value: Value,
    /// Who says so.
    pub source: Source,
}

impl fmt::Display for Setting {
    /// A line of TOML that says the same, with the source as a comment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Null => write!(f, "# {} is not set ({})", self.key, self.source),
            // Text, numbers and lists of them are written alike in JSON and TOML.
            value => write!(f, "{} = {value}  # {}", self.key, self.source),
        }
    }
}

impl Serialize for Setting {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            key: &'a str,
            value: &'a Value,
            source: &'a str,
            from: String,
        }
        let Self { key, value, source } = self;
        Written { key, value, source: source.kind(), from: source.to_string() }.serialize(serializer)
    }
}
