//! The naive store: maps in memory, no thought of speed. What it says is what a store should say.

use orchd_core::{
    Blocked, EndedTask, Event, Fact, Meta, Phase, Reserved, SessionRecord, SkipCause, Snapshot, TaskRecord,
};
use orchd_model::{
    AttemptNumber, ResourceName, ScheduleId, Sequence, SessionId, SessionStatus, Status, TaskId, TaskRange,
    TaskSpec, Time, WorkflowId, WorkflowStatus,
};
use orchd_store::{
    Batch, DeadLetter, DefinitionChange, Figures, Filter, History, HookChange, Retention, Store, StoreError,
    StoredAttempt, StoredDefinition, StoredSchedule, StoredTask, StoredWorkflow, TaskEnd, TaskOutput,
    Trimmed,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::too_many::last_too_many;

#[derive(Default)]
struct State {
    meta: Meta,
    tasks: BTreeMap<TaskId, StoredTask>,
    attempts: BTreeMap<(TaskId, AttemptNumber), StoredAttempt>,
    workflows: BTreeMap<WorkflowId, StoredWorkflow>,
    sessions: BTreeMap<SessionId, SessionRecord>,
    schedules: BTreeMap<ScheduleId, StoredSchedule>,
    blocked: BTreeMap<ResourceName, Blocked>,
    reserved: BTreeMap<TaskId, Vec<Reserved>>,
    journal: Vec<Vec<Event>>,
    figures: Option<Figures>,
    definitions: BTreeMap<String, StoredDefinition>,
    reached: BTreeMap<String, Sequence>,
    letters: BTreeMap<u64, DeadLetter>,
    workflow_hooks: BTreeMap<WorkflowId, String>,
    /// The last number that a letter got.
    last_letter: u64,
}

#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn tasks_where(&self, test: impl Fn(&StoredTask) -> bool) -> Vec<StoredTask> {
        self.state().tasks.values().filter(|t| test(t)).cloned().collect()
    }
}

impl State {
    fn see_hook(&mut self, change: &HookChange) {
        match change {
            HookChange::Reached { hook, sequence } => drop(self.reached.insert(hook.clone(), *sequence)),
            HookChange::Forgotten { hook } => drop(self.reached.remove(hook)),
            HookChange::Died(letter) => {
                let id = if letter.id > 0 { letter.id } else { self.last_letter + 1 };
                self.last_letter = self.last_letter.max(id);
                self.letters.insert(id, DeadLetter { id, ..letter.clone() });
            }
            HookChange::Settled { id } => drop(self.letters.remove(id)),
        }
    }

    fn standing_for(&self, id: TaskId) -> Option<&StoredTask> {
        let (_, task) = self.tasks.range(..=id).next_back()?;
        task.record.range().contains(id).then_some(task)
    }

    fn see(&mut self, event: &Event) {
        match &event.fact {
            Fact::Submitted { record, spec } => {
                let (record, spec) = ((**record).clone(), spec.clone().unwrap());
                let task = StoredTask { record, spec, result: None, started_at: None, finished_at: None };
                self.tasks.insert(task.record.id, task);
            }
            Fact::Edited { record, spec } => {
                self.tasks.get_mut(&record.id).unwrap().spec = spec.clone().unwrap();
            }
            Fact::Split { task, at } => {
                let mut part = self.tasks[task].clone();
                part.record.id = *at;
                self.tasks.insert(*at, part);
            }
            Fact::Started { task, .. } => self.tasks.get_mut(task).unwrap().started_at = Some(event.time),
            Fact::Completed { task, .. }
            | Fact::Failed { task, .. }
            | Fact::Cancelled { task, .. }
            | Fact::Skipped { task, .. } => {
                let task = self.tasks.get_mut(task).unwrap();
                task.finished_at = Some(event.time);
                task.result = event.fact.result().cloned();
            }
            Fact::Revived { record, .. } => {
                let task = self.tasks.get_mut(&record.id).unwrap();
                (task.result, task.started_at, task.finished_at) = (None, None, None);
            }
            Fact::WorkflowSubmitted { record } => {
                let workflow = StoredWorkflow {
                    record: (**record).clone(),
                    finished_at: None,
                    parameters: "{}".to_owned(),
                };
                self.workflows.insert(record.id, workflow);
            }
            Fact::ScheduleAdded { record, spec } => {
                let (record, spec) = ((**record).clone(), (**spec.as_ref().unwrap()).clone());
                self.schedules.insert(record.id, StoredSchedule { record, spec });
            }
            Fact::ScheduleRemoved { schedule } => drop(self.schedules.remove(schedule)),
            Fact::WorkflowEnded { workflow, .. } => {
                self.workflows.get_mut(workflow).unwrap().finished_at = Some(event.time);
            }
            Fact::WorkflowReopened { record } => {
                self.workflows.get_mut(&record.id).unwrap().finished_at = None;
            }
            _ => {}
        }
        if let (Some(task), Some(end)) = (event.fact.task(), event.fact.attempt_end()) {
            let attempt = StoredAttempt { end: end.clone(), finished_at: event.time };
            self.attempts.insert((task, end.number), attempt);
        }
    }
}

