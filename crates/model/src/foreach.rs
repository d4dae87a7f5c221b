//! A task for each element of a list, within a workflow: what the list is.
//!
//! A task with a list stands for all of its elements: when its dependencies have ended it is turned into an
//! array of them, and ends with the list of their results when the last has ended.

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

use crate::{Body, Code, Indices, Refusal, TaskSpec, limits};

/// The bytes that `[9999]` and what else an element's name has beyond its task's may take.
const INDEX_BYTES: usize = 24;

/// Where the elements come from. In JSON an expression, a list, or `{"array": "1-10"}`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Foreach {
    /// An expression over parameters and the results of dependencies that gives a list.
    Expression(String),
    /// The elements themselves.
    Items(Arc<[Value]>),
    /// Indices.
    Array {
        /// From which to which.
        array: Indices,
    },
}

impl<'de> Deserialize<'de> for Foreach {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Range {
            array: Indices,
        }
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = Foreach;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, an expression that gives one, or {\"array\": \"1-10\"}")
            }

            fn visit_str<E: Error>(self, expression: &str) -> Result<Foreach, E> {
                Ok(Foreach::Expression(expression.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Foreach, A::Error> {
                Arc::deserialize(SeqAccessDeserializer::new(items)).map(Foreach::Items)
            }

            fn visit_map<A: MapAccess<'de>>(self, range: A) -> Result<Foreach, A::Error> {
                let Range { array } = Range::deserialize(MapAccessDeserializer::new(range))?;
                Ok(Foreach::Array { array })
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// The task that a name such as `a[3]` names an element of, if that has any.
#[must_use]
pub fn task_of_element(name: &str) -> Option<&str> {
    let (task, index) = name.strip_suffix(']')?.rsplit_once('[')?;
    let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !task.is_empty()).then_some(task)
}

impl TaskSpec {
    /// Whether its result is not what a process or a handler leaves, but is worked out by the daemon: from
    /// its elements, its parameters or the results of others.
    #[must_use]
    pub fn is_computed(&self) -> bool {
        let says_something = !self.parameters.is_empty() || self.transform.is_some() || self.collect;
        (self.foreach.is_some() && self.array.is_none()) || (self.body == Body::Milestone && says_something)
    }

    /// The spec of the array that this task becomes, with these elements or its own indices. Only the limits
    /// of one attempt are theirs: when it may start, until when, and on what condition, is said of the whole.
    #[must_use]
    pub fn elements(&self, items: Arc<[Value]>) -> Option<Self> {
        let array = match &self.foreach {
            Some(Foreach::Array { array }) => *array,
            _ => Indices::new(0, (items.len() as u64).checked_sub(1)?, 1).ok()?,
        };
        let foreach = match &self.foreach {
            Some(Foreach::Array { .. }) => None,
            _ => Some(Foreach::Items(items)),
        };
        Some(Self {
            name: format!("{}[{}]", self.name, crate::PLACEHOLDER),
            array: Some(array),
            foreach,
            not_before: None,
            deadline: None,
            hold: false,
            key: None,
            ..self.clone()
        })
    }

    /// The element at a place (from 0) of an array that was made from a list.
    #[must_use]
    pub fn item(&self, place: u64) -> Option<&Value> {
        match (&self.foreach, self.array) {
            (Some(Foreach::Items(items)), Some(_)) => items.get(usize::try_from(place).ok()?),
            _ => None,
        }
    }

    pub(crate) fn check_foreach(&self) -> Result<(), Refusal> {
        let count = match &self.foreach {
            None => return self.check_collect(),
            // The elements themselves: they were checked when they were made.
            Some(Foreach::Items(_)) if self.array.is_some() => return Ok(()),
            Some(Foreach::Expression(_)) => 0,
            Some(Foreach::Items(items)) => items.len() as u64,
            Some(Foreach::Array { array }) => array.len(),
        };
        if count > limits::FOREACH_ITEMS {
            let message = format!("a task is made for at most {} elements", limits::FOREACH_ITEMS);
            return Err(Refusal::new(Code::TooLarge, message).value(count.to_string()));
        }
        if self.name.len() + INDEX_BYTES > limits::NAME_BYTES {
            let message = "a task for each element needs a shorter name";
            return Err(Refusal::new(Code::TooLarge, message).value(&self.name));
        }
        if self.array.is_some() {
            return Err(Refusal::new(Code::Malformed, "give one of foreach and array"));
        }
        if self.body == Body::Milestone {
            let refusal = Refusal::new(Code::Malformed, "foreach needs something to do for each element");
            return Err(refusal.hint("give one of command, shell, module"));
        }
        self.check_collect()
    }

    fn check_collect(&self) -> Result<(), Refusal> {
        if self.collect && self.body != Body::Milestone {
            return Err(Refusal::new(
                Code::Malformed,
                "only a task without a body collects the results of others",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> Result<TaskSpec, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_is_written_in_three_ways_and_read_back() {
        for (json, is_it) in [
            (r#""tasks.a.output""#, Foreach::Expression("tasks.a.output".into())),
            (r#"[1,"x"]"#, Foreach::Items(vec![Value::from(1), "x".into()].into())),
            (r#"{"array":"1-9/4"}"#, Foreach::Array { array: Indices::new(1, 9, 4).unwrap() }),
        ] {
            let spec = spec(&format!(r#"{{"shell":"true","foreach":{json}}}"#)).unwrap();
            assert_eq!(spec.foreach.as_ref(), Some(&is_it));
            assert_eq!(serde_json::to_string(&is_it).unwrap(), json);
            assert!(spec.is_computed());
        }
    }

    #[test]
    fn elements_have_their_index_in_their_name_and_know_their_item() {
        let task =
            spec(r#"{"name":"t","shell":"echo {index}","foreach":["a","b"],"hold":true,"key":"k"}"#).unwrap();
        let Some(Foreach::Items(items)) = task.foreach.clone() else { panic!("a list") };
        let array = task.elements(items).unwrap();
        assert_eq!(
            (array.element_name(1), array.item(1), array.hold),
            ("t[1]".into(), Some(&"b".into()), false)
        );
        assert!(!array.is_computed());
        let element = array.element(1);
        assert_eq!(element.body, Body::Shell { line: "echo {index}".into() }, "only an array fills this in");
        assert_eq!((element.env["ORCHD_INDEX"].as_str(), &element.foreach), ("1", &None));
        assert_eq!(task.elements(Arc::new([])), None, "nothing is no array");
        let array = spec(r#"{"name":"t","shell":"echo {index}","foreach":{"array":"5-7"}}"#).unwrap();
        let element = array.elements(Arc::new([])).unwrap().element(2);
        assert_eq!((element.name.as_str(), &element.body), ("t[7]", &Body::Shell { line: "echo 7".into() }));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let many = format!(r#"{{"shell":"true","foreach":{{"array":"1-{}"}}}}"#, limits::FOREACH_ITEMS + 1);
        let long = format!(r#"{{"shell":"true","foreach":[1],"name":"{}"}}"#, "n".repeat(limits::NAME_BYTES));
        for json in [
            many.as_str(),
            &long,
            r#"{"shell":"true","foreach":"x","array":"1-2"}"#,
            r#"{"foreach":[1]}"#,
            r#"{"shell":"true","collect":true}"#,
        ] {
            assert!(spec(json).is_err(), "{json}");
        }
    }
}
