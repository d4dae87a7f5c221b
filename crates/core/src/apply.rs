//! Applying facts: the only writer of what facts say. Cannot fail: whether a fact may happen was decided
//! before it was emitted.

use orchd_model::{
    Priority, Sequence, Span, Status, TaskId, Time, Token, WorkerId, WorkflowId, WorkflowStatus,
};

use crate::claimant::loosened;
use crate::core::{Core, Ended};
use crate::event::{AttemptEnd, Event, Fact};
use crate::record::{Phase, Scope, SkipCause, Stop, TaskRecord, WorkerRecord, WorkflowRecord, WorkflowStop};
use crate::resource::ResourceKey;
use crate::resource_state::ResourceState;
use crate::task::Task;
use crate::timer::Timer;

impl Core {
    pub(crate) fn apply(&mut self, event: &Event) {
        match &event.fact {
            Fact::Submitted { record, .. } => self.apply_submitted(record),
            Fact::Edited { record, .. } => self.apply_edited(record),
            Fact::Enlarged { task, variant, memory } => self.apply_enlarged(*task, *variant, *memory),
            Fact::Revived { record, was } => self.apply_revived(record, *was),
            Fact::Split { task, at } => self.apply_split(event, *task, *at),
            Fact::Checked { task } => self.set_phase(*task, Phase::Checking),
            Fact::Armed { task } => self.apply_armed(*task, event.sequence),
            Fact::Replaced { task } => self.apply_replaced(*task),
            Fact::Called { task, after } => self.apply_called(*task, *after),
            Fact::Computing { task } => self.set_phase(*task, Phase::Computing),
            Fact::Expanded { task, elements } => self.apply_expanded(*task, *elements),
            Fact::Readied { task } => self.set_phase(*task, Phase::Ready { since: event.time }),
            Fact::Delayed { task, until } => self.set_phase(*task, Phase::Delayed { until: *until }),
            Fact::Held { task } => self.set_hold(*task, true),
            Fact::Released { task } => self.set_hold(*task, false),
            Fact::Reprioritized { task, priority } => self.apply_reprioritized(*task, *priority),
            Fact::Started { task, token, at, .. } => self.apply_started(event, *task, *token, *at),
            Fact::Placed { placement } => self.apply_placed(placement),
            Fact::Recalling { task, recall } => self.apply_recalling(*task, *recall),
            Fact::Recalled { task, .. } => self.apply_recalled(*task),
            Fact::Stopping { task, stop } => self.apply_stopping(*task, *stop),
            Fact::Progressed { task, progress, .. } => self.task_mut(*task).note_progress(Some(progress)),
            Fact::Loosened { task, resource, kept } => self.apply_loosened(*task, resource, *kept),
            Fact::Retried { task, attempt, until } => self.apply_retried(*task, attempt, *until),
            Fact::Returned { task, attempt, until } => {
                self.apply_attempt_end(*task, attempt);
                self.set_phase(*task, Phase::Delayed { until: *until });
            }
            Fact::Completed { task, attempt, .. } => {
                self.apply_ended(event, *task, attempt.as_deref(), Status::Completed)
            }
            Fact::Failed { task, attempt, .. } => {
                self.apply_ended(event, *task, attempt.as_deref(), Status::Failed)
            }
            Fact::Cancelled { task, attempt, .. } => {
                self.apply_ended(event, *task, attempt.as_deref(), Status::Cancelled)
            }
            Fact::Skipped { task, cause } => self.apply_skipped(event.sequence, *task, cause),
            Fact::WorkflowSubmitted { record } | Fact::WorkflowReopened { record } => {
                self.insert_workflow(record)
            }
            Fact::WorkflowStopped { workflow, stop } => self.apply_workflow_stopped(*workflow, *stop),
            Fact::WorkflowEnded { workflow, status } => {
                self.apply_workflow_ended(event, *workflow, *status);
            }
            Fact::WorkflowCancelling { workflow } => self.apply_workflow_cancelling(*workflow),
            Fact::Paused { scope } => self.apply_paused(scope, true),
            Fact::Resumed { scope } => self.apply_paused(scope, false),
            Fact::ScheduleAdded { .. }
            | Fact::ScheduleTicked { .. }
            | Fact::SchedulePaused { .. }
            | Fact::ScheduleResumed { .. }
            | Fact::ScheduleRemoved { .. } => self.apply_schedule(&event.fact),
            Fact::Published { .. } => {}
            Fact::ResourceSet { resource, setting } => self.apply_resource_set(resource, setting),
            Fact::Throttled { resource, until, task } => self.apply_throttled(resource, *until, *task),
            Fact::Closed { resource } => self.change_state(resource, |state| state.closed = true),
            Fact::Opened { resource } => self.change_state(resource, ResourceState::open),
            Fact::Settled { resource, task, used, .. } => self.apply_settled(resource, *task, *used),
            Fact::WorkerJoined { worker } => self.apply_worker_joined(worker),
            Fact::WorkerLost { worker } | Fact::WorkerLeft { worker } => self.apply_worker_gone(*worker),
            Fact::SessionCreated { record } => self.insert_session(record),
            Fact::SessionClosing { session, cancel } => self.apply_session_closing(*session, *cancel),
            Fact::SessionClosed { session } => self.apply_session_closed(event.sequence, *session),
        }
    }

