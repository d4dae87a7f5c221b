//! What a client says that claims something for code of its own.

use orchd_model::{Claim, Priority};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a worker session that holds claims instead of running attempts.
pub const CLAIMANT: &str = "claimant";

/// An ad-hoc claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// Shown to people.
    pub name: String,
    /// What is claimed, all of it or nothing.
    pub claims: Vec<Claim>,
    /// The class it competes in.
    #[serde(default)]
    pub priority: Priority,
    /// Whether it waits for what is not free; if not it is refused then.
    #[serde(default = "waits")]
    pub wait: bool,
    /// Whether this client was welcomed before: if it is not known any more it is refused, and takes no new place
    /// behind the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returns: bool,
}

fn waits() -> bool {
    true
}
