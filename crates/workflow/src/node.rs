//! A document as a tree whose every part knows its place in the file.
//!
//! All readers (YAML, JSON, TOML) build this tree, so everything after them is the same for all.
//! Invariant: a tree is at most [`DEPTH`] deep, so walking and dropping it by recursion is safe.

use serde_json::{Map, Number, Value};
use std::collections::HashMap;

use crate::error::{Report, shown};
use crate::items::Items;
use crate::key::Key;

/// How deep lists and maps may nest: far beyond any real file, and little stack to walk.
pub(crate) const DEPTH: usize = 64;

/// Values in one file: a graph of a million tasks with eight of them each.
pub(crate) const NODES: usize = 8_000_000;

/// A place in a file: line and column in characters, both from 1; zero where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) content: Content,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Bool(Flag),
    /// A number, and how it was written: `1.10` may be meant as text.
    Number(Number, Key),
    Text(Text),
    List(Vec<Node>),
    /// Tasks that are read one by one: only where a workflow of a file in JSON has its tasks.
    Items(Box<Items>),
    Map(Vec<Entry>),
}

/// Text, and whether its lines are lines of the file (a YAML literal block).
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) is_block: bool,
}

/// True or false, and the word that was written: `True` may be meant as text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) is: bool,
    pub(crate) written: &'static str,
}

impl From<bool> for Flag {
    fn from(is: bool) -> Self {
        Self { is, written: if is { "true" } else { "false" } }
    }
}

/// A key of a map with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) at: Position,
    pub(crate) node: Node,
}

impl Node {
    /// What the node is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "true or false",
            Content::Number(..) => "a number",
            Content::Text(_) => "text",
            Content::List(_) | Content::Items(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// Whether the node says nothing: `timeout:` without a value counts as not given.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// The text of a scalar as it was written.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Bool(flag) => Some(flag.written),
            Content::Number(_, written) => Some(written),
            Content::Text(text) => Some(&text.text),
            Content::Null | Content::List(_) | Content::Items(_) | Content::Map(_) => None,
        }
    }

    /// The text of an expression: what is true or false without one is so in any spelling.
    pub(crate) fn as_expression(&self) -> Option<&str> {
        match &self.content {
            Content::Bool(flag) => Some(Flag::from(flag.is).written),
            _ => self.as_text(),
        }
    }

    /// The node as plain JSON.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(flag) => Value::Bool(flag.is),
            Content::Number(number, _) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Items(items) => items.to_json(),
            Content::Map(entries) => Value::Object(to_object(entries)),
        }
    }

    /// Bytes of text in the node, keys included.
    pub(crate) fn text_bytes(&self) -> usize {
        match &self.content {
            Content::Null | Content::Bool(_) | Content::Number(..) => 8,
            Content::Text(text) => text.text.len(),
            Content::List(items) => items.iter().map(Self::text_bytes).sum(),
            Content::Items(items) => items.text_bytes(),
            Content::Map(entries) => entries.iter().map(|e| e.key.len() + e.node.text_bytes()).sum(),
        }
    }
}

/// The entries of a map as a JSON object.
pub(crate) fn to_object(entries: &[Entry]) -> Map<String, Value> {
    entries.iter().map(|e| (e.key.to_string(), e.node.to_json())).collect()
}

/// In a map of so few entries each is compared with those before it: there may be a million such maps.
const FEW: usize = 16;

/// Reports every key that a map has twice.
pub(crate) fn report_duplicates(entries: &[Entry], report: &mut Report) {
    let is_again = |(place, entry): (usize, &Entry)| entries[..place].iter().any(|e| e.key == entry.key);
    if entries.len() <= FEW && !entries.iter().enumerate().any(is_again) {
        return;
    }
    let mut first: HashMap<&str, Position> = HashMap::with_capacity(entries.len());
    for entry in entries {
        if let Some(at) = first.get(entry.key.as_str()) {
            report.add_hint(
                entry.at,
                format!("duplicate key: {}", shown(&entry.key)),
                format!("it is given first in line {}", at.line),
            );
        } else {
            first.insert(&entry.key, entry.at);
        }
    }
}
