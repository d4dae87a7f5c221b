//! What is named by its name or by its id: in JSON a text or a number. Inside it is text, as on a command line: what is
//! a number is an id.

use schemars::JsonSchema;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// How it may be written, for schemas.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum NameOrId {
    /// The id.
    Id(u64),
    /// The name, or the id as text.
    Name(String),
}

/// As it was given.
struct Given(String);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or an id")
            }

            fn visit_u64<E: Error>(self, id: u64) -> Result<Given, E> {
                Ok(Given(id.to_string()))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Given, E> {
                Ok(Given(name.to_owned()))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// Reads one, as serde's `deserialize_with` wants it.
pub(crate) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Given::deserialize(deserializer).map(|given| given.0)
}

/// Reads one that may be missing.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Given>::deserialize(deserializer)?.map(|given| given.0))
}

/// Reads a list of them.
pub(crate) fn several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Vec::<Given>::deserialize(deserializer)?.into_iter().map(|given| given.0).collect())
}

#[cfg(test)]
mod tests {
    use crate::{PauseRequest, RerunRequest, ScheduleNamed, Selector, WaitRequest};

    #[test]
    fn an_id_is_a_number_or_text_wherever_a_name_may_stand() {
        for id in ["7", "\"7\""] {
            let of = |name: &str| format!("{{\"{name}\": {id}}}");
            for name in ["session", "workflow"] {
                let pause: PauseRequest = serde_json::from_str(&of(name)).unwrap();
                let selector: Selector = serde_json::from_str(&of(name)).unwrap();
                let wait: WaitRequest = serde_json::from_str(&of(name)).unwrap();
                for [session, workflow] in [
                    [pause.session, pause.workflow],
                    [selector.session, selector.workflow],
                    [wait.select.session, wait.select.workflow],
                ] {
                    assert_eq!(session.or(workflow).as_deref(), Some("7"), "{name}");
                }
            }
            let named: ScheduleNamed = serde_json::from_str(&of("schedule")).unwrap();
            let rerun: RerunRequest = serde_json::from_str(&format!("{{\"from\": [{id}, \"a\"]}}")).unwrap();
            assert_eq!((&*named.schedule, rerun.from), ("7", vec!["7".to_owned(), "a".to_owned()]));
        }
        let error = serde_json::from_str::<PauseRequest>("{\"workflow\": [1]}").unwrap_err().to_string();
        assert!(error.starts_with("invalid type: sequence, expected a name or an id"), "{error}");
        assert_eq!(serde_json::from_str::<PauseRequest>("{\"workflow\": null}").unwrap().workflow, None);
    }
}
