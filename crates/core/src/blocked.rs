//! For how long somebody has waited for a resource, all in all and over restarts.
//!
//! A clock for each resource that runs while a queue is parked on it. What is to be stored changes only when the
//! clock starts or stops, so that a resource for which somebody always waits costs nothing: who goes on and who
//! comes next at the same instant do not stop it.

use orchd_model::{ResourceName, Span, Time};
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::resource::ResourceKey;

/// The time that somebody has waited for a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// All in all, before the present wait.
    pub before: Span,
    /// Since when somebody has been waiting without a break.
    pub since: Option<Time>,
}

impl Blocked {
    /// All in all, up to `now`.
    #[must_use]
    pub fn until(self, now: Time) -> Span {
        let present = self.since.map_or(Span::ZERO, |since| now.since(since));
        Span(self.before.0.saturating_add(present.0))
    }
}

/// The clock of a resource.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// Queues that are parked on it.
    waiting: u32,
    blocked: Blocked,
    /// What it was before it stopped, and when that was.
    stopped: Option<(Blocked, Time)>,
    /// What is stored.
    stored: Blocked,
}

impl Clock {
    /// One more queue waits.
    pub fn begin_wait(&mut self, now: Time) {
        self.waiting += 1;
        if self.blocked.since.is_none() {
            let goes_on = self.stopped.take().filter(|(_, at)| *at == now);
            self.blocked = goes_on.map_or(Blocked { since: Some(now), ..self.blocked }, |(before, _)| before);
        }
    }

    /// One queue less waits.
    pub fn end_wait(&mut self, now: Time) {
        self.waiting -= 1;
        if self.waiting == 0 {
            self.stopped = Some((self.blocked, now));
            self.blocked = Blocked { before: self.blocked.until(now), since: None };
        }
    }

    /// All in all.
    pub fn blocked(&self) -> Blocked {
        self.blocked
    }

    /// What is to be stored, if it has changed.
    fn take(&mut self) -> Option<Blocked> {
        let has_changed = self.stored != self.blocked;
        self.stored = self.blocked;
        has_changed.then_some(self.blocked)
    }

    /// What was stored. Whoever waited then has waited up to now: without a scheduler nobody is served.
    fn restore(&mut self, stored: Blocked, now: Time) {
        self.stored = stored;
        self.blocked = Blocked { before: stored.until(now), since: None };
    }
}

impl Core {
    /// What has changed of the times that resources were waited for since the last call, by name; nothing of one
    /// that is gone. To be stored with the next batch.
    pub fn take_blocked(&mut self) -> Vec<(ResourceName, Option<Blocked>)> {
        let (gone, changed) = self.ledger.take_clocks();
        let mut all: Vec<_> = gone.into_iter().map(|name| (name, None)).collect();
        for index in changed {
            if !self.ledger.exists(index) {
                continue;
            }
            let ResourceKey::Named(name) = self.ledger.get(index).key.clone() else { continue };
            all.extend(self.ledger.clock(index).take().map(|blocked| (name, Some(blocked))));
        }
        all
    }

    /// Goes on counting where the last scheduler ended. What is no longer there is not counted.
    pub(crate) fn restore_blocked(&mut self, stored: Vec<(ResourceName, Blocked)>) {
        let now = self.now;
        for (name, blocked) in stored {
            match self.ledger.find(&ResourceKey::Named(name.clone())) {
                Some(index) => self.ledger.clock(index).restore(blocked, now),
                None => self.ledger.note_gone(name),
            }
        }
    }
}
