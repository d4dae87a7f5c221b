//! The seven statuses that users see, and the one table of legal transitions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::{Code, Refusal, nearest};

/// What has become of a task.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not yet running, in this run never finally tried.
    #[default]
    Pending,
    /// An attempt is under way.
    Running,
    /// An attempt failed and another will follow.
    Retrying,
    /// Ended: the last attempt succeeded.
    Completed,
    /// Ended: no attempt will follow.
    Failed,
    /// Ended without running: a dependency, a condition or `fail_fast` ruled it out.
    Skipped,
    /// Ended because someone said so.
    Cancelled,
}

impl Status {
    /// Every status, in the order of a task's life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Running,
        Self::Retrying,
        Self::Completed,
        Self::Failed,
        Self::Skipped,
        Self::Cancelled,
    ];

    /// Position in [`Status::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether nothing leaves this status within a run.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Retrying => false,
            Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled => true,
        }
    }

    /// The legal transitions within a run. A milestone, which has nothing to run, is completed from pending.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use Status::{Cancelled, Completed, Failed, Pending, Retrying, Running, Skipped};
        match self {
            Pending => matches!(next, Running | Skipped | Cancelled | Failed | Completed),
            Running => matches!(next, Completed | Failed | Retrying | Cancelled | Pending),
            Retrying => matches!(next, Running | Skipped | Cancelled | Failed),
            Completed | Failed | Skipped | Cancelled => false,
        }
    }

    /// The word that users read and write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str);
            let hint = nearest(text, names).map_or_else(
                || format!("one of {}", names.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            Refusal::new(Code::Malformed, "unknown status").value(text).hint(hint)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_a_terminal_status() {
        for from in Status::ALL {
            for to in Status::ALL {
                assert!(!(from.is_terminal() && from.may_become(to)), "{from} -> {to}");
                assert!(!(from == to && from.may_become(to)), "{from} -> {to}");
            }
        }
    }
}
