//! Retention: what has ended leaves the disk in bounded steps, so that no commit waits long for it. A row that stands
//! for several tasks loses those at its front that are too many.
//!
//! Ids are never used again: the next one is in the meta record, not derived from what is left.

use orchd_core::TaskRecord;
use orchd_model::{AttemptNumber, TaskId, Time};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::codec::{decode, encode};
use crate::write::int;
use crate::{Retention, StoreError, Trimmed, session};

/// Tasks deleted by one call: some milliseconds of work.
const TASKS: usize = 500;
/// Workflows, sessions and batches of the journal deleted by one call.
const OTHERS: usize = 100;

/// Rows that stand for several tasks are few; without an index they could only be found among all others.
pub(crate) const SCHEMA: &str = "
CREATE INDEX task_ended_ranges ON task(finished_at) WHERE finished_at IS NOT NULL AND more > 0;
";

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

/// The later of the age limit and the place after the last task too many. Costs a walk over the ends of all
/// tasks that are kept.
pub(crate) fn cutoff(db: &Connection, retention: &Retention) -> Result<Cutoff, StoreError> {
    let since = Cutoff { time: int(retention.since.0), task: 0 };
    let too_many = match newest_range(db)? {
        Some(newest) => too_many_of_ranges(db, retention.tasks, newest)?,
        None => too_many(db, retention.tasks)?,
    };
    Ok(too_many.map_or(since, |too_many| since.max(too_many)))
}

/// The place after the last task too many where every row stands for one.
fn too_many(db: &Connection, tasks: u64) -> Result<Option<Cutoff>, StoreError> {
    let mut nth = db.prepare_cached(
        "SELECT finished_at, id FROM task WHERE finished_at IS NOT NULL
         ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET ?1",
    )?;
    let after =
        |row: &Row<'_>| Ok(Cutoff { time: row.get(0)?, task: row.get::<_, i64>(1)?.saturating_add(1) });
    Ok(nth.query_row([int(tasks)], after).optional()?)
}

/// A row that stands for several tasks: its end, its id, and how many more.
type Range = (i64, i64, i64);

const RANGES: &str = "SELECT finished_at, id, more FROM task WHERE finished_at IS NOT NULL AND more > 0
    ORDER BY finished_at DESC, id DESC";

fn range(row: &Row<'_>) -> rusqlite::Result<Range> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// The one that ended last of the rows that stand for several.
fn newest_range(db: &Connection) -> Result<Option<Range>, StoreError> {
    Ok(db.prepare_cached(&format!("{RANGES} LIMIT 1"))?.query_row([], range).optional()?)
}

/// The place after the last task too many where some rows stand for several; it may be within one of them.
fn too_many_of_ranges(db: &Connection, tasks: u64, newest: Range) -> Result<Option<Cutoff>, StoreError> {
    let mut ranges = db.prepare_cached(RANGES)?;
    let mut ranges = ranges.query_map([], range)?.skip(1);
    let mut next = Some(newest);
    // Read from the index alone, which has no room for how many each stands for.
    let mut ends = db.prepare_cached(
        "SELECT finished_at, id FROM task WHERE finished_at IS NOT NULL ORDER BY finished_at DESC, id DESC",
    )?;
    let mut ends = ends.query([])?;
    let mut left = tasks;
    while let Some(row) = ends.next()? {
        let (time, id): (i64, i64) = (row.get(0)?, row.get(1)?);
        let more = match next {
            Some((at, first, more)) if (at, first) == (time, id) => {
                next = ranges.next().transpose()?;
                more
            }
            Some(_) | None => 0,
        };
        let count = more.unsigned_abs().saturating_add(1);
        if count > left {
            return Ok(Some(Cutoff { time, task: id.saturating_add(more).saturating_add(1) - int(left) }));
        }
        left -= count;
    }
    Ok(None)
}

/// Takes the tasks before `at` away from a row that stands for them, too.
fn cut_front(db: &Connection, id: i64, at: i64) -> Result<(), StoreError> {
    let bytes: Vec<u8> =
        db.prepare_cached("SELECT record FROM task WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
    let record: TaskRecord = decode("a task record", &bytes)?;
    let at = TaskId(at.cast_unsigned());
    let rest = TaskRecord { id: at, more: record.range().last.0 - at.0, key: None, ..record };
    let mut buffer = Vec::new();
    encode(&rest, &mut buffer)?;
    db.prepare_cached("UPDATE task SET id = ?2, more = ?3, record = ?4, key = NULL WHERE id = ?1")?
        .execute(params![id, int(at.0), int(rest.more), buffer])?;
    Ok(())
}

fn trim_tasks(db: &Connection, cutoff: Cutoff) -> Result<Vec<(TaskId, AttemptNumber)>, StoreError> {
    let rows: Vec<(i64, Option<i64>, bool)> = db
        .prepare_cached(
            "SELECT id, array, finished_at = ?1 AND id + more >= ?2 FROM task WHERE finished_at <= ?1 AND (finished_at, id) < (?1, ?2)
             AND (workflow IS NULL OR workflow NOT IN (SELECT id FROM workflow WHERE finished_at IS NULL))
             ORDER BY finished_at, id LIMIT ?3",
        )?
        .query_map(params![cutoff.time, cutoff.task, TASKS as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
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
    for (id, array, is_partly_kept) in &rows {
        if *is_partly_kept {
            trimmed.push((TaskId(id.cast_unsigned()), AttemptNumber(0)));
            cut_front(db, *id, cutoff.task)?;
            continue;
        }
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
