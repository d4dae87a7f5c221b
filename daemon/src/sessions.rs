//! Connected workers: where to send what is meant for them.

use dashmap::DashMap;
use orchd_api::{HeldAttempt, ToWorker, WorkerHello};
use orchd_model::{AttemptNumber, TaskId, Time, Token, WorkerId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, mpsc};

/// Messages under way to one worker. Assignments are bounded by its slots; a worker that does not read so
/// many messages is disconnected.
const OUTBOX_MESSAGES: usize = 4096;

/// One connection of a worker.
#[derive(Clone, Debug)]
pub struct SessionLink {
    /// Tells this connection from a later one of the same worker.
    pub number: u64,
    sender: mpsc::Sender<ToWorker>,
    cut: Arc<Notify>,
    /// What the worker said of itself.
    pub hello: Arc<WorkerHello>,
}

impl SessionLink {
    /// Returns when the worker was found not to read.
    pub async fn cut(&self) {
        self.cut.notified().await;
    }

    /// Sends without waiting; false when the worker is gone or does not read.
    pub fn send(&self, message: ToWorker) -> bool {
        self.sender.try_send(message).is_ok()
    }
}

struct Session {
    link: SessionLink,
    connected_at: Time,
}

/// A running attempt as its worker told of it.
#[derive(Clone, Copy, Debug)]
pub struct RunningAttempt {
    /// Which attempt.
    pub attempt: AttemptNumber,
    /// Its token.
    pub token: Token,
    /// Where its output goes.
    pub spool: Option<u32>,
}

/// Whether the daemon says how many slots this worker has.
pub fn is_resizable(hello: &WorkerHello) -> bool {
    hello.kind == "process" && hello.features.iter().any(|feature| feature == orchd_api::SLOTS)
}

/// All connected workers.
#[derive(Default)]
pub struct Sessions {
    next: AtomicU64,
    sessions: DashMap<WorkerId, Session>,
    /// Where the output of running attempts goes, for live reading.
    running: DashMap<TaskId, RunningAttempt>,
    tasks_by_token: DashMap<Token, TaskId>,
    /// How long a worker may be silent.
    pub lease: orchd_model::Span,
}

impl Sessions {
    /// No workers yet; they must be heard of once in a `lease`.
    pub fn new(lease: orchd_model::Span) -> Self {
        Self { lease, ..Self::default() }
    }

    /// A channel for a worker that has said hello.
    pub fn link(&self, hello: WorkerHello) -> (SessionLink, mpsc::Receiver<ToWorker>) {
        let (sender, receiver) = mpsc::channel(OUTBOX_MESSAGES);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (SessionLink { number, sender, cut: Arc::default(), hello: Arc::new(hello) }, receiver)
    }

    /// From now on messages for this worker go to this link; welcomes it.
    pub fn open(&self, worker: WorkerId, link: &SessionLink, now: Time) {
        link.send(ToWorker::Welcome { worker, lease: self.lease });
        for HeldAttempt { task, attempt, token, spool } in link.hello.attempts.iter().copied() {
            self.assigned(task, attempt, token);
            self.started(token, spool);
        }
        self.sessions.insert(worker, Session { link: link.clone(), connected_at: now });
    }

    /// Closes a link, unless a later one has taken its place. True when it was the current one.
    pub fn close(&self, worker: WorkerId, number: u64) -> bool {
        self.sessions.remove_if(&worker, |_, session| session.link.number == number).is_some()
    }

    /// Sends a message to a worker. One that does not read is disconnected: it says hello again and is told
    /// all it needs. Its session stays until its connection is done with it, which tells the engine.
    pub fn send(&self, worker: WorkerId, message: ToWorker) {
        let link = self.sessions.get(&worker).map(|session| session.link.clone());
        if let Some(link) = link
            && !link.send(message)
        {
            link.cut.notify_one();
        }
    }

    /// Sends a message to every worker.
    pub fn send_to_all(&self, message: &ToWorker) {
        let workers: Vec<WorkerId> = self.sessions.iter().map(|entry| *entry.key()).collect();
        for worker in workers {
            self.send(worker, message.clone());
        }
    }

    /// What a connected worker said of itself, and since when it is connected.
    pub fn hello(&self, worker: WorkerId) -> Option<(Arc<WorkerHello>, Time)> {
        self.sessions.get(&worker).map(|session| (Arc::clone(&session.link.hello), session.connected_at))
    }

    /// The connected workers that run processes and whose slots can be changed.
    pub fn resizable(&self) -> Vec<WorkerId> {
        let resizable = self.sessions.iter().filter(|entry| is_resizable(&entry.link.hello));
        resizable.map(|entry| *entry.key()).collect()
    }

    /// Whether a worker that runs processes is connected.
    pub fn has_process_worker(&self) -> bool {
        self.sessions.iter().any(|entry| entry.link.hello.kind == "process")
    }

    /// An attempt was assigned, or a task placed ahead.
    pub fn assigned(&self, task: TaskId, attempt: AttemptNumber, token: Token) {
        // One that was placed ahead may have begun, and have told so, before it is known to be running.
        if self.tasks_by_token.insert(token, task).is_none() {
            self.running.insert(task, RunningAttempt { attempt, token, spool: None });
        }
    }

    /// An attempt has begun.
    pub fn started(&self, token: Token, spool: Option<u32>) {
        let Some(task) = self.tasks_by_token.get(&token).map(|task| *task) else { return };
        if let Some(mut running) = self.running.get_mut(&task)
            && running.token == token
        {
            running.spool = spool;
        }
    }

    /// An attempt has ended.
    pub fn ended(&self, task: TaskId, token: Token) {
        self.tasks_by_token.remove(&token);
        self.running.remove_if(&task, |_, running| running.token == token);
    }

    /// The running attempt of a task.
    pub fn running(&self, task: TaskId) -> Option<RunningAttempt> {
        self.running.get(&task).map(|running| *running)
    }
}
