//! Tasks: add, list, show, explain.

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use orchd_api::{AddItem, AddQuery, AddReply, Explanation, Task};
use orchd_core::TaskRecord;
use orchd_model::{Code, Refusal, Status, TaskId, TaskRange, TaskSpec, limits};
use orchd_store::StoredTask;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

use super::answer::{Answered, Id, Query, Refused, Unknown, bytes, json, parse, place_of};
use super::{Shell, cancelled, element_names, guard};
use crate::documents;
use crate::engine::Request as EngineRequest;
use crate::peer::Peer;
use crate::roots::Roots;

/// Adds one task, an array of them, or a stream of lines.
pub async fn add(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<AddQuery>,
    request: Request,
) -> Result<Response, Refused> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if kind.starts_with("application/x-ndjson") {
        return super::lines::add(shell, peer, query.atomic, request).await;
    }
    let body = bytes(request, &()).await?;
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_array {
        let spec = read_spec(&body)?;
        let mut results = submit(&shell, vec![Ok(spec)], false, peer).await?;
        let added = results.pop().unwrap_or_else(|| Err(Refusal::new(Code::Malformed, "no task")))?;
        return Ok(Json(AddReply::One(added.into())).into_response());
    }
    let items: Vec<Box<serde_json::value::RawValue>> = parse(&body)?;
    let mut specs: Vec<_> = items.iter().map(|item| read_spec(item.get().as_bytes())).collect();
    super::lines::References::default().resolve(&mut specs);
    let results = submit(&shell, specs, query.atomic, peer).await?;
    let items: Vec<AddItem> = results.into_iter().map(Into::into).collect();
    Ok(Json(AddReply::Several(items)).into_response())
}

/// Reads and checks a spec.
///
/// # Errors
/// `malformed` or `too_large`.
pub fn read_spec(text: &[u8]) -> Result<Arc<TaskSpec>, Refusal> {
    let spec = parse_spec(text)?;
    check(&spec)?;
    crate::compute::check_alone(&spec)?;
    Ok(Arc::new(spec))
}

fn check_bytes(bytes: usize) -> Result<(), Refusal> {
    if bytes <= limits::SPEC_BYTES {
        return Ok(());
    }
    let message = format!("a task spec has at most {} bytes", limits::SPEC_BYTES);
    let refusal = Refusal::new(Code::TooLarge, message).value(bytes.to_string());
    Err(refusal.hint("put large inputs into a file that the task reads"))
}

/// Checks the size of a spec that was part of something larger.
///
/// # Errors
/// `too_large`.
pub fn check_size(spec: &TaskSpec) -> Result<(), Refusal> {
    let text = serde_json::to_vec(spec).map_err(|error| Refusal::new(Code::Malformed, error.to_string()))?;
    check_bytes(text.len())
}

/// Reads a spec, which is for the caller to [check].
///
/// # Errors
/// `unknown_field` with the path of the key, `malformed` or `too_large`.
pub fn parse_spec(text: &[u8]) -> Result<TaskSpec, Refusal> {
    check_bytes(text.len())?;
    serde_json::from_slice(text).map_err(|error| {
        // Positions in a document that the client did not see as such would only confuse.
        let message = error.to_string();
        let message = message.rfind(" at line ").map_or(&*message, |place| &message[..place]);
        if let Some(unknown) = Unknown::told_by(message) {
            return unknown.refusal("a task spec", place_of::<TaskSpec>(text).as_ref());
        }
        let (what, hint) =
            message.split_once("\nhint: ").map_or((message, None), |(what, hint)| (what, Some(hint)));
        let refusal = Refusal::new(Code::Malformed, format!("not a task spec: {what}"));
        match hint {
            Some(hint) => refusal.hint(hint),
            None => refusal,
        }
    })
}

/// Checks what only makes sense here: its condition in a language of its own, and that its directory does
/// not depend on where the daemon was started.
///
/// # Errors
/// `malformed`.
pub fn check(spec: &TaskSpec) -> Result<(), Refusal> {
    if let Some(cwd) = spec.cwd.as_deref().filter(|cwd| !cwd.starts_with('/')) {
        return Err(Refusal::new(Code::Malformed, "a directory must be absolute").value(cwd));
    }
    spec.check_new()?;
    crate::compute::check_expressions(spec)?;
    spec.when.as_deref().map_or(Ok(()), orchd_workflow::check_expression)
}

/// Specs as they were read, each of which may be refused.
pub type Specs = Vec<Result<Arc<TaskSpec>, Refusal>>;
/// What became of each spec.
pub type Added = Vec<Result<TaskRange, Refusal>>;

