//! Workers: who can run what, and how much of it at a time.
//!
//! Invariant: a worker's attempts are exactly the running tasks that name it.

use orchd_model::{Code, Refusal, Span, TaskId, Time, Token, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

use crate::command::{Effect, Join, Reply};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::place::HORIZON;
use crate::rank::Rank;
use crate::record::{Phase, Placement, Runner, Stop, WorkerNote, WorkerRecord};
use crate::timer::Timer;

/// One incarnation of a worker process.
#[derive(Debug)]
pub(crate) struct Worker {
    incarnation: u64,
    pub note: WorkerNote,
    pub slots: u32,
    process: bool,
    pub handlers: Vec<Box<str>>,
    /// Tasks whose attempts it holds.
    pub tasks: BTreeSet<TaskId>,
    /// What it was given ahead of its slots and is to keep.
    placed: BTreeMap<Rank, Token>,
    /// How many more it is to give back.
    recalled: u32,
    /// How long its attempts took lately; none until one has ended.
    pace: Option<Span>,
    pub attached: bool,
    heard_at: Time,
    /// For the client of an ad-hoc claim: the task. It is there for nothing else, and goes with it.
    pub claim: Option<TaskId>,
}

impl Worker {
    fn runs(&self, runner: &Runner) -> bool {
        match runner {
            Runner::Process => self.process,
            Runner::Handler(name) => self.handlers.iter().any(|pattern| handler_matches(pattern, name)),
            Runner::Nothing | Runner::Computed => false,
            // It runs nothing but its own.
            Runner::Claimant => false,
        }
    }

    fn free_slots(&self) -> u32 {
        let taken = self.tasks.len() + self.placed.len();
        let taken = u32::try_from(taken).unwrap_or(u32::MAX).saturating_add(self.recalled);
        if self.attached { self.slots.saturating_sub(taken) } else { 0 }
    }

    /// Whether it holds neither attempts nor what may become one.
    fn holds_nothing(&self) -> bool {
        self.tasks.is_empty() && self.placed.is_empty() && self.recalled == 0
    }

    /// How many tasks may be placed ahead: as many as its slots end within [`HORIZON`], at most `most`.
    fn window(&self, most: u32) -> usize {
        let Some(pace) = self.pace else { return 0 };
        let soon = u64::from(self.slots).saturating_mul(HORIZON.0) / pace.0.max(1);
        usize::try_from(soon.min(u64::from(most))).unwrap_or(usize::MAX)
    }
}

/// Whether a pattern (`module.action`, `module.*`, `*`) names this handler.
fn handler_matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix) || prefix.strip_suffix('.') == Some(name),
        None => pattern == name,
    }
}

/// All workers that are connected or may still hold attempts.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    workers: BTreeMap<WorkerId, Worker>,
    /// Those that are not clients of ad-hoc claims, of which there may be many more.
    runners: BTreeSet<WorkerId>,
    /// How many tasks may be placed ahead at one.
    ahead: u32,
}

impl Workers {
    pub fn new(ahead: u32) -> Self {
        Self { ahead, ..Self::default() }
    }

    pub fn set_ahead(&mut self, ahead: u32) {
        self.ahead = ahead;
    }

    pub fn add(&mut self, record: &WorkerRecord) {
        let worker = Worker {
            incarnation: record.incarnation,
            note: record.note.clone(),
            slots: 0,
            process: false,
            handlers: Vec::new(),
            tasks: BTreeSet::new(),
            placed: BTreeMap::new(),
            recalled: 0,
            pace: None,
            attached: false,
            heard_at: Time(0),
            claim: None,
        };
        self.workers.insert(record.id, worker);
        self.runners.insert(record.id);
    }

    pub fn remove(&mut self, id: WorkerId) {
        self.runners.remove(&id);
        self.workers.remove(&id);
    }

    pub fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    /// A worker is the client of this ad-hoc claim, which is its only one. Gives whether it is connected.
    pub fn take_claim(&mut self, id: WorkerId, task: TaskId) -> bool {
        self.runners.remove(&id);
        self.workers.get_mut(&id).is_some_and(|worker| {
            worker.claim = Some(task);
            worker.attached
        })
    }

