//! The file: how it is checked, opened and brought to the current schema.
//!
//! Invariant: a file that is no store, or the store of a later orchd, is never written to. It is looked at
//! through a read-only connection first. A migration and its version number are one transaction.

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::StoreError;

/// `orcd`: what tells our file from any other one.
const APPLICATION_ID: u32 = 0x6f72_6364;
/// Older ones can lose a write when the write-ahead log is reset while a reader begins.
const LIBRARY: (i32, &str) = (3_051_003, "3.51.3");
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Pages that the writing side keeps: those that many tasks change again and again.
const WRITER_CACHE_KIB: i32 = 32 * 1024;
/// There are several readers, each keeps what it has once read, and the system has it, too.
const READER_CACHE_KIB: i32 = 4 * 1024;

/// Each entry takes the schema from the version of its position to the next. Entries are never changed,
/// only added.
///
/// `status` and `priority` are positions in `Status::ALL` and `Priority::ALL`, times are microseconds since
/// the Unix epoch. A row stands for `more` further tasks with the ids after its own; the spec and the tags
/// of an element of an array are those of `array`. `record`, `data` and `events` are described in codec.rs.
pub(crate) const MIGRATIONS: &[&str] = &["
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), record BLOB NOT NULL);
CREATE TABLE task (
    id INTEGER PRIMARY KEY,
    status INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    name TEXT NOT NULL,
    owner INTEGER NOT NULL,
    workflow INTEGER,
    session INTEGER,
    key TEXT,
    skip_root INTEGER,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    record BLOB NOT NULL,
    result TEXT,
    array INTEGER,
    more INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX task_unfinished ON task(id) WHERE finished_at IS NULL;
CREATE INDEX task_finished ON task(finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX task_workflow ON task(workflow) WHERE workflow IS NOT NULL;
CREATE INDEX task_session ON task(session) WHERE session IS NOT NULL;
CREATE INDEX task_key ON task(key) WHERE key IS NOT NULL;
CREATE INDEX task_array ON task(array) WHERE array IS NOT NULL;
CREATE INDEX task_skip_root ON task(skip_root) WHERE skip_root IS NOT NULL;
CREATE TABLE spec (task INTEGER PRIMARY KEY, env INTEGER, text TEXT NOT NULL);
CREATE TABLE env (id INTEGER PRIMARY KEY AUTOINCREMENT, last_task INTEGER NOT NULL, text TEXT NOT NULL UNIQUE);
CREATE TABLE tag (tag TEXT NOT NULL, task INTEGER NOT NULL, PRIMARY KEY (tag, task)) WITHOUT ROWID;
CREATE TABLE attempt (
    task INTEGER NOT NULL,
    number INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (task, number)
) WITHOUT ROWID;
CREATE TABLE workflow (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    status INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    record BLOB NOT NULL,
    parameters TEXT NOT NULL
);
CREATE INDEX workflow_running ON workflow(id) WHERE finished_at IS NULL;
CREATE INDEX workflow_finished ON workflow(finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX workflow_name ON workflow(name);
CREATE TABLE journal (first_seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, events BLOB NOT NULL);
PRAGMA application_id = 0x6f726364;
", "
CREATE TABLE figures (id INTEGER PRIMARY KEY CHECK (id = 1), through INTEGER NOT NULL, record BLOB NOT NULL);
", "
CREATE TABLE definition (
    name TEXT PRIMARY KEY,
    file TEXT NOT NULL,
    text TEXT NOT NULL,
    owner INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
", "
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    owner INTEGER NOT NULL,
    closed_at INTEGER,
    record BLOB NOT NULL
);
CREATE INDEX session_open ON session(id) WHERE closed_at IS NULL;
CREATE INDEX session_name ON session(name);
ALTER TABLE workflow ADD COLUMN session INTEGER;
CREATE INDEX workflow_session ON workflow(session) WHERE session IS NOT NULL;
CREATE TABLE schedule (id INTEGER PRIMARY KEY, name TEXT NOT NULL, record BLOB NOT NULL, spec TEXT NOT NULL);
", crate::hook::SCHEMA, crate::blocked::SCHEMA, crate::reserved::SCHEMA, crate::trim::SCHEMA];

/// Opens the store for writing, creating or migrating it as needed.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let found = rusqlite::version_number();
    if found < LIBRARY.0 {
        return Err(StoreError::OldLibrary { found: rusqlite::version(), needed: LIBRARY.1 });
    }
    if !looks_new(path)? {
        check(path)?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| StoreError::io("open", path, e))?;
    let mut connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
    configure(&connection, WRITER_CACHE_KIB)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Engine(format!("no write-ahead log on this file system, but {mode}").into()));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // 16 MiB of log between write-backs: each page is written back once for many commits that touched it.
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    migrate(&mut connection, MIGRATIONS)?;
    Ok(connection)
}

/// Opens the store for questions.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    // Not read-only: a reader may have to build the index of the log anew. `query_only` keeps it from writing.
    let connection = open_unbound(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Opens the store for a copy: whoever may only read may not write another file either.
pub(crate) fn open_unbound(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
    configure(&connection, READER_CACHE_KIB)?;
    Ok(connection)
}

/// Opens a store that may be anything, and writes nothing to it.
pub(crate) fn open_untouched(path: &Path) -> Result<Connection, StoreError> {
    check(path)?;
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    configure(&connection, READER_CACHE_KIB)?;
    Ok(connection)
}

fn flags(access: OpenFlags) -> OpenFlags {
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE
}

fn configure(connection: &Connection, cache_kib: i32) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// Whether there is no file, or one that never got its first page.
fn looks_new(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file() && metadata.len() == 0),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(StoreError::io("look at", path, e)),
    }
}

