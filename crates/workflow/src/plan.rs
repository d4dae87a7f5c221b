//! The plan of a workflow: what runs after what, and how long it must take at least.

use orchd_model::{Body, DependencyTarget, Indices, On, Span, TaskSpec, WorkflowSpec};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

use crate::drawing::{dot, mermaid};
use crate::elements::known_elements;
use crate::error::{FileError, Report, shown};
use crate::graph::Graph;
use crate::node::Position;
use crate::width::width;

/// What a task says of how long it takes, in its metadata.
const EXPECTED: &str = "expected_duration";

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
    /// The sum of their expected durations, seconds.
    pub duration: f64,
}

/// How long a task is expected to take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Duration {
    /// Seconds.
    pub seconds: f64,
    /// Who says so.
    pub source: DurationSource,
}

/// Where an expected duration comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DurationSource {
    /// `metadata.expected_duration` of the task: seconds, or text such as `5m`.
    Given,
    /// Earlier runs of the workflow.
    Remembered,
    /// Nobody: one second; nothing for a milestone and for what undoes another task.
    Assumed,
}

/// A claim that keeps a task from ever starting on the machine that the plan is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unsatisfiable {
    /// The name of the task. One with several such claims is there once for each.
    pub task: String,
    /// All that it claims.
    pub claims: Vec<String>,
    /// Why one of them cannot be granted, with what there is.
    pub message: String,
    /// What would help.
    pub hint: Option<String>,
}

/// How a run would go if every task takes as long as expected and succeeds, by the rules of the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Estimate {
    /// From submission to the end of the last task, seconds.
    pub makespan: f64,
    /// The most tasks that run at one instant.
    pub peak_parallelism: usize,
    /// The slots that it was worked out for.
    pub slots: u32,
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
    /// What is odd about it, but no mistake.
    pub warnings: Vec<FileError>,
    /// Stages: the tasks of one can run at once when those of the stages before it have ended.
    pub execution_order: Vec<Vec<String>>,
    /// How many stages there are.
    pub stages: usize,
    /// How many tasks there are, with the elements of lists that are known beforehand.
    pub total_tasks: usize,
    /// Every task after its dependencies, stage by stage.
    pub topological_order: Vec<String>,
    /// The stage of each task, from 1.
    pub levels: BTreeMap<String, usize>,
    /// The dependencies, in the order of the file.
    pub edges: Vec<Edge>,
    /// The tasks at the end: they come after all others, whatever the edges say.
    pub finally: Vec<String>,
    /// The longest chain.
    pub critical_path: CriticalPath,
    /// How long each task is expected to take; of one that is done for each element of a list, one element.
    pub durations: BTreeMap<String, Duration>,
    /// The most tasks that can run at once: the largest set of which none waits for another, each element of a
    /// list that is known beforehand for itself. Of a graph with more than 4000 tasks, those of its widest stage.
    pub max_parallelism: usize,
    /// Tasks whose claims can never be granted on the machine that the plan is for.
    pub unsatisfiable: Vec<Unsatisfiable>,
    /// How a run on that machine would go; nothing where a task can never start, or where nobody has asked.
    pub estimate: Option<Estimate>,
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
        Self::remembering(spec, &BTreeMap::new())
    }

    /// The plan, given how many seconds tasks took in earlier runs, by their names.
    #[must_use]
    pub fn remembering(spec: &WorkflowSpec, remembered: &BTreeMap<String, f64>) -> Self {
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
        let last: Vec<bool> = spec.tasks.iter().map(|task| task.finally).collect();
        let graph = Graph::with_last(before, &last);
        let mut stages = graph.stages();
        let durations: Vec<Duration> = spec.tasks.iter().map(|task| expected(task, remembered)).collect();
        let between = (graph.before().len() > durations.len()).then_some(0.0);
        let seconds: Vec<f64> = durations.iter().map(|duration| duration.seconds).chain(between).collect();
        let (mut path, duration) = graph.critical_path(&stages, &seconds);
        let elements: Vec<usize> = known_elements(spec).into_iter().map(count).collect();
        // The node between the tasks and those at the end stands for itself.
        let alike = elements.iter().map(|count| (*count).max(1)).chain(between.map(|_| 1));
        let max_parallelism = width(&graph, &stages, &alike.collect::<Vec<_>>());
        let is_task = |node: &usize| *node < durations.len();
        path.retain(is_task);
        stages.retain(|stage| stage.iter().all(is_task));
        let level = |(stage, tasks): (usize, &Vec<usize>)| {
            tasks.iter().map(|task| (name(task), stage + 1)).collect::<Vec<_>>()
        };
        let names: Vec<&str> = spec.tasks.iter().map(|task| task.name.as_str()).collect();
        Self {
            name: spec.name.clone(),
            valid: true,
            errors: Vec::new(),
            warnings: Vec::new(),
            stages: stages.len(),
            total_tasks: spec.tasks.len() + elements.iter().sum::<usize>(),
            topological_order: stages.iter().flatten().map(name).collect(),
            levels: stages.iter().enumerate().flat_map(level).collect(),
            edges: links.iter().map(|(from, to, on)| Edge(name(from), name(to), *on)).collect(),
            critical_path: CriticalPath {
                tasks: path.iter().map(name).collect(),
                // Sums of decimal fractions are not exact.
                duration: (duration * 1e6).round() / 1e6,
            },
            durations: spec.tasks.iter().map(|task| task.name.clone()).zip(durations).collect(),
            max_parallelism,
            unsatisfiable: Vec::new(),
            estimate: None,
            mermaid: mermaid(&names, &links, &last),
            dot: dot(&spec.name, &names, &links, &last),
            finally: spec.tasks.iter().filter(|task| task.finally).map(|task| task.name.clone()).collect(),
            execution_order: stages.iter().map(|stage| stage.iter().map(name).collect()).collect(),
        }
    }

    /// The plan of a file that is not valid: only its errors.
    #[must_use]
    pub fn refused(errors: Vec<FileError>) -> Self {
        Self { errors, ..Self::default() }
    }
}

