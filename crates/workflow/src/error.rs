//! Mistakes in a workflow file, and the report that gathers all of them.
//!
//! Invariant: a report keeps at most [`ERRORS`] mistakes and compares at most [`COMPARED`] names to find near
//! ones, so the cost of a file that is wrong everywhere stays linear in its size.

use orchd_model::{Refusal, is_obeyed, nearest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::node::Position;

/// Mistakes kept of one file: more than anybody reads, and a bound for files that are wrong everywhere.
const ERRORS: usize = 200;
/// Names that are compared with unknown ones before hints are given up: a tenth or two of a second.
const COMPARED: usize = 100_000;
/// Longer text is not looked at for a near name: no name is that long.
const SUGGESTED_BYTES: usize = 64;
/// Characters of an offending value that are repeated.
const SHOWN_CHARS: usize = 80;

/// One mistake in a workflow file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1; none when the mistake is not at one place of the file (a wrong `-P`).
    pub line: Option<u32>,
    /// The column in characters, from 1.
    pub column: Option<u32>,
    /// What is wrong, a lower-case fragment with the offending value last.
    pub message: String,
    /// What would help.
    pub hint: Option<String>,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for place in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{place}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FileError {}

/// Gathers the mistakes of one file.
pub(crate) struct Report {
    file: String,
    errors: Vec<FileError>,
    dropped: usize,
    /// Whether something was not looked at, since no more mistakes are told.
    cut: bool,
    compared: usize,
}

impl Report {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), errors: Vec::new(), dropped: 0, cut: false, compared: 0 }
    }

    /// An empty one about the same file.
    pub(crate) fn another(&self) -> Self {
        Self::new(&self.file)
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether no more mistakes are told.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS
    }

    /// Says that the rest is not looked at.
    pub(crate) fn cut(&mut self) {
        self.cut = true;
    }

    /// How many mistakes there are so far.
    pub(crate) fn count(&self) -> usize {
        self.errors.len() + self.dropped
    }

    /// Adds a mistake without a hint.
    pub(crate) fn add(&mut self, at: Position, message: impl Into<String>) {
        self.add_with(at, || (message.into(), None));
    }

    /// Adds a mistake with a hint.
    pub(crate) fn add_hint(&mut self, at: Position, message: impl Into<String>, hint: impl Into<String>) {
        self.add_with(at, || (message.into(), Some(hint.into())));
    }

    /// Adds a mistake whose words are worth making only when it is kept.
    pub(crate) fn add_with(&mut self, at: Position, words: impl FnOnce() -> (String, Option<String>)) {
        if self.is_full() {
            self.count_more();
            return;
        }
        let (message, hint) = words();
        let place = |number: u32| (number > 0).then_some(number);
        let (line, column) = (place(at.line), place(at.column));
        self.errors.push(FileError { file: self.file.clone(), line, column, message, hint });
    }

    /// Counts a mistake that is not told.
    pub(crate) fn count_more(&mut self) {
        self.dropped += 1;
    }

    /// Adds a mistake that has all of its words.
    pub(crate) fn take(&mut self, error: FileError) {
        self.errors.push(error);
    }

    /// Adds what a parser of the model refused.
    pub(crate) fn refused(&mut self, at: Position, what: &str, refusal: &Refusal) {
        self.add_with(at, || {
            let value = refusal.value.as_deref().map(|v| format!(": {}", shown(v))).unwrap_or_default();
            (format!("{what}: {}{value}", refusal.message), refusal.hint.clone())
        });
    }

    /// Adds a name that does not exist, with the nearest one that does.
    pub(crate) fn unknown<'a>(
        &mut self,
        at: Position,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        self.unknown_or(at, what, name, known, None);
    }

    /// The same with what would help when none is near.
    pub(crate) fn unknown_or<'a>(
        &mut self,
        at: Position,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
        otherwise: Option<&str>,
    ) {
        let mut compared = 0;
        let known = known.into_iter().take(COMPARED - self.compared).inspect(|_| compared += 1);
        self.add_with(at, || {
            let hint = did_you_mean(name, known).or_else(|| otherwise.map(str::to_owned));
            (format!("{what}: {}", shown(name)), hint)
        });
        self.compared += compared;
    }

    /// Every mistake in the order of the file.
    pub(crate) fn into_errors(mut self) -> Vec<FileError> {
        self.errors.sort_by_key(|e| (e.line.unwrap_or(0), e.column.unwrap_or(0)));
        let mut told = Vec::with_capacity(self.errors.len());
        for error in std::mem::take(&mut self.errors) {
            // What an anchor names is read wherever it is used.
            if !told.contains(&error) {
                told.push(error);
            }
        }
        self.errors = told;
        if self.dropped > 0 || self.cut {
            let message = match (self.dropped, self.cut) {
                (0, _) => "and a part that was not looked at".to_owned(),
                (dropped, cut) => {
                    let rest = if cut { ", and a part that was not looked at" } else { "" };
                    format!("and more mistakes that are not shown: {dropped}{rest}")
                }
            };
            let (line, column) = (None, None);
            self.errors.push(FileError { file: self.file, line, column, message, hint: None });
        }
        self.errors
    }
}

/// "did you mean X?", when one of the names is near enough.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if name.len() > SUGGESTED_BYTES {
        return None;
    }
    let candidates = known.into_iter().filter(|k| k.len() <= SUGGESTED_BYTES);
    nearest(name, candidates).map(|near| format!("did you mean {near}?"))
}

/// An offending value cut to what fits a line.
pub(crate) fn shown(value: &str) -> String {
    let line: String = value.chars().take(SHOWN_CHARS).map(|c| if is_obeyed(c) { ' ' } else { c }).collect();
    if value.chars().nth(SHOWN_CHARS).is_some() { format!("{line}…") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_come_in_the_order_of_the_file_and_are_bounded() {
        let mut report = Report::new("f");
        for line in (1..=300).rev() {
            report.add(Position { line, column: 1 }, "wrong");
        }
        let errors = report.into_errors();
        assert_eq!(errors.len(), ERRORS + 1);
        assert_eq!(errors[0].line, Some(101));
        assert!(errors[ERRORS].message.ends_with(": 100"));
    }

    #[test]
    fn a_mistake_reads_like_a_compiler_error() {
        let mut report = Report::new("f.yaml");
        report.unknown(Position { line: 3, column: 5 }, "unknown key", "comand", ["command", "shell"]);
        let text = report.into_errors()[0].to_string();
        assert_eq!(text, "f.yaml:3:5: unknown key: comand\n  hint: did you mean command?");
    }
}
