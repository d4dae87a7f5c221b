//! For how long somebody has waited for a resource, in a row each: written when that begins and when it ends.

use orchd_core::Blocked;
use orchd_model::ResourceName;
use rusqlite::{Connection, params};

use crate::StoreError;
use crate::codec::{decode, encode};
use crate::sqlite::blob;

pub(crate) const SCHEMA: &str = "
CREATE TABLE blocked (resource TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
";

/// Writes what has changed; nothing of a resource: it is gone.
pub(crate) fn write(
    db: &Connection,
    changes: &[(ResourceName, Option<Blocked>)],
    buffer: &mut Vec<u8>,
) -> Result<(), StoreError> {
    for (name, blocked) in changes {
        let Some(blocked) = blocked else {
            db.prepare_cached("DELETE FROM blocked WHERE resource = ?1")?.execute([name.to_string()])?;
            continue;
        };
        encode(&(name, blocked), buffer)?;
        db.prepare_cached("INSERT OR REPLACE INTO blocked (resource, record) VALUES (?1, ?2)")?
            .execute(params![name.to_string(), *buffer])?;
    }
    Ok(())
}

/// All of it, by name.
pub(crate) fn load(db: &Connection) -> Result<Vec<(ResourceName, Blocked)>, StoreError> {
    let mut statement = db.prepare("SELECT record FROM blocked ORDER BY resource")?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(decode("what a resource was waited for", blob(row, 0)?)?);
    }
    Ok(all)
}
