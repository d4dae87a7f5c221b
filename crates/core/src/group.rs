//! Tasks whose result is worked out from others: a `foreach` with its elements, a milestone with something
//! to say, a sub-workflow that ends with the results of its tasks.
//!
//! ```text
//!   waiting ──► computing ──► ended
//!      ▲            │
//!      └── expanded ┘   a foreach: its elements are tasks of their own from now on, and it waits for them
//! ```
//! When its workflow goes on and the list is made anew, the elements that it had leave the workflow: they are kept as
//! what was done, and count no more.
//!
//! What is computed is the shell's: it is asked with an effect, again after a restart, and what it answers
//! becomes one fact. So a list is expanded exactly once.
//!
//! Invariant: a task that was expanded has an edge to each of its elements; when it is cancelled or fails
//! before the last of them has ended, so are they.

use orchd_model::{Code, On, Outcome, Refusal, Status, TaskId, TaskResult};
use serde_json::Value;
use std::sync::Arc;

use crate::command::{Effect, NewTask, Reply};
use crate::core::{Core, Output};
use crate::demand::Demand;
use crate::event::Fact;
use crate::record::{Edge, Elements, Phase, Role, Runner, TaskRecord};
use crate::task::Task;

/// Whether a task with these edges begins with a part of it: its first edge asks for the success of that. Other parts
/// may end as they like.
pub(crate) fn begins_with(edges: &[Edge], part: TaskId) -> bool {
    edges.first().is_some_and(|edge| edge.task == part && edge.on == On::Success)
}

impl Core {
    /// Asks for what a task that is ready ends with, or for its elements.
    pub(crate) fn compute(&mut self, id: TaskId, out: &mut Output) {
        self.emit(out, Fact::Computing { task: id });
        out.effects.push(self.computation(id));
    }

    /// What the shell is asked for a task that is being computed.
    pub(crate) fn computation(&self, id: TaskId) -> Effect {
        let elements = self.task(id).role().elements.map(|elements| elements.range());
        Effect::Compute { task: id, elements }
    }

    /// The task that ends with the result of this one, in memory, if this has failed: however its edge asks for the end, it
    /// goes on, and fails.
    pub(crate) fn fails_with(&self, id: TaskId) -> Option<TaskId> {
        let task = self.task(id);
        if task.status() == Status::Failed { task.role().group } else { None }
    }

    fn check_computing(&self, id: TaskId) -> Result<&Task, Refusal> {
        let task = self.tasks.get(&id).filter(|task| matches!(task.phase, Phase::Computing));
        task.map(|task| &**task).ok_or_else(|| {
            Refusal::new(Code::WrongState, "this task is not being computed").value(id.to_string())
        })
    }

    /// A task ends with what was computed.
    pub(crate) fn end_computed(
        &mut self,
        id: TaskId,
        outcome: &Outcome,
        data: Option<Value>,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        self.check_computing(id)?;
        let result = Some(Box::new(TaskResult {
            success: *outcome == Outcome::Succeeded,
            data,
            error_message: outcome.message(),
            error_type: outcome.error_type(),
            ..TaskResult::default()
        }));
        self.emit(
            out,
            match outcome {
                Outcome::Succeeded => Fact::Completed { task: id, attempt: None, result },
                Outcome::Cancelled => Fact::Cancelled { task: id, attempt: None, result },
                Outcome::Failed { .. }
                | Outcome::TimedOut
                | Outcome::DeadlineMet
                | Outcome::WorkerLost
                | Outcome::Snoozed { .. } => Fact::Failed { task: id, attempt: None, result },
            },
        );
        self.after_end(id);
        Ok(Reply::Done)
    }

    /// The task in memory that begins with this one: a part of it.
    pub(crate) fn begins(&self, id: TaskId) -> Option<TaskId> {
        let whole = self.task(id).role().group?;
        begins_with(&self.tasks.get(&whole)?.edges, id).then_some(whole)
    }

