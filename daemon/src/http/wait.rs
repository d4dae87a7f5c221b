//! Waiting until tasks have ended: a long poll that looks once and then follows the feed.
//!
//! Single tasks are watched each for itself. Of many with contiguous ids, such as an array, only the number of
//! those that have not ended is kept; it may fall too low when an event is seen that the look had counted
//! already, so nothing is said before another look confirms that it is zero.

use axum::extract::State;
use orchd_api::{ListQuery, OperationResult, Selector, WaitReply, WaitRequest};
use orchd_core::{Event, Fact};
use orchd_model::{Refusal, Status, TaskId, TaskRange};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::Shell;
use super::answer::{Answered, Body, json};
use super::tasks::unknown;
use crate::feed::Missed;

/// Waits for a selection of tasks.
pub async fn wait(State(shell): State<Arc<Shell>>, Body(request): Body<WaitRequest>) -> Answered<WaitReply> {
    // Before the first look, so that no end is missed between the look and the feed.
    let mut feed = shell.feed.subscribe();
    let ids = selected(&shell, request.select).await?;
    let deadline = request.timeout.map(|timeout| Instant::now() + Duration::from(timeout));
    let mut watched = look(&shell, &ids).await?;
    let mut stopping = shell.stopping.clone();
    loop {
        if watched.doubtful() {
            watched = look(&shell, &ids).await?;
        }
        if watched.open() == 0 {
            return json(watched.reply(true, &ids));
        }
        let expired = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            batch = feed.recv() => match batch {
                Ok(events) => events.iter().for_each(|event| watched.note(event)),
                Err(Missed::Lagged) => watched = look(&shell, &ids).await?,
                Err(Missed::Closed) => return json(watched.reply(false, &ids)),
            },
            () = expired => return json(look(&shell, &ids).await?.reply(false, &ids)),
            () = super::until_stopped(&mut stopping) => {
                return Err(Refusal::new(orchd_model::Code::ShuttingDown, "the daemon is stopping").into());
            }
        }
    }
}

/// The tasks that are meant. A workflow or session means all of its tasks, those that have ended, too.
async fn selected(shell: &Arc<Shell>, select: Selector) -> Result<Vec<TaskRange>, Refusal> {
    super::operate::check_selector(&select)?;
    match select {
        Selector { workflow, session, tag, .. } if workflow.is_some() || session.is_some() => {
            let query = ListQuery { workflow, session, tag, limit: Some(0), ..ListQuery::default() };
            let filter = super::list::filter(shell, query).await?;
            shell.read(move |history| history.ids(&filter)).await
        }
        select => super::operate::select(shell, select).await,
    }
}

/// The tasks that are waited for.
#[derive(Default)]
struct Watched {
    /// None for a task that does not exist.
    single: BTreeMap<TaskId, Option<Status>>,
    /// How many of the single ones exist and have not ended, so that no event makes all be looked through.
    open_single: u64,
    /// Contiguous tasks, by status when they were looked at.
    many: Vec<(TaskRange, BTreeMap<Status, u64>)>,
    /// How many of those have not ended.
    open_many: u64,
    /// Whether `open_many` has changed since the look.
    changed: bool,
}

impl Watched {
    fn open(&self) -> u64 {
        self.open_single + self.open_many
    }

    /// Whether what was counted since the look has to be confirmed by another.
    fn doubtful(&self) -> bool {
        self.changed && self.open_many == 0
    }

    fn note(&mut self, event: &Event) {
        let Some(task) = event.fact.task() else { return };
        let status = match &event.fact {
            Fact::Completed { .. } => Status::Completed,
            Fact::Failed { .. } => Status::Failed,
            Fact::Cancelled { .. } => Status::Cancelled,
            Fact::Skipped { .. } => Status::Skipped,
            Fact::Started { .. } => Status::Running,
            Fact::Revived { .. } => Status::Pending,
            _ => return,
        };
        let tasks = TaskRange::from_first(task, event.more);
        for (_, kept) in self.single.range_mut(tasks.first..=tasks.last) {
            self.open_single -= u64::from(is_open(*kept));
            *kept = Some(status);
            self.open_single += u64::from(is_open(*kept));
        }
        for concerned in self.many.iter().filter_map(|(range, _)| range.overlap(tasks)) {
            self.changed = true;
            self.open_many = match status {
                // Whether it was counted before is for the next look to tell.
                Status::Pending => 0,
                status if status.is_terminal() => self.open_many.saturating_sub(concerned.len()),
                _ => self.open_many,
            };
        }
    }

    /// How the tasks ended, in the order asked; of many, one line for each status.
    fn reply(&self, done: bool, ids: &[TaskRange]) -> WaitReply {
        let mut many = self.many.iter();
        let mut tasks = Vec::with_capacity(ids.len());
        for range in ids {
            if let Some(id) = range.single() {
                let status = self.single.get(&id).copied().flatten();
                let error = status.is_none().then(|| unknown(id));
                tasks.push(OperationResult::new(*range, status, error));
                continue;
            }
            let tally = many.next().map(|(_, tally)| tally.clone()).unwrap_or_default();
            let known: u64 = tally.values().sum();
            if known < range.len() {
                let refusal =
                    Refusal::new(orchd_model::Code::NotFound, "no such tasks").value(range.to_string());
                tasks.push(OperationResult::new(*range, None, Some(refusal)));
            }
            for (status, count) in tally {
                let result = OperationResult::new(*range, Some(status), None);
                tasks.push(OperationResult { count: (count < range.len()).then_some(count), ..result });
            }
        }
        WaitReply { done, tasks }
    }
}

fn is_open(status: Option<Status>) -> bool {
    status.is_some_and(|status| !status.is_terminal())
}

async fn look(shell: &Arc<Shell>, ids: &[TaskRange]) -> Result<Watched, Refusal> {
    let ids = ids.to_vec();
    shell
        .read(move |history| {
            let mut watched = Watched::default();
            for range in ids {
                match range.single() {
                    Some(id) => {
                        let status = history.record(id)?.map(|record| record.status());
                        watched.single.insert(id, status);
                    }
                    None => watched.many.push((range, history.tally(range)?)),
                }
            }
            let open = |status: &Option<Status>| is_open(*status);
            watched.open_single = watched.single.values().filter(|status| open(status)).count() as u64;
            let tallies = watched.many.iter().flat_map(|(_, tally)| tally);
            watched.open_many = tallies.filter(|(s, _)| !s.is_terminal()).map(|(_, count)| count).sum();
            Ok(watched)
        })
        .await
}
