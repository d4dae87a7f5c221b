//! P2: how little a workflow adds to what its tasks take: the eight-task pipeline, and a chain of stages.
//!
//! `cargo bench --bench pipeline [-- ROUNDS]`. Every task is a `bash` that writes down the time when it begins and when
//! it is about to end; from these lines all figures are worked out, alike for orchd and for `make -j` of the same
//! graph, which is the reference of each round. The coordination of a task is the time from the end of the last
//! task that it waits for to its own beginning: it holds the exit of the one process, the report, the commit, the
//! assignment and the start of the other. The chain has no work in its stages, so that it gives many of these.

mod kit;

use kit::{Daemon, Failure, Rounds, count, millis};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Stages of the chain.
const STAGES: usize = 200;

/// A task: its name, how long it sleeps, the tasks that it waits for.
struct Task {
    name: String,
    sleep: f64,
    after: Vec<usize>,
}

/// `0.85 1.15 0.65 | 0.6 | 1.5 1.85 | 0.5 | 0.35` s: three, then one, then two, then one after the other.
fn pipeline() -> Vec<Task> {
    let task =
        |name: &str, sleep, after: &[usize]| Task { name: name.to_owned(), sleep, after: after.to_vec() };
    vec![
        task("generate_a", 0.85, &[]),
        task("generate_b", 1.15, &[]),
        task("generate_c", 0.65, &[]),
        task("analyze", 0.6, &[0, 1, 2]),
        task("train_alpha", 1.5, &[3]),
        task("train_beta", 1.85, &[3]),
        task("ensemble", 0.5, &[4, 5]),
        task("report", 0.35, &[6]),
    ]
}

fn chain() -> Vec<Task> {
    let stage = |stage: usize| Task {
        name: format!("stage{stage}"),
        sleep: 0.0,
        after: stage.checked_sub(1).into_iter().collect(),
    };
    (0..STAGES).map(stage).collect()
}

/// The longest way through the sleeps.
fn critical_path(tasks: &[Task]) -> f64 {
    let mut ends: Vec<f64> = Vec::with_capacity(tasks.len());
    for task in tasks {
        let begin = task.after.iter().map(|index| ends[*index]).fold(0.0, f64::max);
        ends.push(begin + task.sleep);
    }
    ends.into_iter().fold(0.0, f64::max)
}

/// The command of a task, which leaves `BEGIN END` in the file of its name. Nothing but `sleep` is started by it.
fn line(task: &Task, directory: &Path) -> String {
    let file = directory.join(&task.name);
    let sleep = if task.sleep > 0.0 { format!("sleep {}; ", task.sleep) } else { String::new() };
    format!("begin=$EPOCHREALTIME; {sleep}echo $begin $EPOCHREALTIME > {}", file.display())
}

/// What a run has left.
struct Run {
    makespan: Duration,
    spans: Vec<(f64, f64)>,
}

impl Run {
    fn read(tasks: &[Task], directory: &Path, makespan: Duration) -> Result<Self, Failure> {
        let mut spans = Vec::with_capacity(tasks.len());
        for task in tasks {
            let text = fs::read_to_string(directory.join(&task.name))?;
            let mut times = text.split_whitespace().map(str::parse::<f64>);
            let (Some(begin), Some(end)) = (times.next(), times.next()) else {
                return Err(format!("{}: {text:?}", task.name).into());
            };
            spans.push((begin?, end?));
        }
        Ok(Self { makespan, spans })
    }

    /// Milliseconds from the end of what a task waits for to its beginning, for each that waits.
    fn coordination(&self, tasks: &[Task]) -> Vec<f64> {
        let mut gaps = Vec::new();
        for (task, (begin, _)) in tasks.iter().zip(&self.spans) {
            let ready = task.after.iter().map(|index| self.spans[*index].1).reduce(f64::max);
            gaps.extend(ready.map(|ready| (begin - ready) * 1000.0));
        }
        gaps
    }

    /// The most tasks at one instant.
    fn peak(&self) -> usize {
        let at = |time: f64| self.spans.iter().filter(|(begin, end)| *begin <= time && time < *end).count();
        self.spans.iter().map(|(begin, _)| at(*begin)).max().unwrap_or(0)
    }
}

