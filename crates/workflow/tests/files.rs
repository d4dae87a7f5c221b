//! Whole workflow files: what a valid one becomes, and what is said of one that is not.

use orchd_model::{Body, Env, FailFast, Priority, Span};
use orchd_workflow::{FileError, Plan, Wanted, load, load_all};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

const SCIENCE: &str = r#"
name: data-science
parameters: { rows: 1000 }
max_parallel: 4
fail_fast: cancel
timeout: 5m
defaults: { max_retries: 1, retry_delay: 0.1, backoff: 2, env: { A: "1", B: "1" }, priority: low }
tasks:
  - name: generate_a
    command: [generate, --rows, "{{ parameters.rows }}", 1.10]
    priority: HIGH
    claims: [{ type: cpu, amount: 1 }, "file:scratch:write"]
    timeout: 60
    env: { B: 2 }
  - name: check
    shell: |
      echo {{ tasks.generate_a.output.rows }}
    dependencies: [generate_a]
    when: tasks.generate_a.output.rows > 10
    max_retries: 5
  - name: analyze
    module: static_analysis
    action: analyze_code_quality
    parameters: { path: ./src, sample: "{{ tasks.generate_a.output.path }}" }
    dependencies: [{ task: generate_a, on: completion }, check]
    metadata: { expected_duration: 10 }
  - name: done
    dependencies: [analyze, check]
"#;

fn none() -> BTreeMap<String, Value> {
    BTreeMap::new()
}

fn errors(name: &str, text: &str) -> Vec<FileError> {
    load(name, text, &none()).expect_err("the file should be refused")
}

fn lines(name: &str, text: &str) -> Vec<String> {
    errors(name, text).iter().map(|e| e.to_string().replace("\n  hint: ", " | ")).collect()
}

#[test]
fn a_file_becomes_a_spec_with_its_defaults() {
    let spec = load("w.yaml", SCIENCE, &none()).unwrap();
    assert_eq!(
        (spec.name.as_str(), spec.max_parallel, spec.fail_fast),
        ("data-science", Some(4), FailFast::Cancel)
    );
    assert_eq!(spec.timeout, Some(Span::from_secs(300)));
    let [generate, check, analyze, done] = &spec.tasks[..] else { panic!("four tasks") };
    let argv = ["generate", "--rows", "{{ parameters.rows }}", "1.10"].map(str::to_owned).to_vec();
    assert_eq!(generate.body, Body::Command { argv });
    assert_eq!((generate.priority, check.priority), (Priority::High, Priority::Low));
    assert_eq!(generate.env, Env::from([("A".into(), "1".into()), ("B".into(), "2".into())]));
    assert_eq!(
        generate.claims.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["cpu:system_cpu", "file:scratch:write"]
    );
    assert_eq!((check.retry.max_retries, check.retry.backoff), (Some(5), Some(2.0)));
    assert_eq!(generate.retry.max_retries, Some(1));
    assert_eq!(analyze.body.handler().as_deref(), Some("static_analysis.analyze_code_quality"));
    assert_eq!((&done.body, done.env.len()), (&Body::Milestone, 0));
}

#[test]
fn yaml_and_json_give_the_same_spec_and_plan() {
    let document = json!({
        "name": "data-science", "parameters": {"rows": 1000}, "max_parallel": 4, "fail_fast": "cancel",
        "timeout": 300,
        "defaults": {"max_retries": 1, "retry_delay": 0.1, "backoff": 2, "env": {"A": "1", "B": "1"}, "priority": "low"},
        "steps": [
            {"name": "generate_a", "command": ["generate", "--rows", "{{ parameters.rows }}", "1.10"],
             "priority": "high", "claims": ["cpu=1", {"type": "file", "identifier": "scratch", "mode": "write"}],
             "timeout": 60, "env": {"B": "2"}},
            {"name": "check", "shell": "echo {{ tasks.generate_a.output.rows }}\n", "dependencies": ["generate_a"],
             "when": "tasks.generate_a.output.rows > 10", "max_retries": 5},
            {"name": "analyze", "module": "static_analysis", "action": "analyze_code_quality",
             "parameters": {"path": "./src", "sample": "{{ tasks.generate_a.output.path }}"},
             "dependencies": [{"task": "generate_a", "on": "completion"}, "check"],
             "metadata": {"expected_duration": 10}},
            {"name": "done", "dependencies": ["analyze", "check"]},
        ]
    });
    let yaml = load("w.yaml", SCIENCE, &none()).unwrap();
    let json = load("w.json", &serde_json::to_string_pretty(&document).unwrap(), &none()).unwrap();
    assert_eq!(yaml, json);
    assert_eq!(Plan::of(&yaml), Plan::of(&json));
}

