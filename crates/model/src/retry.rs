//! Retry policies: how often, how long between, and after which failures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::{Amount, Code, ErrorType, Outcome, Refusal, Span};

/// What a user wrote about retries; what is not given comes from the workflow or the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetrySpec {
    /// Tries after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Tries in all, the first included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The delay before the first retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<Span>,
    /// What each delay is multiplied by to give the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<f64>,
    /// No delay is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Span>,
    /// Each delay is multiplied by a uniform number from 1-j to 1+j; from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
    /// Only these failures are retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<Matcher>>,
    /// These failures are never retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_retry_on: Option<Vec<Matcher>>,
    /// What the claim on memory is multiplied by after an attempt that ended with `OutOfMemory`; from 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_factor: Option<f64>,
}

impl RetrySpec {
    /// This spec with what it leaves open taken from `defaults`.
    #[must_use]
    pub fn or(&self, defaults: &Self) -> Self {
        let counted = self.max_retries.is_some() || self.max_attempts.is_some();
        let counts = if counted { self } else { defaults };
        Self {
            max_retries: counts.max_retries,
            max_attempts: counts.max_attempts,
            retry_delay: self.retry_delay.or(defaults.retry_delay),
            backoff: self.backoff.or(defaults.backoff),
            max_delay: self.max_delay.or(defaults.max_delay),
            jitter: self.jitter.or(defaults.jitter),
            retry_on: self.retry_on.clone().or_else(|| defaults.retry_on.clone()),
            no_retry_on: self.no_retry_on.clone().or_else(|| defaults.no_retry_on.clone()),
            memory_factor: self.memory_factor.or(defaults.memory_factor),
        }
    }

    /// Whether nothing is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The policy that this spec asks for, with orchd's own defaults for what is open.
    ///
    /// # Errors
    /// `malformed` when the two counts disagree, or a number is out of its range.
    pub fn policy(&self) -> Result<RetryPolicy, Refusal> {
        if let Some((_, refusal)) = self.mistakes().into_iter().next() {
            return Err(refusal);
        }
        let attempts = self.max_attempts.map_or(0, |attempts| attempts.saturating_sub(1));
        let memory_factor = self.memory_factor.unwrap_or(1.0);
        Ok(RetryPolicy {
            max_retries: self.max_retries.unwrap_or(attempts),
            delay: self.retry_delay.unwrap_or(Span::from_secs(1)),
            backoff: self.backoff.unwrap_or(1.0),
            max_delay: self.max_delay.unwrap_or(Span::from_secs(60)),
            jitter: self.jitter.unwrap_or(0.0),
            retry_on: self.retry_on.clone().unwrap_or_default(),
            no_retry_on: self.no_retry_on.clone().unwrap_or_default(),
            memory_factor,
        })
    }
}

impl RetrySpec {
    /// Everything that is wrong, each with the field that says so.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(&'static str, Refusal)> {
        let mut mistakes = Vec::new();
        match (self.max_retries, self.max_attempts) {
            (_, Some(0)) => {
                mistakes.push(("max_attempts", out_of_range("max_attempts must be at least 1", 0)));
            }
            (Some(retries), Some(attempts)) if u64::from(retries) + 1 != u64::from(attempts) => {
                let refusal = Refusal::new(Code::Malformed, "max_attempts must be max_retries + 1")
                    .value(format!("max_retries {retries}, max_attempts {attempts}"))
                    .hint("give only one of the two");
                mistakes.push(("max_attempts", refusal));
            }
            _ => {}
        }
        if let Some(backoff) = self.backoff.filter(|backoff| !(1.0..=1000.0).contains(backoff)) {
            mistakes.push(("backoff", out_of_range("backoff must be between 1 and 1000", backoff)));
        }
        if let Some(jitter) = self.jitter.filter(|jitter| !(0.0..=1.0).contains(jitter)) {
            mistakes.push(("jitter", out_of_range("jitter must be between 0 and 1", jitter)));
        }
        if let Some(factor) = self.memory_factor.filter(|factor| !(1.0..=100.0).contains(factor)) {
            mistakes.push(("memory_factor", out_of_range("memory_factor must be between 1 and 100", factor)));
        }
        mistakes
    }
}

fn out_of_range(message: &str, value: impl fmt::Display) -> Refusal {
    Refusal::new(Code::Malformed, message).value(value.to_string())
}

/// A complete retry policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetryPolicy {
    /// Tries after the first.
    pub max_retries: u32,
    /// The delay before the first retry.
    pub delay: Span,
    /// Growth of the delay, at least 1.
    pub backoff: f64,
    /// No delay is longer.
    pub max_delay: Span,
    /// From 0 to 1.
    pub jitter: f64,
    /// Only these failures are retried; empty: all.
    pub retry_on: Vec<Matcher>,
    /// These failures are never retried.
    pub no_retry_on: Vec<Matcher>,
    /// Growth of the claim on memory after `OutOfMemory`, at least 1.
    pub memory_factor: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 0,
            delay: Span::from_secs(1),
            backoff: 1.0,
            max_delay: Span::from_secs(60),
            jitter: 0.0,
            retry_on: Vec::new(),
            no_retry_on: Vec::new(),
            memory_factor: 1.0,
        }
    }
}

