//! Every document of `--json` is described under docs/schemas, and is what its description says.
//!
//! `BLESS=1` writes the descriptions anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::{Daemon, gate};
use orchd_client::{Status, TaskSpec};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/schemas")
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let mut expected = BTreeSet::from(["README.md".to_owned()]);
    let mut page = "# What `--json` prints\n\nOne JSON Schema for each document, made from the types that are \
                    printed: `BLESS=1 cargo test --test schemas`\nwrites them. Fields may be added; none is renamed.\n\n\
                    | verb | document |\n|---|---|\n"
        .to_owned();
    for document in orchd_cli::documents() {
        let name = format!("{}.json", document.name);
        page.push_str(&format!("| {} | [{name}]({name}) |\n", document.verbs));
        current(&name, &format!("{:#}\n", document.schema.as_value()));
        expected.insert(name);
    }
    page.push_str("\nWhat is read, not printed: [workflow-file.json](workflow-file.json), for [workflow files](../workflows.md).\n");
    current("workflow-file.json", &format!("{:#}\n", orchd_workflow::schema().as_value()));
    expected.insert("workflow-file.json".to_owned());
    current("README.md", &page);
    let found: BTreeSet<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, expected);
}

fn current(name: &str, text: &str) {
    let path = directory().join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(directory()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is not current: BLESS=1 writes it", path.display());
}

/// Checks what a verb prints against its schema, a document or one each line.
struct Checked {
    seen: BTreeSet<String>,
}

impl Checked {
    fn check(&mut self, name: &str, text: &str) {
        let schema: Value =
            serde_json::from_str(&fs::read_to_string(directory().join(format!("{name}.json"))).unwrap())
                .unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(!lines.is_empty(), "{name}: nothing was printed");
        for line in lines {
            let document: Value = serde_json::from_str(line).unwrap();
            let wrong: Vec<String> =
                validator.iter_errors(&document).map(|e| format!("{e} at {}", e.instance_path())).collect();
            assert!(wrong.is_empty(), "{name}: {wrong:?}\n{document:#}");
        }
        self.seen.insert(name.to_owned());
    }
}

/// What the verbs about files, workflows, sessions and schedules print, in this order.
const WORKFLOWS: [(&str, &str); 22] = [
    ("plan", "workflow check wf.yaml"),
    ("plan", "workflow plan bad.yaml"),
    ("drawing", "workflow graph wf.yaml --dot"),
    ("drawing", "workflow graph bad.yaml"),
    ("drawing", "workflow graph wf.yaml --svg"),
    ("added-workflow", "workflow run wf.yaml --detach"),
    ("summary", "workflow run wf.yaml"),
    ("summary", "workflow show wf"),
    ("report", "report wf"),
    ("report", "report --since 1h"),
    ("workflows", "workflow list"),
    ("definitions", "workflow put wf.yaml"),
    ("definitions", "workflow list --stored"),
    ("shown-definition", "workflow show wf --stored"),
    ("plan", "workflow plan wf --stored"),
    ("removed", "workflow remove wf"),
    ("session", "session create s"),
    ("sessions", "session list"),
    ("session-stats", "stats --session s"),
    ("schedule", "schedule add s --every 1h --handler a.b"),
    ("schedule", "schedule pause s"),
    ("schedules", "schedule list"),
];

#[test]
fn what_each_verb_prints_is_what_its_schema_says() {
    let daemon = Daemon::start(2);
    let mut checked = Checked { seen: BTreeSet::new() };
    // The words after -- come last.
    let mut says = |name: &str, arguments: &[&str], command: &[&str]| {
        let dashes: &[&str] = if command.is_empty() { &[] } else { &["--"] };
        let said = daemon.orchctl(&[arguments, &["--json"], dashes, command].concat());
        assert!(!said.out.is_empty(), "{arguments:?} printed nothing: {said:?}");
        checked.check(name, &said.out);
    };
    daemon.write("wf.yaml", "name: wf\ntasks:\n  - name: a\n    shell: echo hi\n  - name: b\n    shell: 'false'\n    dependencies: [a]\n");
    daemon.write("bad.yaml", "name: wf\ntasks:\n  - name: a\n    dependencies: [b]\n");
    let held = daemon.submit(TaskSpec { hold: true, ..daemon.shell("true") }).to_string();
    let busy = daemon
        .submit(TaskSpec { claims: kit::claims(&["lock:a:write", "cpu=1"]), ..daemon.shell(gate("go")) });
    daemon.until_status(busy, Status::Running);
    let behind =
        daemon.submit(TaskSpec { claims: kit::claims(&["lock:a"]), ..daemon.shell("true") }).to_string();
    says("added", &["add", "--claim", "cpu=0.5", "--tag", "x", "--meta", "k=v", "--hold"], &["true"]);
    says("stats", &["stats"], &[]);
    says("resources", &["resources"], &[]);
    says("resource", &["resources", "set", "lock:b", "capacity=2.5"], &[]);
    says("resource", &["resources", "throttle", "lock:b", "1m"], &[]);
    says("resource", &["resources", "open", "lock:b"], &[]);
    says("resource", &["resources", "close", "lock:b"], &[]);
    says("task-spec", &["edit", &held, "--show"], &[]);
    says("workers", &["workers"], &[]);
    says("explanation", &["why", &behind], &[]);
    says("explanation", &["why", &held], &[]);
    says("results", &["hold", &behind, &busy.to_string(), "4711"], &[]);
    says("results", &["release", &behind], &[]);
    says("results", &["reprioritize", &behind, "high"], &[]);
    says("paused", &["pause", "--priority", "low"], &[]);
    says("resumed", &["resume", "--priority", "low"], &[]);
    says("backup", &["backup", "copy.db"], &[]);
    let token =
        daemon.events(Some(busy)).into_iter().find_map(|event| event.data.get("token").cloned()).unwrap();
    says("progress", &["progress", "40", "--message", "half", "--token", &token.to_string()], &[]);
    says("published-event", &["publish", "custom.half", "n=1"], &[]);
    daemon.write("go", "");
    for (name, words) in WORKFLOWS {
        says(name, &words.split(' ').collect::<Vec<_>>(), &[]);
    }
    let line = "echo out; printf '\\377' >&2; echo '{\"rows\": 3}' > $ORCHD_RESULT; exit 3";
    says("task", &["run", "--shell"], &[line]);
    says("results", &["retry", &held, "4711"], &[]);
    says("results", &["cancel", &held], &[]);
    says("tasks", &["list"], &[]);
    says("shown-task", &["show", &busy.to_string()], &[]);
    says("shown-task", &["show", &held], &[]);
    says("wait", &["wait", &held, "4711"], &[]);
    let written = (busy.0 + 2..busy.0 + 20)
        .map(|id| id.to_string())
        .find(|id| daemon.orchctl(&["logs", id]).out == "out\n");
    says("output-piece", &["logs", "--both", &written.unwrap()], &[]);
    says("event", &["events", "--no-follow"], &[]);
    says("hooks", &["hooks"], &[]);
    says("dead-letters", &["hooks", "dead"], &[]);
    says("letter-results", &["hooks", "retry", "4711"], &[]);
    says("diagnosis", &["doctor"], &[]);
    says("drained", &["drain"], &[]);
    says("ended", &["shutdown"], &[]);
    // Nobody answers any more.
    checked.check("failure", &daemon.orchctl(&["--json", "stats"]).err);
    let all: BTreeSet<String> = orchd_cli::documents().iter().map(|d| d.name.to_owned()).collect();
    assert_eq!(checked.seen, all, "each document was seen");
}
