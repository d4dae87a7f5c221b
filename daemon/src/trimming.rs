//! When what has ended leaves the disk. The writer asks between two commits, and removes one slice at a time.
//!
//! ```text
//! nothing due ──── so many tasks have ended since, or the oldest is too old ───► a round of slices ──► nothing due
//! ```
//! A round begins when a twentieth more tasks than shall be kept may be there, or when the oldest is older than
//! allowed by a tenth (at most an hour): an idle daemon is not woken for every task that grows old.

use orchd_core::{Event, TaskRecord};
use orchd_model::{AttemptNumber, Span, TaskId, Time};
use orchd_store::{Retention, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::ends_a_task;
use crate::clock::Clock;
use crate::live::Live;
use crate::spared::Sparing;
use crate::sweeper::Sweeper;

/// A round begins at the latest after so many ended tasks: looking where it ends costs a walk over what is kept.
const ENDED_TASKS: u64 = 50_000;
/// What has grown old waits at the longest so much longer for others.
const LATE: Span = Span::from_secs(3600);
/// And at least so much.
const LATE_SHORTEST: Span = Span::from_millis(50);
/// While commits follow one another without a pause, a slice is removed for every so many tasks that end: twice
/// as many leave as come.
const TASKS_PER_SLICE: u64 = 250;
/// How long a slice waits for what is being brought back, when no commit comes before.
const PUT_OFF: Duration = Duration::from_millis(5);

/// The trimming of one store.
pub struct Trimming {
    live: Arc<Live>,
    clock: Clock,
    sweeper: Sweeper,
    sparing: Sparing,
    /// Tasks that have ended since the last round.
    ended: u64,
    /// Tasks that have ended since the last slice.
    since_slice: u64,
    /// The end of the oldest that is kept; none before the first round, and when nothing is.
    oldest: Option<Time>,
    /// What the round that is going on keeps. There is one at the start.
    round: Option<Retention>,
    /// Whether the last slice was put off, because something is being brought back.
    is_put_off: bool,
}

impl Trimming {
    /// Trims as the configuration says.
    pub fn new(live: Arc<Live>, clock: Clock, sweeper: Sweeper, sparing: Sparing) -> Self {
        let mut trimming = Self {
            live,
            clock,
            sweeper,
            sparing,
            ended: 0,
            since_slice: 0,
            oldest: None,
            round: None,
            is_put_off: false,
        };
        trimming.begin();
        trimming
    }

    /// Takes note of what was committed, and of the tasks that it touched: some stand for several.
    pub fn note(&mut self, events: &[Event], touched: &[TaskRecord]) {
        let ranges = touched.iter().filter(|record| record.more > 0);
        let more: BTreeMap<TaskId, u64> = ranges.map(|record| (record.id, record.more)).collect();
        let ended = events.iter().filter(|event| ends_a_task(&event.fact));
        let ends: u64 =
            ended.map(|event| 1 + event.fact.task().and_then(|id| more.get(&id)).copied().unwrap_or(0)).sum();
        self.ended += ends;
        self.since_slice += ends;
        if self.oldest.is_none() {
            self.oldest = events.first().map(|event| event.time);
        }
        let limit = (self.live.config().retention.tasks / 20).clamp(1, ENDED_TASKS);
        if self.round.is_none() && self.ended >= limit {
            self.begin();
        }
    }

    /// How long there is nothing to do; none: until something ends.
    pub fn rest(&self) -> Option<Duration> {
        if self.round.is_some() {
            return Some(if self.is_put_off { PUT_OFF } else { Duration::ZERO });
        }
        let age = self.live.config().retention.age;
        let oldest = self.oldest.filter(|_| age > Span::ZERO)?;
        let due = oldest + age + age.scale(0.1).clamp(LATE_SHORTEST, LATE);
        Some(due.since(self.clock.now()).into())
    }

    /// Whether a slice is due although commits wait.
    pub fn is_behind(&self) -> bool {
        self.round.is_some() && self.since_slice >= TASKS_PER_SLICE
    }

    fn begin(&mut self) {
        let retention = self.live.config().retention;
        let since = match retention.age {
            Span::ZERO => Time(0),
            age => Time(self.clock.now().0.saturating_sub(age.0)),
        };
        self.ended = 0;
        self.round = Some(Retention { tasks: retention.tasks, since });
    }

    /// Removes a slice. What goes wrong is tried again with the next round.
    pub fn step(&mut self, store: &mut impl Store) {
        if self.round.is_none() {
            self.begin();
        }
        let Some(retention) = self.round else { return };
        self.since_slice = 0;
        let trimmed = self.sparing.unless_spared(|| store.trim(&retention));
        self.is_put_off = trimmed.is_none();
        let Some(trimmed) = trimmed else { return };
        match trimmed {
            Ok(trimmed) => {
                self.sweep(trimmed.tasks);
                if !trimmed.more {
                    self.round = None;
                    // What is older and still there waits for something else, as for the end of its workflow.
                    self.oldest = trimmed.oldest.map(|oldest| oldest.max(retention.since));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "what has ended could not be removed");
                self.round = None;
                // Not before as much time has passed again.
                self.oldest = Some(self.clock.now());
            }
        }
    }

    fn sweep(&self, tasks: Vec<(TaskId, AttemptNumber)>) {
        if !tasks.is_empty() {
            tracing::debug!(tasks = tasks.len(), "what ended long ago has been removed");
            self.sweeper.remove(tasks);
        }
    }
}
