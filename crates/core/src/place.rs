//! Placing ahead: while tasks are short, the process worker is given some without claims before it has slots for
//! them, so that a slot never stands empty for the time of a report, a commit and an assignment.
//!
//! ```text
//!             placed                 the worker says that it has begun
//!   queued ───────────► placed ahead ──────────────────────────────────► running
//!      ▲                 │      │ recalled (a better one needs the slot, its class changed, held, paused,
//!      │                 │      ▼  cancelled), but it had begun meanwhile: running all the same
//!      └─────────────────┴─ given back unbegun: queued again, or ended without an attempt
//! ```
//! A worker starts what it was given in the order of ranks. A task that waits for nothing but a slot is not
//! overtaken: those placed that rank after it are recalled, or it is placed before them.
//!
//! Invariant: a placed task is ready, has no needs and stands in no queue; a worker was given no more than
//! its window beyond its slots, twice that while some are being recalled.

use orchd_model::{Allotment, Code, Refusal, Span, Time, Token, WorkerId};

use crate::command::{Effect, Reply};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::queues::Queues;
use crate::rank::{Rank, aged, next_aging};
use crate::record::{Phase, Placement, Recall, Stop};
use crate::timer::Timer;

impl Placement {
    /// Its place in the order when it was placed.
    pub(crate) fn rank(&self) -> Rank {
        Rank { class: self.class, since: self.since, task: self.task }
    }
}

impl Core {
    /// The head of a queue without needs, for which no slot is free: places it, if that is good for
    /// anything. If not, nothing that ranks after it may begin before it.
    pub(crate) fn place(&mut self, rank: Rank, out: &mut Output) -> bool {
        let Some((worker, surplus)) = self.workers.place_for(rank) else {
            self.recall_after(rank, out);
            return false;
        };
        if let Some(token) = surplus {
            self.ask_back(token, Recall::Queue, out);
        }
        let (task, token) = (rank.task, self.meta.next_token);
        self.single_out(task, out);
        let attempt = self.task(task).attempts.next();
        let order = (rank.class, rank.since);
        let placement =
            Placement { task, attempt, token, worker, class: order.0, since: order.1, recall: None };
        self.emit(out, Fact::Placed { placement });
        out.effects.push(Effect::Assign {
            worker,
            task,
            attempt,
            token,
            order,
            allotment: Allotment::default(),
            variant: None,
        });
        true
    }

    /// Nothing that ranks after this may begin before it.
    pub(crate) fn recall_after(&mut self, rank: Rank, out: &mut Output) {
        for token in self.workers.placed_after(rank) {
            self.ask_back(token, Recall::Queue, out);
        }
    }

    /// Something has changed for placed tasks: those that would not be placed as they are come back.
    pub(crate) fn reconsider_placements(&mut self, out: &mut Output) {
        let nothing_starts = self.starts_nothing();
        let (now, placing) = (self.now, self.workers.placing().map(|(id, _)| id));
        let is_outdated = |placement: &&Placement| {
            let task = self.task(placement.task);
            let class = aged(task.base_class(), placement.since, now, self.config.aging);
            nothing_starts
                || placing != Some(placement.worker)
                || task.hold
                || class != placement.class
                || self.queues.is_class_paused(task.base_class())
        };
        let outdated: Vec<Token> =
            self.meta.placed.iter().filter(is_outdated).map(|placement| placement.token).collect();
        for token in outdated {
            self.ask_back(token, Recall::Queue, out);
        }
    }

    /// Asks a worker to give a task back, or to end it. What was asked before stands if it says more.
    pub(crate) fn ask_back(&mut self, token: Token, recall: Recall, out: &mut Output) {
        let Some(Placement { task, worker, recall: under_way, .. }) = self.placement(token) else { return };
        let effect = match (under_way, recall) {
            (Some(_), Recall::Queue) => return,
            (Some(Recall::End(stop)), Recall::End(other)) if !other.outranks(stop) => return,
            (None, Recall::Queue) => Effect::Recall { worker, token },
            (_, Recall::End(stop)) => Effect::Stop { worker, token, stop },
        };
        self.emit(out, Fact::Recalling { task, recall });
        out.effects.push(effect);
    }

    /// Ends a task that is placed, as soon as its worker says what has become of it.
    pub(crate) fn end_placed(&mut self, token: Token, stop: Stop, out: &mut Output) {
        self.ask_back(token, Recall::End(stop), out);
    }

    /// A worker says that an attempt has begun.
    pub(crate) fn begun(
        &mut self,
        worker: Option<WorkerId>,
        token: Token,
        at: Time,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        if let Some(worker) = worker {
            self.heartbeat(worker)?;
        }
        match self.placement(token) {
            Some(placement) if worker.is_none_or(|worker| worker == placement.worker) => {
                self.begin_placed(placement, at, out);
                Ok(Reply::Done)
            }
            None if self.tokens.contains_key(&token) => Ok(Reply::Done),
            Some(_) | None => Err(stale(token)),
        }
    }

    /// A placed task has become an attempt.
    pub(crate) fn begin_placed(&mut self, placement: Placement, at: Time, out: &mut Output) {
        let Placement { task, attempt, token, worker, since, recall, .. } = placement;
        // A clock of the worker's that is wrong must not make it begin before it was ready.
        let at = at.max(since).min(self.now);
        let this = self.task(task);
        let waited = this.first_started_at.is_none().then(|| at.since(this.run_at));
        // What is placed ahead claims nothing, so it has no variants.
        self.emit(out, Fact::Started { task, attempt, token, worker, at, waited, variant: None });
        if let Some(Recall::End(stop)) = recall {
            self.stop_attempt(task, stop, out);
        }
    }

