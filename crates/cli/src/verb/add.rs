//! `add`: one task from the options, or any number from NDJSON.

use clap::Args;
use futures_util::StreamExt;
use orchd_api::{Added, WaitRequest};
use orchd_client::{Client, Error};
use orchd_model::{
    Body, Code, Dependency, DependencyTarget, Refusal, Status, TaskId, TaskRange, TaskSpec, UniqueNames,
    limits,
};
use serde_json::Value;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

use crate::command_line::PROGRAM;
use crate::context::Context;
use crate::interrupt::Interrupt;
use crate::spec_options::{SpecOptions, spec_of, with_defaults};
use crate::{Exit, Failure, Submitter, follow, output, text};

/// Specs that are handed on together when they are there; what is not there is not waited for.
const BATCH: usize = 256;
/// Batches read ahead of what the daemon takes.
const READ_AHEAD: usize = 4;
/// Bytes of a file that are read at once.
const READ_BYTES: usize = 256 << 10;
/// What a line looks like.
const LINE_HINT: &str = "one task a line, such as {\"command\": [\"make\", \"all\"]}";
/// Ids that came together are written together, up to so many bytes.
const WRITE_BYTES: usize = 8 << 10;

#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    spec: SpecOptions,
    /// Add the tasks of a file of NDJSON, one spec a line; - for standard input. The other options are
    /// defaults
    #[arg(long, value_name = "FILE|-", conflicts_with = "follow")]
    from: Option<PathBuf>,
    /// All of the file or nothing
    #[arg(long, requires = "from")]
    atomic: bool,
    /// Wait until the tasks have ended: 0 all completed, 1 some not
    #[arg(long, short)]
    wait: bool,
    /// Show the output until the task has ended: 0 completed, 1 not
    #[arg(long, short, conflicts_with = "array")]
    follow: bool,
}

impl Add {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let submitter = Submitter::here(self.spec.env_all)?;
        // Before anything is added: an interrupt between the adding and the waiting is one of the waiting.
        let interrupt = if self.wait { Some(Interrupt::listen()?) } else { None };
        let (added, exit) = match &self.from {
            Some(file) => {
                let defaults = self.spec.fields()?;
                let lines = Lines { defaults, submitter };
                if self.atomic {
                    add_all_or_none(context, lines, file.clone()).await?
                } else {
                    add_lines(context, lines, file.clone()).await?
                }
            }
            None => {
                let spec = self.spec.spec(&submitter)?;
                let more = more(&spec);
                let first = context.client_for_one().submit(spec).await?.id;
                let added = TaskRange::from_first(first, more);
                print_ids(context, added)?;
                (vec![added], Exit::DONE)
            }
        };
        if self.follow
            && let [tasks] = added[..]
            && let Some(id) = tasks.single()
        {
            return follow::task(&context.client().await?, id, context.json, None)
                .await
                .map(|ended| ended.as_status());
        }
        if let Some(mut interrupt) = interrupt
            && !added.is_empty()
            && exit != Exit::INTERRUPTED
        {
            let client = context.client().await?;
            let ended = tokio::select! {
                ended = wait_for(&client, added) => ended?,
                () = interrupt.come() => Exit::INTERRUPTED,
            };
            return Ok(if exit == Exit::DONE { ended } else { exit });
        }
        Ok(exit)
    }

    /// Adding lines that come in ends by itself when it is interrupted: what was sent is answered first.
    pub(crate) fn minds_interrupts(&self) -> bool {
        self.from.is_some() && !self.atomic
    }
}

/// How many elements an array has beyond the first.
fn more(spec: &TaskSpec) -> u64 {
    spec.array.map_or(0, |indices| indices.len() - 1)
}

fn print_ids(context: &Context, tasks: TaskRange) -> io::Result<()> {
    let mut printer = Printer::new(context);
    printer.add(tasks)?;
    printer.flush()
}

/// Writes ids, many at a time.
struct Printer {
    json: bool,
    text: Vec<u8>,
}

impl Printer {
    fn new(context: &Context) -> Self {
        Self { json: context.json, text: Vec::new() }
    }

    fn add(&mut self, tasks: TaskRange) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut self.text, &Added::from(tasks))?;
            self.text.push(b'\n');
        } else {
            writeln!(self.text, "{tasks}")?;
        }
        if self.text.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = output::write(&self.text);
        self.text.clear();
        written
    }
}

