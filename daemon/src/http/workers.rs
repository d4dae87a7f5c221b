//! Workers: who is connected, and the session that each of them holds.

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::SinkExt;
use orchd_api::{FromWorker, PROTOCOL, ToWorker, Worker, WorkerHello};
use orchd_core::{Command, Join, WorkerNote};
use orchd_model::{Code, Refusal, WorkerId, limits};
use std::sync::Arc;
use tokio::sync::mpsc;

use super::answer::{Answered, json, refused_with};
use super::{Shell, claimants};
use crate::absent::PeerProcess;
use crate::engine::{Joining, Request};
use crate::peer::Peer;
use crate::sessions::{SessionLink, is_resizable};
use crate::told::Told;

/// Every worker that is connected or may still hold attempts.
pub async fn list(State(shell): State<Arc<Shell>>) -> Answered<Vec<Worker>> {
    // A client with an ad-hoc claim runs nothing of anybody's: it is shown as a holder.
    let workers = shell.look(|core| core.workers().into_iter().filter(|w| !w.claimant).collect::<Vec<_>>());
    let document = |view: orchd_core::WorkerView| {
        let connected = shell.sessions.hello(view.id);
        Worker {
            id: view.id,
            kind: view.note.kind.to_string(),
            pid: view.note.pid,
            slots: view.slots,
            used: u32::try_from(view.tasks.len()).unwrap_or(u32::MAX),
            handlers: view.handlers,
            labels: view.note.labels.iter().map(ToString::to_string).collect(),
            connected_at: connected.as_ref().map(|(_, at)| *at),
            attempts: view.tasks,
        }
    };
    json(workers.await?.into_iter().map(document).collect())
}

/// Begins a worker session.
pub async fn session(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return not_a_websocket(&rejection),
    };
    upgrade.max_message_size(limits::FRAME_BYTES).max_frame_size(limits::FRAME_BYTES).on_upgrade(
        move |socket| async move {
            if let Err(message) = talk(shell, socket, peer).await {
                tracing::warn!(message, "a worker session ended badly");
            }
        },
    )
}

fn not_a_websocket(rejection: &WebSocketUpgradeRejection) -> Response {
    let refusal =
        Refusal::new(Code::Unsupported, "this path is a WebSocket").value(rejection.body_text()).hint(
            "send Connection: upgrade, Upgrade: websocket, Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key",
        );
    let mut response = refused_with(StatusCode::UPGRADE_REQUIRED, refusal);
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
}

async fn talk(shell: Arc<Shell>, mut socket: WebSocket, peer: Peer) -> Result<(), String> {
    let hello = match receive(&mut socket).await? {
        Some(FromWorker::Hello(hello)) if hello.protocol == PROTOCOL => hello,
        Some(FromWorker::Hello(hello)) => return Err(format!("a worker speaks protocol {}", hello.protocol)),
        Some(_) => return Err("a worker did not begin with hello".to_owned()),
        None => return Ok(()),
    };
    let (is_process, is_claimant) = (hello.kind == "process", claimants::is_claimant(&hello));
    // What a worker of ours leaves is ended before its claims are free; of a claimant nothing is left.
    let process = if is_process || is_claimant { None } else { PeerProcess::of(peer) };
    // One that was started by an earlier daemon may have been given another number.
    let slots =
        Some(shell.live.config().slots).filter(|_| is_resizable(&hello)).filter(|s| *s != hello.slots);
    let join = match joining(&hello, slots, peer) {
        Ok(join) => join,
        Err(refusal) => return send(&mut socket, &ToWorker::Refused { refusal }).await,
    };
    let (link, receiver) = shell.sessions.link(hello);
    let number = link.number;
    let joining = link.clone();
    let worker = match shell.ask(|answer| Request::Join { join, link: joining, answer }).await {
        Ok(worker) => worker,
        Err(refusal) if is_claimant => return send(&mut socket, &ToWorker::Refused { refusal }).await,
        Err(refusal) => return Err(refusal.to_string()),
    };
    tracing::info!(%worker, "worker connected");
    if let Some(slots) = slots {
        shell.sessions.send(worker, ToWorker::Slots { slots });
    }
    let ended = tokio::select! {
        ended = relay(&shell, &mut socket, worker, &link, receiver) => ended,
        () = link.cut() => Err(format!("worker {worker} does not read its messages: disconnected")),
    };
    // A daemon that stops leaves its workers as they are. A later connection may have taken over.
    if !*shell.stopping.borrow() && shell.sessions.close(worker, number) {
        tracing::info!(%worker, "worker disconnected");
        let command = Command::Detach { worker };
        // When its socket closes, what a client has claimed is free on disk, too. It may have been before.
        let detached = shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await;
        detached.map(drop).or_else(not_known).map_err(|refusal| refusal.to_string())?;
        // Answers the worker's own goodbye, if it said one.
        drop(socket.close().await);
        if is_process {
            shell.fence.disconnected(worker);
        }
        if let Some(process) = process {
            tokio::spawn(lose_with(shell, worker, process));
        }
    }
    ended
}

