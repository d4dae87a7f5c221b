//! How a scenario tells what happened: names for ids, one short line for each event and effect.

use orchd_core::{Core, Effect, Event, Fact, Output, Phase, Recall, Reply, SkipCause, Stop, WorkflowStop};
use orchd_model::{
    ErrorType, Kept, Reason, Refusal, Span, TaskAhead, TaskId, TaskRange, Time, Token, WorkerId, WorkflowId,
};

use super::script::{Script, at};

impl Script {
    pub(super) fn answer(&mut self, reply: Result<Reply, Refusal>, out: &Output) -> Vec<String> {
        let mut said = self.describe(out);
        match reply {
            Ok(Reply::Tasks(results)) => {
                for (range, result) in results {
                    if let Err(refusal) = result {
                        said.push(format!("{} {}", self.names(range), refused_as(&refusal)));
                    }
                }
            }
            Ok(
                Reply::Done
                | Reply::Submitted { .. }
                | Reply::Joined(_)
                | Reply::Session(_)
                | Reply::Scheduled(_)
                | Reply::Ticked(_)
                | Reply::Published(_),
            ) => {}
            Err(refusal) => said.push(refused_as(&refusal)),
        }
        said
    }

    pub(super) fn name(&self, id: TaskId) -> String {
        self.names(id.into())
    }

    /// Elements of an array have its name and their places, from 1.
    pub(super) fn names(&self, range: TaskRange) -> String {
        let record = self.world.as_ref().and_then(|world| world.store.task(range.first));
        let Some(record) = record else { return range.to_string() };
        let Some(first) = record.array else { return record.name.to_string() };
        let place = |id: TaskId| id.0 - first.0 + 1;
        let places = match range.single() {
            Some(id) => place(id).to_string(),
            None => format!("{}-{}", place(range.first), place(range.last)),
        };
        format!("{}[{places}]", record.name)
    }

    fn task_of(&self, token: Token) -> String {
        let task = self.tokens.iter().find(|(_, tokens)| tokens.contains(&token));
        task.map_or_else(|| token.to_string(), |(id, _)| self.name(*id))
    }

    fn worker_name(&self, id: WorkerId) -> String {
        let known = self.workers.iter().find(|(_, known)| **known == id).map(|(name, _)| name.clone());
        known.unwrap_or_else(|| format!("worker {id}"))
    }

    fn workflow_name(&self, id: WorkflowId) -> String {
        let record = self.world.as_ref().and_then(|world| world.store.workflows.get(&id));
        record.map_or_else(|| id.to_string(), |record| record.name.to_string())
    }

    pub(super) fn describe(&mut self, out: &Output) -> Vec<String> {
        let mut said: Vec<String> = Vec::new();
        for event in &out.events {
            if let Fact::Submitted { record, .. } = &event.fact {
                let name = self.names(record.range());
                match said.last_mut().filter(|line| line.starts_with("added ")) {
                    Some(line) => *line = format!("{line} {name}"),
                    None => said.push(format!("added {name}")),
                }
            } else if !matches!(event.fact, Fact::Split { .. }) {
                said.push(self.fact(event));
            }
        }
        let mut stops = 0;
        for effect in &out.effects {
            match effect {
                Effect::Assign { task, token, .. } => {
                    let caused = |e: &Event| match &e.fact {
                        Fact::Started { task: t, token: k, .. } => t == task && k == token,
                        Fact::Placed { placement } => placement.task == *task && placement.token == *token,
                        _ => false,
                    };
                    let caused = out.events.iter().any(caused);
                    match self.world.as_ref().and_then(|world| world.store.task(*task)) {
                        // Its client has not heard of it.
                        Some(claim) if claim.claimant.is_some() && !caused => {
                            said.push(format!("-> {} is told that it has {}", claim.name, claim.name));
                        }
                        _ => assert!(caused, "only what started or was placed is assigned"),
                    }
                }
                Effect::Recall { worker, token } => {
                    said.push(format!(
                        "-> {} gives back {}",
                        self.worker_name(*worker),
                        self.task_of(*token)
                    ));
                }
                Effect::Stop { worker, token, stop } => {
                    let task = self.task_of(*token);
                    stops += 1;
                    let stop = stop_word(*stop);
                    said.push(format!("-> {} stops {task}: {stop}", self.worker_name(*worker)));
                }
                Effect::Dismiss { worker } => {
                    said.push(format!("-> {} is dismissed", self.worker_name(*worker)));
                }
                Effect::Compute { task, elements } => {
                    let of = elements.map(|_| " from its elements").unwrap_or_default();
                    said.push(format!("-> compute {}{of}", self.name(*task)));
                }
                Effect::Evaluate { task } => said.push(format!("-> evaluate {}", self.name(*task))),
                Effect::Fence { worker } => said.push(format!("-> fence {}", self.worker_name(*worker))),
                Effect::Call { schedule } => said.push(format!("-> call schedule {schedule}")),
            }
        }
        let stopping = out.events.iter().filter(|e| matches!(e.fact, Fact::Stopping { .. })).count();
        assert!(stopping <= stops, "an attempt that is stopped is stopped at its worker");
        said
    }

