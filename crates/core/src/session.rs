//! Sessions: they are opened and closed, take work as long as they are open, limit how many of their tasks run
//! at once, and count what has become of them.
//!
//! ```text
//!            closed while something has not ended        its last task ends
//!   open ──────────────────────────────────────► closing ─────────────────► closed
//!     └───────────── closed when all has ended ────────────────────────────────┘
//! ```
//! Invariant: the sessions here are those that are not closed, and those whose end is not on disk yet. No two
//! of them that are not closed have the same name.

use orchd_model::{
    Claim, Code, Mode, Refusal, ResourceName, SessionId, SessionMode, SessionStatus, Span, Status, TaskId,
    TaskSpec, Usage, WorkflowId, limits,
};
use std::collections::BTreeMap;

use crate::command::{NewSession, Reply};
use crate::core::{Core, Ended, Output};
use crate::demand::Demand;
use crate::event::Fact;
use crate::record::{Counters, Runner, Scope, SessionRecord};
use crate::resource::ResourceKey;
use orchd_model::{Amount, Sequence};

/// The sessions in memory.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    records: BTreeMap<SessionId, SessionRecord>,
    /// Those that are not closed.
    names: BTreeMap<Box<str>, SessionId>,
}

impl Sessions {
    pub fn get(&self, id: SessionId) -> Option<&SessionRecord> {
        self.records.get(&id)
    }

    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut SessionRecord> {
        self.records.get_mut(&id)
    }

    pub fn all(&self) -> impl Iterator<Item = &SessionRecord> {
        self.records.values()
    }

    pub fn forget(&mut self, id: SessionId) {
        self.records.remove(&id);
    }
}

impl SessionRecord {
    /// How many of its tasks have not ended.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        let live = [Status::Pending, Status::Running, Status::Retrying];
        live.into_iter().map(|status| self.counters.by_status[status.index()]).sum()
    }

    /// Takes account of what an attempt of one of its tasks has used.
    pub(crate) fn note_usage(&mut self, usage: &Usage) {
        let cpu_time = Span::from_secs_f64(usage.cpu_user + usage.cpu_system).unwrap_or_default();
        self.cpu_time = Span(self.cpu_time.0.saturating_add(cpu_time.0));
        self.memory_peak = self.memory_peak.max(usage.memory_peak.unwrap_or_default());
        self.io_read = self.io_read.saturating_add(usage.io_read);
        self.io_write = self.io_write.saturating_add(usage.io_write);
    }
}

impl Core {
    /// The session that is not closed and has this name.
    #[must_use]
    pub fn session_named(&self, name: &str) -> Option<SessionId> {
        self.sessions.names.get(name).copied()
    }

