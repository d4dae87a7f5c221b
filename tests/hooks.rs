//! Hooks: commands and addresses are told of events, at least once, and what cannot be told is kept.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate, process, until};
use orchd_client::{Status, TaskSpec};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;

/// A hook that appends each event to a file, by way of the shell.
fn writing(daemon: &Daemon, name: &str, on: &str, more: &str) -> String {
    let file = daemon.path(name).display().to_string();
    // Written at once, so that those of several deliveries do not mingle.
    let line = format!(r#"printf '%s\n' "$(cat)" >> {file}"#);
    format!("[on_event.{name}]\nevents = [{on}]\nshell = '''{line}'''\n{more}\n")
}

/// The events that a hook has written, in the order of their sequences.
fn written(daemon: &Daemon, name: &str) -> Vec<Value> {
    let lines = daemon.lines(name);
    let mut events: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    events.sort_by_key(|event| event["sequence"].as_u64());
    events
}

fn tasks(events: &[Value]) -> BTreeSet<u64> {
    events.iter().map(|event| event["task"].as_u64().unwrap()).collect()
}

fn hooks(daemon: &Daemon) -> Vec<Value> {
    daemon.orchctl(&["--json", "hooks"]).json().as_array().unwrap().clone()
}

fn hook(daemon: &Daemon, name: &str) -> Value {
    hooks(daemon).into_iter().find(|hook| hook["name"] == name).unwrap()
}

#[test]
fn a_command_gets_each_event_that_it_is_for_and_no_other() {
    let mut daemon = Daemon::stopped(1, "");
    let all = [
        writing(&daemon, "ends", "\"task.completed\", \"task.failed\"", ""),
        writing(&daemon, "night", "\"task.*\"", "tag = \"night\""),
        writing(&daemon, "flow", "\"task.completed\", \"workflow.*\"", "workflow = \"wf\"\nconcurrency = 4"),
    ];
    daemon.write("orchd.toml", all.concat());
    daemon.start_again();
    let good = daemon.submit(TaskSpec { tags: ["night".to_owned()].into(), ..daemon.shell("true") });
    let bad = daemon.submit(daemon.shell("exit 1"));
    daemon.wait(&[good, bad]);
    daemon.write("wf.yaml", "name: wf\ntasks: [{ name: a, shell: 'true' }]\n");
    daemon.orchctl(&["workflow", "run", "wf.yaml"]).succeeds();
    until("all is told", || {
        written(&daemon, "ends").len() == 3
            && written(&daemon, "night").len() == 3
            && written(&daemon, "flow").len() == 3
    });
    assert_eq!(tasks(&written(&daemon, "ends")), BTreeSet::from([1, 2, 3]));
    assert_eq!(tasks(&written(&daemon, "night")), BTreeSet::from([1]));
    let kinds: Vec<Value> = written(&daemon, "flow").iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["workflow.submitted", "task.completed", "workflow.completed"]);
    let same = daemon.events(None).into_iter().find(|event| event.kind == "task.failed").unwrap();
    let told = written(&daemon, "ends").into_iter().find(|event| event["type"] == "task.failed").unwrap();
    assert_eq!(told, serde_json::to_value(same).unwrap(), "the event as every subscriber sees it");
    until("it is counted", || hook(&daemon, "ends")["delivered"] == 3);
    assert!(daemon.orchctl(&["hooks"]).succeeds().out.contains("task.completed task.failed"));
    assert_eq!(daemon.orchctl(&["hooks", "dead"]).succeeds().out, "no dead letters\n");
}

#[test]
fn an_event_is_in_the_environment_and_a_failure_is_tried_again() {
    let mut daemon = Daemon::stopped(1, "");
    let line = "echo $ORCHD_HOOK $ORCHD_EVENT_TYPE $ORCHD_EVENT_TASK $ORCHD_EVENT_SEQUENCE >> tries; [ $(wc -l < tries) -gt 2 ]";
    let script = daemon.write("hook.sh", format!("cd {}\n{line}\n", daemon.path(".").display()));
    let config = format!(
        "[on_event.flaky]\nevents = [\"task.completed\"]\ncommand = [\"/bin/sh\", \"{}\"]\nretry_delay = \"1ms\"\n",
        script.display()
    );
    daemon.write("orchd.toml", config);
    daemon.start_again();
    let id = daemon.submit(daemon.shell("true"));
    until("it succeeded at last", || hook(&daemon, "flaky")["delivered"] == 1);
    let sequence = daemon.events(Some(id)).last().unwrap().sequence;
    assert_eq!(daemon.lines("tries"), vec![format!("flaky task.completed {id} {sequence}"); 3]);
    assert_eq!(hook(&daemon, "flaky")["failed_tries"], 2);
}