    fn fact(&mut self, event: &Event) -> String {
        let name = |id| self.names(TaskRange::from_first(id, event.more));
        let name = event.fact.task().map_or_else(String::new, name);
        match &event.fact {
            Fact::Submitted { .. } | Fact::Split { .. } => name,
            Fact::Edited { .. } => format!("edited {name}"),
            Fact::Enlarged { memory, variant, .. } => enlarged(&name, *memory, *variant),
            Fact::Checked { .. } => format!("check {name}"),
            Fact::Armed { .. } => format!("armed {name}"),
            Fact::Replaced { .. } => format!("replaced {name}"),
            Fact::Called { after: None, .. } => format!("called {name}"),
            Fact::Called { after: Some(other), .. } => format!("called {name} after {}", self.name(*other)),
            Fact::Computing { .. } => format!("compute {name}"),
            Fact::Expanded { elements, .. } => format!("{name} becomes {} elements", elements.count),
            Fact::Readied { .. } => format!("ready {name}"),
            Fact::Delayed { until, .. } => format!("delay {name} until {}", at(*until)),
            Fact::Held { .. } => format!("held {name}"),
            Fact::Released { .. } => format!("released {name}"),
            Fact::Reprioritized { priority, .. } => format!("{name} is {priority}"),
            Fact::Placed { .. } | Fact::Recalling { .. } | Fact::Recalled { .. } => self.placed(event),
            Fact::Started { .. } => self.started(&name, &event.fact),
            Fact::Stopping { stop, .. } => format!("stopping {name}: {}", stop_word(*stop)),
            Fact::Retried { .. } | Fact::Returned { .. } => tried_again(&name, &event.fact),
            Fact::Completed { .. } => format!("completed {name}"),
            Fact::Failed { .. } => {
                let result = event.fact.result().expect("a failure has a result");
                let error_type = result.error_type.as_ref().map_or("", ErrorType::as_str);
                format!("failed {name} ({error_type}: {})", result.error_message.as_deref().unwrap_or(""))
            }
            Fact::Cancelled { .. } => format!("cancelled {name}"),
            Fact::Skipped { cause, .. } => format!("skipped {name}: {}", self.cause(cause)),
            Fact::Revived { was, .. } => format!("revived {name}, was {was}"),
            Fact::WorkflowSubmitted { .. }
            | Fact::WorkflowStopped { .. }
            | Fact::WorkflowEnded { .. }
            | Fact::WorkflowReopened { .. }
            | Fact::WorkflowCancelling { .. }
            | Fact::SessionCreated { .. }
            | Fact::SessionClosing { .. }
            | Fact::SessionClosed { .. } => self.of_workflow(&event.fact),
            Fact::Paused { .. }
            | Fact::Resumed { .. }
            | Fact::ResourceSet { .. }
            | Fact::Throttled { .. }
            | Fact::Closed { .. }
            | Fact::Opened { .. }
            | Fact::Settled { .. } => self.of_resource(&name, &event.fact),
            Fact::Progressed { progress, .. } => format!("{name} is at {progress}"),
            Fact::Loosened { .. }
            | Fact::WorkerJoined { .. }
            | Fact::WorkerLost { .. }
            | Fact::WorkerLeft { .. } => self.of_worker(&name, &event.fact),
            other => format!("{other:?}"),
        }
    }

    /// What is told of a start.
    fn started(&mut self, name: &str, fact: &Fact) -> String {
        let Fact::Started { task, attempt, token, worker, variant, .. } = fact else {
            unreachable!("a start")
        };
        let tokens = self.tokens.entry(*task).or_default();
        if !tokens.contains(token) {
            tokens.push(*token);
        }
        let on =
            if self.workers.len() > 1 { format!(" on {}", self.worker_name(*worker)) } else { String::new() };
        let again = if attempt.0 > 1 { format!(", attempt {attempt}") } else { String::new() };
        let variant = variant.map_or_else(String::new, |variant| format!(" in variant {variant}"));
        format!("start {name}{variant}{on}{again}")
    }