    /// The client of an ad-hoc claim has connected, or has gone. Gives its task.
    pub fn set_claimant_attached(&mut self, id: WorkerId, attached: bool) -> Option<TaskId> {
        let worker = self.workers.get_mut(&id)?;
        worker.attached = attached;
        worker.slots = 1;
        worker.claim
    }

    /// The client of an ad-hoc claim by its number.
    pub fn known_claimant(&self, incarnation: u64) -> Option<WorkerId> {
        let is_it = |worker: &Worker| worker.incarnation == incarnation && worker.claim.is_some();
        self.workers.iter().find(|(_, worker)| is_it(worker)).map(|(id, _)| *id)
    }

    pub fn all(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    pub fn take_slot(&mut self, id: WorkerId, task: TaskId, now: Time) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.tasks.insert(task);
            worker.heard_at = worker.heard_at.max(now);
        }
    }

    /// An attempt has ended after so long.
    pub fn free_slot(&mut self, id: WorkerId, task: TaskId, execution_time: Span) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.tasks.remove(&task);
            let pace = worker.pace.map_or(execution_time.0, |pace| (pace.0 / 8 * 7) + execution_time.0 / 8);
            worker.pace = Some(Span(pace));
        }
    }

    pub fn add_placed(&mut self, placement: &Placement, now: Time) {
        let Some(worker) = self.workers.get_mut(&placement.worker) else { return };
        worker.heard_at = worker.heard_at.max(now);
        match placement.recall {
            None => drop(worker.placed.insert(placement.rank(), placement.token)),
            Some(_) => worker.recalled += 1,
        }
    }

    /// A placement that was to be kept is wanted back.
    pub fn note_recall(&mut self, placement: &Placement) {
        if let Some(worker) = self.workers.get_mut(&placement.worker) {
            worker.placed.remove(&placement.rank());
            worker.recalled += 1;
        }
    }

    pub fn drop_placed(&mut self, placement: &Placement) {
        let Some(worker) = self.workers.get_mut(&placement.worker) else { return };
        match placement.recall {
            None => drop(worker.placed.remove(&placement.rank())),
            Some(_) => worker.recalled -= 1,
        }
    }

    /// The worker that tasks may be placed at: the only one that runs processes. Among several, what waits at
    /// one could be overtaken at another.
    pub fn placing(&self) -> Option<(WorkerId, &Worker)> {
        let mut attached = self.runners().filter(|(_, worker)| worker.process && worker.attached);
        let only = attached.next()?;
        (self.ahead > 0 && attached.next().is_none()).then_some(only)
    }

    /// The worker to place a task of this rank at. A full one takes it for the last of what it was given,
    /// which is named, if that ranks after it.
    pub fn place_for(&self, rank: Rank) -> Option<(WorkerId, Option<Token>)> {
        let (id, worker) = self.placing()?;
        let window = worker.window(self.ahead);
        if worker.placed.len() < window {
            return Some((id, None));
        }
        let last = worker.placed.last_key_value().filter(|(last, _)| window > 0 && **last > rank)?;
        Some((id, Some(*last.1)))
    }

    /// What is placed anywhere and ranks after this.
    pub fn placed_after(&self, rank: Rank) -> Vec<Token> {
        self.workers
            .values()
            .flat_map(|worker| worker.placed.range(rank..).map(|(_, token)| *token))
            .collect()
    }

    /// Checks that workers have exactly what was placed at them, and no more than their windows allow.
    pub fn check_placed(&self, placed: &[Placement]) -> Result<(), String> {
        for (id, worker) in &self.workers {
            let here = || placed.iter().filter(|placement| placement.worker == *id);
            let kept: BTreeMap<Rank, Token> =
                here().filter(|p| p.recall.is_none()).map(|p| (p.rank(), p.token)).collect();
            let recalled = here().filter(|p| p.recall.is_some()).count();
            if kept != worker.placed || recalled != worker.recalled as usize {
                return Err(format!("worker {id} has {worker:?}, {} were placed there", here().count()));
            }
            if kept.len() > self.ahead as usize {
                return Err(format!("worker {id} was given {} ahead", kept.len()));
            }
        }
        let known = |placement: &&Placement| self.workers.contains_key(&placement.worker);
        match placed.iter().find(|placement| !known(placement)) {
            Some(placement) => Err(format!("{placement:?} at a worker that is not known")),
            None => Ok(()),
        }
    }

    /// The worker with most free slots that runs this, the oldest among equals.
    pub fn free_for(&self, runner: &Runner) -> Option<WorkerId> {
        self.runners()
            .filter(|(_, worker)| worker.free_slots() > 0 && worker.runs(runner))
            .max_by_key(|(id, worker)| (worker.free_slots(), std::cmp::Reverse(*id)))
            .map(|(id, _)| id)
    }

    /// Whether a slot is free for this runner. The client of an ad-hoc claim that waits is always ready for it.
    pub fn is_free_for(&self, runner: &Runner) -> bool {
        *runner == Runner::Claimant || self.free_for(runner).is_some()
    }

    /// All but the clients of ad-hoc claims.
    fn runners(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.runners.iter().filter_map(|id| self.workers.get(id).map(|worker| (*id, worker)))
    }

    /// Slots of the attached workers that run this.
    pub fn slots_for(&self, runner: &Runner) -> u32 {
        self.runners().filter(|(_, w)| w.attached && w.runs(runner)).map(|(_, w)| w.slots).sum()
    }

    pub fn resize(&mut self, id: WorkerId, slots: u32) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.slots = slots;
        }
    }

    fn known(&self, incarnation: u64) -> Option<WorkerId> {
        self.runners().find(|(_, worker)| worker.incarnation == incarnation).map(|(id, _)| id)
    }
}

