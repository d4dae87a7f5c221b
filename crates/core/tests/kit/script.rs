//! Scenarios as text: commands at the margin, what they lead to indented below.
//!
//! The commands are listed in `scenarios/README.md`.

use orchd_core::{Command, Config, EdgeTarget, Join, NewSession, NewTask, NewWorkflow, Reply, Runner, Scope};
use orchd_model::{
    Body, ErrorType, FailFast, NotBefore, On, Outcome, Progress, SessionId, SessionMode, Span, TaskId,
    TaskRange, Time, Token, WorkerId, WorkflowId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::goes_on::undo;
use super::setting::resource_setting;
use super::telling::refused_as;
use super::{World, claims_of, matchers, spec_of, task};

/// Runs the commands of a scenario and gives its text with what really came out, and the codes of the reasons
/// that were told.
#[must_use]
pub fn run(text: &str) -> (String, BTreeSet<String>) {
    let mut script = Script::new();
    let mut shown = String::new();
    for line in text.lines() {
        if line.starts_with(' ') {
            continue;
        }
        shown.push_str(line);
        shown.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            for said in script.line(line) {
                shown.push_str("  ");
                shown.push_str(&said);
                shown.push('\n');
            }
        }
    }
    (shown, script.codes)
}

pub(super) struct Script {
    pub(super) config: Config,
    pub(super) world: Option<World>,
    pub(super) tasks: BTreeMap<String, TaskId>,
    /// How many elements the arrays have.
    pub(super) arrays: BTreeMap<String, u64>,
    pub(super) workflows: BTreeMap<String, WorkflowId>,
    pub(super) sessions: BTreeMap<String, SessionId>,
    pub(super) workers: BTreeMap<String, WorkerId>,
    /// Every token a task has had.
    pub(super) tokens: BTreeMap<TaskId, Vec<Token>>,
    /// Of every reason that was told.
    pub(super) codes: BTreeSet<String>,
}

pub(super) fn span(text: &str) -> Span {
    text.parse().unwrap_or_else(|_| panic!("not a duration: {text}"))
}

pub(super) fn at(time: Time) -> Span {
    Span(time.0)
}

impl Script {
    fn new() -> Self {
        Self {
            config: Config {
                aging: Span::ZERO,
                lease: span("30d"),
                reservation_delay: span("30d"),
                grace: Span::ZERO,
                ..Config::default()
            },
            world: None,
            tasks: BTreeMap::new(),
            arrays: BTreeMap::new(),
            workflows: BTreeMap::new(),
            sessions: BTreeMap::new(),
            workers: BTreeMap::new(),
            tokens: BTreeMap::new(),
            codes: BTreeSet::new(),
        }
    }

    pub(super) fn world(&mut self) -> &mut World {
        let config = &self.config;
        self.world.get_or_insert_with(|| World::new(config.clone()))
    }

    /// A task by its name; `a[2]` is an element of an array.
    pub(super) fn task(&self, name: &str) -> TaskId {
        assert!(self.tasks.contains_key(name) || name.ends_with(']'), "no task {name}");
        self.range(name).first
    }

    fn line(&mut self, line: &str) -> Vec<String> {
        let mut said = Vec::new();
        let line = match line.strip_prefix('@').map(|rest| rest.split_once(' ').unwrap_or((rest, ""))) {
            None => line,
            Some((time, rest)) => {
                let to = Time(span(time).0);
                assert!(to >= self.world().now, "time does not run backwards: {line}");
                for (when, out) in self.world().pass(to) {
                    let before = if when == to { String::new() } else { format!("@{} ", at(when)) };
                    said.extend(self.describe(&out).into_iter().map(|line| format!("{before}{line}")));
                }
                rest
            }
        };
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if !verb.is_empty() {
            said.extend(self.command(verb, rest));
        }
        said
    }

