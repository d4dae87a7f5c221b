//! The output of attempts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orchd_model::{AttemptNumber, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// Both; server-sent events only.
    Both,
}

/// What to read of a task's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Which attempt; the last one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptNumber>,
    /// Which output.
    #[serde(default)]
    pub stream: LogStream,
    /// Go on until the task has ended, over retries; a task that has not started is waited for.
    #[serde(default)]
    pub follow: bool,
    /// Only the last lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
}

/// A piece of output: the data of a server-sent event named `chunk`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogChunk {
    /// Which attempt.
    pub attempt: AttemptNumber,
    /// `stdout` or `stderr`.
    pub stream: LogStream,
    /// Where it begins in that output, bytes.
    pub offset: u64,
    /// The bytes, in base64.
    pub base64: String,
}

impl LogChunk {
    /// Wraps a piece of output.
    #[must_use]
    pub fn new(attempt: AttemptNumber, stream: LogStream, offset: u64, bytes: &[u8]) -> Self {
        Self { attempt, stream, offset, base64: STANDARD.encode(bytes) }
    }

    /// The bytes; none when the text is no base64.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.base64).ok()
    }
}

/// The end of the output: the data of a server-sent event named `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogEnd {
    /// The task's status now.
    pub status: Status,
    /// The exit code of the last attempt.
    pub exit_code: Option<i32>,
    /// The signal that ended the last attempt.
    #[serde(default)]
    pub signal: Option<i32>,
}
