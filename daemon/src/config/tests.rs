//! Tests of the configuration as a whole.

use super::*;
use serde_json::{Value, json};

fn read(name: &str, text: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Config, Mistakes> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    let home = [("HOME", "/nowhere")].into_iter().chain(environment.iter().copied());
    let environment = home.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let read = Config::from_layers(flags, Layers::read(Some(path), environment));
    let short = |text: String| text.replace(&format!("{}/", directory.path().display()), "");
    read.map_err(|Mistakes(errors)| Mistakes(errors.into_iter().map(short).collect()))
}

fn toml(text: &str) -> Result<Config, Mistakes> {
    read("c.toml", text, &[], &Flags::default())
}

fn setting<'a>(config: &'a Config, key: &str) -> &'a Setting {
    config.settings.iter().find(|setting| setting.key == key).unwrap()
}

#[test]
fn the_example_of_the_documentation_loads() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let example = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = toml(example).unwrap();
    assert_eq!(config.slots, 4);
    assert_eq!(config.retention, Retention { age: Span::from_secs(7 * 86_400), tasks: 1_000_000 });
}

#[test]
fn unknown_keys_are_named_with_their_place_and_the_nearest_known_one() {
    let error = toml("[schedular]\nslots = 1\n").unwrap_err().to_string();
    assert_eq!(error, "c.toml:1:2: unknown key: schedular\n  hint: did you mean scheduler?");
    let error = toml("[scheduler]\n\n  slot = 1\n").unwrap_err().to_string();
    assert_eq!(error, "c.toml:3:3: unknown key: scheduler.slot\n  hint: did you mean slots?");
    let error = toml("[resources.\"lock:a\"]\ncapasity = 1\n").unwrap_err().to_string();
    assert!(error.contains("c.toml:2:1: unknown key: resources.lock:a.capasity"), "{error}");
    let error = toml("[resources]\ncpu_limt = 4\n").unwrap_err().to_string();
    assert_eq!(error, "c.toml:2:1: resources.cpu_limt must be a table\n  hint: did you mean cpu_limit?");
    let error = read("c.yaml", "retention:\n  agee: 7d\n", &[], &Flags::default()).unwrap_err().to_string();
    assert_eq!(error, "c.yaml:2:3: unknown key: retention.agee\n  hint: did you mean age?");
    let error = read("c.json", "{\"handlers\": {\"a.b\":\n {\"comand\": []}}}", &[], &Flags::default());
    assert!(error.unwrap_err().to_string().starts_with("c.json:2:3: unknown key: handlers.a.b.comand"));
}

