//! The worker's main thread: one session with the daemon after the other, for as long as there is work.
//!
//! ```text
//! reach ──► talk: assignments and stops to the runner, events to the daemon, heartbeats while work is held
//!   ▲         │ session breaks
//!   └─────────┘ while apart: every ended attempt is spooled; nothing runs and no daemon: the end
//! ```
//! A worker that holds nothing sets no timer and is not woken. Nothing begins while the daemon is away: what
//! waits for a slot is let go of when a session breaks.

use orchd_api::{AttemptProgress, FromWorker, HeldAttempt, PROTOCOL, StartedAttempt, ToWorker, WorkerHello};
use orchd_client::worker::{Backoff, Receiver, Sender, Session, SessionError, connect};
use orchd_model::{AttemptReport, Span, Token};
use rustix::fd::OwnedFd;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::ledger::Ledger;
use crate::runner::{AttemptEvent, Runner};
use crate::{Options, sys};

/// Reports in one message; with the longest results it stays below the limit of a frame.
const REPORTS_WITH_DATA: usize = 16;
const REPORTS: usize = 1024;
/// Heartbeats in a lease: one may be late or lost.
const HEARTBEATS_PER_LEASE: u32 = 3;
/// No lease is so short that this would be too late.
const HEARTBEAT_SHORTEST: Duration = Duration::from_millis(10);
/// How long a daemon may take to welcome a worker.
const WELCOME_PATIENCE: Duration = Duration::from_secs(10);
/// How long the first daemon may take to listen: it starts the worker about when it opens its socket.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// Everything the main thread has.
pub(crate) struct Main<'a> {
    options: &'a Options,
    runner: Runner,
    events: UnboundedReceiver<AttemptEvent>,
    terminations: AsyncFd<OwnedFd>,
    incarnation: u64,
    state: State,
}

/// What both halves of a session use.
struct State {
    ledger: RefCell<Ledger>,
    /// Reports to send again, since their assignment was.
    again: RefCell<BTreeSet<Token>>,
    /// No more work will come.
    exiting: Cell<bool>,
    /// Attempts it may hold at a time.
    slots: Cell<u32>,
    /// The receiving half has done something that the sending half looks at.
    changed: Notify,
}

/// Why a session is over.
enum Over {
    /// Work may be left: connect again.
    Broken(SessionError),
    /// There is nothing left to do.
    Finished,
}

impl<'a> Main<'a> {
    pub(crate) fn new(
        options: &'a Options,
        runner: Runner,
        events: UnboundedReceiver<AttemptEvent>,
        terminations: AsyncFd<OwnedFd>,
        ledger: Ledger,
    ) -> Self {
        let state = State {
            ledger: RefCell::new(ledger),
            again: RefCell::default(),
            exiting: Cell::new(false),
            slots: Cell::new(options.slots.max(1)),
            changed: Notify::new(),
        };
        let incarnation = RandomState::new().hash_one(std::process::id());
        Self { options, runner, events, terminations, incarnation, state }
    }

    /// Works until there is nothing left to do.
    pub(crate) async fn run(mut self) {
        let mut patience = Some(Instant::now() + FIRST_PATIENCE);
        while let Some(session) = self.reach(patience).await {
            patience = None;
            tracing::info!(worker = %session.worker, "the daemon has welcomed this worker");
            match self.talk(session).await {
                Over::Finished => break,
                Over::Broken(error) => {
                    self.runner.recall_all();
                    tracing::info!(%error, "the session has ended");
                }
            }
        }
        self.secure();
        tracing::info!("nothing is left to do");
    }

