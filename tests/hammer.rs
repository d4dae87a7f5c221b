//! Hammers 50 locks from 8 client processes and the tasks of a worker, while clients, the worker and the daemon
//! are killed. Whoever holds a claim takes the same lock with flock(2), without waiting, and must always get it:
//! the kernel says whether two held what excludes each other.
//!
//! This program is the test, each of its clients, and each of its tasks. It ends after a number of rounds;
//! `ORCHD_HAMMER=60` goes on for so many seconds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::random::Random;
use kit::{Daemon, PATIENCE, claims, process, until};
use orchd_client::api::ListQuery;
use orchd_client::model::{Code, ResourceName};
use orchd_client::{Claim, ClaimGuard, ClaimOptions, Client, Priority, Status, TaskId, TaskSpec};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const LOCKS: u64 = 50;
const CLIENTS: usize = 8;
const TASKS: u64 = 120;
/// Rounds of all clients together; a round is one claim, granted or not.
const ROUNDS: u64 = 600;
/// A client is killed only after so many rounds with the same daemon: what it has let go of, or waits for no more,
/// is known there by then. Else that would last until the lease is over, and the test, too.
const KNOWN: u32 = 8;
/// A client is killed after so many rounds, the worker, the daemon.
const KILLS: [u64; 3] = [17, 67, 151];

/// One to three locks, each with its mode; few of them, so that they are in dispute.
fn some_locks(random: &mut Random) -> BTreeMap<u64, &'static str> {
    let modes = ["read", "read", "write", "exclusive"];
    (0..=random.below(3)).map(|_| (random.below(LOCKS), modes[random.below(4) as usize])).collect()
}

fn texts(wanted: &BTreeMap<u64, &str>) -> Vec<String> {
    wanted.iter().map(|(lock, mode)| format!("lock:l{lock}:{mode}")).collect()
}

fn claims_of(wanted: &BTreeMap<u64, &str>) -> Vec<Claim> {
    claims(&texts(wanted).iter().map(String::as_str).collect::<Vec<_>>())
}

/// The same locks, as the kernel has them.
struct Kernel(Vec<File>);

impl Kernel {
    /// Opened before there is any connection: a process that dies closes its files in the order of their
    /// numbers, so the kernel's locks are free before the daemon learns of its death.
    fn open() -> Self {
        Self((0..LOCKS).map(|lock| File::create(format!("l{lock}")).unwrap()).collect())
    }

