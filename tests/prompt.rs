//! What a person meets at the prompt: tables that fit, colours where they belong, ids alone, completions, man
//! pages.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::terminal::Terminal;
use kit::{Daemon, claims, gate, process};
use orchd_client::{Status, TaskSpec};
use rustix::process::Signal;
use std::fs;

const GREEN: &str = "\u{1b}[";

/// What `orchctl` writes to a terminal so many columns wide.
fn on_terminal(daemon: &Daemon, columns: u16, arguments: &[&str]) -> String {
    let terminal = Terminal::open(columns);
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(arguments).env("TERM", "xterm");
    let mut child = terminal.spawn(command);
    let shown = terminal.read_to_end();
    assert!(child.wait().unwrap().success());
    shown
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut parts = text.split(GREEN);
    plain.push_str(parts.next().unwrap());
    for part in parts {
        plain.push_str(part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
    }
    plain
}

#[test]
fn tables_fit_the_terminal_and_are_whole_elsewhere() {
    let daemon = Daemon::start(1);
    let name = "a-name-that-goes-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on";
    let id = daemon.submit(TaskSpec { name: name.to_owned(), ..daemon.shell("true") });
    daemon.wait(&[id]);
    for columns in [40, 60, 80, 120] {
        for (verb, words) in [
            ("list", &["completed", "STATUS", "NAME"][..]),
            ("resources", &["cpu:system_cpu", "memory:system_memory", "HELD", "HOLDERS"]),
            ("workers", &["SLOTS", "HANDLERS"]),
            ("stats", &["completed,", "throughput", "cpu:system_cpu"]),
        ] {
            let shown = without_colours(&on_terminal(&daemon, columns, &[verb]));
            for line in shown.lines() {
                // What is one word is left to the terminal.
                let words = line.trim_start();
                let width = if words.contains(' ') { line.chars().count() } else { 0 };
                assert!(width <= usize::from(columns), "{verb} at {columns}: {width} in {line:?}");
            }
            for word in words {
                let is_whole = shown.split_whitespace().any(|shown| shown == *word);
                assert!(is_whole, "{word} is broken: {shown}");
            }
        }
    }
    let piped = daemon.orchctl(&["list"]);
    assert!(piped.succeeds().out.lines().any(|line| line.contains(name)), "{piped:?}");
}

#[test]
fn a_very_narrow_terminal_shows_everything_in_lines_that_fit() {
    let daemon = Daemon::start(1);
    let array = ["add", "--name", "big", "--hold", "--array", "1-10000000", "--", "true"];
    daemon.orchctl(&array).succeeds();
    let holder = TaskSpec { claims: claims(&["database:main:write"]), ..daemon.shell(gate("never")) };
    let id = daemon.submit(TaskSpec { name: "a-rather-long-name-of-a-task".to_owned(), ..holder });
    daemon.until_status(id, Status::Running);
    daemon.orchctl(&["add", "--claim", "database:main:write", "--", "true"]).succeeds();
    daemon
        .orchctl(&["session", "create", "a-session-with-a-long-name-too", "--mode", "resource_aware"])
        .succeeds();
    for columns in [20, 30, 40] {
        for (arguments, words) in [
            (&["list"][..], &["1-10000000", "running", "a-rather-long-name-of-a-task", "held"][..]),
            (&["session", "list"], &["a-session-with-a-long-name-too", "resource_aware", "open"]),
            (&["doctor"], &["socket", "versions", "no damage found", "1 worker, 1 slot"]),
            (&["resources"], &["database:main", "a-rather-long-name-of-a-task"]),
            (&["stats"], &["10000002 in all", "throughput"]),
        ] {
            let shown = without_colours(&on_terminal(&daemon, columns, arguments));
            let shown = shown.replace('\r', "");
            for line in shown.lines() {
                let width = line.chars().count();
                assert!(width <= usize::from(columns), "{arguments:?} at {columns}: {width} in {line:?}");
            }
            let joined: String = shown.split_whitespace().collect();
            for word in words {
                let word: String = word.split_whitespace().collect();
                assert!(joined.contains(&word), "{word} is not in {shown}");
            }
        }
    }
}

#[test]
fn what_is_said_of_a_task_fits_and_no_name_in_it_is_broken() {
    let daemon = Daemon::start(1);
    let names = ["lock:a-rather-long-name-of-a-lock", "database:production-main"];
    let held = daemon.client().claim(claims(&[&format!("{}:exclusive", names[0])])).unwrap();
    let spec =
        TaskSpec { claims: claims(&names), tags: ["nightly".to_owned()].into(), ..daemon.shell("true") };
    let id = daemon.submit(spec).to_string();
    for columns in [48, 60, 80] {
        for verb in ["show", "why"] {
            let shown = without_colours(&on_terminal(&daemon, columns, &[verb, &id]));
            for line in shown.lines() {
                let words = line.trim_start();
                let width = if words.contains(' ') { line.chars().count() } else { 0 };
                assert!(width <= usize::from(columns), "{verb} at {columns}: {width} in {line:?}");
            }
            assert!(shown.contains(names[0]), "{shown}");
            assert!(verb == "why" || shown.contains(names[1]), "{shown}");
        }
    }
    held.release().unwrap();
}

#[test]
fn colours_are_for_terminals_unless_it_is_said_otherwise() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell("true"));
    daemon.wait(&[id]);
    for verb in [&["list"][..], &["show", "1"], &["why", "1"], &["events", "--no-follow"]] {
        let with = |color: &'static str| [&["--color", color], verb].concat();
        assert!(on_terminal(&daemon, 100, verb).contains(GREEN), "{verb:?}");
        assert!(!on_terminal(&daemon, 100, &with("never")).contains(GREEN), "{verb:?}");
        assert!(!daemon.orchctl(verb).succeeds().out.contains(GREEN), "{verb:?}");
        assert!(daemon.orchctl(&with("always")).succeeds().out.contains(GREEN), "{verb:?}");
        let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
        command.args(verb).args(["--json", "--color", "always"]);
        assert!(!kit::program::run(command, b"").out.contains(GREEN), "JSON has no colours: {verb:?}");
    }
    daemon.orchctl(&["list", "--color", "sometimes"]).fails_with(2, &["sometimes", "always"]);
}

