//! One batch into the tables, inside a transaction that the caller holds.
//!
//! What an event says beside the record (a spec, a result, an instant) is first gathered by task, then each
//! touched task is written once: inserted when it was born in the batch, updated otherwise.

use orchd_core::{Event, Fact, TaskRecord, WorkflowRecord};
use orchd_model::{Env, TaskId, TaskResult, TaskSpec, Time, WorkflowId, WorkflowStatus};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use rustc_hash::FxHashMap;

use crate::codec::encode;
use crate::{Batch, StoreError, blocked, definition, reserved, schedules, session};

/// Events in a row of the journal. A batch may have a million, and whoever reads them page by page reads whole
/// rows.
const JOURNAL_EVENTS: usize = 1024;

/// Environments whose id is remembered: submitters of one system have few, and one is some kilobytes.
const KNOWN_ENVS: usize = 64;

/// The ids of environments that are known to be on disk.
#[derive(Default)]
pub(crate) struct KnownEnvs {
    ids: Vec<(Env, i64)>,
}

impl KnownEnvs {
    /// Forgets all, after a transaction that may have added some was rolled back.
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
    }
}

/// Integers of the database are signed; ours are below 2^63 but for hostile instants, which sort last.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn time(value: Option<Time>) -> Option<i64> {
    value.map(|t| int(t.0))
}

/// What the events of a batch say about one task, beside its record.
#[derive(Clone, Copy, Default)]
struct Touch<'a> {
    spec: Option<&'a TaskSpec>,
    born: bool,
    /// Whether `spec` takes the place of the one on disk.
    edited: bool,
    /// The row that it was a part of.
    cut_from: Option<TaskId>,
    /// Whether the three below replace what is on disk.
    settled: bool,
    finished_at: Option<Time>,
    result: Option<&'a TaskResult>,
    revived: bool,
    started_at: Option<Time>,
}

impl<'a> Touch<'a> {
    fn end(&mut self, at: Time, result: Option<&'a TaskResult>) {
        self.settled = true;
        self.finished_at = Some(at);
        self.result = result;
    }

    fn see(&mut self, event: &'a Event) {
        match &event.fact {
            Fact::Submitted { spec, .. } => {
                self.born = true;
                self.spec = spec.as_deref();
            }
            Fact::Edited { spec, .. } => {
                self.edited = true;
                self.spec = spec.as_deref();
            }
            Fact::Started { at, .. } => self.started_at = Some(*at),
            Fact::Completed { .. } | Fact::Failed { .. } | Fact::Cancelled { .. } | Fact::Skipped { .. } => {
                self.end(event.time, event.fact.result());
            }
            Fact::Revived { .. } => {
                let (spec, born, edited, cut_from) = (self.spec, self.born, self.edited, self.cut_from);
                *self =
                    Self { spec, born, edited, cut_from, settled: true, revived: true, ..Self::default() };
            }
            Fact::Split { .. }
            | Fact::Checked { .. }
            | Fact::Armed { .. }
            | Fact::Replaced { .. }
            | Fact::Called { .. }
            | Fact::Computing { .. }
            | Fact::Expanded { .. }
            | Fact::Readied { .. }
            | Fact::Delayed { .. }
            | Fact::Held { .. }
            | Fact::Released { .. }
            | Fact::Reprioritized { .. }
            | Fact::Placed { .. }
            | Fact::Recalling { .. }
            | Fact::Recalled { .. }
            | Fact::Stopping { .. }
            | Fact::Retried { .. }
            | Fact::Returned { .. }
            | Fact::Enlarged { .. }
            | Fact::WorkflowSubmitted { .. }
            | Fact::WorkflowStopped { .. }
            | Fact::WorkflowEnded { .. }
            | Fact::WorkflowReopened { .. }
            | Fact::WorkflowCancelling { .. }
            | Fact::Paused { .. }
            | Fact::Resumed { .. }
            | Fact::ResourceSet { .. }
            | Fact::Throttled { .. }
            | Fact::Closed { .. }
            | Fact::Opened { .. }
            | Fact::Settled { .. }
            | Fact::WorkerJoined { .. }
            | Fact::WorkerLost { .. }
            | Fact::WorkerLeft { .. }
            | Fact::Progressed { .. }
            | Fact::Loosened { .. }
            | Fact::SessionCreated { .. }
            | Fact::SessionClosing { .. }
            | Fact::SessionClosed { .. }
            | Fact::ScheduleAdded { .. }
            | Fact::ScheduleTicked { .. }
            | Fact::SchedulePaused { .. }
            | Fact::ScheduleResumed { .. }
            | Fact::ScheduleRemoved { .. }
            | Fact::Published { .. } => {}
        }
    }
}

