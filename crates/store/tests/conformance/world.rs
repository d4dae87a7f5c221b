//! Plays the scheduler: tasks and workflows that live and die, and the batches that say so.

use orchd_core::{
    AttemptEnd, Blocked, Counters, Demand, Edge, Event, Fact, Key, Meta, Phase, Reserved, Role, Run, Runner,
    ScheduleRecord, Scope, SessionRecord, SkipCause, Stop, TaskRecord, TickOutcome, Trigger, WorkflowRecord,
};
use orchd_model::{
    Amount, AttemptNumber, CatchUp, ErrorType, FailFast, Mode, On, Outcome, Overlap, ResourceName,
    ResourceSetting, ScheduleId, ScheduleSpec, Sequence, SessionId, SessionMode, SessionStatus, Span, Status,
    TaskId, TaskResult, TaskSpec, Time, Token, Usage, WorkerId, WorkflowId, WorkflowStatus,
};
use orchd_store::{Batch, DeadLetter, Figures, HookChange};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The live state, and the batch that is being made.
#[derive(Clone)]
pub struct World {
    pub tasks: BTreeMap<TaskId, TaskRecord>,
    pub workflows: BTreeMap<WorkflowId, WorkflowRecord>,
    pub meta: Meta,
    events: Vec<Event>,
    touched: BTreeSet<TaskId>,
    touched_workflows: BTreeSet<WorkflowId>,
    pub sessions: BTreeMap<SessionId, SessionRecord>,
    touched_sessions: BTreeSet<SessionId>,
    pub schedules: BTreeMap<ScheduleId, ScheduleRecord>,
    touched_schedules: BTreeSet<ScheduleId>,
    parameters: Vec<(WorkflowId, String)>,
}

impl World {
    pub fn new() -> Self {
        let meta = Meta {
            next_task: TaskId(1),
            next_workflow: WorkflowId(1),
            next_sequence: Sequence(1),
            last_time: Time(1_700_000_000_000_000),
            ..Meta::default()
        };
        Self {
            tasks: BTreeMap::new(),
            workflows: BTreeMap::new(),
            meta,
            events: Vec::new(),
            touched: BTreeSet::new(),
            touched_workflows: BTreeSet::new(),
            sessions: BTreeMap::new(),
            touched_sessions: BTreeSet::new(),
            schedules: BTreeMap::new(),
            touched_schedules: BTreeSet::new(),
            parameters: Vec::new(),
        }
    }

    pub fn now(&self) -> Time {
        self.meta.last_time
    }

    /// The batch of all that happened since the last one.
    pub fn batch(&mut self) -> Batch {
        // Figures are written now and then, up to the batch before.
        let first_event = self.events.first().map(|event| event.sequence.0);
        let first = first_event.filter(|first| first % 3 == 0);
        let figures = first.map(|first| Figures {
            through: Sequence(first - 1),
            waits: vec![(1000, first)],
            runs: vec![(7, 1), (1 << 40, first)],
            slowest: vec![(TaskId(1), Span(first))],
        });
        Batch {
            events: std::mem::take(&mut self.events),
            tasks: std::mem::take(&mut self.touched).iter().map(|id| self.tasks[id].clone()).collect(),
            workflows: std::mem::take(&mut self.touched_workflows)
                .iter()
                .map(|id| self.workflows[id].clone())
                .collect(),
            sessions: std::mem::take(&mut self.touched_sessions)
                .iter()
                .map(|id| self.sessions[id].clone())
                .collect(),
            workflow_hooks: self.parameters.iter().filter(|(id, _)| id.0 % 2 == 1).cloned().collect(),
            workflow_parameters: std::mem::take(&mut self.parameters),
            schedules: std::mem::take(&mut self.touched_schedules)
                .iter()
                .filter_map(|id| self.schedules.get(id).cloned())
                .collect(),
            blocked: first_event.map(blocked).unwrap_or_default(),
            reserved: first_event.map(reserved).unwrap_or_default(),
            meta: self.meta.clone(),
            figures,
            definitions: Vec::new(),
            hooks: first_event.map(hooks).unwrap_or_default(),
        }
    }

