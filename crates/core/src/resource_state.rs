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
    /// Since when that has been so without a break.
    pub throttled_since: Option<Time>,
    /// How full its bucket is, if it has a rate.
    pub bucket: Option<Bucket>,
}

impl ResourceState {
    /// Gives it to nobody until an instant. A pause that is made longer, or shorter, goes on.
    pub(crate) fn throttle(&mut self, now: Time, until: Time) {
        if self.throttled_until.is_none_or(|until| until <= now) {
            self.throttled_since = Some(now);
        }
        self.throttled_until = Some(until);
    }

    /// Is no longer throttled.
    pub(crate) fn go_on(&mut self) {
        (self.throttled_since, self.throttled_until) = (None, None);
    }

    /// Gives it out again.
    pub(crate) fn open(&mut self) {
        self.closed = false;
        self.go_on();
    }
}
