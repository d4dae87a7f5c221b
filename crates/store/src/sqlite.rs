//! The embedded store: one SQLite file in the state directory, written by one connection.
//!
//! Invariant: every change goes through one transaction a call, with the log synced before it returns.

use orchd_core::Snapshot;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use std::path::PathBuf;

use crate::codec::{TaskReader, decode};
use crate::history::SqliteHistory;
use crate::reserve::Reserve;
use crate::write::{KnownEnvs, write};
use crate::{
    Batch, History, Retention, StateDir, Store, StoreError, Trimmed, backup, blocked, reserved, schedules,
    schema, session, trim,
};

pub(crate) const FILE: &str = "orchd.db";

/// The writing side of the embedded store. Its reserve for a full disk is 8 MiB.
pub struct SqliteStore {
    db: Connection,
    path: PathBuf,
    envs: KnownEnvs,
    reserve: Reserve,
    /// What is being trimmed in several calls: looking anew where it ends would cost as much as the trimming.
    trimming: Option<(Retention, trim::Cutoff)>,
    /// Keeps other processes out as long as this one may write.
    _dir: StateDir,
}

impl SqliteStore {
    /// Opens the store in a state directory; creates it when there is none, and migrates an older one.
    ///
    /// # Errors
    /// [`StoreError::Newer`] and [`StoreError::Foreign`] for a file that is left untouched,
    /// [`StoreError::OldLibrary`], [`StoreError::Corrupt`], [`StoreError::Full`].
    pub fn open(dir: &StateDir) -> Result<Self, StoreError> {
        let path = dir.path().join(FILE);
        let reserve = Reserve::new(dir.path());
        // The reserve is made after the schema: an empty file without it never became a store.
        if reserve.is_held() && std::fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
            return Err(StoreError::Corrupt(format!("{} is empty, and was not", path.display())));
        }
        let db = schema::open_writer(&path)?;
        let store = Self { db, path, envs: KnownEnvs::default(), reserve, trimming: None, _dir: dir.clone() };
        // A full disk must not keep the daemon from starting: it may have ends of attempts to record.
        if let Err(error) = store.reserve.restore() {
            tracing::warn!(%error, "no space is kept for a full disk");
        }
        Ok(store)
    }

    /// Limits the file to so many pages of 4 KiB: a quota, and how tests fill the disk.
    ///
    /// # Errors
    /// When the database refuses the number.
    pub fn limit_pages(&mut self, pages: u32) -> Result<(), StoreError> {
        Ok(self.db.pragma_update(None, "max_page_count", pages)?)
    }

    /// Opens reading sides for as long as it is kept, from any thread, also when the writing side has gone
    /// to a thread of its own.
    pub fn reader_factory(&self) -> impl Fn() -> Result<Box<dyn History>, StoreError> + Send + Sync + use<> {
        let path = self.path.clone();
        move || Ok(Box::new(SqliteHistory::open(&path)?) as Box<dyn History>)
    }

    fn transaction(&mut self) -> Result<Transaction<'_>, StoreError> {
        Ok(self.db.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        // One transaction, so that all parts are of the same instant.
        let transaction = self.transaction()?;
        let meta: Option<Vec<u8>> =
            transaction.query_row("SELECT record FROM meta", [], |row| row.get(0)).optional()?;
        let mut snapshot = Snapshot {
            meta: meta.map(|bytes| decode("the meta record", &bytes)).transpose()?.unwrap_or_default(),
            ..Snapshot::default()
        };
        {
            let mut tasks = transaction.prepare(
                "SELECT record FROM task INDEXED BY task_unfinished WHERE finished_at IS NULL ORDER BY id",
            )?;
            let mut rows = tasks.query([])?;
            let mut reader = TaskReader::default();
            while let Some(row) = rows.next()? {
                snapshot.tasks.push(reader.read(blob(row, 0)?)?);
            }
            let mut workflows =
                transaction.prepare("SELECT record FROM workflow WHERE finished_at IS NULL ORDER BY id")?;
            let mut rows = workflows.query([])?;
            while let Some(row) = rows.next()? {
                snapshot.workflows.push(decode("a workflow record", blob(row, 0)?)?);
            }
            snapshot.sessions = session::open(&transaction)?;
            snapshot.schedules = schedules::load(&transaction)?;
            snapshot.blocked = blocked::load(&transaction)?;
            snapshot.reserved = reserved::load(&transaction)?;
        }
        transaction.commit()?;
        Ok(snapshot)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let written = write(&transaction, &mut self.envs, batch)
            .and_then(|()| transaction.commit().map_err(StoreError::from));
        if written.is_err() {
            self.envs.clear();
        }
        written
    }

    fn reader(&self) -> Result<Box<dyn History>, StoreError> {
        Ok(Box::new(SqliteHistory::open(&self.path)?))
    }

    fn trim(&mut self, retention: &Retention) -> Result<Trimmed, StoreError> {
        self.envs.clear();
        let known = self.trimming.filter(|(of, _)| of == retention).map(|(_, cutoff)| cutoff);
        let transaction = self.transaction()?;
        let cutoff = known.map_or_else(|| trim::cutoff(&transaction, retention), Ok)?;
        let trimmed = trim::trim(&transaction, cutoff)?;
        transaction.commit()?;
        self.trimming = trimmed.more.then_some((*retention, cutoff));
        Ok(trimmed)
    }

    fn integrity(&mut self) -> Result<(), StoreError> {
        backup::check(&self.db, "PRAGMA integrity_check(100)")
    }

    fn release_reserve(&mut self) -> Result<bool, StoreError> {
        self.reserve.release()
    }

    fn restore_reserve(&mut self) -> Result<(), StoreError> {
        self.reserve.restore()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        // SQLite does so itself only when the last connection goes, and that of a reader may still be there.
        self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        self.db.close().map_err(|(_, error)| error.into())
    }
}

/// A blob of the current row, without copying it.
pub(crate) fn blob<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Result<&'a [u8], StoreError> {
    row.get_ref(column)?.as_blob().map_err(|e| StoreError::Corrupt(e.to_string()))
}
