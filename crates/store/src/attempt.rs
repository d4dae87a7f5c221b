//! Ended attempts, read from their table.

use orchd_model::TaskId;
use rusqlite::{Connection, Params};

use crate::codec::decode;
use crate::history::{read_number, read_time};
use crate::sqlite::blob;
use crate::{StoreError, StoredAttempt};

/// The attempts that the end of a statement selects, each with its task.
pub(crate) fn read<P: Params>(
    db: &Connection,
    tail: &str,
    params: P,
) -> Result<Vec<(TaskId, StoredAttempt)>, StoreError> {
    let sql = format!("SELECT attempt.data, attempt.finished_at, attempt.task FROM attempt {tail}");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params)?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        let finished_at = read_time(row, 1)?.unwrap_or_default();
        let attempt = StoredAttempt { end: decode("an attempt", blob(row, 0)?)?, finished_at };
        attempts.push((TaskId(read_number(row, 2)?), attempt));
    }
    Ok(attempts)
}
