//! What stands beside the workflows in a configuration layout and matters to them: `workflow.manager`,
//! `dag.execution` and `resources`.
//!
//! A daemon reads these keys by itself, with their sources (`orchd check-config`); here they are read for a
//! file that is checked, planned or run as it stands.

use orchd_model::{Amount, Code, Refusal, ResourceName, ResourceSetting, Span, WorkflowSpec};

use crate::error::{Report, shown};
use crate::field::{flag, number, object, parsed, text, unknown_key};
use crate::node::{Content, Entry, Node};

/// Keys of the daemon's configuration that say nothing about workflows.
pub const OTHER_SECTIONS: [&str; 10] = [
    "daemon",
    "log",
    "scheduler",
    "defaults",
    "enforcement",
    "guard",
    "retention",
    "output",
    "access",
    "on_event",
];

/// Keys of a configuration that are read here.
pub(crate) const SECTIONS: [&str; 4] = ["workflow", "dag", "resources", "handlers"];
/// Keys of `workflow.manager`.
pub(crate) const MANAGER_KEYS: [&str; 3] =
    ["max_parallel_tasks", "enable_performance_monitoring", "config_dir"];
/// Keys of `dag`.
pub(crate) const DAG_KEYS: [&str; 2] = ["tasks", "execution"];
/// Keys of `dag.execution`.
pub(crate) const EXECUTION_KEYS: [&str; 4] =
    ["max_parallel", "timeout_seconds", "retry_failed", "retry_attempts"];
/// Keys of `resources` that are other words for capacities: the type, and how many units one is.
pub(crate) const LIMITS: [(&str, &str, f64); 3] =
    [("cpu_limit", "cpu", 1.0), ("memory_limit_gb", "memory", GIB), ("disk_space_gb", "disk", GIB)];

const GIB: f64 = (1_u64 << 30) as f64;
/// Retries of failed tasks when it is only said that they shall be retried.
const RETRY_ATTEMPTS: u32 = 2;

/// What a file says for all of its workflows, and of the machine that they want.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// How many tasks run at once, of all workflows: `workflow.manager.max_parallel_tasks`.
    pub slots: Option<u32>,
    /// What the machine has.
    pub resources: Vec<(ResourceName, ResourceSetting)>,
    /// How many tasks of one workflow run at once: `dag.execution.max_parallel`.
    pub max_parallel: Option<u32>,
    /// The limit of a workflow: `dag.execution.timeout_seconds`.
    pub timeout: Option<Span>,
    /// Retries of a task: `dag.execution.retry_failed` and `retry_attempts`.
    pub max_retries: Option<u32>,
}

impl Layout {
    /// Reads what a document says beside its workflows, and reports keys that mean nothing.
    pub(crate) fn read(document: &Node, report: &mut Report) -> Self {
        let mut layout = Self::default();
        for section in entries(document) {
            match section.key.as_str() {
                "workflow" => layout.read_workflow(&section.node, report),
                "dag" => {
                    for entry in entries(&section.node) {
                        match entry.key.as_str() {
                            "execution" => layout.read_execution(&entry.node, report),
                            "tasks" => {}
                            _ => unknown_key(entry, "dag", &DAG_KEYS, report),
                        }
                    }
                }
                "resources" => layout.read_resources(&section.node, report),
                "handlers" => {}
                other if OTHER_SECTIONS.contains(&other) => {}
                _ => {
                    let known = [&SECTIONS[..], &OTHER_SECTIONS].concat();
                    unknown_key(section, "a configuration", &known, report);
                }
            }
        }
        layout
    }

    /// Fills in what a workflow leaves open. Wherever it runs, it is not wider than the slots it was written for.
    pub fn fill(&self, spec: &mut WorkflowSpec) {
        let max_parallel = spec.max_parallel.or(self.max_parallel);
        spec.max_parallel = [max_parallel, self.slots].into_iter().flatten().min();
        spec.timeout = spec.timeout.or(self.timeout);
        if let Some(max_retries) = self.max_retries {
            spec.fill_retries(max_retries);
        }
    }

    fn read_workflow(&mut self, node: &Node, report: &mut Report) {
        for entry in entries(node) {
            if entry.key == "manager" {
                for setting in entries(&entry.node).iter().filter(|setting| !setting.node.is_null()) {
                    self.read_manager(setting, report);
                }
            } else if !entries(&entry.node).iter().any(is_list_of_tasks) {
                let message = format!("a workflow without tasks: {}", shown(&entry.key));
                report.add_hint(entry.at, message, "add a list of steps:");
            }
        }
    }

