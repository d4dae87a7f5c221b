//! What holds for every workflow that does not say otherwise, and the workflows within a configuration.

use orchd_model::{Span, WorkflowSpec};
use orchd_workflow::Configured;

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
        // Figures are always kept, and the directory is read by nobody so far: neither changes anything.
        layers.value("workflow.manager.enable_performance_monitoring", true);
        layers.value("workflow.manager.config_dir", "./workflows".to_owned());
        tell_of_workflows(layers);
        Self { max_parallel, timeout, max_retries }
    }

    /// Fills in what a workflow leaves open.
    pub fn fill(&self, spec: &mut WorkflowSpec) {
        spec.max_parallel = spec.max_parallel.or(self.max_parallel);
        spec.timeout = spec.timeout.or(self.timeout);
        if let Some(max_retries) = self.max_retries {
            spec.fill_retries(max_retries);
        }
    }
}

/// Workflows may stand in a configuration: they are checked, and cannot be run from there yet.
fn tell_of_workflows(layers: &mut Layers) {
    let file = layers.path().unwrap_or_default();
    for Configured { spec, line, .. } in &layers.workflows {
        let (name, tasks) = (&spec.name, spec.tasks.len());
        layers.warnings.push(format!(
            "{file}:{line}: workflow {name}: valid, tasks: {tasks}; it cannot be run by its name yet, only from a \
             file of its own"
        ));
    }
}
