//! Events: every type, what subscribers may ask for, replay over restarts and retention, slow subscribers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, claims, gate, until};
use orchd_client::api::{EVENT_TYPES, Event, EventQuery, EventType, NOTICES};
use orchd_client::model::RetrySpec;
use orchd_client::{Status, TaskSpec};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

const ORCHCTL: &str = env!("CARGO_BIN_EXE_orchctl");

/// A rate that lasts for a test, and what makes memory run out.
const CONFIG: &str = "[enforcement]\nmemory = \"kill\"\ncgroup = \"off\"\n\
                      [resources.\"external_api:x\"]\ntokens = 1\nper = \"10h\"\nburst = 10\n";

/// Types that do not occur in every life of a daemon, and where they are seen to.
const ELSEWHERE: [(&str, &str); 8] = [
    ("task.placed", "crates/core/tests/scenarios/ahead.txt, whenever tasks are short enough"),
    ("task.recalling", "crates/core/tests/scenarios/ahead.txt"),
    ("task.recalled", "crates/core/tests/scenarios/ahead.txt"),
    ("task.armed", "crates/core/tests/scenarios/compensation.txt"),
    ("task.called", "crates/core/tests/scenarios/compensation.txt"),
    ("task.computing", "crates/core/tests/scenarios/foreach.txt"),
    ("task.expanded", "crates/core/tests/scenarios/foreach.txt"),
    ("task.replaced", "crates/core/tests/scenarios/foreach.txt"),
];

fn kinds(events: &[Event]) -> BTreeSet<String> {
    events.iter().map(|event| event.kind.clone()).collect()
}

fn seen(daemon: &Daemon, kind: &str) -> bool {
    daemon.events(None).iter().any(|event| event.kind == kind)
}

fn retrying(spec: TaskSpec) -> TaskSpec {
    let retry =
        RetrySpec { max_retries: Some(1), retry_delay: Some("0".parse().unwrap()), ..RetrySpec::default() };
    TaskSpec { retry, ..spec }
}

/// What a single task can go through.
fn live_tasks(daemon: &Daemon) {
    let held = daemon.submit(TaskSpec { hold: true, ..daemon.shell("true") }).to_string();
    let spec = daemon.client().spec(held.parse().unwrap()).unwrap();
    daemon.client().edit(held.parse().unwrap(), &spec).unwrap();
    daemon.orchctl(&["reprioritize", &held, "high"]).succeeds();
    daemon.orchctl(&["release", &held]).succeeds();
    let later = daemon.orchctl(&["add", "--in", "10h", "--", "true"]).out;
    daemon.orchctl(&["hold", later.trim()]).succeeds();
    daemon.orchctl(&["cancel", later.trim()]).succeeds();
    daemon.orchctl(&["add", "--when", "1 < 2", "--", "true"]).succeeds();
    let failed = daemon.submit(retrying(daemon.shell("exit 1")));
    let needs = daemon.orchctl(&["add", "--after", &failed.to_string(), "--", "true"]).out;
    daemon.wait(&[failed, needs.trim().parse().unwrap()]);
    daemon.orchctl(&["retry", &failed.to_string()]).succeeds();
    let running = daemon.submit(daemon.shell(gate("never")));
    daemon.until_status(running, Status::Running);
    daemon.orchctl(&["cancel", &running.to_string()]).succeeds();
    let says = daemon.submit(daemon.shell("echo 0.5 > $ORCHD_PROGRESS"));
    daemon.wait(&[says]);
    let told = format!(
        "test $ORCHD_ATTEMPT -gt 1 || {{ {ORCHCTL} -q resources throttle external_api:x 1ms; exit 1; }}"
    );
    let told = daemon.submit(TaskSpec { claims: claims(&["external_api:x=1"]), ..daemon.shell(told) });
    let used = format!("{ORCHCTL} -q resources settle external_api:x 1");
    let used = daemon.submit(TaskSpec { claims: claims(&["external_api:x=1"]), ..daemon.shell(used) });
    let fill = format!(
        "x=$(head -c 67108864 /dev/zero | tr '\\0' x); [ $ORCHD_ATTEMPT -gt 1 ] || {}",
        gate("never")
    );
    let mut large = retrying(TaskSpec { claims: claims(&["memory=32MiB"]), ..daemon.shell(fill) });
    large.retry.memory_factor = Some(8.0);
    let large = daemon.submit(large);
    daemon.wait(&[failed, running, told, used, large]);
}