async fn wait_for(client: &Client, ids: Vec<TaskRange>) -> Result<Exit, Failure> {
    let reply = client.wait(WaitRequest { select: ids.into(), timeout: None }).await?;
    let all = reply.tasks.iter().all(|task| task.status == Some(Status::Completed));
    Ok(if all { Exit::DONE } else { Exit::UNSUCCESSFUL })
}

fn complain(line: usize, message: impl std::fmt::Display) {
    writeln!(io::stderr(), "{PROGRAM}: line {line}: {message}").ok();
}

/// Makes specs of lines.
struct Lines {
    defaults: serde_json::Map<String, Value>,
    submitter: Submitter,
}

impl Lines {
    fn spec(&self, line: &str) -> Result<TaskSpec, Failure> {
        // The usual case. What is wrong with a line is found out below.
        if self.defaults.is_empty()
            && let Ok(mut spec) = serde_json::from_str::<TaskSpec>(line)
        {
            self.submitter.complete(&mut spec);
            return Ok(spec);
        }
        let fields = object_of(line.trim_end())?;
        let mut spec = spec_of(Value::Object(with_defaults(fields, &self.defaults)))?;
        self.submitter.complete(&mut spec);
        Ok(spec)
    }

    /// Calls `each` with the number and the spec of every line that is not blank, and whether more is at
    /// hand than that line, until it says stop.
    fn read(
        &self,
        file: &Path,
        mut each: impl FnMut(usize, Result<TaskSpec, BadLine>, bool) -> bool,
    ) -> Result<(), Failure> {
        let unreadable = |error| Failure::unreadable(file, &error);
        let input: Box<dyn Read> = if file == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(file).map_err(unreadable)?)
        };
        let mut input = BufReader::with_capacity(READ_BYTES, input);
        let mut line = Vec::new();
        let mut seen = Seen::default();
        for number in 1.. {
            line.clear();
            if input.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
                break;
            }
            let spec = match std::str::from_utf8(&line) {
                Ok(text) if text.trim().is_empty() => continue,
                // One that no frame holds would break the connection, and the lines after it with it.
                Ok(text) if text.len() > limits::SPEC_BYTES => {
                    Err(Failure::Usage(format!("a task spec has at most {} bytes", limits::SPEC_BYTES)))
                }
                Ok(text) => self.spec(text).and_then(|spec| seen.check(number, spec)),
                Err(_) => Err(Failure::Usage("not UTF-8".to_owned())),
            };
            let spec = spec.map_err(|failure| BadLine { failure, reference: seen.reference_of(&line) });
            if !each(number, spec, input.buffer().contains(&b'\n')) {
                break;
            }
        }
        Ok(())
    }
}

/// A line that is no task.
struct BadLine {
    failure: Failure,
    /// The name that others may know it by.
    reference: Option<String>,
}

/// The object that a line is, each of its names once.
fn object_of(line: &str) -> Result<serde_json::Map<String, Value>, Failure> {
    let error = match serde_json::from_str(line) {
        Ok(UniqueNames(fields)) => return Ok(fields),
        Err(error) => text::json_error(&error),
    };
    // The line is numbered in the file; within itself it is always the first.
    let error = error.replace(" at line 1 column", " at column");
    Err(Failure::Usage(match serde_json::from_str(line) {
        // Then it is the names.
        Ok(Value::Object(_)) => error,
        Ok(other) => format!("not a JSON object: {other}\nhint: {LINE_HINT}"),
        Err(_) => format!("not a JSON object: {error}\nhint: {LINE_HINT}"),
    }))
}

/// The refs and keys of the lines so far, with the numbers of their lines. The daemon would refuse the same, and
/// count tasks where people count lines.
#[derive(Default)]
struct Seen {
    refs: HashMap<String, usize>,
    /// With a hash of the spec: the same key may be there again for the same task.
    keys: HashMap<String, (usize, u64)>,
}

impl Seen {
    /// The ref of a line that is no task, unless another one has it.
    fn reference_of(&self, line: &[u8]) -> Option<String> {
        let fields: Value = serde_json::from_slice(line.get(..limits::SPEC_BYTES).unwrap_or(line)).ok()?;
        let reference = fields.get("ref")?.as_str()?;
        (!self.refs.contains_key(reference)).then(|| reference.to_owned())
    }

