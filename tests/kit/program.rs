//! A program that is run to its end.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};

use super::until;

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    /// `out`, as it is.
    pub bytes: Vec<u8>,
}

impl Said {
    /// Checks the exit code and that each of these is in what it said on standard error.
    pub fn fails_with(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word} is not in {self:?}");
        }
        assert!(!self.err.contains("panicked"), "{self:?}");
        self
    }

    /// Checks that it ended well.
    pub fn succeeds(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// The document that it printed.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A program that runs; it is killed if the test ends first.
pub struct Running {
    child: Child,
    streams: Option<[JoinHandle<Vec<u8>>; 2]>,
    /// Its standard input, while there may come more.
    stdin: Option<ChildStdin>,
}

impl Running {
    pub fn start(command: Command, input: &[u8]) -> Self {
        let mut running = Self::start_open(command);
        let (stdin, input) = (running.stdin.take(), input.to_vec());
        // Whoever does not read its input does not want it.
        thread::spawn(move || drop(stdin.unwrap().write_all(&input)));
        running
    }

    /// Starts it with a standard input that says nothing and does not end.
    pub fn start_open(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let stdin = child.stdin.take();
        let streams = [read_all(child.stdout.take().unwrap()), read_all(child.stderr.take().unwrap())];
        Self { child, streams: Some(streams), stdin }
    }

    /// Says something to one that was started open.
    pub fn write(&self, bytes: &[u8]) {
        self.stdin.as_ref().unwrap().write_all(bytes).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Said {
        until("a program ends", || self.child.try_wait().unwrap().is_some());
        let code = self.child.wait().unwrap().code();
        let [bytes, err] = self.streams.take().unwrap().map(|stream| stream.join().unwrap());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code, out: text(&bytes), err: text(&err), bytes }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both do nothing to one that has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Runs a program to its end.
pub fn run(command: Command, input: &[u8]) -> Said {
    Running::start(command, input).ended()
}
