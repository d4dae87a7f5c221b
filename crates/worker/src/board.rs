//! Who is where: which attempts are held, which slots are free, which assignments wait for one, and which
//! tokens are tombstones. One small structure behind one lock; what it decides is carried out elsewhere.
//!
//! ```text
//! assign ──► tombstone? ended at once
//!       └──► free slot? start there ──► held in slot ──► left: the next waiting one starts, or the slot is free
//!       └──► else wait ─────────────────────┘                  the attempt is held until its end was taken note of
//! ```
//! Invariant: nothing waits while a slot is free; an attempt is held from its assignment until whoever gets
//! the events has taken note of its end, so that at any time it is held or known to have ended.

use orchd_api::{Assignment, HeldAttempt, StopCause, StopOrder};
use orchd_model::{AttemptNumber, TaskId, Token};
use std::collections::{BTreeMap, VecDeque};

/// Tombstones kept: an order to stop overtakes its assignment by a message or two, not by thousands.
const TOMBSTONES: usize = 4096;

/// An attempt in hand.
#[derive(Clone, Copy)]
struct Held {
    task: TaskId,
    attempt: AttemptNumber,
    /// None while it waits for one.
    slot: Option<u32>,
}

/// What becomes of an assignment.
pub(crate) enum Placed {
    /// Start it in this slot.
    Start(u32, Box<Assignment>),
    /// It waits for a slot, or is known already.
    Kept,
    /// It was stopped before it came.
    Stopped(Box<Assignment>, StopCause),
}

/// What becomes of an order to stop.
pub(crate) enum Stopping {
    /// The attempt is in this slot.
    InSlot(u32),
    /// The assignment was waiting and does so no more.
    Waiting(Box<Assignment>),
    /// Remembered for when the assignment comes.
    Tombstone,
}

/// The board.
pub(crate) struct Board {
    held: BTreeMap<Token, Held>,
    waiting: VecDeque<Box<Assignment>>,
    /// Free slots by spawner; slot n belongs to spawner n mod their number.
    free: Vec<Vec<u32>>,
    tombstones: VecDeque<StopOrder>,
}

impl Board {
    pub(crate) fn new(slots: u32, spawners: usize) -> Self {
        let mut free = vec![Vec::new(); spawners];
        for slot in (0..slots).rev() {
            free[slot as usize % spawners].push(slot);
        }
        Self { held: BTreeMap::new(), waiting: VecDeque::new(), free, tombstones: VecDeque::new() }
    }

    /// Takes an assignment in.
    pub(crate) fn assign(&mut self, assignment: Box<Assignment>) -> Placed {
        let token = assignment.token;
        if let Some(at) = self.tombstones.iter().position(|order| order.token == token) {
            let order = self.tombstones.remove(at);
            return Placed::Stopped(assignment, order.map_or(StopCause::Cancel, |order| order.cause));
        }
        if self.held.contains_key(&token) {
            return Placed::Kept;
        }
        // The spawner with the most free slots has the least to do.
        let slot = self.free.iter_mut().max_by_key(|free| free.len()).and_then(Vec::pop);
        self.held.insert(token, Held { task: assignment.task, attempt: assignment.attempt, slot });
        match slot {
            Some(slot) => Placed::Start(slot, assignment),
            None => {
                self.waiting.push_back(assignment);
                Placed::Kept
            }
        }
    }

    /// Notes that `slot` is empty, and gives the attempt that shall take the place of the last.
    pub(crate) fn leave(&mut self, slot: u32) -> Option<Box<Assignment>> {
        let next = self.waiting.pop_front();
        match &next {
            Some(next) => {
                if let Some(held) = self.held.get_mut(&next.token) {
                    held.slot = Some(slot);
                }
            }
            None => {
                let spawner = slot as usize % self.free.len();
                self.free[spawner].push(slot);
            }
        }
        next
    }

    /// Lets go of an attempt whose end is known.
    pub(crate) fn forget(&mut self, token: Token) {
        self.held.remove(&token);
    }

    /// Finds what an order to stop is about.
    pub(crate) fn stop(&mut self, order: StopOrder) -> Stopping {
        match self.held.get(&order.token).map(|held| held.slot) {
            Some(Some(slot)) => Stopping::InSlot(slot),
            Some(None) => {
                self.held.remove(&order.token);
                let at = self.waiting.iter().position(|waiting| waiting.token == order.token);
                match at.and_then(|at| self.waiting.remove(at)) {
                    Some(assignment) => Stopping::Waiting(assignment),
                    None => Stopping::Tombstone,
                }
            }
            None => {
                if self.tombstones.len() == TOMBSTONES {
                    self.tombstones.pop_front();
                }
                self.tombstones.push_back(order);
                Stopping::Tombstone
            }
        }
    }

    /// Every attempt in hand.
    pub(crate) fn held(&self) -> Vec<HeldAttempt> {
        let held = self.held.iter();
        held.map(|(token, held)| HeldAttempt {
            task: held.task,
            attempt: held.attempt,
            token: *token,
            spool: held.slot,
        })
        .collect()
    }

    /// Whether nothing is in hand.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}
