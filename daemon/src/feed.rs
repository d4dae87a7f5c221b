//! The feed of events: what subscribers see, live and from the journal.

use orchd_api::Event;
use orchd_core::{AttemptEnd, Core, Fact, SkipCause};
use orchd_model::{Sequence, TaskId, WorkflowStatus};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Batches that a subscriber may lag behind before it is told that it lost some.
const BATCHES: usize = 1024;

/// Batches of durable events, as they come.
pub struct Feed {
    sender: broadcast::Sender<Arc<Vec<orchd_core::Event>>>,
}

impl Feed {
    /// A feed without subscribers.
    pub fn new() -> Self {
        Self { sender: broadcast::channel(BATCHES).0 }
    }

    /// Hands a batch to every subscriber, without waiting for any.
    pub fn publish(&self, events: &Arc<Vec<orchd_core::Event>>) {
        if !events.is_empty() {
            // Nobody listens: nothing to do.
            drop(self.sender.send(Arc::clone(events)));
        }
    }

    /// Everything from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Vec<orchd_core::Event>>> {
        self.sender.subscribe()
    }
}

/// The event that tells a subscriber how many it lost, and after which sequence.
pub fn lagged(lost: u64, after: Sequence, time: orchd_model::Time) -> Event {
    let data = object(json!({ "lost": lost, "after": after }));
    Event {
        sequence: after,
        time,
        kind: "lagged".to_owned(),
        task: None,
        last: None,
        workflow: None,
        session: None,
        data,
    }
}

/// The task that this event ended.
pub fn ended_task(event: &orchd_core::Event) -> Option<TaskId> {
    match event.fact {
        Fact::Completed { task, .. }
        | Fact::Failed { task, .. }
        | Fact::Cancelled { task, .. }
        | Fact::Skipped { task, .. } => Some(task),
        _ => None,
    }
}

/// An event as users see it; none for what changes nothing that they see.
pub fn describe(event: &orchd_core::Event) -> Option<Event> {
    let (kind, data) = kind_and_data(&event.fact)?;
    let task = event.fact.task();
    Some(Event {
        sequence: event.sequence,
        time: event.time,
        kind: kind.to_owned(),
        task,
        last: task.filter(|_| event.more > 0).map(|first| TaskId(first.0 + event.more)),
        workflow: event.workflow.or_else(|| event.fact.workflow()),
        session: event.session,
        data: object(data),
    })
}

