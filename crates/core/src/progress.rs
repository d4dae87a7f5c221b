//! How far running attempts have come, as they say themselves.
//!
//! Every word is taken, not every word is a fact: while an attempt is young one a second, later one for each 1/256
//! of its running time, at least one a minute. What comes sooner waits for its turn and makes way for what
//! comes after it; the last word before the attempt ends always becomes a fact.
//!
//! Invariant: only running attempts have a word waiting, and while it waits its timer is set.

use orchd_model::{Code, Progress, Refusal, Span, TaskId, Time, Token};

use crate::command::Reply;
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::record::Phase;
use crate::timer::Timer;

/// The shortest time between two facts.
const PAUSE_LEAST: Span = Span::from_secs(1);
/// The longest one: who looks sees nothing older.
const PAUSE_MOST: Span = Span::from_secs(60);
/// Facts in each doubling of the running time are at most this many times the logarithm of two.
const PARTS: u64 = 256;

/// What an attempt has said lately.
#[derive(Debug)]
pub(crate) struct Said {
    /// When its next word may be a fact.
    pub(crate) next: Time,
    /// Its latest word, if that is no fact yet.
    pub(crate) waiting: Option<Progress>,
}

impl Core {
    /// An attempt says how far it has come. `by` must own the task, if it is given.
    pub(crate) fn progress(
        &mut self,
        token: Token,
        progress: Progress,
        by: Option<u32>,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let stale = || {
            Refusal::new(Code::StaleToken, "no attempt with this token is running").value(token.to_string())
        };
        let id = *self.tokens.get(&token).ok_or_else(stale)?;
        let task = self.task(id);
        if by.is_some_and(|user| user != task.owner) {
            return Err(Refusal::new(
                Code::NotPermitted,
                "the task of this attempt belongs to somebody else",
            )
            .value(token.to_string()));
        }
        let Phase::Running { started_at, .. } = task.phase else { return Err(stale()) };
        let now = self.now;
        let before = task.progress().cloned();
        let said = self.said.entry(id).or_insert(Said { next: now, waiting: None });
        let progress = progress.after(said.waiting.as_ref().or(before.as_ref()));
        if now < said.next {
            said.waiting = Some(progress);
            let next = said.next;
            self.timers.set(Timer::Progress(id), next);
            return Ok(Reply::Done);
        }
        let parts = Span(now.since(started_at).0 / PARTS);
        said.next = now + parts.max(PAUSE_LEAST).min(PAUSE_MOST);
        self.note_progress(id, progress, out);
        Ok(Reply::Done)
    }

    /// The word of an attempt that has waited is a fact now.
    pub(crate) fn tell_progress(&mut self, id: TaskId, out: &mut Output) {
        let Phase::Running { token, .. } = self.task(id).phase else { return };
        let waiting = self.said.get_mut(&id).and_then(|said| said.waiting.take());
        if let Some(progress) = waiting {
            // It cannot be refused: the attempt runs, and its turn has come.
            drop(self.progress(token, progress, None, out));
        }
    }

    /// The attempt ends: its last word comes before that.
    pub(crate) fn last_progress(&mut self, id: TaskId, last: Option<Progress>, out: &mut Output) {
        self.timers.clear(Timer::Progress(id));
        let waiting = self.said.remove(&id).and_then(|said| said.waiting);
        let last = last.map(|last| last.after(waiting.as_ref().or(self.task(id).progress())));
        if let Some(progress) = last.or(waiting) {
            self.note_progress(id, progress, out);
        }
    }

    fn note_progress(&mut self, id: TaskId, progress: Progress, out: &mut Output) {
        let task = self.task(id);
        if task.progress() != Some(&progress) {
            let attempt = task.attempts;
            self.emit(out, Fact::Progressed { task: id, attempt, progress });
        }
    }

    pub(crate) fn check_progress(&self) -> Result<(), String> {
        for (id, said) in &self.said {
            let runs = self.tasks.get(id).is_some_and(|task| matches!(task.phase, Phase::Running { .. }));
            if !runs {
                return Err(format!("{id} does not run, but is taken to say how far it is"));
            }
            if said.waiting.is_some() != self.timers.is_set(Timer::Progress(*id)) {
                return Err(format!("the word of {id} and its timer do not agree: {said:?}"));
            }
        }
        Ok(())
    }
}
