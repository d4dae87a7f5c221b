//! Numbers in names: which of those from `PREFIX0SUFFIX` to `PREFIX1000000000SUFFIX` does a pattern mean?
//!
//! The numbers of a length are looked at as a tree, digit by digit from the left, and of each part of it is worked out
//! how many match: a part of which none matches is not gone into, and one of which all match is taken as a whole. So the
//! cost depends on how many stretches match, and not on how many numbers there are.

use orchd_model::{Glob, Reached};
use rustc_hash::FxHashMap;
use std::ops::RangeInclusive;

/// Looks for numbers.
pub(crate) struct Search<'g> {
    glob: &'g Glob,
    prefix: &'g str,
    suffix: &'g str,
    within: RangeInclusive<u64>,
    /// How many numbers of so many more digits match, from a place of the pattern on.
    counts: FxHashMap<(Reached, u32), u64>,
}

impl<'g> Search<'g> {
    pub(crate) fn new(glob: &'g Glob, prefix: &'g str, suffix: &'g str, within: RangeInclusive<u64>) -> Self {
        Self { glob, prefix, suffix, within, counts: FxHashMap::default() }
    }

    /// Gives the stretches of numbers whose names match, in order; neighbours may be apart.
    pub(crate) fn run(mut self, mut found: impl FnMut(RangeInclusive<u64>)) {
        let start = self.glob.after(&self.glob.begin(), self.prefix);
        let (least, most) = (digits(*self.within.start()), digits(*self.within.end()));
        for length in least..=most {
            // Only zero begins with a zero.
            let first = if length == 1 { 0 } else { 1 };
            for digit in first..10 {
                let reached = self.after(&start, digit);
                self.walk(reached, length - 1, u128::from(digit) * power(length - 1), &mut found);
            }
        }
    }

    /// Looks at the numbers that begin alike and have so many more digits.
    fn walk(&mut self, reached: Reached, more: u32, from: u128, found: &mut impl FnMut(RangeInclusive<u64>)) {
        let last = from + power(more) - 1;
        let (first_wanted, last_wanted) = (u128::from(*self.within.start()), u128::from(*self.within.end()));
        if last < first_wanted || from > last_wanted {
            return;
        }
        let count = self.count(&reached, more);
        if u128::from(count) == power(more) {
            // Both are among the wanted ones, which have 64 bits.
            found(from.max(first_wanted) as u64..=last.min(last_wanted) as u64);
        } else if count > 0 {
            for digit in 0..10 {
                let reached = self.after(&reached, digit);
                self.walk(reached, more - 1, from + u128::from(digit) * power(more - 1), found);
            }
        }
    }

    fn count(&mut self, reached: &Reached, more: u32) -> u64 {
        if more == 0 {
            return u64::from(self.glob.is_matched_at(&self.glob.after(reached, self.suffix)));
        }
        let key = (reached.clone(), more);
        if let Some(count) = self.counts.get(&key) {
            return *count;
        }
        let count = (0..10)
            .map(|digit| {
                let reached = self.after(reached, digit);
                self.count(&reached, more - 1)
            })
            .sum();
        self.counts.insert(key, count);
        count
    }

    fn after(&self, reached: &Reached, digit: u8) -> Reached {
        self.glob.after(reached, char::from(b'0' + digit).encode_utf8(&mut [0; 4]))
    }
}

fn power(exponent: u32) -> u128 {
    10_u128.pow(exponent)
}

fn digits(number: u64) -> u32 {
    number.checked_ilog10().unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(glob: &str, prefix: &str, suffix: &str, within: RangeInclusive<u64>) -> Vec<(u64, u64)> {
        let glob = glob.parse().unwrap();
        let mut found = Vec::new();
        Search::new(&glob, prefix, suffix, within).run(|part| found.push((*part.start(), *part.end())));
        found
    }

    #[test]
    fn of_very_many_numbers_those_that_match_are_found_without_looking_at_each() {
        let all = 0..=999_999_999;
        assert_eq!(numbers("x", "job-", "", all.clone()), []);
        assert_eq!(numbers("*x*", "job-", "!", all.clone()), []);
        assert_eq!(numbers("job-77777", "job-", "", all.clone()), [(77_777, 77_777)]);
        assert_eq!(numbers("job-12345678?!", "job-", "!", all.clone()), [(123_456_780, 123_456_789)]);
        assert_eq!(numbers("*-9999999[0-4]*", "job-", "", 5..=999_999_949).len(), 10);
        let every: u64 = numbers("job-*", "job-", "", all).iter().map(|(from, to)| to - from + 1).sum();
        assert_eq!(every, 1_000_000_000);
        assert_eq!(numbers("*", "", "", u64::MAX..=u64::MAX), [(u64::MAX, u64::MAX)]);
    }

    #[test]
    fn what_is_found_is_what_matches() {
        let globs =
            ["*", "a*", "*1", "*1*", "a?", "a??b", "a[13-5]*b", "*0*0*", "a1*b", "a[^0]b", "", "?*?*?", "*b"];
        for glob in globs {
            for (prefix, suffix) in [("a", "b"), ("", ""), ("a1", ""), ("", "0b")] {
                for within in [0..=1234, 7..=7, 95..=110, 0..=0, 998..=10_003] {
                    let pattern: Glob = glob.parse().unwrap();
                    let matches = |number: &u64| pattern.matches(&format!("{prefix}{number}{suffix}"));
                    let expected: Vec<u64> = within.clone().filter(matches).collect();
                    let found = numbers(glob, prefix, suffix, within);
                    let found: Vec<u64> = found.into_iter().flat_map(|(from, to)| from..=to).collect();
                    assert_eq!(found, expected, "{glob} {prefix} {suffix}");
                }
            }
        }
    }
}
