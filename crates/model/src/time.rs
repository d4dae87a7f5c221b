//! Instants and durations as orchd counts them: whole microseconds.
//!
//! [`Time`] is microseconds since the Unix epoch as the daemon's clock tells it: the wall clock when the
//! daemon started plus the monotonic clock since, so it never runs backwards. [`Span`] is a duration.
//! In JSON a time is RFC 3339 and a span a number of seconds (or text with units, when read); in binary
//! records both are plain integers.

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use crate::{Code, Refusal};

const MICROS_PER_SECOND: u64 = 1_000_000;

/// An instant, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(pub u64);

/// A duration, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span(pub u64);

impl Time {
    /// The time from `earlier` to this instant; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// This instant as RFC 3339 text in UTC, with microseconds. RFC 3339 ends with the year 9999: what is later is
    /// written as the last instant that there is.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        let instant = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX);
        format!("{instant:.6}")
    }
}

impl Add<Span> for Time {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Self;

    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl FromStr for Time {
    type Err = Refusal;

    /// Reads RFC 3339 text.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse = |message: &str| Refusal::new(Code::Malformed, message).value(text);
        let (local, offset) = split_offset(text);
        if offset_hours(offset) > 23 {
            return Err(refuse("a time's offset from UTC must be less than 24 hours"));
        }
        // Both halves make sense, but not together.
        let is_far = || {
            let is_offset = format!("2000-01-01T00:00:00{offset}").parse::<jiff::Timestamp>().is_ok();
            is_offset && local.parse::<jiff::civil::DateTime>().is_ok()
        };
        match text.parse::<jiff::Timestamp>().map(|parsed| u64::try_from(parsed.as_microsecond())) {
            Ok(Ok(micros)) => Ok(Self(micros)),
            Err(_) if !is_far() => {
                Err(refuse("not a time").hint("write RFC 3339, such as 2030-01-31T18:00:00Z"))
            }
            Ok(Err(_)) | Err(_) => {
                Err(refuse("a time must be between 1970-01-01T00:00:00Z and 9999-12-30T22:00:00Z"))
            }
        }
    }
}

/// The date and time of day of a time, and its offset, which begins with a sign or is `Z`; empty when there is none.
fn split_offset(text: &str) -> (&str, &str) {
    // A date has signs of its own.
    let clock = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let end = text[clock..].find(['+', '-', 'Z', 'z']).map_or(text.len(), |found| clock + found);
    text.split_at(end)
}

/// The whole hours of an offset; 0 when there are none.
fn offset_hours(offset: &str) -> u32 {
    let digits: String = offset.chars().skip(1).take_while(char::is_ascii_digit).take(2).collect();
    digits.parse().unwrap_or(0)
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_rfc3339())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest duration that users may ask for: a hundred years keeps every sum within 64 bits.
    pub const MAX: Self = Self(100 * 366 * 24 * 3600 * MICROS_PER_SECOND);

    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * MICROS_PER_SECOND)
    }

    /// A span of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1000)
    }

    /// A span of `seconds`, rounded to a microsecond. Refuses negative, infinite and over-long values.
    ///
    /// # Errors
    /// `malformed` with the offending number.
    pub fn from_secs_f64(seconds: f64) -> Result<Self, Refusal> {
        if !(0.0..=Self::MAX.as_secs_f64()).contains(&seconds) {
            return Err(out_of_range().value(seconds.to_string()));
        }
        Ok(Self((seconds * MICROS_PER_SECOND as f64).round() as u64))
    }

    /// This span in seconds.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / MICROS_PER_SECOND as f64
    }

    /// This span multiplied by `factor`, at most [`Span::MAX`]; a factor that is no number counts as 0.
    #[must_use]
    pub fn scale(self, factor: f64) -> Self {
        Self(((self.0 as f64 * factor) as u64).min(Self::MAX.0))
    }
}

