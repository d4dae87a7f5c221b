//! JSON text to a tree of nodes. serde_json checks the text, strictly, and reads its scalars; what lies between
//! them is walked over once, so that the place of each is known and a deep document costs no more than a flat one.

use orchd_model::limits;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::sync::Arc;

use crate::error::Report;
use crate::items::Items;
use crate::key::{Key, Keys};
use crate::node::{Content, DEPTH, Entry, NODES, Node, Position, Text, report_duplicates};

/// Keys of one map: more than a task of the largest size can have.
const KEYS: usize = 100_000;
/// Values beside the tasks, or in one of them.
const VALUES: usize = 1_000_000;
/// What one task may be written in, with its blanks and escapes: some times what it may say.
const TASK_BYTES: usize = 16 * limits::SPEC_BYTES;

/// Reads one JSON document; `None` and a mistake in the report when it is none.
pub(crate) fn read(text: &str, report: &mut Report) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let at = Position {
            line: u32::try_from(error.line()).unwrap_or(u32::MAX),
            column: u32::try_from(error.column().max(1)).unwrap_or(u32::MAX),
        };
        report.add(at, format!("not valid JSON: {}", words(&error)));
        return None;
    }
    if values(text) > NODES {
        report.add(Position { line: 1, column: 1 }, format!("more than {NODES} values in one file"));
        return None;
    }
    let mut keys = Keys::default();
    let (place, shared) = (Place::default(), None);
    let mut reader =
        Reader { text, offset: 0, place, keys: &mut keys, report, shared, task_count: 0, value_count: 0 };
    let read = reader.node(0, Part::Workflow);
    told(read, report)
}

/// Reads a value that begins here, in a text that is known to be JSON.
pub(crate) fn read_at(
    text: &str,
    (offset, at): (u32, Position),
    depth: usize,
    keys: &mut Keys,
    report: &mut Report,
) -> Option<Node> {
    let offset = offset as usize;
    let place = Place { offset, line: at.line - 1, column: at.column - 1 };
    let mut reader =
        Reader { text, offset, place, keys, report, shared: None, task_count: 0, value_count: 0 };
    let read = reader.node(depth, Part::Other);
    told(read, report)
}

fn told(read: Result<Node, Fault>, report: &mut Report) -> Option<Node> {
    read.map_err(|Fault { at, message, hint }| report.add_with(at, || (message, hint.map(str::to_owned))))
        .ok()
}

/// At least as many values as a text that is JSON holds, of those that are not empty: each list and map, and what a comma
/// comes after or a bracket comes before.
fn values(text: &str) -> usize {
    let (mut count, mut in_text, mut is_escaped) = (1, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

/// What serde_json says, without the place that it means.
fn words(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or(&message).to_owned()
}

/// A mistake after which reading cannot go on.
struct Fault {
    at: Position,
    message: String,
    hint: Option<&'static str>,
}

fn fault<T>(at: Position, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, message: message.into(), hint: None })
}

/// What a part of a document may be, by the keys that lead to it: where lists of tasks may stand.
#[derive(Clone, Copy)]
enum Part {
    /// A workflow, or what has workflows.
    Workflow,
    /// Workflows by their names.
    Workflows,
    /// The tasks of one.
    Tasks,
    Other,
}

impl Part {
    fn at(self, key: &str) -> Self {
        match (self, key) {
            (Self::Workflows, _) | (Self::Workflow, "dag") => Self::Workflow,
            (Self::Workflow, "workflow" | "workflows") => Self::Workflows,
            (Self::Workflow, "tasks" | "steps" | "finally") => Self::Tasks,
            (Self::Workflow | Self::Tasks | Self::Other, _) => Self::Other,
        }
    }
}

/// Walks over a text that is known to be JSON.
struct Reader<'t, 'r> {
    text: &'t str,
    /// Where the next byte is read.
    offset: usize,
    place: Place,
    keys: &'r mut Keys,
    report: &'r mut Report,
    /// The text, for lists that are read later.
    shared: Option<Arc<str>>,
    task_count: usize,
    value_count: usize,
}

/// The last place that was asked for. Places are asked for in the order of the text, so finding all of
/// them is one walk over it.
#[derive(Default)]
struct Place {
    offset: usize,
    line: u32,
    column: u32,
}

