//! The list of tasks: which ones are looked up at one instant, and what there is to say of them page by page as the
//! client reads it, so that a list of millions takes no more memory than a page.
//!
//! What has changed between the two is shown as it is then; what no longer matches, or is gone, is left out.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use orchd_api::{ListQuery, Task};
use orchd_core::TaskRecord;
use orchd_model::{Refusal, Status, TaskRange};
use orchd_store::{Filter, History, StoreError, StoredTask};
use std::sync::Arc;

use super::Shell;
use super::answer::{Query, Refused};
use super::pages::{Pages, answer};
use super::tasks::documents_of;
use crate::config;
use crate::peer::Peer;

/// How many tasks a list shows when nobody says.
const LISTED: usize = 100;
/// Tasks that are read, described and sent at once.
const PAGE: usize = 1000;
/// Elements of arrays that were given to a worker ahead have records of their own, at most so many, and are listed with
/// those that wait beside them.
const AHEAD: usize = config::AHEAD as usize;

/// Lists tasks, the unfinished first.
pub async fn list(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Refused> {
    let filter = Filter { owner: peer.only_owner(), ..filter(&shell, query).await? };
    if filter.limit.is_some_and(|limit| limit <= PAGE) {
        let (limit, more) = (filter.limit, filter.limit.map(|limit| limit + AHEAD));
        let filter = Filter { limit: more, ..filter };
        let mut stored = alike(shell.read(move |history| history.list(&filter)).await?);
        stored.truncate(limit.unwrap_or(usize::MAX));
        return Ok(Json(documents_of(&shell, stored).await?).into_response());
    }
    let all = filter.clone();
    let wanted = shell.read(move |history| history.ids(&all)).await?;
    answer(Listed { shell, filter, wanted, next: 0 }).await
}

/// A list that is being sent.
struct Listed {
    shell: Arc<Shell>,
    filter: Filter,
    /// What is listed, in its order.
    wanted: Vec<TaskRange>,
    /// How many of these have been sent.
    next: usize,
}

impl Pages for Listed {
    type Item = Task;

    async fn next(&mut self) -> Result<Option<Vec<Task>>, Refusal> {
        if self.next == self.wanted.len() {
            return Ok(None);
        }
        let end = self.wanted.len().min(self.next + PAGE);
        let wanted = self.wanted[self.next..end].to_vec();
        self.next = end;
        let filter = Filter { limit: None, ..self.filter.clone() };
        let stored = self.shell.read(move |history| read(history, &wanted, &filter)).await?;
        documents_of(&self.shell, alike(stored)).await.map(Some)
    }
}

/// The same with one for all neighbours in an array that wait alike: those that a worker was given ahead differ from
/// those that it was not in nothing that is shown.
fn alike(stored: Vec<StoredTask>) -> Vec<StoredTask> {
    let mut all: Vec<StoredTask> = Vec::with_capacity(stored.len());
    for task in stored {
        match all.last_mut() {
            Some(last) if continues(last, &task) => last.record.more += 1 + task.record.more,
            _ => all.push(task),
        }
    }
    all
}

/// Whether a task is the next element of the same array and waits like the one before.
fn continues(before: &StoredTask, task: &StoredTask) -> bool {
    let (a, b) = (&before.record, &task.record);
    let is_next = a.array.is_some() && a.range().last.0.checked_add(1) == Some(b.id.0);
    is_next && a.status() == Status::Pending && {
        let there = TaskRecord { id: b.id, more: b.more, ..a.clone() };
        there == *b
    }
}

/// What stands for these tasks now. Those with contiguous ids are one question.
///
/// # Errors
/// When the store cannot be read.
pub fn read(
    history: &mut dyn History,
    wanted: &[TaskRange],
    filter: &Filter,
) -> Result<Vec<StoredTask>, StoreError> {
    let mut runs: Vec<TaskRange> = Vec::new();
    for range in wanted {
        match runs.last_mut() {
            Some(run) if run.last.0.checked_add(1) == Some(range.first.0) => run.last = range.last,
            _ => runs.push(*range),
        }
    }
    let mut found = Vec::new();
    for run in runs {
        found.append(&mut history.list(&Filter { within: Some(run), ..filter.clone() })?);
    }
    Ok(found)
}

/// What a list query selects.
pub async fn filter(shell: &Arc<Shell>, query: ListQuery) -> Result<Filter, Refusal> {
    let statuses = query.status.as_deref().map(|text| text.split(',').map(|s| s.trim().parse()).collect());
    let statuses: Vec<Status> = statuses.transpose()?.unwrap_or_default();
    let session = match query.session {
        Some(name) => Some(super::named_session::resolve(shell, &name).await?),
        None => None,
    };
    let workflow = match query.workflow {
        Some(name) => Some(super::workflows::resolve(shell, session, &name).await?),
        None => None,
    };
    let name_glob = query.name.map(|glob| glob.parse()).transpose()?;
    let limit = match query.limit.unwrap_or(LISTED) {
        0 => None,
        limit => Some(limit),
    };
    Ok(Filter {
        statuses,
        priority: query.priority,
        tag: query.tag,
        workflow,
        session,
        name_glob,
        since: query.since.map(|span| shell.clock.now() - span),
        limit,
        ..Filter::default()
    })
}