    fn take(&self, lock: u64, mode: &str) {
        let shared = mode == "read";
        let operation = if shared {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        let taken = flock(&self.0[lock as usize], operation);
        assert!(taken.is_ok(), "l{lock} was granted for {mode}, and somebody else holds it");
    }

    fn give_back(&self, lock: u64) {
        flock(&self.0[lock as usize], FlockOperation::Unlock).unwrap();
    }
}

/// What the claims of a client are called.
fn name_of(pid: u32) -> String {
    format!("client-{pid}")
}

/// Something to do while others have the time to be wrong.
fn work(random: &mut Random) {
    let until = random.below(20_000);
    std::hint::black_box((0..until).fold(0_u64, |sum, i| sum ^ i.wrapping_mul(until)));
}

/// A task: holds what it claims, as the worker's attempt.
fn task(arguments: &[String]) {
    let kernel = Kernel::open();
    for argument in arguments {
        let (lock, mode) = argument.split_once(':').unwrap();
        kernel.take(lock.parse().unwrap(), mode);
    }
    work(&mut Random(u64::from(std::process::id())));
}

/// A client: round after round until its standard input ends; says a line for each.
#[tokio::main(flavor = "current_thread")]
async fn client(seed: u64) {
    let kernel = Kernel::open();
    let stops = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stops);
    thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        stopped.store(true, Ordering::Relaxed);
    });
    let mut random = Random(seed);
    let socket = std::env::var("ORCHD_SOCKET").unwrap();
    let client = loop {
        // The daemon may be killed at any moment.
        match Client::connect(&*socket).await {
            Ok(client) => break client,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    while !stops.load(Ordering::Relaxed) {
        round(&client, &kernel, &mut random).await;
        println!("round");
    }
}

async fn round(client: &Client, kernel: &Kernel, random: &mut Random) {
    let wanted = some_locks(random);
    let wait = match random.below(10) {
        0 => Some(Duration::ZERO),
        1 => Some(Duration::from_micros(random.below(5000))),
        _ => None,
    };
    let priority = Priority::ALL[random.below(4) as usize];
    let options = ClaimOptions { name: Some(name_of(std::process::id())), wait, priority };
    let claiming = client.claim_with(claims_of(&wanted), options);
    let guard = if random.below(10) == 0 {
        // Some change their minds.
        let patience = Duration::from_micros(random.below(5000));
        let Ok(guard) = tokio::time::timeout(patience, claiming).await else { return };
        guard
    } else {
        claiming.await
    };
    match guard {
        Ok(guard) => hold(guard, &wanted, kernel, random).await,
        Err(error) => assert_eq!(error.code(), Some(Code::TimedOut), "{error}"),
    }
}

async fn hold(guard: ClaimGuard, wanted: &BTreeMap<u64, &str>, kernel: &Kernel, random: &mut Random) {
    for (lock, mode) in wanted {
        kernel.take(*lock, mode);
    }
    work(random);
    for lock in wanted.keys() {
        let resource: ResourceName = format!("lock:l{lock}").parse().unwrap();
        // What the kernel has is given back first: from then on others may have it.
        match random.below(6) {
            0 => {
                kernel.take(*lock, "read");
                guard.downgrade(&resource).await.unwrap();
            }
            1 => {
                kernel.give_back(*lock);
                guard.release_one(&resource).await.unwrap();
            }
            _ => {}
        }
    }
    work(random);
    wanted.keys().for_each(|lock| kernel.give_back(*lock));
    match random.below(2) {
        0 => drop(guard),
        _ => guard.release().await.unwrap(),
    }
}

/// A client as the test sees it.
struct Hand {
    process: Child,
    /// Rounds since the daemon that runs now was started.
    rounds: u32,
}

/// The test.
struct Hammer {
    daemon: Daemon,
    hands: Vec<Hand>,
    random: Random,
    /// Who has ended a round; none: its output has ended.
    said: mpsc::Receiver<(usize, u32, bool)>,
    sender: mpsc::Sender<(usize, u32, bool)>,
}

impl Hammer {
    fn start() -> Self {
        let daemon = Daemon::configured(3, "[scheduler]\nlease = \"10s\"\nmax_worker_losses = 1000\n");
        let (sender, said) = mpsc::channel();
        let mut hammer = Self { daemon, hands: Vec::new(), random: Random(7), said, sender };
        for place in 0..CLIENTS {
            let hand = hammer.new_client(place);
            hammer.hands.push(hand);
        }
        hammer
    }

    fn new_client(&mut self, place: usize) -> Hand {
        let mut command = self.daemon.program(std::env::current_exe().unwrap().to_str().unwrap());
        command.args(["client", &self.random.below(u64::MAX).to_string()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (lines, sender) = (BufReader::new(process.stdout.take().unwrap()), self.sender.clone());
        let pid = process.id();
        thread::spawn(move || {
            for _ in lines.lines().map_while(Result::ok) {
                let _ = sender.send((place, pid, true));
            }
            let _ = sender.send((place, pid, false));
        });
        Hand { process, rounds: 0 }
    }

    fn add_tasks(&mut self) -> Vec<TaskId> {
        let program = std::env::current_exe().unwrap();
        let specs: Vec<TaskSpec> = (0..TASKS)
            .map(|_| {
                let wanted = some_locks(&mut self.random);
                let words = wanted.iter().map(|(lock, mode)| format!("{lock}:{mode}"));
                let argv = [program.to_str().unwrap().to_owned(), "task".to_owned()];
                let spec = TaskSpec::command(argv.into_iter().chain(words));
                let cwd = Some(self.daemon.path("").to_str().unwrap().to_owned());
                TaskSpec { claims: claims_of(&wanted), cwd, ..spec }
            })
            .collect();
        self.daemon.submit_many(specs)
    }

    /// Whatever has its turn after so many rounds is killed.
    fn kill(&mut self, rounds: u64) {
        let [client, worker, daemon] = KILLS.map(|every| rounds.is_multiple_of(every));
        if client {
            let known: Vec<usize> = (0..CLIENTS).filter(|p| self.hands[*p].rounds >= KNOWN).collect();
            if known.is_empty() {
                return;
            }
            let place = known[self.random.below(known.len() as u64) as usize];
            let name = name_of(self.hands[place].process.id());
            process::send(self.hands[place].process.id(), Signal::KILL);
            self.hands[place].process.wait().unwrap();
            let client = self.daemon.client();
            until("nothing is left of a client that was killed", || {
                let query = ListQuery { name: Some(name.clone()), limit: Some(0), ..ListQuery::default() };
                client.list(query).unwrap().iter().all(|task| task.status.is_terminal())
            });
            self.hands[place] = self.new_client(place);
        }
        if worker {
            self.daemon.kill_worker();
        }
        if daemon {
            self.daemon.kill_and_restart();
            // What was said before was said of the former one.
            while self.said.try_recv().is_ok() {}
            self.hands.iter_mut().for_each(|hand| hand.rounds = 0);
        }
    }

    fn run(&mut self, is_over: impl Fn(u64) -> bool) {
        let mut rounds = 0;
        while !is_over(rounds) {
            let (place, pid, says) = self.said.recv_timeout(PATIENCE).unwrap();
            if self.hands[place].process.id() != pid {
                continue;
            }
            assert!(says, "a client has ended: {:?}", self.hands[place].process.wait());
            rounds += 1;
            self.hands[place].rounds += 1;
            self.kill(rounds);
        }
    }

    /// Nobody begins a round any more; gives the tasks that are left when all have ended.
    fn finish(&mut self, tasks: &[TaskId]) {
        for hand in &mut self.hands {
            drop(hand.process.stdin.take());
        }
        for hand in &mut self.hands {
            until("a client ends", || hand.process.try_wait().unwrap().is_some());
            assert!(hand.process.wait().unwrap().success());
        }
        self.daemon.wait(tasks);
        for task in tasks {
            let task = self.daemon.task(*task);
            assert_eq!(task.status, Status::Completed, "{task:?}");
        }
        until("every claim has ended", || {
            let stats = self.daemon.stats();
            // A lock that nobody holds or waits for is not there any more.
            let locks = stats.resources.iter().filter(|resource| resource.kind == "lock");
            stats.pending + stats.running + stats.retrying == 0 && locks.count() == 0
        });
        self.daemon.assert_nothing_is_held();
    }
}

fn hammer() {
    let mut hammer = Hammer::start();
    let mut tasks = hammer.add_tasks();
    match std::env::var("ORCHD_HAMMER").map(|seconds| seconds.parse().unwrap()) {
        Ok(seconds) => {
            let (start, time) = (Instant::now(), Duration::from_secs(seconds));
            while start.elapsed() < time {
                hammer.run(|rounds| rounds >= ROUNDS || start.elapsed() > time);
                tasks.extend(hammer.add_tasks());
            }
        }
        Err(_) => hammer.run(|rounds| rounds >= ROUNDS),
    }
    hammer.finish(&tasks);
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((word, rest)) if word == "task" => task(rest),
        Some((word, rest)) if word == "client" => client(rest[0].parse().unwrap()),
        Some((word, _)) if word == "--list" => {}
        _ => hammer(),
    }
    ExitCode::SUCCESS
}
