//! The API: HTTP/1.1 and JSON over the Unix socket.
//!
//! Each file holds the handlers of one noun. A handler decodes, asks the engine or the store, and encodes;
//! it decides nothing.

mod answer;
mod cancelled;
mod claimants;
mod cut;
pub mod definitions;
mod drain;
mod edit;
mod element_names;
pub mod event_rows;
mod events;
mod guard;
mod hooks;
mod lines;
mod logs;
pub mod named_session;
mod openapi;
mod operate;
mod pages;
mod places;
mod progress;
mod publish;
mod queries;
mod report;
mod rest;

pub mod list;
mod schedules;
mod steer;
mod store;
pub mod tasks;
mod wait;
mod workers;
mod workflow_lines;
mod workflow_runs;
mod workflows;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use crossbeam_channel::{Sender, TrySendError};
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use orchd_api::routes;
use orchd_core::Core;
use orchd_model::{Code, Refusal, limits};
use parking_lot::RwLock;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tower_service::Service;

use places::{Answering, Ask, Place, Places};
use rest::Received;

use crate::clock::Clock;
use crate::engine::{Answer, Request};
use crate::feed::Feed;
use crate::hooks::Hook;
use crate::live::Live;
use crate::local_worker::Fence;
use crate::peer::Peer;
use crate::readers::Readers;
use crate::schedules::Nudge;
use crate::sessions::Sessions;
use crate::shutdown::Shutdown;
use crate::statistics::Statistics;

/// A client must send its request's head within this time; a silent connection holds nothing but itself.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A daemon that ends lets answers that are on their way be read for so long.
const GOODBYE: Duration = Duration::from_secs(1);
/// Connections that are turned away and have not heard why yet; each costs as much as one that is served. Whoever says
/// what it wants hears it at once, so it is those who do not that are forgotten for later ones.
const TURNED_AWAY: usize = 64;
/// How long one that is turned away may take to ask and to hear why.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(5);

/// All that handlers need.
pub struct Shell {
    pub engine: Sender<Request>,
    pub readers: Readers,
    pub sessions: Arc<Sessions>,
    pub feed: Arc<Feed>,
    pub statistics: Arc<RwLock<Statistics>>,
    pub clock: Clock,
    pub live: Arc<Live>,
    pub state_dir: PathBuf,
    pub fence: Fence,
    pub hooks: Vec<Arc<Hook>>,
    pub shutdown: Shutdown,
    /// Wakes the keeper of schedules.
    pub schedules: Nudge,
    /// True once the daemon stops: streams end.
    pub stopping: watch::Receiver<bool>,
}

impl Shell {
    /// Asks the engine and waits until what it did is durable. Refuses with `busy` when its inbox is full.
    ///
    /// # Errors
    /// The engine's refusal, `busy`, or `shutting_down`.
    pub async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.send(request(answer)).await?;
        answered.await.map_err(|_| stopped())?
    }

    /// Hands a request to the engine; waits a little while its inbox is full.
    ///
    /// # Errors
    /// `busy` when the inbox stays full, `shutting_down` when there is no engine any more.
    pub async fn send(&self, request: Request) -> Result<(), Refusal> {
        let mut request = request;
        let mut pause = Duration::from_millis(1);
        while pause < Duration::from_secs(8) {
            match self.engine.try_send(request) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(stopped()),
                Err(TrySendError::Full(back)) => request = back,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(Refusal::new(Code::Busy, "the daemon has more requests than it can take").hint("try again later"))
    }

    /// Looks at the scheduler.
    ///
    /// # Errors
    /// As [`Shell::send`].
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        // A client that went away no longer listens.
        self.send(Request::Inspect(Box::new(move |core| drop(answer.send(look(core)))))).await?;
        answered.await.map_err(|_| stopped())
    }

    /// Reads from the store on a thread that may block.
    ///
    /// # Errors
    /// `store_failed`.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&mut dyn orchd_store::History) -> Result<T, orchd_store::StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let shell = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || shell.readers.read(query));
        read.await.unwrap_or_else(|_| Err(Refusal::new(Code::StoreFailed, "reading the store failed")))
    }
}

/// Returns once the daemon stops.
pub async fn until_stopped(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone has stopped, too.
    drop(stopping.wait_for(|stops| *stops).await);
}

fn stopped() -> Refusal {
    Refusal::new(Code::ShuttingDown, "the daemon is stopping")
}

