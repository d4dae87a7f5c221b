//! What the engine brings back from the disk stays there until that is committed.
//!
//! ```text
//! engine: spare ── read what has ended ── decide ──► batch ──► writer: commit ── let go
//!                                                               trim only while nothing is spared
//! ```
//! Without this, a task could leave between being read and being written again, and the writer would look for a row in vain.

use parking_lot::Mutex;
use std::sync::Arc;

/// Counts who brings something back; all clones are the same.
#[derive(Clone, Default)]
pub struct Sparing(Arc<Mutex<usize>>);

/// While this is there, nothing is trimmed.
pub struct Spared(Sparing);

impl Sparing {
    /// From now on nothing is trimmed; waits for the end of a slice that is being trimmed.
    pub fn spare(&self) -> Spared {
        *self.0.lock() += 1;
        Spared(self.clone())
    }

    /// Trims unless something is spared, which then waits.
    pub fn unless_spared<T>(&self, trim: impl FnOnce() -> T) -> Option<T> {
        let spared = self.0.lock();
        (*spared == 0).then(trim)
    }
}

impl Drop for Spared {
    fn drop(&mut self) {
        *self.0.0.lock() -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_trimmed_before_all_that_came_back_is_written() {
        let sparing = Sparing::default();
        assert_eq!(sparing.unless_spared(|| 1), Some(1));
        let (first, second) = (sparing.spare(), sparing.clone().spare());
        drop(first);
        assert_eq!(sparing.unless_spared(|| 2), None);
        drop(second);
        assert_eq!(sparing.unless_spared(|| 3), Some(3));
    }
}
