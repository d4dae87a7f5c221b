//! Why a task waits, seen from outside: everything at once, who has it since when and until when, what has changed
//! its class, and the machine as a whole.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, claims, gate, until};
use orchd_client::model::FailFast;
use orchd_client::{Status, TaskId, TaskSpec, WorkflowSpec};
use serde_json::{Map, Value, json};

fn why(daemon: &Daemon, id: TaskId) -> Value {
    daemon.orchctl(&["--json", "why", &id.to_string()]).json()
}

fn codes(explained: &Value) -> Vec<&str> {
    let reasons = explained["reasons"].as_array().unwrap();
    reasons.iter().map(|reason| reason["code"].as_str().unwrap()).collect()
}

/// What `orchctl why` prints, line by line.
fn lines(daemon: &Daemon, id: TaskId) -> Vec<String> {
    let said = daemon.orchctl(&["why", &id.to_string()]);
    said.succeeds().out.lines().map(str::to_owned).collect()
}

fn added(daemon: &Daemon, words: &[&str]) -> TaskId {
    let said = daemon.orchctl(&[&["--json", "add"], words].concat());
    TaskId(said.json()["id"].as_u64().unwrap())
}

/// An instant as people are shown it.
fn shown(instant: &Value) -> String {
    instant.as_str().unwrap()[..19].replace('T', " ") + "Z"
}

#[test]
fn five_things_at_once_are_told_with_all_that_is_known_of_each() {
    let config = "[resources.gpu]\ncapacity = 4\n[resources.\"external_api:y\"]\nconcurrency = 9\n";
    let mut daemon = Daemon::configured(4, config);
    let (gate, options) =
        (gate("end"), "--name kept --claim gpu=3 --claim lock:l:exclusive --timeout 1h --shell --");
    let kept = added(&daemon, &Vec::from_iter(options.split(' ').chain([&*gate])));
    daemon.until_status(kept, Status::Running);
    let first = added(&daemon, &["--name", "first", "--hold", "--", "true"]);
    daemon.orchctl(&["resources", "throttle", "external_api:y", "3h"]).succeeds();
    let options =
        format!("--in 2h --after {first} --claim gpu=2 --claim external_api:y --claim lock:l -- true");
    let id = added(&daemon, &Vec::from_iter(options.split(' ')));
    daemon.orchctl(&["resources", "set", "gpu", "capacity=1"]).succeeds();

    let before = why(&daemon, id);
    let five = ["dependencies", "delayed", "throttled", "unsatisfiable", "resource"];
    assert_eq!(codes(&before), five);
    let of = |number: usize| &before["reasons"][number];
    let needed = json!([{"task": first, "name": "first", "on": "success", "status": "pending"}]);
    assert_eq!((&of(0)["tasks"], &of(0)["count"]), (&needed, &json!(1)));
    assert_eq!(of(2)["resource"], "external_api:y");
    assert_eq!((&of(3)["wants"], &of(3)["capacity"]), (&json!(2), &json!(1)));
    assert_eq!((&of(4)["wants"], &of(4)["free"], &of(4)["mode"]), (&json!(1), &Value::Null, &json!("read")));
    let holder = &of(4)["holders"][0];
    assert_eq!((&holder["task"], &holder["name"]), (&json!(kept), &json!("kept")));
    assert_eq!((&holder["mode"], &holder["amount"]), (&json!("exclusive"), &json!(1)));
    // As long as it cannot have what it wants at all, no instant is certain.
    assert_eq!(before["earliest_start"], Value::Null);

    let until_shown = |number: usize| shown(&of(number)["until"]);
    let expected = [
        format!("{id} (true) pending, class normal"),
        format!("  waiting for 1 task: {first} (first, pending)"),
        format!("  delayed until {}", until_shown(1)),
        format!("  external_api:y is throttled until {}", until_shown(2)),
        "  wants 2 of gpu:system_gpu, which has only 1 in all".to_owned(),
        "  short of lock:l: wants 1 read".to_owned(),
        format!(
            "    held by {kept} (kept): 1 exclusive since {}, until {} at the latest",
            shown(&holder["since"]),
            shown(&holder["until"])
        ),
    ];
    assert_eq!(lines(&daemon, id), expected);
    let list = daemon.orchctl(&["list", "--status", "pending"]).out;
    assert!(list.contains("waiting for 1 task") && list.contains("(and 4 more)"), "{list}");

    daemon.kill_and_restart();
    until("the worker is back", || {
        daemon.status(kept) == Status::Running && codes(&why(&daemon, id)) == five
    });
    daemon.write("end", "");
    daemon.wait(&[kept]);
    // Each goes when it is over, and none before.
    let steps: [(&[&str], &[&str]); 3] = [
        (&["resources", "set", "gpu", "capacity=2"], &["dependencies", "delayed", "throttled"]),
        (&["resources", "open", "external_api:y"], &["dependencies", "delayed"]),
        (&["release", &first.to_string()], &["delayed"]),
    ];
    for (step, left) in steps {
        daemon.orchctl(step).succeeds();
        until("one is over", || codes(&why(&daemon, id)) == left);
        // The last of what is known: when the throttle ends, and then the delay.
        let now = why(&daemon, id);
        assert_eq!(now["earliest_start"], now["reasons"][left.len() - 1]["until"]);
    }
}

