//! What is said when the store is damaged, and the exit code that goes with it.

use orchd_store::StoreError;

/// The exit code of a daemon whose store is damaged (`EX_DATAERR`, sysexits.h(3head)): a supervisor that starts
/// it again changes nothing.
pub const EXIT: i32 = 65;

/// The error with what to do about it.
pub fn advice(error: &StoreError) -> String {
    format!(
        "{error}\n  hint: keep a copy of orchd.db, orchd.db-wal and orchd.db-shm of the state directory, then put a \
         backup (orchctl backup) in the place of orchd.db without the other two, or let SQLite save what it can: \
         sqlite3 orchd.db .recover | sqlite3 new.db"
    )
}
