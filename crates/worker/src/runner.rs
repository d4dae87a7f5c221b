//! The runner: performs assignments in processes, and tells when they have begun and ended.
//!
//! It owns the spawners, permanent threads that start processes and wait for them, one for each core: a
//! process gets SIGKILL when the thread that started it ends, so that thread must not. Orders go in through
//! [`Runner::assign`] and [`Runner::stop`], which do not block; what happens comes out through the function
//! given to [`Runner::start`], called on a spawner's thread.

use crossbeam_channel::Sender;
use orchd_api::{Assignment, AttemptProgress, HeldAttempt, StartedAttempt, StopCause, StopOrder};
use orchd_model::{AttemptReport, Outcome, Token, limits};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::board::{Board, Placed, Stopping};
use crate::cgroup::{CgroupPlace, Cgroups};
use crate::spawner::{Order, Spawner};
use crate::table::AttemptsTable;
use crate::{StatePaths, cgroup, jobserver, sys};

/// Orders that may wait for a spawner before the sender does: far more than a spawner leaves lying.
const ORDERS: usize = 1024;
/// Two spools, a pidfd, a file that is standard input, and the pipe of progress.
const DESCRIPTORS_PER_SLOT: u64 = 5;
/// For everything else that the process has open.
const SPARE_DESCRIPTORS: u64 = 256;
/// A spawner's calls are shallow; processes have a stack of their own.
const THREAD_STACK_BYTES: usize = 256 << 10;

/// What the runner tells.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptEvent {
    /// A process runs.
    Started(StartedAttempt, Instant),
    /// An attempt has ended, and all processes of its group are gone.
    Ended(AttemptReport),
    /// An attempt has said how far it has come.
    Progress(AttemptProgress),
    /// An assignment that waited for a slot was recalled or stopped: it does not begin.
    Unbegun(Token),
}

/// How a runner is set up.
#[derive(Clone, Debug)]
pub struct RunnerSettings {
    /// Where things are kept.
    pub paths: StatePaths,
    /// What commands find in `$ORCHD_SOCKET`.
    pub socket: PathBuf,
    /// Attempts that may run at once; at least one.
    pub slots: u32,
    /// How much is kept of each stream of output.
    pub output_bytes: u64,
    /// Where control groups may be made.
    pub cgroup: CgroupPlace,
}

/// Where a spawner gets its orders.
pub(crate) struct Mailbox {
    orders: Sender<Order>,
    pub(crate) wake: OwnedFd,
    /// Whether it waits, and must be woken to see an order.
    pub(crate) asleep: AtomicBool,
}