#[test]
fn a_plan_shows_stages_and_the_critical_path() {
    let plan = serde_json::to_value(Plan::of(&load("w.yaml", SCIENCE, &none()).unwrap())).unwrap();
    assert_eq!(plan["valid"], true);
    assert_eq!(plan["execution_order"], json!([["generate_a"], ["check"], ["analyze"], ["done"]]));
    assert_eq!(
        (&plan["stages"], &plan["total_tasks"], &plan["max_parallelism"]),
        (&json!(4), &json!(4), &json!(1))
    );
    assert_eq!(plan["edges"][1], json!(["generate_a", "analyze", "completion"]));
    assert_eq!(
        plan["critical_path"],
        json!({"tasks": ["generate_a", "check", "analyze", "done"], "duration": 12.0})
    );
    assert!(plan["mermaid"].as_str().unwrap().contains("t0 -. completion .-> t2"));
    assert!(plan["dot"].as_str().unwrap().contains("\"check\" -> \"analyze\";"));
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let text = r#"name: bad
parametres: {}
max_parallel: 0
fail_fast: yes
parameters: { rows: 1 }
defaults: { timeout: soon, max_retries: 1, max_attempts: 5 }
tasks:
  - name: a
    comand: [x]
    priority: hihg
    claims: ["cpu=0", {type: memory}]
  - name: a
    shell: |
      echo ok
      echo {{ parameters.row }}
      echo {{ tasks.a.output }}
    dependencies: [aa, b, b]
  - name: b
    shell: "echo {{ open"
    when: "tasks.a.output >"
    command: [x]
  - shell: nameless
  - name: self
    dependencies: [self, {task: missing, on: sucess}]
    timeout: "{{ parameters.rows }}"
    command: run it
  - just text
"#;
    assert_eq!(
        lines("w.yaml", text),
        [
            "w.yaml:2:1: unknown key of a workflow: parametres | did you mean parameters?",
            "w.yaml:3:15: max_parallel must be at least 1: 0",
            "w.yaml:4:12: fail_fast must be true, false or cancel, not text",
            "w.yaml:6:22: timeout: not a duration: soon | write seconds (2.5) or numbers with units: us, ms, s, m, h, d, w (1h30m)",
            "w.yaml:6:44: defaults: max_attempts must be max_retries + 1: max_retries 1, max_attempts 5 | give only one of the two",
            "w.yaml:9:5: unknown key of a task: comand | did you mean command?",
            "w.yaml:10:15: priority: unknown priority: hihg | did you mean high?",
            "w.yaml:11:14: claim: a claim must want more than nothing: cpu:system_cpu=0",
            "w.yaml:11:23: claim: this claim needs an amount: memory:system_memory | write memory=512MiB",
            "w.yaml:12:5: a second task of this name: a | the first one is in line 8",
            "w.yaml:15:1: unknown parameter in a template: row | did you mean rows?",
            "w.yaml:16:1: a template names a task that is no direct dependency: a | add it to the dependencies of a: only those give their results",
            "w.yaml:17:20: unknown dependency: aa | did you mean a?",
            "w.yaml:17:27: a dependency that is given twice: b",
            "w.yaml:19:5: a task has one body | give one of command, shell, module",
            "w.yaml:19:12: template does not parse: unexpected end of input, expected end of variable block | a literal {{ or {% is written {{ '{{' }} or {{ '{%' }}",
            "w.yaml:20:11: when does not parse: unexpected end of input, expected expression: tasks.a.output > | write an expression such as tasks.NAME.output.rows > 10",
            "w.yaml:22:5: a task without a name | add name: to it",
            "w.yaml:24:20: a task cannot depend on itself: self",
            "w.yaml:24:33: unknown dependency: missing",
            "w.yaml:24:46: on: unknown dependency condition: sucess | one of success, failure, completion",
            "w.yaml:25:14: timeout: not a duration: {{ parameters.rows }} | templates work in command, shell, env, cwd, stdin and parameters only",
            "w.yaml:26:14: command must be a list of arguments, not text | write [program, argument], or use shell for a line",
            "w.yaml:27:5: a task must be a map, not text",
        ]
    );
}

