//! What becomes of a resource while the scheduler runs, and is kept over a restart.

use orchd_model::Time;
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;

/// What is known of a resource beyond what the configuration and operators say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceState {
    /// Whether an operator has closed it.
    pub closed: bool,
    /// Nobody gets it before this instant.
    pub throttled_until: Option<Time>,
    /// How full its bucket is, if it has a rate.
    pub bucket: Option<Bucket>,
}

impl ResourceState {
    /// Gives it out again.
    pub(crate) fn open(&mut self) {
        self.closed = false;
        self.throttled_until = None;
    }
}
