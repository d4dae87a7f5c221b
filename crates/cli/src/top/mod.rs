//! The live view of `top`: what is shown and what each key means, without a terminal and without a daemon.
//!
//! ```text
//! keys ──▶ View::press ──▶ Wish (a deed for the daemon, or the end)
//! Picture (what the daemon answered) ──▶ View::see ──▶ view::draw
//! View::wanted ──▶ what is to be asked next
//! ```
//!
//! Nothing is done to a task by one key alone that could not be taken back: cancelling asks first.

mod view;

use orchd_api::{ListQuery, Stats, Task};
use orchd_model::{Priority, Status, TaskId, TaskRange};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;

pub(crate) use view::draw;

/// More rows than a screen has: the first ones of what could be listed.
const ROWS: usize = 200;
/// How far a page key goes.
const PAGE: isize = 10;

/// What the daemon answered.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) stats: Stats,
    pub(crate) tasks: Vec<Task>,
    /// What was asked of the selected task, if something was.
    pub(crate) beside: Vec<String>,
}

/// What is shown of the selected task besides its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Why it does not run.
    Why,
    /// The end of its output.
    Logs,
}

/// What the daemon is to be asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) query: ListQuery,
    pub(crate) beside: Option<(Beside, TaskId)>,
    /// How often something was done since: what is shown is out of date then.
    pub(crate) deeds: u64,
}

/// What a key asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing beyond what is shown.
    Stay,
    Quit,
    Interrupt,
    Do(Deed),
}

/// What is done to tasks, or to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Cancel(TaskRange),
    Hold(TaskRange),
    Release(TaskRange),
    Retry(TaskRange),
    Reprioritize(TaskRange, Priority),
    Pause,
    Resume,
}

/// What the keys are for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Browse,
    /// A question that `y` says yes to.
    Confirm(Deed, String),
    /// A part of names is being typed.
    Filter(String),
}

/// Which tasks are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Listed {
    #[default]
    All,
    Running,
    Waiting,
    Failed,
}

impl Listed {
    fn next(self) -> Self {
        match self {
            Self::All => Self::Running,
            Self::Running => Self::Waiting,
            Self::Waiting => Self::Failed,
            Self::Failed => Self::All,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::All => "tasks",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }

    fn statuses(self) -> Option<String> {
        let statuses: &[Status] = match self {
            Self::All => return None,
            Self::Running => &[Status::Running],
            Self::Waiting => &[Status::Pending, Status::Retrying],
            Self::Failed => &[Status::Failed],
        };
        Some(statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(","))
    }
}

/// The state of the view.
#[derive(Debug, Default)]
pub(crate) struct View {
    picture: Option<Picture>,
    /// Why the picture is not of now.
    trouble: Option<String>,
    /// What became of the last deed.
    said: Option<String>,
    /// The row of the selected task. Invariant: inside the list, or 0 where there is none.
    selected: usize,
    /// How far the list is scrolled.
    scrolled: TableState,
    mode: Mode,
    listed: Listed,
    filter: String,
    beside: Option<Beside>,
    deeds: u64,
}

impl View {
    /// What is to be asked of the daemon now.
    pub(crate) fn wanted(&self) -> Wanted {
        let filter = match &self.mode {
            Mode::Filter(typed) => typed,
            Mode::Browse | Mode::Confirm(..) => &self.filter,
        };
        let query = ListQuery {
            status: self.listed.statuses(),
            name: (!filter.is_empty()).then(|| glob(filter)),
            limit: Some(ROWS),
            ..ListQuery::default()
        };
        let beside = self.beside.zip(self.task().map(|task| task.id));
        Wanted { query, beside, deeds: self.deeds }
    }

    /// Takes what the daemon answered; the selected task stays selected where it has gone to.
    pub(crate) fn see(&mut self, picture: Picture) {
        let before = self.task().map(|task| task.id);
        let found = before.and_then(|id| picture.tasks.iter().position(|task| task.id == id));
        self.selected = found.unwrap_or(self.selected).min(picture.tasks.len().saturating_sub(1));
        self.picture = Some(picture);
        self.trouble = None;
    }

    /// The daemon does not answer, or refuses what was asked.
    pub(crate) fn miss(&mut self, trouble: String) {
        self.trouble = Some(trouble);
    }

    /// What became of a deed; what is shown is asked for again.
    pub(crate) fn hear(&mut self, said: String) {
        self.said = Some(said);
        self.deeds += 1;
    }