impl RetryPolicy {
    /// The delay before retry number `retry` (from 1):
    /// min(delay * backoff^(retry-1), `max_delay`), times uniform(1-j, 1+j), capped again.
    /// `uniform` is a random number from 0 to 1.
    #[must_use]
    pub fn delay_before(&self, retry: u32, uniform: f64) -> Span {
        let exponent = f64::from(retry.saturating_sub(1));
        let grown = self.delay.scale(self.backoff.powf(exponent)).min(self.max_delay);
        if self.jitter == 0.0 {
            return grown;
        }
        grown.scale(1.0 + self.jitter * (2.0 * uniform - 1.0)).min(self.max_delay)
    }

    /// What to claim of memory after an attempt with this claim had too little of it; at most the capacity.
    /// None: no more than before.
    #[must_use]
    pub fn more_memory(&self, claim: Amount, capacity: Option<Amount>) -> Option<Amount> {
        // Bytes are whole ones.
        let bytes = (claim.as_f64() * self.memory_factor).floor();
        let grown = Amount::nearest(bytes).ok().or(capacity)?;
        let grown = capacity.map_or(grown, |capacity| grown.min(capacity));
        (grown > claim).then_some(grown)
    }

    /// Whether a failure of this kind is retried at all, while tries are left. A template that could not be filled in never
    /// is: what it reads does not change between two attempts.
    #[must_use]
    pub fn retries(&self, outcome: &Outcome) -> bool {
        if outcome.error_type() == Some(ErrorType::InvalidTemplate) {
            return false;
        }
        let matches = |matchers: &[Matcher]| matchers.iter().any(|m| m.matches(outcome));
        !matches(&self.no_retry_on) && (self.retry_on.is_empty() || matches(&self.retry_on))
    }
}

/// Names failures: an exit code (`7`), a range (`1-9`), a signal (`SIGKILL`) or an error type (`Timeout`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Matcher {
    /// Exit codes from the first to the last.
    ExitCodes(i32, i32),
    /// A signal by its number.
    Signal(i32),
    /// An error type by its name.
    ErrorType(ErrorType),
}

const SIGNALS: [(&str, i32); 16] = [
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGILL", 4),
    ("SIGTRAP", 5),
    ("SIGABRT", 6),
    ("SIGBUS", 7),
    ("SIGFPE", 8),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGSEGV", 11),
    ("SIGUSR2", 12),
    ("SIGPIPE", 13),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGXCPU", 24),
];

/// The name of a signal (Linux numbers, signal(7)), or `SIGn` for one without a common name.
pub(crate) fn signal_name(signal: i32) -> String {
    SIGNALS
        .iter()
        .find(|(_, number)| *number == signal)
        .map_or_else(|| format!("SIG{signal}"), |(name, _)| (*name).to_owned())
}

impl Matcher {
    /// Whether the failure is one of those named.
    #[must_use]
    pub fn matches(&self, outcome: &Outcome) -> bool {
        match self {
            Self::ExitCodes(first, last) => {
                outcome.error_type().is_some_and(|t| t == ErrorType::ExitCode)
                    && outcome.exit_code().is_some_and(|code| (*first..=*last).contains(&code))
            }
            Self::Signal(signal) => outcome.signal() == Some(*signal),
            Self::ErrorType(error_type) => outcome.error_type().as_ref() == Some(error_type),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExitCodes(first, last) if first == last => write!(f, "{first}"),
            Self::ExitCodes(first, last) => write!(f, "{first}-{last}"),
            Self::Signal(signal) => f.write_str(&signal_name(*signal)),
            Self::ErrorType(error_type) => error_type.fmt(f),
        }
    }
}

impl FromStr for Matcher {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse = |message: &str| {
            Refusal::new(Code::Malformed, message)
                .value(text)
                .hint("write an exit code (7), a range (1-9), a signal (SIGKILL) or an error type (Timeout)")
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let parse = |part: &str| part.parse().ok().filter(|code| (0..=255).contains(code));
            return match (parse(first), parse(last)) {
                (Some(first), Some(last)) if first <= last => Ok(Self::ExitCodes(first, last)),
                _ => Err(refuse("not a range of exit codes from 0 to 255")),
            };
        }
        if let Some(rest) = text.strip_prefix("SIG") {
            let number = SIGNALS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
            return number
                .or_else(|| rest.parse().ok().filter(|n| (1..=64).contains(n)))
                .map(Self::Signal)
                .ok_or_else(|| refuse("unknown signal"));
        }
        let is_name = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_.:".contains(c));
        if is_name { Ok(Self::ErrorType(ErrorType::from(text))) } else { Err(refuse("not an error type")) }
    }
}

