//! The workflows of a document: one that is a workflow itself, or several within a configuration,
//! `workflow.NAME` with its tasks or steps, and `dag.tasks`.

use orchd_model::{WorkflowSpec, limits};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::document;
use crate::error::{FileError, Report, did_you_mean, shown};
use crate::file::workflow;
use crate::handlers::Handlers;
use crate::layout::{self, Layout, entries, is_list_of_tasks};
use crate::node::{Content, Node, Position};
use crate::parameters::Given;

/// Workflows of a file that are named when another one is asked for.
const CHOICES_SHOWN: usize = 20;

/// A workflow of a file.
#[derive(Clone, Debug)]
pub struct Configured {
    /// What it is; named as it names itself, else by its key or file.
    pub spec: WorkflowSpec,
    /// The line that it begins in, from 1.
    pub line: u32,
    /// What is odd about it, but no mistake.
    pub warnings: Vec<FileError>,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its workflows, in the order of the file.
    pub workflows: Vec<Configured>,
    /// What stands beside them, in a configuration layout.
    pub layout: Layout,
}

/// What is wanted of a file.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The name of the workflow; none: all of them.
    pub workflow: Option<&'a str>,
    /// Values for parameters, which each of the workflows must have; text is read as the parameter's type.
    pub parameters: &'a BTreeMap<String, Value>,
    /// Whether it is to be run: parameters that are required must be given then.
    pub runs: bool,
}

impl<'a> Wanted<'a> {
    fn given(&self) -> Given<'a> {
        Given { values: self.parameters, all: self.runs }
    }
}

/// Reads and checks the workflows of a file.
///
/// `file_name` tells the format (`.json` is JSON, `.toml` TOML, everything else YAML), names a workflow that
/// does not name itself, and stands in the errors. The `handlers` beside the workflows are bound;
/// what else the file says for all of them is for the caller to [fill in](Layout::fill). The tasks keep their
/// templates as text; each depends on others by name; a task without `cwd` has none, for the caller to set.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn load_all(file_name: &str, text: &str, wanted: Wanted<'_>) -> Result<Loaded, Vec<FileError>> {
    let mut report = Report::new(file_name);
    let document = document::read(file_name, text, &mut report);
    let loaded = match &document {
        Some(document) if layout::is_layout(document) => within(document, wanted, &mut report),
        Some(document) => alone(document, file_name, wanted, &mut report),
        None => None,
    };
    match loaded {
        Some(loaded) if report.is_clean() => Ok(loaded),
        _ => Err(report.into_errors()),
    }
}

/// Whether a document holds workflows beside other things, and is not one itself.
#[must_use]
pub fn is_layout(file_name: &str, text: &str) -> bool {
    let document = document::read(file_name, text, &mut Report::new(file_name));
    document.is_some_and(|document| layout::is_layout(&document))
}

fn alone(document: &Node, file_name: &str, wanted: Wanted<'_>, report: &mut Report) -> Option<Loaded> {
    let only = workflow(document, file_name, Some(&Handlers::default()), wanted.given(), report)?;
    if let Some(choice) = wanted.workflow.filter(|choice| *choice != only.spec.name) {
        refuse_choice(choice, std::slice::from_ref(&only.spec.name), report);
    }
    Some(Loaded { workflows: vec![only], layout: Layout::default() })
}

/// A workflow that the file does not have.
fn refuse_choice(choice: &str, names: &[String], report: &mut Report) {
    report.add_with(Position::default(), || {
        let near = did_you_mean(choice, names.iter().map(String::as_str));
        let near = near.map(|near| format!("{near} ")).unwrap_or_default();
        let all: Vec<String> = names.iter().take(CHOICES_SHOWN).map(|name| shown(name)).collect();
        let more = names.len().saturating_sub(CHOICES_SHOWN);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let hint = format!("{near}the file has {}{more}", all.join(", "));
        (format!("no such workflow in the file: {}", shown(choice)), Some(hint))
    });
}

fn within(document: &Node, wanted: Wanted<'_>, report: &mut Report) -> Option<Loaded> {
    let layout = Layout::read(document, report);
    let handlers = entries(document).iter().find(|entry| entry.key == "handlers" && !entry.node.is_null());
    let handlers = handlers.map(|entry| Handlers::read(&entry.node, report)).unwrap_or_default();
    let mut candidates = candidates(document);
    if candidates.is_empty() && report.is_clean() {
        report.add_hint(document.at, "a configuration without workflows", "add steps to workflow.NAME");
    }
    if let Some(choice) = wanted.workflow {
        let names: Vec<String> = candidates.iter().map(Candidate::name).collect();
        candidates.retain(|candidate| candidate.name() == choice);
        if candidates.is_empty() {
            refuse_choice(choice, &names, report);
        }
    }
    let workflows = read_each(&candidates, Some(&handlers), wanted.given(), report);
    Some(Loaded { workflows, layout })
}