    /// What is told of workflows.
    fn of_workflow(&self, fact: &Fact) -> String {
        match fact {
            Fact::WorkflowSubmitted { record } => {
                format!("workflow {} of {} tasks", record.name, record.task_count)
            }
            Fact::WorkflowStopped { workflow, stop } => {
                let workflow = self.workflow_name(*workflow);
                match stop {
                    WorkflowStop::Failure(id) => {
                        format!("workflow {workflow} stops: {} failed", self.name(*id))
                    }
                    WorkflowStop::Timeout => format!("workflow {workflow} stops: timeout"),
                }
            }
            Fact::WorkflowEnded { workflow, status } => {
                format!("workflow {} {status}", self.workflow_name(*workflow))
            }
            Fact::WorkflowReopened { record } => format!("workflow {} goes on", record.name),
            Fact::WorkflowCancelling { workflow } => {
                format!("workflow {} is cancelled, but for its end", self.workflow_name(*workflow))
            }
            other => self.of_session(other),
        }
    }

    /// What is told of sessions.
    fn of_session(&self, fact: &Fact) -> String {
        let name = |id| {
            let record = self.world.as_ref().and_then(|world| world.store.sessions.get(id));
            record.map_or_else(|| id.to_string(), |record| record.name.to_string())
        };
        match fact {
            Fact::SessionCreated { record } => format!("session {} {}", record.name, record.mode),
            Fact::SessionClosing { session, .. } => format!("session {} is closing", name(session)),
            Fact::SessionClosed { session } => format!("session {} is closed", name(session)),
            other => format!("{other:?}"),
        }
    }

    /// What is told of resources, and of what is paused.
    fn of_resource(&self, name: &str, fact: &Fact) -> String {
        match fact {
            Fact::Paused { scope } => format!("paused {}", Core::describe_scope(scope)),
            Fact::Resumed { scope } => format!("resumed {}", Core::describe_scope(scope)),
            Fact::ResourceSet { resource, .. } => format!("set {resource}"),
            Fact::Throttled { resource, until, task } => {
                let by = task.map_or_else(String::new, |id| format!(", says {}", self.name(id)));
                format!("throttled {resource} until {}{by}", at(*until))
            }
            Fact::Closed { resource } => format!("closed {resource}"),
            Fact::Opened { resource } => format!("opened {resource}"),
            Fact::Settled { resource, drawn, used, .. } => {
                format!("settled {resource} of {name}: {used} instead of {drawn}")
            }
            other => format!("{other:?}"),
        }
    }

    /// What is told of workers, and of claims that they loosen.
    fn of_worker(&self, name: &str, fact: &Fact) -> String {
        match fact {
            Fact::Loosened { resource, kept: Kept::Nothing, .. } => format!("{name} gives back {resource}"),
            Fact::Loosened { resource, .. } => format!("{name} only reads {resource}"),
            Fact::WorkerJoined { .. } => "worker joined".to_owned(),
            Fact::WorkerLost { worker } => format!("lost {}", self.worker_name(*worker)),
            Fact::WorkerLeft { worker } => format!("{} left", self.worker_name(*worker)),
            other => format!("{other:?}"),
        }
    }

    /// What is told of tasks placed ahead.
    fn placed(&mut self, event: &Event) -> String {
        let name = event.fact.task().map_or_else(String::new, |id| self.name(id));
        match &event.fact {
            Fact::Placed { placement } => {
                self.tokens.entry(placement.task).or_default().push(placement.token);
                format!("place {name}")
            }
            Fact::Recalling { recall: Recall::Queue, .. } => format!("recall {name}"),
            Fact::Recalling { recall: Recall::End(stop), .. } => {
                format!("recall {name}: {}", stop_word(*stop))
            }
            _ => format!("recalled {name}"),
        }
    }

    fn cause(&self, cause: &SkipCause) -> String {
        match cause {
            SkipCause::Condition => "condition".to_owned(),
            SkipCause::NotNeeded => "not needed".to_owned(),
            SkipCause::ConditionError(why) => format!("condition error, {why}"),
            SkipCause::FailFast(id) => format!("fail_fast, {} failed", self.name(*id)),
            SkipCause::Dependency(id, status) => format!("needs {}, {status}", self.name(*id)),
        }
    }

    pub(super) fn status(&mut self, name: &str) -> String {
        let id = self.task(name);
        let record = self.world().store.task(id).expect("a task");
        let running = match record.phase {
            Phase::Running { stop: Some(stop), .. } => format!(", stopping: {}", stop_word(stop)),
            _ => String::new(),
        };
        format!("{name} {}{running}", record.status())
    }

