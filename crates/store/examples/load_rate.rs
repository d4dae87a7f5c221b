//! How fast tasks are made durable and how fast a restart reads them back: inserts a million waiting tasks
//! in batches of a thousand, opens the store again and loads them.
//!
//! `cargo run --release -p orchd-store --example load_rate [TASKS] [BATCH]`

use orchd_core::{Demand, Event, Fact, Meta, Phase, Role, Runner, TaskRecord};
use orchd_model::{AttemptNumber, Claim, RetryPolicy, Sequence, TaskId, TaskSpec, Time};
use orchd_store::{Batch, SqliteStore, StateDir, Store, StoreError};
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), StoreError> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap_or(1));
    let (tasks, batch_size) =
        (arguments.next().unwrap_or(1_000_000), arguments.next().unwrap_or(1000).max(1));
    let path = std::env::temp_dir().join(format!("orchd-load-rate-{}", std::process::id()));
    let dir = StateDir::open(&path)?;

    let mut store = SqliteStore::open(&dir)?;
    let started = Instant::now();
    for first in (1..=tasks).step_by(batch_size as usize) {
        store.commit(&batch(first, batch_size.min(tasks + 1 - first)))?;
    }
    report("inserted", tasks, started);
    let bytes = store.reader()?.size_bytes()?;
    println!("{} MB on disk, {} B a task", bytes / 1_000_000, bytes / tasks);

    let started = Instant::now();
    Box::new(store).close()?;
    println!("closed in {:.3} s", started.elapsed().as_secs_f64());

    let started = Instant::now();
    let mut store = SqliteStore::open(&dir)?;
    println!("opened in {:.3} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let snapshot = store.load()?;
    report("loaded", snapshot.tasks.len() as u64, started);

    drop(store);
    std::fs::remove_dir_all(&path).map_err(|source| StoreError::Io { action: "remove", path, source })
}

fn report(what: &str, tasks: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what} {tasks} tasks in {seconds:.3} s, {:.0} a second", tasks as f64 / seconds);
}

fn batch(first: u64, count: u64) -> Batch {
    let claims: Box<[Claim]> = "cpu=2".parse().into_iter().collect();
    let demand = Arc::new(Demand {
        runner: Runner::Process,
        claims,
        variants: Box::default(),
        workflow: None,
        session: None,
    });
    let retry = Arc::new(RetryPolicy::default());
    let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/home/user"), ("LANG", "C.UTF-8")];
    let mut batch = Batch {
        meta: Meta {
            next_task: TaskId(first + count),
            next_sequence: Sequence(first + count),
            ..Meta::default()
        },
        ..Batch::default()
    };
    for id in first..first + count {
        let mut spec =
            TaskSpec::command(["convert".to_owned(), format!("image-{id}.png"), "-resize".to_owned()]);
        spec.env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        spec.cwd = Some("/home/user/images".to_owned());
        let time = Time(1_700_000_000_000_000 + id);
        let record = TaskRecord {
            id: TaskId(id),
            name: "convert".into(),
            owner: 1000,
            priority: spec.priority,
            demand: Arc::clone(&demand),
            edges: [].into(),
            conditional: false,
            retry: Arc::clone(&retry),
            timeout: None,
            deadline: None,
            not_before: None,
            key: None,
            hold: false,
            created_at: time,
            run_at: time,
            first_started_at: None,
            attempts: AttemptNumber(0),
            tries: 0,
            losses: 0,
            phase: Phase::Ready { since: time },
            array: None,
            more: 0,
            claimant: None,
            loosened: Vec::new(),
            progress: None,
            role: Role::default(),
        };
        let fact = Fact::Submitted { record: Box::new(record.clone()), spec: Some(Arc::new(spec)) };
        batch.events.push(Event {
            sequence: Sequence(id),
            time,
            workflow: None,
            session: None,
            more: 0,
            fact,
        });
        batch.tasks.push(record);
    }
    batch
}
