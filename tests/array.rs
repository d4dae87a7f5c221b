//! Arrays: one task an index, at the price of one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, until};
use orchd_client::model::{Dependency, DependencyTarget, On};
use orchd_client::{Status, TaskId, TaskSpec};
use serde_json::Value;
use std::fs;

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn each_element_knows_its_index_and_has_its_own_output_and_result() {
    let daemon = Daemon::start(2);
    let line = "echo {index} $ORCHD_INDEX; echo $ORCHD_INDEX >> ran; [ {index} -ne 7 ]";
    let said =
        daemon.orchctl(&["add", "--array", "1-10/3", "--name", "n{index}", "--wait", "--shell", "--", line]);
    said.fails_with(1, &[]);
    assert_eq!(said.out, "1-4\n");
    let mut ran = daemon.lines("ran");
    ran.sort();
    assert_eq!(ran, ["1", "10", "4", "7"]);
    assert_eq!(daemon.orchctl(&["logs", "4"]).succeeds().out, "10 10\n");
    let statuses = [1, 2, 3, 4].map(|id| (daemon.task(TaskId(id)).name, daemon.status(TaskId(id))));
    let expected = [("n1", Status::Completed), ("n4", Status::Completed), ("n7", Status::Failed)];
    assert_eq!(statuses[..3], expected.map(|(name, status)| (name.to_owned(), status)));
    let shown = daemon.orchctl(&["show", "3", "--json"]).json();
    assert_eq!(shown["array"], serde_json::json!({ "tasks": "1-4", "indices": "1-10/3", "index": 7 }));
    // The failed one runs again, alone.
    daemon.orchctl(&["retry", "3"]).succeeds();
    daemon.wait(&[TaskId(3)]);
    assert_eq!(daemon.lines("ran").len(), 5);
    daemon.assert_nothing_is_held();
}

#[test]
fn ten_million_elements_cost_no_more_than_ten_and_survive_a_kill() {
    let mut daemon = Daemon::configured(2, "[retention]\ntasks = 20_000_000\n");
    let hold = ["add", "--hold", "--tag", "big", "--array"];
    daemon.orchctl(&[&hold[..], &["1-10", "--", "true"]].concat()).succeeds();
    let before = resident(daemon.pid());
    let said = daemon.orchctl(&[&hold[..], &["1-10000000", "--", "true"]].concat());
    assert_eq!(said.succeeds().out, "11-10000010\n");
    let grown = resident(daemon.pid()).saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes");
    for _ in 0..2 {
        let listed = daemon.orchctl(&["list", "--json"]).json();
        let entries: Vec<(u64, u64)> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|task| (task["id"].as_u64().unwrap(), task["last"].as_u64().unwrap()))
            .collect();
        assert_eq!(entries, [(1, 10), (11, 10_000_010)]);
        assert_eq!(daemon.stats().pending, 10_000_010);
        assert_eq!(daemon.task(TaskId(5_000_010)).array.unwrap().index, 5_000_000);
        daemon.kill_and_restart();
    }
    // Some run, one is cancelled, the daemon is killed in the middle, the rest is cancelled.
    daemon.orchctl(&["cancel", "20"]).succeeds();
    assert_eq!(daemon.orchctl(&["release", "11-19", "21-40"]).succeeds().out.lines().count(), 2);
    daemon.kill_and_restart();
    let said = daemon.orchctl(&["wait", "11-40"]);
    said.fails_with(1, &[]);
    assert_eq!(said.out, "11-40 completed: 29\n11-40 cancelled: 1\n");
    let said = daemon.orchctl(&["cancel", "--tag", "big"]);
    assert_eq!(said.succeeds().out, "1-10 cancelled\n41-10000010 cancelled\n");
    daemon.orchctl(&["wait", "41-10000010"]).fails_with(1, &[]);
    daemon.orchctl(&["cancel", "41-10000010"]).fails_with(1, &[]);
    daemon.orchctl(&["cancel", "10000011-10000020"]).fails_with(4, &[]);
    let stats = daemon.stats();
    assert_eq!((stats.completed, stats.cancelled, stats.pending), (29, 9_999_981, 0));
    // One of the cancelled ones runs after all; its neighbours stay as they are.
    daemon.orchctl(&["retry", "7000000"]).succeeds();
    daemon.wait(&[TaskId(7_000_000)]);
    let around = [6_999_999, 7_000_000, 7_000_001].map(|id| daemon.status(TaskId(id)));
    assert_eq!(around, [Status::Cancelled, Status::Completed, Status::Cancelled]);
    daemon.assert_nothing_is_held();
}