#[test]
fn malformed_text_is_named_with_line_and_column() {
    for (name, text, error) in [
        ("w.yaml", "name: x\ntasks:\n  - name: a\n   shell: b\n", "w.yaml:4:"),
        ("w.yaml", "tasks: [\n  {name: a}\n", "w.yaml:"),
        ("w.yaml", "name: 'open\n", "w.yaml:1:7: not valid YAML"),
        ("w.yaml", "name: a\nname: b\ntasks: [{name: t}]", "w.yaml:2:1: duplicate key: name"),
        ("w.yaml", "- a\n", "w.yaml:1:1: a workflow file must be a map, not a list"),
        ("w.yaml", "name: x\n", "w.yaml:1:1: a workflow without tasks"),
        ("w.yaml", "tasks: []\n", "w.yaml:1:8: a workflow has at least one task"),
        ("w.json", "{\"tasks\": [\n{\"name\": \"a\"},\n]}", "w.json:3:1: not valid JSON: expected value"),
        ("w.json", "name: yaml\n", "w.json:1:2: not valid JSON"),
        ("w.json", "{\"tasks\": [{\"name\": \"a\",\n \"name\": \"b\"}]}", "w.json:2:2: duplicate key: name"),
        ("w.toml", "name = 'x'", "w.toml:1:1: a workflow without tasks"),
        ("w.toml", "[[tasks]]\nname = 'a'\nshel = 'b'\n", "w.toml:3:1: unknown key"),
    ] {
        let errors = lines(name, text);
        assert!(errors[0].starts_with(error), "{text:?}: {errors:?}");
    }
}

#[test]
fn true_false_and_null_are_text_as_written_where_text_is_wanted() {
    let text = "tasks: [{ name: True, command: [echo, TRUE, false], env: { TRUE: x, NULL: False }, when: TRUE, parameters: { Null: True } }]";
    let [task] = &load("w.yaml", text, &none()).unwrap().tasks[..] else { panic!("one task") };
    assert_eq!(task.body, Body::Command { argv: ["echo", "TRUE", "false"].map(str::to_owned).to_vec() });
    assert_eq!(task.env, Env::from([("TRUE".into(), "x".into()), ("NULL".into(), "False".into())]));
    assert_eq!((task.name.as_str(), task.when.as_deref()), ("True", Some("true")));
    assert_eq!(json!(task.parameters), json!({ "Null": true }));
}

