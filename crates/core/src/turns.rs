//! Turns: in a session that keeps an order (`sequential`, `priority`) only the first in that order stands in a
//! queue, so that no other starts before it, whatever keeps it from starting. The others stand behind it.
//!
//! ```text
//!   ready ──► behind ──► first: stands in its queue ──► running
//!                ▲               │ one comes that goes before it
//!                └───────────────┘
//! ```
//! - sequential: the order is that of submission. What runs, or waits between two tries, is first until it has
//!   ended. What is held, delayed or waits for others has no turn: those after it go on.
//! - priority: the order is class (its own, or one that is lent to it; nobody ages), then the moment it became
//!   ready, then submission. The next one is first as soon as the one before it has started.
//!
//! A milestone takes no turn: there is nothing to start.
//!
//! Invariant: of the ready tasks of such a session exactly the first is not behind.

use orchd_model::{Priority, SessionId, SessionMode, Status, TaskId, Time};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};

use crate::core::Core;
use crate::record::Runner;
use crate::task::Task;

/// A place in the order of a session; smaller goes first.
type Place = (Priority, Time, TaskId);

/// The tasks of one session that keeps an order.
#[derive(Debug)]
struct Line {
    by_class: bool,
    /// Those that are ready.
    waiting: BTreeSet<Place>,
    places: FxHashMap<TaskId, Place>,
    /// Those of a sequence that have begun and not ended.
    begun: BTreeSet<TaskId>,
    first: Option<TaskId>,
}

/// The sessions that keep an order.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    lines: BTreeMap<SessionId, Line>,
}

impl Line {
    fn place(&self, id: TaskId, task: &Task) -> Option<Place> {
        let since = task.ready_since()?;
        Some(if self.by_class { (task.base_class(), since, id) } else { (Priority::Critical, Time(0), id) })
    }

    fn has_begun(&self, task: &Task) -> bool {
        !self.by_class && !task.hold && matches!(task.status(), Status::Running | Status::Retrying)
    }

    fn now_first(&self) -> Option<TaskId> {
        self.begun.first().copied().or_else(|| self.waiting.first().map(|(.., task)| *task))
    }

    /// Files a task under what it is now. Gives who was first and who is.
    fn file(&mut self, id: TaskId, place: Option<Place>, begun: bool) -> (Option<TaskId>, Option<TaskId>) {
        if let Some(former) = self.places.remove(&id) {
            self.waiting.remove(&former);
        }
        if let Some(place) = place {
            self.places.insert(id, place);
            self.waiting.insert(place);
        }
        if begun {
            self.begun.insert(id);
        } else {
            self.begun.remove(&id);
        }
        let first = self.now_first();
        (std::mem::replace(&mut self.first, first), first)
    }
}

impl Turns {
    /// A session begins.
    pub fn open(&mut self, session: SessionId, mode: SessionMode) {
        let by_class = match mode {
            SessionMode::Sequential => false,
            SessionMode::Priority => true,
            SessionMode::Parallel | SessionMode::ResourceAware => return,
        };
        let line = Line {
            by_class,
            waiting: BTreeSet::new(),
            places: FxHashMap::default(),
            begun: BTreeSet::new(),
            first: None,
        };
        self.lines.insert(session, line);
    }

    /// A session has ended.
    pub fn close(&mut self, session: SessionId) {
        self.lines.remove(&session);
    }
}

impl Core {
    /// The session whose order a task has to keep.
    fn line_of(&self, id: TaskId) -> Option<SessionId> {
        if self.turns.lines.is_empty() {
            return None;
        }
        let demand = &self.queues.get(self.task(id).queue).demand;
        let starts = !matches!(demand.runner, Runner::Nothing | Runner::Computed | Runner::Claimant);
        demand.session.filter(|session| starts && self.turns.lines.contains_key(session))
    }

    /// Puts a task that is ready and not held into its queue, if it is its turn. For one that stands in none.
    pub(crate) fn enqueue(&mut self, id: TaskId) {
        let Some(session) = self.line_of(id) else { return self.enter_queue(id) };
        let Some(line) = self.turns.lines.get_mut(&session) else { return };
        let Some(task) = self.tasks.get(&id) else { return };
        let (place, begun) = (line.place(id, task), line.has_begun(task));
        let (former, first) = line.file(id, place, begun);
        if let Some(former) = former.filter(|former| Some(*former) != first && *former != id) {
            self.dequeue(former);
            self.task_mut(former).behind = true;
        }
        self.task_mut(id).behind = place.is_some() && first != Some(id);
        self.enter_queue(id);
        if let Some(first) = first.filter(|first| Some(*first) != former && *first != id) {
            self.task_mut(first).behind = false;
            self.enter_queue(first);
        }
    }

    /// The class of a task has changed, and with it perhaps its turn.
    pub(crate) fn take_turn_anew(&mut self, id: TaskId) {
        if self.line_of(id).is_some() {
            self.dequeue(id);
            self.enqueue(id);
        }
    }

    /// Who goes before a task that is behind: the session, the first, and in order all that go before it.
    pub(crate) fn behind(&self, id: TaskId) -> Option<(SessionId, TaskId, impl Iterator<Item = TaskId>)> {
        let session = self.line_of(id).filter(|_| self.task(id).behind)?;
        let line = self.turns.lines.get(&session)?;
        let place = *line.places.get(&id)?;
        let waiting = line.waiting.range(..place).map(|(.., task)| *task);
        Some((session, line.first?, waiting))
    }

    /// Checks the invariants of this module.
    pub(crate) fn check_turns(&self) -> Result<(), String> {
        let mut found = 0;
        for (id, task) in &self.tasks {
            let Some(line) = self.line_of(*id).and_then(|session| self.turns.lines.get(&session)) else {
                if task.behind {
                    return Err(format!("task {id} is behind, but its session keeps no order"));
                }
                continue;
            };
            let place = line.place(*id, task);
            if line.places.get(id).copied() != place || line.begun.contains(id) != line.has_begun(task) {
                return Err(format!("task {id} is {:?}, filed under {:?}", task.phase, line.places.get(id)));
            }
            if task.behind != (place.is_some() && line.first != Some(*id)) {
                return Err(format!("task {id} behind: {}, the first is {:?}", task.behind, line.first));
            }
            found += usize::from(place.is_some()) + usize::from(line.has_begun(task));
        }
        let filed: usize = self.turns.lines.values().map(|line| line.waiting.len() + line.begun.len()).sum();
        if filed != found {
            return Err(format!("{filed} tasks are filed in the order of sessions, {found} should be"));
        }
        match self.turns.lines.iter().find(|(_, line)| line.first != line.now_first()) {
            Some((session, line)) => Err(format!("session {session}: {:?} is not the first", line.first)),
            None => Ok(()),
        }
    }
}