    fn tell(&mut self, fact: Fact) {
        let time = self.meta.last_time;
        let task = fact.task();
        // What was only added may be left out of the batch.
        if !matches!(fact, Fact::Submitted { .. }) || task.is_some_and(|id| id.0 % 2 == 0) {
            self.touched.extend(fact.tasks());
        }
        let demand = task.and_then(|id| self.tasks.get(&id)).map(|record| Arc::clone(&record.demand));
        let workflow = fact.workflow().or(demand.as_ref().and_then(|d| d.workflow));
        self.touched_workflows.extend(fact.workflow());
        self.touched_sessions.extend(fact.session());
        self.touched_schedules.extend(fact.schedule());
        let session = demand.and_then(|d| d.session);
        let more = task.and_then(|id| self.tasks.get(&id)).map_or(0, |record| record.more);
        self.events.push(Event { sequence: self.meta.next_sequence, time, workflow, session, more, fact });
        self.meta.next_sequence = self.meta.next_sequence.next();
        self.meta.last_time = time + Span(1000);
    }

    pub fn submit(&mut self, spec: TaskSpec) -> TaskId {
        let id = self.meta.next_task;
        let more = spec.array.map_or(0, |indices| indices.len() - 1);
        self.meta.next_task = TaskId(id.0 + more + 1);
        let runner = spec.body.handler().map_or(Runner::Process, |name| Runner::Handler(name.into()));
        let record = TaskRecord {
            id,
            name: spec.name.as_str().into(),
            owner: 1000,
            priority: spec.priority,
            demand: Arc::new(Demand::new(&spec, runner, spec.workflow)),
            edges: [Edge { task: TaskId(id.0.saturating_sub(1)), on: On::Success }].into(),
            conditional: spec.when.is_some(),
            retry: Arc::new(spec.retry.policy().unwrap()),
            timeout: spec.timeout,
            deadline: spec.deadline,
            not_before: None,
            key: spec.key.as_deref().map(|text| Key { text: text.into(), fingerprint: u64::MAX - id.0 }),
            hold: spec.hold,
            created_at: self.now(),
            run_at: self.now(),
            first_started_at: None,
            attempts: AttemptNumber(0),
            tries: 0,
            losses: 0,
            phase: Phase::Ready { since: self.now() },
            array: spec.array.map(|_| id),
            more,
            claimant: None,
            loosened: Vec::new(),
            progress: None,
            role: Role::default(),
        };
        self.tasks.insert(id, record.clone());
        self.tell(Fact::Submitted { record: Box::new(record), spec: Some(Arc::new(spec)) });
        id
    }

    /// The unfinished or the ended task at this position, counted round.
    pub fn pick(&self, ended: bool, position: usize) -> Option<TaskId> {
        let ids: Vec<TaskId> =
            self.tasks.values().filter(|t| t.status().is_terminal() == ended).map(|t| t.id).collect();
        (!ids.is_empty()).then(|| ids[position % ids.len()])
    }

    fn record(&mut self, id: TaskId) -> &mut TaskRecord {
        self.tasks.get_mut(&id).unwrap()
    }

    /// Cuts the record of a range in two, after so many elements.
    pub fn split(&mut self, id: TaskId, keep: u64) {
        let record = self.record(id);
        let at = TaskId(id.0 + keep.min(record.more));
        if at == id {
            return;
        }
        let part = TaskRecord { id: at, more: record.more - (at.0 - id.0), key: None, ..record.clone() };
        record.more = at.0 - id.0 - 1;
        self.tasks.insert(at, part);
        self.tell(Fact::Split { task: id, at });
    }

    pub fn start(&mut self, id: TaskId) {
        if matches!(self.tasks[&id].phase, Phase::Running { .. }) {
            return;
        }
        self.split(id, 1);
        let (now, token, worker) = (self.now(), self.meta.next_token, WorkerId(7));
        self.meta.next_token = token.next();
        let record = self.record(id);
        record.attempts = record.attempts.next();
        let waited = record.first_started_at.is_none().then(|| now.since(record.run_at));
        record.first_started_at.get_or_insert(now);
        let variant = (!record.demand.variants.is_empty()).then_some(1);
        record.phase = Phase::Running { token, worker, started_at: now, stop: None, variant };
        let attempt = record.attempts;
        self.tell(Fact::Started { task: id, attempt, token, worker, at: now, waited, variant });
    }

