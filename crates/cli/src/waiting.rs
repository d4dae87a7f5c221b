//! A workflow that is followed and does not go on: what it waits for is said, each thing once, so that nobody looks at a
//! screen that will not change. While some of its tasks run, only what somebody has to see to.
//!
//! What somebody has to see to is asked for all the time, by reason and of all tasks: the daemon has a short answer. What
//! else is waited for is asked less and less often while nothing happens, and of the first tasks: the others mostly wait for
//! these.

use orchd_api::{ListQuery, Stuck, Task};
use orchd_client::Client;
use orchd_model::{Reason, TaskId, WorkflowId};
use std::collections::{HashMap, HashSet};
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use crate::{Failure, text};

/// Nothing has to run for so long until the daemon is asked why.
const PATIENCE: Duration = Duration::from_secs(1);
/// It is asked less and less often, but not less often than this.
const LONGEST: Duration = Duration::from_secs(30);
/// So many tasks are asked about: those that were submitted first.
const ASKED: usize = 1000;
/// How often it is asked what is stuck. What is so twice is told.
const STUCK: Duration = Duration::from_secs(3);
/// The answer may take longer where there are very many tasks; it is asked for so much less often that this stays a small
/// part of the time.
const SHARE: u32 = 50;
/// So many names are said in one line.
const NAMED: usize = 3;

/// What has been said of what a workflow waits for.
pub(crate) struct Waiting {
    next: Instant,
    pause: Duration,
    told: HashSet<(TaskId, Discriminant<Reason>)>,
    next_stuck: Instant,
    /// The reasons that were there when it was last asked what is stuck, with how many tasks of each have been told of.
    stuck: HashMap<String, u64>,
}

impl Waiting {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            next: now + PATIENCE,
            pause: PATIENCE,
            told: HashSet::new(),
            next_stuck: now + STUCK,
            stuck: HashMap::new(),
        }
    }

    /// Something has happened, or runs.
    pub(crate) fn note(&mut self) {
        self.pause = PATIENCE;
        self.next = Instant::now() + PATIENCE;
    }

    /// What there is to say, if it is time to; `idle`: nothing of it runs.
    pub(crate) async fn follow(
        &mut self,
        client: &Client,
        workflow: WorkflowId,
        idle: bool,
    ) -> Result<Vec<String>, Failure> {
        if !idle {
            self.note();
        }
        let mut lines = Vec::new();
        let has_stopped = idle && self.next <= Instant::now();
        if has_stopped {
            lines = self.lines(&waiting(client, workflow).await?);
            self.pause = (self.pause * 2).min(LONGEST);
            self.next = Instant::now() + self.pause;
        }
        if has_stopped || self.next_stuck <= Instant::now() {
            let asked = Instant::now();
            let stuck = client.stuck(workflow).await?;
            self.next_stuck = Instant::now() + STUCK.max(asked.elapsed() * SHARE);
            lines.extend(self.stuck_lines(&stuck, has_stopped));
        }
        Ok(lines)
    }

    /// What somebody has to see to: what is there now, where nothing goes on, else what was there before, too. A reason is
    /// told again when it keeps many more; that tasks are held says nothing without them, so each counts.
    fn stuck_lines(&mut self, all: &[Stuck], at_once: bool) -> Vec<String> {
        let before = std::mem::take(&mut self.stuck);
        let (mut lines, mut hint) = (Vec::new(), None);
        for Stuck { reason, tasks, count } in all {
            let known = before.get(&reason.text).map(|told| *told.min(count));
            let told = known.unwrap_or(0);
            let enough = if reason.reason == Reason::Held { told + 1 } else { told.saturating_mul(2).max(1) };
            let is_news = *count >= enough && (at_once || known.is_some());
            self.stuck.insert(reason.text.clone(), if is_news { *count } else { told });
            if !is_news {
                continue;
            }
            let kind = discriminant(&reason.reason);
            let new = tasks.iter().filter(|task| self.told.insert((task.id, kind)));
            let mut names: Vec<&str> = new.map(|task| &*task.name).collect();
            if names.is_empty() {
                names = tasks.iter().map(|task| &*task.name).collect();
            }
            lines.push(line(&names, count - told, &reason.text));
            if matches!(reason.reason, Reason::NoWorker { .. }) {
                hint = Some(
                    "hint: bind a command to a handler with handlers: in the file, or connect a worker that offers it",
                );
            }
        }
        lines.extend(hint.map(str::to_owned));
        lines
    }

    /// What was not said before of what passes by itself, each reason with the tasks that it keeps.
    fn lines(&mut self, tasks: &[Task]) -> Vec<String> {
        let ids: HashSet<TaskId> = tasks.iter().map(|task| task.id).collect();
        let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
        for task in tasks {
            let new = task.reasons.iter().filter(|reason| is_worth_it(&reason.reason, &ids));
            let new = new.filter(|reason| self.told.insert((task.id, discriminant(&reason.reason))));
            for reason in new {
                match lines.iter_mut().find(|(other, _)| *other == reason.text) {
                    Some((_, names)) => names.push(&task.name),
                    None => lines.push((&reason.text, vec![&task.name])),
                }
            }
        }
        lines.iter().map(|(reason, names)| line(names, names.len() as u64, reason)).collect()
    }
}

