//! What is wrong with the templates and expressions of a task that comes without a file: told when its workflow is
//! submitted, in the words of whoever sent it, and not when the task comes to start.

use orchd_model::{Body, Code, DependencyTarget, Env, Foreach, Refusal, TaskRange, TaskSpec};
use serde_json::{Map, Value};
use std::collections::HashSet;

use crate::calls::{calls, exists, known_calls};
use crate::code::parts;
use crate::error::did_you_mean;
use crate::jinja::{check_template, is_template};
use crate::names::Names;
use crate::reference::{expression_references, references};
use crate::scope::{Flaw, LITERAL, Scope, TASK_FACTS};

/// Checks the tasks of one workflow.
pub struct Submitted {
    /// The parameters of the workflow.
    parameters: HashSet<String>,
    /// Variables without a template, which the next task most likely has as well.
    plain: Env,
}

/// A text in a task: its field, and what is in it.
struct Place<'t> {
    field: String,
    text: &'t str,
    /// Whether it sees the task's own parameters.
    sees_own: bool,
}

impl Submitted {
    /// For the tasks of a workflow with these parameters.
    #[must_use]
    pub fn new(parameters: &Map<String, Value>) -> Self {
        Self { parameters: parameters.keys().cloned().collect(), plain: Env::default() }
    }

    /// Checks one of its tasks: that its templates can be read, that filters and tests exist, and names as far as they are
    /// known. Names within an `output` never are, nor those of tasks that it depends on by id, nor any of a task of a
    /// sub-workflow, which sees what that has. That its expressions can be read is taken to be known.
    ///
    /// # Errors
    /// `malformed` with the field, the template or the name in it, and a hint.
    pub fn check(&mut self, spec: &TaskSpec) -> Result<(), Refusal> {
        for place in self.templates(spec) {
            let Place { field, text, .. } = &place;
            if let Err((_, message)) = check_template(text) {
                let message = format!("template in {field} does not parse: {message}");
                return Err(Refusal::new(Code::Malformed, message).field(field).value(*text).hint(LITERAL));
            }
            for part in parts(text) {
                check_calls(field, &text[part])?;
            }
            self.check_names(spec, &place, references(text), &[])?;
        }
        let list = match &spec.foreach {
            Some(Foreach::Expression(list)) => Some(list),
            _ => None,
        };
        let expressions = [("when", &spec.when, &[][..]), ("transform", &spec.transform, &["result"])];
        let expressions =
            expressions.into_iter().filter_map(|(field, text, more)| Some((field, text.as_ref()?, more)));
        for (field, text, more) in expressions.chain(list.map(|list| ("foreach", list, &[][..]))) {
            check_calls(field, text)?;
            let place = Place { field: field.to_owned(), text, sees_own: true };
            self.check_names(spec, &place, expression_references(text), more)?;
        }
        Ok(())
    }

    /// Every text that is a template.
    fn templates<'t>(&mut self, spec: &'t TaskSpec) -> Vec<Place<'t>> {
        let mut found = Vec::new();
        let mut look = |field: &dyn Fn() -> String, text: &'t str| {
            if is_template(text) {
                found.push(Place { field: field(), text, sees_own: true });
            }
        };
        match &spec.body {
            Body::Command { argv } => {
                for (at, argument) in argv.iter().enumerate() {
                    look(&|| format!("command[{at}]"), argument);
                }
            }
            Body::Shell { line } => look(&|| "shell".to_owned(), line),
            Body::Handler { .. } | Body::Milestone => {}
        }
        spec.cwd.iter().for_each(|text| look(&|| "cwd".to_owned(), text));
        spec.stdin.iter().for_each(|text| look(&|| "stdin".to_owned(), text));
        if !spec.env.is_same(&self.plain) {
            let before = found.len();
            for (name, value) in spec.env.iter().filter(|(_, value)| is_template(value)) {
                found.push(Place { field: format!("env.{name}"), text: value, sees_own: true });
            }
            if found.len() == before {
                self.plain = spec.env.clone();
            }
        }
        for (name, value) in &spec.parameters {
            in_value(value, &mut |text| {
                found.push(Place { field: format!("parameters.{name}"), text, sees_own: false });
            });
        }
        found
    }

    fn check_names(
        &self,
        spec: &TaskSpec,
        place: &Place<'_>,
        names: impl IntoIterator<Item = crate::reference::Reference>,
        more: &[&str],
    ) -> Result<(), Refusal> {
        if spec.within.is_some() {
            return Ok(());
        }
        let beside = Names::default();
        let scope = Scope {
            task: &spec.name,
            own: &spec.parameters,
            parameters: &self.parameters,
            dependencies: &spec.dependencies,
            beside: &beside,
            // The list is there before its elements.
            element: (spec.foreach.is_some() || spec.array.is_some()) && place.field != "foreach",
            finally: spec.finally,
        };
        let Place { field, sees_own, .. } = place;
        for name in names {
            let refused = |what: &str, value: &str| {
                Refusal::new(Code::Malformed, format!("{what} in {field}")).field(field).value(value)
            };
            let hinted = |refusal: Refusal, known: &mut dyn Iterator<Item = &str>, else_hint: &str| {
                let near = did_you_mean(refusal.value.as_deref().unwrap_or_default(), known);
                refusal.hint(near.unwrap_or_else(|| else_hint.to_owned()))
            };
            return Err(match scope.flaw(&name, *sees_own) {
                None => continue,
                Some(Flaw::Root(root)) if more.contains(&root) => continue,
                Some(Flaw::Task(_)) if !is_known_by_name(spec) => continue,
                Some(Flaw::Parameter(name)) => {
                    let refusal = refused("unknown parameter", name);
                    hinted(
                        refusal,
                        &mut scope.known_parameters(*sees_own),
                        "add it to the parameters of the workflow",
                    )
                }
                Some(Flaw::Task(name)) => {
                    let refusal = refused("a task that is no direct dependency", name);
                    let add = "add it to the dependencies: only those give their results";
                    hinted(refusal, &mut scope.dependency_names(), add)
                }
                Some(Flaw::Fact(fact)) => {
                    let known = format!("known are {}", TASK_FACTS.join(", "));
                    hinted(refused("unknown fact of a task", fact), &mut TASK_FACTS.into_iter(), &known)
                }
                Some(Flaw::Root(root)) => {
                    let refusal = refused("unknown name", root);
                    let known = "known are parameters.NAME, tasks.NAME and tasks[\"a-b\"]";
                    hinted(refusal, &mut scope.roots(), known)
                }
            });
        }
        Ok(())
    }
}

