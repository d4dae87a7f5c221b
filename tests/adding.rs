//! `add` and `run`: each option, what is refused with which exit code, and which line of a file it is about.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate};
use orchd_client::api::{PROTOCOL, ToWorker, WorkerHello};
use orchd_client::model::{Code, DependencyTarget, Span, limits};
use orchd_client::{Status, TaskId, TaskSpec, worker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Adds one task and gives its id.
fn add(daemon: &Daemon, arguments: &[&str]) -> TaskId {
    let said = daemon.orchctl(&[&["add"], arguments].concat());
    said.succeeds().out.trim().parse().unwrap()
}

fn output(daemon: &Daemon, id: TaskId) -> String {
    daemon.wait(&[id]);
    daemon.orchctl(&["logs", &id.to_string()]).succeeds().out.clone()
}

/// The lines of a file as tasks.
fn add_lines(daemon: &Daemon, arguments: &[&str], lines: &str) -> kit::Said {
    daemon.orchctl_reading(&[&["add", "--from", "-"], arguments].concat(), lines.as_bytes())
}

#[test]
fn the_same_key_is_the_same_task_and_another_spec_is_a_conflict() {
    let daemon = Daemon::start(1);
    let id = add(&daemon, &["--key", "night", "--", "true"]);
    assert_eq!(add(&daemon, &["--key", "night", "--", "true"]), id);
    daemon.wait(&[id]);
    assert_eq!(add(&daemon, &["--key", "night", "--", "true"]), id, "after its end, too");
    daemon.orchctl(&["add", "--key", "night", "--", "false"]).fails_with(5, &["night", &id.to_string()]);
    daemon.orchctl(&["add", "--key", "", "--", "true"]).fails_with(2, &["a key has 1 to"]);
}

#[test]
fn a_task_waits_for_its_time() {
    let daemon = Daemon::start(1);
    let later = add(&daemon, &["--in", "1h", "--", "true"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = orchd_model::Time(u64::try_from((now + Duration::from_secs(7200)).as_micros()).unwrap());
    let at = add(&daemon, &["--at", &at.to_rfc3339(), "--", "true"]);
    let past = add(&daemon, &["--at", "2020-01-01T00:00:00Z", "--", "true"]);
    assert_eq!(daemon.ended_task(past).status, Status::Completed);
    for id in [later, at] {
        assert!(daemon.orchctl(&["why", &id.to_string()]).out.contains("delayed until"));
        assert_eq!(daemon.status(id), Status::Pending);
    }
    let soon = add(&daemon, &["--in", "20ms", "--", "true"]);
    assert!(daemon.ended_task(soon).wait_time.unwrap() >= Span::from_millis(20));
    daemon.orchctl(&["add", "--at", "tomorrow", "--", "true"]).fails_with(2, &["tomorrow", "RFC 3339"]);
    daemon
        .orchctl(&["add", "--in", "1s", "--at", "2020-01-01T00:00:00Z", "--", "true"])
        .fails_with(2, &["--at"]);
}

#[test]
fn a_condition_decides_whether_a_task_runs() {
    let daemon = Daemon::start(1);
    let first = add(&daemon, &["--shell", "--", "echo '{\"rows\": 3}' > $ORCHD_RESULT"]);
    let when = |condition: &str| {
        let condition = condition.replace("ID", &first.to_string());
        add(&daemon, &["--after", &first.to_string(), "--when", &condition, "--", "true"])
    };
    let (few, many) = (when("tasks['ID'].output.rows < 10"), when("tasks['ID'].output.rows > 10"));
    assert_eq!(daemon.ended_task(few).status, Status::Completed);
    let skipped = daemon.ended_task(many);
    assert_eq!(skipped.status, Status::Skipped);
    assert_eq!(skipped.status_reason.unwrap().text, "its condition was false");
    daemon.orchctl(&["add", "--when", "1 +", "--", "true"]).fails_with(5, &["1 +"]);
}

#[test]
fn waiting_and_following_exit_as_the_task_ended() {
    let daemon = Daemon::start(1);
    let said = daemon.orchctl(&["add", "-w", "--", "true"]);
    assert!(said.succeeds().out.trim().parse::<TaskId>().is_ok(), "{said:?}");
    daemon.orchctl(&["add", "-w", "--", "false"]).fails_with(1, &[]);
    let said = daemon.orchctl(&["add", "-f", "--shell", "--", "echo hello; exit 7"]);
    assert!(said.fails_with(1, &[]).out.ends_with("hello\n"), "{said:?}");
    let said = add_lines(&daemon, &["-w"], "{\"shell\":\"true\"}\n{\"shell\":\"false\"}\n");
    assert_eq!(said.fails_with(1, &[]).out.lines().count(), 2);
    daemon.orchctl(&["add", "-f", "--from", "-"]).fails_with(2, &["--from"]);
}

#[test]
fn lines_that_are_all_refused_for_one_cause_exit_as_one_would() {
    let daemon = Daemon::start(1);
    let lines = "{\"shell\":\"true\"}\n{\"shell\":\"true\"}\n";
    for (options, code) in
        [(["--after", "99999"], 4), (["--session", "nosuch"], 4), (["--claim", "gpu=1"], 5)]
    {
        add_lines(&daemon, &options, lines).fails_with(code, &["line 1", "line 2"]);
    }
    // Not for one cause, or not all.
    let mixed = "{\"shell\":\"true\",\"dependencies\":[99]}\n{\"shell\":\"true\",\"claims\":[\"gpu=1\"]}\n";
    add_lines(&daemon, &[], mixed).fails_with(5, &["line 1", "line 2"]);
    let some = "{\"shell\":\"true\",\"dependencies\":[99]}\n{\"shell\":\"true\"}\n";
    add_lines(&daemon, &[], some).fails_with(5, &["line 1"]);
}

#[test]
fn the_environment_is_a_short_list_unless_all_of_it_is_asked_for() {
    let daemon = Daemon::start(1);
    let with_secret = |arguments: &[&str]| {
        let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
        command.env("SECRET", "s3").env("LANG", "C").args(["run"]).args(arguments);
        kit::program::run(command, b"").out
    };
    let line = ["--shell", "--", "echo $SECRET-$LANG"];
    assert_eq!(with_secret(&line), "-C\n");
    assert_eq!(with_secret(&[&["--env-all"], &line[..]].concat()), "s3-C\n");
    assert_eq!(with_secret(&[&["-e", "SECRET=mine"], &line[..]].concat()), "mine-C\n");
    assert!(!daemon.orchctl(&["show", "2"]).out.contains("s3"), "values are never shown");
    daemon.orchctl(&["add", "-e", "NOVALUE", "--", "true"]).fails_with(2, &["NAME=VALUE"]);
}

#[test]
fn lines_take_what_they_do_not_say_from_the_options() {
    let daemon = Daemon::start(1);
    let lines =
        "{\"shell\":\"echo $A$B\",\"env\":{\"B\":\"2\"}}\n{\"priority\":\"high\"}\n\n{\"cwd\":\"sub\"}\n";
    std::fs::create_dir(daemon.path("sub")).unwrap();
    let options = ["-p", "low", "-e", "A=1", "-e", "B=1", "--tag", "t", "--shell", "--", "pwd"];
    let said = add_lines(&daemon, &options, lines);
    let ids: Vec<TaskId> = said.succeeds().out.lines().map(|id| id.parse().unwrap()).collect();
    assert_eq!(output(&daemon, ids[0]), "12\n");
    assert_eq!(
        output(&daemon, ids[1]),
        format!("{}\n", daemon.path("").display().to_string().trim_end_matches('/'))
    );
    assert_eq!(output(&daemon, ids[2]), format!("{}\n", daemon.path("sub").display()));
    let classes: Vec<String> = ids.iter().map(|id| daemon.task(*id).priority.to_string()).collect();
    assert_eq!(classes, ["low", "high", "low"]);
    assert!(ids.iter().all(|id| daemon.task(*id).tags == ["t"]));
}

#[test]
fn bad_lines_are_named_and_good_ones_kept_unless_all_or_none_is_asked_for() {
    let daemon = Daemon::start(1);
    let lines = "{\"shell\":\"true\"}\n\nnot json\n{\"shell\":\"true\",\"claims\":[\"cpu=100000\"]}\n{\"comand\":[]}\n";
    let said = add_lines(&daemon, &[], lines);
    said.fails_with(
        5,
        &["line 3: not a JSON object", "line 4: more than there is in all", "line 5: ", "command"],
    );
    assert_eq!(said.out.lines().count(), 1);
    let before = daemon.stats().total_tasks;
    let said = add_lines(&daemon, &["--atomic"], lines);
    said.fails_with(5, &["line 3", "line 4: more than there is in all", "line 5"]);
    assert_eq!((said.out.as_str(), daemon.stats().total_tasks), ("", before));
    // What only the daemon knows is named by the line in the file, too.
    let lines = "{\"shell\":\"true\"}\n\n\n{\"shell\":\"true\",\"claims\":[\"cpu=100000\"]}\n";
    let said = add_lines(&daemon, &["--atomic"], lines);
    said.fails_with(5, &["orchctl: line 4: more than there is in all: cpu:system_cpu=100000"]);
    let said = add_lines(&daemon, &["--atomic"], "\n{\"shell\":\"true\",\"dependencies\":[4711]}\n");
    said.fails_with(4, &["line 2: unknown dependency: 4711"]);
    assert_eq!(daemon.stats().total_tasks, before);
    daemon.orchctl(&["add", "--from", "nowhere"]).fails_with(2, &["nowhere"]);
    daemon.orchctl(&["add", "--atomic", "--", "true"]).fails_with(2, &["--from"]);
}

#[test]
fn refs_lead_to_earlier_lines_and_what_leads_nowhere_is_explained() {
    let daemon = Daemon::start(1);
    let good = "{\"shell\":\"true\",\"ref\":\"a\"}\n{\"shell\":\"true\",\"dependencies\":[{\"task\":\"a\",\"on\":\"completion\"}]}\n";
    for atomic in [&[][..], &["--atomic"]] {
        let said = add_lines(&daemon, atomic, good);
        let ids: Vec<TaskId> = said.succeeds().out.lines().map(|id| id.parse().unwrap()).collect();
        assert_eq!(daemon.ended_task(ids[1]).dependencies.len(), 1);
    }
    let line = |name: &str, after: &str| {
        format!("{{\"shell\":\"true\",\"ref\":\"{name}\",\"dependencies\":[\"{after}\"]}}\n")
    };
    let before = daemon.stats().total_tasks;
    for (lines, code, words) in [
        (line("a", "a"), 5, "line 1: a task cannot depend on itself: a"),
        (
            line("a", "b") + &line("b", "c") + &line("c", "a"),
            5,
            "line 1: dependencies form a circle: a -> b -> c -> a",
        ),
        (
            line("a", "b") + "{\"shell\":\"true\",\"ref\":\"b\"}\n",
            4,
            "line 1: a task can only depend on those before it: b",
        ),
        (good.to_owned() + &line("z", "aa"), 4, "line 3: unknown dependency: aa\nhint: did you mean a?"),
    ] {
        add_lines(&daemon, &["--atomic"], &lines).fails_with(code, &[words]);
        assert_eq!(daemon.stats().total_tasks, before, "{words}");
    }
    // Without --atomic the good lines stay. How much of a circle is known when its first line is judged
    // depends on how the lines travelled.
    let circle = line("a", "b") + &line("b", "a") + "{\"shell\":\"true\"}\n";
    let said = add_lines(&daemon, &[], &circle);
    said.fails_with(5, &["line 1: ", "line 2: "]);
    assert_eq!(said.out.lines().count(), 1);
}

#[test]
fn all_that_keeps_a_file_from_being_added_is_told_at_once_and_what_follows_from_it_is_not() {
    let daemon = Daemon::start(1);
    let lines = concat!(
        "{\"shell\":\"true\",\"ref\":\"a\"}\n",
        "{\"shell\":\"true\",\"ref\":\"b\",\"priority\":\"hihg\"}\n",
        "{\"shell\":\"true\",\"dependencies\":[\"b\"]}\n",
        "\n",
        "{\"shell\":\"true\",\"dependencies\":[\"nobody\"]}\n",
        "{\"shell\":\"true\",\"dependencies\":[4711]}\n",
        "{\"shell\":\"true\",\"when\":\"1 +\"}\n",
        "{\"shell\":\"true\",\"claims\":[\"cpu=100000\"]}\n",
    );
    let said = add_lines(&daemon, &["--atomic"], lines);
    said.fails_with(5, &["orchctl: line 2: priority: no such word: hihg\nhint: did you mean high?\n"]);
    let told: Vec<&str> =
        said.err.lines().filter_map(|line| line.strip_prefix("orchctl: line ")?.split(':').next()).collect();
    assert_eq!(told, ["2", "5", "6", "7", "8"], "{}", said.err);
    // What only the daemon finds is told in one round, too.
    let lines: String =
        lines.lines().filter(|line| !line.contains("hihg")).map(|line| format!("{line}\n")).collect();
    let said = add_lines(&daemon, &["--atomic"], &lines);
    said.fails_with(4, &["line 2: unknown dependency: b", "line 4: ", "line 5: ", "line 6: ", "line 7: "]);
    assert_eq!((said.out.as_str(), daemon.stats().total_tasks), ("", 0));
}

#[test]
fn what_stands_behind_a_refused_line_is_told_the_first_that_was_refused() {
    let daemon = Daemon::start(1);
    let chain = |first: &str| {
        format!(
            "{first}\n{{\"shell\":\"true\",\"ref\":\"b\",\"dependencies\":[\"a\"]}}\n\
             {{\"shell\":\"true\",\"ref\":\"c\",\"dependencies\":[\"b\"]}}\n{{\"shell\":\"true\"}}\n"
        )
    };
    // Whether the scheduler refuses it, the daemon as it reads it, or nobody asks the daemon.
    for bad in [
        "{\"shell\":\"true\",\"ref\":\"a\",\"claims\":[\"gpu=1\"]}",
        "{\"shell\":\"true\",\"ref\":\"a\",\"dependencies\":[\"nobody\"]}",
        "{\"shell\":\"true\",\"ref\":\"a\",\"priority\":\"hihg\"}",
    ] {
        let said = add_lines(&daemon, &[], &chain(bad));
        let first = "depends on a task that was refused: a\n";
        said.fails_with(5, &["line 1: ", &format!("line 2: {first}"), &format!("line 3: {first}")]);
        assert_eq!(said.out.lines().count(), 1, "{bad}: {said:?}");
    }
    // Lines that come in other bunches than those they depend on.
    let others = "{\"shell\":\"true\"}\n".repeat(3000);
    let bad = format!("{{\"shell\":\"true\",\"ref\":\"a\",\"claims\":[\"gpu=1\"]}}\n{others}");
    let said = add_lines(&daemon, &["--hold"], &chain(bad.trim_end()));
    said.fails_with(
        5,
        &[
            "line 3002: depends on a task that was refused: a\n",
            "line 3003: depends on a task that was refused: a\n",
        ],
    );
}

#[test]
fn a_name_that_stands_twice_is_refused_wherever_json_is_read() {
    let daemon = Daemon::start(1);
    for (line, words) in [
        ("{\"shell\":\"true\",\"shell\":\"false\"}", "line 1: the same name stands twice: shell at column"),
        ("{\"shell\":\"true\",\"parameters\":{\"a\":[{\"x\":1,\"x\":2}]}}", "the same name stands twice: x"),
        ("{\"shell\":\"true\",\"env\":{\"X\":\"1\",\"X\":\"1\"}}", "the same name stands twice: X"),
        ("{\"shell\":\"true\",\"metadata\":{\"x\":1,\"x\":1}}", "the same name stands twice: x"),
    ] {
        for arguments in [&[][..], &["--atomic"], &["-p", "low"]] {
            let said = add_lines(&daemon, arguments, line);
            said.fails_with(5, &["orchctl: line 1: ", words, "\nhint: give "]);
        }
    }
    for arguments in [["--meta", "x=1", "--meta", "x=1"], ["-e", "x=1", "-e", "x=2"]] {
        let said = daemon.orchctl(&[&["add"], &arguments[..], &["--", "true"]].concat());
        said.fails_with(2, &["given twice: x\nhint: each name has one value"]);
    }
    daemon.write("w.yaml", "parameters: { n: 1 }\ntasks: [{ name: a, shell: 'true' }]\n");
    let twice = ["workflow", "run", "w.yaml", "-P", "n=1", "-P", "n=2"];
    daemon.orchctl(&twice).fails_with(2, &["given twice: n\nhint: "]);
    let params = ["add", "--handler", "m.a", "--params", "{\"x\": 1, \"x\": 2}"];
    daemon.orchctl(&params).fails_with(2, &["the same name stands twice: x", "\nhint: give x once"]);
    let held = add(&daemon, &["--hold", "--", "true"]).to_string();
    let said =
        daemon.orchctl_reading(&["edit", &held, "--from", "-"], b"{\"shell\": \"a\", \"shell\": \"b\"}");
    said.fails_with(
        2,
        &["not a task spec: the same name stands twice: shell at line 1", "\nhint: give shell once"],
    );
    assert_eq!(daemon.stats().total_tasks, 1);
}

#[test]
fn a_ref_names_one_task_of_a_request() {
    let daemon = Daemon::start(1);
    let twice = concat!(
        "{\"shell\":\"true\",\"ref\":\"build\"}\n\nnonsense\n",
        "{\"shell\":\"false\",\"ref\":\"build\"}\n",
        "{\"shell\":\"true\",\"dependencies\":[\"build\"]}\n",
    );
    let said = add_lines(&daemon, &["--atomic"], twice);
    said.fails_with(5, &["line 4: line 1 has the same ref: build"]);
    let said = add_lines(&daemon, &["--wait"], twice);
    said.fails_with(5, &["line 4: line 1 has the same ref: build"]);
    assert_eq!(said.out, "1\n2\n");
    assert_eq!(daemon.task(TaskId(2)).dependencies[0].task, DependencyTarget::Id(TaskId(1)));
    // Whoever does not count lines is told the place in the request, however far away it is.
    let named = |name: &str| TaskSpec { reference: Some(name.to_owned()), ..daemon.shell("true") };
    let between = (0..limits::BULK_TASKS).map(|i| named(&i.to_string()));
    let specs = [named("a")].into_iter().chain(between).chain([named("a"), named("b")]);
    let added = daemon.client().submit_many(specs).unwrap();
    let [.., Err(refusal), Ok(_)] = &added[..] else { panic!("{:?}", added.last()) };
    assert_eq!(refusal.code, Code::Conflict);
    assert!(refusal.to_string().contains("this ref: a\nhint: it is task 1 of the request"), "{refusal}");
    // A name is free again for the next request.
    assert!(daemon.client().submit_many([named("a")]).unwrap()[0].is_ok());
}

#[test]
fn numbers_that_are_none_are_mistakes_and_wishes_too_large_are_refused() {
    let daemon = Daemon::start(1);
    for (arguments, code, words) in [
        (&["--max-retries", "-1"][..], 2, &["-1", "--max-retries", "from 0 to"][..]),
        (&["--max-attempts", "0"], 2, &["max_attempts"]),
        (&["--backoff", "nan"], 2, &["nan", "--backoff"]),
        (&["--backoff", "inf"], 2, &["inf"]),
        (&["--jitter", "NaN"], 2, &["NaN", "--jitter"]),
        (&["--jitter", "2"], 2, &["between 0 and 1"]),
        (&["--timeout", "-1"], 2, &["-1", "--timeout"]),
        (&["--claim", "memory=99999TiB"], 5, &["99999TiB", "at most"]),
        (&["--claim", "memory=4000TiB"], 5, &["more than there is in all"]),
        (&["--claim", "cpu=-1"], 2, &["-1"]),
        (&["--tag", ""], 2, &["a tag has 1 to"]),
        (&["--session", "7"], 4, &["no such session: 7"]),
        (&["--after", "4711"], 4, &["unknown dependency: 4711"]),
    ] {
        daemon.orchctl(&[&["add"], arguments, &["--", "true"]].concat()).fails_with(code, words);
    }
    assert_eq!(daemon.stats().total_tasks, 0);
    for line in ["{\"shell\":\"true\",\"name\":\"a\\u0000b\"}", "{\"shell\":\"true\",\"cwd\":\"a\\u0000b\"}"]
    {
        add_lines(&daemon, &[], line).fails_with(5, &["line 1", "zero byte"]);
    }
}

#[test]
fn a_limit_of_no_time_is_refused_wherever_it_stands() {
    let daemon = Daemon::start(1);
    for limit in ["timeout", "deadline"] {
        let words = format!("a {limit} must be more than nothing: 0");
        daemon.orchctl(&["add", &format!("--{limit}"), "0", "--", "true"]).fails_with(2, &[&words]);
        let spec = format!("{{\"shell\": \"true\", \"{limit}\": 0}}\n");
        add_lines(&daemon, &[], &spec).fails_with(5, &["line 1: ", &words]);
        let file = daemon.write("w.yaml", format!("tasks: [{{ name: a, shell: 'true', {limit}: 0 }}]\n"));
        let file = file.to_str().unwrap();
        daemon.orchctl(&["workflow", "check", file]).fails_with(1, &["w.yaml:1:", &words]);
    }
    daemon.write("w.yaml", "timeout: 0\ntasks: [{ name: a, shell: 'true' }]\n");
    daemon.orchctl(&["workflow", "check", "w.yaml"]).fails_with(1, &["timeout must be more than nothing"]);
    let spec = TaskSpec { timeout: Some(Span::ZERO), ..daemon.shell("true") };
    assert!(daemon.client().submit(spec).is_err());
    // A wait without patience looks once.
    let id = daemon.submit(TaskSpec { hold: true, ..daemon.shell("true") }).to_string();
    daemon.orchctl(&["wait", &id, "--timeout", "0"]).fails_with(6, &["not yet ended: 1 task"]);
}

#[test]
fn a_run_exits_as_its_command_or_by_the_signal_that_ended_it() {
    let daemon = Daemon::start(2);
    for (arguments, code) in [
        (&["--shell", "--", "exit 9"][..], 9),
        (&["--shell", "--", "kill -9 $$"], 137),
        (&["--timeout", "50ms", "--", "sleep", "60"], 143),
        (&["--deadline", "50ms", "--", "sleep", "60"], 143),
        (&["--", "/nowhere/at/all"], 127),
        (&["--", "/etc/passwd"], 126),
    ] {
        let said = daemon.orchctl(&[&["run"], arguments].concat());
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
    }
    let mut command = daemon.program(env!("CARGO_BIN_EXE_orchctl"));
    command.args(["run", "--shell", "--", &gate("never")]);
    let run = kit::program::Running::start(command, b"");
    kit::until("it runs", || daemon.stats().running == 1);
    daemon.orchctl(&["cancel", "--all"]).succeeds();
    assert_eq!(run.ended().code, Some(143), "somebody cancelled it");
}

#[test]
fn what_is_named_for_a_handler_reaches_the_program_that_is_it() {
    let daemon = Daemon::start(1);
    let hello = WorkerHello {
        protocol: PROTOCOL,
        features: Vec::new(),
        incarnation: 1,
        kind: "service".to_owned(),
        pid: 1,
        slots: 1,
        handlers: vec!["m.x".to_owned()],
        labels: Vec::new(),
        attempts: Vec::new(),
        claim: None,
    };
    daemon.write("input", "text");
    let options =
        ["--handler", "m.x", "--params", "{\"p\": 1}", "--env", "A=b", "--cwd", "/tmp", "--stdin", "input"];
    add(&daemon, &options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let work = runtime.block_on(async {
        let mut session = worker::connect(&daemon.socket(), hello).await.unwrap();
        loop {
            if let ToWorker::Assign { assignments } = session.receiver.receive().await.unwrap() {
                break serde_json::to_value(&assignments[0].work).unwrap();
            }
        }
    });
    let expected = serde_json::json!({
        "kind": "handler", "handler": "m.x", "parameters": { "p": 1 }, "env": { "A": "b" }, "cwd": "/tmp", "stdin": "text",
    });
    assert_eq!(work, expected);
}
