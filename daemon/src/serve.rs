//! Starting and stopping: opens the store, starts the threads, listens, and ends everything in order.
//!
//! ```text
//! lock the state directory → load → engine, writer, outbox → bury a dead worker → listen → worker
//! ```
//! Stopping goes the other way: no new connections, streams end, the engine commits what it has, the lock
//! goes last. Running tasks stay with the worker unless it was asked otherwise.

use anyhow::{Context, Result};
use crossbeam_channel::bounded;
use orchd_core::{Command, Core, Output, Snapshot};
use orchd_model::{Time, limits};
use orchd_store::{SqliteStore, StateDir, Store, StoreError};
use orchd_worker::StatePaths;
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::absent;
use crate::aside::Aside;
use crate::clock::Clock;
use crate::config::{Config, Flags};
use crate::damage;
use crate::desk::Desk;
use crate::documents;
use crate::engine::{Engine, Request};
use crate::feed::Feed;
use crate::hooks;
use crate::http::{self, Shell};
use crate::inputs::Inputs;
use crate::last_end::{LastEnd, Marker};
use crate::live::{self, Live};
use crate::load_guard;
use crate::local_worker::{self, Asks, Fence, LocalWorker};
use crate::logs::Logs;
use crate::outbox::Outbox;
use crate::readers::Readers;
use crate::schedules::{self, Nudge};
use crate::sessions::Sessions;
use crate::shutdown::{self, Wishes};
use crate::spared::Sparing;
use crate::statistics::Statistics;
use crate::succession;
use crate::sweeper;
use crate::systemd;
use crate::transformer::{Transformer, Unmade};
use crate::trimming::Trimming;
use crate::writer::Writer;

/// The configured state directory.
///
/// # Errors
/// When there is neither a home nor an explicit directory.
pub fn state_dir(config: &Config) -> Result<PathBuf> {
    config.state_dir.clone().context("neither XDG_STATE_HOME nor HOME is set: give --state-dir")
}

/// Runs the daemon until it is asked to end.
///
/// # Errors
/// Whatever keeps it from starting, with a hint where there is one.
pub fn daemon(flags: Flags, config: Config, logs: Logs) -> Result<ExitCode> {
    let (state_dir, socket) = (state_dir(&config)?, config.socket.clone());
    let running = Running::start(config, state_dir, socket, false)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        systemd::feed_watchdog(&running.shell);
        systemd::ready(&running.shell.live.status());
        let shell = Arc::downgrade(&running.shell);
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                let Some(shell) = shell.upgrade() else { return };
                systemd::reloading();
                if let Err(error) = live::reload(&shell, &flags, &logs).await {
                    tracing::error!("the configuration stays as it was: {error:#}");
                }
                systemd::ready(&shell.live.status());
            }
        });
        running
            .serve(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await
    })?;
    // A hook may be waiting for an answer: the next daemon asks again.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// The shell's threads. Two are enough: the work is the engine's and the store's.
///
/// # Errors
/// When threads cannot be started.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("shell")
        .enable_all()
        .build()
        .context("cannot start the shell's threads")
}

/// A daemon whose threads run, and that is ready to listen.
pub struct Running {
    /// Held until the end. Dropped last.
    lock: StateDir,
    marker: Arc<Marker>,
    last_end: LastEnd,
    engine: crossbeam_channel::Sender<Request>,
    threads: Vec<JoinHandle<()>>,
    listener: std::os::unix::net::UnixListener,
    socket: PathBuf,
    shell: Arc<Shell>,
    asked: Wishes,
    stop: watch::Sender<bool>,
    worker: LocalWorker,
    asks: Asks,
    stopping: Arc<AtomicBool>,
}

