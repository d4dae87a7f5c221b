//! How attempts end and what is kept of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

use crate::retry::signal_name;
use crate::{AttemptNumber, Progress, Span, TaskId, Token};

/// The kind of a failure: one of orchd's own or a handler's own type name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
pub enum ErrorType {
    /// The command ended with a code other than 0.
    ExitCode,
    /// A signal that orchd did not send ended the command.
    Signal,
    /// The attempt met its timeout.
    Timeout,
    /// The task met its deadline.
    Deadline,
    /// The worker died too often under it.
    WorkerLost,
    /// The memory limit ended it.
    OutOfMemory,
    /// The command, its directory or a file it needs does not exist.
    NotFound,
    /// The command may not be run.
    PermissionDenied,
    /// `$ORCHD_RESULT` is unreadable, no JSON, or too large.
    InvalidResult,
    /// The handler panicked.
    HandlerPanic,
    /// A template in the spec could not be filled in.
    InvalidTemplate,
    /// Any other type name.
    Other(String),
}

const NAMED: [(ErrorType, &str); 11] = [
    (ErrorType::ExitCode, "ExitCode"),
    (ErrorType::Signal, "Signal"),
    (ErrorType::Timeout, "Timeout"),
    (ErrorType::Deadline, "Deadline"),
    (ErrorType::WorkerLost, "WorkerLost"),
    (ErrorType::OutOfMemory, "OutOfMemory"),
    (ErrorType::NotFound, "NotFound"),
    (ErrorType::PermissionDenied, "PermissionDenied"),
    (ErrorType::InvalidResult, "InvalidResult"),
    (ErrorType::HandlerPanic, "HandlerPanic"),
    (ErrorType::InvalidTemplate, "InvalidTemplate"),
];

impl ErrorType {
    /// The name as documents show it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => name,
            named => NAMED.iter().find(|(t, _)| t == named).map_or("", |(_, name)| name),
        }
    }
}

impl From<&str> for ErrorType {
    fn from(name: &str) -> Self {
        NAMED
            .iter()
            .find(|(_, known)| *known == name)
            .map_or_else(|| Self::Other(name.to_owned()), |(t, _)| t.clone())
    }
}

impl From<String> for ErrorType {
    fn from(name: String) -> Self {
        Self::from(&*name)
    }
}

impl From<ErrorType> for String {
    fn from(error_type: ErrorType) -> Self {
        error_type.as_str().to_owned()
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did what it should.
    Succeeded,
    /// It ended by itself, but not well.
    Failed {
        /// What kind of failure.
        error_type: ErrorType,
        /// One sentence for people.
        message: String,
        /// The exit code, when a process ended with one.
        exit_code: Option<i32>,
        /// The signal that ended the process.
        signal: Option<i32>,
    },
    /// It was ended because it met its timeout.
    TimedOut,
    /// It was ended because its task met its deadline.
    DeadlineMet,
    /// Its worker died, or its lease ended.
    WorkerLost,
    /// It was ended because someone cancelled the task.
    Cancelled,
    /// It asked to be run again after a delay; no attempt is used up.
    Snoozed {
        /// The delay it asked for.
        delay: Span,
    },
}

impl Outcome {
    /// A process that ended with `code`: success for 0.
    #[must_use]
    pub fn exited(code: i32) -> Self {
        if code == 0 {
            return Self::Succeeded;
        }
        Self::Failed {
            error_type: ErrorType::ExitCode,
            message: format!("exit code {code}"),
            exit_code: Some(code),
            signal: None,
        }
    }

    /// A process that a signal ended.
    #[must_use]
    pub fn signalled(signal: i32) -> Self {
        Self::Failed {
            error_type: ErrorType::Signal,
            message: format!("ended by {}", signal_name(signal)),
            exit_code: None,
            signal: Some(signal),
        }
    }

    /// A failure without an exit code or a signal.
    #[must_use]
    pub fn failed(error_type: ErrorType, message: impl Into<String>) -> Self {
        Self::Failed { error_type, message: message.into(), exit_code: None, signal: None }
    }

    /// The error type, unless the attempt succeeded, was cancelled or snoozed.
    #[must_use]
    pub fn error_type(&self) -> Option<ErrorType> {
        match self {
            Self::Failed { error_type, .. } => Some(error_type.clone()),
            Self::TimedOut => Some(ErrorType::Timeout),
            Self::DeadlineMet => Some(ErrorType::Deadline),
            Self::WorkerLost => Some(ErrorType::WorkerLost),
            Self::Succeeded | Self::Cancelled | Self::Snoozed { .. } => None,
        }
    }

