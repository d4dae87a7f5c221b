//! Space kept aside for a full disk.
//!
//! The file `reserve` holds real blocks. When the disk is full, new work is refused, the reserve is given
//! up, and what runs can still be recorded; when there is space again the reserve is taken again.

use rustix::fs::FallocateFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Room for the ends of some ten thousand attempts and the write-ahead log that carries them.
const RESERVE_BYTES: u64 = 8 << 20;

/// The reserve file.
pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { path: dir.join("reserve") }
    }

    /// Gives the space back to the file system. Says whether there was any.
    pub(crate) fn release(&self) -> Result<bool, StoreError> {
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(StoreError::io("give up", &self.path, e)),
        }
    }

    /// Whether the space is held.
    pub(crate) fn is_held(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.len() == RESERVE_BYTES)
    }

    /// Takes the space, if it is not held. A file that could not be filled is removed again.
    pub(crate) fn restore(&self) -> Result<(), StoreError> {
        if self.is_held() {
            return Ok(());
        }
        let filled = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|file| fill(&file));
        filled.map_err(|e| {
            let _ = fs::remove_file(&self.path);
            StoreError::io("fill", &self.path, e)
        })
    }
}

/// Allocates blocks; file systems without fallocate(2) get zeros written.
fn fill(mut file: &File) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; 1 << 20];
    for _ in 0..RESERVE_BYTES / zeros.len() as u64 {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}
