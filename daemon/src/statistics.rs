//! Figures that are cheap at any size: kept up by the engine, read by anyone.

use anyhow::Result;
use orchd_api::Throughput;
use orchd_core::{Core, Counters, Event};
use orchd_model::{Sequence, Time};
use orchd_store::History;
use std::collections::VecDeque;

use crate::distributions::Distributions;
use crate::feed::ended_task;
use crate::workflow_figures::RunningWorkflows;

/// Seconds of history behind the longest rate.
const RATE_SECONDS: u64 = 900;
const MICROS_PER_SECOND: u64 = 1_000_000;

/// The scheduler's own figures after a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Picture {
    pub counters: Counters,
    pub workflows_running: usize,
    pub sessions_open: usize,
    pub backlog: u64,
    pub paused: bool,
}

impl Picture {
    /// The figures as they are now.
    pub fn of(core: &Core) -> Self {
        Self {
            counters: *core.counters(),
            workflows_running: core.workflows_running(),
            sessions_open: core.sessions_open(),
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
    /// How long tasks waited and ran.
    pub distributions: Distributions,
    /// How far the workflows have come that were submitted since the daemon started.
    pub workflows: RunningWorkflows,
    /// Tasks that ended, by second, since the daemon started.
    ended: VecDeque<(u64, u64)>,
}

impl Statistics {
    /// Figures of a scheduler that was just loaded.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(core: &Core, history: &mut dyn History) -> Result<Self> {
        Ok(Self {
            picture: Picture::of(core),
            sequence: Sequence(core.meta().next_sequence.0.saturating_sub(1)),
            distributions: Distributions::load(history)?,
            workflows: RunningWorkflows::default(),
            ended: VecDeque::new(),
        })
    }

    /// Takes note of a durable batch and of the scheduler as it was after it.
    pub fn note(&mut self, events: &[Event], picture: Picture) {
        self.picture = picture;
        self.distributions.note(events);
        self.workflows.note(events);
        for event in events.iter().filter(|event| ended_task(event).is_some()) {
            self.count_end(event.time.0 / MICROS_PER_SECOND, event.more + 1);
        }
        if let Some(last) = events.last() {
            self.sequence = last.sequence;
        }
    }

    fn count_end(&mut self, second: u64, tasks: u64) {
        match self.ended.back_mut() {
            Some((last, count)) if *last == second => *count += tasks,
            _ => self.ended.push_back((second, tasks)),
        }
        while self.ended.front().is_some_and(|(first, _)| first + RATE_SECONDS < second) {
            self.ended.pop_front();
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