/// Workflows that end in each way.
fn live_workflows(daemon: &Daemon) {
    daemon.write("good.yaml", "name: good\ntasks: [{ name: a, shell: 'true' }]\n");
    daemon.write(
        "bad.yaml",
        "name: bad\nfail_fast: true\ntasks: [{ name: a, shell: exit 1 }, { name: b, shell: 'true', dependencies: [a] }]\n",
    );
    daemon.write(
        "long.yaml",
        "name: long\ntasks: [{ name: a, shell: sleep 600 }]\nfinally: [{ name: end, shell: 'true' }]\n",
    );
    daemon.write("late.yaml", "name: late\ntimeout: 0.01\ntasks: [{ name: a, shell: sleep 600 }]\n");
    let run = |file: &str| daemon.orchctl(&["workflow", "run", file]);
    run("good.yaml").succeeds();
    let bad = run("bad.yaml");
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert_eq!(run("late.yaml").code, Some(1));
    daemon.orchctl(&["workflow", "run", "long.yaml", "--detach"]).succeeds();
    daemon.orchctl(&["pause", "--workflow", "long"]).succeeds();
    daemon.orchctl(&["resume", "--workflow", "long"]).succeeds();
    daemon.orchctl(&["cancel", "--workflow", "long"]).succeeds();
    until("the long one has ended", || seen(daemon, "workflow.cancelled"));
    let failed = daemon.events(None).into_iter().find(|event| event.kind == "workflow.stopped").unwrap();
    daemon.orchctl(&["retry", &failed.data["task"].to_string()]).succeeds();
}

/// A session that is closed while something of it runs.
fn live_sessions(daemon: &Daemon) {
    daemon.orchctl(&["session", "create", "nightly"]).succeeds();
    daemon.orchctl(&["pause", "--session", "nightly"]).succeeds();
    daemon.orchctl(&["resume", "--session", "nightly"]).succeeds();
    daemon.orchctl(&["add", "--session", "nightly", "--in", "10h", "--", "true"]).succeeds();
    daemon.orchctl(&["session", "close", "nightly"]).succeeds();
}

fn live_schedules(daemon: &Daemon) {
    daemon.orchctl(&["schedule", "add", "s", "--every", "1h", "--", "true"]).succeeds();
    for word in ["pause", "resume", "run", "remove"] {
        daemon.orchctl(&["schedule", word, "s"]).succeeds();
    }
}

fn live_resources_and_workers(daemon: &Daemon) {
    for arguments in
        [&["set", "gpu", "capacity=2"][..], &["close", "lock:a", "--create"], &["open", "lock:a"]]
    {
        daemon.orchctl(&[&["resources"], arguments].concat()).succeeds();
    }
    daemon.orchctl(&["pause"]).succeeds();
    daemon.orchctl(&["resume"]).succeeds();
    let guard = daemon.client().claim(claims(&["lock:b:exclusive"])).unwrap();
    guard.downgrade(&"lock:b".parse().unwrap()).unwrap();
    guard.release().unwrap();
    until("the client has left", || seen(daemon, "worker.left"));
    daemon.kill_worker();
    until("the worker is missed", || seen(daemon, "worker.lost"));
}

