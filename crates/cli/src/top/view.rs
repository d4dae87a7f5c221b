//! What `top` looks like: figures, resources, tasks, what was asked of one of them, and what the keys do.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, Wrap};

use super::{Beside, Mode, Picture, View};
use crate::screen::{Piece, Tint, narrowed};
use crate::{text, verb};

/// Lines of figures above all else.
const FIGURES: u16 = 3;
/// Rows of resources, with their header and the line above.
const RESOURCES: u16 = 10;
/// No name takes more of a row.
const WIDEST_NAME: usize = 32;
const KEYS: &str = "q quit  ↑↓ select  Enter why  l output  c cancel  h hold/release  r again  + - class  \
                    p pause/resume  / name  Tab list";

/// Draws what is to be seen now.
pub(crate) fn draw(frame: &mut Frame<'_>, view: &mut View, colored: bool) {
    let brush = Brush { colored };
    let resources = view.picture.as_ref().map_or(0, |picture| picture.stats.resources.len());
    let resources = u16::try_from(resources).unwrap_or(u16::MAX).saturating_add(2).min(RESOURCES);
    let beside = if view.beside.is_some() { Constraint::Percentage(35) } else { Constraint::Length(0) };
    let [figures, held, tasks, aside, foot] = Layout::vertical([
        Constraint::Length(FIGURES),
        Constraint::Length(resources),
        Constraint::Fill(1),
        beside,
        Constraint::Length(1),
    ])
    .areas(frame.area());
    if let Some(picture) = &view.picture {
        frame.render_widget(Paragraph::new(brush.figures(picture)), figures);
        let (columns, rows) = verb::resource_table(&picture.stats.resources);
        frame.render_widget(brush.table("resources", columns, rows, held), held);
        let title = list_title(view, picture.tasks.len());
        let rows = picture.tasks.iter().map(verb::task_row).collect();
        let table = brush.table(&title, verb::TASK_COLUMNS.to_vec(), rows, tasks);
        let table = table.row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let selected = (!picture.tasks.is_empty()).then_some(view.selected);
        view.scrolled.select(selected);
        frame.render_stateful_widget(table, tasks, &mut view.scrolled);
        if let Some(what) = view.beside {
            frame.render_widget(beside_task(view, picture, what, aside.height), aside);
        }
    }
    frame.render_widget(Paragraph::new(brush.foot(view)), foot);
}

fn list_title(view: &View, listed: usize) -> String {
    let first = if listed >= super::ROWS { ", the first ones" } else { "" };
    let named = if view.filter.is_empty() { String::new() } else { format!(", named {}", view.filter) };
    format!("{}{named}{first}", view.listed.title())
}

fn beside_task<'a>(view: &View, picture: &'a Picture, what: Beside, height: u16) -> Paragraph<'a> {
    let name =
        view.task().map_or_else(String::new, |task| format!("{} ({})", task.id, text::plain(&task.name)));
    let title = match what {
        Beside::Why => format!("why: {name}"),
        Beside::Logs => format!("output: {name}"),
    };
    let shown = match what {
        Beside::Why => picture.beside.as_slice(),
        // The end is what is new; one line is the title.
        Beside::Logs => {
            let fits = usize::from(height.saturating_sub(1));
            &picture.beside[picture.beside.len().saturating_sub(fits)..]
        }
    };
    let lines: Vec<Line<'a>> = shown.iter().map(|line| Line::from(line.as_str())).collect();
    let paragraph = Paragraph::new(Text::from(lines)).block(titled(&title));
    if what == Beside::Why { paragraph.wrap(Wrap { trim: false }) } else { paragraph }
}

fn titled(title: &str) -> Block<'static> {
    Block::new().borders(Borders::TOP).title(format!(" {title} "))
}

/// Paints in colours, or without.
#[derive(Clone, Copy)]
struct Brush {
    colored: bool,
}

