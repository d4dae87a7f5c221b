//! Tasks: add, list, show, explain.

use axum::body::BodyDataStream;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use orchd_api::{AddItem, AddQuery, AddReply, Explanation, ListQuery, Task};
use orchd_model::{Code, DependencyTarget, Refusal, Status, TaskId, TaskRange, TaskSpec, limits};
use orchd_store::{Filter, StoredTask};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::mpsc;

use super::answer::{Answered, Id, Query, Refused, bytes, json, parse};
use super::{Shell, guard};
use crate::documents;
use crate::engine::Request as EngineRequest;
use crate::peer::Peer;

/// Adds one task, an array of them, or a stream of lines.
pub async fn add(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<AddQuery>,
    request: Request,
) -> Result<Response, Refused> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if kind.starts_with("application/x-ndjson") {
        return add_lines(shell, peer, query.atomic, request).await;
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
    References::default().resolve(&mut specs);
    let results = submit(&shell, specs, query.atomic, peer).await?;
    let items: Vec<AddItem> = results.into_iter().map(Into::into).collect();
    Ok(Json(AddReply::Several(items)).into_response())
}

/// Reads and checks a spec.
///
/// # Errors
/// `malformed` or `too_large`.
pub fn read_spec(text: &[u8]) -> Result<Arc<TaskSpec>, Refusal> {
    if text.len() > limits::SPEC_BYTES {
        return Err(Refusal::new(
            Code::TooLarge,
            format!("a task spec has at most {} bytes", limits::SPEC_BYTES),
        )
        .value(text.len().to_string())
        .hint("put large inputs into a file that the task reads"));
    }
    let spec: TaskSpec = serde_json::from_slice(text).map_err(|error| {
        // Positions in a document that the client did not see as such would only confuse.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        Refusal::new(Code::Malformed, format!("not a task spec: {message}"))
    })?;
    check(&spec)?;
    Ok(Arc::new(spec))
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
    spec.check_limits()?;
    spec.when.as_deref().map_or(Ok(()), orchd_workflow::check_expression)
}

async fn submit(
    shell: &Arc<Shell>,
    mut specs: Vec<Result<Arc<TaskSpec>, Refusal>>,
    atomic: bool,
    peer: Peer,
) -> Result<Vec<Result<TaskRange, Refusal>>, Refusal> {
    if peer.only_owner().is_some() {
        for item in &mut specs {
            if let Ok(spec) = item
                && let Err(refusal) = guard::check_spec(shell, spec, peer).await
            {
                *item = Err(refusal);
            }
        }
    }
    shell.ask(|answer| EngineRequest::Add { specs, atomic, owner: peer.uid, answer }).await
}

/// Lines come in, results go out in the same order while more lines come. Lines are taken in bunches, one
/// command each; a client that does not read its results is not read from either.
async fn add_lines(
    shell: Arc<Shell>,
    peer: Peer,
    atomic: bool,
    request: Request,
) -> Result<Response, Refused> {
    let mut lines = Lines::new(request.into_body().into_data_stream());
    if atomic {
        let mut specs = Vec::new();
        while let Some(bunch) = lines.next_bunch().await? {
            specs.extend(bunch);
            if specs.len() > limits::WORKFLOW_TASKS {
                let limit = limits::WORKFLOW_TASKS;
                return Err(Refusal::new(Code::TooLarge, format!("at most {limit} tasks in one step")).into());
            }
        }
        References::default().resolve(&mut specs);
        let results = submit(&shell, specs, true, peer).await?;
        return Ok(ndjson(axum::body::Body::from(encode(results))));
    }
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(2);
    tokio::spawn(async move {
        let mut references = References::default();
        loop {
            let results = match lines.next_bunch().await {
                Ok(Some(mut specs)) => {
                    let names = references.resolve(&mut specs);
                    let results = submit(&shell, specs, false, peer).await;
                    results.inspect(|results| references.learn(names, results))
                }
                Ok(None) => return,
                Err(refusal) => Err(refusal),
            };
            let is_last = results.is_err();
            let encoded = results.map_or_else(|error| encode(vec![Err(error)]), encode);
            if sender.send(Ok(encoded.into())).await.is_err() || is_last {
                return;
            }
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|item| (item, receiver))
    });
    Ok(ndjson(axum::body::Body::from_stream(stream)))
}

/// The `ref`s of a request, and what those of earlier bunches have become: a later line may depend on any of
/// them.
#[derive(Default)]
struct References {
    named: HashMap<String, Named>,
    /// Specs that have been looked at.
    count: usize,
}

struct Named {
    /// Which spec of the request has this ref, from 1.
    number: usize,
    /// What it became, once it was added.
    tasks: Option<TaskRange>,
}

impl References {
    /// Refuses a ref that an earlier spec has, and puts ids where the specs name tasks of earlier bunches.
    /// Gives the refs of these specs.
    fn resolve(&mut self, specs: &mut [Result<Arc<TaskSpec>, Refusal>]) -> Vec<Option<String>> {
        for item in specs.iter_mut() {
            self.count += 1;
            let Ok(spec) = item else { continue };
            let known = |target: &DependencyTarget| match target {
                DependencyTarget::Name(name) => self.named.get(name).and_then(|named| named.tasks),
                DependencyTarget::Id(_) => None,
            };
            if spec.dependencies.iter().any(|dependency| known(&dependency.task).is_some()) {
                for dependency in &mut Arc::make_mut(spec).dependencies {
                    if let Some(range) = known(&dependency.task) {
                        dependency.task = range.into();
                    }
                }
            }
            let Some(reference) = spec.reference.clone() else { continue };
            match self.named.entry(reference) {
                Entry::Vacant(place) => drop(place.insert(Named { number: self.count, tasks: None })),
                Entry::Occupied(place) => *item = Err(taken(place.key(), place.get().number)),
            }
        }
        specs.iter().map(|spec| spec.as_ref().ok()?.reference.clone()).collect()
    }

