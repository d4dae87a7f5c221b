//! The scheduler's state, and the calling order of its parts.
//!
//! [`Core::handle`] decides what a command means, applies the resulting facts, lets due timers have their
//! say and admits what fits, in this order. Deciding reads the state and emits facts; `apply` is the only
//! writer of what facts say. Queues, parking places and timers are bookkeeping that follows from the facts
//! and is rebuilt on load.

use orchd_model::{
    Refusal, ResourceName, ResourceSetting, ScheduleId, Sequence, SessionId, Span, Status, TaskId, Time,
    Token, WorkflowId,
};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::command::{Command, Effect, Reply};
use crate::event::{Event, Fact};
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::operate::Revival;
use crate::progress::Said;
use crate::queues::Queues;
use crate::record::{Counters, Meta, ScheduleRecord, Scope, TaskRecord, WorkflowRecord};
use crate::session::Sessions;
use crate::task::Task;
use crate::timer::Timers;
use crate::turns::Turns;
use crate::watches::Watches;
use crate::worker::Workers;

/// Room for so many tasks is not worth giving back.
const SMALLEST_ROOM: usize = 4096;

/// What an operator configures.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How long a task waits before it competes one class higher; zero: never.
    pub aging: Span,
    /// How long a task that is short of an amount is overtaken by others before it reserves it; zero: not at
    /// all.
    pub reservation_delay: Span,
    /// How long an attempt may live on after its timeout.
    pub grace: Span,
    /// How often a task may lose its worker before it fails.
    pub max_worker_losses: u32,
    /// How long a worker may be silent before its attempts are lost.
    pub lease: Span,
    /// Seed of the jitter of retry delays.
    pub seed: u64,
    /// What the machine and the configuration say about resources.
    pub resources: Vec<(ResourceName, ResourceSetting)>,
    /// How many tasks without claims a worker may be given ahead of its slots; zero: none.
    pub ahead: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            aging: Span::from_secs(600),
            reservation_delay: Span::from_secs(10),
            grace: Span::from_secs(10),
            max_worker_losses: 3,
            lease: Span::from_secs(30),
            seed: 0,
            resources: Vec::new(),
            ahead: 0,
        }
    }
}

/// What one or more commands led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Facts, to be made durable in this order.
    pub events: Vec<Event>,
    /// Instructions, to be let out when the facts are durable.
    pub effects: Vec<Effect>,
}

/// The scheduler.
///
/// - commands: [`Core::handle`]
/// - time: [`Core::next_wake`] says when to send [`Command::Tick`]
/// - durability: persist [`Output::events`], then let out [`Output::effects`], then send
///   [`Command::Committed`]
/// - getters: everything else
#[derive(Debug)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) meta: Meta,
    pub(crate) tasks: FxHashMap<TaskId, Box<Task>>,
    /// Records that stand for several tasks: the first and the last of each. Invariant: they do not overlap.
    pub(crate) spans: BTreeMap<TaskId, TaskId>,
    pub(crate) workflows: BTreeMap<WorkflowId, WorkflowRecord>,
    pub(crate) schedules: BTreeMap<ScheduleId, ScheduleRecord>,
    /// Schedules with ticks that wait for a run to end, and whether the shell has been asked for their work.
    pub(crate) queued_schedules: BTreeMap<ScheduleId, bool>,
    /// Tasks in memory by their idempotency keys.
    pub(crate) keys: Keys,
    pub(crate) sessions: Sessions,
    /// Who goes first in sessions that keep an order.
    pub(crate) turns: Turns,
    /// Running attempts by their tokens.
    pub(crate) tokens: FxHashMap<Token, TaskId>,
    pub(crate) workers: Workers,
    pub(crate) queues: Queues,
    pub(crate) ledger: Ledger,
    pub(crate) watches: Watches,
    pub(crate) timers: Timers,
    /// What running attempts have said lately; forgotten with the process, but for what is in their records.
    pub(crate) said: BTreeMap<TaskId, Said>,
    /// Whether everything is paused.
    pub(crate) paused: bool,
    /// Whether the daemon is about to stop: like a pause, but forgotten with the process.
    pub(crate) draining: bool,
    /// Why the load of the machine lets nothing start, if so; forgotten with the process, too.
    pub(crate) held_back: Option<String>,
    /// Whether something has changed that tasks placed ahead may have to come back for.
    pub(crate) placements_doubted: bool,
    /// Tasks that ended in this step and whose dependents and workflow have not been told.
    pub(crate) unsettled: VecDeque<TaskId>,
    /// Workflows of which nothing may be left but what runs at the end.
    pub(crate) near_end: BTreeSet<WorkflowId>,
    /// The event that last ended a workflow in memory.
    pub(crate) workflow_ends: BTreeMap<WorkflowId, Sequence>,
    /// What ended, by the event that ended it, until it is on disk.
    pub(crate) ended: VecDeque<(Sequence, Ended)>,
}

