//! Connections to the daemon: opened when needed, kept for the next request, opened again when they break.
//!
//! ```text
//! ask ── take an idle connection, or open one: connect, then a cheap request that proves a daemon answers
//!  │
//!  ├─ not sent (no daemon, connection already closed) ── wait, again
//!  ├─ sent, no answer ── again only when the request may be repeated
//!  └─ answer ── the connection goes back; success, or the typed refusal
//! ```
//! A socket that accepts and says nothing is found out by the cheap request within the connect timeout, so
//! requests that may last (waits, streams) need no limit of their own. A client that has never been
//! connected does not wait for a daemon to come.
//!
//! Who has one request and no time to ask first sends it at once ([`Transport::lazy`]); the cheap request
//! follows on a connection of its own only if the answer is late.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use orchd_api::{Problem, routes};
use orchd_model::{Code, limits};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::{Error, Settings, socket};

/// Idle connections kept: a client with more requests at once opens more and closes them after use.
const IDLE: usize = 8;

/// An answer that takes longer than this is late: then it is looked whether a daemon answers at all.
const LATE: Duration = Duration::from_millis(100);

pub(crate) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;
pub(crate) type Connection = http1::SendRequest<RequestBody>;

/// One request that can be sent any number of times.
#[derive(Clone)]
pub(crate) struct Call {
    method: Method,
    target: String,
    body: Option<Bytes>,
    /// Asking twice has the effect of asking once.
    repeatable: bool,
    /// The answer may take as long as it likes.
    patient: bool,
    /// The answer is wanted as server-sent events.
    events: bool,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            target: path.into(),
            body: None,
            repeatable: true,
            patient: false,
            events: false,
        }
    }

    pub(crate) fn query(path: &str, query: &impl Serialize) -> Result<Self, Error> {
        let query = serde_urlencoded::to_string(query).map_err(|e| Error::Protocol(e.to_string()))?;
        let separator = if query.is_empty() { "" } else { "?" };
        Ok(Self::get(format!("{path}{separator}{query}")))
    }

    pub(crate) fn post(path: impl Into<String>, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(|e| Error::Protocol(e.to_string()))?;
        Ok(Self { method: Method::POST, body: Some(body.into()), repeatable: false, ..Self::get(path) })
    }

    pub(crate) fn repeatable(self, repeatable: bool) -> Self {
        Self { repeatable, ..self }
    }

    pub(crate) fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    pub(crate) fn events(self) -> Self {
        Self { events: true, ..self }
    }

    fn request(&self) -> Result<Request<RequestBody>, Error> {
        let mut request =
            Request::builder().method(&self.method).uri(&self.target).header(header::HOST, "orchd");
        if self.events {
            request = request.header(header::ACCEPT, "text/event-stream");
        }
        if self.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(self.body.clone().unwrap_or_default()).map_err(|never| match never {});
        request.body(body.boxed_unsync()).map_err(|e| Error::Protocol(e.to_string()))
    }
}

/// Why a request has no answer, by what may be done about it.
pub(crate) enum Fault {
    /// The daemon has not seen it.
    Unsent(Error),
    /// The daemon may have acted on it.
    Lost(Error),
    /// It was answered, or asking again would not help.
    Final(Error),
}

impl Fault {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Unsent(error) | Self::Lost(error) | Self::Final(error) => error,
        }
    }
}

/// The connections to one daemon.
pub(crate) struct Transport {
    socket: PathBuf,
    settings: Settings,
    idle: Mutex<Vec<Connection>>,
    /// A daemon has answered here at least once.
    met: AtomicBool,
    /// The first request goes out before anything has answered.
    lazy: bool,
    /// Who is told that a connection is lost.
    on_outage: Mutex<Option<OnOutage>>,
}

/// What is done when a connection is lost that is to be got back.
pub(crate) type OnOutage = Arc<dyn Fn() + Send + Sync>;

impl Transport {
    pub(crate) fn new(socket: PathBuf, settings: Settings) -> Self {
        let (idle, on_outage) = (Mutex::default(), Mutex::default());
        Self { socket, settings, idle, met: AtomicBool::new(false), lazy: false, on_outage }
    }

