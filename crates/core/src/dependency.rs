//! What follows when a task ends: dependents go on or are ruled out, workflows stop or end.

use orchd_model::{FailFast, On, Status, TaskId, TaskResult, WorkflowId, WorkflowStatus};

use crate::command::{Effect, Reply};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::record::{Phase, Runner, SkipCause, Stop, WorkflowStop};
use crate::task::Dependent;
use orchd_model::{Code, Refusal};

impl Core {
    /// Every dependency of a waiting task is met: its condition is evaluated, its delay runs, or it is
    /// ready.
    pub(crate) fn proceed(&mut self, id: TaskId, out: &mut Output) {
        if self.waits_for_others(id) || self.is_uncalled(id) {
            return;
        }
        let task = self.task(id);
        // One that has its elements was let through before.
        let is_to_check = task.conditional && task.role().elements.is_none();
        if is_to_check && matches!(task.phase, Phase::Waiting) {
            self.emit(out, Fact::Checked { task: id });
            out.effects.push(Effect::Evaluate { task: id });
        } else {
            self.schedule(id, out);
        }
    }

    /// Nothing but time, an operator's hold and resources stand between the task and its start.
    pub(crate) fn schedule(&mut self, id: TaskId, out: &mut Output) {
        let task = self.task(id);
        let is_delayed = matches!(task.phase, Phase::Delayed { .. });
        match task.not_before().filter(|until| *until > self.now && !is_delayed) {
            Some(until) => self.emit(out, Fact::Delayed { task: id, until }),
            None if !matches!(task.phase, Phase::Ready { .. }) => self.emit(out, Fact::Readied { task: id }),
            None => {}
        }
        let task = self.task(id);
        if task.queued_since().is_none() {
            return;
        }
        match self.queues.get(task.queue).demand.runner {
            Runner::Nothing => {
                let result = Some(Box::new(TaskResult { success: true, ..TaskResult::default() }));
                self.emit(out, Fact::Completed { task: id, attempt: None, result });
                self.after_end(id);
            }
            Runner::Computed => self.compute(id, out),
            Runner::Process | Runner::Handler(_) | Runner::Claimant => {}
        }
    }

    pub(crate) fn decide_condition(
        &mut self,
        id: TaskId,
        verdict: Result<bool, String>,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        if !self.tasks.get(&id).is_some_and(|task| matches!(task.phase, Phase::Checking)) {
            return Err(Refusal::new(Code::WrongState, "this task's condition is not being evaluated")
                .value(id.to_string()));
        }
        match verdict {
            Ok(true) => self.schedule(id, out),
            Ok(false) => self.skip(id, SkipCause::Condition, out),
            Err(message) => self.skip(id, SkipCause::ConditionError(message.into()), out),
        }
        Ok(Reply::Done)
    }

    /// Rules a task out.
    pub(crate) fn skip(&mut self, id: TaskId, cause: SkipCause, out: &mut Output) {
        self.emit(out, Fact::Skipped { task: id, cause });
        self.after_end(id);
    }

    /// Notes that a task has ended; what follows from that is decided before the step is over.
    pub(crate) fn after_end(&mut self, id: TaskId) {
        self.unsettled.push_back(id);
    }

    /// Decides what follows from the tasks that ended, through any number of dependents. Iterative: chains
    /// may be long.
    pub(crate) fn settle(&mut self, out: &mut Output) {
        loop {
            let Some(id) = self.unsettled.pop_front() else {
                // Only now, when everything that the ends rule out has been.
                let Some(workflow) = self.near_end.pop_first() else { return };
                self.begin_end(workflow, out);
                continue;
            };
            let (status, whole) = (self.task(id).status(), self.fails_with(id));
            let dependents = self.task_mut(id).dependents.take();
            let mut dependents = dependents.map(|d| d.edges).unwrap_or_default();
            // By id, also where elements of an array were cut out in another order.
            dependents.sort_by_key(|dependent| dependent.task);
            for Dependent { task: dependent, on, run_at } in dependents {
                let on = if whole == Some(dependent) { On::Completion } else { on };
                let Some(task) = self.tasks.get(&dependent) else { continue };
                if !matches!(task.phase, Phase::Waiting) || task.run_at != run_at {
                    continue;
                }
                if !on.is_met_by(status) {
                    let cause = self.cause_behind(id, dependent);
                    self.skip(dependent, cause, out);
                } else if self.is_uncalled(dependent) {
                    self.arm(dependent, out);
                } else if task.unmet == 0 {
                    self.proceed(dependent, out);
                }
            }
            self.end_elements(id, out);
            self.after_end_in_workflow(id, status, out);
            self.after_end_of_claim(id, out);
            self.after_end_in_session(id, out);
        }
    }