/// Writes all of a batch.
pub(crate) fn write(db: &Connection, envs: &mut KnownEnvs, batch: &Batch) -> Result<(), StoreError> {
    let mut touches: FxHashMap<TaskId, Touch<'_>> =
        batch.tasks.iter().map(|record| (record.id, Touch::default())).collect();
    for event in &batch.events {
        if let Some(touch) = event.fact.task().and_then(|task| touches.get_mut(&task)) {
            touch.see(event);
        }
        if let Fact::Split { task, at } = event.fact {
            let Some(whole) = touches.get(&task) else {
                return Err(StoreError::Corrupt(format!("task {task} was cut, but is not in the batch")));
            };
            // What this batch has said of the whole holds for the part; what it has not is on disk.
            let part = Touch { spec: None, born: true, cut_from: Some(task), ..*whole };
            touches.insert(at, part);
        }
    }
    let mut buffer = Vec::new();
    write_tasks(db, envs, batch, &touches, &mut buffer)?;
    write_replaced(db, &batch.events)?;
    write_attempts(db, &batch.events, &mut buffer)?;
    write_workflows(db, batch, &mut buffer)?;
    session::write(db, &batch.sessions, &mut buffer)?;
    schedules::write(db, batch, &mut buffer)?;
    blocked::write(db, &batch.blocked, &mut buffer)?;
    reserved::write(db, &batch.reserved, &mut buffer)?;
    for events in batch.events.chunks(JOURNAL_EVENTS) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { continue };
        encode(&events, &mut buffer)?;
        db.prepare_cached("INSERT INTO journal (first_seq, time, events) VALUES (?1, ?2, ?3)")?
            .execute(params![int(first.sequence.0), int(last.time.0), buffer])?;
    }
    crate::hook::write(db, &batch.hooks)?;
    crate::hook::write_of_workflows(db, &batch.workflow_hooks)?;
    if let Some(figures) = &batch.figures {
        encode(figures, &mut buffer)?;
        db.prepare_cached("INSERT OR REPLACE INTO figures (id, through, record) VALUES (1, ?1, ?2)")?
            .execute(params![int(figures.through.0), buffer])?;
    }
    batch.definitions.iter().try_for_each(|change| definition::change(db, change))?;
    encode(&batch.meta, &mut buffer)?;
    db.prepare_cached("INSERT OR REPLACE INTO meta (id, record) VALUES (1, ?1)")?.execute([&buffer])?;
    Ok(())
}

fn write_tasks(
    db: &Connection,
    envs: &mut KnownEnvs,
    batch: &Batch,
    touches: &FxHashMap<TaskId, Touch<'_>>,
    buffer: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let untouched = Touch::default();
    let mut insert = db.prepare_cached(
        "INSERT INTO task (id, status, priority, name, owner, workflow, session, key, skip_root, created_at,
         started_at, finished_at, record, result, array, more)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?;
    let mut update = db.prepare_cached(
        "UPDATE task SET status = ?2, priority = ?3, started_at = coalesce(?4, started_at), record = ?5, more = ?6 WHERE id = ?1",
    )?;
    let mut settle = db.prepare_cached(
        "UPDATE task SET status = ?2, priority = ?3, started_at = coalesce(?4, iif(?9, NULL, started_at)),
         record = ?5, finished_at = ?6, skip_root = ?7, result = ?8, more = ?10 WHERE id = ?1",
    )?;
    let mut specs = SpecWriter::new(db, envs)?;
    write_added(&mut insert, &mut specs, &batch.events, touches, buffer)?;
    // Before anything is changed: parts of what has ended take over how it ended.
    for record in &batch.tasks {
        let Some(touch) = touches.get(&record.id).filter(|touch| touch.born) else { continue };
        encode(record, buffer)?;
        insert_task(&mut insert, record, touch, buffer)?;
        if let Some(spec) = touch.spec {
            specs.write(record, spec)?;
        }
        if let Some(whole) = touch.cut_from.filter(|_| record.status().is_terminal() && !touch.settled) {
            copy_end(db, whole, record.id)?;
        }
    }
    for record in &batch.tasks {
        let touch = touches.get(&record.id).unwrap_or(&untouched);
        if touch.born {
            continue;
        }
        encode(record, buffer)?;
        let more = int(record.more);
        let (id, status, priority) =
            (int(record.id.0), record.status().index() as i64, record.priority.index() as i64);
        if let Some(spec) = touch.spec.filter(|_| touch.edited) {
            specs.replace(record, spec)?;
        }
        let started_at = time(touch.started_at);
        let rows = if touch.settled {
            let skip_root = record.skip_root().map(|t| int(t.0));
            settle.execute(params![
                id,
                status,
                priority,
                started_at,
                *buffer,
                time(touch.finished_at),
                skip_root,
                json(touch.result)?,
                touch.revived,
                more
            ])?
        } else {
            update.execute(params![id, status, priority, started_at, *buffer, more])?
        };
        if rows == 0 {
            return Err(StoreError::Corrupt(format!("task {id} changed, but is not there")));
        }
    }
    specs.finish()
}