#[test]
fn what_cannot_be_delivered_is_kept_and_can_be_tried_again_or_dropped() {
    let mut daemon = Daemon::stopped(1, "");
    let script = daemon.write(
        "hook.sh",
        format!(
            "cd {}; test -e well || {{ printf '\\000\\n unwell\\000\\000' >&2; exit 7; }}; sleep 0",
            daemon.path(".").display()
        ),
    );
    let config = format!(
        "[on_event.sick]\nevents = [\"task.completed\"]\ncommand = [\"/bin/sh\", \"{}\"]\nretries = 1\nretry_delay = 0\n\
         [on_event.slow]\nevents = [\"task.failed\"]\ncommand = [\"sleep\", \"600\"]\nretries = 0\ntimeout = \"20ms\"\n\
         [on_event.none]\nevents = [\"task.cancelled\"]\ncommand = [\"/no/such/program\"]\nretries = 0\n",
        script.display()
    );
    daemon.write("orchd.toml", config);
    daemon.start_again();
    let first = daemon.submit(daemon.shell("true"));
    let failed = daemon.submit(daemon.shell("exit 1"));
    let held = daemon.submit(TaskSpec { hold: true, ..daemon.shell("true") });
    daemon.orchctl(&["cancel", &held.to_string()]).succeeds();
    daemon.wait(&[first, failed]);
    let dead =
        |daemon: &Daemon| daemon.orchctl(&["--json", "hooks", "dead"]).json().as_array().unwrap().clone();
    until("three letters are dead", || dead(&daemon).len() == 3);
    daemon.kill_and_restart();
    let letters = dead(&daemon);
    let of = |name: &str| letters.iter().find(|letter| letter["hook"] == name).unwrap().clone();
    assert_eq!((&of("sick")["tries"], &of("sick")["event"]["task"]), (&json!(2), &json!(first)));
    assert_eq!(of("sick")["error"], "exit status: 7: unwell");
    assert_eq!(of("slow")["error"], "not done after 20ms");
    assert!(of("none")["error"].as_str().unwrap().contains("/no/such/program"));
    let id = of("sick")["id"].to_string();
    let again = daemon.orchctl(&["hooks", "retry", &id]);
    assert_eq!(
        (again.code, again.out.as_str()),
        (Some(1), format!("{id} exit status: 7: unwell\n").as_str())
    );
    assert_eq!(dead(&daemon).iter().find(|letter| letter["hook"] == "sick").unwrap()["tries"], 3);
    daemon.write("well", "");
    assert_eq!(daemon.orchctl(&["hooks", "retry", &id]).succeeds().out, format!("{id} delivered\n"));
    assert_eq!(hook(&daemon, "sick")["delivered"], 1);
    let gone = daemon.orchctl(&["hooks", "retry", &id]);
    assert_eq!(gone.fails_with(4, &[]).out, format!("{id} no such dead letter\n"));
    daemon.orchctl(&["hooks", "drop", "--all"]).succeeds();
    assert_eq!(dead(&daemon), [Value::Null; 0]);
    daemon.orchctl(&["hooks", "drop"]).fails_with(2, &["<ID>"]);
    assert!(process::all_of(&daemon.path(".")).iter().all(|pid| {
        !std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .unwrap_or_default()
            .starts_with("sleep\x00600")
    }));
}

#[test]
fn every_event_is_told_though_the_daemon_is_killed_again_and_again() {
    let mut daemon = Daemon::stopped(2, "");
    let config = writing(&daemon, "all", "\"task.completed\"", "concurrency = 3\nretry_delay = \"1ms\"");
    daemon.write("orchd.toml", config);
    daemon.start_again();
    // What happened before there was a hook is not for it; what happens while none of us is there is.
    for _ in 0..4 {
        daemon.submit_many((0..25).map(|_| daemon.shell("true")));
        daemon.kill_and_restart();
    }
    daemon.orchctl(&["wait", "--all"]).succeeds();
    until("all is told", || tasks(&written(&daemon, "all")).len() == 100);
    until("it is written down", || hook(&daemon, "all")["behind"] == 0);
    assert_eq!(hook(&daemon, "all")["lost"], 0);
}

#[test]
fn an_address_is_asked_with_the_event() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = format!(
        "[on_event.web]\nevents = [\"task.failed\"]\nurl = \"http://127.0.0.1:{port}/told?by=orchd\"\nretry_delay = \"1ms\"\n"
    );
    let daemon = Daemon::configured(1, &config);
    daemon.submit(daemon.shell("exit 3"));
    let mut asked = Vec::new();
    for answer in ["500 Oh no", "204 No Content"] {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let at = head.len();
            reader.read_line(&mut head).unwrap();
            if let Some(value) = head[at..].to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes()).unwrap();
        asked.push((head, serde_json::from_slice::<Value>(&body).unwrap()));
    }
    assert_eq!(asked[0], asked[1], "the same again");
    assert!(asked[0].0.starts_with("POST /told?by=orchd HTTP/1.1\r\n"), "{}", asked[0].0);
    assert_eq!((&asked[0].1["type"], &asked[0].1["data"]["exit_code"]), (&json!("task.failed"), &json!(3)));
    until("it is delivered", || hook(&daemon, "web")["delivered"] == 1);
}

