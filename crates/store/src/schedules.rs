//! Schedules in the tables: a row each, gone when the schedule is.

use orchd_core::{Fact, ScheduleRecord};
use orchd_model::{ScheduleId, ScheduleSpec};
use rusqlite::{Connection, OptionalExtension, Row, params};
use rustc_hash::FxHashMap;

use crate::codec::{decode, encode};
use crate::sqlite::blob;
use crate::write::int;
use crate::{Batch, StoreError, StoredSchedule};

/// Writes what a batch says of schedules.
pub(crate) fn write(db: &Connection, batch: &Batch, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
    let mut specs: FxHashMap<ScheduleId, String> = FxHashMap::default();
    for event in &batch.events {
        if let Fact::ScheduleAdded { record, spec: Some(spec) } = &event.fact {
            specs.insert(record.id, json(spec)?);
        }
    }
    for record in &batch.schedules {
        encode(record, buffer)?;
        db.prepare_cached(
            "INSERT INTO schedule (id, name, record, spec) VALUES (?1, ?2, ?3, coalesce(?4, '{}'))
             ON CONFLICT (id) DO UPDATE SET record = ?3",
        )?
        .execute(params![int(record.id.0), &*record.name, *buffer, specs.get(&record.id)])?;
    }
    for event in &batch.events {
        if let Fact::ScheduleRemoved { schedule } = event.fact {
            db.prepare_cached("DELETE FROM schedule WHERE id = ?1")?.execute([int(schedule.0)])?;
        }
    }
    Ok(())
}

fn json(spec: &ScheduleSpec) -> Result<String, StoreError> {
    serde_json::to_string(spec)
        .map_err(|error| StoreError::Corrupt(format!("a schedule is no JSON: {error}")))
}

/// Every record, by id.
pub(crate) fn load(db: &Connection) -> Result<Vec<ScheduleRecord>, StoreError> {
    let mut statement = db.prepare("SELECT record FROM schedule ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(decode("a schedule record", blob(row, 0)?)?);
    }
    Ok(records)
}

/// One schedule with what was asked for.
pub(crate) fn one(db: &Connection, id: ScheduleId) -> Result<Option<StoredSchedule>, StoreError> {
    let mut statement = db.prepare_cached("SELECT record, spec FROM schedule WHERE id = ?1")?;
    statement.query_row([int(id.0)], |row| Ok(stored(row))).optional()?.transpose()
}

/// All with what was asked for, by name.
pub(crate) fn all(db: &Connection) -> Result<Vec<StoredSchedule>, StoreError> {
    let mut statement = db.prepare_cached("SELECT record, spec FROM schedule ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(stored(row)?);
    }
    Ok(found)
}

fn stored(row: &Row<'_>) -> Result<StoredSchedule, StoreError> {
    let record = decode("a schedule record", blob(row, 0)?)?;
    let text: String = row.get(1)?;
    let spec = serde_json::from_str(&text)
        .map_err(|error| StoreError::Corrupt(format!("a stored schedule cannot be read: {error}")))?;
    Ok(StoredSchedule { record, spec })
}
