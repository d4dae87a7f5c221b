//! Where a verb writes: standard output, with colours or without, in tables that fit.

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use orchd_model::{Priority, Status};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
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

/// How standard output is written to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    colored: bool,
    terminal: bool,
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
        let colored = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self { colored, terminal }
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

    /// Writes the sequence that clears a terminal, on a terminal.
    pub(crate) fn clear(self, sequence: &str) -> io::Result<()> {
        if self.terminal { io::stdout().lock().write_all(sequence.as_bytes()) } else { Ok(()) }
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
        let width = table.width().filter(|width| *width >= NARROWEST);
        if let (true, Some(width)) = (self.terminal, width) {
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
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.line(table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
    }
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
