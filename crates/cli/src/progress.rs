//! Live progress of a workflow: spinners and a bar on a terminal, plain lines elsewhere. All of it on
//! standard error.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use orchd_model::{Span, Status, TaskId};
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};

use crate::screen::Screen;
use crate::{Color, text};

/// Spinners at once: more do not fit on a screen; the bar counts all.
const SPINNERS: usize = 12;

/// What is shown while a workflow runs.
pub(crate) struct Progress {
    display: Display,
    screen: Screen,
    total: usize,
    ended: usize,
    failed: usize,
    running: HashMap<TaskId, Option<ProgressBar>>,
}

enum Display {
    /// Notes only.
    Hidden,
    Lines,
    Bars {
        all: MultiProgress,
        bar: ProgressBar,
    },
}

impl Progress {
    pub(crate) fn hidden() -> Self {
        Self::with(Display::Hidden, 0, Color::Never)
    }

    pub(crate) fn new(name: &str, total: usize, color: Color) -> Self {
        if !io::stderr().is_terminal() {
            return Self::with(Display::Lines, total, color);
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let bar = all.add(ProgressBar::new(total as u64));
        bar.set_style(style("{prefix} {wide_bar} {pos}/{len} {msg} {elapsed}"));
        bar.set_prefix(name.to_owned());
        Self::with(Display::Bars { all, bar }, total, color)
    }

    fn with(display: Display, total: usize, color: Color) -> Self {
        let screen = Screen::of_errors(color);
        Self { display, screen, total, ended: 0, failed: 0, running: HashMap::new() }
    }

    /// There are more tasks than it was begun with.
    pub(crate) fn grow(&mut self, more: usize) {
        self.total += more;
        if let Display::Bars { bar, .. } = &self.display {
            bar.inc_length(more as u64);
        }
    }

    pub(crate) fn started(&mut self, id: TaskId, name: &str) {
        let spinner = match &self.display {
            Display::Bars { all, bar } if self.running.len() < SPINNERS => {
                let spinner = all.insert_before(bar, ProgressBar::new_spinner());
                spinner.set_style(style("  {spinner} {msg} {elapsed}"));
                spinner.set_message(name.to_owned());
                Some(spinner)
            }
            Display::Bars { .. } | Display::Lines | Display::Hidden => None,
        };
        self.running.insert(id, spinner);
        if matches!(self.display, Display::Lines) {
            self.note(&format!("{} {name} started", self.place(self.ended)));
        }
    }

    /// Whether nothing runs, as far as is known.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// An attempt has said how far it is: shown behind its name, or as a line where nothing is live.
    pub(crate) fn at(&self, id: TaskId, name: &str, progress: &str) {
        match self.running.get(&id) {
            Some(Some(spinner)) => spinner.set_message(format!("{name} {progress}")),
            Some(None) if matches!(self.display, Display::Lines) => {
                self.note(&format!("{} {name} {progress}", self.place(self.ended)));
            }
            Some(None) | None => {}
        }
    }

    /// An attempt is over.
    pub(crate) fn stopped(&mut self, id: TaskId) {
        if let (Some(Some(spinner)), Display::Bars { all, .. }) = (self.running.remove(&id), &self.display) {
            spinner.finish_and_clear();
            all.remove(&spinner);
        }
    }

    pub(crate) fn retrying(&self, name: &str) {
        if !matches!(self.display, Display::Hidden) {
            let retrying = self.screen.tinted(Status::Retrying, Status::Retrying.as_str());
            self.note(&format!("{} {name} {retrying}", self.place(self.ended)));
        }
    }

    pub(crate) fn ended(&mut self, name: &str, status: Status, ran: Option<Span>) {
        self.ended += 1;
        self.failed += usize::from(status == Status::Failed);
        if matches!(self.display, Display::Hidden) {
            return;
        }
        let tinted = self.screen.tinted(status, status.as_str());
        let time = ran.map(|ran| format!(" in {}", text::duration(ran))).unwrap_or_default();
        self.note(&format!("{} {name} {tinted}{time}", self.place(self.ended)));
    }

    /// `[ 3/12]`
    fn place(&self, ended: usize) -> String {
        let width = self.total.to_string().len();
        format!("[{ended:>width$}/{}]", self.total)
    }

    /// A line that stays.
    pub(crate) fn note(&self, line: &str) {
        let printed = match &self.display {
            Display::Bars { all, .. } => all.println(line),
            Display::Lines | Display::Hidden => writeln!(io::stderr(), "{line}"),
        };
        // Nobody listens to standard error: the workflow goes on.
        printed.ok();
    }

    pub(crate) fn tick(&self) {
        if let Display::Bars { bar, .. } = &self.display {
            self.running.values().flatten().for_each(ProgressBar::tick);
            let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
            bar.set_position(self.ended as u64);
            bar.set_message(format!("{} running{failed}", self.running.len()));
        }
    }

    /// Takes everything live off the screen.
    pub(crate) fn finish(&mut self) {
        if let Display::Bars { all, bar } = &self.display {
            self.running.values().flatten().for_each(ProgressBar::finish_and_clear);
            bar.finish_and_clear();
            all.clear().ok();
        }
        self.display = Display::Hidden;
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("##-")
}
