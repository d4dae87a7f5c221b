//! A spawner: the thread that starts processes in its slots, waits for their ends and stops them.
//!
//! ```text
//!         start                      leader ended: group killed, leader reaped
//! empty ────────► running ─────────────────┬──► group gone: told, slot left ──► empty, or the next one starts
//!                    │ order or timeout    │                  ▲
//!                    ▼                     │                  │
//!                 stopping ── grace ──► SIGKILL        lingering: looked at again and again
//! ```
//! Pinned to a core, it starts a child there, where vfork hands over without a migration, and lets it go
//! anywhere once it has become the program.
//!
//! Invariant: signals go to a process group only while its leader, running or zombie, is not reaped, so they
//! cannot hit another group that was given the same number.

use crossbeam_channel::Receiver;
use orchd_api::{Assignment, AttemptProgress, StartedAttempt, StopCause, StopOrder};
use orchd_model::{AttemptNumber, AttemptReport, Outcome, Span, TaskId, Token, Usage};
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::cap::{LOOK_FIRST, LOOK_LATEST};
use crate::cgroup::{Cgroups, SlotGroup};
use crate::family::Family;
use crate::launch::Launcher;
use crate::memory::{self, MemoryWatch};
use crate::progress::{PIPE_BYTES, ProgressPipe};
use crate::runner::{AttemptEvent, Shared, stopped};
use crate::slot::SlotFiles;
use crate::usage::{OwnPeak, account};
use crate::{process, sys};

/// Events taken from the kernel at once.
const EVENTS: usize = 64;
/// The epoll datum of the wake-up descriptor; slots are numbered from 0.
const WAKE: u64 = u64::MAX;
/// Set in the datum of a slot's pipe of progress.
const PROGRESS: u64 = 1 << 63;
/// How soon a group that was killed is looked at again, doubling up to [`LINGER_LONGEST`].
const LINGER_FIRST: Duration = Duration::from_millis(1);
const LINGER_LONGEST: Duration = Duration::from_millis(100);
/// Looks after which only living processes count: a zombie that its parent never reaps is as good as gone.
const LINGER_LOOKS: u32 = 6;

/// What a spawner is told to do.
pub(crate) enum Order {
    Start(u32, Box<Assignment>),
    Stop(u32, StopOrder),
    Quit,
}

/// An attempt in a slot.
struct Running {
    task: TaskId,
    attempt: AttemptNumber,
    token: Token,
    grace: Duration,
    /// The leader's id, which is also the group's.
    group: Pid,
    began: Instant,
    timer: Option<Instant>,
    stop: Option<StopCause>,
    /// Whether it has claimed something of the machine: what it used is then asked for more closely.
    bounded: bool,
    memory: Option<MemoryWatch>,
    phase: Phase,
}

enum Phase {
    /// The leader is not reaped.
    Leading(OwnedFd),
    /// The leader is reaped, some of its group is still dying.
    Lingering { report: Box<AttemptReport>, looks: u32 },
}

struct Slot {
    number: u32,
    files: SlotFiles,
    /// Its control group, where there are any.
    group: Option<SlotGroup>,
    progress: ProgressPipe,
    running: Option<Running>,
}

impl Slot {
    fn new(shared: &Shared, number: u32) -> Self {
        let group = shared.cgroups.as_ref().map(|cgroups| cgroups.slot(number));
        let paths = &shared.settings.paths;
        let progress = ProgressPipe::new(paths.progress(number));
        Self { number, files: SlotFiles::new(paths, number), group, progress, running: None }
    }
}

/// The thread's state.
pub(crate) struct Spawner {
    shared: Arc<Shared>,
    index: usize,
    orders: Receiver<Order>,
    epoll: OwnedFd,
    launcher: Launcher,
    slots: Vec<Slot>,
    /// The timers of the slots, the next one first.
    timers: BTreeSet<(Instant, usize)>,
    /// When output is looked at again, and how long after the look before; none while nothing runs.
    look: Option<(Instant, Duration)>,
    /// When pipes of progress are looked at again.
    progress: BTreeMap<usize, Instant>,
    /// When the first processes of attempts that claim memory are looked at again.
    peeks: BTreeMap<usize, Instant>,
    own_peak: OwnPeak,
    /// What is read from them.
    buffer: Box<[u8]>,
}

