//! How long to wait before a broken connection is tried again, and when to give up.

use std::time::Duration;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// Delays that double, up to a second, until one outage has lasted too long.
pub(crate) struct Backoff {
    give_up_after: Duration,
    delay: Duration,
    outage_since: Option<Instant>,
    is_told: bool,
}

impl Backoff {
    pub(crate) fn new(give_up_after: Duration) -> Self {
        Self { give_up_after, delay: FIRST, outage_since: None, is_told: false }
    }

    /// The daemon was there: the next failure begins a new outage.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.give_up_after);
    }

    /// Whether nothing was said yet of this outage; only once.
    pub(crate) fn is_news(&mut self) -> bool {
        !std::mem::replace(&mut self.is_told, true)
    }

    /// Waits for the next try; false when the outage has lasted too long.
    pub(crate) async fn pause(&mut self) -> bool {
        let since = *self.outage_since.get_or_insert_with(Instant::now);
        if since.elapsed() + self.delay > self.give_up_after {
            return false;
        }
        tokio::time::sleep(self.delay).await;
        self.delay = (self.delay * 2).min(LONGEST);
        true
    }
}