impl Running {
    /// Opens the store and starts the threads. A tethered worker dies with this daemon.
    ///
    /// # Errors
    /// When the state directory is in use or the store cannot be opened, or the socket not bound.
    pub fn start(config: Config, state_dir: PathBuf, socket: PathBuf, tethered: bool) -> Result<Self> {
        let live = Arc::new(Live::new(config)?);
        if !state_dir.exists() {
            // Nothing is made that will not be used. Where there is one, its lock tells more.
            crate::socket::refuse_live(&socket)?;
        }
        let lock = succession::open(&state_dir)?;
        let mut store = SqliteStore::open(&lock)?;
        let (marker, last_end) = Marker::begin(&state_dir)?;
        if last_end == LastEnd::Lost {
            tracing::warn!("the machine stopped while a daemon ran: the store is looked through first");
            if let Err(error) = store.reader()?.check() {
                marker.distrust();
                return Err(error.into());
            }
        }
        let mut snapshot = store.load()?;
        if tethered {
            // Somebody goes on with what was killed by hand.
            snapshot.forget_losses();
        }
        tracing::info!(state_dir = %state_dir.display(), "loaded {}", documents::describe_snapshot(&snapshot));
        let (fence, asks) = local_worker::channel();
        let worker = LocalWorker {
            socket: socket.clone(),
            state_dir: state_dir.clone(),
            live: Arc::clone(&live),
            tethered,
        };
        let worker_is_alive = worker.is_alive()?;
        let (engine, shell, threads, asked, stop) =
            Threads { live: Arc::clone(&live), store, snapshot, fence, state_dir, last_end, tethered }
                .start()?;
        // One that a killed daemon had just started may have come to life since it was looked for.
        if !worker_is_alive
            && let Err(error) = bury_worker(&worker.state_dir, &engine)
            && !worker.is_alive()?
        {
            return Err(error);
        }
        absent::look_after(&engine, live.config().core.lease.into())?;
        let listener = crate::socket::bind(&socket, live.config().access.lets_others_in())?;
        let stopping = Arc::new(AtomicBool::new(false));
        Ok(Self {
            lock,
            marker: Arc::new(marker),
            last_end,
            engine,
            threads,
            listener,
            socket,
            shell,
            asked,
            stop,
            worker,
            asks,
            stopping,
        })
    }

    /// What its tasks share.
    pub fn shell(&self) -> &Arc<Shell> {
        &self.shell
    }

    /// Serves until `interrupted` or a request to end, then ends in good order.
    ///
    /// # Errors
    /// When a thread cannot be started or the engine has failed.
    pub async fn serve(self, interrupted: impl Future<Output = ()>) -> Result<()> {
        let Self {
            lock,
            marker,
            last_end,
            engine,
            mut threads,
            listener,
            socket,
            shell,
            asked,
            stop,
            worker,
            asks,
            stopping,
        } = self;
        let listener = tokio::net::UnixListener::from_std(listener).context("cannot listen")?;
        tracing::info!(socket = %socket.display(), "listening");
        if last_end == LastEnd::Killed {
            look_through(&shell, &marker)?;
        }
        hooks::start(&shell).await?;
        let serving = tokio::spawn(http::serve(listener, Arc::clone(&shell)));
        let keeping = tokio::spawn(keep_schedules(&shell));
        let (sessions, inbox, flag) = (Arc::clone(&shell.sessions), engine.clone(), Arc::clone(&stopping));
        let supervisor = std::thread::Builder::new().name("supervisor".to_owned());
        let is_service = !worker.tethered;
        let supervise = move || worker.supervise(asks, inbox, sessions, flag);
        // Not joined: it waits for the worker, which may outlive the daemon.
        drop(supervisor.spawn(supervise).context("cannot start the worker's supervisor")?);
        tokio::pin!(interrupted);
        asked.wait(&shell, &mut interrupted, &stopping, is_service).await;
        lock.leave();
        // Gone before the lock, so that the next daemon never takes it for a live one's.
        if let Err(error) = std::fs::remove_file(&socket) {
            tracing::warn!(%error, socket = %socket.display(), "the socket stays");
        }
        // Nobody may be left to be told.
        let _ = stop.send(true);
        drop((serving.await, keeping.await));
        hooks::leave(&shell).await;
        let (done, ended) = oneshot::channel();
        let sent = engine.send(Request::Stop(done));
        let ended = if sent.is_ok() { ended.await.ok() } else { None };
        drop((engine, shell));
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                anyhow::bail!("a thread of the daemon has failed; what was acknowledged is on disk");
            }
        }
        ended.context("the engine ended before its work was on disk")?;
        marker.end();
        tracing::info!("stopped");
        Ok(())
    }
}

