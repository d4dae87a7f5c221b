//! Arrays: many alike tasks that are written, sent and stored as one.
//!
//! An array has one spec and a range of indices; its elements have contiguous ids. An element learns its
//! index from `$ORCHD_INDEX` and from `{index}` in the texts of its spec.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

use crate::{Body, Code, Refusal, TaskId, TaskSpec, limits};

/// The indices of an array: `A-B` or `A-B/STEP`, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Indices {
    first: u64,
    /// The last index that the steps reach. Invariant: not before `first`.
    last: u64,
    /// Invariant: at least 1.
    step: u64,
}

impl Indices {
    /// The indices from `first` to `last` in steps of `step`.
    ///
    /// # Errors
    /// `malformed` for an empty range or no step, `too_large` above [`limits::ARRAY_TASKS`].
    pub fn new(first: u64, last: u64, step: u64) -> Result<Self, Refusal> {
        let text = || format!("{first}-{last}/{step}");
        if last < first || step == 0 {
            return Err(malformed_indices(&text()));
        }
        let indices = Self { first, last: last - (last - first) % step, step };
        if (indices.last - first) / step >= limits::ARRAY_TASKS {
            return Err(Refusal::new(
                Code::TooLarge,
                format!("an array has at most {} elements", limits::ARRAY_TASKS),
            )
            .value(text()));
        }
        Ok(indices)
    }

    /// How many there are; at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> u64 {
        (self.last - self.first) / self.step + 1
    }

    /// The first place, from 0, whose index is at least this one; one behind the last if there is none.
    #[must_use]
    pub fn place_from(&self, index: u64) -> u64 {
        if index > self.last { self.len() } else { index.saturating_sub(self.first).div_ceil(self.step) }
    }

    /// The index at a place, from 0.
    #[must_use]
    pub fn at(&self, place: u64) -> u64 {
        self.first + place * self.step
    }
}

fn malformed_indices(text: &str) -> Refusal {
    Refusal::new(Code::Malformed, "not a range of indices")
        .value(text)
        .hint("A-B or A-B/STEP with whole numbers, A not above B, for example 1-100 or 0-98/2")
}

impl fmt::Display for Indices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)?;
        if self.step > 1 { write!(f, "/{}", self.step) } else { Ok(()) }
    }
}

impl FromStr for Indices {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let bad = || malformed_indices(text);
        let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, number(step)?),
            None => (text, 1),
        };
        let (first, last) = range.split_once('-').ok_or_else(bad)?;
        // As it was written, which may be without the step.
        Self::new(number(first)?, number(last)?, step).map_err(|refusal| refusal.value(text))
    }
}

impl Serialize for Indices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Indices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Tasks with contiguous ids: `17`, or `17-26` with both ends. In JSON a number, or a text for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskRange {
    /// The first one.
    pub first: TaskId,
    /// The last one. Invariant: not before the first.
    pub last: TaskId,
}

impl TaskRange {
    /// The tasks from `first` on, so many and one more.
    #[must_use]
    pub fn from_first(first: TaskId, more: u64) -> Self {
        Self { first, last: TaskId(first.0.saturating_add(more)) }
    }

    /// How many ids there are; at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> u64 {
        (self.last.0 - self.first.0).saturating_add(1)
    }

    /// Whether a task is one of them.
    #[must_use]
    pub fn contains(&self, task: TaskId) -> bool {
        (self.first..=self.last).contains(&task)
    }

    /// The ids that are in both.
    #[must_use]
    pub fn overlap(&self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }

    /// The id, if it is one.
    #[must_use]
    pub fn single(&self) -> Option<TaskId> {
        (self.first == self.last).then_some(self.first)
    }
}

impl From<TaskId> for TaskRange {
    fn from(id: TaskId) -> Self {
        Self { first: id, last: id }
    }
}

impl fmt::Display for TaskRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(id) => write!(f, "{id}"),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for TaskRange {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let Some((first, last)) = text.split_once('-').filter(|(first, _)| !first.is_empty()) else {
            return text.parse::<TaskId>().map(Self::from);
        };
        let range = Self { first: first.parse()?, last: last.parse()? };
        if range.last < range.first {
            return Err(Refusal::new(Code::Malformed, "a range of tasks ends before it begins").value(text));
        }
        Ok(range)
    }
}