/// Something that may leave memory once its end is on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    Task(TaskId),
    Workflow(WorkflowId),
    Session(SessionId),
}

impl Core {
    /// Handles one command at `now`. A refused command changes nothing, though what time has brought about
    /// happens all the same.
    ///
    /// # Errors
    /// The refusal of the whole command; refusals of single tasks are in the reply.
    pub fn handle(&mut self, now: Time, command: Command, out: &mut Output) -> Result<Reply, Refusal> {
        self.now = self.now.max(now);
        self.ledger.now = self.now;
        self.meta.last_time = self.now;
        let reply = self.decide(command, out);
        self.settle(out);
        while let Some(timer) = self.timers.pop_due(self.now) {
            self.fire(timer, out);
            self.settle(out);
        }
        self.admit(out);
        self.call_queued(out);
        reply
    }

    fn decide(&mut self, command: Command, out: &mut Output) -> Result<Reply, Refusal> {
        match command {
            Command::Submit(submission) => self.submit(submission, out),
            Command::Cancel { tasks } => Ok(self.each(&tasks, out, Self::cancel)),
            Command::CancelSparing { tasks, whole } => Ok(self.cancel_sparing(tasks, whole, out)),
            Command::Retry { wanted, tasks, skipped, workflows, ended } => {
                self.step_on();
                Ok(self.revive(&wanted, Revival { tasks, skipped, workflows, ended }, out))
            }
            Command::Rerun(rerun) => self.rerun(*rerun, out),
            Command::Edit { task, new } => self.edit(task, &new, out),
            Command::Hold { tasks } => Ok(self.each(&[tasks], out, Self::hold)),
            Command::Release { tasks } => Ok(self.each(&tasks, out, Self::release)),
            Command::Reprioritize { tasks, priority } => {
                Ok(self.each(&[tasks], out, |core, id, out| core.reprioritize(id, priority, out)))
            }
            Command::Pause { scope, create } => self.pause(scope, create, out),
            Command::Resume(scope) => self.resume(scope, out),
            Command::SetResource { resource, setting } => self.set_resource(resource, setting, out),
            Command::Throttle { resource, pause, by, create } => {
                self.throttle(resource, pause, by, create, out)
            }
            Command::Close { resource, create } => self.close(resource, create, out),
            Command::Open { resource } => self.open(resource, out),
            Command::Settle { token, resource, used } => self.settle_tokens(token, resource, used, out),
            Command::Configure(config) => {
                self.reconfigure(*config);
                Ok(Reply::Done)
            }
            Command::Resize { worker, slots } => {
                self.resize(worker, slots);
                Ok(Reply::Done)
            }
            Command::Decide { task, verdict } => self.decide_condition(task, verdict, out),
            Command::Computed { task, outcome, data } => self.end_computed(task, &outcome, data, out),
            Command::Expand { task, elements } => self.expand(task, &elements, out),
            Command::Join(join) => Ok(self.join(join, out)),
            Command::Claim(claim) => self.claim(*claim, out),
            Command::Loosen { worker, token, resource, kept } => {
                self.loosen(worker, token, &resource, kept, out)
            }
            Command::Detach { worker } => self.detach(worker, out),
            Command::Heartbeat { worker } => self.heartbeat(worker),
            Command::Lose { worker, began } => self.lose(worker, began.as_deref(), out),
            Command::Begun { worker, token, at } => self.begun(worker, token, at, out),
            Command::Unbegun { worker, token } => self.unbegun(worker, token, out),
            Command::Report { worker, report } => self.report(worker, report, out),
            Command::Progress { token, progress, by } => self.progress(token, progress, by, out),
            Command::CreateSession(session) => self.create_session(session, out),
            Command::CloseSession { session, cancel } => self.close_session(session, cancel, out),
            Command::AddSchedule(new) => self.add_schedule(*new, out),
            Command::RemoveSchedule { schedule } => self.remove_schedule(schedule, out),
            Command::PauseSchedule { schedule, paused, next } => {
                self.pause_schedule(schedule, paused, next, out)
            }
            Command::Fire(firing) => self.fire_schedule(*firing, out),
            Command::Publish(news) => Ok(self.publish(news, out)),
            Command::Tick => Ok(Reply::Done),
            Command::Committed { through } => {
                self.forget(through);
                Ok(Reply::Done)
            }
        }
    }

