//! The commands of a page of the docs: what a reader would type.

use std::fs;
use std::path::Path;

/// A document that follows the command, up to the line `END`.
const HERE: &str = "<< END";

/// One command of a page.
#[derive(Debug)]
pub struct Typed {
    /// The last heading before it.
    pub section: String,
    /// What is typed, over several lines if they end with a backslash or are a document up to `END`.
    pub command: String,
    /// What the page says that comes of it.
    pub shown: String,
}

/// The commands in the `console` blocks of a page, from the top: lines that begin with `$ `.
pub fn commands(page: &str) -> Vec<Typed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let mut typed: Vec<Typed> = Vec::new();
    let (mut section, mut in_console, mut goes_on) = (String::new(), false, false);
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            (in_console, goes_on) = (kind == "console", false);
        } else if !in_console {
            if let Some(heading) = line.strip_prefix('#') {
                section = heading.trim_start_matches('#').trim().to_owned();
            }
        } else if goes_on && let Some(last) = typed.last_mut() {
            last.command += &format!("\n{line}");
            goes_on = if last.command.contains(HERE) { line != "END" } else { line.ends_with('\\') };
        } else if let Some(command) = line.strip_prefix("$ ") {
            let section = section.clone();
            typed.push(Typed { section, command: command.to_owned(), shown: String::new() });
            goes_on = command.ends_with('\\') || command.contains(HERE);
        } else if let Some(last) = typed.last_mut() {
            last.shown += &format!("{line}\n");
        }
    }
    assert!(!typed.is_empty(), "{page} has no commands");
    typed
}
