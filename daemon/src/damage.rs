//! What is said when the store cannot be read, and the exit code that goes with it.

use orchd_store::StoreError;

/// The exit code of a daemon whose store cannot be read (`EX_DATAERR`, sysexits.h(3head)): a supervisor that starts
/// it again changes nothing.
pub const EXIT: i32 = 65;

/// The error with what to do about it, if it is about what the store holds: damage, something else, what only a
/// later orchd can read.
pub fn of(error: &StoreError) -> Option<String> {
    match error {
        StoreError::Corrupt(_) => Some(advice(error)),
        StoreError::Foreign { .. } => Some(format!(
            "{error}\n  hint: move it away if it is of no use, put a backup (orchctl backup) in its place, or name \
             another state directory"
        )),
        StoreError::Newer { .. } => Some(format!(
            "{error}\n  hint: start the later orchd, or put a backup of this one's in its place"
        )),
        StoreError::Locked { .. }
        | StoreError::Unsafe { .. }
        | StoreError::Full
        | StoreError::OldLibrary { .. }
        | StoreError::Io { .. }
        | StoreError::Engine(_) => None,
    }
}

/// What to do about a damaged store.
pub fn advice(error: &StoreError) -> String {
    format!(
        "{error}\n  hint: keep a copy of orchd.db, orchd.db-wal and orchd.db-shm of the state directory, then put a \
         backup (orchctl backup) in the place of orchd.db without the other two, or let SQLite save what it can: \
         sqlite3 orchd.db .recover | sqlite3 new.db"
    )
}
