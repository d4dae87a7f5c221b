//! Sessions: create, list, show, close; and which one a name means.

use axum::Extension;
use axum::extract::State;
use orchd_api::{self as api, CloseMode, CloseRequest, SessionQuery};
use orchd_core::{Command, NewSession, Reply, Scope, SessionRecord};
use orchd_model::{Code, Refusal, SessionId, SessionRef, SessionSpec};
use std::sync::Arc;

use super::Shell;
use super::answer::{Answered, Body, Id, Query, json};
use crate::documents;
use crate::engine::Request;
use crate::peer::Peer;

/// How many sessions a list shows when nobody says.
const LISTED: usize = 100;

/// The session with this id; or with this name: the one that is not closed, else the newest.
///
/// # Errors
/// `not_found`.
pub async fn resolve(shell: &Arc<Shell>, name: &str) -> Result<SessionId, Refusal> {
    // What is no number is a name.
    let Ok(wanted) = name.parse::<SessionRef>();
    Ok(find(shell, wanted).await?.id)
}

async fn find(shell: &Arc<Shell>, wanted: SessionRef) -> Result<SessionRecord, Refusal> {
    let unknown = unknown(&wanted);
    let found = shell
        .read(move |history| match wanted {
            SessionRef::Id(id) => history.session(id),
            SessionRef::Name(name) => history.session_by_name(&name),
        })
        .await?;
    found.ok_or(unknown)
}

/// That there is no such session.
pub fn unknown(name: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::NotFound, "no such session").value(name.to_string())
}

/// Refuses a session of another user, to one who is no admin.
///
/// # Errors
/// `not_permitted`, `not_found`.
pub async fn check_owner(shell: &Arc<Shell>, session: &SessionRef, peer: Peer) -> Result<(), Refusal> {
    let Some(owner) = peer.only_owner() else { return Ok(()) };
    let record = find(shell, session.clone()).await?;
    if record.owner == owner {
        return Ok(());
    }
    Err(Refusal::new(Code::NotPermitted, "this session is another user's").value(&*record.name))
}

/// Creates a session.
pub async fn create(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Body(spec): Body<SessionSpec>,
) -> Answered<api::Session> {
    spec.check()?;
    let SessionSpec { name, max_parallel, mode } = spec;
    let new = NewSession { name: name.into(), max_parallel, mode, owner: peer.uid };
    let command = Command::CreateSession(new);
    let reply = shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    let Reply::Session(id) = reply else {
        return Err(Refusal::new(Code::WrongState, "not the answer to a new session").into());
    };
    json(document(&shell, find(&shell, id.into()).await?).await?)
}

/// Lists sessions, those that are not closed first.
pub async fn list(
    State(shell): State<Arc<Shell>>,
    Query(query): Query<SessionQuery>,
) -> Answered<Vec<api::Session>> {
    let limit = match query.limit.unwrap_or(LISTED) {
        0 => None,
        limit => Some(limit),
    };
    let records = shell
        .read(move |history| match query.name {
            Some(name) => Ok(history.session_by_name(&name)?.into_iter().collect()),
            None => history.sessions(limit),
        })
        .await?;
    let mut sessions = Vec::with_capacity(records.len());
    for record in records {
        sessions.push(document(&shell, record).await?);
    }
    json(sessions)
}

/// One session with its statistics.
pub async fn show(State(shell): State<Arc<Shell>>, Id(id): Id) -> Answered<api::Session> {
    let record = find(&shell, SessionId(id).into()).await?;
    json(document(&shell, record).await?)
}

/// Closes a session.
pub async fn close(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Id(id): Id,
    Body(request): Body<CloseRequest>,
) -> Answered<api::Session> {
    let session = SessionId(id);
    check_owner(&shell, &session.into(), peer).await?;
    let closed = |record: &SessionRecord| record.closed_at.is_some();
    let record = find(&shell, session.into()).await?;
    if closed(&record) {
        let refusal = Refusal::new(Code::WrongState, format!("session {id} is closed"));
        return Err(refusal.value(&*record.name).into());
    }
    let command = Command::CloseSession { session, cancel: request.mode == CloseMode::Cancel };
    shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await?;
    json(document(&shell, find(&shell, session.into()).await?).await?)
}

/// A session as users see it: what is stored, and what its tasks hold now.
async fn document(shell: &Arc<Shell>, record: SessionRecord) -> Result<api::Session, Refusal> {
    let id = record.id;
    let (held, paused, workflows) = shell
        .look(move |core| {
            let paused = core.paused_scopes().contains(&Scope::Session(id));
            (core.session_holds(id), paused, core.workflows_running_in(id))
        })
        .await?;
    Ok(documents::session(record, held, paused, workflows))
}