    /// Why a task is skipped that cannot go on after the end of another, in memory.
    fn cause_behind(&self, ended: TaskId, dependent: TaskId) -> SkipCause {
        match &self.task(ended).phase {
            // What was asked of the start was asked of the whole.
            Phase::Skipped(cause) if self.begins(ended) == Some(dependent) => cause.clone(),
            _ => {
                let (root, status) = self.root_of_end(ended);
                SkipCause::Dependency(root, status)
            }
        }
    }

    /// The first cause behind the end of a task in memory: itself, unless it was skipped because of
    /// another. A start that is skipped for itself stands for the whole, which is what its user has written.
    pub(crate) fn root_of_end(&self, id: TaskId) -> (TaskId, Status) {
        let task = self.task(id);
        match &task.phase {
            Phase::Skipped(SkipCause::Dependency(root, status)) => (*root, *status),
            Phase::Skipped(SkipCause::FailFast(root)) => (*root, Status::Failed),
            Phase::Skipped(SkipCause::Condition | SkipCause::ConditionError(_) | SkipCause::NotNeeded) => {
                (self.begins(id).unwrap_or(id), Status::Skipped)
            }
            Phase::Waiting
            | Phase::Checking
            | Phase::Delayed { .. }
            | Phase::Ready { .. }
            | Phase::Running { .. }
            | Phase::Computing
            | Phase::Ended(_) => (id, task.status()),
        }
    }

    fn after_end_in_workflow(&mut self, id: TaskId, status: Status, out: &mut Output) {
        let Some(workflow) = self.queues.get(self.task(id).queue).demand.workflow else { return };
        let Some(record) = self.workflows.get(&workflow) else { return };
        let finally = self.is_finally(id);
        let stops = status == Status::Failed && !finally;
        if stops && record.fail_fast != FailFast::No && record.stop.is_none() {
            self.stop_workflow(workflow, WorkflowStop::Failure(id), out);
        }
        let Some(record) = self.workflows.get(&workflow) else { return };
        if record.unfinished == 0 && record.status == WorkflowStatus::Running {
            let status = match record.stop {
                Some(WorkflowStop::Timeout) => WorkflowStatus::TimedOut,
                _ if record.failed > 0 => WorkflowStatus::Failed,
                _ if record.cancelled > 0 => WorkflowStatus::Cancelled,
                _ => WorkflowStatus::Completed,
            };
            self.emit(out, Fact::WorkflowEnded { workflow, status });
        } else if record.others() == 0 && (!finally || self.compensates(id)) {
            self.near_end.insert(workflow);
        }
    }

    /// Nothing is left of a workflow but what runs at its end: what undoes something first.
    fn begin_end(&mut self, workflow: WorkflowId, out: &mut Output) {
        match self.workflows.get(&workflow).filter(|record| record.others() == 0) {
            Some(record) if record.compensations > 0 => self.compensate(workflow, out),
            Some(_) => self.begin_finally(workflow, out),
            None => {}
        }
    }

    /// Nothing new of a workflow starts: what is pending ends, what runs is cancelled where that is asked.
    /// What stopped it first stays the cause: of one that meets its timeout after a failure only the rest is
    /// cancelled.
    pub(crate) fn stop_workflow(&mut self, workflow: WorkflowId, stop: WorkflowStop, out: &mut Output) {
        if self.workflows.get(&workflow).is_some_and(|record| record.stop.is_none()) {
            self.emit(out, Fact::WorkflowStopped { workflow, stop });
        }
        let Some(record) = self.workflows.get(&workflow) else { return };
        let cancels = stop == WorkflowStop::Timeout || record.fail_fast == FailFast::Cancel;
        for id in record.task_ids().collect::<Vec<_>>() {
            let Some(task) = self.tasks.get(&id).filter(|task| !task.role().finally) else { continue };
            match (&task.phase, stop) {
                (Phase::Ended(_) | Phase::Skipped(_), _) => {}
                (Phase::Running { .. }, _) if cancels => self.stop_attempt(id, Stop::Cancel, out),
                (Phase::Running { .. }, _) => {}
                (_, stop) => self.end_by_stop(id, stop, out),
            }
        }
    }

    /// Ends a task that does not run because its workflow has stopped.
    pub(crate) fn end_by_stop(&mut self, id: TaskId, stop: WorkflowStop, out: &mut Output) {
        match stop {
            WorkflowStop::Failure(cause) => self.skip(id, SkipCause::FailFast(cause), out),
            WorkflowStop::Timeout => {
                self.emit(out, Fact::Cancelled { task: id, attempt: None, result: None });
                self.after_end(id);
            }
        }
    }
}
