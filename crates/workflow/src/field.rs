//! Reads one field from a node: the right type, or a mistake with its place and `None`.

use orchd_model::Refusal;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::error::{Report, did_you_mean, shown};
use crate::node::{Content, Entry, Node, to_object};

/// Words that other tools use for our keys.
const FOREIGN_WORDS: [(&str, &str); 18] = [
    ("needs", "dependencies"),
    ("depends_on", "dependencies"),
    ("after", "dependencies"),
    ("requires", "dependencies"),
    ("if", "when"),
    ("loop", "foreach"),
    ("with_items", "foreach"),
    ("for_each", "foreach"),
    ("always", "finally"),
    ("condition", "when"),
    ("run", "shell"),
    ("script", "shell"),
    ("cmd", "command"),
    ("args", "command"),
    ("retries", "max_retries"),
    ("resources", "claims"),
    ("environment", "env"),
    ("working_directory", "cwd"),
];

/// Reports a key that does not exist.
pub(crate) fn unknown_key(entry: &Entry, of: &str, known: &[&str], report: &mut Report) {
    report.add_with(entry.at, || {
        let foreign = FOREIGN_WORDS.iter().find(|(word, ours)| entry.key == *word && known.contains(ours));
        let hint = match foreign {
            Some((_, ours)) => Some(format!("did you mean {ours}?")),
            None => did_you_mean(&entry.key, known.iter().copied()),
        };
        let hint = hint.or_else(|| Some(format!("known keys: {}", known.join(", "))));
        (format!("unknown key of {of}: {}", shown(&entry.key)), hint)
    });
}

/// Reports a value of the wrong type.
pub(crate) fn wrong(node: &Node, what: &str, wanted: &str, report: &mut Report) {
    report.add(node.at, format!("{what} must be {wanted}, not {}", node.kind()));
}

/// The entries of a map.
pub(crate) fn map<'n>(node: &'n Node, what: &str, report: &mut Report) -> Option<&'n [Entry]> {
    match &node.content {
        Content::Map(entries) => Some(entries),
        _ => {
            wrong(node, what, "a map", report);
            None
        }
    }
}

/// A map as a JSON object.
pub(crate) fn object(node: &Node, what: &str, report: &mut Report) -> Option<Map<String, Value>> {
    map(node, what, report).map(to_object)
}

/// Text; a number or true and false count as the text that was written.
pub(crate) fn text(node: &Node, what: &str, report: &mut Report) -> Option<String> {
    let text = node.as_text().map(str::to_owned);
    if text.is_none() {
        wrong(node, what, "text", report);
    }
    text
}

/// The text of an expression.
pub(crate) fn expression(node: &Node, what: &str, report: &mut Report) -> Option<String> {
    match node.as_expression() {
        Some(expression) => Some(expression.to_owned()),
        None => text(node, what, report),
    }
}

/// A value that the model reads from text.
pub(crate) fn parsed<T: FromStr<Err = Refusal>>(
    node: &Node,
    what: &str,
    wanted: &str,
    report: &mut Report,
) -> Option<T> {
    let Some(text) = node.as_text() else {
        wrong(node, what, wanted, report);
        return None;
    };
    match text.parse() {
        Ok(value) => Some(value),
        Err(refusal) if text.contains("{{") => {
            let hint = "templates work in command, shell, env, cwd, stdin and parameters only";
            report.refused(node.at, what, &refusal.hint(hint));
            None
        }
        Err(refusal) => {
            report.refused(node.at, what, &refusal);
            None
        }
    }
}

/// True or false.
pub(crate) fn flag(node: &Node, what: &str, report: &mut Report) -> Option<bool> {
    match node.content {
        Content::Bool(flag) => Some(flag.is),
        _ => {
            wrong(node, what, "true or false", report);
            None
        }
    }
}

/// A number of the type that the field has.
pub(crate) fn number<T: FromStr + Display>(
    node: &Node,
    what: &str,
    wanted: &str,
    report: &mut Report,
) -> Option<T> {
    let Content::Number(_, written) = &node.content else {
        wrong(node, what, wanted, report);
        return None;
    };
    let value = written.parse().ok();
    if value.is_none() {
        report.add(node.at, format!("{what} must be {wanted}: {written}"));
    }
    value
}

/// A list, each item read by `each`; one value alone counts as a list of one.
pub(crate) fn list<T>(
    node: &Node,
    report: &mut Report,
    mut each: impl FnMut(&Node, &mut Report) -> Option<T>,
) -> Vec<T> {
    match &node.content {
        Content::List(items) => {
            // As large as it is: there are millions of small ones.
            let mut found = Vec::with_capacity(items.len());
            found.extend(items.iter().filter_map(|item| each(item, report)));
            found
        }
        _ => each(node, report).into_iter().collect(),
    }
}

/// A map of names to text.
pub(crate) fn texts(node: &Node, what: &str, report: &mut Report) -> BTreeMap<String, String> {
    let entries = map(node, what, report).unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| {
            let value = text(&entry.node, &format!("{what} {}", shown(&entry.key)), report)?;
            Some((entry.key.to_string(), value))
        })
        .collect()
}
