//! How far an attempt has come, as it says itself.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::{Code, Refusal, limits};

/// A part of a whole, in thousandths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Percentage(u32);

/// How far an attempt has come: a percentage, a message, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// How much is done, 0 to 100; none while the attempt has never said.
    #[serde(default, with = "said")]
    #[schemars(with = "Option<Percentage>")]
    pub percentage: Option<Percentage>,
    /// What it is at, in its own words; at most 256 bytes.
    #[serde(default)]
    pub message: Option<Box<str>>,
}

const PER_PERCENT: f64 = 1000.0;

impl Percentage {
    /// Nothing is done.
    pub const ZERO: Self = Self(0);

    /// From a number between 0 and 100, to the nearest thousandth.
    ///
    /// # Errors
    /// `malformed` when it is not between them.
    pub fn from_f64(percent: f64) -> Result<Self, Refusal> {
        if (0.0..=100.0).contains(&percent) {
            return Ok(Self((percent * PER_PERCENT).round() as u32));
        }
        Err(Refusal::new(Code::Malformed, "a percentage is a number from 0 to 100")
            .value(percent.to_string()))
    }

    /// A number between 0 and 100.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / PER_PERCENT
    }

    /// Whole percents, rounded down: 100 is only said of what is done.
    #[must_use]
    pub const fn whole(self) -> u32 {
        self.0 / 1000
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.as_f64())
    }
}

impl FromStr for Percentage {
    type Err = Refusal;

    /// Reads a number from 0 to 100, with or without a `%`.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let number = text.trim().strip_suffix('%').unwrap_or(text.trim());
        let parsed: Result<f64, _> = number.parse();
        let refusal = || Refusal::new(Code::Malformed, "a percentage is a number from 0 to 100").value(text);
        parsed.map_err(|_| refusal()).and_then(|percent| Self::from_f64(percent).map_err(|_| refusal()))
    }
}

impl Serialize for Percentage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(self.as_f64())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Percentage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Self::from_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
        } else {
            u32::deserialize(deserializer).map(Self)
        }
    }
}

impl JsonSchema for Percentage {
    fn schema_name() -> Cow<'static, str> {
        "Percentage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 100, "description": "0 to 100." })
    }
}

/// A percentage that may never have been said. In its binary form it is a number that is none, which that of a percentage
/// leaves room for: records from before there were such words are read as they are.
mod said {
    use super::Percentage;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    const NEVER: Percentage = Percentage(u32::MAX);

    pub(super) fn serialize<S: Serializer>(
        percentage: &Option<Percentage>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            percentage.serialize(serializer)
        } else {
            percentage.unwrap_or(NEVER).serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Percentage>, D::Error> {
        if deserializer.is_human_readable() {
            Option::deserialize(deserializer)
        } else {
            Percentage::deserialize(deserializer).map(|found| Some(found).filter(|found| *found != NEVER))
        }
    }
}

impl Progress {
    /// A percentage, and what is being done. A message that is too long is cut; an empty one is none.
    #[must_use]
    pub fn new(percentage: Option<Percentage>, message: Option<&str>) -> Self {
        let message = message.map(str::trim).filter(|message| !message.is_empty());
        let message = message.map(|message| {
            let mut end = message.len().min(limits::PROGRESS_MESSAGE_BYTES);
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message[..end].into()
        });
        Self { percentage, message }
    }

    /// The same as a word of an attempt that had said something before: it is as far as then if it does not say how far.
    #[must_use]
    pub fn after(self, before: Option<&Self>) -> Self {
        let percentage = self.percentage.or_else(|| before?.percentage);
        Self { percentage, ..self }
    }

    /// Whether it says neither how far it is nor what it is at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.percentage.is_none() && self.message.is_none()
    }

