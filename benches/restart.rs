//! P7: from the start of a daemon to its first answer, with waiting and ended tasks in its state.
//!
//! `cargo bench --bench restart [-- COUNT]`: so many of each. After a polite end and after kill -9, in turn;
//! the reference is reading the bytes of the store.

mod kit;

use kit::{Daemon, Failure, Rounds, count, specs};
use std::time::Instant;

const ROUNDS: usize = 5;

fn main() -> Result<(), Failure> {
    let count = count(1_000_000);
    let mut daemon = Daemon::start(&[])?;
    daemon.orchctl(&["pause"])?;
    let file = daemon.path("specs");
    specs(&file, count, "")?;
    daemon.orchctl(&["add", "--from", &file.to_string_lossy()])?;
    daemon.orchctl(&["cancel", "--all"])?;
    daemon.orchctl(&["add", "--from", &file.to_string_lossy()])?;
    let [mut read, mut polite, mut crash]: [Rounds; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (politely, rounds) in [(true, &mut polite), (false, &mut crash)] {
            daemon.end(politely)?;
            let started = Instant::now();
            let bytes = std::fs::read(daemon.path("state/orchd.db"))?.len();
            read.add(started.elapsed().as_secs_f64() * 1000.0);
            assert!(bytes > 0, "the store has bytes");
            rounds.add(daemon.start_again()?.as_secs_f64() * 1000.0);
        }
    }
    println!("{count} waiting and {count} ended tasks, {ROUNDS} rounds, milliseconds to the first answer");
    read.show("reading the file of the store", "ms", None);
    polite.show("after a polite end", "ms", Some(&read));
    crash.show("after kill -9", "ms", Some(&read));
    Ok(())
}