    /// A task becomes its elements, `new` as an array, and waits for them.
    pub(crate) fn expand(&mut self, id: TaskId, new: &NewTask, out: &mut Output) -> Result<Reply, Refusal> {
        let task = self.check_computing(id)?;
        if task.role().elements.is_some() {
            return Err(Refusal::new(Code::WrongState, "this task has its elements").value(id.to_string()));
        }
        self.check_backlog(usize::try_from(new.count()).unwrap_or(usize::MAX))?;
        let Some(head) = self.record(id) else { return Ok(Reply::Done) };
        let first = self.meta.next_task;
        let elements = Elements { first, count: new.count() };
        let begun = self.new_record(first, new, head.owner, head.demand.workflow);
        let phase = if begun.conditional { Phase::Waiting } else { Phase::Ready { since: self.now } };
        let record = Box::new(TaskRecord {
            priority: head.priority,
            demand: Arc::new(self.demand_of(
                &new.spec,
                &new.runner,
                head.demand.workflow,
                head.demand.session,
            )),
            edges: head.edges,
            run_at: head.run_at,
            phase,
            role: Role { group: Some(id), finally: head.role.finally, ..begun.role },
            ..begun
        });
        self.emit(out, Fact::Submitted { record, spec: Some(Arc::clone(&new.spec)) });
        for element in (first.0..first.0 + elements.count).map(TaskId) {
            self.single_out(element, out);
        }
        self.emit(out, Fact::Expanded { task: id, elements });
        for element in self.records_in(elements.range()) {
            self.begin(element, &std::collections::BTreeMap::new(), out);
        }
        Ok(Reply::Done)
    }

    pub(crate) fn apply_expanded(&mut self, id: TaskId, elements: Elements) {
        let task = self.task_mut(id);
        let of_elements = (elements.first.0..elements.first.0 + elements.count)
            .map(|id| Edge { task: TaskId(id), on: On::Completion });
        task.edges = task.edges.iter().copied().chain(of_elements).collect();
        task.set_role(|role| role.elements = Some(elements));
        let (queue, finally) = (task.queue, task.role().finally);
        let workflow = self.queues.get(queue).demand.workflow;
        if let Some(workflow) = workflow.and_then(|id| self.workflows.get_mut(&id)) {
            workflow.unfinished += elements.count;
            workflow.finally += if finally { elements.count } else { 0 };
            workflow.grown.push(elements);
        }
        self.set_phase(id, Phase::Waiting);
        self.link(id);
    }

    /// An ended element gives way to those that its list is made of anew.
    pub(crate) fn replace(&mut self, element: &TaskRecord, out: &mut Output) {
        if self.standing_for(element.id).is_none() {
            self.recall(element.clone());
        }
        self.emit(out, Fact::Replaced { task: element.id });
    }

    pub(crate) fn apply_replaced(&mut self, id: TaskId) {
        let Some(record) = self.record(id) else { return };
        let count = record.range().len();
        if let Some(workflow) = record.demand.workflow.and_then(|id| self.workflows.get_mut(&id)) {
            workflow.forget_end(record.status(), count);
            workflow.grown.retain(|grown| !grown.range().contains(id));
        }
        let demand = Demand { workflow: None, ..(*record.demand).clone() };
        let queue = self.queues.join(&Arc::new(demand), record.timeout, &mut self.ledger);
        let task = self.task_mut(id);
        let former = std::mem::replace(&mut task.queue, queue);
        task.set_role(|role| role.group = None);
        self.leave_queue(former);
    }

    /// Elements of a task that has ended without them are not wanted any more.
    pub(crate) fn end_elements(&mut self, id: TaskId, out: &mut Output) {
        let task = self.task(id);
        let given_up = matches!(task.phase, Phase::Ended(status) if status != Status::Completed);
        let computed = self.queues.get(task.queue).demand.runner == Runner::Computed;
        if !given_up || !computed {
            return;
        }
        let parts: Vec<TaskId> = task.edges.iter().map(|edge| edge.task).collect();
        for part in parts {
            let open = self.tasks.get(&part).filter(|task| !task.has_ended());
            if open.is_some_and(|task| task.role().group == Some(id)) {
                // It has not ended, so this is no refusal.
                drop(self.cancel(part, out));
            }
        }
    }
}
