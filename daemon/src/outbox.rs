//! The outbox thread: what is let out after a commit. Events go to subscribers, assignments and stops to
//! workers, conditions are evaluated.

use crossbeam_channel::Receiver;
use orchd_api::{Assignment, StopCause, StopOrder, ToWorker};
use orchd_core::{Command, Effect, Event, Fact, Stop};
use orchd_model::{Code, Outcome, Refusal, TaskId, TaskRange, Token, WorkerId};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aside::{Aside, Errand, Runner};
use crate::desk::{Desk, Start};
use crate::feed::Feed;
use crate::inputs::may_cost;
use crate::local_worker::Fence;
use crate::narration;
use crate::schedules::Nudge;
use crate::sessions::Sessions;
use crate::writer::Release;

/// The outbox.
pub struct Outbox {
    pub releases: Receiver<Release>,
    pub desk: Desk,
    /// Where that is made which may take long.
    pub aside: Aside,
    pub sessions: Arc<Sessions>,
    pub feed: Arc<Feed>,
    pub fence: Fence,
    /// Wakes the keeper of schedules.
    pub schedules: Nudge,
}

impl Outbox {
    /// Runs until the writer is gone.
    pub fn run(self, errands: Runner) {
        std::thread::scope(|scope| {
            scope.spawn(|| errands.run());
            // With it goes who sends errands.
            let mut outbox = self;
            while let Ok(release) = outbox.releases.recv() {
                outbox.note(&release.events);
                narration::tell(&release.events);
                outbox.feed.publish(&release.events);
                outbox.let_out(release.effects);
            }
        });
    }

    fn note(&mut self, events: &Arc<Vec<Event>>) {
        self.desk.inputs.note(events);
        for event in events.iter() {
            match &event.fact {
                Fact::Started { task, attempt, token, .. } => self.sessions.assigned(*task, *attempt, *token),
                Fact::Placed { placement } => {
                    self.sessions.assigned(placement.task, placement.attempt, placement.token);
                }
                Fact::Recalled { task, token } => self.ended(*task, *token),
                fact => {
                    if let (Some(task), Some(attempt)) = (fact.task(), fact.attempt_end()) {
                        self.ended(task, attempt.token);
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
                    let start = Start { task, attempt, token, order, allotment, variant };
                    match self.assignment(worker, &start) {
                        Ok(assignment) => assignments.entry(worker).or_default().extend(assignment),
                        Err(outcome) => self.desk.fail(&start, outcome),
                    }
                }
                // What was not sent yet has not begun.
                Effect::Recall { worker, token } if self.aside.forget(token).is_some() => {
                    self.desk.tell_engine(Command::Unbegun { worker, token });
                }
                Effect::Recall { worker, token } => recalls.entry(worker).or_default().push(token),
                Effect::Stop { worker, token, stop } => match self.aside.forget(token) {
                    // It has no process, and no worker will ever hear of it.
                    Some(start) => self.desk.fail(&start, Outcome::Cancelled),
                    None => {
                        let order = StopOrder { token, cause: stop_cause(stop) };
                        orders.entry(worker).or_default().push(order);
                    }
                },
                Effect::Dismiss { worker } => {
                    let refusal = Refusal::new(Code::WrongState, "the claim was cancelled while it waited");
                    self.sessions.send(worker, ToWorker::Refused { refusal });
                }
                Effect::Evaluate { task } => self.decide(task),
                Effect::Compute { task, elements } => self.compute(task, elements),
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

    fn ended(&self, task: TaskId, token: Token) {
        self.aside.forget(token);
        self.sessions.ended(task, token);
    }

    /// What a worker is to be sent; none when it may take long to make, and is left to the thread beside this one.
    fn assignment(&mut self, worker: WorkerId, start: &Start) -> Result<Option<Assignment>, Outcome> {
        let known = self.desk.known(start.task)?;
        if may_cost(&known) && self.aside.send(Errand::Start { worker, start: start.clone() }).is_none() {
            return Ok(None);
        }
        self.desk.assignment(start.clone(), &known).map(Some)
    }

    fn decide(&mut self, task: TaskId) {
        let is_cheap = !self.desk.inputs.may_cost(task);
        if is_cheap || self.aside.send(Errand::Decide(task)).is_some() {
            self.desk.decide(task);
        }
    }

    fn compute(&mut self, task: TaskId, elements: Option<TaskRange>) {
        let is_cheap = !self.desk.inputs.may_cost(task);
        if is_cheap || self.aside.send(Errand::Compute(task, elements)).is_some() {
            self.desk.compute(task, elements);
        }
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
