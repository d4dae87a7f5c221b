//! A harness over the core in virtual time: commands go in, what came out is kept as a store would keep it.
//!
//! Every step checks the invariants and then says that everything is on disk, so that the core forgets what
//! ended; what it must be told again about ended tasks comes from the store.
#![expect(dead_code, reason = "each test uses its own part of the harness")]

use orchd_core::{
    Blocked, Command, Config, Core, EdgeTarget, EndedTask, Fact, Join, NewClaim, NewSession, NewTask,
    NewWorkflow, Output, Phase, Reply, Rerun, Reserved, Runner, SessionRecord, SkipCause, Snapshot,
    Submission, TaskRecord, WorkerNote, WorkflowRecord,
};
use orchd_model::{
    AttemptReport, Body, Claim, Matcher, On, Outcome, Refusal, ResourceName, RetryPolicy, SessionId,
    SessionMode, SessionStatus, Span, Status, TaskId, TaskRange, TaskSpec, Time, Token, WorkerId, WorkflowId,
    WorkflowStatus,
};
use std::collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

mod claims;
mod goes_on;
mod groups;
pub mod script;
mod setting;
mod telling;

/// What a store keeps: every task and workflow that ever was.
#[derive(Debug, Default)]
pub struct Store {
    pub tasks: BTreeMap<TaskId, TaskRecord>,
    pub workflows: BTreeMap<WorkflowId, WorkflowRecord>,
    pub sessions: BTreeMap<SessionId, SessionRecord>,
    /// For how long resources were waited for.
    pub blocked: BTreeMap<ResourceName, Blocked>,
    /// What waiting tasks have reserved.
    pub reserved: BTreeMap<TaskId, Vec<Reserved>>,
    /// Every terminal status a task has had in its current run; more than one is a bug.
    ended: BTreeMap<TaskId, Status>,
}

impl Store {
    /// The record that stands for a task.
    pub fn task(&self, id: TaskId) -> Option<&TaskRecord> {
        let (_, record) = self.tasks.range(..=id).next_back()?;
        record.range().contains(id).then_some(record)
    }
}

fn range_of(task: TaskId, more: u64) -> impl Iterator<Item = TaskId> {
    (task.0..=task.0 + more).map(TaskId)
}

/// A core, its store, and its workers.
#[derive(Debug)]
pub struct World {
    pub config: Config,
    pub core: Core,
    pub store: Store,
    pub now: Time,
    /// What workers said when they joined, by id.
    pub workers: BTreeMap<WorkerId, Join>,
    /// Ad-hoc claims as they were asked for, by their clients.
    pub claims: BTreeMap<WorkerId, NewClaim>,
    /// Whether invariants are checked after every step; they look at everything, large tests do without.
    pub checked: bool,
    /// After how many steps the core is told that all is on disk.
    pub steps_a_batch: u32,
    pub steps: u32,
}

/// A task to submit, with the usual values.
#[must_use]
pub fn task(name: &str) -> NewTask {
    let spec = TaskSpec { name: name.to_owned(), ..TaskSpec::new(Body::Milestone) };
    NewTask {
        spec: Arc::new(spec),
        retry: Arc::new(RetryPolicy::default()),
        runner: Runner::Process,
        edges: Vec::new(),
        fingerprint: 0,
        same_key: None,
    }
}

/// Changes a task's spec.
pub fn spec_of(task: &mut NewTask) -> &mut TaskSpec {
    Arc::make_mut(&mut task.spec)
}

/// A task with claims in their text form.
#[must_use]
pub fn claiming(name: &str, claims: &str) -> NewTask {
    let mut new = task(name);
    spec_of(&mut new).claims = claims_of(claims);
    new
}

/// Claims in their text form, with commas between.
pub fn claims_of(text: &str) -> Vec<Claim> {
    let claims = text.split(',').filter(|c| !c.is_empty()).map(|c| c.parse().expect("a claim"));
    orchd_model::merge_claims(claims.collect())
}

/// A task that depends on others.
#[must_use]
pub fn after(name: &str, edges: impl IntoIterator<Item = (EdgeTarget, On)>) -> NewTask {
    NewTask { edges: edges.into_iter().collect(), ..task(name) }
}

