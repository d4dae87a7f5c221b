//! What a task ends with that nothing runs: the results of its elements or of its sub-workflow, or its own
//! parameters; and what it becomes, when it is done for each element of a list.

use orchd_core::{Command, NewTask};
use orchd_model::{
    Code, ErrorType, Foreach, Outcome, Refusal, Status, StatusReason, TaskId, TaskRange, TaskSpec, limits,
};
use orchd_store::TaskEnd;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Policy;
use crate::inputs::Inputs;
use crate::known::Known;

/// How a task fails whose result cannot be worked out.
pub struct Flaw(ErrorType, String);

impl Flaw {
    fn template(what: &str, message: impl std::fmt::Display) -> Self {
        Self(ErrorType::InvalidTemplate, format!("{what}: {message}"))
    }

    /// As the end of an attempt.
    pub fn outcome(self) -> Outcome {
        Outcome::failed(self.0, self.1)
    }
}

impl From<String> for Flaw {
    fn from(message: String) -> Self {
        Self(ErrorType::Other("Internal".to_owned()), message)
    }
}

/// The answer to a task that is being computed; `elements` are what it has become.
pub fn answer(inputs: &mut Inputs, policy: &Policy, task: TaskId, elements: Option<TaskRange>) -> Command {
    let ended = |(outcome, data)| Command::Computed { task, outcome, data };
    worked_out(inputs, policy, task, elements).unwrap_or_else(|flaw| ended((flaw.outcome(), None)))
}

fn worked_out(
    inputs: &mut Inputs,
    policy: &Policy,
    task: TaskId,
    elements: Option<TaskRange>,
) -> Result<Command, Flaw> {
    let known = inputs.known(task)?;
    let spec = &known.spec;
    let (outcome, data) = match (elements, &spec.foreach) {
        (Some(range), _) => of_elements(inputs, range)?,
        (None, Some(foreach)) => {
            let items = inputs.items(&known, task, foreach).map_err(|e| Flaw::template("foreach", e))?;
            match array_of(spec, items)? {
                Some(array) => {
                    let elements = Box::new(new_task(policy, array)?);
                    return Ok(Command::Expand { task, elements });
                }
                None => (Outcome::Succeeded, Value::Array(Vec::new())),
            }
        }
        (None, None) if spec.collect => {
            let collected = collected(inputs, &known)?;
            transformed(inputs, &known, task, collected)?
        }
        (None, None) => {
            let given = inputs.of(&known, task)?;
            let filled = inputs.evaluator().render(spec, &given).map_err(invalid)?;
            transformed(inputs, &known, task, (Outcome::Succeeded, Value::Object(filled.parameters)))?
        }
    };
    Ok(Command::Computed { task, outcome, data: Some(data) })
}

fn invalid(refusal: Refusal) -> Flaw {
    Flaw(ErrorType::InvalidTemplate, refusal.to_string())
}

/// The array that a task becomes; none when there is nothing to do it for.
fn array_of(spec: &TaskSpec, items: Arc<[Value]>) -> Result<Option<TaskSpec>, Flaw> {
    if items.len() as u64 > limits::FOREACH_ITEMS {
        let message = format!("at most {} elements: {}", limits::FOREACH_ITEMS, items.len());
        return Err(Flaw::template("foreach", message));
    }
    let Some(mut array) = spec.elements(items) else { return Ok(None) };
    array.when = array.when.filter(|when| orchd_workflow::is_about_an_element(when));
    let size = serde_json::to_string(&array).map_or(usize::MAX, |text| text.len());
    if size > limits::SPEC_BYTES {
        let message = format!("its elements are larger than {} bytes: {size}", limits::SPEC_BYTES);
        return Err(Flaw::template("foreach", message));
    }
    Ok(Some(array))
}

fn new_task(policy: &Policy, spec: TaskSpec) -> Result<NewTask, Flaw> {
    let retry = policy.retry(&spec).map_err(invalid)?;
    let runner = policy.runner(&spec);
    Ok(NewTask { spec: Arc::new(spec), retry, runner, edges: Vec::new(), fingerprint: 0, same_key: None })
}

/// The results of elements, in their order; null where there is none.
fn of_elements(inputs: &mut Inputs, range: TaskRange) -> Result<(Outcome, Value), Flaw> {
    let ids: Vec<TaskId> = (range.first.0..=range.last.0).map(TaskId).collect();
    let mut ends = inputs.history().ends(&ids).map_err(|error| error.to_string())?;
    ends.sort_unstable_by_key(|end| end.id);
    let spec = Arc::clone(&inputs.known(range.first)?.spec);
    let name = |id: TaskId| spec.element_name(id.0 - range.first.0);
    let outcome = outcome_of(&ends, "ElementFailed", "elements", name, &root_names(inputs, &ends)?);
    let data: Vec<Value> = ends.into_iter().map(|end| output(end).1).collect();
    Ok((outcome, bounded(Value::Array(data))?))
}

