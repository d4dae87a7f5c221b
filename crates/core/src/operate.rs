//! What operators do to tasks, groups and resources.

use orchd_model::{Code, Priority, Refusal, SessionStatus, Span, Status, TaskId, TaskRange, WorkflowStatus};
use std::collections::{BTreeMap, BTreeSet};

use crate::command::{EndedTask, Reply};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::group::begins_with;
use crate::record::{Phase, Scope, Stop, TaskRecord, WorkflowRecord};

/// Whether one of these begins with a task: it was ruled out with that, and is again without it.
fn one_begins_with(record: &TaskRecord, revived: &[TaskRecord]) -> bool {
    revived.iter().any(|whole| record.role.group == Some(whole.id) && begins_with(&whole.edges, record.id))
}

/// Whether a task ends with the result of one of these.
fn ends_with_one_of(record: &TaskRecord, revived: &[TaskRecord]) -> bool {
    revived.iter().any(|other| other.role.group == Some(record.id))
}

fn has_ended(id: TaskId, status: Status) -> Refusal {
    Refusal::new(Code::WrongState, format!("task {id} has ended")).value(status.as_str())
}

pub(crate) fn has_not_ended(id: TaskId, status: Status) -> Refusal {
    Refusal::new(Code::WrongState, format!("task {id} has not ended")).value(status.as_str())
}

/// That nobody but its workflow calls a compensation.
pub(crate) fn runs_when_needed(id: TaskId) -> Refusal {
    Refusal::new(Code::WrongState, "a compensation runs when its workflow needs it")
        .value(format!("task {id}"))
        .hint("resume the workflow, or run it again from another task")
}

fn not_in_memory(tasks: TaskRange) -> Refusal {
    Refusal::new(Code::NotFound, "no such unfinished task").value(tasks.to_string())
}

/// The answer about tasks that are not in memory, if `last` is not before `first`. Both ends are included: behind the
/// largest id there is none.
fn gap(first: TaskId, last: TaskId) -> Option<(TaskRange, Result<Status, Refusal>)> {
    let range = TaskRange { first, last };
    (first <= last).then(|| (range, Err(not_in_memory(range))))
}

/// How tasks begin again.
pub(crate) struct Again<'a> {
    /// Those of their workflows that have ended.
    pub workflows: &'a [WorkflowRecord],
    /// What they depend on, that has ended and is no longer in memory.
    pub ended: &'a BTreeMap<TaskId, EndedTask>,
    /// What is different about them from now on.
    pub change: &'a dyn Fn(&mut TaskRecord),
    /// Ended elements that others are to take the place of.
    pub replaced: &'a [TaskRecord],
}

/// Ended tasks to run again, as they are on disk.
pub(crate) struct Revival {
    pub tasks: Vec<TaskRecord>,
    pub skipped: Vec<TaskRecord>,
    pub workflows: Vec<WorkflowRecord>,
    pub ended: BTreeMap<TaskId, EndedTask>,
}

impl Core {
    /// The status of a task that has not ended; it may be that of a record that stands for it among others.
    pub(crate) fn unfinished_status(&self, id: TaskId) -> Result<Status, Refusal> {
        match self.standing_for(id).and_then(|standing| self.tasks.get(&standing)) {
            Some(task) if task.has_ended() => Err(has_ended(id, task.status())),
            Some(task) => Ok(task.status()),
            None => Err(not_in_memory(id.into())),
        }
    }

    /// Does something to each record of the tasks that are meant, and to nothing else; says what became of
    /// each, those that are not in memory included.
    pub(crate) fn each(
        &mut self,
        ranges: &[TaskRange],
        out: &mut Output,
        mut act: impl FnMut(&mut Self, TaskId, &mut Output) -> Result<Status, Refusal>,
    ) -> Reply {
        let mut results = Vec::new();
        for range in ranges {
            let mut next = range.first;
            for id in self.cut_out(*range, out) {
                if next < id {
                    results.extend(gap(next, TaskId(id.0 - 1)));
                }
                let record = TaskRange::from_first(id, self.task(id).more());
                results.push((record, act(self, id, out)));
                next = record.last.next();
            }
            results.extend(gap(next, range.last));
        }
        Reply::Tasks(results)
    }

    pub(crate) fn cancel(&mut self, id: TaskId, out: &mut Output) -> Result<Status, Refusal> {
        if self.unfinished_status(id)? == Status::Running {
            self.stop_attempt(id, Stop::Cancel, out);
            return Ok(Status::Running);
        }
        if let Some(token) = self.placed_token(id) {
            // Its worker has to say first that it has not begun.
            self.end_placed(token, Stop::Cancel, out);
            return Ok(Status::Pending);
        }
        self.emit(out, Fact::Cancelled { task: id, attempt: None, result: None });
        self.after_end(id);
        Ok(Status::Cancelled)
    }