    /// A worker gives back an attempt that it has not begun.
    pub(crate) fn unbegun(
        &mut self,
        worker: WorkerId,
        token: Token,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        self.heartbeat(worker)?;
        if let Some(placement) = self.placement(token).filter(|placement| placement.worker == worker) {
            self.give_back(placement, out);
            return Ok(Reply::Done);
        }
        let id = *self.tokens.get(&token).ok_or_else(|| stale(token))?;
        match self.task(id).phase {
            Phase::Running { worker: holder, .. } if holder == worker => self.attempt_never_began(id, out),
            _ => return Err(stale(token)),
        }
        Ok(Reply::Done)
    }

    /// A placed task has not begun and is not going to.
    pub(crate) fn give_back(&mut self, placement: Placement, out: &mut Output) {
        let Placement { task, token, .. } = placement;
        self.emit(out, Fact::Recalled { task, token });
        match placement.recall {
            Some(Recall::End(Stop::Cancel)) => {
                self.emit(out, Fact::Cancelled { task, attempt: None, result: None });
                self.after_end(task);
            }
            Some(Recall::End(Stop::Deadline)) => self.meet_deadline(task, out),
            // What has not begun has no timeout.
            Some(Recall::End(Stop::Timeout) | Recall::Queue) | None => {}
        }
    }

    /// What is placed under this token.
    pub(crate) fn placement(&self, token: Token) -> Option<Placement> {
        let at = self.meta.placed.binary_search_by_key(&token, |placement| placement.token).ok()?;
        Some(self.meta.placed[at])
    }

    /// The token under which a task is placed.
    pub(crate) fn placed_token(&self, id: orchd_model::TaskId) -> Option<Token> {
        if !self.task(id).placed {
            return None;
        }
        self.meta.placed.iter().find(|placement| placement.task == id).map(|placement| placement.token)
    }

    // Applying

    pub(crate) fn apply_placed(&mut self, placement: &Placement) {
        self.meta.next_token = self.meta.next_token.max(placement.token.next());
        self.meta.placed.push(*placement);
        self.take_placement(placement);
    }

    /// What follows from a placement, for a task that stands in its queue.
    pub(crate) fn take_placement(&mut self, placement: &Placement) {
        let (id, worker) = (placement.task, placement.worker);
        self.dequeue(id);
        self.task_mut(id).placed = true;
        self.workers.add_placed(placement, self.now);
        let base = self.task(id).base_class();
        if let Some(at) = next_aging(base, placement.since, self.now, self.config.aging) {
            self.timers.set(Timer::Placed(id), at);
        }
        if !self.timers.is_set(Timer::Lease(worker)) {
            self.timers.set(Timer::Lease(worker), self.now + self.config.lease);
        }
    }

    pub(crate) fn apply_recalling(&mut self, id: orchd_model::TaskId, recall: Recall) {
        let Some(placement) = self.meta.placed.iter_mut().find(|placement| placement.task == id) else {
            return;
        };
        if placement.recall.replace(recall).is_none() {
            self.workers.note_recall(placement);
        }
    }

    pub(crate) fn apply_recalled(&mut self, id: orchd_model::TaskId) {
        self.drop_placement(id);
        self.enqueue(id);
    }

    /// Ends a placement; the task stands in no queue yet.
    pub(crate) fn drop_placement(&mut self, id: orchd_model::TaskId) {
        if !self.task(id).placed {
            return;
        }
        self.task_mut(id).placed = false;
        self.timers.clear(Timer::Placed(id));
        if let Some(at) = self.meta.placed.iter().position(|placement| placement.task == id) {
            let placement = self.meta.placed.remove(at);
            self.workers.drop_placed(&placement);
            self.ease_lease(placement.worker);
        }
    }

    /// Checks the invariants of this module.
    pub(crate) fn check_placements(&self, queues: &Queues) -> Result<(), String> {
        let placed = &self.meta.placed;
        if !placed.is_sorted_by_key(|placement| placement.token) {
            return Err(format!("placements are not in the order of their tokens: {placed:?}"));
        }
        for placement in placed {
            let task = self.task(placement.task);
            let is_ready = matches!(task.phase, Phase::Ready { since } if since == placement.since);
            if !task.placed || !is_ready || !queues.get(task.queue).needs_nothing() {
                return Err(format!("{placement:?} of a task that is {:?}", task.phase));
            }
            if self.tokens.contains_key(&placement.token) {
                return Err(format!("{placement:?} has begun"));
            }
        }
        let flagged = self.tasks.values().filter(|task| task.placed).count();
        if flagged != placed.len() {
            return Err(format!("{flagged} tasks are placed, {} placements", placed.len()));
        }
        self.workers.check_placed(placed)
    }
}

/// How much shorter than this the work of all slots must be before some is placed ahead: longer than a slow
/// disk takes to commit twice, and far shorter than anybody waits for.
pub(crate) const HORIZON: Span = Span::from_millis(50);

fn stale(token: Token) -> Refusal {
    Refusal::new(Code::StaleToken, "this attempt is over, or never was").value(token.to_string())
}
