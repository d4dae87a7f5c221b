//! Schedules: work that is added again and again.
//!
//! The calendar is the shell's: it says that a tick has come and what the next one is, and brings what is to be
//! added. Here each tick happens once: it is refused when it is not the one that is waited for, and what it adds
//! is made durable with it, in one batch.
//!
//! ```text
//! tick ─► the run before has ended? ── yes ─► its run is added
//!                    └── no: skip ─► nothing · queue ─► waits for that · cancel ─► that is cancelled, its run is added
//! ```
//! Invariant: a tick is queued only while a run is under way, or until the shell has brought its work.

use orchd_model::{Code, Overlap, Refusal, ScheduleId, TaskRange, Time, limits};

use crate::command::{Effect, Firing, NewSchedule, Reply, Submission, Trigger};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::record::{Run, ScheduleRecord, TickOutcome};

/// A refusal as an event and a table tell it.
fn in_a_line(refusal: &Refusal) -> String {
    let text = refusal.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

fn unknown(schedule: ScheduleId) -> Refusal {
    Refusal::new(Code::NotFound, "no such schedule").value(schedule.to_string())
}

impl Core {
    /// Every schedule, by id.
    #[must_use]
    pub fn schedules(&self) -> Vec<ScheduleRecord> {
        self.schedules.values().cloned().collect()
    }

    /// A schedule as it would be stored now.
    #[must_use]
    pub fn schedule_record(&self, id: ScheduleId) -> Option<&ScheduleRecord> {
        self.schedules.get(&id)
    }

    fn known_schedule(&self, id: ScheduleId) -> Result<&ScheduleRecord, Refusal> {
        self.schedules.get(&id).ok_or_else(|| unknown(id))
    }

    pub(crate) fn add_schedule(&mut self, new: NewSchedule, out: &mut Output) -> Result<Reply, Refusal> {
        let NewSchedule { spec, owner, created_at, next } = new;
        if let Some(other) = self.schedules.values().find(|other| *other.name == *spec.name) {
            let refusal = Refusal::new(Code::Conflict, "there is a schedule of this name").value(&spec.name);
            return Err(
                refusal.hint(format!("remove it first, or choose another name; it has the id {}", other.id))
            );
        }
        if self.schedules.len() >= limits::SCHEDULES {
            let refusal = Refusal::new(Code::Busy, format!("at most {} schedules", limits::SCHEDULES));
            return Err(refusal.value(&spec.name).hint("remove some"));
        }
        let id = self.meta.next_schedule;
        let record = Box::new(ScheduleRecord {
            id,
            name: spec.name.as_str().into(),
            owner,
            overlap: spec.overlap,
            created_at,
            next: Some(next),
            paused: false,
            last: None,
            run: None,
            queued: std::collections::VecDeque::new(),
            started: 0,
            skipped: 0,
            missed: 0,
        });
        self.emit(out, Fact::ScheduleAdded { record, spec: Some(spec) });
        Ok(Reply::Scheduled(id))
    }

    pub(crate) fn remove_schedule(&mut self, id: ScheduleId, out: &mut Output) -> Result<Reply, Refusal> {
        self.known_schedule(id)?;
        self.emit(out, Fact::ScheduleRemoved { schedule: id });
        Ok(Reply::Done)
    }

    /// Pauses a schedule, or lets it go on with this next tick.
    pub(crate) fn pause_schedule(
        &mut self,
        id: ScheduleId,
        paused: bool,
        next: Option<Time>,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        let schedule = self.known_schedule(id)?;
        if schedule.paused == paused {
            let what = if paused { "this schedule is paused already" } else { "this schedule is not paused" };
            return Err(Refusal::new(Code::WrongState, what).value(schedule.name.clone()));
        }
        let fact = if paused {
            Fact::SchedulePaused { schedule: id }
        } else {
            Fact::ScheduleResumed { schedule: id, next }
        };
        self.emit(out, fact);
        Ok(Reply::Done)
    }

    /// A tick has come.
    pub(crate) fn fire_schedule(&mut self, firing: Firing, out: &mut Output) -> Result<Reply, Refusal> {
        let Firing { schedule: id, trigger, at, next, missed, work } = firing;
        let schedule = self.known_schedule(id)?;
        let is_under_way = schedule.run.is_some_and(|run| self.is_under_way(run));
        let not_now = |what: &str| Refusal::new(Code::WrongState, what).value(at.to_string());
        match trigger {
            Trigger::Calendar { expected } if schedule.paused || schedule.next != Some(expected) => {
                return Err(not_now("this is not the tick that is waited for"));
            }
            Trigger::Queue if schedule.queued.front() != Some(&at) || is_under_way => {
                return Err(not_now("this tick does not wait, or not yet to run"));
            }
            Trigger::Calendar { .. } | Trigger::Queue | Trigger::Operator => {}
        }
        let outcome = match (work, schedule.overlap) {
            (None, _) => TickOutcome::Missed,
            (Some(_), Overlap::Skip) if is_under_way => TickOutcome::Skipped,
            (Some(_), Overlap::Queue) if is_under_way => {
                if schedule.queued.len() < limits::QUEUED_TICKS {
                    TickOutcome::Queued
                } else {
                    TickOutcome::Skipped
                }
            }
            (Some(work), overlap) => {
                if overlap == Overlap::Cancel
                    && let Some(run) = schedule.run.filter(|_| is_under_way)
                {
                    self.cancel_run(run, out);
                }
                work.and_then(|submission| self.start_run(submission, out))
                    .map_or_else(|refusal| TickOutcome::Refused(in_a_line(&refusal)), TickOutcome::Started)
            }
        };
        let told = outcome.clone();
        self.emit(out, Fact::ScheduleTicked { schedule: id, trigger, at, next, missed, outcome });
        Ok(Reply::Ticked(told))
    }

    fn start_run(&mut self, submission: Submission, out: &mut Output) -> Result<Run, Refusal> {
        let count = submission.tasks.first().map_or(1, crate::command::NewTask::count);
        let is_workflow = submission.workflow.is_some();
        let Reply::Submitted { tasks, workflow } = self.submit(submission, out)? else {
            unreachable!("a submission is answered with what was submitted")
        };
        match (workflow, tasks.into_iter().next()) {
            (Some(workflow), _) => Ok(Run::Workflow(workflow)),
            (None, _) if is_workflow => {
                Err(Refusal::new(Code::Conflict, "every task of this workflow was added before"))
            }
            (None, Some(first)) => {
                Ok(Run::Tasks { first: first.map_err(|refusal| *refusal)?, more: count - 1 })
            }
            (None, None) => Err(Refusal::new(Code::Malformed, "there is nothing to add")),
        }
    }

    fn cancel_run(&mut self, run: Run, out: &mut Output) {
        let tasks = match run {
            Run::Tasks { first, more } => TaskRange::from_first(first, more),
            Run::Workflow(id) => {
                let Some(workflow) = self.workflows.get(&id) else { return };
                TaskRange::from_first(workflow.first_task, workflow.task_count.saturating_sub(1))
            }
        };
        // Those that have ended are left alone, and nobody asks about them.
        drop(self.each(&[tasks], out, Self::cancel));
    }

    /// Whether something of a run has not ended.
    fn is_under_way(&self, run: Run) -> bool {
        match run {
            Run::Workflow(id) => self.workflows.get(&id).is_some_and(|workflow| workflow.unfinished > 0),
            Run::Tasks { first, more } => {
                let records = self.records_in(TaskRange::from_first(first, more));
                records.into_iter().any(|id| !self.task(id).status().is_terminal())
            }
        }
    }

    /// Asks the shell for the work of ticks whose turn has come. Costs a look at the schedules where some wait.
    pub(crate) fn call_queued(&mut self, out: &mut Output) {
        for (id, is_called) in std::mem::take(&mut self.queued_schedules) {
            let run = self.schedules.get(&id).and_then(|schedule| schedule.run);
            let may_go_on = !run.is_some_and(|run| self.is_under_way(run));
            if may_go_on && !is_called {
                out.effects.push(Effect::Call { schedule: id });
            }
            self.queued_schedules.insert(id, may_go_on);
        }
    }

    pub(crate) fn insert_schedule(&mut self, record: ScheduleRecord) {
        self.meta.next_schedule = self.meta.next_schedule.max(record.id.next());
        self.note_queue(record.id, !record.queued.is_empty());
        self.schedules.insert(record.id, record);
    }

    /// Keeps in mind whether ticks of a schedule wait; whoever does is called anew.
    fn note_queue(&mut self, id: ScheduleId, waits: bool) {
        if waits {
            self.queued_schedules.insert(id, false);
        } else {
            self.queued_schedules.remove(&id);
        }
    }

    pub(crate) fn apply_schedule(&mut self, fact: &Fact) {
        match fact {
            Fact::ScheduleAdded { record, .. } => self.insert_schedule(record.as_ref().clone()),
            Fact::ScheduleRemoved { schedule } => {
                self.schedules.remove(schedule);
                self.queued_schedules.remove(schedule);
            }
            Fact::SchedulePaused { schedule } => {
                if let Some(schedule) = self.schedules.get_mut(schedule) {
                    schedule.paused = true;
                }
            }
            Fact::ScheduleResumed { schedule, next } => {
                if let Some(schedule) = self.schedules.get_mut(schedule) {
                    (schedule.paused, schedule.next) = (false, *next);
                }
            }
            Fact::ScheduleTicked { schedule: id, trigger, at, next, missed, outcome } => {
                let Some(schedule) = self.schedules.get_mut(id) else { return };
                match trigger {
                    Trigger::Calendar { .. } => schedule.next = *next,
                    Trigger::Queue => drop(schedule.queued.pop_front()),
                    Trigger::Operator => {}
                }
                schedule.missed += missed;
                match outcome {
                    TickOutcome::Started(run) => {
                        schedule.started += 1;
                        schedule.run = Some(*run);
                    }
                    TickOutcome::Queued => schedule.queued.push_back(*at),
                    TickOutcome::Skipped | TickOutcome::Refused(_) => schedule.skipped += 1,
                    TickOutcome::Missed => {}
                }
                schedule.last = Some((*at, outcome.clone()));
                let waits = !schedule.queued.is_empty();
                self.note_queue(*id, waits);
            }
            _ => {}
        }
    }

    pub(crate) fn check_schedules(&self) -> Result<(), String> {
        for schedule in self.schedules.values() {
            let waits = self.queued_schedules.contains_key(&schedule.id);
            if waits == schedule.queued.is_empty() {
                return Err(format!("schedule {}: whether ticks wait is not known", schedule.id));
            }
            if !schedule.queued.iter().is_sorted() {
                return Err(format!("schedule {}: its ticks wait out of order", schedule.id));
            }
        }
        Ok(())
    }
}
