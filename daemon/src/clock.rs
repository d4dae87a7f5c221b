//! The daemon's clock: the wall clock when it started plus the monotonic clock since, so it never runs
//! backwards, whatever happens to the wall clock meanwhile.

use orchd_model::{Span, Time};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time. Copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_at: Time,
    /// What the monotonic clock of the machine showed then.
    shown: Span,
}

impl Clock {
    /// Starts at the wall clock's time, or at `not_before` when the wall clock has gone back behind it.
    pub fn start(not_before: Time) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall = Time(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX));
        let (started, shown) =
            (Instant::now(), rustix::time::clock_gettime(rustix::time::ClockId::Monotonic));
        let shown = Duration::try_from(shown).unwrap_or_default().into();
        Self { started, started_at: wall.max(not_before), shown }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.started_at + self.started.elapsed().into()
    }

    /// The instant of the monotonic clock at which this clock shows `time`.
    pub fn instant(&self, time: Time) -> Instant {
        self.started + Duration::from(time.since(self.started_at))
    }

    /// What this clock showed when the monotonic clock of the machine (`CLOCK_MONOTONIC`, which is the one of an
    /// [`Instant`], too) showed this much.
    pub fn on_monotonic(&self, shown: Span) -> Time {
        Time((self.started_at.0 + shown.0).saturating_sub(self.shown.0))
    }

    /// When this clock was started.
    pub fn started_at(&self) -> Time {
        self.started_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_on_the_monotonic_clock_has_its_time() {
        let clock = Clock::start(Time(0));
        assert_eq!(clock.on_monotonic(clock.shown), clock.started_at);
        let later = Span(clock.shown.0 + 7);
        assert_eq!(clock.on_monotonic(later), Time(clock.started_at.0 + 7));
    }
}