#[test]
fn a_hook_that_hangs_hinders_nobody() {
    let config = "[on_event.stuck]\nevents = [\"*\"]\ncommand = [\"sleep\", \"600\"]\n";
    let daemon = Daemon::configured(2, config);
    let ids = daemon.submit_many((0..50).map(|_| daemon.shell("true")));
    daemon.wait(&ids);
    until("one delivery is under way", || hook(&daemon, "stuck")["under_way"] == 1);
    let running = daemon.submit(daemon.shell(gate("never")));
    daemon.until_status(running, Status::Running);
}

#[test]
fn orchd_run_ends_when_its_hooks_are_done() {
    let daemon = Daemon::stopped(1, "");
    let config = writing(&daemon, "end", "\"workflow.*\"", "");
    let config = daemon.write("run.toml", config);
    let file = daemon.write("wf.yaml", "name: wf\ntasks: [{ name: a, shell: 'true' }]\n");
    let config = config.display().to_string();
    let ran = daemon.orchd(&["run", "--config", &config, &file.display().to_string()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let kinds: Vec<Value> = written(&daemon, "end").iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["workflow.submitted", "workflow.completed"]);
}

/// A workflow of two tasks, one of which fails, with a hook that writes and one that cannot.
fn telling(daemon: &Daemon) -> String {
    let text = r#"
name: telling
on_event:
  - name: writes
    events: [workflow.*, task.failed]
    shell: printf '%s\n' "$(cat)" >> told
  - { events: task.failed, command: [/no/such/program], retries: 0 }
tasks:
  - { name: a, shell: 'true' }
  - { name: b, shell: exit 3 }
"#;
    daemon.write("telling.yaml", text).display().to_string()
}

#[test]
fn a_workflow_has_hooks_of_its_own_which_outlive_the_daemon() {
    let mut daemon = Daemon::configured(2, "");
    let file = telling(&daemon);
    assert_eq!(hooks(&daemon), [Value::Null; 0], "nobody follows events for nothing");
    daemon.orchctl(&["pause"]).succeeds();
    daemon.orchctl(&["workflow", "run", "--detach", &file]).succeeds();
    daemon.orchctl(&["workflow", "run", "--detach", &file]).succeeds();
    daemon.kill_and_restart();
    daemon.orchctl(&["resume"]).succeeds();
    // What was under way when the daemon was killed is told twice.
    let different = || {
        let told = written(&daemon, "told").into_iter();
        told.map(|event| format!("{} {}", event["workflow"], event["type"])).collect::<BTreeSet<_>>().len()
    };
    until("all is told", || different() == 6);
    until("nothing is left", || hook(&daemon, "(workflows)")["behind"] == 0);
    for workflow in [1, 2] {
        let kinds: BTreeSet<String> = written(&daemon, "told")
            .into_iter()
            .filter(|event| event["workflow"] == workflow)
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect();
        let expected = ["workflow.submitted", "task.failed", "workflow.failed"];
        assert_eq!(kinds, expected.map(str::to_owned).into(), "of {workflow}");
    }
    let dead = daemon.orchctl(&["--json", "hooks", "dead"]).json();
    let whose: BTreeSet<_> =
        dead.as_array().unwrap().iter().map(|letter| letter["workflow"].as_u64()).collect();
    assert_eq!(whose, [Some(1), Some(2)].into());
    assert_eq!(dead[0]["hook"], "2", "its number, as it has no name");
    let again = daemon.orchctl(&["hooks", "retry", "--all"]);
    assert_eq!(again.code, Some(1));
    assert!(again.out.contains("/no/such/program"), "{again:?}");
}

#[test]
fn orchd_run_tells_the_hooks_of_its_file() {
    let daemon = Daemon::stopped(2, "");
    let ran = daemon.orchd(&["run", &telling(&daemon)]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let kinds: Vec<Value> = written(&daemon, "told").iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["workflow.submitted", "task.failed", "workflow.failed"]);
}

#[test]
fn a_hook_that_makes_no_sense_is_refused_with_its_place() {
    let daemon = Daemon::stopped(1, "");
    let refused = |config: &str, words: &[&str]| {
        daemon.write("orchd.toml", config);
        let said = daemon.orchd(&["check-config"]);
        assert!(said.code != Some(0), "{said:?}");
        for word in words {
            assert!(said.err.contains(word) || said.out.contains(word), "{word}: {said:?}");
        }
    };
    refused("[on_event.a]\ncommand = [\"x\"]\n", &["which events it is for: a"]);
    refused(
        "[on_event.a]\nevents = [\"task.fail\"]\ncommand = [\"x\"]\n",
        &["no event is of this type: task.fail", "task.failed"],
    );
    refused("[on_event.a]\nevents = [\"*\"]\n", &["one of command, shell and url: a"]);
    refused("[on_event.a]\nevents = [\"*\"]\nurl = \"ftp://x/\"\n", &["http(s)://HOST", "ftp://x/"]);
    refused("[on_event.a]\nevents = [\"*\"]\nurl = \"x\"\n", &["http(s)://HOST"]);
    refused(
        "[on_event.a]\nevents = [\"*\"]\ncommand = [\"x\"]\nconcurrency = 0\n",
        &["concurrency is 1 to 64: 0"],
    );
    refused("[on_event.a]\nevents = [\"*\"]\ncommand = [\"x\"]\nretrys = 1\n", &["unknown key", "retries"]);
    refused(
        "[on_event.a]\nevents = \"*\"\nurl = \"https://u:p@localhost:99999/\"\n",
        &[
            ":3:1: a hook's url is",
            "https://u:p@localhost:99999/\n  hint: a port is a number from 1 to 65535",
        ],
    );
}

/// Whether a process runs; one that is dead and not yet buried does not.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn what_a_command_leaves_in_its_group_has_ended_when_its_end_is_told() {
    let daemon = Daemon::stopped(1, "");
    for (end, code) in [("exit 0", Some(0)), ("exit 3", Some(3)), ("kill -9 $$", None)] {
        let away = "rm -f away; setsid sh -c 'echo $$ > away; exec sleep 1000'";
        let line = format!("sleep 1000 & echo $! > child; {away} & {} {end}", gate("away"));
        let mut tether = daemon.program(env!("CARGO_BIN_EXE_orchd"));
        tether.args(["tethered", &std::process::id().to_string(), "--", "/bin/sh", "-c", &line]);
        // As the daemon starts it. Nobody but the tether may end the group: there is none left to ask.
        let status = tether.process_group(0).current_dir(daemon.path(".")).status().unwrap();
        assert_eq!(status.code(), code);
        let pid = |file: &str| daemon.lines(file).remove(0);
        until("it has ended, too", || !lives(&pid("child")));
        assert!(lives(&pid("away")), "what has left the group goes on");
        process::send(pid("away").parse().unwrap(), Signal::KILL);
    }
}

