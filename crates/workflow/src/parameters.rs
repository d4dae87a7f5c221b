//! The parameters of a workflow: defaults from the file, overridden by who runs it (`-P k=v`).

use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::error::{Report, shown};
use crate::node::Position;

/// The defaults with the overrides put over them.
///
/// An override that is text, for a parameter whose default is not, is read as JSON, so that `-P rows=50`
/// stays a number; a parameter without a default value (`null`) takes JSON or else text.
pub(crate) fn overridden(
    mut parameters: Map<String, Value>,
    overrides: &BTreeMap<String, Value>,
    report: &mut Report,
) -> Map<String, Value> {
    for (name, given) in overrides {
        let Some(default) = parameters.get(name) else {
            report.unknown(
                Position::default(),
                "the workflow has no such parameter",
                name,
                parameters.keys().map(String::as_str),
            );
            continue;
        };
        match typed(default, given) {
            Some(value) => drop(parameters.insert(name.clone(), value)),
            None => report.add_hint(
                Position::default(),
                format!("parameter {} must be {}: {}", shown(name), kind(default), shown(&given.to_string())),
                format!("its default is {}", shown(&default.to_string())),
            ),
        }
    }
    parameters
}

fn typed(default: &Value, given: &Value) -> Option<Value> {
    let value = match (default, given) {
        (Value::String(_), _) => given.clone(),
        (_, Value::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| given.clone()),
        _ => given.clone(),
    };
    let fits = default.is_null() || value.is_null() || kind(default) == kind(&value);
    fits.then_some(value)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "anything",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(name: &str, given: Value) -> Result<Value, String> {
        let defaults = json!({"rows": 10, "path": ".", "any": null, "on": true});
        let mut report = Report::new("f.yaml");
        let overrides = BTreeMap::from([(name.to_owned(), given)]);
        let parameters = overridden(defaults.as_object().unwrap().clone(), &overrides, &mut report);
        match report.into_errors().first() {
            Some(error) => Err(error.to_string()),
            None => Ok(parameters[name].clone()),
        }
    }

    #[test]
    fn overrides_take_the_type_of_the_default() {
        assert_eq!(run("rows", json!("50")), Ok(json!(50)));
        assert_eq!(run("path", json!("50")), Ok(json!("50")));
        assert_eq!(run("any", json!("text")), Ok(json!("text")));
        assert_eq!(run("any", json!("[1]")), Ok(json!([1])));
        assert_eq!(run("on", json!("false")), Ok(json!(false)));
        assert!(run("rows", json!("many")).unwrap_err().contains("must be a number"));
        assert!(run("path", json!(5)).unwrap_err().contains("must be text"));
    }

    #[test]
    fn an_unknown_override_names_the_nearest_parameter() {
        let error = run("row", json!(1)).unwrap_err();
        assert_eq!(error, "f.yaml: the workflow has no such parameter: row\n  hint: did you mean rows?");
    }
}
