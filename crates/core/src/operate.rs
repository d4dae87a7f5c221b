//! What operators do to tasks, groups and resources.

use orchd_model::{Code, Priority, Refusal, ResourceName, ResourceSetting, Status, TaskId, WorkflowStatus};
use std::collections::BTreeMap;

use crate::command::{EndedTask, Reply};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::record::{Phase, Scope, Stop, TaskRecord, WorkflowRecord};

fn has_ended(id: TaskId, status: Status) -> Refusal {
    Refusal::new(Code::WrongState, format!("task {id} has ended")).value(status.as_str())
}

fn not_in_memory(id: TaskId) -> Refusal {
    Refusal::new(Code::NotFound, "no such unfinished task").value(id.to_string())
}

impl Core {
    /// The status of a task that has not ended.
    fn unfinished_status(&self, id: TaskId) -> Result<Status, Refusal> {
        match self.tasks.get(&id) {
            Some(task) if task.has_ended() => Err(has_ended(id, task.status())),
            Some(task) => Ok(task.status()),
            None => Err(not_in_memory(id)),
        }
    }

    pub(crate) fn cancel(&mut self, ids: &[TaskId], out: &mut Output) -> Reply {
        let results = ids.iter().map(|id| (*id, self.cancel_one(*id, out))).collect();
        Reply::Tasks(results)
    }

    fn cancel_one(&mut self, id: TaskId, out: &mut Output) -> Result<Status, Refusal> {
        if self.unfinished_status(id)? == Status::Running {
            self.stop_attempt(id, Stop::Cancel, out);
            return Ok(Status::Running);
        }
        self.emit(out, Fact::Cancelled { task: id, attempt: None, result: None });
        self.after_end(id);
        Ok(Status::Cancelled)
    }

    pub(crate) fn hold(&mut self, id: TaskId, out: &mut Output) -> Result<Reply, Refusal> {
        if self.unfinished_status(id)? == Status::Running {
            return Err(Refusal::new(Code::WrongState, format!("task {id} runs already")).value("running"));
        }
        if !self.task(id).hold {
            self.emit(out, Fact::Held { task: id });
        }
        Ok(Reply::Done)
    }

    pub(crate) fn release(&mut self, id: TaskId, out: &mut Output) -> Result<Reply, Refusal> {
        self.unfinished_status(id)?;
        if !self.task(id).hold {
            return Err(Refusal::new(Code::WrongState, format!("task {id} is not held")));
        }
        self.emit(out, Fact::Released { task: id });
        if matches!(self.task(id).phase, Phase::Ready { .. }) {
            self.schedule(id, out);
        }
        Ok(Reply::Done)
    }

    pub(crate) fn reprioritize(
        &mut self,
        id: TaskId,
        priority: Priority,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        self.unfinished_status(id)?;
        if self.task(id).priority != priority {
            self.emit(out, Fact::Reprioritized { task: id, priority });
        }
        Ok(Reply::Done)
    }

    pub(crate) fn pause(&mut self, scope: Scope, out: &mut Output) -> Result<Reply, Refusal> {
        if let Scope::Workflow(id) = &scope
            && self.workflows.get(id).is_none_or(|workflow| workflow.status != WorkflowStatus::Running)
        {
            return Err(Refusal::new(Code::NotFound, "no such running workflow").value(id.to_string()));
        }
        if !self.meta.paused.contains(&scope) {
            self.emit(out, Fact::Paused { scope });
        }
        Ok(Reply::Done)
    }

    pub(crate) fn resume(&mut self, scope: Scope, out: &mut Output) -> Result<Reply, Refusal> {
        if !self.meta.paused.contains(&scope) {
            return Err(Refusal::new(Code::WrongState, "this is not paused"));
        }
        self.emit(out, Fact::Resumed { scope });
        Ok(Reply::Done)
    }

    pub(crate) fn set_resource(
        &mut self,
        resource: ResourceName,
        setting: ResourceSetting,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        self.emit(out, Fact::ResourceSet { resource, setting });
        Ok(Reply::Done)
    }

    /// Runs ended tasks again, and those that were skipped because of them.
    pub(crate) fn revive(
        &mut self,
        tasks: Vec<TaskRecord>,
        skipped: Vec<TaskRecord>,
        workflows: Vec<WorkflowRecord>,
        ended: &BTreeMap<TaskId, EndedTask>,
        out: &mut Output,
    ) -> Reply {
        let mut revived = Vec::new();
        let mut replies = Vec::new();
        for record in tasks {
            let (id, may) = self.may_revive(&record);
            if may.is_ok() {
                let record = self.record(id).unwrap_or(record);
                self.emit_revival(record, &workflows, out);
                revived.push(id);
            }
            replies.push((id, may));
        }
        for record in skipped {
            let stored_root = record.skip_root();
            let record = self.record(record.id).unwrap_or(record);
            if stored_root.is_some_and(|root| revived.contains(&root)) && record.skip_root() == stored_root {
                revived.push(record.id);
                self.emit_revival(record, &workflows, out);
            }
        }
        for id in &revived {
            self.link(*id);
        }
        for id in revived {
            self.begin(id, ended, out);
        }
        Reply::Tasks(replies)
    }

    fn may_revive(&self, record: &TaskRecord) -> (TaskId, Result<Status, Refusal>) {
        let status = self.status(record.id).unwrap_or_else(|| record.status());
        let may = match status {
            Status::Failed | Status::Skipped | Status::Cancelled => Ok(Status::Pending),
            Status::Completed => {
                let refusal =
                    Refusal::new(Code::WrongState, "only failed, skipped and cancelled tasks run again");
                Err(refusal.value(format!("task {} is completed", record.id)))
            }
            Status::Pending | Status::Running | Status::Retrying => {
                Err(Refusal::new(Code::WrongState, format!("task {} has not ended", record.id))
                    .value(status.as_str()))
            }
        };
        (record.id, may)
    }

    fn emit_revival(&mut self, record: TaskRecord, workflows: &[WorkflowRecord], out: &mut Output) {
        if let Some(id) = record.demand.workflow {
            let stored = workflows.iter().find(|w| w.id == id);
            let reopened = match self.workflows.get(&id) {
                Some(live) if live.stop.is_none() && live.unfinished > 0 => None,
                Some(live) => Some(live.clone()),
                None => stored.cloned(),
            };
            if let Some(workflow) = reopened {
                let record = Box::new(WorkflowRecord { stop: None, timeout: None, ..workflow });
                self.emit(out, Fact::WorkflowReopened { record });
            }
        }
        let was = record.status();
        let record = Box::new(TaskRecord {
            hold: false,
            not_before: None,
            run_at: self.now,
            first_started_at: None,
            tries: 0,
            losses: 0,
            phase: Phase::Waiting,
            ..record
        });
        self.emit(out, Fact::Revived { record, was });
    }
}
