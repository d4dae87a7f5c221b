//! A store that no daemon has open, looked at from outside. Nothing is written to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::{backup, schema, sqlite};

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The file.
    pub path: PathBuf,
    /// Bytes that it takes, with its log.
    pub bytes: u64,
    /// What is wrong with it.
    pub damage: Option<String>,
}

/// Looks through the store of a state directory; none when there is none yet.
///
/// # Errors
/// [`StoreError::Foreign`], [`StoreError::Newer`], or that it cannot be read.
pub fn inspect(state_dir: &Path) -> Result<Option<Inspected>, StoreError> {
    let path = state_dir.join(sqlite::FILE);
    match fs::metadata(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("look at", &path, error)),
    }
    let bytes = size(&path)?;
    let checked = schema::open_untouched(&path).and_then(|db| backup::check(&db, "PRAGMA quick_check(100)"));
    let damage = match checked {
        Ok(()) => None,
        Err(error @ StoreError::Corrupt(_)) => Some(error.to_string()),
        Err(error) => return Err(error),
    };
    Ok(Some(Inspected { path, bytes, damage }))
}

/// Bytes that a store takes, with its log.
pub(crate) fn size(path: &Path) -> Result<u64, StoreError> {
    let mut total = 0;
    for suffix in ["", "-wal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::metadata(&name) {
            Ok(metadata) => total += metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("look at", name, error)),
        }
    }
    Ok(total)
}
