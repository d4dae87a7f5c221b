//! Renders the templates of a task: `{{ parameters.x }}` and `{{ tasks.NAME.output.y }}` in its strings, and
//! evaluates `when`. Pure: the daemon brings the inputs when the task is about to start.
//!
//! What one rendering may cost is bounded by its fuel and by the limit of a spec, but for values in the middle of an
//! expression: [`may_cost`](crate::may_cost) tells which may have large ones, so that they are evaluated where that harms nobody.

use minijinja::value::Serde;
use minijinja::{Error, ErrorKind, Value as Jinja};
use orchd_model::{Body, Code, Refusal, TaskSpec, limits, split_directory};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use crate::code::unfolded_template;
use crate::expression::explained;
use crate::jinja::{self, compile, is_template, sole_expression, to_json, words};
use crate::reference::references;

/// Whether any string of the spec may be a template: a cheap check before [`render`].
#[must_use]
pub fn uses_templates(spec: &TaskSpec) -> bool {
    fn in_value(value: &Value) -> bool {
        match value {
            Value::String(text) => is_template(text),
            Value::Array(items) => items.iter().any(in_value),
            Value::Object(fields) => fields.values().any(in_value),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    let in_body = match &spec.body {
        Body::Command { argv } => argv.iter().any(|a| is_template(a)),
        Body::Shell { line } => is_template(line),
        Body::Handler { .. } | Body::Milestone => false,
    };
    in_body
        || spec.env.values().chain(&spec.cwd).chain(&spec.stdin).any(|text| is_template(text))
        || spec.parameters.values().any(in_value)
}

/// The inputs of a task: those of its workflow with the task's own parameters put over them. This is what
/// `$ORCHD_INPUTS` holds; `own` are the parameters of the rendered spec.
#[must_use]
pub fn overlay(inputs: &Value, own: &Map<String, Value>) -> Value {
    let mut inputs = inputs.clone();
    if !inputs.is_object() {
        inputs = Value::Object(Map::new());
    }
    match &mut inputs["parameters"] {
        Value::Object(parameters) => parameters.extend(own.clone()),
        other => *other = Value::Object(own.clone()),
    }
    inputs
}

/// Renders the templates of a task of a workflow, just before it starts.
///
/// `inputs` is `{"parameters": {...}, "tasks": {NAME: {status, output, exit_code, attempts}}}` with the
/// parameters of the workflow. The task's own parameters are rendered with those first; the rest of the
/// spec then sees both, its own over the workflow's. A parameter string that is one `{{ expression }}` and
/// nothing else keeps the type of its value. `when` is left as it is.
///
/// # Errors
/// `malformed` with the name that is not defined, or what else is wrong; `too_large` when the result is.
pub fn render(spec: &TaskSpec, inputs: &Value) -> Result<TaskSpec, Refusal> {
    let mut spec = spec.clone();
    let mut room = limits::SPEC_BYTES;
    let mut pen = Pen { inputs: Cow::Borrowed(inputs), context: Jinja::from(Serde(inputs)), room: &mut room };
    for (name, value) in &mut spec.parameters {
        pen.value(value).map_err(|refusal| within(refusal, &format!("parameters.{name}")))?;
    }
    let inputs = overlay(inputs, &spec.parameters);
    let context = Jinja::from(Serde(&inputs));
    let mut pen = Pen { inputs: Cow::Owned(inputs), context, room: &mut room };
    match &mut spec.body {
        Body::Command { argv } => {
            for argument in argv {
                pen.text(argument).map_err(|refusal| within(refusal, "command"))?;
            }
        }
        Body::Shell { line } => pen.text(line).map_err(|refusal| within(refusal, "shell"))?,
        Body::Handler { .. } | Body::Milestone => {}
    }
    for (name, value) in spec.env.iter_mut() {
        pen.text(value).map_err(|refusal| within(refusal, &format!("env {name}")))?;
    }
    if let Some(cwd) = &mut spec.cwd {
        pen.directory(cwd).map_err(|refusal| within(refusal, "cwd"))?;
    }
    if let Some(stdin) = &mut spec.stdin {
        pen.text(stdin).map_err(|refusal| within(refusal, "stdin"))?;
    }
    spec.check()?;
    Ok(spec)
}

fn within(mut refusal: Refusal, field: &str) -> Refusal {
    refusal.message = format!("template in {field}: {}", refusal.message);
    refusal
}

/// What one rendering writes with.
struct Pen<'i, 'r> {
    inputs: Cow<'i, Value>,
    context: Jinja,
    /// Bytes that may still be written.
    room: &'r mut usize,
}

impl Pen<'_, '_> {
    fn value(&mut self, value: &mut Value) -> Result<(), Refusal> {
        match value {
            Value::String(text) if is_template(text) => {
                *value = match sole_expression(text) {
                    Some(expression) => self.expression(expression)?,
                    None => {
                        let mut text = std::mem::take(text);
                        self.text(&mut text)?;
                        Value::String(text)
                    }
                };
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.value(item))?,
            Value::Object(fields) => fields.values_mut().try_for_each(|field| self.value(field))?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }

    fn expression(&mut self, source: &str) -> Result<Value, Refusal> {
        let evaluated = jinja::expression(source).and_then(|e| e.eval(self.context.clone()));
        let value = evaluated.and_then(|value| to_json(&value)).map_err(|e| self.refusal(source, &e))?;
        let size = value.to_string().len();
        *self.room = self.room.checked_sub(size).ok_or_else(too_large)?;
        Ok(value)
    }

    fn text(&mut self, text: &mut String) -> Result<(), Refusal> {
        if !is_template(text) {
            return Ok(());
        }
        let mut out = Bounded { bytes: Vec::new(), room: *self.room };
        let rendered = compile(&unfolded_template(text))
            .and_then(|t| t.render_captured_to(self.context.clone(), &mut out).map(drop));
        match rendered {
            Ok(()) => {}
            Err(_) if out.room == 0 => return Err(too_large()),
            Err(error) => return Err(self.refusal(text, &error)),
        }
        *self.room = out.room;
        *text = String::from_utf8_lossy(&out.bytes).into_owned();
        Ok(())
    }

    /// A directory; one that is relative is taken from that of who submitted the task.
    fn directory(&mut self, cwd: &mut String) -> Result<(), Refusal> {
        let Some((around, own)) = split_directory(cwd) else { return self.text(cwd) };
        let mut own = own.to_owned();
        self.text(&mut own)?;
        *cwd = Path::new(around).join(own).to_string_lossy().into_owned();
        Ok(())
    }

    fn refusal(&self, source: &str, error: &Error) -> Refusal {
        let missing = match error.kind() {
            ErrorKind::UndefinedError => references(source).into_iter().find_map(|r| r.missing(&self.inputs)),
            _ => None,
        };
        let message = missing.unwrap_or_else(|| words(error));
        Refusal::new(Code::Malformed, message).value(source)
    }
}

fn too_large() -> Refusal {
    Refusal::new(Code::TooLarge, "the rendered task is larger than a task may be")
        .value(format!("more than {} bytes", limits::SPEC_BYTES))
        .hint("pass large values in a file")
}

/// Takes bytes until the room is used up; then the room is zero and every write fails.
struct Bounded {
    bytes: Vec<u8>,
    room: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.room.checked_sub(bytes.len()) else {
            self.room = 0;
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        self.room = left;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether `when` holds: the expression is true as Jinja counts it (not false, zero, empty or null).
///
/// `inputs` as for [`render`]; a task's own parameters may be put over the workflow's with [`overlay`].
///
/// # Errors
/// What is wrong, in words: the expression does not parse, or a name in it is not defined.
pub fn evaluate(when: &str, inputs: &Value) -> Result<bool, String> {
    let expression = jinja::expression(when).map_err(|error| words(&error))?;
    let value = expression.eval(Jinja::from(Serde(inputs)));
    let undefined = Error::from(ErrorKind::UndefinedError);
    match value {
        Ok(value) if !value.is_undefined() => Ok(value.is_true()),
        result => {
            let error = result.err().unwrap_or(undefined);
            Err(explained(&error, when, inputs))
        }
    }
}

/// Checks that a `when` parses.
///
/// # Errors
/// `malformed` with the expression.
pub fn check_expression(when: &str) -> Result<(), Refusal> {
    if is_template(when) {
        return Err(Refusal::new(Code::Malformed, "when is an expression, not a template")
            .field("when")
            .value(when)
            .hint("write it without {{ }}"));
    }
    match jinja::expression(when) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::new(Code::Malformed, format!("when does not parse: {}", words(&error)))
            .field("when")
            .value(when)
            .hint("write an expression such as tasks.NAME.output.rows > 10")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inputs() -> Value {
        json!({
            "parameters": {"rows": 10, "path": "/a b", "list": [1, "x"]},
            "tasks": {"fetch": {"status": "completed", "output": {"rows": 3, "none": null, "it's": "'"},
                                "exit_code": 0, "attempts": 1},
                      "a-b": {"status": "failed", "output": null, "exit_code": 2, "attempts": 1}},
        })
    }

    fn shell(line: &str) -> Result<String, Refusal> {
        match render(&TaskSpec::shell(line), &inputs())?.body {
            Body::Shell { line } => Ok(line),
            _ => unreachable!("a shell stays a shell"),
        }
    }

    #[test]
    fn text_is_pasted_and_the_rest_is_json() {
        for (template, text) in [
            ("echo {{ parameters.rows }}\n", "echo 10\n"),
            ("{{ parameters.list }}", "[1,\"x\"]"),
            ("{{ tasks.fetch.output.none }}", "null"),
            ("{{ parameters.path | quote }} {{ tasks.fetch.output[\"it's\"] | quote }}", r"'/a b' ''\'''"),
            ("{{ tasks[\"a-b\"].exit_code }}", "2"),
            ("{{ tasks.fetch.output.other | default('no') }}", "no"),
            ("{% for x in parameters.list %}<{{ x }}>{% endfor %}", "<1><x>"),
            ("${#array} {# {{ 1 }}", "${#array} {# 1"),
            ("{{ parameters.list | json }}", "[1,\"x\"]"),
            ("{{ parameters.rows / 4 }} {{ parameters.rows > 3 }}", "2.5 true"),
        ] {
            assert_eq!(shell(template).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn a_directory_is_taken_from_that_of_the_submitter_unless_it_comes_out_absolute() {
        for (cwd, directory) in [
            ("{{ parameters.path }}", "/a b"),
            ("{{ tasks.fetch.output[\"it's\"] }}/{{ parameters.rows }}", "/home/ada/'/10"),
            ("sub/{{ parameters.rows }}", "/home/ada/sub/10"),
            ("/data{{ parameters.path }}", "/data/a b"),
            ("{plain}", "/home/ada/{plain}"),
        ] {
            let mut spec = TaskSpec { cwd: Some(cwd.to_owned()), ..TaskSpec::shell("pwd") };
            spec.surround(&orchd_model::Env::default(), Some(Path::new("/home/ada")));
            assert_eq!(render(&spec, &inputs()).unwrap().cwd.as_deref(), Some(directory), "{cwd}");
        }
    }

    #[test]
    fn undefined_names_are_named() {
        for (template, name) in [
            ("{{ parameters.nope }}", "parameters.nope is not defined: parameters has no nope"),
            (
                "{{ tasks.fetch.output.a.b }}",
                "tasks.fetch.output.a.b is not defined: tasks.fetch.output has no a",
            ),
            ("{{ tasks['x'].output }}", "tasks.x is not defined"),
            ("{{ nope }}", "nope is not defined"),
        ] {
            let refusal = shell(template).unwrap_err();
            assert!(refusal.message.contains(name), "{template}: {refusal}");
        }
    }

    #[test]
    fn a_parameter_that_is_one_expression_keeps_its_type() {
        let own = json!({
            "rows": "{{ tasks.fetch.output.rows }}", "all": "{{parameters.list}}", "plain": 1,
            "text": "n={{ parameters.rows }}", "deep": [{"x": "{{ parameters.rows + 1 }}"}],
            "two": "{{ 1 }}{{ 2 }}", "path": "{{ parameters.path }}/c",
        });
        let mut spec = TaskSpec::handler("m", "a", own.as_object().unwrap().clone());
        spec.env.insert("P".into(), "{{ parameters.path }}".into());
        assert!(uses_templates(&spec));
        let spec = render(&spec, &inputs()).unwrap();
        let expected = json!({
            "rows": 3, "all": [1, "x"], "plain": 1, "text": "n=10", "deep": [{"x": 11}],
            "two": "12", "path": "/a b/c",
        });
        assert_eq!(Value::Object(spec.parameters), expected);
        assert_eq!(spec.env["P"], "/a b/c");
        assert!(!uses_templates(&TaskSpec::shell("echo {x} ${y}")));
    }

    #[test]
    fn conditions_are_evaluated() {
        for (when, holds) in [
            ("tasks.fetch.output.rows > 2", Ok(true)),
            ("tasks.fetch.output.rows > 3", Ok(false)),
            ("tasks['a-b'].status == 'failed' and parameters.rows == 10", Ok(true)),
            ("tasks.fetch.output.none", Ok(false)),
            ("tasks.fetch.output.x is defined", Ok(false)),
            ("tasks.fetch.output.x", Err("tasks.fetch.output.x is not defined")),
            ("tasks.fetch.output.x > 1", Err("tasks.fetch.output.x is not defined")),
            ("parameters.rows == ", Err("unexpected")),
        ] {
            let got = evaluate(when, &inputs());
            match (&got, holds) {
                (Ok(got), Ok(holds)) => assert_eq!(*got, holds, "{when}"),
                (Err(got), Err(wanted)) => assert!(got.contains(wanted), "{when}: {got}"),
                _ => panic!("{when}: {got:?}"),
            }
        }
        assert!(check_expression("a >").unwrap_err().message.contains("does not parse"));
        assert!(check_expression("{{ a }}").unwrap_err().hint.unwrap().contains("without {{ }}"));
        assert!(check_expression("tasks.a.output.rows > 10").is_ok());
    }

    #[test]
    fn hostile_templates_end_soon_and_small() {
        let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(shell(nested).unwrap_err().message.contains("too long"));
        let long = "{% for a in range(60) %}{{ 'x' * 60000 }}{% endfor %}";
        assert_eq!(shell(long).unwrap_err().code, Code::TooLarge);
        for refused in [
            "{% set x = 1 %}{{ x }}",
            "{% macro f() %}{% endmacro %}",
            "{{ 'x' | indent(1000000000) }}",
            "{{ 'x' * 10000000000 }}",
            "{{ open",
            "printf '{%s}'",
        ] {
            assert_eq!(
                shell(refused).map_err(|r| r.code),
                if is_template(refused) { Err(Code::Malformed) } else { Ok(refused.to_owned()) },
                "{refused}"
            );
        }
    }

    #[test]
    fn own_parameters_lie_over_those_of_the_workflow() {
        let own = json!({"rows": 1, "new": 2}).as_object().unwrap().clone();
        let inputs = overlay(&json!({"parameters": {"rows": 9, "x": 8}, "tasks": {}}), &own);
        assert_eq!(inputs, json!({"parameters": {"rows": 1, "new": 2, "x": 8}, "tasks": {}}));
        assert_eq!(overlay(&Value::Null, &own), json!({"parameters": own}));
    }
}
