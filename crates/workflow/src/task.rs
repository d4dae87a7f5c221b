//! One task of a workflow file: its keys, its body, what it takes from the workflow's defaults, and whether
//! its templates can ever be rendered.

use orchd_model::{
    Body, Claim, Dependency, DependencyTarget, Matcher, NotBefore, On, Priority, Refusal, RetrySpec, Span,
    TaskSpec, limits, merge_claims,
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};

use crate::elements;
use crate::error::{Report, shown};
use crate::field::{expression, flag, list, map, number, object, parsed, text, texts, unknown_key, wrong};
use crate::names::Names;
use crate::node::{Content, Entry, Node, Position};
use crate::scope::Scope;
use crate::subworkflow::{self, Call};

const RETRY_KEYS: [&str; 9] = [
    "max_retries",
    "max_attempts",
    "retry_delay",
    "backoff",
    "max_delay",
    "jitter",
    "retry_on",
    "no_retry_on",
    "memory_factor",
];
pub(crate) const KEYS: [&str; 37] = [
    "name",
    "description",
    "command",
    "shell",
    "module",
    "action",
    "parameters",
    "env",
    "cwd",
    "stdin",
    "priority",
    "claims",
    "claims_any",
    "dependencies",
    "when",
    "not_before",
    "timeout",
    "deadline",
    "hold",
    "key",
    "tags",
    "metadata",
    "max_retries",
    "max_attempts",
    "retry_delay",
    "backoff",
    "max_delay",
    "jitter",
    "retry_on",
    "no_retry_on",
    "memory_factor",
    "foreach",
    "array",
    "transform",
    "finally",
    "compensates",
    "workflow",
];
pub(crate) const DEFAULT_KEYS: [&str; 13] = [
    "timeout",
    "priority",
    "env",
    "cwd",
    "max_retries",
    "max_attempts",
    "retry_delay",
    "backoff",
    "max_delay",
    "jitter",
    "retry_on",
    "no_retry_on",
    "memory_factor",
];
const DURATION: &str = "a duration (seconds, or text such as 1h30m)";

/// What the tasks of a workflow share.
#[derive(Clone, Default)]
pub(crate) struct Shared<'n> {
    /// The names of its parameters.
    pub(crate) parameters: HashSet<String>,
    pub(crate) defaults: Defaults,
    /// The names of its tasks.
    pub(crate) names: Names<'n>,
    /// Whether they run when all else has ended.
    pub(crate) finally: bool,
}

/// The `defaults` of a workflow.
#[derive(Clone, Default)]
pub(crate) struct Defaults {
    retry: RetrySpec,
    timeout: Option<Span>,
    priority: Option<Priority>,
    env: BTreeMap<String, String>,
    cwd: Option<String>,
}

impl Defaults {
    pub(crate) fn read(node: &Node, parameters: &HashSet<String>, report: &mut Report) -> Self {
        let mut defaults = Self::default();
        let entries = map(node, "defaults", report);
        let scope = Scope {
            task: "defaults",
            own: &Map::new(),
            parameters,
            dependencies: &[],
            beside: &Names::default(),
            element: false,
            finally: false,
        };
        let mut told = Vec::new();
        for entry in given(entries) {
            let (value, before) = (&entry.node, report.count());
            match entry.key.as_str() {
                "timeout" => defaults.timeout = parsed(value, "timeout", DURATION, report),
                "priority" => defaults.priority = parsed(value, "priority", "text", report),
                "env" => defaults.env = texts(value, "env", report),
                "cwd" => defaults.cwd = text(value, "cwd", report),
                key if RETRY_KEYS.contains(&key) => retry(&mut defaults.retry, entry, report),
                _ => unknown_key(entry, "defaults", &DEFAULT_KEYS, report),
            }
            scope.check(entry, report);
            told.extend((report.count() > before).then_some(entry.key.as_str()));
        }
        let Self { retry, timeout, env, cwd, .. } = defaults.clone();
        let spec = TaskSpec { retry, timeout, env: env.into(), cwd, ..TaskSpec::new(Body::Milestone) };
        let mistakes = spec.mistakes().into_iter().chain(spec.mistakes_of_new());
        tell(mistakes, "defaults", (entries.unwrap_or_default(), node.at), &told, report);
        defaults
    }

