//! Claims, seen from outside: what tasks write into files while they hold a resource never says that more
//! was held than there is, or that two were together that must not be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::random::Random;
use kit::{Daemon, claims, gate, until};
use orchd_client::api::Resource;
use orchd_client::model::{Mode, Reason};
use orchd_client::{Priority, Status, TaskId, TaskSpec};
use std::collections::BTreeMap;

/// Tasks of the random load.
const TASKS: usize = 10_000;
/// Resources of the random load; the first half counts units, the others are locks.
const RESOURCES: u64 = 20;
/// Units of a resource that counts them: `gpu:rN` has N + 1.
const COUNTED: u64 = RESOURCES / 2;

/// One to three claims on different resources, as `(number, mode, amount)`.
fn random_claims(random: &mut Random) -> Vec<(u64, Mode, u64)> {
    let mut chosen = BTreeMap::new();
    for _ in 0..=random.below(3) {
        let resource = random.below(RESOURCES);
        let mode =
            [Mode::Read, Mode::Read, Mode::Read, Mode::Write, Mode::Exclusive][random.below(5) as usize];
        let capacity = if resource < COUNTED { resource + 1 } else { 1 };
        chosen.insert(resource, (mode, 1 + random.below(capacity)));
    }
    chosen.into_iter().map(|(resource, (mode, amount))| (resource, mode, amount)).collect()
}

fn name(resource: u64) -> String {
    if resource < COUNTED { format!("gpu:r{resource}") } else { format!("lock:r{resource}") }
}

/// A task that says in the file of each of its resources when it begins and ends to use it. Every line is
/// written in one call and appended, so the order of the lines is the order of the calls; and a task begins
/// after it was given its claims and ends before it gives them back.
fn spec_of(daemon: &Daemon, wanted: &[(u64, Mode, u64)], priority: Priority) -> TaskSpec {
    let say = |word: &str| -> String {
        let line = |(resource, mode, amount): &(u64, Mode, u64)| {
            format!("echo {word} $ORCHD_TASK_ID {mode} {amount} >> r{resource};")
        };
        wanted.iter().map(line).collect()
    };
    let texts: Vec<String> = wanted
        .iter()
        .map(|(resource, mode, amount)| format!("{}:{mode}={amount}", name(*resource)))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    // Some work in between, so that others have the time to be wrong.
    let work = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); done;";
    let line = format!("{}{work}{}", say("begin"), say("end"));
    TaskSpec { claims: claims(&texts), priority, ..daemon.shell(line) }
}

/// Reads one resource's file. Gives the most holders there were at once.
fn check(daemon: &Daemon, resource: u64) -> usize {
    let mut holders: BTreeMap<TaskId, (Mode, u64)> = BTreeMap::new();
    let mut most = 0;
    for line in daemon.lines(&format!("r{resource}")) {
        let words: Vec<&str> = line.split(' ').collect();
        let [word, task, mode, amount] = words[..] else { panic!("{line}") };
        let (task, mode, amount) = (task.parse().unwrap(), mode.parse().unwrap(), amount.parse().unwrap());
        if word == "end" {
            assert_eq!(holders.remove(&task), Some((mode, amount)), "{line}");
            continue;
        }
        assert!(holders.values().all(|(held, _)| held.admits(mode)), "{line} beside {holders:?}");
        holders.insert(task, (mode, amount));
        let sum: u64 = holders.values().map(|(_, amount)| amount).sum();
        assert!(resource >= COUNTED || sum <= resource + 1, "r{resource} has {sum} held: {holders:?}");
        most = most.max(holders.len());
    }
    assert!(holders.is_empty(), "{holders:?}");
    most
}

