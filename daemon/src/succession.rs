//! Taking the state directory over from a daemon that ends.
//!
//! ```text
//! free ── taken
//! its holder ends ── waited for, at most PATIENCE
//! its holder works ── refused, after the time that a signal to end may need to be heard
//! ```

use orchd_store::{StateDir, StoreError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// A process that was told to end a moment ago has said by then that it does.
const HEARD: Duration = Duration::from_secs(1);
/// One that ends has what it acknowledged on disk and its answers read by then.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens a state directory, and waits while another process is about to give it up.
///
/// # Errors
/// As [`StateDir::open`].
pub fn open(path: &Path) -> Result<StateDir, StoreError> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match StateDir::open(path) {
            Err(StoreError::Locked { pid, ends, .. })
                if pid != Some(std::process::id())
                    && began.elapsed() < if ends { PATIENCE } else { HEARD } =>
            {
                if let Some(pid) = pid.filter(|_| ends && !is_told) {
                    eprintln!("orchd: waiting for process {pid}, which ends and holds {}", path.display());
                    is_told = true;
                }
            }
            opened => return opened,
        }
        sleep(LOOK_AGAIN);
    }
}