/// The names of the causes for which tasks were skipped.
fn root_names(inputs: &mut Inputs, ends: &[TaskEnd]) -> Result<BTreeMap<TaskId, Box<str>>, Flaw> {
    let mut roots: Vec<TaskId> = ends.iter().filter_map(|end| Some(end.root?.0)).collect();
    roots.sort_unstable();
    roots.dedup();
    if roots.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names = inputs.history().names(&roots).map_err(|error| error.to_string())?;
    Ok(names.into_iter().collect())
}

/// The results of the tasks of a sub-workflow, by their names in it.
fn collected(inputs: &mut Inputs, known: &Known) -> Result<(Outcome, Value), Flaw> {
    let prefix = format!("{}.", known.spec.name);
    let names = inputs.history().names(&known.dependencies).map_err(|error| error.to_string())?;
    let element = |id: TaskId| -> Option<u64> {
        let (_, name) = names.iter().find(|(of, _)| *of == id)?;
        name.strip_prefix(&known.spec.name)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
    };
    let mut elements: Vec<(u64, TaskId)> =
        known.dependencies.iter().filter_map(|id| Some((element(*id)?, *id))).collect();
    if !elements.is_empty() {
        elements.sort_unstable();
        return of_calls(inputs, &known.spec.name, &elements);
    }
    let is_start = |id: TaskId| names.iter().any(|(of, name)| *of == id && name.ends_with(".(start)"));
    let ends = inputs.history().ends(&known.dependencies).map_err(|error| error.to_string())?;
    let (starts, ends): (Vec<TaskEnd>, Vec<TaskEnd>) = ends.into_iter().partition(|end| is_start(end.id));
    let name_of = |id: TaskId| {
        names.iter().find(|(of, _)| *of == id).map_or_else(|| id.to_string(), |(_, name)| name.to_string())
    };
    let outcome = match starts.iter().find(|start| start.status == Status::Failed) {
        Some(start) => {
            let said = start.result.as_ref().and_then(|result| result.error_message.as_deref());
            let words = format!("{} ({}) failed: {}", name_of(start.id), start.id, said.unwrap_or_default());
            Outcome::failed(ErrorType::Other("TaskFailed".to_owned()), words)
        }
        None => outcome_of(&ends, "TaskFailed", "tasks", name_of, &root_names(inputs, &ends)?),
    };
    let data: Map<String, Value> = ends
        .into_iter()
        .map(|end| {
            let (id, data) = output(end);
            let name = name_of(id);
            (name.strip_prefix(&prefix).map(str::to_owned).unwrap_or(name), data)
        })
        .collect();
    Ok((outcome, bounded(Value::Object(data))?))
}

/// The results of a sub-workflow for each element of a list, in their order; null where there is none.
fn of_calls(inputs: &mut Inputs, name: &str, elements: &[(u64, TaskId)]) -> Result<(Outcome, Value), Flaw> {
    let ids: Vec<TaskId> = elements.iter().map(|(_, id)| *id).collect();
    let place = |id: TaskId| elements.iter().position(|(_, of)| *of == id).unwrap_or_default();
    let mut ends = inputs.history().ends(&ids).map_err(|error| error.to_string())?;
    ends.sort_by_cached_key(|end| place(end.id));
    let element = |id| format!("{name}[{}]", elements[place(id)].0);
    let outcome = outcome_of(&ends, "ElementFailed", "elements", element, &root_names(inputs, &ends)?);
    let data: Vec<Value> = ends.into_iter().map(|end| output(end).1).collect();
    Ok((outcome, bounded(Value::Array(data))?))
}

fn output(end: TaskEnd) -> (TaskId, Value) {
    // What was skipped has none; what failed may have left one, as the templates of other tasks see it.
    let data = end.result.filter(|_| end.status != Status::Skipped).and_then(|result| result.data);
    (end.id, data.unwrap_or(Value::Null))
}

