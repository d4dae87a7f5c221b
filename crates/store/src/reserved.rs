//! What waiting tasks have reserved, in a row each: written when that changes.

use orchd_core::Reserved;
use orchd_model::TaskId;
use rusqlite::{Connection, params};

use crate::StoreError;
use crate::codec::{decode, encode};
use crate::sqlite::blob;
use crate::write::int;

pub(crate) const SCHEMA: &str = "
CREATE TABLE reserved (task INTEGER PRIMARY KEY, record BLOB NOT NULL);
";

/// Writes what has changed; nothing of a task: it has reserved nothing any more.
pub(crate) fn write(
    db: &Connection,
    changes: &[(TaskId, Vec<Reserved>)],
    buffer: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let mut forget = db.prepare_cached("DELETE FROM reserved WHERE task = ?1")?;
    let mut keep = db.prepare_cached("INSERT OR REPLACE INTO reserved (task, record) VALUES (?1, ?2)")?;
    for change in changes {
        let task = int(change.0.0);
        if change.1.is_empty() {
            forget.execute([task])?;
        } else {
            encode(change, buffer)?;
            keep.execute(params![task, *buffer])?;
        }
    }
    Ok(())
}

/// All of it, by task.
pub(crate) fn load(db: &Connection) -> Result<Vec<(TaskId, Vec<Reserved>)>, StoreError> {
    let mut statement = db.prepare("SELECT record FROM reserved ORDER BY task")?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(decode("what a task has reserved", blob(row, 0)?)?);
    }
    Ok(all)
}