    /// What a key means now.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Wish {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Wish::Interrupt;
        }
        match std::mem::take(&mut self.mode) {
            Mode::Browse => self.browse(key.code),
            Mode::Confirm(deed, _) if key.code == KeyCode::Char('y') => Wish::Do(deed),
            Mode::Confirm(..) => {
                self.said = Some("nothing was done".to_owned());
                Wish::Stay
            }
            Mode::Filter(typed) => {
                self.type_filter(typed, key.code);
                Wish::Stay
            }
        }
    }

    fn browse(&mut self, key: KeyCode) -> Wish {
        self.said = None;
        match key {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc if self.beside.take().is_some() => {}
            KeyCode::Esc if !self.filter.is_empty() => {
                self.filter.clear();
                self.list_anew();
            }
            KeyCode::Esc => return Wish::Quit,
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Tab => {
                self.listed = self.listed.next();
                self.list_anew();
            }
            KeyCode::Char('/') => self.mode = Mode::Filter(self.filter.clone()),
            KeyCode::Enter | KeyCode::Char('w') => self.look_beside(Beside::Why),
            KeyCode::Char('l') => self.look_beside(Beside::Logs),
            KeyCode::Char('p') => return Wish::Do(self.pause_or_resume()),
            KeyCode::Char(key) => return self.deed(key),
            _ => {}
        }
        Wish::Stay
    }

    /// A key that is about the selected task.
    fn deed(&mut self, key: char) -> Wish {
        let Some(task) = self.task() else { return Wish::Stay };
        let (tasks, class) = (task.tasks(), task.priority);
        match key {
            'c' => {
                let question = format!("cancel {tasks} ({})? y/n", crate::text::plain(&task.name));
                self.mode = Mode::Confirm(Deed::Cancel(tasks), question);
                Wish::Stay
            }
            'h' if task.hold => Wish::Do(Deed::Release(tasks)),
            'h' => Wish::Do(Deed::Hold(tasks)),
            'r' => Wish::Do(Deed::Retry(tasks)),
            '+' => neighbour(class, -1).map_or(Wish::Stay, |to| Wish::Do(Deed::Reprioritize(tasks, to))),
            '-' => neighbour(class, 1).map_or(Wish::Stay, |to| Wish::Do(Deed::Reprioritize(tasks, to))),
            _ => Wish::Stay,
        }
    }

    fn pause_or_resume(&self) -> Deed {
        let is_paused = self.picture.as_ref().is_some_and(|picture| picture.stats.paused);
        if is_paused { Deed::Resume } else { Deed::Pause }
    }

    /// The same key again closes it.
    fn look_beside(&mut self, beside: Beside) {
        self.beside = if self.beside == Some(beside) { None } else { Some(beside) };
        self.forget_beside();
    }

    fn type_filter(&mut self, mut typed: String, key: KeyCode) {
        match key {
            KeyCode::Enter => {
                self.filter = typed;
                self.list_anew();
                return;
            }
            KeyCode::Esc => return,
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Char(letter) => typed.push(letter),
            _ => {}
        }
        self.mode = Mode::Filter(typed);
    }

    /// Others are listed: none is selected that was before.
    fn list_anew(&mut self) {
        self.selected = 0;
        if let Some(picture) = &mut self.picture {
            picture.tasks.clear();
            picture.beside.clear();
        }
    }

    fn step(&mut self, rows: isize) {
        let last = self.tasks().len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(rows).min(last);
        self.forget_beside();
    }

    /// What was said of another task is not shown as if it were of this one.
    fn forget_beside(&mut self) {
        if let Some(picture) = &mut self.picture {
            picture.beside.clear();
        }
    }

    fn tasks(&self) -> &[Task] {
        self.picture.as_ref().map_or(&[], |picture| &picture.tasks)
    }

    /// The selected task.
    fn task(&self) -> Option<&Task> {
        self.tasks().get(self.selected)
    }
}

/// Names that contain this, unless it is a glob itself.
fn glob(typed: &str) -> String {
    if typed.contains(['*', '?', '[']) { typed.to_owned() } else { format!("*{typed}*") }
}

/// The class so many places further down.
fn neighbour(class: Priority, down: isize) -> Option<Priority> {
    let position = Priority::ALL.iter().position(|other| *other == class)?;
    Priority::ALL.get(position.checked_add_signed(down)?).copied()
}

#[cfg(test)]
pub(crate) mod tests;
