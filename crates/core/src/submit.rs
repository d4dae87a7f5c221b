//! Adding tasks and workflows: what is refused, and how an accepted task begins.

use orchd_model::{
    Code, Refusal, SessionId, Span, Status, TaskId, TaskRange, WorkflowId, WorkflowStatus, limits,
};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::command::{EdgeTarget, EndedTask, NewTask, NewWorkflow, Reply, Submission};
use crate::compensation::Compensation;
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::record::{Edge, Key, Phase, Runner, TaskRecord, WorkflowRecord};
use orchd_model::{AttemptNumber, NotBefore};

/// What has been found out about one task of a submission.
#[derive(Clone)]
enum Verdict {
    /// It is added.
    New,
    /// The task with the same key and spec.
    Existing(TaskId),
    /// The task of the same submission, before it, with the same key and spec.
    Twin(usize),
    /// Apart, because it is large and there may be millions that are not refused.
    Refused(Box<Refusal>),
}

/// What becomes of each task of a submission.
struct Plan {
    /// The id that each one has or is given.
    ids: Vec<Result<TaskId, Box<Refusal>>>,
    /// Those to add, dependencies first.
    order: Vec<usize>,
    /// How many tasks each one is.
    counts: Vec<u64>,
    /// The task that ends with the result of this one, where there is one.
    groups: FxHashMap<usize, TaskId>,
}

impl Plan {
    /// Notes which tasks end with the results of which.
    fn note_groups(&mut self, tasks: &[NewTask]) {
        for index in self.order.iter().filter(|index| tasks[**index].spec.collect) {
            let Ok(id) = self.ids[*index] else { continue };
            for (target, _) in &tasks[*index].edges {
                let EdgeTarget::Index(member) = target else { continue };
                // It also comes after the start of the sub-workflow that it is a part of itself.
                let is_own = tasks[*member].spec.name.strip_prefix(&tasks[*index].spec.name);
                if is_own.is_some_and(|rest| rest.starts_with(['.', '['])) {
                    self.groups.insert(*member, id);
                }
            }
        }
    }
}

impl Core {
    pub(crate) fn check_backlog(&self, more: usize) -> Result<(), Refusal> {
        if self.tasks.len() + more <= limits::BACKLOG {
            return Ok(());
        }
        let refusal = Refusal::new(Code::Busy, format!("at most {} unfinished tasks", limits::BACKLOG));
        Err(refusal.value(more.to_string()).hint("wait for some to end"))
    }

    pub(crate) fn submit(&mut self, submission: Submission, out: &mut Output) -> Result<Reply, Refusal> {
        let Submission { mut tasks, atomic, workflow, owner, ended } = submission;
        let atomic = atomic || workflow.is_some();
        self.check_backlog(tasks.len())?;
        let mut plan = self.examine(&tasks, &ended);
        if atomic && let Some(index) = plan.ids.iter().position(Result::is_err) {
            // People know the tasks of a workflow by their names, those of a request by their places.
            let refused = plan.ids.into_iter().enumerate().filter_map(|(index, id)| Some((index, id.err()?)));
            let named = |(index, refusal): (usize, Box<Refusal>)| {
                if workflow.is_none() {
                    refusal.of_item(index)
                } else {
                    refusal.of_task(index, &tasks[index].spec.name)
                }
            };
            // A workflow is told of the first.
            let count = if workflow.is_some() { 1 } else { usize::MAX };
            return Err(Refusal::of_all(refused.take(count).map(named))
                .unwrap_or_else(|| unreachable!("task {index} was refused")));
        }
        if plan.order.is_empty() {
            // Also of a workflow: it was added before, with all of its tasks.
            return Ok(Reply::Submitted { tasks: plan.ids, workflow: None });
        }
        let count = |index: &usize| tasks[*index].count();
        let added: u64 = plan.order.iter().map(count).sum();
        let finally = plan.order.iter().filter(|index| tasks[**index].spec.finally).map(count).sum();
        let compensates = |index: &&usize| tasks[**index].spec.compensates.is_some();
        let compensations = plan.order.iter().filter(compensates).count() as u64;
        plan.note_groups(&tasks);
        let workflow =
            workflow.map(|new| self.add_workflow(new, owner, (added, finally, compensations), out));
        for index in &plan.order {
            self.add_task(&tasks[*index], *index, &plan, owner, workflow, out);
            // Its edges are those of its record from now on: of a million they need not be there twice.
            tasks[*index].edges = Vec::new();
        }
        for index in &plan.order {
            let Ok(first) = plan.ids[*index] else { continue };
            // An array that others of the submission depend on has been cut into its elements.
            for id in self.records_in(TaskRange::from_first(first, plan.counts[*index] - 1)) {
                self.begin(id, &ended, out);
            }
        }
        Ok(Reply::Submitted { tasks: plan.ids, workflow })
    }