    /// Ends the running attempt, if there is one.
    fn end_attempt(&mut self, id: TaskId, outcome: Outcome) -> Option<Box<AttemptEnd>> {
        let now = self.now();
        let record = self.record(id);
        let Phase::Running { token, worker, started_at, variant, .. } = record.phase else { return None };
        record.tries += 1;
        Some(Box::new(AttemptEnd {
            number: record.attempts,
            token,
            worker,
            started_at,
            outcome,
            execution_time: now.since(started_at),
            usage: Some(Usage { cpu_user: 0.25, memory_peak: Some(1 << 20), ..Usage::default() }),
            variant,
        }))
    }

    pub fn complete(&mut self, id: TaskId) {
        let attempt = self.end_attempt(id, Outcome::Succeeded);
        self.record(id).phase = Phase::Ended(Status::Completed);
        let result = TaskResult {
            success: true,
            data: Some(json!({ "rows": id.0, "text": "größer" })),
            exit_code: Some(0),
            execution_time: Span(1_234_567),
            attempts: self.tasks[&id].attempts.0,
            ..TaskResult::default()
        };
        self.tell(Fact::Completed { task: id, attempt, result: Some(Box::new(result)) });
    }

    pub fn fail(&mut self, id: TaskId) {
        let attempt = self.end_attempt(id, Outcome::exited(3));
        self.record(id).phase = Phase::Ended(Status::Failed);
        let result = TaskResult {
            error_message: Some("exit code 3".to_owned()),
            error_type: Some(ErrorType::ExitCode),
            exit_code: Some(3),
            ..TaskResult::default()
        };
        self.tell(Fact::Failed { task: id, attempt, result: Some(Box::new(result)) });
    }

    pub fn retry(&mut self, id: TaskId) {
        let Some(attempt) = self.end_attempt(id, Outcome::signalled(9)) else { return };
        let until = self.now() + Span::from_secs(1);
        self.record(id).phase = Phase::Delayed { until };
        self.tell(Fact::Retried { task: id, attempt, until });
    }

    pub fn cancel(&mut self, id: TaskId) {
        if let Phase::Running { stop, .. } = &mut self.record(id).phase {
            *stop = Some(Stop::Cancel);
            self.tell(Fact::Stopping { task: id, stop: Stop::Cancel });
        }
        let attempt = self.end_attempt(id, Outcome::Cancelled);
        self.record(id).phase = Phase::Ended(Status::Cancelled);
        let left = |end: &AttemptEnd| {
            Box::new(TaskResult { execution_time: end.execution_time, attempts: 1, ..TaskResult::default() })
        };
        let result = attempt.as_deref().map(left);
        self.tell(Fact::Cancelled { task: id, attempt, result });
    }

    pub fn skip(&mut self, id: TaskId, root: Option<TaskId>) {
        let cause = match root {
            Some(root) => SkipCause::Dependency(root, self.tasks[&root].status()),
            None => SkipCause::Condition,
        };
        self.record(id).phase = Phase::Skipped(cause.clone());
        self.tell(Fact::Skipped { task: id, cause });
    }

    pub fn revive(&mut self, id: TaskId) {
        let now = self.now();
        let record = self.record(id);
        let was = record.status();
        (record.tries, record.losses, record.first_started_at) = (0, 0, None);
        (record.run_at, record.phase) = (now, Phase::Ready { since: now });
        let record = Box::new(record.clone());
        self.tell(Fact::Revived { record, was });
    }

