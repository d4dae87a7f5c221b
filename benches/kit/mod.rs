//! What the benches share: a daemon of their own, the command line, plain requests, rounds and medians.
//!
//! Only the standard library is used to talk to the daemon, so that a bench measures the daemon and not its
//! client library.
#![expect(dead_code, reason = "each bench uses its own part")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub mod program;

/// Whatever can go wrong.
pub type Failure = Box<dyn Error>;
/// A daemon that does not answer within this time is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon in a directory of its own; gone with its worker at the end.
pub struct Daemon {
    home: tempfile::TempDir,
    child: Option<Child>,
    options: Vec<String>,
}

impl Daemon {
    /// Starts one with these options and waits until it answers.
    pub fn start(options: &[&str]) -> Result<Self, Failure> {
        let home = tempfile::tempdir()?;
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut daemon = Self { home, child: None, options };
        daemon.start_again()?;
        daemon.until_worker()?;
        Ok(daemon)
    }

    /// Starts it once more on the same state; gives the time until it answers.
    pub fn start_again(&mut self) -> Result<Duration, Failure> {
        let log = File::options().create(true).append(true).open(self.path("log"))?;
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_orchd"))
            .args(&self.options)
            .arg("--state-dir")
            .arg(self.path("state"))
            .arg("--socket")
            .arg(self.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        while self.request("GET", "/v1/stats", "").is_err() {
            if started.elapsed() > PATIENCE {
                return Err(fs::read_to_string(self.path("log"))?.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(started.elapsed())
    }

    fn until_worker(&self) -> Result<(), Failure> {
        let started = Instant::now();
        while !self.request("GET", "/v1/workers", "")?.contains("\"pid\"") {
            if started.elapsed() > PATIENCE {
                return Err("the worker does not come".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.path("orchd.sock")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Its worker's process.
    pub fn worker_pid(&self) -> Result<u32, Failure> {
        let workers = self.request("GET", "/v1/workers", "")?;
        let at = workers.find("\"pid\":").ok_or("no worker")? + "\"pid\":".len();
        let digits: String = workers[at..].chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse()?)
    }

    /// One request on a connection of its own; the body of the reply.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Result<String, Failure> {
        let mut connection = Connection::open(&self.socket())?;
        connection.send(method, path, body)?;
        connection.receive()
    }

    /// `orchctl` with these arguments, which must succeed.
    pub fn orchctl(&self, arguments: &[&str]) -> Result<Duration, Failure> {
        let started = Instant::now();
        let output = self.orchctl_command(arguments).output()?;
        if !output.status.success() {
            return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(started.elapsed())
    }

    /// `orchctl` with these arguments.
    pub fn orchctl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchctl"));
        command.arg("--socket").arg(self.socket()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Ends it: politely, or as a crash does.
    pub fn end(&mut self, politely: bool) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if politely {
            signal(child.id(), rustix::process::Signal::TERM);
        } else {
            child.kill()?;
        }
        child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM lets the worker end, too.
        let _ = self.end(true);
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A connection that stays open.
pub struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Connects.
    pub fn open(socket: &Path) -> Result<Self, Failure> {
        Ok(Self { stream: BufReader::new(UnixStream::connect(socket)?) })
    }

    /// Sends a request, without waiting for its reply.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> Result<(), Failure> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(self.stream.get_mut().write_all(request.as_bytes())?)
    }

    /// The body of the next reply.
    pub fn receive(&mut self) -> Result<String, Failure> {
        let mut status = String::new();
        self.stream.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let body = String::from_utf8(body)?;
        if status.contains(" 2") { Ok(body) } else { Err(format!("{status}{body}").into()) }
    }
}

/// A time in milliseconds.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The number on the command line, or this one.
pub fn count(default: usize) -> usize {
    std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(default)
}

/// Figures of rounds.
#[derive(Default)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    /// Notes one.
    pub fn add(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    /// The figure that this part of them stays below; 0.5 is the median.
    pub fn quantile(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part).round() as usize]
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// A line with the median, the spread and the ratio to a reference.
    pub fn show(&self, name: &str, unit: &str, reference: Option<&Self>) {
        let ratio = reference.map_or_else(String::new, |r| format!("   {:.2} x", self.median() / r.median()));
        let (median, least, most) = (self.median(), self.quantile(0.0), self.quantile(1.0));
        println!("{name:<34} {median:>12.1} {unit:<5} ({least:.1} to {most:.1}){ratio}");
    }
}

/// So many tasks of one line each, all different, in a file.
pub fn specs(path: &Path, count: usize, fields: &str) -> Result<(), Failure> {
    let mut file = std::io::BufWriter::new(File::create(path)?);
    for number in 0..count {
        writeln!(file, "{{\"command\":[\"/bin/true\",\"{number}\"],\"name\":\"t{number}\"{fields}}}")?;
    }
    Ok(file.flush()?)
}

/// A figure of `/proc/PID/status`, such as `VmRSS`, in bytes where the kernel counts in KiB.
pub fn proc_status(pid: u32, field: &str) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    let number: u64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(if line.ends_with("kB") { number * 1024 } else { number })
}

/// The time of one write of 4 KiB and its fdatasync in this directory.
pub fn sync_once(directory: &Path) -> Result<Duration, Failure> {
    let mut file = File::options().create(true).append(true).open(directory.join("sync"))?;
    let started = Instant::now();
    file.write_all(&[0; 4096])?;
    file.sync_data()?;
    Ok(started.elapsed())
}
