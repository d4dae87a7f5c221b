//! What keeps an ad-hoc claim: the session with the daemon, in a task of its own, so that the claim does not
//! depend on how often its owner has time for it.
//!
//! ```text
//!   connect ─► wait for the grant ─► hold ─► leave: report, until it is acknowledged
//!     ▲            │                  │         │
//!     └────────────┴──── broken ──────┴─────────┘
//! ```
//! A broken session is opened again: the daemon was killed, and gives the time of a lease to come back. What
//! it has not answered is said again, which changes nothing if it had heard it.
//!
//! Invariant: when this ends, the claim is released, withdrawn or lost, or its connection is closed.

use orchd_api::{CLAIMANT, ClaimRequest, FromWorker, HeldAttempt, PROTOCOL, Problem, ToWorker, WorkerHello};
use orchd_model::{AttemptReport, Code, Kept, Outcome, Refusal, ResourceName, Span, TaskId, Token};
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;

use crate::claim::Loss;
use crate::worker::{self, Backoff, Sender, Session, SessionError};
use crate::{Error, Settings, socket};

/// Wishes under way from one guard; who wishes faster waits.
const WISHES: usize = 16;

/// Between two tries to find the daemon again: others wait until it knows who is still there.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How a wish is answered.
type Answer = oneshot::Sender<Result<(), Error>>;

/// What was granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub task: TaskId,
    pub token: Token,
    pub grace: Span,
}

/// What the owner of a claim wants of it.
pub(crate) enum Wish {
    /// To keep less of one claim.
    Loosen { resource: ResourceName, kept: Kept, answer: Answer },
    /// To be rid of all, since what it protected has ended so; told when that is durable.
    Release(Outcome, Answer),
}

/// The owner's ends of a claim that is kept.
pub(crate) struct Ends {
    pub granted: oneshot::Receiver<Result<Grant, Error>>,
    pub wishes: mpsc::Sender<Wish>,
    pub loss: watch::Receiver<Option<Loss>>,
    /// Whether the daemon was looked for in vain since a release was asked for.
    pub away: watch::Receiver<bool>,
}

/// Where the claim is.
enum State {
    /// Not granted yet.
    Waits(oneshot::Sender<Result<Grant, Error>>),
    Holds(Grant, Instant),
    /// Released, which the daemon has not acknowledged.
    Leaves(Grant, Instant, Leaving),
    /// Nobody waits for the grant any more, and the daemon is to know.
    Withdraws,
    Over,
}

/// A release under way.
struct Leaving {
    /// Who waits for it, if somebody does.
    answer: Option<Answer>,
    /// Whether it was said while the claim was held: then a daemon that knows of no claim has heard it.
    said: bool,
    /// How what it protected has ended.
    outcome: Outcome,
}

/// Keeps one claim.
pub(crate) struct Keeper {
    socket: PathBuf,
    settings: Settings,
    hello: WorkerHello,
    state: State,
    wishes: mpsc::Receiver<Wish>,
    /// Wishes that the daemon has not answered, in their order.
    asked: VecDeque<(ResourceName, Kept, Answer)>,
    loss: watch::Sender<Option<Loss>>,
    away: watch::Sender<bool>,
}

/// What happens next in a session.
enum Next {
    Said(Result<ToWorker, SessionError>),
    Wished(Option<Wish>),
    /// Nobody waits for the grant any more.
    Unwanted,
}

/// How a session ended.
enum Over {
    Broken,
    Done,
}

impl Keeper {
    /// A claim that is asked for as soon as this runs.
    pub(crate) fn new(socket: PathBuf, settings: Settings, claim: ClaimRequest) -> (Self, Ends) {
        let (grant, granted) = oneshot::channel();
        let (wishes, inbox) = mpsc::channel(WISHES);
        let (loss, lost) = watch::channel(None);
        let (away, is_away) = watch::channel(false);
        let hello = WorkerHello {
            protocol: PROTOCOL,
            features: Vec::new(),
            // Keyed by the system's random numbers.
            incarnation: RandomState::new().build_hasher().finish(),
            kind: CLAIMANT.to_owned(),
            pid: std::process::id(),
            slots: 1,
            handlers: Vec::new(),
            labels: Vec::new(),
            attempts: Vec::new(),
            claim: Some(claim),
        };
        let state = State::Waits(grant);
        let asked = VecDeque::new();
        let keeper = Self { socket, settings, hello, state, wishes: inbox, asked, loss, away };
        (keeper, Ends { granted, wishes, loss: lost, away: is_away })
    }

