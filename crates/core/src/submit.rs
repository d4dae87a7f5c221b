//! Adding tasks and workflows: what is refused, and how an accepted task begins.

use orchd_model::{
    Amount, Claim, Code, Mode, Refusal, ResourceKind, Status, TaskId, WorkflowId, WorkflowStatus, limits,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::command::{EdgeTarget, EndedTask, NewTask, NewWorkflow, Reply, Submission};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::ledger::ResourceKey;
use crate::record::{Demand, Edge, Key, Phase, Runner, TaskRecord, WorkflowRecord};
use orchd_model::{AttemptNumber, NotBefore};

/// What has been found out about one task of a submission.
enum Verdict {
    /// It is added, under this id.
    New(TaskId),
    /// The task with the same key and spec.
    Existing(TaskId),
    Refused(Refusal),
}

impl Core {
    pub(crate) fn submit(&mut self, submission: Submission, out: &mut Output) -> Result<Reply, Refusal> {
        let Submission { tasks, atomic, workflow, owner, ended } = submission;
        let atomic = atomic || workflow.is_some();
        if self.unfinished() + tasks.len() > limits::BACKLOG {
            return Err(Refusal::new(Code::Busy, format!("at most {} unfinished tasks", limits::BACKLOG))
                .value(tasks.len().to_string())
                .hint("wait for some to end"));
        }
        let (verdicts, order) = self.examine(&tasks, &ended);
        if atomic && let Some(index) = verdicts.iter().position(|v| matches!(v, Verdict::Refused(_))) {
            let Verdict::Refused(refusal) = verdicts.into_iter().nth(index).expect("found just now") else {
                unreachable!("the position was chosen by this variant")
            };
            let message = format!("task {} ({}): {}", index + 1, tasks[index].spec.name, refusal.message);
            return Err(Refusal { message, ..refusal });
        }
        let workflow = workflow.map(|new| self.add_workflow(new, owner, &verdicts, out));
        let added: Vec<TaskId> = order
            .iter()
            .filter_map(|i| self.add_task(&tasks[*i], *i, &verdicts, owner, workflow, out))
            .collect();
        for id in added {
            self.begin(id, &ended, out);
        }
        let tasks = verdicts
            .into_iter()
            .map(|verdict| match verdict {
                Verdict::New(id) | Verdict::Existing(id) => Ok(id),
                Verdict::Refused(refusal) => Err(refusal),
            })
            .collect();
        Ok(Reply::Submitted { tasks, workflow })
    }

    /// Judges every task and gives the order in which they can be added, dependencies first.
    fn examine(&self, tasks: &[NewTask], ended: &BTreeMap<TaskId, EndedTask>) -> (Vec<Verdict>, Vec<usize>) {
        let mut next = self.meta.next_task;
        let mut keys: BTreeMap<&str, (TaskId, u64)> = BTreeMap::new();
        let mut verdicts = Vec::with_capacity(tasks.len());
        for task in tasks {
            let verdict = match self.existing(task, &keys) {
                Ok(Some(id)) => Verdict::Existing(id),
                Ok(None) => match self.check(task, ended) {
                    Ok(()) => {
                        let id = next;
                        next = next.next();
                        if let Some(key) = &task.spec.key {
                            keys.insert(key, (id, task.fingerprint));
                        }
                        Verdict::New(id)
                    }
                    Err(refusal) => Verdict::Refused(refusal),
                },
                Err(refusal) => Verdict::Refused(refusal),
            };
            verdicts.push(verdict);
        }
        let order = order_by_dependencies(tasks, &mut verdicts);
        (verdicts, order)
    }

    /// The task that has the same key, if there is one.
    fn existing(
        &self,
        task: &NewTask,
        batch: &BTreeMap<&str, (TaskId, u64)>,
    ) -> Result<Option<TaskId>, Refusal> {
        let Some(key) = task.spec.key.as_deref() else { return Ok(None) };
        let in_memory = self.keys.get(key).and_then(|id| {
            let key = self.tasks.get(id)?.limits.as_ref()?.key.as_ref()?;
            Some((*id, key.fingerprint))
        });
        match batch.get(key).copied().or(in_memory).or(task.same_key) {
            Some((id, fingerprint)) if fingerprint == task.fingerprint => Ok(Some(id)),
            Some((id, _)) => Err(Refusal::new(Code::Conflict, "another task has this key")
                .value(key)
                .hint(format!("task {id} was added with the same key and another spec"))),
            None => Ok(None),
        }
    }

    fn check(&self, task: &NewTask, ended: &BTreeMap<TaskId, EndedTask>) -> Result<(), Refusal> {
        for claim in &task.spec.claims {
            self.check_claim(claim)?;
        }
        for (target, _) in &task.edges {
            match target {
                EdgeTarget::Id(id) if !self.tasks.contains_key(id) && !ended.contains_key(id) => {
                    return Err(
                        Refusal::new(Code::UnknownDependency, "unknown dependency").value(id.to_string())
                    );
                }
                EdgeTarget::Id(_) | EdgeTarget::Index(_) => {}
            }
        }
        Ok(())
    }

    /// Whether a claim can ever be granted.
    fn check_claim(&self, claim: &Claim) -> Result<(), Refusal> {
        let resource =
            self.ledger.find(&ResourceKey::Named(claim.resource.clone())).map(|i| self.ledger.get(i));
        let resource = resource.filter(|r| r.configured);
        let Some(resource) = resource else {
            return match claim.resource.counted_as() {
                ResourceKind::Lock => Ok(()),
                ResourceKind::Quantity | ResourceKind::Rate => {
                    Err(Refusal::new(Code::NotConfigured, "this resource is not configured")
                        .value(claim.to_string())
                        .hint(format!("give it a capacity: [resources.\"{}\"]", claim.resource)))
                }
            };
        };
        match resource.capacity {
            Some(capacity) if claim.mode != Mode::Exclusive && claim.amount > capacity => {
                Err(Refusal::new(Code::Unsatisfiable, "more than there is in all")
                    .value(claim.to_string())
                    .hint(format!("{} has {capacity}", claim.resource)))
            }
            Some(Amount::ZERO) => {
                Err(Refusal::new(Code::Unsatisfiable, "this resource has no capacity")
                    .value(claim.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn add_workflow(
        &mut self,
        new: NewWorkflow,
        owner: u32,
        verdicts: &[Verdict],
        out: &mut Output,
    ) -> WorkflowId {
        let id = self.meta.next_workflow;
        let record = WorkflowRecord {
            id,
            name: new.name,
            owner,
            first_task: self.meta.next_task,
            task_count: verdicts.len() as u64,
            max_parallel: new.max_parallel,
            fail_fast: new.fail_fast,
            timeout: new.timeout,
            created_at: self.now,
            status: WorkflowStatus::Running,
            stop: None,
            unfinished: verdicts.len() as u64,
            failed: 0,
            cancelled: 0,
        };
        self.emit(out, Fact::WorkflowSubmitted { record: Box::new(record) });
        id
    }

    fn add_task(
        &mut self,
        new: &NewTask,
        index: usize,
        verdicts: &[Verdict],
        owner: u32,
        workflow: Option<WorkflowId>,
        out: &mut Output,
    ) -> Option<TaskId> {
        let Verdict::New(id) = verdicts[index] else { return None };
        let edge = |(target, on): &(EdgeTarget, _)| {
            let task = match target {
                EdgeTarget::Id(id) => *id,
                EdgeTarget::Index(index) => match verdicts[*index] {
                    Verdict::New(id) | Verdict::Existing(id) => id,
                    Verdict::Refused(_) => unreachable!("the dependents of a refused task are refused"),
                },
            };
            Edge { task, on: *on }
        };
        let spec = &new.spec;
        let record = TaskRecord {
            id,
            name: spec.name.as_str().into(),
            owner,
            priority: spec.priority,
            demand: Arc::new(Demand {
                runner: new.runner.clone(),
                claims: spec.claims.clone().into(),
                workflow,
                session: spec.session,
            }),
            edges: new.edges.iter().map(edge).collect(),
            conditional: spec.when.is_some(),
            retry: Arc::clone(&new.retry),
            timeout: spec.timeout,
            deadline: spec.deadline,
            not_before: spec.not_before.map(|not_before| match not_before {
                NotBefore::At(at) => at,
                NotBefore::In(delay) => self.now + delay,
            }),
            key: spec.key.as_ref().map(|key| Key { text: key.as_str().into(), fingerprint: new.fingerprint }),
            hold: spec.hold,
            created_at: self.now,
            run_at: self.now,
            first_started_at: None,
            attempts: AttemptNumber(0),
            tries: 0,
            losses: 0,
            phase: Phase::Waiting,
        };
        // The usual case, nothing to wait for, needs no fact of its own.
        let at_once = record.edges.is_empty()
            && !record.conditional
            && record.not_before.is_none()
            && record.demand.runner != Runner::Nothing;
        let phase = if at_once { Phase::Ready { since: self.now } } else { Phase::Waiting };
        let record = Box::new(TaskRecord { phase, ..record });
        self.emit(out, Fact::Submitted { record, spec: Some(Arc::clone(spec)) });
        Some(id)
    }

    /// What a task that was just added or revived does first: it is ruled out by a dependency that has
    /// ended otherwise than it needs, or waits, or goes on.
    pub(crate) fn begin(&mut self, id: TaskId, ended: &BTreeMap<TaskId, EndedTask>, out: &mut Output) {
        let task = self.task(id);
        if !matches!(task.phase, Phase::Waiting) {
            return;
        }
        for edge in task.edges.clone() {
            let status = self.status(edge.task).or_else(|| ended.get(&edge.task).map(|e| e.status));
            let Some(status) = status.filter(|status| status.is_terminal()) else { continue };
            if !edge.on.is_met_by(status) {
                let root = self.root_cause(edge.task, status, ended);
                self.skip_with_dependents(id, crate::record::SkipCause::Dependency(root.0, root.1), out);
                return;
            }
        }
        if self.task(id).unmet == 0 {
            self.proceed(id, out);
        }
    }

    /// The first cause behind the end of a dependency.
    fn root_cause(
        &self,
        id: TaskId,
        status: Status,
        ended: &BTreeMap<TaskId, EndedTask>,
    ) -> (TaskId, Status) {
        match self.tasks.get(&id) {
            Some(_) => self.root_of_end(id),
            None => ended.get(&id).and_then(|e| e.root).unwrap_or((id, status)),
        }
    }
}

/// Orders the new tasks so that each comes after those it depends on (Kahn, CACM 5(11), 1962), in the
/// order given otherwise. Tasks on a circle and those that depend on a refused one are refused.
fn order_by_dependencies(tasks: &[NewTask], verdicts: &mut [Verdict]) -> Vec<usize> {
    let indices = |task: &NewTask| -> Vec<usize> {
        task.edges
            .iter()
            .filter_map(|(target, _)| match target {
                EdgeTarget::Index(index) => Some(*index),
                EdgeTarget::Id(_) => None,
            })
            .collect()
    };
    if tasks.iter().all(|task| task.edges.iter().all(|(t, _)| matches!(t, EdgeTarget::Id(_)))) {
        return (0..tasks.len()).collect();
    }
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    let mut unmet = vec![0_usize; tasks.len()];
    for (index, task) in tasks.iter().enumerate() {
        for dependency in indices(task) {
            if dependency == index {
                verdicts[index] = Verdict::Refused(
                    Refusal::new(Code::SelfDependency, "a task cannot depend on itself")
                        .value(&task.spec.name),
                );
            }
            dependents[dependency].push(index);
            unmet[index] += 1;
        }
    }
    let mut free: VecDeque<usize> = (0..tasks.len()).filter(|index| unmet[*index] == 0).collect();
    let mut order = Vec::with_capacity(tasks.len());
    while let Some(index) = free.pop_front() {
        order.push(index);
        for dependent in std::mem::take(&mut dependents[index]) {
            if matches!(verdicts[index], Verdict::Refused(_))
                && !matches!(verdicts[dependent], Verdict::Refused(_))
            {
                verdicts[dependent] = Verdict::Refused(
                    Refusal::new(Code::UnknownDependency, "depends on a task that was refused")
                        .value(&tasks[index].spec.name),
                );
            }
            unmet[dependent] -= 1;
            if unmet[dependent] == 0 {
                free.push_back(dependent);
            }
        }
    }
    for index in (0..tasks.len()).filter(|index| unmet[*index] > 0) {
        if matches!(verdicts[index], Verdict::Refused(_)) {
            continue;
        }
        let circle = circle_from(index, tasks, &unmet, indices);
        verdicts[index] =
            Verdict::Refused(Refusal::new(Code::Cycle, "dependencies form a circle").value(circle));
    }
    order
}

/// The names along a circle that is reached from `start` over tasks that could not be ordered.
fn circle_from(
    start: usize,
    tasks: &[NewTask],
    unmet: &[usize],
    indices: impl Fn(&NewTask) -> Vec<usize>,
) -> String {
    let mut path = vec![start];
    let mut place = BTreeMap::from([(start, 0)]);
    loop {
        let here = path[path.len() - 1];
        let Some(next) = indices(&tasks[here]).into_iter().find(|next| unmet[*next] > 0) else { break };
        if let Some(from) = place.get(&next) {
            path.drain(..*from);
            path.push(next);
            break;
        }
        place.insert(next, path.len());
        path.push(next);
    }
    let names: Vec<&str> = path.iter().map(|index| tasks[*index].spec.name.as_str()).collect();
    names.join(" -> ")
}
