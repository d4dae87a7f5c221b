//! A runner on a directory of its own, and what the tests ask about it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use crossbeam_channel::Receiver;
use orchd_api::{Assignment, StartedAttempt};
use orchd_model::{AttemptNumber, AttemptReport, TaskId};
use orchd_worker::runner::{AttemptEvent, Runner, RunnerSettings};
use orchd_worker::{CgroupPlace, StatePaths, Stream};
use std::path::PathBuf;

use crate::attempts::{self, PATIENCE};

pub struct Bench {
    runner: Runner,
    events: Receiver<AttemptEvent>,
    paths: StatePaths,
    directory: tempfile::TempDir,
}

impl Bench {
    pub fn new(slots: u32) -> Self {
        Self::with_cgroup(slots, CgroupPlace::Auto)
    }

    pub fn with_cgroup(slots: u32, cgroup: CgroupPlace) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let paths = StatePaths::new(directory.path().join("state"));
        let (sender, events) = crossbeam_channel::unbounded();
        let settings = RunnerSettings {
            paths: paths.clone(),
            socket: "/run/test.sock".into(),
            slots,
            output_bytes: 1 << 20,
            cgroup,
        };
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

    /// A file that may be run. Another process writes it: while a test of another thread starts a child, that
    /// child has this process's files open too, and what is open for writing cannot be run.
    pub fn executable(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let script = r#"printf '%s' "$2" > "$1" && chmod 755 "$1""#;
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", script, "sh"]).arg(&path).arg(text);
        assert!(shell.status().unwrap().success());
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
            AttemptEvent::Started(started, _) => started,
            AttemptEvent::Unbegun(token) => panic!("{token} is given back before a start"),
            AttemptEvent::Ended(report) => panic!("{report:?} before a start"),
            AttemptEvent::Progress(progress) => panic!("{progress:?} before a start"),
        }
    }

    /// Waits until this attempt is given back.
    pub fn unbegun(&self, token: u64) {
        match self.events.recv_timeout(PATIENCE).unwrap() {
            AttemptEvent::Unbegun(given_back) => assert_eq!(given_back.0, token),
            other => panic!("{other:?} instead of giving {token} back"),
        }
    }

    /// Waits for `count` ends.
    pub fn ended(&self, count: usize) -> Vec<AttemptReport> {
        let mut ended = Vec::new();
        while ended.len() < count {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                AttemptEvent::Started(..) | AttemptEvent::Unbegun(_) | AttemptEvent::Progress(_) => {}
                AttemptEvent::Ended(report) => {
                    self.runner.forget(report.token);
                    ended.push(report);
                }
            }
        }
        ended
    }

    pub fn output(&self, task: u64, stream: Stream) -> Option<Vec<u8>> {
        std::fs::read(self.paths.output(TaskId(task), AttemptNumber(1), stream)).ok()
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn until(&self, condition: impl Fn() -> bool) {
        attempts::until(condition);
    }

    /// Processes that were started with a token and the socket of this runner, zombies not counted.
    pub fn living_with_token(&self, token: u64) -> Vec<u32> {
        attempts::living_with_token(self.paths.root(), token)
    }
}
