//! The thread beside the outbox: what has templates that may take long is made here, so that all else goes out meanwhile.
//!
//! ```text
//! outbox ── may it cost? ── no ─► made and let out
//!                └── yes ─► errand ─► made here ─► let out, unless it was recalled or has ended meanwhile
//! ```
//! Invariant: a token is in `unsent` from when its errand is sent until it is let out, or nobody waits for it any more.

use crossbeam_channel::{Receiver, Sender, TrySendError};
use orchd_api::ToWorker;
use orchd_model::{TaskId, TaskRange, Token, WorkerId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use crate::desk::{Desk, Start};
use crate::sessions::Sessions;

/// Errands that wait. The outbox does those itself that are too many: then nothing waits for less.
const ERRANDS: usize = 65_536;

/// What may take long.
#[derive(Debug)]
pub enum Errand {
    /// Fill in the templates of an attempt, and send it to a worker.
    Start { worker: WorkerId, start: Start },
    /// Evaluate a condition.
    Decide(TaskId),
    /// Work out what a task becomes, or ends with.
    Compute(TaskId, Option<TaskRange>),
}

/// Where errands are sent.
pub struct Aside {
    errands: Sender<Errand>,
    unsent: Arc<Mutex<HashMap<Token, Start>>>,
}

/// Who does them.
pub struct Runner {
    errands: Receiver<Errand>,
    unsent: Arc<Mutex<HashMap<Token, Start>>>,
    desk: Desk,
    sessions: Arc<Sessions>,
}

impl Aside {
    /// Both ends.
    pub fn new(desk: Desk, sessions: &Arc<Sessions>) -> (Self, Runner) {
        let (errands, inbox) = crossbeam_channel::bounded(ERRANDS);
        let unsent = Arc::default();
        let runner =
            Runner { errands: inbox, unsent: Arc::clone(&unsent), desk, sessions: Arc::clone(sessions) };
        (Self { errands, unsent }, runner)
    }

    /// Sends an errand; gives it back when there is no room.
    pub fn send(&self, errand: Errand) -> Option<Errand> {
        let start = if let Errand::Start { start, .. } = &errand { Some(start.clone()) } else { None };
        let token = start.as_ref().map(|start| start.token);
        self.unsent.lock().extend(start.map(|start| (start.token, start)));
        match self.errands.try_send(errand) {
            Ok(()) => None,
            Err(TrySendError::Full(errand) | TrySendError::Disconnected(errand)) => {
                token.map(|token| self.forget(token));
                Some(errand)
            }
        }
    }

    /// What was not sent yet of an attempt; now it never is.
    pub fn forget(&self, token: Token) -> Option<Start> {
        self.unsent.lock().remove(&token)
    }
}

impl Runner {
    /// Runs until the outbox is gone.
    pub fn run(mut self) {
        while let Ok(errand) = self.errands.recv() {
            match errand {
                Errand::Start { worker, start } => self.start(worker, start),
                Errand::Decide(task) => self.desk.decide(task),
                Errand::Compute(task, elements) => self.desk.compute(task, elements),
            }
        }
    }

    fn start(&mut self, worker: WorkerId, start: Start) {
        if !self.unsent.lock().contains_key(&start.token) {
            return;
        }
        let known = self.desk.known(start.task);
        let made = known.and_then(|known| self.desk.assignment(start.clone(), &known));
        // Held until it is sent: what is said of it from now on comes after it.
        let mut unsent = self.unsent.lock();
        if unsent.remove(&start.token).is_some() {
            match made {
                Ok(assignment) => {
                    self.sessions.send(worker, ToWorker::Assign { assignments: vec![assignment] })
                }
                Err(outcome) => self.desk.fail(&start, outcome),
            }
        }
    }
}