    /// Reads a line as a task writes it: `0.4 what it is at` (a part of one), `40% what it is at`, or JSON with
    /// `percentage` (0 to 100) or `fraction` (0 to 1), `message`, or both. None for anything else.
    #[must_use]
    pub fn from_line(line: &[u8]) -> Option<Self> {
        let line = line.trim_ascii();
        match line.first()? {
            b'{' => Self::from_json(&serde_json::from_slice(line).ok()?),
            b'0'..=b'9' | b'.' => {
                let text = String::from_utf8_lossy(line);
                let (number, message) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
                let percent = match number.strip_suffix('%') {
                    Some(percent) => percent.parse::<f64>().ok()?,
                    None => number.parse::<f64>().ok()? * 100.0,
                };
                Some(Self::new(Some(Percentage::from_f64(percent).ok()?), Some(message)))
            }
            _ => None,
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        let given = |name: &str| value.get(name).filter(|value| !value.is_null());
        let percent = match (given("percentage"), given("fraction")) {
            (Some(percentage), _) => Some(percentage.as_f64()?),
            (None, Some(fraction)) => Some(fraction.as_f64()? * 100.0),
            (None, None) => None,
        };
        let percentage = percent.map(Percentage::from_f64).transpose().ok()?;
        let progress = Self::new(percentage, given("message").and_then(Value::as_str));
        (!progress.is_empty()).then_some(progress)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.percentage, &self.message) {
            (Some(percentage), Some(message)) => write!(f, "{percentage} {message}"),
            (Some(percentage), None) => write!(f, "{percentage}"),
            (None, message) => f.write_str(message.as_deref().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_each_form_and_garbage_is_passed_over() {
        for (line, expected) in [
            ("0.4 half way ", Some("40% half way")),
            ("1", Some("100%")),
            ("0.12345678", Some("12.346%")),
            ("40%", Some("40%")),
            ("33.3%\tthree", Some("33.3% three")),
            ("{\"percentage\": 7.5, \"message\": \"x\"}", Some("7.5% x")),
            ("{\"fraction\": 0.5}", Some("50%")),
            ("{\"message\": \"linking\"}", Some("linking")),
            ("{\"percentage\": null, \"message\": \"linking\"}", Some("linking")),
            ("{\"message\": \" \"}", None),
            ("{\"percentage\": \"7\", \"message\": \"x\"}", None),
            ("  .5 ", Some("50%")),
            ("", None),
            ("40 of 100", None),
            ("-0.1", None),
            ("101%", None),
            ("NaN", None),
            ("1e999", None),
            ("0.5x", None),
            ("{\"percentage\": \"7\"}", None),
            ("{", None),
            ("\u{1}\u{2}", None),
        ] {
            let read = Progress::from_line(line.as_bytes()).map(|progress| progress.to_string());
            assert_eq!(read.as_deref(), expected, "{line}");
        }
        assert_eq!(Progress::from_line(b"0.5 \xff").unwrap().message.as_deref(), Some("\u{fffd}"));
        let long = Progress::from_line(format!("0 {}", "ä".repeat(500)).as_bytes()).unwrap();
        assert_eq!(long.message.unwrap().len(), limits::PROGRESS_MESSAGE_BYTES);
    }

    #[test]
    fn a_word_that_does_not_say_how_far_is_as_far_as_the_one_before() {
        let said = |line: &str| Progress::from_line(line.as_bytes()).unwrap();
        let message = said("{\"message\": \"linking\"}");
        assert_eq!(message.clone().after(Some(&said("0.4 x"))), said("40% linking"));
        assert_eq!(said("0.5").after(Some(&said("0.4 x"))), said("50%"));
        assert_eq!(message.clone().after(None), message);
        for progress in [message, said("40% x")] {
            let text = serde_json::to_string(&progress).unwrap();
            assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress, "{text}");
        }
    }

    #[test]
    fn percentages_are_exact_to_a_thousandth_in_both_forms() {
        let third: Percentage = "33.333".parse().unwrap();
        assert_eq!(serde_json::to_string(&third).unwrap(), "33.333");
        assert_eq!(serde_json::from_str::<Percentage>("33.333").unwrap(), third);
        assert_eq!(("99.999%".parse::<Percentage>().unwrap()).whole(), 99);
        for wrong in ["-1", "100.1", "ten", ""] {
            assert!(wrong.parse::<Percentage>().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Percentage>("101").is_err());
    }
}
