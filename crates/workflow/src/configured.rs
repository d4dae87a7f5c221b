//! The workflows within a configuration file: `workflow.NAME` with its tasks or steps, and `dag.tasks`.
//!
//! Whatever else stands in the configuration is left to whoever reads that.

use orchd_model::WorkflowSpec;
use std::collections::BTreeMap;

use crate::document;
use crate::error::{FileError, Report, shown};
use crate::file::workflow;
use crate::node::{Content, Entry, Node, Position};
use crate::parameters::Given;

/// A workflow of a configuration.
#[derive(Clone, Debug)]
pub struct Configured {
    /// What it is; named as it names itself, else by its key.
    pub spec: WorkflowSpec,
    /// The line that it begins in, from 1.
    pub line: u32,
}

/// Reads and checks the workflows of a configuration. A document that cannot be read has none: that is told by
/// its other readers.
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
    let mut found: Vec<(Configured, Position)> = Vec::new();
    for (key, at, node) in candidates(&document) {
        let Some(spec) = workflow(&node, key, given, &mut report) else { continue };
        if let Some((first, _)) = found.iter().find(|(other, _)| other.spec.name == spec.name) {
            let first = format!("the first one is in line {}", first.line);
            report.add_hint(at, format!("a second workflow of this name: {}", shown(&spec.name)), first);
        }
        found.push((Configured { spec, line: at.line }, at));
    }
    if report.is_clean() {
        Ok(found.into_iter().map(|(configured, _)| configured).collect())
    } else {
        Err(report.into_errors())
    }
}

/// What may be a workflow: its key, where that stands, and the workflow.
fn candidates(document: &Node) -> Vec<(&str, Position, Node)> {
    let mut candidates = Vec::new();
    for section in entries(document) {
        match section.key.as_str() {
            "workflow" => {
                let named = entries(&section.node).iter().filter(|entry| {
                    entry.key != "manager" && entries(&entry.node).iter().any(is_list_of_tasks)
                });
                candidates.extend(named.map(|entry| (entry.key.as_str(), entry.at, entry.node.clone())));
            }
            "dag" if entries(&section.node).iter().any(|entry| entry.key == "tasks") => {
                // How it is run is configured beside its tasks.
                let own = entries(&section.node).iter().filter(|entry| entry.key != "execution");
                let node = Node { at: section.node.at, content: Content::Map(own.cloned().collect()) };
                candidates.push(("dag", section.at, node));
            }
            _ => {}
        }
    }
    candidates
}

fn is_list_of_tasks(entry: &Entry) -> bool {
    entry.key == "tasks" || entry.key == "steps"
}

fn entries(node: &Node) -> &[Entry] {
    match &node.content {
        Content::Map(entries) => entries,
        Content::Null | Content::Bool(_) | Content::Number(..) | Content::Text(_) | Content::List(_) => &[],
    }
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
