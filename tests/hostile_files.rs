//! Workflow files of somebody who means no good: an error that says what is wrong, and no more memory than an
//! honest file of the size would take.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, Said, program};
use orchd_client::Status;
use std::fmt::Write;
use std::fs;

/// What the command line may ask of the kernel, in KiB: many times what it needs, and far from what a bomb wants.
const ADDRESS_SPACE: &str = "400000";

/// `orchctl` in so little memory.
fn bounded(daemon: &Daemon, arguments: &[&str]) -> Said {
    let mut command = daemon.program("/bin/sh");
    command.args(["-c", "ulimit -v $1; shift; exec \"$@\"", "sh", ADDRESS_SPACE]);
    command.arg(env!("CARGO_BIN_EXE_orchctl")).args(arguments);
    program::run(command, b"")
}

/// Lists, each of which has the one before it nine times.
fn bomb() -> String {
    let mut text = String::from("parameters:\n  a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..40 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "  a{level}: &a{level} [{aliases}]").unwrap();
    }
    text + "tasks: [{ name: a }]\n"
}

/// Tasks with as many values in their metadata as they may have, and at last one mistake.
fn values() -> String {
    let values = "1,".repeat(100_000);
    let tasks = counted(40, |n| format!("{{\"name\":\"t{n}\",\"metadata\":{{\"m\":[{values}1]}}}}"));
    format!("{{\"tasks\":[{tasks},{{\"name\":\"last\",\"dependencies\":[\"nobody\"]}}]}}")
}

fn counted(count: usize, item: impl FnMut(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

/// Sets of tasks that each contain the next one.
fn nest() -> String {
    let sets = counted(10_000, |n| format!("w{n}: {{tasks: [{{name: t, workflow: w{}}}]}}", n + 1));
    format!("workflows: {{{sets}, w10000: {{tasks: [{{name: t}}]}}}}\ntasks: [{{name: t, workflow: w0}}]\n")
}

/// Each with its name, and what is said of it.
fn hostile() -> Vec<(&'static str, String, &'static str)> {
    let merged: String =
        (1..40).map(|n| format!("m{n}: &m{n} {{<<: [*m{0}, *m{0}], k{n}: *m{0}}}\n", n - 1)).collect();
    let names: String = (0..5_000).map(|n| format!("- {{name: n{n}, dependencies: [x{n}]}}\n")).collect();
    vec![
        ("bomb.yaml", bomb(), "anchors and aliases copy more than"),
        ("merge.yaml", format!("m0: &m0 {{a: 1}}\n{merged}"), "anchors and aliases copy more than"),
        (
            "itself.yaml",
            "tasks: &t [{ name: a, metadata: { x: *t } }]".to_owned(),
            "an alias within its own anchor",
        ),
        ("deep.yaml", format!("tasks: {}", "[".repeat(400_000)), "nested deeper than"),
        ("deep.json", format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000)), "nested deeper than"),
        ("deep.toml", format!("x = {}1{}", "[".repeat(100_000), "]".repeat(100_000)), "recursion"),
        ("open.json", "{\"a\":".repeat(1_000_000), "not valid JSON"),
        ("twice.yaml", "name: a\nname: b\ntasks: [{ name: t }]".to_owned(), "duplicate key: name"),
        (
            "twice.json",
            "{\"name\": \"a\",\n \"name\": \"b\", \"tasks\": [{\"name\": \"t\"}]}".to_owned(),
            "twice.json:2:2: duplicate key: name",
        ),
        (
            "twice.toml",
            "name = 'a'\nname = 'b'\n".to_owned(),
            "twice.toml:2:1: not valid TOML: duplicate key",
        ),
        ("unknown.yaml", format!("tasks:\n{names}"), "and more mistakes that are not shown: 4800"),
        (
            "ring.yaml",
            "tasks: [{name: a, dependencies: [b]}, {name: b, dependencies: [a]}]".to_owned(),
            "dependencies form a cycle: a -> b -> a",
        ),
        (
            "values.yaml",
            "parameters: {a: '{{ parameters.b }}', b: '{{ parameters.a }}'}\ntasks: [{name: t}]".to_owned(),
            "parameter",
        ),
        (
            "own.yaml",
            "tasks: [{name: t, module: m, parameters: {a: '{{ parameters.b }}', b: '{{ parameters.a }}'}}]"
                .to_owned(),
            "unknown parameter in a template: b",
        ),
        (
            "brackets.yaml",
            format!("tasks: [{{name: a, shell: \"{{{{ {}1 }}}}\"}}]", "(".repeat(100_000)),
            "brackets.yaml:1:26: template does not parse",
        ),
        ("tag.yaml", "tasks: !!python/object/apply:os.system [id]".to_owned(), "tags are not supported"),
        ("zero.yaml", "\0".repeat(1000), "not valid YAML"),
    ]
}