/// Looks at the file without writing to it, and refuses what is not ours.
fn check(path: &Path) -> Result<(), StoreError> {
    let foreign = || StoreError::Foreign { path: path.to_owned() };
    let mut magic = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::IsADirectory => foreign(),
        _ => StoreError::io("read", path, e),
    })?;
    if &magic != MAGIC {
        return Err(foreign());
    }
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let number = |sql| connection.query_row::<u32, _, _>(sql, [], |row| row.get(0));
    let version = number("PRAGMA user_version")?;
    let application = number("PRAGMA application_id")?;
    let never_filled = version == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0;
    if application != APPLICATION_ID && !never_filled {
        return Err(foreign());
    }
    let supported = MIGRATIONS.len() as u32;
    if version > supported {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, supported });
    }
    Ok(())
}

/// Applies the migrations that the file has not seen, each in a transaction of its own.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (position, sql) in migrations.iter().enumerate().skip(version as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        let version = position as u32 + 1;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
        tracing::info!(version, "the store has a new schema version");
    }
    Ok(())
}

/// An empty store that is nowhere.
#[cfg(test)]
pub(crate) fn in_memory() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection, MIGRATIONS).unwrap();
    connection
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> usize {
        connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)).unwrap() as usize
    }

    #[test]
    fn an_empty_file_gets_the_current_schema_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, MIGRATIONS).unwrap();
        assert_eq!(version(&connection), MIGRATIONS.len());
        migrate(&mut connection, MIGRATIONS).unwrap();
        assert_eq!(version(&connection), MIGRATIONS.len());
    }

    #[test]
    fn an_older_store_is_brought_forward_with_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &MIGRATIONS[..1]).unwrap();
        connection.execute("INSERT INTO meta VALUES (1, x'00')", []).unwrap();
        let later = [MIGRATIONS[0], "ALTER TABLE meta ADD COLUMN note TEXT NOT NULL DEFAULT 'kept'"];
        migrate(&mut connection, &later).unwrap();
        assert_eq!(version(&connection), 2);
        let note: String = connection.query_row("SELECT note FROM meta", [], |row| row.get(0)).unwrap();
        assert_eq!(note, "kept");
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = [MIGRATIONS[0], "CREATE TABLE later (id INTEGER); INSERT INTO missing VALUES (1)"];
        assert!(migrate(&mut connection, &broken).is_err());
        assert_eq!(version(&connection), 1);
        let later: u32 = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'later'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(later, 0);
    }

    #[test]
    fn the_schema_sets_the_application_id_that_is_checked() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, MIGRATIONS).unwrap();
        let id: u32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0)).unwrap();
        assert_eq!(id, APPLICATION_ID);
    }
}
