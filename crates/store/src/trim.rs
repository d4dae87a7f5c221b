//! Retention: what has ended leaves the disk in bounded steps, so that no commit waits long for it.
//!
//! Ids are never used again: the next one is in the meta record, not derived from what is left.

use orchd_model::{AttemptNumber, TaskId, Time};
use rusqlite::{Connection, OptionalExtension, params};

use crate::write::int;
use crate::{Retention, StoreError, Trimmed, session};

/// Tasks deleted by one call: some milliseconds of work.
const TASKS: usize = 500;
/// Workflows, sessions and batches of the journal deleted by one call.
const OTHERS: usize = 100;

/// Deletes a bounded part of what is not kept.
///
/// Flaw: a task may outlive what it depends on, when that ended so long ago that it is trimmed; the result
/// is then missing from the inputs. Within a workflow this cannot happen.
pub(crate) fn trim(db: &Connection, cutoff: Cutoff) -> Result<Trimmed, StoreError> {
    let tasks = trim_tasks(db, cutoff)?;
    let workflows = trim_workflows(db, cutoff.time)?;
    let sessions = session::trim(db, cutoff.time, OTHERS as i64)?;
    let journal_batches = trim_journal(db, cutoff.time)?;
    db.execute("DELETE FROM env WHERE last_task < coalesce((SELECT min(id) FROM task), last_task + 1)", [])?;
    let more = tasks.len() == TASKS || workflows == OTHERS || sessions == OTHERS || journal_batches == OTHERS;
    Ok(Trimmed { tasks, workflows, sessions, journal_batches, more, oldest: oldest(db)? })
}

/// The end of the first that ended of what is left.
fn oldest(db: &Connection) -> Result<Option<Time>, StoreError> {
    let ends = [
        "SELECT min(finished_at) FROM task WHERE finished_at IS NOT NULL",
        "SELECT min(finished_at) FROM workflow WHERE finished_at IS NOT NULL",
        "SELECT time FROM journal ORDER BY first_seq LIMIT 1",
    ];
    let mut oldest = None;
    for sql in ends {
        let end: Option<i64> = db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?.flatten();
        oldest = oldest.into_iter().chain(end.map(|end| Time(end.cast_unsigned()))).min();
    }
    Ok(oldest)
}

/// What goes: what ended before this instant, and of the tasks that ended at it those with ids before this one.
/// Very many tasks may end at the same instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cutoff {
    time: i64,
    task: i64,
}

/// The later of the age limit and the place after the first task too many. Costs a walk over the ends of all
/// tasks that are kept.
pub(crate) fn cutoff(db: &Connection, retention: &Retention) -> Result<Cutoff, StoreError> {
    let first_too_many: Option<Cutoff> = db
        .prepare_cached(
            "SELECT finished_at, id FROM task WHERE finished_at IS NOT NULL
             ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET ?1",
        )?
        .query_row([int(retention.tasks)], |row| {
            Ok(Cutoff { time: row.get(0)?, task: row.get::<_, i64>(1)?.saturating_add(1) })
        })
        .optional()?;
    let since = Cutoff { time: int(retention.since.0), task: 0 };
    Ok(first_too_many.map_or(since, |too_many| since.max(too_many)))
}

fn trim_tasks(db: &Connection, cutoff: Cutoff) -> Result<Vec<(TaskId, AttemptNumber)>, StoreError> {
    let rows: Vec<(i64, Option<i64>)> = db
        .prepare_cached(
            "SELECT id, array FROM task WHERE finished_at <= ?1 AND (finished_at, id) < (?1, ?2)
             AND (workflow IS NULL OR workflow NOT IN (SELECT id FROM workflow WHERE finished_at IS NULL))
             ORDER BY finished_at, id LIMIT ?3",
        )?
        .query_map(params![cutoff.time, cutoff.task, TASKS as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut tags = db.prepare_cached("SELECT text FROM spec WHERE task = ?1")?;
    let mut drop_tag = db.prepare_cached("DELETE FROM tag WHERE tag = ?1 AND task = ?2")?;
    let mut drop_spec = db.prepare_cached("DELETE FROM spec WHERE task = ?1")?;
    let mut drop_attempts = db.prepare_cached("DELETE FROM attempt WHERE task = ?1")?;
    let mut drop_task = db.prepare_cached("DELETE FROM task WHERE id = ?1")?;
    let mut is_needed = db.prepare_cached("SELECT 1 FROM task WHERE array = ?1 LIMIT 1")?;
    let mut last_attempt =
        db.prepare_cached("SELECT number FROM attempt WHERE task = ?1 ORDER BY number DESC LIMIT 1")?;
    let mut trimmed = Vec::with_capacity(rows.len());
    for (id, array) in &rows {
        let last: Option<u32> = last_attempt.query_row([id], |row| row.get(0)).optional()?;
        trimmed.push((TaskId(id.cast_unsigned()), AttemptNumber(last.unwrap_or(0))));
        drop_attempts.execute([id])?;
        drop_task.execute([id])?;
        // The spec of an array is that of each element: it goes with the last of them.
        let first = match array {
            Some(first) if is_needed.exists([first])? => continue,
            Some(first) => first,
            None => id,
        };
        let spec: Option<String> = tags.query_row([first], |row| row.get(0)).optional()?;
        for tag in spec.as_deref().map(spec_tags).transpose()?.unwrap_or_default() {
            drop_tag.execute(params![tag, first])?;
        }
        drop_spec.execute([first])?;
    }
    Ok(trimmed)
}

/// The tags in the JSON text of a spec. The table of tags is ordered by tag, not by task.
fn spec_tags(text: &str) -> Result<Vec<String>, StoreError> {
    #[derive(serde::Deserialize)]
    struct Tags {
        #[serde(default)]
        tags: Vec<String>,
    }
    let spec: Tags = serde_json::from_str(text).map_err(|e| StoreError::Corrupt(format!("a spec: {e}")))?;
    Ok(spec.tags)
}

/// A workflow goes after the last of its tasks.
fn trim_workflows(db: &Connection, cutoff: i64) -> Result<usize, StoreError> {
    Ok(db
        .prepare_cached(
            "DELETE FROM workflow WHERE id IN (SELECT w.id FROM workflow w WHERE w.finished_at < ?1
             AND NOT EXISTS (SELECT 1 FROM task WHERE task.workflow = w.id) ORDER BY w.finished_at LIMIT ?2)",
        )?
        .execute(params![cutoff, OTHERS as i64])?)
}

/// The journal is in the order of time, so what goes is at its beginning. Figures count whole batches.
fn trim_journal(db: &Connection, cutoff: i64) -> Result<usize, StoreError> {
    let mut last = None;
    let mut oldest = db.prepare_cached(
        "SELECT first_seq, time FROM journal WHERE first_seq <= coalesce((SELECT through FROM figures), first_seq)
         ORDER BY first_seq LIMIT ?1",
    )?;
    let mut rows = oldest.query([OTHERS as i64])?;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? >= cutoff {
            break;
        }
        last = Some(row.get::<_, i64>(0)?);
    }
    let Some(last) = last else { return Ok(0) };
    Ok(db.prepare_cached("DELETE FROM journal WHERE first_seq <= ?1")?.execute([last])?)
}
