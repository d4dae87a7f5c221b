//! What is there after the process died or the log was torn.

use orchd_core::Snapshot;
use orchd_model::TaskSpec;
use orchd_store::{SqliteStore, StateDir, Store};
use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::world::World;
use crate::{CHILD_DIR, open, spawn_child, temp_dir};

/// Commits and says so each time, until it is killed; it never ends in good order.
#[test]
fn child_that_commits() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let mut store = SqliteStore::open(&StateDir::open(dir).unwrap()).unwrap();
    let mut world = World::new();
    for number in 1..10_000 {
        for _ in 0..10 {
            world.submit(TaskSpec::shell("true"));
        }
        store.commit(&world.batch()).unwrap();
        // The harness holds back what tests print, so this goes past it.
        writeln!(std::io::stdout().lock(), "committed {number}").unwrap();
    }
    std::process::abort();
}

/// Reads acknowledgements until `count` of them have come.
fn acknowledged(output: &mut impl BufRead, count: u64) -> u64 {
    let mut last = 0;
    let mut line = String::new();
    while last < count && output.read_line(&mut line).unwrap() > 0 {
        if let Some(at) = line.find("committed ") {
            last = line[at + 10..].trim().parse().unwrap();
        }
        line.clear();
    }
    last
}

/// A loaded store must be as it was after some batch: ten tasks each, and the meta record of the same batch.
fn batches(snapshot: &Snapshot) -> u64 {
    let tasks = snapshot.tasks.len() as u64;
    assert_eq!(tasks % 10, 0, "a batch is there whole or not at all");
    if tasks > 0 {
        assert_eq!(snapshot.meta.next_task.0, tasks + 1, "the meta record is of the same batch");
    }
    tasks / 10
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = temp_dir();
    for count in [1, 7, 40] {
        let (mut child, mut output) = spawn_child("crash::child_that_commits", &dir);
        let seen = acknowledged(&mut output, count);
        assert_eq!(seen, count);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let mut store = open(&dir);
        assert!(batches(&store.load().unwrap()) >= seen);
        store.integrity().unwrap();
        drop(store);
        for name in ["orchd.db", "orchd.db-wal", "orchd.db-shm"] {
            let _ = fs::remove_file(dir.path().join(name));
        }
    }
}

/// The files as a dead process leaves them, with as much of the log as `edit` leaves.
fn load_copy(from: &Path, edit: impl FnOnce(&mut Vec<u8>)) -> Snapshot {
    let copy = temp_dir();
    fs::copy(from.join("orchd.db"), copy.path().join("orchd.db")).unwrap();
    let mut log = fs::read(from.join("orchd.db-wal")).unwrap();
    edit(&mut log);
    fs::write(copy.path().join("orchd.db-wal"), log).unwrap();
    let mut store = open(&copy);
    store.integrity().unwrap();
    store.load().unwrap()
}

#[test]
fn a_torn_log_gives_a_prefix_of_the_batches() {
    let dir = temp_dir();
    let mut store = open(&dir);
    let mut world = World::new();
    for _ in 0..12 {
        for _ in 0..10 {
            world.submit(TaskSpec::shell("true"));
        }
        store.commit(&world.batch()).unwrap();
    }
    let length = fs::metadata(dir.path().join("orchd.db-wal")).unwrap().len() as usize;
    assert_eq!(batches(&load_copy(dir.path(), |_| {})), 12);
    let mut last = 0;
    for part in 0..=24 {
        let found = batches(&load_copy(dir.path(), |log| log.truncate(length * part / 24)));
        assert!(found >= last, "a longer log has no fewer batches");
        last = found;
    }
    assert_eq!(last, 12);
    for part in 1..24 {
        let flipped = batches(&load_copy(dir.path(), |log| log[length * part / 24] ^= 0x40));
        assert!(flipped < 12, "a damaged frame ends the log");
    }
}