/// The event as the journal gives it back.
fn journalled(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event.fact {
        Fact::Submitted { spec, .. } | Fact::Edited { spec, .. } => *spec = None,
        Fact::ScheduleAdded { spec, .. } => *spec = None,
        Fact::Completed { result, .. } | Fact::Failed { result, .. } | Fact::Cancelled { result, .. } => {
            *result = None;
        }
        _ => {}
    }
    event
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        let tasks = self.tasks_where(|t| t.finished_at.is_none());
        let state = self.state();
        let running = state.workflows.values().filter(|w| w.record.status == WorkflowStatus::Running);
        Ok(Snapshot {
            meta: state.meta.clone(),
            tasks: tasks.into_iter().map(|t| t.record).collect(),
            workflows: running.map(|w| w.record.clone()).collect(),
            sessions: state
                .sessions
                .values()
                .filter(|s| s.status != SessionStatus::Closed)
                .cloned()
                .collect(),
            schedules: state.schedules.values().map(|s| s.record.clone()).collect(),
            blocked: state.blocked.clone().into_iter().collect(),
            reserved: state.reserved.clone().into_iter().collect(),
        })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut state = self.state();
        for event in &batch.events {
            state.see(event);
        }
        for record in &batch.tasks {
            state.tasks.get_mut(&record.id).unwrap().record = record.clone();
        }
        for record in &batch.workflows {
            state.workflows.get_mut(&record.id).unwrap().record = record.clone();
        }
        for (name, blocked) in &batch.blocked {
            match blocked {
                Some(blocked) => drop(state.blocked.insert(name.clone(), *blocked)),
                None => drop(state.blocked.remove(name)),
            }
        }
        for (task, reserved) in &batch.reserved {
            state.reserved.insert(*task, reserved.clone());
        }
        state.reserved.retain(|_, reserved| !reserved.is_empty());
        for record in &batch.sessions {
            state.sessions.insert(record.id, record.clone());
        }
        for record in &batch.schedules {
            state.schedules.get_mut(&record.id).unwrap().record = record.clone();
        }
        state.workflow_hooks.extend(batch.workflow_hooks.iter().cloned());
        for change in &batch.hooks {
            state.see_hook(change);
        }
        for (id, text) in &batch.workflow_parameters {
            state.workflows.get_mut(id).unwrap().parameters = text.clone();
        }
        for change in &batch.definitions {
            match change {
                DefinitionChange::Put(new) => drop(state.definitions.insert(new.name.clone(), new.clone())),
                DefinitionChange::Remove(name) => drop(state.definitions.remove(name)),
            }
        }
        state.meta = batch.meta.clone();
        if batch.figures.is_some() {
            state.figures.clone_from(&batch.figures);
        }
        state.journal.push(batch.events.iter().map(journalled).collect());
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn History>, StoreError> {
        Ok(Box::new(self.clone()))
    }

    fn trim(&mut self, retention: &Retention) -> Result<Trimmed, StoreError> {
        let mut state = self.state();
        let too_many = last_too_many(state.tasks.values(), retention.tasks);
        let since = too_many.map_or(retention.since, |(at, _)| retention.since.max(at));
        let gone = |at: Option<Time>| at.is_some_and(|t| t < since);
        let task_gone = |at: Option<Time>, id| gone(at) || at.is_some_and(|at| Some((at, id)) <= too_many);
        let running: BTreeSet<Option<WorkflowId>> =
            state.workflows.values().filter(|w| w.finished_at.is_none()).map(|w| Some(w.record.id)).collect();
        let before = (state.workflows.len(), state.journal.len());
        let had: BTreeMap<TaskId, Option<Time>> =
            state.tasks.iter().map(|(id, task)| (*id, task.finished_at)).collect();
        let goes = |task: &StoredTask, id| {
            task_gone(task.finished_at, id) && !running.contains(&task.record.demand.workflow)
        };
        for mut task in std::mem::take(&mut state.tasks).into_values() {
            let range = task.record.range();
            if goes(&task, range.last) {
                continue;
            }
            if goes(&task, range.first) {
                let (_, last_too_many) = too_many.unwrap();
                (task.record.id, task.record.key) = (last_too_many.next(), None);
                task.record.more = range.last.0 - task.record.id.0;
            }
            state.tasks.insert(task.record.id, task);
        }
        let used: BTreeSet<_> = state.tasks.values().filter_map(|t| t.record.demand.workflow).collect();
        state.workflows.retain(|id, w| !gone(w.finished_at) || used.contains(id));
        let kept: BTreeSet<WorkflowId> = state.workflows.keys().copied().collect();
        state.workflow_hooks.retain(|id, _| kept.contains(id));
        let of_tasks = state.tasks.values().filter_map(|t| t.record.demand.session);
        let used: BTreeSet<_> =
            of_tasks.chain(state.workflows.values().filter_map(|w| w.record.session)).collect();
        let sessions = state.sessions.len();
        state.sessions.retain(|id, s| !gone(s.closed_at) || used.contains(id));
        let kept: BTreeSet<TaskId> = state.tasks.keys().copied().collect();
        let mut trimmed: Vec<(Option<Time>, TaskId)> =
            had.iter().filter(|(id, _)| !kept.contains(id)).map(|(id, end)| (*end, *id)).collect();
        trimmed.sort_unstable();
        let last_attempt = |id: TaskId| {
            let numbers = state.attempts.keys().filter(|(task, _)| *task == id).map(|(_, number)| *number);
            numbers.max().unwrap_or(AttemptNumber(0))
        };
        let trimmed = trimmed.into_iter().map(|(_, id)| (id, last_attempt(id))).collect();
        state.attempts.retain(|(task, _), _| kept.contains(task));
        let counted = state.figures.as_ref().map(|figures| figures.through);
        let uncounted = |event: &Event| counted.is_some_and(|through| event.sequence > through);
        state.journal.retain(|batch| batch.last().is_none_or(|e| !gone(Some(e.time)) || uncounted(e)));
        let ends = state.tasks.values().filter_map(|task| task.finished_at);
        let ends = ends.chain(state.workflows.values().filter_map(|workflow| workflow.finished_at));
        let first_batch = state.journal.iter().find_map(|batch| batch.last().map(|event| event.time));
        let oldest = ends.chain(first_batch).min();
        Ok(Trimmed {
            tasks: trimmed,
            workflows: before.0 - state.workflows.len(),
            sessions: sessions - state.sessions.len(),
            journal_batches: before.1 - state.journal.len(),
            more: false,
            oldest,
        })
    }

    fn integrity(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn release_reserve(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn restore_reserve(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

fn passes(task: &StoredTask, filter: &Filter) -> bool {
    let (record, spec) = (&task.record, &task.spec);
    let demand = &record.demand;
    (filter.statuses.is_empty() || filter.statuses.contains(&record.status()))
        && filter.priority.is_none_or(|p| p == record.priority)
        && filter.tag.as_ref().is_none_or(|tag| spec.tags.contains(tag))
        && filter.workflow.is_none_or(|w| demand.workflow == Some(w))
        && filter.owner.is_none_or(|owner| record.owner == owner)
        && filter.session.is_none_or(|s| demand.session == Some(s))
        && filter
            .name_glob
            .as_ref()
            .is_none_or(|glob| matches(glob.as_str().as_bytes(), record.name.as_bytes()))
        && filter.within.is_none_or(|within| record.range().overlap(within).is_some())
        && filter.since.is_none_or(|t| record.created_at >= t || task.finished_at.is_some_and(|at| at >= t))
}

/// `*` and `?` only.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    match (glob, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skipped| matches(rest, &text[skipped..])),
        ([b'?', rest @ ..], [_, others @ ..]) => matches(rest, others),
        ([letter, rest @ ..], [other, others @ ..]) => letter == other && matches(rest, others),
        _ => false,
    }
}

impl History for MemoryStore {
    fn figures(&mut self) -> Result<Option<Figures>, StoreError> {
        Ok(self.state().figures.clone())
    }

    fn spec(&mut self, task: TaskId) -> Result<Option<Arc<TaskSpec>>, StoreError> {
        Ok(self.task(task)?.map(|t| t.spec))
    }

    fn task(&mut self, task: TaskId) -> Result<Option<StoredTask>, StoreError> {
        Ok(self.state().standing_for(task).cloned())
    }

    fn record(&mut self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        Ok(self.task(task)?.map(|t| t.record))
    }

    fn attempts(&mut self, task: TaskId) -> Result<Vec<StoredAttempt>, StoreError> {
        Ok(self.state().attempts.iter().filter(|((t, _), _)| *t == task).map(|(_, a)| a.clone()).collect())
    }

    fn attempts_of(&mut self, workflow: WorkflowId) -> Result<Vec<(TaskId, StoredAttempt)>, StoreError> {
        let its = self.of_workflow(workflow)?;
        let mut attempts = Vec::new();
        for record in its {
            attempts.extend(self.attempts(record.id)?.into_iter().map(|attempt| (record.id, attempt)));
        }
        Ok(attempts)
    }

    fn held_between(
        &mut self,
        from: Time,
        to: Time,
        limit: usize,
    ) -> Result<Vec<(TaskRecord, Vec<StoredAttempt>)>, StoreError> {
        let has_begun = |task: &StoredTask| task.started_at.is_some() && task.record.created_at < to;
        let mut ended = self.tasks_where(|task| has_begun(task) && task.finished_at >= Some(from));
        ended.sort_by_key(|task| task.finished_at);
        ended.truncate(limit);
        let mut under_way = self.tasks_where(|task| has_begun(task) && task.finished_at.is_none());
        under_way.truncate(limit);
        let mut found = Vec::new();
        for StoredTask { record, .. } in ended.into_iter().chain(under_way) {
            let attempts = self.attempts(record.id)?;
            found.push((record, attempts));
        }
        Ok(found)
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<StoredTask>, StoreError> {
        let mut tasks = self.tasks_where(|t| passes(t, filter));
        for task in &mut tasks {
            let meant = filter.within.and_then(|within| task.record.range().overlap(within));
            if let Some(range) = meant {
                (task.record.id, task.record.more) = (range.first, range.len() - 1);
            }
        }
        tasks.sort_by_key(|t| match t.finished_at {
            None => (None, Reverse(TaskId(u64::MAX - t.record.id.0))),
            Some(at) => (Some(Reverse(at)), Reverse(t.record.id)),
        });
        tasks.truncate(filter.limit.unwrap_or(usize::MAX));
        Ok(tasks)
    }

    fn ids(&mut self, filter: &Filter) -> Result<Vec<TaskRange>, StoreError> {
        Ok(self.list(filter)?.iter().map(|t| t.record.range()).collect())
    }

    fn failures(&mut self, range: TaskRange) -> Result<Vec<TaskRecord>, StoreError> {
        let failed = |t: &StoredTask| {
            let status = t.record.status();
            status.is_terminal() && status != Status::Completed && t.record.range().overlap(range).is_some()
        };
        Ok(self.tasks_where(failed).into_iter().map(|t| t.record).collect())
    }

    fn of_workflow(&mut self, workflow: WorkflowId) -> Result<Vec<TaskRecord>, StoreError> {
        let its = self.tasks_where(|task| task.record.demand.workflow == Some(workflow));
        Ok(its.into_iter().map(|task| task.record).collect())
    }

    fn of_others(&mut self, range: TaskRange, owner: u32) -> Result<Option<TaskId>, StoreError> {
        let others = self.tasks_where(|t| t.record.owner != owner);
        Ok(others.iter().find_map(|t| t.record.range().overlap(range)).map(|part| part.first))
    }

    fn tally(&mut self, range: TaskRange) -> Result<BTreeMap<Status, u64>, StoreError> {
        let mut tally = BTreeMap::new();
        for task in self.state().tasks.values() {
            if let Some(part) = task.record.range().overlap(range) {
                *tally.entry(task.record.status()).or_default() += part.len();
            }
        }
        Ok(tally)
    }

    fn ended(&mut self, tasks: &[TaskId]) -> Result<Vec<(TaskId, EndedTask)>, StoreError> {
        let state = self.state();
        let known = tasks.iter().filter_map(|id| Some((*id, &state.standing_for(*id)?.record)));
        let ended = known.filter(|(_, record)| record.status().is_terminal()).map(|(id, record)| {
            let root = match &record.phase {
                Phase::Skipped(SkipCause::Dependency(root, status)) => Some((*root, *status)),
                Phase::Skipped(SkipCause::FailFast(root)) => Some((*root, Status::Failed)),
                _ => None,
            };
            (id, EndedTask { status: record.status(), root })
        });
        Ok(ended.collect())
    }

    fn by_key(&mut self, session: Option<SessionId>, key: &str) -> Result<Option<(TaskId, u64)>, StoreError> {
        let state = self.state();
        let of_it = state.tasks.values().rev().filter(|t| t.record.demand.session == session);
        let with_key = of_it.filter_map(|t| Some((t.record.id, t.record.key.as_ref()?)));
        Ok(with_key.filter(|(_, k)| &*k.text == key).map(|(id, k)| (id, k.fingerprint)).next())
    }

    fn skipped_by(&mut self, root: TaskId) -> Result<Vec<TaskRecord>, StoreError> {
        let skipped = self.tasks_where(|t| t.record.skip_root() == Some(root));
        Ok(skipped.into_iter().map(|t| t.record).collect())
    }

    fn results(&mut self, tasks: &[TaskId]) -> Result<Vec<TaskOutput>, StoreError> {
        let state = self.state();
        let known = tasks.iter().filter_map(|id| Some((*id, state.standing_for(*id)?)));
        let output = |(id, t): (TaskId, &StoredTask)| TaskOutput {
            id,
            name: t.record.name.clone(),
            status: t.record.status(),
            result: t.result.clone(),
            attempts: t.record.attempts.0,
        };
        Ok(known.map(output).collect())
    }

    fn ends(&mut self, tasks: &[TaskId]) -> Result<Vec<TaskEnd>, StoreError> {
        let state = self.state();
        let known = tasks.iter().filter_map(|id| Some((*id, state.standing_for(*id)?)));
        Ok(known.map(|(id, t)| TaskEnd::new(id, &t.record, t.result.clone())).collect())
    }

    fn names(&mut self, tasks: &[TaskId]) -> Result<Vec<(TaskId, Box<str>)>, StoreError> {
        let state = self.state();
        Ok(tasks.iter().filter_map(|id| Some((*id, state.standing_for(*id)?.record.name.clone()))).collect())
    }

    fn tagged(&mut self, tag: &str, tasks: &[TaskId]) -> Result<BTreeSet<TaskId>, StoreError> {
        let state = self.state();
        let has = |id: &&TaskId| state.standing_for(**id).is_some_and(|task| task.spec.tags.contains(tag));
        Ok(tasks.iter().filter(has).copied().collect())
    }

    fn workflow(&mut self, workflow: WorkflowId) -> Result<Option<StoredWorkflow>, StoreError> {
        Ok(self.state().workflows.get(&workflow).cloned())
    }

    fn workflow_by_name(
        &mut self,
        session: Option<SessionId>,
        name: &str,
    ) -> Result<Option<StoredWorkflow>, StoreError> {
        let all = self.workflows(session, None)?;
        let mut named = all.into_iter().filter(|w| &*w.record.name == name).collect::<Vec<_>>();
        named.sort_by_key(|w| w.record.session.is_some());
        Ok(named.into_iter().next())
    }

    fn workflows(
        &mut self,
        session: Option<SessionId>,
        limit: Option<usize>,
    ) -> Result<Vec<StoredWorkflow>, StoreError> {
        let state = self.state();
        let of_it = state.workflows.values().filter(|w| session.is_none() || w.record.session == session);
        Ok(of_it.rev().take(limit.unwrap_or(usize::MAX)).cloned().collect())
    }

    fn session(&mut self, session: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self.state().sessions.get(&session).cloned())
    }

    fn session_by_name(&mut self, name: &str) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self.sessions(None)?.into_iter().find(|s| &*s.name == name))
    }

    fn sessions(&mut self, limit: Option<usize>) -> Result<Vec<SessionRecord>, StoreError> {
        let mut all: Vec<SessionRecord> = self.state().sessions.values().rev().cloned().collect();
        all.sort_by_key(|s| s.closed_at.is_some());
        all.truncate(limit.unwrap_or(usize::MAX));
        Ok(all)
    }

    fn definitions(&mut self) -> Result<Vec<StoredDefinition>, StoreError> {
        let state = self.state();
        let known = state.definitions.values().cloned();
        Ok(known.map(|known| StoredDefinition { text: String::new(), ..known }).collect())
    }

    fn definition(&mut self, name: &str) -> Result<Option<StoredDefinition>, StoreError> {
        Ok(self.state().definitions.get(name).cloned())
    }

    fn durations(&mut self, workflow: &str) -> Result<BTreeMap<String, f64>, StoreError> {
        let state = self.state();
        let named = state.workflows.values().rev().filter(|stored| &*stored.record.name == workflow);
        let latest: Vec<WorkflowId> = named.take(5).map(|stored| stored.record.id).collect();
        let mut took: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for task in state.tasks.values() {
            let is_one = task.record.demand.workflow.is_some_and(|id| latest.contains(&id));
            if let (true, Status::Completed, Some(start), Some(end)) =
                (is_one, task.record.status(), task.started_at, task.finished_at)
            {
                let name = task.record.name.to_string();
                took.entry(name).or_default().push((end.0 - start.0) as f64 / 1e6);
            }
        }
        let mean = |took: Vec<f64>| took.iter().sum::<f64>() / took.len() as f64;
        Ok(took.into_iter().map(|(name, took)| (name, mean(took))).collect())
    }

    fn schedule(&mut self, schedule: ScheduleId) -> Result<Option<StoredSchedule>, StoreError> {
        Ok(self.state().schedules.get(&schedule).cloned())
    }

    fn schedules(&mut self) -> Result<Vec<StoredSchedule>, StoreError> {
        let mut all: Vec<StoredSchedule> = self.state().schedules.values().cloned().collect();
        all.sort_by_key(|schedule| schedule.record.name.clone());
        Ok(all)
    }

    fn events(&mut self, after: Sequence, limit: usize) -> Result<Vec<Event>, StoreError> {
        let state = self.state();
        Ok(state.journal.iter().flatten().filter(|e| e.sequence > after).take(limit).cloned().collect())
    }

    fn backup(&mut self, _: &Path) -> Result<(), StoreError> {
        Err(StoreError::Corrupt("memory has no files".to_owned()))
    }

    fn check(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn sequence_before(&mut self, time: Time) -> Result<Sequence, StoreError> {
        let state = self.state();
        let before = state.journal.iter().filter(|batch| batch.last().is_some_and(|event| event.time < time));
        Ok(before
            .filter_map(|batch| batch.first())
            .next_back()
            .map_or(Sequence(0), |e| Sequence(e.sequence.0 - 1)))
    }

    fn hooks_reached(&mut self) -> Result<BTreeMap<String, Sequence>, StoreError> {
        Ok(self.state().reached.clone())
    }

    fn workflow_hooks(&mut self, id: WorkflowId) -> Result<Option<String>, StoreError> {
        Ok(self.state().workflow_hooks.get(&id).cloned())
    }

    fn has_workflow_hooks(&mut self) -> Result<bool, StoreError> {
        Ok(!self.state().workflow_hooks.is_empty())
    }

    fn dead_letters(&mut self) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(self.state().letters.values().cloned().collect())
    }

    fn size_bytes(&mut self) -> Result<u64, StoreError> {
        Ok(1)
    }
}
