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
mod world;

use orchd_store::{SqliteStore, StateDir, Store};
use std::fs::Permissions;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// A state directory that disappears with its test.
fn temp_dir() -> TempDir {
    let private = Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("orchd-store").permissions(private).tempdir().unwrap()
}

fn open(dir: &TempDir) -> SqliteStore {
    SqliteStore::open(&StateDir::open(dir.path()).unwrap()).unwrap()
}

fn open_boxed(dir: &TempDir) -> Box<dyn Store> {
    Box::new(open(dir))
}

/// The variable that tells a test that it is the child of another one, and which directory to use.
const CHILD_DIR: &str = "ORCHD_STORE_TEST_DIR";

/// Runs one test of this binary as a process of its own, with its output readable line by line.
fn spawn_child(test: &str, dir: &TempDir) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--quiet"])
        .env(CHILD_DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}
