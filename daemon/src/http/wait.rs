//! Waiting until tasks have ended: a long poll that looks once and then follows the feed.

use axum::extract::State;
use orchd_api::{OperationResult, Selector, WaitReply, WaitRequest};
use orchd_core::{Event, Fact};
use orchd_model::{Refusal, Status, TaskId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::Shell;
use super::answer::{Answered, Body, json};
use super::tasks::unknown;

/// Waits for a selection of tasks.
pub async fn wait(State(shell): State<Arc<Shell>>, Body(request): Body<WaitRequest>) -> Answered<WaitReply> {
    // Before the first look, so that no end is missed between the look and the feed.
    let mut feed = shell.feed.subscribe();
    let ids = selected(&shell, request.select).await?;
    let deadline = request.timeout.map(|timeout| Instant::now() + Duration::from(timeout));
    let mut watched = look(&shell, &ids).await?;
    let mut stopping = shell.stopping.clone();
    loop {
        if watched.open == 0 {
            return json(reply(true, &ids, &watched));
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
                Err(RecvError::Lagged(_)) => watched = look(&shell, &ids).await?,
                Err(RecvError::Closed) => return json(reply(false, &ids, &watched)),
            },
            () = expired => return json(reply(false, &ids, &watched)),
            () = super::until_stopped(&mut stopping) => {
                return Err(Refusal::new(orchd_model::Code::ShuttingDown, "the daemon is stopping").into());
            }
        }
    }
}

/// The tasks that are meant. A workflow means all of its tasks, those that have ended, too.
async fn selected(shell: &Arc<Shell>, select: Selector) -> Result<Vec<TaskId>, Refusal> {
    match select {
        Selector { workflow: Some(name), ids, .. } if ids.is_empty() => {
            let workflow = Some(super::workflows::resolve(shell, &name).await?);
            let filter = orchd_store::Filter { workflow, ..orchd_store::Filter::default() };
            shell.read(move |history| history.ids(&filter)).await
        }
        select => super::operate::select(shell, select).await,
    }
}

/// The tasks that are waited for.
struct Watched {
    /// None for a task that does not exist.
    statuses: BTreeMap<TaskId, Option<Status>>,
    /// How many of them exist and have not ended, so that no event makes all of them be looked through.
    open: usize,
}

impl Watched {
    fn new(statuses: BTreeMap<TaskId, Option<Status>>) -> Self {
        let open = statuses.values().filter(|status| is_open(**status)).count();
        Self { statuses, open }
    }

    fn note(&mut self, event: &Event) {
        let Some(kept) = event.fact.task().and_then(|id| self.statuses.get_mut(&id)) else { return };
        let status = match &event.fact {
            Fact::Completed { .. } => Status::Completed,
            Fact::Failed { .. } => Status::Failed,
            Fact::Cancelled { .. } => Status::Cancelled,
            Fact::Skipped { .. } => Status::Skipped,
            Fact::Started { .. } => Status::Running,
            Fact::Revived { .. } => Status::Pending,
            _ => return,
        };
        self.open -= usize::from(is_open(*kept));
        *kept = Some(status);
        self.open += usize::from(is_open(*kept));
    }
}

fn is_open(status: Option<Status>) -> bool {
    status.is_some_and(|status| !status.is_terminal())
}

async fn look(shell: &Arc<Shell>, ids: &[TaskId]) -> Result<Watched, Refusal> {
    let ids = ids.to_vec();
    let status = |record: orchd_core::TaskRecord| record.status();
    shell
        .read(move |history| ids.into_iter().map(|id| Ok((id, history.record(id)?.map(status)))).collect())
        .await
        .map(Watched::new)
}

fn reply(done: bool, ids: &[TaskId], watched: &Watched) -> WaitReply {
    let result = |id: &TaskId| {
        let status = watched.statuses.get(id).copied().flatten();
        OperationResult { id: *id, status, error: status.is_none().then(|| unknown(*id)) }
    };
    WaitReply { done, tasks: ids.iter().map(result).collect() }
}
