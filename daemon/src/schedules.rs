//! The keeper of schedules: sleeps until the next tick by the wall clock, and brings to the engine what has come.
//!
//! ```text
//! asleep ──► a tick is due, one that waited is called, somebody changed a schedule, or the clock was set ──► look at all
//!    ▲                                                                                                        │
//!    └──────────── until the earliest next tick ◄──── the scheduler takes each tick once ◄────────────────────┘
//! ```
//! The keeper remembers nothing: which tick is waited for is the scheduler's, and as durable as what it adds.

use orchd_core::{Reply, ScheduleRecord, Trigger};
use orchd_model::{Code, Refusal, ScheduleSpec, Span, TaskSpec, Time, WorkflowSpec};
use orchd_store::StoredSchedule;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

use crate::calendar::{Calendar, Due};
use crate::engine::Request;
use crate::firing::Tick;
use crate::http::{Shell, definitions, tasks};

/// When nothing new is taken, because the disk is full or the daemon is being drained, ticks wait so long.
const AGAIN: Span = Span::from_secs(10);

/// Wakes the keeper.
pub type Nudge = Arc<Notify>;

/// What the wall clock shows.
pub fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Keeps the schedules for as long as there is a daemon.
///
/// # Errors
/// When there is no timer to be had.
pub async fn keep(shell: Weak<Shell>, nudge: Nudge) -> io::Result<()> {
    let timer = WallTimer::new(Nudge::clone(&nudge))?;
    let Some(mut stopping) = shell.upgrade().map(|shell| shell.stopping.clone()) else { return Ok(()) };
    loop {
        let next = match shell.upgrade() {
            None => return Ok(()),
            Some(shell) => look(&shell).await.unwrap_or_else(|refusal| {
                tracing::warn!(%refusal, "schedules wait");
                Some(wall_clock() + AGAIN)
            }),
        };
        timer.set(next)?;
        tokio::select! {
            () = nudge.notified() => {}
            _ = stopping.wait_for(|stops| *stops) => return Ok(()),
        }
    }
}

/// Brings what is due to the engine; says when the next tick is.
async fn look(shell: &Arc<Shell>) -> Result<Option<Time>, Refusal> {
    let now = wall_clock();
    for record in shell.look(orchd_core::Core::schedules).await? {
        let is_due = !record.paused && record.next.is_some_and(|next| next <= now);
        if is_due || !record.queued.is_empty() {
            let id = record.id;
            // One that was removed meanwhile is nobody's business any more.
            if let Some(stored) = shell.read(move |history| history.schedule(id)).await? {
                bring(shell, &record, stored, now).await?;
            }
        }
    }
    let next = |record: ScheduleRecord| record.next.filter(|_| !record.paused);
    shell.look(move |core| core.schedules().into_iter().filter_map(next).min()).await
}

/// What a schedule adds now, or why it cannot: a workflow that is kept under a name is what it is at the tick.
///
/// # Errors
/// When it cannot be looked up now: it may be later.
pub async fn adds_now(
    shell: &Arc<Shell>,
    spec: &ScheduleSpec,
) -> Result<Result<Box<ScheduleSpec>, Refusal>, Refusal> {
    let mut spec = Box::new(spec.clone());
    let Some(run) = spec.definition.take() else { return Ok(Ok(spec)) };
    match definitions::spec_of(shell, *run).await.and_then(checked) {
        Ok(workflow) => {
            spec.workflow = Some(Box::new(workflow));
            Ok(Ok(spec))
        }
        Err(refusal) if matches!(refusal.code, Code::NotFound | Code::Malformed) => Ok(Err(refusal)),
        Err(refusal) => Err(refusal),
    }
}