#[test]
fn a_random_load_of_ten_thousand_tasks_never_violates_capacities_or_modes() {
    let config: String =
        (0..COUNTED).map(|i| format!("[resources.\"gpu:r{i}\"]\ncapacity = {}\n", i + 1)).collect();
    let daemon = Daemon::configured(12, &config);
    let mut random = Random(2);
    let mut uses = 0;
    let specs: Vec<TaskSpec> = (0..TASKS)
        .map(|_| {
            let wanted = random_claims(&mut random);
            uses += wanted.len();
            spec_of(&daemon, &wanted, Priority::ALL[random.below(4) as usize])
        })
        .collect();
    let ids = daemon.submit_many(specs);
    daemon.wait(&ids);
    let most: Vec<usize> = (0..RESOURCES).map(|resource| check(&daemon, resource)).collect();
    let lines: usize = (0..RESOURCES).map(|resource| daemon.lines(&format!("r{resource}")).len()).sum();
    assert_eq!(lines, 2 * uses, "every task has said what it used");
    assert_eq!(most[0], 1, "one unit has one holder");
    assert!(most[5..].iter().filter(|most| **most > 1).count() > 5, "readers share: {most:?}");
    assert_eq!(daemon.stats().completed, TASKS as u64);
    daemon.assert_nothing_is_held();
}

fn resource(daemon: &Daemon, name: &str) -> Resource {
    daemon.client().resources().unwrap().into_iter().find(|found| found.resource == name).unwrap()
}

/// A task that runs until the test opens the gate.
fn holder(daemon: &Daemon, claim: &str) -> TaskId {
    let id = daemon.submit(TaskSpec { claims: claims(&[claim]), ..daemon.shell(gate("end")) });
    daemon.until_status(id, Status::Running);
    id
}

#[test]
fn a_task_with_three_claims_holds_none_of_them_while_it_waits() {
    let daemon = Daemon::start(4);
    let holder = holder(&daemon, "lock:b:exclusive");
    let three = ["lock:a:exclusive", "lock:b:exclusive", "lock:c:exclusive"];
    let waiting = daemon.submit(TaskSpec { claims: claims(&three), ..daemon.shell("true") });
    assert_eq!(daemon.status(waiting), Status::Pending);
    assert_eq!(resource(&daemon, "lock:b").holders[0].task, holder);
    for free in ["lock:a", "lock:c"] {
        // A task that needs only this one is not kept from it, again and again.
        for _ in 0..10 {
            let claims = claims(&[&format!("{free}:exclusive")]);
            let id = daemon.submit(TaskSpec { claims, ..daemon.shell("true") });
            assert_eq!(daemon.ended_task(id).status, Status::Completed);
        }
        let view = resource(&daemon, free);
        assert!(view.holders.is_empty() && view.held.as_f64() == 0.0, "{view:?}");
    }
    let task = daemon.task(waiting);
    assert_eq!(task.status, Status::Pending);
    let why = &task.reasons.iter().map(|reason| &reason.reason).collect::<Vec<_>>()[..];
    let [Reason::Resource { resource, holders, .. }] = why else { panic!("{why:?}") };
    assert_eq!((resource.to_string().as_str(), holders[0].task), ("lock:b", holder));
    daemon.write("end", "");
    assert_eq!(daemon.ended_task(waiting).status, Status::Completed);
    daemon.assert_nothing_is_held();
}

#[test]
fn seventeen_thousand_tasks_blocked_on_one_lock_do_not_delay_one_that_needs_nothing() {
    const BLOCKED: usize = 17_000;
    let daemon = Daemon::start(2);
    let holder = holder(&daemon, "lock:one:write");
    let claims = claims(&["lock:one:write"]);
    let critical = TaskSpec { claims, priority: Priority::Critical, ..TaskSpec::command(["true"]) };
    let blocked = daemon.submit_many((0..BLOCKED).map(|_| critical.clone()));
    for priority in Priority::ALL {
        let free = daemon.submit(TaskSpec { priority, ..daemon.shell("true") });
        assert_eq!(daemon.ended_task(free).status, Status::Completed);
    }
    let stats = daemon.stats();
    assert_eq!((stats.pending, stats.running), (BLOCKED as u64, 1), "{stats:?}");
    let lock = resource(&daemon, "lock:one");
    assert_eq!((lock.waiting, lock.holders.len()), (BLOCKED as u64, 1));
    let explained = daemon.client().explain(*blocked.last().unwrap()).unwrap();
    assert_eq!(explained.ahead_count, BLOCKED - 1, "{explained:?}");
    assert_eq!(explained.ahead[0].task, blocked[0]);
    let cancelled = daemon.client().cancel(blocked.clone().into()).unwrap();
    assert!(cancelled.iter().all(|result| result.status == Some(Status::Cancelled)));
    daemon.write("end", "");
    assert_eq!(daemon.ended_task(holder).status, Status::Completed);
    assert_eq!(daemon.stats().cancelled, BLOCKED as u64);
    daemon.assert_nothing_is_held();
}