    /// Runs until the claim has ended.
    pub(crate) async fn run(mut self) {
        let ended = self.keep().await;
        match (std::mem::replace(&mut self.state, State::Over), ended) {
            (State::Waits(grant), Err(error)) => drop(grant.send(Err(error))),
            (State::Holds(..), Err(error)) => {
                let refusal = match error {
                    Error::Refused(refusal) => refusal,
                    other => Refusal::new(Code::StaleToken, "the claims are lost").value(other.to_string()),
                };
                self.loss.send_replace(Some(Loss::Gone(refusal)));
            }
            (State::Leaves(.., Leaving { answer: Some(answer), said, .. }), ended) => {
                let settled = said && ended.as_ref().is_err_and(|e| e.code() == Some(Code::StaleToken));
                // Who asked may have gone.
                drop(answer.send(if settled { Ok(()) } else { ended }));
            }
            // Nobody is left to be told.
            (State::Waits(_) | State::Holds(..) | State::Leaves(..), _)
            | (State::Withdraws | State::Over, _) => {}
        }
    }

    async fn keep(&mut self) -> Result<(), Error> {
        socket::check_owner(&self.socket).map_err(|source| self.unreachable(source))?;
        let mut session = self.connect_patiently().await?;
        loop {
            match self.talk(session).await? {
                Over::Done => return Ok(()),
                Over::Broken => session = self.connect_patiently().await?,
            }
        }
    }

    fn unreachable(&self, source: io::Error) -> Error {
        Error::Unreachable { socket: self.socket.clone(), source }
    }

