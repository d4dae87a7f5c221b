//! Identifiers: newtypes over integers, shown and sent in decimal, never reused within a state directory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::{Code, Refusal};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The identifier that follows this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Refusal;

            fn from_str(text: &str) -> Result<Self, Refusal> {
                text.parse().map(Self).map_err(|_| {
                    Refusal::new(Code::Malformed, format!("{} is not a number", $what)).value(text)
                })
            }
        }
    };
}

id!(
    /// Names a task for ever: assigned at submission, from 1, never given to another one.
    TaskId, u64, "a task id"
);
id!(
    /// Names a workflow: a graph of tasks that was submitted together.
    WorkflowId, u64, "a workflow id"
);
id!(
    /// Names a session: a context of tasks and workflows.
    SessionId, u64, "a session id"
);
id!(
    /// Names a schedule: work that is added again and again.
    ScheduleId, u64, "a schedule id"
);
id!(
    /// Names one incarnation of a worker process.
    WorkerId, u64, "a worker id"
);
id!(
    /// The number of an attempt of one task, from 1; it goes on when a task is retried by hand.
    AttemptNumber, u32, "an attempt number"
);
id!(
    /// The fencing token of an attempt: strictly increasing over the life of a state directory, so that a
    /// report with an old one can be told from the current one.
    Token, u64, "a token"
);
id!(
    /// The position of an event in the total order of all events, from 1.
    Sequence, u64, "a sequence number"
);
