//! Clients that claim something for code of their own: from their hello to the scheduler's wish.

use orchd_api::{CLAIMANT, ClaimRequest, WorkerHello};
use orchd_core::{Join, NewClaim, NewTask, Runner};
use orchd_model::{Body, Code, Refusal, RetryPolicy, TaskSpec};
use std::sync::Arc;

use crate::absent;
use crate::peer::Peer;

/// Whether a worker that says this is a client with an ad-hoc claim.
pub fn is_claimant(hello: &WorkerHello) -> bool {
    hello.kind == CLAIMANT
}

/// The wish of a client.
///
/// # Errors
/// `malformed` or `too_large` when it names no claim, or one that cannot be.
pub fn new_claim(hello: &WorkerHello, join: Join, peer: Peer) -> Result<Box<NewClaim>, Refusal> {
    let Some(ClaimRequest { name, claims, priority, wait, returns }) = hello.claim.clone() else {
        return Err(Refusal::new(Code::Malformed, "a claimant says what it claims").value("claim"));
    };
    let claims = orchd_model::merge_claims(claims);
    // What there is to do, the client does itself.
    let spec = TaskSpec { name, claims, priority, ..TaskSpec::new(Body::Milestone) };
    spec.check()?;
    let task = NewTask {
        spec: Arc::new(spec),
        retry: Arc::new(RetryPolicy::default()),
        runner: Runner::Claimant,
        edges: Vec::new(),
        fingerprint: 0,
        same_key: None,
    };
    let note = absent::note(&join.note.kind, peer.pid);
    let join = Join { slots: 1, process: false, handlers: Vec::new(), note, ..join };
    Ok(Box::new(NewClaim { join, task, owner: peer.uid, waits: wait, returns }))
}
