//! Errors as RFC 9457 problem documents.

use orchd_model::{Code, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A problem document, media type `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A URI that names the kind of problem: `urn:orchd:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What is wrong, with the offending value.
    pub detail: String,
    /// What was refused, for programs.
    #[serde(flatten)]
    pub refusal: Refusal,
}

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = Refusal { hint: None, ..refusal.clone() }.to_string();
        Self {
            kind: format!("urn:orchd:{}", refusal.code),
            title: refusal.code.as_str().replace('_', " "),
            status: http_status(refusal.code),
            detail,
            refusal,
        }
    }
}

/// The HTTP status for a code.
#[must_use]
pub fn http_status(code: Code) -> u16 {
    match code {
        Code::Malformed | Code::UnknownField | Code::Unsupported => 400,
        Code::NotPermitted => 403,
        Code::NotFound => 404,
        Code::TimedOut => 408,
        Code::Conflict | Code::WrongState | Code::StaleToken => 409,
        Code::TooLarge => 413,
        Code::UnknownDependency
        | Code::SelfDependency
        | Code::Cycle
        | Code::Unsatisfiable
        | Code::NotConfigured => 422,
        Code::Busy | Code::ShuttingDown => 503,
        Code::StoreFailed => 507,
    }
}
