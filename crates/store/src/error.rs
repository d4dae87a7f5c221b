//! What can go wrong with a store, by what an operator would do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon holds the state directory.
    #[error("the state directory {} is in use{}", path.display(), pid.map(|p| format!(" by process {p}")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, if it has said so yet.
        pid: Option<u32>,
        /// Whether that process gives it up soon: it has said so, or is dying.
        ends: bool,
    },
    /// The state directory may not be trusted.
    #[error("the state directory {} {problem}", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
    /// A later orchd wrote the store. It is left untouched.
    #[error("the store {} has schema version {found}; this orchd reads up to version {supported}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest version that this build knows.
        supported: u32,
    },
    /// The file is something else. It is left untouched.
    #[error("{} is not a store of orchd", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The store is damaged.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// There is no space left. Nothing of what was asked is there; the store is usable.
    #[error("no space left for the store")]
    Full,
    /// The database library has known defects.
    #[error("the database library has version {found}; orchd needs {needed} or later")]
    OldLibrary {
        /// Its version.
        found: &'static str,
        /// The oldest one that will do.
        needed: &'static str,
    },
    /// The world's failure around files.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The database's failure, for any other reason.
    #[error("the database failed: {0}")]
    Engine(#[source] Box<dyn Error + Send + Sync>),
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull || source.kind() == io::ErrorKind::QuotaExceeded {
            return Self::Full;
        }
        Self::Io { action, path: path.into(), source }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
        match error.sqlite_error() {
            Some(e) if e.code == ErrorCode::DiskFull || e.extended_code == SQLITE_IOERR_SHMSIZE => Self::Full,
            Some(e) if matches!(e.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Engine(Box::new(error)),
        }
    }
}
