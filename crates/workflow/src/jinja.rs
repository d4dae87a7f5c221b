//! The template language: Jinja as minijinja reads it, with undefined names an error, made safe to render in a
//! daemon for whoever wrote the file.
//!
//! Text is pasted as it is; everything else is written as JSON. `{{ value | quote }}` makes one word of
//! it for a shell. Comments are off, since `{#` is common in shell, and of the statements only `if`, `for`
//! and `raw` exist: the ones that could build text that doubles again and again do not.

use minijinja::value::{Serde, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Expression, Template, UndefinedBehavior, Value as Jinja,
    syntax::SyntaxConfig,
};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::LazyLock;

use crate::code::{AS_IT_IS, depth, parts, unfolded, unfolded_template};
use crate::error::shown;
use crate::parameters::{AS_DECLARED, as_declared};

/// Instructions of one rendering: a loop over some ten thousand values, some milliseconds.
const FUEL: u64 = 200_000;
/// The statements that templates may use.
const STATEMENTS: [&str; 8] = ["if", "elif", "else", "endif", "for", "endfor", "raw", "endraw"];
/// How deep an expression, or the statements of a template, may be nested at most: the compiler goes down them by
/// recursion, of brackets alone it knows an end, and a thread whose stack is used up ends the whole program.
const DEPTH: usize = 1000;
/// Filters whose arguments could ask for any amount of memory.
const REMOVED_FILTERS: [&str; 5] = ["indent", "format", "batch", "slice", "pprint"];

/// The one environment of all templates.
pub(crate) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let syntax =
        SyntaxConfig::builder().comment_delimiters("{{##", "##}}").keep_trailing_newline(true).build();
    environment.set_syntax(syntax.expect("the delimiters are different and not empty"));
    environment.set_formatter(|out, _, value| {
        out.write_str(&written(value)?).map_err(|_| Error::new(ErrorKind::WriteFailure, "too long"))
    });
    for name in REMOVED_FILTERS {
        environment.remove_filter(name);
    }
    environment.add_filter("quote", |value: Jinja| written(&value).map(|text| quoted(&text)));
    environment.add_filter(AS_IT_IS, |value: Jinja| value);
    environment.add_filter(AS_DECLARED, |values: Jinja, declared: String| match to_json(&values)? {
        Value::Object(values) => as_declared(values, &declared)
            .map(|values| Jinja::from(Serde(&values)))
            .map_err(|message| Error::new(ErrorKind::BadSerialization, message)),
        _ => Err(Error::new(ErrorKind::BadSerialization, "parameters must be a map")),
    });
    environment.add_filter("json", |value: Jinja| to_json(&value).map(|json| json.to_string()));
    environment
});

/// A value as JSON; one that is not defined is an error.
pub(crate) fn to_json(value: &Jinja) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, "not a JSON value").with_source(error))
}

/// A value as it is pasted into text.
fn written(value: &Jinja) -> Result<Cow<'_, str>, Error> {
    match value.as_str() {
        Some(text) if value.kind() == ValueKind::String => Ok(Cow::Borrowed(text)),
        _ => to_json(value).map(|json| Cow::Owned(json.to_string())),
    }
}

/// Text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Whether a text has to be rendered.
pub(crate) fn is_template(text: &str) -> bool {
    // Most texts have no brace at all, which is quickly known.
    text.contains('{') && (text.contains("{{") || text.contains("{%"))
}

/// Checks that a template parses and uses only statements that exist here; the error may know its line.
pub(crate) fn check_template(text: &str) -> Result<(), (Option<usize>, String)> {
    let text = unfolded_template(text);
    let compiled = compile(&text).map(drop);
    compiled.map_err(|error| (error.line(), words(&error)))
}

/// An expression that can be evaluated.
pub(crate) fn expression(source: &str) -> Result<Expression<'static, 'static>, Error> {
    check_depth(source)?;
    ENVIRONMENT.compile_expression_owned(unfolded(source).into_owned())
}

/// Refuses an expression that may be too deep.
fn check_depth(expression: &str) -> Result<(), Error> {
    // Usually there is not even room for so many.
    let depth = if expression.len() > DEPTH { depth(expression) } else { 0 };
    if depth > DEPTH {
        let message = format!("an expression has at most {DEPTH} operators: {depth}");
        return Err(Error::new(ErrorKind::SyntaxError, message));
    }
    Ok(())
}

/// A template that can be rendered, [unfolded](unfolded_template).
pub(crate) fn compile(text: &str) -> Result<Template<'_, '_>, Error> {
    let is_allowed = |word: &str| STATEMENTS.contains(&word);
    let statements = text.matches("{%").count();
    if statements > DEPTH {
        let message = format!("a template has at most {DEPTH} statements: {statements}");
        return Err(Error::new(ErrorKind::SyntaxError, message));
    }
    if text.len() > DEPTH {
        parts(text).into_iter().try_for_each(|part| check_depth(&text[part]))?;
    }
    for (index, _) in text.match_indices("{%") {
        let rest = text[index + 2..].trim_start_matches(['-', '+']).trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if !is_allowed(&rest[..end]) {
            let message = format!("no such template statement: {{% {}", shown(&rest[..end]));
            return Err(Error::new(ErrorKind::SyntaxError, message));
        }
    }
    ENVIRONMENT.template_from_str(text)
}

/// The inside of a text that is one `{{ expression }}` and nothing else.
pub(crate) fn sole_expression(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    let inside = inside.strip_suffix(['-', '+']).unwrap_or(inside);
    expression(inside).is_ok().then_some(inside)
}

/// A template error in our words, without the place that the caller adds.
pub(crate) fn words(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "the template takes too long".to_owned(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    }
}
