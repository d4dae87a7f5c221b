//! Workflows that go on after their end: what did not complete runs again, or a task with all that comes after
//! it. What completed otherwise stays as it is, with its results.
//!
//! ```text
//!   roots: what did not complete, or what is named; and what was undone
//!     └─ every task that waits for one of them, however that one must end
//!         └─ a list whose making is among them: its old elements give way
//!   then what runs at the end of each run
//! ```
//! Invariant: all of these have ended before, or nothing is done.

use orchd_model::{Code, Refusal, Span, Status, TaskId, Time, WorkflowStatus};
use std::collections::{BTreeMap, BTreeSet};

use crate::command::{EndedTask, Reply};
use crate::core::{Core, Output};
use crate::event::Fact;
use crate::operate::{Again, has_not_ended, runs_when_needed};
use crate::record::{Phase, TaskRecord, WorkflowRecord};

/// A workflow that is to go on, as it is on disk.
#[derive(Clone, Debug)]
pub struct Rerun {
    /// The workflow.
    pub workflow: WorkflowRecord,
    /// All of its tasks.
    pub tasks: Vec<TaskRecord>,
    /// The tasks that run again, with what comes after them; none: what did not complete.
    pub from: Option<Vec<TaskId>>,
    /// Tasks of others that these depend on, and that are no longer in memory.
    pub ended: BTreeMap<TaskId, EndedTask>,
}

impl Core {
    /// Runs tasks of a workflow again.
    pub(crate) fn rerun(&mut self, rerun: Rerun, out: &mut Output) -> Result<Reply, Refusal> {
        let Rerun { workflow, tasks, from, ended } = rerun;
        let workflow = self.workflows.get(&workflow.id).cloned().unwrap_or(workflow);
        if let Some(session) = workflow.session {
            self.check_session(session)?;
        }
        let refused = |message| Refusal::new(Code::WrongState, message).value(workflow.id.to_string());
        if from.is_none() && workflow.status == WorkflowStatus::Completed {
            let refusal = refused("this workflow completed");
            return Err(refusal.hint("name a task to run it again from there"));
        }
        let tasks = self.newest(tasks);
        let is_named = |task: &&TaskRecord| from.iter().flatten().any(|id| task.range().contains(*id));
        if let Some(named) = tasks.iter().filter(|task| task.role.compensation.is_some()).find(is_named) {
            return Err(runs_when_needed(named.id));
        }
        let mut choice = Choice::new(&tasks);
        choice.take_roots(from.as_deref());
        choice.take_the_end();
        choice.renew_lists(from.as_deref().unwrap_or_default());
        if choice.places.is_empty() {
            return Err(refused("nothing of this workflow is to run again"));
        }
        let is_open = |task: &&TaskRecord| !task.status().is_terminal();
        let replaced: Vec<TaskRecord> = choice.replaced.iter().map(|place| tasks[*place].clone()).collect();
        if let Some(open) = choice.chosen().chain(&replaced).find(is_open) {
            let refusal = has_not_ended(open.id, open.status());
            return Err(refusal.hint("wait for the end of the workflow, or cancel it"));
        }
        self.step_on();
        let again = Again {
            workflows: &[workflow],
            ended: &ended,
            change: &|record| choice.change(record),
            replaced: &replaced,
        };
        let results = choice.chosen().map(|task| (task.range(), Ok(Status::Pending))).collect();
        self.begin_again(choice.chosen().cloned().collect(), &again, out);
        Ok(Reply::Tasks(results))
    }

    /// The records as they are in memory, where they are; one on disk may have been cut since.
    fn newest(&self, tasks: Vec<TaskRecord>) -> Vec<TaskRecord> {
        let mut newest = Vec::with_capacity(tasks.len());
        for record in tasks {
            match self.records_in(record.range()).as_slice() {
                [] => newest.push(record),
                parts => newest.extend(parts.iter().filter_map(|id| self.record(*id))),
            }
        }
        newest
    }

    /// Nothing has run since the scheduler was loaded as it was at `left`: the runs of workflows that were under way are
    /// over since then, and others begin, with all of their time.
    pub fn begin_runs_anew(&mut self, left: Time, out: &mut Output) {
        for record in self.workflows.values().cloned().collect::<Vec<_>>() {
            let ran = Span(record.ran.0.saturating_add(left.since(record.run_at).0));
            let record = Box::new(WorkflowRecord { run_at: self.now, ran, ..record });
            self.emit(out, Fact::WorkflowReopened { record });
        }
    }

    /// Whether a workflow has ended, as far as is known here.
    #[must_use]
    pub fn has_workflow_ended(&self, stored: &WorkflowRecord) -> bool {
        let record = self.workflows.get(&stored.id).unwrap_or(stored);
        record.status != WorkflowStatus::Running
    }
}

/// What of a workflow runs again; tasks are meant by their places.
struct Choice<'a> {
    tasks: &'a [TaskRecord],
    by_id: BTreeMap<TaskId, usize>,
    /// Who waits for whom.
    dependents: Vec<Vec<usize>>,
    places: BTreeSet<usize>,
    /// Lists that are made anew.
    renewed: BTreeSet<usize>,
    /// Elements of such lists: they belong to the workflow no longer.
    replaced: BTreeSet<usize>,
}