    /// Lets the least time pass: what begins now is later than all that was added before. Who has been waited
    /// for is told by this.
    pub(crate) fn step_on(&mut self) {
        self.now = self.now + Span(1);
        self.meta.last_time = self.now;
    }

    /// Tells what time it is, for those who look: what is due happens at the next command.
    pub fn note_time(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// When the passing of time next changes something: send [`Command::Tick`] then.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Applies a fact and hands it on.
    pub(crate) fn emit(&mut self, out: &mut Output, fact: Fact) {
        let (workflow, session, more) = match &fact {
            Fact::Submitted { record, .. } | Fact::Revived { record, .. } => {
                (record.demand.workflow, record.demand.session, record.more)
            }
            Fact::Published { news } => (news.workflow, news.session, 0),
            fact => match fact.task().and_then(|id| self.tasks.get(&id)) {
                Some(task) => {
                    let demand = &self.queues.get(task.queue).demand;
                    (demand.workflow, demand.session, task.more())
                }
                None => (fact.workflow(), self.session_of_fact(fact), 0),
            },
        };
        let (sequence, time) = (self.meta.next_sequence, self.now);
        let event = Event { sequence, time, workflow, session, more, fact };
        self.meta.next_sequence = event.sequence.next();
        self.apply(&event);
        out.events.push(event);
    }

    /// The session that a fact which is about no task is about.
    fn session_of_fact(&self, fact: &Fact) -> Option<SessionId> {
        let of_workflow = || match fact {
            Fact::WorkflowSubmitted { record } | Fact::WorkflowReopened { record } => record.session,
            fact => self.workflows.get(&fact.workflow()?)?.session,
        };
        fact.session().or_else(of_workflow)
    }

    /// Drops what ended and is on disk.
    fn forget(&mut self, through: Sequence) {
        while let Some((sequence, ended)) = self.ended.front().copied() {
            if sequence > through {
                break;
            }
            self.ended.pop_front();
            match ended {
                Ended::Task(id) => {
                    // A task that was revived meanwhile, or has ended anew, stays.
                    if self.tasks.get(&id).is_some_and(|t| t.has_ended() && t.ended_by == sequence) {
                        let task = self.tasks.remove(&id).expect("looked at just now");
                        self.note_span(id);
                        if let Some(key) = task.limits.as_ref().and_then(|l| l.key.as_ref()) {
                            let session = self.queues.get(task.queue).demand.session;
                            self.keys.remove(session, &key.text);
                        }
                        self.leave_queue(task.queue);
                    }
                }
                Ended::Workflow(id) => {
                    // One that was reopened meanwhile stays, too.
                    if self.workflow_ends.get(&id) == Some(&sequence) {
                        self.workflow_ends.remove(&id);
                        self.workflows.remove(&id);
                    }
                }
                Ended::Session(id) => self.sessions.forget(id),
            }
        }
        // After a burst its room is given back; twice what is needed stays, so that this is rare.
        if self.tasks.capacity() > SMALLEST_ROOM && self.tasks.len() < self.tasks.capacity() / 8 {
            self.tasks.shrink_to(self.tasks.len() * 2);
        }
        if self.ended.capacity() > SMALLEST_ROOM && self.ended.is_empty() {
            self.ended.shrink_to(0);
        }
    }

    /// A task in memory as it would be stored now: its own record, or the one that stands for it. Tasks that
    /// ended and are on disk are not in memory.
    #[must_use]
    pub fn record(&self, id: TaskId) -> Option<TaskRecord> {
        let id = self.standing_for(id)?;
        let task = self.task(id);
        Some(task.record(id, &self.queues.get(task.queue).demand))
    }

    /// The status of a task in memory.
    #[must_use]
    pub fn status(&self, id: TaskId) -> Option<Status> {
        self.standing_for(id).map(|id| self.task(id).status())
    }

    /// A workflow in memory as it would be stored now.
    #[must_use]
    pub fn workflow(&self, id: WorkflowId) -> Option<&WorkflowRecord> {
        self.workflows.get(&id)
    }

    /// How many workflows have not ended.
    #[must_use]
    pub fn workflows_running(&self) -> usize {
        self.workflows.values().filter(|workflow| workflow.unfinished > 0).count()
    }

    /// How many workflows of a session have not ended.
    #[must_use]
    pub fn workflows_running_in(&self, session: SessionId) -> usize {
        let of_it = |workflow: &&WorkflowRecord| workflow.unfinished > 0 && workflow.session == Some(session);
        self.workflows.values().filter(of_it).count()
    }

    /// Everything that is stored beside tasks and workflows.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Counts over the life of the state directory.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.meta.counters
    }

