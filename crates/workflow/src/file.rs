//! A workflow file as a whole: its keys, its tasks, and the checks that need all of them.

use orchd_model::{FailFast, Span, WorkflowSpec, check_seen, limits, task_of_element};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};

use crate::configured::{Configured, Loaded, Wanted, load_all};
use crate::each::Known;
use crate::error::{FileError, Report, shown};
use crate::field::{map, number, parsed, text, unknown_key, wrong};
use crate::handlers::Handlers;
use crate::items::Walk;
use crate::names::Names;
use crate::node::{Content, Entry, Node, Position};
use crate::outline::Outline;
use crate::parameters::{Declarations, Given};
use crate::plan;
use crate::skim::Skim;
use crate::subworkflow::SubWorkflows;
use crate::task::{self, Defaults, Draft, Shared};

/// Tasks that are read before there is room for all of them: they may be wrong everywhere.
const FEW: usize = 10_000;

pub(crate) const KEYS: [&str; 13] = [
    "on_event",
    "name",
    "parameters",
    "max_parallel",
    "fail_fast",
    "timeout",
    "defaults",
    "handlers",
    "finally",
    "workflows",
    "tasks",
    "steps",
    "description",
];

/// Reads and checks a file that holds one workflow.
///
/// `file_name` tells the format (`.json` is JSON, `.toml` TOML, everything else YAML), names a workflow that does not name
/// itself, and stands in the errors. `overrides` replace parameters of the file; text is read as JSON where
/// text is not what is wanted. The tasks keep their templates as text; each depends on others by name; a task
/// without `cwd` has none, for the caller to set.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn load(
    file_name: &str,
    text: &str,
    overrides: &BTreeMap<String, Value>,
) -> Result<WorkflowSpec, Vec<FileError>> {
    only(file_name, text, overrides, true)
}

/// Like [`load`], to look at the graph and not to run it: required parameters may be missing, and are then
/// missing in the spec.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn inspect(
    file_name: &str,
    text: &str,
    overrides: &BTreeMap<String, Value>,
) -> Result<WorkflowSpec, Vec<FileError>> {
    only(file_name, text, overrides, false)
}

fn only(
    file_name: &str,
    text: &str,
    parameters: &BTreeMap<String, Value>,
    runs: bool,
) -> Result<WorkflowSpec, Vec<FileError>> {
    let wanted = Wanted { workflow: None, parameters, runs };
    let Loaded { mut workflows, .. } = load_all(file_name, text, wanted)?;
    match (workflows.pop(), workflows.len()) {
        (Some(only), 0) => Ok(only.spec),
        (_, others) => {
            let mut report = Report::new(file_name);
            let message = format!("a file with one workflow is wanted here: this one has {}", others + 1);
            report.add(Position::default(), message);
            Err(report.into_errors())
        }
    }
}

