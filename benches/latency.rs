//! P4: from an add to the start of its process, on an idle daemon.
//!
//! `cargo bench --bench latency [-- SAMPLES]`. A process has started when the kernel opens its program, which is a
//! copy of `/bin/true` that inotify(7) watches. The reference is what cannot be avoided: one fdatasync, and the same
//! process started directly. The kinds of samples alternate. That the answer comes first shows what is spent on the
//! way to the disk, and what on the way to the worker and in it.

mod kit;

use kit::program::Program;
use kit::{Connection, Daemon, Failure, Rounds, count, millis, sync_once};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() -> Result<(), Failure> {
    let samples = count(300);
    let daemon = Daemon::start(&[])?;
    let program = Program::in_directory(&daemon.path("state"))?;
    let path = program.path.display().to_string();
    let body = format!("{{\"command\":[{path:?}]}}");
    let mut connection = Connection::open(&daemon.socket())?;
    let held = format!("{{\"command\":[{path:?}],\"hold\":true}}");
    let [mut synced, mut bare, mut answer, mut request, mut process]: [Rounds; 5] = Default::default();
    for _ in 0..samples {
        let started = Instant::now();
        synced.add(millis(sync_once(&daemon.path("state"))?));
        let mut child = Command::new(&program.path).stdin(Stdio::null()).spawn()?;
        bare.add(millis(program.start_after(started)?));
        child.wait()?;
        settle();
        let started = Instant::now();
        connection.send("POST", "/v1/tasks", &held)?;
        connection.receive()?;
        answer.add(millis(started.elapsed()));
        settle();
        let started = Instant::now();
        connection.send("POST", "/v1/tasks", &body)?;
        request.add(millis(program.start_after(started)?));
        connection.receive()?;
        settle();
        let started = Instant::now();
        let mut add = daemon.orchctl_command(&["add", "--", &path]).stdout(Stdio::null()).spawn()?;
        process.add(millis(program.start_after(started)?));
        add.wait()?;
        settle();
    }
    println!("{samples} samples each, milliseconds from the add to the start of its process");
    let rows = [
        ("fdatasync alone", &synced),
        ("fdatasync + process", &bare),
        ("answer to a request: it is durable", &answer),
        ("request on an open connection", &request),
        ("orchctl add", &process),
    ];
    for (name, rounds) in rows {
        let (p50, p99) = (rounds.median(), rounds.quantile(0.99));
        println!("{name:<36} p50 {p50:>6.2}   p99 {p99:>6.2}   {:.2} x", p50 / bare.median());
    }
    Ok(())
}

/// Between two samples: the report of the one before is on its way.
fn settle() {
    std::thread::sleep(Duration::from_millis(5));
}
