//! The plan of a workflow: what runs after what, and how long it must take at least.

use orchd_model::{DependencyTarget, On, Span, TaskSpec, WorkflowSpec};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::HashMap;

use crate::drawing::{dot, mermaid};
use crate::error::FileError;
use crate::graph::Graph;

/// What is assumed of a task that does not say how long it takes, in seconds: with no estimates at all the
/// critical path is simply the longest chain.
const ASSUMED_SECONDS: f64 = 1.0;

/// A dependency of the graph. In JSON `[from, to, on]`: `to` waits for `from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Edge(pub String, pub String, pub On);

/// The chain of tasks that bounds the time of the workflow from below.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CriticalPath {
    /// Their names, the first to run first.
    pub tasks: Vec<String>,
    /// The sum of their expected durations, seconds: `metadata.expected_duration` of a task (seconds, or
    /// text such as `5m`), else one second each.
    pub duration: f64,
}

/// The graph of a workflow, or why it has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Plan {
    /// The workflow; empty when the file is not valid.
    pub name: String,
    /// Whether the file is valid; if not, only `errors` says something.
    pub valid: bool,
    /// Everything that is wrong with the file.
    pub errors: Vec<FileError>,
    /// Stages: the tasks of one can run at once when those of the stages before it have ended.
    pub execution_order: Vec<Vec<String>>,
    /// How many stages there are.
    pub stages: usize,
    /// How many tasks there are.
    pub total_tasks: usize,
    /// Every task after its dependencies, stage by stage.
    pub topological_order: Vec<String>,
    /// The dependencies, in the order of the file.
    pub edges: Vec<Edge>,
    /// The longest chain.
    pub critical_path: CriticalPath,
    /// Tasks in the widest stage: what a run stage by stage can keep busy at once.
    pub max_parallelism: usize,
    /// The graph as Mermaid text.
    pub mermaid: String,
    /// The graph as Graphviz text.
    pub dot: String,
}

impl Plan {
    /// The plan of a workflow that [`load`](crate::load) has validated. Dependencies on tasks outside of it
    /// are left out.
    #[must_use]
    pub fn of(spec: &WorkflowSpec) -> Self {
        let by_name: HashMap<&str, usize> =
            spec.tasks.iter().enumerate().map(|(index, task)| (task.name.as_str(), index)).collect();
        let mut before = vec![Vec::new(); spec.tasks.len()];
        let mut links = Vec::new();
        for (to, task) in spec.tasks.iter().enumerate() {
            for dependency in &task.dependencies {
                let DependencyTarget::Name(name) = &dependency.task else { continue };
                let Some(&from) = by_name.get(name.as_str()) else { continue };
                before[to].push(from);
                links.push((from, to, dependency.on));
            }
        }
        let name = |&task: &usize| spec.tasks[task].name.clone();
        let graph = Graph::new(before);
        let stages = graph.stages();
        let durations: Vec<f64> = spec.tasks.iter().map(expected_seconds).collect();
        let (path, duration) = graph.critical_path(&stages, &durations);
        let names: Vec<&str> = spec.tasks.iter().map(|task| task.name.as_str()).collect();
        Self {
            name: spec.name.clone(),
            valid: true,
            errors: Vec::new(),
            stages: stages.len(),
            total_tasks: spec.tasks.len(),
            topological_order: stages.iter().flatten().map(name).collect(),
            edges: links.iter().map(|(from, to, on)| Edge(name(from), name(to), *on)).collect(),
            critical_path: CriticalPath { tasks: path.iter().map(name).collect(), duration },
            max_parallelism: stages.iter().map(Vec::len).max().unwrap_or(0),
            mermaid: mermaid(&names, &links),
            dot: dot(&spec.name, &names, &links),
            execution_order: stages.iter().map(|stage| stage.iter().map(name).collect()).collect(),
        }
    }

    /// The plan of a file that is not valid: only its errors.
    #[must_use]
    pub fn refused(errors: Vec<FileError>) -> Self {
        Self { errors, ..Self::default() }
    }
}

fn expected_seconds(task: &TaskSpec) -> f64 {
    let given = task.metadata.get("expected_duration");
    let span = given.and_then(|value| serde_json::from_value::<Span>(value.clone()).ok());
    span.map_or(ASSUMED_SECONDS, Span::as_secs_f64)
}