fn kind_and_data(fact: &Fact) -> Option<(&'static str, Value)> {
    Some(match fact {
        Fact::Split { .. } => return None,
        Fact::Submitted { record, .. } => (
            "task.submitted",
            json!({ "name": record.name, "priority": record.priority, "hold": record.hold, "owner": record.owner }),
        ),
        Fact::Edited { record, .. } => {
            ("task.edited", json!({ "name": record.name, "priority": record.priority, "hold": record.hold }))
        }
        Fact::Enlarged { memory, .. } => ("task.enlarged", json!({ "memory": memory })),
        Fact::Revived { record, was } => ("task.revived", json!({ "name": record.name, "was": was })),
        Fact::Checked { .. } => ("task.checked", json!({})),
        Fact::Readied { .. } => ("task.ready", json!({})),
        Fact::Delayed { until, .. } => ("task.delayed", json!({ "until": until })),
        Fact::Held { .. } => ("task.held", json!({})),
        Fact::Released { .. } => ("task.released", json!({})),
        Fact::Reprioritized { priority, .. } => ("task.reprioritized", json!({ "priority": priority })),
        Fact::Started { attempt, token, worker, .. } => {
            ("task.started", json!({ "attempt": attempt, "token": token, "worker": worker }))
        }
        Fact::Placed { placement } => ("task.placed", json!({ "worker": placement.worker })),
        Fact::Recalling { .. } => ("task.recalling", json!({})),
        Fact::Recalled { .. } => ("task.recalled", json!({})),
        Fact::Stopping { stop, .. } => {
            ("task.stopping", json!({ "cause": format!("{stop:?}").to_lowercase() }))
        }
        Fact::Retried { attempt, until, .. } => {
            ("task.retrying", with(attempt_data(attempt), "until", until))
        }
        Fact::Returned { attempt, until, .. } => {
            ("task.returned", with(attempt_data(attempt), "until", until))
        }
        Fact::Completed { attempt, .. } => ("task.completed", optional_attempt(attempt.as_ref())),
        Fact::Failed { attempt, .. } => ("task.failed", optional_attempt(attempt.as_ref())),
        Fact::Cancelled { attempt, .. } => ("task.cancelled", optional_attempt(attempt.as_ref())),
        Fact::Skipped { cause, .. } => ("task.skipped", skip_data(cause)),
        Fact::WorkflowSubmitted { record } => {
            ("workflow.submitted", json!({ "name": record.name, "tasks": record.task_count }))
        }
        Fact::WorkflowStopped { stop, .. } => ("workflow.stopped", json!({ "cause": format!("{stop:?}") })),
        Fact::WorkflowEnded { status, .. } => (workflow_kind(*status), json!({ "status": status })),
        Fact::WorkflowReopened { record } => ("workflow.reopened", json!({ "name": record.name })),
        Fact::Paused { scope } => ("resource.paused", json!({ "scope": Core::describe_scope(scope) })),
        Fact::Resumed { scope } => ("resource.resumed", json!({ "scope": Core::describe_scope(scope) })),
        Fact::ResourceSet { resource, setting } => {
            ("resource.set", json!({ "resource": resource, "setting": setting }))
        }
        Fact::Throttled { resource, until, .. } => {
            ("resource.throttled", json!({ "resource": resource, "until": until }))
        }
        Fact::Closed { resource } => ("resource.closed", json!({ "resource": resource })),
        Fact::Opened { resource } => ("resource.opened", json!({ "resource": resource })),
        Fact::Settled { resource, drawn, used, .. } => {
            ("resource.settled", json!({ "resource": resource, "drawn": drawn, "used": used }))
        }
        Fact::WorkerJoined { worker } => ("worker.joined", json!({ "worker": worker.id })),
        Fact::WorkerLost { worker } => ("worker.lost", json!({ "worker": worker })),
        Fact::WorkerLeft { worker } => ("worker.left", json!({ "worker": worker })),
        Fact::Loosened { resource, kept, .. } => {
            ("task.loosened", json!({ "resource": resource, "kept": kept }))
        }
    })
}

fn workflow_kind(status: WorkflowStatus) -> &'static str {
    match status {
        WorkflowStatus::Running => "workflow.running",
        WorkflowStatus::Completed => "workflow.completed",
        WorkflowStatus::Failed => "workflow.failed",
        WorkflowStatus::Cancelled => "workflow.cancelled",
        WorkflowStatus::TimedOut => "workflow.timed_out",
    }
}

fn attempt_data(attempt: &AttemptEnd) -> Value {
    json!({
        "attempt": attempt.number,
        "outcome": attempt.outcome.as_str(),
        "error_type": attempt.outcome.error_type(),
        "error_message": attempt.outcome.message(),
        "exit_code": attempt.outcome.exit_code(),
        "execution_time": attempt.execution_time,
    })
}

fn optional_attempt(attempt: Option<&AttemptEnd>) -> Value {
    attempt.map_or_else(|| json!({}), attempt_data)
}

fn skip_data(cause: &SkipCause) -> Value {
    match cause {
        SkipCause::Condition => json!({ "code": "condition" }),
        SkipCause::ConditionError(message) => json!({ "code": "condition_error", "message": message }),
        SkipCause::FailFast(task) => json!({ "code": "fail_fast", "task": task }),
        SkipCause::Dependency(task, status) => {
            json!({ "code": "dependency", "task": task, "status": status })
        }
    }
}

fn with(mut value: Value, name: &str, extra: impl Serialize) -> Value {
    value[name] = json!(extra);
    value
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}
