//! A wish that was not granted: what is wrong, with which value, and what to do about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::{limits, unseen};

/// The stable, machine-readable cause of a [`Refusal`]. Codes are never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The text or document cannot be read as what it should be.
    Malformed,
    /// A field that does not exist.
    UnknownField,
    /// A version or an enum value of a later version.
    Unsupported,
    /// A document, frame or list is larger than its limit.
    TooLarge,
    /// The named thing does not exist.
    NotFound,
    /// A dependency names a task that does not exist.
    UnknownDependency,
    /// A task depends on itself.
    SelfDependency,
    /// Dependencies form a circle.
    Cycle,
    /// A claim is larger than the resource will ever be.
    Unsatisfiable,
    /// A quantity or rate that no configuration mentions.
    NotConfigured,
    /// The same key with another spec.
    Conflict,
    /// The thing is in a state in which this cannot be done.
    WrongState,
    /// The attempt is over, or was never this worker's.
    StaleToken,
    /// The caller may not do this.
    NotPermitted,
    /// A bound is reached; the same request may succeed later.
    Busy,
    /// The daemon takes no new work because it is stopping.
    ShuttingDown,
    /// The store could not make the change durable, for example because the disk is full.
    StoreFailed,
    /// A wait ended before what was waited for.
    TimedOut,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 18] = [
        Self::Malformed,
        Self::UnknownField,
        Self::Unsupported,
        Self::TooLarge,
        Self::NotFound,
        Self::UnknownDependency,
        Self::SelfDependency,
        Self::Cycle,
        Self::Unsatisfiable,
        Self::NotConfigured,
        Self::Conflict,
        Self::WrongState,
        Self::StaleToken,
        Self::NotPermitted,
        Self::Busy,
        Self::ShuttingDown,
        Self::StoreFailed,
        Self::TimedOut,
    ];

    /// The code as it stands in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownField => "unknown_field",
            Self::Unsupported => "unsupported",
            Self::TooLarge => "too_large",
            Self::NotFound => "not_found",
            Self::UnknownDependency => "unknown_dependency",
            Self::SelfDependency => "self_dependency",
            Self::Cycle => "cycle",
            Self::Unsatisfiable => "unsatisfiable",
            Self::NotConfigured => "not_configured",
            Self::Conflict => "conflict",
            Self::WrongState => "wrong_state",
            Self::StaleToken => "stale_token",
            Self::NotPermitted => "not_permitted",
            Self::Busy => "busy",
            Self::ShuttingDown => "shutting_down",
            Self::StoreFailed => "store_failed",
            Self::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a wish was refused. Shown as `message: value`, the hint on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, JsonSchema)]
pub struct Refusal {
    /// The stable cause.
    pub code: Code,
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// Where it stands in what was sent: `tasks[2].claims[0].mode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The offending value as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Which item of a request it is about, from 1, where one answer stands for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<usize>,
    /// What else is wrong with the same request, where that is told at once.
    #[serde(default, skip_serializing_if = "<[Refusal]>::is_empty")]
    pub more: Box<[Refusal]>,
}

/// Longer offending values are cut, so that an error never repeats a megabyte of input.
const VALUE_SHOWN_CHARS: usize = 200;

impl Refusal {
    /// A refusal with a code and a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: None,
            value: None,
            hint: None,
            item: None,
            more: Box::default(),
        }
    }

    /// That there is no such task.
    pub fn no_such_task(which: impl fmt::Display) -> Self {
        Self::new(Code::NotFound, "no such task").value(which.to_string()).hint(Self::TASKS)
    }

    /// That there is no task to depend on.
    pub fn unknown_dependency(which: impl fmt::Display) -> Self {
        Self::new(Code::UnknownDependency, "unknown dependency").value(which.to_string()).hint(Self::TASKS)
    }

    /// That what a task depends on, `which`, was refused itself for this. Of what was refused for another one in its turn
    /// the first is named.
    #[must_use]
    pub fn consequence(&self, which: impl fmt::Display) -> Self {
        if self.message == Self::CONSEQUENCE {
            return Self { item: None, ..self.clone() };
        }
        Self::new(Code::UnknownDependency, Self::CONSEQUENCE).value(which.to_string())
    }

    /// One refusal for a request of which this is wrong: the first with all others, at most [`limits::REFUSALS`].
    /// What only follows from another one is left out.
    pub fn of_all(refusals: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut consequence = None;
        let mut causes = refusals.into_iter().flat_map(Self::apart).filter(|refusal| {
            let is_cause = refusal.message != Self::CONSEQUENCE;
            if !is_cause && consequence.is_none() {
                consequence = Some(refusal.clone());
            }
            is_cause
        });
        let first = causes.next();
        let more = causes.take(limits::REFUSALS - 1).collect();
        first.map(|first| Self { more, ..first }).or(consequence)
    }

    /// Itself and what else is wrong, each alone.
    pub fn apart(mut self) -> impl Iterator<Item = Self> {
        let more = std::mem::take(&mut self.more);
        std::iter::once(self).chain(more)
    }

    /// The same about all that is wrong.
    fn each(self, change: impl Fn(Self) -> Self) -> Self {
        let Self { more, .. } = self;
        let more = more.into_iter().map(&change).collect();
        Self { more, ..change(Self { more: Box::default(), ..self }) }
    }

    const CONSEQUENCE: &str = "depends on a task that was refused";

    const TASKS: &str =
        "orchctl list --limit 0 shows the tasks there are; those that ended long ago are removed";

    /// Says where it stands.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Names the offending value.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        let mut value: String = value.into();
        if let Some((cut, _)) = value.char_indices().nth(VALUE_SHOWN_CHARS) {
            value.truncate(cut);
            value.push('…');
        }
        self.value = Some(value);
        self
    }

    /// Says which item of a request it is about, by its position from 0.
    #[must_use]
    pub fn of_item(self, index: usize) -> Self {
        self.each(|refusal| Self { item: Some(index + 1), ..refusal })
    }

    /// Says which task of a workflow it is about: by its name, as people know it, and where it stands, from 0.
    #[must_use]
    pub fn of_task(self, place: usize, name: &str) -> Self {
        self.each(|refusal| Self {
            message: format!("task {}: {}", unseen::shown(name), refusal.message),
            field: refusal.field.map(|field| format!("tasks[{place}].{field}")),
            ..refusal
        })
    }

    /// Adds what would help.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(item) = self.item {
            write!(f, "task {item}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(value) = &self.value {
            write!(f, ": {value}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}
