//! The layers of a configuration: flags, environment, file. Each value is looked up in this order, and noted
//! with its source; everything that is wrong is gathered.

use orchd_model::{Amount, Matcher, Refusal, Span, nearest};
use orchd_workflow::{Configured, Document, FileError, configured, read_document};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::key::{OTHER_VARIABLES, VARIABLES, known, variable, words_below};
use super::source::{Setting, Source};

/// A value that `check-config` can print.
pub trait Shown {
    /// The value as it would be written in a file.
    fn shown(&self) -> Value;
}

macro_rules! shown {
    ($($kind:ty: |$value:ident| $written:expr;)*) => {
        $(impl Shown for $kind {
            fn shown(&self) -> Value {
                let $value = self;
                $written
            }
        })*
    };
}

shown! {
    u32: |v| (*v).into();
    u64: |v| (*v).into();
    f64: |v| (*v).into();
    bool: |v| (*v).into();
    String: |v| v.as_str().into();
    Span: |v| v.to_string().into();
    Amount: |v| if v.as_thousandths().is_multiple_of(1000) { (v.as_thousandths() / 1000).into() } else { v.as_f64().into() };
    PathBuf: |v| v.display().to_string().into();
    Vec<String>: |v| v.clone().into();
    Vec<Matcher>: |v| v.iter().map(ToString::to_string).collect::<Vec<_>>().into();
}

/// Something that is wrong.
pub struct Mistake {
    /// Line and column of the file, from 1; none where it is not at one place of that.
    place: Option<(u32, u32)>,
    /// With the place.
    text: String,
}

impl From<String> for Mistake {
    fn from(text: String) -> Self {
        Self { place: None, text }
    }
}

/// Flags, environment and file, and what has been found in them.
pub struct Layers {
    path: Option<PathBuf>,
    document: Option<Document>,
    /// The workflows that stand in the file.
    pub workflows: Vec<Configured>,
    /// The file's name, with an ending that tells the format, and what is in it.
    pub text: Option<(String, Arc<str>)>,
    environment: BTreeMap<String, String>,
    /// Every value that was looked up.
    pub settings: Vec<Setting>,
    /// Everything that is wrong.
    pub errors: Vec<Mistake>,
    /// What is odd, but no mistake.
    pub warnings: Vec<String>,
}

