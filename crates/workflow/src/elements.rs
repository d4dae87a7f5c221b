//! `foreach` and `array` of a task: what list it is done for.

use orchd_model::{Foreach, Indices, TaskSpec, WorkflowSpec, limits};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::code::depth;
use crate::error::{Report, shown};
use crate::expression::{check_value_expression, value_of};
use crate::field::{parsed, wrong};
use crate::jinja::is_template;
use crate::node::{Content, Entry, Node};
use crate::template::overlay;

/// How long the lists of one workflow are worked out to look at it: a file may ask for hours.
const LOOKED_AT: Duration = Duration::from_millis(250);
/// Operators, calls and filters of a list that is worked out: each may take milliseconds.
const OPERATORS: usize = 64;

/// For each task of a workflow the indices of its elements, where it has any and they do not depend on results; none
/// inside: the list is empty.
///
/// Flaw: of a workflow whose lists take long to work out, only some are known.
#[must_use]
pub fn known_elements(spec: &WorkflowSpec) -> Vec<Option<Option<Indices>>> {
    let mut spent = Duration::ZERO;
    let mut items_of = |expression: &str, task: &TaskSpec| {
        if spent > LOOKED_AT || depth(expression) > OPERATORS {
            return None;
        }
        let begun = Instant::now();
        let parameters = overlay(&json!({ "parameters": spec.parameters }), &task.parameters);
        let value = value_of(expression, &parameters);
        spent += begun.elapsed();
        match value {
            Ok(Value::Array(items)) => Some(items.into()),
            _ => None,
        }
    };
    spec.tasks.iter().map(|task| elements(task, &mut items_of)).collect()
}

fn elements(
    task: &TaskSpec,
    items_of: &mut impl FnMut(&str, &TaskSpec) -> Option<Arc<[Value]>>,
) -> Option<Option<Indices>> {
    let items = match task.foreach.as_ref()? {
        Foreach::Items(items) => Arc::clone(items),
        Foreach::Array { .. } => Arc::new([]),
        Foreach::Expression(expression) => items_of(expression, task)?,
    };
    let list = task.elements(items).and_then(|elements| elements.array);
    list.is_none_or(|list| list.len() <= limits::FOREACH_ITEMS).then_some(list)
}

/// Reads one of the two keys.
pub(crate) fn read(spec: &mut TaskSpec, entry: &Entry, report: &mut Report) {
    if spec.foreach.is_some() {
        report.add(entry.at, "a task is done for one list: give one of foreach and array");
        return;
    }
    let node = &entry.node;
    spec.foreach = if entry.key == "array" {
        let indices = parsed::<Indices>(node, "array", "a range of indices such as 1-10", report);
        indices.map(|array| Foreach::Array { array })
    } else {
        foreach(node, report)
    };
}

fn foreach(node: &Node, report: &mut Report) -> Option<Foreach> {
    match &node.content {
        Content::List(items) => {
            items.iter().for_each(|item| refuse_templates(item, report));
            let items: Vec<Value> = items.iter().map(Node::to_json).collect();
            Some(Foreach::Items(items.into()))
        }
        Content::Text(text) => match check_value_expression("foreach", &text.text) {
            Ok(()) => Some(Foreach::Expression(text.text.clone())),
            Err(refusal) => {
                report.refused(node.at, "foreach", &refusal);
                None
            }
        },
        Content::Null | Content::Bool(_) | Content::Number(..) | Content::Map(_) | Content::Items(_) => {
            wrong(node, "foreach", "a list, or an expression that gives one", report);
            None
        }
    }
}

/// An element is what it says: text with braces would never be filled in.
fn refuse_templates(node: &Node, report: &mut Report) {
    match &node.content {
        Content::Text(text) if is_template(&text.text) => report.add_hint(
            node.at,
            format!("an element of a list is a value and no template: {}", shown(&text.text)),
            "write the whole list as an expression: foreach: \"[parameters.a, 'b']\"",
        ),
        Content::List(items) => items.iter().for_each(|item| refuse_templates(item, report)),
        Content::Map(entries) => entries.iter().for_each(|entry| refuse_templates(&entry.node, report)),
        Content::Null | Content::Bool(_) | Content::Number(..) | Content::Text(_) | Content::Items(_) => {}
    }
}