/// The matchers of a policy in their text form.
pub fn matchers(text: &str) -> Vec<Matcher> {
    text.split(',').map(|m| m.parse().expect("a matcher")).collect()
}

impl World {
    /// An empty core.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let core = Core::load(config.clone(), Snapshot::default(), Time(0), &mut Output::default());
        let store = Store::default();
        Self {
            config,
            core,
            store,
            now: Time(0),
            workers: BTreeMap::new(),
            claims: BTreeMap::new(),
            checked: true,
            steps_a_batch: 1,
            steps: 0,
        }
    }

    /// Hands a command to the core, keeps what it says, and checks what must always hold.
    pub fn handle(&mut self, command: Command) -> (Result<Reply, Refusal>, Output) {
        let mut out = Output::default();
        let described = if self.checked { format!("{command:?}") } else { String::new() };
        let reply = self.core.handle(self.now, command, &mut out);
        self.check(&described);
        self.keep(&out);
        self.steps += 1;
        if self.steps.is_multiple_of(self.steps_a_batch) {
            self.commit();
        }
        self.check(&described);
        (reply, out)
    }

    fn commit(&mut self) {
        let through = self.core.meta().next_sequence;
        let mut nothing = Output::default();
        let reply = self.core.handle(self.now, Command::Committed { through }, &mut nothing);
        assert_eq!((reply, nothing), (Ok(Reply::Done), Output::default()), "being durable changes nothing");
    }

    fn check(&self, described: &str) {
        if self.checked
            && let Err(broken) = self.core.invariants()
        {
            panic!("at {}us, after {described}: {broken}", self.now.0);
        }
    }

    /// What a store does with a batch of events.
    fn keep(&mut self, out: &Output) {
        if !out.events.is_empty() {
            for (name, blocked) in self.core.take_blocked() {
                match blocked {
                    Some(blocked) => drop(self.store.blocked.insert(name, blocked)),
                    None => drop(self.store.blocked.remove(&name)),
                }
            }
        }
        self.store.reserved.extend(self.core.take_reserved());
        self.store.reserved.retain(|_, reserved| !reserved.is_empty());
        let mut tasks = BTreeSet::new();
        let mut workflows = BTreeSet::new();
        let mut sessions = BTreeSet::new();
        for event in &out.events {
            tasks.extend(event.fact.tasks());
            workflows.extend(event.workflow);
            sessions.extend(event.session);
            let Some(task) = event.fact.task() else { continue };
            let ended = match &event.fact {
                Fact::Completed { .. } => Status::Completed,
                Fact::Failed { .. } => Status::Failed,
                Fact::Cancelled { .. } => Status::Cancelled,
                Fact::Skipped { .. } => Status::Skipped,
                Fact::Revived { was, .. } => {
                    for id in range_of(task, event.more) {
                        assert_eq!(self.store.ended.remove(&id), Some(*was), "{id} is revived from its end");
                    }
                    continue;
                }
                _ => continue,
            };
            for id in range_of(task, event.more) {
                let former = self.store.ended.insert(id, ended);
                assert_eq!(former, None, "{id} has ended twice, now {ended}");
            }
        }
        for id in tasks {
            let record =
                self.core.record(id).expect("a task that has changed is in memory until that is durable");
            self.store.tasks.insert(id, record);
        }
        for id in workflows {
            let record = self.core.workflow(id).expect("as a task is").clone();
            self.store.workflows.insert(id, record);
        }
        for id in sessions {
            let record = self.core.session(id).expect("as a task is").clone();
            self.store.sessions.insert(id, record);
        }
    }

    /// Lets time pass up to `to`; gives what each wake-up led to.
    pub fn pass(&mut self, to: Time) -> Vec<(Time, Output)> {
        let mut outputs = Vec::new();
        let mut wakes = 0;
        while let Some(at) = self.core.next_wake().filter(|at| *at <= to) {
            self.now = self.now.max(at);
            wakes += 1;
            assert!(wakes < 100_000, "the core wants to be woken for ever");
            let (_, out) = self.handle(Command::Tick);
            if out != Output::default() {
                outputs.push((self.now, out));
            }
        }
        self.now = self.now.max(to);
        outputs
    }

    /// Adds tasks; what the core must know of ended ones is looked up.
    pub fn submit(
        &mut self,
        mut tasks: Vec<NewTask>,
        atomic: bool,
        workflow: Option<NewWorkflow>,
    ) -> (Result<Reply, Refusal>, Output) {
        let mut ended = BTreeMap::new();
        for task in &mut tasks {
            let targets = task.edges.iter().filter_map(|(target, _)| match target {
                EdgeTarget::Id(id) => Some(*id),
                EdgeTarget::Index(_) => None,
            });
            ended.extend(targets.filter_map(|id| Some((id, self.ended_task(id)?))));
            task.fingerprint = fingerprint(task);
            task.same_key =
                task.spec.key.as_deref().and_then(|key| self.stored_key(task.spec.session_id(), key));
        }
        self.handle(Command::Submit(Submission { tasks, atomic, workflow, owner: 1000, ended }))
    }

    /// Gives a task another spec.
    pub fn edit(&mut self, task: TaskId, mut new: NewTask) -> (Result<Reply, Refusal>, Output) {
        new.fingerprint = fingerprint(&new);
        self.handle(Command::Edit { task, new: Box::new(new) })
    }

    /// Creates a session without limits.
    pub fn create_session(&mut self, name: &str) -> SessionId {
        let mode = SessionMode::Parallel;
        let session = NewSession { name: name.into(), max_parallel: None, mode, owner: 1000 };
        match self.handle(Command::CreateSession(session)).0 {
            Ok(Reply::Session(id)) => id,
            other => panic!("not created: {other:?}"),
        }
    }

    /// Adds tasks of which none is refused; gives their ids.
    pub fn add(&mut self, tasks: Vec<NewTask>) -> Vec<TaskId> {
        match self.submit(tasks, false, None).0 {
            Ok(Reply::Submitted { tasks, .. }) => {
                tasks.into_iter().map(|id| id.expect("not refused")).collect()
            }
            other => panic!("not added: {other:?}"),
        }
    }

    /// An ended task that the core does not remember.
    fn ended_task(&self, id: TaskId) -> Option<EndedTask> {
        let record = self.store.task(id).filter(|_| self.core.record(id).is_none())?;
        let root = match &record.phase {
            Phase::Skipped(SkipCause::Dependency(root, status)) => Some((*root, *status)),
            Phase::Skipped(SkipCause::FailFast(root)) => Some((*root, Status::Failed)),
            _ => None,
        };
        Some(EndedTask { status: record.status(), root })
    }

    fn stored_key(&self, session: Option<SessionId>, key: &str) -> Option<(TaskId, u64)> {
        let used = |record: &&TaskRecord| {
            record.demand.session == session && record.key.as_ref().is_some_and(|k| &*k.text == key)
        };
        let record = self.store.tasks.values().find(used)?;
        Some((record.id, record.key.as_ref()?.fingerprint))
    }

    /// Runs ended tasks again.
    pub fn retry(&mut self, ids: &[TaskId]) -> (Result<Reply, Refusal>, Output) {
        let wanted = ids.iter().map(|id| TaskRange::from(*id)).collect();
        let stored = |id: &TaskId| self.store.task(*id).cloned();
        let tasks: Vec<TaskRecord> = ids.iter().filter_map(stored).collect();
        let all = || self.store.tasks.values().filter(|record| record.status().is_terminal());
        // More than can go with them: what really does is decided by the scheduler.
        let of_groups =
            all().filter(|record| record.role.group.is_some() || record.demand.runner == Runner::Computed);
        let skipped: Vec<TaskRecord> =
            of_groups.chain(all().filter(|record| record.skip_root().is_some())).cloned().collect();
        let all = || tasks.iter().chain(&skipped);
        let workflows: BTreeSet<WorkflowId> = all().filter_map(|record| record.demand.workflow).collect();
        let workflows = workflows.iter().filter(|id| self.core.workflow(**id).is_none());
        let workflows = workflows.map(|id| self.store.workflows[id].clone()).collect();
        let targets = all().flat_map(|record| record.edges.iter().map(|edge| edge.task));
        let ended = targets.filter_map(|id| Some((id, self.ended_task(id)?))).collect();
        self.handle(Command::Retry { wanted, tasks, skipped, workflows, ended })
    }

    /// Goes on with a workflow: with what did not complete, or from some of its tasks.
    pub fn rerun(&mut self, id: WorkflowId, from: Option<Vec<TaskId>>) -> (Result<Reply, Refusal>, Output) {
        let its = |record: &&TaskRecord| record.demand.workflow == Some(id);
        let tasks: Vec<TaskRecord> = self.store.tasks.values().filter(its).cloned().collect();
        let targets = tasks.iter().flat_map(|record| record.edges.iter().map(|edge| edge.task));
        let ended = targets.filter_map(|id| Some((id, self.ended_task(id)?))).collect();
        let workflow = self.store.workflows[&id].clone();
        self.handle(Command::Rerun(Box::new(Rerun { workflow, tasks, from, ended })))
    }

    /// A worker connects.
    pub fn join(&mut self, join: Join) -> (WorkerId, Output) {
        let (reply, out) = self.handle(Command::Join(join.clone()));
        let Ok(Reply::Joined(id)) = reply else { panic!("a worker may join: {reply:?}") };
        self.workers.insert(id, join);
        (id, out)
    }

    /// A process worker with so many slots connects.
    pub fn join_process(&mut self, slots: u32) -> WorkerId {
        let incarnation = self.workers.len() as u64 + 1;
        self.join(Join {
            incarnation,
            slots,
            process: true,
            handlers: Vec::new(),
            holds: Vec::new(),
            note: WorkerNote::default(),
        })
        .0
    }

    /// The running attempts that a worker holds, as tokens.
    pub fn held_by(&self, worker: WorkerId) -> Vec<Token> {
        let token = |record: &TaskRecord| match record.phase {
            Phase::Running { token, worker: holder, .. } if holder == worker => Some(token),
            _ => None,
        };
        self.store.tasks.values().filter_map(token).collect()
    }

    /// The running attempts: task, token and worker, in the order of tasks.
    pub fn running(&self) -> Vec<(TaskId, Token, WorkerId)> {
        let attempt = |record: &TaskRecord| match record.phase {
            Phase::Running { token, worker, .. } => Some((record.id, token, worker)),
            _ => None,
        };
        self.store.tasks.values().filter_map(attempt).collect()
    }

    /// Reports the end of the running attempt of a task.
    pub fn report(&mut self, id: TaskId, outcome: Outcome) -> (Result<Reply, Refusal>, Output) {
        let record = &self.store.tasks[&id];
        let Phase::Running { token, worker, .. } = record.phase else { panic!("{id} does not run") };
        self.report_as(id, token, Some(worker), outcome)
    }

    /// Reports the end of an attempt by its token.
    pub fn report_as(
        &mut self,
        task: TaskId,
        token: Token,
        worker: Option<WorkerId>,
        outcome: Outcome,
    ) -> (Result<Reply, Refusal>, Output) {
        let attempt = self.store.tasks[&task].attempts;
        let execution_time = Span::from_millis(1);
        let report = AttemptReport { execution_time, ..AttemptReport::new(task, attempt, token, outcome) };
        self.handle(Command::Report { worker, report })
    }

    /// The daemon is killed and starts again: the records must be what they were.
    pub fn reload(&mut self) -> Output {
        self.reload_after(Span::ZERO)
    }

    /// The same, but that some time passes before it starts again.
    pub fn reload_after(&mut self, away: Span) -> Output {
        let unfinished = |record: &&TaskRecord| !record.status().is_terminal();
        self.commit();
        self.now = self.now + away;
        let tasks: Vec<TaskRecord> = self.store.tasks.values().filter(unfinished).cloned().collect();
        let running = |record: &&WorkflowRecord| record.status == WorkflowStatus::Running;
        let workflows = self.store.workflows.values().filter(running).cloned().collect();
        let meta = self.core.meta().clone();
        assert_eq!(tasks.len(), self.core.unfinished_tasks().len(), "what is unfinished is stored");
        let mut out = Output::default();
        let open = |record: &&SessionRecord| record.status != SessionStatus::Closed;
        let sessions: Vec<_> = self.store.sessions.values().filter(open).cloned().collect();
        let schedules = self.core.schedules();
        let snapshot = Snapshot {
            meta: meta.clone(),
            tasks,
            workflows,
            sessions: sessions.clone(),
            schedules: schedules.clone(),
            blocked: self.store.blocked.clone().into_iter().collect(),
            reserved: self.store.reserved.clone().into_iter().collect(),
        };
        assert_eq!(snapshot, stored_and_read_back(&snapshot));
        let core = Core::load(self.config.clone(), snapshot, self.now, &mut out);
        let live = std::mem::replace(&mut self.core, core);
        for id in live.unfinished_tasks() {
            assert_eq!(live.record(id), self.core.record(id), "the record of {id} survives a restart");
        }
        assert_eq!((meta, live.unfinished_tasks()), (self.core.meta().clone(), self.core.unfinished_tasks()));
        for session in &sessions {
            let (was, is) = (live.session(session.id), self.core.session(session.id));
            assert_eq!((was, is), (Some(session), Some(session)), "sessions survive a restart");
        }
        assert_eq!(live.claims_held(), self.core.claims_held());
        assert_eq!(schedules, self.core.schedules());
        let stored: Vec<_> = self.store.reserved.clone().into_iter().collect();
        assert_eq!(
            (&live.reserved(), &stored),
            (&stored, &self.core.reserved()),
            "reservations survive a restart"
        );
        self.check("a restart");
        out
    }

    /// Workers connect again, with all that they hold.
    pub fn rejoin(&mut self, workers: &BTreeSet<WorkerId>) -> Output {
        let mut all = Output::default();
        for id in workers {
            let (id, holds) = (*id, self.held_by(*id));
            let out = match self.workers.get(&id).cloned() {
                Some(join) => self.join(Join { holds, ..join }).1,
                None => self.come_back(id, holds).1,
            };
            all.events.extend(out.events);
            all.effects.extend(out.effects);
        }
        all
    }

    /// The status of a task, ended ones included.
    pub fn status(&self, id: TaskId) -> Status {
        self.store.tasks[&id].status()
    }

    /// How many tasks have each status, zero ones left out.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.core.counters().by_status;
        let named = Status::ALL.into_iter().map(|status| (status.as_str(), counts[status.index()]));
        named.filter(|(_, count)| *count > 0).collect()
    }
}