fn unknown(id: WorkerId) -> Refusal {
    Refusal::new(Code::NotFound, "no such worker").value(id.to_string())
}

impl Core {
    /// A worker says hello, for the first time or again.
    pub(crate) fn join(&mut self, join: Join, out: &mut Output) -> Reply {
        let id = self.workers.known(join.incarnation).unwrap_or_else(|| {
            let (id, incarnation) = (self.meta.next_worker, join.incarnation);
            let worker = WorkerRecord { id, incarnation, note: join.note };
            self.emit(out, Fact::WorkerJoined { worker: Box::new(worker) });
            id
        });
        let now = self.now;
        let worker = self.workers.workers.get_mut(&id).expect("known or just joined");
        worker.slots = join.slots;
        worker.process = join.process;
        worker.handlers = join.handlers;
        worker.attached = true;
        worker.heard_at = now;
        self.placements_doubted = true;
        let worker = self.workers.workers.get_mut(&id).expect("known or just joined");
        let assigned: Vec<TaskId> = worker.tasks.iter().copied().collect();
        for task in assigned {
            let Phase::Running { token, stop, .. } = self.task(task).phase else { continue };
            if !join.holds.contains(&token) {
                // The assignment was lost on its way: the attempt never began.
                self.attempt_never_began(task, out);
            } else if let Some(stop) = stop {
                out.effects.push(Effect::Stop { worker: id, token, stop });
            }
        }
        let here = |placement: &&Placement| placement.worker == id;
        let placed: Vec<Placement> = self.meta.placed.iter().filter(here).copied().collect();
        for placement in placed {
            if join.holds.contains(&placement.token) {
                self.begin_placed(placement, now, out);
            } else {
                // A worker lets go of what it has not begun when its connection breaks.
                self.give_back(placement, out);
            }
        }
        for token in join.holds {
            if !self.tokens.contains_key(&token) {
                out.effects.push(Effect::Stop { worker: id, token, stop: Stop::Cancel });
            }
        }
        self.ease_lease(id);
        self.note_service();
        // Tasks that gave up their reservations for want of a worker may have them again.
        let workers = &self.workers;
        self.queues.look_again(|queue| workers.slots_for(&queue.demand.runner) > 0, &mut self.ledger);
        Reply::Joined(id)
    }

    /// A worker's connection broke. What it holds goes on until its lease ends.
    pub(crate) fn detach(&mut self, id: WorkerId, out: &mut Output) -> Result<Reply, Refusal> {
        let worker = self.workers.workers.get_mut(&id).ok_or_else(|| unknown(id))?;
        if worker.claim.is_some() {
            self.end_claim(id, out);
            return Ok(Reply::Done);
        }
        worker.attached = false;
        self.timers.set(Timer::Lease(id), self.now + self.config.lease);
        self.note_service();
        Ok(Reply::Done)
    }