    /// Refuses a spec whose ref an earlier line has, or whose key an earlier line has for another task.
    fn check(&mut self, number: usize, spec: TaskSpec) -> Result<TaskSpec, Failure> {
        if let Some(key) = &spec.key {
            let mut hasher = DefaultHasher::new();
            serde_json::to_vec(&spec).map_err(io::Error::from)?.hash(&mut hasher);
            let hash = hasher.finish();
            let (first, other) = *self.keys.entry(key.clone()).or_insert((number, hash));
            if other != hash {
                return Err(Failure::Usage(format!(
                    "line {first} has the same key for another task: {key}\nhint: a key stands for one task"
                )));
            }
        }
        let Some(reference) = &spec.reference else { return Ok(spec) };
        match self.refs.entry(reference.clone()) {
            Entry::Vacant(place) => {
                place.insert(number);
                Ok(spec)
            }
            Entry::Occupied(first) => {
                let (line, name) = (first.get(), first.key());
                let hint = "a ref is the name of one line";
                Err(Failure::Usage(format!("line {line} has the same ref: {name}\nhint: {hint}")))
            }
        }
    }
}

/// The numbers of the lines that were sent and not yet answered, in order.
type Numbers = Mutex<VecDeque<usize>>;

/// The refs of lines that the daemon never hears of, with what it would have said of them: it would take what depends on
/// them for mistyped.
#[derive(Default)]
struct Unsent(HashMap<String, Refusal>);

impl Unsent {
    /// What is wrong with a spec that depends on one of them: what the daemon says of what depends on what it has refused.
    fn refusal(&mut self, spec: &TaskSpec) -> Option<Refusal> {
        let cause = |dependency: &Dependency| match &dependency.task {
            DependencyTarget::Name(name) => self.0.get(name).map(|refusal| refusal.consequence(name)),
            DependencyTarget::Id(_) => None,
        };
        let refusal = spec.dependencies.iter().find_map(cause);
        if let (None, Some(reference)) = (&refusal, &spec.reference) {
            // A good line has the name of a bad one.
            self.0.remove(reference);
        }
        refusal
    }

    fn note(&mut self, bad: &BadLine) {
        let Some(reference) = bad.reference.clone() else { return };
        let refusal = match &bad.failure {
            Failure::Client(Error::Refused(refusal)) => refusal.clone(),
            failure => Refusal::new(Code::Malformed, failure.to_string()),
        };
        self.0.insert(reference, refusal);
    }
}

/// Sends the specs of the good lines, those that are at hand together, and names the bad lines. Says whether
/// all were good.
fn send(
    lines: &Lines,
    file: &Path,
    numbers: &Numbers,
    sender: &mpsc::Sender<Vec<TaskSpec>>,
) -> Result<bool, Failure> {
    let mut all_good = true;
    let mut batch: Vec<(usize, TaskSpec)> = Vec::with_capacity(BATCH);
    let send = |batch: &mut Vec<(usize, TaskSpec)>| {
        let (sent, specs): (Vec<usize>, Vec<TaskSpec>) = batch.drain(..).unzip();
        numbers.lock().unwrap_or_else(PoisonError::into_inner).extend(sent);
        sender.blocking_send(specs).is_ok()
    };
    let mut unsent = Unsent::default();
    let read = lines.read(file, |number, spec, more_at_hand| {
        let spec = match spec {
            Ok(spec) => match unsent.refusal(&spec) {
                Some(refusal) => Err(BadLine { failure: refusal.into(), reference: spec.reference }),
                None => Ok(spec),
            },
            bad => bad,
        };
        match spec {
            Ok(spec) => batch.push((number, spec)),
            Err(bad) => {
                unsent.note(&bad);
                complain(number, bad.failure);
                all_good = false;
            }
        }
        if batch.len() == BATCH || !more_at_hand { send(&mut batch) } else { true }
    });
    // What was read before something went wrong counts; who no longer listens needs nothing.
    let _ = send(&mut batch);
    read.map(|()| all_good)
}

