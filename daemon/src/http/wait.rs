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
    let mut statuses = look(&shell, &ids).await?;
    let mut stopping = shell.stopping.clone();
    loop {
        let mut open = statuses.values().filter(|status| status.is_some_and(|status| !status.is_terminal()));
        if open.next().is_none() {
            return json(reply(true, &ids, &statuses));
        }
        let expired = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            batch = feed.recv() => match batch {
                Ok(events) => events.iter().for_each(|event| note(event, &mut statuses)),
                Err(RecvError::Lagged(_)) => statuses = look(&shell, &ids).await?,
                Err(RecvError::Closed) => return json(reply(false, &ids, &statuses)),
            },
            () = expired => return json(reply(false, &ids, &statuses)),
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

async fn look(shell: &Arc<Shell>, ids: &[TaskId]) -> Result<BTreeMap<TaskId, Option<Status>>, Refusal> {
    let ids = ids.to_vec();
    shell
        .read(move |history| {
            ids.into_iter().map(|id| Ok((id, history.record(id)?.map(|record| record.status())))).collect()
        })
        .await
}

fn note(event: &Event, statuses: &mut BTreeMap<TaskId, Option<Status>>) {
    let Some(status) = event.fact.task().and_then(|id| statuses.get_mut(&id)) else { return };
    match &event.fact {
        Fact::Completed { .. } => *status = Some(Status::Completed),
        Fact::Failed { .. } => *status = Some(Status::Failed),
        Fact::Cancelled { .. } => *status = Some(Status::Cancelled),
        Fact::Skipped { .. } => *status = Some(Status::Skipped),
        Fact::Started { .. } => *status = Some(Status::Running),
        Fact::Revived { .. } => *status = Some(Status::Pending),
        _ => {}
    }
}

fn reply(done: bool, ids: &[TaskId], statuses: &BTreeMap<TaskId, Option<Status>>) -> WaitReply {
    let result = |id: &TaskId| {
        let status = statuses.get(id).copied().flatten();
        OperationResult { id: *id, status, error: status.is_none().then(|| unknown(*id)) }
    };
    WaitReply { done, tasks: ids.iter().map(result).collect() }
}