#[test]
fn a_wrong_value_stands_behind_what_it_is_not_and_before_what_would_help() {
    for (text, expected) in [
        (
            "[scheduler]\nslots = \"x\"\n",
            "c.toml:2:1: scheduler.slots: not a whole number from 0 to 4294967295: \"x\"",
        ),
        (
            "[scheduler]\naging = \"soon\"\n",
            "c.toml:2:1: scheduler.aging: not a duration: soon\n  hint: write seconds",
        ),
        (
            "[scheduler]\ngrace = -1\n",
            "c.toml:2:1: scheduler.grace: a duration must be between 0 and 36600d (100 years): -1",
        ),
        (
            "[enforcement]\ncpu = \"limits\"\n",
            "c.toml:2:1: enforcement.cpu: no such word: limits\n  hint: did you mean limit?",
        ),
    ] {
        let error = toml(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let error = read("c.toml", "", &[("ORCHD_SCHEDULER_AGING", "soon")], &Flags::default()).unwrap_err();
    let expected = "ORCHD_SCHEDULER_AGING: not a duration: soon\n  hint: write seconds";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn every_mistake_is_told_at_once() {
    let mistakes =
        toml("[scheduler]\naging = \"soon\"\nslots = 0\ngrace = -1\n[access]\nusers = [\"no one\"]\n");
    let errors = mistakes.unwrap_err().0;
    assert_eq!(errors.len(), 4, "{errors:#?}");
    for part in
        ["c.toml:2:1", "c.toml:3:1: slots must be between 1 and", "c.toml:4:1", "no such user: no one"]
    {
        assert!(errors.iter().any(|error| error.contains(part)), "{part}: {errors:#?}");
    }
}

#[test]
fn every_mistake_about_retries_is_told_at_once_with_its_own_place() {
    let text = "[defaults]\nmax_retries = 3\nmax_attempts = 3\nbackoff = 0.5\n";
    let errors = read("c.toml", text, &[("ORCHD_DEFAULTS_JITTER", "2")], &Flags::default()).unwrap_err().0;
    let expected = [
        "c.toml:3:1: defaults: max_attempts must be max_retries + 1: max_retries 3, max_attempts 3\n  hint: \
         give only one of the two",
        "c.toml:4:1: defaults: backoff must be between 1 and 1000: 0.5",
        "ORCHD_DEFAULTS_JITTER: defaults: jitter must be between 0 and 1: 2",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn a_variable_with_one_word_for_a_value_wins_over_the_other_word_in_the_file() {
    let tries = |text: &str, variables: &[(&str, &str)]| {
        let read = read("c.toml", text, variables, &Flags::default()).unwrap();
        (read.defaults.max_retries, read.defaults.max_attempts)
    };
    let (retries, attempts) = ("[defaults]\nmax_retries = 2\n", "[defaults]\nmax_attempts = 2\n");
    assert_eq!(tries(retries, &[("ORCHD_DEFAULTS_MAX_ATTEMPTS", "9")]), (None, Some(9)));
    assert_eq!(tries(attempts, &[("ORCHD_DEFAULTS_MAX_RETRIES", "9")]), (Some(9), None));
    assert_eq!(tries(attempts, &[]), (None, Some(2)));
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let text = "[scheduler]\nslots = 3\n";
    let flag = Flags { slots: Some(5), ..Flags::default() };
    let variables = [("MAX_PARALLEL_TASKS", "4")];
    let all = read("c.toml", text, &variables, &flag).unwrap();
    assert_eq!((all.slots, setting(&all, "scheduler.slots").source.to_string()), (5, "--slots".to_owned()));
    let two = read("c.toml", text, &variables, &Flags::default()).unwrap();
    let source = setting(&two, "scheduler.slots").source.to_string();
    assert_eq!((two.slots, source.as_str()), (4, "MAX_PARALLEL_TASKS"));
    let one = toml(text).unwrap();
    assert_eq!(one.slots, 3);
    assert!(setting(&one, "scheduler.slots").source.to_string().ends_with("c.toml:2"));
    assert_eq!(setting(&toml("").unwrap(), "scheduler.slots").source, Source::Machine);
}

#[test]
fn every_simple_key_can_be_given_by_a_variable_of_its_name() {
    let variables = [
        ("ORCHD_SCHEDULER_AGING", "0"),
        ("ORCHD_DEFAULTS_RETRY_ON", "SIGKILL, 1-9"),
        ("ORCHD_DEFAULTS_MAX_RETRIES", "2"),
        ("ORCHD_RETENTION_TASKS", "10"),
        ("ORCHD_LOG_FORMAT", "json"),
        ("WORKFLOW_TIMEOUT", "300"),
        ("LOG_LEVEL", "WARNING"),
        ("ORCHD_SCHEDULER_GRACES", "1"),
    ];
    let config = read("c.toml", "", &variables, &Flags::default()).unwrap();
    assert_eq!((config.core.aging, config.retention.tasks), (Span::ZERO, 10));
    assert_eq!(config.defaults.retry_on.as_ref().map(Vec::len), Some(2));
    assert_eq!(config.workflows.timeout, Some(Span::from_secs(300)));
    assert_eq!(config.log.filter.as_deref(), Some("warn"));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("did you mean ORCHD_SCHEDULER_GRACE?"), "{:?}", config.warnings);
}

#[test]
fn the_variable_of_every_key_is_heard() {
    let values = ["7", "1", "0", "1GiB", "false", "json", "off", "debug", "/x"];
    for key in key::KEYS.iter().map(|key| key.name).filter(|key| !key.contains('*')) {
        let name = key::variable(key);
        let heard = |value: &str| match read("c.toml", "", &[(&name, value)], &Flags::default()) {
            Ok(config) => {
                assert!(config.warnings.iter().all(|warning| !warning.contains(&name)), "{name}");
                config.settings.iter().any(|setting| setting.source == Source::Variable(name.clone()))
            }
            Err(Mistakes(_)) => false,
        };
        assert!(values.into_iter().any(heard), "{name} changes nothing");
        match read("c.toml", "", &[(&name, "@@")], &Flags::default()) {
            Ok(_) => assert!(heard("@@"), "{name}=@@ is overheard"),
            Err(error) => assert!(error.to_string().starts_with(&name), "{name}: {error}"),
        }
    }
}

#[test]
fn a_limit_in_the_environment_wins_over_the_file_however_that_says_it() {
    for text in [
        "[resources]\ncpu_limit = 4",
        "[resources.cpu]\ncapacity = 4",
        "[resources.\"cpu:system_cpu\"]\ncapacity = 4",
    ] {
        let config =
            read("c.toml", text, &[("ORCHD_RESOURCES_CPU_LIMIT", "2.5")], &Flags::default()).unwrap();
        let found: Vec<_> = config.core.resources.iter().filter(|(name, _)| name.kind() == "cpu").collect();
        let [(_, cpu)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(cpu.capacity.map(Amount::as_f64), Some(2.5), "{text}");
    }
    let error = read("c.toml", "", &[("ORCHD_RESOURCES_DISK_SPACE_GB", "0")], &Flags::default()).unwrap_err();
    let expected =
        "ORCHD_RESOURCES_DISK_SPACE_GB: resources.disk_space_gb: a capacity must be more than nothing: 0";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_bad_variable_is_named_with_its_value() {
    for (name, value) in [
        ("LOG_LEVEL", "LOUD"),
        ("MAX_PARALLEL_TASKS", "many"),
        ("MAX_PARALLEL_TASKS", "99999999"),
        ("WORKFLOW_TIMEOUT", "-3"),
        ("RUST_LOG", "a=b=c"),
    ] {
        let error = read("c.toml", "", &[(name, value)], &Flags::default()).unwrap_err().to_string();
        assert!(error.starts_with(name) && error.contains(value), "{error}");
    }
}

#[test]
fn the_keys_of_the_reference_configuration_mean_ours() {
    let text = "
workflow:
  manager: { enable_performance_monitoring: true, max_parallel_tasks: 6, config_dir: ./w }
  sample: { name: s, steps: [{ name: a, module: m, action: b }] }
dag:
  tasks: [{ name: init, module: m }]
  execution: { max_parallel: 3, timeout_seconds: 300, retry_failed: true }
resources: { cpu_limit: 4, memory_limit_gb: 8, disk_space_gb: 1.5 }
";
    let config = read("c.yaml", text, &[], &Flags::default()).unwrap();
    assert_eq!(config.slots, 6);
    let expected =
        WorkflowDefaults { max_parallel: Some(3), timeout: Some(Span::from_secs(300)), max_retries: Some(2) };
    assert_eq!(config.workflows, expected);
    let capacity = |kind: &str| {
        let (_, setting) = config.core.resources.iter().find(|(name, _)| name.kind() == kind).unwrap();
        setting.capacity.unwrap().as_f64()
    };
    assert_eq!(
        [capacity("cpu"), capacity("memory"), capacity("disk")],
        [4.0, 8.0 * 2_f64.powi(30), 1.5 * 2_f64.powi(30)]
    );
    let names: Vec<&str> = config.definitions.iter().map(|definition| &*definition.name).collect();
    assert_eq!(names, ["s", "dag"]);
    let [missing] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert!(missing.contains("workflow.manager.config_dir") && missing.contains("/w: No such"), "{missing}");
    let wrong = "workflow:\n  w:\n    steps: [{ name: a, dependencies: [b] }]\n    slots: 1\n";
    let errors = read("c.yaml", wrong, &[], &Flags::default()).unwrap_err().0;
    assert!(errors.len() == 2 && errors.iter().all(|error| error.starts_with("c.yaml:")), "{errors:?}");
    assert!(errors[0].contains("unknown dependency: b") && errors[1].contains("slots"), "{errors:?}");
}

#[test]
fn resources_that_cannot_be_are_refused() {
    for (text, part) in [
        ("[resources.gpu]", "needs a capacity"),
        ("[resources.gpu]\ncapacity = 0", "capacity must be more than nothing"),
        ("[resources.\"external_api:a\"]\ntokens = 60", "a rate needs tokens and per"),
        ("[resources.\"external_api:a\"]\nconcurrency = 2\nburst = 1", "a rate needs tokens and per"),
        ("[resources.\"external_api:a\"]\ntokens = 60\nper = 0", "per must be more than nothing"),
        ("[resources.cpu]\ncapacity = 2\ntokens = 60\nper = 1", "a quantity has no rate"),
        ("[resources.\"lock:a\"]\ncapacity = 2\ntokens = 60\nper = 1", "either a capacity or a rate"),
        ("[resources.\"a b\"]\ncapacity = 1", "resources.\"a b\""),
        ("[resources.cpu]\ncapacity = 1\n[resources.\"cpu:system_cpu\"]\ncapacity = 2", "configured twice"),
        ("[resources]\ncpu_limit = 2\ncpu.capacity = 2", "give only one"),
        ("[resources.\"lock:a\"]", "nothing is set"),
    ] {
        let error = toml(text).unwrap_err().to_string();
        assert!(error.contains(part) && error.starts_with("c.toml:"), "{text}: {error}");
    }
}

#[test]
fn what_check_config_prints_is_a_configuration_that_means_the_same() {
    let text = "
[scheduler]
slots = 3
aging = 90
[defaults]
retry_on = [7, \"SIGKILL\"]
[resources.\"external_api:x\"]
concurrency = 2
tokens = 60
per = \"1m\"
burst = 10
[resources.memory]
capacity = \"8GiB\"
[handlers.\"a.b\"]
command = [\"echo\", \"it's \\\"b\\\"\"]
[dag.execution]
timeout_seconds = \"2m\"
";
    let first = toml(text).unwrap();
    let printed: Vec<String> = first.settings.iter().map(ToString::to_string).collect();
    let second = toml(&printed.join("\n")).unwrap();
    let values = |config: &Config| -> Vec<(String, Value)> {
        config.settings.iter().map(|s| (s.key.clone(), s.value.clone())).collect()
    };
    assert_eq!(values(&first), values(&second));
    assert_eq!(serde_json::to_value(setting(&first, "scheduler.slots")).unwrap()["value"], json!(3));
}

#[test]
fn only_what_cannot_change_at_run_time_is_named_after_a_reload() {
    let one = toml("[scheduler]\nslots = 1\n").unwrap();
    let two = toml("[scheduler]\nslots = 2\nlease = 5\n[daemon]\nsocket = \"/tmp/x\"\n").unwrap();
    assert_eq!(two.fixed_changes(&one), ["daemon.socket", "scheduler.lease"]);
}

#[test]
fn a_hook_may_be_for_one_type_of_events_without_a_list() {
    let config = toml("[on_event.a]\nevents = \"task.*\"\nshell = \"x\"\n").unwrap();
    assert_eq!(config.hooks[0].events, ["task.*"]);
}

#[test]
fn each_mistake_of_hooks_is_told_once_and_in_the_order_of_the_file() {
    let text = "\
[on_event.d]
evnts = [\"*\"]
shell = \"x\"
[on_event.c]
events = 5
shell = \"x\"
[on_event.b]
events = [\"task.fail\"]
shell = \"x\"
timeout = 0
[on_event.a]
events = \"*\"
url = \"http://a:65536\"
[on_event.f]
command = \"x\"
";
    assert_eq!(
        toml(text).unwrap_err().0,
        [
            "c.toml:2:1: unknown key: on_event.d.evnts\n  hint: did you mean events?",
            "c.toml:5:1: on_event.c.events: not a type of events or a list of them: 5",
            "c.toml:8:1: no event is of this type: task.fail\n  hint: did you mean task.failed?",
            "c.toml:10:1: a hook's timeout must be more than nothing: 0\n  hint: each try has a limit: without this one it is the usual one",
            "c.toml:13:1: a hook's url is http(s)://HOST[:PORT][/PATH]: http://a:65536\n  hint: a port is a number from 1 to 65535",
            "c.toml:14:11: a hook must say which events it is for: f",
            "c.toml:15:1: on_event.f.command: not a list: \"x\"",
        ]
    );
}
