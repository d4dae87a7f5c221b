//! YAML text to a tree of nodes, from the events of a YAML 1.2 parser; scalars by the core schema, so `yes`
//! and `on` are text.
//!
//! What hostile files do is bounded: depth ([`DEPTH`]), number of nodes ([`NODES`]), and what aliases copy
//! ([`COPIED_BYTES`]). Merge keys (`<<: *base`) work, since people expect them; tags other than those of
//! the core schema do not.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::Number;
use std::collections::{HashMap, HashSet};

use crate::error::{Report, shown};
use crate::key::Key;
use crate::node::{Content, DEPTH, Entry, Flag, NODES, Node, Position, Text, report_duplicates};

/// What aliases may copy in all. A bomb asks for gigabytes, a file that shares its defaults for kilobytes.
const COPIED_BYTES: usize = 16 << 20;
/// Values in one file: ten for each task of the largest. The parser keeps some four hundred bytes for each of a list on one line,
/// which might become a key, until that has ended.
const VALUES: usize = 500_000;
/// What a node costs beside its text.
const NODE_BYTES: usize = size_of::<Node>();

/// Reads one YAML document; `None` and a mistake in the report when it is none.
pub(crate) fn read(text: &str, report: &mut Report) -> Option<Node> {
    if values(text) > VALUES {
        let message = format!("more than {VALUES} values in one file in YAML");
        report.add_hint(Position { line: 1, column: 1 }, message, "write it as JSON, which may have 8000000");
        return None;
    }
    let mut reader = Reader { copy_budget: COPIED_BYTES, ..Reader::default() };
    match reader.document(text, report) {
        Ok(Some(node)) => Some(node),
        Ok(None) => {
            report.add(Position { line: 1, column: 1 }, "the file is empty");
            None
        }
        Err(fault) => {
            report.add(fault.at, fault.message);
            None
        }
    }
}

/// Not fewer than the values that a text holds: each has a line of its own, or stands after one of these. Those in texts count,
/// too.
fn values(text: &str) -> usize {
    text.bytes().filter(|byte| matches!(byte, b'\n' | b',' | b'[' | b'{')).count()
}

/// A mistake after which reading cannot go on.
struct Fault {
    at: Position,
    message: String,
}

fn too_deep() -> String {
    format!("nested deeper than {DEPTH} levels")
}

fn fault<T>(at: Position, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, message: message.into() })
}

/// A list or map whose end has not come yet.
struct Open {
    at: Position,
    anchor: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Position)> },
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    document: Option<Node>,
    node_count: usize,
    copy_budget: usize,
}

