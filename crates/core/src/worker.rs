//! Workers: who can run what, and how much of it at a time.
//!
//! Invariant: a worker's attempts are exactly the running tasks that name it.

use orchd_model::{Code, Refusal, TaskId, Time, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

use crate::command::{Effect, Join, Reply};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::record::{Phase, Runner, Stop, WorkerNote, WorkerRecord};
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
    pub attached: bool,
    heard_at: Time,
}

impl Worker {
    fn runs(&self, runner: &Runner) -> bool {
        match runner {
            Runner::Process => self.process,
            Runner::Handler(name) => self.handlers.iter().any(|pattern| handler_matches(pattern, name)),
            Runner::Nothing => false,
        }
    }

    fn free_slots(&self) -> u32 {
        if self.attached {
            self.slots.saturating_sub(u32::try_from(self.tasks.len()).unwrap_or(u32::MAX))
        } else {
            0
        }
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
}

impl Workers {
    pub fn add(&mut self, record: &WorkerRecord) {
        let worker = Worker {
            incarnation: record.incarnation,
            note: record.note.clone(),
            slots: 0,
            process: false,
            handlers: Vec::new(),
            tasks: BTreeSet::new(),
            attached: false,
            heard_at: Time(0),
        };
        self.workers.insert(record.id, worker);
    }

    pub fn remove(&mut self, id: WorkerId) {
        self.workers.remove(&id);
    }

    pub fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
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

    pub fn free_slot(&mut self, id: WorkerId, task: TaskId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.tasks.remove(&task);
        }
    }

    /// The worker with most free slots that runs this, the oldest among equals.
    pub fn free_for(&self, runner: &Runner) -> Option<WorkerId> {
        self.workers
            .iter()
            .filter(|(_, worker)| worker.free_slots() > 0 && worker.runs(runner))
            .max_by_key(|(id, worker)| (worker.free_slots(), std::cmp::Reverse(**id)))
            .map(|(id, _)| *id)
    }

    /// Slots of the attached workers that run this.
    pub fn slots_for(&self, runner: &Runner) -> u32 {
        self.workers.values().filter(|w| w.attached && w.runs(runner)).map(|w| w.slots).sum()
    }

    pub fn resize(&mut self, id: WorkerId, slots: u32) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.slots = slots;
        }
    }

    fn known(&self, incarnation: u64) -> Option<WorkerId> {
        self.workers.iter().find(|(_, w)| w.incarnation == incarnation).map(|(id, _)| *id)
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
            self.emit(out, Fact::WorkerJoined { worker });
            id
        });
        let now = self.now;
        let worker = self.workers.workers.get_mut(&id).expect("known or just joined");
        worker.slots = join.slots;
        worker.process = join.process;
        worker.handlers = join.handlers;
        worker.attached = true;
        worker.heard_at = now;
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
        for token in join.holds {
            if !self.tokens.contains_key(&token) {
                out.effects.push(Effect::Stop { worker: id, token, stop: Stop::Cancel });
            }
        }
        self.unreserve_unrunnable();
        // Tasks that gave up their reservations for want of a worker may have them again.
        let workers = &self.workers;
        self.queues.look_again(|queue| workers.slots_for(&queue.demand.runner) > 0, &mut self.ledger);
        Reply::Joined(id)
    }

    /// A worker's connection broke. What it holds goes on until its lease ends.
    pub(crate) fn detach(&mut self, id: WorkerId) -> Result<Reply, Refusal> {
        let worker = self.workers.workers.get_mut(&id).ok_or_else(|| unknown(id))?;
        worker.attached = false;
        self.timers.set(Timer::Lease(id), self.now + self.config.lease);
        self.unreserve_unrunnable();
        Ok(Reply::Done)
    }

    /// A worker is alive.
    pub(crate) fn heartbeat(&mut self, id: WorkerId) -> Result<Reply, Refusal> {
        self.workers.workers.get_mut(&id).ok_or_else(|| unknown(id))?.heard_at = self.now;
        Ok(Reply::Done)
    }

    /// A worker and all its processes are dead: its attempts are lost.
    pub(crate) fn lose(&mut self, id: WorkerId, out: &mut Output) -> Result<Reply, Refusal> {
        let worker = self.workers.get(id).ok_or_else(|| unknown(id))?;
        let tasks: Vec<TaskId> = worker.tasks.iter().copied().collect();
        for task in tasks {
            self.attempt_lost(task, out);
        }
        self.emit(out, Fact::WorkerLost { worker: id });
        self.unreserve_unrunnable();
        Ok(Reply::Done)
    }

    /// The lease of a worker may be over: it is unless the worker was heard of, or holds nothing and is
    /// connected.
    pub(crate) fn check_lease(&mut self, id: WorkerId, out: &mut Output) {
        let Some(worker) = self.workers.get(id) else { return };
        if worker.attached && worker.tasks.is_empty() {
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

    /// Tasks that no connected worker runs must not keep others from what they have reserved.
    fn unreserve_unrunnable(&mut self) {
        for task in self.ledger.reserving_tasks() {
            let runner = &self.queues.get(self.task(task).queue).demand.runner;
            if self.workers.slots_for(runner) == 0 {
                self.ledger.unreserve(task);
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
