//! How the last daemon of a state directory ended. The file `running` names the boot of the machine that it
//! runs in and goes with a clean end.
//!
//! A process that dies takes nothing with it that it had handed to the system, so only after the machine has
//! died is the store looked through before anything else; after a killed process that happens while it serves.

use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How the last daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastEnd {
    /// It said so, or there was none.
    Clean,
    /// It was killed; the machine has gone on.
    Killed,
    /// The machine stopped, or the store was found to be damaged.
    Lost,
}

/// The file that is there while a daemon runs.
pub struct Marker(PathBuf);

impl Marker {
    /// Leaves the marker of this daemon, and tells how the one before it ended.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn begin(state_dir: &Path) -> Result<(Self, LastEnd)> {
        let path = state_dir.join("running");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let last = match fs::read_to_string(&path) {
            Ok(former) if !boot.is_empty() && former == boot => LastEnd::Killed,
            Ok(_) => LastEnd::Lost,
            Err(error) if error.kind() == ErrorKind::NotFound => LastEnd::Clean,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let marker = Self(path);
        // A full disk must not keep the daemon from starting.
        if let Err(error) = marker.write(&boot) {
            tracing::warn!(%error, "a clean end will not be told from another one");
        }
        Ok((marker, last))
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        use std::io::Write;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(&self.0)?.write_all(text.as_bytes())
    }

    /// Has the next daemon look through the store before anything else.
    pub fn distrust(&self) {
        if let Err(error) = self.write("damaged") {
            tracing::error!(%error, "the damage cannot be noted");
        }
    }

    /// This daemon has ended in good order.
    pub fn end(&self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, "the next start takes this for no clean end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_tells_a_clean_end_from_a_kill_and_that_from_a_reboot() {
        let directory = tempfile::tempdir().unwrap();
        let begin = || Marker::begin(directory.path()).unwrap();
        assert_eq!(begin().1, LastEnd::Clean);
        let (marker, last) = begin();
        assert_eq!(last, LastEnd::Killed);
        marker.end();
        assert_eq!(begin().1, LastEnd::Clean);
        fs::write(directory.path().join("running"), "another boot").unwrap();
        let (marker, last) = begin();
        assert_eq!(last, LastEnd::Lost);
        marker.distrust();
        assert_eq!(begin().1, LastEnd::Lost);
    }
}