impl Mailbox {
    fn send(&self, order: Order) {
        // The receiver is gone only while the process ends.
        let _ = self.orders.send(order);
        if self.asleep.swap(false, Ordering::SeqCst) {
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }
}

/// What the spawners and their orderer share.
pub(crate) struct Shared {
    pub(crate) settings: RunnerSettings,
    pub(crate) board: Mutex<Board>,
    pub(crate) table: AttemptsTable,
    pub(crate) mailboxes: Vec<Mailbox>,
    /// None where there are no control groups.
    pub(crate) cgroups: Option<Cgroups>,
    /// The processors that processes may use.
    pub(crate) processors: CpuSet,
    /// The limit of open descriptors that processes get, if this process needed a higher one.
    pub(crate) descriptors: OnceLock<Rlimit>,
    sink: Box<dyn Fn(AttemptEvent) + Send + Sync>,
}

impl Shared {
    pub(crate) fn tell(&self, event: AttemptEvent) {
        (self.sink)(event);
    }
}

/// Runs attempts in processes.
pub struct Runner {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Runner {
    /// Starts the spawners. `sink` gets every event and must not block.
    ///
    /// The process becomes the reaper of orphans below it, and whatever signals it ignores it will handle by
    /// doing nothing, so that commands start with default dispositions.
    ///
    /// # Errors
    /// When files or threads cannot be made.
    pub fn start(
        settings: RunnerSettings,
        sink: impl Fn(AttemptEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let slots = settings.slots.max(1);
        settings.paths.create(slots)?;
        write_no_inputs(&settings.paths)?;
        jobserver::write_scripts(&settings.paths)?;
        sys::default_dispositions(false);
        // Any process id but none switches this on.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let processors = sched_getaffinity(None)?;
        let descriptors: OnceLock<Rlimit> = raise_descriptors(slots).map(OnceLock::from).unwrap_or_default();
        let spawners = processors.count().clamp(1, slots) as usize;
        let mut mailboxes = Vec::new();
        let mut receivers = Vec::new();
        for _ in 0..spawners {
            let (orders, receiver) = crossbeam_channel::bounded(ORDERS);
            let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            mailboxes.push(Mailbox { orders, wake, asleep: AtomicBool::new(false) });
            receivers.push(receiver);
        }
        // Room for as many as there may ever be; what is not used takes no place on disk.
        let table = AttemptsTable::create(&settings.paths, limits::SLOTS.max(slots))?;
        let cgroups = cgroup::start(&settings.cgroup, &settings.paths);
        let board = Mutex::new(Board::new(slots, spawners));
        let sink = Box::new(sink);
        let shared =
            Arc::new(Shared { settings, board, table, mailboxes, cgroups, processors, descriptors, sink });
        let cores = (0..CpuSet::MAX_CPU).filter(|core| shared.processors.is_set(*core));
        let mut runner = Self { shared: shared.clone(), threads: Vec::new() };
        for ((index, orders), core) in receivers.into_iter().enumerate().zip(cores) {
            let spawner = Spawner::new(shared.clone(), index, orders)?;
            let builder = std::thread::Builder::new().name(format!("spawner-{index}"));
            let thread = builder.stack_size(THREAD_STACK_BYTES).spawn(move || spawner.run(core))?;
            runner.threads.push(thread);
        }
        Ok(runner)
    }

    /// Starts an attempt, as soon as a slot is free. One that is held already is left as it is.
    pub fn assign(&self, assignment: Assignment) {
        let placed = self.shared.board.lock().assign(Box::new(assignment));
        match placed {
            Placed::Start(slot, assignment) => self.mailbox(slot).send(Order::Start(slot, assignment)),
            Placed::Kept => {}
            Placed::Stopped(assignment, cause) => self.never_started(&assignment, cause),
        }
    }

    /// Ends an attempt; one that is not known is remembered, and will not start.
    pub fn stop(&self, order: StopOrder) {
        let stopping = self.shared.board.lock().stop(order);
        match stopping {
            Stopping::InSlot(slot) => self.mailbox(slot).send(Order::Stop(slot, order)),
            Stopping::Waiting => self.shared.tell(AttemptEvent::Unbegun(order.token)),
            Stopping::Tombstone => {}
        }
    }

    /// Runs so many attempts at once from now on; what runs beyond it goes on.
    pub fn resize(&self, slots: u32) {
        let slots = slots.clamp(1, limits::SLOTS);
        if let Some(former) = raise_descriptors(slots) {
            // Commands keep what was there before the first raise.
            let _ = self.shared.descriptors.set(former);
        }
        let starts = self.shared.board.lock().resize(slots);
        for (slot, assignment) in starts {
            self.mailbox(slot).send(Order::Start(slot, assignment));
        }
    }

    /// Lets go of an assignment that waits for a slot, and says so; one that has begun goes on.
    pub fn recall(&self, token: Token) {
        if self.shared.board.lock().recall(token) {
            self.shared.tell(AttemptEvent::Unbegun(token));
        }
    }

    /// Lets go of all assignments that wait for a slot, without a word: the daemon is away, and nothing is to
    /// begin without it.
    pub fn recall_all(&self) {
        self.shared.board.lock().recall_all();
    }

    /// Lets go of an attempt whose end was told: whoever gets the events calls this for each of them, once it
    /// has taken note.
    pub fn forget(&self, token: Token) {
        self.shared.board.lock().forget(token);
    }

    /// Every attempt in hand.
    #[must_use]
    pub fn held(&self) -> Vec<HeldAttempt> {
        self.shared.board.lock().held()
    }

    /// What it keeps attempts to, in words for programs.
    #[must_use]
    pub fn labels(&self) -> Vec<String> {
        vec![self.shared.cgroups.as_ref().map_or_else(|| "cgroup=none".to_owned(), Cgroups::label)]
    }

    /// Whether no attempt is in hand.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.board.lock().is_empty()
    }

    fn mailbox(&self, slot: u32) -> &Mailbox {
        &self.shared.mailboxes[slot as usize % self.shared.mailboxes.len()]
    }

    fn never_started(&self, assignment: &Assignment, cause: StopCause) {
        let Assignment { task, attempt, token, .. } = *assignment;
        let report = AttemptReport::new(task, attempt, token, stopped(cause));
        self.shared.tell(AttemptEvent::Ended(report));
    }
}

impl Drop for Runner {
    /// Ends the spawners; processes that still run are killed.
    fn drop(&mut self) {
        for mailbox in &self.shared.mailboxes {
            mailbox.send(Order::Quit);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// How an attempt ends that is stopped for this cause.
pub(crate) fn stopped(cause: StopCause) -> Outcome {
    match cause {
        StopCause::Cancel => Outcome::Cancelled,
        StopCause::Timeout => Outcome::TimedOut,
        StopCause::Deadline => Outcome::DeadlineMet,
    }
}

/// Raises the limit of open descriptors if that many slots need it, and gives what it was. Commands keep the
/// former one: some misbehave with a large number.
fn raise_descriptors(slots: u32) -> Option<Rlimit> {
    let needed = u64::from(slots) * DESCRIPTORS_PER_SLOT + SPARE_DESCRIPTORS;
    let former = getrlimit(Resource::Nofile);
    if former.current.is_none_or(|current| current >= needed) {
        return None;
    }
    let current = former.maximum.map_or(needed, |maximum| maximum.min(needed));
    if current < needed {
        tracing::warn!(slots, current, "not all slots can be used: too few open files are allowed");
    }
    let raised = Rlimit { current: Some(current), maximum: former.maximum };
    setrlimit(Resource::Nofile, raised).ok().map(|()| former)
}

/// Writes the file that all attempts without inputs share; read-only, so that none changes it by mistake.
fn write_no_inputs(paths: &StatePaths) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = paths.no_inputs();
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, crate::launch::NO_INPUTS)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o400))?;
    std::fs::rename(fresh, path)
}