/// Reads and checks a workflow that stands in a file, alone or among other things. `around`: the commands that
/// the surrounding document binds, if it is for it to bind any.
pub(crate) fn workflow(
    document: &Node,
    file_name: &str,
    around: Option<&Handlers>,
    given: Given<'_>,
    report: &mut Report,
) -> Option<Configured> {
    let entries = map(document, "a workflow file", report)?;
    let find = |key: &str| entries.iter().find(|e| e.key == key && !e.node.is_null());
    let mut spec = WorkflowSpec {
        name: stem(file_name),
        parameters: Map::new(),
        max_parallel: None,
        fail_fast: FailFast::default(),
        timeout: None,
        session: None,
        on_event: Vec::new(),
        tasks: Vec::new(),
    };
    let declared = find("parameters").map(|e| Declarations::read(&e.node, report)).unwrap_or_default();
    spec.parameters = declared.values(given, report);
    let mut shared = Shared { parameters: declared.names(), ..Shared::default() };
    if let Some(entry) = find("defaults") {
        shared.defaults = Defaults::read(&entry.node, &shared.parameters, report);
    }
    let handlers = find("handlers").map(|entry| Handlers::read(&entry.node, report)).unwrap_or_default();
    for entry in entries.iter().filter(|e| !e.node.is_null()) {
        top_key(&mut spec, entry, report);
    }
    let mut warnings = report.another();
    let sets = find("workflows")
        .map(|entry| SubWorkflows::read(&entry.node, &shared.defaults, report, &mut warnings));
    let tasks = task_lists(entries, document.at, "a workflow", report);
    let finally = find("finally").map(|entry| &entry.node);
    shared.names = Names::of(tasks.iter().copied().chain(finally).collect());
    let names = shared.parameters.clone();
    let drafts = tasks_of(&tasks, finally, shared, report)?;
    let all = names.iter().all(|name| spec.parameters.contains_key(name));
    let known = Known { values: &spec.parameters, all };
    let mut drafts = sets.unwrap_or_default().expand(drafts, known, report);
    handlers.tell_unused(&drafts, &mut warnings);
    match around {
        Some(around) => handlers.over(around).bind(&mut drafts, &mut warnings),
        // Whoever reads it knows of more commands.
        None => handlers.bind(&mut drafts, &mut report.another()),
    }
    drafts.iter().for_each(|draft| plan::tell_bad_duration(&draft.spec, draft.at, &mut warnings));
    spec.tasks = drafts.into_iter().map(|draft| draft.spec).collect();
    if report.is_clean()
        && let Err(refusal) = spec.check()
    {
        report.refused(document.at, "workflow", &refusal);
    }
    Some(Configured { spec, line: document.at.line, warnings: warnings.into_errors() })
}

fn stem(file_name: &str) -> String {
    let base = file_name.rsplit('/').next().unwrap_or(file_name);
    let stem = base.split_once('.').map_or(base, |(stem, _)| stem);
    if stem.is_empty() { "workflow".to_owned() } else { stem.to_owned() }
}

/// Reads a key of the workflow, apart from those that are read before it or after it.
fn top_key(spec: &mut WorkflowSpec, entry: &Entry, report: &mut Report) {
    let node = &entry.node;
    match entry.key.as_str() {
        "name" => {
            if let Some(name) = text(node, "name", report) {
                if name.is_empty() || name.len() > limits::NAME_BYTES {
                    report.add(
                        node.at,
                        format!("a name has 1 to {} bytes: {}", limits::NAME_BYTES, shown(&name)),
                    );
                } else if let Err(refusal) = check_seen("name", &name) {
                    report.refused(node.at, "name", &refusal);
                }
                spec.name = name;
            }
        }
        "max_parallel" => {
            spec.max_parallel = number(node, "max_parallel", "a whole number from 1", report);
            if spec.max_parallel == Some(0) {
                report.add(node.at, "max_parallel must be at least 1: 0");
            }
        }
        "fail_fast" => match &node.content {
            Content::Bool(flag) => spec.fail_fast = if flag.is { FailFast::Yes } else { FailFast::No },
            Content::Text(word) if word.text == "cancel" => spec.fail_fast = FailFast::Cancel,
            _ => wrong(node, "fail_fast", "true, false or cancel", report),
        },
        "timeout" => {
            spec.timeout = parsed(node, "timeout", "a duration", report);
            if spec.timeout == Some(Span::ZERO) {
                let hint = "without a timeout there is no limit";
                report.add_hint(node.at, "a timeout must be more than nothing: 0", hint);
            }
        }
        "on_event" => spec.on_event = crate::hooks::read(node, report),
        "description" => drop(text(node, "description", report)),
        "parameters" | "defaults" | "handlers" | "tasks" | "steps" | "finally" | "workflows" => {}
        _ => unknown_key(entry, "a workflow", &KEYS, report),
    }
}

/// The list of tasks, under one of its two names; both, if both are there, which is a mistake.
pub(crate) fn task_lists<'n>(
    entries: &'n [Entry],
    at: Position,
    of: &str,
    report: &mut Report,
) -> Vec<&'n Node> {
    let find = |key: &str| entries.iter().find(|e| e.key == key && !e.node.is_null());
    let lists: Vec<&Entry> = [find("tasks"), find("steps")].into_iter().flatten().collect();
    match lists[..] {
        [] => report.add_hint(at, format!("{of} without tasks"), "add a list of tasks:"),
        [_, steps] => report.add(steps.at, "steps is another word for tasks: give only one of the two"),
        _ => {}
    }
    lists.into_iter().map(|entry| &entry.node).collect()
}

