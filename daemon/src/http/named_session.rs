//! Sessions, by name or id.

use orchd_model::{Code, Refusal, SessionId};

/// The session with this name or id. There is no way to create one yet, so there is none.
///
/// # Errors
/// `not_found`.
pub fn resolve(name: &str) -> Result<SessionId, Refusal> {
    Err(unknown(name))
}

/// That there is no such session.
pub fn unknown(name: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::NotFound, "no such session").value(name.to_string())
}
