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

impl fmt::Display for Rate {
    /// `60 per 1m`, with the burst where it is another number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.tokens, self.per)?;
        if self.burst == self.tokens { Ok(()) } else { write!(f, ", burst {}", self.burst) }
    }
}
