//! What has ended leaves: tasks, workflows, events and output, by age and by number; backups and restores.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, until};
use orchd_client::{Status, TaskId};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The files of kept output.
fn outputs(daemon: &Daemon) -> Vec<String> {
    let mut found = Vec::new();
    for directory in fs::read_dir(daemon.path("state/output")).into_iter().flatten().flatten() {
        if directory.file_name() != "spool" {
            let files = fs::read_dir(directory.path()).into_iter().flatten().flatten();
            found.extend(files.map(|file| file.file_name().into_string().unwrap()));
        }
    }
    found.sort();
    found
}

fn ids(daemon: &Daemon) -> Vec<u64> {
    let mut ids: Vec<u64> = daemon.all_tasks().iter().map(|task| task.id.0).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn only_so_many_ended_tasks_are_kept_and_their_output_with_them() {
    let daemon = Daemon::configured(1, "[retention]\ntasks = 3\n");
    let open = daemon.submit(daemon.shell(gate("open")));
    for _ in 0..8 {
        // A retry leaves the output of two attempts.
        let line = "echo $ORCHD_TASK_ID; test $ORCHD_ATTEMPT = 2";
        let retry = orchd_client::model::RetrySpec {
            max_retries: Some(1),
            retry_delay: Some("0".parse().unwrap()),
            ..Default::default()
        };
        daemon.submit(orchd_client::TaskSpec { retry, ..daemon.shell(line) });
    }
    daemon.write("open", "");
    until("the oldest have left", || ids(&daemon) == [7, 8, 9]);
    let expected: Vec<String> =
        [7, 8, 9].iter().flat_map(|id| [1, 2].map(|attempt| format!("{id}.{attempt}.out"))).collect();
    until("their output has left, too", || outputs(&daemon) == expected);
    assert_eq!(daemon.orchctl(&["show", &open.to_string()]).code, Some(4));
    let next = daemon.submit(daemon.shell("true"));
    assert_eq!(next, TaskId(10), "ids are never used again");
}

#[test]
fn of_an_array_that_ended_as_one_no_more_is_kept_than_of_as_many_tasks() {
    let daemon = Daemon::configured(1, "[retention]\ntasks = 50\n");
    let first = daemon.submit(daemon.shell("true"));
    daemon.wait(&[first]);
    let add = ["add", "--name", "x-{index}", "--tag", "t", "--array", "1-20000", "--hold", "--", "true"];
    daemon.orchctl(&add).succeeds();
    daemon.orchctl(&["cancel", "--all"]).succeeds();
    let kept = || -> u64 {
        daemon.all_tasks().iter().map(|task| task.last.unwrap_or(task.id).0 - task.id.0 + 1).sum()
    };
    until("the front has left", || kept() == 50);
    // They are 2-20001.
    daemon.orchctl(&["show", "19951"]).fails_with(4, &["19951"]);
    let shown = daemon.orchctl(&["show", "19952", "--json"]).succeeds().json();
    assert_eq!((&shown["name"], &shown["status"]), (&json!("x-19951"), &json!("cancelled")));
    assert_eq!(daemon.orchctl(&["list", "--tag", "t", "--json"]).json().as_array().unwrap().len(), 1);
    daemon.orchctl(&["retry", "19960"]).succeeds();
    assert_eq!(daemon.ended_task(TaskId(19_960)).status, Status::Completed);
}

#[test]
fn of_tasks_that_end_at_once_no_more_leave_than_are_too_many() {
    let daemon = Daemon::configured(1, "[retention]\ntasks = 3\n");
    daemon.submit_many((0..8).map(|_| orchd_client::TaskSpec { hold: true, ..daemon.shell("true") }));
    daemon.orchctl(&["cancel", "--all"]).succeeds();
    until("the oldest have left", || ids(&daemon).len() <= 3);
    assert_eq!(ids(&daemon), [6, 7, 8]);
}

#[test]
fn what_runs_again_does_not_leave_meanwhile() {
    let daemon = Daemon::configured(2, "[retention]\ntasks = 20\n");
    let failing = || daemon.submit_many((0..100).map(|_| daemon.shell("false")));
    daemon.wait(&failing());
    std::thread::scope(|scope| {
        let retries = || {
            for _ in 0..40 {
                // Some of them have left, and some are about to.
                let known = ids(&daemon);
                let (first, last) = (known.first().unwrap(), known.last().unwrap());
                daemon.orchctl(&["retry", &format!("{first}-{last}")]);
            }
        };
        scope.spawn(retries);
        scope.spawn(retries);
        (0..20).for_each(|_| drop(failing()));
    });
    assert_eq!(daemon.ended_task(daemon.submit(daemon.shell("true"))).status, Status::Completed);
}

#[test]
fn what_is_too_old_leaves_an_idle_daemon() {
    let daemon = Daemon::configured(2, "[retention]\nage = \"300ms\"\n");
    let file = daemon.write("w.yaml", "tasks: [{ name: a, shell: echo a }]\n");
    daemon.orchctl(&["workflow", "run", file.to_str().unwrap()]);
    let open = daemon.submit(daemon.shell(gate("open")));
    until("the workflow and its task have left", || ids(&daemon) == [open.0]);
    until("the workflow has left", || {
        daemon.orchctl(&["workflow", "list", "--json"]).json() == serde_json::json!([])
    });
    until("the output has left", || outputs(&daemon).is_empty());
    let first_event = || daemon.events(None).first().map(|event| event.sequence.0);
    until("events have left", || first_event() > Some(1));
    assert_eq!(daemon.status(open), Status::Running, "what has not ended stays");
    daemon.write("open", "");
    until("everything has left", || ids(&daemon).is_empty());
}

#[test]
fn retention_that_is_made_stricter_holds_at_once() {
    let daemon = Daemon::configured(2, "");
    let tasks = daemon.submit_many((0..5).map(|_| daemon.shell("true")));
    daemon.wait(&tasks);
    daemon.write("orchd.toml", "[retention]\nage = \"1ms\"\n");
    kit::process::send(daemon.pid(), rustix::process::Signal::HUP);
    until("all have left", || ids(&daemon).is_empty());
}

#[test]
fn output_that_nobody_knows_is_removed_after_a_kill() {
    let mut daemon = Daemon::configured(1, "");
    let id = daemon.submit(daemon.shell("echo kept"));
    daemon.ended_task(id);
    daemon.kill();
    let orphan = daemon.path("state/output/7/7042.1.out");
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, "orphan").unwrap();
    daemon.start_again();
    until("the orphan has left", || !orphan.parent().unwrap().exists());
    assert_eq!(daemon.orchctl(&["logs", &id.to_string()]).succeeds().out, "kept\n");
}