impl Reader {
    fn document(&mut self, text: &str, report: &mut Report) -> Result<Option<Node>, Fault> {
        let mut documents = 0;
        let mut parser = Parser::new_from_str(text);
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| {
                let at = position(error.marker().line(), error.marker().col());
                match error.info() {
                    // It looks ahead, and has a limit of its own.
                    "recursion limit exceeded" => Fault { at, message: too_deep() },
                    info => Fault { at, message: format!("not valid YAML: {info}") },
                }
            })?;
            let at = start(span);
            if matches!(event, Event::DocumentStart(_)) {
                documents += 1;
                if documents > 1 {
                    return fault(at, "a file holds one document, this is a second one");
                }
            }
            self.event(event, at, report)?;
        }
        Ok(self.document.take())
    }

    fn event(&mut self, event: Event<'_>, at: Position, report: &mut Report) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let content = match scalar(&text, style, tag.as_deref(), at)? {
                    // As a value it says nothing, as a key it is what was written.
                    Content::Null if self.is_at_key() && !text.is_empty() => {
                        Content::Text(Text { text: text.into_owned(), is_block: false })
                    }
                    content => content,
                };
                self.complete(Node { at, content }, anchor, report)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(at, anchor, tag.as_deref(), Parts::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(at, anchor, tag.as_deref(), Parts::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(report),
            Event::Alias(anchor) => {
                let node = self.copy(anchor, at)?;
                self.complete(node, 0, report)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn is_at_key(&self) -> bool {
        let parts = self.open.last().map(|open| &open.parts);
        matches!(parts, Some(Parts::Map { key: None, .. }))
    }

    fn begin(&mut self, at: Position, anchor: usize, tag: Option<&Tag>, parts: Parts) -> Result<(), Fault> {
        if let Some(tag) = tag.filter(|tag| !is_core(tag, &["seq", "map"])) {
            return fault(at, format!("tags are not supported: {}", shown(&tag.to_string())));
        }
        if self.open.len() >= DEPTH {
            return fault(at, too_deep());
        }
        self.open.push(Open { at, anchor, parts });
        Ok(())
    }

    fn end(&mut self, report: &mut Report) -> Result<(), Fault> {
        let Some(Open { at, anchor, parts }) = self.open.pop() else { return Ok(()) };
        let content = match parts {
            Parts::List(items) => Content::List(items),
            Parts::Map { entries, .. } => {
                report_duplicates(&entries, report);
                Content::Map(merged(entries)?)
            }
        };
        self.complete(Node { at, content }, anchor, report)
    }

    /// Puts a complete node where it belongs: into the innermost open list or map, or as the document.
    fn complete(&mut self, node: Node, anchor: usize, report: &mut Report) -> Result<(), Fault> {
        self.node_count += 1;
        if self.node_count > NODES {
            return fault(node.at, format!("more than {NODES} values in one file"));
        }
        if anchor > 0 {
            self.pay(&node, node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.document = Some(node),
            Some(Parts::List(items)) => items.push(node),
            Some(Parts::Map { entries, key }) => match key.take() {
                Some((key, at)) => entries.push(Entry { key: key.into(), at, node }),
                None => {
                    let text = node.as_text().map(str::to_owned);
                    let text = text.or_else(|| node.is_null().then(|| "null".to_owned()));
                    if text.is_none() {
                        report.add(node.at, format!("a key must be text, not {}", node.kind()));
                    }
                    *key = Some((text.unwrap_or_default(), node.at));
                }
            },
        }
        Ok(())
    }

    fn copy(&mut self, anchor: usize, at: Position) -> Result<Node, Fault> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return fault(at, "an alias within its own anchor");
        };
        self.pay(&node, at)?;
        let levels = levels(&node);
        if self.open.len() + levels > DEPTH {
            return fault(at, too_deep());
        }
        Ok(node)
    }

    fn pay(&mut self, node: &Node, at: Position) -> Result<(), Fault> {
        match self.copy_budget.checked_sub(copied_bytes(node)) {
            Some(left) => self.copy_budget = left,
            None => return fault(at, format!("anchors and aliases copy more than {COPIED_BYTES} bytes")),
        }
        Ok(())
    }
}

fn levels(node: &Node) -> usize {
    match &node.content {
        Content::List(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Content::Map(entries) => 1 + entries.iter().map(|e| levels(&e.node)).max().unwrap_or(0),
        Content::Null | Content::Bool(_) | Content::Number(..) | Content::Text(_) | Content::Items(_) => 0,
    }
}

fn copied_bytes(node: &Node) -> usize {
    NODE_BYTES
        + match &node.content {
            Content::List(items) => items.iter().map(copied_bytes).sum(),
            Content::Map(entries) => {
                entries.iter().map(|e| NODE_BYTES + e.key.len() + copied_bytes(&e.node)).sum()
            }
            Content::Null | Content::Bool(_) | Content::Number(..) | Content::Text(_) | Content::Items(_) => {
                node.text_bytes()
            }
        }
}

/// Resolves merge keys: what `<<` names is added unless the map has the key itself; of several maps the
/// first one wins (yaml.org/type/merge.html).
fn merged(mut entries: Vec<Entry>) -> Result<Vec<Entry>, Fault> {
    let Some(index) = entries.iter().position(|e| e.key == "<<") else { return Ok(entries) };
    let merge = entries.remove(index).node;
    let at = merge.at;
    let maps = match merge.content {
        Content::List(maps) => maps,
        content => vec![Node { at, content }],
    };
    let mut keys: HashSet<Key> = entries.iter().map(|e| e.key.clone()).collect();
    for map in maps {
        let Content::Map(base) = map.content else {
            return fault(map.at, "<< merges a map or a list of maps");
        };
        entries.extend(base.into_iter().filter(|entry| keys.insert(entry.key.clone())));
    }
    Ok(entries)
}

fn start(span: Span) -> Position {
    position(span.start.line(), span.start.col())
}

/// The parser counts lines from 1 and columns from 0.
fn position(line: usize, column: usize) -> Position {
    Position {
        line: u32::try_from(line.max(1)).unwrap_or(u32::MAX),
        column: u32::try_from(column + 1).unwrap_or(u32::MAX),
    }
}

/// Whether it is one of these tags of the core schema.
fn is_core(tag: &Tag, suffixes: &[&str]) -> bool {
    tag.is_yaml_core_schema() && suffixes.contains(&&*tag.suffix)
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Result<Content, Fault> {
    let as_text = || Content::Text(Text { text: text.to_owned(), is_block: style == ScalarStyle::Literal });
    match tag {
        None if style == ScalarStyle::Plain => Ok(plain(text).unwrap_or_else(as_text)),
        None => Ok(as_text()),
        Some(tag) if is_core(tag, &["str"]) => Ok(as_text()),
        Some(tag) if is_core(tag, &["null", "bool", "int", "float"]) => {
            Ok(plain(text).unwrap_or_else(as_text))
        }
        Some(tag) => fault(at, format!("tags are not supported: {}", shown(&tag.to_string()))),
    }
}

/// The words of the core schema that are true or false.
const FLAGS: [Flag; 6] = [
    Flag { is: true, written: "true" },
    Flag { is: true, written: "True" },
    Flag { is: true, written: "TRUE" },
    Flag { is: false, written: "false" },
    Flag { is: false, written: "False" },
    Flag { is: false, written: "FALSE" },
];

/// The core schema (YAML 1.2.2, section 10.3.2). `.inf` and `.nan` are text: JSON has no such numbers.
fn plain(text: &str) -> Option<Content> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Content::Null),
        _ => {}
    }
    let is_flag = |flag: &&Flag| flag.written == text;
    if let Some(flag) = FLAGS.iter().find(is_flag) {
        return Some(Content::Bool(*flag));
    }
    number(text).map(|number| Content::Number(number, text.into()))
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let begins = unsigned.strip_prefix('.').unwrap_or(unsigned).starts_with(|c: char| c.is_ascii_digit());
    if !begins || !unsigned.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b)) {
        return None;
    }
    let whole = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = whole.parse::<u64>() {
        return Some(number.into());
    }
    if let Ok(number) = whole.parse::<i64>() {
        return Some(number.into());
    }
    whole.parse().ok().and_then(Number::from_f64)
}

