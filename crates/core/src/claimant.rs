//! Ad-hoc claims: tasks that the client which asks for them runs itself. They stand in the same order as all
//! others, under the same rules; being started is being granted, and no worker's slot is taken.
//!
//! ```text
//!              ┌────────────── cancelled, or its client is gone ─► cancelled
//!   claimed ─► waits ─► holds ─► released ─► completed
//!                         ├───── released, what it protected has failed ─► failed
//!                         └───── its client is gone ─► failed (WorkerLost)
//! ```
//! A client is a worker that has this one task. It is gone when its connection is, or, when it was the daemon
//! that went, when its lease is over before it has come back.
//!
//! Invariant: a client is known exactly as long as its claim has not ended. A claim is never tried again.

use orchd_model::{
    Allotment, Code, Kept, Mode, Outcome, Reason, Refusal, ResourceName, TaskId, Token, WorkerId,
};
use std::sync::Arc;

use crate::command::{Effect, Join, NewClaim, NewTask, Reply};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::explain::paused;
use crate::ledger::Ledger;
use crate::rank::Rank;
use crate::record::{Phase, TaskRecord, WorkerRecord};
use crate::resource::{Asker, Need, ResourceKey};
use crate::task::Task;

fn stale(token: Token) -> Refusal {
    Refusal::new(Code::StaleToken, "this attempt is over, or never was").value(token.to_string())
}

/// What a running task still holds of a need; none when it has given it back.
pub(crate) fn loosened(need: Need, task: &Task, ledger: &Ledger) -> Option<Need> {
    let ResourceKey::Named(name) = &ledger.get(need.resource).key else { return Some(need) };
    match task.kept(name) {
        None => Some(need),
        Some(Kept::Read) => Some(Need { mode: Mode::Read, ..need }),
        Some(Kept::Nothing) => None,
    }
}

impl Core {
    /// Whether a client with this number has a claim that has not ended.
    #[must_use]
    pub fn knows_claimant(&self, incarnation: u64) -> bool {
        self.workers.known_claimant(incarnation).is_some()
    }

    /// A client claims something, or comes back to what it claimed.
    pub(crate) fn claim(&mut self, claim: NewClaim, out: &mut Output) -> Result<Reply, Refusal> {
        let NewClaim { join, task: new, owner, waits, returns } = claim;
        if let Some(id) = self.workers.known_claimant(join.incarnation) {
            self.come_back(id, &join, out);
            return Ok(Reply::Joined(id));
        }
        if let Some(token) = join.holds.first() {
            return Err(stale(*token).hint("the lease was over before the client came back"));
        }
        if returns {
            let refusal = Refusal::new(Code::StaleToken, "lost its place: silent for longer than the lease");
            return Err(refusal.hint("claim again, to wait behind those that came meanwhile"));
        }
        if new.spec.claims.is_empty() {
            return Err(Refusal::new(Code::Malformed, "nothing is claimed"));
        }
        self.check_backlog(1)?;
        self.check_claims_together(&new.spec.claims)?;
        if !waits && let Some(reason) = self.would_wait(&new) {
            return Err(Refusal::new(Code::TimedOut, "not free now").value(reason.to_string()));
        }
        let (worker, id) = (self.meta.next_worker, self.meta.next_task);
        let record = WorkerRecord { id: worker, incarnation: join.incarnation, note: join.note };
        self.emit(out, Fact::WorkerJoined { worker: Box::new(record) });
        self.workers.set_claimant_attached(worker, true);
        let record = TaskRecord {
            phase: Phase::Ready { since: self.now },
            claimant: Some(worker),
            ..self.new_record(id, &new, owner, None)
        };
        self.emit(out, Fact::Submitted { record: Box::new(record), spec: Some(Arc::clone(&new.spec)) });
        Ok(Reply::Joined(worker))
    }

    /// The daemon was away, and the client has found the new one.
    fn come_back(&mut self, worker: WorkerId, join: &Join, out: &mut Output) {
        let Some(id) = self.workers.set_claimant_attached(worker, true) else { return };
        if std::mem::take(&mut self.task_mut(id).away) {
            self.enqueue(id);
        }
        let task = self.task(id);
        let Phase::Running { token, stop, started_at, variant, .. } = task.phase else { return };
        if !join.holds.contains(&token) {
            // The word that it was granted was lost.
            let (attempt, order) = (task.attempts, (task.base_class(), started_at));
            let allotment = Allotment::default();
            out.effects.push(Effect::Assign { worker, task: id, attempt, token, order, allotment, variant });
        }
        if let Some(stop) = stop {
            out.effects.push(Effect::Stop { worker, token, stop });
        }
    }