/// Adds tasks.
///
/// # Errors
/// The refusal of the whole.
pub async fn submit(shell: &Arc<Shell>, specs: Specs, atomic: bool, peer: Peer) -> Result<Added, Refusal> {
    let answered = hand_in(shell, specs, atomic, peer).await?;
    answered.await.unwrap_or_else(|_| Err(super::stopped()))
}

/// Hands tasks to the engine, without waiting until they are durable.
///
/// # Errors
/// As [`Shell::send`].
pub async fn hand_in(
    shell: &Arc<Shell>,
    mut specs: Specs,
    atomic: bool,
    peer: Peer,
) -> Result<oneshot::Receiver<Result<Added, Refusal>>, Refusal> {
    if peer.only_owner().is_some() {
        for item in &mut specs {
            if let Ok(spec) = item
                && let Err(refusal) = guard::check_spec(shell, spec, peer).await
            {
                *item = Err(refusal);
            }
        }
    }
    let (answer, answered) = oneshot::channel();
    shell.send(EngineRequest::Add { specs, atomic, owner: peer.uid, answer }).await?;
    Ok(answered)
}

/// Stored tasks with their reasons, and what they were skipped for.
pub async fn documents_of(shell: &Arc<Shell>, stored: Vec<StoredTask>) -> Result<Vec<Task>, Refusal> {
    let waiting: Vec<TaskId> = stored
        .iter()
        .filter(|task| matches!(task.record.status(), Status::Pending | Status::Retrying))
        .map(|task| task.record.id)
        .collect();
    let mut reasons = match waiting.is_empty() {
        true => BTreeMap::new(),
        false => shell.look(move |core| documents::reasons(core, &waiting)).await?,
    };
    element_names::fill(shell, reasons.values_mut().flatten()).await?;
    let roots = roots(shell, stored.iter().map(|task| &task.record)).await?;
    let document = |task: StoredTask| {
        let reasons = reasons.remove(&task.record.id).unwrap_or_default();
        documents::task(task, reasons, &roots)
    };
    let mut tasks: Vec<Task> = stored.into_iter().map(document).collect();
    cancelled::say_why(shell, &mut tasks).await?;
    Ok(tasks)
}

/// What these tasks were skipped for.
///
/// # Errors
/// `store_failed`.
pub async fn roots<'a>(
    shell: &Arc<Shell>,
    tasks: impl IntoIterator<Item = &'a TaskRecord>,
) -> Result<Roots, Refusal> {
    let wanted = Roots::wanted(tasks);
    if wanted.is_empty() {
        return Ok(Roots::default());
    }
    shell.read(move |history| Roots::find(history, &wanted)).await
}

/// That there is no such task.
pub fn unknown(id: TaskId) -> Refusal {
    Refusal::no_such_task(id)
}

/// A task as if it had a record of its own: an element of an array that waits with others.
fn alone(mut stored: StoredTask, id: TaskId) -> StoredTask {
    (stored.record.id, stored.record.more) = (id, 0);
    stored
}

/// Everything about one task.
pub async fn show(State(shell): State<Arc<Shell>>, Id(id): Id) -> Answered<Task> {
    let id = TaskId(id);
    let (stored, attempts) =
        shell.read(move |history| Ok((history.task(id)?, history.attempts(id)?))).await?;
    let stored = alone(stored.ok_or_else(|| unknown(id))?, id);
    let attempts = documents::attempts(attempts, &stored.record);
    let mut tasks = documents_of(&shell, vec![stored]).await?;
    let task = tasks.pop().ok_or_else(|| unknown(id))?;
    json(Task { attempt_list: Some(attempts), ..task })
}

/// Why a task does not run.
pub async fn explain(State(shell): State<Arc<Shell>>, Id(id): Id) -> Answered<Explanation> {
    let id = TaskId(id);
    let mut explained = shell.look(move |core| core.explain(id)).await?;
    element_names::fill(&shell, &mut explained).await?;
    let stored = shell.read(move |history| history.task(id)).await?.ok_or_else(|| unknown(id))?;
    let stored = alone(stored, id);
    let roots = roots(&shell, [&stored.record]).await?;
    let status_reason = documents::status_reason(&stored.record, stored.result.as_ref(), &roots);
    let because = match stored.record.status() {
        Status::Cancelled => {
            let groups = (stored.record.demand.workflow, stored.record.demand.session);
            cancelled::reason(&shell, groups, stored.finished_at).await?
        }
        _ => None,
    };
    let explanation = documents::explanation(stored, explained, status_reason);
    json(Explanation { status_reason: because.or(explanation.status_reason), ..explanation })
}
