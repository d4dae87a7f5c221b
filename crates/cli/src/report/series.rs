//! What was held of each resource over time, and how many attempts ran.

use orchd_model::Time;
use std::collections::BTreeMap;

use super::Drawn;
use super::lanes::end;

/// A value that changes in steps; it begins at zero.
#[derive(Default)]
pub(crate) struct Series {
    /// From when on which value holds.
    pub(crate) steps: Vec<(Time, f64)>,
}

impl Series {
    fn new(mut changes: Vec<(Time, i64)>) -> Self {
        changes.sort_unstable();
        let mut steps: Vec<(Time, f64)> = Vec::new();
        let mut value = 0_i64;
        for (at, change) in changes {
            value += change;
            let step = (at, value as f64 / 1000.0);
            match steps.last_mut() {
                Some(last) if last.0 == at => *last = step,
                _ => steps.push(step),
            }
        }
        Self { steps }
    }

    pub(crate) fn highest(&self) -> f64 {
        self.steps.iter().map(|(_, value)| *value).fold(0.0, f64::max)
    }

    /// The value times the time it held, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        let pairs = self.steps.windows(2);
        pairs.map(|pair| pair[0].1 * pair[1].0.since(pair[0].0).as_secs_f64()).sum()
    }
}

/// How many attempts ran.
pub(crate) fn running(drawn: &Drawn) -> Series {
    let attempts = drawn.tasks.iter().filter(|task| !task.guard).flat_map(|task| &task.attempts);
    Series::new(attempts.flat_map(|a| [(a.started_at, 1000), (end(a, drawn.now), -1000)]).collect())
}

/// What was held of each resource.
pub(crate) fn held(drawn: &Drawn) -> BTreeMap<String, Series> {
    let mut changes: BTreeMap<String, Vec<(Time, i64)>> = BTreeMap::new();
    for task in &drawn.tasks {
        for attempt in &task.attempts {
            // Claims are given back when the end is known.
            let until = attempt.finished_at.unwrap_or(drawn.now).max(attempt.started_at);
            for claim in task.claims_of(attempt) {
                let amount = claim.amount.as_thousandths().min(u64::MAX >> 20).cast_signed();
                let of = changes.entry(claim.resource.to_string()).or_default();
                of.extend([(attempt.started_at, amount), (until, -amount)]);
            }
        }
    }
    changes.into_iter().map(|(name, of)| (name, Series::new(of))).collect()
}