/// How many elements a task becomes, as far as that is known beforehand.
fn count(elements: Option<Option<Indices>>) -> usize {
    elements.flatten().map_or(0, |indices| usize::try_from(indices.len()).unwrap_or(usize::MAX))
}

fn expected(task: &TaskSpec, remembered: &BTreeMap<String, f64>) -> Duration {
    if task.compensates.is_some() {
        // A plan is one for a good end.
        return Duration { seconds: 0.0, source: DurationSource::Assumed };
    }
    let given = task.metadata.get(EXPECTED);
    let given = given.and_then(|value| serde_json::from_value::<Span>(value.clone()).ok());
    let given = given.map(|span| (span.as_secs_f64(), DurationSource::Given));
    let remembered = || Some((remembered_of(task, remembered)?, DurationSource::Remembered));
    let assumed = if task.body == Body::Milestone { 0.0 } else { ASSUMED_SECONDS };
    let (seconds, source) = given.or_else(remembered).unwrap_or((assumed, DurationSource::Assumed));
    Duration { seconds, source }
}

/// Says of a duration that is none that nothing follows from it.
pub(crate) fn tell_bad_duration(task: &TaskSpec, at: Position, warnings: &mut Report) {
    let Some(given) = task.metadata.get(EXPECTED) else { return };
    if serde_json::from_value::<Span>(given.clone()).is_err() {
        let message =
            format!("{EXPECTED} is not a duration, and means nothing: {}", shown(&given.to_string()));
        warnings.add_hint(at, message, "write seconds (2.5) or numbers with units (1h30m)");
    }
}

/// What a task took; one that is done for each element of a list, the mean of its elements.
fn remembered_of(task: &TaskSpec, remembered: &BTreeMap<String, f64>) -> Option<f64> {
    if task.foreach.is_none() {
        return remembered.get(&task.name).copied();
    }
    let prefix = format!("{}[", task.name);
    let elements = remembered.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
    let (sum, count) = elements.fold((0.0, 0_u32), |(sum, count), (_, seconds)| (sum + seconds, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
