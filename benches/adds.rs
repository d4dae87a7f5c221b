//! P3: adds per second: in bulk, pipelined on one connection, and one `orchctl add` process each.
//!
//! `cargo bench --bench adds [-- COUNT]`. Everything is paused, so that only adding is measured. References of
//! the same round: the same bytes written and synced once, and `/bin/true` processes.

mod kit;

use kit::{Connection, Daemon, Failure, Rounds, count, specs};
use std::io::Write;
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 5;
const SINGLES: usize = 2000;
const PROCESSES: usize = 100;

fn main() -> Result<(), Failure> {
    let count = count(100_000);
    let daemon = Daemon::start(&[])?;
    daemon.orchctl(&["pause"])?;
    let file = daemon.path("specs");
    specs(&file, count, "")?;
    let bytes = std::fs::read(&file)?;
    let [mut written, mut bulk, mut singles, mut adds, mut spawns]: [Rounds; 5] = Default::default();
    for _ in 0..ROUNDS {
        let rate = |count: usize, started: Instant| count as f64 / started.elapsed().as_secs_f64();
        let started = Instant::now();
        let mut copy = std::fs::File::create(daemon.path("copy"))?;
        copy.write_all(&bytes)?;
        copy.sync_data()?;
        written.add(rate(count, started));
        let started = Instant::now();
        daemon.orchctl(&["add", "--from", &file.to_string_lossy()])?;
        bulk.add(rate(count, started));
        let started = Instant::now();
        pipelined(&daemon)?;
        singles.add(rate(SINGLES, started));
        let started = Instant::now();
        for _ in 0..PROCESSES {
            daemon.orchctl(&["add", "--", "/bin/true"])?;
        }
        adds.add(rate(PROCESSES, started));
        let started = Instant::now();
        for _ in 0..PROCESSES {
            Command::new("/bin/true").output()?;
        }
        spawns.add(rate(PROCESSES, started));
        daemon.orchctl(&["cancel", "--all"])?;
    }
    println!("{count} specs, {SINGLES} requests, {PROCESSES} processes; {ROUNDS} rounds, durable");
    written.show("write and sync of the same bytes", "/s", None);
    bulk.show("bulk", "/s", Some(&written));
    singles.show("pipelined singles", "/s", None);
    spawns.show("/bin/true, one after the other", "/s", None);
    adds.show("orchctl add, one after the other", "/s", Some(&spawns));
    Ok(())
}

/// One connection; replies are read while requests are sent.
fn pipelined(daemon: &Daemon) -> Result<(), Failure> {
    const WINDOW: usize = 64;
    let mut connection = Connection::open(&daemon.socket())?;
    let send = |connection: &mut Connection, number: usize| {
        let body = format!("{{\"command\":[\"/bin/true\",\"{number}\"]}}");
        connection.send("POST", "/v1/tasks", &body)
    };
    for number in 0..WINDOW {
        send(&mut connection, number)?;
    }
    for number in WINDOW..SINGLES + WINDOW {
        connection.receive()?;
        if number < SINGLES {
            send(&mut connection, number)?;
        }
    }
    Ok(())
}