#[test]
fn quiet_prints_ids_and_nothing_else() {
    let daemon = Daemon::start(1);
    let id = daemon.orchctl(&["add", "-q", "--hold", "--", "true"]).succeeds().out.clone();
    for verb in [&["list", "-q"][..], &["-q", "hold", id.trim()], &["release", "-q", id.trim()]] {
        assert_eq!(daemon.orchctl(verb).succeeds().out, id, "{verb:?}");
    }
    daemon.orchctl(&["wait", "--all"]).succeeds();
    assert_eq!(daemon.orchctl(&["cancel", "-q", "--all"]).succeeds().out, "");
    assert_eq!(daemon.orchctl(&["pause", "-q"]).succeeds().out, "");
    assert_eq!(daemon.orchctl(&["workers", "-q"]).succeeds().out, "1\n");
    assert_eq!(daemon.orchctl(&["stats", "-q"]).succeeds().out, "");
    assert_eq!(daemon.orchctl(&["show", "-q", id.trim()]).succeeds().out, id);
    assert_eq!(daemon.orchctl(&["why", "-q", id.trim()]).succeeds().out, id);
    daemon.orchctl(&["show", "-q", "4711"]).fails_with(4, &["4711"]);
}

#[test]
fn every_verb_is_told_in_the_same_words_everywhere() {
    let daemon = Daemon::stopped(1, "");
    daemon.orchctl(&["manual", "pages"]).succeeds();
    daemon.orchd(&["manual", "pages"]).succeeds();
    let said = |program: &str, words: &[&str]| match program {
        "orchctl" => daemon.orchctl(words).succeeds().out.clone(),
        _ => daemon.orchd(words).succeeds().out.clone(),
    };
    for program in ["orchctl", "orchd"] {
        let help = said(program, &["-h"]);
        let table = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let verbs: Vec<(&str, &str)> = table
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.trim().split_once("  "))
            .map(|(verb, what)| (verb, what.split(" [alias").next().unwrap_or(what).trim()))
            .filter(|(verb, _)| *verb != "help")
            .collect();
        assert!(verbs.len() > 3, "{help}");
        for (verb, what) in verbs {
            for option in ["-h", "--help"] {
                let told = said(program, &[verb, option]);
                assert_eq!(told.lines().next(), Some(what), "{program} {verb} {option}");
            }
            let page = fs::read_to_string(daemon.path(&format!("pages/{program}-{verb}.1"))).unwrap();
            let name = page.lines().skip_while(|line| *line != ".SH NAME").nth(1).unwrap().replace('\\', "");
            assert!(name.ends_with(&format!("- {what}")), "{program} {verb}: {name}");
        }
    }
}

