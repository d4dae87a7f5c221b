//! Attempts: how they end, and what becomes of their tasks.

use orchd_model::{
    Amount, AttemptReport, Code, ErrorType, Mode, Outcome, Refusal, Span, Status, TaskId, TaskResult, Time,
    WorkerId, limits,
};
use std::sync::Arc;

use crate::command::{Effect, Reply};
use crate::core::{Core, Output};
use crate::event::{AttemptEnd, Fact};
use crate::record::{Phase, Snapshot, Stop, WorkflowStop};
use crate::resource::Resource;
use crate::timer::Timer;

impl Snapshot {
    /// Whoever goes on by hand with what was killed gives what ran all of its losses again. They are on disk with the next
    /// change of a task, and that is the loss that follows.
    pub fn forget_losses(&mut self) {
        for task in self.tasks.iter_mut().filter(|task| matches!(task.phase, Phase::Running { .. })) {
            task.losses = 0;
        }
    }
}

impl Core {
    /// A worker says that an attempt has ended and its processes are gone.
    pub(crate) fn report(
        &mut self,
        worker: Option<WorkerId>,
        report: AttemptReport,
        out: &mut Output,
    ) -> Result<Reply, Refusal> {
        if let Some(worker) = worker {
            self.heartbeat(worker)?;
        }
        let stale = || {
            Refusal::new(Code::StaleToken, "this attempt is over, or never was")
                .value(report.token.to_string())
        };
        if let Some(placement) = self.placement(report.token)
            && worker.is_none_or(|worker| worker == placement.worker)
        {
            // The worker's word that it has begun was lost, or the attempt could not be handed over.
            let began = Time(self.now.0.saturating_sub(report.execution_time.0));
            self.begin_placed(placement, began, out);
        }
        let id = *self.tokens.get(&report.token).ok_or_else(stale)?;
        let Phase::Running { worker: holder, .. } = self.task(id).phase else { return Err(stale()) };
        if worker.is_some_and(|worker| worker != holder) {
            return Err(stale());
        }
        self.end_attempt(id, report.outcome.clone(), Some(report), out);
        Ok(Reply::Done)
    }

    /// Its worker is dead, and so are its processes.
    pub(crate) fn attempt_lost(&mut self, id: TaskId, out: &mut Output) {
        self.end_attempt(id, Outcome::WorkerLost, None, out);
    }

    /// Its worker never heard of it: it goes back without using up a try.
    pub(crate) fn attempt_never_began(&mut self, id: TaskId, out: &mut Output) {
        self.end_attempt(id, Outcome::Snoozed { delay: Span::ZERO }, None, out);
    }

    pub(crate) fn end_attempt(
        &mut self,
        id: TaskId,
        outcome: Outcome,
        report: Option<AttemptReport>,
        out: &mut Output,
    ) {
        let task = self.task(id);
        let Phase::Running { token, worker, started_at, stop, variant } = task.phase else { return };
        let last_word = report.as_ref().and_then(|report| report.progress.clone());
        self.last_progress(id, last_word, out);
        let task = self.task(id);
        let outcome = match (effective(outcome, stop), self.meta.told_to_wait.get(&token)) {
            // It failed because it was told to come back later, and has said so. What ran out of memory did not.
            (Outcome::Failed { error_type, .. }, Some(until))
                if error_type != ErrorType::OutOfMemory && task.claimant().is_none() =>
            {
                Outcome::Snoozed { delay: until.since(self.now) }
            }
            (outcome, _) => outcome,
        };
        let (execution_time, usage, data) = match report {
            Some(report) => (report.execution_time, report.usage, report.data),
            None => (self.now.since(started_at), None, None),
        };
        let number = task.attempts;
        let end = AttemptEnd { number, token, worker, started_at, outcome, execution_time, usage, variant };
        let attempt = Box::new(end);
        let outcome = attempt.outcome.clone();
        match self.next_start(id, &outcome) {
            Some(until) if matches!(outcome, Outcome::Snoozed { .. }) => {
                self.emit(out, Fact::Returned { task: id, attempt, until });
                self.wait_until(id, until, out);
            }
            Some(until) => {
                self.emit(out, Fact::Retried { task: id, attempt, until });
                if let Some(memory) = self.more_memory(id, variant, &outcome) {
                    self.emit(out, Fact::Enlarged { task: id, variant, memory });
                }
                self.wait_until(id, until, out);
            }
            None => {
                let status = match outcome {
                    Outcome::Succeeded => Status::Completed,
                    Outcome::Cancelled => Status::Cancelled,
                    _ => Status::Failed,
                };
                let mut result = result_of(&attempt);
                result.data = data;
                let (attempt, result) = (Some(attempt), Some(Box::new(result)));
                self.emit(
                    out,
                    match status {
                        Status::Completed => Fact::Completed { task: id, attempt, result },
                        Status::Cancelled => Fact::Cancelled { task: id, attempt, result },
                        _ => Fact::Failed { task: id, attempt, result },
                    },
                );
                self.after_end(id);
            }
        }
    }

