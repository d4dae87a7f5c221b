//! Questions about what is on disk, from a connection of their own.
//!
//! Each question is one or two statements, of one instant; none holds a read transaction open after it returns, so readers
//! never keep the log from being written back.

use orchd_core::{EndedTask, Event, Phase, SessionRecord, SkipCause, TaskRecord};
use orchd_model::{
    Env, ScheduleId, Sequence, SessionId, Status, TaskId, TaskRange, TaskResult, TaskSpec, Time, WorkflowId,
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, params, params_from_iter};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::{TaskReader, decode};
use crate::query::{Half, conditions};
use crate::sqlite::blob;
use crate::write::int;
use crate::{
    DeadLetter, Figures, Filter, History, StoreError, StoredAttempt, StoredDefinition, StoredSchedule,
    StoredTask, StoredWorkflow, TaskEnd, TaskOutput, attempt, backup, element, hook, schedules, schema,
    session,
};
use crate::{definition, inspect};

/// Environments kept in memory: a list of thousands of tasks usually has one or two.
const KNOWN_ENVS: usize = 64;
/// The columns that [`SqliteHistory::stored_task`] reads.
const TASK_COLUMNS: &str =
    "SELECT task.record, task.result, task.started_at, task.finished_at, spec.text, spec.env
     FROM task LEFT JOIN spec ON spec.task = coalesce(task.array, task.id)";
/// The row that stands for a task.
const STANDS_FOR: &str = "task.id = (SELECT max(id) FROM task WHERE id <= ?1) AND task.id + task.more >= ?1";
/// The rows that stand for tasks from ?1 to ?2.
const IN_RANGE: &str = "id >= coalesce((SELECT max(id) FROM task WHERE id <= ?1), ?1) AND id <= ?2
    AND id + more >= ?1";
/// The text of the spec that a row's tasks share, where their names are made of it.
const SPEC_OF_ELEMENTS: &str = "CASE WHEN instr(task.name, '{index}') > 0 THEN spec.text END
    FROM task LEFT JOIN spec ON spec.task = coalesce(task.array, task.id)";
const WORKFLOW_COLUMNS: &str = "SELECT record, finished_at, parameters FROM workflow";

/// The reading side of the embedded store.
pub(crate) struct SqliteHistory {
    db: Connection,
    path: PathBuf,
    tasks: TaskReader,
    envs: Envs,
}

/// Environments by their id. An id always means the same one: rows are added and deleted, never changed, and
/// no id is used again.
#[derive(Default)]
struct Envs {
    known: FxHashMap<i64, Env>,
}

