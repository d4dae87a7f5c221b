//! JSON text to a tree of nodes. serde_json does the reading, strictly; the place of a value is where its
//! raw text lies within the file.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;

use crate::error::Report;
use crate::node::{Content, DEPTH, Entry, Node, Position, Text, report_duplicates};

/// Reads one JSON document; `None` and a mistake in the report when it is none.
pub(crate) fn read(text: &str, report: &mut Report) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let checked = serde_json::from_str::<IgnoredAny>(text);
    let raw = checked.and_then(|_| serde_json::from_str::<&RawValue>(text));
    let mut reader = Reader { text, place: Place::default(), report };
    match raw.and_then(|raw| reader.node(raw, 0)) {
        Ok(node) => Some(node),
        Err(error) => {
            let at = Position {
                line: u32::try_from(error.line()).unwrap_or(u32::MAX),
                column: u32::try_from(error.column().max(1)).unwrap_or(u32::MAX),
            };
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            reader.report.add(at, format!("not valid JSON: {message}"));
            None
        }
    }
}

struct Reader<'t, 'r> {
    text: &'t str,
    place: Place,
    report: &'r mut Report,
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
    fn position(&mut self, part: &'t str) -> Position {
        let offset = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        for c in self.text.get(self.place.offset..offset).unwrap_or_default().chars() {
            if c == '\n' {
                self.place.line += 1;
                self.place.column = 0;
            } else {
                self.place.column += 1;
            }
        }
        self.place.offset = self.place.offset.max(offset);
        Position { line: self.place.line + 1, column: self.place.column + 1 }
    }

    fn node(&mut self, raw: &'t RawValue, depth: usize) -> serde_json::Result<Node> {
        let text = raw.get();
        let at = self.position(text);
        if depth > DEPTH {
            self.report.add(at, format!("nested deeper than {DEPTH} levels"));
            return Ok(Node { at, content: Content::Null });
        }
        let content = match text.as_bytes().first() {
            Some(b'{') => self.map(text, depth)?,
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                let items: serde_json::Result<Vec<Node>> =
                    items.into_iter().map(|item| self.node(item, depth + 1)).collect();
                Content::List(items?)
            }
            Some(b'"') => Content::Text(Text { text: serde_json::from_str(text)?, is_block: false }),
            _ => match serde_json::from_str(text)? {
                Value::Bool(flag) => Content::Bool(flag),
                Value::Number(number) => Content::Number(number, text.into()),
                _ => Content::Null,
            },
        };
        Ok(Node { at, content })
    }

    fn map(&mut self, text: &'t str, depth: usize) -> serde_json::Result<Content> {
        let pairs: Pairs<'t> = serde_json::from_str(text)?;
        let mut entries = Vec::with_capacity(pairs.0.len());
        for (key, value) in pairs.0 {
            let at = self.position(key.get());
            let key = serde_json::from_str(key.get())?;
            entries.push(Entry { key, at, node: self.node(value, depth + 1)? });
        }
        report_duplicates(&entries, self.report);
        Ok(Content::Map(entries))
    }
}

/// The raw keys and values of an object, duplicates included.
struct Pairs<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Pairs<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Vec<(&'de RawValue, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Reader).map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Node, String> {
        let mut report = Report::new("f.json");
        let node = read(text, &mut report);
        match (node, report.is_clean()) {
            (Some(node), true) => Ok(node),
            _ => Err(report.into_errors()[0].to_string()),
        }
    }

    #[test]
    fn values_know_their_places() {
        let node = parse("{\n  \"ä\": [1, \"x\\ud83d\\ude00\"],\n  \"b\": null}").unwrap();
        let Content::Map(entries) = &node.content else { panic!("a map") };
        assert_eq!((entries[0].key.as_str(), entries[0].at), ("ä", Position { line: 2, column: 3 }));
        let Content::List(items) = &entries[0].node.content else { panic!("a list") };
        assert_eq!(items[1].at, Position { line: 2, column: 12 });
        assert_eq!(items[1].as_text(), Some("x😀"));
        assert_eq!(entries[1].node.at, Position { line: 3, column: 8 });
    }

    #[test]
    fn what_is_no_json_is_an_error_with_its_place() {
        for (text, place) in [
            ("{\"a\": 1,}", "f.json:1:9: not valid JSON"),
            ("", "f.json:1:1"),
            ("{\"a\": 1}\n{}", "f.json:2:1"),
            ("{\n'a': 1}", "f.json:2:1"),
            ("{\"a\": 1,\n\"a\": 2}", "f.json:2:1: duplicate key: a"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(place), "{text:?}: {error}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("{}{}", "[".repeat(80), "]".repeat(80))).unwrap_err().contains("nested"));
    }
}
