//! The daemon's clock: the wall clock when it started plus the monotonic clock since, so it never runs
//! backwards, whatever happens to the wall clock meanwhile.

use orchd_model::Time;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time. Copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_at: Time,
}

impl Clock {
    /// Starts at the wall clock's time, or at `not_before` when the wall clock has gone back behind it.
    pub fn start(not_before: Time) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall = Time(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX));
        Self { started: Instant::now(), started_at: wall.max(not_before) }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.started_at + self.started.elapsed().into()
    }

    /// The instant of the monotonic clock at which this clock shows `time`.
    pub fn instant(&self, time: Time) -> Instant {
        self.started + Duration::from(time.since(self.started_at))
    }

    /// When this clock was started.
    pub fn started_at(&self) -> Time {
        self.started_at
    }
}