fn out_of_range() -> Refusal {
    Refusal::new(Code::Malformed, format!("a duration must be between 0 and {} (100 years)", Span::MAX))
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_micros(span.0)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(Self::MAX.0))
    }
}

impl fmt::Display for Span {
    /// Writes the shortest exact text that [`Span::from_str`] reads back: `250ms`, `1h30m`, `2.5s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < MICROS_PER_SECOND && self.0.is_multiple_of(1000) && self.0 > 0 {
            return write!(f, "{}ms", self.0 / 1000);
        }
        let (mut seconds, micros) = (self.0 / MICROS_PER_SECOND, self.0 % MICROS_PER_SECOND);
        for (unit, size) in [("d", 86_400), ("h", 3600), ("m", 60)] {
            if seconds >= size {
                write!(f, "{}{unit}", seconds / size)?;
                seconds %= size;
            }
        }
        match (seconds, micros) {
            (0, 0) if self.0 > 0 => Ok(()),
            (_, 0) => write!(f, "{seconds}s"),
            _ => write!(f, "{seconds}.{}s", format!("{micros:06}").trim_end_matches('0')),
        }
    }
}

impl FromStr for Span {
    type Err = Refusal;

    /// Reads a number of seconds (`2.5`) or numbers with units (`250ms`, `1h30m`, `7d`).
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse = || {
            let is_negative = text.trim().strip_prefix('-').is_some_and(|rest| rest.parse::<Self>().is_ok());
            let message = if is_negative { "a duration cannot be negative" } else { "not a duration" };
            Refusal::new(Code::Malformed, message)
                .value(text)
                .hint("write seconds (2.5) or numbers with units: us, ms, s, m, h, d, w (1h30m)")
        };
        let trimmed = text.trim();
        if trimmed.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let seconds = trimmed.parse().map_err(|_| refuse())?;
            return Self::from_secs_f64(seconds).map_err(|refusal| refusal.value(text));
        }
        let mut seconds = 0.0;
        let mut rest = trimmed;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?;
            let number: f64 = rest[..digits].parse().map_err(|_| refuse())?;
            let unit_and_more = &rest[digits..];
            let end = unit_and_more.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit_and_more.len());
            let scale = match &unit_and_more[..end] {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" | "sec" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                "w" => 604_800.0,
                "mo" | "month" | "months" | "y" | "yr" | "year" | "years" => {
                    let hint = "months and years differ in length: write days";
                    return Err(refuse().hint(format!("{hint}, at most {}", Self::MAX)));
                }
                _ => return Err(refuse()),
            };
            seconds += number * scale;
            rest = unit_and_more[end..].trim_start();
        }
        if trimmed.is_empty() {
            return Err(refuse());
        }
        Self::from_secs_f64(seconds).map_err(|refusal| refusal.value(text))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(self.as_secs_f64())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration: seconds, or text such as \"1h30m\"")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                Span::from_secs_f64(seconds as f64).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                Span::from_secs_f64(seconds as f64).map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
                Span::from_secs_f64(seconds).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Reader)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, micros) in [
            ("2", 2_000_000),
            ("0.25", 250_000),
            ("250ms", 250_000),
            ("1h30m", 5_400_000_000),
            ("7d", 604_800_000_000),
            ("10 s", 0),
            ("1m 5s", 65_000_000),
        ] {
            match text.parse::<Span>() {
                Ok(span) => assert_eq!(span.0, micros, "{text}"),
                Err(_) => assert_eq!(micros, 0, "{text} should be read"),
            }
        }
        for text in ["", "s", "1x", "-1", "nan", "inf", "1e3", "1..2s", "999999999w"] {
            assert!(text.parse::<Span>().is_err(), "{text:?} should be refused");
        }
    }

    #[test]
    fn an_instant_after_the_last_that_can_be_written_is_written_as_that_one() {
        for instant in [Time(u64::MAX), Time(i64::MAX.unsigned_abs()), Time(300_000_000_000_000_000)] {
            let read: Time = instant.to_rfc3339().parse().unwrap();
            assert_eq!(read.to_rfc3339(), instant.to_rfc3339());
            assert!(read < instant && instant.to_rfc3339().starts_with("9999-12-30"), "{instant}");
        }
    }

    #[test]
    fn a_span_that_is_too_long_is_told_how_long_it_may_be() {
        let said = |text: &str| text.parse::<Span>().unwrap_err();
        assert_eq!(said("1y").hint.unwrap(), "months and years differ in length: write days, at most 36600d");
        assert!(said("6months").hint.unwrap().ends_with("at most 36600d"));
        for text in ["36601d", "3162240001", "1d36600d"] {
            let refusal = said(text);
            assert_eq!(refusal.message, "a duration must be between 0 and 36600d (100 years)");
            assert_eq!(refusal.value.unwrap(), text);
        }
        assert_eq!("36600d".parse(), Ok(Span::MAX));
    }

    #[test]
    fn a_span_is_shown_as_text_that_reads_back() {
        for micros in [0, 1, 1000, 250_000, 1_000_000, 90_000_000, 5_400_000_000, 86_400_000_000, 2_500_000] {
            let span = Span(micros);
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span, "{span}");
        }
        assert_eq!(Span::from_secs(5400).to_string(), "1h30m");
        assert_eq!(Span::from_millis(250).to_string(), "250ms");
    }

    #[test]
    fn times_are_rfc_3339_in_json_and_integers_in_binary() {
        let time = Time(1_700_000_000_123_456);
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2023-11-14T22:13:20.123456Z\"");
        assert_eq!(serde_json::from_str::<Time>("\"2023-11-14T22:13:20.123456Z\"").unwrap(), time);
        let bytes = postcard::to_stdvec(&(time, Span(5))).unwrap();
        assert_eq!(postcard::from_bytes::<(Time, Span)>(&bytes).unwrap(), (time, Span(5)));
    }

    #[test]
    fn a_time_out_of_bounds_is_told_from_what_is_no_time() {
        for (text, part) in [
            ("9999-12-31T23:59:59Z", "between 1970"),
            ("9999-12-31T23:59:59+01:00", "between 1970"),
            ("0000-01-01T00:00:00Z", "between 1970"),
            ("1969-12-31T23:59:59Z", "between 1970"),
            ("2030-01-31T18:00:00+25:00", "less than 24 hours"),
            ("2030-01-31T18:00:00-2400", "less than 24 hours"),
            ("2030-01-31T18:00:00", "not a time"),
            ("2030-13-31T18:00:00Z", "not a time"),
            ("9999-99-99T00:00:00Z", "not a time"),
            ("2030-01-31T18:00:00+23:60", "not a time"),
            ("soon", "not a time"),
            ("ü", "not a time"),
            ("", "not a time"),
        ] {
            let refusal = text.parse::<Time>().unwrap_err();
            assert!(refusal.message.contains(part), "{text}: {refusal}");
            assert_eq!(refusal.value.as_deref(), Some(text));
        }
        let last = "9999-12-30T22:00:00Z".parse::<Time>().unwrap();
        assert_eq!(last.to_rfc3339(), "9999-12-30T22:00:00.000000Z");
        let east = "2030-01-31T18:00:00+23:59".parse::<Time>().unwrap();
        assert_eq!(east, "2030-01-30T18:01:00Z".parse().unwrap());
    }

    #[test]
    fn json_spans_are_numbers_or_text_and_never_negative() {
        assert_eq!(serde_json::from_str::<Span>("1.5").unwrap(), Span(1_500_000));
        assert_eq!(serde_json::from_str::<Span>("\"1m\"").unwrap(), Span::from_secs(60));
        assert!(serde_json::from_str::<Span>("-1").is_err());
        assert_eq!(serde_json::to_string(&Span(1_500_000)).unwrap(), "1.5");
    }
}