#[test]
fn elements_are_known_by_their_own_names() {
    let daemon = Daemon::start(2);
    let names = |glob: &str| -> Vec<(String, u64)> {
        let list = daemon.orchctl(&["list", "--json", "--name", glob]).json();
        let name = |task: &Value| (task["name"].as_str().unwrap().to_owned(), task["id"].as_u64().unwrap());
        list.as_array().unwrap().iter().map(name).collect()
    };
    let add = ["add", "--hold", "--array", "8-30/2", "--name", "n{index}.x", "--", "sh", "-c"];
    daemon.orchctl(&[&add[..], &["test $ORCHD_INDEX != 20"]].concat()).succeeds();
    assert_eq!(names("n20.x"), [("n20.x".to_owned(), 7)]);
    assert_eq!(names("n?.?"), [("n8.x".to_owned(), 1)]);
    assert_eq!(names("n{index}*"), []);
    let ids =
        |arguments: &[&str]| daemon.orchctl(&[&["list", "-q"], arguments].concat()).succeeds().out.clone();
    assert_eq!(ids(&["--name", "n*"]), "1-12\n");
    assert_eq!(ids(&["--name", "n1*"]), "2-6\n");
    assert_eq!(ids(&["--name", "n*[0-4].x"]), "2-4\n7-9\n12\n");
    assert_eq!(ids(&["--name", "n*[0-4].x", "--limit", "2"]), "2-4\n7-9\n");
    daemon.orchctl(&["cancel", "2-6"]).succeeds();
    assert_eq!(ids(&["--name", "n*[0-4].x"]), "7-9\n12\n2-4\n");
    assert_eq!(ids(&["--name", "n*[0-4].x", "--status", "cancelled"]), "2-4\n");
    // Wherever one of them is named, it is by its own name.
    let after = daemon.orchctl(&["add", "--after", "7", "--", "true"]).succeeds().out.trim().to_owned();
    let inputs = daemon.submit(TaskSpec {
        dependencies: vec![Dependency { task: DependencyTarget::Id(TaskId(8)), on: On::Completion }],
        ..daemon.shell("cat $ORCHD_INPUTS")
    });
    let why = daemon.orchctl(&["why", "7"]);
    assert!(why.succeeds().out.starts_with("7 (n20.x) "), "{why:?}");
    let why = daemon.orchctl(&["why", &after]);
    assert!(why.succeeds().out.contains("7 (n20.x, pending)"), "{why:?}");
    daemon.orchctl(&["pause"]).succeeds();
    let add = ["add", "--array", "1-2", "--name", "m{index}", "--claim", "lock:l:write", "--", "sh", "-c"];
    let claiming = daemon.orchctl(&[&add[..], &[&gate("go")]].concat()).succeeds().out.trim().to_owned();
    let (first, second) = claiming.split_once('-').unwrap();
    let why = daemon.orchctl(&["why", second]);
    assert!(why.succeeds().out.contains(&format!("{first} (m1, ")), "{why:?}");
    daemon.orchctl(&["resume"]).succeeds();
    daemon.until_status(first.parse().unwrap(), Status::Running);
    for verb in [&["why", second][..], &["resources"], &["stats"], &["list", "--status", "pending"]] {
        let said = daemon.orchctl(verb);
        assert!(said.succeeds().out.contains(&format!("{first} (m1")), "{said:?}");
    }
    daemon.write("go", "");
    daemon.orchctl(&["release", "7-8"]).succeeds();
    daemon.wait(&[TaskId(7), TaskId(8), inputs]);
    let skipped = daemon.orchctl(&["list", "--status", "skipped", "--json"]).json();
    assert_eq!(skipped[0]["id"].to_string(), after);
    assert!(skipped[0]["status_reason"]["text"].as_str().unwrap().contains("7 (n20.x)"), "{skipped}");
    assert!(daemon.orchctl(&["logs", &inputs.to_string()]).out.contains("n22.x"));
    assert!(daemon.stats().slowest.iter().any(|slow| slow.name == "n22.x"));
}

