//! Hooks: commands and addresses that are told of events, and the events that could not be delivered.

use orchd_model::{Sequence, Time, WorkflowId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Event;

/// A hook and how it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hook {
    /// Its name in the configuration; `(workflows)` are those that workflows have, taken together.
    pub name: String,
    /// The patterns of the events that it is told of.
    pub events: Vec<String>,
    /// Only those of tasks with this tag.
    pub tag: Option<String>,
    /// Only those of workflows of this name.
    pub workflow: Option<String>,
    /// The command that is run; none where an address is asked.
    pub command: Option<Vec<String>>,
    /// The address that is asked.
    pub url: Option<String>,
    /// All events up to this one are done with.
    pub reached: Sequence,
    /// How many events have happened since.
    pub behind: u64,
    /// Deliveries that are under way.
    pub under_way: usize,
    /// Events delivered since the daemon started.
    pub delivered: u64,
    /// Tries that failed since the daemon started.
    pub failed_tries: u64,
    /// Events that retention deleted before the hook came to them, since the daemon started.
    pub lost: u64,
    /// Its dead letters.
    pub dead: usize,
}

/// An event that a hook could not deliver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// Its number.
    pub id: u64,
    /// The hook.
    pub hook: String,
    /// The workflow whose hook it is; none: it is one of the configuration.
    pub workflow: Option<WorkflowId>,
    /// When the last try failed.
    pub died_at: Time,
    /// How often it was tried.
    pub tries: u32,
    /// Why the last try failed.
    pub error: String,
    /// The event.
    pub event: Event,
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LettersRequest {
    /// These.
    #[serde(default)]
    pub ids: Vec<u64>,
    /// All there are.
    #[serde(default)]
    pub all: bool,
}

/// What became of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LetterResult {
    /// Its number.
    pub id: u64,
    /// Whether there is a letter with this number.
    pub found: bool,
    /// Why it is as it was; none when it is settled.
    pub error: Option<String>,
}