async fn bring(
    shell: &Arc<Shell>,
    record: &ScheduleRecord,
    stored: StoredSchedule,
    now: Time,
) -> Result<(), Refusal> {
    let adds = adds_now(shell, &stored.spec).await?;
    let tick = |trigger, at, next, missed, is_run: bool| Tick {
        schedule: record.id,
        trigger,
        at,
        next,
        missed,
        adds: is_run.then(|| adds.clone()),
        owner: record.owner,
    };
    if let Some(at) = record.queued.front() {
        send(shell, tick(Trigger::Queue, *at, None, 0, true)).await?;
    }
    let Some(mut expected) = record.next.filter(|next| !record.paused && *next <= now) else { return Ok(()) };
    let calendar = Calendar::of(&stored.spec, record.created_at)?;
    let Due { ticks, missed } = calendar.due(stored.spec.catch_up, expected, now);
    for (at, missed) in ticks {
        let next = calendar.after(at);
        send(shell, tick(Trigger::Calendar { expected }, at, next, missed, true)).await?;
        let Some(next) = next else { return Ok(()) };
        expected = next;
    }
    if let Some((at, missed)) = missed {
        send(shell, tick(Trigger::Calendar { expected }, at, calendar.after(at), missed, false)).await?;
    }
    Ok(())
}

fn checked(workflow: WorkflowSpec) -> Result<WorkflowSpec, Refusal> {
    workflow.check()?;
    workflow.tasks.iter().try_for_each(check)?;
    Ok(workflow)
}

/// Checks a task that is added again and again.
///
/// # Errors
/// `malformed` with the offending value, or `too_large`.
pub fn check(task: &TaskSpec) -> Result<(), Refusal> {
    tasks::check_size(task)?;
    tasks::check(task)?;
    let Some(key) = &task.key else { return Ok(()) };
    let message = "a task that is added again and again cannot have an idempotency key";
    Err(Refusal::new(Code::Malformed, message).value(key))
}

/// Brings one tick. One that is not waited for any more has been brought before.
async fn send(shell: &Arc<Shell>, tick: Tick) -> Result<(), Refusal> {
    let (schedule, at) = (tick.schedule, tick.at);
    match shell.ask(|answer| Request::Fire { tick, answer }).await {
        Ok(Reply::Ticked(outcome)) => {
            tracing::debug!(%schedule, %at, ?outcome, "a tick");
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(refusal) if matches!(refusal.code, Code::WrongState | Code::NotFound) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

/// A timer of the wall clock, which also fires when that is set (timerfd_create(2), `TFD_TIMER_CANCEL_ON_SET`). A
/// thread of its own waits for it, and ends with it.
struct WallTimer {
    timer: Arc<OwnedFd>,
    end: Arc<OwnedFd>,
}

impl WallTimer {
    fn new(nudge: Nudge) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let timer = Self { timer: Arc::new(timer), end: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?) };
        let (fires, ends) = (Arc::clone(&timer.timer), Arc::clone(&timer.end));
        let wait = move || wait_for(&fires, &ends, &nudge);
        // Not joined: it ends by itself.
        drop(std::thread::Builder::new().name("wall-timer".to_owned()).spawn(wait)?);
        Ok(timer)
    }

    /// Sets it to an instant, or to none.
    fn set(&self, at: Option<Time>) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = at.map_or(never, |at| Timespec {
            tv_sec: i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX),
            // Never the zero that turns it off.
            tv_nsec: ((at.0 % 1_000_000) * 1000).max(1).cast_signed(),
        });
        let setting = Itimerspec { it_interval: never, it_value: at };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&self.timer, flags, &setting)?;
        Ok(())
    }
}

impl Drop for WallTimer {
    fn drop(&mut self) {
        // One that cannot be told is waiting for nothing, and goes with the process.
        let _ = rustix::io::write(&self.end, &1_u64.to_ne_bytes());
    }
}

fn wait_for(timer: &OwnedFd, end: &OwnedFd, nudge: &Notify) {
    loop {
        let mut ready = [PollFd::new(timer, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) if !ready[1].revents().is_empty() => return,
            Ok(_) => {}
        }
        match rustix::io::read(timer, &mut [0_u8; 8]) {
            Ok(_) | Err(Errno::CANCELED) => nudge.notify_one(),
            // It was set anew meanwhile.
            Err(_) => {}
        }
    }
}
