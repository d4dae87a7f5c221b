//! `foreach` of a task that stands for a sub-workflow: the set once for each element of a list.
//!
//! ```text
//!   load: {workflow: ingest, foreach: [eu, us]}   becomes   load[0] ─┐
//!                                                           load[1] ─┴─► load
//! ```
//! Each element is a call of its own, with `item` and `index` put as literals where its templates name them; `load` ends with
//! the list of their results. A graph is submitted as a whole, so the list has to be known then: what a task leaves comes too
//! late.

use orchd_model::{Body, Dependency, DependencyTarget, Foreach, Indices, On, TaskSpec, fill_index, limits};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::Arc;

use crate::code::{Token, parts, tokens};
use crate::cost::{expression_may_cost, may_cost};
use crate::error::{Report, shown};
use crate::expression::{is_about_an_element, value_of};
use crate::jinja::is_template;
use crate::reference::{Reference, expression_references};
use crate::task::Draft;
use crate::template::render;

/// What is known of the parameters of the workflow when it is read.
#[derive(Clone, Copy)]
pub(crate) struct Known<'p> {
    /// Their values.
    pub(crate) values: &'p Map<String, Value>,
    /// Whether all of them are there: what is only looked at has some that are not.
    pub(crate) all: bool,
}

impl Known<'_> {
    /// Whether nothing else is named than parameters that are there.
    fn covers(&self, references: impl IntoIterator<Item = Reference>) -> bool {
        references.into_iter().all(|Reference(names)| match names.as_slice() {
            [root, name, ..] => root == "parameters" && self.values.contains_key(name),
            [root] => root == "parameters",
            [] => false,
        })
    }

    fn inputs(&self) -> Value {
        json!({ "parameters": self.values, "tasks": {} })
    }

    /// What a value with templates comes to, if that is known already and cheap to tell.
    pub(crate) fn value(&self, value: &Value) -> Option<Value> {
        let mut references = Vec::new();
        collect(value, &mut references);
        if !self.all || !self.covers(references) {
            return None;
        }
        let parameters = Map::from_iter([("value".to_owned(), value.clone())]);
        let spec = TaskSpec { parameters, ..TaskSpec::new(Body::Milestone) };
        if may_cost(&spec) {
            return None;
        }
        render(&spec, &self.inputs()).ok()?.parameters.remove("value")
    }
}