fn router(shell: Arc<Shell>) -> Router {
    Router::new()
        .route(routes::DAEMON, get(operate::daemon))
        .route(routes::OPENAPI, get(openapi::openapi))
        .route(routes::TASKS, post(tasks::add).get(list::list))
        .route(routes::TASK, get(tasks::show))
        .route(routes::TASK_SPEC, get(edit::spec).post(edit::replace))
        .route(routes::TASK_EXPLAIN, get(tasks::explain))
        .route(routes::TASK_LOGS, get(logs::logs))
        .route(routes::TASKS_CANCEL, post(operate::cancel))
        .route(routes::TASKS_RETRY, post(operate::retry))
        .route(routes::TASKS_HOLD, post(steer::hold))
        .route(routes::TASKS_RELEASE, post(steer::release))
        .route(routes::TASKS_REPRIORITIZE, post(steer::reprioritize))
        .route(routes::TASKS_PROGRESS, post(progress::progress))
        .route(routes::TASKS_WAIT, post(wait::wait))
        .route(routes::STATS, get(operate::stats))
        .route(routes::REPORT, get(report::report))
        .route(routes::REPORT_TASKS, get(report::tasks))
        .route(routes::RESOURCES, get(operate::resources).post(steer::set_resource))
        .route(routes::RESOURCES_THROTTLE, post(steer::throttle))
        .route(routes::RESOURCES_CLOSE, post(steer::close))
        .route(routes::RESOURCES_OPEN, post(steer::open))
        .route(routes::RESOURCES_SETTLE, post(steer::settle))
        .route(routes::WORKERS, get(workers::list))
        .route(routes::WORKERS_SESSION, get(workers::session))
        .route(routes::EVENTS, get(events::events).post(publish::publish))
        .route(routes::HOOKS, get(hooks::list))
        .route(routes::HOOKS_DEAD, get(hooks::dead))
        .route(routes::HOOKS_RETRY, post(hooks::retry))
        .route(routes::HOOKS_DROP, post(hooks::discard))
        .route(routes::WORKFLOWS, post(workflows::add).get(workflows::list))
        .route(routes::WORKFLOW, get(workflows::show))
        .route(routes::WORKFLOW_STUCK, get(workflows::stuck))
        .route(routes::WORKFLOW_RESUME, post(workflow_runs::resume))
        .route(routes::WORKFLOW_RERUN, post(workflow_runs::rerun))
        .route(routes::DEFINITIONS, post(definitions::put).get(definitions::list))
        .route(routes::DEFINITIONS_SHOW, get(definitions::show))
        .route(routes::DEFINITIONS_REMOVE, post(definitions::remove))
        .route(routes::DEFINITIONS_RUN, post(definitions::run))
        .route(routes::DURATIONS, get(definitions::durations))
        .route(routes::SESSIONS, post(named_session::create).get(named_session::list))
        .route(routes::SESSION, get(named_session::show))
        .route(routes::SESSION_CLOSE, post(named_session::close))
        .route(routes::SCHEDULES, post(schedules::add).get(schedules::list))
        .route(routes::SCHEDULES_REMOVE, post(schedules::remove))
        .route(routes::SCHEDULES_PAUSE, post(schedules::pause))
        .route(routes::SCHEDULES_RESUME, post(schedules::resume))
        .route(routes::SCHEDULES_RUN, post(schedules::run))
        .route(routes::PAUSE, post(operate::pause))
        .route(routes::RESUME, post(operate::resume))
        .route(routes::DRAIN, post(drain::drain))
        .route(routes::STORE_BACKUP, post(store::backup))
        .route(routes::STORE_CHECK, post(store::check))
        .route(routes::SHUTDOWN, post(operate::shutdown))
        .fallback(answer::no_such_route)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(axum::middleware::from_fn(queries::refuse_unread))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shell), guard::guard))
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
        .with_state(shell)
}

