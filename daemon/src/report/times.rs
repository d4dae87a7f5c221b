//! Means and percentiles of times that are all known.

use orchd_api::Times;
use orchd_model::Span;

/// The figures of these microseconds.
pub fn times(mut values: Vec<u64>) -> Times {
    values.sort_unstable();
    let Some(max) = values.last() else { return Times::default() };
    // The nearest rank: the smallest value that so many are not above.
    let percentile = |hundredths: usize| {
        let rank = (values.len() * hundredths).div_ceil(100).max(1);
        Span(values[rank - 1]).as_secs_f64()
    };
    let total = Span(values.iter().sum()).as_secs_f64();
    Times {
        count: values.len() as u64,
        total,
        avg: total / values.len() as f64,
        p50: percentile(50),
        p95: percentile(95),
        p99: percentile(99),
        max: Span(*max).as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        assert_eq!(times(Vec::new()), Times::default());
        let found = times((1..=100).rev().map(|second| second * 1_000_000).collect());
        let expected =
            Times { count: 100, total: 5050.0, avg: 50.5, p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 };
        assert_eq!(found, expected);
        let one = times(vec![2_000_000]);
        assert_eq!((one.p50, one.p99, one.max), (2.0, 2.0, 2.0));
    }
}
