//! The transformer thread: a result that its task makes into another one is made so before the engine hears
//! of the end. The worker is answered only then, so that a daemon that dies meanwhile is told again.

use crossbeam_channel::{Receiver, Sender};
use orchd_model::{AttemptReport, Outcome, TaskId, WorkerId};
use serde_json::Value;

use crate::compute::{Flaw, transform};
use crate::engine::Request;
use crate::inputs::Inputs;
use crate::sessions::SessionLink;

/// A report whose result is still to be made.
pub struct Unmade {
    /// Who told it; none when it was found in the state directory.
    pub worker: Option<WorkerId>,
    /// What was told.
    pub report: AttemptReport,
    /// Who waits for an answer.
    pub link: Option<SessionLink>,
}

/// The transformer.
pub struct Transformer {
    /// Its own reader, and what it remembers.
    pub inputs: Inputs,
    /// What comes in. As many at once as workers have slots.
    pub unmade: Receiver<Unmade>,
    /// Where it goes.
    pub engine: Sender<Request>,
}

impl Transformer {
    /// Runs until the engine is gone.
    pub fn run(mut self) {
        while let Ok(Unmade { worker, mut report, link }) = self.unmade.recv() {
            match self.made(report.task, report.data.take()) {
                Ok(data) => report.data = Some(data),
                Err(flaw) => report.outcome = flaw.outcome(),
            }
            if self.engine.send(Request::Made(Box::new(Unmade { worker, report, link }))).is_err() {
                return;
            }
        }
    }

    fn made(&mut self, task: TaskId, data: Option<Value>) -> Result<Value, Flaw> {
        let known = self.inputs.known(task)?;
        transform(&mut self.inputs, &known, task, data)
    }
}

impl Unmade {
    /// Whether the result of this report is one to make something of.
    pub fn is_due(outcome: &Outcome, transforms: bool) -> bool {
        transforms && *outcome == Outcome::Succeeded
    }
}
