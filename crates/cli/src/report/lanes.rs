//! Attempts side by side: each on a lane of its worker, the lowest that is free when it starts.
//!
//! A worker has as many lanes as it ran attempts at once, so lanes are its slots as far as they were used. Ad-hoc claims of
//! clients have lanes of their own.

use orchd_api::{Attempt, ReportedTask};
use orchd_model::{Time, WorkerId};
use std::collections::BTreeMap;

/// Who ran the attempts of some lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// A worker.
    Worker(WorkerId),
    /// Clients, which hold claims for code of their own.
    Clients,
}

/// An attempt and where it is drawn.
pub(crate) struct Bar<'a> {
    pub(crate) task: &'a ReportedTask,
    pub(crate) attempt: &'a Attempt,
    pub(crate) from: Time,
    pub(crate) to: Time,
}

/// The attempts that one slot ran, one after the other.
pub(crate) struct Lane<'a> {
    pub(crate) owner: Owner,
    /// From 1, for each owner.
    pub(crate) slot: usize,
    pub(crate) bars: Vec<Bar<'a>>,
}

/// When an attempt ended, by the clock of who ran it.
pub(crate) fn end(attempt: &Attempt, now: Time) -> Time {
    match (attempt.finished_at, attempt.execution_time) {
        (Some(_), Some(time)) => attempt.started_at + time,
        (Some(finished_at), None) => finished_at,
        (None, _) => now.max(attempt.started_at),
    }
}

/// The lanes, by owner and slot; every attempt is on one.
pub(crate) fn lanes(tasks: &[ReportedTask], now: Time) -> Vec<Lane<'_>> {
    let mut by_owner: BTreeMap<Owner, Vec<Bar<'_>>> = BTreeMap::new();
    for task in tasks {
        for attempt in &task.attempts {
            let owner = match attempt.worker {
                Some(worker) if !task.guard => Owner::Worker(worker),
                Some(_) | None => Owner::Clients,
            };
            let (from, to) = (attempt.started_at, end(attempt, now));
            by_owner.entry(owner).or_default().push(Bar { task, attempt, from, to });
        }
    }
    let mut lanes = Vec::new();
    for (owner, mut bars) in by_owner {
        bars.sort_by_key(|bar| (bar.from, bar.to, bar.task.id, bar.attempt.number));
        let first = lanes.len();
        for bar in bars {
            let is_free = |lane: &Lane<'_>| lane.bars.last().is_none_or(|last| last.to <= bar.from);
            match lanes[first..].iter_mut().find(|lane| is_free(lane)) {
                Some(lane) => lane.bars.push(bar),
                None => lanes.push(Lane { owner, slot: lanes.len() - first + 1, bars: vec![bar] }),
            }
        }
    }
    lanes
}