/// Those in which something goes on and on.
fn endless() -> Vec<(&'static str, String, &'static str)> {
    vec![
        (
            "minus.yaml",
            format!("tasks: [{{name: a, shell: 'echo {{{{ {}1 }}}}'}}]", "-".repeat(10_000)),
            "an expression has at most 1000 operators: 10000",
        ),
        (
            "plus.yaml",
            format!("tasks: [{{name: a, shell: 'true', when: '{}1'}}]", "1+".repeat(50_000)),
            "an expression has at most 1000 operators: 50000",
        ),
        (
            "elif.yaml",
            format!(
                "tasks: [{{name: a, shell: '{{% if 0 %}}{}{{% endif %}}'}}]",
                "{% elif 0 %}".repeat(20_000)
            ),
            "a template has at most 1000 statements: 20002",
        ),
        ("nest.yaml", nest(), "a name has 1 to 256 bytes: "),
        (
            "parameters.json",
            format!("{{\"parameters\": {{{}}}, \"tasks\": []}}", counted(50_000, |n| format!("\"{n}\": 0"))),
            "there are at most 10000 parameters: 50000",
        ),
        (
            "layout.json",
            format!(
                "{{\"workflow\": {{{}}}}}",
                counted(40_000, |n| format!("\"w{n}\": {{\"tasks\": [{{\"name\": \"t\"}}]}}"))
            ),
            "a file has at most 10000 workflows: 40000",
        ),
    ]
}

/// Those that are only large, or wrong everywhere.
fn large() -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("line.toml", format!("tasks = [{}]", "1,".repeat(20_000)), "a task must be a map"),
        ("large.toml", "#".repeat((1 << 20) + 1), "a file in TOML is at most 1048576 bytes: 1048577"),
        ("large.yaml", "#".repeat((4 << 20) + 1), "a file in YAML is at most 4194304 bytes: 4194305"),
        ("flat.json", format!("[{}0]", "0,".repeat(9_000_000)), "more than 8000000 values in one file"),
        (
            "flat.yaml",
            format!("[{}0]", "0,".repeat((2 << 20) - 8)),
            "more than 500000 values in one file in YAML",
        ),
        ("lines.yaml", "- 0\n".repeat(1_000_000), "more than 500000 values in one file in YAML"),
        ("line.yaml", format!("[{}0]", "0,".repeat(499_000)), "a workflow file must be a map"),
        (
            "keys.toml",
            (0..70_000).map(|n| format!("[a{n:x}]\nb=1\n")).collect(),
            "unknown key of a workflow: a0",
        ),
        ("values.json", values(), "unknown dependency: nobody"),
    ]
}

/// Those with tasks, or values, without end.
fn crowded() -> Vec<(&'static str, String, &'static str)> {
    let tasks = |count, task: fn(usize) -> String| format!("{{\"tasks\": [{}]}}", counted(count, task));
    let unknown = |n| format!("{{\"name\":\"t{n}\",\"dependencies\":[\"x{n}\"]}}");
    let with_metadata = |n| format!("{{\"name\":\"t{n}\",\"metadata\":{{\"a\":1}}}}");
    let wrong = |n| format!("{{\"nam\":\"t{n}\",\"dep\":[],\"x\":0,\"y\":0}}");
    let keys = counted(100_001, |n| format!("\"{n}\":0"));
    vec![
        ("unknown.json", tasks(300_000, unknown), "and a part that was not looked at"),
        ("same.json", tasks(300_000, |_| "{\"name\":\"t\"}".to_owned()), "and a part that was not looked at"),
        ("wrong.json", tasks(1_000_000, wrong), "and a part that was not looked at"),
        ("many.json", tasks(1_300_000, with_metadata), "a file has at most 1000000 tasks\n  hint: a program"),
        (
            "keys.json",
            tasks(1, |_| String::new()).replace("[]", &format!("[{{{keys}}}]")),
            "at most 100000 keys",
        ),
        ("blank.json", format!("{{\"tasks\": [[{}]]}}", " ".repeat(17 << 20)), "in at most 16777216 bytes"),
        (
            "beside.json",
            format!("{{\"x\":[{}0]}}", "0,".repeat(1_000_000)),
            "more than 1000000 values in one",
        ),
    ]
}