/// What the files in a directory take on disk.
fn bytes_on_disk(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .filter(|file| file.is_file())
        .map(|f| f.blocks() * 512)
        .sum()
}

#[test]
fn of_too_much_output_the_beginning_and_the_end_are_kept_while_the_task_goes_on() {
    let mut daemon = Daemon::configured(1, "[output]\nmax_bytes = \"128KiB\"\n");
    let line = format!("echo first; yes x | head -c 3000000; echo last; : > written; {}", gate("open"));
    let id = daemon.submit(daemon.shell(line));
    until("it has written", || daemon.path("written").exists());
    let most = (128 << 10) + 8192;
    until("the middle is given back", || {
        let bytes = bytes_on_disk(&daemon.path("state/output/spool"));
        bytes > 0 && bytes <= most
    });
    daemon.write("open", "");
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
    assert!(bytes_on_disk(&daemon.path("state/output/0")) <= most);
    let said = daemon.orchctl(&["logs", &id.to_string()]);
    let out = &said.succeeds().out;
    assert!(out.starts_with("first\nx\nx\n") && out.ends_with("x\nlast\n"), "{} bytes", out.len());
    assert!(out.contains("bytes of output were too much and are not kept]") && !out.contains('\0'));
    assert!(out.len() < most as usize + 1000, "{} bytes", out.len());
    let tail = daemon.orchctl(&["logs", "--tail", "2", &id.to_string()]);
    assert_eq!(tail.succeeds().out, "x\nlast\n");
    // More lines than there are in what is kept of the end.
    let tail = daemon.orchctl(&["logs", "--tail", "1000000", &id.to_string()]);
    assert!(tail.succeeds().out.ends_with("x\nlast\n") && !tail.out.contains('\0'));
    // What was cut is told whatever the cap is now.
    daemon.write("orchd.toml", "");
    daemon.terminate();
    daemon.start_again();
    assert_eq!(&daemon.orchctl(&["logs", &id.to_string()]).succeeds().out, out);
}

