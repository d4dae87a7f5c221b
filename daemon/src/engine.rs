//! The engine thread: owns the scheduler and the order of everything.
//!
//! ```text
//! inbox ──► handle ──► batch ──► writer (commits, then replies) ──► outbox
//!   ▲                    │ while one batch is being committed the next one grows
//!   └── committed ◄──────┘
//! ```
//! Invariant: nothing that a command caused leaves this thread but through a batch.

use crossbeam_channel::{Receiver, Sender, select};
use orchd_core::{Command, Core, Event, NewClaim, NewTask, NewWorkflow, Output, Reply, Submission};
use orchd_model::{
    AttemptReport, Code, Refusal, Sequence, TaskId, TaskRange, TaskSpec, Time, Token, WorkerId, WorkflowId,
    task_of_element,
};
use orchd_store::{Batch, DefinitionChange, History, HookChange};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::oneshot;

use crate::batch;
use crate::clock::Clock;
use crate::firing::Tick;
use crate::live::Live;
use crate::load_guard::UNMEASURED;
use crate::memory::Memory;
use crate::narration;
use crate::references::References;
use crate::sessions::{SessionLink, Sessions};
use crate::spared::{Spared, Sparing};
use crate::statistics::Picture;
use crate::told::Told;
use crate::transformer::Unmade;
use crate::writer::{Committed, Outgoing};

/// A batch is handed over at this many events even if more commands wait: bounds the memory of a burst and
/// the latency of its first command.
const BATCH_EVENTS: usize = 16_384;

/// How a request is answered, when what it caused is durable.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// What the shell asks of the engine.
pub enum Request {
    /// A command, as it is.
    Command { command: Command, answer: Option<Answer<Reply>> },
    /// Tasks to add; refs and keys are looked up here, in order.
    Add {
        specs: Vec<Result<Arc<TaskSpec>, Refusal>>,
        atomic: bool,
        owner: u32,
        answer: Answer<Vec<Result<TaskRange, Refusal>>>,
    },
    /// A workflow to add, with its parameters as JSON.
    AddWorkflow {
        specs: Vec<Arc<TaskSpec>>,
        options: NewWorkflow,
        parameters: String,
        /// Its hooks as JSON, if it has some.
        hooks: Option<String>,
        owner: u32,
        answer: Answer<(WorkflowId, Vec<TaskId>)>,
    },
    /// Definitions to keep, or no longer to keep.
    Define { changes: Vec<DefinitionChange>, answer: Answer<Reply> },
    /// Another spec for a task that has not started.
    Edit { task: TaskId, spec: Arc<TaskSpec>, answer: Answer<Reply> },
    /// A tick of a schedule.
    Fire { tick: Tick, answer: Answer<Reply> },
    /// Ended tasks to run again.
    Retry { ids: Vec<TaskRange>, answer: Answer<Reply> },
    /// A workflow that goes on after its end: from these tasks, or with all that did not complete.
    Rerun { workflow: WorkflowId, from: Option<Vec<String>>, answer: Answer<Reply> },
    /// A worker says hello.
    Join { join: Joining, link: SessionLink, answer: Answer<WorkerId> },
    /// A worker tells what has happened; the ends are acknowledged when durable.
    Reports { worker: WorkerId, told: Told, link: SessionLink },
    /// A report whose result was made into what is kept.
    Made(Box<Unmade>),
    /// A look at the scheduler.
    Inspect(Box<dyn FnOnce(&Core) + Send>),
    /// Something to be kept of hooks.
    Hooks { changes: Vec<HookChange>, answer: Answer<()> },
    /// Start nothing new from now on, or again.
    Drain(bool),
    /// Start nothing, for this reason, until the load of the machine is looked at again; or start again.
    HoldBack(Option<String>),
    /// End the thread when everything is durable.
    Stop(oneshot::Sender<()>),
}

/// Who says hello.
pub enum Joining {
    /// A worker.
    Worker(orchd_core::Join),
    /// A client with an ad-hoc claim.
    Claimant(Box<NewClaim>),
}

/// What to say to whom once a batch is durable.
pub enum Response {
    Command(Answer<Reply>, Result<Reply, Refusal>),
    Add(Answer<Vec<Result<TaskRange, Refusal>>>, Result<Vec<Result<TaskRange, Refusal>>, Refusal>),
    AddWorkflow(Answer<(WorkflowId, Vec<TaskId>)>, Result<(WorkflowId, Vec<TaskId>), Refusal>),
    Join(Answer<WorkerId>, Result<WorkerId, Refusal>),
    Ack(SessionLink, Vec<Token>),
    Hooks(Answer<()>),
}

