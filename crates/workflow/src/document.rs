//! Any YAML, JSON or TOML document as plain JSON, with the place of each of its parts.

use serde_json::Value;
use std::collections::BTreeMap;

use crate::error::{FileError, Report};
use crate::format::Format;
use crate::node::{Content, Node, Position};
use crate::{json, toml, yaml};

/// A document that was read from a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it says.
    pub value: Value,
    places: BTreeMap<Vec<String>, Position>,
}

/// Reads a document with the care that workflow files get: bounded, without duplicate keys. The ending of
/// the name tells the format: `.json`, `.toml`, everything else is YAML.
///
/// # Errors
/// Everything that is wrong, in the order of the document.
pub fn read_document(file_name: &str, text: &str) -> Result<Document, Vec<FileError>> {
    let mut report = Report::new(file_name);
    match read(file_name, text, &mut report) {
        Some(node) if report.is_clean() => {
            let mut places = BTreeMap::new();
            note_places(&node, &mut Vec::new(), &mut places);
            Ok(Document { value: node.to_json(), places })
        }
        _ => Err(report.into_errors()),
    }
}

/// Reads the tree of a document in the format that the name's ending tells.
pub(crate) fn read(file_name: &str, text: &str, report: &mut Report) -> Option<Node> {
    let format = Format::of(file_name);
    if let Some(refused) = format.refuse(file_name, text.len() as u64) {
        report.take(refused);
        return None;
    }
    match format {
        Format::Json => json::read(text, report),
        Format::Toml => toml::read(text, report),
        Format::Yaml => yaml::read(text, report),
    }
}

impl Document {
    /// Line and column, from 1, of the key at this path of keys; of its nearest parent that has one.
    #[must_use]
    pub fn place(&self, path: &[&str]) -> Option<(u32, u32)> {
        (1..=path.len()).rev().find_map(|length| {
            let path: Vec<String> = path[..length].iter().map(|key| (*key).to_owned()).collect();
            self.places.get(&path).map(|at| (at.line, at.column))
        })
    }
}

fn note_places(node: &Node, path: &mut Vec<String>, places: &mut BTreeMap<Vec<String>, Position>) {
    let Content::Map(entries) = &node.content else { return };
    for entry in entries {
        path.push(entry.key.to_string());
        places.insert(path.clone(), entry.at);
        note_places(&entry.node, path, places);
        path.pop();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The tree of a document, or what is wrong with it first.
    pub(crate) fn parse(file_name: &str, text: &str) -> Result<Node, String> {
        let mut report = Report::new(file_name);
        match (read(file_name, text, &mut report), report.is_clean()) {
            (Some(node), true) => Ok(node),
            _ => Err(report.into_errors()[0].to_string()),
        }
    }

    #[test]
    fn keys_have_the_same_places_in_every_format() {
        for (name, text) in [
            ("c.toml", "[a]\n  b = 1\n"),
            ("c.yaml", "a:\n  b: 1\n"),
            ("c.json", "{\"a\": {\n  \"b\": 1}}\n"),
        ] {
            let document = read_document(name, text).unwrap();
            assert_eq!(document.value, serde_json::json!({"a": {"b": 1}}), "{name}");
            assert_eq!(document.place(&["a", "b"]), Some((2, 3)), "{name}");
            assert_eq!(document.place(&["a", "c"]).map(|(line, _)| line), Some(1), "{name}");
        }
    }
}