impl<'t> Reader<'t, '_> {
    /// The place of the next byte.
    fn position(&mut self) -> Position {
        for c in self.text.get(self.place.offset..self.offset).unwrap_or_default().chars() {
            if c == '\n' {
                self.place.line += 1;
                self.place.column = 0;
            } else {
                self.place.column += 1;
            }
        }
        self.place.offset = self.offset;
        Position { line: self.place.line + 1, column: self.place.column + 1 }
    }

    fn rest(&self) -> &'t [u8] {
        self.text.as_bytes().get(self.offset..).unwrap_or_default()
    }

    /// The next byte that is not blank; nothing at the end.
    fn next(&mut self) -> Option<u8> {
        let blank = self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.offset += blank;
        self.rest().first().copied()
    }

    fn pass(&mut self, byte: u8) {
        if self.next() == Some(byte) {
            self.offset += 1;
        }
    }

    fn node(&mut self, depth: usize, part: Part) -> Result<Node, Fault> {
        let first = self.next();
        let at = self.position();
        if depth > DEPTH {
            return fault(at, format!("nested deeper than {DEPTH} levels"));
        }
        self.value_count += 1;
        if self.value_count > VALUES {
            return fault(at, format!("more than {VALUES} values in one task, or beside the tasks"));
        }
        let content = match (first, part) {
            (Some(b'{'), _) => self.map(depth, part)?,
            (Some(b'['), Part::Tasks) => self.tasks(depth)?,
            (Some(b'['), _) => self.list(depth)?,
            (Some(b'"'), _) => Content::Text(Text { text: self.text_scalar(at)?, is_block: false }),
            _ => self.plain(at)?,
        };
        Ok(Node { at, content })
    }

    fn list(&mut self, depth: usize) -> Result<Content, Fault> {
        self.pass(b'[');
        let mut items = Vec::new();
        while self.next() != Some(b']') {
            items.push(self.node(depth + 1, Part::Other)?);
            self.pass(b',');
        }
        self.pass(b']');
        // There may be millions of small ones.
        items.shrink_to_fit();
        Ok(Content::List(items))
    }

    /// Finds where each task begins.
    fn tasks(&mut self, depth: usize) -> Result<Content, Fault> {
        self.pass(b'[');
        let mut starts = Vec::new();
        while self.next() != Some(b']') {
            let (start, at) = (self.offset, self.position());
            self.task_count += 1;
            if self.task_count > limits::FILE_TASKS {
                return Err(Fault {
                    at,
                    message: format!("a file has at most {} tasks", limits::FILE_TASKS),
                    hint: Some("a program submits larger graphs line by line: POST /v1/workflows"),
                });
            }
            self.offset += length(self.rest());
            if self.offset - start > TASK_BYTES {
                return fault(at, format!("a task is written in at most {TASK_BYTES} bytes"));
            }
            // The largest file is far smaller than that.
            starts.push((u32::try_from(start).unwrap_or(u32::MAX), at));
            self.pass(b',');
        }
        self.pass(b']');
        starts.shrink_to_fit();
        let text = self.shared.get_or_insert_with(|| self.text.into());
        Ok(Content::Items(Box::new(Items { text: Arc::clone(text), depth: depth + 1, starts })))
    }

    fn map(&mut self, depth: usize, part: Part) -> Result<Content, Fault> {
        self.pass(b'{');
        let mut entries = Vec::new();
        while self.next() != Some(b'}') {
            let at = self.position();
            if entries.len() == KEYS {
                return fault(at, format!("a map has at most {KEYS} keys"));
            }
            let key = self.key(at)?;
            self.pass(b':');
            let part = part.at(&key);
            entries.push(Entry { key, at, node: self.node(depth + 1, part)? });
            self.pass(b',');
        }
        self.pass(b'}');
        entries.shrink_to_fit();
        report_duplicates(&entries, self.report);
        Ok(Content::Map(entries))
    }

    fn key(&mut self, at: Position) -> Result<Key, Fault> {
        let written = self.quoted();
        match written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => Ok(self.keys.of(plain)),
            _ => parsed::<String>(written, at).map(Into::into),
        }
    }

    fn text_scalar(&mut self, at: Position) -> Result<String, Fault> {
        parsed(self.quoted(), at)
    }

    /// Text with its quotes, as it is written.
    fn quoted(&mut self) -> &'t str {
        let mut is_escaped = false;
        let inside = self.rest().iter().skip(1).take_while(|byte| {
            let goes_on = is_escaped || **byte != b'"';
            is_escaped = !is_escaped && **byte == b'\\';
            goes_on
        });
        let length = inside.count() + 2;
        self.take(length)
    }

    /// A number or a word.
    fn plain(&mut self, at: Position) -> Result<Content, Fault> {
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = self.rest().iter().take_while(is_part).count();
        let written = self.take(length);
        Ok(match parsed(written, at)? {
            Value::Bool(flag) => Content::Bool(flag.into()),
            Value::Number(number) => Content::Number(number, self.keys.of(written)),
            Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => Content::Null,
        })
    }

    fn take(&mut self, length: usize) -> &'t str {
        let taken = self.text.get(self.offset..self.offset + length).unwrap_or_default();
        self.offset += length;
        taken
    }
}