/// Elements that others have taken the place of are in no workflow.
fn write_replaced(db: &Connection, events: &[Event]) -> Result<(), StoreError> {
    for event in events {
        if let Fact::Replaced { task } = event.fact {
            db.prepare_cached("UPDATE task SET workflow = NULL WHERE id = ?1")?.execute([int(task.0)])?;
        }
    }
    Ok(())
}

/// Most of a burst: what was added and not touched again.
fn write_added(
    insert: &mut CachedStatement<'_>,
    specs: &mut SpecWriter<'_>,
    events: &[Event],
    touches: &FxHashMap<TaskId, Touch<'_>>,
    buffer: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let untouched = Touch::default();
    for event in events {
        if let Fact::Submitted { record, spec } = &event.fact
            && !touches.contains_key(&record.id)
        {
            encode(&**record, buffer)?;
            insert_task(insert, record, &untouched, buffer)?;
            if let Some(spec) = spec {
                specs.write(record, spec)?;
            }
        }
    }
    Ok(())
}

fn insert_task(
    insert: &mut CachedStatement<'_>,
    record: &TaskRecord,
    touch: &Touch<'_>,
    bytes: &[u8],
) -> Result<(), StoreError> {
    insert.execute(params![
        int(record.id.0),
        record.status().index() as i64,
        record.priority.index() as i64,
        &*record.name,
        record.owner,
        record.demand.workflow.map(|w| int(w.0)),
        record.demand.session.map(|s| int(s.0)),
        record.key.as_ref().map(|k| &*k.text),
        record.skip_root().map(|t| int(t.0)),
        int(record.created_at.0),
        time(touch.started_at),
        time(touch.finished_at),
        bytes,
        json(touch.result)?,
        record.array.map(|first| int(first.0)),
        int(record.more),
    ])?;
    Ok(())
}

/// A part of a row that has ended before ended as the whole did.
fn copy_end(db: &Connection, whole: TaskId, part: TaskId) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE task SET (started_at, finished_at, result) =
         (SELECT started_at, finished_at, result FROM task WHERE id = ?1) WHERE id = ?2",
    )?
    .execute(params![int(whole.0), int(part.0)])?;
    Ok(())
}

fn json<T: serde::Serialize>(value: Option<&T>) -> Result<Option<String>, StoreError> {
    value.map(serde_json::to_string).transpose().map_err(|e| StoreError::Engine(Box::new(e)))
}

/// Writes specs: the environment apart, because thousands of tasks share one.
struct SpecWriter<'a> {
    insert: CachedStatement<'a>,
    insert_tag: CachedStatement<'a>,
    db: &'a Connection,
    envs: &'a mut KnownEnvs,
    /// The highest task of this batch by environment.
    last_tasks: FxHashMap<i64, TaskId>,
}

impl<'a> SpecWriter<'a> {
    fn new(db: &'a Connection, envs: &'a mut KnownEnvs) -> Result<Self, StoreError> {
        Ok(Self {
            insert: db.prepare_cached("INSERT INTO spec (task, env, text) VALUES (?1, ?2, ?3)")?,
            insert_tag: db.prepare_cached("INSERT OR IGNORE INTO tag (tag, task) VALUES (?1, ?2)")?,
            db,
            envs,
            last_tasks: FxHashMap::default(),
        })
    }

    fn write(&mut self, record: &TaskRecord, spec: &TaskSpec) -> Result<(), StoreError> {
        let (task, range) = (record.id, record.array_range(spec));
        let (env, text) = if spec.env.is_empty() {
            (None, json(Some(spec))?)
        } else {
            let env = self.env_id(&spec.env, range.last)?;
            let last = self.last_tasks.entry(env).or_default();
            *last = range.last.max(*last);
            (Some(env), json(Some(&spec.without_env()))?)
        };
        self.insert.execute(params![int(task.0), env, text])?;
        for tag in &spec.tags {
            self.insert_tag.execute(params![tag, int(task.0)])?;
        }
        Ok(())
    }