    /// A session in memory as it would be stored now.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&SessionRecord> {
        self.sessions.get(id)
    }

    /// How many sessions are not closed.
    #[must_use]
    pub fn sessions_open(&self) -> usize {
        self.sessions.names.len()
    }

    /// What the running tasks of a session hold, by name, with how many of them do.
    #[must_use]
    pub fn session_holds(&self, id: SessionId) -> Vec<(ResourceName, Amount, usize)> {
        let is_of_it = |task: &TaskId| self.queues.get(self.task(*task).queue).demand.session == Some(id);
        let held = self.ledger.all().into_iter().filter_map(|(_, resource)| {
            let ResourceKey::Named(name) = &resource.key else { return None };
            let holds = resource.holders.iter().filter(|(task, _)| is_of_it(task));
            let (amount, count) =
                holds.fold((Amount::ZERO, 0), |(sum, count), (_, hold)| (sum + hold.amount, count + 1));
            (count > 0).then(|| (name.clone(), amount, count))
        });
        held.collect()
    }

    pub(crate) fn create_session(&mut self, new: NewSession, out: &mut Output) -> Result<Reply, Refusal> {
        let NewSession { name, max_parallel, mode, owner } = new;
        if let Some(id) = self.session_named(&name) {
            let refusal = Refusal::new(Code::Conflict, "there is a session of this name").value(&*name);
            return Err(refusal.hint(format!("it is session {id}; close it first, or take another name")));
        }
        if self.sessions_open() >= limits::SESSIONS {
            let refusal = Refusal::new(Code::Busy, format!("at most {} open sessions", limits::SESSIONS));
            return Err(refusal.value(&*name).hint("close some that are not needed"));
        }
        let id = self.meta.next_session;
        let record = Box::new(SessionRecord {
            id,
            name,
            owner,
            max_parallel,
            mode,
            created_at: self.now,
            closed_at: None,
            cancelled_at: None,
            status: SessionStatus::Open,
            counters: Counters::default(),
            cpu_time: Span::ZERO,
            memory_peak: 0,
            io_read: 0,
            io_write: 0,
        });
        self.emit(out, Fact::SessionCreated { record });
        Ok(Reply::Session(id))
    }

    /// Takes no more work into a session. What has not ended is cancelled, or runs to its end.
    pub(crate) fn close_session(
        &mut self,
        id: SessionId,
        cancel: bool,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let record = self.sessions.get(id).ok_or_else(|| self.no_such_session(id))?;
        match record.status {
            SessionStatus::Closed => return Err(is_closed(record)),
            SessionStatus::Open if record.unfinished() == 0 => {
                self.emit(out, Fact::SessionClosed { session: id });
                return Ok(Reply::Done);
            }
            SessionStatus::Closing if !cancel || record.cancelled_at.is_some() => {}
            SessionStatus::Open | SessionStatus::Closing => {
                self.emit(out, Fact::SessionClosing { session: id, cancel });
            }
        }
        if cancel {
            let of_it = |task: &TaskId| self.session_of(*task) == Some(id);
            let tasks: Vec<TaskId> = self.unfinished_tasks().into_iter().filter(of_it).collect();
            for task in tasks {
                // One that has been ended by the end of another needs no end of its own.
                drop(self.cancel(task, out));
            }
        }
        Ok(Reply::Done)
    }

    /// Why nothing can be done with a session that is not in memory.
    pub(crate) fn no_such_session(&self, id: SessionId) -> Refusal {
        if id.0 > 0 && id < self.meta.next_session {
            return Refusal::new(Code::WrongState, "this session is closed").value(id.to_string());
        }
        Refusal::new(Code::NotFound, "no such session").value(id.to_string())
    }

    /// The session of a task in memory.
    pub(crate) fn session_of(&self, task: TaskId) -> Option<SessionId> {
        self.queues.get(self.task(task).queue).demand.session
    }

    /// Whether a session takes work.
    pub(crate) fn check_session(&self, id: SessionId) -> Result<(), Refusal> {
        let record = self.sessions.get(id).ok_or_else(|| self.no_such_session(id))?;
        match record.status {
            SessionStatus::Open => Ok(()),
            SessionStatus::Closing | SessionStatus::Closed => Err(is_closed(record)),
        }
    }

    /// With its last task a session that is being closed is closed.
    pub(crate) fn after_end_in_session(&mut self, task: TaskId, out: &mut Output) {
        let Some(record) = self.session_of(task).and_then(|id| self.sessions.get(id)) else { return };
        if record.status == SessionStatus::Closing && record.unfinished() == 0 {
            let session = record.id;
            self.emit(out, Fact::SessionClosed { session });
        }
    }

    /// What a task needs: what its user wrote, and in a session that is aware of resources one core in each
    /// variant that claims none.
    pub(crate) fn demand_of(
        &self,
        spec: &TaskSpec,
        runner: &Runner,
        workflow: Option<WorkflowId>,
        session: Option<SessionId>,
    ) -> Demand {
        let mut demand = Demand { session, ..Demand::new(spec, runner.clone(), workflow) };
        let record = session.and_then(|id| self.sessions.get(id));
        let is_aware = record.is_some_and(|record| record.mode == SessionMode::ResourceAware);
        let Some(core) = self.one_core().filter(|_| is_aware) else { return demand };
        let claims_cores = |claims: &[Claim]| claims.iter().any(|claim| claim.resource == core.resource);
        if matches!(runner, Runner::Nothing | Runner::Computed | Runner::Claimant)
            || claims_cores(&demand.claims)
        {
            return demand;
        }
        let with_core = |claims: &[Claim]| -> Box<[Claim]> {
            orchd_model::merge_claims(claims.iter().cloned().chain([core.clone()]).collect()).into()
        };
        if demand.variants.is_empty() {
            demand.claims = with_core(&demand.claims);
        }
        for variant in demand.variants.iter_mut().filter(|variant| !claims_cores(variant)) {
            *variant = with_core(variant);
        }
        demand
    }

    /// A claim on one core of the machine, or on all there is of less; none where cores are not counted.
    fn one_core(&self) -> Option<Claim> {
        let resource = ResourceName::cpu();
        let cores = self.ledger.get(self.ledger.find(&ResourceKey::Named(resource.clone()))?).capacity()?;
        let amount = Amount::ONE.min(cores);
        (amount > Amount::ZERO).then_some(Claim { resource, mode: Mode::Read, amount })
    }

    // Applying

    /// Takes a session into memory.
    pub(crate) fn insert_session(&mut self, record: &SessionRecord) {
        let id = record.id;
        self.meta.next_session = self.meta.next_session.max(id.next());
        let index = self.ledger.intern(&ResourceKey::Session(id));
        self.ledger.limit_group(index, record.max_parallel);
        self.ledger.keep_group(index, true);
        self.turns.open(id, record.mode);
        self.sessions.names.insert(record.name.clone(), id);
        self.sessions.records.insert(id, record.clone());
    }

    pub(crate) fn apply_session_closing(&mut self, id: SessionId, cancel: bool) {
        let now = self.now;
        if let Some(record) = self.sessions.get_mut(id) {
            record.status = SessionStatus::Closing;
            record.cancelled_at = record.cancelled_at.or(cancel.then_some(now));
        }
    }

    pub(crate) fn apply_session_closed(&mut self, sequence: Sequence, id: SessionId) {
        let now = self.now;
        let Some(record) = self.sessions.get_mut(id) else { return };
        (record.status, record.closed_at) = (SessionStatus::Closed, Some(now));
        let name = record.name.clone();
        self.sessions.names.remove(&name);
        self.turns.close(id);
        let scope = Scope::Session(id);
        if self.meta.paused.contains(&scope) {
            self.apply_paused(&scope, false);
        }
        let index = self.ledger.intern(&ResourceKey::Session(id));
        self.ledger.keep_group(index, false);
        self.ended.push_back((sequence, Ended::Session(id)));
    }

    /// Counts something, for all and for the session that it happened in.
    pub(crate) fn count(&mut self, session: Option<SessionId>, change: impl Fn(&mut Counters)) {
        change(&mut self.meta.counters);
        if let Some(record) = session.and_then(|id| self.sessions.get_mut(id)) {
            change(&mut record.counters);
        }
    }

    /// Checks the invariants of this module.
    pub(crate) fn check_sessions(&self) -> Result<(), String> {
        let mut counted: BTreeMap<SessionId, [u64; 7]> = BTreeMap::new();
        for (id, task) in &self.tasks {
            let Some(session) = self.session_of(*id).filter(|_| !task.has_ended()) else { continue };
            counted.entry(session).or_default()[task.status().index()] += task.count();
        }
        for record in self.sessions.all() {
            let live = counted.remove(&record.id).unwrap_or_default();
            for status in [Status::Pending, Status::Running, Status::Retrying] {
                let (told, found) = (record.counters.by_status[status.index()], live[status.index()]);
                if told != found {
                    return Err(format!("session {} counts {told} {status}, {found} are", record.id));
                }
            }
            let is_named = self.session_named(&record.name) == Some(record.id);
            if is_named == (record.status == SessionStatus::Closed) {
                return Err(format!("session {} is {}, known by name: {is_named}", record.id, record.status));
            }
        }
        match counted.keys().next() {
            Some(id) => Err(format!("tasks of session {id} have not ended, which is not in memory")),
            None => Ok(()),
        }
    }
}

fn is_closed(record: &SessionRecord) -> Refusal {
    let refusal = Refusal::new(Code::WrongState, format!("session {} is {}", record.id, record.status));
    refusal.value(&*record.name).hint("create another one")
}
