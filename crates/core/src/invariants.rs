//! What is always true of the scheduler between two commands, over the whole state. Run after every step
//! in tests and simulation.

use orchd_model::{Status, TaskId};
use std::collections::{BTreeMap, BTreeSet};

use crate::claimant::loosened;
use crate::core::Core;
use crate::record::Phase;
use crate::resource::Need;

impl Core {
    /// Checks every invariant.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn invariants(&self) -> Result<(), String> {
        self.ledger.check()?;
        self.queues.check(self.now)?;
        self.check_counters()?;
        self.check_claims()?;
        self.check_placements(&self.queues)?;
        self.check_tasks()?;
        self.check_spans()?;
        self.check_claimants()?;
        self.check_progress()?;
        self.check_sessions()?;
        self.check_turns()?;
        self.check_schedules()?;
        self.check_workflows()
    }

    fn sorted(&self) -> BTreeMap<TaskId, &crate::task::Task> {
        self.tasks.iter().map(|(id, task)| (*id, &**task)).collect()
    }

    fn check_counters(&self) -> Result<(), String> {
        let counters = self.counters();
        for status in [Status::Pending, Status::Running, Status::Retrying] {
            let counted = counters.by_status[status.index()];
            let of_status = self.tasks.values().filter(|task| task.status() == status);
            let found: u64 = of_status.map(|task| task.count()).sum();
            if counted != found {
                return Err(format!("{counted} tasks are counted as {status}, {found} are"));
            }
        }
        let unfinished: u64 = counters.unfinished_by_priority.iter().sum();
        if unfinished != self.unfinished() as u64 {
            return Err(format!("{unfinished} unfinished by class, {} by status", self.unfinished()));
        }
        let total: u64 = counters.by_status.iter().sum();
        if total + 1 != self.meta.next_task.0 {
            return Err(format!("{total} tasks counted, the next id is {}", self.meta.next_task));
        }
        Ok(())
    }

    /// Running tasks hold all they claim, others nothing; workers hold exactly the running attempts.
    fn check_claims(&self) -> Result<(), String> {
        let mut running = BTreeSet::new();
        for (id, task) in self.sorted() {
            let Phase::Running { token, worker, .. } = task.phase else { continue };
            running.insert(id);
            if self.tokens.get(&token) != Some(&id) {
                return Err(format!("task {id} runs but its token {token} is unknown"));
            }
            if !self.workers.get(worker).is_some_and(|w| w.tasks.contains(&id)) {
                return Err(format!("task {id} runs on worker {worker}, which does not hold it"));
            }
            for need in self.needs_of(id) {
                let need = loosened(*need, task, &self.ledger);
                let holds = |need: Need| {
                    let hold = self.ledger.get(need.resource).holders.get(&id);
                    hold.is_some_and(|hold| hold.mode == need.mode)
                };
                if !need.is_none_or(holds) {
                    return Err(format!("task {id} runs without one of its claims"));
                }
            }
        }
        for (_, resource) in self.ledger.all() {
            if let Some(id) = resource.holders.keys().find(|id| !running.contains(id)) {
                return Err(format!("{:?} is held by {id}, which does not run", resource.key));
            }
        }
        for id in self.ledger.reserving_tasks() {
            if self.tasks.get(&id).is_none_or(|task| task.queued_since().is_none() && !task.is_awaited()) {
                return Err(format!("task {id} has a reservation but is not ready"));
            }
        }
        let held: usize = self.workers.all().map(|(_, worker)| worker.tasks.len()).sum();
        if held != running.len() || self.tokens.len() != running.len() {
            return Err(format!("{} run, {held} held, {} tokens", running.len(), self.tokens.len()));
        }
        Ok(())
    }

    fn check_tasks(&self) -> Result<(), String> {
        for (id, task) in self.sorted() {
            let queued = self.queues.get(task.queue).ready[task.base_class().index()]
                .iter()
                .any(|(_, other)| *other == id);
            if queued != task.queued_since().is_some() {
                return Err(format!("task {id} is {:?}, queued: {queued}", task.phase));
            }
            if matches!(task.phase, Phase::Waiting) {
                let unmet = task
                    .edges
                    .iter()
                    .filter(|edge| {
                        self.tasks.get(&edge.task).is_some_and(|d| !d.has_ended() && d.run_at <= task.run_at)
                    })
                    .count();
                let waits = unmet > 0 || self.waits_for_others(id);
                if unmet != task.unmet as usize || !waits {
                    return Err(format!("task {id} waits for {unmet}, counts {}", task.unmet));
                }
            }
            let lent = task.dependents.as_ref().and_then(|dependents| {
                dependents
                    .edges
                    .iter()
                    .filter_map(|dependent| self.tasks.get(&dependent.task))
                    .filter(|d| !d.has_ended() && d.run_at >= task.run_at)
                    .map(|d| d.base_class())
                    .min()
            });
            if !task.has_ended() && lent.filter(|class| *class < task.priority) != task.inherited {
                return Err(format!("task {id} inherits {:?}, its dependents lend {lent:?}", task.inherited));
            }
        }
        Ok(())
    }

    /// Records that stand for several tasks are known as such, do not overlap, and have done nothing yet.
    fn check_spans(&self) -> Result<(), String> {
        let spans: BTreeMap<TaskId, TaskId> = self
            .sorted()
            .into_iter()
            .filter(|(_, task)| task.more() > 0)
            .map(|(id, task)| (id, TaskId(id.0 + task.more())))
            .collect();
        if spans != self.spans {
            return Err(format!("spans {spans:?}, known {:?}", self.spans));
        }
        for (first, last) in &spans {
            let task = self.task(*first);
            let alone = (first.0 + 1..=last.0).map(TaskId).find(|id| self.tasks.contains_key(id));
            if let Some(id) = alone {
                return Err(format!("task {id} has a record, and {first} stands for it"));
            }
            if task.dependents.is_some() || task.attempts.0 > 0 {
                return Err(format!("{first}-{last} has started or is depended on, but is not alone"));
            }
        }
        Ok(())
    }

    fn check_workflows(&self) -> Result<(), String> {
        for (id, record) in &self.workflows {
            let open =
                record.task_ids().filter_map(|id| self.tasks.get(&id)).filter(|task| !task.has_ended());
            let (mut live, mut finally, mut compensations) = (0, 0, 0);
            for task in open {
                live += task.count();
                finally += if task.role().finally { task.count() } else { 0 };
                compensations += u64::from(task.role().compensation.is_some());
            }
            let found = (live, finally, compensations);
            let counted = (record.unfinished, record.finally, record.compensations);
            if found != counted {
                return Err(format!("workflow {id} counts {counted:?} unfinished, {:?} are", found));
            }
        }
        Ok(())
    }
}