#[test]
fn a_hook_that_runs_ends_with_a_daemon_that_is_killed() {
    let mut daemon = Daemon::stopped(1, "");
    let shell = "sleep 1000 & echo $! >> children; echo $$ >> leaders; wait";
    let config = format!("[on_event.slow]\nevents = [\"task.completed\"]\nshell = '{shell}'\n");
    daemon.write("orchd.toml", config);
    daemon.start_again();
    daemon.wait(&[daemon.submit(daemon.shell("true"))]);
    until("it runs", || !daemon.lines("leaders").is_empty());
    daemon.kill();
    for file in ["leaders", "children"] {
        let pid = daemon.lines(file).remove(0);
        until("it has ended", || !lives(&pid));
    }
    daemon.start_again();
    until("it is told again", || daemon.lines("leaders").len() == 2);
}

#[test]
fn where_nobody_is_trusted_an_https_hook_is_warned_of_and_its_letter_says_so() {
    let hook =
        |url: &str| format!("[on_event.web]\nevents = \"task.failed\"\nurl = \"{url}\"\nretries = 0\n");
    // Somebody has to be asked before anybody is trusted or not.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut daemon = Daemon::stopped(1, &hook(&format!("https://{address}/")));
    let store = daemon.write("nobody.pem", "").display().to_string();
    daemon.environment.insert("SSL_CERT_FILE".to_owned(), store.clone());
    let odd = "https hooks trust nobody";
    let said = daemon.orchd(&["check-config"]);
    assert!(said.succeeds().err.contains(odd) && said.err.contains(&store), "{said:?}");
    daemon.start_again();
    assert!(daemon.lines("daemon.log").iter().any(|line| line.contains(odd)));
    daemon.submit(daemon.shell("exit 1"));
    let dead = || daemon.orchctl(&["--json", "hooks", "dead"]).json();
    until("the letter is dead", || dead()[0]["error"].is_string());
    let why = dead()[0]["error"].as_str().unwrap().to_owned();
    assert!(
        why.starts_with(&format!("https://{address}: no certificate is in SSL_CERT_FILE={store}; hint: ")),
        "{why}"
    );
    daemon.write("orchd.toml", hook(&format!("http://{address}/")));
    assert!(!daemon.orchd(&["check-config"]).err.contains(odd), "only https asks who is trusted");
}
