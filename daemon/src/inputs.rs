//! What a task is told: the parameters of its workflow and the results of what it depends on; and what is
//! worked out from that: conditions, the elements of a list, results that are made from others.

use orchd_core::Event;
use orchd_model::{Foreach, TaskId, WorkflowStatus};
use orchd_store::{History, StoredWorkflow};
use serde_json::{Map, Value, json};
use std::sync::Arc;

use crate::evaluator::Evaluator;
use crate::known::{Known, Recent};

/// The task of a sub-workflow that its parameters are the result of.
const START: &str = "(start)";

/// Reads what tasks are told.
pub struct Inputs {
    history: Box<dyn History>,
    recent: Recent,
    evaluator: Evaluator,
}

impl Inputs {
    /// Nothing is remembered yet.
    pub fn new(history: Box<dyn History>) -> Self {
        Self { history, recent: Recent::default(), evaluator: Evaluator::default() }
    }

    /// What evaluates what it is told.
    pub fn evaluator(&mut self) -> &mut Evaluator {
        &mut self.evaluator
    }

    /// The store behind it.
    pub fn history(&mut self) -> &mut dyn History {
        &mut *self.history
    }

    /// Remembers the specs that came with a batch.
    pub fn note(&mut self, events: &Arc<Vec<Event>>) {
        self.recent.note(events);
    }

