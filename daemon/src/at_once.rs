//! How many attempts ran at one instant, at most: from when each began to run until its processes had ended.
//!
//! Which of them the daemon heard of first does not matter, so what is told late, or many in one message, counts as what it was.

use orchd_model::Time;

/// Changes that stay open while attempts are followed: a worker tells of some hundred attempts in one message, all beginnings
/// before all ends.
const OPEN: usize = 2048;

/// Beginnings and ends of attempts, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtOnce {
    changes: Vec<(Time, i64)>,
    /// How many ran before the first of the changes, and the most that ran until then.
    before: i64,
    most_before: i64,
}

impl AtOnce {
    /// One begins to run.
    pub fn begins(&mut self, at: Time) {
        self.changes.push((at, 1));
    }

    /// One has ended.
    pub fn ends(&mut self, at: Time) {
        self.changes.push((at, -1));
    }

    /// One ran from then until then.
    pub fn ran(&mut self, from: Time, to: Time) {
        self.begins(from);
        self.ends(to);
    }

    /// The most that ran at one instant.
    pub fn most(&self) -> u64 {
        let mut all = self.clone();
        all.count(all.changes.len());
        all.most_before.cast_unsigned()
    }

    /// Forgets what lies so far back that nothing is told of it any more, where all is told about in the order of time.
    pub fn settle(&mut self) {
        if self.changes.len() >= 2 * OPEN {
            self.count(OPEN);
        }
    }

    /// Counts the first of the changes.
    fn count(&mut self, changes: usize) {
        // An end sorts before a beginning at the same instant.
        self.changes.sort_unstable();
        for (_, change) in self.changes.drain(..changes) {
            self.before += change;
            self.most_before = self.most_before.max(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_one_after_the_other_are_one_at_once_in_whichever_order_they_are_told() {
        let mut at_once = AtOnce::default();
        (0..300).for_each(|n| at_once.begins(Time(n)));
        (0..300).for_each(|n| at_once.ends(Time(n + 1)));
        assert_eq!(at_once.most(), 1);
        at_once.ran(Time(10), Time(12));
        assert_eq!(at_once.most(), 2);
    }

    #[test]
    fn what_is_settled_is_still_counted() {
        let mut at_once = AtOnce::default();
        at_once.begins(Time(0));
        for n in 0..10 * OPEN as u64 {
            at_once.ran(Time(n), Time(n + 1));
            at_once.settle();
        }
        assert!(at_once.changes.len() < 2 * OPEN);
        assert_eq!(at_once.most(), 2);
    }
}