#[test]
fn five_others_are_told_of_a_task_that_is_first_of_all_in_a_workflow() {
    let daemon = Daemon::configured(4, "[resources.gpu]\ncapacity = 1\n");
    let kept = TaskSpec { claims: claims(&["gpu=1", "lock:l"]), ..daemon.shell(gate("end")) };
    let kept = daemon.submit(kept);
    daemon.until_status(kept, Status::Running);
    let variants = vec![claims(&["gpu=1"]), claims(&["lock:l:write"])];
    let other = TaskSpec {
        name: "other".to_owned(),
        hold: true,
        claims_any: variants,
        ..TaskSpec::handler("m", "x", Map::new())
    };
    let spec = WorkflowSpec {
        name: "flow".to_owned(),
        parameters: Map::new(),
        max_parallel: Some(1),
        fail_fast: FailFast::No,
        timeout: None,
        session: None,
        on_event: Vec::new(),
        tasks: vec![TaskSpec { name: "one".to_owned(), ..daemon.shell(gate("end")) }, other],
    };
    let flow = daemon.client().submit_workflow(&spec).unwrap();
    let (one, id) = (flow.tasks["one"], flow.tasks["other"]);
    daemon.until_status(one, Status::Running);
    daemon.orchctl(&["pause"]).succeeds();
    let explained = why(&daemon, id);
    assert_eq!(codes(&explained), ["held", "paused", "max_parallel", "variants", "no_worker"]);
    let of = |number: usize| &explained["reasons"][number];
    assert_eq!(of(1)["scope"], "all");
    assert_eq!(
        (&of(2)["group"], &of(2)["limit"]),
        (&json!(format!("workflow {}", flow.workflow)), &json!(1))
    );
    for (number, resource) in ["gpu:system_gpu", "lock:l"].iter().enumerate() {
        let variant = &of(3)["variants"][number];
        let reason = &variant["reasons"][0];
        assert_eq!((&variant["variant"], &reason["resource"]), (&json!(number), &json!(resource)));
        assert_eq!(reason["holders"][0]["task"], json!(kept));
    }
    assert_eq!(of(4)["handler"], "m.x");
    let shown = lines(&daemon, id).join("\n");
    for part in [
        "\n  held\n",
        "\n  paused (all)\n",
        &format!("\n  workflow flow ({}) runs its limit of 1 at once\n", flow.workflow),
        "\n  none of its variants fits:\n",
        "\n    variant 0: gpu:system_gpu\n      short of gpu:system_gpu: wants 1 read, 0 free\n",
        &format!("\n        held by {kept} ("),
        "\n    variant 1: lock:l:write\n      short of lock:l: wants 1 write\n",
        "\n  no worker for m.x",
    ] {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    daemon.write("end", "");
    daemon.orchctl(&["resume"]).succeeds();
    daemon.wait(&[kept, one]);
    assert_eq!(codes(&why(&daemon, id)), ["held", "no_worker"]);
}

#[test]
fn a_class_that_was_lent_or_has_come_with_time_is_told() {
    let daemon = Daemon::configured(1, "[scheduler]\naging = \"20ms\"\n");
    let busy = daemon.submit(daemon.shell(gate("end")));
    daemon.until_status(busy, Status::Running);
    let root = added(&daemon, &["--priority", "low", "--name", "root", "--", "true"]);
    until("it has climbed up to high", || why(&daemon, root)["competes_as"] == "high");
    let first = |id: TaskId| lines(&daemon, id).remove(0);
    assert_eq!(
        first(root),
        format!("{root} (root) pending, class low, competes as high after waiting so long")
    );
    let leaf = added(
        &daemon,
        &["--priority", "critical", "--name", "leaf", "--after", &root.to_string(), "--", "true"],
    );
    let explained = why(&daemon, root);
    assert_eq!((&explained["priority"], &explained["competes_as"]), (&json!("low"), &json!("critical")));
    assert_eq!(explained["inherited_from"]["task"], json!(leaf));
    let lent =
        format!("{root} (root) pending, class low, competes as critical because {leaf} (leaf) needs it");
    assert_eq!(first(root), lent);
    // Nobody gets there by waiting.
    let other = added(&daemon, &["--priority", "high", "--name", "other", "--", "true"]);
    assert_eq!(why(&daemon, other)["competes_as"], "high");
    assert_eq!(
        lines(&daemon, other).last().unwrap().trim(),
        format!("ahead of it: 1 task: {root} (root, critical)")
    );
    daemon.orchctl(&["cancel", &leaf.to_string()]).succeeds();
    assert_eq!(why(&daemon, root)["competes_as"], "high");
    daemon.write("end", "");
    daemon.wait(&[busy, root, other]);
}

#[test]
fn resources_show_what_there_is_held_reserved_waited_for_and_to_come() {
    let config = "[scheduler]\nreservation_delay = 0\n[resources.gpu]\ncapacity = 4\n\
                  [resources.\"external_api:x\"]\ntokens = 1\nper = \"10h\"\nburst = 5\n";
    let mut daemon = Daemon::configured(9, config);
    let spec = |wanted: &str| TaskSpec { claims: claims(&[wanted]), ..daemon.shell(gate("end")) };
    let kept = daemon.submit_many([spec("gpu=3"), spec("external_api:x=4")]);
    kept.iter().for_each(|id| daemon.until_status(*id, Status::Running));
    let waiting = daemon.submit_many([spec("gpu=4"), spec("gpu=2"), spec("external_api:x=3")]);
    let one = |daemon: &Daemon, name: &str| -> Value {
        let all = daemon.orchctl(&["--json", "resources"]).json();
        all.as_array().unwrap().iter().find(|one| one["resource"] == name).unwrap().clone()
    };
    until("all have been looked at", || {
        one(&daemon, "gpu:system_gpu")["waiting"] == 2 && one(&daemon, "external_api:x")["reserved"] == 1
    });
    for _ in 0..2 {
        let gpu = one(&daemon, "gpu:system_gpu");
        let figures = ["capacity", "held", "free", "waiting"].map(|key| gpu[key].as_f64().unwrap());
        assert_eq!(figures, [4.0, 3.0, 1.0, 2.0], "{gpu}");
        assert!(gpu["reserved"].as_f64().unwrap() >= 1.0, "{gpu}");
        assert_eq!((&gpu["holders"][0]["task"], &gpu["state"]), (&json!(kept[0]), &json!("open")));
        let rate = &one(&daemon, "external_api:x")["rate"];
        assert_eq!(rate["left"].as_f64().unwrap().floor(), 1.0, "{rate}");
        assert!(rate["next_refill"].is_string(), "{rate}");
        let table = daemon.orchctl(&["resources"]).out;
        for part in ["CAPACITY", "HELD", "FREE", "RESERVED", "WAITING", "BLOCKED", "1/10h", "REFILL"] {
            assert!(table.contains(part), "{part} in {table}");
        }
        let blocked = |daemon: &Daemon| one(daemon, "gpu:system_gpu")["blocked_time"].clone();
        let now = blocked(&daemon);
        until("time passes for those that wait", || blocked(&daemon) != now);
        daemon.kill_and_restart();
        until("all is as it was", || {
            let gpu = one(&daemon, "gpu:system_gpu");
            gpu["waiting"] == 2 && gpu["reserved"] != 0 && gpu["holders"][0]["task"] == json!(kept[0])
        });
    }
    daemon.orchctl(&["resources", "set", "external_api:x", "tokens=100", "per=1ms"]).succeeds();
    daemon.write("end", "");
    daemon.wait(&[kept, waiting].concat());
    assert_eq!(one(&daemon, "gpu:system_gpu")["reserved"], 0);
    daemon.assert_nothing_is_held();
}
