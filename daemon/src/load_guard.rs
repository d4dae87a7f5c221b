//! The load guard: while tasks wait, a thread looks at the machine's free memory and pressure once a second, and
//! tells the engine whether anything may start.
//!
//! ```text
//! nothing waits: asleep, nothing may start ──► something waits: the engine asks ──► a look ──► free, or held back
//!                      ▲                                                              │ and again each second
//!                      └───────────────────────── nothing waits any more ◄────────────┘
//! ```
//! A guard that is off costs nothing; one that is on costs the first of several tasks the time of one look.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::config::LoadGuard;
use crate::engine::Request;
use crate::live::Live;

/// Nobody has looked since something began to wait.
pub const UNMEASURED: &str = "the load of the machine has not been measured yet";
/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);

/// The thread's part.
pub struct LoadWatch {
    asks: Receiver<()>,
    engine: Sender<Request>,
    live: Arc<Live>,
}

/// The engine's part, by which it asks for a look, and the thread's.
pub fn channel(engine: Sender<Request>, live: Arc<Live>) -> (Sender<()>, LoadWatch) {
    // One ask is as good as several.
    let (ask, asks) = bounded(1);
    (ask, LoadWatch { asks, engine, live })
}

/// What holds before the first look.
pub fn at_first(guard: &LoadGuard) -> Option<String> {
    guard.is_on().then(|| UNMEASURED.to_owned())
}

impl LoadWatch {
    /// Looks whenever it is asked, until the engine is gone.
    pub fn run(self) {
        while self.asks.recv().is_ok() {
            while self.look() {
                match self.asks.recv_timeout(LOOK) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// Looks once. False when nothing waits, and there is no need to look again.
    fn look(&self) -> bool {
        let guard = self.live.config().load_guard;
        let (tell, told) = bounded(1);
        let held = held_back(&guard, &Machine);
        let inspect = Request::Inspect(Box::new(move |core| {
            let _ = tell.send(core.backlog() > 0);
        }));
        let sent = self.engine.send(Request::HoldBack(held)).is_ok() && self.engine.send(inspect).is_ok();
        if !sent || !told.recv().unwrap_or(false) {
            drop(self.engine.send(Request::HoldBack(at_first(&guard))));
            return false;
        }
        guard.is_on()
    }
}

/// Where figures come from.
trait Figures {
    /// Memory that programs could have without swapping, bytes.
    fn free_memory(&self) -> Option<u64>;
    /// The text of a file of /proc/pressure.
    fn pressure(&self, kind: &str) -> Option<String>;
}

struct Machine;

impl Figures for Machine {
    fn free_memory(&self) -> Option<u64> {
        let mut system = sysinfo::System::new().ok()?;
        system.refresh_memory();
        let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
        Some(system.available_memory().min(limit))
    }

    fn pressure(&self, kind: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/pressure/{kind}")).ok()
    }
}

/// Why nothing may start now, if nothing may. What cannot be measured holds nothing back, but is told.
fn held_back(guard: &LoadGuard, machine: &impl Figures) -> Option<String> {
    if let Some(least) = guard.free_memory {
        match machine.free_memory() {
            Some(free) if free < least => {
                let (free, least) = (mebibytes(free), mebibytes(least));
                return Some(format!("free memory is {free}, guard.free_memory is {least}"));
            }
            Some(_) => {}
            None => tracing::warn!("guard.free_memory: the free memory cannot be measured"),
        }
    }
    for (kind, most) in LoadGuard::KINDS.into_iter().zip(guard.pressure) {
        let Some(most) = most else { continue };
        match machine.pressure(kind).as_deref().and_then(some_avg10) {
            Some(pressure) if pressure > most => {
                return Some(format!(
                    "pressure on {kind} is {pressure} %, guard.{kind}_pressure is {most} %"
                ));
            }
            Some(_) => {}
            None => tracing::warn!(kind, "guard: this kernel does not tell the pressure"),
        }
    }
    None
}

/// The part of the last ten seconds in which some task waited, percent
/// (<https://docs.kernel.org/accounting/psi.html>).
fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split(' ').find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told(u64, &'static str);

    impl Figures for Told {
        fn free_memory(&self) -> Option<u64> {
            Some(self.0 << 20)
        }

        fn pressure(&self, kind: &str) -> Option<String> {
            let other = "some avg10=0.00 avg60=99.00 avg300=0.00 total=1\n";
            Some(if kind == "io" { self.1.to_owned() } else { other.to_owned() })
        }
    }

    #[test]
    fn what_is_beyond_a_limit_is_named_with_its_figures() {
        let quiet = "some avg10=4.99 avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n";
        let busy = "some avg10=5.01 avg60=0.00 avg300=0.00 total=1\n";
        let guard = LoadGuard { free_memory: Some(100 << 20), pressure: [Some(5.0), None, Some(5.0)] };
        assert_eq!(held_back(&guard, &Told(100, quiet)), None);
        let memory = held_back(&guard, &Told(99, quiet)).unwrap();
        assert_eq!(memory, "free memory is 99 MiB, guard.free_memory is 100 MiB");
        let io = held_back(&guard, &Told(100, busy)).unwrap();
        assert_eq!(io, "pressure on io is 5.01 %, guard.io_pressure is 5 %");
        assert_eq!(held_back(&LoadGuard::default(), &Told(0, busy)), None);
        assert_eq!(at_first(&LoadGuard::default()), None);
    }

    #[test]
    fn this_machine_tells_its_free_memory() {
        assert!(Machine.free_memory().unwrap() > 0);
    }
}