    /// What these do not say, the others do; but for texts, which may name parameters that are not here.
    pub(crate) fn take_from(&mut self, others: &Self) {
        self.retry = self.retry.or(&others.retry);
        self.timeout = self.timeout.or(others.timeout);
        self.priority = self.priority.or(others.priority);
    }
}

impl Draft {
    /// One that nobody wrote.
    pub(crate) fn made(spec: TaskSpec, at: Position) -> Self {
        let dependencies_at = vec![at; spec.dependencies.len()];
        Self { spec, at, dependencies_at, call: None }
    }
}

/// A task that was read, with the places that later checks name.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) spec: TaskSpec,
    pub(crate) at: Position,
    /// One for each dependency of the spec.
    pub(crate) dependencies_at: Vec<Position>,
    /// The sub-workflow that it stands for.
    pub(crate) call: Option<Call>,
}

/// The body keys of a task, before it is known that there is only one.
#[derive(Default)]
struct Bodies {
    at: Option<Position>,
    command: Option<Vec<String>>,
    shell: Option<String>,
    module: Option<String>,
    action: Option<String>,
}

/// Reads one task; `None` when it has no name to know it by.
pub(crate) fn read(node: &Node, shared: &Shared<'_>, report: &mut Report) -> Option<Draft> {
    let entries = map(node, "a task", report)?;
    let mut spec = TaskSpec { finally: shared.finally, ..TaskSpec::new(Body::Milestone) };
    let (mut name, mut priority, mut description, mut call) = (None, None, None, None);
    let (mut bodies, mut dependencies, mut undoes) = (Bodies::default(), Vec::new(), None);
    let mut told = Vec::new();
    for entry in given(Some(entries)) {
        let (value, before) = (&entry.node, report.count());
        match entry.key.as_str() {
            "name" => name = text(value, "name", report),
            "command" | "shell" | "module" | "action" => bodies.read(entry, report),
            "workflow" => call = Call::read(value, report),
            "parameters" => spec.parameters = object(value, "parameters", report).unwrap_or_default(),
            "env" => spec.env = texts(value, "env", report).into(),
            "cwd" => spec.cwd = text(value, "cwd", report),
            "stdin" => spec.stdin = text(value, "stdin", report),
            "priority" => priority = parsed(value, "priority", "text", report),
            "claims" => spec.claims = merge_claims(list(value, report, claim)),
            "claims_any" => spec.claims_any = list(value, report, variant),
            "dependencies" => dependencies = list(value, report, dependency),
            "when" => spec.when = expression(value, "when", report),
            "foreach" | "array" => elements::read(&mut spec, entry, report),
            "transform" => spec.transform = expression(value, "transform", report),
            "finally" => spec.finally |= flag(value, "finally", report).unwrap_or(false),
            "compensates" => undoes = text(value, "compensates", report).map(|name| (name, value.at)),
            "not_before" => spec.not_before = not_before(value, report),
            "timeout" => spec.timeout = parsed(value, "timeout", DURATION, report),
            "deadline" => spec.deadline = parsed(value, "deadline", DURATION, report),
            "hold" => spec.hold = flag(value, "hold", report).unwrap_or(false),
            "key" => spec.key = text(value, "key", report),
            "tags" => spec.tags = list(value, report, tag).into_iter().collect(),
            "metadata" => spec.metadata = object(value, "metadata", report).unwrap_or_default(),
            "description" => description = text(value, "description", report),
            key if RETRY_KEYS.contains(&key) => retry(&mut spec.retry, entry, report),
            _ => unknown_key(entry, "a task", &KEYS, report),
        }
        told.extend((report.count() > before).then_some(entry.key.as_str()));
    }
    if let Some(text) = description {
        spec.metadata.entry("description").or_insert(Value::String(text));
    }
    let before = report.count();
    spec.body = bodies.into_body(node.at, report);
    // What it should have been is not known.
    told.extend((report.count() > before).then_some("foreach"));
    let dependencies = compensation(&mut spec, undoes, dependencies, report);
    let dependencies_at = dependencies.iter().map(|(_, at)| *at).collect();
    spec.dependencies = exactly(dependencies.into_iter().map(|(dependency, _)| dependency));
    check_names(&spec, name.as_deref(), call.as_ref(), entries, shared, report);
    if let Some(name) = &name {
        spec.name.clone_from(name);
    }
    if call.is_some() {
        told.push("foreach");
    }
    check_spec(&spec, node, entries, &told, report);
    take_defaults(&mut spec, priority, &shared.defaults);
    spec.name = named(name, entries, node.at, report)?;
    Some(Draft { spec, at: node.at, dependencies_at, call })
}

