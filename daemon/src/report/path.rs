//! The chain of tasks that decided when a workflow ended: from the last end back, always to the dependency that
//! ended last. Of a workflow that is under way, from what has been running for longest.

use orchd_api::PathStep;
use orchd_model::{TaskId, Time};

use super::life::Life;

/// The chain, the first to run first; `lives` are by id. Names are left open.
pub fn critical(lives: &[Life], now: Time) -> Vec<PathStep> {
    let find = |id: TaskId| lives.binary_search_by_key(&id, |life| life.id).ok().map(|place| &lives[place]);
    let has_ended = |life: &&Life| life.first_started_at.is_some() && life.finished_at.is_some();
    let is_under_way = |life: &&Life| life.first_started_at.is_some() && life.finished_at.is_none();
    let mut step = lives
        .iter()
        .filter(is_under_way)
        .min_by_key(|life| (life.first_started_at, life.id))
        .or_else(|| lives.iter().filter(has_ended).max_by_key(|life| (life.finished_at, life.id)));
    let mut path = Vec::new();
    while let Some(life) = step {
        let Some(started_at) = life.first_started_at else { break };
        let before = life.edges.iter().filter_map(|edge| find(edge.task));
        // A dependency that was run again later did not decide about this start.
        let decided = |life: &&Life| life.finished_at.is_some_and(|end| end <= started_at);
        step = before.filter(has_ended).filter(decided).max_by_key(|life| (life.finished_at, life.id));
        let since: Time = step.and_then(|before| before.finished_at).unwrap_or(life.submitted_at);
        path.push(PathStep {
            id: life.id,
            name: String::new(),
            wait_time: started_at.since(since),
            run_time: life.finished_at.unwrap_or(now).since(started_at),
        });
    }
    path.reverse();
    path
}