    fn learn(&mut self, names: Vec<Option<String>>, results: &[Result<TaskRange, Refusal>]) {
        for (name, result) in names.into_iter().zip(results) {
            if let (Some(name), Ok(tasks)) = (name, result)
                && let Some(named) = self.named.get_mut(&name)
            {
                named.tasks = Some(*tasks);
            }
        }
    }
}

fn taken(reference: &str, number: usize) -> Refusal {
    Refusal::new(Code::Conflict, "another task of the request has this ref")
        .value(reference)
        .hint(format!("it is task {number} of the request"))
}

fn ndjson(body: axum::body::Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn encode(results: Vec<Result<TaskRange, Refusal>>) -> Vec<u8> {
    let mut text = Vec::with_capacity(results.len() * 16);
    for result in results {
        // Writing to memory cannot fail, and these types are plain.
        drop(serde_json::to_writer(&mut text, &AddItem::from(result)));
        text.push(b'\n');
    }
    text
}

/// The lines of a body that is still being received.
struct Lines {
    body: BodyDataStream,
    buffer: BytesMut,
    /// So much of the buffer is known to hold no end of a line: a long one is not searched again and again.
    searched: usize,
    ended: bool,
}

impl Lines {
    fn new(body: BodyDataStream) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, ended: false }
    }

    /// The specs of the lines that are there, at most [`limits::BULK_TASKS`]; waits for at least one. Blank
    /// lines are passed over.
    async fn next_bunch(&mut self) -> Result<Option<Vec<Result<Arc<TaskSpec>, Refusal>>>, Refusal> {
        let mut bunch = Vec::new();
        loop {
            self.skip_blank();
            while bunch.len() < limits::BULK_TASKS {
                let Some(line) = self.take_line() else { break };
                if !line.trim_ascii().is_empty() {
                    bunch.push(read_spec(&line));
                }
            }
            if !bunch.is_empty() {
                return Ok(Some(bunch));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.next().await {
                Some(Ok(bytes)) => {
                    self.buffer.extend_from_slice(&bytes);
                    // One who sends fast must not keep this thread from others.
                    tokio::task::consume_budget().await;
                }
                // What was not sent to its end may be half of what was meant.
                Some(Err(error)) => {
                    let refusal = Refusal::new(Code::Malformed, "the lines broke off");
                    return Err(refusal.value(error.to_string()));
                }
                None => {
                    self.ended = true;
                    if !self.buffer.is_empty() {
                        self.buffer.extend_from_slice(b"\n");
                    }
                }
            }
            if self.buffer.len() > limits::FRAME_BYTES && !self.buffer[self.searched..].contains(&b'\n') {
                return Err(Refusal::new(
                    Code::TooLarge,
                    format!("a line has at most {} bytes", limits::FRAME_BYTES),
                ));
            }
        }
    }

    /// Drops what is blank before the next line, all at once: there may be millions of such lines.
    fn skip_blank(&mut self) {
        if self.searched == 0 {
            let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.buffer.advance(blank);
        }
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        let Some(found) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = std::mem::take(&mut self.searched) + found;
        Some(self.buffer.split_to(end + 1))
    }
}

/// How many tasks a list shows when nobody says.
const LISTED: usize = 100;

/// Lists tasks, the unfinished first.
pub async fn list(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<ListQuery>,
) -> Answered<Vec<Task>> {
    let filter = Filter { owner: peer.only_owner(), ..filter(&shell, query).await? };
    let stored = shell.read(move |history| history.list(&filter)).await?;
    json(documents_of(&shell, stored).await?)
}

/// What a list query selects.
pub async fn filter(shell: &Arc<Shell>, query: ListQuery) -> Result<Filter, Refusal> {
    let statuses = query.status.as_deref().map(|text| text.split(',').map(|s| s.trim().parse()).collect());
    let statuses: Vec<Status> = statuses.transpose()?.unwrap_or_default();
    let workflow = match query.workflow {
        Some(name) => Some(super::workflows::resolve(shell, &name).await?),
        None => None,
    };
    let session = query.session.as_deref().map(super::named_session::resolve).transpose()?;
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

/// Stored tasks with their reasons and the names of root causes.
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
    let roots: Vec<TaskId> = stored.iter().filter_map(|task| documents::root_cause(&task.record)).collect();
    let names = names(shell, roots).await?;
    let document = |task: StoredTask| {
        let reasons = reasons.remove(&task.record.id).unwrap_or_default();
        documents::task(task, reasons, &names)
    };
    Ok(stored.into_iter().map(document).collect())
}

async fn names(shell: &Arc<Shell>, ids: Vec<TaskId>) -> Result<BTreeMap<TaskId, String>, Refusal> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    Ok(shell
        .read(move |history| history.names(&ids))
        .await?
        .into_iter()
        .map(|(id, name)| (id, name.into()))
        .collect())
}

/// That there is no such task.
pub fn unknown(id: TaskId) -> Refusal {
    Refusal::new(Code::NotFound, "no such task").value(id.to_string())
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
    let explained = shell.look(move |core| core.explain(id)).await?;
    let stored = shell.read(move |history| history.task(id)).await?.ok_or_else(|| unknown(id))?;
    let stored = alone(stored, id);
    let names = names(&shell, documents::root_cause(&stored.record).into_iter().collect()).await?;
    let status_reason = documents::status_reason(&stored.record, stored.result.as_ref(), &names);
    json(documents::explanation(stored, explained, status_reason))
}
