//! Process tasks per second, from bulk add to all results durable, next to what the machine allows.
//!
//! `cargo bench --bench throughput [-- COUNT]`. The reference is a bare loop in the same run: one thread a
//! core that starts the same program and waits for it, with nothing kept. Rounds of both sides alternate;
//! medians are printed with their spread.

use orchd_client::{Client, TaskSpec};
use orchd_model::Span;
use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const PROGRAM: &str = "/bin/true";

fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(5000);
    let home = tempfile::tempdir()?;
    let socket = home.path().join("orchd.sock");
    let daemon = Daemon::start(home.path(), &socket)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let client = runtime.block_on(connect(&socket))?;
    let mut bare = Vec::new();
    let mut orchd = Vec::new();
    for _ in 0..ROUNDS {
        bare.push(rate(count, bare_loop(count)?));
        orchd.push(rate(count, runtime.block_on(run_tasks(&client, count))?));
    }
    drop(daemon);
    println!("{count} x {PROGRAM}, {ROUNDS} rounds, durable, output kept");
    show("bare loop", &mut bare);
    show("orchd", &mut orchd);
    println!("{:<12} {:>10.2}", "ratio", orchd[ROUNDS / 2] / bare[ROUNDS / 2]);
    Ok(())
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn show(name: &str, rates: &mut [f64]) {
    rates.sort_by(f64::total_cmp);
    println!("{name:<12} {:>10.0}/s   ({:.0} to {:.0})", rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1]);
}

/// One thread a core; each starts the program and waits for it, again and again.
fn bare_loop(count: usize) -> Result<Duration, Box<dyn Error>> {
    let threads = std::thread::available_parallelism()?.get();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let loops: Vec<_> = (0..threads)
            .map(|index| {
                let share = count / threads + usize::from(index < count % threads);
                scope.spawn(move || (0..share).try_for_each(|_| Command::new(PROGRAM).status().map(drop)))
            })
            .collect();
        loops.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| "a thread of the bare loop failed")?.map_err(Box::from)
        })
    })
    .map_err(|error: Box<dyn Error + Send + Sync>| error.to_string())?;
    Ok(started.elapsed())
}

async fn run_tasks(client: &Client, count: usize) -> Result<Duration, Box<dyn Error>> {
    let specs: Vec<TaskSpec> = (0..count).map(|_| TaskSpec::command([PROGRAM])).collect();
    let started = Instant::now();
    let added = client.submit_many(specs).await?;
    let ids = added.into_iter().collect::<Result<Vec<_>, _>>()?;
    let request = orchd_api::WaitRequest { select: ids.into(), timeout: Some(Span::from_secs(600)) };
    let reply = client.wait(request).await?;
    if !reply.done {
        return Err("the tasks did not end within ten minutes".into());
    }
    Ok(started.elapsed())
}

async fn connect(socket: &Path) -> Result<Client, Box<dyn Error>> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match Client::connect(socket).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// A daemon of its own, gone with its worker at the end.
struct Daemon(Child);

impl Daemon {
    fn start(home: &Path, socket: &Path) -> Result<Self, Box<dyn Error>> {
        let log = std::fs::File::create(home.join("log"))?;
        let child = Command::new(env!("CARGO_BIN_EXE_orchd"))
            .arg("--state-dir")
            .arg(home.join("state"))
            .arg("--socket")
            .arg(socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM lets the worker end, too.
        if let Ok(pid) = i32::try_from(self.0.id())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}
