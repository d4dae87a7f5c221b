//! Adding many tasks in one request: NDJSON out, NDJSON back, both at once.
//!
//! The specs go out in pieces as the daemon takes them, the results are read while later specs are still
//! being written, and nothing is held but the pieces under way. When the sender gives up, the request is
//! cut off and not ended, so an atomic one is never taken for complete.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{Request, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use orchd_api::{AddItem, Added, routes};
use orchd_model::{Refusal, TaskRange, TaskSpec, limits};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

use crate::Error;
use crate::connection::{Connection, Fault, Transport, broken, checked};

/// A piece of this size is written at once; larger ones gain nothing.
pub(crate) const PIECE_BYTES: usize = 64 << 10;
/// Specs taken from the source in one go when they are there.
const BATCH: usize = 256;
/// Pieces between the writer of JSON and the socket.
pub(crate) const QUEUE: usize = 4;

pub(crate) enum Piece {
    Lines(Bytes),
    End,
}

pub(crate) async fn submit<S: Stream<Item = TaskSpec>>(
    transport: &Transport,
    specs: S,
    atomic: bool,
    mut each: impl FnMut(Result<TaskRange, Refusal>),
) -> Result<(), Error> {
    let mut last_refusal = None;
    let each = |item: Result<TaskRange, Refusal>| {
        last_refusal = item.as_ref().err().cloned();
        each(item);
    };
    let connection = transport.connection().await?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let sent = AtomicUsize::new(0);
    let received = AtomicUsize::new(0);
    let connection = {
        let mut writing = pin!(write(specs, sender, &sent));
        let mut reading = pin!(exchange(connection, receiver, atomic, each, &received));
        tokio::select! {
            read = &mut reading => read?,
            written = &mut writing => {
                written?;
                reading.await?
            }
        }
    };
    let (sent, received) = (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
    if received != sent {
        // The daemon stopped reading: the refusal that it ended with is meant for all that follow.
        if let Some(refusal) = last_refusal {
            return Err(Error::Refused(refusal));
        }
        return Err(Error::Protocol(format!("{received} results for {sent} tasks")));
    }
    transport.give_back(connection);
    Ok(())
}

/// Writes specs as they become ready, until there are no more or the daemon has answered for good.
async fn write<S: Stream<Item = TaskSpec>>(
    specs: S,
    sender: mpsc::Sender<Piece>,
    sent: &AtomicUsize,
) -> Result<(), Error> {
    let mut batches = pin!(specs.ready_chunks(BATCH));
    while let Some(batch) = batches.next().await {
        let mut lines = Vec::new();
        for spec in batch {
            serde_json::to_writer(&mut lines, &spec).map_err(|e| Error::Protocol(e.to_string()))?;
            lines.push(b'\n');
            sent.fetch_add(1, Ordering::Relaxed);
            if lines.len() >= PIECE_BYTES
                && sender.send(Piece::Lines(std::mem::take(&mut lines).into())).await.is_err()
            {
                return Ok(());
            }
        }
        if !lines.is_empty() && sender.send(Piece::Lines(lines.into())).await.is_err() {
            return Ok(());
        }
    }
    sender.send(Piece::End).await.ok();
    Ok(())
}

async fn exchange(
    mut connection: Connection,
    receiver: mpsc::Receiver<Piece>,
    atomic: bool,
    each: impl FnMut(Result<TaskRange, Refusal>),
    received: &AtomicUsize,
) -> Result<Connection, Error> {
    let pieces = stream::unfold(receiver, |mut receiver| async {
        match receiver.recv().await {
            Some(Piece::Lines(lines)) => Some((Ok(Frame::data(lines)), receiver)),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::other("the sender gave up")), receiver)),
        }
    });
    let target = if atomic { format!("{}?atomic=true", routes::TASKS) } else { routes::TASKS.to_owned() };
    let request = Request::post(target)
        .header(header::HOST, "orchd")
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .header(header::ACCEPT, "application/x-ndjson")
        .body(StreamBody::new(pieces).boxed_unsync())
        .map_err(|e| Error::Protocol(e.to_string()))?;
    let answer = connection.send_request(request).await.map_err(broken)?;
    let answer = checked(answer).await.map_err(Fault::into_error)?;
    read(answer.into_body(), each, received).await?;
    Ok(connection)
}

/// Reads results line by line as they come.
async fn read(
    mut body: Incoming,
    mut each: impl FnMut(Result<TaskRange, Refusal>),
    received: &AtomicUsize,
) -> Result<(), Error> {
    let mut rest: Vec<u8> = Vec::new();
    let mut item = |line: &[u8]| {
        if !line.is_empty() {
            // Nearly all are added; finding out which of several forms an item has costs more than reading it.
            let result = match serde_json::from_slice::<Added>(line) {
                Ok(added) => Ok(added.range()),
                Err(_) => serde_json::from_slice::<AddItem>(line)
                    .map_err(|e| Error::Protocol(e.to_string()))?
                    .into_result(),
            };
            received.fetch_add(1, Ordering::Relaxed);
            each(result);
        }
        Ok::<(), Error>(())
    };
    while let Some(frame) = body.frame().await {
        let piece = frame.map_err(broken)?.into_data().unwrap_or_default();
        rest.extend_from_slice(&piece);
        let Some(end) = rest.iter().rposition(|b| *b == b'\n') else {
            if rest.len() > limits::FRAME_BYTES {
                return Err(Error::Protocol("a line of the answer is over-large".to_owned()));
            }
            continue;
        };
        rest[..end].split(|b| *b == b'\n').try_for_each(&mut item)?;
        rest.drain(..=end);
    }
    item(&rest)
}