#[test]
fn each_is_refused_with_its_reason_and_in_little_memory() {
    let daemon = Daemon::stopped(1, "");
    for (name, text, words) in [hostile(), endless(), large(), crowded()].concat() {
        daemon.write(name, text);
        let said = bounded(&daemon, &["workflow", "check", name]);
        said.fails_with(1, &[name, words]);
        assert!(said.err.len() < 100_000, "{name}: {} bytes", said.err.len());
        bounded(&daemon, &["workflow", "run", name]).fails_with(2, &[name, words]);
    }
}

#[test]
fn a_file_of_a_hundred_megabytes_is_not_even_read() {
    let daemon = Daemon::stopped(1, "");
    fs::File::create(daemon.path("huge.yaml")).unwrap().set_len(100_000_000).unwrap();
    fs::File::create(daemon.path("huge.json")).unwrap().set_len(100_000_000).unwrap();
    for verb in ["check", "plan", "graph"] {
        let said = bounded(&daemon, &["workflow", verb, "huge.yaml"]);
        said.fails_with(1, &["a file in YAML is at most 4194304 bytes: 100000000", "JSON", "line by line"]);
        let said = bounded(&daemon, &["workflow", verb, "huge.json"]);
        said.fails_with(1, &["a file in JSON is at most 94371840 bytes: 100000000", "line by line"]);
    }
    // Where nobody knows beforehand how much there is.
    let mut command = daemon.program("/bin/sh");
    command.args(["-c", "ulimit -v $1; exec \"$2\" workflow check - < /dev/zero", "sh", ADDRESS_SPACE]);
    command.arg(env!("CARGO_BIN_EXE_orchctl"));
    program::run(command, b"").fails_with(1, &["a file in YAML is at most 4194304 bytes"]);
}

#[test]
fn a_name_is_never_a_path() {
    let mut daemon = Daemon::start(1);
    fs::create_dir(daemon.path("workflows")).unwrap();
    let evil = "name: ../../outside\ntasks: [{ name: ../../../tmp/x, shell: 'echo ran > ran' }]\n";
    daemon.write("evil.yaml", evil);
    daemon.write("workflows/evil.yaml", evil.replace("outside", "beside"));
    daemon.kill_and_restart();
    daemon.orchctl(&["workflow", "put", "evil.yaml"]).succeeds();
    for name in ["../../outside", "../../beside"] {
        daemon.orchctl(&["workflow", "run", "--stored", name]).succeeds();
        assert_eq!(daemon.lines("ran"), ["ran"]);
        fs::remove_file(daemon.path("ran")).unwrap();
    }
    daemon.orchctl(&["workflow", "run", "--stored", "evil.yaml"]).fails_with(4, &["evil.yaml"]);
    daemon.orchctl(&["workflow", "run", "--stored", "../workflows/evil"]).fails_with(4, &["evil"]);
    daemon.orchctl(&["workflow", "show", "--stored", "/etc/passwd"]).fails_with(4, &["/etc/passwd"]);
}

#[test]
fn an_expression_without_end_ends_no_daemon() {
    let mut daemon = Daemon::start(1);
    let when = format!("{}1", "1+".repeat(8_000));
    let said = daemon.orchctl(&["add", "--when", &when, "--", "true"]);
    said.fails_with(5, &["an expression has at most 1000 operators: 8000"]);
    let file = format!("name: w\ntasks: [{{name: a, shell: 'echo {{{{ {}1 }}}}'}}]", "-".repeat(10_000));
    daemon.write("w.yaml", file);
    daemon.orchctl(&["workflow", "put", "w.yaml"]).fails_with(5, &["at most 1000 operators"]);
    daemon.kill_and_restart();
    let id = daemon.submit(daemon.shell("true"));
    assert_eq!(daemon.ended_task(id).status, Status::Completed);
}
