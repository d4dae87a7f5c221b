//! The parameters of a workflow: plain values or declarations with a type, from the file; values given by who
//! runs it (`-P k=v`) take their place and are checked, all of them, before anything is submitted.
//!
//! A map with one of the keys `type`, `default`, `required` and `enum` is a declaration; every other value is
//! the default itself, and what is given instead must be of its kind. Values are never templates: nothing
//! that is given is looked at for `{{ }}`, so none can name another, or itself.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use crate::each::Known;
use crate::error::{Report, did_you_mean, shown};
use crate::field::{flag, map, text, unknown_key, wrong};
use crate::jinja::is_template;
use crate::node::{Content, Entry, Node, Position};

/// Keys of a declaration; the first four tell one from a plain map.
pub(crate) const KEYS: [&str; 5] = ["type", "default", "required", "enum", "description"];
const TELLING_KEYS: usize = 4;
/// Parameters of a workflow: what people write.
const PARAMETERS: usize = 10_000;

/// Values for parameters from outside of the file.
#[derive(Clone, Copy)]
pub(crate) struct Given<'g> {
    pub(crate) values: &'g BTreeMap<String, Value>,
    /// Whether every required parameter must be there: what is only looked at needs none.
    pub(crate) all: bool,
}

/// What kind of value a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Text,
    Integer,
    Number,
    Flag,
    List,
    Map,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Any, Self::Text, Self::Integer, Self::Number, Self::Flag, Self::List, Self::Map];

    /// The word for it in a declaration.
    fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Flag => "boolean",
            Self::List => "list",
            Self::Map => "map",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Text => "text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Flag => "true or false",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }

    /// What a plain value takes in its place.
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Any,
            Value::Bool(_) => Self::Flag,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(_) => Self::List,
            Value::Object(_) => Self::Map,
        }
    }

    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Text | Self::Number | Self::Flag | Self::List | Self::Map => Self::of(value) == self,
        }
    }

    /// A value from the command line: text is read as JSON where text is not what is wanted.
    fn read(self, given: &Value) -> Option<Value> {
        let value = match (self, given) {
            (Self::Text, _) => given.clone(),
            (_, Value::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| given.clone()),
            _ => given.clone(),
        };
        self.takes(&value).then_some(value)
    }
}

/// One parameter as the file has it.
struct Declaration {
    kind: Kind,
    /// A parameter without one that is not required is null.
    default: Option<Value>,
    required: bool,
    /// Invariant: not empty where it is given.
    choices: Option<Vec<Value>>,
    description: Option<String>,
    /// Whether null may stand in its place: a plain value has no say in that, and where null is the default it may.
    nullable: bool,
    at: Position,
}

/// The parameters of a workflow as the file has them.
#[derive(Default)]
pub(crate) struct Declarations(BTreeMap<String, Declaration>);

impl Declarations {
    /// Reads the key `parameters` of a workflow.
    pub(crate) fn read(node: &Node, report: &mut Report) -> Self {
        let mut entries = map(node, "parameters", report).unwrap_or_default();
        if let Some(first_too_many) = entries.get(PARAMETERS) {
            let words = format!("there are at most {PARAMETERS} parameters: {}", entries.len());
            report.add_hint(first_too_many.at, words, "one of them may be a list, or a map");
            entries = &entries[..0];
        }
        let declared =
            entries.iter().filter_map(|entry| Some((entry.key.to_string(), declaration(entry, report)?)));
        Self(declared.collect())
    }

    /// Their names.
    pub(crate) fn names(&self) -> HashSet<String> {
        self.0.keys().cloned().collect()
    }

    /// The values that the workflow runs with. Those that are missing are left out where that is no mistake.
    pub(crate) fn values(&self, given: Given<'_>, report: &mut Report) -> Map<String, Value> {
        for name in given.values.keys().filter(|name| !self.0.contains_key(*name)) {
            let known = self.0.keys().map(String::as_str);
            report.unknown(Position::default(), "the workflow has no such parameter", name, known);
        }
        let mut values = Map::new();
        for (name, declaration) in &self.0 {
            let value = match (given.values.get(name), &declaration.default) {
                (Some(value), _) => declaration.take(name, value, Position::default(), report),
                (None, Some(default)) => Some(default.clone()),
                (None, None) if !declaration.required => Some(Value::Null),
                (None, None) if given.all => {
                    declaration.miss(name, report);
                    None
                }
                (None, None) => None,
            };
            values.extend(value.map(|value| (name.clone(), value)));
        }
        values
    }
}

