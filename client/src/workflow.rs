//! Submitting a workflow line by line: its head, then one task a line, written as the daemon takes them.
//!
//! What all commands share is in the head once. When the sender gives up, the request is cut off and not ended,
//! so that half a workflow is never taken for a whole one.

use futures_util::stream;
use http::{Request, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use orchd_api::{WorkflowAdded, WorkflowHead, routes};
use orchd_model::{Env, TaskSpec, WorkflowSpec};
use std::io;
use std::pin::pin;
use tokio::sync::mpsc;

use crate::Error;
use crate::bulk::{PIECE_BYTES, Piece, QUEUE};
use crate::connection::{Connection, Fault, Transport, broken, checked};

pub(crate) async fn submit(transport: &Transport, spec: &WorkflowSpec) -> Result<WorkflowAdded, Error> {
    let connection = transport.connection().await?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut writing = pin!(write(spec, sender));
    let mut asking = pin!(ask(connection, receiver));
    let (connection, added) = tokio::select! {
        asked = &mut asking => asked?,
        written = &mut writing => {
            written?;
            asking.await?
        }
    };
    transport.give_back(connection);
    Ok(added)
}

/// The variables that all commands have, if the first one's are among those of each other.
fn shared(tasks: &[TaskSpec]) -> Env {
    let mut processes = tasks.iter().filter(|task| task.body.is_process());
    let Some(first) = processes.next().map(|task| &task.env) else { return Env::default() };
    let is_among = |env: &Env| env.is_same(first) || first.keys().all(|name| env.contains_key(name));
    if processes.all(|task| is_among(&task.env)) { first.clone() } else { Env::default() }
}

async fn write(spec: &WorkflowSpec, sender: mpsc::Sender<Piece>) -> Result<(), Error> {
    let wrong = |error: serde_json::Error| Error::Protocol(error.to_string());
    let env = shared(&spec.tasks);
    let head = WorkflowHead {
        spec: spec.without_tasks(),
        env: env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        cwd: None,
    };
    let mut lines = serde_json::to_vec(&head).map_err(wrong)?;
    lines.push(b'\n');
    for task in &spec.tasks {
        if task.env.is_same(&env) {
            serde_json::to_writer(&mut lines, &task.without_env()).map_err(wrong)?;
        } else {
            serde_json::to_writer(&mut lines, task).map_err(wrong)?;
        }
        lines.push(b'\n');
        // An error means that the daemon has answered for good.
        if lines.len() >= PIECE_BYTES
            && sender.send(Piece::Lines(std::mem::take(&mut lines).into())).await.is_err()
        {
            return Ok(());
        }
    }
    if sender.send(Piece::Lines(lines.into())).await.is_ok() {
        sender.send(Piece::End).await.ok();
    }
    Ok(())
}

async fn ask(
    mut connection: Connection,
    receiver: mpsc::Receiver<Piece>,
) -> Result<(Connection, WorkflowAdded), Error> {
    let pieces = stream::unfold(receiver, |mut receiver| async {
        match receiver.recv().await {
            Some(Piece::Lines(lines)) => Some((Ok(Frame::data(lines)), receiver)),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::other("the sender gave up")), receiver)),
        }
    });
    let request = Request::post(routes::WORKFLOWS)
        .header(header::HOST, "orchd")
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(StreamBody::new(pieces).boxed_unsync())
        .map_err(|e| Error::Protocol(e.to_string()))?;
    let answer = connection.send_request(request).await.map_err(broken)?;
    let answer = checked(answer).await.map_err(Fault::into_error)?;
    let body = answer.into_body().collect().await.map_err(broken)?.to_bytes();
    let added = serde_json::from_slice(&body).map_err(|e| Error::Protocol(e.to_string()))?;
    Ok((connection, added))
}
