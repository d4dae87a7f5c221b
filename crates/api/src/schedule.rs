//! Schedules as users see them.

use orchd_model::{CatchUp, Overlap, ScheduleId, Span, TaskRange, Time, WorkflowId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name_or_id::{self, NameOrId};

/// A schedule: work that is added again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// Its name.
    pub name: String,
    /// The user id of its submitter.
    pub owner: u32,
    /// The times of a calendar, as crontab(5) writes them.
    pub cron: Option<String>,
    /// Their time zone.
    pub timezone: Option<String>,
    /// From one tick to the next, seconds.
    pub every: Option<Span>,
    /// What happens while an earlier run has not ended.
    pub overlap: Overlap,
    /// What happens with ticks that came while no daemon was there.
    pub catch_up: CatchUp,
    /// What it adds: a task or a workflow, and its name.
    pub adds: ScheduledWork,
    /// When it was added.
    pub created_at: Time,
    /// Whether it is paused.
    pub paused: bool,
    /// Its next ticks, the first five.
    pub upcoming: Vec<Time>,
    /// Its latest tick.
    pub last: Option<ScheduleTick>,
    /// Ticks that wait for the run before them.
    pub queued: Vec<Time>,
    /// Runs that were added.
    pub started: u64,
    /// Ticks without a run, because the one before had not ended or theirs was refused.
    pub skipped: u64,
    /// Ticks that came while no daemon was there, and were passed over.
    pub missed: u64,
}

/// What a schedule adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduledWork {
    /// A task of this name.
    Task(String),
    /// A workflow of this name, as it was when the schedule was added.
    Workflow(String),
    /// The workflow that is kept under this name, as it is at each tick.
    Definition(String),
}

/// A tick that has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleTick {
    /// The time that it stands for.
    pub at: Time,
    /// What became of it.
    pub outcome: TickWord,
    /// The task that it added, or the elements of an array.
    #[serde(default)]
    pub task: Option<TaskRange>,
    /// The workflow that it added.
    #[serde(default)]
    pub workflow: Option<WorkflowId>,
    /// Why its run was refused.
    #[serde(default)]
    pub error: Option<String>,
}

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TickWord {
    /// Its run was added.
    Started,
    /// It waits for the run before it.
    Queued,
    /// The run before it had not ended.
    Skipped,
    /// Its run was refused.
    Refused,
    /// It came while no daemon was there, and was passed over.
    Missed,
}

impl TickWord {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Queued => "queued",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Missed => "missed",
        }
    }
}

/// Names a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleNamed {
    /// Its name or id.
    #[serde(deserialize_with = "name_or_id::one")]
    #[schemars(with = "NameOrId")]
    pub schedule: String,
}
