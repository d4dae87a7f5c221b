//! How long tasks wait and run, over the life of the state directory.
//!
//! Counted event by event, so that the same events always give the same distributions. Now and then they are
//! written with a batch; a start takes the written ones and counts the events of the journal that came after.
//! So a restart loses nothing, also after a `kill -9`, and no commit writes them but once in a while.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use orchd_api::Distribution;
use orchd_core::{Event, Fact};
use orchd_model::{Sequence, Span, TaskId, Time};
use orchd_store::{Figures, History};

/// Tasks that are remembered as the slowest.
const SLOWEST: usize = 10;
/// Longer times count as this: 30 days, in microseconds.
const LONGEST_US: u64 = 30 * 86_400 * 1_000_000;
/// Significant digits: percentiles are at most 1 % off, and a histogram takes 36 KiB.
const DIGITS: u8 = 2;
/// Written again after so many events, which bounds what a start has to count…
const WRITE_EVENTS: u64 = 4096;
/// … or after so long, so that trimming finds the journal counted.
const WRITE_AFTER: Span = Span::from_secs(10);
/// Events that a start reads at a time.
const READ_EVENTS: usize = 16_384;

/// Distributions up to an event.
pub struct Distributions {
    through: Sequence,
    waits: Histogram<u64>,
    runs: Histogram<u64>,
    /// The longest attempts, at most one a task, the longest first.
    slowest: Vec<(TaskId, Span)>,
    /// When and up to which event they were written last.
    written: (Time, Sequence),
}

impl Distributions {
    /// As they were when the last daemon ended, however that happened.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(history: &mut dyn History) -> Result<Self> {
        let figures = history.figures().context("the figures cannot be read")?.unwrap_or_default();
        let mut distributions = Self {
            through: figures.through,
            waits: histogram(&figures.waits),
            runs: histogram(&figures.runs),
            slowest: figures.slowest,
            written: (Time::default(), figures.through),
        };
        loop {
            let events = history.events(distributions.through, READ_EVENTS).context("the journal")?;
            if events.is_empty() {
                return Ok(distributions);
            }
            distributions.note(&events);
        }
    }

    /// Counts events that follow those counted so far.
    pub fn note(&mut self, events: &[Event]) {
        for event in events {
            if let Fact::Started { waited: Some(waited), .. } = &event.fact {
                self.waits.saturating_record(waited.0);
            }
            if let (Some(task), Some(attempt)) = (event.fact.task(), event.fact.attempt_end()) {
                self.runs.saturating_record(attempt.execution_time.0);
                self.note_slow(task, attempt.execution_time);
            }
            self.through = event.sequence;
        }
    }

    fn note_slow(&mut self, task: TaskId, time: Span) {
        if self.slowest.len() == SLOWEST && self.slowest.last().is_some_and(|(_, least)| *least >= time) {
            return;
        }
        if let Some(known) = self.slowest.iter().position(|(id, _)| *id == task) {
            if self.slowest[known].1 >= time {
                return;
            }
            self.slowest.remove(known);
        }
        let place = self.slowest.partition_point(|(_, other)| *other >= time);
        self.slowest.insert(place, (task, time));
        self.slowest.truncate(SLOWEST);
    }

    /// What to write with the next batch, if it is time for that.
    pub fn due(&mut self, now: Time) -> Option<Figures> {
        let (at, through) = self.written;
        if self.through == through {
            return None;
        }
        if self.through.0 - through.0 < WRITE_EVENTS && now < at + WRITE_AFTER {
            return None;
        }
        self.written = (now, self.through);
        Some(Figures {
            through: self.through,
            waits: buckets(&self.waits),
            runs: buckets(&self.runs),
            slowest: self.slowest.clone(),
        })
    }

    /// The slowest tasks, the slowest first.
    pub fn slowest(&self) -> &[(TaskId, Span)] {
        &self.slowest
    }

    /// From the beginning of a run to its first start; `sum` and `count` are those of the scheduler, which are
    /// exact.
    pub fn waits(&self, sum: Span, count: u64) -> Distribution {
        summary(&self.waits, sum, count)
    }

    /// Of attempts; as [`Distributions::waits`].
    pub fn runs(&self, sum: Span, count: u64) -> Distribution {
        summary(&self.runs, sum, count)
    }
}

fn histogram(buckets: &[(u64, u64)]) -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds and digits are valid constants");
    for (value, count) in buckets {
        histogram.saturating_record_n(*value, *count);
    }
    histogram
}

/// The buckets that are not empty: a value that falls into each, and its count.
fn buckets(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}

fn summary(histogram: &Histogram<u64>, sum: Span, count: u64) -> Distribution {
    let at = |quantile: f64| Span(histogram.value_at_quantile(quantile)).as_secs_f64();
    let avg = if count == 0 { 0.0 } else { sum.as_secs_f64() / count as f64 };
    Distribution { avg, p50: at(0.5), p95: at(0.95), p99: at(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Distributions {
        Distributions {
            through: Sequence(0),
            waits: histogram(&[]),
            runs: histogram(&[]),
            slowest: Vec::new(),
            written: (Time(0), Sequence(0)),
        }
    }

    #[test]
    fn nothing_counted_is_zero() {
        assert_eq!(empty().runs(Span(0), 0), Distribution::default());
    }

    #[test]
    fn what_is_written_and_read_again_has_the_same_percentiles() {
        let mut live = empty();
        for micros in (0..20_000).map(|i: u64| i * i) {
            live.waits.saturating_record(micros);
        }
        live.waits.saturating_record(u64::MAX);
        let read = histogram(&buckets(&live.waits));
        for quantile in [0.01, 0.5, 0.95, 0.99, 0.999, 1.0] {
            assert_eq!(read.value_at_quantile(quantile), live.waits.value_at_quantile(quantile));
        }
        let median = live.waits(Span(0), 0).p50;
        assert!((median - 100.0).abs() <= 1.0, "{median} is more than 1 % from 10000 * 10000 us");
    }

    #[test]
    fn the_slowest_are_the_longest_attempts_with_one_place_a_task() {
        let mut live = empty();
        for (task, time) in (1..=30).map(|i| (i % 15, i)) {
            live.note_slow(TaskId(task), Span(time));
        }
        // Tasks 0 to 14 had their second, longer attempts last: 16 to 30.
        let expected: Vec<_> = (21..=30).rev().map(|i| (TaskId(i % 15), Span(i))).collect();
        assert_eq!(live.slowest(), expected);
        live.note_slow(TaskId(0), Span(29));
        assert_eq!(live.slowest(), expected, "a shorter attempt changes nothing");
    }

    #[test]
    fn they_are_written_after_many_events_or_some_time_but_not_for_nothing() {
        let mut live = empty();
        let start = Time(0) + WRITE_AFTER;
        assert!(live.due(start).is_none(), "nothing has happened");
        live.through = Sequence(1);
        assert_eq!(live.due(start).map(|figures| figures.through), Some(Sequence(1)));
        live.through = Sequence(2);
        assert!(live.due(start).is_none(), "they were written just now");
        live.through = Sequence(1 + WRITE_EVENTS);
        assert!(live.due(start).is_some(), "many events came");
        live.through = live.through.next();
        assert!(live.due(start + WRITE_AFTER).is_some(), "time has passed");
    }
}
