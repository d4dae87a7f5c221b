//! A workflow that is followed and does not go on: what it waits for is said, each thing once, so that nobody looks at a
//! screen that will not change. While some of its tasks run, only what somebody has to see to.

use orchd_api::{ListQuery, ReasonText, Task};
use orchd_client::Client;
use orchd_model::{Reason, TaskId, WorkflowId};
use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use crate::{Failure, text};

/// Nothing has to run for so long until the daemon is asked why.
const PATIENCE: Duration = Duration::from_secs(1);
/// While others run, what a task waits for has to be the same after so long.
const LONG: Duration = Duration::from_secs(3);
/// It is asked less and less often, but not less often than this.
const LONGEST: Duration = Duration::from_secs(30);
/// So many tasks are asked about: those that were submitted first, which the others mostly wait for.
const ASKED: usize = 1000;
/// So many names are said in one line.
const NAMED: usize = 3;

/// What has been said of what a workflow waits for.
pub(crate) struct Waiting {
    next: Instant,
    pause: Duration,
    told: HashSet<(TaskId, Discriminant<Reason>)>,
    /// While others run: when to ask, the pause before that, what was seen when it was last asked, and what was said.
    next_beside: Instant,
    pause_beside: Duration,
    seen: HashSet<(TaskId, Discriminant<Reason>)>,
    said: HashSet<String>,
}

impl Waiting {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            next: now + PATIENCE,
            pause: PATIENCE,
            told: HashSet::new(),
            next_beside: now + LONG,
            pause_beside: LONG,
            seen: HashSet::new(),
            said: HashSet::new(),
        }
    }

    /// Something has happened, or runs.
    pub(crate) fn note(&mut self) {
        self.pause = PATIENCE;
        self.next = Instant::now() + PATIENCE;
    }

    /// What there is to say, if it is time to.
    pub(crate) async fn follow(
        &mut self,
        client: &Client,
        workflow: WorkflowId,
    ) -> Result<Vec<String>, Failure> {
        if Instant::now() < self.next {
            return Ok(Vec::new());
        }
        let tasks = waiting(client, workflow).await?;
        self.pause = (self.pause * 2).min(LONGEST);
        self.next = Instant::now() + self.pause;
        Ok(self.lines(&tasks))
    }

    /// The same while other tasks of it run.
    pub(crate) async fn follow_beside(
        &mut self,
        client: &Client,
        workflow: WorkflowId,
    ) -> Result<Vec<String>, Failure> {
        self.note();
        if Instant::now() < self.next_beside {
            return Ok(Vec::new());
        }
        let tasks = waiting(client, workflow).await?;
        self.pause_beside = (self.pause_beside * 2).min(LONGEST);
        self.next_beside = Instant::now() + self.pause_beside;
        Ok(self.lines_beside(&tasks))
    }

    /// What somebody has to see to, once each: what was there when it was asked before, too.
    fn lines_beside(&mut self, tasks: &[Task]) -> Vec<String> {
        let mut stuck = tasks.to_vec();
        stuck.iter_mut().for_each(|task| task.reasons.retain(|reason| wants_somebody(&reason.reason)));
        let kept = stuck.iter().flat_map(|task| task.reasons.iter().map(|reason| (task.id, reason)));
        let now = kept.map(|(id, reason)| (id, discriminant(&reason.reason))).collect();
        let before = std::mem::replace(&mut self.seen, now);
        for task in &mut stuck {
            task.reasons.retain(|reason| {
                before.contains(&(task.id, discriminant(&reason.reason))) && !self.said.contains(&reason.text)
            });
        }
        self.said.extend(stuck.iter().flat_map(|task| &task.reasons).map(|reason| reason.text.clone()));
        self.lines(&stuck)
    }

    /// What was not said before, each reason with the tasks that it keeps.
    fn lines(&mut self, tasks: &[Task]) -> Vec<String> {
        let ids: HashSet<TaskId> = tasks.iter().map(|task| task.id).collect();
        let mut lines: Vec<(&ReasonText, Vec<&str>)> = Vec::new();
        for task in tasks {
            let new = task.reasons.iter().filter(|reason| is_worth_it(&reason.reason, &ids));
            let new = new.filter(|reason| self.told.insert((task.id, discriminant(&reason.reason))));
            for reason in new {
                match lines.iter_mut().find(|(other, _)| other.text == reason.text) {
                    Some((_, names)) => names.push(&task.name),
                    None => lines.push((reason, vec![&task.name])),
                }
            }
        }
        let mut said = Vec::with_capacity(lines.len());
        for (reason, names) in &lines {
            let more = names.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let names = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            said.push(text::plain(&format!("waiting: {names}{more}: {}", reason.text)));
        }
        if lines.iter().any(|(reason, _)| matches!(reason.reason, Reason::NoWorker { .. })) {
            said.push("hint: bind a command to a handler with handlers: in the file, or connect a worker that offers it".to_owned());
        }
        said
    }
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

