//! Two daemons on one machine leave each other's tasks alone, though both count their tokens from 1.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, until};
use orchd_client::Status;

#[test]
fn the_death_of_one_daemons_worker_does_not_touch_the_tasks_of_the_other() {
    let (one, other) = (Daemon::start(2), Daemon::start(2));
    let lost = one.submit(one.shell(gate("never")));
    let kept = other.submit(other.shell(gate("open")));
    until("both run", || one.status(lost) == Status::Running && other.status(kept) == Status::Running);
    until("both have processes", || {
        !one.processes_of(lost).is_empty() && !other.processes_of(kept).is_empty()
    });
    let before = other.processes_of(kept);

    one.kill_worker();
    until("the lost task runs again", || one.task(lost).attempts == 2);
    assert!(other.processes_of(kept).iter().any(|pid| before.contains(pid)), "its shell goes on");

    other.write("open", "");
    let task = other.ended_task(kept);
    assert_eq!((task.status, task.attempts), (Status::Completed, 1));
}