    pub(crate) fn hold(&mut self, id: TaskId, out: &mut Output) -> Result<Status, Refusal> {
        let status = self.unfinished_status(id)?;
        if status == Status::Running {
            return Err(Refusal::new(Code::WrongState, format!("task {id} runs already")).value("running"));
        }
        if !self.task(id).hold {
            self.emit(out, Fact::Held { task: id });
        }
        Ok(status)
    }

    pub(crate) fn release(&mut self, id: TaskId, out: &mut Output) -> Result<Status, Refusal> {
        self.unfinished_status(id)?;
        if !self.task(id).hold {
            return Err(Refusal::new(Code::WrongState, format!("task {id} is not held")));
        }
        self.emit(out, Fact::Released { task: id });
        if matches!(self.task(id).phase, Phase::Ready { .. }) {
            self.schedule(id, out);
        }
        Ok(self.task(id).status())
    }

    pub(crate) fn reprioritize(
        &mut self,
        id: TaskId,
        priority: Priority,
        out: &mut Output,
    ) -> Result<Status, Refusal> {
        let status = self.unfinished_status(id)?;
        if self.task(id).priority != priority {
            self.emit(out, Fact::Reprioritized { task: id, priority });
        }
        Ok(status)
    }

    pub(crate) fn pause(&mut self, scope: Scope, create: bool, out: &mut Output) -> Result<Reply, Refusal> {
        if let Scope::Workflow(id) = &scope
            && self.workflows.get(id).is_none_or(|workflow| workflow.status != WorkflowStatus::Running)
        {
            let refusal = Refusal::new(Code::WrongState, "this workflow has ended").value(id.to_string());
            return Err(refusal.hint("nothing of it starts any more, unless it is resumed"));
        }
        if let Scope::Session(id) = &scope
            && self.session(*id).is_none_or(|session| session.status == SessionStatus::Closed)
        {
            return Err(self.no_such_session(*id));
        }
        if let Scope::Resource(name) = &scope {
            self.check_known(name, create)?;
        }
        if !self.meta.paused.contains(&scope) {
            self.emit(out, Fact::Paused { scope });
        }
        Ok(Reply::Done)
    }

    pub(crate) fn resume(&mut self, scope: Scope, out: &mut Output) -> Result<Reply, Refusal> {
        if !self.meta.paused.contains(&scope) {
            let paused: Vec<String> = self.meta.paused.iter().map(Self::describe_scope).collect();
            let hint = match paused[..] {
                [] => "nothing is paused".to_owned(),
                _ => format!("paused: {}", paused.join(", ")),
            };
            let refusal = Refusal::new(Code::WrongState, "this is not paused");
            return Err(refusal.value(Self::describe_scope(&scope)).hint(hint));
        }
        self.emit(out, Fact::Resumed { scope });
        Ok(Reply::Done)
    }

    /// Runs ended tasks again, and those that were skipped because of them.
    pub(crate) fn revive(&mut self, wanted: &[TaskRange], revival: Revival, out: &mut Output) -> Reply {
        let Revival { tasks, skipped, workflows, ended } = revival;
        let mut replies = Vec::new();
        let mut records: Vec<TaskRecord> = Vec::new();
        let mut chosen = BTreeSet::new();
        for record in self.only_wanted(wanted, tasks, out) {
            let (range, may) = self.may_revive(&record);
            let may = may.and_then(|status| match chosen.insert(range.first) {
                true => Ok(status),
                false => Err(has_not_ended(range.first, status)),
            });
            if may.is_ok() {
                records.push(self.record(range.first).unwrap_or(record));
            }
            replies.push((range, may));
        }
        let mut roots: Vec<TaskRange> = records.iter().map(TaskRecord::range).collect();
        let mut whole: BTreeSet<TaskId> = records.iter().map(|record| record.id).collect();
        for record in skipped {
            let stored_root = record.skip_root();
            let record = self.record(record.id).unwrap_or(record);
            let is_revived = |root: TaskId| roots.iter().any(|range| range.contains(root));
            let takes_work = record.demand.session.is_none_or(|id| self.check_session(id).is_ok());
            let follows = stored_root.is_some_and(is_revived) && record.skip_root() == stored_root;
            // What failed of a task that is wanted as a whole goes with it; what was ruled out stays so.
            let is_part = record.role.group.is_some_and(|group| whole.contains(&group))
                && matches!(record.phase, Phase::Ended(_));
            if is_part {
                whole.insert(record.id);
            }
            let goes_too = follows
                || is_part
                || ends_with_one_of(&record, &records)
                || one_begins_with(&record, &records);
            if goes_too && takes_work && self.may_revive(&record).1.is_ok() && chosen.insert(record.id) {
                roots.push(record.range());
                records.push(record);
            }
        }
        let again = Again { workflows: &workflows, ended: &ended, change: &|_| (), replaced: &[] };
        self.begin_again(records, &again, out);
        Reply::Tasks(replies)
    }