    fn apply_submitted(&mut self, record: &TaskRecord) {
        self.meta.next_task = self.meta.next_task.max(record.range().last.next());
        self.insert(record.clone());
        self.link(record.id);
    }

    fn apply_worker_joined(&mut self, worker: &WorkerRecord) {
        self.meta.next_worker = self.meta.next_worker.max(worker.id.next());
        self.meta.workers.push(worker.clone());
        self.workers.add(worker);
    }

    fn apply_worker_gone(&mut self, worker: WorkerId) {
        self.meta.workers.retain(|record| record.id != worker);
        self.workers.remove(worker);
        self.timers.clear(Timer::Lease(worker));
    }

    /// Only for a task that is known to be in memory: facts are emitted about such tasks alone.
    pub(crate) fn task(&self, id: TaskId) -> &Task {
        self.tasks.get(&id).expect("facts and lists refer to tasks in memory")
    }

    pub(crate) fn task_mut(&mut self, id: TaskId) -> &mut Task {
        self.tasks.get_mut(&id).expect("facts and lists refer to tasks in memory")
    }

    /// Takes a task into memory that counts from now on.
    pub(crate) fn insert(&mut self, record: TaskRecord) {
        let (status, priority, count) = (record.status(), record.priority, record.range().len());
        self.count(record.demand.session, |counters| {
            counters.by_status[status.index()] += count;
            counters.unfinished_by_priority[priority.index()] += count;
        });
        self.insert_counted(record);
    }

    /// Takes a task into memory, with all that follows from its record but its edges; see `link`.
    pub(crate) fn insert_counted(&mut self, record: TaskRecord) {
        let (id, session) = (record.id, record.demand.session);
        let queue = self.queues.join(&record.demand, record.timeout, &mut self.ledger);
        let mut task = Box::new(Task::new(record, queue));
        if let Some(claimant) = task.claimant() {
            task.away = !self.workers.take_claim(claimant, id);
        }
        if let Some(key) = task.limits.as_ref().and_then(|l| l.key.as_ref()) {
            self.keys.insert(session, &key.text, id);
        }
        if let Some(at) = task.deadline_at().filter(|_| !task.has_ended()) {
            self.timers.set(Timer::Deadline(id), at);
        }
        if let Phase::Delayed { until } = task.phase {
            self.timers.set(Timer::Delay(id), until);
        }
        self.tasks.insert(id, task);
        self.note_span(id);
        self.enqueue(id);
    }

    fn apply_revived(&mut self, record: &TaskRecord, was: Status) {
        // What is still in memory of the former run makes way for the new one.
        let former = self.tasks.remove(&record.id);
        let count = record.range().len();
        self.count(record.demand.session, |counters| counters.by_status[was.index()] -= count);
        if let Some(workflow) = record.demand.workflow.and_then(|id| self.workflows.get_mut(&id)) {
            workflow.unfinished += count;
            workflow.finally += if record.role.finally { count } else { 0 };
            workflow.compensations += u64::from(record.role.compensation.is_some());
            workflow.forget_end(was, count);
        }
        self.insert(record.clone());
        // Only now, so that their queue and the limit of their workflow stay if they were the last.
        if let Some(former) = former {
            self.leave_queue(former.queue);
        }
    }

