//! Adding tasks line by line: lines come in, results go out in the same order while more lines come.
//!
//! ```text
//! lines ──► bunch ──► engine ──► durable ──► results
//!             └── the next bunches are read while the first ones are on their way
//! ```
//! Invariant: results are in the order of the lines. A client that does not read them is not read from either.

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use orchd_api::AddItem;
use orchd_model::{Code, DependencyTarget, Refusal, TaskRange, TaskSpec, limits};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

use super::Shell;
use super::answer::Refused;
use super::tasks::{Added, Specs, hand_in, read_spec, submit};
use crate::peer::Peer;

/// Bunches of one request that are on their way at once: enough that one can be read while those before it
/// are decided, written and answered.
const UNDER_WAY: usize = 16;

/// Adds the tasks of a request's lines.
///
/// # Errors
/// The refusal of an atomic one.
pub async fn add(shell: Arc<Shell>, peer: Peer, atomic: bool, request: Request) -> Result<Response, Refused> {
    let mut lines = Lines::new(request.into_body().into_data_stream());
    if atomic {
        let mut specs = Vec::new();
        while let Some(bunch) = lines.next_bunch().await? {
            specs.extend(bunch);
            lines.check_size()?;
            if specs.len() > limits::WORKFLOW_TASKS {
                let limit = limits::WORKFLOW_TASKS;
                return Err(Refusal::new(Code::TooLarge, format!("at most {limit} tasks in one step")).into());
            }
        }
        References::default().resolve(&mut specs);
        let results = submit(&shell, specs, true, peer).await?;
        return Ok(ndjson(Body::from(encode(results))));
    }
    let (sender, receiver) = mpsc::channel(2);
    let stream =
        Adding { shell, peer, references: References::default(), under_way: VecDeque::new(), sender };
    tokio::spawn(async move {
        // Who no longer listens is not read from any more; what is on its way becomes tasks.
        drop(stream.run(lines).await);
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|item| (item, receiver))
    });
    Ok(ndjson(Body::from_stream(stream)))
}

/// Nobody reads the results.
struct Gone;

/// A bunch that the engine has.
struct UnderWay {
    count: usize,
    /// The `ref`s of its specs, if there are any.
    names: Option<Vec<Option<String>>>,
    answer: oneshot::Receiver<Result<Added, Refusal>>,
}

impl UnderWay {
    /// Waits until it is durable. May be given up and asked again until it has said something.
    async fn answered(&mut self) -> Result<Added, Refusal> {
        (&mut self.answer).await.unwrap_or_else(|_| Err(super::stopped()))
    }
}

/// A request whose lines are being added.
struct Adding {
    shell: Arc<Shell>,
    peer: Peer,
    references: References,
    under_way: VecDeque<UnderWay>,
    sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
}

