//! The writer thread: makes batches durable, one commit each, and only then answers and lets effects out.
//!
//! A commit that finds the disk full is tried again with the reserve given up, so that what was accepted
//! and what runs is recorded; meanwhile new work is refused. A store that fails otherwise ends the process:
//! a restart goes on from what is durable.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use orchd_api::ToWorker;
use orchd_core::{Effect, Event};
use orchd_model::{Sequence, Token};
use orchd_store::{Batch, Store, StoreError};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Response;
use crate::sessions::SessionLink;
use crate::spared::Spared;
use crate::statistics::{Picture, Statistics};
use crate::trimming::Trimming;

/// A batch with all that waits for its durability.
pub struct Outgoing {
    pub batch: Batch,
    /// The last event of the batch.
    pub through: Sequence,
    /// The scheduler's figures after the batch.
    pub picture: Picture,
    pub responses: Vec<Response>,
    pub effects: Vec<Effect>,
    /// What the batch brings back: not trimmed before it is committed.
    pub spared: Vec<Spared>,
}

/// A batch is durable.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    /// The last durable event.
    pub through: Sequence,
    /// Whether the disk is full.
    pub full: bool,
}

/// What happens after a commit.
pub struct Release {
    pub events: Arc<Vec<Event>>,
    pub effects: Vec<Effect>,
}

/// How long the writer waits before it tries a full disk again.
const RETRY_FULL: Duration = Duration::from_millis(200);
/// How long it waits for work otherwise: a wake-up a year.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// The writer.
pub struct Writer<S> {
    pub store: S,
    pub batches: Receiver<Outgoing>,
    pub committed: Sender<Committed>,
    pub releases: Sender<Release>,
    pub statistics: Arc<RwLock<Statistics>>,
    pub trimming: Trimming,
}

impl<S: Store> Writer<S> {
    /// Runs until the engine is gone.
    ///
    /// # Panics
    /// When the store fails for another reason than a full disk.
    pub fn run(mut self) {
        self.serve();
        if let Err(error) = Box::new(self.store).close() {
            tracing::warn!(%error, "the store was not closed well; what was acknowledged is on disk");
        }
    }

    fn serve(&mut self) {
        let mut full = false;
        let mut last = Sequence(0);
        loop {
            let rest = if full { RETRY_FULL } else { self.trimming.rest().unwrap_or(FOREVER) };
            let outgoing = match self.batches.recv_timeout(rest) {
                Ok(outgoing) => outgoing,
                Err(RecvTimeoutError::Disconnected) => return,
                // Nothing is being written, but there may be room again: new work waits for that.
                Err(RecvTimeoutError::Timeout) => {
                    if !full {
                        self.trimming.step(&mut self.store);
                    } else if self.has_room_again() {
                        full = false;
                        if self.committed.send(Committed { through: last, full }).is_err() {
                            return;
                        }
                    }
                    continue;
                }
            };
            last = outgoing.through.max(last);
            let Outgoing { mut batch, through, picture, responses, effects, spared } = outgoing;
            if let Some(event) = batch.events.last() {
                batch.figures = self.statistics.write().distributions.due(event.time);
            }
            if !batch.is_empty() {
                full = self.commit(&batch, full);
            }
            drop(spared);
            let events = Arc::new(batch.events);
            // Before anybody hears of it: whoever is told that a task is there finds it in the figures.
            self.statistics.write().note(&events, picture);
            // What starts has the longest way to go, the engine can go on while the answers travel.
            if self.releases.send(Release { events: Arc::clone(&events), effects }).is_err()
                || self.committed.send(Committed { through, full }).is_err()
            {
                return;
            }
            answer(responses);
            self.trimming.note(&events, &batch.tasks);
            if !full && self.trimming.is_behind() {
                self.trimming.step(&mut self.store);
            }
        }
    }

    /// Whether what was given up for a full disk could be taken again.
    fn has_room_again(&mut self) -> bool {
        let has_room = self.store.restore_reserve().is_ok();
        if has_room {
            tracing::info!("the disk has room again: new work is taken");
        }
        has_room
    }

    /// Commits a batch, however long a full disk makes that take. Returns whether the disk is full.
    fn commit(&mut self, batch: &Batch, mut full: bool) -> bool {
        loop {
            match self.store.commit(batch) {
                Ok(()) if full => return !self.has_room_again(),
                Ok(()) => return false,
                Err(StoreError::Full) => {
                    if full {
                        std::thread::park_timeout(RETRY_FULL);
                    } else {
                        tracing::error!("the disk is full: new work is refused until there is room");
                        full = true;
                        if let Err(error) = self.store.release_reserve() {
                            tracing::error!(%error, "the reserve could not be given up");
                        }
                    }
                }
                Err(error) => panic!("the store failed: {error}"),
            }
        }
    }
}

/// Says to everybody what their wishes led to. Those who no longer listen are passed over.
fn answer(responses: Vec<Response>) {
    let mut acks: BTreeMap<u64, (SessionLink, Vec<Token>)> = BTreeMap::new();
    for response in responses {
        match response {
            Response::Command(answer, reply) => drop(answer.send(reply)),
            Response::Add(answer, reply) => drop(answer.send(reply)),
            Response::AddWorkflow(answer, reply) => drop(answer.send(reply)),
            Response::Join(answer, reply) => drop(answer.send(reply)),
            Response::Hooks(answer) => drop(answer.send(Ok(()))),
            Response::Ack(link, tokens) => {
                acks.entry(link.number).or_insert_with(|| (link, Vec::new())).1.extend(tokens);
            }
        }
    }
    for (link, tokens) in acks.into_values() {
        link.send(ToWorker::Ack { tokens });
    }
}
