//! What was found out about workflows that have ended. Nothing of that changes unless they are reopened, and it takes
//! reading all of their tasks and attempts.

use orchd_api::Workflow;
use orchd_model::WorkflowId;
use orchd_store::StoredWorkflow;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// So many are remembered; the newest ones are asked for most.
const REMEMBERED: usize = 1024;

/// Documents by workflow.
#[derive(Default)]
pub struct EndedWorkflows(Mutex<BTreeMap<WorkflowId, Workflow>>);

impl EndedWorkflows {
    /// What is said of a workflow, if it has ended and was asked for since.
    pub fn get(&self, stored: &StoredWorkflow) -> Option<Workflow> {
        let known = self.0.lock();
        let found = known.get(&stored.record.id)?;
        (stored.finished_at.is_some() && found.finished_at == stored.finished_at).then(|| found.clone())
    }

    /// Remembers it, if it has ended.
    pub fn keep(&self, document: &Workflow) {
        if document.finished_at.is_none() {
            return;
        }
        let mut known = self.0.lock();
        known.insert(document.id, document.clone());
        while known.len() > REMEMBERED {
            known.pop_first();
        }
    }
}