#[test]
fn a_waiting_writer_stops_later_readers_and_goes_before_them() {
    let daemon = Daemon::start(4);
    holder(&daemon, "file:data:read");
    let line = "echo $ORCHD_TASK_ID >> order";
    let submit = |claim: &str| daemon.submit(TaskSpec { claims: claims(&[claim]), ..daemon.shell(line) });
    let writer = submit("file:data:write");
    let reader = submit("file:data:read");
    let other = submit("file:other:read");
    assert_eq!(daemon.ended_task(other).status, Status::Completed);
    assert_eq!((daemon.status(writer), daemon.status(reader)), (Status::Pending, Status::Pending));
    let why = daemon.client().explain(reader).unwrap();
    let is_behind =
        |reason: &Reason| matches!(reason, Reason::Reservation { behind, .. } if behind.task == writer);
    assert!(why.reasons.iter().any(|reason| is_behind(&reason.reason)), "{why:?}");
    daemon.write("end", "");
    daemon.wait(&[writer, reader]);
    assert_eq!(daemon.lines("order"), [other, writer, reader].map(|id| id.to_string()));
}

#[test]
fn nobody_passes_a_waiting_writer_because_the_daemon_or_its_worker_was_killed() {
    let mut daemon = Daemon::start(4);
    holder(&daemon, "lock:kept");
    let line = gate("written");
    let writer = daemon.submit(TaskSpec { claims: claims(&["lock:kept:write"]), ..daemon.shell(line) });
    let assert_nobody_passes = |daemon: &Daemon| {
        for _ in 0..4 {
            let asked = daemon.orchctl(&["lock", "--no-wait", "--claim", "lock:kept", "--", "true"]);
            assert!(asked.code == Some(6) && asked.err.contains("not free now"), "{asked:?}");
        }
    };
    assert_nobody_passes(&daemon);
    daemon.kill_and_restart();
    assert_nobody_passes(&daemon);
    // The reader is lost with it, and stands behind the writer then.
    daemon.kill_worker();
    assert_nobody_passes(&daemon);
    daemon.until_status(writer, Status::Running);
    daemon.write("written", "");
    daemon.write("end", "");
    assert_eq!(daemon.ended_task(writer).status, Status::Completed);
}

#[test]
fn classes_are_strict_and_a_class_is_first_in_first_out() {
    let daemon = Daemon::start(1);
    let holder = holder(&daemon, "lock:one:exclusive");
    let classes = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
    let submit =
        |priority| daemon.submit(TaskSpec { priority, ..daemon.shell("echo $ORCHD_TASK_ID >> order") });
    let ids: Vec<Vec<TaskId>> = (0..3).map(|_| classes.map(submit).to_vec()).collect();
    daemon.write("end", "");
    daemon.wait(&ids.concat());
    let expected: Vec<String> =
        (0..4).rev().flat_map(|class| ids.iter().map(move |row| row[class].to_string())).collect();
    assert_eq!(daemon.lines("order"), expected);
    assert_eq!(daemon.status(holder), Status::Completed);
}