    /// What keeps a claim from being granted in this very step. All that could start has started, so it is
    /// only what stands against it now.
    fn would_wait(&self, new: &NewTask) -> Option<Reason> {
        let priority = new.spec.priority;
        if self.paused {
            return Some(paused("all".to_owned()));
        }
        if self.draining {
            return Some(paused("shutting down".to_owned()));
        }
        if let Some(because) = &self.held_back {
            return Some(Reason::Guard { because: because.clone() });
        }
        if self.queues.is_class_paused(priority) {
            return Some(paused(format!("priority {priority}")));
        }
        let rank = Rank { class: priority, since: self.now, task: self.meta.next_task };
        let asker = Asker { rank, now: self.now, ends_by: None };
        new.spec.claims.iter().find_map(|claim| {
            let resource = self.ledger.find(&ResourceKey::Named(claim.resource.clone()))?;
            let need = Need { resource, mode: claim.mode, amount: claim.amount };
            self.block_reasons(&need, &asker).into_iter().next()
        })
    }

    /// A client is gone: what it waits for or holds ends.
    pub(crate) fn end_claim(&mut self, worker: WorkerId, out: &mut Output) {
        let Some(id) = self.workers.set_claimant_attached(worker, false) else { return };
        if matches!(self.task(id).phase, Phase::Running { .. }) {
            self.end_attempt(id, Outcome::WorkerLost, None, out);
        } else {
            self.emit(out, Fact::Cancelled { task: id, attempt: None, result: None });
            self.after_end(id);
        }
    }

    /// With an ad-hoc claim its client goes, too.
    pub(crate) fn after_end_of_claim(&mut self, id: TaskId, out: &mut Output) {
        let task = self.task(id);
        let Some(worker) = task.claimant() else { return };
        let waits = task.attempts.0 == 0 && self.workers.get(worker).is_some_and(|w| w.attached);
        if waits {
            out.effects.push(Effect::Dismiss { worker });
        }
        self.emit(out, Fact::WorkerLeft { worker });
    }

    /// A running attempt needs less of a claim from now on. Asked again, it is as it was.
    pub(crate) fn loosen(
        &mut self,
        worker: WorkerId,
        token: Token,
        resource: &ResourceName,
        kept: Kept,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let id = *self.tokens.get(&token).ok_or_else(|| stale(token))?;
        let task = self.task(id);
        if !matches!(task.phase, Phase::Running { worker: holder, .. } if holder == worker) {
            return Err(stale(token));
        }
        let claims = self.claims_held_by(id);
        let claim = claims.iter().find(|claim| claim.resource == *resource).ok_or_else(|| {
            Refusal::new(Code::NotFound, "this attempt does not claim it").value(resource.to_string())
        })?;
        match (task.kept(resource), kept) {
            (Some(Kept::Nothing), Kept::Nothing) | (Some(Kept::Read), Kept::Read) => {}
            (None, Kept::Read) if claim.mode == Mode::Read => {}
            (Some(Kept::Nothing), Kept::Read) => {
                let refusal = Refusal::new(Code::WrongState, "it was given back before");
                return Err(refusal.value(resource.to_string()));
            }
            (None, _) | (Some(Kept::Read), Kept::Nothing) => {
                self.emit(out, Fact::Loosened { task: id, resource: resource.clone(), kept });
            }
        }
        Ok(Reply::Done)
    }

    pub(crate) fn apply_loosened(&mut self, id: TaskId, resource: &ResourceName, kept: Kept) {
        self.task_mut(id).note_kept(Some((resource, kept)));
        let key = ResourceKey::Named(resource.clone());
        let Some(index) = self.ledger.find(&key) else { return };
        let Some(need) = self.needs_of(id).iter().find(|need| need.resource == index).copied() else {
            return;
        };
        match kept {
            Kept::Nothing => self.ledger.release(index, id),
            Kept::Read => self.ledger.downgrade(index, id, need.amount),
        }
    }

    /// Clients and their claims name each other; neither is there without the other.
    pub(crate) fn check_claimants(&self) -> Result<(), String> {
        for (id, task) in &self.tasks {
            let Some(worker) = task.claimant() else { continue };
            let known = self.workers.get(worker);
            if task.has_ended() {
                if known.is_some() {
                    return Err(format!("claim {id} has ended, its client {worker} is still known"));
                }
            } else if known.is_none_or(|known| known.claim != Some(*id) || known.attached == task.away) {
                return Err(format!("claim {id} and its client {worker} do not agree: {known:?}"));
            }
        }
        let lonely = |claim: &TaskId| self.tasks.get(claim).is_none_or(|task| task.has_ended());
        match self.workers.all().find(|(_, worker)| worker.claim.as_ref().is_some_and(lonely)) {
            Some((id, _)) => Err(format!("client {id} has no claim any more")),
            None => Ok(()),
        }
    }
}