    /// What would be refused of these tasks if they were added one by one; nothing is.
    #[must_use]
    pub fn refused(&self, tasks: &[NewTask], ended: &BTreeMap<TaskId, EndedTask>) -> Vec<Option<Refusal>> {
        self.examine(tasks, ended).ids.into_iter().map(|id| id.err().map(|refusal| *refusal)).collect()
    }

    /// Judges every task, and gives ids to those that are added.
    fn examine(&self, tasks: &[NewTask], ended: &BTreeMap<TaskId, EndedTask>) -> Plan {
        let mut keys: FxHashMap<(Option<SessionId>, &str), (usize, u64)> = FxHashMap::default();
        let mut verdicts = Vec::with_capacity(tasks.len());
        for (index, task) in tasks.iter().enumerate() {
            let verdict =
                self.existing(task, &keys).unwrap_or_else(|| match self.check(task, tasks, ended) {
                    Ok(()) => Verdict::New,
                    Err(refusal) => Verdict::Refused(Box::new(refusal)),
                });
            if let (Verdict::New, Some(key)) = (&verdict, &task.spec.key) {
                keys.insert((task.spec.session_id(), key), (index, task.fingerprint));
            }
            verdicts.push(verdict);
        }
        let mut order = order_by_dependencies(tasks, &mut verdicts);
        order.retain(|index| matches!(verdicts[*index], Verdict::New));
        let mut next = self.meta.next_task;
        let mut ids: Vec<Result<TaskId, Box<Refusal>>> = Vec::with_capacity(tasks.len());
        for verdict in verdicts {
            ids.push(match verdict {
                Verdict::New => {
                    let id = next;
                    next = TaskId(next.0 + tasks[ids.len()].count());
                    Ok(id)
                }
                Verdict::Existing(id) => Ok(id),
                Verdict::Twin(first) => ids[first].clone(),
                Verdict::Refused(refusal) => Err(refusal),
            });
        }
        let counts = tasks.iter().map(NewTask::count).collect();
        Plan { ids, order, counts, groups: FxHashMap::default() }
    }

    /// The task that has the same key, or the refusal of this use of the key.
    fn existing(
        &self,
        task: &NewTask,
        batch: &FxHashMap<(Option<SessionId>, &str), (usize, u64)>,
    ) -> Option<Verdict> {
        let (session, key) = (task.spec.session_id(), task.spec.key.as_deref()?);
        let conflict = |other: String| {
            let refusal = Refusal::new(Code::Conflict, "another task has this key").field("key").value(key);
            Verdict::Refused(Box::new(
                refusal.hint(format!("{other} was added with the same key and another spec")),
            ))
        };
        if let Some((index, fingerprint)) = batch.get(&(session, key)) {
            let is_same = *fingerprint == task.fingerprint;
            let other = || conflict(format!("task {} of the same request", index + 1));
            return Some(if is_same { Verdict::Twin(*index) } else { other() });
        }
        let in_memory = self.keys.get(session, key).and_then(|id| {
            let key = self.tasks.get(&id)?.limits.as_ref()?.key.as_ref()?;
            Some((id, key.fingerprint))
        });
        let (id, fingerprint) = in_memory.or(task.same_key)?;
        let is_same = fingerprint == task.fingerprint;
        Some(if is_same { Verdict::Existing(id) } else { conflict(format!("task {id}")) })
    }