    /// What a task shall claim of memory after an attempt that had too little of it; none: as much as before.
    fn more_memory(&self, id: TaskId, variant: Option<u32>, outcome: &Outcome) -> Option<Amount> {
        if outcome.error_type() != Some(ErrorType::OutOfMemory) {
            return None;
        }
        let task = self.task(id);
        let queue = self.queues.get(task.queue);
        // An exclusive claim has had all there is.
        let claims = queue.demand.claims_in(variant);
        let claim = claims.iter().find(|claim| claim.resource.is_memory())?;
        let resource = queue.needs_in(variant).iter().map(|need| self.ledger.get(need.resource));
        let mut named = resource.filter(|resource| resource.is_named(&claim.resource));
        let capacity = named.next().and_then(Resource::capacity);
        task.retry.more_memory(claim.amount, capacity).filter(|_| claim.mode != Mode::Exclusive)
    }

    /// The task waits for its next attempt and stands in no queue.
    pub(crate) fn apply_enlarged(&mut self, id: TaskId, variant: Option<u32>, memory: Amount) {
        let former = self.task(id).queue;
        let mut demand = (*self.queues.get(former).demand).clone();
        demand.enlarge(variant, memory);
        let timeout = self.task(id).timeout();
        let queue = self.queues.join(&Arc::new(demand), timeout, &mut self.ledger);
        self.task_mut(id).queue = queue;
        self.leave_queue(former);
    }

    /// What follows when a task goes back to wait for its next attempt: none if its workflow has stopped.
    fn wait_until(&mut self, id: TaskId, until: Time, out: &mut Output) {
        match self.stop_of_workflow(id) {
            Some(stop) => self.end_by_stop(id, stop, out),
            None if until <= self.now => self.emit(out, Fact::Readied { task: id }),
            None => {}
        }
    }

    fn stop_of_workflow(&self, id: TaskId) -> Option<WorkflowStop> {
        let workflow = self.queues.get(self.task(id).queue).demand.workflow?;
        let stop = self.workflows.get(&workflow)?.stop;
        stop.filter(|_| !self.is_finally(id))
    }

    /// When the task may start again after this outcome, if it may.
    fn next_start(&self, id: TaskId, outcome: &Outcome) -> Option<Time> {
        let task = self.task(id);
        // An ad-hoc claim ends with its client.
        if task.attempts.0 >= limits::ATTEMPTS || task.claimant().is_some() {
            return None;
        }
        match outcome {
            Outcome::Succeeded | Outcome::Cancelled | Outcome::DeadlineMet => None,
            Outcome::Snoozed { delay } => Some(self.now + *delay),
            Outcome::WorkerLost => (task.losses < self.config.max_worker_losses).then_some(self.now),
            Outcome::Failed { .. } | Outcome::TimedOut => {
                let retry = task.tries + 1;
                let again = retry <= task.retry.max_retries
                    && task.retry.retries(outcome)
                    && self.stop_of_workflow(id).is_none();
                again.then(|| self.now + task.retry.delay_before(retry, self.uniform(id, task.attempts.0)))
            }
        }
    }

