//! The messages of a worker session, a WebSocket with one JSON document a message.
//!
//! ```text
//! worker                                daemon
//!   hello (slots, attempts held) ────────►
//!          ◄──────────────────── welcome (id, lease)
//!          ◄──────────────────── assign [..], up to the free slots and some ahead
//!   started [..], ended [..] ───────────►
//!          ◄──────────────────── recall [..]    give back what has not begun
//!   unbegun [..] ───────────────────────►
//!          ◄──────────────────── ack [tokens]   the reports are durable
//!          ◄──────────────────── stop [..]      cancel, timeout, deadline
//!          ◄──────────────────── slots       run so many at once from now on
//!   heartbeat (while attempts run) ─────►
//!          ◄──────────────────── exit
//! ```
//! Every message that lists things is a batch, so one frame carries hundreds of tasks. A worker keeps a
//! report until it is acknowledged and sends it again after a reconnection.
//!
//! A client that claims something for code of its own is a worker of the kind [`CLAIMANT`](crate::CLAIMANT):
//! ```text
//! client                                daemon
//!   hello (claim, attempt held) ─────────►
//!          ◄──────────────────── welcome, or refused: it is not, or no longer, granted
//!          ◄──────────────────── assign [it]    granted, under this token
//!   loosen ──────────────────────────────►      as any worker may, for an attempt it runs
//!          ◄──────────────────── loosened       durable, or why not
//!          ◄──────────────────── stop [it]      somebody wants it back
//!   ended [it] ──────────────────────────►      released
//!          ◄──────────────────── ack [it]
//! ```
//! Its claim ends with its connection. Only when the daemon was killed it has the time of a lease to come back,
//! with the hello that it said first and the attempt that it holds. It sends no heartbeats.

use orchd_model::{
    Allotment, AttemptNumber, AttemptReport, CpuBound, Env, JobserverStyle, Kept, OverMemory, Progress,
    Refusal, ResourceName, Span, TaskId, Token, WorkerId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::ClaimRequest;

/// The version of these messages.
pub const PROTOCOL: u32 = 1;
/// The feature of a worker whose number of slots the daemon may change.
pub const SLOTS: &str = "slots";

/// Who a worker is and what it has in hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerHello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// What it can do beyond the first version.
    #[serde(default)]
    pub features: Vec<String>,
    /// A random number that this process keeps over reconnections.
    pub incarnation: u64,
    /// `process` for the local process worker, `service` for a program with handlers, `claimant` for a client
    /// that claims something for code of its own.
    pub kind: String,
    /// Its process id.
    pub pid: u32,
    /// Attempts it can hold at a time.
    pub slots: u32,
    /// `module.action` or `module.*`.
    #[serde(default)]
    pub handlers: Vec<String>,
    /// For people.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Attempts that still run. Ended ones are reported after the welcome.
    #[serde(default)]
    pub attempts: Vec<HeldAttempt>,
    /// What a `claimant` claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimRequest>,
}

/// An attempt that a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldAttempt {
    /// The task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: AttemptNumber,
    /// Its token.
    pub token: Token,
    /// Where its output goes: the number of a spool in the state directory; none for a handler.
    #[serde(default)]
    pub spool: Option<u32>,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    /// First.
    Hello(WorkerHello),
    /// What has started and ended since.
    Report {
        /// Attempts that have begun.
        #[serde(default)]
        started: Vec<StartedAttempt>,
        /// Attempts that have ended, and whose processes are gone.
        #[serde(default)]
        ended: Vec<AttemptReport>,
        /// Assignments that were waiting for a slot and were recalled or stopped: they do not begin.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unbegun: Vec<Token>,
        /// How far attempts have come, those that end with this message, too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        progress: Vec<AttemptProgress>,
        /// When this is said, on the monotonic clock of the machine (`CLOCK_MONOTONIC`): a message that is read late is
        /// about what was. Not given: as it is read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        said: Option<Span>,
    },
    /// The lease of everything it holds shall go on.
    Heartbeat,
    /// A running attempt needs less of what it claims. Saying it again changes nothing.
    Loosen {
        /// Which attempt.
        token: Token,
        /// What it claims.
        resource: ResourceName,
        /// What it keeps of that.
        kept: Kept,
    },
}

/// How far an attempt has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptProgress {
    /// Its token.
    pub token: Token,
    /// What it has said last.
    #[serde(flatten)]
    pub progress: Progress,
}