/// A list as large as what is in it: collected in place it would keep the room of what was there before.
fn exactly<T>(items: impl ExactSizeIterator<Item = T>) -> Vec<T> {
    let mut list = Vec::with_capacity(items.len());
    list.extend(items);
    list
}

/// Checks what its templates and expressions name.
fn check_names(
    spec: &TaskSpec,
    name: Option<&str>,
    call: Option<&Call>,
    entries: &[Entry],
    shared: &Shared<'_>,
    report: &mut Report,
) {
    let scope = Scope {
        task: name.unwrap_or("this task"),
        own: &spec.parameters,
        parameters: &shared.parameters,
        dependencies: &spec.dependencies,
        beside: &shared.names,
        element: spec.foreach.is_some(),
        finally: spec.finally,
    };
    match call {
        Some(_) => subworkflow::check_keys(entries, &scope, report),
        None => entries.iter().for_each(|entry| scope.check(entry, report)),
    }
}

/// The name of a task; one that is there but is no text has been told of.
fn named(name: Option<String>, entries: &[Entry], at: Position, report: &mut Report) -> Option<String> {
    if !entries.iter().any(|entry| entry.key == "name" && !entry.node.is_null()) {
        report.add_hint(at, "a task without a name", "add name: to it");
    }
    name
}

/// Checks what a task is as a whole, but for the fields of which something was told.
fn check_spec(spec: &TaskSpec, node: &Node, entries: &[Entry], told: &[&str], report: &mut Report) {
    if node.text_bytes() > limits::SPEC_BYTES {
        report.add(node.at, format!("a task is at most {} bytes: {}", limits::SPEC_BYTES, shown(&spec.name)));
        return;
    }
    let mistakes = spec.mistakes().into_iter().chain(spec.mistakes_of_new());
    tell(mistakes, &format!("task {}", shown(&spec.name)), (entries, node.at), told, report);
}