#[test]
fn a_terminal_that_can_do_little_is_asked_for_little() {
    let daemon = Daemon::start(1);
    let id = daemon.submit(daemon.shell("true"));
    daemon.wait(&[id]);
    let shown = |name: &str, value: &str, verb: &[&str]| {
        let terminal = Terminal::open(200);
        let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
        command.args(verb).env("TERM", "xterm").env(name, value);
        let mut child = terminal.spawn(command);
        let shown = terminal.read_to_end();
        assert!(child.wait().unwrap().success());
        shown
    };
    assert!(shown("TERM", "xterm", &["list"]).contains(GREEN));
    assert!(!shown("TERM", "dumb", &["list"]).contains(GREEN));
    let widest = |shown: String| without_colours(&shown).lines().map(|line| line.chars().count()).max();
    assert!(widest(shown("COLUMNS", "50", &["stats"])) <= Some(50));
    assert!(widest(shown("COLUMNS", "", &["stats"])) > Some(50));
}

#[test]
fn completions_and_man_pages_know_every_verb() {
    let daemon = Daemon::stopped(1, "");
    let help = daemon.orchctl(&["--help"]);
    let verbs: Vec<&str> = help
        .succeeds()
        .out
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = daemon.orchctl(&["completions", shell]);
        for verb in &verbs {
            assert!(script.succeeds().out.contains(verb), "{shell} knows no {verb}");
        }
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = daemon.orchctl(&["completions", shell]);
        for word in ["critical", "retrying", "sometimes-not-a-word"] {
            let is_known = script.succeeds().out.contains(word);
            assert_eq!(is_known, word != "sometimes-not-a-word", "{shell}: {word}");
        }
    }
    let script = daemon.orchd(&["completions", "bash"]);
    let inner = ["evaluator", " tethered "].iter().filter(|verb| script.out.contains(**verb));
    assert_eq!(inner.count(), 0, "{}", script.out);
    assert!(script.out.contains("check-config") && script.out.contains("--state-dir"), "{}", script.out);
    assert!(script.succeeds().out.contains("check-config"), "{script:?}");
    let said = daemon.orchd(&["manual", "pages/man1"]);
    assert_eq!(said.succeeds().out, "read it with: man pages/man1/orchd.1\n");
    daemon.orchctl(&["completions", "csh"]).fails_with(2, &["csh", "bash"]);
    let said = daemon.orchctl(&["manual", "pages/man1"]);
    assert_eq!(said.succeeds().out, "read it with: man pages/man1/orchctl.1\n");
    let page = |name: &str| fs::read_to_string(daemon.path("pages/man1").join(name)).unwrap();
    assert!(page("orchctl.1").contains(".TH orchctl 1"));
    assert!(page("orchd.1").contains(".TH orchd 1") && page("orchd-check-config.1").contains("SYNOPSIS"));
    for verb in &verbs {
        assert!(page(&format!("orchctl-{verb}.1")).contains("SYNOPSIS"), "{verb}");
    }
    daemon.write("file", "");
    daemon.orchctl(&["manual", "file/sub"]).fails_with(2, &["file/sub"]);
}

