//! What failed, and why.

use orchd_api::{FailedTask, FailureCount, Failures};
use orchd_model::{ErrorType, Status, TaskId, Time};
use orchd_store::StoredTask;
use std::collections::BTreeMap;

use super::Names;

/// Failed tasks that are named, the last ones.
const NAMED: usize = 100;

/// What failed so far.
#[derive(Default)]
pub struct Failed {
    by_type: BTreeMap<String, u64>,
    /// The newest at the end; at most twice as many as are named.
    tasks: Vec<FailedTask>,
}

impl Failed {
    pub fn note(&mut self, task: &StoredTask) {
        if task.record.status() != Status::Failed {
            return;
        }
        let result = task.result.as_ref();
        let error_type = result.and_then(|result| result.error_type.clone());
        let known = error_type.as_ref().map_or("unknown", ErrorType::as_str).to_owned();
        *self.by_type.entry(known).or_default() += task.record.range().len();
        self.tasks.push(FailedTask {
            id: task.record.id,
            name: String::new(),
            error_type,
            error_message: result.and_then(|result| result.error_message.clone()),
            attempts: task.record.attempts.0,
            finished_at: task.finished_at,
        });
        if self.tasks.len() >= 2 * NAMED {
            self.keep_newest();
        }
    }

    fn keep_newest(&mut self) {
        self.tasks.sort_by_key(|task| std::cmp::Reverse((task.finished_at.unwrap_or(Time(0)), task.id)));
        self.tasks.truncate(NAMED);
    }

    /// The tasks that need a name.
    pub fn ids(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.iter().map(|task| task.id)
    }

    pub fn document(mut self, names: &Names) -> Failures {
        self.keep_newest();
        for task in &mut self.tasks {
            task.name = names.of(task.id);
        }
        let count = |(name, count): (String, u64)| FailureCount { error_type: name.into(), count };
        let mut by_type: Vec<FailureCount> = self.by_type.into_iter().map(count).collect();
        by_type.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        Failures { by_type, tasks: self.tasks }
    }
}