#[test]
fn a_long_list_comes_whole_and_in_its_order() {
    let daemon = Daemon::start(1);
    daemon.orchctl(&["add", "--hold", "--array", "1-1000000", "--", "true"]).succeeds();
    let specs = (0..2500).map(|_| TaskSpec { hold: true, ..daemon.shell("true") });
    daemon.submit_many(specs);
    daemon.orchctl(&["cancel", "5", "1000001-1001200", "1002000"]).succeeds();
    let listed = |arguments: &[&str]| -> Vec<String> {
        let said = daemon.orchctl(&[&["list", "-q"], arguments].concat());
        said.succeeds().out.lines().map(str::to_owned).collect()
    };
    let waiting = ["1-4", "6-1000000"].map(str::to_owned).into_iter();
    let waiting =
        waiting.chain((1_001_201..=1_002_500).filter(|id| *id != 1_002_000).map(|id| id.to_string()));
    let ended = std::iter::once(1_002_000)
        .chain((1_000_001..=1_001_200).rev())
        .chain([5])
        .map(|id: u64| id.to_string());
    let expected: Vec<String> = waiting.clone().chain(ended).collect();
    let mut all = listed(&["--limit", "0"]);
    // Those that were cancelled in one request have ended at once or one after the other.
    assert_eq!(all.len(), expected.len());
    all[1301..].sort_unstable();
    let mut sorted = expected.clone();
    sorted[1301..].sort_unstable();
    assert_eq!(all, sorted);
    assert_eq!(listed(&["--limit", "0", "--status", "pending"]), waiting.collect::<Vec<_>>());
    assert_eq!(listed(&["--limit", "1200"]), expected[..1200]);
    assert_eq!(listed(&["--limit", "0", "--tag", "none"]), [""; 0]);
    assert_eq!(
        daemon.orchctl(&["list", "--limit", "0", "--tag", "none", "--json"]).json(),
        serde_json::json!([])
    );
}

#[test]
fn elements_that_wait_alike_are_one_row_wherever_they_wait() {
    let daemon = Daemon::start(2);
    // So that it is known how short tasks are, and the worker is given some ahead.
    daemon.orchctl(&["add", "--wait", "--array", "1-50", "--", "true"]).succeeds();
    daemon.orchctl(&["add", "--shell", "--array", "1-1000", "--", &gate("go")]).succeeds();
    until("both slots are taken", || daemon.stats().running == 2);
    let listed = |arguments: &[&str]| {
        daemon
            .orchctl(&[&["list", "-q", "--status", "pending,running"], arguments].concat())
            .succeeds()
            .out
            .clone()
    };
    for limit in ["0", "3", "100"] {
        assert_eq!(listed(&["--limit", limit]), "51\n52\n53-1050\n", "{limit}");
    }
    let said = daemon.orchctl(&["list", "--limit", "2", "--status", "pending,running"]);
    assert!(said.succeeds().err.contains("there are more than 2\nhint: --limit 0"), "{said:?}");
    assert_eq!(said.out.lines().count(), 3, "{said:?}");
    assert_eq!(listed(&["--limit", "2"]), "51\n52\n");
    daemon.orchctl(&["cancel", "53-1050"]).succeeds();
    daemon.write("go", "");
}

#[test]
fn others_can_depend_on_an_array_and_on_a_part_of_it() {
    let daemon = Daemon::start(2);
    let lines = concat!(
        r#"{"ref":"a","array":"1-20","shell":"echo {index} >> ran"}"#,
        "\n",
        r#"{"dependencies":["a"],"shell":"wc -l < ran > all"}"#,
        "\n",
    );
    let said = daemon.orchctl_reading(&["add", "--from", "-", "--wait"], lines.as_bytes());
    assert_eq!(said.succeeds().out, "1-20\n21\n");
    assert_eq!(daemon.lines("all"), ["20"]);
    daemon.orchctl(&["add", "--array", "1-3", "--hold", "--", "true"]).succeeds();
    let said = daemon.orchctl(&["add", "--after", "22-24:completion", "--", "true"]);
    assert_eq!(said.succeeds().out, "25\n");
    daemon.orchctl(&["cancel", "22-23"]).succeeds();
    let why = daemon.orchctl(&["why", "25"]);
    assert!(why.succeeds().out.contains("24"), "{}", why.out);
    daemon.orchctl(&["release", "24"]).succeeds();
    until("the last one has run", || daemon.status(TaskId(25)) == Status::Completed);
    daemon.orchctl(&["add", "--after", "24-26", "--", "true"]).fails_with(4, &["unknown dependency", "26"]);
    daemon.orchctl(&["add", "--array", "3-1", "--", "true"]).fails_with(2, &["3-1", "A-B"]);
    daemon.orchctl(&["run", "--array", "1-3", "--", "true"]).fails_with(2, &["--array", "--wait"]);
    daemon.orchctl(&["add", "--array", "1-3", "--follow", "--", "true"]).fails_with(2, &["--follow"]);
}