#[test]
fn the_figures_are_shown_again_and_again_until_an_interrupt() {
    const SCREEN: &str = "\u{1b}[H\u{1b}[2J";
    let daemon = Daemon::start(1);
    let terminal = Terminal::open(80);
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(["stats", "--watch"]).env("TERM", "xterm");
    let mut watching = terminal.spawn(command);
    // Twice, so that what happened meanwhile is on the second screen.
    let first = terminal.read_until(|text| text.matches(SCREEN).count() == 2);
    assert!(first.contains("0 in all"), "{first}");
    let id = daemon.submit(daemon.shell("true"));
    daemon.wait(&[id]);
    terminal.read_until(|text| text.contains("1 in all"));
    process::send(watching.id(), Signal::INT);
    assert_eq!(watching.wait().unwrap().code(), Some(130));
    let piped = daemon.orchctl(&["stats"]);
    assert!(!piped.succeeds().out.contains(SCREEN));
}

#[test]
fn what_cannot_be_written_is_no_silent_failure() {
    let daemon = Daemon::start(1);
    for arguments in [
        &["stats"][..],
        &["--json", "resources"],
        &["add", "--", "true"],
        &["--help"],
        &["completions", "bash"],
    ] {
        let mut full = daemon.program("/bin/sh");
        full.arg("-c")
            .arg("exec \"$0\" \"$@\" > /dev/full")
            .arg(env!("CARGO_BIN_EXE_orchctl"))
            .args(arguments);
        let said = kit::program::run(full, b"");
        said.fails_with(1, &["cannot write to standard output: No space left on device"]);
        let is_json = arguments.contains(&"--json");
        assert_eq!(said.err.starts_with("{\"code\":\"io\""), is_json, "{}", said.err);
    }
}

#[test]
fn a_mistake_is_told_with_the_usage_of_its_own_verb() {
    let daemon = Daemon::stopped(1, "");
    daemon.orchctl(&["workflow"]).fails_with(2, &["Usage: orchctl workflow", "longest chain"]);
    daemon.orchctl(&["--json"]).fails_with(2, &["Usage: orchctl"]);
    let said = daemon.orchctl(&["show"]);
    said.fails_with(2, &["Usage: orchctl show"]);
    assert!(!said.err.contains("--socket"), "what the environment says is not on the command line: {said:?}");
    let said = daemon.orchd(&["check-config", "--jsn"]);
    said.fails_with(2, &["--json"]);
    assert!(!said.err.contains("--state-dir"), "{said:?}");
}

#[test]
fn values_below_zero_are_told_like_any_other_that_makes_no_sense() {
    let daemon = Daemon::stopped(1, "");
    for (arguments, words) in [
        (
            &["add", "--priority", "-3", "--", "true"][..],
            &["'-3'", "--priority <CLASS>", "hint: one of critical"][..],
        ),
        (
            &["add", "--deadline=-1h", "--", "true"],
            &["a duration cannot be negative: -1h", "hint: write seconds"],
        ),
        (
            &["add", "--deadline", "-1h", "--", "true"],
            &["a duration cannot be negative: -1h", "hint: write seconds"],
        ),
        (
            &["add", "--timeout", "-1", "--", "true"],
            &["a duration cannot be negative: -1", "hint: write seconds"],
        ),
        (&["list", "--limit", "-3"], &["'-3'", "--limit <N>", "not a whole number of at least 0"]),
        (&["reprioritize", "1", "-3"], &["'-3'", "<CLASS>", "hint: one of critical"]),
        (&["shutdown", "--wait", "--cancel"], &["Usage: orchctl shutdown [--wait | --cancel | --abort]"]),
    ] {
        daemon.orchctl(arguments).fails_with(2, words);
    }
    // The daemon's own program tells it in the same way.
    daemon.orchd(&["--slots", "-1"]).fails_with(2, &["orchd: unexpected argument '-1' found\n", "\nhint: "]);
    let similar = "orchd: unexpected argument '--slot' found\nhint: a similar argument exists: '--slots'";
    daemon.orchd(&["--slot", "3"]).fails_with(2, &[similar]);
}