    pub(super) fn resources(&mut self) -> Vec<String> {
        let now = self.world().now;
        self.world().core.note_time(now);
        let views = self.world().core.resources();
        let describe = |view: &orchd_core::ResourceView| {
            let free = view.free.map_or_else(String::new, |free| format!(", {free} free"));
            let capacity = view.capacity.map_or_else(String::new, |capacity| format!(" of {capacity}"));
            let waits = format!("{} waiting, {} reserved", view.waiting, view.reserved);
            let rate = view.rate.map_or_else(String::new, |view| {
                let next =
                    view.next_refill.map_or_else(String::new, |next| format!(", next at {}", at(next)));
                format!(", {}: {} left{next}", view.rate, view.left)
            });
            let blocked = format!(", blocked for {}", view.blocked);
            let blocked = if view.blocked == Span::ZERO { String::new() } else { blocked };
            format!("{}: {} held{capacity}{free}{rate}, {waits}{blocked}", view.name, view.held)
        };
        views.iter().map(describe).collect()
    }

    pub(super) fn explain(&mut self, name: &str) -> Vec<String> {
        let id = self.task(name);
        let now = self.world().now;
        self.world().core.note_time(now);
        let reasons = self.world().core.reasons(id);
        self.codes.extend(reasons.iter().map(code_of));
        self.explain_id(id)
    }

    pub(super) fn explain_id(&self, id: TaskId) -> Vec<String> {
        let explained = self.world.as_ref().and_then(|world| world.core.explain(id));
        let Some(explained) = explained else { return vec![format!("{} is not in memory", self.name(id))] };
        let ahead = |ahead: &TaskAhead| self.name(ahead.task);
        let mut first = format!("{}: {}, {}", self.name(id), explained.status, explained.priority);
        if explained.competes_as != explained.priority {
            first += &format!(", competes as {}", explained.competes_as);
        }
        if let Some(lender) = &explained.inherited_from {
            first += &format!(", for {}", ahead(lender));
        }
        if let Some(start) = explained.earliest_start {
            first += &format!(", not before {}", at(start));
        }
        if let Some(free) = explained.free_by {
            first += &format!(", free by {}", at(free));
        }
        let mut said = vec![first];
        said.extend(explained.reasons.iter().map(|reason| format!("- {}", in_virtual_time(reason))));
        if explained.ahead_count > 0 {
            let names: Vec<String> = explained.ahead.iter().map(ahead).collect();
            said.push(format!("- {} ahead: {}", explained.ahead_count, names.join(", ")));
        }
        said
    }
}

fn code_of(reason: &Reason) -> String {
    let json = serde_json::to_value(reason).expect("it has a form in JSON");
    json["code"].as_str().expect("it has a code").to_owned()
}

/// A reason with its instants as times since the beginning.
fn in_virtual_time(reason: &Reason) -> String {
    instants_in(reason).into_iter().fold(reason.to_string(), |text, instant| {
        text.replace(&instant.to_string(), &at(instant).to_string())
    })
}

fn instants_in(reason: &Reason) -> Vec<Time> {
    match reason {
        Reason::Delayed { until } | Reason::Rate { until, .. } | Reason::Throttled { until, .. } => {
            vec![*until]
        }
        Reason::Resource { holders, .. } => holders.iter().filter_map(|holder| holder.until).collect(),
        Reason::Variants { variants } => {
            variants.iter().flat_map(|variant| &variant.reasons).flat_map(instants_in).collect()
        }
        _ => Vec::new(),
    }
}

fn enlarged(name: &str, memory: orchd_model::Amount, variant: Option<u32>) -> String {
    let variant = variant.map_or_else(String::new, |variant| format!(" in variant {variant}"));
    format!("{name} claims {memory} of memory{variant}")
}

fn stop_word(stop: Stop) -> &'static str {
    match stop {
        Stop::Cancel => "cancel",
        Stop::Timeout => "timeout",
        Stop::Deadline => "deadline",
    }
}

pub(super) fn refused_as(refusal: &Refusal) -> String {
    let said = |refusal: Refusal| {
        let value = refusal.value.map_or_else(String::new, |value| format!(": {value}"));
        let hint = refusal.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
        let item = refusal.item.map_or_else(String::new, |item| format!("task {item}: "));
        format!("{item}{}{value}{hint}", refusal.message)
    };
    let all: Vec<String> = refusal.clone().apart().map(said).collect();
    format!("refused, {}: {}", refusal.code, all.join("; and "))
}

/// What is told of an attempt that was not the last.
fn tried_again(name: &str, fact: &Fact) -> String {
    match fact {
        Fact::Retried { attempt, until, .. } => {
            format!("retry {name} at {} ({})", at(*until), attempt.outcome.message().unwrap_or_default())
        }
        Fact::Returned { attempt, until, .. } => {
            format!("return {name} until {} ({})", at(*until), attempt.outcome.message().unwrap_or_default())
        }
        _ => panic!("not tried again: {fact:?}"),
    }
}
