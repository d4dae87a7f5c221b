//! What is kept of hooks: how far each has come in the journal, and the events that it could not deliver.

use orchd_model::{Sequence, Time, WorkflowId};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

use crate::StoreError;
use crate::write::int;

/// Dead letters that are kept; the oldest make way. A hook that nobody looks after must not fill the disk.
pub const DEAD_LETTERS: u64 = 100_000;

pub(crate) const SCHEMA: &str = "
CREATE TABLE hook (name TEXT PRIMARY KEY, reached INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hook TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    died_at INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    error TEXT NOT NULL,
    event TEXT NOT NULL,
    workflow INTEGER
);
ALTER TABLE workflow ADD COLUMN hooks TEXT;
CREATE INDEX workflow_hooks ON workflow(id) WHERE hooks IS NOT NULL;
";

/// An event that a hook could not deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number; given by the store.
    pub id: u64,
    /// The hook.
    pub hook: String,
    /// The workflow whose hook it is, if it is not one of the configuration.
    pub workflow: Option<WorkflowId>,
    /// The event's sequence.
    pub sequence: Sequence,
    /// When the last try failed.
    pub died_at: Time,
    /// How often it was tried.
    pub tries: u32,
    /// Why the last try failed.
    pub error: String,
    /// The event, as JSON.
    pub event: String,
}

/// Something to be kept of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookChange {
    /// All up to this event is done with.
    Reached {
        /// The hook.
        hook: String,
        /// The event.
        sequence: Sequence,
    },
    /// There is no such hook any more.
    Forgotten {
        /// The hook.
        hook: String,
    },
    /// An event could not be delivered. Its number is not known yet; a letter with a number was tried again.
    Died(DeadLetter),
    /// A dead letter was delivered, or nobody wants it any more.
    Settled {
        /// Its number.
        id: u64,
    },
}

/// Writes changes, inside a transaction that the caller holds.
pub(crate) fn write(db: &Connection, changes: &[HookChange]) -> Result<(), StoreError> {
    for change in changes {
        match change {
            HookChange::Reached { hook, sequence } => {
                db.prepare_cached("INSERT OR REPLACE INTO hook (name, reached) VALUES (?1, ?2)")?
                    .execute(params![hook, int(sequence.0)])?;
            }
            HookChange::Forgotten { hook } => {
                db.prepare_cached("DELETE FROM hook WHERE name = ?1")?.execute([hook])?;
            }
            HookChange::Died(letter) => bury(db, letter)?,
            HookChange::Settled { id } => {
                db.prepare_cached("DELETE FROM dead_letter WHERE id = ?1")?.execute([int(*id)])?;
            }
        }
    }
    Ok(())
}

fn bury(db: &Connection, letter: &DeadLetter) -> Result<(), StoreError> {
    let id = (letter.id > 0).then(|| int(letter.id));
    db.prepare_cached(
        "INSERT OR REPLACE INTO dead_letter (id, hook, sequence, died_at, tries, error, event, workflow)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        id,
        letter.hook,
        int(letter.sequence.0),
        int(letter.died_at.0),
        letter.tries,
        letter.error,
        letter.event,
        letter.workflow.map(|id| int(id.0))
    ])?;
    db.prepare_cached("DELETE FROM dead_letter WHERE id <= (SELECT max(id) FROM dead_letter) - ?1")?
        .execute([int(DEAD_LETTERS)])?;
    Ok(())
}

pub(crate) fn reached(db: &Connection) -> Result<BTreeMap<String, Sequence>, StoreError> {
    let mut statement = db.prepare_cached("SELECT name, reached FROM hook")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, Sequence(row.get::<_, i64>(1)?.cast_unsigned())))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn dead_letters(db: &Connection) -> Result<Vec<DeadLetter>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT id, hook, sequence, died_at, tries, error, event, workflow FROM dead_letter ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(DeadLetter {
            id: number(0)?,
            hook: row.get(1)?,
            sequence: Sequence(number(2)?),
            died_at: Time(number(3)?),
            tries: row.get(4)?,
            error: row.get(5)?,
            event: row.get(6)?,
            workflow: row.get::<_, Option<i64>>(7)?.map(|id| WorkflowId(id.cast_unsigned())),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes the hooks of new workflows, which are there.
pub(crate) fn write_of_workflows(db: &Connection, hooks: &[(WorkflowId, String)]) -> Result<(), StoreError> {
    for (workflow, text) in hooks {
        db.prepare_cached("UPDATE workflow SET hooks = ?2 WHERE id = ?1")?
            .execute(params![int(workflow.0), text])?;
    }
    Ok(())
}

pub(crate) fn of_workflow(db: &Connection, workflow: WorkflowId) -> Result<Option<String>, StoreError> {
    let mut statement = db.prepare_cached("SELECT hooks FROM workflow WHERE id = ?1")?;
    let found: Option<Option<String>> =
        statement.query_row([int(workflow.0)], |row| row.get(0)).optional()?;
    Ok(found.flatten())
}

pub(crate) fn any_of_workflows(db: &Connection) -> Result<bool, StoreError> {
    Ok(db.prepare_cached("SELECT 1 FROM workflow WHERE hooks IS NOT NULL LIMIT 1")?.exists([])?)
}