impl Spawner {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, orders: Receiver<Order>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = &shared.mailboxes[index].wake;
        epoll::add(&epoll, wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let settings = &shared.settings;
        let launcher = Launcher::new(&settings.paths, &settings.socket)?;
        let numbers = (index as u32..settings.slots.max(1)).step_by(shared.mailboxes.len());
        let slots = numbers.map(|number| Slot::new(&shared, number)).collect();
        Ok(Self {
            shared,
            index,
            orders,
            epoll,
            launcher,
            slots,
            timers: BTreeSet::new(),
            look: None,
            progress: BTreeMap::new(),
            peeks: BTreeMap::new(),
            own_peak: OwnPeak::default(),
            buffer: vec![0; PIPE_BYTES].into_boxed_slice(),
        })
    }

    /// The thread's life.
    pub(crate) fn run(mut self, core: usize) {
        sys::block_all_signals();
        let mut pinned = CpuSet::new();
        pinned.set(core);
        // Being pinned is for speed only.
        let _ = sched_setaffinity(None, &pinned);
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Start(slot, assignment) => self.start(self.local(slot), assignment),
                    Order::Stop(slot, order) => self.stop_order(self.local(slot), order),
                    Order::Quit => return self.kill_all(),
                }
            }
            events.clear();
            self.wait(&mut events);
            for event in &events {
                match event.data.u64() {
                    WAKE => {
                        let _ = rustix::io::read(&self.shared.mailboxes[self.index].wake, &mut [0; 8]);
                    }
                    datum if datum & PROGRESS != 0 => self.look_at_progress((datum & !PROGRESS) as usize),
                    slot => self.leader_ended(slot as usize),
                }
            }
            self.look_at_all_progress();
            self.peek_at_memory();
            self.fire_timers();
            self.look_at_output();
        }
    }

    fn look_at_all_progress(&mut self) {
        let now = Instant::now();
        let due: Vec<usize> =
            self.progress.iter().filter(|(_, next)| **next <= now).map(|(at, _)| *at).collect();
        due.into_iter().for_each(|at| self.look_at_progress(at));
    }

    /// Reads what the attempt in a slot says of its progress. While it says much the pipe is not watched but
    /// looked at now and then.
    fn look_at_progress(&mut self, at: usize) {
        let Slot { progress, running, .. } = &mut self.slots[at];
        let looked = progress.look(Instant::now(), &mut self.buffer);
        if let (Some(progress), Some(running)) = (looked.tell, running) {
            let token = running.token;
            self.shared.tell(AttemptEvent::Progress(AttemptProgress { token, progress }));
        }
        match looked.again {
            Some(again) => self.progress.insert(at, again),
            None => self.progress.remove(&at),
        };
        if let (true, Some(fifo)) = (looked.listen, self.slots[at].progress.fifo()) {
            let _ = epoll::modify(&self.epoll, fifo, progress_datum(at), progress_flags());
        }
    }

    /// Keeps the output of what runs within its cap, and its memory within its claim.
    fn look_at_output(&mut self) {
        let Some((_, pause)) = self.look.filter(|(at, _)| *at <= Instant::now()) else { return };
        let cap = self.shared.settings.output_bytes;
        let (mut runs, mut has_grown) = (false, false);
        for slot in self.slots.iter_mut().filter(|slot| slot.running.is_some()) {
            runs = true;
            has_grown |= slot.files.cap_output(cap);
        }
        let watches = self.look_at_memory();
        let pause = if has_grown { LOOK_FIRST } else { (pause * 2).min(LOOK_LATEST) };
        let pause = if watches { pause.min(memory::LOOK) } else { pause };
        self.look = runs.then(|| (Instant::now() + pause, pause));
    }

    /// Looks at the memory of attempts that have claimed some, where the kernel does not limit it. Says whether
    /// there are any.
    fn look_at_memory(&mut self) -> bool {
        if self.is_memory_limited() {
            return false;
        }
        let mut family = None;
        let mut watches = false;
        for slot in &mut self.slots {
            let Slot { group, running: Some(running), .. } = slot else { continue };
            let (Phase::Leading(_), Some(memory)) = (&running.phase, &mut running.memory) else { continue };
            watches = true;
            let leader = running.group.as_raw_nonzero().get().unsigned_abs();
            let is_too_much = match group {
                // The group is ended with its leader.
                Some(group) => memory.look(&group.processes()),
                None => memory.look_at_family(family.get_or_insert_with(Family::look), leader),
            };
            if is_too_much {
                tracing::warn!(task = %running.task, "an attempt uses more memory than it claims and is ended");
                kill(running.group, Signal::KILL);
            }
        }
        watches
    }

    /// Whether the kernel keeps attempts to their memory, and knows what they have used.
    fn is_memory_limited(&self) -> bool {
        self.shared.cgroups.as_ref().is_some_and(Cgroups::limits_memory)
    }

    /// Looks at the first processes of attempts that have claimed memory and have just begun.
    fn peek_at_memory(&mut self) {
        let now = Instant::now();
        while let Some((at, _)) = self.peeks.iter().find(|(_, next)| **next <= now) {
            let at = *at;
            self.peeks.remove(&at);
            let Some(running) = &mut self.slots[at].running else { continue };
            let (Phase::Leading(_), Some(memory)) = (&running.phase, &mut running.memory) else { continue };
            if let Some(pause) = memory.peek(running.group.as_raw_nonzero().get().unsigned_abs()) {
                self.peeks.insert(at, now + pause);
            }
        }
    }

    fn local(&self, slot: u32) -> usize {
        slot as usize / self.shared.mailboxes.len()
    }

    /// Waits for an end, an order or a timer.
    fn wait(&self, events: &mut Vec<epoll::Event>) {
        let mailbox = &self.shared.mailboxes[self.index];
        let look = self.look.map(|(at, _)| at);
        let progress = self.progress.values().min().copied();
        let peek = self.peeks.values().min().copied();
        let timer = self.timers.first().map(|(at, _)| *at);
        let next = [timer, look, progress, peek].into_iter().flatten().min();
        let timeout = next.map(|at| at.saturating_duration_since(Instant::now()));
        let mut timeout = timeout.and_then(|timeout| timeout.try_into().ok());
        // Whoever sends an order after this sees that it must wake this thread.
        mailbox.asleep.store(true, Ordering::SeqCst);
        if !self.orders.is_empty() {
            timeout = Some(rustix::event::Timespec::default());
        }
        let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref());
        mailbox.asleep.store(false, Ordering::SeqCst);
        match waited {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll_wait on a descriptor of our own: {error}"),
        }
    }

    fn start(&mut self, at: usize, assignment: Box<Assignment>) {
        let spawners = self.shared.mailboxes.len();
        while self.slots.len() <= at {
            let number = (self.index + self.slots.len() * spawners) as u32;
            self.slots.push(Slot::new(&self.shared, number));
        }
        let mut next = Some(assignment);
        // An attempt that cannot start leaves its slot at once to one that waits.
        while let Some(assignment) = next.take() {
            next = self.start_one(at, &assignment);
        }
    }

    fn start_one(&mut self, at: usize, assignment: &Assignment) -> Option<Box<Assignment>> {
        let Self { shared, launcher, slots, epoll, .. } = self;
        let slot = &mut slots[at];
        let Assignment { task, attempt, token, .. } = *assignment;
        let began = Instant::now();
        let pid_word = shared.table.enter(slot.number, token, task, attempt);
        launcher.descriptors = shared.descriptors.get().copied();
        let bounds = assignment.bounds;
        if let Err(error) = make_progress_pipe(slot, epoll, at) {
            tracing::error!(%task, %attempt, %error, "an attempt cannot tell its progress");
        }
        let group = slot.group.as_mut().and_then(|group| match group.prepare(bounds) {
            Ok(group) => Some(group),
            Err(error) => {
                tracing::error!(%task, %attempt, %error, "an attempt starts without its control group");
                None
            }
        });
        let launched = launcher
            .launch(assignment, &mut slot.files, slot.progress.path(), group, pid_word)
            .and_then(|(pid, pidfd)| {
                let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
                group.map(|group| (group, pidfd)).ok_or_else(|| Outcome::signalled(libc::SIGKILL))
            });
        let (group, pidfd) = match launched {
            Ok(launched) => launched,
            Err(outcome) => {
                let report = report(assignment, outcome, began, None);
                return self.told(at, report);
            }
        };
        let _ = sched_setaffinity(Some(group), &shared.processors);
        let data = epoll::EventData::new_u64(at as u64);
        if let Err(error) = epoll::add(&*epoll, &pidfd, data, epoll::EventFlags::IN) {
            // Without it the end would not be seen; the kernel is out of memory, so the attempt goes.
            tracing::error!(%task, %attempt, %error, "a process cannot be watched and is killed");
            kill(group, Signal::KILL);
            let _ = sys::reap(&pidfd);
            let report = report(assignment, Outcome::signalled(libc::SIGKILL), began, None);
            return self.told(at, report);
        }
        let started = StartedAttempt {
            token,
            pid: Some(group.as_raw_nonzero().get().unsigned_abs()),
            spool: Some(slot.number),
            ago: Span::ZERO,
        };
        shared.tell(AttemptEvent::Started(started, began));
        slot.running = Some(Running {
            task,
            attempt,
            token,
            grace: assignment.grace.into(),
            group,
            began,
            timer: None,
            stop: None,
            bounded: bounds.is_some(),
            memory: bounds.and_then(|bounds| MemoryWatch::new(bounds.allotment.memory, bounds.over_memory)),
            phase: Phase::Leading(pidfd),
        });
        self.begin_looking(at, began);
        if let Some(timeout) = assignment.timeout {
            self.set_timer(at, began.checked_add(timeout.into()));
        }
        None
    }

    /// From now on what an attempt writes is looked at, and its memory, if it has claimed some.
    fn begin_looking(&mut self, at: usize, began: Instant) {
        let has_watch = self.slots[at].running.as_ref().is_some_and(|running| running.memory.is_some());
        if has_watch && !self.is_memory_limited() {
            self.peeks.insert(at, began + memory::PEEK_FIRST);
        }
        if self.look.is_none() {
            self.look = Some((began + LOOK_FIRST, LOOK_FIRST));
        }
    }

    fn stop_order(&mut self, at: usize, order: StopOrder) {
        let running = self.slots[at].running.as_ref();
        if running.is_some_and(|running| running.token == order.token) {
            self.stop(at, order.cause);
        }
    }

    /// Asks the group to end, and sets the timer for when it is made to.
    fn stop(&mut self, at: usize, cause: StopCause) {
        let Some(running) = self.slots[at].running.as_mut() else { return };
        let Phase::Leading(pidfd) = &running.phase else { return };
        // One that has ended by itself keeps its own outcome, and the first cause counts.
        if running.stop.is_some() || has_ended(pidfd) {
            return;
        }
        running.stop = Some(cause);
        if let Some(memory) = &mut running.memory {
            memory.peek(running.group.as_raw_nonzero().get().unsigned_abs());
        }
        if running.grace.is_zero() {
            kill(running.group, Signal::KILL);
            self.set_timer(at, None);
            return;
        }
        kill(running.group, Signal::TERM);
        // A stopped process sees SIGTERM only once it goes on.
        kill(running.group, Signal::CONT);
        let end = Instant::now().checked_add(running.grace);
        self.set_timer(at, end);
    }

    fn leader_ended(&mut self, at: usize) {
        let Some(running) = self.slots[at].running.as_mut() else { return };
        let Phase::Leading(pidfd) = &running.phase else { return };
        // The leader is a zombie, so the number is still the group's.
        kill(running.group, Signal::KILL);
        // A child of another spawner may have this descriptor open until its close-on-exec pass, and would
        // keep it in the set.
        let _ = epoll::delete(&self.epoll, pidfd);
        let ended = sys::reap(pidfd);
        let (status, usage) = match ended {
            Ok(ended) => (ended.status, Some(self.own_peak.usage(&ended.usage))),
            Err(error) => {
                tracing::error!(task = %running.task, %error, "a process could not be reaped");
                (Err(libc::SIGKILL), None)
            }
        };
        let outcome = match (running.stop, status) {
            (Some(cause), _) => stopped(cause),
            (None, Ok(code)) => Outcome::exited(code),
            (None, Err(signal)) => Outcome::signalled(signal),
        };
        let report = Box::new(AttemptReport {
            execution_time: Span::from(running.began.elapsed()),
            usage,
            ..AttemptReport::new(running.task, running.attempt, running.token, outcome)
        });
        running.phase = Phase::Lingering { report, looks: 0 };
        self.look_after_group(at);
    }

    /// Tells the end of an attempt whose leader is reaped, if all it has started is gone.
    fn look_after_group(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let Some(running) = slot.running.as_mut() else { return };
        let Phase::Lingering { looks, .. } = &mut running.phase else { return };
        // What has left the process group is in the control group all the same.
        let cleared = slot.group.as_ref().is_none_or(SlotGroup::is_cleared)
            && running.memory.as_ref().is_none_or(MemoryWatch::is_cleared);
        let gone = cleared && group_is_gone(running.group, *looks);
        if !gone {
            let delay = LINGER_FIRST.saturating_mul(1 << (*looks).min(10)).min(LINGER_LONGEST);
            *looks = looks.saturating_add(1);
            return self.set_timer(at, Some(Instant::now() + delay));
        }
        self.set_timer(at, None);
        let slot = &mut self.slots[at];
        let Some(Running { phase: Phase::Lingering { mut report, .. }, bounded, memory, stop, .. }) =
            slot.running.take()
        else {
            return;
        };
        if bounded {
            let used = slot.group.as_ref().map(SlotGroup::usage).unwrap_or_default();
            account(&mut report, used, memory, stop.is_none());
        }
        if let Some(next) = self.told(at, *report) {
            self.start(at, next);
        }
    }

    /// Collects what an ended attempt has left, tells its end and leaves the slot.
    fn told(&mut self, at: usize, mut report: AttemptReport) -> Option<Box<Assignment>> {
        let slot = &mut self.slots[at];
        let paths = &self.shared.settings.paths;
        let cap = self.shared.settings.output_bytes;
        slot.files.keep_output(paths, (report.task, report.attempt), cap);
        match slot.files.take_result(report.token) {
            Ok(data) => report.data = data,
            // What the attempt has left is of interest only if all else is well.
            Err(invalid) if report.outcome == Outcome::Succeeded => report.outcome = invalid,
            Err(_) => {}
        }
        report.progress = slot.progress.finish(&mut self.buffer);
        self.shared.tell(AttemptEvent::Ended(report));
        self.shared.table.leave(slot.number);
        self.shared.board.lock().leave(slot.number)
    }

    fn set_timer(&mut self, at: usize, time: Option<Instant>) {
        let Some(running) = self.slots[at].running.as_mut() else { return };
        let former = std::mem::replace(&mut running.timer, time);
        if let Some(former) = former {
            self.timers.remove(&(former, at));
        }
        if let Some(time) = time {
            self.timers.insert((time, at));
        }
    }

    fn fire_timers(&mut self) {
        while let Some((time, at)) = self.timers.first().copied() {
            if time > Instant::now() {
                return;
            }
            self.set_timer(at, None);
            let Some(running) = self.slots[at].running.as_ref() else { continue };
            match (&running.phase, running.stop) {
                (Phase::Lingering { .. }, _) => self.look_after_group(at),
                (Phase::Leading(_), None) => self.stop(at, StopCause::Timeout),
                (Phase::Leading(_), Some(_)) => kill(running.group, Signal::KILL),
            }
        }
    }

    fn kill_all(&self) {
        for running in self.slots.iter().filter_map(|slot| slot.running.as_ref()) {
            if let Phase::Leading(pidfd) = &running.phase {
                kill(running.group, Signal::KILL);
                let _ = sys::reap(pidfd);
            }
        }
    }
}

