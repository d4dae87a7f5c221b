//! Reading sides of the store, lent to requests one at a time.

use orchd_model::Refusal;
use orchd_store::{History, StoreError};
use parking_lot::Mutex;

use crate::ended_workflows::EndedWorkflows;
use crate::engine::store_refusal;

/// Readers kept for the next request; more may be lent at once.
const KEPT: usize = 4;

type Open = Box<dyn Fn() -> Result<Box<dyn History>, StoreError> + Send + Sync>;

/// A pool of readers.
pub struct Readers {
    idle: Mutex<Vec<Box<dyn History>>>,
    open: Open,
    /// What need not be read again.
    pub ended_workflows: EndedWorkflows,
}

impl Readers {
    /// A pool that opens readers with `open`.
    pub fn new(open: impl Fn() -> Result<Box<dyn History>, StoreError> + Send + Sync + 'static) -> Self {
        Self {
            idle: Mutex::new(Vec::new()),
            open: Box::new(open),
            ended_workflows: EndedWorkflows::default(),
        }
    }

    /// A reader of its own, for whoever needs it long.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn open(&self) -> Result<Box<dyn History>, StoreError> {
        (self.open)()
    }

    /// Runs a query. Blocks: call it from a thread that may.
    ///
    /// # Errors
    /// `store_failed` when the store cannot be read.
    pub fn read<T>(
        &self,
        query: impl FnOnce(&mut dyn History) -> Result<T, StoreError>,
    ) -> Result<T, Refusal> {
        let idle = self.idle.lock().pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => (self.open)().map_err(store_refusal)?,
        };
        let answer = query(reader.as_mut()).map_err(store_refusal);
        let mut idle = self.idle.lock();
        if idle.len() < KEPT {
            idle.push(reader);
        }
        answer
    }
}