impl SqliteHistory {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            db: schema::open_reader(path)?,
            path: path.to_owned(),
            tasks: TaskReader::default(),
            envs: Envs::default(),
        })
    }

    fn records<P: Params>(&mut self, sql: &str, params: P) -> Result<Vec<TaskRecord>, StoreError> {
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            records.push(self.tasks.read(blob(row, 0)?)?);
        }
        Ok(records)
    }

    fn stored_tasks<P: Params>(&mut self, sql: &str, params: P) -> Result<Vec<StoredTask>, StoreError> {
        let mut tasks = Vec::new();
        self.each_stored_task(sql, params, |task| {
            tasks.push(task);
            true
        })?;
        Ok(tasks)
    }

    /// Reads rows as long as they are wanted.
    fn each_stored_task<P: Params>(
        &mut self,
        sql: &str,
        params: P,
        mut wants_more: impl FnMut(StoredTask) -> bool,
    ) -> Result<(), StoreError> {
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            let record = self.tasks.read(blob(row, 0)?)?;
            let task = StoredTask {
                spec: read_spec(&self.db, &mut self.envs, record.id, row, 4)?,
                result: read_result(row, 1)?,
                started_at: read_time(row, 2)?,
                finished_at: read_time(row, 3)?,
                record,
            };
            if !wants_more(task) {
                break;
            }
        }
        Ok(())
    }

    fn stored_workflows<P: Params>(&self, tail: &str, params: P) -> Result<Vec<StoredWorkflow>, StoreError> {
        let mut statement = self.db.prepare_cached(&format!("{WORKFLOW_COLUMNS} {tail}"))?;
        let mut rows = statement.query(params)?;
        let mut workflows = Vec::new();
        while let Some(row) = rows.next()? {
            workflows.push(StoredWorkflow {
                record: decode("a workflow record", blob(row, 0)?)?,
                finished_at: read_time(row, 1)?,
                parameters: row.get(2)?,
            });
        }
        Ok(workflows)
    }

    /// Asks one statement about each task and keeps the answers there are.
    fn each<T>(
        &self,
        sql: &str,
        tasks: &[TaskId],
        mut read: impl FnMut(TaskId, &Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement: CachedStatement<'_> = self.db.prepare_cached(sql)?;
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            let mut rows = statement.query([int(task.0)])?;
            if let Some(row) = rows.next()? {
                answers.push(read(*task, row)?);
            }
        }
        Ok(answers)
    }

    /// Asks several questions of the same instant, so that no task is in both halves of an answer because it
    /// ended between them.
    fn at_one_instant<T>(
        &mut self,
        ask: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.db.execute_batch("BEGIN")?;
        let answer = ask(self);
        self.db.execute_batch("COMMIT")?;
        answer
    }

    fn list_halves(&mut self, filter: &Filter) -> Result<Vec<StoredTask>, StoreError> {
        let mut tasks = Vec::new();
        for half in [Half::Unfinished, Half::Ended] {
            let left = filter.limit.map(|limit| limit - tasks.len());
            let Some((tail, values)) = conditions(filter, half, left) else { continue };
            let (sql, values) = (format!("{TASK_COLUMNS}{tail}"), params_from_iter(values));
            match filter {
                Filter { name_glob: None, within: None, .. } => {
                    tasks.append(&mut self.stored_tasks(&sql, values)?);
                }
                _ => self.parts(filter, half, left, &sql, values, |task, range| {
                    tasks.push(element::part(task, range));
                })?,
            }
        }
        Ok(tasks)
    }

    /// The parts of rows of a half that are meant by name and id, where a row may stand for others as well.
    fn parts<P: Params>(
        &mut self,
        filter: &Filter,
        half: Half,
        limit: Option<usize>,
        sql: &str,
        params: P,
        mut each: impl FnMut(&StoredTask, TaskRange),
    ) -> Result<(), StoreError> {
        let mut left = limit.unwrap_or(usize::MAX);
        self.each_stored_task(sql, params, |task| {
            let mut parts = element::parts(filter, &task);
            if half == Half::Ended {
                parts.reverse();
            }
            parts.truncate(left);
            left -= parts.len();
            parts.into_iter().for_each(|range| each(&task, range));
            left > 0
        })
    }

    fn ids_of_halves(&mut self, filter: &Filter) -> Result<Vec<TaskRange>, StoreError> {
        let mut ids = Vec::new();
        for half in [Half::Unfinished, Half::Ended] {
            let left = filter.limit.map(|limit| limit - ids.len());
            if let Some((tail, values)) = conditions(filter, half, left) {
                if filter.name_glob.is_some() || filter.within.is_some() {
                    let (sql, values) = (format!("{TASK_COLUMNS}{tail}"), params_from_iter(values));
                    self.parts(filter, half, left, &sql, values, |_, range| ids.push(range))?;
                    continue;
                }
                let sql = format!("SELECT task.id, task.more FROM task{tail}");
                let mut statement = self.db.prepare_cached(&sql)?;
                let mut rows = statement.query(params_from_iter(values))?;
                while let Some(row) = rows.next()? {
                    ids.push(TaskRange::from_first(TaskId(read_number(row, 0)?), read_number(row, 1)?));
                }
            }
        }
        Ok(ids)
    }
}