/// The engine.
pub struct Engine {
    pub core: Core,
    pub clock: Clock,
    pub history: Box<dyn History>,
    pub live: Arc<Live>,
    pub sessions: Arc<Sessions>,
    /// Whether the store has no room: nothing new is taken.
    pub full: bool,
    pub inbox: Receiver<Request>,
    pub batches: Sender<Outgoing>,
    pub committed: Receiver<Committed>,
    /// Asks for a look at the load of the machine.
    pub load_watch: Sender<()>,
    /// Has results made into what is kept of them.
    pub unmade: Sender<Unmade>,
    /// Keeps what is brought back from being trimmed.
    pub sparing: Sparing,
}

/// What one batch will hold.
#[derive(Default)]
pub(crate) struct Gathering {
    pub(crate) output: Output,
    /// What it brings back.
    pub(crate) spared: Vec<Spared>,
    responses: Vec<Response>,
    parameters: Vec<(WorkflowId, String)>,
    definitions: Vec<DefinitionChange>,
    hooks: Vec<HookChange>,
    workflow_hooks: Vec<(WorkflowId, String)>,
}

impl Gathering {
    fn is_empty(&self) -> bool {
        self.output.events.is_empty() && self.output.effects.is_empty() && self.responses.is_empty()
    }

    fn keep(&mut self, changes: Vec<HookChange>, answer: Answer<()>) {
        self.hooks.extend(changes);
        self.responses.push(Response::Hooks(answer));
    }
}

impl Engine {
    /// Runs until [`Request::Stop`], or until nobody can ask anything any more. `first` is what loading the
    /// scheduler led to.
    pub fn run(mut self, first: Output) {
        let mut gathering = Gathering { output: first, ..Gathering::default() };
        let mut writer_is_free = true;
        let mut stopping: Option<oneshot::Sender<()>> = None;
        let mut memory = Memory::default();
        self.handle(Command::Tick, &mut gathering);
        loop {
            if writer_is_free && !gathering.is_empty() {
                self.hand_over(&mut gathering);
                writer_is_free = false;
            }
            if writer_is_free
                && gathering.is_empty()
                && let Some(done) = stopping.take()
            {
                // Who asked may have gone; the thread ends all the same.
                let _ = done.send(());
                return;
            }
            if self.core.held_back() == Some(UNMEASURED) && self.core.backlog() > 0 {
                // A look that is asked for already is as good.
                let _ = self.load_watch.try_send(());
            }
            let takes_more = gathering.output.events.len() < BATCH_EVENTS;
            let never = crossbeam_channel::never();
            let inbox = if takes_more { &self.inbox } else { &never };
            let wake = self.core.next_wake().map(|at| self.clock.instant(at));
            let timer = wake.map_or_else(crossbeam_channel::never, crossbeam_channel::at);
            select! {
                recv(self.committed) -> done => {
                    let Ok(done) = done else { return };
                    writer_is_free = true;
                    self.full = done.full;
                    self.handle(Command::Committed { through: done.through }, &mut gathering);
                    memory.note(self.core.in_memory());
                }
                recv(inbox) -> request => match request {
                    Ok(request) => {
                        self.take(request, &mut gathering, &mut stopping);
                        self.take_what_waits(&mut gathering, &mut stopping);
                    }
                    Err(_) if stopping.is_none() => return,
                    Err(_) => {}
                },
                recv(timer) -> _ => self.handle(Command::Tick, &mut gathering),
            }
        }
    }

    fn take_what_waits(&mut self, gathering: &mut Gathering, stopping: &mut Option<oneshot::Sender<()>>) {
        while gathering.output.events.len() < BATCH_EVENTS {
            let Ok(request) = self.inbox.try_recv() else { return };
            self.take(request, gathering, stopping);
        }
    }

    fn handle(&mut self, command: Command, gathering: &mut Gathering) {
        // The answer to these is that they have been handled.
        drop(self.core.handle(self.clock.now(), command, &mut gathering.output));
    }