impl Brush {
    fn style(self, tint: impl Into<Tint>) -> Style {
        let style = Style::new();
        if !self.colored {
            return style;
        }
        match tint.into() {
            Tint::Good => style.fg(Color::Green),
            Tint::Bad => style.fg(Color::Red),
            Tint::Busy => style.fg(Color::Cyan),
            Tint::Waiting => style.fg(Color::Yellow),
            Tint::Faint => style.fg(Color::DarkGray),
            Tint::Plain => style,
        }
    }

    fn figures(self, picture: &Picture) -> Vec<Line<'static>> {
        let figures = &picture.stats;
        let mut daemon = vec![
            Span::from(format!("orchd up {}", text::duration(figures.uptime))),
            Span::from(format!("   slots {} of {} used", figures.slots.used, figures.slots.total)),
            Span::from(format!("   {}", text::count(figures.workers, "worker"))),
            Span::from(format!("   {} running", text::count(figures.workflows, "workflow"))),
        ];
        if figures.paused {
            daemon.push(Span::styled("   paused", self.style(Tint::Waiting)));
        }
        let mut tasks = vec![Span::from(format!("tasks {} ", figures.total_tasks))];
        for (status, count) in verb::counts(figures) {
            let style = if count == 0 { self.style(Tint::Faint) } else { self.style(status) };
            tasks.push(Span::styled(format!("  {count} {status}"), style));
        }
        let rate = figures.throughput;
        let times = format!(
            "{:.2}/s over 1 min, {:.2}/s over 15 min   waited {}",
            rate.m1,
            rate.m15,
            verb::distribution(&figures.wait_time)
        );
        vec![Line::from(daemon), Line::from(tasks), Line::from(times)]
    }

    fn table(
        self,
        title: &str,
        columns: Vec<&'static str>,
        rows: Vec<Vec<Piece>>,
        area: Rect,
    ) -> Table<'static> {
        let (columns, rows) = narrowed(columns, rows, usize::from(area.width));
        let widths: Vec<Constraint> = (0..columns.len()).map(|at| width(&columns, &rows, at)).collect();
        let header = Row::new(columns).style(Style::new().add_modifier(Modifier::BOLD));
        let rows = rows.into_iter().map(|row| Row::new(row.into_iter().map(|piece| self.cell(piece))));
        Table::new(rows, widths).header(header).column_spacing(2).block(titled(title))
    }

    fn cell(self, piece: Piece) -> Cell<'static> {
        let side = if piece.right { Alignment::Right } else { Alignment::Left };
        Cell::from(Line::styled(piece.text, self.style(piece.tint)).alignment(side))
    }

    /// A question, what went wrong, what became of a deed, or what the keys do.
    fn foot(self, view: &View) -> Line<'static> {
        match (&view.mode, &view.trouble, &view.said) {
            (Mode::Confirm(_, question), ..) => Line::styled(question.clone(), self.style(Tint::Waiting)),
            (Mode::Filter(typed), ..) => Line::from(format!("name: {typed}_   Enter keeps it, Esc does not")),
            (Mode::Browse, Some(trouble), _) => Line::styled(text::plain(trouble), self.style(Tint::Bad)),
            (Mode::Browse, None, Some(said)) => Line::from(text::plain(said)),
            (Mode::Browse, None, None) => Line::styled(KEYS, self.style(Tint::Faint)),
        }
    }
}

/// As wide as the widest cell; what is said last takes what is left.
fn width(columns: &[&str], rows: &[Vec<Piece>], at: usize) -> Constraint {
    if at + 1 == columns.len() {
        return Constraint::Fill(1);
    }
    let widest = rows.iter().map(|row| row[at].text.chars().count()).chain([columns[at].len()]).max();
    let widest = widest.unwrap_or(0).min(WIDEST_NAME);
    Constraint::Length(u16::try_from(widest).unwrap_or(u16::MAX))
}
