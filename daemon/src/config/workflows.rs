//! What holds for every workflow that does not say otherwise, and the workflows within a configuration.

use orchd_api::DefinitionSource;
use orchd_model::{Span, TaskSpec, WorkflowSpec};
use orchd_workflow::Configured;
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::definition::{Definition, is_number};
use super::directory;
use super::layers::Layers;

/// Retries of failed tasks when it is only said that they shall be retried.
const RETRY_ATTEMPTS: u32 = 2;

/// Defaults of workflows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkflowDefaults {
    /// How many tasks of one run at once.
    pub max_parallel: Option<u32>,
    /// The limit of one.
    pub timeout: Option<Span>,
    /// Retries of a task that says nothing of them.
    pub max_retries: Option<u32>,
}

impl WorkflowDefaults {
    pub(super) fn read(layers: &mut Layers) -> Self {
        let max_parallel = layers.optional::<u32>("dag.execution.max_parallel");
        if max_parallel == Some(0) {
            layers.wrong_value(
                "dag.execution.max_parallel",
                "dag.execution.max_parallel must be at least 1: 0",
            );
        }
        let timeout = layers.optional::<Span>("dag.execution.timeout_seconds");
        if timeout == Some(Span::ZERO) {
            layers.wrong_value(
                "dag.execution.timeout_seconds",
                "dag.execution.timeout_seconds must be more than nothing: 0",
            );
        }
        let retry_failed = layers.optional_or::<bool>("dag.execution.retry_failed", true);
        let attempts = layers.optional::<u32>("dag.execution.retry_attempts");
        let max_retries = match (retry_failed, attempts) {
            (Some(false), _) => Some(0),
            (Some(true), attempts) => Some(attempts.unwrap_or(RETRY_ATTEMPTS)),
            (None, attempts) => attempts,
        };
        // Figures are always kept: this changes nothing.
        layers.value("workflow.manager.enable_performance_monitoring", true);
        Self { max_parallel, timeout, max_retries }
    }

    /// Fills in what a workflow leaves open, and its tasks.
    pub fn fill(&self, spec: &mut WorkflowSpec) {
        self.fill_head(spec);
        spec.tasks.iter_mut().for_each(|task| self.fill_task(task));
    }

    /// Fills in what a workflow leaves open.
    pub fn fill_head(&self, spec: &mut WorkflowSpec) {
        spec.max_parallel = spec.max_parallel.or(self.max_parallel);
        spec.timeout = spec.timeout.or(self.timeout);
    }

    /// Fills in what a task of a workflow leaves open.
    pub fn fill_task(&self, task: &mut TaskSpec) {
        if let Some(max_retries) = self.max_retries {
            task.fill_retries(max_retries);
        }
    }
}

/// The workflows that can be run by their names: those within the configuration, and those of the directory.
pub(super) fn definitions(layers: &mut Layers) -> Vec<Definition> {
    let named = |found: &Configured| found.spec.name.clone();
    let (file, text) = layers.text.clone().unwrap_or_default();
    let (numbers, workflows): (Vec<_>, Vec<_>) =
        layers.workflows.iter().partition(|found| is_number(&found.spec.name));
    let skipped = |found: &&Configured| {
        format!("workflow {} is skipped: its name must not be a number", found.spec.name)
    };
    let skipped: Vec<String> = numbers.iter().map(skipped).collect();
    let mut definitions: Vec<Definition> = workflows
        .into_iter()
        .map(|found| Definition {
            name: named(found),
            source: DefinitionSource::Configuration,
            file: file.clone(),
            text: Arc::clone(&text),
        })
        .collect();
    layers.warnings.extend(skipped);
    let directory: PathBuf = layers.value("workflow.manager.config_dir", PathBuf::from("./workflows"));
    let is_given = layers.is_given("workflow.manager.config_dir");
    let beside = layers.path().map(PathBuf::from);
    let directory = match beside.as_deref().and_then(Path::parent) {
        Some(parent) => parent.join(&directory),
        // Without a file there is nothing that it could be beside.
        None if directory.is_absolute() => directory,
        None => return definitions,
    };
    match directory::read(&directory, &mut layers.warnings) {
        Ok(found) => {
            for found in found {
                if definitions.iter().any(|other| other.name == found.name) {
                    let Definition { name, file, .. } = found;
                    let message =
                        format!("{file}: workflow {name} is skipped: the configuration has one of this name");
                    layers.warnings.push(message);
                } else {
                    definitions.push(found);
                }
            }
        }
        Err(Errno::NOENT) if !is_given => {}
        Err(error) => {
            layers.warnings.push(format!("workflow.manager.config_dir: {}: {error}", directory.display()));
        }
    }
    definitions
}
