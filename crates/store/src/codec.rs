//! Bytes of records and of the journal: postcard behind one version byte.
//!
//! The version stands for the shape of everything that is encoded here; it is raised when a type of
//! orchd-core or orchd-model changes its binary form, and the old form is then read by a branch of
//! [`decode`]. Golden files in `tests/golden` fail when the form changes without that.
//!
//! Equal demands and retry policies are shared on reading, so that a million alike tasks hold one of each.

use orchd_core::{Demand, TaskRecord};
use orchd_model::RetryPolicy;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::StoreError;

const VERSION: u8 = 1;
/// Different demands remembered while reading: more than a busy system has, and a few hundred kilobytes.
const SHARED_DEMANDS: usize = 4096;
/// Different retry policies remembered: most systems have one or two, and they are searched in order.
const SHARED_POLICIES: usize = 8;

/// Encodes into `buffer`, which is emptied first.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
    let mut bytes = std::mem::take(buffer);
    bytes.clear();
    bytes.push(VERSION);
    *buffer = postcard::to_extend(value, bytes).map_err(|e| StoreError::Engine(Box::new(e)))?;
    Ok(())
}

/// Decodes what [`encode`] wrote; `what` names it in errors.
pub(crate) fn decode<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|e| StoreError::Corrupt(format!("{what} cannot be read: {e}")))
        }
        Some((version, _)) => Err(StoreError::Corrupt(format!("{what} has the unknown version {version}"))),
        None => Err(StoreError::Corrupt(format!("{what} is empty"))),
    }
}

/// Reads task records and shares what is equal in them.
#[derive(Default)]
pub(crate) struct TaskReader {
    demands: FxHashSet<Arc<Demand>>,
    policies: Vec<Arc<RetryPolicy>>,
    last: Option<Arc<Demand>>,
}

impl TaskReader {
    /// Decodes one record.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<TaskRecord, StoreError> {
        let mut record: TaskRecord = decode("a task record", bytes)?;
        self.share_demand(&mut record.demand);
        match self.policies.iter().find(|p| **p == record.retry) {
            Some(policy) => record.retry = Arc::clone(policy),
            None => {
                self.policies.truncate(SHARED_POLICIES - 1);
                self.policies.insert(0, Arc::clone(&record.retry));
            }
        }
        Ok(record)
    }

    fn share_demand(&mut self, demand: &mut Arc<Demand>) {
        match &self.last {
            Some(last) if last == demand => *demand = Arc::clone(last),
            _ => {
                if let Some(known) = self.demands.get(demand) {
                    *demand = Arc::clone(known);
                } else {
                    if self.demands.len() >= SHARED_DEMANDS {
                        self.demands.clear();
                    }
                    self.demands.insert(Arc::clone(demand));
                }
                self.last = Some(Arc::clone(demand));
            }
        }
    }
}
