//! A runner on a directory of its own, and what the tests ask about it.

#![allow(dead_code, reason = "each test program uses a part")]

use crossbeam_channel::Receiver;
use orchd_api::{Assignment, StartedAttempt, Work};
use orchd_model::{AttemptNumber, AttemptReport, Span, TaskId, Token};
use orchd_worker::runner::{AttemptEvent, Runner, RunnerSettings};
use orchd_worker::{StatePaths, Stream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Nothing that is tested takes this long, so who waits longer waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Bench {
    runner: Runner,
    events: Receiver<AttemptEvent>,
    paths: StatePaths,
    directory: tempfile::TempDir,
}

impl Bench {
    pub fn new(slots: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let paths = StatePaths::new(directory.path().join("state"));
        let (sender, events) = crossbeam_channel::unbounded();
        let settings = RunnerSettings { paths: paths.clone(), socket: "/run/test.sock".into(), slots };
        let runner = Runner::start(settings, move |event| sender.send(event).unwrap_or_default()).unwrap();
        Self { runner, events, paths, directory }
    }

    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    pub fn paths(&self) -> &StatePaths {
        &self.paths
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A pipe with a name: who reads it waits for who writes it.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// Runs one attempt to its end.
    pub fn run(&self, assignment: Assignment) -> AttemptReport {
        self.runner.assign(assignment);
        self.ended(1).remove(0)
    }

    /// Waits for the next start.
    pub fn started(&self) -> StartedAttempt {
        match self.events.recv_timeout(PATIENCE).unwrap() {
            AttemptEvent::Started(started) => started,
            AttemptEvent::Ended(report) => panic!("{report:?} before a start"),
        }
    }

    /// Waits for `count` ends.
    pub fn ended(&self, count: usize) -> Vec<AttemptReport> {
        let mut ended = Vec::new();
        while ended.len() < count {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                AttemptEvent::Started(_) => {}
                AttemptEvent::Ended(report) => ended.push(report),
            }
        }
        self.until(|| ended.iter().all(|report| self.runner.held().iter().all(|h| h.token != report.token)));
        ended
    }

    pub fn output(&self, task: u64, stream: Stream) -> Option<Vec<u8>> {
        std::fs::read(self.paths.output(TaskId(task), AttemptNumber(1), stream)).ok()
    }

    /// Waits until something is so.
    pub fn until(&self, condition: impl Fn() -> bool) {
        until(condition);
    }

    /// Processes that were started with a token and the socket of this runner, zombies not counted.
    pub fn living_with_token(&self, token: u64) -> Vec<u32> {
        living_with_token(self.paths.root(), token)
    }
}

/// Waits until something is so.
pub fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "it does not become so");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Living processes of the attempt with this token, below this state directory.
pub fn living_with_token(state_dir: &Path, token: u64) -> Vec<u32> {
    let token = format!("ORCHD_TOKEN={token}");
    let result = format!("ORCHD_RESULT={}", state_dir.display());
    let mut living = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let environ: Vec<&[u8]> = environ.split(|b| *b == 0).collect();
        let below = environ.iter().any(|pair| pair.starts_with(result.as_bytes()));
        if below && environ.contains(&token.as_bytes()) {
            living.push(pid);
        }
    }
    living
}

pub fn shell(token: u64, script: &str) -> Assignment {
    assignment(token, &["/bin/sh", "-c", script])
}

/// An attempt of the task whose number is the token's.
pub fn assignment(token: u64, argv: &[&str]) -> Assignment {
    Assignment {
        task: TaskId(token),
        attempt: AttemptNumber(1),
        token: Token(token),
        name: "test".to_owned(),
        work: Work::Command {
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
            env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            cwd: None,
            stdin: None,
        },
        timeout: None,
        grace: Span::from_secs(10),
        inputs: None,
    }
}
