//! Expressions that give a value: the list of a `foreach`, and the `transform` of a result.

use minijinja::value::Serde;
use minijinja::{Error, ErrorKind, Value as Jinja};
use orchd_model::{Code, Refusal};
use serde_json::Value;

use crate::jinja::{self, is_template, to_json, words};
use crate::reference::expression_references;

/// Names that only an element of a list has.
const ELEMENT_NAMES: [&str; 2] = ["item", "index"];

/// What an expression gives. `inputs` as for [`render`](crate::render); `result` is a name in it where it has one.
///
/// # Errors
/// What is wrong, in words: it does not parse, or a name in it is not defined.
pub fn value_of(expression: &str, inputs: &Value) -> Result<Value, String> {
    let compiled = jinja::expression(expression).map_err(|error| words(&error))?;
    let value = compiled.eval(Jinja::from(Serde(inputs))).and_then(|value| to_json(&value));
    value.map_err(|error| explained(&error, expression, inputs))
}

/// An error of an expression, with the name that is not defined if that is what is wrong.
pub(crate) fn explained(error: &Error, expression: &str, inputs: &Value) -> String {
    let missing = match error.kind() {
        // `missing * 2` is no undefined name to minijinja, but to whoever wrote it.
        ErrorKind::UndefinedError | ErrorKind::InvalidOperation => {
            expression_references(expression).into_iter().find_map(|reference| reference.missing(inputs))
        }
        _ => None,
    };
    missing.unwrap_or_else(|| words(error))
}

/// Whether an expression is about one element of a list: it is evaluated for each of them then, and else once.
#[must_use]
pub fn is_about_an_element(expression: &str) -> bool {
    let names = expression_references(expression);
    names
        .iter()
        .filter_map(|reference| reference.0.first())
        .any(|root| ELEMENT_NAMES.contains(&root.as_str()))
}

/// Checks that the expression of this field parses.
///
/// # Errors
/// `malformed` with the expression.
pub fn check_value_expression(field: &str, expression: &str) -> Result<(), Refusal> {
    let malformed = |message: String, hint: &str| {
        Err(Refusal::new(Code::Malformed, message).field(field).value(expression).hint(hint))
    };
    if is_template(expression) {
        return malformed(format!("{field} is an expression, not a template"), "write it without {{ }}");
    }
    match jinja::expression(expression) {
        Ok(_) => Ok(()),
        Err(error) => malformed(
            format!("{field} does not parse: {}", words(&error)),
            "write an expression such as tasks.NAME.output.files, or result.rows",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_give_values_or_name_what_is_missing() {
        let inputs = json!({"result": {"rows": [1, 2], "name": "x"}, "parameters": {"n": 2}, "tasks": {}});
        for (expression, value) in [
            ("result.rows | length * parameters.n", Ok(json!(4))),
            ("{'sum': result.rows | sum, 'name': result.name | upper}", Ok(json!({"sum": 3, "name": "X"}))),
            ("result.rows | map('string') | list", Ok(json!(["1", "2"]))),
            ("range(3) | list", Ok(json!([0, 1, 2]))),
            ("result.nope", Err("result.nope is not defined: result has no nope")),
            ("result.rows +", Err("unexpected")),
            ("nobody", Err("nobody is not defined")),
        ] {
            match (value_of(expression, &inputs), value) {
                (Ok(got), Ok(wanted)) => assert_eq!(got, wanted, "{expression}"),
                (Err(got), Err(wanted)) => assert!(got.contains(wanted), "{expression}: {got}"),
                (got, _) => panic!("{expression}: {got:?}"),
            }
        }
    }

    #[test]
    fn what_never_ends_or_grows_is_an_error() {
        for expression in ["range(99999999)", "'x' * 99999999999"] {
            let got = value_of(&format!("({expression}) | list | length"), &json!({}));
            assert!(got.is_err(), "{expression}: {got:?}");
        }
    }

    #[test]
    fn a_condition_about_an_element_is_known() {
        assert!(is_about_an_element("item.size > 3") && is_about_an_element("index == 0"));
        assert!(!is_about_an_element("parameters.item") && !is_about_an_element("tasks.a.output.index > 1"));
        assert!(check_value_expression("foreach", "{{ a }}").is_err());
        assert!(
            check_value_expression("transform", "a +").unwrap_err().message.starts_with("transform does not")
        );
    }
}