    /// Begins new runs of ended tasks, each of which is there with all that is to run again before it.
    pub(crate) fn begin_again(&mut self, records: Vec<TaskRecord>, again: &Again<'_>, out: &mut Output) {
        let mut revived = Vec::with_capacity(records.len());
        for mut record in self.cut_at_edges(records, out) {
            (again.change)(&mut record);
            revived.push(record.id);
            self.emit_revival(record, again.workflows, out);
        }
        for record in again.replaced {
            self.replace(record, out);
        }
        for id in &revived {
            self.link(*id);
        }
        for id in revived {
            self.begin(id, again.ended, out);
        }
    }

    /// Records that are about to be revived, cut so that each task that one of them depends on stands for
    /// itself alone.
    fn cut_at_edges(&mut self, records: Vec<TaskRecord>, out: &mut Output) -> Vec<TaskRecord> {
        let ranges: Vec<TaskRange> = records.iter().map(TaskRecord::range).collect();
        let targets: Vec<TaskId> = records.iter().flat_map(|r| r.edges.iter().map(|e| e.task)).collect();
        let spans: BTreeMap<TaskId, &TaskRecord> =
            records.iter().filter(|record| record.more > 0).map(|record| (record.id, record)).collect();
        for target in targets {
            let span = spans.range(..=target).next_back().filter(|(_, r)| r.range().contains(target));
            if let Some((_, record)) = span.filter(|_| self.standing_for(target).is_none()) {
                self.recall((*record).clone());
            }
            self.single_out(target, out);
        }
        let mut cut = Vec::with_capacity(records.len());
        for (record, range) in records.into_iter().zip(ranges) {
            match self.records_in(range).as_slice() {
                [] => cut.push(record),
                parts => cut.extend(parts.iter().filter_map(|id| self.record(*id))),
            }
        }
        cut
    }

    /// The records of the wanted tasks alone: one that stands for others as well is cut.
    fn only_wanted(
        &mut self,
        wanted: &[TaskRange],
        tasks: Vec<TaskRecord>,
        out: &mut Output,
    ) -> Vec<TaskRecord> {
        let mut records = Vec::with_capacity(tasks.len());
        for record in tasks {
            let parts: Vec<TaskRange> = wanted.iter().filter_map(|w| w.overlap(record.range())).collect();
            if record.more == 0 || parts.contains(&record.range()) {
                records.push(record);
                continue;
            }
            if self.may_revive(&record).1.is_err() {
                let part =
                    |part: TaskRange| TaskRecord { id: part.first, more: part.len() - 1, ..record.clone() };
                records.extend(parts.into_iter().map(part));
                continue;
            }
            if self.standing_for(record.id).is_none() {
                self.recall(record);
            }
            for part in parts {
                let ids = self.cut_out(part, out);
                records.extend(ids.into_iter().filter_map(|id| self.record(id)));
            }
        }
        records
    }

    fn may_revive(&self, record: &TaskRecord) -> (TaskRange, Result<Status, Refusal>) {
        let status = self.status(record.id).unwrap_or_else(|| record.status());
        let may = match status {
            Status::Failed | Status::Skipped | Status::Cancelled if record.claimant.is_some() => {
                let refusal = Refusal::new(Code::WrongState, "an ad-hoc claim has ended with its client");
                Err(refusal.value(format!("task {}", record.id)))
            }
            Status::Failed | Status::Skipped | Status::Cancelled if record.waits_to_be_called() => {
                Err(runs_when_needed(record.id))
            }
            Status::Failed | Status::Skipped | Status::Cancelled => {
                record.demand.session.map_or(Ok(()), |id| self.check_session(id)).map(|()| Status::Pending)
            }
            Status::Completed => {
                let refusal =
                    Refusal::new(Code::WrongState, "only failed, skipped and cancelled tasks run again");
                Err(refusal.value(format!("task {} is completed", record.id)))
            }
            Status::Pending | Status::Running | Status::Retrying => Err(has_not_ended(record.id, status)),
        };
        (record.range(), may)
    }

    fn emit_revival(&mut self, record: TaskRecord, workflows: &[WorkflowRecord], out: &mut Output) {
        if let Some(id) = record.demand.workflow {
            let stored = workflows.iter().find(|w| w.id == id);
            let reopened = match self.workflows.get(&id) {
                Some(live) if live.stop.is_none() && live.unfinished > 0 && !live.cancelling => None,
                Some(live) => Some(live.clone()),
                None => stored.cloned(),
            };
            if let Some(workflow) = reopened {
                // It has all of its time again, as its tasks have.
                let ran = if workflow.status == WorkflowStatus::Running {
                    self.now.since(workflow.run_at)
                } else {
                    Span::default()
                };
                let ran = Span(workflow.ran.0.saturating_add(ran.0));
                let (stop, cancelling, run_at) = (None, false, self.now);
                let record = Box::new(WorkflowRecord { stop, cancelling, run_at, ran, ..workflow });
                self.emit(out, Fact::WorkflowReopened { record });
            }
        }
        let was = record.status();
        let record = Box::new(TaskRecord {
            hold: false,
            run_at: self.now,
            first_started_at: None,
            tries: 0,
            losses: 0,
            phase: Phase::Waiting,
            progress: None,
            ..record
        });
        self.emit(out, Fact::Revived { record, was });
    }
}
