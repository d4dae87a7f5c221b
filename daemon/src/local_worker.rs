//! The local process worker: started by the daemon, outlives it, is adopted by the next one.
//!
//! A worker is alive while it holds its lock. When it is dead, the daemon first makes sure that every
//! process it left is dead, too, and only then tells the scheduler that its attempts are lost.

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use orchd_core::Command;
use orchd_model::{Time, Token, WorkerId};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::engine::Request;
use crate::live::Live;
use crate::sessions::Sessions;

/// How often the lock of a worker that is not our child is looked at, while its connection is broken.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// A worker that dies sooner than this after its start is started again only after as long.
const SHORT_LIFE: Duration = Duration::from_millis(500);
/// After something about the worker went wrong, it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Where and how the worker runs.
pub struct LocalWorker {
    pub socket: PathBuf,
    pub state_dir: PathBuf,
    /// Says how many slots one has that is started.
    pub live: Arc<Live>,
    /// Whether it dies with the daemon: nobody would come back for what it runs.
    pub tethered: bool,
}

enum Ask {
    /// The lease of a worker is over.
    Fence(WorkerId),
    /// A process worker's connection broke.
    Disconnected(WorkerId),
}

/// Asks the supervisor to look after workers.
#[derive(Clone)]
pub struct Fence {
    asks: Sender<Ask>,
}

impl Fence {
    /// A worker's lease is over: its death is made sure of.
    pub fn ask(&self, worker: WorkerId) {
        // The supervisor ends only with the process.
        drop(self.asks.send(Ask::Fence(worker)));
    }

    /// A worker's connection broke: it may be dead.
    pub fn disconnected(&self, worker: WorkerId) {
        drop(self.asks.send(Ask::Disconnected(worker)));
    }
}

/// The supervisor's inbox, before it runs.
pub struct Asks(Receiver<Ask>);

/// The two ends of the supervisor's inbox. Its senders are few: workers, and leases.
pub fn channel() -> (Fence, Asks) {
    let (asks, inbox) = unbounded();
    (Fence { asks }, Asks(inbox))
}

impl LocalWorker {
    /// Whether a worker of this state directory lives.
    ///
    /// # Errors
    /// When its lock cannot be looked at.
    pub fn is_alive(&self) -> Result<bool> {
        orchd_worker::is_running(&self.state_dir).context("cannot look at the worker's lock")
    }

    fn start(&self) -> Result<Child> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.state_dir.join("worker.log"))
            .context("cannot open the worker's log")?;
        // This very program, also when its file has been replaced by an upgrade meanwhile.
        let mut command = std::process::Command::new("/proc/self/exe");
        for variable in crate::systemd::VARIABLES {
            command.env_remove(variable);
        }
        let config = self.live.config();
        // What holds here holds there, too, also while the file says something else or is broken.
        command.args(["worker", "--config", "/dev/null"]);
        command.env("ORCHD_OUTPUT_MAX_BYTES", config.output_bytes.to_string());
        command.env("ORCHD_ENFORCEMENT_CGROUP", &config.enforcement.cgroup);
        command
            .arg0("orchd")
            .arg("--socket")
            .arg(&self.socket)
            .arg("--state-dir")
            .arg(&self.state_dir)
            .arg("--slots")
            .arg(config.slots.to_string())
            .args(self.tethered.then_some("--tethered"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the worker's log")?)
            .stderr(log)
            .spawn()
            .context("cannot start the worker")
    }

    /// Looks after the worker until `stopping` is set: starts one when there is none, notices its death.
    pub fn supervise(
        self,
        asks: Asks,
        engine: Sender<Request>,
        sessions: Arc<Sessions>,
        stopping: Arc<AtomicBool>,
    ) {
        let supervisor = Supervisor { worker: self, asks: asks.0, engine, sessions, stopping };
        if let Err(error) = supervisor.run() {
            tracing::error!(error = format!("{error:#}"), "the worker's supervisor has ended");
        }
    }
}

