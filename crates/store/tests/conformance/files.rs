//! What the store does with directories and files that it should not touch.

use orchd_model::{Sequence, TaskSpec};
use orchd_store::{SqliteStore, StateDir, Store, StoreError};
use std::fs::{self, Permissions};
use std::io::{BufRead, Read, Write};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

use crate::world::World;
use crate::{CHILD_DIR, open, open_state_dir, spawn_child, temp_dir};

fn try_open(dir: &TempDir) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&open_state_dir(dir)?)
}

/// Holds the directory until its input ends.
#[test]
fn child_that_holds_the_lock() {
    let Ok(path) = std::env::var(CHILD_DIR) else { return };
    let _dir = StateDir::open(path).unwrap();
    writeln!(std::io::stdout().lock(), "locked").unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let dir = temp_dir();
    let (mut child, mut output) = spawn_child("files::child_that_holds_the_lock", &dir);
    let mut line = String::new();
    while !line.contains("locked") {
        assert!(output.read_line(&mut line).unwrap() > 0, "the child ended early");
    }
    match StateDir::open(dir.path()).unwrap_err() {
        StoreError::Locked { pid, .. } => assert_eq!(pid, Some(child.id())),
        other => panic!("{other}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    StateDir::open(dir.path()).expect("the lock dies with its holder, whatever the file says");
}

#[test]
fn the_lock_lives_as_long_as_the_store_and_no_longer() {
    let dir = temp_dir();
    let store = try_open(&dir).unwrap();
    assert!(matches!(StateDir::open(dir.path()), Err(StoreError::Locked { pid: Some(_), .. })));
    Box::new(store).close().unwrap();
    open_state_dir(&dir).unwrap();
}

#[test]
fn a_closed_store_is_one_file_also_while_somebody_reads() {
    let dir = temp_dir();
    let store = try_open(&dir).unwrap();
    let read = store.reader_factory();
    let mut reader = read().unwrap();
    assert!(reader.spec(orchd_model::TaskId(1)).unwrap().is_none());
    let path = dir.path().join("orchd.db");
    let before = fs::metadata(&path).unwrap().len();
    Box::new(store).close().unwrap();
    assert!(fs::metadata(&path).unwrap().len() > before, "what was in the log is in the file");
}

#[test]
fn a_state_directory_is_made_private() {
    let dir = temp_dir();
    let path = dir.path().join("a/b");
    let state = StateDir::open(&path).unwrap();
    assert_eq!(fs::metadata(state.path()).unwrap().permissions().mode() & 0o777, 0o700);
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    fs::set_permissions(&empty, Permissions::from_mode(0o755)).unwrap();
    StateDir::open(&empty).unwrap();
    assert_eq!(fs::metadata(&empty).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_that_others_can_enter_and_that_has_something_in_it_is_refused() {
    let dir = temp_dir();
    fs::write(dir.path().join("letter"), "private").unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(StateDir::open(dir.path()), Err(StoreError::Unsafe { .. })));
    assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o755);
    let file = dir.path().join("letter");
    assert!(StateDir::open(file).is_err(), "a file is no directory");
}

/// A store with one task, closed.
fn filled() -> TempDir {
    let dir = temp_dir();
    let mut store = open(&dir);
    let mut world = World::new();
    world.submit(TaskSpec::shell("true"));
    store.commit(&world.batch()).unwrap();
    Box::new(store).close().unwrap();
    dir
}

/// Changes bytes of the closed store, and says what opening it gives; the bytes must be left as they are.
fn refusal(dir: &TempDir, edit: impl FnOnce(&mut Vec<u8>)) -> StoreError {
    let path = dir.path().join("orchd.db");
    let mut bytes = fs::read(&path).unwrap();
    edit(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let error = try_open(dir).err().expect("it should be refused");
    assert_eq!(fs::read(&path).unwrap(), bytes, "it is left untouched");
    error
}

#[test]
fn the_store_of_a_later_orchd_is_refused_and_left_untouched() {
    // Bytes 60 to 63 of the header are the user version (SQLite file format, section 1.3).
    let error = refusal(&filled(), |bytes| bytes[60..64].copy_from_slice(&99_u32.to_be_bytes()));
    assert!(matches!(error, StoreError::Newer { found: 99, supported: 8, .. }), "{error}");
}

#[test]
fn the_database_of_another_program_is_refused_and_left_untouched() {
    let error = refusal(&filled(), |bytes| bytes[68..72].copy_from_slice(&1_u32.to_be_bytes()));
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_untouched() {
    for text in ["hello\n".to_owned(), "no database\n".repeat(1000)] {
        let dir = temp_dir();
        fs::write(dir.path().join("orchd.db"), text).unwrap();
        let error = refusal(&dir, |_| {});
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    }
}

#[test]
fn a_damaged_database_is_a_typed_error() {
    let dir = filled();
    let path = dir.path().join("orchd.db");
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[4096..].fill(0x5a);
    fs::write(&path, &bytes).unwrap();
    let found = try_open(&dir).and_then(|mut store| store.load());
    assert!(matches!(found, Err(StoreError::Corrupt(_))), "{found:?}");
    assert_eq!(fs::metadata(&path).unwrap().len() as usize, length);
}

#[test]
fn a_file_that_never_got_its_first_page_is_a_new_store() {
    let dir = temp_dir();
    fs::write(dir.path().join("orchd.db"), "").unwrap();
    assert!(open(&dir).load().unwrap().tasks.is_empty());
}

#[test]
fn whoever_reads_a_page_of_the_journal_does_not_read_all_of_a_large_batch() {
    let dir = temp_dir();
    let (mut store, mut world) = (open(&dir), World::new());
    for number in 0..3000 {
        world.submit(TaskSpec { name: format!("n{number}"), ..TaskSpec::shell("true") });
    }
    let batch = world.batch();
    store.commit(&batch).unwrap();
    let rows = "SELECT max(length(events)) * 2 < sum(length(events)) FROM journal";
    let file = rusqlite::Connection::open(dir.path().join("orchd.db")).unwrap();
    assert!(file.query_row(rows, [], |row| row.get::<_, bool>(0)).unwrap());
    let mut history = store.reader().unwrap();
    for (after, limit) in [(0, 5000), (1023, 2), (1024, 1), (2047, 100), (2999, 10)] {
        let events = history.events(Sequence(after), limit).unwrap();
        let sequences: Vec<u64> = events.iter().map(|event| event.sequence.0).collect();
        let expected: Vec<u64> = (after + 1..=3000).take(limit).collect();
        assert!(sequences == expected, "after {after}: {} events", sequences.len());
    }
}