impl History for SqliteHistory {
    fn spec(&mut self, task: TaskId) -> Result<Option<Arc<TaskSpec>>, StoreError> {
        let sql = format!(
            "SELECT spec.text, spec.env FROM task JOIN spec ON spec.task = coalesce(task.array, task.id)
             WHERE {STANDS_FOR}"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let mut rows = statement.query([int(task.0)])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        read_spec(&self.db, &mut self.envs, task, row, 0).map(Some)
    }

    fn task(&mut self, task: TaskId) -> Result<Option<StoredTask>, StoreError> {
        let sql = format!("{TASK_COLUMNS} WHERE {STANDS_FOR}");
        Ok(self.stored_tasks(&sql, [int(task.0)])?.pop())
    }

    fn record(&mut self, task: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        Ok(self.records(&format!("SELECT record FROM task WHERE {STANDS_FOR}"), [int(task.0)])?.pop())
    }

    fn attempts(&mut self, task: TaskId) -> Result<Vec<StoredAttempt>, StoreError> {
        let attempts = attempt::read(&self.db, "WHERE task = ?1 ORDER BY number", [int(task.0)])?;
        Ok(attempts.into_iter().map(|(_, attempt)| attempt).collect())
    }

    fn attempts_of(&mut self, workflow: WorkflowId) -> Result<Vec<(TaskId, StoredAttempt)>, StoreError> {
        let of_it = "JOIN task ON task.id = attempt.task WHERE task.workflow = ?1 ORDER BY task.id, number";
        attempt::read(&self.db, of_it, [int(workflow.0)])
    }

    fn held_between(
        &mut self,
        from: Time,
        to: Time,
        limit: usize,
    ) -> Result<Vec<(TaskRecord, Vec<StoredAttempt>)>, StoreError> {
        // What ended first held most of it. What has not ended may have begun before.
        let ended =
            "SELECT record FROM task WHERE finished_at >= ?1 AND created_at < ?2 AND started_at IS NOT NULL
             ORDER BY finished_at LIMIT ?3";
        let under_way = "SELECT record FROM task WHERE finished_at IS NULL AND created_at < ?2
             AND started_at IS NOT NULL AND ?1 >= 0 ORDER BY id LIMIT ?3";
        let values = [int(from.0), int(to.0), int(limit as u64)];
        let mut records = self.records(ended, values)?;
        records.append(&mut self.records(under_way, values)?);
        let attempts = |record: TaskRecord| Ok((self.attempts(record.id)?, record));
        let found: Result<Vec<_>, StoreError> = records.into_iter().map(attempts).collect();
        Ok(found?.into_iter().map(|(attempts, record)| (record, attempts)).collect())
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<StoredTask>, StoreError> {
        self.at_one_instant(|this| this.list_halves(filter))
    }

    fn ids(&mut self, filter: &Filter) -> Result<Vec<TaskRange>, StoreError> {
        self.at_one_instant(|this| this.ids_of_halves(filter))
    }

    fn ended(&mut self, tasks: &[TaskId]) -> Result<Vec<(TaskId, EndedTask)>, StoreError> {
        let sql = format!(
            "SELECT status, skip_root, record FROM task WHERE {STANDS_FOR} AND finished_at IS NOT NULL"
        );
        self.each(&sql, tasks, |task, row| {
            let root = match row.get::<_, Option<i64>>(1)? {
                Some(_) => skip_root(&decode("a task record", blob(row, 2)?)?),
                None => None,
            };
            Ok((task, EndedTask { status: read_status(row, 0)?, root }))
        })
    }

    fn by_key(&mut self, session: Option<SessionId>, key: &str) -> Result<Option<(TaskId, u64)>, StoreError> {
        let sql = "SELECT record FROM task WHERE key = ?1 AND session IS ?2 ORDER BY id DESC LIMIT 1";
        let newest = self.records(sql, params![key, session.map(|id| int(id.0))])?.pop();
        Ok(newest.and_then(|record| record.key.map(|key| (record.id, key.fingerprint))))
    }

    fn skipped_by(&mut self, root: TaskId) -> Result<Vec<TaskRecord>, StoreError> {
        self.records("SELECT record FROM task WHERE skip_root = ?1 ORDER BY id", [int(root.0)])
    }

    fn results(&mut self, tasks: &[TaskId]) -> Result<Vec<TaskOutput>, StoreError> {
        let sql = format!("SELECT record, result, {SPEC_OF_ELEMENTS} WHERE {STANDS_FOR}");
        self.each(&sql, tasks, |id, row| {
            let record: TaskRecord = decode("a task record", blob(row, 0)?)?;
            let status = record.status();
            let first = record.array.unwrap_or(record.id);
            Ok(TaskOutput {
                id,
                name: element::name(&record.name, first, spec_of_elements(row, 2)?.as_ref(), id),
                status,
                result: read_result(row, 1)?,
                attempts: record.attempts.0,
            })
        })
    }

    fn ends(&mut self, tasks: &[TaskId]) -> Result<Vec<TaskEnd>, StoreError> {
        let sql = format!("SELECT record, result FROM task WHERE {STANDS_FOR}");
        self.each(&sql, tasks, |id, row| {
            let record: TaskRecord = decode("a task record", blob(row, 0)?)?;
            Ok(TaskEnd::new(id, &record, read_result(row, 1)?))
        })
    }

    fn names(&mut self, tasks: &[TaskId]) -> Result<Vec<(TaskId, Box<str>)>, StoreError> {
        let sql = format!("SELECT name, coalesce(array, id), {SPEC_OF_ELEMENTS} WHERE {STANDS_FOR}");
        self.each(&sql, tasks, |id, row| {
            let (name, first): (Box<str>, _) = (row.get(0)?, TaskId(read_number(row, 1)?));
            Ok((id, element::name(&name, first, spec_of_elements(row, 2)?.as_ref(), id)))
        })
    }

    fn tagged(&mut self, tag: &str, tasks: &[TaskId]) -> Result<BTreeSet<TaskId>, StoreError> {
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM tag WHERE tag = ?2 AND tag.task = coalesce(task.array, task.id))
             FROM task WHERE {STANDS_FOR}"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let mut tagged = BTreeSet::new();
        for task in tasks {
            let found = statement.query_row(params![int(task.0), tag], |row| row.get(0)).optional()?;
            if found.unwrap_or(false) {
                tagged.insert(*task);
            }
        }
        Ok(tagged)
    }

    fn failures(&mut self, range: TaskRange) -> Result<Vec<TaskRecord>, StoreError> {
        let [failed, skipped, cancelled] =
            [Status::Failed, Status::Skipped, Status::Cancelled].map(|status| status.index() as i64);
        let sql = format!("SELECT record FROM task WHERE {IN_RANGE} AND status IN (?3, ?4, ?5) ORDER BY id");
        self.records(&sql, [int(range.first.0), int(range.last.0), failed, skipped, cancelled])
    }

    fn of_workflow(&mut self, workflow: WorkflowId) -> Result<Vec<TaskRecord>, StoreError> {
        self.records("SELECT record FROM task WHERE workflow = ?1 ORDER BY id", [int(workflow.0)])
    }

    fn of_others(&mut self, range: TaskRange, owner: u32) -> Result<Option<TaskId>, StoreError> {
        let sql =
            format!("SELECT max(id, ?1) FROM task WHERE {IN_RANGE} AND owner <> ?3 ORDER BY id LIMIT 1");
        let values = [int(range.first.0), int(range.last.0), i64::from(owner)];
        let found = self.db.prepare_cached(&sql)?.query_row(values, |row| row.get::<_, i64>(0)).optional()?;
        Ok(found.map(|id| TaskId(id.cast_unsigned())))
    }

    fn tally(&mut self, range: TaskRange) -> Result<BTreeMap<Status, u64>, StoreError> {
        let sql = format!(
            "SELECT status, sum(min(id + more, ?2) - max(id, ?1) + 1) FROM task WHERE {IN_RANGE} GROUP BY status"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let mut rows = statement.query([int(range.first.0), int(range.last.0)])?;
        let mut tally = BTreeMap::new();
        while let Some(row) = rows.next()? {
            tally.insert(read_status(row, 0)?, read_number(row, 1)?);
        }
        Ok(tally)
    }

    fn workflow(&mut self, workflow: WorkflowId) -> Result<Option<StoredWorkflow>, StoreError> {
        Ok(self.stored_workflows("WHERE id = ?1", [int(workflow.0)])?.pop())
    }

    fn workflow_by_name(
        &mut self,
        session: Option<SessionId>,
        name: &str,
    ) -> Result<Option<StoredWorkflow>, StoreError> {
        let tail = "WHERE name = ?1 AND (?2 IS NULL OR session = ?2)
             ORDER BY session IS NOT NULL, id DESC LIMIT 1";
        Ok(self.stored_workflows(tail, params![name, session.map(|id| int(id.0))])?.pop())
    }

    fn definitions(&mut self) -> Result<Vec<StoredDefinition>, StoreError> {
        definition::list(&self.db)
    }

    fn definition(&mut self, name: &str) -> Result<Option<StoredDefinition>, StoreError> {
        definition::find(&self.db, name)
    }

    fn durations(&mut self, workflow: &str) -> Result<BTreeMap<String, f64>, StoreError> {
        definition::durations(&self.db, workflow)
    }

    fn workflows(
        &mut self,
        session: Option<SessionId>,
        limit: Option<usize>,
    ) -> Result<Vec<StoredWorkflow>, StoreError> {
        let tail = "WHERE ?1 IS NULL OR session = ?1 ORDER BY id DESC LIMIT ?2";
        let limit = limit.map_or(-1, |n| int(n as u64));
        self.stored_workflows(tail, params![session.map(|id| int(id.0)), limit])
    }

    fn session(&mut self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        session::by_id(&self.db, id)
    }

    fn session_by_name(&mut self, name: &str) -> Result<Option<SessionRecord>, StoreError> {
        session::by_name(&self.db, name)
    }

    fn sessions(&mut self, limit: Option<usize>) -> Result<Vec<SessionRecord>, StoreError> {
        session::list(&self.db, limit)
    }

    fn schedule(&mut self, schedule: ScheduleId) -> Result<Option<StoredSchedule>, StoreError> {
        schedules::one(&self.db, schedule)
    }

    fn schedules(&mut self) -> Result<Vec<StoredSchedule>, StoreError> {
        schedules::all(&self.db)
    }

    fn events(&mut self, after: Sequence, limit: usize) -> Result<Vec<Event>, StoreError> {
        // The batch that holds the place begins at or before it.
        let mut statement = self.db.prepare_cached(
            "SELECT events FROM journal WHERE first_seq >=
             coalesce((SELECT max(first_seq) FROM journal WHERE first_seq <= ?1), 0) ORDER BY first_seq",
        )?;
        let mut rows = statement.query([int(after.0.saturating_add(1))])?;
        let mut events: Vec<Event> = Vec::new();
        while events.len() < limit {
            let Some(row) = rows.next()? else { break };
            let batch: Vec<Event> = decode("a batch of events", blob(row, 0)?)?;
            events.extend(batch.into_iter().filter(|e| e.sequence > after));
        }
        events.truncate(limit);
        Ok(events)
    }

    fn figures(&mut self) -> Result<Option<Figures>, StoreError> {
        let mut statement = self.db.prepare_cached("SELECT record FROM figures")?;
        let mut rows = statement.query([])?;
        rows.next()?.map(|row| decode("the figures", blob(row, 0)?)).transpose()
    }

    fn backup(&mut self, to: &Path) -> Result<(), StoreError> {
        // A connection of its own: this one may only read, and what it has cached stays.
        backup::backup(&schema::open_unbound(&self.path)?, to)
    }

    fn check(&mut self) -> Result<(), StoreError> {
        backup::check(&self.db, "PRAGMA quick_check(100)")
    }

    fn sequence_before(&mut self, time: Time) -> Result<Sequence, StoreError> {
        // The journal is in the order of time, so the batch is found by halving.
        let ends = "SELECT coalesce(min(first_seq), 0), coalesce(max(first_seq), 0) FROM journal";
        let (mut low, mut high): (i64, i64) =
            self.db.prepare_cached(ends)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut at = self.db.prepare_cached(
            "SELECT first_seq, time FROM journal WHERE first_seq <= ?1 ORDER BY first_seq DESC LIMIT 1",
        )?;
        // All before `low` is earlier; from `high` on it need not be.
        while low < high {
            let middle = low + (high - low + 1) / 2;
            let (first, last_time): (i64, i64) =
                at.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if last_time < int(time.0) { low = middle } else { high = first.min(middle - 1) }
        }
        Ok(Sequence(low.cast_unsigned().saturating_sub(1)))
    }

    fn hooks_reached(&mut self) -> Result<BTreeMap<String, Sequence>, StoreError> {
        hook::reached(&self.db)
    }

    fn workflow_hooks(&mut self, id: WorkflowId) -> Result<Option<String>, StoreError> {
        hook::of_workflow(&self.db, id)
    }

    fn has_workflow_hooks(&mut self) -> Result<bool, StoreError> {
        hook::any_of_workflows(&self.db)
    }

    fn dead_letters(&mut self) -> Result<Vec<DeadLetter>, StoreError> {
        hook::dead_letters(&self.db)
    }

    fn size_bytes(&mut self) -> Result<u64, StoreError> {
        inspect::size(&self.path)
    }
}

/// The root cause of a skip and how that ended.
fn skip_root(record: &TaskRecord) -> Option<(TaskId, Status)> {
    match &record.phase {
        Phase::Skipped(SkipCause::Dependency(task, status)) => Some((*task, *status)),
        Phase::Skipped(SkipCause::FailFast(task)) => Some((*task, Status::Failed)),
        Phase::Skipped(SkipCause::Condition | SkipCause::ConditionError(_) | SkipCause::NotNeeded)
        | Phase::Waiting
        | Phase::Checking
        | Phase::Computing
        | Phase::Delayed { .. }
        | Phase::Ready { .. }
        | Phase::Running { .. }
        | Phase::Ended(_) => None,
    }
}

/// Reads a spec from the columns `text` and, after it, `env`.
fn read_spec(
    db: &Connection,
    envs: &mut Envs,
    task: TaskId,
    row: &Row<'_>,
    column: usize,
) -> Result<Arc<TaskSpec>, StoreError> {
    let text = row.get_ref(column)?.as_str().map_err(|_| missing_spec(task))?;
    let mut spec: TaskSpec = serde_json::from_str(text)
        .map_err(|e| StoreError::Corrupt(format!("the spec of task {task}: {e}")))?;
    if let Some(env) = row.get::<_, Option<i64>>(column + 1)? {
        spec.env = envs.get(db, env)?.ok_or_else(|| missing_spec(task))?;
    }
    Ok(Arc::new(spec))
}

fn spec_of_elements(row: &Row<'_>, column: usize) -> Result<Option<TaskSpec>, StoreError> {
    let text = row.get_ref(column)?.as_str_or_null().map_err(|e| StoreError::Corrupt(e.to_string()))?;
    text.map(serde_json::from_str).transpose().map_err(|e| StoreError::Corrupt(format!("a spec: {e}")))
}

fn missing_spec(task: TaskId) -> StoreError {
    StoreError::Corrupt(format!("task {task} has no spec"))
}

impl Envs {
    fn get(&mut self, db: &Connection, id: i64) -> Result<Option<Env>, StoreError> {
        if let Some(env) = self.known.get(&id) {
            return Ok(Some(env.clone()));
        }
        let text: Option<String> = db
            .prepare_cached("SELECT text FROM env WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        let Some(text) = text else { return Ok(None) };
        let env: Env =
            serde_json::from_str(&text).map_err(|e| StoreError::Corrupt(format!("environment {id}: {e}")))?;
        if self.known.len() >= KNOWN_ENVS {
            self.known.clear();
        }
        self.known.insert(id, env.clone());
        Ok(Some(env))
    }
}

fn read_result(row: &Row<'_>, column: usize) -> Result<Option<TaskResult>, StoreError> {
    let text: Option<&str> =
        row.get_ref(column)?.as_str_or_null().map_err(|e| StoreError::Corrupt(e.to_string()))?;
    text.map(serde_json::from_str).transpose().map_err(|e| StoreError::Corrupt(format!("a result: {e}")))
}

pub(crate) fn read_time(row: &Row<'_>, column: usize) -> Result<Option<Time>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|t| Time(t.cast_unsigned())))
}

pub(crate) fn read_number(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

fn read_status(row: &Row<'_>, column: usize) -> Result<Status, StoreError> {
    let index: i64 = row.get(column)?;
    usize::try_from(index)
        .ok()
        .and_then(|i| Status::ALL.get(i).copied())
        .ok_or_else(|| StoreError::Corrupt(format!("there is no status {index}")))
}
