//! The outbox thread: what is let out after a commit. Events go to subscribers, assignments and stops to
//! workers, conditions are evaluated.

use crossbeam_channel::{Receiver, Sender};
use orchd_api::{Assignment, Bounds, StopCause, StopOrder, ToWorker, Work};
use orchd_core::{Command, Effect, Event, Fact, Stop};
use orchd_model::{
    Allotment, AttemptNumber, AttemptReport, Body, Code, ErrorType, Outcome, Refusal, TaskId, Token, WorkerId,
};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compute;
use crate::engine::Request;
use crate::feed::Feed;
use crate::inputs::Inputs;
use crate::live::Live;
use crate::local_worker::Fence;
use crate::schedules::Nudge;
use crate::sessions::Sessions;
use crate::writer::Release;

/// The outbox.
pub struct Outbox {
    pub releases: Receiver<Release>,
    pub inputs: Inputs,
    pub live: Arc<Live>,
    pub sessions: Arc<Sessions>,
    pub feed: Arc<Feed>,
    pub engine: Sender<Request>,
    pub fence: Fence,
    /// Wakes the keeper of schedules.
    pub schedules: Nudge,
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
        self.inputs.note(events);
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
                    let verdict = self.inputs.condition(task);
                    self.tell_engine(Command::Decide { task, verdict });
                }
                Effect::Compute { task, elements } => {
                    let policy = self.live.policy();
                    let command = compute::answer(&mut self.inputs, &policy, task, elements);
                    self.tell_engine(command);
                }
                Effect::Fence { worker } => self.fence.ask(worker),
                Effect::Call { .. } => self.schedules.notify_one(),
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
        let report = AttemptReport::new(task, attempt, token, outcome);
        self.tell_engine(Command::Report { worker: None, report });
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
        let known = self.inputs.known(task).map_err(fail)?;
        let in_workflow = known.workflow.is_some();
        let spec = match known.spec.array {
            Some(_) => Arc::new(known.spec.element(task.0 - known.tasks.first.0)),
            None => Arc::clone(&known.spec),
        };
        let has_inputs = in_workflow || !known.dependencies.is_empty() || !spec.parameters.is_empty();
        let inputs = if has_inputs { Some(self.inputs.of(&known, task).map_err(fail)?) } else { None };
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
}

/// The word of the API for why an attempt is stopped.
pub fn stop_cause(stop: Stop) -> StopCause {
    match stop {
        Stop::Cancel => StopCause::Cancel,
        Stop::Timeout => StopCause::Timeout,
        Stop::Deadline => StopCause::Deadline,
    }
}