#[test]
fn each_type_occurs_and_says_what_its_page_promises() {
    let daemon = Daemon::configured(2, CONFIG);
    live_tasks(&daemon);
    live_workflows(&daemon);
    live_sessions(&daemon);
    live_schedules(&daemon);
    live_resources_and_workers(&daemon);
    let events = daemon.events(None);
    let mut missing: BTreeSet<&str> = EVENT_TYPES.iter().map(|known| known.name).collect();
    for (event, expected) in events.iter().zip(events[0].sequence.0..) {
        assert_eq!(event.sequence.0, expected, "a total order without gaps but for what users do not see");
        let known = EVENT_TYPES.iter().find(|known| known.name == event.kind).unwrap();
        missing.remove(known.name);
        for field in event.data.keys() {
            assert!(known.data.contains(&field.as_str()), "{field} of {} is not documented", event.kind);
        }
        let (noun, _) = event.kind.split_once('.').unwrap();
        let ids = [
            ("task", event.task.is_some()),
            ("workflow", event.workflow.is_some()),
            ("session", event.session.is_some()),
        ];
        assert!(ids.iter().all(|(of, has)| *of != noun || *has), "{event:?} names what it is about");
    }
    let told_to_happen: BTreeSet<&str> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    missing.retain(|name| !told_to_happen.contains(name));
    assert_eq!(missing, BTreeSet::new(), "{:?}", kinds(&events));
}

/// The rows of the page's tables: type, when, data.
fn documented() -> Vec<(String, String, String)> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/events.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        (cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap())
    })
    .collect()
}

#[test]
fn the_page_has_every_type() {
    let row = |kind: &EventType| {
        let data: Vec<String> = kind.data.iter().map(|field| format!("`{field}`")).collect();
        (format!("`{}`", kind.name), kind.when.to_owned(), data.join(" "))
    };
    let expected: Vec<_> = EVENT_TYPES.iter().chain(NOTICES).map(row).collect();
    let told: Vec<String> =
        expected.iter().map(|(name, when, data)| format!("| {name} | {when} | {data} |")).collect();
    assert_eq!(documented(), expected, "docs/events.md must say:\n{}", told.join("\n"));
}

#[test]
fn events_are_narrowed_by_each_filter_and_a_pattern_that_means_nothing_is_refused() {
    let daemon = Daemon::start(2);
    daemon.submit(TaskSpec { tags: ["night".to_owned()].into(), ..daemon.shell("true") });
    let array = daemon.orchctl(&["add", "--tag", "night", "--array", "1-3", "--", "true"]);
    array.succeeds();
    let other = daemon.submit(daemon.shell("exit 1"));
    daemon.write("wf.yaml", "name: wf\ntasks: [{ name: a, shell: 'true' }]\n");
    daemon.orchctl(&["workflow", "run", "wf.yaml"]).succeeds();
    daemon.orchctl(&["wait", "--all"]);
    let told = |arguments: &[&str]| -> Vec<Value> {
        let said = daemon.orchctl(&[&["events", "--json", "--no-follow"], arguments].concat());
        said.succeeds().out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let night = told(&["--tag", "night", "task.completed"]);
    let mut tasks: Vec<u64> = night.iter().map(|event| event["task"].as_u64().unwrap()).collect();
    tasks.sort_unstable();
    assert_eq!(tasks, [1, 2, 3, 4], "single tasks, and elements of an array");
    assert_eq!(told(&["--tag", "none"]), [Value::Null; 0]);
    assert_eq!(told(&["--task", &other.to_string(), "task.failed"]).len(), 1);
    assert_eq!(told(&["--tag", "night", "--task", &other.to_string()]), [Value::Null; 0]);
    let workflow = told(&["--workflow", "wf", "workflow.*", "task.started"]);
    let kinds: Vec<&str> = workflow.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["workflow.submitted", "task.started", "workflow.completed"]);
    assert_eq!(told(&["--limit", "2"]).len(), 2);
    let refused = |arguments: &[&str], code, words: &[&str]| {
        daemon.orchctl(&[&["events", "--no-follow"], arguments].concat()).fails_with(code, words);
    };
    refused(
        &["task.complete"],
        2,
        &["no event is of this type: task.complete", "did you mean task.completed?"],
    );
    refused(&["tasks.*"], 2, &["tasks.*", "task.*"]);
    refused(&["--since", "99999"], 5, &["no event has this sequence yet: 99999"]);
    refused(&["--session", "none"], 4, &["no such session"]);
}