impl Adding {
    async fn run(mut self, mut lines: Lines) -> Result<(), Gone> {
        loop {
            let has_room = self.under_way.len() < UNDER_WAY;
            let bunch = match self.under_way.front_mut() {
                None => lines.next_bunch().await,
                Some(first) => tokio::select! {
                    results = first.answered() => {
                        match self.settle(results).await? {
                            Ok(()) => continue,
                            Err(refusal) => return self.end(Some(refusal)).await,
                        }
                    }
                    bunch = lines.next_bunch(), if has_room => bunch,
                },
            };
            let handed_in = match bunch {
                Ok(Some(specs)) => self.hand_in(specs).await?,
                Ok(None) => return self.end(None).await,
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = handed_in {
                return self.end(Some(refusal)).await;
            }
        }
    }

    /// Hands a bunch to the engine, after those that its specs may depend on by name have their ids.
    async fn hand_in(&mut self, mut specs: Specs) -> Result<Result<(), Refusal>, Gone> {
        if self.under_way.iter().any(|bunch| bunch.names.is_some()) && References::are_named_in(&specs) {
            while let Some(first) = self.under_way.front_mut() {
                let results = first.answered().await;
                if let Err(refusal) = self.settle(results).await? {
                    return Ok(Err(refusal));
                }
            }
        }
        let (names, count) = (self.references.resolve(&mut specs), specs.len());
        Ok(match hand_in(&self.shell, specs, false, self.peer).await {
            Ok(answer) => {
                self.under_way.push_back(UnderWay { count, names, answer });
                Ok(())
            }
            Err(refusal) => Err(refusal),
        })
    }

    /// Hands the results of the first bunch under way to the client. A bunch that was refused as a whole is
    /// left to the caller.
    async fn settle(&mut self, results: Result<Added, Refusal>) -> Result<Result<(), Refusal>, Gone> {
        let Some(bunch) = self.under_way.pop_front() else { return Ok(Ok(())) };
        let results = match results {
            Ok(results) => results,
            Err(refusal) => {
                self.under_way.push_front(refused(bunch.count, &refusal));
                return Ok(Err(refusal));
            }
        };
        self.references.learn(bunch.names, &results);
        self.send(encode(results)).await.map(Ok)
    }

    async fn send(&self, encoded: Vec<u8>) -> Result<(), Gone> {
        self.sender.send(Ok(encoded.into())).await.map_err(|_| Gone)
    }

    /// Says what became of all bunches under way, and at last why there are no more results. A refusal stands
    /// for all that follow, so one with an accepted bunch behind it is told for each of its lines.
    async fn end(mut self, last: Option<Refusal>) -> Result<(), Gone> {
        let mut answers = Vec::with_capacity(self.under_way.len());
        for mut bunch in std::mem::take(&mut self.under_way) {
            answers.push((bunch.count, bunch.answered().await));
        }
        let told = answers.iter().rposition(|(_, answer)| answer.is_ok()).map_or(0, |position| position + 1);
        let last = answers.get(told).and_then(|(_, answer)| answer.as_ref().err().cloned()).or(last);
        answers.truncate(told);
        for (count, answer) in answers {
            self.send(encode(answer.unwrap_or_else(|refusal| vec![Err(refusal); count]))).await?;
        }
        match last {
            Some(refusal) => self.send(encode(vec![Err(refusal)])).await,
            None => Ok(()),
        }
    }
}

/// A bunch whose answer is known.
fn refused(count: usize, refusal: &Refusal) -> UnderWay {
    let (answer, answered) = oneshot::channel();
    // The receiver is here.
    drop(answer.send(Err(refusal.clone())));
    UnderWay { count, names: None, answer: answered }
}

/// The `ref`s of a request, and what those of earlier bunches have become: a later line may depend on any of
/// them.
#[derive(Default)]
pub struct References {
    named: HashMap<String, Named>,
    /// Specs that have been looked at.
    count: usize,
}

struct Named {
    /// Which spec of the request has this ref, from 1.
    number: usize,
    /// What it became, or why nothing, once that is known.
    became: Option<Result<TaskRange, Box<Refusal>>>,
}

impl References {
    /// Whether a spec depends on another one by a name.
    fn are_named_in(specs: &Specs) -> bool {
        let named = |target: &DependencyTarget| matches!(target, DependencyTarget::Name(_));
        specs.iter().flatten().flat_map(|spec| &spec.dependencies).any(|dependency| named(&dependency.task))
    }

    /// Refuses a ref that an earlier spec has, and puts ids where the specs name tasks of earlier bunches; what names one
    /// that was refused is refused, too. Gives the refs of these specs, if there are any.
    pub fn resolve(&mut self, specs: &mut Specs) -> Option<Vec<Option<String>>> {
        for item in specs.iter_mut() {
            self.count += 1;
            let Ok(spec) = item else { continue };
            let refused = self.put_ids(spec).err();
            if let Some(reference) = spec.reference.clone() {
                match self.named.entry(reference) {
                    Entry::Vacant(place) => {
                        let became = refused.clone().map(|refusal| Err(Box::new(refusal)));
                        place.insert(Named { number: self.count, became });
                    }
                    Entry::Occupied(place) => {
                        *item = Err(taken(place.key(), place.get().number));
                        continue;
                    }
                }
            }
            if let Some(refusal) = refused {
                *item = Err(refusal);
            }
        }
        let has_one = specs.iter().flatten().any(|spec| spec.reference.is_some());
        has_one.then(|| specs.iter().map(|spec| spec.as_ref().ok()?.reference.clone()).collect())
    }