/// Brings the ticks of schedules for as long as the daemon serves.
fn keep_schedules(shell: &Arc<Shell>) -> impl Future<Output = ()> + Send + use<> {
    let (nudge, shell) = (Nudge::clone(&shell.schedules), Arc::downgrade(shell));
    async move {
        if let Err(error) = schedules::keep(shell, nudge).await {
            tracing::error!(%error, "schedules have no ticks: there is no timer");
        }
    }
}

/// Looks for damage while the daemon serves. A damaged store ends it: what is written to one may be lost.
fn look_through(shell: &Arc<Shell>, marker: &Arc<Marker>) -> Result<()> {
    let (shell, marker) = (Arc::downgrade(shell), Arc::clone(marker));
    tracing::info!("the last daemon was killed: the store is looked through meanwhile");
    let look = move || {
        // A daemon that ends has its threads joined and its store closed; it need not wait for this one.
        let Some(mut reader) = shell.upgrade().and_then(|shell| shell.readers.open().ok()) else { return };
        if let Err(error @ StoreError::Corrupt(_)) = reader.check() {
            marker.distrust();
            tracing::error!("{}", damage::advice(&error));
            std::process::exit(damage::EXIT);
        }
    };
    let thread = std::thread::Builder::new().name("check".to_owned()).spawn(look);
    thread.context("cannot start the check of the store").map(drop)
}

/// A worker that died with the last daemon is buried before anything new starts.
fn bury_worker(state_dir: &Path, engine: &crossbeam_channel::Sender<Request>) -> Result<()> {
    let began = local_worker::bury(state_dir, engine)?;
    let ended = || anyhow::anyhow!("the engine ended");
    for worker in local_worker::process_workers(engine).ok_or_else(ended)? {
        let command = Command::Lose { worker, began: began.clone() };
        engine.send(Request::Command { command, answer: None }).map_err(|_| ended())?;
    }
    Ok(())
}

/// What the threads are made of.
struct Threads {
    live: Arc<Live>,
    store: SqliteStore,
    snapshot: Snapshot,
    fence: Fence,
    state_dir: PathBuf,
    last_end: LastEnd,
    /// What ran has ended with the last daemon.
    tethered: bool,
}

/// The scheduler as the last daemon left it. Of one whose worker was tethered nothing has run since then.
fn load(live: &Live, snapshot: Snapshot, now: Time, tethered: bool, out: &mut Output) -> Core {
    let left = snapshot.meta.last_time;
    let mut core = Core::load(live.config().core.clone(), snapshot, now, out);
    if tethered {
        core.begin_runs_anew(left, out);
    }
    core
}

type Started =
    (crossbeam_channel::Sender<Request>, Arc<Shell>, Vec<JoinHandle<()>>, Wishes, watch::Sender<bool>);

