//! What is made of an effect before it is let out: assignments with their templates filled in, conditions that are evaluated,
//! results that are worked out.

use crossbeam_channel::Sender;
use orchd_api::{Assignment, Bounds, Work};
use orchd_core::Command;
use orchd_model::{
    Allotment, AttemptNumber, AttemptReport, Body, ErrorType, Outcome, TaskId, TaskRange, Token,
};
use orchd_store::History;
use std::sync::Arc;

use crate::compute;
use crate::engine::Request;
use crate::inputs::Inputs;
use crate::known::Known;
use crate::live::Live;

/// The workflow that a process belongs to, in its environment.
const WORKFLOW_ID: &str = "ORCHD_WORKFLOW_ID";

/// Makes what is let out. Each thread that does has one of its own.
pub struct Desk {
    /// What tasks are told.
    pub inputs: Inputs,
    pub live: Arc<Live>,
    pub engine: Sender<Request>,
}

/// An attempt that is to be assigned.
#[derive(Clone, Debug)]
pub struct Start {
    pub task: TaskId,
    pub attempt: AttemptNumber,
    pub token: Token,
    /// Class and time: what begins first of what waits at a worker.
    pub order: (u8, u64),
    pub allotment: Allotment,
    pub variant: Option<u32>,
}

impl Desk {
    /// One that remembers nothing yet.
    pub fn new(history: Box<dyn History>, live: &Arc<Live>, engine: &Sender<Request>) -> Self {
        Self { inputs: Inputs::new(history), live: Arc::clone(live), engine: engine.clone() }
    }

    /// Evaluates the condition of a task.
    pub fn decide(&mut self, task: TaskId) {
        let verdict = self.inputs.condition(task);
        self.tell_engine(Command::Decide { task, verdict });
    }

    /// The spec of a task, and what it depends on.
    pub fn known(&mut self, task: TaskId) -> Result<Arc<Known>, Outcome> {
        self.inputs.known(task).map_err(internal)
    }

    /// Works out what a task becomes, or ends with.
    pub fn compute(&mut self, task: TaskId, elements: Option<TaskRange>) {
        let policy = self.live.policy();
        let command = compute::answer(&mut self.inputs, &policy, task, elements);
        self.tell_engine(command);
    }

    /// The engine never waits for the outbox for long, so the outbox may wait for the engine only through
    /// a thread of its own: two full channels would stand still for ever.
    pub fn tell_engine(&self, command: Command) {
        let request = Request::Command { command, answer: None };
        if let Err(crossbeam_channel::TrySendError::Full(request)) = self.engine.try_send(request) {
            let engine = self.engine.clone();
            std::thread::spawn(move || drop(engine.send(request)));
        }
    }

    /// Ends an attempt that cannot be assigned.
    pub fn fail(&self, start: &Start, outcome: Outcome) {
        let Start { task, attempt, token, .. } = *start;
        let report = AttemptReport::new(task, attempt, token, outcome);
        self.tell_engine(Command::Report { worker: None, report });
    }

    /// What the worker needs to run an attempt, templates filled in.
    pub fn assignment(&mut self, start: Start, known: &Known) -> Result<Assignment, Outcome> {
        let Start { task, attempt, token, order, allotment, variant } = start;
        let in_workflow = known.workflow.is_some();
        let spec = match known.spec.array {
            Some(_) => Arc::new(known.spec.element(task.0 - known.tasks.first.0)),
            None => Arc::clone(&known.spec),
        };
        let has_inputs = in_workflow || !known.dependencies.is_empty() || !spec.parameters.is_empty();
        let inputs = if has_inputs { Some(self.inputs.of(known, task).map_err(internal)?) } else { None };
        // Templates see the workflow's parameters; the task's own are filled in with the rest of its spec.
        let spec = match &inputs {
            Some(inputs) if in_workflow && orchd_workflow::uses_templates(&spec) => {
                let filled = self.inputs.evaluator().render(&spec, inputs);
                Arc::new(filled.map_err(|e| Outcome::failed(ErrorType::InvalidTemplate, e.to_string()))?)
            }
            _ => spec,
        };
        let policy = self.live.policy();
        let inputs = inputs.map(|inputs| orchd_workflow::overlay(&inputs, &spec.parameters));
        let (mut env, cwd, stdin) = (spec.env.clone(), spec.cwd.clone(), spec.stdin.clone());
        if let Some(workflow) = known.workflow.filter(|_| spec.body != Body::Milestone) {
            env.insert(WORKFLOW_ID.to_owned(), workflow.to_string());
        }
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
                    None => {
                        let parameters = spec.parameters.clone();
                        Work::Handler { handler, parameters, env, cwd, stdin }
                    }
                }
            }
            Body::Milestone if known.is_claim => Work::Claim,
            Body::Milestone => return Err(internal("a milestone has nothing to run".to_owned())),
        };
        let (name, timeout) = (spec.name.clone(), spec.timeout);
        let grace = policy.grace;
        let bounds = (!allotment.is_empty()).then(|| Bounds {
            allotment,
            jobserver: policy.enforcement.jobserver,
            over_memory: policy.enforcement.memory,
            cpu_bound: policy.enforcement.cpu,
        });
        Ok(Assignment { task, attempt, token, name, work, timeout, grace, order, bounds, variant, inputs })
    }
}

fn internal(message: String) -> Outcome {
    Outcome::failed(ErrorType::Other("Internal".to_owned()), message)
}
