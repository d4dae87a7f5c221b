//! P5: what a backlog costs: the rate of short tasks beside 1 000, 100 000 and 1 000 000 waiting ones, and the
//! daemon's memory for each that waits.
//!
//! `cargo bench --bench backlog [-- MOST]`. The waiting ones are of a class that is paused. The reference is
//! the first row.

mod kit;

use kit::{Daemon, Failure, Rounds, count, proc_status, specs};

const ROUNDS: usize = 5;
const TASKS: usize = 2000;

fn main() -> Result<(), Failure> {
    let most = count(1_000_000);
    let mut first = None;
    println!("{TASKS} x /bin/true beside a backlog, {ROUNDS} rounds each");
    for waiting in [1000, 100_000, 1_000_000].into_iter().filter(|waiting| *waiting <= most) {
        let daemon = Daemon::start(&[])?;
        let file = daemon.path("specs");
        daemon.orchctl(&["pause", "--priority", "low"])?;
        let before = proc_status(daemon.pid(), "VmRSS:")?;
        specs(&file, waiting, ",\"priority\":\"low\"")?;
        daemon.orchctl(&["add", "--from", &file.to_string_lossy()])?;
        let grown = proc_status(daemon.pid(), "VmRSS:")?.saturating_sub(before);
        specs(&file, TASKS, ",\"priority\":\"high\",\"tags\":[\"now\"]")?;
        let mut rates = Rounds::default();
        for _ in 0..ROUNDS {
            let started = std::time::Instant::now();
            let output = daemon.orchctl_command(&["add", "--from", &file.to_string_lossy()]).output()?;
            let ids = String::from_utf8(output.stdout)?;
            let mut wait = vec!["wait"];
            wait.extend(ids.split_whitespace());
            daemon.orchctl(&wait)?;
            rates.add(TASKS as f64 / started.elapsed().as_secs_f64());
        }
        rates.show(&format!("{waiting} waiting"), "/s", first.as_ref());
        println!("{:<34} {:>12.0} B a waiting task", "", grown as f64 / waiting as f64);
        first.get_or_insert(rates);
    }
    Ok(())
}
