//! The `handlers` of a file: which command stands for which `module.action`.

use orchd_model::Body;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Report, shown};
use crate::field::{list, map, text, unknown_key, wrong};
use crate::node::{Content, Entry, Node, Position};
use crate::task::Draft;

/// What a task with a handler that no command is bound to means.
const UNBOUND: &str = "its tasks wait for a worker that offers it; bind a command with handlers:";

/// The command of each handler, and where it is bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handlers {
    bound: BTreeMap<String, (Vec<String>, Position)>,
}

impl Handlers {
    /// Reads `{MODULE.ACTION: [program, argument]}`, or `{MODULE.ACTION: {command: [...]}}`.
    pub(crate) fn read(node: &Node, report: &mut Report) -> Self {
        let mut bound = BTreeMap::new();
        for entry in map(node, "handlers", report).unwrap_or_default() {
            if let Some(argv) = command(entry, report) {
                bound.insert(entry.key.to_string(), (argv, entry.at));
            }
        }
        Self { bound }
    }

    /// These, and those of the surrounding document that are not among them.
    pub(crate) fn over(mut self, outer: &Self) -> Self {
        for (name, bound) in &outer.bound {
            self.bound.entry(name.clone()).or_insert_with(|| bound.clone());
        }
        self
    }

    /// Binds the tasks whose handlers are here; tells of the others, which wait for a worker.
    pub(crate) fn bind(&self, drafts: &mut [Draft], warnings: &mut Report) {
        for draft in drafts {
            let Some(handler) = draft.spec.body.handler() else { continue };
            let Body::Handler { command, .. } = &mut draft.spec.body else { continue };
            // A sub-workflow has its own.
            if command.is_some() {
                continue;
            }
            match self.bound.get(&handler) {
                Some((argv, _)) => *command = Some(argv.clone()),
                None => {
                    let bound = self.bound.keys().map(String::as_str);
                    let what = "no command is bound to this handler";
                    warnings.unknown_or(draft.at, what, &handler, bound, Some(UNBOUND));
                }
            }
        }
    }

    /// Tells of commands that no task ever runs: the name may be misspelt, or the list shared with other files.
    pub(crate) fn tell_unused(&self, drafts: &[Draft], warnings: &mut Report) {
        if self.bound.is_empty() {
            return;
        }
        let used: BTreeSet<String> = drafts.iter().filter_map(|draft| draft.spec.body.handler()).collect();
        for (name, (_, at)) in self.bound.iter().filter(|(name, _)| !used.contains(*name)) {
            warnings.unknown(*at, "no task has this handler", name, used.iter().map(String::as_str));
        }
    }
}

fn command(entry: &Entry, report: &mut Report) -> Option<Vec<String>> {
    let node = match &entry.node.content {
        Content::Map(inner) => {
            for other in inner.iter().filter(|other| other.key != "command") {
                unknown_key(other, "a handler", &["command"], report);
            }
            match inner.iter().find(|inner| inner.key == "command" && !inner.node.is_null()) {
                Some(command) => &command.node,
                None => {
                    report.add_hint(
                        entry.at,
                        format!("a handler without a command: {}", shown(&entry.key)),
                        "write command: [program, argument]",
                    );
                    return None;
                }
            }
        }
        _ => &entry.node,
    };
    let Content::List(_) = &node.content else {
        wrong(node, &format!("the command of handler {}", shown(&entry.key)), "a list of arguments", report);
        return None;
    };
    let argv = list(node, report, |argument, report| text(argument, "an argument", report));
    if argv.first().is_none_or(String::is_empty) {
        report.add(node.at, format!("a handler's command is empty: {}", shown(&entry.key)));
        return None;
    }
    Some(argv)
}