/// Adds the good lines as they are read, names the bad ones. An interrupt ends the reading; the ids of what was sent
/// until then are printed all the same. A second one ends that, too.
async fn add_lines(
    context: &Context,
    lines: Lines,
    file: PathBuf,
) -> Result<(Vec<TaskRange>, Exit), Failure> {
    // An unreadable file is found out before anything is sent.
    if file != Path::new("-") {
        File::open(&file).map_err(|error| Failure::unreadable(&file, &error))?;
    }
    let client = context.client().await?;
    let (mut first, mut second) = (Interrupt::listen()?, Interrupt::listen()?);
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let (sender, mut receiver) = mpsc::channel(READ_AHEAD);
    let numbers = Arc::new(Numbers::default());
    let sent_numbers = numbers.clone();
    // Reading may block for ever, so it has a thread of its own.
    let reader = std::thread::spawn(move || send(&lines, &file, &sent_numbers, &sender));
    let batches = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    let told = is_interrupted.clone();
    let until = async move {
        first.come().await;
        told.store(true, Ordering::Relaxed);
    };
    let specs = batches.flat_map(futures_util::stream::iter).take_until(until);
    let (mut added, mut refusals, mut printed) = (Vec::new(), BTreeSet::new(), Ok(()));
    let mut printer = Printer::new(context);
    let submitting = client.submit_stream(specs, false, |item| {
        let (number, is_last) = {
            let mut numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
            (numbers.pop_front().unwrap_or(0), numbers.is_empty())
        };
        match item {
            Ok(tasks) => {
                added.push(tasks);
                if printed.is_ok() {
                    printed = printer.add(tasks);
                }
            }
            Err(refusal) => {
                refusals.insert(Exit::of_code(refusal.code));
                refusal.apart().for_each(|refusal| complain(number, refusal));
            }
        }
        // Nothing is under way that could come with it.
        if is_last && printed.is_ok() {
            printed = printer.flush();
        }
    });
    let outcome = tokio::select! {
        outcome = submitting => outcome,
        () = async { second.come().await; second.come().await } => Ok(()),
    };
    if printed.is_ok() {
        printed = printer.flush();
    }
    outcome?;
    printed?;
    if is_interrupted.load(Ordering::Relaxed) {
        return Ok((added, Exit::INTERRUPTED));
    }
    let all_good = reader.join().map_err(|_| Failure::Usage("reading the lines broke off".to_owned()))??;
    let exit = match refusals.first() {
        None if all_good => Exit::DONE,
        // All for one cause, as when what the command line says of each is wrong.
        Some(only) if all_good && added.is_empty() && refusals.len() == 1 => *only,
        _ => Exit::REFUSED,
    };
    Ok((added, exit))
}

/// Stands for a line that makes no sense, so that the daemon judges all others: it is always refused.
fn stand_in(reference: Option<String>) -> TaskSpec {
    let dependencies = vec![TaskId(0).into()];
    TaskSpec { body: Body::Milestone, reference, dependencies, ..TaskSpec::shell("true") }
}

/// Reads the whole file first: one bad line, and nothing is added. All that is wrong is told at once, whoever finds it.
async fn add_all_or_none(
    context: &Context,
    lines: Lines,
    file: PathBuf,
) -> Result<(Vec<TaskRange>, Exit), Failure> {
    // Reading may block for ever, and an interrupt must end it.
    let reading = tokio::task::spawn_blocking(move || {
        let (mut specs, mut numbers) = (Vec::new(), Vec::new());
        let mut told: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let read = lines.read(&file, |number, spec, _| {
            specs.push(spec.unwrap_or_else(|bad| {
                told.insert(number, vec![bad.failure.to_string()]);
                stand_in(bad.reference)
            }));
            numbers.push(number);
            true
        });
        read.map(|()| (specs, numbers, told))
    });
    let (specs, numbers, mut told) = reading.await.map_err(io::Error::from)??;
    let bad: BTreeSet<usize> = told.keys().copied().collect();
    let has_bad_lines = !bad.is_empty();
    let mut added = Vec::new();
    let mut each = |item: Result<TaskRange, Refusal>| added.extend(item.ok());
    let specs = futures_util::stream::iter(specs);
    let submitted = match context.client().await {
        Ok(client) => client.submit_stream(specs, true, &mut each).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let mut code = None;
    if let Err(Failure::Client(Error::Refused(refusal))) = &submitted
        && refusal.item.is_some()
    {
        code = Some(refusal.code);
        for refusal in refusal.clone().apart() {
            // The daemon counts tasks, people count lines.
            let Some(line) = refusal.item.and_then(|item| numbers.get(item - 1)) else { continue };
            // What stands in for a bad line says nothing of it.
            if !bad.contains(line) {
                told.entry(*line).or_default().push(Refusal { item: None, ..refusal }.to_string());
            }
        }
    }
    for (line, messages) in told {
        messages.into_iter().for_each(|message| complain(line, message));
    }
    match code {
        // Without what is wrong with the lines themselves, it is as the daemon says.
        Some(code) if !has_bad_lines => return Ok((Vec::new(), Exit::of_code(code))),
        None if !has_bad_lines => submitted?,
        Some(_) => return Ok((Vec::new(), Exit::REFUSED)),
        None => return submitted.map(|()| (Vec::new(), Exit::REFUSED)),
    }
    let mut printer = Printer::new(context);
    added.iter().try_for_each(|tasks| printer.add(*tasks))?;
    printer.flush()?;
    Ok((added, Exit::DONE))
}