    /// Connections that are opened for the first request, and not asked before it.
    pub(crate) fn lazy(socket: PathBuf, settings: Settings) -> Self {
        Self { lazy: true, ..Self::new(socket, settings) }
    }

    pub(crate) fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.settings.reconnect_for)
    }

    /// From now on this is done at the beginning of each outage.
    pub(crate) fn on_outage(&self, tell: OnOutage) {
        *self.on_outage.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
    }

    /// The daemon is away and will be looked for: that is told once in an outage.
    pub(crate) fn tell_outage(&self, backoff: &mut Backoff) {
        let tell = self.on_outage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(tell) = tell
            && backoff.is_news()
        {
            tell();
        }
    }

    /// Whether an outage may end: there was a daemon before.
    pub(crate) fn has_met_daemon(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    /// An idle connection, or a new one.
    pub(crate) async fn connection(&self) -> Result<Connection, Error> {
        // The task of a connection sees that the daemon closed it only when it is polled.
        tokio::task::yield_now().await;
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(mut connection) = idle() {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        self.open().await
    }

    pub(crate) fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE && !connection.is_closed() {
            idle.push(connection);
        }
    }

    fn unreachable(&self, source: io::Error) -> Error {
        Error::Unreachable { socket: self.socket.clone(), source }
    }

    /// Connects, within the time for that, and does on the connection what shall be done first.
    async fn within_time<T>(&self, connecting: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
        timeout(self.settings.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(self.unreachable(silent())))
    }

    async fn dial(&self) -> Result<Connection, Error> {
        socket::check_owner(&self.socket).map_err(|error| self.unreachable(error))?;
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(error))?;
        let (connection, task) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // The task ends when the connection is closed or no longer used; its errors reach the requests.
        tokio::spawn(async move { task.await.ok() });
        Ok(connection)
    }

    /// Opens a connection on which a daemon has answered.
    async fn open(&self) -> Result<Connection, Error> {
        let connecting = async {
            let mut connection = self.dial().await?;
            let probe = Call::get(routes::DAEMON).request()?;
            let answer = connection.send_request(probe).await.map_err(|error| self.unanswered(error))?;
            let answer = checked(answer).await.map_err(Fault::into_error)?;
            // From here on a connection that breaks is an outage.
            self.met.store(true, Ordering::Relaxed);
            answer.into_body().collect().await.map_err(broken)?;
            connection.ready().await.map_err(broken)?;
            Ok(connection)
        };
        self.within_time(connecting).await
    }

    /// A first connection. A daemon that has answered and dies at once is waited for as in any outage.
    pub(crate) async fn first_connection(&self) -> Result<Connection, Error> {
        let mut backoff = self.backoff();
        loop {
            match self.connection().await {
                Err(error @ (Error::Unreachable { .. } | Error::Io(_))) if self.has_met_daemon() => {
                    if !backoff.pause().await {
                        return Err(error);
                    }
                }
                ended => return ended,
            }
        }
    }

    /// The error of the first request on a connection.
    fn unanswered(&self, error: hyper::Error) -> Error {
        if error.is_parse() {
            Error::Protocol("what listens there does not speak HTTP".to_owned())
        } else {
            self.unreachable(io::Error::other(error))
        }
    }

    /// Sends the very first request. When its answer is late, another connection tells whether there is a
    /// daemon; one that answers there is only slow.
    async fn first_head(&self, call: &Call) -> Result<(Response<Incoming>, Connection), Fault> {
        let request = call.request().map_err(Fault::Final)?;
        let mut connection = self.within_time(self.dial()).await.map_err(Fault::Final)?;
        let mut sent = pin!(connection.try_send_request(request));
        let answer = tokio::select! {
            answer = &mut sent => answer,
            () = sleep(LATE) => {
                self.give_back(self.open().await.map_err(Fault::Final)?);
                self.answer_in_time(call, sent).await?
            }
        };
        let answer = answer.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            let error = error.into_error();
            if unsent || error.is_parse() {
                return Fault::Final(self.unanswered(error));
            }
            Fault::Lost(broken(error))
        })?;
        self.met.store(true, Ordering::Relaxed);
        Ok((checked(answer).await?, connection))
    }

    /// Waits for the answer, as long as this request may last.
    async fn answer_in_time<T>(&self, call: &Call, sent: impl Future<Output = T>) -> Result<T, Fault> {
        if call.patient || call.events {
            return Ok(sent.await);
        }
        timeout(self.settings.request_timeout, sent).await.map_err(|_| Fault::Final(Error::Timeout))
    }

    /// Sends a request once and reads the head of the answer; an error status is an error.
    pub(crate) async fn head(&self, call: &Call) -> Result<(Response<Incoming>, Connection), Fault> {
        if self.lazy && !self.has_met_daemon() {
            return self.first_head(call).await;
        }
        let request = call.request().map_err(Fault::Final)?;
        let mut connection = self.connection().await.map_err(|error| match error {
            Error::Refused(_) | Error::Protocol(_) => Fault::Final(error),
            Error::Unreachable { .. } | Error::Timeout | Error::Io(_) => Fault::Unsent(error),
        })?;
        let answer = self.answer_in_time(call, connection.try_send_request(request)).await?;
        let answer = answer.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            let error = broken(error.into_error());
            match error {
                Error::Protocol(_) => Fault::Final(error),
                _ if unsent => Fault::Unsent(error),
                _ => Fault::Lost(error),
            }
        })?;
        Ok((checked(answer).await?, connection))
    }

    async fn once(&self, call: &Call) -> Result<Bytes, Fault> {
        let (answer, connection) = self.head(call).await?;
        let body = answer.into_body().collect().await.map_err(|e| Fault::Lost(broken(e)))?;
        self.give_back(connection);
        Ok(body.to_bytes())
    }

    /// Sends a request, again where that is safe, and reads the whole answer. The request is made anew for
    /// each try.
    async fn bytes_again(&self, mut call: impl FnMut() -> Result<Call, Error>) -> Result<Bytes, Error> {
        let mut backoff = self.backoff();
        loop {
            let call = call()?;
            let fault = match self.once(&call).await {
                Ok(bytes) => return Ok(bytes),
                Err(fault) => fault,
            };
            let error = match fault {
                Fault::Unsent(error) if self.has_met_daemon() => error,
                Fault::Lost(error) if call.repeatable => {
                    backoff.reset();
                    error
                }
                // A wait outlives the daemon that it began with.
                Fault::Final(error) if call.patient && error.code() == Some(Code::ShuttingDown) => error,
                Fault::Unsent(error) | Fault::Lost(error) | Fault::Final(error) => return Err(error),
            };
            self.tell_outage(&mut backoff);
            if !backoff.pause().await {
                return Err(error);
            }
        }
    }

    pub(crate) async fn bytes(&self, call: Call) -> Result<Bytes, Error> {
        self.bytes_again(|| Ok(call.clone())).await
    }

    pub(crate) async fn ask_again<T: DeserializeOwned>(
        &self,
        call: impl FnMut() -> Result<Call, Error>,
    ) -> Result<T, Error> {
        let bytes = self.bytes_again(call).await?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(bytes).map_err(|e| Error::Protocol(e.to_string()))
    }

    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        self.ask_again(|| Ok(call.clone())).await
    }
}

/// An error of hyper: what came is no HTTP, or the connection broke.
pub(crate) fn broken(error: hyper::Error) -> Error {
    if error.is_parse() { Error::Protocol(error.to_string()) } else { Error::Io(io::Error::other(error)) }
}

/// Reads the refusal out of an answer with an error status.
pub(crate) async fn checked(answer: Response<Incoming>) -> Result<Response<Incoming>, Fault> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let limited = http_body_util::Limited::new(answer.into_body(), limits::FRAME_BYTES);
    let body = limited.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Err(Fault::Final(refusal(status, &body)))
}

fn refusal(status: StatusCode, body: &[u8]) -> Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Error::Refused(problem.refusal),
        Err(_) => {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            Error::Protocol(format!("{status}: {}", text.trim()).trim_end_matches(": ").to_owned())
        }
    }
}