    /// One sentence for people, for everything but success.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Succeeded => None,
            Self::Failed { message, .. } => Some(message.clone()),
            Self::TimedOut => Some("timed out".to_owned()),
            Self::DeadlineMet => Some("met its deadline".to_owned()),
            Self::WorkerLost => Some("its worker was lost".to_owned()),
            Self::Cancelled => Some("cancelled".to_owned()),
            Self::Snoozed { delay } => Some(format!("snoozed for {delay}")),
        }
    }

    /// The exit code of the process, if it ended with one.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Succeeded => Some(0),
            Self::Failed { exit_code, .. } => *exit_code,
            Self::TimedOut
            | Self::DeadlineMet
            | Self::WorkerLost
            | Self::Cancelled
            | Self::Snoozed { .. } => None,
        }
    }

    /// The signal that ended the process, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        match self {
            Self::Failed { signal, .. } => *signal,
            Self::Succeeded
            | Self::TimedOut
            | Self::DeadlineMet
            | Self::WorkerLost
            | Self::Cancelled
            | Self::Snoozed { .. } => None,
        }
    }

    /// The word for this outcome in documents: `succeeded`, `failed`, `timed_out`, …
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::TimedOut => "timed_out",
            Self::DeadlineMet => "deadline_met",
            Self::WorkerLost => "worker_lost",
            Self::Cancelled => "cancelled",
            Self::Snoozed { .. } => "snoozed",
        }
    }
}

/// What an attempt really used (getrusage(2) of its whole process group).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// CPU time in user mode, seconds.
    pub cpu_user: f64,
    /// CPU time in the kernel, seconds.
    pub cpu_system: f64,
    /// Most memory at a time that it is known to have used, bytes: of all its processes where that is measured (control
    /// groups, or a claim on memory), else of the largest that was waited for. None: it is not known, but see `memory_at_most`.
    pub memory_peak: Option<u64>,
    /// What none of its processes that were waited for had more of, bytes, where that is more than is known: the kernel counts the memory of
    /// the process that starts a program as the program's, too, so that it does not tell what is less.
    #[serde(default)]
    pub memory_at_most: Option<u64>,
    /// What it had claimed of the machine's memory, bytes, if it was kept to that or watched for it.
    #[serde(default)]
    pub memory_claim: Option<u64>,
    /// Read from storage, bytes.
    pub io_read: u64,
    /// Written to storage, bytes.
    pub io_write: u64,
}

/// What a worker reports when an attempt has ended and its processes are gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptReport {
    /// The task.
    pub task: TaskId,
    /// Which attempt of it.
    pub attempt: AttemptNumber,
    /// The token the attempt was assigned with.
    pub token: Token,
    /// How it ended.
    pub outcome: Outcome,
    /// What it left as its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// How long it ran, on the worker's monotonic clock.
    pub execution_time: Span,
    /// What it used, where that can be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How far it came, if its last word on that may not have been told before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

impl AttemptReport {
    /// Of an attempt that took no time, used nothing and left nothing but its outcome.
    #[must_use]
    pub const fn new(task: TaskId, attempt: AttemptNumber, token: Token, outcome: Outcome) -> Self {
        Self {
            task,
            attempt,
            token,
            outcome,
            data: None,
            execution_time: Span::ZERO,
            usage: None,
            progress: None,
        }
    }
}

/// What is kept of a task's last run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskResult {
    /// Whether the task completed.
    pub success: bool,
    /// What the task left as its result.
    #[serde(default)]
    pub data: Option<Value>,
    /// What went wrong, for people.
    #[serde(default)]
    pub error_message: Option<String>,
    /// What went wrong, for programs.
    #[serde(default)]
    pub error_type: Option<ErrorType>,
    /// The exit code of the last attempt's process.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// The signal that ended the last attempt's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// How long the last attempt ran, seconds.
    pub execution_time: Span,
    /// How many attempts the task had, over all its runs.
    pub attempts: u32,
    /// What the last attempt used.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// Which of its variants the last attempt ran in, from 0; none for a task without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<u32>,
    /// Free-form facts about the result.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}
