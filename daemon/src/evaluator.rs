//! Templates and expressions that may cost much are evaluated by a process of its own, whose memory and time are bounded: one
//! that loops or grows without end costs the daemon a second and nothing else.
//!
//! The process (`orchd evaluator`) reads a question a line and writes an answer a line. It is started for the first such
//! question; when it is ended by its limits the next question starts another one. It ends with the daemon.
//!
//! Whoever asks waits for the answer, at most two seconds of the processor's time: threads that others wait for leave it to
//! [`aside`](crate::aside).

use anyhow::{Context, Result};
use orchd_model::{Body, Code, Refusal, TaskSpec};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

/// The address space of the process: some hundred times the largest inputs.
const MEMORY: u64 = 512 << 20;
/// Seconds of the processor that one question may take, and up to one more, since limits are whole seconds.
const SECONDS: u64 = 1;
/// Ticks in a second as `/proc` counts them, on every Linux.
const TICKS: u64 = 100;

/// What is to be evaluated.
#[derive(Serialize, Deserialize)]
enum Question<'q> {
    Render { spec: Box<TaskSpec>, inputs: Cow<'q, Value> },
    Holds { when: Cow<'q, str>, inputs: Cow<'q, Value> },
    Value { expression: Cow<'q, str>, inputs: Cow<'q, Value> },
}

impl Question<'_> {
    fn answer(&self) -> Result<Value, Refusal> {
        let in_words = |message: String| Refusal::new(Code::Malformed, message);
        match self {
            Self::Render { spec, inputs } => {
                let spec = orchd_workflow::render(spec, inputs)?;
                serde_json::to_value(spec).map_err(|error| in_words(error.to_string()))
            }
            Self::Holds { when, inputs } => {
                orchd_workflow::evaluate(when, inputs).map(Value::Bool).map_err(in_words)
            }
            Self::Value { expression, inputs } => {
                orchd_workflow::value_of(expression, inputs).map_err(in_words)
            }
        }
    }
}

/// Evaluates, here or in the process.
#[derive(Default)]
pub struct Evaluator {
    process: Option<Process>,
}

impl Evaluator {
    /// As [`orchd_workflow::render`].
    pub fn render(&mut self, spec: &TaskSpec, inputs: &Value) -> Result<TaskSpec, Refusal> {
        if !orchd_workflow::may_cost(spec) {
            return orchd_workflow::render(spec, inputs);
        }
        let made =
            self.ask(&Question::Render { spec: Box::new(spec.clone()), inputs: Cow::Borrowed(inputs) })?;
        serde_json::from_value(made).map_err(|error| Refusal::new(Code::Malformed, error.to_string()))
    }

    /// As [`orchd_workflow::evaluate`].
    pub fn holds(&mut self, when: &str, inputs: &Value) -> Result<bool, String> {
        if !orchd_workflow::expression_may_cost(when) {
            return orchd_workflow::evaluate(when, inputs);
        }
        let answer = self.ask(&Question::Holds { when: Cow::Borrowed(when), inputs: Cow::Borrowed(inputs) });
        answer.map(|holds| holds == Value::Bool(true)).map_err(|refusal| refusal.message)
    }

    /// As [`orchd_workflow::value_of`].
    pub fn value(&mut self, expression: &str, inputs: &Value) -> Result<Value, String> {
        if !orchd_workflow::expression_may_cost(expression) {
            return orchd_workflow::value_of(expression, inputs);
        }
        let question =
            Question::Value { expression: Cow::Borrowed(expression), inputs: Cow::Borrowed(inputs) };
        self.ask(&question).map_err(|refusal| refusal.message)
    }

    /// What the expressions of a task see: its inputs with its own parameters, filled in, over the workflow's.
    pub fn overlaid(&mut self, spec: &TaskSpec, inputs: &Value) -> Result<Value, Refusal> {
        let own = TaskSpec { parameters: spec.parameters.clone(), ..TaskSpec::new(Body::Milestone) };
        let own = if orchd_workflow::uses_templates(&own) { self.render(&own, inputs)? } else { own };
        Ok(orchd_workflow::overlay(inputs, &own.parameters))
    }

    fn ask(&mut self, question: &Question<'_>) -> Result<Value, Refusal> {
        let failed = |error: &dyn std::fmt::Display| {
            Refusal::new(Code::StoreFailed, format!("the evaluator cannot be asked: {error}"))
        };
        let question = serde_json::to_string(question).map_err(|error| failed(&error))?;
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::start().map_err(|error| failed(&error))?,
        };
        match process.exchange(&question) {
            Ok(answer) => {
                self.process = Some(process);
                serde_json::from_str::<Result<Value, Refusal>>(&answer).map_err(|error| failed(&error))?
            }
            Err(_) => Err(ended(process.end().map_err(|error| failed(&error))?)),
        }
    }
}

/// Why there is no answer.
fn ended(status: ExitStatus) -> Refusal {
    let message = match status.signal() {
        Some(signal) if signal == Signal::XCPU.as_raw() => "the template takes too long".to_owned(),
        // What Rust does when there is no memory.
        Some(signal) if signal == Signal::ABORT.as_raw() => "the template needs too much memory".to_owned(),
        _ => format!("the template could not be evaluated: {status}"),
    };
    Refusal::new(Code::TooLarge, message)
}

/// The process, seen from the daemon.
struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Process {
    fn start() -> io::Result<Self> {
        // This very program, also when its file has been replaced by an upgrade meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("orchd").arg("evaluator").env_clear().current_dir("/");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (Some(to), Some(from)) = (to, from) else { return Err(io::ErrorKind::BrokenPipe.into()) };
        Ok(Self { child, to, from: BufReader::new(from) })
    }

    fn exchange(&mut self, question: &str) -> io::Result<String> {
        self.to.write_all(question.as_bytes())?;
        self.to.write_all(b"\n")?;
        let mut answer = String::new();
        match self.from.read_line(&mut answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer),
        }
    }

    fn end(mut self) -> io::Result<ExitStatus> {
        drop((self.to, self.from));
        self.child.wait()
    }
}

/// Answers questions until there are no more: the process itself.
///
/// # Errors
/// When its limits cannot be set, or nobody listens.
pub fn run() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("cannot be tethered")?;
    limit(Resource::Core, 0)?;
    limit(Resource::As, MEMORY)?;
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        limit(Resource::Cpu, used_seconds()? + SECONDS + 1)?;
        let question: Question<'_> = serde_json::from_str(&line?)?;
        serde_json::to_writer(&mut out, &question.answer())?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

/// Lowers a limit; only the soft one, so that it can be moved.
fn limit(resource: Resource, to: u64) -> Result<()> {
    let maximum = rustix::process::getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: Some(to), maximum }).context("cannot limit itself")
}

/// The time of the processor that this process has used, rounded down.
fn used_seconds() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    // After the name in parentheses: the 14th and 15th field (proc_pid_stat(5)).
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks / TICKS)
}