#[test]
fn a_subscriber_goes_on_where_it_was_over_a_restart_until_retention_has_passed_it() {
    let mut daemon = Daemon::configured(1, "[retention]\ntasks = 2\n");
    let first = daemon.submit(daemon.shell("true"));
    daemon.wait(&[first]);
    let before = daemon.events(None);
    let query = || EventQuery { since: Some(before[1].sequence.0), no_follow: true, ..EventQuery::default() };
    daemon.kill_and_restart();
    let after: Vec<Event> = daemon.client().events(query()).unwrap().map(|event| event.unwrap()).collect();
    assert_eq!(after[..before.len() - 2], before[2..], "the same again");
    // A live one sees nothing twice and misses nothing, though the daemon is killed under it.
    let live = daemon.client();
    let since = Some(after.last().unwrap().sequence.0);
    let pattern = Some("task.completed".to_owned());
    let mut live =
        live.events(EventQuery { since, pattern, limit: Some(2), ..EventQuery::default() }).unwrap();
    let second = daemon.submit(daemon.shell("true"));
    assert_eq!(live.next().unwrap().unwrap().task, Some(second));
    daemon.kill_and_restart();
    let third = daemon.submit(daemon.shell("true"));
    assert_eq!(live.next().unwrap().unwrap().task, Some(third));
    daemon.submit_many((0..8).map(|_| daemon.shell("true")));
    daemon.orchctl(&["wait", "--all"]).succeeds();
    let trimmed = || {
        let mut events = daemon.client().events(query()).unwrap();
        events.next().unwrap().unwrap()
    };
    until("the journal begins later", || trimmed().kind == "trimmed");
    // In one reading: more may leave between two.
    let rest: Vec<Event> = daemon.client().events(query()).unwrap().map(|event| event.unwrap()).collect();
    let notice = &rest[0];
    assert_eq!(notice.data["after"], json!(before[1].sequence));
    assert_eq!(rest[1].sequence, notice.sequence.next(), "it goes on with the first that is kept");
    assert!(daemon.events(None).iter().all(|event| event.kind != "trimmed"), "0 is what there is");
}

/// The next event of a stream: its id, its type and its document.
fn read_event(stream: &mut impl BufRead) -> (u64, String, Value) {
    let (mut id, mut kind) = (0, String::new());
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
        match line.trim_end().split_once(": ") {
            Some(("id", text)) => id = text.parse().unwrap(),
            Some(("event", text)) => text.clone_into(&mut kind),
            Some(("data", text)) => return (id, kind, serde_json::from_str(text).unwrap()),
            _ => {}
        }
    }
}

