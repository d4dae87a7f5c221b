//! P4: from an add to the first instruction of its process, on an idle daemon.
//!
//! `cargo bench --bench latency [-- SAMPLES]`. The process is a shell that writes into a pipe, so the shell's
//! own start is in every figure; the reference is what cannot be avoided: one fdatasync and the same process
//! started directly. The kinds of samples alternate. That the answer comes first shows what is spent on the way
//! to the disk, and what on the way to the worker and in it.

mod kit;

use kit::{Connection, Daemon, Failure, Rounds, count, sync_once};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() -> Result<(), Failure> {
    let samples = count(300);
    let daemon = Daemon::start(&[])?;
    let pipe = daemon.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    let line = format!("echo > {}", pipe.display());
    let body = format!("{{\"shell\":{line:?}}}");
    let mut connection = Connection::open(&daemon.socket())?;
    let held = format!("{{\"shell\":{line:?},\"hold\":true}}");
    let [mut synced, mut bare, mut answer, mut request, mut process]: [Rounds; 5] = Default::default();
    for _ in 0..samples {
        let started = Instant::now();
        synced.add(millis(sync_once(&daemon.path("state"))?));
        let mut child = Command::new("/bin/sh").args(["-c", &line]).stdin(Stdio::null()).spawn()?;
        bare.add(millis(arrival(&pipe, started)?));
        child.wait()?;
        settle();
        let started = Instant::now();
        connection.send("POST", "/v1/tasks", &held)?;
        connection.receive()?;
        answer.add(millis(started.elapsed()));
        settle();
        let started = Instant::now();
        connection.send("POST", "/v1/tasks", &body)?;
        request.add(millis(arrival(&pipe, started)?));
        connection.receive()?;
        settle();
        let started = Instant::now();
        let mut add =
            daemon.orchctl_command(&["add", "--shell", "--", &line]).stdout(Stdio::null()).spawn()?;
        process.add(millis(arrival(&pipe, started)?));
        add.wait()?;
        settle();
    }
    println!("{samples} samples each, milliseconds from the add to the process's word");
    let rows = [
        ("fdatasync alone", &synced),
        ("fdatasync + sh", &bare),
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

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn arrival(pipe: &Path, started: Instant) -> Result<Duration, Failure> {
    let mut byte = [0];
    File::open(pipe)?.read_exact(&mut byte)?;
    Ok(started.elapsed())
}