fn radix(digits: &str, radix: u32) -> Option<Number> {
    let is_plain = digits.chars().all(|c| c.is_digit(radix));
    is_plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten().map(Number::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::parse;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn scalars_follow_the_core_schema() {
        for (text, value) in [
            ("12", json!(12)),
            ("+12", json!(12)),
            ("-3", json!(-3)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("1e3", json!(1000.0)),
            (".5", json!(0.5)),
            ("~", json!(null)),
            ("True", json!(true)),
            ("yes", json!("yes")),
            ("on", json!("on")),
            (".nan", json!(".nan")),
            ("1.2.3", json!("1.2.3")),
            ("1-2", json!("1-2")),
            ("'12'", json!("12")),
            ("!!str 12", json!("12")),
            ("inf", json!("inf")),
        ] {
            assert_eq!(parse("f.yaml", text).unwrap().to_json(), value, "{text}");
        }
    }

    #[test]
    fn places_count_lines_and_columns_from_one() {
        let node = parse("f.yaml", "a: 1\nb:\n  - x\n  - {c: y}\n").unwrap();
        let Content::Map(entries) = &node.content else { panic!("a map") };
        assert_eq!(entries[1].at, Position { line: 2, column: 1 });
        let Content::List(items) = &entries[1].node.content else { panic!("a list") };
        assert_eq!(items[1].at, Position { line: 4, column: 5 });
    }

    #[test]
    fn anchors_and_merge_keys_share_values() {
        let text = "base: &b {x: 1, y: 2}\na: {<<: *b, y: 3}\nl: [*b]\n";
        let expected = json!({"base": {"x": 1, "y": 2}, "a": {"x": 1, "y": 3}, "l": [{"x": 1, "y": 2}]});
        assert_eq!(parse("f.yaml", text).unwrap().to_json(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_with_its_place() {
        for (text, error) in [
            ("a: [1, 2\nb: 3\n", "f.yaml:2:"),
            ("a: 1\na: 2\n", "f.yaml:2:1: duplicate key: a"),
            ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a file holds one document"),
            ("", "f.yaml:1:1: the file is empty"),
            ("a: *b\n", "f.yaml:1:4: not valid YAML"),
            ("a: &a [*a]\n", "f.yaml:1:8: an alias within its own anchor"),
            ("a: !secret x\n", "f.yaml:1:4: tags are not supported"),
            ("a: !!python/object:os.system [x]\n", "f.yaml:1:4: tags are not supported"),
            ("a: !!binary eA==\n", "f.yaml:1:4: tags are not supported"),
            ("[a]: 1\n", "f.yaml:1:1: a key must be text"),
            ("a:\n\tb: 1\n", "f.yaml:2:"),
        ] {
            let got = parse("f.yaml", text).unwrap_err();
            assert!(got.starts_with(error), "{text:?}: {got}");
        }
    }

    #[test]
    fn bombs_and_pits_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..30 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
        }
        assert!(parse("f.yaml", &bomb).unwrap_err().contains("anchors and aliases copy more than"));
        let wide = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), "*a, ".repeat(10_000));
        assert!(parse("f.yaml", &wide).unwrap_err().contains("anchors and aliases"));
        for pit in ["[".repeat(400_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
            let error = parse("f.yaml", &pit).unwrap_err();
            assert!(error.contains("nested deeper"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[-a-c:{}\\[\\],&*!|>'\"#%?~ \n\t01.]{0,60}") {
            let _ = parse("f.yaml", &text);
        }
    }
}
