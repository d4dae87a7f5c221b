//! Draining: a pause of everything, and a wait until nothing runs. The daemon goes on serving.

use axum::extract::State;
use orchd_api::{DrainReply, DrainRequest};
use orchd_core::{Command, Scope};
use orchd_model::{Code, Refusal, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::Shell;
use super::answer::{Answered, Body, json};
use crate::engine::Request;

/// Starts nothing new, and answers when nothing runs. It is a pause like any other: kept over a restart,
/// shown as a reason, ended by `resume`.
pub async fn drain(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<DrainRequest>,
) -> Answered<DrainReply> {
    let deadline = request.timeout.map(|timeout| Instant::now() + Duration::from(timeout));
    // Before the first look, so that no end is missed in between.
    let mut feed = shell.feed.subscribe();
    let command = Command::Pause { scope: Scope::All, create: false };
    shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    let mut stopping = shell.stopping.clone();
    loop {
        let look = |core: &orchd_core::Core| {
            // What was placed ahead may have begun without this being known here.
            let running = core.counters().by_status[Status::Running.index()] + core.placed() as u64;
            (running, core.is_paused())
        };
        let (running, paused) = shell.look(look).await?;
        if running == 0 {
            return json(DrainReply { done: true, running });
        }
        if !paused {
            return Err(Refusal::new(Code::WrongState, "somebody resumed: it does not drain any more").into());
        }
        let expired = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Whatever it was, it is looked again; one that is too slow for the feed looks, too.
            _ = feed.recv() => {}
            () = expired => return json(DrainReply { done: false, running }),
            () = super::until_stopped(&mut stopping) => return Err(super::stopped().into()),
        }
    }
}
