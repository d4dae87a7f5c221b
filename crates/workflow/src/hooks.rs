//! The `on_event` of a workflow: who is told of its events.

use orchd_model::HookSpec;

use crate::error::Report;
use crate::field::{list, map, number, parsed, text, unknown_key};
use crate::node::Node;

pub(crate) const KEYS: [&str; 9] =
    ["name", "events", "command", "shell", "url", "cwd", "timeout", "retries", "retry_delay"];

/// Reads hooks, or one alone.
pub(crate) fn read(node: &Node, report: &mut Report) -> Vec<HookSpec> {
    list(node, report, hook)
}

fn hook(node: &Node, report: &mut Report) -> Option<HookSpec> {
    let entries = map(node, "a hook", report)?;
    let mut hook = HookSpec::default();
    let mistakes = report.count();
    for entry in entries.iter().filter(|entry| !entry.node.is_null()) {
        let node = &entry.node;
        match entry.key.as_str() {
            "name" => hook.name = text(node, "name", report).unwrap_or_default(),
            "events" => {
                hook.events = list(node, report, |item, report| text(item, "a type of events", report))
            }
            "command" => {
                hook.command = Some(list(node, report, |item, report| text(item, "command", report)))
            }
            "shell" => hook.shell = text(node, "shell", report),
            "url" => hook.url = text(node, "url", report),
            "cwd" => hook.cwd = text(node, "cwd", report),
            "timeout" => hook.timeout = parsed(node, "timeout", "a duration", report),
            "retries" => hook.retries = number(node, "retries", "a whole number", report),
            "retry_delay" => hook.retry_delay = parsed(node, "retry_delay", "a duration", report),
            _ => unknown_key(entry, "a hook", &KEYS, report),
        }
    }
    if report.count() == mistakes
        && let Err(refusal) = hook.check()
    {
        report.refused(node.at, "on_event", &refusal);
    }
    Some(hook)
}
