//! The binary form of version 1, byte by byte: a change of a type that is stored must not go unnoticed.
//!
//! When one of these fails, stored records of the old form can no longer be read: raise the version in
//! codec.rs, keep reading the old one, and add a golden file beside the old one. `BLESS=1` writes the file.

use orchd_core::Event;
use orchd_model::{Claim, Matcher, Sequence, SessionId, Span, TaskSpec};
use orchd_store::{Batch, Figures, Store};
use rusqlite::Connection;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use crate::world::World;
use crate::{open, temp_dir};

/// A task with every field in use, and an event of each kind that carries data.
fn batch() -> Batch {
    let mut world = World::new();
    world.submit_workflow("w", 1);
    let mut spec = TaskSpec::handler("module", "action", serde_json::Map::new());
    spec.claims_any = vec![vec!["gpu=1".parse().unwrap()], vec!["cpu=4".parse().unwrap()]];
    spec.claims = vec!["memory=512MiB".parse::<Claim>().unwrap(), "lock:a:exclusive".parse().unwrap()];
    spec.key = Some("key".to_owned());
    spec.session = Some(SessionId(3).into());
    spec.when = Some("true".to_owned());
    (spec.timeout, spec.deadline) = (Some(Span(1_500_000)), Some(Span(9)));
    spec.retry.max_retries = Some(2);
    spec.retry.retry_on = Some(vec!["1-9".parse::<Matcher>().unwrap(), "SIGKILL".parse().unwrap()]);
    let first = world.submit(spec);
    world.hold(first);
    world.start(first);
    world.retry(first);
    world.start(first);
    world.fail(first);
    world.revive(first);
    world.start(first);
    world.cancel(first);
    let other = world.submit(TaskSpec::shell("true"));
    world.skip(other, Some(first));
    let running = world.submit(TaskSpec::shell("true"));
    world.start(running);
    let session = world.create_session();
    world.close_session(session);
    world.set_resource(Some(2500), None);
    (0..2).for_each(|what| world.schedule(what));
    let slowest = vec![(running, Span(300))];
    let figures = Figures { through: Sequence(0), waits: vec![(1, 2)], runs: vec![(300, 1)], slowest };
    Batch { figures: Some(figures), ..world.batch() }
}

/// One line a value: its table and its bytes.
fn dump() -> String {
    let dir = temp_dir();
    let mut store = open(&dir);
    store.commit(&batch()).unwrap();
    Box::new(store).close().unwrap();
    let db = Connection::open(dir.path().join("orchd.db")).unwrap();
    let mut text = String::new();
    for (name, sql) in [
        ("meta", "SELECT record FROM meta"),
        ("task", "SELECT record FROM task ORDER BY id"),
        ("workflow", "SELECT record FROM workflow ORDER BY id"),
        ("session", "SELECT record FROM session ORDER BY id"),
        ("schedule", "SELECT record FROM schedule ORDER BY id"),
        ("attempt", "SELECT data FROM attempt ORDER BY task, number"),
        ("journal", "SELECT events FROM journal ORDER BY first_seq"),
        ("figures", "SELECT record FROM figures"),
    ] {
        let mut statement = db.prepare(sql).unwrap();
        let blobs = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        for blob in blobs {
            let hex: String = blob.unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{name} {hex}").unwrap();
        }
    }
    text
}

#[test]
fn version_1_is_written_byte_by_byte_as_it_always_was() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/version-1.hex");
    let found = dump();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(&path).unwrap(), "the binary form has changed");
}

#[test]
fn version_1_is_read_back_as_what_it_was() {
    let dir = temp_dir();
    let batch = batch();
    let mut store = open(&dir);
    store.commit(&batch).unwrap();
    let events: Vec<Event> = store.reader().unwrap().events(Sequence(0), usize::MAX).unwrap();
    assert_eq!(events.len(), batch.events.len());
    assert_eq!(events.last(), batch.events.last(), "the setting with a part left open");
    assert_eq!(store.load().unwrap().meta, batch.meta);
}