/// A scalar; it may be written as JSON wants it and yet be none, as half of a surrogate pair.
fn parsed<T: serde::de::DeserializeOwned>(written: &str, at: Position) -> Result<T, Fault> {
    serde_json::from_str(written).or_else(|error| fault(at, format!("not valid JSON: {}", words(&error))))
}

/// How long the value is that this begins with.
fn length(text: &[u8]) -> usize {
    let (mut open, mut in_text, mut is_escaped) = (0_usize, false, false);
    for (place, byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => open += 1,
            b',' | b']' | b'}' if open == 0 => return place,
            b']' | b'}' => open -= 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::parse;
    use crate::items::Walk;
    use proptest::prelude::*;

    #[test]
    fn values_know_their_places() {
        let node = parse("f.json", "{\n  \"ä\": [1, \"x\\ud83d\\ude00\"],\n  \"b\": null}").unwrap();
        let Content::Map(entries) = &node.content else { panic!("a map") };
        assert_eq!((entries[0].key.as_str(), entries[0].at), ("ä", Position { line: 2, column: 3 }));
        let Content::List(items) = &entries[0].node.content else { panic!("a list") };
        assert_eq!(items[1].at, Position { line: 2, column: 12 });
        assert_eq!(items[1].as_text(), Some("x😀"));
        assert_eq!(entries[1].node.at, Position { line: 3, column: 8 });
    }

    #[test]
    fn values_are_counted_before_any_is_kept() {
        for (text, count) in [("1", 1), ("[1,[2,\"a,[\\\",\"],{}]", 7), ("{\"a\":{\"b\":[1]}}", 4)] {
            assert_eq!(values(text), count, "{text}");
        }
        let flat = format!("[{}0]", "0,".repeat(NODES));
        assert!(parse("f.json", &flat).unwrap_err().contains("more than 8000000 values"));
    }

    #[test]
    fn a_mistake_within_a_task_has_its_place() {
        for (task, told) in [
            ("{\"name\": \"a\",\n \"name\": \"b\"}", "f.json:3:2: duplicate key: name"),
            ("\"\\ud83d\"", "f.json:2:1: not valid JSON"),
            (&format!("{}{}", "[".repeat(64), "]".repeat(64)), "f.json:2:64: nested deeper than 64 levels"),
        ] {
            let node = parse("f.json", &format!("{{\"tasks\": [\n{task}]}}")).unwrap();
            let Content::Map(entries) = &node.content else { panic!("a map") };
            let (mut walk, mut report) = (Walk::of(&entries[0].node).unwrap(), Report::new("f.json"));
            while walk.next(&mut report).is_some() {}
            assert!(report.into_errors()[0].to_string().starts_with(told), "{task}");
        }
    }

    #[test]
    fn what_is_no_json_is_an_error_with_its_place() {
        for (text, place) in [
            ("{\"a\": 1,}", "f.json:1:9: not valid JSON"),
            ("", "f.json:1:1"),
            ("{\"a\": 1}\n{}", "f.json:2:1"),
            ("{\n'a': 1}", "f.json:2:1"),
            ("[1,\n \"\\ud83d\"]", "f.json:2:2: not valid JSON"),
            ("[1,\n 1e999]", "f.json:2:2: not valid JSON: number out of range"),
            ("{\"a\": 1,\n\"a\": 2}", "f.json:2:1: duplicate key: a"),
        ] {
            let error = parse("f.json", text).unwrap_err();
            assert!(error.starts_with(place), "{text:?}: {error}");
        }
        assert!(parse("f.json", &"[".repeat(100_000)).is_err());
        assert!(
            parse("f.json", &format!("{}{}", "[".repeat(80), "]".repeat(80))).unwrap_err().contains("nested")
        );
    }

    proptest! {
        #[test]
        fn every_document_is_read_as_serde_json_reads_it(text in json_text(), spaced in any::<bool>()) {
            let value: Value = serde_json::from_str(&text).unwrap();
            let text = if spaced { serde_json::to_string_pretty(&value).unwrap() } else { text };
            prop_assert_eq!(parse("f.json", &text).unwrap().to_json(), value.clone());
            let tasks = format!("{{\"workflow\": {{\"a\": {{\"steps\": [ {text},0 , {text} ]}}}}}}");
            let value = serde_json::json!({"workflow": {"a": {"steps": [value, 0, value]}}});
            prop_assert_eq!(parse("f.json", &tasks).unwrap().to_json(), value);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[a\\[\\]{}:,\"\\\\0-9e. \n]{0,40}") {
            let _ = parse("f.json", &text);
        }
    }

    /// Documents of all kinds of values, keys and escapes.
    fn json_text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1.0e9..1.0e9).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            "[\"\\\\\n,:\\]}ä😀]{0,6}".prop_map(Value::from),
        ];
        let nested = leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[\"\\\\a-c:]{0,4}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        nested.prop_map(|value| value.to_string())
    }
}
