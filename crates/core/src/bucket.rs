//! Token buckets in whole numbers: exact over years, since no refill is ever rounded.
//!
//! A bucket is a level in thousandths of a token and what has come in of the next one, as a fraction with
//! the rate's `per` as its denominator. Grants over any time of length T are at most `burst + tokens*T/per`.
//! (Token bucket: J. Turner, "New directions in communications", IEEE Comm. Magazine 24(10), 1986.)

use orchd_model::{Amount, Rate, Span, Time};
use serde::{Deserialize, Serialize};

/// How full a bucket was when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Thousandths of a token; below zero when more was used than was drawn.
    level: i64,
    /// What has come in of the next thousandth: this many of `per` in microseconds.
    part: u64,
    /// When that was.
    at: Time,
}

impl Bucket {
    /// A full bucket.
    pub fn full(rate: Rate, at: Time) -> Self {
        Self { level: signed(rate.burst), part: 0, at }
    }

    /// The bucket as it is at `now`, not before it was last looked at.
    #[must_use]
    pub fn at(self, rate: Rate, now: Time) -> Self {
        let now = now.max(self.at);
        let come = u128::from(now.since(self.at).0) * u128::from(rate.tokens.as_thousandths());
        let come = come + u128::from(self.part);
        let whole = i64::try_from(come / u128::from(rate.per.0)).unwrap_or(i64::MAX);
        let level = self.level.saturating_add(whole);
        let full = signed(rate.burst);
        if level >= full {
            return Self { level: full, part: 0, at: now };
        }
        Self { level, part: (come % u128::from(rate.per.0)) as u64, at: now }
    }

    /// The bucket after its rate has changed: what is in it stays, up to the new burst.
    #[must_use]
    pub fn rerated(self, old: Rate, new: Rate, now: Time) -> Self {
        let Self { level, at, .. } = self.at(old, now);
        Self { level: level.min(signed(new.burst)), part: 0, at }
    }

    /// The bucket without `drawn` tokens; below zero if there are not so many.
    #[must_use]
    pub fn without(self, drawn: Amount) -> Self {
        Self { level: self.level.saturating_sub(signed(drawn)), ..self }
    }

    /// The bucket with `returned` tokens more, up to the burst.
    #[must_use]
    pub fn with(self, returned: Amount, rate: Rate) -> Self {
        Self { level: self.level.saturating_add(signed(returned)).min(signed(rate.burst)), ..self }
    }

    /// Tokens that are there; none while there is a debt.
    #[must_use]
    pub fn left(self) -> Amount {
        Amount::thousandths(u64::try_from(self.level).unwrap_or(0))
    }

    /// When there is a whole token more than now, or the bucket is full; none when it is
    /// full already.
    #[must_use]
    pub fn next_refill(self, rate: Rate) -> Option<Time> {
        let next = Amount::thousandths((self.left().as_thousandths() / 1000 + 1) * 1000);
        let next = next.min(rate.burst);
        (self.left() < rate.burst).then(|| self.ready_at(next, rate))
    }

    /// When `wanted` tokens will be there if none is drawn meanwhile, at `at` or later. The wanted must not
    /// be more than the burst.
    #[must_use]
    pub fn ready_at(self, wanted: Amount, rate: Rate) -> Time {
        let missing = i128::from(signed(wanted)) - i128::from(self.level);
        if missing <= 0 {
            return self.at;
        }
        let missing = missing.unsigned_abs() * u128::from(rate.per.0) - u128::from(self.part);
        let wait = missing.div_ceil(u128::from(rate.tokens.as_thousandths()));
        self.at + Span(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

fn signed(amount: Amount) -> i64 {
    i64::try_from(amount.as_thousandths()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Rate =
        Rate { tokens: Amount::units(60), per: Span::from_secs(60), burst: Amount::units(10) };

    #[test]
    fn tokens_come_evenly_and_gather_up_to_the_burst() {
        let empty = Bucket::full(MINUTE, Time(0)).without(Amount::units(10));
        let at = |seconds: u64| empty.at(MINUTE, Time(seconds * 1_000_000)).left();
        assert_eq!([0, 1, 9, 10, 11, 1000].map(at), [0, 1, 9, 10, 10, 10].map(Amount::units),);
        assert_eq!(empty.ready_at(Amount::units(3), MINUTE), Time(3_000_000));
    }

    #[test]
    fn a_debt_is_paid_before_anything_is_there() {
        let debt = Bucket::full(MINUTE, Time(0)).without(Amount::units(15));
        assert_eq!(debt.left(), Amount::ZERO);
        assert_eq!(debt.ready_at(Amount::ONE, MINUTE), Time(6_000_000));
        assert_eq!(debt.at(MINUTE, Time(6_000_000)).left(), Amount::ONE);
    }

    #[test]
    fn a_thousand_years_of_looks_lose_nothing() {
        let rate = Rate { tokens: Amount::units(1), per: Span::from_secs(7 * 24 * 3600), burst: Amount::MAX };
        let start = Bucket { level: 0, part: 0, at: Time(0) };
        let end = Time(Span::from_secs(10 * 365 * 24 * 3600).0);
        let mut often = start;
        for step in 0..=100_000 {
            often = often.at(rate, Time(end.0 / 100_000 * step));
        }
        assert_eq!(often.at(rate, end), start.at(rate, end));
    }

    proptest! {
        /// However often it is looked at and whatever is drawn, what was granted never exceeds the burst and
        /// what came in, and a wait computed is exact to the microsecond.
        #[test]
        fn grants_never_exceed_what_came(
            tokens in 1_u64..5_000, per in 1_u64..100_000_000, burst in 1_u64..5_000,
            steps in proptest::collection::vec((0_u64..50_000_000, 1_u64..5_000), 1..40),
        ) {
            let rate = Rate {
                tokens: Amount::thousandths(tokens), per: Span(per), burst: Amount::thousandths(burst),
            };
            let mut bucket = Bucket::full(rate, Time(0));
            let (mut now, mut granted) = (Time(0), 0_u128);
            for (pause, wanted) in steps {
                now = now + Span(pause);
                let wanted = Amount::thousandths(wanted.min(burst));
                bucket = bucket.at(rate, now);
                let ready = bucket.ready_at(wanted, rate);
                prop_assert!(bucket.at(rate, ready).left() >= wanted);
                if ready > now {
                    prop_assert!(bucket.at(rate, Time(ready.0 - 1)).left() < wanted);
                    now = ready;
                }
                bucket = bucket.at(rate, now).without(wanted);
                granted += u128::from(wanted.as_thousandths());
                let come = u128::from(now.0) * u128::from(tokens) / u128::from(per);
                prop_assert!(granted <= u128::from(burst) + come);
            }
        }
    }
}
