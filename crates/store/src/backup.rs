//! Copies of a store that is being written to, and the search for damage. Both read as of one instant and keep
//! no commit waiting; only the write-ahead log cannot be shortened meanwhile.

use rusqlite::Connection;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::StoreError;

/// Findings that are reported; the first ones say what kind of damage it is.
const FINDINGS: usize = 5;

/// Copies the store behind `db`, which must not be bound to read only, to a new file for the owner alone. The
/// copy has its final name only when it is whole and on disk.
pub(crate) fn backup(db: &Connection, to: &Path) -> Result<(), StoreError> {
    let failed = |action, error| StoreError::io(action, to, error);
    if fs::symlink_metadata(to).is_ok() {
        return Err(failed("write the backup", std::io::ErrorKind::AlreadyExists.into()));
    }
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = to.with_file_name(name);
    // Before anything is in it, so that nobody else can ever read it. One that was broken off is written anew.
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
    opened.map_err(|error| failed("write the backup", error))?;
    let text = part
        .to_str()
        .ok_or_else(|| failed("write the backup", std::io::Error::other("the path is not valid UTF-8")))?;
    let written = db.execute("VACUUM INTO ?1", [text]).map_err(StoreError::from).and_then(|_| {
        let synced = File::open(&part).and_then(|file| file.sync_all());
        // Without taking the place of a file that has come meanwhile.
        let named = synced.and_then(|()| fs::hard_link(&part, to));
        named.map_err(|error| failed("write the backup", error))
    });
    let _ = fs::remove_file(&part);
    written?;
    let directory = to.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| failed("write the backup", error))
}

/// Runs one of the two checks, `integrity_check` or the faster `quick_check`.
pub(crate) fn check(db: &Connection, pragma: &str) -> Result<(), StoreError> {
    let mut check = db.prepare(pragma)?;
    let findings: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    match findings.as_slice() {
        [only] if only == "ok" => Ok(()),
        _ => Err(StoreError::Corrupt(findings[..findings.len().min(FINDINGS)].join("; "))),
    }
}
