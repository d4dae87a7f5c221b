//! Idempotency keys of tasks in memory: each session has its own.

use orchd_model::{SessionId, TaskId};
use rustc_hash::FxHashMap;

/// Tasks by their keys. Invariant: a session without keys has no entry.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    of_sessions: FxHashMap<Option<SessionId>, FxHashMap<Box<str>, TaskId>>,
}

impl Keys {
    pub fn get(&self, session: Option<SessionId>, key: &str) -> Option<TaskId> {
        self.of_sessions.get(&session)?.get(key).copied()
    }

    pub fn insert(&mut self, session: Option<SessionId>, key: &str, task: TaskId) {
        self.of_sessions.entry(session).or_default().insert(key.into(), task);
    }

    pub fn remove(&mut self, session: Option<SessionId>, key: &str) {
        let Some(keys) = self.of_sessions.get_mut(&session) else { return };
        keys.remove(key);
        if keys.is_empty() {
            self.of_sessions.remove(&session);
        }
    }
}