    fn check(
        &self,
        task: &NewTask,
        all: &[NewTask],
        ended: &BTreeMap<TaskId, EndedTask>,
    ) -> Result<(), Refusal> {
        if let Some(session) = task.spec.session_id() {
            self.check_session(session)?;
        }
        self.check_claims_of(&task.spec)?;
        for (target, _) in &task.edges {
            match target {
                EdgeTarget::Id(id) if self.standing_for(*id).is_none() && !ended.contains_key(id) => {
                    return Err(Refusal::unknown_dependency(id));
                }
                EdgeTarget::Index(other) if all[*other].spec.finally && !task.spec.finally => {
                    // Each would wait for the other, for ever.
                    let refusal = Refusal::new(Code::Malformed, "depends on a task that runs at the end");
                    let hint = "only finally tasks come after finally tasks";
                    return Err(refusal.value(&all[*other].spec.name).hint(hint));
                }
                EdgeTarget::Index(other) if all[*other].count() > limits::RANGE_EDGES => {
                    let message =
                        format!("an array that others depend on has at most {}", limits::RANGE_EDGES);
                    return Err(Refusal::new(Code::TooLarge, message).value(all[*other].count().to_string()));
                }
                EdgeTarget::Id(_) | EdgeTarget::Index(_) => {}
            }
        }
        Ok(())
    }

    fn add_workflow(
        &mut self,
        new: NewWorkflow,
        owner: u32,
        (tasks, finally, compensations): (u64, u64, u64),
        out: &mut Output,
    ) -> WorkflowId {
        let id = self.meta.next_workflow;
        let record = WorkflowRecord {
            id,
            name: new.name,
            owner,
            session: new.session,
            first_task: self.meta.next_task,
            task_count: tasks,
            max_parallel: new.max_parallel,
            fail_fast: new.fail_fast,
            timeout: new.timeout,
            created_at: self.now,
            run_at: self.now,
            ran: Span::default(),
            status: WorkflowStatus::Running,
            stop: None,
            unfinished: tasks,
            failed: 0,
            cancelled: 0,
            finally,
            compensations,
            grown: Vec::new(),
            cancelling: false,
        };
        self.emit(out, Fact::WorkflowSubmitted { record: Box::new(record) });
        id
    }

    fn add_task(
        &mut self,
        new: &NewTask,
        index: usize,
        plan: &Plan,
        owner: u32,
        workflow: Option<WorkflowId>,
        out: &mut Output,
    ) {
        let id_of = |index: usize| {
            *plan.ids[index].as_ref().expect("what is refused and its dependents are not in the order")
        };
        let id = id_of(index);
        // A dependency on an array is one on each of its elements.
        let edges_of = |(target, on): &(EdgeTarget, _)| {
            let range = match target {
                EdgeTarget::Id(id) => TaskRange::from(*id),
                EdgeTarget::Index(other) => TaskRange::from_first(id_of(*other), plan.counts[*other] - 1),
            };
            let on = *on;
            (range.first.0..=range.last.0).map(move |id| Edge { task: TaskId(id), on })
        };
        let edges: Box<[Edge]> = new.edges.iter().flat_map(edges_of).collect();
        for edge in &edges {
            self.single_out(edge.task, out);
        }
        let mut record = TaskRecord { edges, ..self.new_record(id, new, owner, workflow) };
        record.role.group = plan.groups.get(&index).copied();
        // It depends on nothing else.
        let of = record.edges.first().filter(|_| new.spec.compensates.is_some());
        record.role.compensation = of.map(|edge| Compensation::new(edge.task));
        // The usual case, nothing to wait for, needs no fact of its own.
        let at_once = record.edges.is_empty()
            && !record.conditional
            && record.not_before.is_none()
            && !record.role.finally
            && !matches!(record.demand.runner, Runner::Nothing | Runner::Computed);
        let phase = if at_once { Phase::Ready { since: self.now } } else { Phase::Waiting };
        let record = Box::new(TaskRecord { phase, ..record });
        self.emit(out, Fact::Submitted { record, spec: Some(Arc::clone(&new.spec)) });
    }