    /// Changes what a task is doing, with its counts and its place in the queue.
    pub(crate) fn set_phase(&mut self, id: TaskId, phase: Phase) {
        self.dequeue(id);
        let task = self.task_mut(id);
        let before = task.status();
        if matches!(task.phase, Phase::Delayed { .. }) && !matches!(phase, Phase::Delayed { .. }) {
            self.timers.clear(Timer::Delay(id));
        }
        if let Phase::Delayed { until } = phase {
            self.timers.set(Timer::Delay(id), until);
        }
        let task = self.task_mut(id);
        task.phase = phase;
        let (after, count) = (task.status(), task.count());
        debug_assert!(before == after || before.may_become(after), "{id}: {before} cannot become {after}");
        self.count(self.session_of(id), |counters| {
            counters.by_status[before.index()] -= count;
            counters.by_status[after.index()] += count;
        });
        self.enqueue(id);
    }

    fn set_hold(&mut self, id: TaskId, hold: bool) {
        self.dequeue(id);
        let task = self.task_mut(id);
        task.hold = hold;
        let placed = task.placed;
        self.placements_doubted |= placed;
        self.enqueue(id);
    }

    /// Puts a task that is ready and not held, and whose turn it is, into its queue.
    pub(crate) fn enter_queue(&mut self, id: TaskId) {
        let task = self.task(id);
        let (queue, class, more) = (task.queue, task.base_class(), task.more());
        if let Some(since) = task.queued_since() {
            self.queues.insert(queue, class, since, id, self.now, &mut self.ledger);
            self.queues.count_more(queue, more);
            self.watch_aging(queue);
        }
    }

    /// Sets the timer for the next change of class by waiting in a queue.
    pub(crate) fn watch_aging(&mut self, queue: usize) {
        match self.queues.next_aging(queue, self.now) {
            Some(at) => self.timers.set(Timer::Aging(queue), at),
            None => self.timers.clear(Timer::Aging(queue)),
        }
    }

    /// A task of this queue leaves memory.
    pub(crate) fn leave_queue(&mut self, queue: usize) {
        self.queues.leave(queue, &mut self.ledger);
        if !self.queues.exists(queue) {
            self.watches.forget(queue);
            self.timers.clear(Timer::Aging(queue));
            self.timers.clear(Timer::Reservation(queue));
        }
    }

    /// Takes a task out of its queue, if it stands in one.
    pub(crate) fn dequeue(&mut self, id: TaskId) {
        let task = self.task(id);
        let (queue, class, more) = (task.queue, task.base_class(), task.more());
        if let Some(since) = task.queued_since() {
            self.queues.count_less(queue, more);
            self.queues.remove(queue, class, since, id, self.now, &mut self.ledger);
            // Its place is taken by another, whose turn to climb comes at another time.
            self.watch_aging(queue);
        } else if task.away {
            // What it had reserved it keeps only while it may still come back to it.
            self.ledger.unreserve(id);
        }
    }

    /// Changes what decides the class of a task, and its place in its queue with it.
    pub(crate) fn reclass(&mut self, id: TaskId, change: impl FnOnce(&mut Task)) {
        let task = self.task_mut(id);
        let from = task.base_class();
        change(task);
        let placed = task.placed;
        let task = self.task(id);
        let (to, queue, since) = (task.base_class(), task.queue, task.queued_since());
        let is_awaited = task.is_awaited();
        self.placements_doubted |= placed && from != to;
        if let Some(since) = since.filter(|_| from != to) {
            self.queues.reclass(queue, (from, to), (since, id), self.now, &mut self.ledger);
            self.watch_aging(queue);
        } else if is_awaited {
            self.ledger.rerank_reservations(self.rank_of(id));
        }
        if from != to {
            self.take_turn_anew(id);
        }
    }

    fn apply_reprioritized(&mut self, id: TaskId, priority: Priority) {
        let task = self.task(id);
        let (old, old_base, count) = (task.priority, task.base_class(), task.count());
        self.count(self.session_of(id), |counters| {
            counters.unfinished_by_priority[old.index()] -= count;
            counters.unfinished_by_priority[priority.index()] += count;
        });
        self.reclass(id, |task| {
            task.priority = priority;
            task.inherited = task.lent_class();
        });
        self.change_class(id, Some(old_base), Some(self.task(id).base_class()));
    }

