//! The four classes that users ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::{Code, Refusal, nearest};

/// What the user asked: a strict class. `Critical` sorts first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before everything else; nothing ages into it.
    Critical,
    /// Before normal and low.
    High,
    /// The default.
    #[default]
    Normal,
    /// When nothing else can run.
    Low,
}

impl Priority {
    /// Every class, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// Position from the most urgent: 0 for critical, 3 for low.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word that users write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = Refusal;

    /// Reads a class, in any case of letters.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let lower = text.to_ascii_lowercase();
        Self::ALL.into_iter().find(|p| p.as_str() == lower).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str);
            Refusal::new(Code::Malformed, "unknown priority").value(text).hint(
                nearest(text, names).map_or_else(
                    || format!("one of {}", names.join(", ")),
                    |near| format!("did you mean {near}?"),
                ),
            )
        })
    }
}
