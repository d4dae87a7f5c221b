//! A daemon for one test: the real binaries in a directory of their own, which is found dead and empty when
//! the test has ended, however it ended.
//!
//! Everything that a test starts has the path of its directory in its environment: the daemon and the worker
//! in `ORCHD_STATE_DIR`, tasks in `ORCHD_SOCKET`. That is how [`Daemon`] finds what there is left to end.
//! Nothing here waits for a time to pass: [`until`] looks again and again, and gives up after [`PATIENCE`].

pub mod http;
pub mod page;
pub mod process;
pub mod program;
pub mod random;
pub mod terminal;

use orchd_client::api::{Event, EventQuery, ListQuery, Selector, Stats, Task, WaitRequest, Worker};
use orchd_client::blocking::Client;
use orchd_client::{Claim, Status, TaskId, TaskSpec};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub use program::Said;

/// What is waited for comes within this time, or never.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// Returns once something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < give_up, "waited in vain: {what}");
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// A daemon and its directory. All of its processes are killed when this is dropped.
pub struct Daemon {
    directory: tempfile::TempDir,
    slots: u32,
    process: Option<Child>,
    /// What else the daemon and every other program of ours finds in its environment.
    pub environment: BTreeMap<String, String>,
}

impl Daemon {
    /// Starts one that runs so many processes at once; 0: as many as its configuration says.
    pub fn start(slots: u32) -> Self {
        Self::configured(slots, "")
    }

    /// Starts one with a configuration.
    pub fn configured(slots: u32, config: &str) -> Self {
        let mut daemon = Self::stopped(slots, config);
        daemon.start_again();
        daemon
    }

    /// A place for a daemon that does not run yet.
    pub fn stopped(slots: u32, config: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("orchd-test-").tempdir().unwrap();
        fs::write(directory.path().join("orchd.toml"), config).unwrap();
        Self { directory, slots, process: None, environment: BTreeMap::new() }
    }

