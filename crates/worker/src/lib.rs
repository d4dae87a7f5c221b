//! The process worker of orchd: a process of its own that runs commands for the daemon, keeps them running
//! through a crash, kill -9 or upgrade of the daemon, and reports how they ended.
//!
//! [`run`] is the worker. The daemon that starts it also uses the rest: [`worker_pid`] and [`is_running`] to
//! find out whether one lives, [`kill_worker`] for one that hangs, [`fence`] after its death to make sure that
//! nothing of its attempts lives on, [`read_reports`] for what it could not tell, and [`StatePaths`] for output.
//!
//! This crate does NOT contain scheduling, retries or the meaning of outcomes.

mod board;
mod cap;
mod cgroup;
mod family;
mod fence;
mod image;
mod jobserver;
mod launch;
mod layout;
mod ledger;
mod lock;
mod memory;
mod process;
mod progress;
mod reports;
#[doc(hidden)]
pub mod runner;
mod session;
mod slot;
mod spawner;
mod sweep;
mod sys;
mod table;
mod usage;

pub use cap::is_cut;
pub use cgroup::CgroupPlace;
pub use fence::{fence, has_table};
pub use layout::{StatePaths, Stream};
pub use lock::{is_running, kill_worker, worker_pid};
pub use reports::{clear_reports, read_reports};

use std::io;
use std::path::PathBuf;
use tokio::sync::mpsc;

use ledger::Ledger;
use lock::WorkerLock;
use reports::ReportSpool;
use runner::{Runner, RunnerSettings};

/// How a worker is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemon's socket. Commands find it in `$ORCHD_SOCKET`.
    pub socket: PathBuf,
    /// The state directory, which the worker shares with its daemon.
    pub state_dir: PathBuf,
    /// Commands that may run at once.
    pub slots: u32,
    /// How much is kept of each stream of output.
    pub output_bytes: u64,
    /// Where control groups may be made.
    pub cgroup: CgroupPlace,
    /// Whether it ends with the process that has started it, and everything that it runs with it.
    pub tethered: bool,
}

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// There is one already.
    #[error("another worker is running in this state directory: {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// Processes of an earlier worker could not be got rid of.
    #[error("the attempts of an earlier worker could not be cleared away: {0}")]
    Fence(#[source] io::Error),
    /// The system did not let it begin.
    #[error("the worker cannot start: {0}")]
    Start(#[from] io::Error),
}

/// Works for the daemon: connects, runs what it is assigned, and reports. Returns when the daemon has told it
/// to exit and nothing runs, or when there is no daemon, nothing runs and every report is in the spool.
///
/// To be called on the main thread of a process of its own, before there are others: it leaves the session
/// it was started in, ignores SIGINT and SIGHUP, and on SIGTERM exits only if nothing runs.
///
/// # Errors
/// When there is another worker in the state directory, or something that it needs to begin cannot be had.
pub fn run(options: Options) -> Result<(), WorkerError> {
    let paths = StatePaths::new(std::path::absolute(&options.state_dir)?);
    let socket = std::path::absolute(&options.socket)?;
    // A process that leads its session already cannot and need not.
    let _ = rustix::process::setsid();
    sys::close_inherited_on_exec();
    sys::default_dispositions(true);
    let terminations = sys::terminations()?;
    let parent = options.tethered.then(sys::parent).transpose()?;
    paths.create(options.slots.max(1))?;
    let Some(_lock) = WorkerLock::take(&paths)? else {
        return Err(WorkerError::AlreadyRunning(options.state_dir));
    };
    // The daemon does this before it starts a worker; if it did not, what is left must not go on unseen.
    let lost = fence::clear_attempts(&paths).map_err(WorkerError::Fence)?;
    if !lost.is_empty() {
        tracing::warn!(attempts = lost.len(), "attempts of an earlier worker were ended");
    }
    let _ = std::fs::remove_dir_all(paths.slots());
    paths.create(options.slots.max(1))?;
    let (spool, left) = ReportSpool::open(&paths)?;
    // Not bounded, since a spawner must not wait: an attempt that is held tells at most twice.
    let (events, told) = mpsc::unbounded_channel();
    let settings = RunnerSettings {
        paths: paths.clone(),
        socket: socket.clone(),
        slots: options.slots,
        output_bytes: options.output_bytes,
        cgroup: options.cgroup.clone(),
    };
    let runner = Runner::start(settings, move |event| {
        let _ = events.send(event);
    })?;
    let options = Options { socket, ..options };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let terminations = sys::watch(terminations)?;
        let work = session::Main::new(&options, runner, told, terminations, Ledger::new(spool, left)).run();
        let Some(parent) = parent.map(sys::watch).transpose()? else {
            work.await;
            return Ok(());
        };
        tokio::select! {
            () = work => Ok(()),
            // The runner is dropped by then, and has killed what it has started; their children may go on.
            _ = parent.readable() => fence::end_attempts(&paths).map_err(WorkerError::Fence),
        }
    })
}
