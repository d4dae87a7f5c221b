//! TOML text to a tree of nodes. The toml crate does the reading; a value's place is where its text begins.

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Report;
use crate::node::{Content, DEPTH, Entry, Node, Position, Text};

/// Reads one TOML document; `None` and a mistake in the report when it is none.
pub(crate) fn read(text: &str, report: &mut Report) -> Option<Node> {
    let lines = Lines::of(text);
    match DeTable::parse(text) {
        Ok(table) => {
            let mut reader = Reader { lines: &lines, report };
            let content = reader.table(table.get_ref(), 0);
            Some(Node { at: Position { line: 1, column: 1 }, content })
        }
        Err(error) => {
            let at = error.span().map_or(Position { line: 1, column: 1 }, |span| lines.position(span.start));
            let message = error.message().lines().next().unwrap_or_default();
            report.add(at, format!("not valid TOML: {message}"));
            None
        }
    }
}

/// Finds the line and column of an offset, also where a line is as long as the file.
struct Lines<'t> {
    text: &'t [u8],
    /// Offsets at which lines begin.
    starts: Vec<usize>,
    /// Characters before each block of [`BLOCK`] bytes.
    before: Vec<usize>,
}

/// So few bytes are counted anew for each place.
const BLOCK: usize = 256;

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let text = text.as_bytes();
        let mut before = vec![0];
        for block in text.chunks(BLOCK) {
            before.push(before.last().map_or(0, |count| count + characters(block)));
        }
        Self { text, starts, before }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let column = self.characters_before(offset) - self.characters_before(self.starts[line - 1]);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position { line: number(line), column: number(column + 1) }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let block = offset / BLOCK;
        let known = self.before.get(block).copied().unwrap_or_default();
        known + characters(self.text.get(block * BLOCK..offset).unwrap_or_default())
    }
}

/// The characters that begin in UTF-8 text.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

struct Reader<'r, 't> {
    lines: &'r Lines<'t>,
    report: &'r mut Report,
}

impl Reader<'_, '_> {
    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Content {
        let mut entries: Vec<Entry> = Vec::with_capacity(table.len());
        for (key, value) in table {
            let at = self.lines.position(key.span().start);
            entries.push(Entry { key: key.get_ref().as_ref().into(), at, node: self.node(value, depth + 1) });
        }
        entries.sort_by_key(|entry| entry.at);
        Content::Map(entries)
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Node {
        let at = self.lines.position(value.span().start);
        if depth > DEPTH {
            self.report.add(at, format!("nested deeper than {DEPTH} levels"));
            return Node { at, content: Content::Null };
        }
        let text = |text: String| Content::Text(Text { text, is_block: false });
        let content = match value.get_ref() {
            DeValue::String(string) => text(string.to_string()),
            DeValue::Boolean(flag) => Content::Bool((*flag).into()),
            DeValue::Datetime(time) => text(time.to_string()),
            // As in YAML: what is no number of JSON is text, and told by whoever wants a number there.
            DeValue::Integer(integer) => {
                let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(Number::from);
                number.map_or_else(
                    || text(integer.to_string()),
                    |n| Content::Number(n, integer.as_str().into()),
                )
            }
            DeValue::Float(float) => {
                let number = float.as_str().parse().ok().and_then(Number::from_f64);
                number.map_or_else(|| text(float.to_string()), |n| Content::Number(n, float.as_str().into()))
            }
            DeValue::Array(items) => Content::List(items.iter().map(|i| self.node(i, depth + 1)).collect()),
            DeValue::Table(table) => self.table(table, depth),
        };
        Node { at, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::parse;

    #[test]
    fn values_know_their_places() {
        let node = parse("f.toml", "[a]\nb = 1_000\n# ä\n[a.\"c d\"]\nx = [1.5, \"ä\", 0x10]\n").unwrap();
        assert_eq!(node.to_json(), serde_json::json!({"a": {"b": 1000, "c d": {"x": [1.5, "ä", 16]}}}));
        let Content::Map(entries) = &node.content else { panic!("a map") };
        let Content::Map(a) = &entries[0].node.content else { panic!("a map") };
        assert_eq!((a[0].at, a[0].node.at.column), (Position { line: 2, column: 1 }, 5));
        let Content::Map(c) = &a[1].node.content else { panic!("a map") };
        let Content::List(items) = &c[0].node.content else { panic!("a list") };
        assert_eq!(items[2].at, Position { line: 5, column: 16 });
    }

    #[test]
    fn what_is_no_number_of_json_is_text_as_in_yaml() {
        let node = parse("f.toml", "a = nan\nb = -inf\nc = 1e999\nd = 1.5\n").unwrap();
        assert_eq!(node.to_json(), serde_json::json!({"a": "nan", "b": "-inf", "c": "1e999", "d": 1.5}));
    }

    #[test]
    fn places_are_counted_in_characters_however_long_the_lines_are() {
        let text =
            format!("{}\nx = \"{}\"\n{}", "ä".repeat(3 * BLOCK), "😀".repeat(BLOCK), "end".repeat(BLOCK));
        let lines = Lines::of(&text);
        let (mut line, mut column) = (1, 1);
        for (offset, character) in text.char_indices().chain([(text.len(), ' ')]) {
            assert_eq!(lines.position(offset), Position { line, column }, "{offset}");
            (line, column) = if character == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
    }

    #[test]
    fn what_is_no_toml_is_an_error_with_its_place() {
        for (text, place) in [
            ("a = ", "f.toml:1:5: not valid TOML"),
            ("a = 1\na = 2", "f.toml:2:1: not valid TOML: duplicate key"),
        ] {
            let error = parse("f.toml", text).unwrap_err();
            assert!(error.starts_with(place), "{text:?}: {error}");
        }
        assert!(parse("f.toml", &format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000))).is_err());
    }
}