    /// A task as it begins, without its edges.
    pub(crate) fn new_record(
        &self,
        id: TaskId,
        new: &NewTask,
        owner: u32,
        workflow: Option<WorkflowId>,
    ) -> TaskRecord {
        let spec = &new.spec;
        TaskRecord {
            id,
            name: spec.name.as_str().into(),
            owner,
            priority: spec.priority,
            demand: self
                .queues
                .shared(self.demand_of(spec, &new.runner, workflow, spec.session_id()), spec.timeout),
            edges: Box::default(),
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
            array: spec.array.map(|_| id),
            more: new.count() - 1,
            claimant: None,
            loosened: Vec::new(),
            progress: None,
            role: new.role(),
        }
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
                self.skip(id, crate::record::SkipCause::Dependency(root.0, root.1), out);
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

/// Orders the tasks so that each comes after those it depends on (Kahn, CACM 5(11), 1962), in the order
/// given otherwise. Tasks on a circle, those that lead into one and those that depend on a refused one are
/// refused.
fn order_by_dependencies(tasks: &[NewTask], verdicts: &mut [Verdict]) -> Vec<usize> {
    if tasks.iter().all(|task| task.edges.iter().all(|(t, _)| matches!(t, EdgeTarget::Id(_)))) {
        return (0..tasks.len()).collect();
    }
    let targets = |index: usize, verdicts: &[Verdict]| -> Vec<usize> {
        let of_edge = |(target, _): &(EdgeTarget, _)| match target {
            EdgeTarget::Index(index) => {
                Some(if let Verdict::Twin(i) = verdicts[*index] { i } else { *index })
            }
            EdgeTarget::Id(_) => None,
        };
        tasks[index].edges.iter().filter_map(of_edge).collect()
    };
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    let mut unmet = vec![0_usize; tasks.len()];
    for index in 0..tasks.len() {
        for dependency in targets(index, verdicts) {
            if dependency == index {
                let refusal = Refusal::new(Code::SelfDependency, "a task cannot depend on itself");
                verdicts[index] = Verdict::Refused(Box::new(refusal.value(&tasks[index].spec.name)));
            }
            dependents[dependency].push(index);
            unmet[index] += 1;
        }
    }
    let mut free: VecDeque<usize> = (0..tasks.len()).filter(|index| unmet[*index] == 0).collect();
    let mut order = Vec::with_capacity(tasks.len());
    while let Some(index) = free.pop_front() {
        order.push(index);
        let consequence = match &verdicts[index] {
            Verdict::Refused(refusal) => Some(refusal.consequence(tasks[index].label())),
            Verdict::New | Verdict::Existing(_) | Verdict::Twin(_) => None,
        };
        for dependent in std::mem::take(&mut dependents[index]) {
            if let (Some(refusal), Verdict::New) = (&consequence, &verdicts[dependent]) {
                verdicts[dependent] = Verdict::Refused(Box::new(refusal.clone()));
            }
            unmet[dependent] -= 1;
            if unmet[dependent] == 0 {
                free.push_back(dependent);
            }
        }
    }
    let mut circles: Vec<Option<Arc<str>>> = vec![None; tasks.len()];
    for start in (0..tasks.len()).filter(|index| unmet[*index] > 0) {
        let next = |here| targets(here, verdicts).into_iter().find(|next| unmet[*next] > 0);
        follow_to_circle(start, tasks, &mut circles, next);
    }
    for (index, circle) in circles.into_iter().enumerate() {
        if let Some(circle) = circle.filter(|_| matches!(verdicts[index], Verdict::New)) {
            let refusal = Refusal::new(Code::Cycle, "dependencies form a circle").value(&*circle);
            verdicts[index] = Verdict::Refused(Box::new(refusal));
        }
    }
    order
}

/// Walks from `start` over tasks that could not be ordered, each of which has a `next`, until the walk bites
/// its tail or meets one that was walked before; notes the names along the circle for all on the way.
fn follow_to_circle(
    start: usize,
    tasks: &[NewTask],
    circles: &mut [Option<Arc<str>>],
    next: impl Fn(usize) -> Option<usize>,
) {
    let mut path = Vec::new();
    let mut place = FxHashMap::default();
    let mut here = start;
    let circle = loop {
        if let Some(circle) = &circles[here] {
            break Arc::clone(circle);
        }
        if let Some(from) = place.insert(here, path.len()) {
            break names_along(&path[from..], tasks).into();
        }
        path.push(here);
        let Some(following) = next(here) else { return };
        here = following;
    };
    for index in path {
        circles[index] = Some(Arc::clone(&circle));
    }
}

/// Names along a longer circle are cut to this many: a refusal is for people.
const CIRCLE_SHOWN: usize = 8;

fn names_along(circle: &[usize], tasks: &[NewTask]) -> String {
    let names = circle.iter().map(|index| tasks[*index].spec.name.as_str());
    let mut shown: Vec<&str> = names.clone().take(CIRCLE_SHOWN).collect();
    let more = format!("({} more)", circle.len().saturating_sub(CIRCLE_SHOWN));
    shown.extend((circle.len() > CIRCLE_SHOWN).then_some(more.as_str()));
    shown.extend(names.take(1));
    shown.join(" -> ")
}