struct Supervisor {
    worker: LocalWorker,
    asks: Receiver<Ask>,
    engine: Sender<Request>,
    sessions: Arc<Sessions>,
    stopping: Arc<AtomicBool>,
}

impl Supervisor {
    fn run(self) -> Result<()> {
        // An adopted worker lives until its lock says otherwise; its connection tells when to look.
        let mut alive = self.worker.is_alive()?;
        while !self.stopping.load(Ordering::Relaxed) {
            let adopted = std::mem::take(&mut alive);
            let started = Instant::now();
            let ended = if adopted {
                self.wait_for_adopted()
            } else {
                self.start().and_then(|child| self.wait_for_child(child))
            };
            if let Err(error) = ended {
                // Whatever it was, without a worker nothing runs: it is tried again.
                tracing::error!(error = format!("{error:#}"), "the worker");
                self.wait(TRY_AGAIN);
                // One that a killed daemon had just started may have come to life meanwhile.
                alive = self.worker.is_alive()?;
            }
            if self.stopping.load(Ordering::Relaxed) {
                break;
            }
            if !adopted && started.elapsed() < SHORT_LIFE {
                tracing::warn!("the worker died right after its start; its log tells why");
                self.wait(SHORT_LIFE);
            }
        }
        Ok(())
    }

    /// Starts a worker. The one before it is buried first: it may have died after this daemon had found it
    /// alive, and what it reported last must be heard before anything is taken for lost.
    fn start(&self) -> Result<Child> {
        self.bury()?;
        self.worker.start()
    }

    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while let Ok(ask) = self.asks.recv_deadline(until) {
            if let Ask::Fence(worker) = ask {
                self.lose(worker, None);
            }
        }
    }

    /// A thread waits for the child's end, so that it is noticed at once.
    fn wait_for_child(&self, mut child: Child) -> Result<()> {
        let (ended, end) = crossbeam_channel::bounded(1);
        let waiter = std::thread::Builder::new().name("worker-wait".to_owned());
        waiter
            .spawn(move || drop(ended.send(child.wait())))
            .context("cannot start a thread that waits for the worker")?;
        loop {
            crossbeam_channel::select! {
                recv(end) -> status => {
                    if let Ok(Ok(status)) = status
                        && !self.stopping.load(Ordering::Relaxed)
                    {
                        tracing::warn!(%status, "the worker has ended");
                    }
                    return self.bury();
                }
                recv(self.asks) -> ask => match ask {
                    Ok(Ask::Fence(worker)) => self.fence(worker)?,
                    Ok(Ask::Disconnected(_)) => {}
                    Err(_) => return Ok(()),
                },
            }
        }
    }

    fn wait_for_adopted(&self) -> Result<()> {
        loop {
            match self.next_ask()? {
                None => {}
                Some(Ask::Fence(worker)) => self.fence(worker)?,
                Some(Ask::Disconnected(worker)) => {
                    // Until it is back or dead. Its lease bounds this: the scheduler asks to fence it then.
                    while self.sessions.hello(worker).is_none() && !self.stopping.load(Ordering::Relaxed) {
                        if !self.worker.is_alive()? {
                            break;
                        }
                        if let Ok(Ask::Fence(worker)) = self.asks.recv_timeout(LOOK_AGAIN) {
                            self.fence(worker)?;
                        }
                    }
                }
            }
            if self.stopping.load(Ordering::Relaxed) {
                return Ok(());
            }
            if !self.worker.is_alive()? {
                return self.bury();
            }
        }
    }

    /// The next thing to look after. None, soon, while the worker is not connected: one that dies before it
    /// ever was has no connection to break.
    fn next_ask(&self) -> Result<Option<Ask>> {
        if self.sessions.has_process_worker() {
            return Ok(Some(self.asks.recv()?));
        }
        match self.asks.recv_timeout(LOOK_AGAIN) {
            Ok(ask) => Ok(Some(ask)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(gone @ RecvTimeoutError::Disconnected) => Err(gone.into()),
        }
    }

    /// Ends a worker that is alive but silent, with all its processes. One of a service cannot be ended from
    /// here: its token is stale from now on.
    fn fence(&self, worker: WorkerId) -> Result<()> {
        if !self.process_workers().contains(&worker) {
            self.lose(worker, None);
            return Ok(());
        }
        if self.worker.is_alive()? {
            tracing::warn!(%worker, "the worker is silent: it is ended");
            orchd_worker::kill_worker(&self.worker.state_dir).context("cannot end the silent worker")?;
            while self.worker.is_alive()? {
                std::thread::park_timeout(LOOK_AGAIN);
            }
        }
        self.bury()
    }

    /// The worker is dead: so shall its processes be; then its attempts are lost, but for those that had
    /// ended and left a report.
    fn bury(&self) -> Result<()> {
        if self.worker.is_alive()? {
            return Ok(());
        }
        let began = bury(&self.worker.state_dir, &self.engine)?;
        for worker in self.process_workers() {
            self.lose(worker, began.clone());
        }
        Ok(())
    }

    fn process_workers(&self) -> Vec<WorkerId> {
        // An engine that has ended needs to be told nothing.
        process_workers(&self.engine).unwrap_or_default()
    }

    fn lose(&self, worker: WorkerId, began: Option<Vec<Token>>) {
        let command = Command::Lose { worker, began };
        drop(self.engine.send(Request::Command { command, answer: None }));
    }
}