    /// Gives a task that waits another spec.
    pub fn edit(&mut self, id: TaskId, spec: TaskSpec) {
        let record = &self.tasks[&id];
        if record.array.is_some() || matches!(record.phase, Phase::Running { .. }) {
            return;
        }
        let (workflow, session) = (record.demand.workflow, record.demand.session);
        let key = record.key.as_ref().map(|key| key.text.to_string());
        let spec = TaskSpec { workflow, session: session.map(Into::into), key, array: None, ..spec };
        let record = self.record(id);
        (record.name, record.priority) = (spec.name.as_str().into(), spec.priority);
        let record = Box::new(record.clone());
        self.tell(Fact::Edited { record, spec: Some(Arc::new(spec)) });
    }

    pub fn hold(&mut self, id: TaskId) {
        self.record(id).hold = true;
        self.tell(Fact::Held { task: id });
    }

    pub fn submit_workflow(&mut self, name: &str, task_count: u64) -> WorkflowId {
        let id = self.meta.next_workflow;
        self.meta.next_workflow = id.next();
        let record = WorkflowRecord {
            id,
            name: name.into(),
            owner: 1000,
            session: id.0.is_multiple_of(2).then_some(SessionId(id.0 % 3)),
            first_task: self.meta.next_task,
            task_count,
            max_parallel: Some(2),
            fail_fast: FailFast::Yes,
            timeout: Some(Span::from_secs(60)),
            created_at: self.now(),
            run_at: self.now(),
            ran: Span::from_millis(id.0),
            status: WorkflowStatus::Running,
            stop: None,
            unfinished: task_count,
            failed: 0,
            cancelled: 0,
            finally: 0,
            compensations: id.0 % 2,
            grown: Vec::new(),
            cancelling: id.0.is_multiple_of(3),
        };
        self.workflows.insert(id, record.clone());
        self.parameters.push((id, format!("{{\"rows\":{id}}}")));
        self.tell(Fact::WorkflowSubmitted { record: Box::new(record) });
        for number in 0..task_count {
            let mut spec = TaskSpec::shell(format!("step {number}"));
            spec.workflow = Some(id);
            self.submit(spec);
        }
        id
    }

    pub fn create_session(&mut self) -> SessionId {
        let id = self.meta.next_session;
        self.meta.next_session = id.next();
        let record = SessionRecord {
            id,
            name: format!("s{}", id.0 % 3).into(),
            owner: 1000,
            max_parallel: Some(3),
            mode: SessionMode::Sequential,
            created_at: self.now(),
            closed_at: None,
            cancelled_at: None,
            status: SessionStatus::Open,
            counters: Counters::default(),
            cpu_time: Span(7),
            memory_peak: 8,
            io_read: 9,
            io_write: 10,
        };
        self.sessions.insert(id, record.clone());
        self.tell(Fact::SessionCreated { record: Box::new(record) });
        id
    }

    pub fn close_session(&mut self, id: SessionId) {
        let now = self.now();
        let record = self.sessions.get_mut(&id).unwrap();
        if record.closed_at.is_none() {
            (record.status, record.closed_at) = (SessionStatus::Closed, Some(now));
            self.tell(Fact::SessionClosed { session: id });
        }
    }

    pub fn end_workflow(&mut self, id: WorkflowId, status: WorkflowStatus) {
        let record = self.workflows.get_mut(&id).unwrap();
        if record.status == WorkflowStatus::Running {
            (record.status, record.unfinished) = (status, 0);
            self.tell(Fact::WorkflowEnded { workflow: id, status });
        }
    }

    pub fn reopen_workflow(&mut self, id: WorkflowId) {
        let record = self.workflows.get_mut(&id).unwrap();
        if record.status != WorkflowStatus::Running {
            record.status = WorkflowStatus::Running;
            let record = Box::new(record.clone());
            self.tell(Fact::WorkflowReopened { record });
        }
    }

