//! Sessions on disk: one row each, as it was after the last batch that concerned it.

use orchd_core::SessionRecord;
use orchd_model::SessionId;
use rusqlite::{Connection, Params, params};

use crate::StoreError;
use crate::codec::{decode, encode};
use crate::sqlite::blob;
use crate::write::int;

/// Writes sessions as they are now.
pub(crate) fn write(
    db: &Connection,
    records: &[SessionRecord],
    buffer: &mut Vec<u8>,
) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    let mut upsert = db.prepare_cached(
        "INSERT INTO session (id, name, owner, closed_at, record) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET closed_at = ?4, record = ?5",
    )?;
    for record in records {
        encode(record, buffer)?;
        let closed_at = record.closed_at.map(|at| int(at.0));
        upsert.execute(params![int(record.id.0), &*record.name, record.owner, closed_at, *buffer])?;
    }
    Ok(())
}

/// Those that are not closed, by id.
pub(crate) fn open(db: &Connection) -> Result<Vec<SessionRecord>, StoreError> {
    select(db, "WHERE closed_at IS NULL ORDER BY id", [])
}

/// One by its id.
pub(crate) fn by_id(db: &Connection, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
    Ok(select(db, "WHERE id = ?1", [int(id.0)])?.pop())
}

/// The one of this name that is not closed, else the newest.
pub(crate) fn by_name(db: &Connection, name: &str) -> Result<Option<SessionRecord>, StoreError> {
    let tail = "WHERE name = ?1 ORDER BY closed_at IS NOT NULL, id DESC LIMIT 1";
    Ok(select(db, tail, [name])?.pop())
}

/// The newest, those that are not closed before the others.
pub(crate) fn list(db: &Connection, limit: Option<usize>) -> Result<Vec<SessionRecord>, StoreError> {
    let limit = limit.map_or(-1, |limit| int(limit as u64));
    select(db, "ORDER BY closed_at IS NOT NULL, id DESC LIMIT ?1", [limit])
}

fn select<P: Params>(db: &Connection, tail: &str, params: P) -> Result<Vec<SessionRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!("SELECT record FROM session {tail}"))?;
    let mut rows = statement.query(params)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(decode("a session record", blob(row, 0)?)?);
    }
    Ok(records)
}

/// Deletes closed ones, at most `limit`, of which no task or workflow is left.
pub(crate) fn trim(db: &Connection, cutoff: i64, limit: i64) -> Result<usize, StoreError> {
    let sql = "DELETE FROM session WHERE id IN (SELECT s.id FROM session s WHERE s.closed_at < ?1
         AND NOT EXISTS (SELECT 1 FROM task WHERE task.session = s.id)
         AND NOT EXISTS (SELECT 1 FROM workflow WHERE workflow.session = s.id) LIMIT ?2)";
    Ok(db.prepare_cached(sql)?.execute([cutoff, limit])?)
}
