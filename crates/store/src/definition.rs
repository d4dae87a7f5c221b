//! Definitions in their table: workflow files as they were given, by the names of their workflows.

use orchd_model::Time;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

use crate::StoreError;
use crate::write::int;

/// Runs of a workflow that tell how long its tasks take.
const REMEMBERED_RUNS: i64 = 5;

/// A workflow that is kept under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDefinition {
    /// The name of the workflow.
    pub name: String,
    /// The name of its file.
    pub file: String,
    /// What is in the file.
    pub text: String,
    /// Who stored it.
    pub owner: u32,
    /// When.
    pub updated_at: Time,
}

/// What becomes of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefinitionChange {
    /// It is there from now on, in place of one with the same name.
    Put(StoredDefinition),
    /// There is none of this name any more.
    Remove(String),
}

pub(crate) fn change(db: &Connection, change: &DefinitionChange) -> Result<(), StoreError> {
    match change {
        DefinitionChange::Put(StoredDefinition { name, file, text, owner, updated_at }) => {
            db.prepare_cached(
                "INSERT OR REPLACE INTO definition (name, file, text, owner, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![name, file, text, owner, int(updated_at.0)])?;
        }
        DefinitionChange::Remove(name) => {
            db.prepare_cached("DELETE FROM definition WHERE name = ?1")?.execute([name])?;
        }
    }
    Ok(())
}

/// All of them by name, without their texts.
pub(crate) fn list(db: &Connection) -> Result<Vec<StoredDefinition>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT name, file, '', owner, updated_at FROM definition ORDER BY name")?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn find(db: &Connection, name: &str) -> Result<Option<StoredDefinition>, StoreError> {
    let sql = "SELECT name, file, text, owner, updated_at FROM definition WHERE name = ?1";
    Ok(db.prepare_cached(sql)?.query_row([name], read).optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredDefinition> {
    let updated_at = Time(row.get::<_, i64>(4)?.cast_unsigned());
    Ok(StoredDefinition {
        name: row.get(0)?,
        file: row.get(1)?,
        text: row.get(2)?,
        owner: row.get(3)?,
        updated_at,
    })
}

/// How long the completed tasks of the latest workflows of this name took, seconds by name.
pub(crate) fn durations(db: &Connection, name: &str) -> Result<BTreeMap<String, f64>, StoreError> {
    let completed = orchd_model::Status::Completed.index() as i64;
    let mut statement = db.prepare_cached(
        "SELECT name, avg(finished_at - started_at) / 1e6 FROM task
         WHERE workflow IN (SELECT id FROM workflow WHERE name = ?1 ORDER BY id DESC LIMIT ?2)
         AND status = ?3 AND started_at IS NOT NULL AND finished_at IS NOT NULL GROUP BY name",
    )?;
    let rows = statement.query_map(params![name, REMEMBERED_RUNS, completed], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, f64>(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