    fn put_ids(&self, spec: &mut Arc<TaskSpec>) -> Result<(), Refusal> {
        if spec.dependencies.iter().all(|dependency| self.became(&dependency.task).is_none()) {
            return Ok(());
        }
        for dependency in &mut Arc::make_mut(spec).dependencies {
            match self.became(&dependency.task) {
                Some(Ok(range)) => dependency.task = (*range).into(),
                Some(Err(refusal)) => return Err(refusal.consequence(&dependency.task)),
                None => {}
            }
        }
        Ok(())
    }

    /// What a task of an earlier bunch became.
    fn became(&self, target: &DependencyTarget) -> Option<&Result<TaskRange, Box<Refusal>>> {
        match target {
            DependencyTarget::Name(name) => self.named.get(name)?.became.as_ref(),
            DependencyTarget::Id(_) => None,
        }
    }

    fn learn(&mut self, names: Option<Vec<Option<String>>>, results: &Added) {
        for (name, result) in names.into_iter().flatten().zip(results) {
            if let Some(named) = name.and_then(|name| self.named.get_mut(&name)) {
                named.became = Some(result.clone().map_err(Box::new));
            }
        }
    }
}

fn taken(reference: &str, number: usize) -> Refusal {
    Refusal::new(Code::Conflict, "another task of the request has this ref")
        .value(reference)
        .hint(format!("it is task {number} of the request"))
}

fn ndjson(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn encode(results: Added) -> Vec<u8> {
    let mut text = Vec::with_capacity(results.len() * 16);
    for result in results {
        // Writing to memory cannot fail, and these types are plain.
        drop(serde_json::to_writer(&mut text, &AddItem::from(result)));
        text.push(b'\n');
    }
    text
}

/// The lines of a body that is still being received.
pub(super) struct Lines {
    body: BodyDataStream,
    buffer: BytesMut,
    /// So much of the buffer is known to hold no end of a line: a long one is not searched again and again.
    searched: usize,
    /// Bytes that have come.
    received: usize,
    ended: bool,
}

impl Lines {
    pub(super) fn new(body: BodyDataStream) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, received: 0, ended: false }
    }

    /// The specs of the lines that are there, at most [`limits::BULK_TASKS`]; waits for at least one. Blank
    /// lines are passed over. May be given up while it waits: nothing that was received is lost.
    pub(super) async fn next_bunch(&mut self) -> Result<Option<Specs>, Refusal> {
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
            self.receive().await?;
        }
    }

    /// One line; none when there are no more.
    pub(super) async fn next_line(&mut self) -> Result<Option<BytesMut>, Refusal> {
        loop {
            self.skip_blank();
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            self.receive().await?;
        }
    }

    /// Refuses lines that are held until the last one has come, and are too many for that.
    ///
    /// # Errors
    /// `too_large`.
    pub(super) fn check_size(&self) -> Result<(), Refusal> {
        if self.received <= limits::WORKFLOW_BYTES {
            return Ok(());
        }
        let message = format!("at most {} bytes in one step", limits::WORKFLOW_BYTES);
        Err(Refusal::new(Code::TooLarge, message).hint("put large inputs into files that the tasks read"))
    }

    /// Waits for more of the body.
    async fn receive(&mut self) -> Result<(), Refusal> {
        match self.body.next().await {
            Some(Ok(bytes)) => {
                self.received += bytes.len();
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
        Ok(())
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
