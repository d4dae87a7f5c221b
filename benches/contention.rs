//! P6: what tasks that wait for locks cost those that need none of them.
//!
//! `cargo bench --bench contention [-- BLOCKED]`. First `BLOCKED` critical tasks (17 000) wait for one lock, and the time
//! from a request to the start of its process is measured for 100 tasks of every class; then 100 000 tasks (in
//! proportion) wait for a thousand locks, and the rate of short tasks is measured, with and without a claim of their own.
//! The reference is a daemon in which nothing waits; samples and rounds of the two alternate.

mod kit;

use kit::program::Program;
use kit::{Connection, Daemon, Failure, Rounds, count, millis, specs};
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const CLASSES: [&str; 4] = ["critical", "high", "normal", "low"];
const SAMPLES: usize = 100;
const ROUNDS: usize = 5;
const TASKS: usize = 2000;
/// Tasks that wait for one lock in the second part.
const WAITING_EACH: usize = 100;
/// As many as one may claim.
const CLAIMS: usize = 64;

fn main() -> Result<(), Failure> {
    let blocked = count(17_000);
    start_latency(blocked)?;
    throughput(blocked * 100 / 17)
}

fn start_latency(blocked: usize) -> Result<(), Failure> {
    let (free, busy) = (Side::start(0, 0)?, Side::start(blocked, 1)?);
    println!("from a request to the start of its process, {SAMPLES} tasks of each class, milliseconds");
    let mut connections =
        [Connection::open(&free.daemon.socket())?, Connection::open(&busy.daemon.socket())?];
    for class in CLASSES {
        let mut rounds: [Rounds; 2] = Default::default();
        for _ in 0..SAMPLES {
            for (side, (connection, rounds)) in
                [&free, &busy].iter().zip(connections.iter_mut().zip(&mut rounds))
            {
                let path = side.program.path.display().to_string();
                let body = format!("{{\"command\":[{path:?}],\"priority\":\"{class}\"}}");
                let started = Instant::now();
                connection.send("POST", "/v1/tasks", &body)?;
                rounds.add(millis(side.program.start_after(started)?));
                connection.receive()?;
                // The report of this one is on its way.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let [empty, beside] = rounds;
        for (name, rounds) in
            [("nothing waits".to_owned(), &empty), (format!("{blocked} wait for one lock"), &beside)]
        {
            let (p50, p99) = (rounds.median(), rounds.quantile(0.99));
            let ratios = (p50 / empty.median(), p99 / empty.quantile(0.99));
            println!(
                "{class:<9} {name:<28} p50 {p50:>6.2} {:.2} x   p99 {p99:>6.2} {:.2} x",
                ratios.0, ratios.1
            );
        }
    }
    Ok(())
}

fn throughput(blocked: usize) -> Result<(), Failure> {
    let locks = (blocked / WAITING_EACH).max(1);
    let (free, busy) = (Side::start(0, 0)?, Side::start(blocked, locks)?);
    println!("{TASKS} x /bin/true, {ROUNDS} rounds each");
    for (kind, claim) in [("", ""), (" with a claim", ",\"claims\":[\"lock:free\"]")] {
        let mut rounds: [Rounds; 2] = Default::default();
        for _ in 0..ROUNDS {
            rounds[0].add(free.rate(claim)?);
            rounds[1].add(busy.rate(claim)?);
        }
        let [empty, beside] = rounds;
        empty.show(&format!("nothing waits{kind}"), "/s", None);
        beside.show(&format!("{blocked} on {locks} locks{kind}"), "/s", Some(&empty));
    }
    Ok(())
}

/// A daemon, with or without tasks that wait. It ends before those who hold the locks.
struct Side {
    daemon: Daemon,
    program: Program,
    _holders: Vec<Holder>,
}

impl Side {
    /// One in which so many critical tasks wait for so many locks.
    fn start(blocked: usize, locks: usize) -> Result<Self, Failure> {
        let daemon = Daemon::start(&[])?;
        let program = Program::in_directory(&daemon.path("state"))?;
        let numbers: Vec<usize> = (0..locks).collect();
        let holders =
            numbers.chunks(CLAIMS).map(|locks| Holder::of(&daemon, locks)).collect::<Result<_, _>>()?;
        let mut lines = String::new();
        for task in 0..blocked {
            let lock = task % locks;
            writeln!(
                lines,
                "{{\"command\":[\"true\"],\"priority\":\"critical\",\"claims\":[\"lock:l{lock}:exclusive\"]}}"
            )?;
        }
        if blocked > 0 {
            let file = daemon.path("blocked");
            std::fs::write(&file, lines)?;
            daemon.orchctl(&["add", "--from", &file.to_string_lossy()])?;
        }
        Ok(Self { daemon, program, _holders: holders })
    }

    /// The rate of short tasks, from adding them until all have ended.
    fn rate(&self, claim: &str) -> Result<f64, Failure> {
        let file = self.daemon.path("specs");
        specs(&file, TASKS, claim)?;
        let started = Instant::now();
        let output = self.daemon.orchctl_command(&["add", "--from", &file.to_string_lossy()]).output()?;
        let ids = String::from_utf8(output.stdout)?;
        let mut wait = vec!["wait"];
        wait.extend(ids.split_whitespace());
        self.daemon.orchctl(&wait)?;
        Ok(TASKS as f64 / started.elapsed().as_secs_f64())
    }
}

/// An `orchctl lock` that holds locks until it is dropped: its command ends with its standard input.
struct Holder {
    child: Child,
}

impl Holder {
    fn of(daemon: &Daemon, locks: &[usize]) -> Result<Self, Failure> {
        let claims: Vec<String> = locks.iter().map(|lock| format!("lock:l{lock}:exclusive")).collect();
        let mut words = vec!["lock"];
        words.extend(claims.iter().flat_map(|claim| ["--claim", claim.as_str()]));
        words.extend(["--", "sh", "-c", "echo held; exec cat"]);
        let mut command = daemon.orchctl_command(&words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        if line.trim() != "held" {
            return Err("the locks were not granted".into());
        }
        Ok(Self { child })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