    fn apply_started(&mut self, event: &Event, id: TaskId, token: Token, at: Time) {
        let Fact::Started { attempt, worker, waited, variant, .. } = &event.fact else { return };
        self.meta.next_token = self.meta.next_token.max(token.next());
        let (worker, variant) = (*worker, *variant);
        self.set_phase(id, Phase::Running { token, worker, started_at: at, stop: None, variant });
        self.drop_placement(id);
        let task = self.tasks.get_mut(&id).expect("its phase was set just now");
        task.attempts = *attempt;
        task.note_progress(None);
        let timeout = task.timeout();
        if let Some(waited) = waited {
            task.first_started_at = Some(at);
            self.count(event.session, |counters| {
                counters.first_starts += 1;
                counters.wait_time = Span(counters.wait_time.0.saturating_add(waited.0));
            });
        }
        self.take_claims(id);
        self.draw_tokens(id);
        if let Some(timeout) = timeout {
            self.timers.set(Timer::Timeout(id), at + timeout);
        }
    }

    /// Enters a running task into the ledger, with its worker.
    pub(crate) fn take_claims(&mut self, id: TaskId) {
        let task = self.tasks.get(&id).expect("facts and lists refer to tasks in memory");
        let Phase::Running { token, worker, started_at, .. } = task.phase else { return };
        let ends_by = task.ends_by(started_at).map(|end| end + self.config.grace);
        for need in self.queues.get(task.queue).needs_in(task.variant()) {
            if let Some(need) = loosened(*need, task, &self.ledger) {
                self.ledger.hold(need, id, started_at, ends_by);
            }
        }
        for (resource, used) in self.meta.settled.get(&token).into_iter().flatten() {
            if let Some(index) = self.ledger.find(&ResourceKey::Named(resource.clone())) {
                self.ledger.note_used(index, id, *used);
            }
        }
        self.tokens.insert(token, id);
        self.workers.take_slot(worker, id, self.now);
        if !self.timers.is_set(Timer::Lease(worker)) {
            self.timers.set(Timer::Lease(worker), self.now + self.config.lease);
        }
    }

    fn apply_stopping(&mut self, id: TaskId, cause: Stop) {
        if let Phase::Running { stop, .. } = &mut self.task_mut(id).phase {
            *stop = Some(cause);
        }
    }

    /// Frees everything that an attempt held.
    fn apply_attempt_end(&mut self, id: TaskId, attempt: &AttemptEnd) {
        let task = self.task(id);
        for need in self.queues.get(task.queue).needs_in(task.variant()) {
            self.ledger.release(need.resource, id);
        }
        self.task_mut(id).note_kept(None);
        self.tokens.remove(&attempt.token);
        self.meta.told_to_wait.remove(&attempt.token);
        self.meta.settled.remove(&attempt.token);
        self.workers.free_slot(attempt.worker, id, attempt.execution_time);
        self.ease_lease(attempt.worker);
        if self.task(id).timeout().is_some() {
            self.timers.clear(Timer::Timeout(id));
        }
        let session = self.session_of(id);
        self.count(session, |counters| {
            counters.attempts_ended += 1;
            counters.execution_time =
                Span(counters.execution_time.0.saturating_add(attempt.execution_time.0));
        });
        if let Some((usage, session)) = attempt.usage.zip(session)
            && let Some(record) = self.sessions.get_mut(session)
        {
            record.note_usage(&usage);
        }
    }

    fn apply_retried(&mut self, id: TaskId, attempt: &AttemptEnd, until: Time) {
        self.apply_attempt_end(id, attempt);
        let lost = matches!(attempt.outcome, orchd_model::Outcome::WorkerLost);
        let this = self.task_mut(id);
        *(if lost { &mut this.losses } else { &mut this.tries }) += 1;
        self.set_phase(id, Phase::Delayed { until });
    }

    fn apply_ended(&mut self, event: &Event, id: TaskId, attempt: Option<&AttemptEnd>, status: Status) {
        self.apply_end(event.sequence, id, attempt, Phase::Ended(status));
    }

    fn apply_skipped(&mut self, sequence: Sequence, id: TaskId, cause: &SkipCause) {
        self.apply_end(sequence, id, None, Phase::Skipped(cause.clone()));
    }

    fn apply_end(&mut self, sequence: Sequence, id: TaskId, attempt: Option<&AttemptEnd>, phase: Phase) {
        if let Some(attempt) = attempt {
            self.apply_attempt_end(id, attempt);
        }
        let task = self.task(id);
        let (class, base, count) = (task.priority, task.base_class(), task.count());
        if task.deadline_at().is_some() {
            self.timers.clear(Timer::Deadline(id));
        }
        self.set_phase(id, phase);
        self.count(self.session_of(id), |counters| counters.unfinished_by_priority[class.index()] -= count);
        self.change_class(id, Some(base), None);
        self.task_mut(id).ended_by = sequence;
        self.ended.push_back((sequence, Ended::Task(id)));
        self.meet_edges(id);
        let task = self.task(id);
        let (status, queue, role) = (task.status(), task.queue, task.role());
        let workflow = self.queues.get(queue).demand.workflow;
        if let Some(workflow) = workflow.and_then(|id| self.workflows.get_mut(&id)) {
            workflow.unfinished -= count;
            workflow.finally -= if role.finally { count } else { 0 };
            workflow.compensations -= u64::from(role.compensation.is_some());
            match status {
                Status::Failed => workflow.failed += count,
                Status::Cancelled => workflow.cancelled += count,
                Status::Pending
                | Status::Running
                | Status::Retrying
                | Status::Completed
                | Status::Skipped => {}
            }
        }
    }