/// Whether it stays so until somebody does something.
fn wants_somebody(reason: &Reason) -> bool {
    match reason {
        Reason::Held
        | Reason::Closed { .. }
        | Reason::NoWorker { .. }
        | Reason::Paused { .. }
        | Reason::Unsatisfiable { .. } => true,
        Reason::Variants { variants } => {
            variants.iter().all(|variant| variant.reasons.iter().any(wants_somebody))
        }
        Reason::Delayed { .. }
        | Reason::Dependencies { .. }
        | Reason::Resource { .. }
        | Reason::Rate { .. }
        | Reason::Throttled { .. }
        | Reason::Reservation { .. }
        | Reason::NoSlot { .. }
        | Reason::Guard { .. }
        | Reason::MaxParallel { .. }
        | Reason::Turn { .. } => false,
    }
}

/// What waits for others of those that wait is no news: these say what they wait for.
fn is_worth_it(reason: &Reason, waiting: &HashSet<TaskId>) -> bool {
    match reason {
        Reason::Dependencies { tasks, .. } => !tasks.iter().any(|unmet| waiting.contains(&unmet.task)),
        _ => true,
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

    #[test]
    fn beside_others_that_run_only_what_somebody_has_to_see_to_is_told_and_each_reason_once() {
        let none = json!([{ "code": "no_worker", "text": "no worker for a.b", "handler": "a.b" }]);
        let slots = json!([{ "code": "no_slot", "text": "all 2 slots are taken", "slots": 2 }]);
        let mut waiting = Waiting::new();
        let mut tasks = vec![task(1, none.clone()), task(2, slots), task(3, none.clone())];
        assert_eq!(waiting.lines_beside(&tasks), [""; 0], "it may pass");
        let told = waiting.lines_beside(&tasks);
        assert_eq!(told[0], "waiting: t1, t3: no worker for a.b");
        assert!(told[1].starts_with("hint: bind a command") && told.len() == 2, "{told:?}");
        tasks.push(task(4, none));
        assert_eq!(waiting.lines_beside(&tasks), [""; 0]);
        assert_eq!(waiting.lines_beside(&tasks), [""; 0]);
        let told = waiting.lines(&tasks);
        assert_eq!(told[..2], ["waiting: t2: all 2 slots are taken", "waiting: t4: no worker for a.b"]);
    }

    #[test]
    fn each_reason_is_told_once_with_the_tasks_that_it_keeps() {
        let none = json!([{ "code": "no_worker", "text": "no worker for a.b", "handler": "a.b" }]);
        let held = json!([{ "code": "held", "text": "held" }]);
        let after = json!([{ "code": "dependencies", "text": "waits for t1", "count": 1,
                             "tasks": [{ "task": 1, "name": "t1", "on": "success", "status": "pending" }] }]);
        let mut waiting = Waiting::new();
        let mut tasks: Vec<Task> = (1..6).map(|id| task(id, none.clone())).collect();
        tasks.extend([task(6, held.clone()), task(7, after)]);
        let told = waiting.lines(&tasks);
        assert_eq!(told[0], "waiting: t1, t2, t3 and 2 more: no worker for a.b");
        assert_eq!(told[1], "waiting: t6: held");
        assert!(told[2].starts_with("hint: bind a command") && told.len() == 3, "{told:?}");
        assert_eq!(waiting.lines(&tasks), [""; 0]);
        tasks[0] = task(1, held);
        assert_eq!(waiting.lines(&tasks), ["waiting: t1: held"]);
    }
}
