//! P12: what a slow subscriber costs: process tasks per second beside one that reads one event a second, under
//! 10 000 events a second and more, next to none, in the same run.
//!
//! `cargo bench --bench subscribers [-- COUNT]`. Beside the tasks, as many events as are told below come from
//! tasks that are held and released, so that the subscriber falls behind at once and is told so again and again;
//! that load is the same with and without a subscriber. Rounds alternate; medians are printed with their spread.

mod kit;

use kit::{Connection, Daemon, Failure, Rounds, count, specs};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
/// Events a second that are made beside those of the tasks.
const EVENTS_PER_SECOND: u64 = 10_000;
/// Tasks whose elements are held and released to make events: one request makes two events of each.
const HELD: usize = 250;

/// By then so many events have come that one that reads slowly has been overtaken.
const ENOUGH: Duration = Duration::from_secs(6);

fn main() -> Result<(), Failure> {
    let count = count(5000);
    let daemon = Daemon::start(&[])?;
    let (tasks, held) = (daemon.path("specs"), daemon.path("held"));
    specs(&tasks, count, "")?;
    specs(&held, HELD, ",\"hold\":true,\"not_before\":\"10000h\"")?;
    daemon.orchctl(&["add", "--from", &held.to_string_lossy()])?;
    let [mut none, mut slow] = [Rounds::default(), Rounds::default()];
    let (mut lagged, mut rate) = (0, Rounds::default());
    for _ in 0..ROUNDS {
        let noise = Noise::start(&daemon)?;
        none.add(tasks_per_second(&daemon, &tasks, count)?);
        let subscriber = Subscriber::start(&daemon)?;
        slow.add(tasks_per_second(&daemon, &tasks, count)?);
        lagged += subscriber.end();
        rate.add(noise.end()?);
    }
    println!("{count} tasks, {ROUNDS} rounds, beside {:.0} other events a second", rate.median());
    none.show("no subscriber", "/s", None);
    slow.show("one that reads an event a second", "/s", Some(&none));
    println!("told to have lagged: {lagged} times");
    Ok(())
}

fn tasks_per_second(daemon: &Daemon, tasks: &std::path::Path, count: usize) -> Result<f64, Failure> {
    let started = Instant::now();
    let ids = daemon.orchctl_command(&["add", "--json", "--from", &tasks.to_string_lossy()]).output()?;
    let text = String::from_utf8(ids.stdout)?;
    let id = |line: &str| line.chars().filter(char::is_ascii_digit).collect::<String>();
    let (first, last) = (text.lines().next().map(id), text.lines().last().map(id));
    let range = format!("{}-{}", first.ok_or("no id")?, last.ok_or("no id")?);
    daemon.orchctl(&["wait", &range])?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Events at a fixed rate: tasks that never start are released and held again.
struct Noise {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<f64, String>>,
}

impl Noise {
    fn start(daemon: &Daemon) -> Result<Self, Failure> {
        let over = Arc::new(AtomicBool::new(false));
        let (stop, mut connection) = (Arc::clone(&over), Connection::open(&daemon.socket())?);
        let body =
            format!("{{\"ids\":[{}]}}", (1..=HELD).map(|id| id.to_string()).collect::<Vec<_>>().join(","));
        let thread = std::thread::spawn(move || {
            let (started, mut made) = (Instant::now(), 0_u64);
            while !stop.load(Ordering::Relaxed) {
                for path in ["/v1/tasks/release", "/v1/tasks/hold"] {
                    connection.send("POST", path, &body).map_err(|error| error.to_string())?;
                    connection.receive().map_err(|error| error.to_string())?;
                }
                made += 2 * HELD as u64;
                let due = Duration::from_micros(made * 1_000_000 / EVENTS_PER_SECOND);
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
            Ok(made as f64 / started.elapsed().as_secs_f64())
        });
        Ok(Self { over, thread })
    }

    fn end(self) -> Result<f64, Failure> {
        self.over.store(true, Ordering::Relaxed);
        Ok(self.thread.join().map_err(|_| "the maker of events failed")??)
    }
}

/// Reads an event a second.
struct Subscriber {
    over: Arc<AtomicBool>,
    lagged: Arc<AtomicU64>,
    stream: UnixStream,
    thread: JoinHandle<()>,
    started: Instant,
}

impl Subscriber {
    fn start(daemon: &Daemon) -> Result<Self, Failure> {
        let mut stream = UnixStream::connect(daemon.socket())?;
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n")?;
        let (over, lagged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (Arc::clone(&over), Arc::clone(&lagged));
        let mut events = BufReader::with_capacity(256, stream.try_clone()?);
        let thread = std::thread::spawn(move || {
            let (mut line, mut next) = (String::new(), Instant::now());
            // When it is to end it reads on as fast as it can, until it finds out what it has lost or was cut off.
            while matches!(events.read_line(&mut line), Ok(1..)) {
                if line.starts_with("event: lagged") {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                if line.starts_with("data:") && !stop.load(Ordering::Relaxed) {
                    next += Duration::from_secs(1);
                    while Instant::now() < next && !stop.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
                line.clear();
            }
        });
        Ok(Self { over, lagged, stream, thread, started: Instant::now() })
    }

    /// Ends it; how often it was told to have lagged.
    fn end(self) -> u64 {
        std::thread::sleep(ENOUGH.saturating_sub(self.started.elapsed()));
        self.over.store(true, Ordering::Relaxed);
        let started = Instant::now();
        while self.lagged.load(Ordering::Relaxed) == 0 && started.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // It is done with, whatever becomes of the connection.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.thread.join();
        self.lagged.load(Ordering::Relaxed)
    }
}
