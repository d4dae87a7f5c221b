//! Giving memory back after a burst. The allocator keeps what is freed for the next one; an idle daemon
//! that once had a million tasks would stay as large as it was then.

#![expect(unsafe_code, reason = "the allocator is asked by a call of the C library")]

use std::time::Duration;

/// So many fewer tasks are worth the walk through the heap.
const TASKS: usize = 20_000;
/// Other threads are still freeing what the last batch held.
const AFTER: Duration = Duration::from_secs(1);

/// Sees how many tasks are in memory, and notices the end of a burst.
#[derive(Default)]
pub struct Memory {
    /// How many there were when it was last looked at.
    before: usize,
    /// The most since memory was given back last.
    most: usize,
}

impl Memory {
    /// Takes note of how many tasks are in memory now: after a burst of them has ended, and after one request has
    /// added very many, whose specs are no longer needed, there is much to give back.
    pub fn note(&mut self, tasks: usize) {
        let added = tasks.saturating_sub(self.before);
        self.before = tasks;
        self.most = self.most.max(tasks);
        let has_ended = self.most - tasks >= TASKS && tasks < self.most / 2;
        if has_ended || added >= TASKS {
            self.most = tasks;
            let later = std::thread::Builder::new().name("memory".to_owned());
            // Without a thread the memory stays with us: nothing is wrong with that.
            drop(later.spawn(|| {
                std::thread::sleep(AFTER);
                give_back();
            }));
        }
    }
}

/// Gives what is free in the heap back to the system, `malloc_trim(3)`.
#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: it takes no pointers, and locks the heap against other threads itself.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}