/// Fails when one of them failed, else is cancelled when one of them was. One that could not begin for such an end of
/// another counts as that, one that its condition ruled out does not.
fn outcome_of(
    ends: &[TaskEnd],
    kind: &str,
    what: &str,
    name: impl Fn(TaskId) -> String,
    roots: &BTreeMap<TaskId, Box<str>>,
) -> Outcome {
    let stands_for = |end: &TaskEnd| end.root.map_or(end.status, |(_, status)| status);
    // Those that failed themselves say more than those that were skipped for it.
    let has_failed = |end: &&TaskEnd| end.status == Status::Failed || !end.status.is_terminal();
    let is_ruled_out = |end: &&TaskEnd| end.status == Status::Skipped && stands_for(end) == Status::Failed;
    let mut failed: Vec<&TaskEnd> = ends.iter().filter(has_failed).collect();
    if failed.is_empty() {
        failed = ends.iter().filter(is_ruled_out).collect();
    }
    if let Some(first) = failed.first() {
        let said = first.result.as_ref().and_then(|result| result.error_message.clone());
        let needs = || {
            let (task, status) = first.root?;
            let name = roots.get(&task).map(ToString::to_string).unwrap_or_default();
            Some(format!("skipped: {}", StatusReason::Dependency { task, name, status, because: None }))
        };
        let message = format!(
            "{} of {} {what} failed, the first is {} ({}): {}",
            failed.len(),
            ends.len(),
            name(first.id),
            first.id,
            said.or_else(needs).unwrap_or_default()
        );
        return Outcome::failed(ErrorType::Other(kind.to_owned()), message);
    }
    match ends.iter().any(|end| stands_for(end) == Status::Cancelled) {
        true => Outcome::Cancelled,
        false => Outcome::Succeeded,
    }
}

fn bounded(data: Value) -> Result<Value, Flaw> {
    let size = serde_json::to_string(&data).map_or(usize::MAX, |text| text.len());
    if size <= limits::COLLECTED_BYTES {
        return Ok(data);
    }
    let message = format!("all results together are larger than {} bytes: {size}", limits::COLLECTED_BYTES);
    Err(Flaw(ErrorType::InvalidResult, message))
}

fn transformed(
    inputs: &mut Inputs,
    known: &Known,
    task: TaskId,
    (outcome, data): (Outcome, Value),
) -> Result<(Outcome, Value), Flaw> {
    if outcome != Outcome::Succeeded || known.spec.transform.is_none() {
        return Ok((outcome, data));
    }
    Ok((outcome, transform(inputs, known, task, Some(data))?))
}

/// What is kept of a result: what the `transform` of its task makes of it.
pub fn transform(
    inputs: &mut Inputs,
    known: &Known,
    task: TaskId,
    data: Option<Value>,
) -> Result<Value, Flaw> {
    let result = data.unwrap_or(Value::Null);
    let Some(expression) = &known.spec.transform else { return Ok(result) };
    // What it is told is held against the types of its parameters.
    let is_start = orchd_workflow::checks_parameters(expression);
    let flaw = |message: String| match is_start {
        true => Flaw(ErrorType::Other("InvalidParameter".to_owned()), message),
        false => Flaw(ErrorType::InvalidResult, format!("transform: {message}")),
    };
    let limit = if is_start { limits::SPEC_BYTES } else { limits::RESULT_BYTES };
    let mut given = inputs.seen(known, task).map_err(flaw)?;
    given["result"] = result;
    let made = inputs.evaluator().value(expression, &given).map_err(flaw)?;
    let size = made.to_string().len();
    if size > limit {
        return Err(flaw(format!("a result has at most {limit} bytes: {size}")));
    }
    Ok(made)
}

/// Refuses what only means something within a workflow.
pub fn check_alone(spec: &TaskSpec) -> Result<(), Refusal> {
    let only = |what: &str, is_given: bool| {
        if !is_given {
            return Ok(());
        }
        let refusal = Refusal::new(Code::Malformed, "this field is for tasks of a workflow").value(what);
        Err(refusal.hint("submit a workflow, or use array for many alike tasks"))
    };
    only("foreach", spec.foreach.is_some())?;
    only("finally", spec.finally)?;
    only("compensates", spec.compensates.is_some())?;
    only("within", spec.within.is_some())?;
    only("workflow", spec.workflow.is_some())?;
    only("collect", spec.collect)
}

/// Refuses expressions that do not parse, and a list of elements that is no user's to give.
pub fn check_expressions(spec: &TaskSpec) -> Result<(), Refusal> {
    if spec.foreach.is_some() && spec.array.is_some() {
        return Err(Refusal::new(Code::Malformed, "give one of foreach and array"));
    }
    if let Some(Foreach::Expression(list)) = &spec.foreach {
        orchd_workflow::check_value_expression("foreach", list)?;
    }
    spec.transform.as_deref().map_or(Ok(()), |made| orchd_workflow::check_value_expression("transform", made))
}