    fn take(
        &mut self,
        request: Request,
        gathering: &mut Gathering,
        stopping: &mut Option<oneshot::Sender<()>>,
    ) {
        let now = self.clock.now();
        match request {
            Request::Command { command: Command::Report { worker, report }, answer: None }
                if self.is_to_be_made(&report) =>
            {
                self.have_made(worker, report, None);
            }
            Request::Made(made) => self.take_made(*made, gathering),
            Request::Command { command, answer } => {
                let reply = self.core.handle(now, command, &mut gathering.output);
                gathering.responses.extend(answer.map(|answer| Response::Command(answer, reply)));
            }
            Request::Add { specs, atomic, owner, answer } => {
                let reply = self.add(now, specs, atomic, owner, &mut gathering.output);
                gathering.responses.push(Response::Add(answer, reply));
            }
            Request::AddWorkflow { specs, options, parameters, hooks, owner, answer } => {
                let next = self.core.meta().next_workflow;
                let reply = self.add_workflow(now, specs, options, owner, &mut gathering.output);
                // One that was added before keeps its own.
                let new = reply.as_ref().ok().map(|(workflow, _)| *workflow).filter(|new| *new >= next);
                gathering.parameters.extend(new.map(|workflow| (workflow, parameters)));
                gathering.workflow_hooks.extend(new.zip(hooks));
                gathering.responses.push(Response::AddWorkflow(answer, reply));
            }
            Request::Define { changes, answer } => {
                let reply = self.define(changes, gathering);
                gathering.responses.push(Response::Command(answer, reply));
            }
            Request::Fire { tick, answer } => {
                let (reply, parameters) = self.fire(now, tick, &mut gathering.output);
                gathering.parameters.extend(parameters);
                gathering.responses.push(Response::Command(answer, reply));
            }
            Request::Edit { task, spec, answer } => {
                let reply = self.edit(now, task, spec, &mut gathering.output);
                gathering.responses.push(Response::Command(answer, reply));
            }
            Request::Retry { ids, answer } => {
                let reply = self.retry(now, &ids, gathering);
                gathering.responses.push(Response::Command(answer, reply));
            }
            Request::Rerun { workflow, from, answer } => {
                let reply = self.rerun(now, workflow, from.as_deref(), gathering);
                gathering.responses.push(Response::Command(answer, reply));
            }
            Request::Join { join, link, answer } => self.answer_join(now, join, &link, answer, gathering),
            Request::Reports { worker, told, link } => self.take_reports(worker, told, link, gathering),
            Request::Inspect(look) => {
                self.core.note_time(now);
                look(&self.core);
            }
            Request::Hooks { changes, answer } => gathering.keep(changes, answer),
            Request::Drain(draining) => {
                self.core.set_draining(draining);
                self.handle(Command::Tick, gathering);
            }
            Request::HoldBack(because) => {
                self.core.hold_back(because);
                self.handle(Command::Tick, gathering);
            }
            Request::Stop(done) => *stopping = Some(done),
        }
    }

    fn edit(
        &mut self,
        now: Time,
        task: TaskId,
        spec: Arc<TaskSpec>,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let policy = self.live.policy();
        let new = Box::new(self.prepare(&policy, spec, &HashMap::new(), &mut BTreeMap::new())?);
        self.core.handle(now, Command::Edit { task, new }, out)
    }

    fn define(&self, changes: Vec<DefinitionChange>, gathering: &mut Gathering) -> Result<Reply, Refusal> {
        self.refuse_when_full()?;
        gathering.definitions.extend(changes);
        Ok(Reply::Done)
    }

    fn answer_join(
        &mut self,
        now: Time,
        joining: Joining,
        link: &SessionLink,
        answer: Answer<WorkerId>,
        gathering: &mut Gathering,
    ) {
        let joined = self.join(now, joining, &mut gathering.output).and_then(|reply| match reply {
            Reply::Joined(id) => Ok(id),
            _ => Err(Refusal::new(Code::WrongState, "not the answer to a hello")),
        });
        if let Ok(id) = joined {
            // Before any assignment can leave the outbox.
            self.sessions.open(id, link, self.clock.now());
        }
        gathering.responses.push(Response::Join(answer, joined));
    }

    fn join(&mut self, now: Time, joining: Joining, out: &mut Output) -> Result<Reply, Refusal> {
        let command = match joining {
            Joining::Worker(join) => Command::Join(join),
            Joining::Claimant(claim) => {
                // Who comes back brings nothing new.
                if claim.join.holds.is_empty() && !self.core.knows_claimant(claim.join.incarnation) {
                    self.refuse_when_full()?;
                }
                Command::Claim(claim)
            }
        };
        self.core.handle(now, command, out)
    }