impl Layers {
    /// Reads the file, if there is one. An empty variable counts as not given.
    pub fn read(path: Option<PathBuf>, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let environment = environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let mut layers = Self {
            path,
            document: None,
            workflows: Vec::new(),
            text: None,
            environment,
            settings: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        if let Some(path) = layers.path.clone() {
            match read_file(&path) {
                Ok(Some(Read { document, workflows, format, text })) => {
                    layers.document = Some(document);
                    layers.text = Some((format, text));
                    match workflows {
                        Ok(workflows) => layers.workflows = workflows,
                        Err(errors) => layers.errors.extend(errors),
                    }
                }
                Ok(None) => {}
                Err(errors) => layers.errors.extend(errors),
            }
        }
        layers.check_keys();
        layers.check_variables();
        layers
    }

    /// The value of a key; no flag means it.
    pub fn value<T: DeserializeOwned + Shown>(&mut self, key: &'static str, default: T) -> T {
        self.flagged(key, None, default, Source::Default)
    }

    /// The value of a key that a flag can give and that comes from somewhere if nobody gives it.
    pub fn flagged<T: DeserializeOwned + Shown>(
        &mut self,
        key: &'static str,
        flag: Option<(&'static str, T)>,
        default: T,
        otherwise: Source,
    ) -> T {
        let flag = flag.map(|(flag, value)| (value, Source::Flag(flag)));
        let (value, source) = flag.or_else(|| self.find(key)).unwrap_or((default, otherwise));
        self.note(key, value.shown(), source);
        value
    }

    /// The value of a key that may be left open.
    pub fn optional<T: DeserializeOwned + Shown>(&mut self, key: &'static str) -> Option<T> {
        self.optional_or(key, "nothing")
    }

    /// The same, for a key that stands for orchd's own default while it is open.
    pub fn optional_or<T: DeserializeOwned + Shown>(
        &mut self,
        key: &'static str,
        default: impl Into<Value>,
    ) -> Option<T> {
        match self.find::<T>(key) {
            Some((value, source)) => {
                self.note(key, value.shown(), source);
                Some(value)
            }
            None => {
                let default = default.into();
                let open = default == "nothing";
                self.note(key, if open { Value::Null } else { default }, Source::Default);
                None
            }
        }
    }

    /// The values of two keys that are two words for one thing, each with what it stands for while it is open: a
    /// variable with one word wins over the other word in the file.
    pub fn two_words<T: DeserializeOwned + Shown>(
        &mut self,
        words: [(&'static str, Value); 2],
    ) -> [Option<T>; 2] {
        let found = words.each_ref().map(|(key, _)| self.find::<T>(key));
        let is_variable = found.each_ref().map(|one| matches!(one, Some((_, Source::Variable(_)))));
        let wins_over_all = is_variable[0] != is_variable[1];
        let mut values =
            found.into_iter().zip(is_variable).zip(words).map(|((found, is_variable), (key, open))| {
                let given = found.filter(|_| is_variable || !wins_over_all);
                let (value, source) =
                    given.map_or((None, Source::Default), |(value, source)| (Some(value), source));
                self.note(key, value.as_ref().map_or(open, Shown::shown), source);
                value
            });
        std::array::from_fn(|_| values.next().flatten())
    }

    /// Notes a value that was found some other way.
    pub fn note(&mut self, key: &str, value: Value, source: Source) {
        self.settings.push(Setting { key: key.to_owned(), value, source });
    }

    /// Looks a key up in the environment and the file.
    pub fn find<T: DeserializeOwned>(&mut self, key: &str) -> Option<(T, Source)> {
        let own = variable(key);
        let others = VARIABLES.iter().filter(|(_, means)| *means == key).map(|(name, _)| (*name).to_owned());
        for name in std::iter::once(own).chain(others) {
            let Some(text) = self.environment.get(&name) else { continue };
            match from_text(text) {
                Ok(value) => return Some((value, Source::Variable(name))),
                Err(problem) => {
                    self.errors.push(unreadable(&name, &problem, text).into());
                    return None;
                }
            }
        }
        let path: Vec<&str> = key.split('.').collect();
        self.find_in_file(&path)
    }

    /// A variable that is no key of ours.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    /// Looks a path of keys up in the file.
    pub fn find_in_file<T: DeserializeOwned>(&mut self, path: &[&str]) -> Option<(T, Source)> {
        let value = path.iter().try_fold(&self.document.as_ref()?.value, |value, key| value.get(key))?;
        match serde_json::from_value(value.clone()) {
            Ok(value) => Some((value, self.source(path))),
            Err(error) => {
                let given = if value.is_object() { String::new() } else { value.to_string() };
                self.wrong(path, &unreadable(&path.join("."), &error.to_string(), &given));
                None
            }
        }
    }

    /// Whether anybody gave a value that was looked up.
    pub fn is_given(&self, key: &str) -> bool {
        let found = self.settings.iter().find(|setting| setting.key == key);
        found.is_some_and(|setting| setting.source != Source::Default)
    }

    /// The name of the file.
    pub fn path(&self) -> Option<String> {
        self.path.as_ref().map(|path| path.display().to_string())
    }

    /// The map at a path of keys in the file; empty when there is none.
    pub fn table(&self, path: &[&str]) -> Map<String, Value> {
        let document = self.document.as_ref().map(|document| &document.value);
        let found = document.and_then(|value| path.iter().try_fold(value, |value, key| value.get(key)));
        found.and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// Where a path of keys stands in the file.
    pub fn source(&self, path: &[&str]) -> Source {
        let place = self.document.as_ref().and_then(|document| document.place(path));
        Source::File { path: self.path.clone().unwrap_or_default(), line: place.map(|(line, _)| line) }
    }

    /// Notes a mistake at a path of keys in the file.
    pub fn wrong(&mut self, path: &[&str], message: &str) {
        let file = self.path().unwrap_or_default();
        let place = self.document.as_ref().and_then(|document| document.place(path));
        let shown = place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        self.errors.push(Mistake { place, text: format!("{file}{shown}: {message}") });
    }

    /// Notes what is refused at a path of keys in the file.
    pub fn refused(&mut self, path: &[&str], refusal: &Refusal) {
        self.wrong(path, &refusal.to_string().replace("\nhint: ", "\n  hint: "));
    }

    /// Whether a mistake has this word in it.
    pub fn has_told_of(&self, word: &str) -> bool {
        self.errors.iter().any(|mistake| mistake.text.contains(word))
    }

    /// Everything that is wrong, in the order of the file; what does not stand there comes last.
    pub fn mistakes(&mut self) -> Vec<String> {
        let mut mistakes = std::mem::take(&mut self.errors);
        mistakes.sort_by_key(|mistake| (mistake.place.is_none(), mistake.place));
        mistakes.into_iter().map(|mistake| mistake.text).collect()
    }

    /// Notes a mistake in the value of a key, wherever that came from.
    pub fn wrong_value(&mut self, key: &str, message: &str) {
        match self.settings.iter().rev().find(|setting| setting.key == key).map(|s| s.source.clone()) {
            Some(Source::File { .. }) => self.wrong(&key.split('.').collect::<Vec<_>>(), message),
            Some(source) => self.errors.push(format!("{source}: {message}").into()),
            None => self.errors.push(message.to_owned().into()),
        }
    }

    fn check_keys(&mut self) {
        let Some(document) = &self.document else { return };
        let Value::Object(sections) = document.value.clone() else {
            return self.wrong(&[], "a configuration is a table of sections");
        };
        let mut path = Vec::new();
        self.check_table(&sections, &mut path);
    }

    fn check_table<'v>(&mut self, table: &'v Map<String, Value>, path: &mut Vec<&'v str>) {
        for (key, value) in table {
            path.push(key);
            if is_workflow(path, value) || is_short_handler(path, value) {
                // Checked as what it is.
                path.pop();
                continue;
            }
            let is_table = takes_a_table(path);
            match value {
                Value::Object(inner) if is_table => self.check_table(inner, path),
                _ if is_table => {
                    // One of the keys beside which names of tables stand may be meant.
                    let beside = words_below(&path[..path.len() - 1]);
                    let near = nearest(key, beside.iter().copied());
                    let hint = near.map(|near| format!("\n  hint: did you mean {near}?")).unwrap_or_default();
                    self.wrong(path, &format!("{} must be a table{hint}", path.join(".")));
                }
                _ if known(path).is_some() => {}
                _ => {
                    let words = words_below(&path[..path.len() - 1]);
                    let hint = match nearest(key, words.iter().copied()) {
                        Some(near) => format!("did you mean {near}?"),
                        None => format!("one of {}", words.join(", ")),
                    };
                    self.wrong(path, &format!("unknown key: {}\n  hint: {hint}", path.join(".")));
                }
            }
            path.pop();
        }
    }

    fn check_variables(&mut self) {
        let names: Vec<String> = super::key::KEYS.iter().map(|key| variable(key.name)).collect();
        let others = VARIABLES.iter().map(|(name, _)| *name).chain(OTHER_VARIABLES);
        let known: Vec<&str> = names.iter().map(String::as_str).chain(others).collect();
        for name in self.environment.keys().filter(|name| name.starts_with("ORCHD_")) {
            if !known.contains(&name.as_str()) {
                let hint = nearest(name, known.iter().copied()).map(|near| format!("; did you mean {near}?"));
                self.warnings.push(format!(
                    "a variable that means nothing to orchd: {name}{}",
                    hint.unwrap_or_default()
                ));
            }
        }
    }
}

/// Whether a table may stand here: something is known below it.
fn takes_a_table(path: &[&str]) -> bool {
    let below = super::key::KEYS.iter().any(|key| {
        let parts: Vec<&str> = key.name.split('.').collect();
        parts.len() > path.len() && parts.iter().zip(path).all(|(part, key)| *part == "*" || part == key)
    });
    below && known(path).is_none()
}

/// Whether this is a workflow within the configuration: `workflow.NAME` with its steps, or `dag.tasks`.
fn is_workflow(path: &[&str], value: &Value) -> bool {
    match path {
        ["workflow", name] => *name != "manager" && (value.get("steps").or(value.get("tasks"))).is_some(),
        ["dag", "tasks"] => value.is_array(),
        _ => false,
    }
}

/// Whether this is a handler's command without the word for it.
fn is_short_handler(path: &[&str], value: &Value) -> bool {
    matches!(path, ["handlers", _]) && value.is_array()
}

/// What is wrong with a value, with the value before what would help; most errors name it themselves.
fn unreadable(name: &str, error: &str, given: &str) -> String {
    let text = orchd_model::of_field(name, error);
    let (what, hint) = match text.split_once("\nhint: ") {
        Some((what, hint)) => (what, format!("\n  hint: {hint}")),
        None => (text.as_str(), String::new()),
    };
    let is_named = given.is_empty() || what.contains(given.trim_matches('"'));
    let value = if is_named { String::new() } else { format!(": {given}") };
    format!("{what}{value}{hint}")
}

/// Reads a value from text: as it is, as a number or truth value, or as a list with commas.
fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let as_text = serde_json::from_value(Value::from(text));
    let error = match as_text {
        Ok(value) => return Ok(value),
        Err(error) => error.to_string(),
    };
    let plain = serde_json::from_str(text).or_else(|_| serde_json::from_str(&text.to_ascii_lowercase()));
    if let Ok(value) = plain {
        return Ok(value);
    }
    let items: Vec<&str> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    serde_json::from_value(Value::from(items)).map_err(|_| error)
}

/// What stands in the file: its keys, and the workflows among them or what is wrong with these.
struct Read {
    document: Document,
    workflows: Result<Vec<Configured>, Vec<Mistake>>,
    format: String,
    text: Arc<str>,
}

fn read_file(path: &Path) -> Result<Option<Read>, Vec<Mistake>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{name}: {error}").into()])?;
    let is_toml =
        !["json", "yaml", "yml"].iter().any(|ending| path.extension().is_some_and(|e| e == *ending));
    // A file without one of our endings is TOML; an empty one says nothing, in any format.
    if text.trim().is_empty() {
        return Ok(None);
    }
    let is_named_so = path.extension().is_some_and(|ending| ending == "toml");
    let format = if is_toml && !is_named_so { format!("{name}.toml") } else { name.clone() };
    let told = |errors: Vec<FileError>| -> Vec<Mistake> {
        let renamed = errors.into_iter().map(|error| FileError { file: name.clone(), ..error });
        renamed
            .map(|error| Mistake { place: error.line.zip(error.column), text: error.to_string() })
            .collect()
    };
    let document = read_document(&format, &text).map_err(told)?;
    let workflows = configured(&format, &text).map_err(told);
    Ok(Some(Read { document, workflows, format, text: text.into() }))
}