impl Declarations {
    /// Checks the values of a task that stands for a sub-workflow, but for those that are not known yet.
    pub(crate) fn check_call(&self, given: &Map<String, Value>, at: Position, report: &mut Report) {
        let nothing = Known { values: &Map::new(), all: true };
        drop(self.of_call(given, nothing, at, report));
    }

    /// What holds the values of a call against their types when they are there; none when they are known already.
    pub(crate) fn check_at_start(&self, given: &Map<String, Value>) -> Option<String> {
        let is_open = |name: &String| given.get(name).is_some_and(holds_template);
        let is_strict = |declared: &Declaration| declared.kind != Kind::Any || declared.choices.is_some();
        let open = self.0.iter().filter(|(name, declared)| is_open(name) && is_strict(declared));
        let open: BTreeMap<&String, Open<'_>> = open
            .map(|(name, declared)| {
                let choices = declared.choices.as_deref().map(Into::into);
                (name, Open { kind: declared.kind.word().into(), choices, nullable: declared.nullable })
            })
            .collect();
        if open.is_empty() {
            return None;
        }
        let open = serde_json::to_string(&open).unwrap_or_default();
        Some(format!("result | {AS_DECLARED}({})", Value::String(open)))
    }

    /// The values of a task that stands for a sub-workflow. Templates among them are left as they are: what they come to
    /// may only be known when the task starts.
    pub(crate) fn of_call(
        &self,
        given: &Map<String, Value>,
        known: Known<'_>,
        at: Position,
        report: &mut Report,
    ) -> Map<String, Value> {
        for name in given.keys().filter(|name| !self.0.contains_key(*name)) {
            let known = self.0.keys().map(String::as_str);
            report.unknown(at, "the sub-workflow has no such parameter", name, known);
        }
        let mut values = Map::new();
        for (name, declaration) in &self.0 {
            let value = match (given.get(name), &declaration.default) {
                (Some(value), _) if holds_template(value) => {
                    if let Some(known) = known.value(value) {
                        declaration.take(name, &known, at, report);
                    }
                    Some(value.clone())
                }
                (Some(value), _) => declaration.take(name, value, at, report),
                (None, Some(default)) => Some(default.clone()),
                (None, None) if !declaration.required => Some(Value::Null),
                (None, None) => {
                    let message = format!("a parameter of the sub-workflow without a value: {}", shown(name));
                    report.add_hint(at, message, "give it in the parameters of this task");
                    None
                }
            };
            values.extend(value.map(|value| (name.clone(), value)));
        }
        values
    }
}

/// What is declared of a parameter whose value is not known yet.
#[derive(Serialize, Deserialize)]
struct Open<'d> {
    #[serde(rename = "type")]
    kind: Cow<'d, str>,
    #[serde(rename = "enum", skip_serializing_if = "Option::is_none")]
    choices: Option<Cow<'d, [Value]>>,
    nullable: bool,
}

/// The filter that checks the parameters of a sub-workflow when it starts.
pub(crate) const AS_DECLARED: &str = "as_declared";

/// Whether the transform of a task holds the parameters of a sub-workflow against their types.
#[must_use]
pub fn checks_parameters(transform: &str) -> bool {
    transform.strip_prefix("result | ").is_some_and(|rest| rest.starts_with(AS_DECLARED))
}

/// The values, each as its declaration takes it.
///
/// # Errors
/// Every parameter that is wrong, with its value and what it must be.
pub(crate) fn as_declared(
    mut values: Map<String, Value>,
    declared: &str,
) -> Result<Map<String, Value>, String> {
    let declared: BTreeMap<String, Open<'_>> =
        serde_json::from_str(declared).map_err(|error| format!("not a declaration: {error}"))?;
    let mut mistakes = Report::new("");
    for (name, Open { kind, choices, nullable }) in declared {
        let kind = Kind::ALL.into_iter().find(|known| known.word() == kind).unwrap_or(Kind::Any);
        let choices = choices.map(Cow::into_owned);
        let declaration = Declaration {
            kind,
            default: None,
            required: true,
            choices,
            description: None,
            nullable,
            at: Position::default(),
        };
        let Some(value) = values.get_mut(&name) else { continue };
        if nullable && value.is_null() {
            continue;
        }
        if let Some(taken) = declaration.take(&name, value, Position::default(), &mut mistakes) {
            *value = taken;
        }
    }
    let mistakes = mistakes.into_errors();
    if mistakes.is_empty() {
        return Ok(values);
    }
    let words: Vec<String> = mistakes
        .into_iter()
        .map(|mistake| match mistake.hint {
            Some(hint) => format!("{} ({hint})", mistake.message),
            None => mistake.message,
        })
        .collect();
    Err(words.join("; "))
}

