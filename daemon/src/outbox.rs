//! The outbox thread: what is let out after a commit. Events go to subscribers, assignments and stops to
//! workers, conditions are evaluated.

use crossbeam_channel::{Receiver, Sender};
use orchd_api::{Assignment, Bounds, StopCause, StopOrder, ToWorker, Work};
use orchd_core::{Command, Effect, Event, Fact, Stop, TaskRecord};
use orchd_model::{
    Allotment, AttemptNumber, AttemptReport, Body, Code, ErrorType, Outcome, Refusal, Span, TaskId,
    TaskRange, TaskSpec, Token, WorkerId, WorkflowId,
};
use orchd_store::History;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::engine::Request;
use crate::feed::Feed;
use crate::live::Live;
use crate::local_worker::Fence;
use crate::sessions::Sessions;
use crate::writer::Release;

/// Specs of tasks that were added lately, so that a task that starts at once is not read back.
const RECENT_SPECS: usize = 8192;

/// Arrays that are remembered for the same reason.
const RECENT_ARRAYS: usize = 64;

/// The outbox.
pub struct Outbox {
    pub releases: Receiver<Release>,
    pub history: Box<dyn History>,
    pub live: Arc<Live>,
    pub sessions: Arc<Sessions>,
    pub feed: Arc<Feed>,
    pub engine: Sender<Request>,
    pub fence: Fence,
    pub recent: Recent,
}

/// What an assignment is made from.
struct Known {
    spec: Arc<TaskSpec>,
    /// The task, or all elements of the array.
    tasks: TaskRange,
    workflow: Option<WorkflowId>,
    dependencies: Vec<TaskId>,
    /// Whether a client runs it itself: an ad-hoc claim.
    is_claim: bool,
}

impl Known {
    fn new(spec: Arc<TaskSpec>, record: &TaskRecord) -> Arc<Self> {
        let dependencies = record.edges.iter().map(|edge| edge.task).collect();
        let tasks = record.array_range(&spec);
        let is_claim = record.claimant.is_some();
        Arc::new(Self { spec, tasks, workflow: record.demand.workflow, dependencies, is_claim })
    }
}

/// The latest tasks, the oldest is forgotten first.
#[derive(Default)]
pub struct Recent {
    /// Where a task was submitted, or edited last. Most tasks of a burst are forgotten before they start, so
    /// nothing is made of them before that.
    tasks: FxHashMap<TaskId, Place>,
    order: VecDeque<TaskId>,
    /// Arrays that lately had something started, by their first elements.
    arrays: BTreeMap<TaskId, Arc<Known>>,
}

/// An event of a batch.
struct Place {
    batch: Arc<Vec<Event>>,
    index: usize,
}

impl Place {
    fn spec(&self) -> Option<(&TaskRecord, &Arc<TaskSpec>)> {
        spec_in(&self.batch.get(self.index)?.fact)
    }
}

/// The spec that a fact brings, with its record.
fn spec_in(fact: &Fact) -> Option<(&TaskRecord, &Arc<TaskSpec>)> {
    match fact {
        Fact::Submitted { record, spec } | Fact::Edited { record, spec } => Some((record, spec.as_ref()?)),
        _ => None,
    }
}

impl Recent {
    fn get(&self, id: TaskId) -> Option<Arc<Known>> {
        let array = || self.arrays.range(..=id).next_back().filter(|(_, known)| known.tasks.contains(id));
        match self.tasks.get(&id).and_then(Place::spec) {
            Some((record, spec)) => Some(Known::new(Arc::clone(spec), record)),
            None => array().map(|(_, known)| Arc::clone(known)),
        }
    }

    /// Remembers the specs that came with a batch.
    fn note(&mut self, batch: &Arc<Vec<Event>>) {
        let specs = || batch.iter().enumerate().filter_map(|(at, event)| Some((at, spec_in(&event.fact)?)));
        // Those that would be forgotten right away are passed over.
        let surplus = specs().count().saturating_sub(RECENT_SPECS);
        for (index, (record, spec)) in specs().skip(surplus) {
            if spec.array.is_some() {
                self.keep_array(Known::new(Arc::clone(spec), record));
                continue;
            }
            let place = Place { batch: Arc::clone(batch), index };
            if self.tasks.insert(record.id, place).is_none() {
                self.order.push_back(record.id);
            }
        }
        while self.order.len() > RECENT_SPECS {
            if let Some(oldest) = self.order.pop_front() {
                self.tasks.remove(&oldest);
            }
        }
    }