/// Reads the tasks of a workflow; nothing if so much is wrong with their graph that they were not read.
fn tasks_of(
    lists: &[&Node],
    finally: Option<&Node>,
    shared: Shared<'_>,
    report: &mut Report,
) -> Option<Vec<Draft>> {
    let graph = skim(lists, finally, report)?;
    let mut drafts = read_all(lists, &shared, report);
    let shared = Shared { finally: true, ..shared };
    match finally.map(|node| (node, Walk::of(node))) {
        Some((_, Some(walk))) => drafts.extend(read_each(walk, &shared, report)),
        Some((node, None)) => drafts.extend(task::read(node, &shared, report)),
        None => {}
    }
    graph.check(&drafts, report);
    Some(drafts)
}

/// What is known of the graph of tasks before they are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum KnownGraph {
    /// That nothing is wrong with it.
    Right,
    /// Nothing.
    Unknown,
}

/// Looks at the graph of lists that are very long; nothing if it is wrong, and the tasks need not be read.
pub(crate) fn skim(lists: &[&Node], finally: Option<&Node>, report: &mut Report) -> Option<KnownGraph> {
    let Some(skim) = Skim::of(lists, finally) else { return Some(KnownGraph::Unknown) };
    let Some(outline) = skim.outline() else { return Some(KnownGraph::Unknown) };
    let before = report.count();
    outline.check(&skim, report);
    if report.count() > before {
        report.cut();
        return None;
    }
    Some(KnownGraph::Right)
}

impl KnownGraph {
    /// Checks what one task alone cannot know.
    pub(crate) fn check(self, drafts: &[Draft], report: &mut Report) {
        if self == Self::Unknown {
            Outline::of(drafts).check(drafts, report);
        }
        refuse_element_names(drafts, report);
    }
}

/// Reads lists of tasks, each task on its own.
pub(crate) fn read_all(lists: &[&Node], shared: &Shared<'_>, report: &mut Report) -> Vec<Draft> {
    // Mostly there is one, and a second one of a million would be as large for a while.
    let mut lists = lists.iter().map(|list| read_list(list, shared, report));
    let mut drafts = lists.next().unwrap_or_default();
    lists.for_each(|more| drafts.extend(more));
    drafts
}

fn read_list(node: &Node, shared: &Shared<'_>, report: &mut Report) -> Vec<Draft> {
    let Some(walk) = Walk::of(node) else {
        wrong(node, "tasks", "a list of tasks", report);
        return Vec::new();
    };
    if walk.len() == 0 {
        report.add(node.at, "a workflow has at least one task");
    }
    read_each(walk, shared, report)
}

fn read_each(mut walk: Walk<'_>, shared: &Shared<'_>, report: &mut Report) -> Vec<Draft> {
    let mut drafts = Vec::with_capacity(walk.len().min(FEW));
    while let Some(item) = walk.next(report) {
        // Those that are wrong everywhere shall cost no more than others.
        if report.is_full() {
            report.cut();
            break;
        }
        if drafts.len() == FEW {
            // Not grown bit by bit: that would take up to twice the place, of which a task has nearly a kilobyte.
            drafts.reserve_exact(walk.len() - FEW);
        }
        drafts.extend(task::read(&item, shared, report));
    }
    drafts
}

/// Refuses names that elements of a list have, or would have if it were longer.
pub(crate) fn refuse_element_names(drafts: &[Draft], report: &mut Report) {
    let has_elements = |draft: &&Draft| draft.spec.foreach.is_some();
    let lists: HashSet<&str> = drafts.iter().filter(has_elements).map(|draft| &*draft.spec.name).collect();
    if lists.is_empty() {
        return;
    }
    for draft in drafts {
        let Some(list) = task_of_element(&draft.spec.name).filter(|task| lists.contains(task)) else {
            continue;
        };
        report.add_hint(
            draft.at,
            format!("a second task of this name: {}", shown(&draft.spec.name)),
            format!("{} is a task for each element, and those are named like this", shown(list)),
        );
    }
}