fn copy_into(backup: &Path, daemon: &Daemon) {
    fs::create_dir_all(daemon.state_dir()).unwrap();
    fs::set_permissions(daemon.state_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(backup, daemon.path("state/orchd.db")).unwrap();
}

#[test]
fn a_backup_of_a_working_daemon_is_a_store_that_goes_on_from_there() {
    let daemon = Daemon::configured(2, "");
    let ended = daemon.submit(daemon.shell("exit 3"));
    daemon.ended_task(ended);
    let held = daemon.submit(orchd_client::TaskSpec { hold: true, ..daemon.shell("true") });
    let said = daemon.orchctl(&["backup", "copy.db", "--json"]);
    let copy = daemon.path("copy.db");
    assert_eq!(said.succeeds().json()["path"], copy.to_str().unwrap());
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    daemon.orchctl(&["backup", "copy.db"]).fails_with(5, &["copy.db"]);
    daemon.orchctl(&["backup", "/nowhere/copy.db"]).fails_with(5, &["/nowhere/copy.db"]);
    let later = daemon.submit(daemon.shell("true"));
    daemon.ended_task(later);
    let mut restored = Daemon::stopped(2, "");
    copy_into(&copy, &restored);
    restored.start_again();
    assert_eq!(ids(&restored), [ended.0, held.0]);
    assert_eq!(restored.task(ended).result.unwrap().exit_code, Some(3));
    restored.orchctl(&["release", &held.to_string()]).succeeds();
    assert_eq!(restored.ended_task(held).status, Status::Completed);
}

#[test]
fn what_ran_at_the_time_of_a_backup_is_lost_with_its_worker_where_it_is_restored() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell(format!("touch runs; {}", gate("go"))));
    until("it runs", || daemon.path("runs").exists());
    // That it has begun is known on disk, too.
    daemon.until_status(id, Status::Running);
    daemon.orchctl(&["backup", "copy.db"]).succeeds();
    let mut restored = Daemon::stopped(1, "");
    copy_into(&daemon.path("copy.db"), &restored);
    restored.start_again();
    until("it runs again", || restored.task(id).attempts == 2);
    let attempts = restored.orchctl(&["show", &id.to_string(), "--json"]).json()["attempt_list"].clone();
    assert_eq!(
        (&attempts[0]["outcome"], &attempts[0]["error_type"]),
        (&json!("worker_lost"), &json!("WorkerLost"))
    );
    daemon.write("go", "");
    assert_eq!(restored.ended_task(id).status, Status::Completed);
    assert_eq!(daemon.ended_task(id).attempts, 1, "here nothing was lost");
}

#[test]
fn a_damaged_store_is_refused_with_what_to_do() {
    let mut daemon = Daemon::configured(1, "");
    let tasks = daemon.submit_many((0..500).map(|n| daemon.shell(format!("echo {n}"))));
    daemon.wait(&tasks);
    assert!(daemon.terminate().success());
    assert!(!daemon.path("state/running").exists(), "a clean end leaves no marker");
    // Pages in the middle become garbage, and the machine seems to have stopped.
    let path = daemon.path("state/orchd.db");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 8192 * 4096;
    bytes[middle..middle + 8192].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    daemon.write("state/running", "another boot");
    daemon.orchd(&[]).fails_with(65, &["the store is damaged", "hint:", "orchctl backup"]);
    // As long as it is not mended.
    daemon.orchd(&[]).fails_with(65, &["the store is damaged"]);
}

#[test]
fn a_store_that_was_emptied_is_not_taken_for_a_new_one() {
    let mut daemon = Daemon::start(1);
    daemon.submit(daemon.shell("true"));
    assert!(daemon.terminate().success());
    for name in ["orchd.db", "orchd.db-wal"] {
        daemon.write(&format!("state/{name}"), "");
    }
    daemon.orchd(&[]).fails_with(65, &["the store is damaged", "orchd.db is empty", "orchctl backup"]);
    // Whoever takes it away wants a new one.
    fs::remove_file(daemon.path("state/orchd.db")).unwrap();
    daemon.start_again();
    assert_eq!(daemon.stats().total_tasks, 0);
}