    /// A number from 0 to 1 that depends on nothing but the seed and the attempt (splitmix64, Steele et
    /// al., OOPSLA 2014), so that a replay draws the same delays.
    fn uniform(&self, id: TaskId, attempt: u32) -> f64 {
        let mut z = self.config.seed ^ id.0.rotate_left(32) ^ u64::from(attempt);
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Ends a running attempt from outside; the task goes on when its worker reports the end.
    pub(crate) fn stop_attempt(&mut self, id: TaskId, cause: Stop, out: &mut Output) {
        let Phase::Running { token, worker, stop, .. } = self.task(id).phase else { return };
        // A cancel outranks a deadline, and that a timeout, after which the task might be tried again.
        if stop.is_none_or(|under_way| cause.outranks(under_way)) {
            self.emit(out, Fact::Stopping { task: id, stop: cause });
            out.effects.push(Effect::Stop { worker, token, stop: cause });
        }
    }

    /// What a timer that is due brings about.
    pub(crate) fn fire(&mut self, timer: Timer, out: &mut Output) {
        match timer {
            Timer::Delay(id) => self.schedule(id, out),
            Timer::Timeout(id) => self.stop_attempt(id, Stop::Timeout, out),
            Timer::Deadline(id) => self.meet_deadline(id, out),
            Timer::Aging(queue) => {
                self.queues.age(queue, self.now, &mut self.ledger);
                self.watch_aging(queue);
            }
            Timer::Reservation(queue) => self.queues.look_at(queue, &mut self.ledger),
            Timer::Resource(resource) => self.time_has_passed_for(resource),
            Timer::Placed(_) => self.placements_doubted = true,
            Timer::Lease(worker) => self.check_lease(worker, out),
            Timer::Unserved => self.unreserve_unserved(),
            Timer::Workflow(workflow) => {
                // What runs at its end is not bound by it.
                if self.workflows.get(&workflow).is_some_and(|record| record.others() > 0) {
                    self.stop_workflow(workflow, WorkflowStop::Timeout, out);
                }
            }
            Timer::Progress(id) => self.tell_progress(id, out),
        }
    }

    pub(crate) fn meet_deadline(&mut self, id: TaskId, out: &mut Output) {
        if let Some(token) = self.placed_token(id) {
            self.end_placed(token, Stop::Deadline, out);
            return;
        }
        let task = self.task(id);
        if matches!(task.phase, Phase::Running { .. }) {
            self.stop_attempt(id, Stop::Deadline, out);
            return;
        }
        let result = Some(Box::new(TaskResult {
            error_message: Some("met its deadline".to_owned()),
            error_type: Some(ErrorType::Deadline),
            attempts: task.attempts.0,
            ..TaskResult::default()
        }));
        self.emit(out, Fact::Failed { task: id, attempt: None, result });
        self.after_end(id);
    }
}

/// An attempt that was being ended from outside ended for that reason, unless it was faster and succeeded;
/// a cancelled task has been promised to be cancelled.
fn effective(outcome: Outcome, stop: Option<Stop>) -> Outcome {
    match (stop, outcome) {
        (Some(Stop::Cancel), _) => Outcome::Cancelled,
        (_, Outcome::Succeeded) => Outcome::Succeeded,
        (Some(Stop::Timeout), Outcome::Failed { .. } | Outcome::Cancelled) => Outcome::TimedOut,
        (Some(Stop::Deadline), _) => Outcome::DeadlineMet,
        (_, outcome) => outcome,
    }
}

/// What is kept of a task's last attempt.
fn result_of(attempt: &AttemptEnd) -> TaskResult {
    TaskResult {
        success: attempt.outcome == Outcome::Succeeded,
        data: None,
        error_message: attempt.outcome.message(),
        error_type: attempt.outcome.error_type(),
        exit_code: attempt.outcome.exit_code(),
        signal: attempt.outcome.signal(),
        execution_time: attempt.execution_time,
        attempts: attempt.number.0,
        usage: attempt.usage,
        variant: attempt.variant,
        metadata: serde_json::Map::new(),
    }
}