/// The tasks that an output started, in order.
pub fn started(out: &Output) -> Vec<TaskId> {
    let start = |event: &orchd_core::Event| match event.fact {
        Fact::Started { task, .. } => Some(task),
        _ => None,
    };
    out.events.iter().filter_map(start).collect()
}

/// The tasks that an output started, and in which variants.
pub fn taken(out: &Output) -> Vec<(TaskId, Option<u32>)> {
    let start = |event: &orchd_core::Event| match event.fact {
        Fact::Started { task, variant, .. } => Some((task, variant)),
        _ => None,
    };
    out.events.iter().filter_map(start).collect()
}

fn stored_and_read_back(snapshot: &Snapshot) -> Snapshot {
    fn through<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
        postcard::from_bytes(&postcard::to_stdvec(value).expect("is written")).expect("is read")
    }
    Snapshot {
        meta: through(&snapshot.meta),
        tasks: snapshot.tasks.iter().map(through).collect(),
        workflows: snapshot.workflows.iter().map(through).collect(),
        sessions: snapshot.sessions.iter().map(through).collect(),
        schedules: snapshot.schedules.iter().map(through).collect(),
        blocked: snapshot.blocked.iter().map(through).collect(),
        reserved: snapshot.reserved.iter().map(through).collect(),
    }
}

/// The name of a task in a test is not a part of what it is.
fn fingerprint(task: &NewTask) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?} {:?} {:?}", task.spec.body, task.spec.claims, task.spec.claims_any).hash(&mut hasher);
    hasher.finish()
}