    /// Adds a schedule, ticks all, or removes the one that was added first.
    pub fn schedule(&mut self, what: usize) {
        let at = self.now();
        match what % 4 {
            0 => {
                let id = self.meta.next_schedule.next();
                self.meta.next_schedule = id;
                let spec = Arc::new(ScheduleSpec {
                    name: format!("s{id}"),
                    cron: None,
                    timezone: None,
                    every: Some(Span::from_secs(60)),
                    overlap: Overlap::Queue,
                    catch_up: CatchUp::All,
                    task: Some(Box::new(TaskSpec::shell("true"))),
                    workflow: None,
                    definition: None,
                });
                let record = ScheduleRecord {
                    id,
                    name: spec.name.as_str().into(),
                    owner: 1000,
                    overlap: spec.overlap,
                    created_at: at,
                    next: Some(at),
                    paused: false,
                    last: Some((at, TickOutcome::Refused("why".to_owned()))),
                    run: Some(Run::Workflow(WorkflowId(1))),
                    queued: [at].into(),
                    started: 1,
                    skipped: 2,
                    missed: 3,
                };
                self.schedules.insert(id, record.clone());
                self.tell(Fact::ScheduleAdded { record: Box::new(record), spec: Some(spec) });
            }
            1 | 2 => {
                for schedule in self.schedules.keys().copied().collect::<Vec<_>>() {
                    let outcome = TickOutcome::Started(Run::Tasks { first: TaskId(1), more: 2 });
                    let record = self.schedules.get_mut(&schedule).unwrap();
                    (record.next, record.last) = (None, Some((at, outcome.clone())));
                    let trigger = Trigger::Calendar { expected: at };
                    self.tell(Fact::ScheduleTicked { schedule, trigger, at, next: None, missed: 1, outcome });
                }
            }
            _ => {
                if let Some((schedule, _)) = self.schedules.pop_first() {
                    self.tell(Fact::ScheduleRemoved { schedule });
                }
            }
        }
    }

    /// Sets a resource with any of its two parts left open.
    pub fn set_resource(&mut self, capacity: Option<u64>, concurrency: Option<u32>) {
        let capacity = capacity.map(Amount::thousandths);
        let setting = ResourceSetting { capacity, concurrency, ..ResourceSetting::default() };
        let resource: ResourceName = "external_api:one".parse().unwrap();
        self.meta.resources = vec![(resource.clone(), setting.clone())];
        self.meta.paused = vec![Scope::Resource(resource.clone())];
        self.meta.next_worker = self.meta.next_worker.next();
        self.meta.counters.execution_time = Span(u64::MAX);
        self.meta.next_token = Token(self.meta.next_token.0 + 1000);
        self.tell(Fact::ResourceSet { resource, setting: Box::new(setting) });
    }
}

/// What a hook may have to say when a batch begins with this event.
fn hooks(first: u64) -> Vec<HookChange> {
    let reached = HookChange::Reached { hook: format!("hook{}", first % 2), sequence: Sequence(first) };
    let letter = DeadLetter {
        id: if first.is_multiple_of(5) { first / 5 } else { 0 },
        hook: "hook0".to_owned(),
        workflow: first.is_multiple_of(3).then_some(WorkflowId(first)),
        sequence: Sequence(first),
        died_at: Time(first),
        tries: 4,
        error: "unwell".to_owned(),
        event: "{}".to_owned(),
    };
    let forgotten = HookChange::Forgotten { hook: format!("hook{}", first % 3) };
    vec![forgotten, reached, HookChange::Died(letter), HookChange::Settled { id: first / 4 }]
}

/// What tasks have reserved, as a batch that begins with this event may say it.
fn reserved(first: u64) -> Vec<(TaskId, Vec<Reserved>)> {
    let one = |number: u32| Reserved {
        resource: ResourceName::new("lock", Some(&format!("l{number}"))).unwrap(),
        mode: Mode::ALL[first as usize % 3],
        variant: number,
        short_since: first.is_multiple_of(2).then_some(Time(first)),
    };
    vec![
        (TaskId(first % 3), Vec::new()),
        (TaskId(3 + first % 5), (0..1 + first as u32 % 2).map(one).collect()),
    ]
}

/// For how long resources were waited for, as a batch that begins with this event may say it.
fn blocked(first: u64) -> Vec<(ResourceName, Option<Blocked>)> {
    let name = |number: u64| ResourceName::new("lock", Some(&format!("l{number}"))).unwrap();
    let said = Blocked { before: Span(first), since: first.is_multiple_of(2).then_some(Time(first)) };
    vec![(name(first % 3), None), (name(first % 5), Some(said))]
}