/// An attempt that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartedAttempt {
    /// Its token.
    pub token: Token,
    /// The process; none for a handler.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Where its output goes: the number of a spool in the state directory.
    #[serde(default)]
    pub spool: Option<u32>,
    /// How long ago, when this is sent.
    #[serde(default)]
    pub ago: Span,
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// Answers the hello.
    Welcome {
        /// The worker's id.
        worker: WorkerId,
        /// What it holds is lost when nothing is heard of it for this long, seconds.
        lease: Span,
    },
    /// Run these.
    Assign {
        /// As many as there are free slots, and for process workers some ahead of them: these wait in the order
        /// of [`Assignment::order`], and those that wait when the session breaks are forgotten.
        assignments: Vec<Assignment>,
    },
    /// Give these back, unless they have begun.
    Recall {
        /// Which.
        tokens: Vec<Token>,
    },
    /// End these.
    Stop {
        /// Which, and why.
        orders: Vec<StopOrder>,
    },
    /// These reports are durable and may be forgotten.
    Ack {
        /// Tokens of reports.
        tokens: Vec<Token>,
    },
    /// Run so many at once from now on; only for workers with the feature [`SLOTS`].
    Slots {
        /// How many. What runs beyond it goes on.
        slots: u32,
    },
    /// Answers [`FromWorker::Loosen`], in the same order.
    Loosened {
        /// Which attempt.
        token: Token,
        /// What it claims.
        resource: ResourceName,
        /// Why it holds what it held; none when the change is durable.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refusal: Option<Refusal>,
    },
    /// To a `claimant`: it will not have what it claims, or has it no longer. The session ends.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// No more work will come: end when nothing runs.
    Exit,
}

/// One attempt to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// Which attempt of it.
    pub attempt: AttemptNumber,
    /// Names this attempt in every report.
    pub token: Token,
    /// The task's name.
    pub name: String,
    /// What to do, templates filled in.
    pub work: Work,
    /// The limit of this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// From SIGTERM to SIGKILL.
    pub grace: Span,
    /// Its place among those that wait for a slot, the smallest starts first; then the smaller task.
    #[serde(default)]
    pub order: (u8, u64),
    /// What it has claimed of the machine, and how it is kept to that; none when it has claimed nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// Which of the task's variants was taken, `$ORCHD_VARIANT`; none for a task without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<u32>,
    /// The text of `$ORCHD_INPUTS`; none when there are neither parameters nor dependencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Value>,
}

/// What an attempt has claimed of the machine itself, and how it is kept to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    /// The claims.
    #[serde(flatten)]
    pub allotment: Allotment,
    /// How nested builds learn how many jobs they may run.
    #[serde(default)]
    pub jobserver: JobserverStyle,
    /// What is done about more memory than was claimed.
    #[serde(default)]
    pub over_memory: OverMemory,
    /// How it is kept to its cores.
    #[serde(default)]
    pub cpu_bound: CpuBound,
}

/// What an attempt does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// Run a program.
    Command {
        /// Program and arguments; the program is looked up in the `PATH` of `env`.
        argv: Vec<String>,
        /// The whole environment, but for the `ORCHD_` variables that the worker adds.
        #[schemars(with = "BTreeMap<String, String>")]
        env: Env,
        /// Working directory; `/` when not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        /// Standard input; empty when not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stdin: Option<String>,
    },
    /// Call a handler.
    Handler {
        /// `module.action`.
        handler: String,
        /// Its parameters.
        parameters: Map<String, Value>,
        /// The variables that its task names; what they mean is the handler's.
        #[schemars(with = "BTreeMap<String, String>")]
        #[serde(default, skip_serializing_if = "no_variables")]
        env: Env,
        /// The directory that its task names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        /// The text that its task names as standard input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stdin: Option<String>,
    },
    /// Hold what is claimed, until it is released.
    Claim,
}

fn no_variables(env: &Env) -> bool {
    env.is_empty()
}

/// Why an attempt is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Someone cancelled the task: outcome `cancelled`.
    Cancel,
    /// It met its timeout: outcome `timed_out`.
    Timeout,
    /// Its task met its deadline: outcome `deadline_met`.
    Deadline,
}

impl StopCause {
    /// What is happening to the attempt, for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Cancel => "being cancelled: its processes are being ended",
            Self::Timeout => "timed out: its processes are being ended",
            Self::Deadline => "met its deadline: its processes are being ended",
        }
    }
}

/// End an attempt: SIGTERM, grace, SIGKILL, for its whole process group. An attempt that is not known
/// becomes a tombstone: an assignment with this token that arrives later does not start and is reported as
/// ended by the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StopOrder {
    /// Which attempt.
    pub token: Token,
    /// Why.
    pub cause: StopCause,
}
