//! A worker process and a small daemon that speaks with it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures_util::{SinkExt, StreamExt};
use orchd_api::{Assignment, FromWorker, StartedAttempt, ToWorker, WorkerHello};
use orchd_model::{AttemptReport, Span, Token, WorkerId};
use orchd_worker::{CgroupPlace, Options, StatePaths, run};
use std::future::Future;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::attempts::{PATIENCE, until};

const STATE: &str = "TEST_WORKER_STATE";
const SLOTS: u32 = 2;

/// What the test program does when it was started to be a worker; else nothing.
pub fn be_a_worker_if_asked() {
    let Some(state) = std::env::var_os(STATE).map(PathBuf::from) else { return };
    let socket = state.join("orchd.sock");
    let code = match run(Options {
        socket,
        state_dir: state,
        slots: SLOTS,
        output_bytes: 1 << 20,
        cgroup: CgroupPlace::Auto,
        tethered: false,
    }) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            3
        }
    };
    std::process::exit(code);
}

/// A directory, and who lives in it.
pub struct House {
    runtime: Runtime,
    directory: tempfile::TempDir,
}

impl House {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, directory: tempfile::tempdir().unwrap() }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    pub fn paths(&self) -> StatePaths {
        StatePaths::new(self.directory.path())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A pipe with a name: who reads it waits for who writes it.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// Starts a worker process.
    pub fn worker(&self) -> WorkerProcess {
        self.worker_by(Command::new(std::env::current_exe().unwrap()))
    }

    /// Starts a worker process in which SIGTERM is blocked in every thread, as `run` does it for a program
    /// that has one thread; a test program has more. None where env(1) cannot do that.
    pub fn worker_that_blocks_sigterm(&self) -> Option<WorkerProcess> {
        let block = "--block-signal=TERM";
        if !Command::new("env").args([block, "true"]).stderr(Stdio::null()).status().unwrap().success() {
            return None;
        }
        let mut command = Command::new("env");
        command.arg(block).arg(std::env::current_exe().unwrap());
        Some(self.worker_by(command))
    }

    fn worker_by(&self, mut command: Command) -> WorkerProcess {
        let child = command
            .args(["--exact", "worker_process", "--nocapture", "--test-threads=1"])
            .env(STATE, self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        WorkerProcess { child }
    }

    /// Begins to listen, as a daemon does that was just started.
    pub fn daemon(&self) -> Daemon<'_> {
        let socket = self.path("orchd.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = self.wait(async { UnixListener::bind(socket).unwrap() });
        Daemon { house: self, listener }
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
    }
}

/// A worker in a process of its own, killed when the test ends.
pub struct WorkerProcess {
    child: Child,
}

impl WorkerProcess {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for its end.
    pub fn ended(mut self) -> ExitStatus {
        let child = std::cell::RefCell::new(&mut self.child);
        until(|| child.borrow_mut().try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon's socket.
pub struct Daemon<'a> {
    house: &'a House,
    listener: UnixListener,
}

impl<'a> Daemon<'a> {
    /// Waits for a worker and welcomes it.
    pub fn welcome(&self, lease: Span) -> (Session<'a>, WorkerHello) {
        self.house.wait(async {
            let (stream, _) = self.listener.accept().await.unwrap();
            let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let mut session = Session { house: self.house, socket };
            let FromWorker::Hello(hello) = session.next().await else { panic!("no hello") };
            session.put(&ToWorker::Welcome { worker: WorkerId(1), lease }).await;
            (session, hello)
        })
    }
}

/// A worker's session, as the daemon has it.
pub struct Session<'a> {
    house: &'a House,
    socket: WebSocketStream<UnixStream>,
}

impl Session<'_> {
    async fn next(&mut self) -> FromWorker {
        match self.socket.next().await.unwrap().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn put(&mut self, message: &ToWorker) {
        let text = serde_json::to_string(message).unwrap();
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub fn receive(&mut self) -> FromWorker {
        let house = self.house;
        house.wait(self.next())
    }

    pub fn send(&mut self, message: &ToWorker) {
        let house = self.house;
        house.wait(self.put(message));
    }

    pub fn assign(&mut self, assignments: impl Into<Vec<Assignment>>) {
        self.send(&ToWorker::Assign { assignments: assignments.into() });
    }

    pub fn ack(&mut self, token: u64) {
        self.send(&ToWorker::Ack { tokens: vec![Token(token)] });
    }

    /// Waits for starts and ends until there are as many of each.
    pub fn reports(&mut self, starts: usize, ends: usize) -> (Vec<StartedAttempt>, Vec<AttemptReport>) {
        let (mut started, mut ended) = (Vec::new(), Vec::new());
        while started.len() < starts || ended.len() < ends {
            match self.receive() {
                FromWorker::Report { started: more, ended: ends, .. } => {
                    started.extend(more);
                    ended.extend(ends);
                }
                FromWorker::Heartbeat => {}
                other @ (FromWorker::Hello(_) | FromWorker::Loosen { .. }) => panic!("{other:?}"),
            }
        }
        assert_eq!((started.len(), ended.len()), (starts, ends));
        (started, ended)
    }
}
