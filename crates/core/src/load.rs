//! Beginning: an empty scheduler, or one that goes on where a snapshot ends.

use orchd_model::{ScheduleId, Sequence, SessionId, Span, TaskId, Time, Token, WorkerId, WorkflowId};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::command::Effect;
use crate::core::{Config, Core, Output};
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::queues::Queues;
use crate::record::{Meta, Phase, Snapshot};
use crate::session::Sessions;
use crate::timer::{Timer, Timers};
use crate::turns::Turns;
use crate::watches::Watches;
use crate::worker::Workers;

/// Workers cannot be heard of more often than this.
const SHORTEST_LEASE: Span = Span::from_millis(1);

impl Core {
    /// A scheduler that goes on where `snapshot` ends; an empty one from the default snapshot. Workers are
    /// taken for disconnected until they say hello. Effects that were under way are put into `out` again.
    #[must_use]
    pub fn load(config: Config, snapshot: Snapshot, now: Time, out: &mut Output) -> Self {
        let Snapshot { meta, tasks, workflows, sessions, schedules, blocked, reserved } = snapshot;
        let now = now.max(meta.last_time);
        let ahead = config.ahead;
        let mut core = Self {
            queues: Queues::new(config.aging, config.grace),
            // A lease of nothing would be over again the moment it is set.
            config: Config { lease: config.lease.max(SHORTEST_LEASE), ..config },
            now,
            meta: from_one(meta),
            tasks: FxHashMap::default(),
            spans: BTreeMap::new(),
            workflows: BTreeMap::new(),
            keys: Keys::default(),
            sessions: Sessions::default(),
            turns: Turns::default(),
            schedules: BTreeMap::new(),
            queued_schedules: BTreeMap::new(),
            tokens: FxHashMap::default(),
            workers: Workers::new(ahead),
            ledger: Ledger::default(),
            watches: Watches::default(),
            timers: Timers::default(),
            paused: false,
            draining: false,
            held_back: None,
            said: BTreeMap::new(),
            placements_doubted: false,
            unsettled: VecDeque::new(),
            near_end: BTreeSet::new(),
            workflow_ends: BTreeMap::new(),
            ended: VecDeque::new(),
        };
        core.restore_resources();
        for worker in core.meta.workers.clone() {
            core.workers.add(&worker);
            core.timers.set(Timer::Lease(worker.id), now + core.config.lease);
        }
        for session in &sessions {
            core.insert_session(session);
        }
        for workflow in &workflows {
            core.insert_workflow(workflow);
        }
        for schedule in schedules {
            core.insert_schedule(schedule);
        }
        for scope in core.meta.paused.clone() {
            core.set_paused(&scope, true);
        }
        let ids: Vec<TaskId> = tasks.iter().map(|record| record.id).collect();
        core.tasks.reserve(tasks.len());
        for record in tasks {
            core.insert_counted(record);
        }
        for placement in core.meta.placed.clone() {
            core.take_placement(&placement);
        }
        for id in ids {
            core.restore(id, out);
        }
        core.restore_blocked(blocked);
        core.restore_reserved(reserved);
        core.note_service();
        core
    }

    /// What was set, by the configuration and then by users, and what has become of it.
    fn restore_resources(&mut self) {
        for (resource, setting) in
            self.config.resources.iter().chain(&self.meta.resources).cloned().collect::<Vec<_>>()
        {
            let index = self.resource(&resource);
            self.ledger.configure(index, &setting, self.now);
        }
        for (resource, state) in self.meta.states.clone() {
            let index = self.resource(&resource);
            self.ledger.set_state(index, state);
            self.note_state(&resource, index);
        }
    }

    /// What a loaded task needs beyond its own record.
    fn restore(&mut self, id: TaskId, out: &mut Output) {
        self.link(id);
        match self.task(id).phase {
            Phase::Checking => out.effects.push(Effect::Evaluate { task: id }),
            Phase::Computing => out.effects.push(self.computation(id)),
            Phase::Running { started_at, .. } => {
                self.take_claims(id);
                if let Some(timeout) = self.task(id).timeout() {
                    self.timers.set(Timer::Timeout(id), started_at + timeout);
                }
            }
            Phase::Waiting
            | Phase::Delayed { .. }
            | Phase::Ready { .. }
            | Phase::Ended(_)
            | Phase::Skipped(_) => {}
        }
    }
}

/// Every identifier counts from 1.
fn from_one(meta: Meta) -> Meta {
    Meta {
        next_task: meta.next_task.max(TaskId(1)),
        next_workflow: meta.next_workflow.max(WorkflowId(1)),
        next_session: meta.next_session.max(SessionId(1)),
        next_worker: meta.next_worker.max(WorkerId(1)),
        next_schedule: meta.next_schedule.max(ScheduleId(1)),
        next_token: meta.next_token.max(Token(1)),
        next_sequence: meta.next_sequence.max(Sequence(1)),
        ..meta
    }
}