#[test]
fn a_command_that_no_task_runs_is_no_mistake_and_is_told() {
    let text = "
handlers: { a.b: [x], a.bb: [y], shared: [z] }
workflows: { s: { handlers: { cc: [x], cd: [y] }, tasks: [{ name: u, module: cc }] } }
tasks: [{ name: t, module: a, action: b }]
";
    let wanted = Wanted { workflow: None, parameters: &none(), runs: true };
    let loaded = load_all("w.yaml", text, wanted).unwrap();
    let told: Vec<String> = loaded.workflows[0].warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "w.yaml:2:23: no task has this handler: a.bb\n  hint: did you mean a.b?",
        "w.yaml:2:34: no task has this handler: shared",
        "w.yaml:3:40: no task has this handler: cd\n  hint: did you mean cc?",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_mistake_that_an_anchor_repeats_is_told_once() {
    let text =
        "tasks:\n- &a { name: a, command: [echo, null] }\n- { <<: *a, name: b }\n- { <<: *a, name: c }\n";
    assert_eq!(lines("w.yaml", text), ["w.yaml:2:33: an argument must be text, not nothing"]);
}

#[test]
fn a_mistake_within_a_literal_block_has_its_own_line() {
    let text = "tasks:\n- name: a\n  shell: |2-\n\n\n    x\n    {{ parameters.y }}\n";
    assert!(lines("w.yaml", text)[0].starts_with("w.yaml:7:1: "), "{:?}", lines("w.yaml", text));
    let text = "tasks:\n- name: a\n  shell: |\n    x\n    {{ parameters.y\n    echo\n";
    assert!(lines("w.yaml", text)[0].starts_with("w.yaml:6:1: "), "{:?}", lines("w.yaml", text));
}

#[test]
fn cycles_are_named_with_their_path() {
    let text = "tasks:\n  - {name: a, dependencies: [c]}\n  - {name: b, dependencies: [a]}\n  \
                - {name: c, dependencies: [b]}\n  - {name: d, dependencies: [c]}\n";
    assert_eq!(
        lines("w.yaml", text),
        ["w.yaml:2:30: dependencies form a cycle: a -> c -> b -> a | remove one of them"]
    );
}

#[test]
fn overrides_change_parameters() {
    let overrides = BTreeMap::from([("rows".to_owned(), json!("7"))]);
    assert_eq!(load("w.yaml", SCIENCE, &overrides).unwrap().parameters["rows"], 7);
    let overrides = BTreeMap::from([("row".to_owned(), json!("7"))]);
    let errors = load("w.yaml", SCIENCE, &overrides).unwrap_err();
    assert_eq!((errors[0].line, errors[0].hint.as_deref()), (None, Some("did you mean rows?")));
}

#[test]
fn templates_see_own_parameters_and_direct_dependencies_only() {
    let text = r#"
parameters: { x: 1 }
tasks:
  - { name: a, shell: "true" }
  - { name: b, shell: "true", dependencies: [a] }
  - name: c-d
    dependencies: [b]
    parameters: { own: "{{ parameters.x }}", again: "{{ parameters.own }}" }
    shell: "{{ parameters.own }} {{ tasks['b'].output }} {{ tasks.a.output }} {{ range(3) }} {{ env.X }}"
  - { name: e, dependencies: [c-d], when: "tasks.c-d.output > 1" }
  - { name: f, dependencies: [c-d], when: "tasks['c-d'].output > 1" }
"#;
    assert_eq!(
        lines("w.yaml", text),
        [
            "w.yaml:8:53: unknown parameter in a template: own",
            "w.yaml:9:12: unknown name in a template: env | known are parameters.NAME, tasks.NAME and tasks[\"a-b\"]",
            "w.yaml:9:12: a template names a task that is no direct dependency: a | add it to the dependencies of c-d: only those give their results",
            "w.yaml:10:43: unknown name in a template: d | known are parameters.NAME, tasks.NAME and tasks[\"a-b\"]",
            "w.yaml:10:43: a template names a task that is no direct dependency: c | did you mean tasks[\"c-d\"]?",
        ]
    );
}

fn chain(tasks: usize) -> String {
    let mut text = String::from(r#"{"tasks": [{"name": "t0", "command": ["true"]}"#);
    for i in 1..tasks {
        _ = write!(text, r#",{{"name": "t{i}", "command": ["true"], "dependencies": ["t{}"]}}"#, i - 1);
    }
    text + "]}"
}

#[test]
fn a_chain_of_a_hundred_thousand_tasks_is_legal() {
    let spec = load("w.json", &chain(100_000), &none()).unwrap();
    let plan = Plan::of(&spec);
    assert_eq!((plan.stages, plan.critical_path.tasks.len()), (100_000, 100_000));
}

#[test]
fn a_ring_of_a_hundred_thousand_tasks_is_a_short_error() {
    let text = chain(100_000).replacen(r#""command": ["true"]"#, r#""dependencies": ["t99999"]"#, 1);
    let error = lines("w.json", &text).remove(0);
    assert!(error.contains("t0 -> t99999 -> t99998") && error.contains("(99988 more)"), "{error}");
}

/// Tasks with something wrong in their graph, and more of them that are right.
fn wrong_graph(more: usize) -> String {
    let wrong = r#"
 {"name": "a", "dependencies": ["b", "missing"]},
 {"name": "b", "dependencies": [{"task": "a", "on": "failure"}]},
 {"name": "c", "dependencies": "c"},
 {"name": "d", "dependencies": ["e", "e"]},
 {"name": "e", "dependencies": ["e d", "d e"]},
 {"name": "e"},
 {"dependencies": ["last"], "name": "\u0066"},
 {"name": "g", "compensates": "last"},
 {"name": "last", "finally": true}"#;
    let more: String = (0..more).map(|n| format!(",\n {{\"name\": \"more{n}\"}}")).collect();
    format!(
        "{{\"tasks\": [{wrong}{more}\n], \"finally\": [{{\"name\": \"end\", \"dependencies\": [\"nobody\"]}}]}}"
    )
}

#[test]
fn the_graph_of_a_long_list_is_checked_as_that_of_a_short_one() {
    let told = |more: usize| {
        let lines = lines("w.json", &wrong_graph(more));
        // The last line of the file is another one.
        lines.into_iter().map(|line| line.replace(&format!(":{}:", 11 + more), ":end:")).collect::<Vec<_>>()
    };
    let (short, mut long) = (told(0), told(20_000));
    assert_eq!(long.pop().as_deref(), Some("w.json: and a part that was not looked at"));
    assert_eq!(short, long);
    assert_eq!(short.len(), 10, "{short:#?}");
}

#[test]
fn of_a_long_list_whose_graph_is_wrong_no_task_is_read() {
    let wrong = r#"{"tasks": [{"name": "a", "shel": "true"}, {"name": "b", "dependencies": ["a"]}"#;
    let told = |more: usize| {
        let more: String =
            (0..more).map(|n| format!(r#", {{"name": "n{n}", "dependencies": ["x"]}}"#)).collect();
        lines("w.json", &format!("{wrong}{more}]}}"))
    };
    assert!(told(1)[0].contains("unknown key") && told(1)[1].contains("unknown dependency: x"));
    assert!(told(20_000).iter().all(|line| !line.contains("unknown key")));
}

#[test]
fn a_task_may_wait_for_a_hundred_thousand_others() {
    let names: Vec<String> = (0..100_000).map(|n| format!("\"{n:x}\"")).collect();
    let others: String = names.iter().map(|name| format!(", {{\"name\": {name}}}")).collect();
    let text = format!(r#"{{"tasks": [{{"name": "all", "dependencies": [{}]}}{others}]}}"#, names.join(","));
    assert_eq!(load("w.json", &text, &none()).unwrap().tasks[0].dependencies.len(), 100_000);
}

#[test]
fn hostile_files_are_refused_soon() {
    let mut bomb = String::from("parameters:\n  a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for i in 1..40 {
        let aliases = vec![format!("*a{}", i - 1); 8].join(", ");
        _ = writeln!(bomb, "  a{i}: &a{i} [{aliases}]");
    }
    let unknown: String = (0..20_000).map(|i| format!("- {{name: n{i}, dependencies: [x{i}]}}\n")).collect();
    let started = Instant::now();
    for (name, text) in [
        ("bomb.yaml", bomb),
        ("deep.yaml", format!("tasks: {}", "[".repeat(1_000_000))),
        ("deeper.yaml", "- ".repeat(1_000_000)),
        ("keys.yaml", "a: 1\n".repeat(20_000)),
        ("deep.json", "[".repeat(1_000_000)),
        ("deep-object.json", "{\"a\":".repeat(100_000)),
        ("unknown.yaml", format!("tasks:\n{unknown}")),
        ("zero.yaml", "\0".repeat(1000)),
        ("template.yaml", format!("tasks: [{{name: a, shell: \"{{{{ {}1 }}}}\"}}]", "(".repeat(100_000))),
    ] {
        let errors = errors(name, &text);
        assert!(
            errors.len() <= 201 && errors.iter().all(|e| e.message.len() < 1000),
            "{name}: {}",
            errors[0]
        );
    }
    // A bound against loops without end, not a measurement.
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn a_file_above_the_limit_is_not_even_read() {
    for (name, words) in [
        ("w.yaml", "a file in YAML is at most 4194304 bytes: 4194305 | write it as JSON"),
        ("w.toml", "a file in TOML is at most 1048576 bytes: 1048577 | write it as JSON"),
        ("w.json", "a file in JSON is at most 94371840 bytes: 94371841 | a program submits larger graphs"),
    ] {
        let text = " ".repeat(orchd_workflow::Format::of(name).limit() + 1);
        let told = lines(name, &text);
        assert!(told[0].contains(words), "{told:?}");
    }
}

#[test]
fn a_workflow_may_say_who_is_told_of_its_events() {
    let text = "on_event: { events: task.*, command: [a, 1], retries: 2 }\ntasks: [{ name: a, shell: x }]\n";
    let hooks = load("w.yaml", text, &none()).unwrap().on_event;
    assert_eq!((hooks[0].events.as_slice(), hooks[0].retries), (&["task.*".to_owned()][..], Some(2)));
    assert_eq!(hooks[0].command, Some(vec!["a".to_owned(), "1".to_owned()]));
    let wrong = "\
on_event:
  - { events: [task.fail], shell: x }
  - { events: ['*'] }
  - { events: ['*'], url: example.org }
  - { event: ['*'], shell: x }
  - events: [task.fail, task.done]
    shell: x
    url: example.org
    timeout: soon
    retries: 1.5
    nmae: x
  - { events: [], command: [] }
  - { events: '*', url: 'http://a:65536/' }
  - { events: '*', shell: x, timeout: 0 }
tasks: [{ name: a, shell: x }]
";
    assert_eq!(
        lines("w.yaml", wrong),
        [
            "w.yaml:2:16: on_event: no event is of this type: task.fail | did you mean task.failed?",
            "w.yaml:3:5: on_event: a hook has one of command, shell and url",
            "w.yaml:4:27: on_event: a hook's url is http(s)://HOST[:PORT][/PATH]: example.org",
            "w.yaml:5:7: unknown key of a hook: event | did you mean events?",
            "w.yaml:6:14: on_event: no event is of this type: task.fail | did you mean task.failed?",
            "w.yaml:6:25: on_event: no event is of this type: task.done | a type as task.failed, all of a noun as task.*, or *",
            "w.yaml:8:10: on_event: a hook has one of command, shell and url",
            "w.yaml:9:14: timeout: not a duration: soon | write seconds (2.5) or numbers with units: us, ms, s, m, h, d, w (1h30m)",
            "w.yaml:10:14: retries must be a whole number: 1.5",
            "w.yaml:11:5: unknown key of a hook: nmae | did you mean name?",
            "w.yaml:12:15: on_event: a hook must say which events it is for",
            "w.yaml:12:28: on_event: a hook's command is empty",
            "w.yaml:13:25: on_event: a hook's url is http(s)://HOST[:PORT][/PATH]: http://a:65536/ | a port is a number from 1 to 65535",
            "w.yaml:14:39: on_event: a hook's timeout must be more than nothing: 0 | each try has a limit: without this one it is the usual one",
        ]
    );
}

#[test]
fn sub_workflows_that_multiply_beyond_all_counting_are_told_in_words() {
    let mut text = "workflows:\n  s0: { tasks: [{ name: a, shell: x }] }\n".to_owned();
    for n in 1..90 {
        let call = |name: &str| format!("{{ name: {name}, workflow: s{} }}", n - 1);
        text += &format!("  s{n}: {{ tasks: [{}, {}] }}\n", call("a"), call("b"));
    }
    text += "tasks: [{ name: all, workflow: s89 }]\n";
    let told = lines("w.yaml", &text);
    assert_eq!(told.len(), 1, "{told:?}");
    let words = "sub-workflows come to at most 100000 tasks: more than 1000000000";
    assert!(told[0].contains(words), "{told:?}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text = "\
timeout: 0
tasks:
  - name: a
    timeout: 0
    jitter: 3
    backoff: 0
    env: { A=B: c, \"\": d, OK: x }
    tags: [ok, \"\"]
    shell: \"{{ parameters.x | uper }} {{ call(3) }} {{ 1 is od }}\"
  - name: b
    shell: \"{{ tasks.aa.output }} {{ tasks.a.output }}\"
    dependencies: \"a, c\"
    foreach: 12
  - { name: c, command: [] }
steps:
  - { nam: d }
workflows: { s: { tasks: [{ name: x, shel: y }] } }
";
    let expected = [
        "w.yaml:1:10: a timeout must be more than nothing: 0 | without a timeout there is no limit",
        "w.yaml:4:5: task a: a timeout must be more than nothing: 0 | without a timeout there is no limit",
        "w.yaml:5:5: task a: jitter must be between 0 and 1: 3",
        "w.yaml:6:5: task a: backoff must be between 1 and 1000: 0",
        "w.yaml:7:12: task a: not a usable environment variable: A=B",
        "w.yaml:7:20: task a: not a usable environment variable: ",
        "w.yaml:8:16: task a: a tag has 1 to 128 bytes: ",
        "w.yaml:9:12: no such filter in a template: uper | did you mean upper?",
        "w.yaml:9:12: no such test in a template: od | did you mean odd?",
        "w.yaml:9:12: unknown name in a template: call | known are parameters.NAME, tasks.NAME and tasks[\"a-b\"]",
        "w.yaml:9:12: unknown parameter in a template: x",
        "w.yaml:11:12: a template names a task that is no direct dependency: a | add it to the dependencies of b: only \
         those give their results",
        "w.yaml:11:12: a template names a task that does not exist: aa | did you mean a?",
        "w.yaml:12:19: unknown dependency: a, c | write a list: [a, c]",
        "w.yaml:13:14: foreach must be a list, or an expression that gives one, not a number",
        "w.yaml:14:16: task c: a command needs a program: []",
        "w.yaml:15:1: steps is another word for tasks: give only one of the two",
        "w.yaml:16:5: a task without a name | add name: to it",
        "w.yaml:16:7: unknown key of a task: nam | did you mean name?",
        "w.yaml:17:38: unknown key of a task: shel | did you mean shell?",
    ];
    let told = lines("w.yaml", text);
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}