    /// Connects; none when there is no daemon, and nothing to wait for. Before `patience` is over there
    /// always is.
    async fn reach(&mut self, patience: Option<Instant>) -> Option<Session> {
        let mut backoff = Backoff::default();
        loop {
            self.secure();
            let welcome = connect(&self.options.socket, self.hello());
            match tokio::time::timeout(WELCOME_PATIENCE, welcome).await {
                Ok(Ok(session)) => return Some(session),
                Ok(Err(error)) => tracing::debug!(%error, "no session"),
                Err(_) => tracing::warn!("the daemon does not answer"),
            }
            let pause = tokio::time::sleep(backoff.pause());
            tokio::pin!(pause);
            loop {
                sys::reap_orphans();
                let waiting = patience.is_some_and(|end| Instant::now() < end);
                if !waiting && self.secure() && self.is_done() {
                    return None;
                }
                tokio::select! {
                    () = &mut pause => break,
                    Some(event) = self.events.recv() => {
                        note(&self.runner, self.state.ledger.get_mut(), &[event]);
                    }
                    () = terminated(&self.terminations) => {
                        if self.runner.is_idle() {
                            return None;
                        }
                        keep_running();
                    }
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.runner.is_idle() && self.events.is_empty()
    }

    /// Takes what the runner has told, and writes all reports to the spool. False when the disk does not
    /// take them; they are tried again.
    fn secure(&mut self) -> bool {
        let ledger = self.state.ledger.get_mut();
        while let Ok(event) = self.events.try_recv() {
            note(&self.runner, ledger, &[event]);
        }
        match ledger.secure() {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "reports could not be spooled");
                false
            }
        }
    }

    fn hello(&self) -> WorkerHello {
        let ledger = self.state.ledger.borrow();
        let mut attempts = self.runner.held();
        attempts.retain(|held| ledger.get(held.token).is_none());
        // Ended ones are this worker's too until they are acknowledged: it must not be thought to have lost
        // them.
        attempts.extend(ledger.all().map(|report| HeldAttempt {
            task: report.task,
            attempt: report.attempt,
            token: report.token,
            spool: None,
        }));
        WorkerHello {
            protocol: PROTOCOL,
            features: vec![orchd_api::SLOTS.to_owned()],
            incarnation: self.incarnation,
            kind: "process".to_owned(),
            pid: std::process::id(),
            slots: self.state.slots.get(),
            handlers: Vec::new(),
            labels: self.runner.labels(),
            attempts,
            claim: None,
        }
    }

    /// Serves a session until it breaks or there is nothing left to do.
    async fn talk(&mut self, session: Session) -> Over {
        let Session { lease, mut sender, mut receiver, .. } = session;
        let Self { runner, events, terminations, state, .. } = self;
        let listening = listen(state, runner, &mut receiver);
        let reporting = report(state, runner, events, terminations, lease.into(), &mut sender);
        let over = tokio::select! {
            error = listening => Over::Broken(error),
            over = reporting => over.unwrap_or_else(Over::Broken),
        };
        if matches!(over, Over::Finished) {
            let _ = sender.close().await;
        }
        over
    }
}

/// Carries out what the daemon says, until the session breaks.
async fn listen(state: &State, runner: &Runner, receiver: &mut Receiver) -> SessionError {
    loop {
        let message = match receiver.receive().await {
            Ok(message) => message,
            Err(error) => return error,
        };
        match message {
            ToWorker::Assign { assignments } => {
                for assignment in assignments {
                    if state.ledger.borrow().get(assignment.token).is_some() {
                        state.again.borrow_mut().insert(assignment.token);
                    } else {
                        runner.assign(assignment);
                    }
                }
            }
            ToWorker::Recall { tokens } => tokens.into_iter().for_each(|token| runner.recall(token)),
            ToWorker::Stop { orders } => orders.into_iter().for_each(|order| runner.stop(order)),
            ToWorker::Ack { tokens } => state.ledger.borrow_mut().acknowledge(&tokens),
            ToWorker::Slots { slots } => {
                runner.resize(slots);
                state.slots.set(slots);
            }
            ToWorker::Exit => state.exiting.set(true),
            ToWorker::Welcome { .. } => tracing::warn!("a second welcome"),
            ToWorker::Loosened { .. } | ToWorker::Refused { .. } => {
                tracing::warn!("an answer to what was not asked");
            }
        }
        state.changed.notify_one();
    }
}

/// Sends what happens, until there is nothing left to do.
async fn report(
    state: &State,
    runner: &Runner,
    events: &mut UnboundedReceiver<AttemptEvent>,
    terminations: &AsyncFd<OwnedFd>,
    lease: Duration,
    sender: &mut Sender,
) -> Result<Over, SessionError> {
    let left: Vec<AttemptReport> = state.ledger.borrow().all().cloned().collect();
    let progress = state.ledger.borrow().progress();
    send(sender, Told { ended: left, progress, ..Told::default() }).await?;
    let heartbeat = (lease / HEARTBEATS_PER_LEASE).max(HEARTBEAT_SHORTEST);
    let mut heard = Instant::now();
    let mut batch = Vec::new();
    loop {
        sys::reap_orphans();
        let held = !runner.is_idle();
        let finished = state.exiting.get() && !held && events.is_empty() && state.ledger.borrow().is_empty();
        if finished {
            return Ok(Over::Finished);
        }
        tokio::select! {
            biased;
            () = terminated(terminations) => {
                if runner.is_idle() && events.is_empty() {
                    return Ok(Over::Finished);
                }
                keep_running();
            }
            _ = events.recv_many(&mut batch, REPORTS) => {
                note(runner, &mut state.ledger.borrow_mut(), &batch);
                send(sender, sort(batch.drain(..))).await?;
                heard = Instant::now();
            }
            () = state.changed.notified() => {
                let again = state.again.take();
                let ended: Vec<AttemptReport> = {
                    let ledger = state.ledger.borrow();
                    again.into_iter().filter_map(|token| ledger.get(token).cloned()).collect()
                };
                send(sender, Told { ended, ..Told::default() }).await?;
            }
            () = tokio::time::sleep_until(heard + heartbeat), if held => {
                sender.send(&FromWorker::Heartbeat).await?;
                heard = Instant::now();
            }
        }
    }
}

/// What is told in one go.
#[derive(Default)]
struct Told {
    started: Vec<StartedAttempt>,
    ended: Vec<AttemptReport>,
    unbegun: Vec<Token>,
    progress: Vec<AttemptProgress>,
    said: Option<Span>,
}

/// Sends what has happened, in as many messages as the size of the reports asks for.
async fn send(sender: &mut Sender, told: Told) -> Result<(), SessionError> {
    let Told { mut started, ended, unbegun, mut progress, said } = told;
    let mut message = Vec::new();
    let mut with_data = 0;
    for report in ended {
        with_data += usize::from(report.data.is_some());
        message.push(report);
        if with_data == REPORTS_WITH_DATA || message.len() == REPORTS {
            let ended = std::mem::take(&mut message);
            let (started, progress) = (std::mem::take(&mut started), std::mem::take(&mut progress));
            sender.send(&FromWorker::Report { started, ended, unbegun: Vec::new(), progress, said }).await?;
            with_data = 0;
        }
    }
    if message.is_empty() && started.is_empty() && unbegun.is_empty() && progress.is_empty() {
        return Ok(());
    }
    sender.send(&FromWorker::Report { started, ended: message, unbegun, progress, said }).await
}

/// Moves the ends among `events` from the runner's hands into the ledger.
fn note(runner: &Runner, ledger: &mut Ledger, events: &[AttemptEvent]) {
    for event in events {
        match event {
            AttemptEvent::Started(..) | AttemptEvent::Unbegun(_) => {}
            AttemptEvent::Progress(progress) => ledger.note_progress(progress),
            AttemptEvent::Ended(report) => {
                ledger.add(report.clone());
                runner.forget(report.token);
            }
        }
    }
}

/// What the monotonic clock of the machine shows at an instant.
fn on_monotonic(instant: std::time::Instant) -> Span {
    // Looked at once: else what passes between two looks would come and go.
    static SEEN: OnceLock<(std::time::Instant, Duration)> = OnceLock::new();
    let (seen, shown) = SEEN.get_or_init(|| {
        let shown = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        (std::time::Instant::now(), Duration::try_from(shown).unwrap_or_default())
    });
    (*shown + instant.saturating_duration_since(*seen)).into()
}

fn sort(events: impl Iterator<Item = AttemptEvent>) -> Told {
    let now = std::time::Instant::now();
    let mut told = Told { said: Some(on_monotonic(now)), ..Told::default() };
    for event in events {
        match event {
            AttemptEvent::Started(attempt, at) => {
                told.started
                    .push(StartedAttempt { ago: Span::from(now.saturating_duration_since(at)), ..attempt });
            }
            AttemptEvent::Ended(report) => told.ended.push(report),
            AttemptEvent::Unbegun(token) => told.unbegun.push(token),
            AttemptEvent::Progress(progress) => told.progress.push(progress),
        }
    }
    told
}

/// Waits for a SIGTERM and takes it.
async fn terminated(terminations: &AsyncFd<OwnedFd>) {
    loop {
        match terminations.readable().await {
            Ok(mut ready) => {
                let mut signal = [0; 128];
                if rustix::io::read(terminations.get_ref(), &mut signal).is_ok() {
                    return;
                }
                ready.clear_ready();
            }
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        }
    }
}

fn keep_running() {
    tracing::info!("SIGTERM: attempts are running; this worker stays until they have ended");
}
