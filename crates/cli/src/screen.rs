//! Where a verb writes: standard output, with colours or without, in tables that fit.

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use orchd_model::{Priority, Status};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A meaning that has a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tint {
    Good,
    Bad,
    Busy,
    Waiting,
    Faint,
    Plain,
}

impl Tint {
    fn color(self) -> Option<comfy_table::Color> {
        match self {
            Self::Good => Some(comfy_table::Color::Green),
            Self::Bad => Some(comfy_table::Color::Red),
            Self::Busy => Some(comfy_table::Color::Cyan),
            Self::Waiting => Some(comfy_table::Color::Yellow),
            Self::Faint => Some(comfy_table::Color::DarkGrey),
            Self::Plain => None,
        }
    }

    fn code(self) -> Option<&'static str> {
        match self {
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Busy => Some("36"),
            Self::Waiting => Some("33"),
            Self::Faint => Some("90"),
            Self::Plain => None,
        }
    }
}

impl From<Status> for Tint {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Plain,
            Status::Running => Self::Busy,
            Status::Retrying => Self::Waiting,
            Status::Completed => Self::Good,
            Status::Failed => Self::Bad,
            Status::Skipped | Status::Cancelled => Self::Faint,
        }
    }
}

impl From<Priority> for Tint {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Critical => Self::Bad,
            Priority::High => Self::Waiting,
            Priority::Normal => Self::Plain,
            Priority::Low => Self::Faint,
        }
    }
}

/// A terminal that says to be narrower than this does not know how wide it is.
const NARROWEST: u16 = 20;

/// Between two columns.
const GAP: u16 = 2;
/// Longer words, mostly names, are broken where a table is too wide.
const LONG_WORD: usize = 20;
/// What a terminal that is too narrow for all columns does without; the first goes first.
const DISPENSABLE: [&str; 14] = [
    "CONNECTED",
    "TRIES",
    "AGE",
    "WAITED",
    "FREE",
    "TIME",
    "RAN",
    "PRIORITY",
    "KIND",
    "CONCURRENCY",
    "STATE",
    "DONE",
    "CAPACITY",
    "WAITING",
];

/// How standard output is written to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    colored: bool,
    terminal: bool,
    can_clear: bool,
}

impl Screen {
    pub(crate) fn new(color: Color) -> Self {
        Self::on(color, io::stdout().is_terminal())
    }

    /// For what goes to standard error: only whether text is coloured.
    pub(crate) fn of_errors(color: Color) -> Self {
        Self::on(color, io::stderr().is_terminal())
    }

    fn on(color: Color, terminal: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colored = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !is_dumb && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self { colored, terminal, can_clear: terminal && !is_dumb }
    }

