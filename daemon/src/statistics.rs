//! Figures that are cheap at any size: kept up by the engine, read by anyone.

use hdrhistogram::Histogram;
use orchd_api::{Throughput, WaitTimes};
use orchd_core::{Core, Counters, Event, Fact};
use orchd_model::{Sequence, Time};
use std::collections::{HashMap, VecDeque};

use crate::feed::ended_task;

/// Seconds of history behind the longest rate.
const RATE_SECONDS: u64 = 900;
const MICROS_PER_SECOND: u64 = 1_000_000;

/// The scheduler's own figures after a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Picture {
    pub counters: Counters,
    pub workflows_running: usize,
    pub backlog: usize,
    pub paused: bool,
}

impl Picture {
    /// The figures as they are now.
    pub fn of(core: &Core) -> Self {
        Self {
            counters: *core.counters(),
            workflows_running: core.workflows_running(),
            backlog: core.backlog(),
            paused: core.is_paused(),
        }
    }
}

/// What is durable, in figures.
pub struct Statistics {
    pub picture: Picture,
    /// The last durable event.
    pub sequence: Sequence,
    /// Microseconds from the beginning of a run to its first start.
    wait: Histogram<u64>,
    /// When tasks that have not started were submitted or revived, to tell how long they waited.
    submitted: HashMap<orchd_model::TaskId, Time>,
    /// Tasks that ended, by second.
    ended: VecDeque<(u64, u64)>,
}

/// Tasks whose submission is remembered for the wait histogram; beyond it waits are not sampled.
const REMEMBERED: usize = 65_536;

impl Statistics {
    /// Figures of a scheduler that was just loaded.
    pub fn new(core: &Core) -> Self {
        Self {
            picture: Picture::of(core),
            sequence: Sequence(core.meta().next_sequence.0.saturating_sub(1)),
            // A day at three significant digits; what waits longer counts as a day.
            wait: Histogram::new_with_bounds(1, 86_400 * MICROS_PER_SECOND, 3)
                .expect("the bounds and digits are valid constants"),
            submitted: HashMap::new(),
            ended: VecDeque::new(),
        }
    }

    /// Takes note of a durable batch and of the scheduler as it was after it.
    pub fn note(&mut self, events: &[Event], picture: Picture) {
        self.picture = picture;
        for event in events {
            match &event.fact {
                Fact::Submitted { record, .. } | Fact::Revived { record, .. }
                    if self.submitted.len() < REMEMBERED =>
                {
                    self.submitted.insert(record.id, record.run_at);
                }
                Fact::Started { task, .. } => {
                    if let Some(since) = self.submitted.remove(task) {
                        self.wait.saturating_record(event.time.since(since).0.max(1));
                    }
                }
                _ => {}
            }
            if let Some(task) = ended_task(event) {
                self.submitted.remove(&task);
                self.count_end(event.time.0 / MICROS_PER_SECOND);
            }
        }
        if let Some(last) = events.last() {
            self.sequence = last.sequence;
        }
    }

    fn count_end(&mut self, second: u64) {
        match self.ended.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.ended.push_back((second, 1)),
        }
        while self.ended.front().is_some_and(|(first, _)| first + RATE_SECONDS < second) {
            self.ended.pop_front();
        }
    }

    /// From submission to first start.
    pub fn wait_times(&self) -> WaitTimes {
        let seconds = |micros: u64| micros as f64 / MICROS_PER_SECOND as f64;
        if self.wait.is_empty() {
            return WaitTimes::default();
        }
        WaitTimes {
            avg: self.wait.mean() / MICROS_PER_SECOND as f64,
            p50: seconds(self.wait.value_at_quantile(0.50)),
            p95: seconds(self.wait.value_at_quantile(0.95)),
            p99: seconds(self.wait.value_at_quantile(0.99)),
        }
    }

    /// Tasks that ended per second, over the last minutes.
    pub fn throughput(&self, now: Time) -> Throughput {
        let second = now.0 / MICROS_PER_SECOND;
        let rate = |window: u64| {
            let ended: u64 =
                self.ended.iter().filter(|(at, _)| at + window > second).map(|(_, count)| count).sum();
            ended as f64 / window as f64
        };
        Throughput { m1: rate(60), m5: rate(300), m15: rate(RATE_SECONDS) }
    }
}
