//! The feed of events: what subscribers see, live and from the journal.
//!
//! Live, there is one queue for all: the latest events, held only while somebody listens. A subscriber is no more
//! than a place in it, so the daemon never waits for one, and one that is slow costs no memory of its own. What
//! leaves the queue unread is told to be lost, and is still in the journal.

use orchd_api::{EVENT_TYPES, Event, OWN_EVENTS};
use orchd_core::{AttemptEnd, Core, Fact, Scope, SessionRecord, SkipCause, TickOutcome, WorkflowStop};
use orchd_model::{Sequence, SessionId, TaskId, Time, WorkflowId, WorkflowStatus, array_name};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

use crate::documents;

/// Events that the queue holds: three seconds of a busy daemon, some 16 MB. The latest batch is held whatever its
/// size.
const QUEUE_EVENTS: usize = 32_768;

/// The events of one commit.
pub type EventBatch = Arc<Vec<orchd_core::Event>>;

/// Batches of durable events, as they come.
pub struct Feed {
    queue: Arc<Mutex<Queue>>,
    /// How many batches there have been.
    count: watch::Sender<u64>,
}

/// The latest batches.
#[derive(Default)]
struct Queue {
    batches: VecDeque<EventBatch>,
    /// Invariant: the sum over `batches`.
    events: usize,
    /// How many batches have left it.
    gone: u64,
}

/// A place in the queue.
pub struct Subscription {
    queue: Arc<Mutex<Queue>>,
    count: watch::Receiver<u64>,
    /// How many batches it has seen, or lost.
    seen: u64,
}

/// Why a subscription has no batch to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Some have left the queue unread; it goes on with what comes from now on.
    Lagged,
    /// Nothing more will come.
    Closed,
}

impl Feed {
    /// A feed without subscribers.
    pub fn new() -> Self {
        Self { queue: Arc::default(), count: watch::channel(0).0 }
    }

    /// Hands a batch to every subscriber, without waiting for any.
    pub fn publish(&self, events: &EventBatch) {
        if events.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        queue.batches.push_back(Arc::clone(events));
        queue.events += events.len();
        let listened_to = self.count.receiver_count() > 0;
        let keep = if listened_to { 1 } else { 0 };
        while queue.batches.len() > keep && (queue.events > QUEUE_EVENTS || !listened_to) {
            let Some(oldest) = queue.batches.pop_front() else { break };
            queue.events -= oldest.len();
            queue.gone += 1;
        }
        // Under the lock, so that who subscribes sees a number that the queue agrees with.
        self.count.send_modify(|count| *count += 1);
    }

    /// Everything from now on.
    pub fn subscribe(&self) -> Subscription {
        let queue = self.queue.lock();
        let count = self.count.subscribe();
        let seen = queue.gone + queue.batches.len() as u64;
        Subscription { queue: Arc::clone(&self.queue), count, seen }
    }
}

impl Subscription {
    /// The next batch, as soon as there is one.
    ///
    /// # Errors
    /// [`Missed`].
    pub async fn recv(&mut self) -> Result<EventBatch, Missed> {
        loop {
            // Before the look: what comes after it is noticed.
            self.count.borrow_and_update();
            if let Some(next) = self.take() {
                return next;
            }
            if self.count.changed().await.is_err() {
                return self.take().unwrap_or(Err(Missed::Closed));
            }
        }
    }

    fn take(&mut self) -> Option<Result<EventBatch, Missed>> {
        let queue = self.queue.lock();
        let Some(place) = self.seen.checked_sub(queue.gone) else {
            self.seen = queue.gone + queue.batches.len() as u64;
            return Some(Err(Missed::Lagged));
        };
        let batch = Arc::clone(queue.batches.get(usize::try_from(place).ok()?)?);
        self.seen += 1;
        Some(Ok(batch))
    }
}

