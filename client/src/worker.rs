//! The worker session: the WebSocket that a process speaks with the daemon when it runs attempts.
//!
//! [`connect`] says hello and waits for the welcome; then a [`Session`] has two halves that can be used at
//! the same time. A session that has broken stays broken: its owner connects again, pausing as [`Backoff`]
//! says, and sends again what was not acknowledged.
//!
//! This module does NOT run anything, and does not remember reports.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use orchd_api::{FromWorker, ToWorker, WorkerHello, routes};
use orchd_model::{Refusal, Span, WorkerId, limits};
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Why there is no session, or no longer one.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody listens on the socket.
    #[error("the daemon is not reachable: {0}")]
    Unreachable(#[source] std::io::Error),
    /// The WebSocket failed.
    #[error("the worker session failed: {0}")]
    WebSocket(#[source] Box<tungstenite::Error>),
    /// The daemon has ended the session.
    #[error("the daemon has closed the worker session")]
    Closed,
    /// The daemon said what cannot be understood.
    #[error("the daemon sent a message that cannot be read: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// The daemon does not grant what this client claims.
    #[error(transparent)]
    Refused(Refusal),
    /// The daemon said something else than welcome.
    #[error("the daemon did not answer the hello with a welcome")]
    Unwelcome,
}

impl From<tungstenite::Error> for SessionError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => Self::Closed,
            error => Self::WebSocket(Box::new(error)),
        }
    }
}

/// A session that the daemon has welcomed.
#[derive(Debug)]
pub struct Session {
    /// The id that the daemon knows this worker by.
    pub worker: WorkerId,
    /// What the worker holds is lost when nothing is heard of it for this long.
    pub lease: Span,
    /// To the daemon.
    pub sender: Sender,
    /// From the daemon.
    pub receiver: Receiver,
}

/// The half of a session that reports.
#[derive(Debug)]
pub struct Sender {
    sink: SplitSink<WebSocketStream<UnixStream>, Message>,
}

/// The half of a session that gets work.
#[derive(Debug)]
pub struct Receiver {
    stream: SplitStream<WebSocketStream<UnixStream>>,
}

/// Opens a session: connects to the daemon's socket, says hello, and waits for the welcome.
///
/// # Errors
/// [`SessionError`]; all of them may pass, and the next try may do better.
pub async fn connect(socket: &Path, hello: WorkerHello) -> Result<Session, SessionError> {
    let stream = UnixStream::connect(socket).await.map_err(SessionError::Unreachable)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits::FRAME_BYTES))
        .max_frame_size(Some(limits::FRAME_BYTES));
    let url = format!("ws://localhost{}", routes::WORKERS_SESSION);
    let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
    let (sink, stream) = socket.split();
    let (mut sender, mut receiver) = (Sender { sink }, Receiver { stream });
    sender.send(&FromWorker::Hello(hello)).await?;
    match receiver.receive().await? {
        ToWorker::Welcome { worker, lease } => Ok(Session { worker, lease, sender, receiver }),
        ToWorker::Refused { refusal } => Err(SessionError::Refused(refusal)),
        ToWorker::Assign { .. }
        | ToWorker::Recall { .. }
        | ToWorker::Stop { .. }
        | ToWorker::Ack { .. }
        | ToWorker::Slots { .. }
        | ToWorker::Loosened { .. }
        | ToWorker::Exit => Err(SessionError::Unwelcome),
    }
}

impl Sender {
    /// Sends one message. A future that was dropped may have sent a part of it, which ends the session.
    ///
    /// # Errors
    /// When the session is broken.
    pub async fn send(&mut self, message: &FromWorker) -> Result<(), SessionError> {
        let text = serde_json::to_string(message).map_err(SessionError::Unreadable)?;
        Ok(self.sink.send(Message::text(text)).await?)
    }

    /// Ends the session politely.
    ///
    /// # Errors
    /// When the session is broken.
    pub async fn close(&mut self) -> Result<(), SessionError> {
        Ok(self.sink.close().await?)
    }
}

impl Receiver {
    /// Waits until the daemon has closed the session; false when the connection broke instead.
    #[cfg(feature = "claims")]
    pub(crate) async fn until_closed(&mut self) -> bool {
        let mut closed = false;
        while let Some(Ok(message)) = self.stream.next().await {
            closed |= matches!(message, Message::Close(_));
        }
        closed
    }

    /// Waits for the next message. The future may be dropped without a loss.
    ///
    /// # Errors
    /// When the session is broken or a message cannot be read.
    pub async fn receive(&mut self) -> Result<ToWorker, SessionError> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(SessionError::Unreadable);
                }
                Some(Ok(Message::Close(_))) | None => return Err(SessionError::Closed),
                // Pings are answered underneath.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }
}

/// Pauses between tries to connect: 5 ms at first, since a daemon that restarts is soon back, doubling up to
/// half a second.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_millis(500);

    /// How long to pause before the next try.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// One whose pauses do not grow beyond this.
    #[must_use]
    pub fn up_to(longest: Duration) -> Self {
        Self { longest, ..Self::default() }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::FIRST, longest: Self::LONGEST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_second() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..9).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 500, 500]);
    }
}