/// Reads and checks the workflows of a configuration. A document that cannot be read has none: that is told by
/// its other readers, who also know what holds for all workflows, and which commands stand for handlers.
///
/// # Errors
/// Everything that is wrong with the workflows, in the order of the file.
pub fn configured(file_name: &str, text: &str) -> Result<Vec<Configured>, Vec<FileError>> {
    let Some(document) = document::read(file_name, text, &mut Report::new(file_name)) else {
        return Ok(Vec::new());
    };
    let mut report = Report::new(file_name);
    // Who runs one gives what it requires.
    let given = Given { values: &BTreeMap::new(), all: false };
    let found = read_each(&candidates(&document), None, given, &mut report);
    if report.is_clean() { Ok(found) } else { Err(report.into_errors()) }
}

/// What may be a workflow of a configuration.
struct Candidate<'d> {
    key: &'d str,
    at: Position,
    node: Cow<'d, Node>,
}

impl Candidate<'_> {
    /// Its name: what it says, else its key.
    fn name(&self) -> String {
        let given = entries(&self.node).iter().find(|entry| entry.key == "name");
        given.and_then(|entry| entry.node.as_text()).unwrap_or(self.key).to_owned()
    }
}

fn read_each(
    candidates: &[Candidate<'_>],
    around: Option<&Handlers>,
    given: Given<'_>,
    report: &mut Report,
) -> Vec<Configured> {
    let mut found: Vec<Configured> = Vec::new();
    if let Some(first_too_many) = candidates.get(limits::DEFINITIONS) {
        let words = format!("a file has at most {} workflows: {}", limits::DEFINITIONS, candidates.len());
        report.add_hint(first_too_many.at, words, "make several files of it");
        return found;
    }
    let mut lines: HashMap<String, u32> = HashMap::new();
    for Candidate { key, at, node } in candidates {
        let Some(read) = workflow(node, key, around, given, report) else { continue };
        if let Some(first) = lines.get(&read.spec.name) {
            report.add_hint(
                *at,
                format!("a second workflow of this name: {}", shown(&read.spec.name)),
                format!("the first one is in line {first}"),
            );
        } else {
            lines.insert(read.spec.name.clone(), at.line);
        }
        found.push(Configured { line: at.line, ..read });
    }
    found
}

fn candidates(document: &Node) -> Vec<Candidate<'_>> {
    let mut candidates = Vec::new();
    for section in entries(document) {
        match section.key.as_str() {
            "workflow" => {
                let named = entries(&section.node).iter().filter(|entry| {
                    entry.key != "manager" && entries(&entry.node).iter().any(is_list_of_tasks)
                });
                candidates.extend(named.map(|entry| Candidate {
                    key: entry.key.as_str(),
                    at: entry.at,
                    node: Cow::Borrowed(&entry.node),
                }));
            }
            "dag" if entries(&section.node).iter().any(|entry| entry.key == "tasks") => {
                // How it is run is configured beside its tasks.
                let own = entries(&section.node).iter().filter(|entry| entry.key == "tasks");
                let node = Node { at: section.node.at, content: Content::Map(own.cloned().collect()) };
                candidates.push(Candidate { key: "dag", at: section.at, node: Cow::Owned(node) });
            }
            _ => {}
        }
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_of_the_reference_configuration_are_read() {
        let text = "
workflow:
  manager: { max_parallel_tasks: 4 }
  sample_workflow:
    name: analysis
    steps:
      - { name: data, module: charts, action: bar, parameters: { data: { Rust: 1 } }, dependencies: [] }
      - { name: audit, module: audit, action: scan, dependencies: [data] }
  other:
    tasks: [{ name: a, shell: 'true' }]
dag:
  tasks:
    - { name: init, module: setup, dependencies: [] }
    - { name: build, dependencies: [init] }
  execution: { max_parallel: 3 }
";
        let found = configured("c.yaml", text).unwrap();
        let seen: Vec<(&str, u32, usize)> =
            found.iter().map(|w| (w.spec.name.as_str(), w.line, w.spec.tasks.len())).collect();
        assert_eq!(seen, [("analysis", 4, 2), ("other", 9, 1), ("dag", 11, 2)]);
        assert!(configured("c.yaml", "a: [").unwrap().is_empty());
    }

    #[test]
    fn every_mistake_has_its_place() {
        let text = "[workflow.a]\ntasks = [{ name = \"x\", shel = \"true\" }]\n[workflow.b]\nname = \"a\"\n\
                    tasks = [{ name = \"x\", shell = \"true\", dependencies = [\"y\"] }]\n";
        let errors = configured("c.toml", text).unwrap_err();
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with("c.toml:2:") && told[0].contains("did you mean shell?"), "{told:?}");
        assert!(
            told.iter().any(|told| told.starts_with("c.toml:3:") && told.contains("in line 1")),
            "{told:?}"
        );
        assert!(
            told.iter().any(|told| told.starts_with("c.toml:5:") && told.contains("unknown dependency: y"))
        );
    }
}