    async fn connect(&self) -> Result<Session, Error> {
        let held = match &self.state {
            State::Holds(grant, _) | State::Leaves(grant, ..) => Some(grant),
            State::Waits(_) | State::Withdraws | State::Over => None,
        };
        let attempts = held.map(|grant| HeldAttempt {
            task: grant.task,
            attempt: orchd_model::AttemptNumber(1),
            token: grant.token,
            spool: None,
        });
        let hello = WorkerHello { attempts: attempts.into_iter().collect(), ..self.hello.clone() };
        let connected = timeout(self.settings.connect_timeout, worker::connect(&self.socket, hello)).await;
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
        match connected {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(SessionError::Unreachable(source))) => Err(self.unreachable(source)),
            Ok(Err(SessionError::Refused(refusal))) => Err(refusal.into()),
            Ok(Err(SessionError::WebSocket(error))) => Err(refused_at_the_door(&error)
                .map_or_else(|| self.unreachable(io::Error::other(error)), Error::Refused)),
            Ok(Err(other @ (SessionError::Unreadable(_) | SessionError::Unwelcome))) => {
                Err(Error::Protocol(other.to_string()))
            }
            Ok(Err(closed @ SessionError::Closed)) => Err(self.unreachable(io::Error::other(closed))),
            Err(_) => Err(self.unreachable(silent())),
        }
    }

    /// There was a daemon. While it is away nobody else can be granted anything, so who holds a claim has it
    /// for as long as that lasts; who waits, or wants to be rid of it, has the patience of any request.
    async fn connect_patiently(&mut self) -> Result<Session, Error> {
        let mut backoff = Backoff::up_to(LONGEST_PAUSE);
        let mut impatient_since: Option<Instant> = None;
        loop {
            let error = match self.connect().await {
                Ok(session) => {
                    if let Some(claim) = &mut self.hello.claim {
                        claim.returns = true;
                    }
                    return Ok(session);
                }
                Err(Error::Refused(refusal)) if !self.outwaits(refusal.code) => return Err(refusal.into()),
                Err(error) => error,
            };
            if matches!(self.state, State::Leaves(..)) {
                self.away.send_replace(true);
            }
            if matches!(self.state, State::Holds(..)) {
                impatient_since = None;
            } else if impatient_since.get_or_insert_with(Instant::now).elapsed() > self.settings.reconnect_for
            {
                return Err(error);
            }
            let pause = tokio::time::sleep(backoff.pause());
            tokio::pin!(pause);
            loop {
                let next = tokio::select! {
                    () = &mut pause => break,
                    next = next_wish(&mut self.state, &mut self.wishes) => next,
                };
                match next {
                    Next::Wished(wish) => {
                        drop(self.note(wish));
                        if matches!(self.state, State::Leaves(..)) {
                            // Whoever waits for that is to know at once whether there is a daemon.
                            break;
                        }
                    }
                    // It may be granted on disk: without a word it would be held until the lease is over.
                    Next::Said(_) | Next::Unwanted => self.state = State::Withdraws,
                }
            }
        }
    }

    /// Whether the same request may be granted a moment later, and there is time for that: who does not wait has none
    /// for the end of a daemon.
    fn outwaits(&self, code: Code) -> bool {
        let waits = self.hello.claim.as_ref().is_none_or(|claim| claim.wait);
        match code {
            Code::Busy => true,
            Code::ShuttingDown => waits || !matches!(self.state, State::Waits(..)),
            _ => false,
        }
    }

    /// Serves one session.
    async fn talk(&mut self, session: Session) -> Result<Over, Error> {
        let Session { mut sender, mut receiver, .. } = session;
        if matches!(self.state, State::Withdraws) {
            return Ok(leave(&mut sender, receiver, self.settings.connect_timeout).await);
        }
        for message in self.unanswered() {
            if !self.say(&mut sender, &message).await {
                return Ok(Over::Broken);
            }
        }
        loop {
            let next = tokio::select! {
                said = receiver.receive() => Next::Said(said),
                next = next_wish(&mut self.state, &mut self.wishes) => next,
            };
            match next {
                Next::Said(Err(SessionError::Unreadable(error))) => {
                    return Err(Error::Protocol(error.to_string()));
                }
                Next::Said(Err(_)) => return Ok(Over::Broken),
                Next::Said(Ok(message)) => {
                    if self.hear(message)? {
                        let withdrawn = leave(&mut sender, receiver, self.settings.connect_timeout).await;
                        // What was acknowledged is over, however the connection ends.
                        let is_over = !matches!(self.state, State::Withdraws);
                        return Ok(if is_over { Over::Done } else { withdrawn });
                    }
                }
                Next::Wished(wish) => {
                    let message = self.note(wish);
                    if let Some(message) = message
                        && !self.say(&mut sender, &message).await
                    {
                        return Ok(Over::Broken);
                    }
                }
                Next::Unwanted => {
                    self.state = State::Withdraws;
                    return Ok(leave(&mut sender, receiver, self.settings.connect_timeout).await);
                }
            }
        }
    }

    /// Says something; false when the session is broken.
    async fn say(&mut self, sender: &mut Sender, message: &FromWorker) -> bool {
        let is_said = sender.send(message).await.is_ok();
        if let (State::Leaves(.., leaving), FromWorker::Report { .. }) = (&mut self.state, message) {
            leaving.said |= is_said;
        }
        is_said
    }

    /// Takes in what the daemon says; true when the claim is over.
    fn hear(&mut self, message: ToWorker) -> Result<bool, Error> {
        match message {
            ToWorker::Assign { assignments } => {
                let Some(assignment) = assignments.first() else { return Ok(false) };
                let (task, token, grace) = (assignment.task, assignment.token, assignment.grace);
                let grant = Grant { task, token, grace };
                if let State::Waits(_) = self.state
                    && let State::Waits(waiter) =
                        std::mem::replace(&mut self.state, State::Holds(grant, Instant::now()))
                {
                    // Who does not wait any more closes the session, which releases it.
                    let is_unwanted = waiter.send(Ok(grant)).is_err();
                    if is_unwanted {
                        self.state = State::Withdraws;
                    }
                    return Ok(is_unwanted);
                }
                Ok(false)
            }
            ToWorker::Stop { orders } => {
                let token = self.token();
                if let Some(order) = orders.iter().find(|order| Some(order.token) == token) {
                    self.loss.send_replace(Some(Loss::Wanted(order.cause)));
                }
                Ok(false)
            }
            ToWorker::Ack { tokens } => Ok(self.token().is_some_and(|token| tokens.contains(&token))),
            ToWorker::Loosened { refusal, .. } => {
                if let Some((.., answer)) = self.asked.pop_front() {
                    // Who asked may have gone.
                    let _ = answer.send(refusal.map_or(Ok(()), |refusal| Err(refusal.into())));
                }
                Ok(false)
            }
            // What was to be released is not held, which is as good.
            ToWorker::Refused { .. } if matches!(self.state, State::Leaves(..)) => Ok(true),
            ToWorker::Refused { refusal } => Err(refusal.into()),
            ToWorker::Welcome { .. } | ToWorker::Recall { .. } | ToWorker::Slots { .. } | ToWorker::Exit => {
                Ok(false)
            }
        }
    }

    fn token(&self) -> Option<Token> {
        match &self.state {
            State::Holds(grant, _) | State::Leaves(grant, ..) => Some(grant.token),
            State::Waits(_) | State::Withdraws | State::Over => None,
        }
    }

    /// Notes a wish; gives what is to be said about it. No wish any more: the guard was dropped.
    fn note(&mut self, wish: Option<Wish>) -> Option<FromWorker> {
        let State::Holds(grant, since) = self.state else { return None };
        match wish {
            Some(Wish::Loosen { resource, kept, answer }) => {
                self.asked.push_back((resource.clone(), kept, answer));
                Some(FromWorker::Loosen { token: grant.token, resource, kept })
            }
            Some(Wish::Release(outcome, answer)) => Some(self.leave(grant, since, outcome, Some(answer))),
            None => Some(self.leave(grant, since, Outcome::Succeeded, None)),
        }
    }

    /// Begins a release; gives what is to be said about it.
    fn leave(
        &mut self,
        grant: Grant,
        since: Instant,
        outcome: Outcome,
        answer: Option<Answer>,
    ) -> FromWorker {
        let message = released(grant, since, outcome.clone());
        self.state = State::Leaves(grant, since, Leaving { answer, said: false, outcome });
        message
    }

    /// What the daemon has not answered.
    fn unanswered(&self) -> Vec<FromWorker> {
        let Some(token) = self.token() else { return Vec::new() };
        let loosen = |(resource, kept, _): &(ResourceName, Kept, _)| FromWorker::Loosen {
            token,
            resource: resource.clone(),
            kept: *kept,
        };
        let mut messages: Vec<FromWorker> = self.asked.iter().map(loosen).collect();
        if let State::Leaves(grant, since, Leaving { outcome, .. }) = &self.state {
            messages.push(released(*grant, *since, outcome.clone()));
        }
        messages
    }
}