    /// Counts down the unmet dependencies of those whose edge from this ended task is met.
    fn meet_edges(&mut self, id: TaskId) {
        let (status, whole) = (self.task(id).status(), self.fails_with(id));
        let Some(dependents) = self.task_mut(id).dependents.take() else { return };
        for dependent in &dependents.edges {
            if (dependent.on.is_met_by(status) || whole == Some(dependent.task))
                && let Some(task) = self.tasks.get_mut(&dependent.task)
                && matches!(task.phase, Phase::Waiting)
                && task.run_at == dependent.run_at
            {
                task.unmet -= 1;
            }
        }
        self.task_mut(id).dependents = Some(dependents);
    }

    pub(crate) fn insert_workflow(&mut self, record: &WorkflowRecord) {
        self.meta.next_workflow = self.meta.next_workflow.max(record.id.next());
        self.timers.clear(Timer::Workflow(record.id));
        self.workflow_ends.remove(&record.id);
        if let Some(timeout) = record.timeout.filter(|_| record.stop != Some(WorkflowStop::Timeout)) {
            self.timers.set(Timer::Workflow(record.id), record.run_at + timeout);
        }
        let index = self.ledger.intern(&ResourceKey::Workflow(record.id));
        self.ledger.limit_group(index, record.max_parallel);
        self.workflows
            .insert(record.id, WorkflowRecord { status: WorkflowStatus::Running, ..record.clone() });
    }

    fn apply_workflow_stopped(&mut self, id: WorkflowId, stop: WorkflowStop) {
        // One that stopped after a failure can still meet its timeout while its last tasks run.
        if stop == WorkflowStop::Timeout {
            self.timers.clear(Timer::Workflow(id));
        }
        if let Some(record) = self.workflows.get_mut(&id) {
            record.stop = Some(stop);
        }
    }

    fn apply_workflow_ended(&mut self, event: &Event, id: WorkflowId, status: WorkflowStatus) {
        self.timers.clear(Timer::Workflow(id));
        if let Some(record) = self.workflows.get_mut(&id) {
            record.status = status;
            record.ran = Span(record.ran.0.saturating_add(event.time.since(record.run_at).0));
        }
        let scope = Scope::Workflow(id);
        if self.meta.paused.contains(&scope) {
            self.apply_paused(&scope, false);
        }
        self.workflow_ends.insert(id, event.sequence);
        self.ended.push_back((event.sequence, Ended::Workflow(id)));
    }

    pub(crate) fn apply_paused(&mut self, scope: &Scope, paused: bool) {
        self.meta.paused.retain(|other| other != scope);
        if paused {
            self.meta.paused.push(scope.clone());
        }
        self.set_paused(scope, paused);
    }

    /// Makes a pause felt.
    pub(crate) fn set_paused(&mut self, scope: &Scope, paused: bool) {
        let key = match scope {
            Scope::All => {
                self.paused = paused;
                self.placements_doubted = true;
                return;
            }
            Scope::Priority(class) => return self.set_class_paused(*class, paused),
            Scope::Resource(name) => ResourceKey::Named(name.clone()),
            Scope::Workflow(id) => ResourceKey::Workflow(*id),
            Scope::Session(id) => ResourceKey::Session(*id),
        };
        let index = self.ledger.intern(&key);
        self.ledger.set_paused(index, paused);
        self.reconsider(index);
    }

    fn set_class_paused(&mut self, class: Priority, paused: bool) {
        for task in self.ledger.reserving_tasks() {
            if paused && self.task(task).base_class() == class {
                self.ledger.unreserve(task);
            }
        }
        self.placements_doubted = true;
        for queue in self.queues.set_class_paused(class, paused, self.now, &mut self.ledger) {
            self.watch_aging(queue);
        }
    }
}