#[test]
fn a_claim_is_held_as_long_as_any_process_of_the_task_lives() {
    let daemon = Daemon::configured(2, "[scheduler]\ngrace = '100ms'");
    // The shell obeys SIGTERM, its child does not: the lock is free only when that is gone, too.
    let line =
        "(trap '' TERM; echo > alive; echo > begun; while :; do echo >> alive; sleep 0.01; done) & wait";
    let first = daemon.submit(TaskSpec { claims: claims(&["lock:one:exclusive"]), ..daemon.shell(line) });
    until("it has begun", || daemon.path("begun").exists());
    let next = "wc -l < alive; sleep 0.1; wc -l < alive";
    let next = daemon.submit(TaskSpec { claims: claims(&["lock:one:exclusive"]), ..daemon.shell(next) });
    daemon.client().cancel(first.into()).unwrap();
    assert_eq!(daemon.ended_task(next).status, Status::Completed);
    let counts = daemon.orchctl(&["logs", &next.to_string()]);
    let counts: Vec<&str> = counts.succeeds().out.lines().collect();
    assert_eq!(counts[0], counts[1], "the child went on");
    assert!(daemon.processes_of(first).is_empty());
}

/// Adds a task with variants on the command line.
fn add_with_variants(daemon: &Daemon, line: &str) -> TaskId {
    let words =
        ["--json", "add", "--claim-any", "gpu=1,cpu=1", "--claim-any", "cpu=4", "--shell", "--", line];
    daemon.orchctl(&words).json()["id"].as_u64().map(TaskId).unwrap()
}

#[test]
fn the_first_variant_that_fits_is_taken_and_known_everywhere_also_after_a_kill() {
    let mut daemon = Daemon::configured(
        4,
        "[resources.cpu]\ncapacity = 6\n[resources.gpu]\ncapacity = 1\n[scheduler]\nmax_worker_losses = 0",
    );
    let line = format!("echo $ORCHD_VARIANT $ORCHD_CPUS >> taken; {}", gate("end"));
    let ids: Vec<TaskId> = (0..3).map(|_| add_with_variants(&daemon, &line)).collect();
    for id in &ids[..2] {
        daemon.until_status(*id, Status::Running);
    }
    until("both have said so", || daemon.path("taken").exists() && daemon.lines("taken").len() == 2);
    let mut taken = daemon.lines("taken");
    taken.sort();
    assert_eq!(taken, ["0 1", "1 4"]);
    let why = daemon.orchctl(&["--json", "why", &ids[2].to_string()]).json();
    let blocked = &why["reasons"][0];
    assert_eq!(
        (&blocked["code"], why["reasons"].as_array().unwrap().len()),
        (&"variants".into(), 1),
        "{why}"
    );
    let codes: Vec<&str> = blocked["variants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["reasons"][0]["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        (codes, &blocked["variants"][0]["reasons"][0]["resource"]),
        (vec!["resource"; 2], &"gpu:system_gpu".into())
    );
    let why = daemon.orchctl(&["why", &ids[2].to_string()]).out;
    for part in [
        "none of its variants fits:",
        "variant 0: cpu:system_cpu gpu:system_gpu",
        "variant 1: cpu:system_cpu=4",
    ] {
        assert!(why.contains(part), "{part} in {why}");
    }
    daemon.kill_and_restart();
    let shown = daemon.orchctl(&["--json", "show", &ids[1].to_string()]).json();
    assert_eq!((&shown["variant"], &shown["claims_any"][1][0]["amount"]), (&1.into(), &4.into()), "{shown}");
    assert!(daemon.orchctl(&["show", &ids[1].to_string()]).out.contains("1: cpu:system_cpu=4, taken"));
    daemon.write("end", "");
    daemon.wait(&ids);
    let result = |id: TaskId| daemon.task(id).result.unwrap().variant;
    assert_eq!((result(ids[0]), result(ids[1])), (Some(0), Some(1)));
    let last = daemon.task(ids[2]).result.unwrap().variant;
    assert!(last.is_some());
    let started =
        |id| daemon.events(Some(id)).into_iter().find(|event| event.kind == "task.started").unwrap();
    assert_eq!(started(ids[1]).data["variant"], 1);
    let shown = daemon.orchctl(&["--json", "show", &ids[2].to_string()]).json();
    assert_eq!(shown["attempt_list"][0]["variant"], last.unwrap());
    daemon.assert_nothing_is_held();
}