    fn take_reports(&mut self, worker: WorkerId, told: Told, link: SessionLink, gathering: &mut Gathering) {
        let now = self.clock.now();
        let said_at = told.said.map_or(now, |said| self.clock.on_monotonic(said));
        let (before, ended) = told.commands(worker, said_at);
        for command in before {
            if let Err(refusal) = self.core.handle(now, command, &mut gathering.output) {
                tracing::debug!(%worker, %refusal, "a worker speaks of an attempt that is over");
            }
        }
        let (unmade, ended): (Vec<_>, Vec<_>) =
            ended.into_iter().partition(|report| self.is_to_be_made(report));
        for report in unmade {
            self.have_made(Some(worker), report, Some(link.clone()));
        }
        let tokens: Vec<Token> = ended.iter().map(|report| report.token).collect();
        for report in ended {
            let (task, token) = (report.task, report.token);
            let command = Command::Report { worker: Some(worker), report };
            if let Err(refusal) = self.core.handle(now, command, &mut gathering.output) {
                tracing::info!(%worker, %task, %token, %refusal, "report refused");
            }
        }
        // A refused report is settled, too: its attempt was given up before.
        if !tokens.is_empty() {
            gathering.responses.push(Response::Ack(link, tokens));
        }
    }

    fn is_to_be_made(&self, report: &AttemptReport) -> bool {
        Unmade::is_due(&report.outcome, self.core.transforms(report.task))
    }

    fn have_made(&self, worker: Option<WorkerId>, report: AttemptReport, link: Option<SessionLink>) {
        // The other end lives as long as the engine.
        drop(self.unmade.send(Unmade { worker, report, link }));
    }

    fn take_made(&mut self, made: Unmade, gathering: &mut Gathering) {
        let Unmade { worker, report, link } = made;
        let (task, token) = (report.task, report.token);
        let command = Command::Report { worker, report };
        if let Err(refusal) = self.core.handle(self.clock.now(), command, &mut gathering.output) {
            tracing::info!(%task, %token, %refusal, "report refused");
        }
        gathering.responses.extend(link.map(|link| Response::Ack(link, vec![token])));
    }

    fn hand_over(&mut self, gathering: &mut Gathering) {
        let Gathering { output, spared, responses, parameters, definitions, hooks, workflow_hooks } =
            std::mem::take(gathering);
        // What is not written with events would not be written at all.
        let blocked = if output.events.is_empty() { Vec::new() } else { self.core.take_blocked() };
        let reserved = self.core.take_reserved();
        narration::explain(&self.core, &output.events);
        let of_events = batch::of(&self.core, output.events, parameters);
        let batch = Batch { definitions, hooks, workflow_hooks, blocked, reserved, ..of_events };
        let through = batch.events.last().map_or(Sequence(0), |event: &Event| event.sequence);
        let picture = Picture::of(&self.core);
        let outgoing = Outgoing { batch, through, picture, responses, effects: output.effects, spared };
        if self.batches.send(outgoing).is_err() {
            // The writer is gone, so nothing can be made durable: the process must not go on.
            panic!("the writer thread has ended");
        }
    }

    pub(crate) fn refuse_when_full(&self) -> Result<(), Refusal> {
        if self.full {
            return Err(Refusal::new(Code::StoreFailed, "the disk is full: new work is refused")
                .hint("free some space in the state directory's file system"));
        }
        if self.core.is_draining() {
            return Err(Refusal::new(Code::ShuttingDown, "the daemon is shutting down")
                .hint("orchctl shutdown --abort lets it go on, while it waits for running tasks"));
        }
        Ok(())
    }

    fn add(
        &mut self,
        now: Time,
        specs: Vec<Result<Arc<TaskSpec>, Refusal>>,
        atomic: bool,
        owner: u32,
        out: &mut Output,
    ) -> Result<Vec<Result<TaskRange, Refusal>>, Refusal> {
        self.refuse_when_full()?;
        let policy = self.live.policy();
        let mut ended = BTreeMap::new();
        let mut places = HashMap::new();
        let mut tasks = Vec::with_capacity(specs.len());
        let mut results: Vec<Option<Refusal>> = Vec::with_capacity(specs.len());
        let mut references = References::new(&specs);
        for (index, given) in specs.iter().enumerate() {
            let prepared = given.clone().and_then(|spec| self.prepare(&policy, spec, &places, &mut ended));
            match prepared {
                Ok(task) => {
                    if let Some(reference) = given.as_ref().ok().and_then(|spec| spec.reference.as_deref()) {
                        places.insert(reference, tasks.len());
                    }
                    tasks.push(task);
                    results.push(None);
                }
                Err(refusal) => {
                    results.push(Some(references.explained(index, refusal, &results)));
                }
            }
        }
        if atomic && results.iter().any(Option::is_some) {
            let judged = self.core.refused(&tasks, &ended);
            return Err(all_refusals(results, judged));
        }
        let counts: Vec<u64> = tasks.iter().map(NewTask::count).collect();
        let submission = Submission { tasks, atomic, workflow: None, owner, ended };
        let Reply::Submitted { tasks, .. } = self.core.handle(now, Command::Submit(submission), out)? else {
            return Err(Refusal::new(Code::WrongState, "not the answer to a submission"));
        };
        let range = |(id, count): (Result<TaskId, Box<Refusal>>, u64)| {
            id.map(|id| TaskRange::from_first(id, count - 1)).map_err(|refusal| *refusal)
        };
        let mut tasks = tasks.into_iter().zip(counts).map(range);
        let refused = |refusal: Option<Refusal>| match refusal {
            Some(refusal) => Some(Err(refusal)),
            None => tasks.next(),
        };
        Ok(results.into_iter().filter_map(refused).collect())
    }

