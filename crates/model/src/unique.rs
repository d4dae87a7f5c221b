//! JSON objects in which no name stands twice. serde_json keeps the last one and says nothing: half of what somebody
//! wrote would be lost in silence.

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};
use std::fmt;

/// A JSON object without a name that stands twice, at any depth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UniqueNames(pub Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        unique_names(deserializer).map(Self)
    }
}

/// Reads such an object, as serde's `deserialize_with` wants it.
pub(crate) fn unique_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    deserializer.deserialize_map(Object)
}

/// What is said of a name that stands twice in an object.
pub(crate) fn twice(name: &str) -> String {
    format!("the same name stands twice: {name}\nhint: give {name} once")
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Map<String, Value>, A::Error> {
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(twice(&name)));
            }
            let value = map.next_value_seed(Any)?;
            object.insert(name, value);
        }
        Ok(object)
    }
}

/// Any value, its objects without names that stand twice.
struct Any;

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Any)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        Object.visit_map(map).map(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskSpec;

    #[test]
    fn an_object_is_read_as_it_is() {
        let text = r#"{"a": [1, -2, 3.5, null, true, {"b": "x\n", "c": {}}], "b": 18446744073709551615}"#;
        let read: UniqueNames = serde_json::from_str(text).unwrap();
        assert_eq!(Value::Object(read.0), serde_json::from_str::<Value>(text).unwrap());
        assert!(serde_json::from_str::<UniqueNames>("[1]").is_err());
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_at_any_depth() {
        for text in
            [r#"{"a": 1, "a": 1}"#, r#"{"b": {"a": 1, "a": 2}}"#, r#"{"b": [{"a": 1, "c": 1, "a": 2}]}"#]
        {
            let error = serde_json::from_str::<UniqueNames>(text).unwrap_err().to_string();
            assert!(error.starts_with("the same name stands twice: a\nhint: give a once"), "{error}");
        }
    }

    #[test]
    fn a_spec_has_each_name_once() {
        for (text, expected) in [
            (r#"{"shell": "a", "shell": "b"}"#, "the same name stands twice: shell\nhint: give shell once"),
            (
                r#"{"shell": "a", "parameters": {"x": 1, "x": 2}}"#,
                "parameters: the same name stands twice: x\nhint: ",
            ),
            (
                r#"{"shell": "a", "metadata": {"x": 1, "x": 2}}"#,
                "metadata: the same name stands twice: x\nhint: ",
            ),
            (r#"{"shell": "a", "env": {"X": "1", "X": "1"}}"#, "env: the same name stands twice: X\nhint: "),
        ] {
            // The variables are compared with those that were read before.
            for _ in 0..2 {
                let error = serde_json::from_str::<TaskSpec>(text).unwrap_err().to_string();
                assert!(error.starts_with(expected), "{error}");
            }
        }
    }
}
