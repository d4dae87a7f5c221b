//! Whatever is asked, sent or found: a clear error, the documented exit code, and a daemon that goes on.
//! What is sent to the socket by somebody who does not speak our language is in `hostile_socket.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate};
use orchd_client::Status;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A daemon after something bad does what it is for.
fn still_serves(daemon: &Daemon) {
    let said = daemon.orchctl(&["run", "--", "echo", "alive"]);
    assert_eq!(said.succeeds().out, "alive\n");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_cannot_be_understood_is_a_mistake_of_usage_and_adds_nothing() {
    let daemon = Daemon::start(1);
    for (arguments, words) in [
        (&["add", "--prioritee", "high", "--", "true"][..], &["--prioritee", "--priority"][..]),
        (&["stats", "--jsonn"], &["--jsonn", "--json"]),
        (&["addd", "--", "true"], &["addd", "add"]),
        (&["add", "--priority", "urgent", "--", "true"], &["urgent", "critical", "low"]),
        (&["add", "--priority", "normel", "--", "true"], &["normel", "did you mean normal?"]),
        (&["add", "--claim", "memory", "--", "true"], &["memory", "amount"]),
        (&["add", "--claim", "disk:read", "--", "true"], &["disk"]),
        (&["add", "--claim", "cpu=0", "--", "true"], &["cpu=0"]),
        (&["add", "--claim", "cpu=-1", "--", "true"], &["cpu=-1"]),
        (&["add", "--claim", "cpu=lots", "--", "true"], &["lots"]),
        (&["add", "--claim", "cpu=NaN", "--", "true"], &["NaN"]),
        (&["add", "--claim", "lock", "--", "true"], &["lock"]),
        (&["add", "--claim", "", "--", "true"], &["--claim"]),
        (&["add", "--after", "seven", "--", "true"], &["seven"]),
        (&["add", "--after", "1:sometimes", "--", "true"], &["sometimes", "success"]),
        (&["show", "seven"], &["seven"]),
        (&["cancel", "-1"], &["-1"]),
        (&["logs", "18446744073709551616"], &["18446744073709551616"]),
        (&["add", "--timeout", "soon", "--", "true"], &["soon"]),
        (&["add", "--at", "9999-12-31T23:59:59Z", "--", "true"], &["9999-12-31", "must be between 1970"]),
        (&["add", "--at", "2030-01-31T18:00:00+25:00", "--", "true"], &["+25:00", "less than 24 hours"]),
        (&["add", "--timeout", "-1", "--", "true"], &["-1"]),
        (&["add", "--max-retries", "1", "--max-attempts", "5", "--", "true"], &["max_"]),
        (&["add", "--jitter", "2", "--", "true"], &["jitter"]),
        (&["add", "--env", "NOVALUE", "--", "true"], &["NOVALUE", "NAME=VALUE"]),
        (&["add", "--params", "[1]", "--handler", "m.a"], &["JSON object"]),
        (&["add"], &["nothing to run"]),
        (&["add", "--", ""], &[]),
        (&["add", "--atomic", "--", "true"], &["--from"]),
        (&["add", "--from", "no-such-file"], &["no-such-file"]),
        (&["--connect-timeout", "never", "stats"], &["never"]),
        (&[], &["Usage"]),
    ] {
        daemon.orchctl(arguments).fails_with(2, words);
    }
    assert_eq!(daemon.stats().total_tasks, 0);
    still_serves(&daemon);
}

#[test]
fn the_largest_id_is_as_unknown_as_any_other() {
    let daemon = Daemon::start(1);
    let held = daemon.orchctl(&["add", "--hold", "--", "true"]).succeeds().out.trim().to_owned();
    let (largest, all) = (u64::MAX.to_string(), format!("{held}-{}", u64::MAX));
    for arguments in [
        &["cancel", &largest][..],
        &["hold", &largest],
        &["release", &largest],
        &["reprioritize", &largest, "low"],
        &["retry", &largest],
        &["show", &largest],
    ] {
        let said = daemon.orchctl(arguments);
        let told = [&*said.out, &*said.err].concat();
        assert!(told.contains("no such task") && told.contains(&largest), "{:?}", said.fails_with(4, &[]));
    }
    // What is there of a range is served, and the rest is named to its end.
    let rest = format!("2-{}", u64::MAX);
    for arguments in [&["reprioritize", &all, "low"][..], &["cancel", &all]] {
        let said = daemon.orchctl(arguments);
        assert!(said.fails_with(4, &[]).out.contains(&rest), "{said:?}");
    }
    assert_eq!(daemon.status(held.parse().unwrap()), Status::Cancelled);
}

#[test]
fn what_cannot_be_granted_is_refused_with_what_there_is() {
    let daemon = Daemon::configured(1, "[resources.cpu]\ncapacity = 4\n");
    for (arguments, code, words) in [
        (&["add", "--claim", "cpu=5", "--", "true"][..], 5, &["cpu", "5", "4"][..]),
        (&["add", "--claim", "cpu=4.001", "--", "true"], 5, &["4.001"]),
        (&["add", "--claim", "external_api:nowhere=1", "--", "true"], 5, &["external_api:nowhere"]),
        (&["add", "--claim", "gpu=1", "--", "true"], 5, &["gpu"]),
        (&["add", "--after", "4711", "--", "true"], 4, &["4711"]),
        (&["show", "4711"], 4, &["4711"]),
        (&["why", "4711"], 4, &["4711"]),
        (&["logs", "4711"], 4, &["4711"]),
    ] {
        daemon.orchctl(arguments).fails_with(code, words);
    }
    // What becomes of each of several is what these print.
    for verb in ["cancel", "retry", "wait"] {
        let said = daemon.orchctl(&[verb, "4711"]);
        assert!(said.fails_with(4, &[]).out.contains("4711"), "{said:?}");
    }
    assert_eq!(daemon.stats().total_tasks, 0);
    still_serves(&daemon);
}

#[test]
fn the_same_key_for_another_task_is_a_conflict() {
    let daemon = Daemon::start(1);
    let add = |word: &str| daemon.orchctl(&["add", "--key", "nightly", "--", "echo", word]);
    let first = add("a").succeeds().out.clone();
    assert_eq!(add("a").succeeds().out, first, "the same task");
    add("b").fails_with(5, &["nightly"]);
    assert_eq!(daemon.stats().total_tasks, 1);
    still_serves(&daemon);
}

#[test]
fn a_workflow_file_that_makes_no_sense_is_refused_whole() {
    let daemon = Daemon::start(1);
    for (text, words) in [
        (
            "name: w\ntasks:\n  - { name: a, shell: x, dependencies: [c] }\n  - { name: b, shell: x, dependencies: [a] }\n  - { name: c, shell: x, dependencies: [b] }\n",
            &["w.yaml:", "cycle", "a", "b", "c", "->"][..],
        ),
        ("name: w\ntasks:\n  - name: a\n    shell: 'true\n", &["w.yaml:"]),
        ("name: w\ntasks:\n  - name: a\n   shell: x\n", &["w.yaml:4:"]),
        ("name: w\ntasks:\n  - { name: a, shell: x, priority: urgent }\n", &["w.yaml:3:", "urgent"]),
        ("name: w\ntasks:\n  - { name: a, shell: x, claims: ['cpu=-1'] }\n", &["w.yaml:3:", "-1"]),
        ("name: w\ntasks:\n  - { name: a, shell: x }\n  - { name: a, shell: y }\n", &["w.yaml:4:", "a"]),
        ("name: w\ntasks: []\n  nonsense", &["w.yaml:"]),
        ("", &["w.yaml"]),
        ("\u{0}\u{1}\u{fffd}", &["w.yaml"]),
    ] {
        daemon.write("w.yaml", text);
        daemon.orchctl(&["workflow", "run", "w.yaml"]).fails_with(2, words);
        let checked = daemon.orchctl(&["workflow", "check", "w.yaml"]);
        assert_eq!(checked.code, Some(1), "{text}: {checked:?}");
    }
    daemon.write(
        "w.yaml",
        "name: w\ntasks:\n  - { name: a, shell: x }\n  - { name: b, shell: x, claims: ['cpu=100000'] }\n",
    );
    daemon.orchctl(&["workflow", "run", "w.yaml"]).fails_with(5, &["cpu", "100000"]);
    assert_eq!(daemon.stats().total_tasks, 0, "all of it or nothing");
    still_serves(&daemon);
}

/// Good and bad lines: the third is no JSON, the fifth misspells a field, the sixth is refused by the daemon.
const LINES: &str = "{\"command\": [\"true\"], \"name\": \"first\"}\n\n{\"command\":\n\
    {\"command\": [\"true\"], \"name\": \"second\"}\n{\"comand\": [\"true\"]}\n\
    {\"command\": [\"true\"], \"claims\": [\"cpu=100000\"]}\n{\"command\": [\"true\"], \"name\": \"third\"}";

#[test]
fn of_a_bulk_request_the_good_lines_are_kept_and_the_bad_ones_named() {
    let daemon = Daemon::start(1);
    daemon.write("lines", LINES);
    let said = daemon.orchctl(&["add", "--from", "lines"]);
    said.fails_with(5, &["line 3: ", "line 5: ", "comand", "command", "line 6: ", "100000"]);
    assert_eq!((said.out.lines().count(), said.err.matches("orchctl: line ").count()), (3, 3), "{said:?}");
    let ids: Vec<_> = said.out.lines().map(|line| line.parse().unwrap()).collect();
    daemon.wait(&ids);
    let names: Vec<String> = ids.iter().map(|id| daemon.task(*id).name).collect();
    assert_eq!(names, ["first", "second", "third"]);
    assert_eq!(daemon.stats().total_tasks, 3);
    let said =
        daemon.orchctl_reading(&["add", "--from", "-", "--wait"], b"\xff\xfe\n{\"command\": [\"false\"]}\n");
    said.fails_with(5, &["line 1: ", "UTF-8"]);
    still_serves(&daemon);
}

#[test]
fn of_an_atomic_bulk_request_with_a_bad_line_nothing_is_kept() {
    let daemon = Daemon::start(1);
    let refused_by_the_daemon = "{\"command\": [\"true\"]}\n{\"command\": [\"true\"], \"claims\": [\"cpu=100000\"]}\n{\"command\": [\"true\"]}\n";
    let unknown_to_the_daemon =
        "{\"command\": [\"true\"]}\n{\"command\": [\"true\"], \"dependencies\": [\"nobody\"]}\n";
    for (lines, words) in [
        (LINES, &["line 3: ", "line 5: "][..]),
        (refused_by_the_daemon, &["line 2: ", "100000"]),
        (unknown_to_the_daemon, &["line 2: ", "nobody"]),
    ] {
        daemon.write("lines", lines);
        let said = daemon.orchctl(&["add", "--from", "lines", "--atomic"]);
        let code = if words.contains(&"nobody") { 4 } else { 5 };
        assert_eq!(said.fails_with(code, words).out, "", "no ids of what was not added");
        assert_eq!(daemon.stats().total_tasks, 0);
    }
    still_serves(&daemon);
}

#[test]
fn without_a_daemon_every_verb_says_so() {
    let mut daemon = Daemon::stopped(1, "");
    let socket = daemon.socket().display().to_string();
    for verb in [&["stats"][..], &["add", "--", "true"], &["run", "--", "true"], &["list"], &["cancel", "1"]]
    {
        daemon.orchctl(verb).fails_with(3, &[&socket, "hint: start it with: orchd"]);
    }
    daemon.start_again();
    still_serves(&daemon);
    daemon.kill();
    assert!(daemon.socket().exists(), "a killed daemon leaves its socket");
    daemon.orchctl(&["stats"]).fails_with(3, &[&socket]);
    daemon.start_again();
    still_serves(&daemon);
}

#[test]
fn a_socket_that_says_nothing_is_given_up_on() {
    let daemon = Daemon::stopped(1, "");
    let silent = daemon.path("silent");
    let _listens = UnixListener::bind(&silent).unwrap();
    let silent = silent.display().to_string();
    for verb in [&["stats"][..], &["add", "--", "true"], &["logs", "1", "-f"]] {
        let said = daemon.orchctl(&[&["--socket", &silent, "--connect-timeout", "0.2s"], verb].concat());
        said.fails_with(3, &[&silent]);
    }
}

#[test]
fn a_second_daemon_on_a_state_directory_names_the_first() {
    let daemon = Daemon::start(1);
    let (other, pid) = (daemon.path("other"), daemon.pid().to_string());
    for places in [&[][..], &["--socket", other.to_str().unwrap()]] {
        let said = daemon.orchd(places);
        said.fails_with(1, &[&pid, daemon.state_dir().to_str().unwrap()]);
        still_serves(&daemon);
    }
    assert!(!other.exists(), "it does not listen");
}

#[test]
fn a_daemon_does_not_listen_where_somebody_else_may_have_led_it() {
    let daemon = Daemon::stopped(1, "");
    let (everybodys, own) = (daemon.path("everybodys"), daemon.path("own"));
    for directory in [&everybodys, &own] {
        fs::create_dir(directory).unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&everybodys, fs::Permissions::from_mode(0o1777)).unwrap();
    let link = everybodys.join("orchd-7");
    std::os::unix::fs::symlink(&own, &link).unwrap();
    let socket = link.join("orchd.sock").display().to_string();
    let said = daemon.orchd(&["--socket", &socket]);
    said.fails_with(1, &["symbolic link", link.to_str().unwrap()]);
    assert_eq!(mode(&own), 0o755, "what it leads to is left as it was");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_never() {
    let mut daemon = Daemon::start(1);
    daemon.kill_and_restart();
    still_serves(&daemon);
    let other = daemon.path("other-state");
    let said = daemon.orchd(&["--state-dir", other.to_str().unwrap()]);
    said.fails_with(1, &[daemon.socket().to_str().unwrap(), "listens"]);
    still_serves(&daemon);
    // What is no socket is not ours to remove.
    let file = daemon.write("precious", "text");
    let said = daemon.orchd(&["--state-dir", other.to_str().unwrap(), "--socket", file.to_str().unwrap()]);
    said.fails_with(1, &["precious"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
    let long = daemon.path(&"x".repeat(120));
    let said = daemon.orchd(&["--state-dir", other.to_str().unwrap(), "--socket", long.to_str().unwrap()]);
    said.fails_with(1, &["too long"]);
    still_serves(&daemon);
}

#[test]
fn the_socket_and_the_state_directory_are_for_the_owner_alone() {
    let daemon = Daemon::start(1);
    still_serves(&daemon);
    assert!(fs::metadata(daemon.socket()).unwrap().file_type().is_socket());
    assert_eq!(mode(&daemon.socket()), 0o600);
    assert_eq!(mode(daemon.socket().parent().unwrap()), 0o700);
    assert_eq!(mode(&daemon.state_dir()), 0o700);
    for entry in fs::read_dir(daemon.state_dir()).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.is_dir() || mode(&path) & 0o077 == 0, "{}: {:o}", path.display(), mode(&path));
    }
}

#[test]
fn the_store_of_a_later_orchd_is_refused_and_left_as_it_is() {
    /// Where the file format of SQLite keeps `PRAGMA user_version`, big-endian.
    const USER_VERSION: std::ops::Range<usize> = 60..64;
    let mut daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell("echo kept"));
    daemon.wait(&[id]);
    daemon.terminate();
    let path = daemon.state_dir().join("orchd.db");
    let (was, log) = (fs::read(&path).unwrap(), daemon.state_dir().join("orchd.db-wal"));
    assert!(fs::metadata(log).map_or(0, |log| log.len()) == 0, "all of it is in the file");
    let mut later = was.clone();
    later[USER_VERSION].copy_from_slice(&4711_u32.to_be_bytes());
    fs::write(&path, &later).unwrap();
    daemon.orchd(&[]).fails_with(65, &["4711", "orchd.db"]);
    assert!(fs::read(&path).unwrap() == later, "it is left untouched");
    // Nor is what is no store at all.
    fs::write(&path, "somebody's letters").unwrap();
    daemon.orchd(&[]).fails_with(65, &["orchd.db"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's letters");
    fs::write(&path, &was).unwrap();
    daemon.start_again();
    assert_eq!(daemon.status(id), Status::Completed);
    still_serves(&daemon);
}

#[test]
fn a_configuration_with_a_mistake_is_not_run_with() {
    let mut daemon = Daemon::stopped(1, "");
    for (text, words) in [
        ("[scheduler]\nslot = 3\n", &["slot", "slots"][..]),
        ("[schedular]\nslots = 3\n", &["schedular", "scheduler"]),
        ("[defaults]\nmax_retrys = 3\n", &["max_retrys", "max_retries"]),
        ("[scheduler]\nslots = 'many'\n", &["many"]),
        ("[scheduler]\ngrace = 'soon'\n", &["soon"]),
        ("[scheduler]\naging = nan\nslot = 3\n", &["aging: not a duration: nan", "slot", "slots"]),
        ("[scheduler\n", &["orchd.toml"]),
    ] {
        daemon.write("orchd.toml", text);
        daemon.orchd(&[]).fails_with(2, words);
        daemon.orchd(&["check-config"]).fails_with(2, words);
    }
    daemon.orchd(&["--config", "no-such.toml"]).fails_with(2, &["no-such.toml"]);
    assert!(!daemon.state_dir().exists(), "nothing was begun");
    daemon.write("orchd.toml", "[scheduler]\nslots = 1\n");
    daemon.start_again();
    still_serves(&daemon);
}

#[test]
fn tasks_that_run_are_not_disturbed_by_what_is_refused() {
    let daemon = Daemon::start(2);
    let id = daemon.submit(daemon.shell(format!("{} exit 7", gate("go"))));
    daemon.until_status(id, Status::Running);
    daemon.orchctl(&["add", "--claim", "cpu=100000", "--", "true"]).fails_with(5, &["cpu"]);
    let said = daemon.orchctl(&["retry", &id.to_string()]);
    assert!(said.fails_with(5, &[]).out.contains("has not ended"), "{said:?}");
    daemon.orchd(&[]).fails_with(1, &[&daemon.pid().to_string()]);
    daemon.write("go", "");
    let result = daemon.ended_task(id).result.unwrap();
    assert_eq!((result.exit_code, result.attempts), (Some(7), 1));
    daemon.orchctl(&["cancel", &id.to_string()]).fails_with(1, &[]);
    assert_eq!(daemon.status(id), Status::Failed);
}