fn holds_template(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(items) => items.iter().any(holds_template),
        Value::Object(fields) => fields.values().any(holds_template),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Declaration {
    fn plain(entry: &Entry) -> Self {
        let default = entry.node.to_json();
        Self {
            kind: Kind::of(&default),
            default: Some(default),
            required: false,
            choices: None,
            description: None,
            nullable: true,
            at: entry.at,
        }
    }

    fn take(&self, name: &str, given: &Value, at: Position, report: &mut Report) -> Option<Value> {
        let value = match self.kind.read(given) {
            None if self.nullable && (given.is_null() || given == "null") => Some(Value::Null),
            value => value,
        };
        let Some(value) = value else {
            let written = match given {
                Value::String(text) => shown(text),
                _ => shown(&given.to_string()),
            };
            let message = format!("parameter {} must be {}: {written}", shown(name), self.kind.in_words());
            report.add_with(at, || (message, self.hint()));
            return None;
        };
        match &self.choices {
            Some(choices) if !(choices.contains(&value) || (self.nullable && value.is_null())) => {
                let message = format!(
                    "parameter {} is none of its choices: {}",
                    shown(name),
                    shown(&value.to_string())
                );
                report.add_hint(at, message, format!("one of {}", listed(choices)));
                None
            }
            _ => Some(value),
        }
    }

    fn hint(&self) -> Option<String> {
        let default =
            self.default.as_ref().map(|default| format!("its default is {}", shown(&default.to_string())));
        default.or_else(|| self.description.as_deref().map(shown))
    }

    fn miss(&self, name: &str, report: &mut Report) {
        report.add_with(self.at, || {
            let give = format!("give it with -P {}={}", shown(name), self.kind.word().to_uppercase());
            let hint = match &self.description {
                Some(description) => format!("{}; {give}", shown(description)),
                None => give,
            };
            (format!("a parameter without a value: {}", shown(name)), Some(hint))
        });
    }
}

fn listed(choices: &[Value]) -> String {
    let words: Vec<String> = choices.iter().map(|choice| shown(&choice.to_string())).collect();
    shown(&words.join(", "))
}

fn declaration(entry: &Entry, report: &mut Report) -> Option<Declaration> {
    refuse_templates(&entry.node, &entry.key, report);
    let Content::Map(keys) = &entry.node.content else { return Some(Declaration::plain(entry)) };
    if !keys.iter().any(|key| KEYS[..TELLING_KEYS].contains(&key.key.as_str())) {
        return Some(Declaration::plain(entry));
    }
    let before = report.count();
    let find =
        |name: &str| keys.iter().find(|key| key.key == name && !key.node.is_null()).map(|key| &key.node);
    for key in keys.iter().filter(|key| !KEYS.contains(&key.key.as_str())) {
        unknown_key(key, "a parameter's declaration", &KEYS, report);
        let hint = "write it as {type: map, default: {...}}";
        report.add_hint(entry.at, format!("if a plain map is meant: {}", shown(&entry.key)), hint);
    }
    let kind = find("type").map_or(Some(Kind::Any), |node| read_kind(node, report))?;
    let choices = find("enum").and_then(|node| read_choices(node, kind, report));
    // Whoever writes null means that it may be null, whatever it is else.
    let written = keys.iter().find(|key| key.key == "default").map(|key| &key.node);
    let nullable = written.is_some_and(Node::is_null);
    let default = match written {
        Some(_) if nullable => Some(Value::Null),
        _ => written.and_then(|node| read_default(node, kind, choices.as_deref(), report)),
    };
    let required = find("required").and_then(|node| flag(node, "required", report));
    if let (Some(true), Some(node)) = (required, written) {
        report.add_hint(node.at, "a required parameter has no default", "leave out one of the two");
    }
    let description = find("description").and_then(|node| text(node, "description", report));
    let required = required.unwrap_or(default.is_none());
    let declared = Declaration { kind, default, required, choices, description, nullable, at: entry.at };
    (report.count() == before).then_some(declared)
}

fn read_kind(node: &Node, report: &mut Report) -> Option<Kind> {
    let word = text(node, "type", report)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    if kind.is_none() {
        report.add_with(node.at, || {
            let words = Kind::ALL.map(Kind::word);
            let hint = did_you_mean(&word, words).unwrap_or_else(|| format!("one of {}", words.join(", ")));
            (format!("no such type of a parameter: {}", shown(&word)), Some(hint))
        });
    }
    kind
}

/// A value of the file where one of a kind is wanted: what is meant as text may look like a number.
fn read_value(node: &Node, kind: Kind, what: &str, report: &mut Report) -> Option<Value> {
    let value = match (kind, node.as_text()) {
        (Kind::Text, Some(text)) => Value::String(text.to_owned()),
        _ => node.to_json(),
    };
    if !kind.takes(&value) {
        wrong(node, what, kind.in_words(), report);
        return None;
    }
    Some(value)
}

fn read_choices(node: &Node, kind: Kind, report: &mut Report) -> Option<Vec<Value>> {
    let Content::List(items) = &node.content else {
        wrong(node, "enum", "a list of values", report);
        return None;
    };
    if items.is_empty() {
        report.add(node.at, "enum must name at least one value: []");
    }
    Some(items.iter().filter_map(|item| read_value(item, kind, "a value of enum", report)).collect())
}

fn read_default(node: &Node, kind: Kind, choices: Option<&[Value]>, report: &mut Report) -> Option<Value> {
    let value = read_value(node, kind, "default", report)?;
    if let Some(choices) = choices.filter(|choices| !choices.contains(&value)) {
        let message = format!("default is none of the choices: {}", shown(&value.to_string()));
        report.add_hint(node.at, message, format!("one of {}", listed(choices)));
    }
    Some(value)
}

/// A template would be pasted as it is, which nobody can mean.
fn refuse_templates(node: &Node, name: &str, report: &mut Report) {
    match &node.content {
        Content::Text(text) if is_template(&text.text) => report.add_hint(
            node.at,
            format!("a parameter of a workflow is a value and no template: {}", shown(name)),
            "templates are filled in within tasks; a task has parameters of its own for that",
        ),
        Content::List(items) => items.iter().for_each(|item| refuse_templates(item, name, report)),
        Content::Map(entries) => entries.iter().for_each(|entry| refuse_templates(&entry.node, name, report)),
        Content::Null | Content::Bool(_) | Content::Number(..) | Content::Text(_) | Content::Items(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The values, or everything that is wrong.
    fn values(parameters: &str, given: &[(&str, Value)], all: bool) -> Result<Value, Vec<String>> {
        let mut report = Report::new("f.yaml");
        let node = crate::yaml::read(parameters, &mut report).unwrap();
        let declarations = Declarations::read(&node, &mut report);
        let values: BTreeMap<String, Value> =
            given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let values = declarations.values(Given { values: &values, all }, &mut report);
        let errors: Vec<String> = report.into_errors().iter().map(ToString::to_string).collect();
        if errors.is_empty() { Ok(Value::Object(values)) } else { Err(errors) }
    }

    fn plain(name: &str, given: Value) -> Result<Value, Vec<String>> {
        let values = values("{rows: 10, path: ., any: null, on: true}", &[(name, given)], true)?;
        Ok(values[name].clone())
    }

    const DECLARED: &str = "
rows: { type: integer, default: 1000, description: how many }
region: { type: string, enum: [eu, us] }
ratio: { type: number, required: false }
tags: { type: list, default: [a] }
dry: { type: boolean, default: false }
options: { mode: fast }
version: { type: string, default: 1.10 }
";

    #[test]
    fn a_plain_value_is_replaced_by_one_of_its_kind() {
        assert_eq!(plain("rows", json!("50")), Ok(json!(50)));
        assert_eq!(plain("path", json!("50")), Ok(json!("50")));
        assert_eq!(plain("any", json!("text")), Ok(json!("text")));
        assert_eq!(plain("any", json!("[1]")), Ok(json!([1])));
        assert_eq!(plain("on", json!("false")), Ok(json!(false)));
        assert!(plain("rows", json!("many")).unwrap_err()[0].contains("must be a number: many"));
        assert!(plain("path", json!(5)).unwrap_err()[0].contains("must be text"));
    }

    #[test]
    fn an_unknown_value_names_the_nearest_parameter() {
        let errors = plain("row", json!(1)).unwrap_err();
        assert_eq!(errors, ["f.yaml: the workflow has no such parameter: row\n  hint: did you mean rows?"]);
    }

    #[test]
    fn declared_parameters_have_types_defaults_and_choices() {
        let given = [("region", json!("eu")), ("rows", json!("7")), ("tags", json!("[\"x\"]"))];
        let expected = json!({"rows": 7, "region": "eu", "ratio": null, "tags": ["x"], "dry": false,
                              "options": {"mode": "fast"}, "version": "1.10"});
        assert_eq!(values(DECLARED, &given, true), Ok(expected));
        let null = values("a: { type: any, default: null }\nb: { default: null }\n", &[], true);
        assert_eq!(null, Ok(json!({"a": null, "b": null})), "null is a value where any is one");
        let inspected = values(DECLARED, &[], false).unwrap();
        assert_eq!((inspected.get("region"), &inspected["rows"]), (None, &json!(1000)));
    }

    #[test]
    fn a_default_of_null_lets_a_value_of_any_type_be_left_out_or_be_null() {
        let file = "n: { type: integer, default: null }\nw: { type: string, enum: [a, b], default: null }";
        let text = |value: &str| Value::from(value);
        for (given, expected) in [
            (&[][..], json!({"n": null, "w": null})),
            (&[("n", text("3")), ("w", text("b"))], json!({"n": 3, "w": "b"})),
            (&[("n", text("null")), ("w", Value::Null)], json!({"n": null, "w": null})),
        ] {
            assert_eq!(values(file, given, true), Ok(expected));
        }
        assert!(values(file, &[("n", text("x"))], true).is_err());
        let both = values("n: { type: integer, default: null, required: true }", &[], false);
        assert!(both.unwrap_err()[0].contains("a required parameter has no default"));
    }

    #[test]
    fn every_wrong_value_is_told_at_once() {
        let given =
            [("rows", json!("1.5")), ("dry", json!("yes")), ("tags", json!("a,b")), ("nope", json!(1))];
        let errors = values(DECLARED, &given, true).unwrap_err();
        for (part, hint) in [
            ("parameter rows must be a whole number: 1.5", "its default is 1000"),
            ("parameter dry must be true or false: yes", "its default is false"),
            ("parameter tags must be a list: a,b", "its default is"),
            ("the workflow has no such parameter: nope", ""),
            ("f.yaml:3:1: a parameter without a value: region", "-P region=STRING"),
        ] {
            assert!(errors.iter().any(|e| e.contains(part) && e.contains(hint)), "{part}: {errors:#?}");
        }
        let errors = values(DECLARED, &[("region", json!("asia"))], true).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("none of its choices: \"asia\"") && errors[0].contains("\"eu\", \"us\""));
    }

    #[test]
    fn a_declaration_that_makes_no_sense_is_told_with_its_place() {
        for (text, part) in [
            (
                "a: { type: integr }",
                "f.yaml:1:12: no such type of a parameter: integr\n  hint: did you mean integer?",
            ),
            ("a: { type: integer, default: x }", "default must be a whole number, not text"),
            ("a: { type: string, default: c, enum: [a, b] }", "default is none of the choices: \"c\""),
            ("a: { type: string, required: true, default: x }", "a required parameter has no default"),
            ("a: { type: string, defualt: x }", "did you mean default?"),
            ("a: { default: 1, size: 2 }", "write it as {type: map, default: {...}}"),
            ("a: { enum: [] }", "enum must name at least one value"),
            ("a: [\"{{ parameters.a }}\"]", "a parameter of a workflow is a value and no template: a"),
        ] {
            let errors = values(text, &[], false).unwrap_err();
            assert!(errors.iter().any(|error| error.contains(part)), "{text}: {errors:#?}");
        }
    }
}