impl<'a> Choice<'a> {
    fn new(tasks: &'a [TaskRecord]) -> Self {
        let by_id = tasks.iter().enumerate().map(|(place, task)| (task.id, place)).collect();
        let mut choice = Self {
            tasks,
            by_id,
            dependents: vec![Vec::new(); tasks.len()],
            places: BTreeSet::new(),
            renewed: BTreeSet::new(),
            replaced: BTreeSet::new(),
        };
        for (place, task) in tasks.iter().enumerate() {
            for edge in &task.edges {
                if let Some(dependency) = choice.place_of(edge.task) {
                    choice.dependents[dependency].push(place);
                }
            }
        }
        choice
    }

    fn place_of(&self, id: TaskId) -> Option<usize> {
        let (_, place) = self.by_id.range(..=id).next_back()?;
        self.tasks[*place].range().contains(id).then_some(*place)
    }

    fn chosen(&self) -> impl Iterator<Item = &'a TaskRecord> {
        self.places.iter().map(|place| &self.tasks[*place])
    }

    /// What is to run again for itself, and what waits for that.
    fn take_roots(&mut self, from: Option<&[TaskId]>) {
        let mut open: Vec<usize> = match from {
            Some(from) => from.iter().flat_map(|id| self.with_parts(*id)).collect(),
            None => {
                let failed =
                    |task: &TaskRecord| task.status().is_terminal() && task.status() != Status::Completed;
                (0..self.tasks.len()).filter(|place| failed(&self.tasks[*place])).collect()
            }
        };
        open.extend(self.tasks.iter().filter_map(TaskRecord::undone).flat_map(|id| self.with_parts(id)));
        while let Some(place) = open.pop() {
            if self.places.insert(place) {
                open.extend(&self.dependents[place]);
            }
        }
    }

    /// A task, and the tasks with whose results it ends: those of a sub-workflow, the elements of a list.
    fn with_parts(&self, id: TaskId) -> Vec<usize> {
        let Some(place) = self.place_of(id) else { return Vec::new() };
        let (mut found, mut next) = (vec![place], 0);
        while let Some(whole) = found.get(next).map(|place| &self.tasks[*place]) {
            next += 1;
            let parts: BTreeSet<usize> =
                whole.edges.iter().filter_map(|edge| self.place_of(edge.task)).collect();
            found.extend(parts.into_iter().filter(|part| self.tasks[*part].role.group == Some(whole.id)));
        }
        found
    }

    /// What runs at the end of each run, if there is anything that it runs at the end of.
    fn take_the_end(&mut self) {
        let at_the_end = |place: &usize| self.tasks[*place].role.finally;
        if self.places.iter().all(at_the_end) {
            // Nothing is done that may have to be undone.
            self.places.retain(|place| self.tasks[*place].role.compensation.is_none());
            return;
        }
        for (place, task) in self.tasks.iter().enumerate().filter(|(_, task)| task.role.finally) {
            // What waits for the end will run anyway.
            let called = task.role.compensation.is_some_and(|compensation| compensation.called);
            if matches!(task.phase, Phase::Waiting) && !called {
                self.places.remove(&place);
            } else {
                self.places.insert(place);
            }
        }
    }

    /// Lists that are wanted themselves, that wait for what runs again, or that are made at the end are made
    /// anew. Their elements give way.
    fn renew_lists(&mut self, from: &[TaskId]) {
        let mut parts = BTreeSet::new();
        for (place, task) in self.tasks.iter().enumerate() {
            let elements = task.role.elements.map(|elements| elements.range());
            let is_element = |id| elements.is_some_and(|elements| elements.contains(id));
            let (of_list, before): (Vec<_>, Vec<_>) =
                task.edges.iter().map(|edge| edge.task).partition(|id| is_element(*id));
            let runs_again =
                |id: &TaskId| self.place_of(*id).is_some_and(|place| self.places.contains(&place));
            let is_renewed = elements.is_some()
                && self.places.contains(&place)
                && (task.role.finally || from.contains(&task.id) || before.iter().any(runs_again));
            if is_renewed {
                self.renewed.insert(place);
            }
            let kept = of_list.iter().filter(|_| !is_renewed).chain(&before);
            let is_part = |place: &usize| self.tasks[*place].role.group == Some(task.id);
            parts.extend(kept.filter_map(|id| self.place_of(*id)).filter(is_part));
        }
        for (place, task) in self.tasks.iter().enumerate() {
            let list = task.role.group.and_then(|group| self.place_of(group));
            if list.is_some_and(|list| self.renewed.contains(&list)) && !parts.contains(&place) {
                self.places.remove(&place);
                self.replaced.insert(place);
            }
        }
    }

    /// What is different about a task that begins again.
    fn change(&self, record: &mut TaskRecord) {
        let runs_again = |id| self.place_of(id).is_some_and(|place| self.places.contains(&place));
        record.recall_compensation(runs_again);
        let Some(place) = self.place_of(record.id) else { return };
        if self.renewed.contains(&place) {
            let elements = record.role.elements.take().map(|elements| elements.range());
            let is_kept = |id| elements.is_none_or(|elements| !elements.contains(id));
            record.edges = record.edges.iter().copied().filter(|edge| is_kept(edge.task)).collect();
        }
    }
}
