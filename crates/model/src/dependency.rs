//! Dependencies: which task must end first, and how.

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::{Code, Refusal, Status, TaskId, TaskRange};

/// How a dependency must end for its dependent to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// By `completed`.
    #[default]
    Success,
    /// By `failed`.
    Failure,
    /// By any terminal status.
    Completion,
}

impl On {
    /// Whether a dependency that ended with `status` meets this edge.
    #[must_use]
    pub fn is_met_by(self, status: Status) -> bool {
        match self {
            Self::Success => status == Status::Completed,
            Self::Failure => status == Status::Failed,
            Self::Completion => status.is_terminal(),
        }
    }

    /// The word that users write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Completion => "completion",
        }
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for On {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        [Self::Success, Self::Failure, Self::Completion]
            .into_iter()
            .find(|on| on.as_str() == text)
            .ok_or_else(|| {
                Refusal::new(Code::Malformed, "unknown dependency condition")
                    .value(text)
                    .hint("one of success, failure, completion")
            })
    }
}

/// The task that an edge points to: an id, or the `ref` or name of a task in the same submission.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a task's id or name")]
pub enum DependencyTarget {
    /// A task that exists.
    Id(TaskId),
    /// A task of the same bulk request (`ref`) or workflow (name); where there is none of this name, tasks
    /// with contiguous ids (`17-26`), each of which is meant.
    Name(String),
}

impl From<TaskRange> for DependencyTarget {
    fn from(tasks: TaskRange) -> Self {
        match tasks.single() {
            Some(id) => Self::Id(id),
            None => Self::Name(tasks.to_string()),
        }
    }
}

impl fmt::Display for DependencyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// One edge of the graph. In JSON `12`, `"name"`, or `{"task": …, "on": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Dependency {
    /// Which task must end first.
    pub task: DependencyTarget,
    /// How it must end.
    pub on: On,
}

impl From<TaskId> for Dependency {
    fn from(id: TaskId) -> Self {
        Self { task: DependencyTarget::Id(id), on: On::Success }
    }
}

impl FromStr for Dependency {
    type Err = Refusal;

    /// Reads `ID[:success|failure|completion]`; `17-26` for an id means each of these.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (id, on) = match text.split_once(':') {
            Some((id, on)) => (id, on.parse()?),
            None => (text, On::Success),
        };
        Ok(Self { task: id.parse::<TaskRange>()?.into(), on })
    }
}

impl<'de> Deserialize<'de> for Dependency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            task: DependencyTarget,
            #[serde(default)]
            on: On,
        }
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = Dependency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dependency: an id, a name, or {task, on}")
            }

            fn visit_u64<E: Error>(self, id: u64) -> Result<Dependency, E> {
                Ok(TaskId(id).into())
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Dependency, E> {
                Ok(Dependency { task: DependencyTarget::Name(name.to_owned()), on: On::Success })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Dependency, A::Error> {
                let Fields { task, on } = Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Dependency { task, on })
            }
        }
        deserializer.deserialize_any(Written)
    }
}