/// Tells each mistake where its field stands.
fn tell(
    mistakes: impl Iterator<Item = (&'static str, Refusal)>,
    what: &str,
    (entries, else_at): (&[Entry], Position),
    told: &[&str],
    report: &mut Report,
) {
    for (field, refusal) in mistakes {
        let key = if field == "variants" { "claims_any" } else { field };
        let is_array = key == "foreach" && told.contains(&"array");
        if told.contains(&key) || is_array {
            continue;
        }
        let entry =
            entries.iter().find(|entry| entry.key == key || (key == "foreach" && entry.key == "array"));
        let at = entry.map_or(else_at, |entry| place_of(entry, refusal.value.as_deref()));
        report.refused(at, what, &refusal);
    }
}

/// The place of a value, or of the part of it that is this: a variable, a tag.
fn place_of(entry: &Entry, value: Option<&str>) -> Position {
    match &entry.node.content {
        Content::Map(parts) => parts.iter().find(|part| Some(part.key.as_str()) == value).map(|part| part.at),
        Content::List(parts) => parts.iter().find(|part| part.as_text() == value).map(|part| part.at),
        Content::Null | Content::Bool(_) | Content::Number(..) | Content::Text(_) | Content::Items(_) => None,
    }
    .unwrap_or(entry.at)
}

/// The entries that say something: a key without a value counts as not given.
fn given(entries: Option<&[Entry]>) -> impl Iterator<Item = &Entry> {
    entries.unwrap_or_default().iter().filter(|entry| !entry.node.is_null())
}

fn tag(node: &Node, report: &mut Report) -> Option<String> {
    text(node, "a tag", report)
}

/// What a task waits for. One that undoes what another one did waits for that one, and nothing else.
fn compensation(
    spec: &mut TaskSpec,
    undoes: Option<(String, Position)>,
    given: Vec<(Dependency, Position)>,
    report: &mut Report,
) -> Vec<(Dependency, Position)> {
    let Some((name, at)) = undoes else { return given };
    let undone = Dependency { task: DependencyTarget::Name(name.clone()), on: On::Success };
    if let Some((_, at)) = given.iter().find(|(dependency, _)| *dependency != undone) {
        report.add(*at, "a compensation waits for nothing but the task that it undoes".to_owned());
    }
    (spec.finally, spec.compensates) = (true, Some(name));
    vec![(undone, at)]
}

fn take_defaults(spec: &mut TaskSpec, priority: Option<Priority>, defaults: &Defaults) {
    spec.priority = priority.or(defaults.priority).unwrap_or_default();
    spec.retry = spec.retry.or(&defaults.retry);
    let runs_a_process = matches!(spec.body, Body::Command { .. } | Body::Shell { .. });
    if !matches!(spec.body, Body::Milestone) {
        spec.timeout = spec.timeout.or(defaults.timeout);
    }
    if runs_a_process {
        for (name, value) in &defaults.env {
            spec.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        spec.cwd = spec.cwd.take().or_else(|| defaults.cwd.clone());
    }
}

impl Bodies {
    fn read(&mut self, entry: &Entry, report: &mut Report) {
        let value = &entry.node;
        self.at.get_or_insert(entry.at);
        match entry.key.as_str() {
            "command" => match &value.content {
                Content::List(_) => {
                    self.command = Some(list(value, report, |a, report| text(a, "an argument", report)));
                }
                _ => {
                    let message = format!("command must be a list of arguments, not {}", value.kind());
                    report.add_hint(value.at, message, "write [program, argument], or use shell for a line");
                    self.command = Some(vec!["?".to_owned()]);
                }
            },
            "shell" => self.shell = Some(text(value, "shell", report).unwrap_or_default()),
            "module" => self.module = text(value, "module", report),
            _ => self.action = text(value, "action", report),
        }
    }

    fn into_body(self, at: Position, report: &mut Report) -> Body {
        match (self.command, self.shell, self.module, self.action) {
            (Some(argv), None, None, None) => Body::Command { argv },
            (None, Some(line), None, None) => Body::Shell { line },
            (None, None, Some(module), action) => Body::Handler { module, action, command: None },
            (None, None, None, None) => Body::Milestone,
            (None, None, None, Some(action)) => {
                let message = format!("an action needs a module: {}", shown(&action));
                report.add_hint(self.at.unwrap_or(at), message, "add module");
                Body::Milestone
            }
            _ => {
                let at = self.at.unwrap_or(at);
                report.add_hint(at, "a task has one body", "give one of command, shell, module");
                Body::Milestone
            }
        }
    }
}

fn retry(spec: &mut RetrySpec, entry: &Entry, report: &mut Report) {
    const COUNT: &str = "a whole number from 0";
    const NUMBER: &str = "a number";
    let (key, value) = (entry.key.as_str(), &entry.node);
    match key {
        "max_retries" => spec.max_retries = number(value, key, COUNT, report),
        "max_attempts" => spec.max_attempts = number(value, key, COUNT, report),
        "retry_delay" => spec.retry_delay = parsed(value, key, DURATION, report),
        "backoff" => spec.backoff = number(value, key, NUMBER, report),
        "max_delay" => spec.max_delay = parsed(value, key, DURATION, report),
        "jitter" => spec.jitter = number(value, key, NUMBER, report),
        "memory_factor" => spec.memory_factor = number(value, key, NUMBER, report),
        "retry_on" => spec.retry_on = Some(matchers(value, key, report)),
        _ => spec.no_retry_on = Some(matchers(value, key, report)),
    }
}

fn matchers(node: &Node, what: &str, report: &mut Report) -> Vec<Matcher> {
    list(node, report, |item, report| parsed(item, what, "an exit code, a signal or an error type", report))
}

/// The claims of one variant. A single claim in place of a list is most likely a list that was forgotten.
fn variant(node: &Node, report: &mut Report) -> Option<Vec<Claim>> {
    if matches!(node.content, Content::List(_)) {
        return Some(merge_claims(list(node, report, claim)));
    }
    let message = format!("a variant must be a list of claims, not {}", node.kind());
    report.add_hint(node.at, message, "write claims_any: [[gpu=1, cpu=1], [cpu=4]]");
    None
}

fn claim(node: &Node, report: &mut Report) -> Option<Claim> {
    const CLAIM: &str = "a claim such as cpu=2 or {type, identifier, mode, amount}";
    let Content::Map(entries) = &node.content else {
        return parsed(node, "claim", CLAIM, report);
    };
    let (mut kind, mut identifier, mut mode, mut amount) = (None, None, None, None);
    let before = report.count();
    for entry in given(Some(entries)) {
        let value = &entry.node;
        match entry.key.as_str() {
            "type" => kind = text(value, "type", report),
            "identifier" => identifier = text(value, "identifier", report),
            "mode" => mode = parsed(value, "mode", "text", report),
            "amount" => amount = parsed(value, "amount", "a number or a size such as 512MiB", report),
            _ => unknown_key(entry, "a claim", &["type", "identifier", "mode", "amount"], report),
        }
    }
    if report.count() > before {
        return None;
    }
    let Some(kind) = kind else {
        report.add_hint(node.at, "a claim without a type", "add type: to it");
        return None;
    };
    let claim = orchd_model::ResourceName::new(&kind, identifier.as_deref())
        .and_then(|resource| Claim::new(resource, mode.unwrap_or_default(), amount));
    claim.map_err(|refusal| report.refused(node.at, "claim", &refusal)).ok()
}

fn dependency(node: &Node, report: &mut Report) -> Option<(Dependency, Position)> {
    let mut on = On::default();
    let task = match &node.content {
        Content::Map(entries) => {
            let mut task = None;
            for entry in given(Some(entries)) {
                match entry.key.as_str() {
                    "task" => task = text(&entry.node, "task", report).map(|name| (name, entry.node.at)),
                    "on" => on = parsed(&entry.node, "on", "text", report).unwrap_or_default(),
                    _ => unknown_key(entry, "a dependency", &["task", "on"], report),
                }
            }
            if task.is_none() {
                report.add_hint(node.at, "a dependency without a task", "write {task: NAME, on: completion}");
            }
            task?
        }
        _ => match node.as_text() {
            Some(name) => (name.to_owned(), node.at),
            None => {
                wrong(node, "a dependency", "the name of a task, or {task, on}", report);
                return None;
            }
        },
    };
    Some((Dependency { task: DependencyTarget::Name(task.0), on }, task.1))
}

fn not_before(node: &Node, report: &mut Report) -> Option<NotBefore> {
    let text = node.as_text().unwrap_or_default();
    let time = text.parse().ok().map(NotBefore::At);
    time.or_else(|| parsed(node, "not_before", "a delay or an RFC 3339 time", report).map(NotBefore::In))
}