    /// Text in the colour of its meaning.
    pub(crate) fn tinted(self, tint: impl Into<Tint>, text: &str) -> String {
        match tint.into().code() {
            Some(code) if self.colored => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }

    /// Writes a line; a reader that went away is an error like any other here.
    pub(crate) fn line(self, text: impl AsRef<str>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")
    }

    /// Writes the sequence that clears a terminal, on a terminal that knows it.
    pub(crate) fn clear(self, sequence: &str) -> io::Result<()> {
        if self.can_clear { io::stdout().lock().write_all(sequence.as_bytes()) } else { Ok(()) }
    }

    /// How many columns the terminal has, or `COLUMNS` says, where lines are to fit it.
    fn width(self) -> Option<u16> {
        if !self.terminal {
            return None;
        }
        let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
        told.or_else(|| Table::new().width()).filter(|width| *width >= NARROWEST)
    }

    /// Writes a fact and what there is to say of it; on a terminal in lines that fit, and begin below each other.
    pub(crate) fn fact(self, name: &str, said: &str) -> io::Result<()> {
        const INDENT: usize = 12;
        let Some(width) = self.width().map(usize::from) else {
            return self.line(format!("{name:INDENT$}{said}"));
        };
        let (mut line, mut taken) = (format!("{name:INDENT$}"), INDENT);
        for (position, word) in said.split(' ').enumerate() {
            let wide = visible_width(word);
            if position > 0 && taken + 1 + wide > width {
                self.line(line.trim_end())?;
                (line, taken) = (" ".repeat(INDENT), INDENT);
            } else if position > 0 {
                line.push(' ');
                taken += 1;
            }
            line.push_str(word);
            taken += wide;
        }
        self.line(line)
    }

    /// Writes one JSON document on a line.
    pub(crate) fn json(self, document: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(document)?;
        line.push(b'\n');
        io::stdout().lock().write_all(&line)
    }

    /// Writes a table that fits the terminal; elsewhere lines are as long as they are.
    pub(crate) fn table(self, columns: &[&str], rows: Vec<Vec<Piece>>) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        // Asked for before styling is switched off, which switches this off too.
        let width = self.width();
        let (columns, rows) = match width {
            Some(width) => narrowed(columns.to_vec(), rows, usize::from(width)),
            None => (columns.to_vec(), rows),
        };
        let least: Vec<usize> = (0..columns.len()).map(|column| least(&columns, &rows, column)).collect();
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        if self.colored {
            table.enforce_styling();
            table.style_text_only();
        } else {
            table.force_no_tty();
        }
        table.set_header(columns.iter().map(Cell::new));
        for row in rows {
            table.add_row(row.into_iter().map(Cell::from));
        }
        let last = least.len().saturating_sub(1);
        for (position, (column, least)) in table.column_iter_mut().zip(least).enumerate() {
            column.set_padding((0, if position == last { 0 } else { GAP }));
            let least = u16::try_from(least).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
        self.line(table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
    }
}

/// Leaves out columns that can be done without until no word of the others needs to be broken.
fn narrowed(mut columns: Vec<&str>, mut rows: Vec<Vec<Piece>>, width: usize) -> (Vec<&str>, Vec<Vec<Piece>>) {
    for dispensable in DISPENSABLE {
        let wanted = (0..columns.len()).map(|column| least(&columns, &rows, column)).sum::<usize>();
        if wanted <= width {
            break;
        }
        if let Some(position) = columns.iter().position(|column| *column == dispensable) {
            columns.remove(position);
            rows.iter_mut().for_each(|row| drop(row.remove(position)));
        }
    }
    (columns, rows)
}

/// The least width of a column with the gap after it, if there is one: that of its longest word, unless that is
/// very long.
fn least(columns: &[&str], rows: &[Vec<Piece>], column: usize) -> usize {
    let cells = rows.iter().map(|row| row[column].text.as_str()).chain([columns[column]]);
    let words = cells.flat_map(str::split_whitespace).map(visible_width);
    let gap = if column + 1 == columns.len() { 0 } else { usize::from(GAP) };
    words.max().unwrap_or(0).min(LONG_WORD) + gap
}

/// How many columns a text takes, without the sequences that colour it.
fn visible_width(text: &str) -> usize {
    let mut parts = text.split('\x1b');
    let plain = parts.next().unwrap_or_default().chars().count();
    plain + parts.map(|part| part.split_once('m').map_or(0, |(_, rest)| rest.chars().count())).sum::<usize>()
}

/// One cell of a table.
pub(crate) struct Piece {
    text: String,
    tint: Tint,
    right: bool,
}

impl Piece {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), tint: Tint::Plain, right: false }
    }

    pub(crate) fn number(text: impl ToString) -> Self {
        Self { text: text.to_string(), tint: Tint::Plain, right: true }
    }

    pub(crate) fn tinted(tint: impl Into<Tint>, text: impl ToString) -> Self {
        Self { text: text.to_string(), tint: tint.into(), right: false }
    }
}

impl From<Piece> for Cell {
    fn from(piece: Piece) -> Self {
        let cell = Self::new(piece.text);
        let cell = if piece.right { cell.set_alignment(CellAlignment::Right) } else { cell };
        match piece.tint.color() {
            Some(color) => cell.fg(color),
            None => cell,
        }
    }
}
