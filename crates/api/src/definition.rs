//! Definitions: workflows that are kept under their names, to be run by them.

use orchd_model::{Time, WorkflowSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a definition is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionSource {
    /// In the daemon's configuration.
    Configuration,
    /// In the directory of workflow files.
    Directory,
    /// In the daemon's store.
    Stored,
}

/// A workflow that is kept under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Definition {
    /// The name to run it by.
    pub name: String,
    /// Where it is kept.
    pub source: DefinitionSource,
    /// Its file, as whoever stored it called that.
    pub file: String,
    /// Who stored it, a user id.
    pub owner: Option<u32>,
    /// When it was stored.
    pub updated_at: Option<Time>,
}

/// A definition with all that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShownDefinition {
    /// Where it is kept.
    #[serde(flatten)]
    pub definition: Definition,
    /// The text of its file, as it was given; none when it is a part of the configuration.
    pub text: Option<String>,
    /// What it means with the usual values of its parameters; none when it is not valid.
    pub spec: Option<WorkflowSpec>,
    /// What is wrong with it.
    pub errors: Vec<String>,
}

/// Keeps the workflows of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefinitionRequest {
    /// The name of the file, whose ending tells the format: `.json`, `.toml`, else YAML.
    pub file: String,
    /// What is in it.
    pub text: String,
    /// Only the workflow with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
}

/// Names a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefinitionNamed {
    /// Its name.
    pub name: String,
}

/// How long tasks took: the mean of the latest completed runs, seconds, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Durations {
    /// Seconds by the task's name.
    pub tasks: BTreeMap<String, f64>,
}
