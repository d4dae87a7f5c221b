//! Who is where: which attempts are held, which slots are free, which assignments wait for one, and which
//! tokens are tombstones. One small structure behind one lock; what it decides is carried out elsewhere.
//!
//! ```text
//! assign ──► tombstone? ended at once
//!       └──► free slot? start there ──► held in slot ──► left: the next waiting one starts, or the slot is free
//!       └──► else wait, in order ───────────┘                  the attempt is held until its end was taken note of
//! ```
//! Invariant: nothing waits while a slot is free; an attempt is held from its assignment until whoever gets
//! the events has taken note of its end, so that at any time it is held or known to have ended.

use orchd_api::{Assignment, HeldAttempt, StopCause, StopOrder};
use orchd_model::{AttemptNumber, TaskId, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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

/// The place of a waiting assignment: what it was given, then its task; tokens tell all apart.
type Place = ((u8, u64), TaskId, Token);

fn place(assignment: &Assignment) -> Place {
    (assignment.order, assignment.task, assignment.token)
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
    Waiting,
    /// Remembered for when the assignment comes.
    Tombstone,
}

/// The board.
pub(crate) struct Board {
    held: BTreeMap<Token, Held>,
    /// What waits for a slot, by its place in the order.
    waiting: BTreeMap<Place, Box<Assignment>>,
    /// Free slots by spawner; slot n belongs to spawner n mod their number.
    free: Vec<Vec<u32>>,
    /// How many slots there are. Attempts in slots beyond it, from before it was lowered, run to their end.
    slots: u32,
    tombstones: VecDeque<StopOrder>,
}

impl Board {
    pub(crate) fn new(slots: u32, spawners: usize) -> Self {
        let mut free = vec![Vec::new(); spawners];
        for slot in (0..slots).rev() {
            free[slot as usize % spawners].push(slot);
        }
        Self { held: BTreeMap::new(), waiting: BTreeMap::new(), free, slots, tombstones: VecDeque::new() }
    }

    /// Changes how many slots there are. Gives the attempts that waited and can start now, and where.
    pub(crate) fn resize(&mut self, slots: u32) -> Vec<(u32, Box<Assignment>)> {
        let spawners = self.free.len();
        let taken: BTreeSet<u32> = self.held.values().filter_map(|held| held.slot).collect();
        for free in &mut self.free {
            free.retain(|slot| *slot < slots);
        }
        for slot in (self.slots..slots).rev().filter(|slot| !taken.contains(slot)) {
            self.free[slot as usize % spawners].push(slot);
        }
        self.slots = slots;
        let mut starts = Vec::new();
        while !self.waiting.is_empty()
            && let Some(slot) = self.take_free()
            && let Some(next) = self.next_for(slot)
        {
            starts.push((slot, next));
        }
        starts
    }

    /// A free slot, of the spawner with the most: it has the least to do.
    fn take_free(&mut self) -> Option<u32> {
        self.free.iter_mut().max_by_key(|free| free.len()).and_then(Vec::pop)
    }

    /// The attempt that comes first of those that wait takes this slot.
    fn next_for(&mut self, slot: u32) -> Option<Box<Assignment>> {
        let (_, next) = self.waiting.pop_first()?;
        if let Some(held) = self.held.get_mut(&next.token) {
            held.slot = Some(slot);
        }
        Some(next)
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
        let slot = self.take_free();
        self.held.insert(token, Held { task: assignment.task, attempt: assignment.attempt, slot });
        match slot {
            Some(slot) => Placed::Start(slot, assignment),
            None => {
                self.waiting.insert(place(&assignment), assignment);
                Placed::Kept
            }
        }
    }

    /// Notes that `slot` is empty, and gives the attempt that shall take the place of the last.
    pub(crate) fn leave(&mut self, slot: u32) -> Option<Box<Assignment>> {
        if slot >= self.slots {
            return None;
        }
        let next = self.next_for(slot);
        if next.is_none() {
            let spawner = slot as usize % self.free.len();
            self.free[spawner].push(slot);
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
                self.recall(order.token);
                Stopping::Waiting
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

    /// Lets go of an assignment that waits. False when it does not.
    pub(crate) fn recall(&mut self, token: Token) -> bool {
        if self.held.get(&token).is_none_or(|held| held.slot.is_some()) {
            return false;
        }
        self.held.remove(&token);
        self.waiting.retain(|(.., waiting), _| *waiting != token);
        true
    }

    /// Lets go of everything that waits.
    pub(crate) fn recall_all(&mut self) {
        for (_, _, token) in std::mem::take(&mut self.waiting).into_keys() {
            self.held.remove(&token);
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

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_api::Work;
    use orchd_model::Span;

    fn assignment(token: u64) -> Box<Assignment> {
        let work =
            Work::Command { argv: Vec::new(), env: orchd_model::Env::default(), cwd: None, stdin: None };
        Box::new(Assignment {
            task: TaskId(token),
            attempt: AttemptNumber(1),
            token: Token(token),
            name: String::new(),
            work,
            timeout: None,
            order: (0, 0),
            grace: Span::ZERO,
            bounds: None,
            variant: None,
            inputs: None,
        })
    }

    fn assign(board: &mut Board, token: u64) -> Option<u32> {
        match board.assign(assignment(token)) {
            Placed::Start(slot, _) => Some(slot),
            Placed::Kept => None,
            Placed::Stopped(..) => panic!("nothing was stopped"),
        }
    }

    fn slots(starts: &[(u32, Box<Assignment>)]) -> Vec<(u32, u64)> {
        starts.iter().map(|(slot, next)| (*slot, next.token.0)).collect()
    }

    #[test]
    fn more_slots_start_what_waits_and_fewer_let_what_runs_end() {
        let mut board = Board::new(1, 2);
        assert_eq!([1, 2, 3, 4].map(|token| assign(&mut board, token)), [Some(0), None, None, None]);
        assert_eq!(slots(&board.resize(3)).iter().map(|(_, token)| *token).collect::<Vec<_>>(), [2, 3]);
        assert!(board.resize(1).is_empty());
        // Slots beyond the number are left for good, also when it rises again while they are taken.
        let (slot, _) =
            board.held.iter().find_map(|(t, h)| (t.0 == 2).then_some((h.slot.unwrap(), ()))).unwrap();
        assert!(board.leave(slot).is_none());
        board.forget(Token(2));
        let started = slots(&board.resize(3));
        assert_eq!(started, [(slot, 4)]);
        let mut taken: Vec<u32> = board.held.values().filter_map(|held| held.slot).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2]);
    }
}