    /// Starts the daemon again in the same state directory.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.launch();
        self.until_it_answers();
    }

    /// Sends a signal to the daemon and starts the next one without a look at what became of it.
    pub fn replace(&mut self, signal: Signal) {
        process::send(self.pid(), signal);
        let mut former = self.process.take().unwrap();
        self.launch();
        until("the last daemon has ended", || former.try_wait().unwrap().is_some());
        self.until_it_answers();
    }

    fn launch(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("daemon.log")).unwrap();
        let mut command = self.program(env!("CARGO_BIN_EXE_orchd"));
        if self.slots > 0 {
            command.args(["--slots", &self.slots.to_string()]);
        }
        self.process = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn until_it_answers(&mut self) {
        until("the daemon answers", || {
            let process = self.process.as_mut().unwrap();
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the daemon has ended: {status}");
            }
            Client::connect(self.socket()).is_ok()
        });
    }

    /// Ends the daemon as the kernel would, and nothing else.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Ends the daemon as the kernel would, and starts the next one.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Asks the daemon to end with SIGTERM, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        process::send(self.pid(), Signal::TERM);
        self.ended()
    }

    /// Waits until the daemon has ended by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        until("the daemon ends", || process.try_wait().unwrap().is_some());
        process.wait().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/s")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// A path in the test's own directory, in which tasks and programs run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The lines of a file, none when there is no such file.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A program of ours with the places of this daemon in its environment, and nothing else but PATH.
    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .env("HOME", self.directory.path())
            .env("ORCHD_SOCKET", self.socket())
            .env("ORCHD_STATE_DIR", self.state_dir())
            .env("ORCHD_CONFIG", self.path("orchd.toml"))
            .envs(&self.environment)
            .current_dir(self.directory.path());
        command
    }

    /// Runs `orchctl` to its end.
    pub fn orchctl<S: AsRef<str>>(&self, arguments: &[S]) -> Said {
        let mut command = self.program(env!("CARGO_BIN_EXE_orchctl"));
        command.args(arguments.iter().map(AsRef::as_ref));
        program::run(command, b"")
    }

    /// Runs `orchctl` to its end with something to read.
    pub fn orchctl_reading(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut command = self.program(env!("CARGO_BIN_EXE_orchctl"));
        command.args(arguments);
        program::run(command, input)
    }

    /// Runs `orchd` with a verb to its end.
    pub fn orchd(&self, arguments: &[&str]) -> Said {
        let mut command = self.program(env!("CARGO_BIN_EXE_orchd"));
        command.args(arguments);
        program::run(command, b"")
    }

    pub fn client(&self) -> Client {
        Client::connect(self.socket()).unwrap()
    }

    /// A shell line that runs in the test's directory.
    pub fn shell(&self, line: impl Into<String>) -> TaskSpec {
        let cwd = Some(self.directory.path().to_str().unwrap().to_owned());
        let env = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
        TaskSpec { cwd, env: env.into(), ..TaskSpec::shell(line) }
    }

    pub fn submit(&self, spec: TaskSpec) -> TaskId {
        self.client().submit(spec).unwrap().id
    }

    /// Adds tasks, none of which is refused.
    pub fn submit_many(&self, specs: impl IntoIterator<Item = TaskSpec>) -> Vec<TaskId> {
        let added = self.client().submit_many(specs).unwrap();
        added.into_iter().map(|item| item.unwrap()).collect()
    }

    pub fn task(&self, id: TaskId) -> Task {
        self.client().get(id).unwrap()
    }

    pub fn status(&self, id: TaskId) -> Status {
        self.task(id).status
    }

    pub fn until_status(&self, id: TaskId, status: Status) {
        let client = self.client();
        until(&format!("task {id} is {status}"), || client.get(id).unwrap().status == status);
    }

    /// Waits until these have ended.
    pub fn wait(&self, ids: &[TaskId]) {
        let timeout = Some((PATIENCE * 3).into());
        let ids: Vec<_> = ids.iter().map(|id| (*id).into()).collect();
        let reply = self
            .client()
            .wait(WaitRequest { select: Selector { ids, ..Selector::default() }, timeout })
            .unwrap();
        let open: Vec<_> = reply.tasks.iter().filter(|task| !task.status.unwrap().is_terminal()).collect();
        assert!(reply.done, "not ended: {} tasks, {:?} …", open.len(), open.first());
    }

    /// Waits until a task has ended and gives it.
    pub fn ended_task(&self, id: TaskId) -> Task {
        self.wait(&[id]);
        self.task(id)
    }

    pub fn stats(&self) -> Stats {
        self.client().stats().unwrap()
    }

    /// Everything there is.
    pub fn all_tasks(&self) -> Vec<Task> {
        self.client().list(ListQuery { limit: Some(0), ..ListQuery::default() }).unwrap()
    }

    /// The events so far, of one task or of all.
    pub fn events(&self, task: Option<TaskId>) -> Vec<Event> {
        let query = EventQuery { since: Some(0), task, no_follow: true, ..EventQuery::default() };
        self.client().events(query).unwrap().map(|event| event.unwrap()).collect()
    }

    /// The connected worker.
    pub fn worker(&self) -> Worker {
        let client = self.client();
        let mut found = None;
        until("a worker is connected", || {
            found = client.workers().unwrap().into_iter().find(|worker| worker.connected_at.is_some());
            found.is_some()
        });
        found.unwrap()
    }

    /// Ends the worker as the kernel would.
    pub fn kill_worker(&self) {
        process::send(self.worker().pid, Signal::KILL);
    }

    /// The processes of a task's attempts, wherever they have got to.
    pub fn processes_of(&self, id: TaskId) -> Vec<u32> {
        let socket = format!("ORCHD_SOCKET={}", self.socket().display());
        process::with_variables(&[socket.as_bytes(), format!("ORCHD_TASK_ID={id}").as_bytes()])
    }

    /// Every process that belongs to this test.
    pub fn all_processes(&self) -> Vec<u32> {
        process::all_of(self.directory.path())
    }

    /// What is held when nothing runs: nothing.
    pub fn assert_nothing_is_held(&self) {
        let stats = self.stats();
        assert_eq!((stats.running, stats.slots.used), (0, 0), "{stats:?}");
        for resource in stats.resources {
            assert!(resource.holders.is_empty() && resource.held.as_f64() == 0.0, "{resource:?}");
            assert_eq!((resource.waiting, resource.reserved), (0, 0), "{resource:?}");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
        process::kill_all_of(self.directory.path());
        process::remove_groups(&self.path("state/worker/cgroup"));
        if std::thread::panicking() {
            for log in ["daemon.log", "state/worker.log"] {
                show_end_of(&self.path(log));
            }
        }
    }
}

/// What a daemon or worker said last, for who reads about a failed test.
fn show_end_of(log: &Path) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(20)..];
    eprintln!("--- {}\n{}", log.display(), shown.join("\n"));
}

/// Claims as the command line writes them.
pub fn claims(texts: &[&str]) -> Vec<Claim> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A shell word that waits until a file is there.
pub fn gate(name: &str) -> String {
    format!("until [ -e {name} ]; do sleep 0.01; done;")
}