impl Serialize for Matcher {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an exit code, a range, a signal or an error type")]
        enum Written {
            Number(u64),
            Text(String),
        }
        let text = if deserializer.is_human_readable() {
            match Written::deserialize(deserializer)? {
                Written::Number(number) => number.to_string(),
                Written::Text(text) => text,
            }
        } else {
            String::deserialize(deserializer)?
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Result<RetryPolicy, Refusal> {
        serde_json::from_str::<RetrySpec>(json).unwrap().policy()
    }

    #[test]
    fn a_template_that_cannot_be_filled_in_is_not_tried_again() {
        let matcher = "InvalidTemplate".parse().unwrap();
        for retry_on in [Vec::new(), vec![matcher]] {
            let policy = RetryPolicy { max_retries: 3, retry_on, ..RetryPolicy::default() };
            assert!(!policy.retries(&Outcome::failed(ErrorType::InvalidTemplate, "x")));
        }
    }

    #[test]
    fn delays_grow_by_the_backoff_and_stop_at_the_cap() {
        let policy = policy(r#"{"max_retries": 6, "retry_delay": 1, "backoff": 2, "max_delay": 8}"#).unwrap();
        let delays: Vec<f64> = (1..=6).map(|k| policy.delay_before(k, 0.5).as_secs_f64()).collect();
        assert_eq!(delays, [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]);
        assert_eq!(policy.delay_before(u32::MAX, 0.5), Span::from_secs(8));
    }

    #[test]
    fn jitter_spreads_both_ways_and_is_capped_again() {
        let policy = policy(r#"{"retry_delay": 10, "jitter": 0.5, "max_delay": 12}"#).unwrap();
        assert_eq!(policy.delay_before(1, 0.0), Span::from_secs(5));
        assert_eq!(policy.delay_before(1, 0.5), Span::from_secs(10));
        assert_eq!(policy.delay_before(1, 1.0), Span::from_secs(12));
    }

    #[test]
    fn counts_that_disagree_are_refused() {
        assert_eq!(policy(r#"{"max_retries": 2, "max_attempts": 3}"#).unwrap().max_retries, 2);
        assert_eq!(policy(r#"{"max_attempts": 3}"#).unwrap().max_retries, 2);
        for json in [
            r#"{"max_retries": 3, "max_attempts": 3}"#,
            r#"{"max_attempts": 0}"#,
            r#"{"backoff": 0.5}"#,
            r#"{"jitter": 1.5}"#,
            r#"{"memory_factor": 0.5}"#,
            r#"{"memory_factor": 101}"#,
        ] {
            assert_eq!(policy(json).unwrap_err().code, Code::Malformed, "{json}");
        }
    }

    #[test]
    fn a_claim_on_memory_grows_up_to_the_capacity() {
        let policy = policy(r#"{"memory_factor": 1.5}"#).unwrap();
        let grown = |claim, capacity: Option<u64>| {
            policy.more_memory(Amount::units(claim), capacity.map(Amount::units))
        };
        assert_eq!(grown(101, None), Some(Amount::units(151)));
        assert_eq!(grown(100, Some(120)), Some(Amount::units(120)));
        assert_eq!(grown(120, Some(120)), None);
        // The capacity was lowered meanwhile.
        assert_eq!(grown(120, Some(100)), None);
        assert_eq!(RetryPolicy::default().more_memory(Amount::units(100), None), None);
    }

    #[test]
    fn matchers_name_codes_ranges_signals_and_types() {
        for text in ["7", "1-9", "SIGKILL", "SIG40", "Timeout", "my.Error"] {
            assert_eq!(text.parse::<Matcher>().unwrap().to_string(), text);
        }
        for text in ["", "9-1", "300", "SIGFOO", "SIG0", "a b"] {
            assert!(text.parse::<Matcher>().is_err(), "{text:?} should be refused");
        }
    }

    #[test]
    fn retry_on_and_no_retry_on_choose_failures() {
        let exit = |code| Outcome::exited(code);
        let only = policy(r#"{"retry_on": ["1-9", "SIGKILL"], "no_retry_on": [7]}"#).unwrap();
        assert!(only.retries(&exit(1)) && !only.retries(&exit(7)) && !only.retries(&exit(10)));
        assert!(only.retries(&Outcome::signalled(9)) && !only.retries(&Outcome::TimedOut));
        let not_timeouts = policy(r#"{"no_retry_on": ["Timeout"]}"#).unwrap();
        assert!(!not_timeouts.retries(&Outcome::TimedOut) && not_timeouts.retries(&exit(1)));
    }
}