    fn add_workflow(
        &mut self,
        now: Time,
        specs: Vec<Arc<TaskSpec>>,
        options: NewWorkflow,
        owner: u32,
        out: &mut Output,
    ) -> Result<(WorkflowId, Vec<TaskId>), Refusal> {
        self.refuse_when_full()?;
        let mut places = HashMap::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            if places.insert(spec.name.as_str(), index).is_some() {
                return Err(Refusal::new(Code::Conflict, "two tasks of a workflow have the same name")
                    .value(&spec.name));
            }
        }
        refuse_element_names(&specs, &places)?;
        let policy = self.live.policy();
        let mut ended = BTreeMap::new();
        let tasks: Result<Vec<NewTask>, Refusal> =
            specs.iter().map(|spec| self.prepare(&policy, Arc::clone(spec), &places, &mut ended)).collect();
        drop(places);
        drop(specs);
        let submission = Submission { tasks: tasks?, atomic: true, workflow: Some(options), owner, ended };
        match self.core.handle(now, Command::Submit(submission), out)? {
            Reply::Submitted { tasks, workflow } => {
                let tasks: Result<Vec<TaskId>, Box<Refusal>> = tasks.into_iter().collect();
                let tasks = tasks.map_err(|refusal| *refusal)?;
                let workflow = workflow.map_or_else(|| self.workflow_of(&tasks), Ok)?;
                Ok((workflow, tasks))
            }
            _ => Err(Refusal::new(Code::WrongState, "not the answer to a workflow")),
        }
    }

    /// The workflow that these tasks were added with before, all of them by their keys.
    fn workflow_of(&mut self, tasks: &[TaskId]) -> Result<WorkflowId, Refusal> {
        let mut workflows = BTreeSet::new();
        for id in tasks {
            let record = match self.core.record(*id) {
                Some(record) => Some(record),
                None => self.history.record(*id).map_err(store_refusal)?,
            };
            workflows.insert(record.and_then(|record| record.demand.workflow));
        }
        match (workflows.pop_first(), workflows.is_empty()) {
            (Some(Some(workflow)), true) => Ok(workflow),
            _ => Err(Refusal::new(Code::Conflict, "every task of this workflow was added before")
                .hint("not with one workflow: at least one task needs another key")),
        }
    }
}

/// Refuses names that elements of a task have, or would have if there were more.
fn refuse_element_names(specs: &[Arc<TaskSpec>], places: &HashMap<&str, usize>) -> Result<(), Refusal> {
    for spec in specs {
        let Some(whole) = task_of_element(&spec.name) else { continue };
        let place = places.get(whole).map(|place| &specs[*place]);
        if place.is_some_and(|task| task.foreach.is_some() || task.array.is_some()) {
            let refusal = Refusal::new(Code::Conflict, "two tasks of a workflow have the same name");
            let hint = format!("{whole} is a task for each element, and those are named like this");
            return Err(refusal.value(&spec.name).hint(hint));
        }
    }
    Ok(())
}

/// Everything that is wrong with a request of which nothing is added: what was refused at once, and what the scheduler
/// says of the others.
fn all_refusals(refused: Vec<Option<Refusal>>, judged: Vec<Option<Refusal>>) -> Refusal {
    let mut judged = judged.into_iter();
    let each = refused.into_iter().map(|refused| refused.or_else(|| judged.next().flatten()));
    // One answer for all of them has to say which ones it is about.
    let all = each.enumerate().filter_map(|(index, refusal)| Some(refusal?.of_item(index)));
    Refusal::of_all(all).unwrap_or_else(|| Refusal::new(Code::Malformed, "one of the tasks was refused"))
}

/// A failure of the store as users see it.
pub fn store_refusal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::StoreFailed, format!("the store failed: {error}"))
}
