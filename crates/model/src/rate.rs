//! Rates: tokens that come back as time passes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::{Amount, Span};

/// A token bucket: `tokens` flow in evenly during each `per`, up to `burst` of them gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// How many tokens come in a time of `per`.
    pub tokens: Amount,
    /// The time in which so many tokens come.
    pub per: Span,
    /// The most tokens that gather; a claim may draw so many at once.
    pub burst: Amount,
}

impl Rate {
    /// How long an empty bucket takes to fill; none if that is more than [`Span::MAX`].
    #[must_use]
    pub fn fills_in(&self) -> Option<Span> {
        let tokens = u128::from(self.tokens.as_thousandths()).max(1);
        let micros = (u128::from(self.burst.as_thousandths()) * u128::from(self.per.0)).div_ceil(tokens);
        u64::try_from(micros).ok().map(Span).filter(|span| *span <= Span::MAX)
    }
}

impl fmt::Display for Rate {
    /// `60 per 1m`, with the burst where it is another number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.tokens, self.per)?;
        if self.burst == self.tokens { Ok(()) } else { write!(f, ", burst {}", self.burst) }
    }
}