/// Loses a worker that is not connected when its process ends; if it is not back by then, and its lease not over.
async fn lose_with(shell: Arc<Shell>, worker: WorkerId, process: PeerProcess) {
    let mut stopping = shell.stopping.clone();
    let has_ended = tokio::select! {
        has_ended = process.ends_within(shell.sessions.lease.into()) => has_ended,
        () = super::until_stopped(&mut stopping) => false,
    };
    if !has_ended || shell.sessions.hello(worker).is_some() {
        return;
    }
    tracing::info!(%worker, "the process of a worker has ended");
    let command = Command::Lose { worker, began: None };
    let lost = shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await;
    if let Err(refusal) = lost.map(drop).or_else(not_known) {
        tracing::warn!(%worker, %refusal, "a worker could not be given up: its lease decides");
    }
}

/// A worker that has gone with its last task is not known any more.
fn not_known(refusal: Refusal) -> Result<(), Refusal> {
    if refusal.code == Code::NotFound { Ok(()) } else { Err(refusal) }
}

/// Who says hello, if it may: what others run is for admins, what it claims for itself is for everybody.
fn joining(hello: &WorkerHello, slots: Option<u32>, peer: Peer) -> Result<Joining, Refusal> {
    let join = join_of(hello);
    if claimants::is_claimant(hello) {
        return Ok(Joining::Claimant(claimants::new_claim(hello, join, peer)?));
    }
    if peer.only_owner().is_some() {
        return Err(Refusal::new(Code::NotPermitted, "only an admin may run tasks").value(&*hello.kind));
    }
    Ok(Joining::Worker(Join { slots: slots.unwrap_or(hello.slots), ..join }))
}

fn join_of(hello: &WorkerHello) -> Join {
    Join {
        incarnation: hello.incarnation,
        slots: hello.slots,
        process: hello.kind == "process",
        handlers: hello.handlers.iter().map(|handler| handler.as_str().into()).collect(),
        holds: hello.attempts.iter().map(|attempt| attempt.token).collect(),
        note: WorkerNote {
            kind: hello.kind.as_str().into(),
            pid: hello.pid,
            labels: hello.labels.iter().map(|label| label.as_str().into()).collect(),
        },
    }
}

/// Both directions, until either side ends.
async fn relay(
    shell: &Arc<Shell>,
    socket: &mut WebSocket,
    worker: WorkerId,
    link: &SessionLink,
    mut outgoing: mpsc::Receiver<ToWorker>,
) -> Result<(), String> {
    let mut stopping = shell.stopping.clone();
    loop {
        tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => send(socket, &message).await?,
                None => return Ok(()),
            },
            message = receive(socket) => match message? {
                Some(message) => take(shell, worker, link, message).await?,
                None => return Ok(()),
            },
            () = super::until_stopped(&mut stopping) => return Ok(()),
        }
    }
}

async fn take(
    shell: &Arc<Shell>,
    worker: WorkerId,
    link: &SessionLink,
    message: FromWorker,
) -> Result<(), String> {
    let request = match message {
        FromWorker::Hello(_) => return Err("a worker said hello twice".to_owned()),
        FromWorker::Loosen { token, resource, kept } => {
            let name = resource.clone();
            let command = Command::Loosen { worker, token, resource, kept };
            let loosened = shell.ask(|answer| Request::Command { command, answer: Some(answer) }).await;
            // One that does not read is disconnected as soon as it is sent something else.
            link.send(ToWorker::Loosened { token, resource: name, refusal: loosened.err() });
            return Ok(());
        }
        FromWorker::Heartbeat => Request::Command { command: Command::Heartbeat { worker }, answer: None },
        FromWorker::Report { started, ended, unbegun, progress, said } => {
            for attempt in &started {
                shell.sessions.started(attempt.token, attempt.spool);
            }
            let begun = started.iter().map(|attempt| (attempt.token, attempt.ago)).collect();
            let told = Told { said, begun, ended, unbegun, progress };
            Request::Reports { worker, told, link: link.clone() }
        }
    };
    shell.send(request).await.map_err(|refusal| refusal.to_string())
}

async fn send(socket: &mut WebSocket, message: &ToWorker) -> Result<(), String> {
    let text = serde_json::to_string(message).map_err(|error| error.to_string())?;
    socket.send(Message::Text(Utf8Bytes::from(text))).await.map_err(|error| error.to_string())
}

/// The next message; none when the worker has closed the connection.
async fn receive(socket: &mut WebSocket) -> Result<Option<FromWorker>, String> {
    loop {
        let text = match socket.recv().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Binary(_))) => return Err("a worker sent something that is no text".to_owned()),
            // A connection that breaks is no mistake of anybody's.
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(None),
        };
        return serde_json::from_str(&text).map(Some).map_err(|error| format!("a worker's message: {error}"));
    }
}
