//! What every store must do, and what the embedded one must survive.
//!
//! [`conformance`] is generic: another implementation is put under it by one more call of its macro.
//! [`world`] plays the scheduler and makes legal batches, [`memory`] is the naive store to compare with.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod conformance;
mod crash;
mod files;
mod full;
mod golden;
mod memory;
mod too_many;
mod world;

use orchd_store::{SqliteStore, StateDir, Store, StoreError};
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// A state directory that disappears with its test.
fn temp_dir() -> TempDir {
    let private = Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("orchd-store").permissions(private).tempdir().unwrap()
}

/// Held while a child is being started: until it runs its own program it has a copy of every open file, and
/// with it the locks of the other tests' directories.
static STARTING: Mutex<()> = Mutex::new(());

fn open_state_dir(dir: &TempDir) -> Result<StateDir, StoreError> {
    let _nobody_starts = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    StateDir::open(dir.path())
}

fn open(dir: &TempDir) -> SqliteStore {
    SqliteStore::open(&open_state_dir(dir).unwrap()).unwrap()
}

fn open_boxed(dir: &TempDir) -> Box<dyn Store> {
    Box::new(open(dir))
}

/// The variable that tells a test that it is the child of another one, and which directory to use.
const CHILD_DIR: &str = "ORCHD_STORE_TEST_DIR";

/// Runs one test of this binary as a process of its own, with its output readable line by line.
fn spawn_child(test: &str, dir: &TempDir) -> (Child, BufReader<ChildStdout>) {
    let _only_this_one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--quiet"])
        .env(CHILD_DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    // A child that shares our memory lets go of it before it closes its copies; one that speaks has done both.
    output.read_line(&mut String::new()).unwrap();
    (child, output)
}