/// Serves connections until the daemon stops.
pub async fn serve(listener: UnixListener, shell: Arc<Shell>) {
    let (places, mut turned_away) = (Places::default(), VecDeque::new());
    // Each connection has a part of it until it ends.
    let (connected, mut all_gone) = mpsc::channel::<Infallible>(1);
    let mut stopping = shell.stopping.clone();
    let live = Arc::clone(&shell.live);
    let router = router(shell);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until_stopped(&mut stopping) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, most likely: those who are connected go first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let config = live.config();
        let entered = match Peer::of(&stream, &config.access) {
            Ok(peer) => places.enter(&peer).await.map(|place| (peer, place)),
            Err(refusal) => Err(refusal),
        };
        match entered {
            Ok((peer, (place, asked))) => {
                let (router, stopping, connected) = (router.clone(), stopping.clone(), connected.clone());
                tokio::spawn(async move {
                    let staying = Staying { place: Arc::new(place), asked, stopping };
                    // The place is free before who needs it looks again.
                    drop((talk(stream, peer, router, staying).await, connected));
                });
            }
            Err(refusal) => {
                if turned_away.len() == TURNED_AWAY {
                    turned_away.pop_front().inspect(AbortHandle::abort);
                }
                turned_away.push_back(tokio::spawn(turn_away(stream, refusal)).abort_handle());
            }
        }
    }
    drop(connected);
    // Who was answered, above all who asked for the end, has its answer before the process ends.
    if tokio::time::timeout(GOODBYE, all_gone.recv()).await.is_err() {
        tracing::debug!("some connections are left that do not read, or do not come to an end");
    }
}

/// What keeps a connection, and what ends it.
struct Staying {
    place: Arc<Place>,
    /// Somebody needs its place.
    asked: mpsc::Receiver<Ask>,
    stopping: watch::Receiver<bool>,
}

/// Serves a connection to its end; gives the wish that it went for, if it went for another.
async fn talk(stream: UnixStream, peer: Peer, router: Router, staying: Staying) -> Option<Ask> {
    let Staying { place, mut asked, mut stopping } = staying;
    let of_service = Arc::clone(&place);
    let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        let (mut router, occupied) = (router.clone(), of_service.occupy());
        let (method, path) = (request.method().clone(), request.uri().clone());
        async move {
            let request = request.map(|body| axum::body::Body::new(Received::new(body)));
            let answer = router.call(request).await;
            let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            tracing::trace!(%method, %path, status, "a request");
            answer.map(|answer| answer.map(|body| Answering { body, _request: occupied }))
        }
    });
    let watched = watched(&stream);
    let gone = until_gone(watched.as_ref());
    let connection = http1::Builder::new()
        // Who has nothing more to say still wants its answer.
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let (mut connection, mut gone) = (pin!(connection), pin!(gone));
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = gone.as_mut() => return None,
            Some(ask) = asked.recv() => {
                // One that has just said something is about to be heard.
                if place.is_idle() && !watched.as_ref().is_some_and(|stream| looks(stream, PollFlags::IN)) {
                    return Some(ask);
                }
            }
            () = until_stopped(&mut stopping) => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
    None
}

/// A second handle of a connection, to watch it while the first one is being served.
fn watched(stream: &UnixStream) -> Option<UnixStream> {
    let watched = stream.as_fd().try_clone_to_owned().and_then(|fd| UnixStream::from_std(fd.into()));
    if watched.is_err() {
        tracing::debug!("a connection cannot be watched: its end is noticed when it is written to");
    }
    watched.ok()
}

/// Whether a connection is in a state at this moment (poll(2)).
fn looks(stream: &UnixStream, state: PollFlags) -> bool {
    let mut look = [PollFd::new(stream, state)];
    let now = Some(&Timespec { tv_sec: 0, tv_nsec: 0 });
    rustix::event::poll(&mut look, now).is_ok() && look[0].revents().contains(state)
}

/// Returns when the peer has closed both directions: nobody is left to be answered. That it has nothing more
/// to say is no reason to go; what becomes of it after that is noticed when it is written to.
async fn until_gone(stream: Option<&UnixStream>) {
    let Some(stream) = stream else { return std::future::pending().await };
    // Urgent data does not exist on these sockets, so this is the end of what the peer sends.
    drop(stream.ready(Interest::PRIORITY).await);
    if !looks(stream, PollFlags::HUP) {
        std::future::pending().await
    }
}

/// Answers what a connection asks first with why it is not served. Whoever is answered before it has said all, or
/// finds that nobody reads it, may never see the answer.
async fn turn_away(stream: UnixStream, refusal: Refusal) {
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let refusal = refusal.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            Ok::<_, Infallible>(answer::Refused(refusal).into_response())
        }
    });
    let connection = http1::Builder::new()
        .half_close(true)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(TURN_AWAY_TIMEOUT, connection).await {
        tracing::debug!(%error, "a connection that was turned away ended badly");
    }
}
