//! The types of events: what each one says, and with which data.

use crate::{Code, Refusal, limits, nearest};

/// A type of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventType {
    /// Its name, `noun.verb`.
    pub name: &'static str,
    /// When there is one.
    pub when: &'static str,
    /// The fields of its data; what does not apply is left out or null.
    pub data: &'static [&'static str],
}

const fn of(name: &'static str, when: &'static str, data: &'static [&'static str]) -> EventType {
    EventType { name, when, data }
}

/// How an attempt ended.
const ATTEMPT: &[&str] =
    &["attempt", "outcome", "error_type", "error_message", "exit_code", "execution_time", "variant"];
/// The same, of a task that goes on.
const ATTEMPT_UNTIL: &[&str] =
    &["attempt", "outcome", "error_type", "error_message", "exit_code", "execution_time", "variant", "until"];

/// Every type, by noun, in the order of a life.
pub const EVENT_TYPES: &[EventType] = &[
    of("task.submitted", "a task was added", &["name", "priority", "hold", "owner"]),
    of("task.edited", "a task that has not started has another spec", &["name", "priority", "hold"]),
    of("task.held", "it is kept from starting", &[]),
    of("task.released", "it is let go", &[]),
    of("task.reprioritized", "its class was changed", &["priority"]),
    of("task.checked", "its dependencies are met, its condition is being evaluated", &[]),
    of("task.computing", "its elements, or what it ends with, are being worked out", &[]),
    of("task.armed", "what it is there to undo has been done", &[]),
    of("task.called", "what its task did is to be undone; after: the task that goes first", &["after"]),
    of("task.expanded", "it has become its elements, and waits for them", &["first", "elements"]),
    of("task.replaced", "its list is made anew: it belongs to its workflow no longer", &[]),
    of("task.delayed", "it waits for an instant", &["until"]),
    of("task.ready", "it may run as soon as it fits", &[]),
    of("task.placed", "a worker was given it ahead of a slot", &["worker"]),
    of("task.recalling", "the worker is asked to give it back", &[]),
    of("task.recalled", "the worker has given it back, it has not begun", &[]),
    of("task.started", "an attempt began", &["attempt", "token", "worker", "variant"]),
    of("task.progress", "the attempt has said how far it has come", &["attempt", "percentage", "message"]),
    of("task.loosened", "the attempt keeps less of a claim", &["resource", "kept"]),
    of("task.stopping", "the attempt is being ended: cancel, timeout or deadline", &["cause"]),
    of("task.retrying", "the attempt failed, another will follow", ATTEMPT_UNTIL),
    of("task.returned", "the attempt ended without using up a try", ATTEMPT_UNTIL),
    of("task.enlarged", "it claims more memory for its next attempt", &["memory"]),
    of("task.completed", "it ended well", ATTEMPT),
    of("task.failed", "it failed for good", ATTEMPT),
    of("task.cancelled", "it was cancelled", ATTEMPT),
    of("task.skipped", "it was ruled out", &["code", "message", "task", "status"]),
    of("task.revived", "it runs again under the same id", &["name", "was"]),
    of("workflow.submitted", "a workflow was added; its tasks follow", &["name", "tasks"]),
    of("workflow.paused", "nothing of it starts", &["scope"]),
    of("workflow.resumed", "the pause is over", &["scope"]),
    of("workflow.stopped", "nothing new of it starts: failure or timeout", &["cause", "task"]),
    of("workflow.cancelling", "it is cancelled, but for what it does at its end", &[]),
    of("workflow.completed", "its last task ended, all is well", &["status"]),
    of("workflow.failed", "its last task ended, some have failed", &["status"]),
    of("workflow.cancelled", "its last task ended, some were cancelled", &["status"]),
    of("workflow.timed_out", "its last task ended after its timeout", &["status"]),
    of("workflow.reopened", "it goes on, because one of its tasks runs again", &["name"]),
    of("session.created", "a session was created", &["name", "mode", "max_parallel"]),
    of("session.closing", "it takes no more work, some of its tasks have not ended", &["cancel"]),
    of("session.closed", "it takes no more work, all of its tasks have ended", &[]),
    of("session.paused", "nothing of it starts", &["scope"]),
    of("session.resumed", "the pause is over", &["scope"]),
    of("schedule.added", "a schedule was added", &["schedule", "name", "next"]),
    of(
        "schedule.ticked",
        "a tick has come",
        &["schedule", "at", "next", "missed", "outcome", "run", "error"],
    ),
    of("schedule.paused", "it has no ticks until it is resumed", &["schedule"]),
    of("schedule.resumed", "it has ticks again", &["schedule", "next"]),
    of("schedule.removed", "it is gone", &["schedule"]),
    of("worker.joined", "a worker, or a client with an ad-hoc claim, has connected", &["worker", "kind"]),
    of("worker.lost", "a worker is gone, and so is all it held", &["worker"]),
    of("worker.left", "a client with an ad-hoc claim has gone", &["worker"]),
    of("resource.set", "what it has was changed", &["resource", "setting"]),
    of("resource.throttled", "it is given to nobody until an instant", &["resource", "until"]),
    of("resource.closed", "it is given to nobody until it is opened", &["resource"]),
    of("resource.opened", "it is given out again", &["resource"]),
    of(
        "resource.settled",
        "a task has used another number of tokens than it drew",
        &["resource", "drawn", "used"],
    ),
    of("resource.paused", "a resource, a class, or everything is paused", &["scope"]),
    of("resource.resumed", "that pause is over", &["scope"]),
];