    fn command(&mut self, verb: &str, rest: &str) -> Vec<String> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        match verb {
            "config" => self.configure(&words),
            "add" => self.add(rest, false, None),
            "atomic" => self.add(rest, true, None),
            "workflow" => self.add_workflow(rest),
            "claim" => self.claim(&words),
            "session" => self.create_session(&words),
            "give_back" | "downgrade" => self.loosen(verb, &words),
            "worker" => self.join(&words),
            "rejoin" => self.rejoin(&words),
            "explain" => words.iter().flat_map(|name| self.explain(name)).collect(),
            "status" => words.iter().map(|name| self.status(name)).collect(),
            "claims" => vec![format!("{} held", self.world().core.claims_held())],
            "resources" => self.resources(),
            "restart" => self.restart(&words),
            "drain" => {
                self.world().core.set_draining(true);
                Vec::new()
            }
            "hold_back" => {
                self.world().core.hold_back((!rest.is_empty()).then(|| rest.to_owned()));
                let (reply, out) = self.world().handle(Command::Tick);
                self.answer(reply, &out)
            }
            "retry" => {
                let ids: Vec<TaskId> = words.iter().map(|name| self.task(name)).collect();
                let (reply, out) = self.world().retry(&ids);
                self.answer(reply, &out)
            }
            "rerun" => self.rerun(&words),
            "edit" => self.edit(&words),
            "next" => self.end_oldest().unwrap_or_default(),
            "finish" => std::iter::from_fn(|| self.end_oldest()).flatten().collect(),
            "begin" | "unbegun" => self.say_of_placed(verb, rest),
            "done" | "fail" | "killed" | "timed_out" | "stopped" | "snooze" => self.report(verb, &words),
            _ => {
                let command = self.simple_command(verb, &words);
                let (reply, out) = self.world().handle(command);
                self.answer(reply, &out)
            }
        }
    }

    /// `progress TASK PERCENT|- [WORD]... [by=USER]`
    fn progress_command(&self, task: &str, percent: &str, words: &[&str]) -> Command {
        let (by, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("by="));
        let percentage = (percent != "-").then(|| percent.parse().expect("a percentage"));
        Command::Progress {
            token: self.token(task),
            progress: Progress::new(percentage, Some(&words.join(" "))),
            by: by.first().and_then(|by| by.strip_prefix("by=")?.parse().ok()),
        }
    }

    fn simple_command(&mut self, verb: &str, words: &[&str]) -> Command {
        match (verb, words) {
            ("cancel", ["workflow", name]) => self.cancel_workflow(name),
            ("cancel", names) => {
                Command::Cancel { tasks: names.iter().map(|name| self.range(name)).collect() }
            }
            ("hold", [name]) => Command::Hold { tasks: self.range(name) },
            ("release", names) => Command::Release { tasks: names.iter().map(|n| self.range(n)).collect() },
            ("reprioritize", [name, class]) => {
                Command::Reprioritize { tasks: self.range(name), priority: class.parse().expect("a class") }
            }
            ("pause", [scope @ .., "create"]) => Command::Pause { scope: self.scope(scope), create: true },
            ("pause", scope) => Command::Pause { scope: self.scope(scope), create: false },
            ("resume", scope) => Command::Resume(self.scope(scope)),
            ("resource", [name, settings @ ..]) => {
                let (resource, setting) = resource_setting(name, settings);
                Command::SetResource { resource, setting }
            }
            ("throttle", [name, pause, by @ ..]) => Command::Throttle {
                resource: name.parse().expect("a resource"),
                pause: span(pause),
                by: by.first().filter(|word| **word != "create").map(|task| self.token(task)),
                create: by.contains(&"create"),
            },
            ("close", [name, create @ ..]) => {
                Command::Close { resource: name.parse().expect("a resource"), create: create == ["create"] }
            }
            ("open", [name]) => Command::Open { resource: name.parse().expect("a resource") },
            ("settle", [task, name, used]) => Command::Settle {
                token: self.token(task),
                resource: name.parse().expect("a resource"),
                used: used.parse().expect("an amount"),
            },
            ("progress", [task, percent, words @ ..]) => self.progress_command(task, percent, words),
            ("decide", [name, verdict, why @ ..]) => {
                let verdict = verdict.parse().map_err(|_| why.join(" "));
                Command::Decide { task: self.task(name), verdict }
            }
            ("close_session", [name, how @ ..]) => {
                Command::CloseSession { session: self.session(name), cancel: how != ["wait"] }
            }
            ("computed" | "expand", words) => self.group_command(words),
            ("detach", [name]) => Command::Detach { worker: self.workers[*name] },
            ("heartbeat", [name]) => Command::Heartbeat { worker: self.workers[*name] },
            ("resize", [name, slots]) => {
                Command::Resize { worker: self.workers[*name], slots: slots.parse().expect("a number") }
            }
            ("lose", [name, began @ ..]) => {
                let worker = self.workers[*name];
                self.world().workers.remove(&worker);
                let last = |task: &&str| *self.tokens[&self.task(task)].last().expect("was assigned");
                let began = match began {
                    [] => None,
                    ["began", "nothing"] => Some(Vec::new()),
                    [_, tasks @ ..] => Some(tasks.iter().map(last).collect()),
                };
                Command::Lose { worker, began }
            }
            _ => panic!("not a command: {verb} {words:?}"),
        }
    }

    /// The token of a task's latest attempt; one that was never given when it has not run.
    fn token(&self, name: &str) -> Token {
        let tokens = self.tokens.get(&self.task(name));
        tokens.and_then(|tokens| tokens.last()).copied().unwrap_or(Token(0))
    }

    /// `a`, all of an array or one task; `a[2]`, `a[2-4]`: elements of it, from 1; or ids.
    fn range(&self, text: &str) -> TaskRange {
        let (name, places) = text.strip_suffix(']').and_then(|t| t.split_once('[')).unwrap_or((text, ""));
        let Some(first) = self.tasks.get(name).copied() else { return text.parse().expect("ids") };
        let place = |text: &str| TaskId(first.0 + text.parse::<u64>().expect("a number") - 1);
        match places.split_once('-') {
            Some((from, to)) => TaskRange { first: place(from), last: place(to) },
            None if places.is_empty() => {
                TaskRange::from_first(first, self.arrays.get(name).map_or(0, |n| n - 1))
            }
            None => place(places).into(),
        }
    }

    /// What a worker says of a task that was placed ahead.
    fn say_of_placed(&mut self, verb: &str, name: &str) -> Vec<String> {
        let token = self.tokens.get(&self.task(name)).and_then(|tokens| tokens.last()).copied();
        let Some((token, worker)) = token.and_then(|token| Some((token, self.placed_at(token)?))) else {
            return vec![format!("{name} is not placed")];
        };
        let command = match verb {
            "begin" => Command::Begun { worker: Some(worker), token, at: self.world().now },
            _ => Command::Unbegun { worker, token },
        };
        let (reply, out) = self.world().handle(command);
        self.answer(reply, &out)
    }

    fn placed_at(&mut self, token: Token) -> Option<WorkerId> {
        let placed = &self.world().core.meta().placed;
        placed.iter().find(|placement| placement.token == token).map(|placement| placement.worker)
    }

    fn task_or_id(&self, name: &str) -> TaskId {
        self.range(name).first
    }

    fn scope(&self, words: &[&str]) -> Scope {
        match words {
            ["all"] => Scope::All,
            ["priority", class] => Scope::Priority(class.parse().expect("a class")),
            ["resource", name] => Scope::Resource(name.parse().expect("a resource")),
            ["workflow", name] => Scope::Workflow(self.workflows[*name]),
            ["session", name] => Scope::Session(self.session(name)),
            _ => panic!("not a scope: {words:?}"),
        }
    }

    fn configure(&mut self, words: &[&str]) -> Vec<String> {
        match words {
            ["ahead", count] => self.config.ahead = count.parse().expect("a number"),
            ["aging", span_text] => self.config.aging = span(span_text),
            ["grace", span_text] => self.config.grace = span(span_text),
            ["reservation_delay", span_text] => self.config.reservation_delay = span(span_text),
            ["lease", span_text] => self.config.lease = span(span_text),
            ["max_worker_losses", count] => {
                self.config.max_worker_losses = count.parse().expect("a number");
            }
            ["resource", name, settings @ ..] => {
                let (name, setting) = resource_setting(name, settings);
                self.config.resources.retain(|(other, _)| *other != name);
                self.config.resources.push((name, setting));
            }
            ["no", "resource", name] => {
                let name = name.parse().expect("a resource");
                self.config.resources.retain(|(other, _)| *other != name);
            }
            _ => panic!("not a configuration: {words:?}"),
        }
        let config = self.config.clone();
        let Some(world) = &mut self.world else { return Vec::new() };
        world.config = config.clone();
        let (reply, out) = world.handle(Command::Configure(Box::new(config)));
        self.answer(reply, &out)
    }

    // Adding

    fn add(&mut self, text: &str, atomic: bool, workflow: Option<NewWorkflow>) -> Vec<String> {
        let segments: Vec<&str> = text.split(';').map(str::trim).collect();
        let is_option = |word: &str| {
            word.contains('=')
                || word.parse::<orchd_model::Priority>().is_ok()
                || ["hold", "milestone", "when", "own_runner", "computed", "collect", "finally"]
                    .contains(&word)
        };
        let mut batch: Vec<(String, Vec<&str>)> = Vec::new();
        for segment in segments {
            let words: Vec<&str> = segment.split_whitespace().collect();
            let options: Vec<&str> = words.iter().copied().filter(|word| is_option(word)).collect();
            let names = words.iter().filter(|word| !is_option(word));
            batch.extend(names.map(|name| ((*name).to_owned(), options.clone())));
        }
        let names: Vec<String> = batch.iter().map(|(name, _)| name.clone()).collect();
        let tasks: Vec<NewTask> =
            batch.iter().map(|(name, options)| self.new_task(name, options, &names)).collect();
        let counts: BTreeMap<String, u64> =
            names.iter().cloned().zip(tasks.iter().map(NewTask::count)).filter(|(_, n)| *n > 1).collect();
        let is_workflow = workflow.as_ref().map(|w| w.name.to_string());
        let next = self.world().core.meta().next_task;
        let (reply, out) = self.world().submit(tasks, atomic, workflow);
        let mut refused = Vec::new();
        if let Ok(Reply::Submitted { tasks, workflow }) = &reply {
            for (name, id) in names.iter().zip(tasks) {
                match id {
                    Ok(id) => {
                        if *id < next || self.name(*id).split('[').next() != Some(name) {
                            refused.push(format!("{name} is {}", self.name(*id)));
                        }
                        self.tasks.insert(name.clone(), *id);
                        if let Some(count) = counts.get(name) {
                            self.arrays.insert(name.clone(), *count);
                        }
                    }
                    Err(refusal) => refused.push(format!("{name} {}", refused_as(refusal))),
                }
            }
            if let (Some(name), Some(id)) = (is_workflow, workflow) {
                self.workflows.insert(name, *id);
            }
        }
        let mut said = self.answer(reply, &out);
        said.extend(refused);
        said
    }

    /// What is not given is as in a new task, but for dependencies, which stay.
    fn edit(&mut self, words: &[&str]) -> Vec<String> {
        let [name, options @ ..] = words else { panic!("edit NAME OPTION...") };
        let id = self.task(name);
        let keeps: Vec<&str> = options.iter().copied().filter(|option| *option != "none").collect();
        let mut new = self.new_task(name, &keeps, &[]);
        if keeps.len() == options.len() && new.edges.is_empty() {
            // One that waits with others has no record of its own.
            let edges = self.world().store.tasks.get(&id).map(|record| record.edges.clone());
            new.edges = edges.iter().flatten().map(|edge| (EdgeTarget::Id(edge.task), edge.on)).collect();
        }
        let (reply, out) = self.world().edit(id, new);
        self.answer(reply, &out)
    }

    /// `session NAME [MODE] [max_parallel=N]`
    fn create_session(&mut self, words: &[&str]) -> Vec<String> {
        let [name, options @ ..] = words else { panic!("session NAME [MODE] [max_parallel=N]") };
        let mut session =
            NewSession { name: (*name).into(), max_parallel: None, mode: SessionMode::Parallel, owner: 1000 };
        for option in options {
            match option.split_once('=') {
                Some(("max_parallel", limit)) => session.max_parallel = limit.parse().ok(),
                _ => session.mode = option.parse().expect("a mode"),
            }
        }
        let (reply, out) = self.world().handle(Command::CreateSession(session));
        if let Ok(Reply::Session(id)) = reply {
            self.sessions.insert((*name).to_owned(), id);
        }
        self.answer(reply, &out)
    }

    fn session(&self, name: &str) -> SessionId {
        self.sessions.get(name).copied().unwrap_or_else(|| SessionId(name.parse().expect("a session")))
    }

    fn add_workflow(&mut self, rest: &str) -> Vec<String> {
        let (head, tasks) = rest.split_once(": ").expect("workflow NAME OPTIONS: TASKS");
        let (name, options) = head.split_once(' ').unwrap_or((head, ""));
        let mut workflow = NewWorkflow {
            name: name.into(),
            max_parallel: None,
            fail_fast: FailFast::No,
            timeout: None,
            session: None,
        };
        for option in options.split_whitespace() {
            match option.split_once('=').expect("key=value") {
                ("max_parallel", limit) => workflow.max_parallel = limit.parse().ok(),
                ("fail_fast", "yes") => workflow.fail_fast = FailFast::Yes,
                ("fail_fast", "cancel") => workflow.fail_fast = FailFast::Cancel,
                ("timeout", text) => workflow.timeout = Some(span(text)),
                ("session", name) => workflow.session = Some(self.session(name)),
                other => panic!("not an option of a workflow: {other:?}"),
            }
        }
        self.add(tasks, true, Some(workflow))
    }

    pub(super) fn new_task(&self, name: &str, options: &[&str], batch: &[String]) -> NewTask {
        let mut new = task(name);
        let mut policy = (*new.retry).clone();
        for option in options {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "hold" => spec_of(&mut new).hold = true,
                "milestone" => new.runner = Runner::Nothing,
                "computed" => new.runner = Runner::Computed,
                "collect" => {
                    new.runner = Runner::Computed;
                    spec_of(&mut new).collect = true;
                }
                "finally" => spec_of(&mut new).finally = true,
                "undoes" => undo(&mut new, self.edges(value, batch), value),
                "handler" => new.runner = Runner::Handler(value.into()),
                "when" => spec_of(&mut new).when = Some("…".to_owned()),
                "after" => new.edges = self.edges(value, batch),
                "array" => spec_of(&mut new).array = Some(value.parse().expect("indices")),
                "in" => spec_of(&mut new).not_before = Some(NotBefore::In(span(value))),
                "timeout" => spec_of(&mut new).timeout = Some(span(value)),
                "deadline" => spec_of(&mut new).deadline = Some(span(value)),
                "key" => spec_of(&mut new).key = Some(value.to_owned()),
                "session" => spec_of(&mut new).session = Some(self.session(value).into()),
                "body" => spec_of(&mut new).body = Body::Shell { line: value.to_owned() },
                "claims" => spec_of(&mut new).claims = claims_of(value),
                "any" => spec_of(&mut new).claims_any = value.split('|').map(claims_of).collect(),
                "retries" => policy.max_retries = value.parse().expect("a number"),
                "retry_delay" => policy.delay = span(value),
                "backoff" => policy.backoff = value.parse().expect("a number"),
                "memory_factor" => policy.memory_factor = value.parse().expect("a number"),
                "max_delay" => policy.max_delay = span(value),
                "retry_on" => policy.retry_on = matchers(value),
                "no_retry_on" => policy.no_retry_on = matchers(value),
                class => spec_of(&mut new).priority = class.parse().expect("an option of a task"),
            }
        }
        new.retry = Arc::new(policy);
        new
    }

    fn edges(&self, text: &str, batch: &[String]) -> Vec<(EdgeTarget, On)> {
        let edge = |part: &str| {
            let (name, on) = part.split_once(':').unwrap_or((part, "success"));
            let target = match batch.iter().position(|other| other == name) {
                Some(index) => EdgeTarget::Index(index),
                None => EdgeTarget::Id(self.task_or_id(name)),
            };
            (target, on.parse().expect("success, failure or completion"))
        };
        text.split(',').map(edge).collect()
    }

    // Workers

    fn join(&mut self, words: &[&str]) -> Vec<String> {
        let [name, slots, handlers @ ..] = words else { panic!("worker NAME SLOTS [HANDLER...]") };
        let join = Join {
            incarnation: self.workers.len() as u64 + 1,
            slots: slots.parse().expect("a number of slots"),
            process: handlers.is_empty(),
            handlers: handlers.iter().map(|h| (*h).into()).collect(),
            holds: Vec::new(),
            note: orchd_core::WorkerNote::default(),
        };
        let (id, out) = self.world().join(join);
        self.workers.insert((*name).to_owned(), id);
        self.describe(&out)
    }

    /// `rejoin w` holds all it was assigned, `rejoin w holding a` only that, `rejoin w holding nothing`.
    fn rejoin(&mut self, words: &[&str]) -> Vec<String> {
        let [name, held @ ..] = words else { panic!("rejoin NAME [holding TASK...]") };
        let id = self.workers[*name];
        let holds = match held {
            [] => self.world().held_by(id),
            ["holding", "nothing"] => Vec::new(),
            [_, tasks @ ..] => {
                tasks.iter().map(|task| *self.tokens[&self.task(task)].last().expect("ran")).collect()
            }
        };
        if self.world().claims.contains_key(&id) {
            let (reply, out) = self.world().come_back(id, holds);
            return self.answer(reply, &out);
        }
        let join = Join { holds, ..self.world().workers[&id].clone() };
        let (_, out) = self.world().join(join);
        self.describe(&out)
    }

    /// The attempt that started first succeeds; what was placed ahead at its worker begins in its slot.
    fn end_oldest(&mut self) -> Option<Vec<String>> {
        let running = self.world().running();
        let (id, token, worker) = running.into_iter().min_by_key(|(_, token, _)| *token)?;
        let placed = &self.world.as_ref()?.core.meta().placed;
        let waiting =
            placed.iter().filter(|placement| placement.worker == worker && placement.recall.is_none());
        let next = waiting.min_by_key(|placement| (placement.class, placement.since, placement.task));
        let next = next.map(|placement| self.name(placement.task));
        let mut said = next.map_or_else(Vec::new, |name| self.say_of_placed("begin", &name));
        let (reply, out) = self.world().report_as(id, token, Some(worker), Outcome::Succeeded);
        said.extend(self.answer(reply, &out));
        Some(said)
    }

    fn report(&mut self, verb: &str, words: &[&str]) -> Vec<String> {
        let [name, options @ ..] = words else { panic!("{verb} TASK") };
        let id = self.task(name);
        let Some(tokens) = self.tokens.get(&id).cloned() else {
            return vec![format!("{name} has never run")];
        };
        let mut outcome = match verb {
            "done" => Outcome::Succeeded,
            "fail" => Outcome::exited(1),
            "timed_out" => Outcome::TimedOut,
            "stopped" => Outcome::Cancelled,
            "killed" => Outcome::signalled(9),
            _ => Outcome::Snoozed { delay: Span::ZERO },
        };
        let mut token = *tokens.last().expect("it has run");
        let running = self.world().running();
        let mut worker = running.iter().find(|(_, t, _)| *t == token).map(|(_, _, worker)| *worker);
        worker = worker.or_else(|| self.placed_at(token));
        for option in options {
            match option.split_once('=') {
                Some(("exit", code)) => outcome = Outcome::exited(code.parse().expect("a code")),
                Some(("type", name)) => outcome = Outcome::failed(ErrorType::from(name), "went wrong"),
                Some(("attempt", number)) => token = tokens[number.parse::<usize>().expect("a number") - 1],
                // Found in the state directory: nobody says it.
                None if *option == "found" => worker = None,
                Some(("from", name)) => worker = Some(self.workers[name]),
                _ => outcome = Outcome::Snoozed { delay: span(option) },
            }
        }
        let (reply, out) = self.world().report_as(id, token, worker, outcome);
        self.answer(reply, &out)
    }

    /// `restart`, `restart without NAME...`: these workers do not come back; `restart after 5s`: so long the daemon
    /// is away.
    fn restart(&mut self, words: &[&str]) -> Vec<String> {
        let (away, words) = match words {
            ["after", time, rest @ ..] => (span(time), rest),
            all => (Span::ZERO, all),
        };
        let gone: Vec<WorkerId> = words.iter().skip(1).map(|name| self.workers[*name]).collect();
        let ids = self.world().core.unfinished_tasks();
        let explained =
            |script: &Self| -> Vec<Vec<String>> { ids.iter().map(|id| script.explain_id(*id)).collect() };
        let before = explained(self);
        let attached = self
            .world()
            .core
            .workers()
            .into_iter()
            .filter(|view| view.attached && !gone.contains(&view.id))
            .map(|view| view.id)
            .collect();
        let evaluated = self.world().reload_after(away);
        let joined = self.world().rejoin(&attached);
        let mut said = self.describe(&evaluated);
        said.extend(self.describe(&joined));
        let after = explained(self);
        for (before, after) in before.iter().zip(&after).filter(|(before, after)| before != after) {
            said.push(format!("was: {}", before.join(" | ")));
            said.push(format!("now: {}", after.join(" | ")));
        }
        said
    }
}
