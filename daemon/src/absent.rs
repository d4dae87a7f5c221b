//! Those that are not connected and have a lease to come back in: clients with ad-hoc claims, since the daemon was away,
//! and workers of services, since their connection broke. For those whose process has ended nobody waits.
//!
//! A process is known by its number in this PID namespace (pid_namespaces(7)), as the kernel has told it when it
//! connected. Of one that could not be seen from here, or from where an earlier daemon was, nothing is concluded. That a
//! number may be another process's by now does no harm: then its end comes too late, and the lease decides.

use anyhow::{Context, Result};
use crossbeam_channel::Sender;
use orchd_core::{Command, WorkerNote};
use orchd_model::WorkerId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::engine::Request;
use crate::peer::Peer;

/// Between two looks at a process whose connection has ended, doubling up to [`LOOK_LONGEST`]: one that was killed closes
/// its files a little before it is dead.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LONGEST: Duration = Duration::from_millis(250);

/// The process at the other end of a connection: this one, whoever has its number later (pidfd_open(2)).
pub struct PeerProcess(OwnedFd);

impl PeerProcess {
    /// To be asked for while it is connected. None where it cannot be seen from here.
    pub fn of(peer: Peer) -> Option<Self> {
        let pid = i32::try_from(peer.pid?).ok().and_then(Pid::from_raw)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    /// Waits until it has ended; false when `lease` is over before.
    pub async fn ends_within(&self, lease: Duration) -> bool {
        let (since, mut pause) = (Instant::now(), LOOK_FIRST);
        loop {
            if self.has_ended() {
                return true;
            }
            if since.elapsed() >= lease {
                return false;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_LONGEST);
        }
    }

    fn has_ended(&self) -> bool {
        let mut look = [PollFd::new(&self.0, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut look, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

/// What is remembered of a client with an ad-hoc claim; `pid` as the kernel tells it.
pub fn note(kind: &str, pid: Option<u32>) -> WorkerNote {
    let seen_from = namespace().filter(|_| pid.is_some());
    let labels = seen_from.iter().map(|name| name.to_string_lossy().into()).collect();
    WorkerNote { kind: kind.into(), pid: pid.unwrap_or_default(), labels }
}

/// The PID namespace of this process, `pid:[4026531836]`.
fn namespace() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/ns/pid").ok()
}

/// Ends the claims of clients whose process has ended, now or before their lease is over.
///
/// # Errors
/// When the engine has ended, or a thread cannot be started.
pub fn look_after(engine: &Sender<Request>, lease: Duration) -> Result<()> {
    let (look, seen) = crossbeam_channel::bounded(1);
    let inspect = move |core: &orchd_core::Core| {
        let absent = core.workers().into_iter().filter(|view| view.claimant && !view.attached);
        // Who asked waits for it.
        drop(look.send(absent.map(|view| (view.id, view.note)).collect::<Vec<_>>()));
    };
    engine.send(Request::Inspect(Box::new(inspect))).ok().context("the engine has ended")?;
    let here = namespace().map(|name| name.to_string_lossy().into_owned());
    let mut alive = Vec::new();
    for (worker, note) in seen.recv().context("the engine has ended")? {
        let is_seen = here.as_ref().is_some_and(|here| note.labels.iter().any(|label| **label == **here));
        let pid = i32::try_from(note.pid).ok().and_then(Pid::from_raw).filter(|_| is_seen);
        match pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            Some(Ok(process)) => alive.push((worker, process)),
            Some(Err(Errno::SRCH)) => lose(engine, worker),
            // Nothing is known of it.
            None | Some(Err(_)) => {}
        }
    }
    if !alive.is_empty() {
        let engine = engine.clone();
        let thread = std::thread::Builder::new().name("absent".to_owned());
        thread.spawn(move || watch(alive, &engine, lease)).context("cannot watch absent clients")?;
    }
    Ok(())
}

/// Waits for the ends of processes; after the lease their claims have ended in any case, or they are back.
fn watch(mut alive: Vec<(WorkerId, OwnedFd)>, engine: &Sender<Request>, lease: Duration) {
    let end = Instant::now() + lease;
    while !alive.is_empty() && Instant::now() < end {
        let mut ends: Vec<PollFd<'_>> =
            alive.iter().map(|(_, process)| PollFd::new(process, PollFlags::IN)).collect();
        let left: Option<Timespec> = end.saturating_duration_since(Instant::now()).try_into().ok();
        match poll(&mut ends, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::warn!(%error, "clients that were away are not watched: their leases decide");
                return;
            }
        }
        let ended: Vec<bool> = ends.iter().map(|end| !end.revents().is_empty()).collect();
        let mut ended = ended.into_iter();
        alive.retain(|(worker, _)| {
            let has_ended = ended.next().unwrap_or(false);
            if has_ended {
                lose(engine, *worker);
            }
            !has_ended
        });
    }
}

/// One that has come back meanwhile has also been seen to go.
fn lose(engine: &Sender<Request>, worker: WorkerId) {
    tracing::info!(%worker, "the process of a client that held or waited for claims has ended");
    let command = Command::Lose { worker, began: None };
    // An engine that has ended needs to be told nothing.
    drop(engine.send(Request::Command { command, answer: None }));
}
