//! How tasks are kept to their claims, and kept from a machine that has no room: as users see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, claims, gate, process, until};
use orchd_client::{Status, TaskSpec};
use orchd_model::{Amount, ErrorType, Reason, Span};
use rustix::process::Signal;

#[test]
fn a_task_that_ran_out_of_memory_gets_more_and_shows_both() {
    let daemon = Daemon::configured(1, "[enforcement]\nmemory = \"kill\"\ncgroup = \"off\"\n");
    let fill = "x=$(head -c 67108864 /dev/zero | tr '\\0' x)";
    let line = format!("{fill}; [ $ORCHD_ATTEMPT -gt 1 ] || {}", gate("never"));
    let mut spec = TaskSpec { claims: claims(&["memory=32MiB"]), ..daemon.shell(line) };
    spec.retry.max_retries = Some(1);
    spec.retry.retry_delay = Some(Span::ZERO);
    spec.retry.memory_factor = Some(8.0);
    let id = daemon.submit(spec);
    let task = daemon.ended_task(id);
    assert_eq!(task.status, Status::Completed, "{task:?}");
    assert_eq!(task.claims[0].amount, Amount::units(256 << 20));
    let said = daemon.orchctl(&["show", &id.to_string(), "--json"]);
    let shown = said.succeeds().json();
    let [first, second] = &shown["attempt_list"].as_array().unwrap()[..] else { panic!("{shown:#}") };
    assert_eq!(first["error_type"], ErrorType::OutOfMemory.as_str());
    assert_eq!(first["usage"]["memory_claim"], 32 << 20);
    assert_eq!(second["usage"]["memory_claim"], 256 << 20);
}

#[test]
fn what_left_its_process_group_is_ended_and_the_next_in_the_slot_is_not() {
    let daemon = Daemon::start(1);
    for _ in 0..3 {
        let stray = daemon
            .submit(daemon.shell("setsid sh -c 'echo > away; sleep 1000' & until [ -e away ]; do :; done"));
        let next = daemon.submit(daemon.shell("true"));
        daemon.wait(&[stray, next]);
        let statuses = [stray, next].map(|id| daemon.status(id));
        assert_eq!(statuses, [Status::Completed; 2], "{:?}", daemon.task(next));
        std::fs::remove_file(daemon.path("away")).unwrap();
    }
}

#[test]
fn more_memory_than_claimed_is_marked_in_what_show_prints() {
    let daemon = Daemon::configured(1, "[enforcement]\ncgroup = \"off\"\n");
    let line = "x=$(head -c 67108864 /dev/zero | tr '\\0' x)";
    let id = daemon.submit(TaskSpec { claims: claims(&["memory=32MiB"]), ..daemon.shell(line) });
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
    let said = daemon.orchctl(&["show", &id.to_string()]);
    assert!(said.succeeds().out.contains("(more than the 32 MiB it claims)"), "{said:?}");
}

#[test]
fn the_load_guard_holds_back_what_waits_until_there_is_room() {
    let daemon = Daemon::configured(1, "[guard]\nfree_memory = \"1000TiB\"\n");
    let id = daemon.submit(daemon.shell("true"));
    let is_room = |reason: &Reason| matches!(reason, Reason::Guard { because } if because.contains("guard.free_memory is 1048576000 MiB"));
    until("a worker is there, and the load was measured", || {
        daemon.task(id).reasons.iter().any(|reason| is_room(&reason.reason))
    });
    let listed = daemon.orchctl(&["list", "--json"]);
    assert_eq!(listed.succeeds().json()[0]["reasons"][0]["code"], "guard");
    daemon.write("orchd.toml", "[guard]\nfree_memory = 1\n");
    process::send(daemon.pid(), Signal::HUP);
    daemon.wait(&[id]);
    assert_eq!(daemon.status(id), Status::Completed);
    // What comes when nothing waits any more is held until somebody has looked, and no longer.
    let ids = daemon.submit_many((0..20).map(|_| daemon.shell("true")));
    daemon.wait(&ids);
}