/// Whether all that a task depends on is known by its name: an id has a name that is not known here.
fn is_known_by_name(spec: &TaskSpec) -> bool {
    spec.dependencies.iter().all(|dependency| match &dependency.task {
        DependencyTarget::Name(name) => name.parse::<TaskRange>().is_err(),
        DependencyTarget::Id(_) => false,
    })
}

fn in_value<'t>(value: &'t Value, look: &mut impl FnMut(&'t str)) {
    match value {
        Value::String(text) if is_template(text) => look(text),
        Value::Array(items) => items.iter().for_each(|item| in_value(item, look)),
        Value::Object(fields) => fields.values().for_each(|field| in_value(field, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Refuses filters and tests that do not exist.
fn check_calls(field: &str, code: &str) -> Result<(), Refusal> {
    match calls(code).find(|(word, name)| !exists(word, name)) {
        None => Ok(()),
        Some((word, name)) => {
            let refusal =
                Refusal::new(Code::Malformed, format!("no such {word} in {field}")).field(field).value(name);
            Err(match did_you_mean(name, known_calls(word)) {
                Some(near) => refusal.hint(near),
                None => refusal,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The field, the value and the hint of what is wrong with a task.
    fn wrong(task: Value) -> Option<(String, String, String)> {
        let spec: TaskSpec = serde_json::from_value(task).unwrap();
        let mut submitted = Submitted::new(json!({"rows": 1}).as_object().unwrap());
        let refusal = submitted.check(&spec).err()?;
        assert_eq!(refusal.code, Code::Malformed);
        Some((refusal.field.unwrap(), refusal.value.unwrap(), refusal.hint.unwrap()))
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field_its_value_and_a_hint() {
        for (task, field, value, hint) in [
            (json!({"shell": "echo {{ parameters.rows"}), "shell", "echo {{ parameters.rows", "a literal {{"),
            (
                json!({"command": ["echo", "{% set x = 1 %}"]}),
                "command[1]",
                "{% set x = 1 %}",
                "a literal {{",
            ),
            (
                json!({"shell": "x", "env": {"A": "{{ parameters.row }}"}}),
                "env.A",
                "row",
                "did you mean rows?",
            ),
            (json!({"shell": "{{ parameters.rows | uper }}"}), "shell", "uper", "did you mean upper?"),
            (
                json!({"module": "m", "parameters": {"p": ["{{ parameters.p }}"]}}),
                "parameters.p",
                "p",
                "add it to",
            ),
            (
                json!({"shell": "{{ tasks.fetc.output }}", "dependencies": ["fetch"]}),
                "shell",
                "fetc",
                "did you mean fetch?",
            ),
            (
                json!({"shell": "{{ tasks.a.ouput }}", "dependencies": ["a"]}),
                "shell",
                "ouput",
                "did you mean output?",
            ),
            (json!({"shell": "{{ item }}"}), "shell", "item", "known are"),
            (
                json!({"shell": "x", "when": "paramters.rows"}),
                "when",
                "paramters",
                "did you mean parameters?",
            ),
            (json!({"shell": "x", "transform": "result | sm"}), "transform", "sm", "did you mean sum?"),
            (json!({"shell": "x", "foreach": "parameters.list"}), "foreach", "list", "add it to"),
            (json!({"shell": "x", "foreach": "item.list"}), "foreach", "item", "known are"),
        ] {
            let (told_field, told_value, told_hint) = wrong(task.clone()).unwrap_or_else(|| panic!("{task}"));
            assert_eq!((&*told_field, &*told_value), (field, value), "{task}");
            assert!(told_hint.starts_with(hint), "{task}: {told_hint}");
        }
    }

    #[test]
    fn what_is_right_or_cannot_be_known_is_let_pass() {
        for task in [
            json!({"shell": "echo {{ parameters.rows }} {x} ${y}", "env": {"A": "b"}, "cwd": "/"}),
            json!({"shell": "{{ parameters.own }}", "parameters": {"own": "{{ parameters.rows }}"}}),
            json!({"shell": "{{ tasks['a-b'].output.x.y }}", "dependencies": ["a-b"]}),
            json!({"shell": "{{ tasks.fetch.output }}", "dependencies": [12]}),
            json!({"shell": "{{ tasks.fetch.output }}", "dependencies": ["12-14"]}),
            json!({"shell": "{{ item }} {{ index }}", "foreach": [1, 2], "when": "item > 1"}),
            json!({"shell": "{{ item }}", "array": "1-3"}),
            json!({"shell": "{{ workflow.status }}", "finally": true}),
            json!({"shell": "x", "transform": "result.rows | sum"}),
            json!({"shell": "{{ parameters.anything }}", "within": "eu"}),
        ] {
            assert_eq!(wrong(task.clone()), None, "{task}");
        }
    }
}
