//! Globs: patterns that people write to mean several names.
//!
//! `*` is any text, `?` any character, `[a-z]` one of these, `[^a-z]` none of these; the case of letters counts.
//! They mean what `GLOB` means to SQLite, so that a store may let it choose; and each matches itself, as the name `t[1]`
//! is meant by who writes it.

use std::fmt;
use std::str::FromStr;

use crate::{Code, Refusal};

/// A pattern that can be matched: every bracket in it is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Any text.
    Text,
    /// Any character.
    One,
    /// This character.
    Just(char),
    /// One of these ranges, or none of them.
    Class { ranges: Vec<(char, char)>, is_negated: bool },
}

impl Glob {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether all of a name matches, or is the pattern itself: names may have brackets.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        name == self.text || self.is_matched_by(name)
    }

    fn is_matched_by(&self, name: &str) -> bool {
        let (mut part, mut rest) = (0, name.chars());
        // Where the last `*` stands, and what it has not taken yet: it takes one character more when what
        // follows does not match. An earlier one need not be asked again.
        let mut again: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            match self.parts.get(part) {
                Some(Part::Text) => {
                    part += 1;
                    again = Some((part, rest.clone()));
                    continue;
                }
                Some(wanted) if rest.next().is_some_and(|c| wanted.takes(c)) => {
                    part += 1;
                    continue;
                }
                None if rest.as_str().is_empty() => return true,
                Some(_) | None => {}
            }
            let Some((after, taken)) = &mut again else { return false };
            if taken.next().is_none() {
                return false;
            }
            (part, rest) = (*after, taken.clone());
        }
    }
}

/// How far a pattern may have come in a name that is given to it piece by piece, for whoever looks for all names of a
/// kind: places in the pattern, all of which what has been given can lead to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reached(Vec<usize>);

impl Glob {
    /// At the beginning of a name.
    #[must_use]
    pub fn begin(&self) -> Reached {
        self.reached(std::iter::once(0))
    }

    /// After more of the name.
    #[must_use]
    pub fn after(&self, reached: &Reached, more: &str) -> Reached {
        let mut reached = reached.clone();
        for c in more.chars() {
            let next = reached.0.iter().filter_map(|place| match self.parts.get(*place)? {
                Part::Text => Some(*place),
                part => part.takes(c).then_some(place + 1),
            });
            reached = self.reached(next);
        }
        reached
    }

    /// Whether what has been given is a name that matches. One that is the pattern itself is not known here.
    #[must_use]
    pub fn is_matched_at(&self, reached: &Reached) -> bool {
        reached.0.last() == Some(&self.parts.len())
    }

    /// These places, in order, and those that can be come to from them without another character.
    fn reached(&self, places: impl Iterator<Item = usize>) -> Reached {
        let mut reached: Vec<usize> = Vec::new();
        for mut place in places {
            loop {
                // What was come to before was gone on from then.
                if reached.last().is_some_and(|last| *last >= place) {
                    break;
                }
                reached.push(place);
                if self.parts.get(place) != Some(&Part::Text) {
                    break;
                }
                place += 1;
            }
        }
        Reached(reached)
    }
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Text | Self::One => true,
            Self::Just(wanted) => *wanted == c,
            Self::Class { ranges, is_negated } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *is_negated
            }
        }
    }
}

impl FromStr for Glob {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let mut parts = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            parts.push(match c {
                '*' => Part::Text,
                '?' => Part::One,
                '[' => class(&mut rest).ok_or_else(|| {
                    Refusal::new(Code::Malformed, "a [ in a pattern has no ]")
                        .value(text)
                        .hint("for the character itself write [[]")
                })?,
                c => Part::Just(c),
            });
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

/// What stands between brackets; nothing when they are not closed. A `]` at the start belongs to it.
fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Part> {
    let is_negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    // The character that a following `-` would begin a range with.
    let mut from = None;
    ranges.extend(rest.next_if_eq(&']').map(|c| (c, c)));
    loop {
        match (rest.next()?, from) {
            (']', _) => return Some(Part::Class { ranges, is_negated }),
            ('-', Some(first)) if *rest.peek()? != ']' => {
                ranges.push((first, rest.next()?));
                from = None;
            }
            (c, _) => {
                ranges.push((c, c));
                from = Some(c);
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_they_do_in_sqlite() {
        for (glob, yes, no) in [
            ("", &[""][..], &["a"][..]),
            ("a*", &["a", "ab", "a*"], &["", "ba", "A"]),
            ("*a*b", &["ab", "aab", "xaxbxb"], &["abc", "ba", ""]),
            ("n?", &["n1", "nä"], &["n", "n12"]),
            ("[a-c]", &["a", "b", "c"], &["d", "", "ab", "-"]),
            ("[^a-c]", &["d", "-", "^"], &["a", "", "dd"]),
            ("[]x]", &["]", "x"], &["[", ""]),
            ("[^]]", &["[", "x"], &["]"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[-a]", &["a", "-"], &["b"]),
            ("[a-c-e]", &["a", "b", "-", "e"], &["d"]),
            ("[[]", &["[", "[[]"], &["]"]),
            ("t[1]", &["t[1]", "t1"], &["t", "t[2]"]),
            ("n[0-9]*[05]", &["n10", "n5x5"], &["n1", "n50x"]),
        ] {
            let pattern: Glob = glob.parse().unwrap();
            yes.iter().for_each(|name| assert!(pattern.matches(name), "{glob} {name}"));
            no.iter().for_each(|name| assert!(!pattern.matches(name), "{glob} {name}"));
            for name in yes.iter().chain(no).filter(|name| **name != glob) {
                let by_characters = name.split_inclusive(|_| true);
                let reached = by_characters.fold(pattern.begin(), |reached, c| pattern.after(&reached, c));
                assert_eq!(pattern.is_matched_at(&reached), pattern.matches(name), "{glob} {name}");
            }
        }
    }

    #[test]
    fn an_open_bracket_is_refused() {
        for text in ["[", "a[", "[]", "[^", "[^]", "[a-", "[a-z", "x[a][b"] {
            let refusal = text.parse::<Glob>().unwrap_err();
            assert!(refusal.value.as_deref() == Some(text) && refusal.hint.is_some(), "{text}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern: Glob = "*a".repeat(100).parse().unwrap();
        assert!(!pattern.matches(&("a".repeat(99) + &"b".repeat(100_000))));
    }
}