    /// How many tasks are ready.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.queues.backlog() + self.meta.placed.len() as u64
    }

    /// How many tasks workers were given ahead of their slots.
    #[must_use]
    pub fn placed(&self) -> usize {
        self.meta.placed.len()
    }

    /// How many records are in memory.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        self.tasks.len()
    }

    /// How many tasks have not ended.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        let counts = &self.counters().by_status;
        let live = [Status::Pending, Status::Running, Status::Retrying].map(|status| counts[status.index()]);
        usize::try_from(live.iter().sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// Whether every start is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Starts nothing new from now on, or ends that. Not a fact: a restart begins without it.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
        self.placements_doubted = true;
    }

    /// Whether nothing new is started because the daemon is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Starts nothing, for this reason, or starts again. Not a fact: who measures the load says it again.
    pub fn hold_back(&mut self, because: Option<String>) {
        self.held_back = because;
        self.placements_doubted = true;
    }

    /// Why the load of the machine lets nothing start, if so.
    #[must_use]
    pub fn held_back(&self) -> Option<&str> {
        self.held_back.as_deref()
    }

    /// Whether nothing at all may start now.
    pub(crate) fn starts_nothing(&self) -> bool {
        self.paused || self.draining || self.held_back.is_some()
    }

    /// What is paused.
    #[must_use]
    pub fn paused_scopes(&self) -> &[Scope] {
        &self.meta.paused
    }

    /// The first ids of the records that have not ended, in order. Costs a look at each.
    #[must_use]
    pub fn unfinished_tasks(&self) -> Vec<TaskId> {
        let mut ids: Vec<TaskId> =
            self.tasks.iter().filter(|(_, task)| !task.has_ended()).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}