#[test]
fn elements_are_meant_and_called_by_their_own_names() {
    let daemon = Daemon::start(1);
    daemon.write("w.yaml", "tasks: [{ name: t, foreach: [a, b], shell: exit 1 }]\n");
    daemon.orchctl(&["workflow", "run", "w.yaml"]).fails_with(1, &[]);
    let said = daemon.orchctl(&["list", "--name", "t[1]", "--json"]).json();
    assert_eq!((said.as_array().unwrap().len(), &said[0]["name"]), (1, &serde_json::json!("t[1]")));
    let array = daemon.orchctl(&["add", "--name", "u{index}", "--array", "5-6", "--", "false"]);
    let ids: Vec<u64> = array.succeeds().out.trim().split('-').map(|id| id.parse().unwrap()).collect();
    daemon.wait(&[orchd_client::TaskId(ids[0]), orchd_client::TaskId(ids[1])]);
    daemon.orchctl(&["retry", &ids[1].to_string()]).succeeds();
    let events = ["events", "--no-follow", "--since", "0", "task.submitted,task.revived"];
    let said = daemon.orchctl(&events);
    assert!(said.out.contains(&format!("tasks {}-{}", ids[0], ids[1])), "{said:?}");
    let revived = said.out.lines().find(|line| line.contains("task.revived")).unwrap();
    assert!(revived.contains("name=u6"), "{said:?}");
    // Why one failed that had no attempt to blame stands in its event, too.
    let late = daemon.orchctl(&["add", "--deadline", "10ms", "--hold", "--", "true"]).succeeds().out.clone();
    daemon.wait(&[late.trim().parse().unwrap()]);
    let failed = daemon.orchctl(&["events", "--no-follow", "--task", late.trim(), "task.failed"]);
    assert!(failed.out.contains("error_type=Deadline"), "{failed:?}");
    daemon.orchctl(&["logs", &ids[0].to_string(), "--attempt", "5"]).fails_with(4, &["has had 1 attempt: 5"]);
}

#[test]
fn what_a_workflow_cancels_at_its_timeout_says_so() {
    let daemon = Daemon::start(2);
    let file = "timeout: 0.3\ntasks:\n  - { name: a, shell: sleep 600 }\n  - { name: b, shell: 'true', dependencies: [a] }\n";
    daemon.write("w.yaml", file);
    let said = daemon.orchctl(&["workflow", "run", "-q", "w.yaml"]);
    assert_eq!(said.fails_with(1, &[]).out, "1\n", "ids only");
    for id in ["1", "2"] {
        let because = "cancelled: its workflow met its timeout of 300ms";
        for verb in ["why", "show"] {
            let said = daemon.orchctl(&[verb, id]);
            assert!(said.succeeds().out.contains(because), "{verb}: {said:?}");
        }
        let reason = daemon.orchctl(&["show", id, "--json"]).json()["status_reason"].clone();
        assert_eq!(reason["code"], "cancelled", "{reason}");
    }
    // Who is cancelled by somebody before that is not.
    let file = "timeout: 600\ntasks: [{ name: a, shell: sleep 600 }]\n";
    daemon.write("w.yaml", file);
    daemon.orchctl(&["workflow", "run", "--detach", "w.yaml"]).succeeds();
    daemon.orchctl(&["cancel", "3"]).succeeds();
    daemon.wait(&[orchd_client::TaskId(3)]);
    assert!(daemon.orchctl(&["why", "3"]).succeeds().out.lines().any(|line| line.trim() == "cancelled"));
}