fn collect(value: &Value, references: &mut Vec<Reference>) {
    match value {
        Value::String(text) if is_template(text) => references.extend(crate::reference::references(text)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Puts the elements in the place of the expressions of calls; reports those that are not known yet.
pub(crate) fn resolve(drafts: &mut [Draft], known: Known<'_>, report: &mut Report) {
    for draft in drafts.iter_mut().filter(|draft| draft.call.is_some()) {
        let (at, items) = match &draft.spec.foreach {
            Some(Foreach::Expression(list)) => (draft.at, list_of(list, known)),
            Some(Foreach::Array { array }) if array.len() > limits::FOREACH_ITEMS => (
                draft.at,
                Err((format!("at most {} elements", limits::FOREACH_ITEMS), array.len().to_string())),
            ),
            Some(Foreach::Items(items)) if items.len() as u64 > limits::FOREACH_ITEMS => (
                draft.at,
                Err((format!("at most {} elements", limits::FOREACH_ITEMS), items.len().to_string())),
            ),
            Some(Foreach::Items(_) | Foreach::Array { .. }) | None => continue,
        };
        match items {
            Ok(items) => draft.spec.foreach = Some(Foreach::Items(items)),
            Err((message, value)) => report.add_hint(
                at,
                format!("foreach of a sub-workflow: {message}: {}", shown(&value)),
                "give a list, an array, or an expression over parameters; for a list that a task leaves, use foreach \
                 within the sub-workflow",
            ),
        }
    }
}

/// The elements, or what is wrong and with what.
fn list_of(list: &str, known: Known<'_>) -> Result<Arc<[Value]>, (String, String)> {
    let wrong = |message: &str| Err((message.to_owned(), list.to_owned()));
    let references = expression_references(list);
    let names_others =
        references.iter().any(|reference| reference.0.first().is_none_or(|root| root != "parameters"));
    if names_others {
        return wrong("the list must be known when the workflow is submitted");
    }
    if expression_may_cost(list) {
        return wrong("the list must be simple to work out");
    }
    if !known.covers(references) {
        // It is only looked at: any element shows what each will be.
        return if known.all {
            wrong("the list must be known when the workflow is submitted")
        } else {
            Ok([Value::Null].into())
        };
    }
    match value_of(list, &known.inputs()) {
        Ok(Value::Array(items)) if items.len() as u64 <= limits::FOREACH_ITEMS => Ok(items.into()),
        Ok(Value::Array(items)) => {
            Err((format!("at most {} elements", limits::FOREACH_ITEMS), items.len().to_string()))
        }
        Ok(other) => Err(("it must be a list".to_owned(), other.to_string())),
        Err(message) => Err((message, list.to_owned())),
    }
}

/// How many calls a call is.
pub(crate) fn count(draft: &Draft) -> usize {
    match &draft.spec.foreach {
        Some(Foreach::Items(items)) => items.len(),
        Some(Foreach::Array { array }) => usize::try_from(array.len()).unwrap_or(usize::MAX),
        Some(Foreach::Expression(_)) | None => 1,
    }
}

/// The calls for the elements of a list, and the task that ends with the list of their results.
pub(crate) fn elements(call: Draft, items: &[Value]) -> Vec<Draft> {
    let drafts = (0..).zip(items).map(|(index, item)| element(&call, index, item)).collect();
    with_whole(call, drafts)
}

/// The same for an array: the element is the index itself, which takes the place of `{index}` as in any array.
pub(crate) fn array(call: Draft, array: Indices) -> Vec<Draft> {
    let element = |place| {
        let index = array.at(place);
        let mut draft = element(&call, index, &Value::from(index));
        draft.spec.parameters.values_mut().for_each(|value| fill_index(value, &index.to_string()));
        draft
    };
    let drafts = (0..array.len()).map(element).collect();
    with_whole(call, drafts)
}

/// The parameters of a call, with the first index where it is one for each of an array.
pub(crate) fn shown_parameters(call: &Draft) -> Cow<'_, Map<String, Value>> {
    let mut parameters = Cow::Borrowed(&call.spec.parameters);
    if let Some(Foreach::Array { array }) = call.spec.foreach {
        let index = array.at(0).to_string();
        parameters.to_mut().values_mut().for_each(|value| fill_index(value, &index));
    }
    parameters
}

fn with_whole(call: Draft, mut drafts: Vec<Draft>) -> Vec<Draft> {
    let Draft { spec, at, .. } = call;
    let mut dependencies: Vec<Dependency> = drafts
        .iter()
        .map(|draft| Dependency { task: DependencyTarget::Name(draft.spec.name.clone()), on: On::Completion })
        .collect();
    // What rules out all of them rules out the whole, and an empty list has nothing else to wait for.
    dependencies.extend(spec.dependencies);
    let (mut transform, mut when) = (spec.transform, None);
    let is_empty = drafts.is_empty();
    if is_empty {
        transform = Some(transform.map_or_else(|| "[]".to_owned(), |made| put(&made, &[("result", "([])")])));
        when = spec.when.filter(|when| !is_about_an_element(when));
    }
    drafts.push(Draft::made(
        TaskSpec {
            name: spec.name,
            priority: spec.priority,
            dependencies,
            transform,
            when,
            tags: spec.tags,
            metadata: spec.metadata,
            collect: !is_empty,
            within: spec.within,
            finally: spec.finally,
            ..TaskSpec::new(Body::Milestone)
        },
        at,
    ));
    drafts
}

fn element(call: &Draft, index: u64, item: &Value) -> Draft {
    let (place, item) = (index.to_string(), format!("({})", literal(item)));
    let names = [("item", item.as_str()), ("index", place.as_str())];
    let mut draft = call.clone();
    let spec = &mut draft.spec;
    spec.name = format!("{}[{index}]", spec.name);
    (spec.foreach, spec.transform) = (None, None);
    (spec.tags, spec.metadata) = (Default::default(), Map::new());
    spec.when = spec.when.as_deref().map(|when| put(when, &names));
    spec.parameters.values_mut().for_each(|value| fill(value, &names));
    draft
}

fn fill(value: &mut Value, names: &[(&str, &str)]) {
    match value {
        Value::String(text) if is_template(text) => {
            let mut filled = String::with_capacity(text.len());
            let mut from = 0;
            for part in parts(text) {
                filled.push_str(&text[from..part.start]);
                filled.push_str(&put(&text[part.clone()], names));
                from = part.end;
            }
            filled.push_str(&text[from..]);
            *text = filled;
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, names)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Code with literals in the place of names. A name that a loop of its own has stays what it is there.
fn put(code: &str, names: &[(&str, &str)]) -> String {
    let all: Vec<Token<'_>> = tokens(code).collect();
    let is_blank = |token: &Token<'_>| matches!(token, Token::Other(text) if text.trim().is_empty());
    let before = |at: usize| all[..at].iter().rev().find(|token| !is_blank(token));
    let after = |at: usize, nth: usize| all[at + 1..].iter().filter(|token| !is_blank(token)).nth(nth);
    let is_loop = |name: &str| {
        all.iter()
            .enumerate()
            .any(|(at, token)| *token == Token::Word(name) && before(at) == Some(&Token::Word("for")))
    };
    let equals = Some(&Token::Other("="));
    let put = |(at, token): (usize, &Token<'_>)| {
        let Token::Word(word) = token else { return token.text().to_owned() };
        let is_attribute = before(at) == Some(&Token::Other("."));
        let is_argument = after(at, 0) == equals && after(at, 1) != equals;
        let literal = names.iter().find(|(name, _)| name == word).filter(|_| !is_attribute && !is_argument);
        literal.filter(|(name, _)| !is_loop(name)).map_or(*word, |(_, literal)| literal).to_owned()
    };
    all.iter().enumerate().map(put).collect()
}

/// A value as code. Braces in texts would be taken for those of a template.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => {
            value.to_string().replace('{', "\\u007b").replace('}', "\\u007d").replace('%', "\\u0025")
        }
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                format!("{}: {}", literal(&Value::from(name.as_str())), literal(value))
            };
            format!("{{{} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_literals_where_they_are_names() {
        let names = [("item", "({\"a\": 1})"), ("index", "3")];
        for (code, made) in [
            ("item.a + index", "({\"a\": 1}).a + 3"),
            ("x.item ~ 'item' ~ f(item=item)", "x.item ~ 'item' ~ f(item=({\"a\": 1}))"),
            ("item == items", "({\"a\": 1}) == items"),
            ("for item in items", "for item in items"),
        ] {
            assert_eq!(put(code, &names), made);
        }
    }

    #[test]
    fn every_value_is_read_back_from_its_literal() {
        for value in [
            json!(null),
            json!([true, 1.5, -3, "a\"'\\\n{{ x }}{% y %}ä😀\u{1}"]),
            json!({"a b": {"c": []}, "{{": "}}"}),
            json!({}),
        ] {
            let mut text = Value::String("{{ item }}".to_owned());
            fill(&mut text, &[("item", &format!("({})", literal(&value)))]);
            let known = Known { values: &Map::new(), all: true };
            assert_eq!(known.value(&text), Some(value), "{text}");
        }
    }
}