/// The workers that run processes, connected or not; none when the engine has ended. Services and clients with
/// ad-hoc claims are not to be buried with them.
pub fn process_workers(engine: &Sender<Request>) -> Option<Vec<WorkerId>> {
    let (look, seen) = crossbeam_channel::bounded(1);
    let is_process = |view: &orchd_core::WorkerView| &*view.note.kind == "process";
    let inspect = move |core: &orchd_core::Core| {
        let ids = core.workers().into_iter().filter(is_process).map(|view| view.id).collect();
        // Who asked waits for it.
        drop(look.send(ids));
    };
    engine.send(Request::Inspect(Box::new(inspect))).ok()?;
    seen.recv().ok()
}

/// Makes sure that a dead worker's processes are dead, and hands in the reports it left. Gives the attempts
/// that it had begun; none in a state directory without a worker's table, such as that of a restored backup: there
/// everything that ran is lost.
///
/// # Errors
/// When processes cannot be found or ended, or reports cannot be read.
pub fn bury(state_dir: &std::path::Path, engine: &Sender<Request>) -> Result<Option<Vec<Token>>> {
    if !orchd_worker::has_table(state_dir) {
        return Ok(None);
    }
    let fenced = orchd_worker::fence(state_dir).context("cannot end what a dead worker left")?;
    if !fenced.is_empty() {
        tracing::info!(attempts = fenced.len(), "what a dead worker left has been ended");
    }
    // What had begun of that which was placed ahead is an attempt; the rest is not.
    for token in fenced.iter().copied() {
        let command = Command::Begun { worker: None, token, at: Time(u64::MAX) };
        if engine.send(Request::Command { command, answer: None }).is_err() {
            return Ok(Some(fenced));
        }
    }
    let reports = orchd_worker::read_reports(state_dir).context("cannot read the reports a worker left")?;
    let mut answers = Vec::new();
    for report in reports {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let command = Command::Report { worker: None, report };
        if engine.send(Request::Command { command, answer: Some(answer) }).is_err() {
            return Ok(Some(fenced));
        }
        answers.push(answered);
    }
    for answered in answers {
        // Stale ones are settled, too. An answer means that it is durable.
        if answered.blocking_recv().is_err() {
            return Ok(Some(fenced));
        }
    }
    orchd_worker::clear_reports(state_dir).context("cannot clear the reports a worker left")?;
    Ok(Some(fenced))
}
