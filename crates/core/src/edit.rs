//! Replacing the spec of a task that has not started: the same task, the same place among those it depends
//! on and those that depend on it, with something else to do.
//!
//! What others rely on stays: its id, its key, its dependencies, its session and workflow.

use orchd_model::{Code, NotBefore, On, Refusal, Status, TaskId};
use std::sync::Arc;

use crate::command::{EdgeTarget, NewTask, Reply};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::record::{Key, Phase, Role, Runner, TaskRecord};
use crate::task::Task;
use crate::timer::Timer;

impl Core {
    pub(crate) fn edit(&mut self, id: TaskId, new: &NewTask, out: &mut Output) -> Result<Reply, Refusal> {
        let status = self.unfinished_status(id)?;
        let standing = self.standing_for(id).unwrap_or(id);
        let Some(record) = self.record(standing) else { return Ok(Reply::Done) };
        self.check_editable(id, &record, status)?;
        check_kept(&record, new)?;
        self.check_claims_of(&new.spec)?;
        let record = Box::new(self.edited(record, new));
        self.emit(out, Fact::Edited { record, spec: Some(Arc::clone(&new.spec)) });
        let task = self.task(id);
        if matches!(task.phase, Phase::Waiting) && task.unmet == 0 {
            self.proceed(id, out);
        }
        Ok(Reply::Done)
    }

    fn check_editable(&self, id: TaskId, record: &TaskRecord, status: Status) -> Result<(), Refusal> {
        let wrong_state = |message: String| Refusal::new(Code::WrongState, message);
        if status != Status::Pending || record.first_started_at.is_some() {
            let refusal = wrong_state(format!("task {id} has started"));
            return Err(refusal.value(status.as_str()).hint("cancel it and add another one"));
        }
        if record.claimant.is_some() {
            let refusal = wrong_state(format!("task {} is an ad-hoc claim", record.id));
            return Err(refusal.hint("cancel it and claim anew"));
        }
        if record.array.is_some() {
            let refusal = wrong_state(format!("task {id} shares its spec with its array"));
            return Err(refusal.hint(
                "no task of an array is changed alone: cancel it and add another one; hold and reprioritize do work",
            ));
        }
        if self.placed_token(record.id).is_some() {
            let refusal = Refusal::new(Code::Busy, "it is about to start");
            return Err(refusal.value(record.id.to_string()).hint("hold it first, or cancel it"));
        }
        if let Some(what) = match record.phase {
            Phase::Checking => Some("its condition is being evaluated"),
            Phase::Computing => Some("its result is being worked out"),
            _ => None,
        } {
            let refusal = Refusal::new(Code::Busy, what);
            return Err(refusal.value(record.id.to_string()).hint("try again"));
        }
        Ok(())
    }

    /// The record of a task with another spec. One that is ready and may start as it is keeps its place.
    fn edited(&self, record: TaskRecord, new: &NewTask) -> TaskRecord {
        let spec = &new.spec;
        let not_before = spec.not_before.map(|not_before| match not_before {
            NotBefore::At(at) => at,
            NotBefore::In(delay) => record.run_at + delay,
        });
        let at_once = spec.when.is_none()
            && !matches!(new.runner, Runner::Nothing | Runner::Computed)
            && !new.spec.finally
            && not_before.is_none_or(|at| at <= self.now);
        let phase = match record.phase {
            Phase::Ready { since } if at_once => Phase::Ready { since },
            _ => Phase::Waiting,
        };
        TaskRecord {
            name: spec.name.as_str().into(),
            priority: spec.priority,
            demand: Arc::new(self.demand_of(
                spec,
                &new.runner,
                record.demand.workflow,
                record.demand.session,
            )),
            conditional: spec.when.is_some(),
            retry: Arc::clone(&new.retry),
            timeout: spec.timeout,
            deadline: spec.deadline,
            not_before,
            key: record.key.map(|key| Key { fingerprint: new.fingerprint, ..key }),
            hold: spec.hold,
            role: Role {
                finally: record.role.finally,
                compensation: record.role.compensation,
                group: record.role.group,
                ..new.role()
            },
            phase,
            ..record
        }
    }

    pub(crate) fn apply_edited(&mut self, record: &TaskRecord) {
        let id = record.id;
        self.dequeue(id);
        self.timers.clear(Timer::Delay(id));
        self.timers.clear(Timer::Deadline(id));
        let queue = self.queues.join(&record.demand, record.timeout, &mut self.ledger);
        let task = Task::new(record.clone(), queue);
        let (priority, deadline) = (task.priority, task.deadline_at());
        let former = std::mem::replace(self.task_mut(id), task);
        let before = former.base_class();
        self.leave_queue(former.queue);
        self.count(record.demand.session, |counters| {
            counters.unfinished_by_priority[former.priority.index()] -= 1;
            counters.unfinished_by_priority[priority.index()] += 1;
        });
        let task = self.task_mut(id);
        (task.unmet, task.dependents) = (former.unmet, former.dependents);
        task.inherited = task.lent_class();
        let after = task.base_class();
        if let Some(at) = deadline {
            self.timers.set(Timer::Deadline(id), at);
        }
        self.enqueue(id);
        self.change_class(id, Some(before), Some(after));
    }
}

/// Refuses what others rely on not to change.
fn check_kept(record: &TaskRecord, new: &NewTask) -> Result<(), Refusal> {
    let fixed = |what: &str, value: String| {
        let refusal = Refusal::new(Code::WrongState, format!("the {what} of a task cannot be changed"));
        Err(refusal.value(value).hint("cancel it and add another one"))
    };
    let key = record.key.as_ref().map(|key| &*key.text);
    if key != new.spec.key.as_deref() {
        return fixed("key", new.spec.key.clone().unwrap_or_else(|| "none".to_owned()));
    }
    let session = new.spec.session_id();
    if session != record.demand.session {
        return fixed("session", session.map_or_else(|| "none".to_owned(), |id| id.to_string()));
    }
    if new.spec.array.is_some() {
        return fixed("number of elements", "array".to_owned());
    }
    let wanted = new.edges.iter().map(|(target, on)| match target {
        EdgeTarget::Id(id) => (Some(*id), *on),
        EdgeTarget::Index(_) => (None, *on),
    });
    let wanted: Vec<(Option<TaskId>, On)> = wanted.collect();
    let kept: Vec<(Option<TaskId>, On)> =
        record.edges.iter().map(|edge| (Some(edge.task), edge.on)).collect();
    if wanted != kept {
        return fixed("dependencies", format!("{} instead of {}", wanted.len(), kept.len()));
    }
    Ok(())
}