#[test]
fn variants_come_from_lines_and_workflow_files_and_one_that_can_fit_is_enough() {
    let daemon = Daemon::configured(2, "[resources.cpu]\ncapacity = 2");
    let line = "{\"shell\":\"echo $ORCHD_VARIANT >> taken\",\"claims_any\":[[\"gpu=1\"],[{\"type\":\"cpu\",\"amount\":9}],[\"cpu=2\"]]}";
    let added = daemon.orchctl_reading(&["--json", "add", "--from", "-", "--wait"], line.as_bytes());
    added.succeeds();
    daemon.write(
        "w.yaml",
        "name: w\ntasks:\n  - name: t\n    shell: echo $ORCHD_VARIANT >> taken\n    claims: [lock:a]\n    \
         claims_any: [[{type: cpu, amount: 3}], [cpu=1, lock:a:write]]\n",
    );
    daemon.orchctl(&["workflow", "run", "w.yaml"]).succeeds();
    assert_eq!(daemon.lines("taken"), ["2", "1"]);
    let refused = daemon.orchctl(&["add", "--claim-any", "gpu=1", "--claim-any", "cpu=3", "--", "true"]);
    refused.fails_with(
        5,
        &["none of its variants can ever fit", "variant 0:", "not configured", "variant 1:", "has 2"],
    );
    daemon.orchctl(&["add", "--claim-any", "cpu=1,", "--", "true"]).fails_with(2, &["--claim-any"]);
    // One that is empty needs nothing, and no variable is there without variants.
    let shell = |variants: &[&str]| {
        let words = ["run", "--env", "ORCHD_VARIANT=x"].iter().chain(variants).chain(&[
            "--shell",
            "--",
            "echo .$ORCHD_VARIANT",
        ]);
        daemon.orchctl(&words.copied().collect::<Vec<_>>()).out
    };
    assert_eq!(shell(&["--claim-any", "gpu=1", "--claim-any", ""]).trim(), ".1");
    assert_eq!(shell(&[]).trim(), ".");
}

#[test]
fn a_task_that_is_blocked_by_seven_things_is_told_all_of_them() {
    let daemon = Daemon::configured(
        3,
        "[resources.cpu]\ncapacity = 2\n[resources.\"external_api:x\"]\ntokens = 1\nper = \"10h\"\nburst = 1\n\
         [resources.\"external_api:y\"]\nconcurrency = 1\n",
    );
    daemon.orchctl(&["run", "--claim", "external_api:x", "--", "true"]).succeeds();
    let kept = daemon.submit(TaskSpec {
        claims: claims(&["cpu=2", "lock:a:write", "lock:b"]),
        ..daemon.shell(gate("end"))
    });
    daemon.until_status(kept, Status::Running);
    let writer = daemon.submit(TaskSpec { claims: claims(&["lock:b:write"]), ..daemon.shell("true") });
    daemon.orchctl(&["resources", "close", "external_api:y"]).succeeds();
    daemon.orchctl(&["pause", "--priority", "low"]).succeeds();
    let wanted = ["cpu=1", "external_api:x", "external_api:y", "lock:a", "lock:b"];
    let spec =
        TaskSpec { priority: Priority::Low, hold: true, claims: claims(&wanted), ..daemon.shell("true") };
    let id = daemon.submit(spec).to_string();
    let codes = || -> Vec<String> {
        let why = daemon.orchctl(&["--json", "why", &id]).json();
        why["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .map(|reason| reason["code"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(codes(), ["held", "paused", "resource", "rate", "closed", "resource", "reservation"]);
    let why = daemon.orchctl(&["why", &id]).out;
    for part in [
        "held\n".to_owned(),
        "paused (priority low)".to_owned(),
        format!("short of cpu:system_cpu: wants 1 read, 0 free\n    held by {kept}"),
        "rate limited until".to_owned(),
        "external_api:y is closed".to_owned(),
        format!("short of lock:a: wants 1 read\n    held by {kept}"),
        format!("behind {writer}"),
    ] {
        assert!(why.contains(&part), "{part} in {why}");
    }
    daemon.write("end", "");
    until("only what is not a matter of holders is left", || codes() == ["held", "paused", "rate", "closed"]);
}