/// The event that tells a subscriber how many it lost, and after which sequence.
pub fn lagged(lost: u64, after: Sequence, time: Time) -> Event {
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

/// The event that tells a subscriber that what it wants to read again is not kept any more.
pub fn trimmed(after: Sequence, first: Sequence, time: Time) -> Event {
    let lost = first.0.saturating_sub(after.0).saturating_sub(1);
    let data = object(json!({ "lost": lost, "after": after }));
    let sequence = Sequence(first.0.saturating_sub(1));
    let kind = "trimmed".to_owned();
    Event { sequence, time, kind, task: None, last: None, workflow: None, session: None, data }
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
    let kind = kind(&event.fact)?;
    let is_known = kind.starts_with(OWN_EVENTS) || EVENT_TYPES.iter().any(|known| known.name == kind);
    debug_assert!(is_known, "not in the list of types: {kind}");
    let mut data = object(data(&event.fact));
    if event.more > 0
        && let Some(Value::String(name)) = data.get_mut("name")
    {
        *name = array_name(name).to_owned();
    }
    let task = event.fact.task();
    let (workflow, session) = paused_ids(&event.fact);
    Some(Event {
        sequence: event.sequence,
        time: event.time,
        kind: kind.to_owned(),
        task,
        last: task.filter(|_| event.more > 0).map(|first| TaskId(first.0 + event.more)),
        workflow: event.workflow.or_else(|| event.fact.workflow()).or(workflow),
        session: event.session.or(session),
        data,
    })
}

/// The type of an event; none for what changes nothing that users see.
pub fn kind(fact: &Fact) -> Option<&str> {
    Some(match fact {
        Fact::Split { .. } => return None,
        Fact::Submitted { .. } => "task.submitted",
        Fact::Edited { .. } => "task.edited",
        Fact::Enlarged { .. } => "task.enlarged",
        Fact::Revived { .. } => "task.revived",
        Fact::Checked { .. } => "task.checked",
        Fact::Computing { .. } => "task.computing",
        Fact::Armed { .. } => "task.armed",
        Fact::Replaced { .. } => "task.replaced",
        Fact::Called { .. } => "task.called",
        Fact::Expanded { .. } => "task.expanded",
        Fact::Readied { .. } => "task.ready",
        Fact::Delayed { .. } => "task.delayed",
        Fact::Held { .. } => "task.held",
        Fact::Released { .. } => "task.released",
        Fact::Reprioritized { .. } => "task.reprioritized",
        Fact::Started { .. } => "task.started",
        Fact::Placed { .. } => "task.placed",
        Fact::Recalling { .. } => "task.recalling",
        Fact::Recalled { .. } => "task.recalled",
        Fact::Stopping { .. } => "task.stopping",
        Fact::Retried { .. } => "task.retrying",
        Fact::Returned { .. } => "task.returned",
        Fact::Completed { .. } => "task.completed",
        Fact::Failed { .. } => "task.failed",
        Fact::Cancelled { .. } => "task.cancelled",
        Fact::Skipped { .. } => "task.skipped",
        Fact::WorkflowSubmitted { .. } => "workflow.submitted",
        Fact::WorkflowStopped { .. } => "workflow.stopped",
        Fact::WorkflowEnded { status, .. } => workflow_kind(*status),
        Fact::WorkflowReopened { .. } => "workflow.reopened",
        Fact::WorkflowCancelling { .. } => "workflow.cancelling",
        Fact::Paused { scope } => paused_kind(scope, true),
        Fact::Resumed { scope } => paused_kind(scope, false),
        Fact::ResourceSet { .. } => "resource.set",
        Fact::Throttled { .. } => "resource.throttled",
        Fact::Closed { .. } => "resource.closed",
        Fact::Opened { .. } => "resource.opened",
        Fact::Settled { .. } => "resource.settled",
        Fact::ScheduleAdded { .. } => "schedule.added",
        Fact::ScheduleTicked { .. } => "schedule.ticked",
        Fact::SchedulePaused { .. } => "schedule.paused",
        Fact::ScheduleResumed { .. } => "schedule.resumed",
        Fact::ScheduleRemoved { .. } => "schedule.removed",
        Fact::Published { news } => &news.kind,
        Fact::WorkerJoined { .. } => "worker.joined",
        Fact::WorkerLost { .. } => "worker.lost",
        Fact::WorkerLeft { .. } => "worker.left",
        Fact::Loosened { .. } => "task.loosened",
        Fact::Progressed { .. } => "task.progress",
        Fact::SessionCreated { .. } => "session.created",
        Fact::SessionClosing { .. } => "session.closing",
        Fact::SessionClosed { .. } => "session.closed",
    })
}

fn data(fact: &Fact) -> Value {
    match fact {
        Fact::Submitted { record, .. } => {
            json!({ "name": record.name, "priority": record.priority, "hold": record.hold, "owner": record.owner })
        }
        Fact::Edited { record, .. } => {
            json!({ "name": record.name, "priority": record.priority, "hold": record.hold })
        }
        Fact::Enlarged { memory, .. } => json!({ "memory": memory }),
        Fact::Revived { record, was } => json!({ "name": record.name, "was": was }),
        Fact::Delayed { until, .. } => json!({ "until": until }),
        Fact::Reprioritized { priority, .. } => json!({ "priority": priority }),
        Fact::Started { attempt, token, worker, variant, .. } => {
            with_variant(json!({ "attempt": attempt, "token": token, "worker": worker }), *variant)
        }
        Fact::Placed { placement } => json!({ "worker": placement.worker }),
        Fact::Stopping { stop, .. } => json!({ "cause": format!("{stop:?}").to_lowercase() }),
        Fact::Retried { attempt, until, .. } | Fact::Returned { attempt, until, .. } => {
            with(attempt_data(attempt), "until", until)
        }
        Fact::Completed { attempt, .. } | Fact::Failed { attempt, .. } | Fact::Cancelled { attempt, .. } => {
            optional_attempt(attempt.as_deref())
        }
        Fact::Skipped { cause, .. } => skip_data(cause),
        Fact::WorkflowSubmitted { record } => json!({ "name": record.name, "tasks": record.task_count }),
        Fact::WorkflowStopped { stop, .. } => workflow_stop_data(*stop),
        Fact::WorkflowEnded { status, .. } => json!({ "status": status }),
        Fact::WorkflowReopened { record } => json!({ "name": record.name }),
        Fact::Paused { scope } | Fact::Resumed { scope } => json!({ "scope": Core::describe_scope(scope) }),
        Fact::ResourceSet { resource, setting } => json!({ "resource": resource, "setting": setting }),
        Fact::Throttled { resource, until, .. } => json!({ "resource": resource, "until": until }),
        Fact::Closed { resource } | Fact::Opened { resource } => json!({ "resource": resource }),
        Fact::Settled { resource, drawn, used, .. } => {
            json!({ "resource": resource, "drawn": drawn, "used": used })
        }
        Fact::WorkerJoined { worker } => json!({ "worker": worker.id, "kind": worker.note.kind }),
        Fact::WorkerLost { worker } | Fact::WorkerLeft { worker } => json!({ "worker": worker }),
        Fact::Loosened { resource, kept, .. } => json!({ "resource": resource, "kept": kept }),
        Fact::Progressed { attempt, progress, .. } => with(json!(progress), "attempt", attempt),
        Fact::SessionClosing { cancel, .. } => json!({ "cancel": cancel }),
        Fact::SessionCreated { record } => session_data(record),
        Fact::Called { after, .. } => json!({ "after": after }),
        Fact::Expanded { elements, .. } => json!({ "first": elements.first, "elements": elements.count }),
        Fact::ScheduleAdded { record, .. } => {
            json!({ "schedule": record.id, "name": record.name, "next": record.next })
        }
        Fact::ScheduleTicked { schedule, at, next, missed, outcome, .. } => {
            let tick = with(tick_data(*at, outcome), "schedule", schedule);
            with(with(tick, "next", next), "missed", missed)
        }
        Fact::ScheduleResumed { schedule, next } => json!({ "schedule": schedule, "next": next }),
        Fact::SchedulePaused { schedule } | Fact::ScheduleRemoved { schedule } => {
            json!({ "schedule": schedule })
        }
        // It was an object when it was published.
        Fact::Published { news } => serde_json::from_str(&news.data).unwrap_or_default(),
        Fact::Split { .. }
        | Fact::SessionClosed { .. }
        | Fact::Checked { .. }
        | Fact::Computing { .. }
        | Fact::Armed { .. }
        | Fact::Replaced { .. }
        | Fact::Readied { .. }
        | Fact::WorkflowCancelling { .. }
        | Fact::Held { .. }
        | Fact::Released { .. }
        | Fact::Recalling { .. }
        | Fact::Recalled { .. } => json!({}),
    }
}

fn session_data(record: &SessionRecord) -> Value {
    json!({ "name": record.name, "mode": record.mode, "max_parallel": record.max_parallel })
}

/// What is paused belongs to a noun of its own, or, as all else that decides what may start, to the resources.
fn paused_kind(scope: &Scope, paused: bool) -> &'static str {
    match (scope, paused) {
        (Scope::Workflow(_), true) => "workflow.paused",
        (Scope::Workflow(_), false) => "workflow.resumed",
        (Scope::Session(_), true) => "session.paused",
        (Scope::Session(_), false) => "session.resumed",
        (Scope::All | Scope::Priority(_) | Scope::Resource(_), true) => "resource.paused",
        (Scope::All | Scope::Priority(_) | Scope::Resource(_), false) => "resource.resumed",
    }
}

