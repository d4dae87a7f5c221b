//! How far a running attempt has come, from whoever has its token.

use axum::Extension;
use axum::extract::State;
use orchd_api::ProgressRequest;
use orchd_core::Command;
use orchd_model::{Code, Progress, Refusal};
use std::sync::Arc;

use super::Shell;
use super::answer::{Answered, Body, json};
use crate::engine::Request;
use crate::peer::Peer;

/// Takes note of it. A submitter speaks for its own tasks only.
pub async fn progress(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<ProgressRequest>,
) -> Answered<()> {
    let ProgressRequest { token, percentage, message } = request;
    let progress = Progress::new(percentage, message.as_deref());
    if progress.is_empty() {
        let refusal = Refusal::new(Code::Malformed, "nothing is said of how far it is");
        return Err(refusal.hint("give a percentage, a message, or both").into());
    }
    let command = Command::Progress { token, progress, by: peer.only_owner() };
    shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    json(())
}