    /// A worker is alive.
    pub(crate) fn heartbeat(&mut self, id: WorkerId) -> Result<Reply, Refusal> {
        self.workers.workers.get_mut(&id).ok_or_else(|| unknown(id))?.heard_at = self.now;
        Ok(Reply::Done)
    }

    /// A worker and all its processes are dead: its attempts are lost.
    pub(crate) fn lose(
        &mut self,
        id: WorkerId,
        began: Option<&[Token]>,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let worker = self.workers.get(id).ok_or_else(|| unknown(id))?;
        if worker.claim.is_some() {
            self.end_claim(id, out);
            return Ok(Reply::Done);
        }
        let tasks: Vec<TaskId> = worker.tasks.iter().copied().collect();
        let here = |placement: &&Placement| placement.worker == id;
        let placed: Vec<Placement> = self.meta.placed.iter().filter(here).copied().collect();
        for task in tasks {
            let began = match (began, &self.task(task).phase) {
                (Some(began), Phase::Running { token, .. }) => began.contains(token),
                _ => true,
            };
            if began { self.attempt_lost(task, out) } else { self.attempt_never_began(task, out) }
        }
        for placement in placed {
            self.give_back(placement, out);
        }
        self.emit(out, Fact::WorkerLost { worker: id });
        self.note_service();
        Ok(Reply::Done)
    }

    /// A connected worker that holds nothing any more need not be heard of: nobody is woken to look.
    pub(crate) fn ease_lease(&mut self, id: WorkerId) {
        if self.workers.get(id).is_some_and(|worker| worker.attached && worker.holds_nothing()) {
            self.timers.clear(Timer::Lease(id));
        }
    }

    /// The lease of a worker may be over: it is unless the worker was heard of, or holds nothing and is
    /// connected.
    pub(crate) fn check_lease(&mut self, id: WorkerId, out: &mut Output) {
        let Some(worker) = self.workers.get(id) else { return };
        if worker.claim.is_some() {
            // Its connection ends with its process: as long as it stands, nothing need be heard.
            if !worker.attached {
                self.end_claim(id, out);
            }
            return;
        }
        if worker.attached && worker.holds_nothing() {
            return;
        }
        let ends = worker.heard_at + self.config.lease;
        if worker.attached && ends > self.now {
            self.timers.set(Timer::Lease(id), ends);
        } else {
            out.effects.push(Effect::Fence { worker: id });
            // Asked again if nothing comes of it.
            self.timers.set(Timer::Lease(id), self.now + self.config.lease);
        }
    }

    /// Workers have come or gone. Tasks that nobody can run keep what they have reserved for as long as a worker may
    /// be silent: whoever comes meanwhile must not pass because a worker, or the scheduler, was started anew.
    pub(crate) fn note_service(&mut self) {
        let (workers, now) = (&self.workers, self.now);
        for pool in self.queues.pools_mut() {
            let is_served = pool.runner == Runner::Claimant || workers.slots_for(&pool.runner) > 0;
            pool.unserved_since = (!is_served).then(|| pool.unserved_since.unwrap_or(now));
        }
        self.unreserve_unserved();
    }

    /// Tasks that no connected worker has been there for must not keep others from what they have reserved for ever.
    pub(crate) fn unreserve_unserved(&mut self) {
        for task in self.ledger.reserving_tasks() {
            let pool = self.queues.pool(self.task(task).queue);
            match pool.unserved_since.map(|since| since + self.config.lease) {
                Some(end) if end <= self.now => self.ledger.unreserve(task),
                Some(end) => self.timers.set_earlier(Timer::Unserved, end),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::handler_matches;

    #[test]
    fn patterns_name_one_action_a_module_or_all() {
        assert!(handler_matches("a.b", "a.b") && !handler_matches("a.b", "a.c"));
        assert!(
            handler_matches("a.*", "a.b") && handler_matches("a.*", "a") && !handler_matches("a.*", "ab.c")
        );
        assert!(handler_matches("*", "a.b"));
    }
}