    /// Writes the spec of a task that has another one.
    fn replace(&mut self, record: &TaskRecord, spec: &TaskSpec) -> Result<(), StoreError> {
        let task = int(record.id.0);
        // Tags are found by what they say, so the old ones must be known.
        let text: String = self
            .db
            .prepare_cached("SELECT text FROM spec WHERE task = ?1")?
            .query_row([task], |row| row.get(0))?;
        let old: TaskSpec = serde_json::from_str(&text)
            .map_err(|error| StoreError::Corrupt(format!("the spec of task {task}: {error}")))?;
        let mut untag = self.db.prepare_cached("DELETE FROM tag WHERE tag = ?1 AND task = ?2")?;
        for tag in &old.tags {
            untag.execute(params![tag, task])?;
        }
        self.db.prepare_cached("DELETE FROM spec WHERE task = ?1")?.execute([task])?;
        let mut rename = self.db.prepare_cached("UPDATE task SET name = ?2 WHERE id = ?1")?;
        rename.execute(params![task, &*record.name])?;
        self.write(record, spec)
    }

    /// The id of an environment, which is added if it is not there.
    fn env_id(&mut self, env: &Env, task: TaskId) -> Result<i64, StoreError> {
        if let Some((_, id)) = self.envs.ids.iter().find(|(known, _)| known == env) {
            return Ok(*id);
        }
        let text = json(Some(env))?;
        let found = self
            .db
            .prepare_cached("SELECT id FROM env WHERE text = ?1")?
            .query_row([&text], |row| row.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                self.db
                    .prepare_cached("INSERT INTO env (last_task, text) VALUES (?1, ?2)")?
                    .execute(params![int(task.0), text])?;
                self.db.last_insert_rowid()
            }
        };
        self.envs.ids.truncate(KNOWN_ENVS - 1);
        self.envs.ids.insert(0, (env.clone(), id));
        Ok(id)
    }

    /// Notes which environments are still in use, so that trimming can tell which are not.
    fn finish(self) -> Result<(), StoreError> {
        let mut update =
            self.db.prepare_cached("UPDATE env SET last_task = max(last_task, ?2) WHERE id = ?1")?;
        for (env, task) in self.last_tasks {
            update.execute(params![env, int(task.0)])?;
        }
        Ok(())
    }
}

fn write_attempts(db: &Connection, events: &[Event], buffer: &mut Vec<u8>) -> Result<(), StoreError> {
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO attempt (task, number, finished_at, data) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for event in events {
        if let (Some(task), Some(end)) = (event.fact.task(), event.fact.attempt_end()) {
            encode(end, buffer)?;
            insert.execute(params![int(task.0), end.number.0, int(event.time.0), *buffer])?;
        }
    }
    Ok(())
}

fn write_workflows(db: &Connection, batch: &Batch, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
    if batch.workflows.is_empty() {
        return Ok(());
    }
    let mut ends: FxHashMap<WorkflowId, Option<Time>> = FxHashMap::default();
    for event in &batch.events {
        match &event.fact {
            Fact::WorkflowSubmitted { record } | Fact::WorkflowReopened { record } => {
                ends.insert(record.id, None);
            }
            Fact::WorkflowEnded { workflow, .. } => {
                ends.insert(*workflow, Some(event.time));
            }
            _ => {}
        }
    }
    // Without an event that says so, the instant of the end stays as it is.
    let mut upsert = db.prepare_cached(
        "INSERT INTO workflow (id, name, status, owner, created_at, finished_at, record, parameters, session)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, coalesce(?8, '{}'), ?10)
         ON CONFLICT (id) DO UPDATE SET status = ?3, record = ?7, finished_at = iif(?9, ?6, finished_at)",
    )?;
    let parameters: FxHashMap<WorkflowId, &str> =
        batch.workflow_parameters.iter().map(|(id, text)| (*id, text.as_str())).collect();
    for record in &batch.workflows {
        let end = ends.get(&record.id);
        encode(record, buffer)?;
        upsert.execute(params![
            int(record.id.0),
            &*record.name,
            workflow_status(record),
            record.owner,
            int(record.created_at.0),
            time(end.copied().flatten()),
            *buffer,
            parameters.get(&record.id),
            end.is_some(),
            record.session.map(|session| int(session.0)),
        ])?;
    }
    Ok(())
}

fn workflow_status(record: &WorkflowRecord) -> i64 {
    match record.status {
        WorkflowStatus::Running => 0,
        WorkflowStatus::Completed => 1,
        WorkflowStatus::Failed => 2,
        WorkflowStatus::Cancelled => 3,
        WorkflowStatus::TimedOut => 4,
    }
}