/// The workflow and the session that a pause is about.
fn paused_ids(fact: &Fact) -> (Option<WorkflowId>, Option<SessionId>) {
    match fact {
        Fact::Paused { scope: Scope::Workflow(id) } | Fact::Resumed { scope: Scope::Workflow(id) } => {
            (Some(*id), None)
        }
        Fact::Paused { scope: Scope::Session(id) } | Fact::Resumed { scope: Scope::Session(id) } => {
            (None, Some(*id))
        }
        _ => (None, None),
    }
}

fn workflow_stop_data(stop: WorkflowStop) -> Value {
    match stop {
        WorkflowStop::Failure(task) => json!({ "cause": "failure", "task": task }),
        WorkflowStop::Timeout => json!({ "cause": "timeout" }),
    }
}

fn tick_data(at: Time, outcome: &TickOutcome) -> Value {
    let tick = documents::tick(at, outcome.clone());
    let run = tick.task.map(|task| json!(task)).or(tick.workflow.map(|workflow| json!(workflow)));
    json!({ "at": at, "outcome": tick.outcome, "run": run, "error": tick.error })
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

/// With the variant that was taken, if the task has some.
fn with_variant(data: Value, variant: Option<u32>) -> Value {
    match variant {
        Some(variant) => with(data, "variant", variant),
        None => data,
    }
}

fn attempt_data(attempt: &AttemptEnd) -> Value {
    let data = json!({
        "attempt": attempt.number,
        "outcome": attempt.outcome.as_str(),
        "error_type": attempt.outcome.error_type(),
        "error_message": attempt.outcome.message(),
        "exit_code": attempt.outcome.exit_code(),
        "execution_time": attempt.execution_time,
    });
    with_variant(data, attempt.variant)
}

fn optional_attempt(attempt: Option<&AttemptEnd>) -> Value {
    attempt.map_or_else(|| json!({}), attempt_data)
}

fn skip_data(cause: &SkipCause) -> Value {
    match cause {
        SkipCause::Condition => json!({ "code": "condition" }),
        SkipCause::NotNeeded => json!({ "code": "not_needed" }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_core::{Placement, Recall};
    use orchd_model::{AttemptNumber, Priority, Time, Token, WorkerId};

    fn batch(count: usize) -> EventBatch {
        let fact = Fact::Readied { task: TaskId(1) };
        let event = orchd_core::Event {
            sequence: Sequence(1),
            time: Time(0),
            workflow: None,
            session: None,
            more: 0,
            fact,
        };
        Arc::new(vec![event; count])
    }

    #[test]
    fn what_was_given_ahead_and_wanted_back_has_types_of_its_own() {
        let (task, token, class) = (TaskId(1), Token(1), Priority::Normal);
        let placement = Placement {
            task,
            attempt: AttemptNumber(1),
            token,
            worker: WorkerId(1),
            class,
            since: Time(0),
            recall: None,
        };
        let facts = [
            Fact::Placed { placement },
            Fact::Recalling { task, recall: Recall::Queue },
            Fact::Recalled { task, token },
        ];
        let kinds = facts.each_ref().map(|fact| kind(fact).unwrap());
        assert_eq!(kinds, ["task.placed", "task.recalling", "task.recalled"]);
    }

    #[tokio::test]
    async fn a_subscriber_that_is_overtaken_is_told_once_and_goes_on() {
        let feed = Feed::new();
        feed.publish(&batch(1));
        let (mut slow, mut quick) = (feed.subscribe(), feed.subscribe());
        for count in [QUEUE_EVENTS, 2, QUEUE_EVENTS - 1] {
            feed.publish(&batch(count));
            assert_eq!(quick.recv().await.unwrap().len(), count);
        }
        assert_eq!(slow.recv().await, Err(Missed::Lagged));
        feed.publish(&batch(3));
        assert_eq!(slow.recv().await.unwrap().len(), 3);
        assert_eq!(quick.recv().await.unwrap().len(), 3);
        drop((slow, quick));
        feed.publish(&batch(4));
        assert_eq!(feed.queue.lock().events, 0, "nobody listens, nothing is kept");
        let mut last = feed.subscribe();
        drop(feed);
        assert_eq!(last.recv().await, Err(Missed::Closed));
    }
}