    fn read_manager(&mut self, setting: &Entry, report: &mut Report) {
        let (key, node) = (setting.key.as_str(), &setting.node);
        match key {
            "max_parallel_tasks" => self.slots = from_one(node, key, report),
            "enable_performance_monitoring" => drop(flag(node, key, report)),
            "config_dir" => drop(text(node, key, report)),
            _ => unknown_key(setting, "workflow.manager", &MANAGER_KEYS, report),
        }
    }

    fn read_execution(&mut self, node: &Node, report: &mut Report) {
        let (mut retry_failed, mut attempts) = (None, None);
        for setting in entries(node).iter().filter(|setting| !setting.node.is_null()) {
            let (key, node) = (setting.key.as_str(), &setting.node);
            match key {
                "max_parallel" => self.max_parallel = from_one(node, key, report),
                "timeout_seconds" => {
                    self.timeout = parsed(node, key, "a duration", report);
                    if self.timeout == Some(Span::ZERO) {
                        report.add(node.at, "timeout_seconds must be more than nothing: 0");
                    }
                }
                "retry_failed" => retry_failed = flag(node, key, report),
                "retry_attempts" => attempts = number(node, key, "a whole number from 0", report),
                _ => unknown_key(setting, "dag.execution", &EXECUTION_KEYS, report),
            }
        }
        self.max_retries = match (retry_failed, attempts) {
            (Some(false), _) => Some(0),
            (Some(true), attempts) => Some(attempts.unwrap_or(RETRY_ATTEMPTS)),
            (None, attempts) => attempts,
        };
    }

    fn read_resources(&mut self, node: &Node, report: &mut Report) {
        for entry in entries(node).iter().filter(|entry| !entry.node.is_null()) {
            let what = format!("resources.{}", shown(&entry.key));
            let limit = LIMITS.iter().find(|(key, ..)| entry.key == *key);
            let read = match (limit, &entry.node.content) {
                (Some((_, kind, unit)), _) => {
                    let Some(count) = number::<f64>(&entry.node, &what, "a number", report) else { continue };
                    let amount = Amount::scaled(count, *unit).and_then(|amount| something(amount, count));
                    let setting = amount.map(ResourceSetting::capacity);
                    ResourceName::new(kind, None).and_then(|name| Ok((name, setting?)))
                }
                (None, Content::Map(_)) => {
                    let Some(value) = object(&entry.node, &what, report) else { continue };
                    match serde_json::from_value::<ResourceSetting>(value.into()) {
                        Ok(setting) => entry.key.parse::<ResourceName>().and_then(|name| {
                            setting.check(&name)?;
                            Ok((name, setting))
                        }),
                        Err(error) => {
                            report.add(entry.at, format!("{what}: {error}"));
                            continue;
                        }
                    }
                }
                (None, _) => {
                    let known: Vec<&str> = LIMITS.iter().map(|(key, ..)| *key).collect();
                    unknown_key(entry, "resources", &known, report);
                    continue;
                }
            };
            match read {
                Ok(resource) => self.resources.push(resource),
                Err(refusal) => report.refused(entry.node.at, &what, &refusal),
            }
        }
    }
}

/// Whether a document holds workflows beside other things, and is not one itself.
pub(crate) fn is_layout(document: &Node) -> bool {
    let entries = entries(document);
    let is_map = |entry: &&Entry| matches!(entry.node.content, Content::Map(_));
    !entries.iter().any(is_list_of_tasks)
        && entries.iter().filter(is_map).any(|entry| entry.key == "workflow" || entry.key == "dag")
}

pub(crate) fn is_list_of_tasks(entry: &Entry) -> bool {
    entry.key == "tasks" || entry.key == "steps"
}

/// The entries of a map; none of anything else.
pub(crate) fn entries(node: &Node) -> &[Entry] {
    match &node.content {
        Content::Map(entries) => entries,
        Content::Null
        | Content::Bool(_)
        | Content::Number(..)
        | Content::Text(_)
        | Content::List(_)
        | Content::Items(_) => &[],
    }
}

fn something(amount: Amount, written: f64) -> Result<Amount, Refusal> {
    if amount > Amount::ZERO {
        return Ok(amount);
    }
    Err(Refusal::new(Code::Malformed, "a capacity must be more than nothing").value(written.to_string()))
}

fn from_one(node: &Node, key: &str, report: &mut Report) -> Option<u32> {
    let count = number(node, key, "a whole number from 1", report);
    if count == Some(0) {
        report.add(node.at, format!("{key} must be at least 1: 0"));
    }
    count
}
