//! The JSON Schema of workflow files, made from types that say what the reader takes: for editors, which
//! complete and check by it.
//!
//! The reader itself knows places and suggests names, which a schema cannot. A test holds the keys of both
//! against each other; what is only known once the whole file is read (names, cycles, templates) is not here.

use orchd_model::{Mode, On};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::layout::OTHER_SECTIONS;

/// The schema of a workflow file, alone or in a configuration layout.
#[must_use]
pub fn schema() -> Schema {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let alone = generator.subschema_for::<WorkflowFile>();
    let layout = generator.subschema_for::<Configuration>();
    let definitions = generator.take_definitions(true);
    json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "orchd workflow file",
        "type": "object",
        "if": {"anyOf": [{"required": ["workflow"]}, {"required": ["dag"]}]},
        "then": layout,
        "else": alone,
        "$defs": definitions,
    })
}

/// Types that the reader takes in more than one form.
macro_rules! form {
    ($($(#[doc = $doc:literal])* $name:ident => $schema:expr;)*) => {$(
        $(#[doc = $doc])*
        struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let build: fn(&mut SchemaGenerator) -> Schema = $schema;
                build(generator)
            }
        }
    )*};
}

form! {
    /// Text; a number and true or false count as what was written.
    Text => |_| json_schema!({"type": ["string", "number", "boolean"]});
    /// A duration.
    Duration => |_| json_schema!({
        "description": "A duration: seconds, or text such as 250ms, 2s, 1h30m, 7d.",
        "type": ["number", "string"],
        "minimum": 0,
    });
    /// A class.
    Class => |_| json_schema!({
        "description": "The class: critical, high, normal or low.",
        "anyOf": [
            {"enum": ["critical", "high", "normal", "low"]},
            {"type": "string", "pattern": "^([Cc][Rr][Ii][Tt][Ii][Cc][Aa][Ll]|[Hh][Ii][Gg][Hh]|[Nn][Oo][Rr][Mm][Aa][Ll]|[Ll][Oo][Ww])$"},
        ],
    });
    /// After the first failure.
    AfterFailure => |_| json_schema!({
        "description": "After the first failure: false, go on; true, start nothing new; cancel, end what runs, too.",
        "enum": [true, false, "cancel"],
    });
    /// A claim, in one of two forms.
    AnyClaim => |generator| {
        let fields = generator.subschema_for::<ClaimFields>();
        json_schema!({"anyOf": [{"type": "string", "description": "TYPE[:IDENTIFIER][:MODE][=AMOUNT]"}, fields]})
    };
    /// A dependency, in one of two forms.
    AnyDependency => |generator| {
        let text = generator.subschema_for::<Text>();
        let fields = generator.subschema_for::<DependencyFields>();
        json_schema!({"anyOf": [text, fields]})
    };
    /// A command that stands for a handler, in one of two forms.
    AnyHandler => |generator| {
        let argv = generator.subschema_for::<Argv>();
        let fields = generator.subschema_for::<HandlerFields>();
        json_schema!({"anyOf": [argv, fields]})
    };
    /// A program and its arguments.
    Argv => |generator| {
        let text = generator.subschema_for::<Text>();
        json_schema!({"description": "A program and its arguments.", "type": "array", "items": text, "minItems": 1})
    };
    /// The elements of a list, or an expression.
    List => |_| json_schema!({"type": ["array", "string"]});
    /// A parameter, declared or given.
    AnyParameter => |generator| {
        let declared = generator.subschema_for::<Declaration>();
        json_schema!({"description": "Its value, or what values it takes.", "anyOf": [declared, true]})
    };
}

/// One, or a list of them.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Several<T> {
    List(Vec<T>),
    One(T),
}

