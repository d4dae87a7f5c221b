//! The documents that only the command line prints; all others are those of the API.

use orchd_api::{Event, LogChunk, LogStream, PauseRequest, ShutdownMode, Task};
use orchd_model::AttemptNumber;
use orchd_workflow::{FileError, Plan};
use schemars::JsonSchema;
use serde::Serialize;

/// A task with its events.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Shown {
    #[serde(flatten)]
    pub(crate) task: Task,
    /// Its events, the oldest first.
    pub(crate) events: Vec<Event>,
}

/// A piece of a task's output.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OutputPiece {
    /// Which attempt.
    attempt: AttemptNumber,
    /// `stdout` or `stderr`.
    stream: LogStream,
    /// Where it begins in that output, bytes.
    offset: u64,
    #[serde(flatten)]
    content: OutputContent,
}

/// Text where it is text, else base64.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OutputContent {
    /// What was written.
    Text(String),
    /// What was written and is no UTF-8.
    Base64(String),
}

impl From<&LogChunk> for OutputPiece {
    fn from(chunk: &LogChunk) -> Self {
        let content = match chunk.bytes().and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(text) => OutputContent::Text(text),
            None => OutputContent::Base64(chunk.base64.clone()),
        };
        Self { attempt: chunk.attempt, stream: chunk.stream, offset: chunk.offset, content }
    }
}

/// What was paused.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Paused {
    /// Nothing in it: everything.
    pub(crate) paused: PauseRequest,
}

/// What was resumed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Resumed {
    /// Nothing in it: everything.
    pub(crate) resumed: PauseRequest,
}

/// A daemon that has ended.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Ended {
    /// What became of its running tasks.
    pub(crate) shutdown: ShutdownMode,
    /// Its process id.
    pub(crate) pid: u32,
}

/// A workflow that is kept no longer.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Removed {
    /// Its name.
    pub(crate) removed: String,
}

/// The plan of each workflow of a file: one alone, or an array.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Plans {
    One(Box<Plan>),
    Several(Vec<Plan>),
}

impl Plans {
    pub(crate) fn each(&self) -> &[Plan] {
        match self {
            Self::One(plan) => std::slice::from_ref(plan),
            Self::Several(plans) => plans,
        }
    }
}

/// The graph of a workflow.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Drawing {
    /// Whether the file is valid.
    pub(crate) valid: bool,
    /// What is wrong with it.
    pub(crate) errors: Vec<FileError>,
    /// For Mermaid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mermaid: Option<String>,
    /// For Graphviz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dot: Option<String>,
    /// A drawing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) svg: Option<String>,
}
