//! What operators ask of tasks and of the daemon.

use orchd_model::{
    Amount, Percentage, Priority, Refusal, ResourceName, Span, Status, TaskId, TaskRange, Token,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name_or_id::{self, NameOrId};

/// Which tasks are meant: `ids`, or `all`, or a label; several labels mean the tasks that have them all. Anything but
/// `ids` selects only what has not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// These; one or a range each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<TaskRange>,
    /// Those with this label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Those of this session (name or id).
    #[serde(default, deserialize_with = "name_or_id::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameOrId>")]
    pub session: Option<String>,
    /// Those of this workflow (name or id).
    #[serde(default, deserialize_with = "name_or_id::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameOrId>")]
    pub workflow: Option<String>,
    /// All.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl From<TaskId> for Selector {
    fn from(id: TaskId) -> Self {
        Self::from(vec![id])
    }
}

impl From<Vec<TaskId>> for Selector {
    fn from(ids: Vec<TaskId>) -> Self {
        Self::from(ids.into_iter().map(TaskRange::from).collect::<Vec<_>>())
    }
}

impl From<Vec<TaskRange>> for Selector {
    fn from(ids: Vec<TaskRange>) -> Self {
        Self { ids, ..Self::default() }
    }
}

/// What became of one task of a selection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationResult {
    /// The task, or the first of several that fared alike.
    pub id: TaskId,
    /// The last of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<TaskId>,
    /// How many of them, where it is not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Its status after the operation; none when the task is unknown.
    pub status: Option<Status>,
    /// Why nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

impl OperationResult {
    /// What became of tasks that fared alike.
    #[must_use]
    pub fn new(tasks: TaskRange, status: Option<Status>, error: Option<Refusal>) -> Self {
        let last = (tasks.last != tasks.first).then_some(tasks.last);
        Self { id: tasks.first, last, count: None, status, error }
    }

    /// The tasks that it is about.
    #[must_use]
    pub fn tasks(&self) -> TaskRange {
        TaskRange { first: self.id, last: self.last.unwrap_or(self.id) }
    }
}

/// Tasks that an operator names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskIds {
    /// The tasks; one or a range each.
    pub ids: Vec<TaskRange>,
}

/// Another class for tasks that have not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReprioritizeRequest {
    /// The tasks; one or a range each.
    pub ids: Vec<TaskRange>,
    /// The class.
    pub priority: Priority,
}

/// What a resource has from now on. What is not given stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceRequest {
    /// `type:identifier`; it comes into being if it does not exist.
    pub resource: ResourceName,
    /// Units that can be held at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Amount>,
    /// How many holders at once, whatever their amounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Tokens of a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Amount>,
    /// The time in which so many tokens come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Span>,
    /// The most tokens that gather.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Amount>,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceNamed {
    /// `type:identifier`.
    pub resource: ResourceName,
}

/// A resource is given to nobody until it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseResource {
    /// `type:identifier`.
    pub resource: ResourceName,
    /// Also if it is a lock that nobody has used yet. Without it a name that is not known is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub create: bool,
}

/// A resource is given to nobody for a while, because whoever serves it said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThrottleRequest {
    /// `type:identifier`.
    pub resource: ResourceName,
    /// For how long.
    pub retry_after: Span,
    /// The token of the running attempt that was told so, which claims the resource. If it fails after that,
    /// it starts again when the time is over, and that is no try. Without a token an operator says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// Also if it is a lock that nobody has used yet. Without it a name that is not known is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub create: bool,
}

/// How far a running attempt has come: a percentage, a message, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgressRequest {
    /// The token of the attempt.
    pub token: Token,
    /// How much is done, 0 to 100; when it is left out, as much as it said before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<Percentage>,
    /// What it is at; what is longer than 256 bytes is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a running attempt has really used of a rate, in place of what it drew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    /// `type:identifier`.
    pub resource: ResourceName,
    /// Tokens used in all.
    pub used: Amount,
    /// The token of the attempt.
    pub token: Token,
}

/// Start nothing new, and wait until nothing runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Stop waiting after this time; nothing new starts all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainReply {
    /// Whether nothing runs; false when the timeout came first.
    pub done: bool,
    /// Tasks that still run.
    pub running: u64,
}

/// Wait until every task of a selection has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "WaitFields")]
pub struct WaitRequest {
    /// Which tasks; `all` means all that have not ended now.
    #[serde(flatten)]
    pub select: Selector,
    /// Give up after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// A [`WaitRequest`] as it is written. Of a flattened part serde cannot tell which fields there are.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WaitFields {
    /// These; one or a range each.
    #[serde(default)]
    ids: Vec<TaskRange>,
    /// Those with this label.
    #[serde(default)]
    tag: Option<String>,
    /// Those of this session (name or id).
    #[serde(default, deserialize_with = "name_or_id::optional")]
    #[schemars(with = "Option<NameOrId>")]
    session: Option<String>,
    /// Those of this workflow (name or id).
    #[serde(default, deserialize_with = "name_or_id::optional")]
    #[schemars(with = "Option<NameOrId>")]
    workflow: Option<String>,
    /// All that have not ended now.
    #[serde(default)]
    all: bool,
    /// Give up after this time.
    #[serde(default)]
    timeout: Option<Span>,
}

impl From<WaitFields> for WaitRequest {
    fn from(WaitFields { ids, tag, session, workflow, all, timeout }: WaitFields) -> Self {
        Self { select: Selector { ids, tag, session, workflow, all }, timeout }
    }
}

/// How the tasks of a wait ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitReply {
    /// Whether all had ended; false when the timeout came first.
    pub done: bool,
    /// Each task with its status, in the order asked.
    pub tasks: Vec<OperationResult>,
}

/// What to pause or resume; nothing given: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// A class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// A resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// A session's name or id.
    #[serde(default, deserialize_with = "name_or_id::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameOrId>")]
    pub session: Option<String>,
    /// A workflow's name or id.
    #[serde(default, deserialize_with = "name_or_id::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameOrId>")]
    pub workflow: Option<String>,
    /// Pause the resource also if it is a lock that nobody has used yet. Without it a name that is not known is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub create: bool,
}

/// Copy the store to a new file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// The file, an absolute path; the daemon writes it, and it must not be there yet.
    pub path: String,
}

/// A copy of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    /// The file.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// Whether the store is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreCheck {
    /// Whether no damage was found.
    pub ok: bool,
    /// What was found, and what to do about it.
    pub problem: Option<String>,
}

/// What becomes of running tasks when the daemon ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownMode {
    /// They stay with their worker and are reported to the next daemon.
    #[default]
    Leave,
    /// The daemon ends after they have ended; nothing new starts.
    Wait,
    /// They are cancelled.
    Cancel,
    /// The daemon goes on after all: a shutdown that waits for running tasks is ended.
    Abort,
}

/// End the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// What becomes of running tasks.
    #[serde(default)]
    pub mode: ShutdownMode,
}

/// Whether a daemon starts new tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DaemonState {
    /// It does.
    #[default]
    Serving,
    /// Everything is paused, by a pause or a drain.
    Paused,
    /// It ends as soon as the running tasks have ended.
    ShuttingDown,
}

/// Who answers on the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Daemon {
    /// Version of orchd.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Its state directory.
    pub state_dir: String,
    /// Whether new tasks start.
    #[serde(default)]
    pub state: DaemonState,
    /// How many tasks run.
    #[serde(default)]
    pub running: u64,
    /// Names of what this daemon can do beyond the first version.
    pub features: Vec<String>,
}
