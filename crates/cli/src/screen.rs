//! Where a verb writes: standard output, with colours or without, in tables that fit.

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use orchd_model::{Priority, Status};
use serde::Serialize;
use std::io::{self, IsTerminal};

use crate::{output, wrap};

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
/// And longer ones than this, where it would be too wide all the same.
const WORD: usize = 12;
/// What a terminal that is too narrow for all columns does without; the first goes first.
const DISPENSABLE: [&str; 15] = [
    "LABELS",
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

    /// Whether text is coloured.
    pub(crate) fn is_colored(self) -> bool {
        self.colored
    }

    /// Whether the terminal can be drawn on.
    pub(crate) fn is_canvas(self) -> bool {
        self.can_clear
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
        output::write(format!("{}\n", text.as_ref()).as_bytes())
    }

    /// Writes the sequence that clears a terminal, on a terminal that knows it.
    pub(crate) fn clear(self, sequence: &str) -> io::Result<()> {
        if self.can_clear { output::write_now(sequence.as_bytes()) } else { Ok(()) }
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
        self.beside(&format!("{name:INDENT$}"), INDENT, said)
    }

    /// Writes what there is to say beside a head that is so many columns wide. On a terminal that is too narrow for both,
    /// or for a word of it, it stands below.
    pub(crate) fn beside(self, head: &str, columns: usize, said: &str) -> io::Result<()> {
        let Some(width) = self.width().map(usize::from) else {
            return self.line(format!("{head}{said}"));
        };
        let (mut head, mut indent) = (head, columns);
        let longest = said.split(' ').map(wrap::visible_width).max().unwrap_or(0);
        if width < columns + longest.max(LONG_WORD) {
            if !head.trim().is_empty() {
                self.line(head.trim_end())?;
            }
            (head, indent) = ("  ", 2);
        }
        for (position, line) in wrap::lines(said, width - indent).into_iter().enumerate() {
            let line = if position == 0 { format!("{head}{line}") } else { format!("{:indent$}{line}", "") };
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Writes one JSON document on a line.
    pub(crate) fn json(self, document: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(document)?;
        line.push(b'\n');
        output::write(&line)
    }

    /// Writes elements of one JSON array, which ends with its bracket on the same line.
    pub(crate) fn json_elements(self, elements: &[impl Serialize], is_first: bool) -> io::Result<()> {
        let mut text = Vec::new();
        for (position, element) in elements.iter().enumerate() {
            text.push(if is_first && position == 0 { b'[' } else { b',' });
            serde_json::to_writer(&mut text, element)?;
        }
        output::write(&text)
    }

    /// Writes a table that fits the terminal; elsewhere lines are as long as they are. On a terminal that is too narrow
    /// for what cannot be done without, each row is a few lines, with everything.
    pub(crate) fn table(self, columns: &[&'static str], rows: Vec<Vec<Piece>>) -> io::Result<()> {
        self.rows(columns).write(rows)
    }

    /// A table whose rows are written as they come.
    pub(crate) fn rows(self, columns: &[&'static str]) -> Rows {
        Rows { screen: self, columns: columns.to_vec(), layout: None }
    }

    /// Writes a table whose columns are at least so wide each, within a width if there is one.
    fn arranged(
        self,
        columns: Option<&[&str]>,
        rows: Vec<Vec<Piece>>,
        least: &[usize],
        width: Option<u16>,
    ) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
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
        if let Some(columns) = columns {
            table.set_header(columns.iter().map(Cell::new));
        }
        for row in rows {
            table.add_row(row.into_iter().map(Cell::from));
        }
        let last = least.len().saturating_sub(1);
        for (position, (column, least)) in table.column_iter_mut().zip(least).enumerate() {
            column.set_padding((0, if position == last { 0 } else { GAP }));
            let least = u16::try_from(*least).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
        self.line(table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
    }

    /// Writes each row as lines of their own, one for each column that says something.
    fn records(self, columns: &[&str], rows: &[Vec<Piece>], width: usize) -> io::Result<()> {
        let indent = columns.iter().map(|name| name.len()).max().unwrap_or(0) + usize::from(GAP);
        for (position, row) in rows.iter().enumerate() {
            if position > 0 {
                self.line("")?;
            }
            for (name, piece) in columns.iter().zip(row).filter(|(_, piece)| !piece.text.is_empty()) {
                let mut head = *name;
                for line in wrap::lines(&piece.text, width.saturating_sub(indent)) {
                    self.line(format!("{head:indent$}{}", self.tinted(piece.tint, &line)))?;
                    head = "";
                }
            }
        }
        Ok(())
    }
}

/// A table that is being written, some rows at a time. The first ones decide how it is laid out; the columns of those
/// that follow may only be wider.
pub(crate) struct Rows {
    screen: Screen,
    columns: Vec<&'static str>,
    layout: Option<Layout>,
}

/// How a table is laid out.
enum Layout {
    /// In lines as long as they are, with columns of at least so much.
    Free(Vec<usize>),
    /// In so many columns of the terminal.
    Fitted { width: u16, left_out: Vec<usize>, least: Vec<usize> },
    /// Each row in lines of its own.
    Records(usize),
}

impl Rows {
    /// Writes the next rows, below the names of the columns if they are the first.
    pub(crate) fn write(&mut self, rows: Vec<Vec<Piece>>) -> io::Result<()> {
        let is_first = self.layout.is_none();
        let layout = self.layout.take().unwrap_or_else(|| self.lay_out(&rows));
        let (screen, columns) = (self.screen, &self.columns);
        let layout = self.layout.insert(layout);
        match layout {
            Layout::Free(least) => {
                for (least, taken) in least.iter_mut().zip(taken(&rows, columns.len())) {
                    *least = taken.max(*least);
                }
                screen.arranged(is_first.then_some(columns), rows, least, None)
            }
            Layout::Fitted { width, left_out, least } => {
                let (columns, rows) = without(columns.clone(), rows, left_out);
                screen.arranged(is_first.then_some(&columns), rows, least, Some(*width))
            }
            Layout::Records(width) => {
                if !is_first {
                    screen.line("")?;
                }
                screen.records(columns, &rows, *width)
            }
        }
    }

    fn lay_out(&self, rows: &[Vec<Piece>]) -> Layout {
        let columns = &self.columns;
        let Some(width) = self.screen.width() else { return Layout::Free(widths(columns, rows, LONG_WORD)) };
        let left_out = dispensable(columns, rows, usize::from(width));
        let is_kept = |column: &usize| !left_out.contains(column);
        let fitting = [LONG_WORD, WORD].into_iter().find_map(|long| {
            let all = widths(columns, rows, long).into_iter().enumerate();
            let least: Vec<usize> =
                all.filter(|(column, _)| is_kept(column)).map(|(_, least)| least).collect();
            (least.iter().sum::<usize>() <= usize::from(width)).then_some(least)
        });
        match fitting {
            Some(least) => Layout::Fitted { width, left_out, least },
            None => Layout::Records(usize::from(width)),
        }
    }
}

/// How wide each column is whose rows are these, with the gap after it, if there is one.
fn taken(rows: &[Vec<Piece>], columns: usize) -> Vec<usize> {
    let widest = |column: usize| rows.iter().map(|row| wrap::visible_width(&row[column].text)).max();
    let gap = |column: usize| if column + 1 == columns { 0 } else { usize::from(GAP) };
    (0..columns).map(|column| widest(column).unwrap_or(0) + gap(column)).collect()
}

/// A table without the columns that can be done without, until no word of the others needs to be broken.
pub(crate) fn narrowed(
    columns: Vec<&'static str>,
    rows: Vec<Vec<Piece>>,
    width: usize,
) -> (Vec<&'static str>, Vec<Vec<Piece>>) {
    let left_out = dispensable(&columns, &rows, width);
    without(columns, rows, &left_out)
}

/// A table without these columns.
fn without<'a>(
    columns: Vec<&'a str>,
    rows: Vec<Vec<Piece>>,
    left_out: &[usize],
) -> (Vec<&'a str>, Vec<Vec<Piece>>) {
    fn kept<T>(row: Vec<T>, left_out: &[usize]) -> Vec<T> {
        let kept = row.into_iter().enumerate().filter(|(column, _)| !left_out.contains(column));
        kept.map(|(_, cell)| cell).collect()
    }
    let rows = rows.into_iter().map(|row| kept(row, left_out)).collect();
    (kept(columns, left_out), rows)
}

/// The columns that have to be left out so that no word of the others needs to be broken.
fn dispensable(columns: &[&str], rows: &[Vec<Piece>], width: usize) -> Vec<usize> {
    let widths = widths(columns, rows, LONG_WORD);
    let mut wanted = widths.iter().sum::<usize>();
    let mut left_out = Vec::new();
    for name in DISPENSABLE {
        if wanted <= width {
            break;
        }
        if let Some(column) = columns.iter().position(|column| *column == name) {
            wanted -= widths[column];
            left_out.push(column);
        }
    }
    left_out
}

/// The least width of each column with the gap after it, if there is one: that of its longest word, unless that is
/// longer than `long`.
fn widths(columns: &[&str], rows: &[Vec<Piece>], long: usize) -> Vec<usize> {
    let least = |(column, name): (usize, &&str)| {
        let cells = rows.iter().map(|row| row[column].text.as_str()).chain([*name]);
        let words = cells.flat_map(str::split_whitespace).map(wrap::visible_width);
        let gap = if column + 1 == columns.len() { 0 } else { usize::from(GAP) };
        words.max().unwrap_or(0).min(long) + gap
    };
    columns.iter().enumerate().map(least).collect()
}

/// One cell of a table.
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) tint: Tint,
    /// Numbers end where those below them end.
    pub(crate) right: bool,
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