/// Runs the graph as a workflow: from the request to the answer that its last task has ended.
fn by_orchd(daemon: &Daemon, tasks: &[Task]) -> Result<Run, Failure> {
    let directory = tempfile::tempdir()?;
    let mut body = "{\"name\":\"pipeline\",\"tasks\":[".to_owned();
    for (index, task) in tasks.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let after: Vec<&str> = task.after.iter().map(|index| tasks[*index].name.as_str()).collect();
        let (name, line) = (&task.name, line(task, directory.path()));
        write!(
            body,
            "{comma}{{\"name\":{name:?},\"command\":[\"bash\",\"-c\",{line:?}],\"dependencies\":{after:?}}}"
        )?;
    }
    body.push_str("]}");
    let started = Instant::now();
    let added = daemon.request("POST", "/v1/workflows", &body)?;
    let id = added.split("\"workflow\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
    let id = id.ok_or("no id")?.trim().to_owned();
    let waited = daemon.request("POST", "/v1/tasks/wait", &format!("{{\"workflow\":\"{id}\"}}"))?;
    let makespan = started.elapsed();
    if !waited.contains("\"done\":true") {
        return Err(waited.into());
    }
    Run::read(tasks, directory.path(), makespan)
}

/// Runs the same graph by `make -j`.
fn by_make(tasks: &[Task]) -> Result<Run, Failure> {
    let directory = tempfile::tempdir()?;
    let mut makefile = "SHELL = /bin/bash\n.PHONY: all".to_owned();
    for task in tasks {
        write!(makefile, " {}", task.name)?;
    }
    makefile.push_str("\nall:");
    for task in tasks {
        write!(makefile, " {}", task.name)?;
    }
    makefile.push('\n');
    for task in tasks {
        write!(makefile, "{}:", task.name)?;
        for index in &task.after {
            write!(makefile, " {}", tasks[*index].name)?;
        }
        writeln!(makefile, "\n\t@{}", line(task, directory.path()).replace('$', "$$"))?;
    }
    fs::write(directory.path().join("Makefile"), makefile)?;
    let started = Instant::now();
    let status = Command::new("make")
        .args(["-j4", "-C"])
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    let makespan = started.elapsed();
    if !status.success() {
        return Err("make has failed".into());
    }
    Run::read(tasks, directory.path(), makespan)
}

/// What several runs of one graph came to.
#[derive(Default)]
struct Figures {
    makespan: Rounds,
    coordination: Rounds,
    peak: usize,
}

impl Figures {
    fn add(&mut self, tasks: &[Task], run: &Run) {
        self.makespan.add(millis(run.makespan));
        run.coordination(tasks).into_iter().for_each(|gap| self.coordination.add(gap));
        self.peak = self.peak.max(run.peak());
    }

    fn show(&self, name: &str, path: f64) {
        let (median, least, most) =
            (self.makespan.median(), self.makespan.quantile(0.0), self.makespan.quantile(1.0));
        let (p50, p99) = (self.coordination.median(), self.coordination.quantile(0.99));
        println!(
            "{name:<12} makespan {median:>8.1} ms ({least:.1} to {most:.1}), {:>6.1} more than the critical path; \
             peak {}; coordination p50 {p50:>5.2} p99 {p99:>5.2} ms",
            median - path * 1000.0,
            self.peak,
        );
    }
}

fn main() -> Result<(), Failure> {
    let rounds = count(3);
    let daemon = Daemon::start(&["--slots", "4"])?;
    for (what, tasks) in [("the pipeline", pipeline()), ("a chain of stages without work", chain())] {
        let path = critical_path(&tasks);
        println!("{what}: {} tasks, critical path {path:.2} s, {rounds} rounds", tasks.len());
        let (mut orchd, mut make) = (Figures::default(), Figures::default());
        for _ in 0..rounds {
            make.add(&tasks, &by_make(&tasks)?);
            orchd.add(&tasks, &by_orchd(&daemon, &tasks)?);
        }
        orchd.show("orchd", path);
        make.show("make -j4", path);
    }
    Ok(())
}