/// The next wish of the owner, if it may still have one.
async fn next_wish(state: &mut State, wishes: &mut mpsc::Receiver<Wish>) -> Next {
    match state {
        State::Waits(grant) => {
            grant.closed().await;
            Next::Unwanted
        }
        State::Holds(..) => Next::Wished(wishes.recv().await),
        State::Leaves(..) | State::Withdraws | State::Over => std::future::pending().await,
    }
}

fn released(grant: Grant, since: Instant, outcome: Outcome) -> FromWorker {
    let report = AttemptReport {
        execution_time: since.elapsed().into(),
        ..AttemptReport::new(grant.task, orchd_model::AttemptNumber(1), grant.token, outcome)
    };
    let (started, unbegun, progress) = (Vec::new(), Vec::new(), Vec::new());
    FromWorker::Report { started, ended: vec![report], unbegun, progress, said: None }
}

/// Closes a session, and waits until the daemon has: then it has let go of what was claimed. One that breaks
/// instead may not have heard it.
async fn leave(sender: &mut Sender, mut receiver: worker::Receiver, patience: Duration) -> Over {
    if sender.close().await.is_err() {
        return Over::Broken;
    }
    match timeout(patience, receiver.until_closed()).await {
        // A daemon that says nothing sees the end of the connection, sooner or later.
        Ok(true) | Err(_) => Over::Done,
        Ok(false) => Over::Broken,
    }
}

/// The refusal of a daemon that does not even begin a session.
fn refused_at_the_door(error: &tungstenite::Error) -> Option<Refusal> {
    let tungstenite::Error::Http(answer) = error else { return None };
    let problem: Problem = serde_json::from_slice(answer.body().as_deref()?).ok()?;
    Some(problem.refusal)
}
