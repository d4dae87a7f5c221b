//! What a look at one thing that orchd needs has found.

use schemars::JsonSchema;
use serde::Serialize;

/// All that was looked at.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Diagnosis {
    /// Whether nothing failed; a warning is no failure.
    pub(crate) healthy: bool,
    /// Each thing that was looked at.
    pub(crate) checks: Vec<Check>,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could.
    Warning,
    /// It does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Check {
    /// `socket`, `versions`, `lock`, `disk`, `cgroup`, `workers`, `store`.
    pub(crate) name: &'static str,
    /// How it is.
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// What would help.
    pub(crate) hint: Option<String>,
}

impl Check {
    pub(crate) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), hint: None }
    }

    pub(crate) fn warning(name: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, ..Self::ok(name, found) }
    }

    pub(crate) fn failed(name: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, ..Self::ok(name, found) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