#[test]
fn a_subscriber_that_is_too_slow_is_told_what_it_lost_and_can_read_it_again() {
    let daemon = Daemon::start(1);
    // Its coming is no event of a task, and would stand between them.
    daemon.worker();
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(kit::PATIENCE)).unwrap();
    stream.write_all(b"GET /v1/events?pattern=task.* HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut stream = BufReader::with_capacity(256, stream);
    let first = daemon.submit(TaskSpec { hold: true, ..daemon.shell("true") });
    assert_eq!(read_event(&mut stream).2["task"], json!(first));
    // It reads no more, while two events of each of so many tasks come.
    let specs = (0..30_000).map(|_| TaskSpec { hold: true, ..TaskSpec::shell("true") });
    assert_eq!(daemon.submit_many(specs).len(), 30_000);
    daemon.orchctl(&["cancel", "-q", "--all"]).succeeds();
    let (mut last, mut got) = (0, 0);
    let (after, lost) = loop {
        let (id, kind, document) = read_event(&mut stream);
        if kind == "lagged" {
            assert_eq!(id, last, "who connects again with this id misses nothing");
            break (document["data"]["after"].as_u64().unwrap(), document["data"]["lost"].as_u64().unwrap());
        }
        assert!(id > last, "in order");
        (last, got) = (id, got + 1);
    };
    assert!(lost > 10_000 && after == last, "lost {lost} after {after}, the last was {last}, got {got}");
    let query =
        EventQuery { since: Some(after), limit: Some(lost), no_follow: true, ..EventQuery::default() };
    let again: Vec<u64> =
        daemon.client().events(query).unwrap().map(|event| event.unwrap().sequence.0).collect();
    assert_eq!(again, (after + 1..=after + lost).collect::<Vec<_>>(), "all that was lost is there");
    // It is still connected and hears what comes now.
    let next = daemon.submit(daemon.shell("true"));
    let goes_on = |stream: &mut BufReader<UnixStream>| read_event(stream).2["task"] == json!(next);
    assert!((0..1 << 20).any(|_| goes_on(&mut stream)));
    assert_eq!(daemon.ended_task(next).status, Status::Completed);
}

#[test]
fn events_of_ones_own_are_told_kept_and_replayed_like_every_other() {
    let mut daemon = Daemon::start(1);
    let file = daemon.write(
        "w.yaml",
        "name: w\non_event:\n  - { events: custom.*, shell: 'cat >> told; echo >> told' }\ntasks:\n  - name: a\n    shell: |\n      "
            .to_owned()
            + ORCHCTL
            + " -q publish custom.half --task $ORCHD_TASK_ID --workflow $ORCHD_WORKFLOW_ID n=1 'text=a b'\n",
    );
    daemon.orchctl(&["session", "create", "s"]).succeeds();
    daemon.orchctl(&["workflow", "run", "--session", "s", file.to_str().unwrap()]).succeeds();
    daemon.orchctl(&["publish", "custom.of.s", "--session", "s"]).succeeds();
    daemon.orchctl(&["publish", "custom.of.w", "--workflow", "w"]).succeeds();
    let published: Value =
        daemon.orchctl(&["--json", "publish", "custom.alone", "--data", "{\"x\":[1]}"]).json();
    let own = |daemon: &Daemon| -> Vec<Event> {
        let events = daemon.events(None).into_iter().filter(|event| event.kind.starts_with("custom."));
        events.collect()
    };
    let found = own(&daemon);
    let seen: Vec<(&str, bool, bool, bool)> = found
        .iter()
        .map(|event| {
            (event.kind.as_str(), event.task.is_some(), event.workflow.is_some(), event.session.is_some())
        })
        .collect();
    let expected = [
        ("custom.half", true, true, true),
        ("custom.of.s", false, false, true),
        ("custom.of.w", false, true, true),
        ("custom.alone", false, false, false),
    ];
    assert_eq!(seen, expected);
    assert_eq!(Value::Object(found[0].data.clone()), json!({"n": 1, "text": "a b"}));
    assert_eq!((json!(found[3].sequence), &found[3].data["x"]), (published["sequence"].clone(), &json!([1])));
    until("the hook is told", || daemon.lines("told").len() == 2);
    daemon.kill_and_restart();
    assert_eq!(own(&daemon), found);
    for (pattern, count) in [("custom.*", 4), ("custom.of.*", 2), ("custom.alone", 1)] {
        let said = daemon.orchctl(&["-q", "events", "--no-follow", pattern]);
        assert_eq!(said.out.lines().count(), count, "{pattern}");
    }
    let large = format!("x={}", "y".repeat(8 << 10));
    daemon.orchctl(&["publish", "custom.large", &large]).fails_with(5, &["at most 8192 bytes", "file"]);
}
