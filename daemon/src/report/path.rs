//! The chain of tasks that decided when a workflow ended: from the last end back, always to the dependency that
//! ended last. Of a workflow that is under way, from what has been running for longest.

use orchd_api::PathStep;
use orchd_model::{TaskId, Time};

use super::life::{Life, Part};

/// The chain, the first to run first; `lives` are by id, all of one workflow. Names are left open.
pub fn critical(lives: &[Life], now: Time) -> Vec<PathStep> {
    let is_under_way = |life: &&Life| life.first_started_at.is_some() && life.finished_at.is_none();
    let mut step = lives
        .iter()
        .filter(is_under_way)
        .min_by_key(|life| (life.first_started_at, life.id))
        .or_else(|| last(lives.iter()));
    let mut path = Vec::new();
    while let Some(life) = step {
        let Some(began_at) = life.began_at() else { break };
        step = decided(lives, life, began_at);
        let since: Time = step.and_then(|before| before.finished_at).unwrap_or(life.submitted_at);
        path.push(PathStep {
            id: life.id,
            name: String::new(),
            wait_time: began_at.since(since),
            run_time: life.finished_at.unwrap_or(now).since(began_at),
        });
    }
    path.reverse();
    path
}

/// The task whose end let another one begin.
fn decided<'a>(lives: &'a [Life], life: &Life, began_at: Time) -> Option<&'a Life> {
    let find = |id: TaskId| lives.binary_search_by_key(&id, |life| life.id).ok().map(|place| &lives[place]);
    // A dependency that was run again later did not decide about this start.
    let was_before = |before: &&Life| before.finished_at.is_some_and(|end| end <= began_at);
    let depends = life.edges.iter().filter_map(|edge| find(edge.task));
    let others = lives.iter().filter(|other| match life.part {
        Part::Body => false,
        Part::Undoing => other.part <= Part::Undoing && other.id != life.id,
        Part::End => other.part < Part::End,
    });
    last(depends.chain(others).filter(was_before))
}

/// Which of them ended last, of those that were not ruled out; of several at one instant the one that began last, which
/// is the one that waited for the others.
fn last<'a>(lives: impl Iterator<Item = &'a Life>) -> Option<&'a Life> {
    let has_ended = |life: &&Life| life.finished_at.is_some() && life.began_at().is_some();
    lives.filter(has_ended).max_by_key(|life| (life.finished_at, life.began_at(), life.id))
}