impl Serialize for TaskRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.single() {
            Some(id) => serializer.serialize_u64(id.0),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for TaskRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = TaskRange;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a task id, or a range of them like \"17-26\"")
            }

            fn visit_u64<E: Error>(self, id: u64) -> Result<TaskRange, E> {
                Ok(TaskId(id).into())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TaskRange, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What stands for the index in the texts of an array's spec.
pub const PLACEHOLDER: &str = "{index}";
/// What several elements are called together, by the name that theirs are made of: of a list's elements that is the name of
/// the task that they were made for; of an array it is as its user wrote it.
#[must_use]
pub fn array_name(name: &str) -> &str {
    name.strip_suffix("[{index}]").unwrap_or(name)
}

/// The environment variable with the index.
const INDEX_VARIABLE: &str = "ORCHD_INDEX";

impl TaskSpec {
    /// The name of the element at a place (from 0) of this array; its name when it is no array's.
    #[must_use]
    pub fn element_name(&self, place: u64) -> String {
        match self.array {
            Some(indices) if self.names_elements() => {
                self.name.replace(PLACEHOLDER, &indices.at(place).to_string())
            }
            Some(_) | None => self.name.clone(),
        }
    }

    /// Whether each element of this array has a name of its own.
    #[must_use]
    pub fn names_elements(&self) -> bool {
        self.array.is_some() && self.name.contains(PLACEHOLDER)
    }

    /// The spec of the element at a place (from 0) of this array: `{index}` is filled in, `$ORCHD_INDEX` is
    /// set. The spec itself when it is no array's.
    #[must_use]
    pub fn element(&self, place: u64) -> Self {
        let Some(indices) = self.array else { return self.clone() };
        let index = indices.at(place).to_string();
        let fill = |text: &mut String| {
            if text.contains(PLACEHOLDER) {
                *text = filled(text, &index);
            }
        };
        let mut spec = Self { array: None, ..self.clone() };
        fill(&mut spec.name);
        if spec.foreach.take().is_some() {
            // Its texts are templates, which have a name for the index.
            spec.env.insert(INDEX_VARIABLE.to_owned(), index);
            return spec;
        }
        match &mut spec.body {
            Body::Command { argv } => argv.iter_mut().for_each(fill),
            Body::Shell { line } => fill(line),
            Body::Handler { command, .. } => command.iter_mut().flatten().for_each(fill),
            Body::Milestone => {}
        }
        spec.env.values_mut().for_each(fill);
        spec.cwd.iter_mut().for_each(fill);
        spec.stdin.iter_mut().for_each(fill);
        spec.parameters.values_mut().for_each(|value| fill_index(value, &index));
        spec.env.insert(INDEX_VARIABLE.to_owned(), index);
        spec
    }
}

/// The text with the index filled in, where it is not the inside of a template: `{{index}}`.
fn filled(text: &str, index: &str) -> String {
    let mut parts = text.split(PLACEHOLDER);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        filled.push_str(if filled.ends_with('{') { PLACEHOLDER } else { index });
        filled.push_str(part);
    }
    filled
}

/// Puts an index in the place of `{index}` in the texts of a value.
// Values are nested only as deep as the JSON reader allows.
pub fn fill_index(value: &mut serde_json::Value, index: &str) {
    match value {
        serde_json::Value::String(text) => *text = filled(text, index),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| fill_index(item, index)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|item| fill_index(item, index)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_read_counted_and_written_back() {
        for (text, len, last, shown) in [
            ("1-10", 10, 10, "1-10"),
            ("0-9/3", 4, 9, "0-9/3"),
            ("5-5", 1, 5, "5-5"),
            ("0-10/4", 3, 8, "0-8/4"),
            (
                "18446744073709551615-18446744073709551615",
                1,
                u64::MAX,
                "18446744073709551615-18446744073709551615",
            ),
        ] {
            let indices: Indices = text.parse().unwrap();
            assert_eq!((indices.len(), indices.at(len - 1)), (len, last), "{text}");
            assert_eq!(indices.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_range_of_indices_is_refused_with_its_text() {
        for text in ["", "7", "3-1", "1-", "-1", "1-2/0", "a-b", "1-2-3", "-5--1", "0-18446744073709551615"] {
            let refusal = text.parse::<Indices>().unwrap_err();
            assert!(!refusal.to_string().is_empty(), "{text}");
        }
        assert_eq!("0-99999999999".parse::<Indices>().unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn task_ranges_are_numbers_or_texts() {
        let ranges: Vec<TaskRange> = serde_json::from_str(r#"[7, "7", "17-26"]"#).unwrap();
        assert_eq!(serde_json::to_string(&ranges).unwrap(), r#"[7,7,"17-26"]"#);
        assert_eq!(ranges[2].len(), 10);
        assert!("26-17".parse::<TaskRange>().is_err() && "x".parse::<TaskRange>().is_err());
        let overlap = ranges[2].overlap(TaskRange { first: TaskId(20), last: TaskId(40) });
        assert_eq!(overlap.unwrap().to_string(), "20-26");
        assert_eq!(ranges[2].overlap(ranges[0]), None);
    }

    #[test]
    fn an_element_knows_its_index() {
        let spec: TaskSpec = serde_json::from_str(
            r#"{"shell":"echo {index}","name":"n{index}","env":{"A":"x{index}"},"array":"10-30/10",
                "parameters":{"a":[{"b":"{index}"}]}}"#,
        )
        .unwrap();
        let element = spec.element(2);
        assert_eq!(element.body, Body::Shell { line: "echo 30".into() });
        assert_eq!(element.name, "n30");
        assert_eq!(spec.element_name(2), "n30");
        assert_eq!(element.env["A"], "x30");
        assert_eq!(element.env[INDEX_VARIABLE], "30");
        assert_eq!(element.parameters["a"][0]["b"], "30");
        assert_eq!(filled("{index}{{index}} {index}", "3"), "3{{index}} 3");
    }
}
