//! A workflow that can be run by its name: where it comes from, and how its text becomes tasks.

use orchd_api::DefinitionSource;
use orchd_model::WorkflowSpec;
use orchd_workflow::{FileError, Wanted, load_all};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A workflow of the configuration, of its directory, or of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The name to run it by.
    pub name: String,
    /// Where it comes from.
    pub source: DefinitionSource,
    /// The name of its file; the ending tells the format.
    pub file: String,
    /// What is in the file.
    pub text: Arc<str>,
}

/// Whether a name would be taken for the id of a run.
pub fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

impl Definition {
    /// The workflow with these parameters. `runs`: those that are required must be among them.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn load(
        &self,
        parameters: &BTreeMap<String, Value>,
        runs: bool,
    ) -> Result<WorkflowSpec, Vec<FileError>> {
        let wanted = Wanted { workflow: Some(&self.name), parameters, runs };
        let mut loaded = load_all(&self.file, &self.text, wanted)?;
        let found = loaded.workflows.pop();
        let mut spec = found.map(|found| found.spec).ok_or_else(Vec::new)?;
        // What the configuration says for all workflows holds for its own like for others, variables included.
        if self.source != DefinitionSource::Configuration {
            loaded.layout.fill(&mut spec);
        }
        Ok(spec)
    }
}