    /// The spec of a task, and what it depends on.
    pub fn known(&mut self, task: TaskId) -> Result<Arc<Known>, String> {
        if let Some(known) = self.recent.get(task) {
            return Ok(known);
        }
        match self.history.task(task) {
            Ok(Some(stored)) => {
                let known = Known::new(stored.spec, &stored.record);
                if known.spec.array.is_some() {
                    self.recent.keep_array(Arc::clone(&known));
                }
                Ok(known)
            }
            Ok(None) => Err(format!("task {task} is not in the store")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// `{"parameters": …, "tasks": {NAME and id: {status, output, exit_code, attempts}}}`, with the
    /// workflow's parameters; for an element of a list with its `item` and `index`; for a task at the end of a
    /// workflow with what has become of that.
    pub fn of(&mut self, known: &Known, task: TaskId) -> Result<Value, String> {
        let workflow = match known.workflow {
            Some(id) => {
                let stored = self.history.workflow(id).map_err(|error| error.to_string())?;
                Some(stored.ok_or_else(|| format!("workflow {id} is not in the store"))?)
            }
            None => None,
        };
        let mut parameters = match &workflow {
            Some(stored) => {
                serde_json::from_str::<Map<String, Value>>(&stored.parameters).map_err(|e| e.to_string())?
            }
            None => Map::new(),
        };
        let within = known.spec.within.as_ref().map(|within| format!("{within}."));
        let mut tasks = Map::new();
        let mut dependencies = known.dependencies.clone();
        dependencies.extend(self.start_of_undone(known)?);
        for found in self.history.results(&dependencies).map_err(|error| error.to_string())? {
            let result = found.result.unwrap_or_default();
            let name: &str = match &within {
                Some(within) => found.name.strip_prefix(within.as_str()).unwrap_or(&found.name),
                None => &found.name,
            };
            if within.is_some() && name == START {
                parameters = result.data.and_then(into_object).unwrap_or_default();
                continue;
            }
            let facts = json!({
                "status": found.status,
                "output": result.data,
                "exit_code": result.exit_code,
                "attempts": found.attempts,
            });
            tasks.insert(found.id.to_string(), facts.clone());
            tasks.insert(name.to_owned(), facts);
        }
        let mut inputs = json!({ "parameters": parameters, "tasks": tasks });
        self.add_element(&mut inputs, known, task);
        if let Some(stored) = workflow.filter(|_| known.spec.finally) {
            inputs["workflow"] = so_far(&stored);
        }
        Ok(inputs)
    }

    /// What the parameters come from of a task of a sub-workflow that undoes another one: it waits for that one alone,
    /// and that one has them.
    fn start_of_undone(&mut self, known: &Known) -> Result<Option<TaskId>, String> {
        let (Some(within), Some(_)) = (&known.spec.within, &known.spec.compensates) else { return Ok(None) };
        let mut before = Vec::new();
        for id in &known.dependencies {
            let record = self.history.record(*id).map_err(|error| error.to_string())?;
            before.extend(record.iter().flat_map(|record| record.edges.iter().map(|edge| edge.task)));
        }
        let start = format!("{within}.{START}");
        let names = self.history.names(&before).map_err(|error| error.to_string())?;
        Ok(names.into_iter().find(|(_, name)| **name == *start).map(|(id, _)| id))
    }

    fn add_element(&self, inputs: &mut Value, known: &Known, task: TaskId) {
        let Some(indices) = known.spec.array else { return };
        let place = task.0 - known.tasks.first.0;
        let index = Value::from(indices.at(place));
        inputs["item"] = known.spec.item(place).cloned().unwrap_or_else(|| index.clone());
        inputs["index"] = index;
    }

    /// What its expressions see: its own parameters, too.
    pub fn seen(&mut self, known: &Known, task: TaskId) -> Result<Value, String> {
        let inputs = self.of(known, task)?;
        let templates = known.workflow.is_some();
        let seen = if templates {
            self.evaluator.overlaid(&known.spec, &inputs)
        } else {
            Ok(orchd_workflow::overlay(&inputs, &known.spec.parameters))
        };
        seen.map_err(|refusal| refusal.to_string())
    }

    /// Whether something that is evaluated for a task may take long. What is not known costs nothing: it is told soon enough.
    pub fn may_cost(&mut self, task: TaskId) -> bool {
        self.known(task).is_ok_and(|known| may_cost(&known))
    }

    /// Whether the condition of a task holds.
    pub fn condition(&mut self, task: TaskId) -> Result<bool, String> {
        let known = self.known(task)?;
        let Some(when) = &known.spec.when else { return Ok(true) };
        // What is asked of each element is not asked of the whole.
        let is_whole = known.spec.array.is_none() && known.spec.foreach.is_some();
        if is_whole && orchd_workflow::is_about_an_element(when) {
            return Ok(true);
        }
        let inputs = self.seen(&known, task)?;
        self.evaluator.holds(when, &inputs)
    }

    /// The elements that a task is done for; none for indices.
    pub fn items(&mut self, known: &Known, task: TaskId, foreach: &Foreach) -> Result<Arc<[Value]>, String> {
        let expression = match foreach {
            Foreach::Items(items) => return Ok(Arc::clone(items)),
            Foreach::Array { .. } => return Ok(Arc::new([])),
            Foreach::Expression(expression) => expression,
        };
        let inputs = self.seen(known, task)?;
        match self.evaluator.value(expression, &inputs)? {
            Value::Array(items) => Ok(items.into()),
            other => Err(format!("must be a list, not {}", kind(&other))),
        }
    }
}

/// Whether something that is evaluated for a task may take long.
pub fn may_cost(known: &Known) -> bool {
    let spec = &known.spec;
    let list = match &spec.foreach {
        Some(Foreach::Expression(list)) => Some(list),
        _ => None,
    };
    let mut expressions = [spec.when.as_ref(), spec.transform.as_ref(), list].into_iter().flatten();
    (known.workflow.is_some() && orchd_workflow::may_cost(spec))
        || expressions.any(|expression| orchd_workflow::expression_may_cost(expression))
}

/// What has become of a workflow when only the tasks at its end are left.
fn so_far(stored: &StoredWorkflow) -> Value {
    let record = &stored.record;
    let status = match record.stop {
        Some(orchd_core::WorkflowStop::Timeout) => WorkflowStatus::TimedOut,
        _ if record.failed > 0 => WorkflowStatus::Failed,
        _ if record.cancelled > 0 => WorkflowStatus::Cancelled,
        _ => WorkflowStatus::Completed,
    };
    json!({ "id": record.id, "name": record.name, "status": status, "failed": record.failed })
}

fn into_object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
