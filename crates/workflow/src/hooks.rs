//! The `on_event` of a workflow: who is told of its events.

use orchd_model::{HookSpec, check_hook_timeout, check_pattern};

use crate::error::Report;
use crate::field::{list, map, number, parsed, text, unknown_key};
use crate::node::{Entry, Node};

pub(crate) const KEYS: [&str; 9] =
    ["name", "events", "command", "shell", "url", "cwd", "timeout", "retries", "retry_delay"];

/// Who is told: one of these.
const TARGETS: [&str; 3] = ["command", "shell", "url"];

/// Reads hooks, or one alone.
pub(crate) fn read(node: &Node, report: &mut Report) -> Vec<HookSpec> {
    list(node, report, hook)
}

/// Reads a hook; whatever is wrong with it is told at its place.
fn hook(node: &Node, report: &mut Report) -> Option<HookSpec> {
    let entries = map(node, "a hook", report)?;
    let given = || entries.iter().filter(|entry| !entry.node.is_null());
    let mut hook = HookSpec::default();
    // What is missing may be meant by a key that does not exist.
    let is_known = |entry: &Entry| KEYS.contains(&entry.key.as_str());
    let has_target = given().any(|entry| TARGETS.contains(&entry.key.as_str()));
    let (mut events_read, mut target_read) = match given().all(is_known) {
        true => (true, true),
        false => (false, has_target),
    };
    for entry in given() {
        let mistakes = report.count();
        let node = &entry.node;
        match entry.key.as_str() {
            "name" => hook.name = text(node, "name", report).unwrap_or_default(),
            "events" => {
                hook.events = list(node, report, event);
                events_read &= report.count() == mistakes;
            }
            "command" => {
                hook.command = Some(list(node, report, |item, report| text(item, "command", report)));
            }
            "shell" => hook.shell = text(node, "shell", report),
            "url" => hook.url = text(node, "url", report),
            "cwd" => hook.cwd = text(node, "cwd", report),
            "timeout" => {
                hook.timeout = parsed(node, "timeout", "a duration", report);
                if let Err(refusal) = check_hook_timeout(hook.timeout) {
                    report.refused(node.at, "on_event", &refusal);
                }
            }
            "retries" => hook.retries = number(node, "retries", "a whole number", report),
            "retry_delay" => hook.retry_delay = parsed(node, "retry_delay", "a duration", report),
            _ => unknown_key(entry, "a hook", &KEYS, report),
        }
        target_read &= !TARGETS.contains(&entry.key.as_str()) || report.count() == mistakes;
    }
    let place = |keys: &[&str]| {
        let last = given().rfind(|entry| keys.contains(&entry.key.as_str()));
        last.map_or(node.at, |entry| entry.node.at)
    };
    if events_read && let Err(refusal) = hook.check_count_of_events() {
        report.refused(place(&["events"]), "on_event", &refusal);
    }
    if target_read && let Err(refusal) = hook.check_target() {
        report.refused(place(&TARGETS), "on_event", &refusal);
    }
    Some(hook)
}

fn event(item: &Node, report: &mut Report) -> Option<String> {
    let pattern = text(item, "a type of events", report)?;
    match check_pattern(&pattern) {
        Ok(()) => Some(pattern),
        Err(refusal) => {
            report.refused(item.at, "on_event", &refusal);
            None
        }
    }
}