impl Threads {
    fn start(self) -> Result<Started> {
        let Self { live, store, snapshot, fence, state_dir, last_end, tethered } = self;
        let (clock, config) = (Clock::start(snapshot.meta.last_time), live.config());
        let (sessions, feed) = (Arc::new(Sessions::new(config.core.lease)), Arc::new(Feed::new()));
        let (schedules, mut first) = (Nudge::default(), Output::default());
        let mut core = load(&live, snapshot, clock.now(), tethered, &mut first);
        let statistics = Arc::new(RwLock::new(Statistics::load(&core, &mut *store.reader()?)?));
        let (readers, (engine, inbox)) = (Readers::new(store.reader_factory()), bounded(limits::INBOX));
        // One batch is committed while the next one gathers; a third would only wait.
        let (batches, writer_inbox) = bounded(1);
        let ((committed, engine_inbox), (releases, outbox_inbox)) = (bounded(2), bounded(64));
        let (unmade, transformer_thread) = start_transformer(store.reader()?, &engine)?;
        let (sweeper, sweeper_thread) = start_sweeper(&state_dir, &store, last_end)?;
        let engine_thread = Engine {
            unmade,
            load_watch: start_load_watch(&engine, &live, &mut core)?,
            core,
            clock,
            history: store.reader()?,
            live: Arc::clone(&live),
            sparing: Sparing::default(),
            sessions: Arc::clone(&sessions),
            full: false,
            inbox,
            batches,
            committed: engine_inbox,
        };
        let (aside, errands) = Aside::new(Desk::new(store.reader()?, &live, &engine), &sessions);
        let outbox_thread = Outbox {
            releases: outbox_inbox,
            desk: Desk::new(store.reader()?, &live, &engine),
            aside,
            sessions: Arc::clone(&sessions),
            feed: Arc::clone(&feed),
            fence: fence.clone(),
            schedules: schedules.clone(),
        };
        let writer_thread = Writer {
            store,
            batches: writer_inbox,
            committed,
            releases,
            statistics: statistics.clone(),
            trimming: Trimming::new(Arc::clone(&live), clock, sweeper, engine_thread.sparing.clone()),
        };
        let threads = vec![
            sweeper_thread,
            spawn("engine", move || engine_thread.run(first))?,
            spawn("writer", move || writer_thread.run())?,
            spawn("outbox", move || outbox_thread.run(errands))?,
            transformer_thread,
        ];
        let ((shutdown, asked), (stop, stopping)) = (shutdown::channel(), watch::channel(false));
        let shell = Shell {
            engine: engine.clone(),
            readers,
            sessions,
            feed,
            statistics,
            clock,
            hooks: hooks::all(&live.config().hooks),
            live,
            state_dir,
            fence,
            shutdown,
            schedules,
            stopping,
        };
        Ok((engine, Arc::new(shell), threads, asked, stop))
    }
}

/// The thread that removes output; it first looks for what nobody knows, if it is given a store to ask.
fn start_sweeper(
    state_dir: &Path,
    store: &SqliteStore,
    last_end: LastEnd,
) -> Result<(sweeper::Sweeper, JoinHandle<()>)> {
    let orphans = if last_end == LastEnd::Clean { None } else { Some(store.reader()?) };
    let (sweeper, sweepings) = sweeper::channel();
    let paths = StatePaths::new(state_dir);
    Ok((sweeper, spawn("sweeper", move || sweepings.run(&paths, orphans))?))
}

/// The thread that makes results into what is kept of them.
fn start_transformer(
    history: Box<dyn orchd_store::History>,
    engine: &crossbeam_channel::Sender<Request>,
) -> Result<(crossbeam_channel::Sender<Unmade>, JoinHandle<()>)> {
    // Bounded by the slots of the workers: each waits for its answer.
    let (unmade, inbox) = crossbeam_channel::unbounded();
    let transformer = Transformer { inputs: Inputs::new(history), unmade: inbox, engine: engine.clone() };
    Ok((unmade, spawn("transformer", move || transformer.run())?))
}

/// The thread that looks at the load of the machine; it ends with the engine.
fn start_load_watch(
    engine: &crossbeam_channel::Sender<Request>,
    live: &Arc<Live>,
    core: &mut Core,
) -> Result<crossbeam_channel::Sender<()>> {
    let (load_watch, watching) = load_guard::channel(engine.clone(), Arc::clone(live));
    core.hold_back(load_guard::at_first(&live.config().load_guard));
    drop(spawn("load", move || watching.run())?);
    Ok(load_watch)
}

/// A thread whose panic ends the process: nothing may go on without it.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let guarded = move || {
        let guard = AbortOnPanic;
        body();
        std::mem::forget(guard);
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .with_context(|| format!("cannot start {name}"))
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        // Only reached while a panic unwinds. A restart recovers what is durable.
        std::process::abort();
    }
}