/// `waiting: a, b, c and 2 more: held`.
fn line(names: &[&str], count: u64, reason: &str) -> String {
    let shown = &names[..names.len().min(NAMED)];
    let more = count.saturating_sub(shown.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    text::plain(&format!("waiting: {}{more}: {reason}", shown.join(", ")))
}

/// Tasks of a workflow that wait.
async fn waiting(client: &Client, workflow: WorkflowId) -> Result<Vec<Task>, Failure> {
    let query = ListQuery {
        workflow: Some(workflow.to_string()),
        status: Some("pending,retrying".to_owned()),
        limit: Some(ASKED),
        ..ListQuery::default()
    };
    Ok(client.list(query).await?)
}

/// What waits for others of those that wait is no news: these say what they wait for. What somebody has to see to is told
/// apart.
fn is_worth_it(reason: &Reason, waiting: &HashSet<TaskId>) -> bool {
    match reason {
        Reason::Dependencies { tasks, .. } => !tasks.iter().any(|unmet| waiting.contains(&unmet.task)),
        _ => !reason.wants_somebody(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task(id: u64, reasons: serde_json::Value) -> Task {
        let mut task = crate::top::tests::task(id, &format!("t{id}"), "pending");
        task.reasons = serde_json::from_value(reasons).unwrap();
        task
    }

    fn none(count: u64, tasks: impl IntoIterator<Item = u64>) -> Stuck {
        let reason = json!({ "code": "no_worker", "text": "no worker for a.b", "handler": "a.b" });
        stuck(reason, count, tasks)
    }

    fn held(count: u64, tasks: impl IntoIterator<Item = u64>) -> Stuck {
        stuck(json!({ "code": "held", "text": "held" }), count, tasks)
    }

    fn stuck(reason: serde_json::Value, count: u64, tasks: impl IntoIterator<Item = u64>) -> Stuck {
        let tasks: Vec<_> =
            tasks.into_iter().map(|id| json!({ "id": id, "name": format!("t{id}") })).collect();
        serde_json::from_value(json!({ "reason": reason, "tasks": tasks, "count": count })).unwrap()
    }

    #[test]
    fn beside_others_that_run_what_is_stuck_is_told_once_it_stays_so() {
        let mut waiting = Waiting::new();
        assert_eq!(waiting.stuck_lines(&[none(2, [1, 3])], false), [""; 0], "it may pass");
        let told = waiting.stuck_lines(&[none(2, [1, 3])], false);
        assert_eq!(told[0], "waiting: t1, t3: no worker for a.b");
        assert!(told[1].starts_with("hint: bind a command") && told.len() == 2, "{told:?}");
        assert_eq!(waiting.stuck_lines(&[none(3, [1, 3, 4])], false), [""; 0], "it is known");
        let told = waiting.stuck_lines(&[none(2000, [1, 3, 4, 5, 6, 7])], false);
        assert_eq!(
            told[0], "waiting: t4, t5, t6 and 1995 more: no worker for a.b",
            "that is more than was known"
        );
        assert_eq!(waiting.stuck_lines(&[], false), [""; 0]);
        assert_eq!(waiting.stuck_lines(&[none(1, [1])], false), [""; 0], "it was away");
        assert_eq!(waiting.stuck_lines(&[none(1, [1])], false)[0], "waiting: t1: no worker for a.b");
    }

    #[test]
    fn where_nothing_goes_on_what_is_stuck_is_told_at_once_and_each_held_task() {
        let mut waiting = Waiting::new();
        let told = waiting.stuck_lines(&[none(5, 1..6), held(1, [6])], true);
        assert_eq!(told[..2], ["waiting: t1, t2, t3 and 2 more: no worker for a.b", "waiting: t6: held"]);
        assert!(told[2].starts_with("hint: bind a command") && told.len() == 3, "{told:?}");
        assert_eq!(waiting.stuck_lines(&[none(5, 1..6), held(1, [6])], true), [""; 0]);
        assert_eq!(waiting.stuck_lines(&[held(2, [1, 6])], true), ["waiting: t1: held"]);
    }

    #[test]
    fn what_passes_by_itself_is_told_once_with_the_tasks_that_it_keeps() {
        let slots = json!([{ "code": "no_slot", "text": "no free slot (2 slots)", "slots": 2 }]);
        let held = json!([{ "code": "held", "text": "held" }]);
        let after = json!([{ "code": "dependencies", "text": "waits for t1", "count": 1,
                             "tasks": [{ "task": 1, "name": "t1", "on": "success", "status": "pending" }] }]);
        let mut waiting = Waiting::new();
        let mut tasks: Vec<Task> = (1..6).map(|id| task(id, slots.clone())).collect();
        tasks.extend([task(6, held), task(7, after)]);
        assert_eq!(waiting.lines(&tasks), ["waiting: t1, t2, t3 and 2 more: no free slot (2 slots)"]);
        assert_eq!(waiting.lines(&tasks), [""; 0]);
        tasks[5] = task(6, slots);
        assert_eq!(waiting.lines(&tasks), ["waiting: t6: no free slot (2 slots)"]);
    }
}