/// What a subscriber is told of the stream itself, whatever it has asked for.
pub const NOTICES: &[EventType] = &[
    of("lagged", "it was too slow: events after this sequence were not sent", &["lost", "after"]),
    of("trimmed", "events after this sequence are not kept any more", &["lost", "after"]),
];

/// What the types of events begin with that users publish.
pub const OWN_EVENTS: &str = "custom.";

/// Whether this is the type of an event that users may publish: `custom.` and words of letters, digits, `_` and `-`, with
/// dots between them.
///
/// # Errors
/// `malformed` when it is not.
pub fn check_own_type(kind: &str) -> Result<(), Refusal> {
    let refuse =
        |message: &str, hint: String| Err(Refusal::new(Code::Malformed, message).value(kind).hint(hint));
    let Some(name) = kind.strip_prefix(OWN_EVENTS) else {
        return refuse("only events of your own types can be published", format!("write {OWN_EVENTS}NAME"));
    };
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    if !name.split('.').all(is_word) {
        let hint =
            format!("write words of letters, digits, _ and -, with dots between: {OWN_EVENTS}stock.low");
        return refuse("not a type of events", hint);
    }
    if kind.len() > limits::NAME_BYTES {
        return refuse("a type of events is too long", format!("at most {} bytes", limits::NAME_BYTES));
    }
    Ok(())
}

/// Whether a pattern, exact, `task.*` or `*`, means events of this type.
#[must_use]
pub fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => kind == pattern,
    }
}

/// Whether a pattern means anything.
///
/// # Errors
/// `malformed` when no type of events matches it.
pub fn check_pattern(pattern: &str) -> Result<(), Refusal> {
    if EVENT_TYPES.iter().any(|kind| matches(pattern, kind.name)) {
        return Ok(());
    }
    if let Some(own) = pattern.strip_prefix(OWN_EVENTS) {
        let name = own.strip_suffix('*').unwrap_or(own).trim_end_matches('.');
        return if name.is_empty() { Ok(()) } else { check_own_type(&format!("{OWN_EVENTS}{name}")) };
    }
    if pattern.strip_suffix('*').is_some_and(|prefix| OWN_EVENTS.starts_with(prefix)) {
        return Ok(());
    }
    let names = EVENT_TYPES.iter().map(|kind| kind.name);
    let hint = match nearest(pattern, names) {
        Some(near) => format!("did you mean {near}?"),
        None => "a type as task.failed, all of a noun as task.*, or *".to_owned(),
    };
    Err(Refusal::new(Code::Malformed, "no event is of this type").value(pattern).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_ones_own_have_their_prefix_and_patterns_of_them_mean_something() {
        for good in ["custom.deployed", "custom.stock.low", "custom.a-b_C.9"] {
            assert_eq!((check_own_type(good), check_pattern(good)), (Ok(()), Ok(())), "{good}");
        }
        for bad in ["task.failed", "deployed", "custom.", "custom.a..b", "custom.a b", "custom.*", "custom.ä"]
        {
            assert_eq!(check_own_type(bad).unwrap_err().value.as_deref(), Some(bad));
        }
        assert!(check_own_type(&format!("custom.{}", "x".repeat(limits::NAME_BYTES))).is_err());
        for pattern in ["custom.*", "custom.stock.*", "cust*", "*"] {
            assert_eq!(check_pattern(pattern), Ok(()), "{pattern}");
        }
        assert!(check_pattern("custom.a b").is_err() && check_pattern("customs.*").is_err());
    }

    #[test]
    fn every_type_is_there_once_and_is_a_noun_and_a_verb() {
        for (at, kind) in EVENT_TYPES.iter().enumerate() {
            let (noun, verb) = kind.name.split_once('.').unwrap();
            assert!(
                ["task", "workflow", "session", "schedule", "worker", "resource"].contains(&noun),
                "{noun}"
            );
            assert!(verb.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{verb}");
            assert!(EVENT_TYPES[at + 1..].iter().all(|other| other.name != kind.name), "{}", kind.name);
        }
    }
}