/// Makes the pipe of progress of a slot, and has it watched, unless that was done before.
fn make_progress_pipe(slot: &mut Slot, epoll: &OwnedFd, at: usize) -> io::Result<()> {
    if slot.progress.make()?
        && let Some(fifo) = slot.progress.fifo()
    {
        epoll::add(epoll, fifo, progress_datum(at), progress_flags())?;
    }
    Ok(())
}

fn progress_datum(at: usize) -> epoll::EventData {
    epoll::EventData::new_u64(at as u64 | PROGRESS)
}

/// Once: then it is for the look to say when it is to be noticed again.
fn progress_flags() -> epoll::EventFlags {
    epoll::EventFlags::IN | epoll::EventFlags::ONESHOT
}

/// Signals a group whose leader is not reaped.
fn kill(group: Pid, signal: Signal) {
    match kill_process_group(group, signal) {
        // Members that have become another user cannot be signalled; they are waited for.
        Ok(()) | Err(Errno::SRCH | Errno::PERM) => {}
        Err(error) => tracing::error!(?group, %error, "a process group could not be signalled"),
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::PidFd(pidfd.as_fd()), options), Ok(Some(_)))
}

/// Whether nothing of a group is left whose leader is reaped. Members that were orphaned are our children.
fn group_is_gone(group: Pid, looks: u32) -> bool {
    if test_kill_process_group(group) == Err(Errno::SRCH) {
        return true;
    }
    while let Ok(Some(_)) = waitid(WaitId::Pgid(Some(group)), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
    }
    test_kill_process_group(group) == Err(Errno::SRCH)
        || (looks >= LINGER_LOOKS && !process::group_lives(group.as_raw_nonzero().get().unsigned_abs()))
}

fn report(assignment: &Assignment, outcome: Outcome, began: Instant, usage: Option<Usage>) -> AttemptReport {
    AttemptReport {
        task: assignment.task,
        attempt: assignment.attempt,
        token: assignment.token,
        outcome,
        data: None,
        execution_time: Span::from(began.elapsed()),
        usage,
        progress: None,
    }
}