macro_rules! keys {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* })*) => {$(
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its schema is used")]
        $(#[$meta])*
        pub(crate) struct $name { $($(#[$field_meta])* $field: $kind,)* }
    )*};
}

keys! {
    /// A workflow: tasks that are checked, added and ended as a whole.
    #[schemars(extend("oneOf" = [{"required": ["tasks"]}, {"required": ["steps"]}]))]
    struct WorkflowFile {
        /// Its name; the file's when not given.
        name: Option<Text>,
        /// What it is for.
        description: Option<Text>,
        /// What templates call parameters.NAME; -P NAME=VALUE gives them.
        parameters: Option<BTreeMap<String, AnyParameter>>,
        /// How many of its tasks run at once.
        #[schemars(range(min = 1))]
        max_parallel: Option<u32>,
        fail_fast: Option<AfterFailure>,
        /// The limit of the whole workflow.
        timeout: Option<Duration>,
        /// For tasks that do not say.
        defaults: Option<Defaults>,
        /// Commands that stand for handlers, by MODULE.ACTION.
        handlers: Option<BTreeMap<String, AnyHandler>>,
        /// Who is told of its events.
        on_event: Option<Several<HookFields>>,
        /// Its tasks.
        #[schemars(length(min = 1))]
        tasks: Option<Vec<Task>>,
        /// Another word for tasks.
        #[schemars(length(min = 1))]
        steps: Option<Vec<Task>>,
        /// Tasks that begin when all others have ended, however they ended.
        finally: Option<Several<Task>>,
        /// Sub-workflows by name: sets of tasks that a task with workflow: NAME stands for.
        workflows: Option<BTreeMap<String, SubWorkflow>>,
    }

    /// A set of tasks that a task of the workflow may stand for.
    #[schemars(extend("oneOf" = [{"required": ["tasks"]}, {"required": ["steps"]}]))]
    struct SubWorkflow {
        /// What it is for.
        description: Option<Text>,
        /// What its templates call parameters.NAME; the task that stands for it gives them.
        parameters: Option<BTreeMap<String, AnyParameter>>,
        /// For tasks that do not say.
        defaults: Option<Defaults>,
        /// Commands that stand for handlers, by MODULE.ACTION.
        handlers: Option<BTreeMap<String, AnyHandler>>,
        /// Its tasks.
        #[schemars(length(min = 1))]
        tasks: Option<Vec<Task>>,
        /// Another word for tasks.
        #[schemars(length(min = 1))]
        steps: Option<Vec<Task>>,
    }

    /// Who is told of events of a workflow.
    struct HookFields {
        /// Its name; its number, from 1, when there is none.
        name: Option<Text>,
        /// Types of events: exact, task.* or *.
        events: Several<Text>,
        command: Option<Argv>,
        /// A line for /bin/sh.
        shell: Option<Text>,
        /// An address, http or https; it gets the event in a POST.
        url: Option<Text>,
        /// The directory of the command.
        cwd: Option<Text>,
        /// The limit of one try.
        timeout: Option<Duration>,
        /// Tries after the first.
        retries: Option<u32>,
        /// From the first try to the second; doubled from try to try.
        retry_delay: Option<Duration>,
    }

    /// A parameter of a workflow.
    struct Declaration {
        /// What kind of value it takes.
        r#type: Option<Text>,
        /// Its value when nobody gives one.
        default: Option<Value>,
        /// Whether somebody must give one.
        required: Option<bool>,
        /// The values that it may have.
        r#enum: Option<Value>,
        /// What it is for.
        description: Option<Text>,
    }

    /// A task: a command, a shell line, a handler, or a milestone.
    #[schemars(extend("dependentRequired" = {"action": ["module"]}))]
    struct Task {
        /// Its name within the workflow.
        name: Text,
        /// What it is for.
        description: Option<Text>,
        /// A program and its arguments; may have templates.
        command: Option<Argv>,
        /// A line for /bin/sh -c; may have templates.
        shell: Option<Text>,
        /// The module of a handler.
        module: Option<Text>,
        /// The action of a handler.
        action: Option<Text>,
        /// For the handler, and for templates.
        parameters: Option<Map<String, Value>>,
        /// Environment variables.
        env: Option<BTreeMap<String, Text>>,
        /// The working directory.
        cwd: Option<Text>,
        /// Standard input.
        stdin: Option<Text>,
        priority: Option<Class>,
        /// What it must hold to run.
        claims: Option<Several<AnyClaim>>,
        /// Variants of what it must hold as well: the first that fits is taken.
        claims_any: Option<Vec<Several<AnyClaim>>>,
        /// What must end first.
        dependencies: Option<Several<AnyDependency>>,
        /// An expression; false: the task is skipped.
        when: Option<Text>,
        /// A delay, or an RFC 3339 time.
        not_before: Option<Duration>,
        /// The limit of one attempt.
        timeout: Option<Duration>,
        /// The limit of the whole task.
        deadline: Option<Duration>,
        /// Whether it waits until it is released.
        hold: Option<bool>,
        /// The same key and the same spec: the same task.
        key: Option<Text>,
        /// Labels to search by.
        tags: Option<Several<Text>>,
        /// Facts to search by.
        metadata: Option<Map<String, Value>>,
        /// Tries after the first.
        max_retries: Option<u32>,
        /// Tries in all.
        max_attempts: Option<u32>,
        /// The delay before the first retry.
        retry_delay: Option<Duration>,
        /// What each delay is multiplied by to give the next.
        backoff: Option<f64>,
        /// No delay is longer.
        max_delay: Option<Duration>,
        /// Each delay is multiplied by a number from 1-j to 1+j.
        #[schemars(range(min = 0, max = 1))]
        jitter: Option<f64>,
        /// Only these failures are retried: exit codes, signals, error types.
        retry_on: Option<Several<Text>>,
        /// These failures are never retried.
        no_retry_on: Option<Several<Text>>,
        /// What the claim on memory is multiplied by after OutOfMemory.
        memory_factor: Option<f64>,
        /// One task for each element of a list, or of what an expression gives.
        foreach: Option<List>,
        /// One task for each index of a range such as 1-10.
        array: Option<Text>,
        /// An expression over `result` that gives what is kept of it.
        transform: Option<Text>,
        /// Whether it begins when all others have ended, however they ended.
        finally: Option<bool>,
        /// The task that it undoes, if the workflow does not come to a good end.
        compensates: Option<Text>,
        /// The sub-workflow that it stands for.
        workflow: Option<Text>,
    }

    /// What holds for tasks that do not say.
    struct Defaults {
        /// The limit of one attempt.
        timeout: Option<Duration>,
        priority: Option<Class>,
        /// Environment variables.
        env: Option<BTreeMap<String, Text>>,
        /// The working directory.
        cwd: Option<Text>,
        /// Tries after the first.
        max_retries: Option<u32>,
        /// Tries in all.
        max_attempts: Option<u32>,
        /// The delay before the first retry.
        retry_delay: Option<Duration>,
        /// What each delay is multiplied by to give the next.
        backoff: Option<f64>,
        /// No delay is longer.
        max_delay: Option<Duration>,
        /// Each delay is multiplied by a number from 1-j to 1+j.
        #[schemars(range(min = 0, max = 1))]
        jitter: Option<f64>,
        /// Only these failures are retried.
        retry_on: Option<Several<Text>>,
        /// These failures are never retried.
        no_retry_on: Option<Several<Text>>,
        /// What the claim on memory is multiplied by after OutOfMemory.
        memory_factor: Option<f64>,
    }

    /// A resource, how it is shared, and how much of it.
    struct ClaimFields {
        /// cpu, memory, disk, gpu, network, file, database, external_api, lock, or a word of your own.
        r#type: Text,
        /// Which one.
        identifier: Option<Text>,
        /// How it is shared; read when not given.
        mode: Option<Mode>,
        /// Units, or a size such as 512MiB.
        amount: Option<Duration>,
    }

    /// A task that must end first.
    struct DependencyFields {
        /// Its name.
        task: Text,
        /// How it must end; success when not given.
        on: Option<On>,
    }

    /// A command that stands for a handler.
    struct HandlerFields {
        command: Argv,
    }

    /// How workflows of a configuration are run.
    struct AllWorkflows {
        /// How many tasks run at once.
        #[schemars(range(min = 1))]
        max_parallel_tasks: Option<u32>,
        /// Accepted; figures are always kept.
        enable_performance_monitoring: Option<bool>,
        /// A directory of workflow files.
        config_dir: Option<Text>,
    }

    /// How each workflow of a configuration is run that does not say otherwise.
    struct Execution {
        /// How many tasks of one workflow run at once.
        #[schemars(range(min = 1))]
        max_parallel: Option<u32>,
        /// The limit of a workflow.
        timeout_seconds: Option<Duration>,
        /// Whether failed tasks are retried.
        retry_failed: Option<bool>,
        /// How often.
        retry_attempts: Option<u32>,
    }

    /// A graph of tasks, and how workflows are run.
    struct Dag {
        /// Its tasks.
        #[schemars(length(min = 1))]
        tasks: Option<Vec<Task>>,
        execution: Option<Execution>,
    }
}

form! {
    /// A configuration with workflows.
    Configuration => |generator| {
        let sections = [
            ("workflow", generator.subschema_for::<Workflows>()),
            ("dag", generator.subschema_for::<Option<Dag>>()),
            ("resources", generator.subschema_for::<Option<Resources>>()),
            ("handlers", generator.subschema_for::<Option<BTreeMap<String, AnyHandler>>>()),
        ];
        let own = sections.into_iter().map(|(name, schema)| (name.to_owned(), schema.to_value()));
        let others = OTHER_SECTIONS.iter().map(|name| ((*name).to_owned(), Value::Bool(true)));
        let properties: Map<String, Value> = own.chain(others).collect();
        json_schema!({
            "description": "A configuration with workflows.",
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        })
    };
    /// Workflows by name, and how they are run.
    Workflows => |generator| {
        let manager = generator.subschema_for::<Option<AllWorkflows>>();
        let workflow = generator.subschema_for::<WorkflowFile>();
        json_schema!({
            "type": "object",
            "properties": {"manager": manager},
            "additionalProperties": workflow,
        })
    };
    /// What the machine may give.
    Resources => |generator| {
        let setting = generator.subschema_for::<orchd_model::ResourceSetting>();
        let positive = json_schema!({"type": ["number", "null"], "exclusiveMinimum": 0});
        json_schema!({
            "type": "object",
            "properties": {
                "cpu_limit": positive,
                "memory_limit_gb": positive,
                "disk_space_gb": positive,
            },
            "additionalProperties": setting,
        })
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document, error::Report, file, layout, parameters, subworkflow, task};
    use std::collections::BTreeSet;

    fn keys_of(definition: &str) -> BTreeSet<String> {
        let schema = schema().to_value();
        let properties = schema["$defs"][definition]["properties"].as_object();
        properties.unwrap_or_else(|| panic!("{definition}: {schema:#}")).keys().cloned().collect()
    }

    #[test]
    fn the_reader_and_the_schema_know_the_same_keys() {
        let resources: Vec<&str> = layout::LIMITS.iter().map(|(key, ..)| *key).collect();
        let sections = [&layout::SECTIONS[..], &OTHER_SECTIONS].concat();
        for (definition, keys) in [
            ("WorkflowFile", &file::KEYS[..]),
            ("Task", &task::KEYS),
            ("SubWorkflow", &subworkflow::KEYS),
            ("Defaults", &task::DEFAULT_KEYS),
            ("Declaration", &parameters::KEYS),
            ("ClaimFields", &["type", "identifier", "mode", "amount"]),
            ("DependencyFields", &["task", "on"]),
            ("HandlerFields", &["command"]),
            ("HookFields", &crate::hooks::KEYS),
            ("AllWorkflows", &layout::MANAGER_KEYS),
            ("Execution", &layout::EXECUTION_KEYS),
            ("Dag", &layout::DAG_KEYS),
            ("Resources", &resources),
            ("Configuration", &sections),
        ] {
            let keys: BTreeSet<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(keys_of(definition), keys, "{definition}: a key is in schema.rs and in its reader");
        }
    }

    #[test]
    fn every_key_is_documented() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/workflows.md");
        let page = std::fs::read_to_string(page).unwrap();
        let undocumented =
            |key: &&&str| !page.contains(&format!("`{key}`")) && !page.contains(&format!("{key}:"));
        let keys = task::KEYS.iter().chain(&file::KEYS).filter(undocumented);
        assert_eq!(keys.collect::<Vec<_>>(), Vec::<&&str>::new());
    }

    /// Whether the schema takes a document, and whether the reader does.
    fn judged(text: &str) -> (bool, bool) {
        let node = document::read("w.yaml", text, &mut Report::new("w.yaml")).unwrap();
        let validator = jsonschema::validator_for(&schema().to_value()).unwrap();
        let wanted = crate::Wanted { workflow: None, parameters: &BTreeMap::new(), runs: false };
        (validator.is_valid(&node.to_json()), crate::load_all("w.yaml", text, wanted).is_ok())
    }

    #[test]
    fn the_examples_are_valid() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                assert_eq!(
                    judged(&std::fs::read_to_string(&path).unwrap()),
                    (true, true),
                    "{}",
                    path.display()
                );
                seen += 1;
            }
        }
        assert!(seen >= 2);
    }

    #[test]
    fn the_schema_and_the_reader_agree() {
        for good in [
            "tasks: [{name: a}]",
            "steps: [{name: 1, shell: 2, priority: HIGH, timeout: 1m, claims: cpu=2, dependencies: []}]",
            "name:\nparameters: {a: 1, b: {type: integer, default: 2}, c: {x: y}}\ntasks: [{name: a, env: {X: 1}}]",
            "handlers: {m: [x]}\nfail_fast: cancel\ntasks: [{name: a, module: m, retry_on: [7, SIGTERM]}]",
            "tasks: [{name: a, shell: x, foreach: [1, b]}, {name: b, shell: x, foreach: 'range(3)', transform: result, finally: true}]\nfinally: [{name: c, array: 1-3, shell: x}]",
            "tasks: [{name: a, shell: x}, {name: b, shell: y, compensates: a}]",
            "workflows: {s: {parameters: {n: 1}, tasks: [{name: x, shell: y}]}}\ntasks: [{name: a, workflow: s, parameters: {n: 2}}]",
            "tasks: [{name: a, claims: [{type: cpu, amount: 0.5}, 'lock:a:write'], tags: x}, {name: b, dependencies: [{task: a, on: failure}]}]",
            "workflow: {manager: {max_parallel_tasks: 4}, a: {steps: [{name: a}]}}\nresources: {cpu_limit: 4, gpu: {capacity: 1}}\nscheduler: {slots: 3}",
            "dag: {tasks: [{name: a, module: m}], execution: {retry_failed: true, timeout_seconds: 5}}\nhandlers: {m: {command: [x]}}",
        ] {
            assert_eq!(judged(good), (true, true), "{good}");
        }
        for bad in [
            "tasks: []",
            "name: x",
            "tasks: [{shell: x}]",
            "tasks: [{name: a, shel: x}]",
            "tasks: [{name: a, action: x}]",
            "tasks: [{name: a, priority: urgent}]",
            "tasks: [{name: a, command: run it}]",
            "tasks: [{name: a, claims: [{identifier: x}]}]",
            "tasks: [{name: a}, {name: b, dependencies: [{task: a, on: sucess}]}]",
            "tasks: [{name: a}]\nsteps: [{name: b}]",
            "tasks: [{name: a}]\nmax_parallel: 0",
            "tasks: [{name: a}]\nfail_fast: maybe",
            "workflows: {s: {tasks: [{name: x}], timeout: 3}}\ntasks: [{name: a, workflow: s}]",
            "workflows: {s: {parameters: {}}}\ntasks: [{name: a, workflow: s}]",
            "tasks: [{name: a, hold: 1}]",
            "tasks: [{name: a, shell: x, foreach: 3}]",
            "tasks: [{name: a, finally: 1}]",
            "tasks: [{name: a}, {name: b, compensates: [a]}]",
            "tasks: [{name: a, max_retries: -1}]",
            "tasks: [{name: a, jitter: 2}]",
            "tasks: [{name: a, module: m}]\nhandlers: {m: run it}",
            "workflow: {a: {}}",
            "dag: {tasks: [{name: a}], executions: {}}",
            "dag: {tasks: [{name: a}]}\nresources: {cpu_limit: 0}",
            "workflow: {a: {steps: [{name: a}]}}\nresouces: {}",
        ] {
            assert_eq!(judged(bad), (false, false), "{bad}");
        }
    }
}