    fn keep_array(&mut self, known: Arc<Known>) {
        // An array whose turn comes again is read again.
        if self.arrays.len() == RECENT_ARRAYS {
            self.arrays.pop_first();
        }
        self.arrays.insert(known.tasks.first, known);
    }
}

impl Outbox {
    /// Runs until the writer is gone.
    pub fn run(mut self) {
        while let Ok(release) = self.releases.recv() {
            self.note(&release.events);
            self.feed.publish(&release.events);
            self.let_out(release.effects);
        }
    }

    fn note(&mut self, events: &Arc<Vec<Event>>) {
        self.recent.note(events);
        for event in events.iter() {
            match &event.fact {
                Fact::Started { task, attempt, token, .. } => self.sessions.assigned(*task, *attempt, *token),
                Fact::Placed { placement } => {
                    self.sessions.assigned(placement.task, placement.attempt, placement.token);
                }
                Fact::Recalled { task, token } => self.sessions.ended(*task, *token),
                fact => {
                    if let (Some(task), Some(attempt)) = (fact.task(), fact.attempt_end()) {
                        self.sessions.ended(task, attempt.token);
                    }
                }
            }
        }
    }

    fn let_out(&mut self, effects: Vec<Effect>) {
        let mut assignments: BTreeMap<WorkerId, Vec<Assignment>> = BTreeMap::new();
        let mut recalls: BTreeMap<WorkerId, Vec<Token>> = BTreeMap::new();
        let mut orders: BTreeMap<WorkerId, Vec<StopOrder>> = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Assign {
                    worker,
                    task,
                    attempt,
                    token,
                    order: (class, since),
                    allotment,
                    variant,
                } => {
                    let order = (class.index() as u8, since.0);
                    match self.assignment(task, attempt, token, order, allotment) {
                        Ok(assignment) => {
                            let assignment = Assignment { variant, ..assignment };
                            assignments.entry(worker).or_default().push(assignment);
                        }
                        Err(outcome) => self.fail_at_start(task, attempt, token, outcome),
                    }
                }
                Effect::Recall { worker, token } => recalls.entry(worker).or_default().push(token),
                Effect::Stop { worker, token, stop } => {
                    orders.entry(worker).or_default().push(StopOrder { token, cause: stop_cause(stop) });
                }
                Effect::Dismiss { worker } => {
                    let refusal = Refusal::new(Code::WrongState, "the claim was cancelled while it waited");
                    self.sessions.send(worker, ToWorker::Refused { refusal });
                }
                Effect::Evaluate { task } => {
                    let verdict = self.evaluate(task);
                    self.tell_engine(Command::Decide { task, verdict });
                }
                Effect::Fence { worker } => self.fence.ask(worker),
            }
        }
        for (worker, assignments) in assignments {
            self.sessions.send(worker, ToWorker::Assign { assignments });
        }
        for (worker, tokens) in recalls {
            self.sessions.send(worker, ToWorker::Recall { tokens });
        }
        for (worker, orders) in orders {
            self.sessions.send(worker, ToWorker::Stop { orders });
        }
    }

    /// The engine never waits for the outbox for long, so the outbox may wait for the engine only through
    /// a thread of its own: two full channels would stand still for ever.
    fn tell_engine(&self, command: Command) {
        let request = Request::Command { command, answer: None };
        if let Err(crossbeam_channel::TrySendError::Full(request)) = self.engine.try_send(request) {
            let engine = self.engine.clone();
            std::thread::spawn(move || drop(engine.send(request)));
        }
    }

    fn fail_at_start(&self, task: TaskId, attempt: AttemptNumber, token: Token, outcome: Outcome) {
        let report = AttemptReport {
            task,
            attempt,
            token,
            outcome,
            data: None,
            execution_time: Span::ZERO,
            usage: None,
            progress: None,
        };
        self.tell_engine(Command::Report { worker: None, report });
    }

    fn known(&mut self, task: TaskId) -> Result<Arc<Known>, String> {
        if let Some(known) = self.recent.get(task) {
            return Ok(known);
        }
        match self.history.task(task) {
            Ok(Some(stored)) => {
                let known = Known::new(stored.spec, &stored.record);
                if known.spec.array.is_some() {
                    self.recent.keep_array(Arc::clone(&known));
                }
                Ok(known)
            }
            Ok(None) => Err(format!("task {task} is not in the store")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What the worker needs to run an attempt, templates filled in.
    fn assignment(
        &mut self,
        task: TaskId,
        attempt: AttemptNumber,
        token: Token,
        order: (u8, u64),
        allotment: Allotment,
    ) -> Result<Assignment, Outcome> {
        let fail = |message: String| Outcome::failed(ErrorType::Other("Internal".to_owned()), message);
        let known = self.known(task).map_err(fail)?;
        let in_workflow = known.workflow.is_some();
        let spec = match known.spec.array {
            Some(_) => Arc::new(known.spec.element(task.0 - known.tasks.first.0)),
            None => Arc::clone(&known.spec),
        };
        let has_inputs = in_workflow || !known.dependencies.is_empty() || !spec.parameters.is_empty();
        let inputs = if has_inputs { Some(self.inputs(&known).map_err(fail)?) } else { None };
        // Templates see the workflow's parameters; the task's own are filled in with the rest of its spec.
        let spec = match &inputs {
            Some(inputs) if in_workflow && orchd_workflow::uses_templates(&spec) => {
                let filled = orchd_workflow::render(&spec, inputs);
                Arc::new(filled.map_err(|e| Outcome::failed(ErrorType::InvalidTemplate, e.to_string()))?)
            }
            _ => spec,
        };
        let policy = self.live.policy();
        let inputs = inputs.map(|inputs| orchd_workflow::overlay(&inputs, &spec.parameters));
        let (env, cwd, stdin) = (spec.env.clone(), spec.cwd.clone(), spec.stdin.clone());
        let work = match &spec.body {
            Body::Command { argv } => Work::Command { argv: argv.clone(), env, cwd, stdin },
            Body::Shell { line } => {
                let argv = vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()];
                Work::Command { argv, env, cwd, stdin }
            }
            Body::Handler { command: Some(argv), .. } => {
                Work::Command { argv: argv.clone(), env, cwd, stdin }
            }
            Body::Handler { .. } => {
                let handler = spec.body.handler().unwrap_or_default();
                match policy.bound_command(&handler) {
                    Some(argv) => Work::Command { argv, env, cwd, stdin },
                    None => Work::Handler { handler, parameters: spec.parameters.clone() },
                }
            }
            Body::Milestone if known.is_claim => Work::Claim,
            Body::Milestone => return Err(fail("a milestone has nothing to run".to_owned())),
        };
        let (name, timeout) = (spec.name.clone(), spec.timeout);
        let grace = policy.grace;
        let bounds = (!allotment.is_empty()).then(|| Bounds {
            allotment,
            jobserver: policy.enforcement.jobserver,
            over_memory: policy.enforcement.memory,
            cpu_bound: policy.enforcement.cpu,
        });
        Ok(Assignment {
            task,
            attempt,
            token,
            name,
            work,
            timeout,
            grace,
            order,
            bounds,
            variant: None,
            inputs,
        })
    }

    /// `{"parameters": …, "tasks": {NAME and id: {status, output, exit_code, attempts}}}`, with the
    /// workflow's parameters.
    fn inputs(&mut self, known: &Known) -> Result<Value, String> {
        let parameters = match known.workflow {
            Some(id) => {
                let stored = self.history.workflow(id).map_err(|e| e.to_string())?;
                let text = stored.ok_or_else(|| format!("workflow {id} is not in the store"))?.parameters;
                serde_json::from_str::<Map<String, Value>>(&text).map_err(|e| e.to_string())?
            }
            None => Map::new(),
        };
        let mut tasks = Map::new();
        for found in self.history.results(&known.dependencies).map_err(|e| e.to_string())? {
            let result = found.result.unwrap_or_default();
            let facts = json!({
                "status": found.status,
                "output": result.data,
                "exit_code": result.exit_code,
                "attempts": found.attempts,
            });
            tasks.insert(found.id.to_string(), facts.clone());
            tasks.insert(found.name.into(), facts);
        }
        Ok(json!({ "parameters": parameters, "tasks": tasks }))
    }

    fn evaluate(&mut self, task: TaskId) -> Result<bool, String> {
        let known = self.known(task)?;
        let Some(when) = &known.spec.when else { return Ok(true) };
        let inputs = self.inputs(&known)?;
        orchd_workflow::evaluate(when, &orchd_workflow::overlay(&inputs, &known.spec.parameters))
    }
}

/// The word of the API for why an attempt is stopped.
pub fn stop_cause(stop: Stop) -> StopCause {
    match stop {
        Stop::Cancel => StopCause::Cancel,
        Stop::Timeout => StopCause::Timeout,
        Stop::Deadline => StopCause::Deadline,
    }
}
