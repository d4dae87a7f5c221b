//! A workflow file on the command line, and the parameters given with it.

use clap::Args;
use orchd_model::{Span, WorkflowSpec};
use orchd_workflow::{FileError, Format, Layout, Loaded, Wanted};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Failure;

/// A configuration layout that is looked at twice: what people write, not what programs make.
const LAYOUT_BYTES: u64 = 4 << 20;

/// A workflow file and values for its parameters.
#[derive(Clone, Debug, Args)]
pub struct WorkflowFile {
    /// The workflow file, YAML, JSON or TOML; - for standard input
    pub file: PathBuf,
    /// Value of a parameter; may be given again
    #[arg(short = 'P', long = "parameter", value_name = "K=V", value_parser = assignment)]
    pub parameters: Vec<(String, String)>,
    /// The workflow that is meant, of a file with several
    #[arg(long, value_name = "NAME")]
    pub workflow: Option<String>,
    /// The command line says how many slots there are: what the environment and the file say of them does not hold
    #[arg(skip)]
    pub slots_given: bool,
}

pub(crate) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Names with their values, each of them once: half of what was meant would be lost.
pub(crate) fn once(pairs: impl Iterator<Item = (String, Value)>) -> Result<Map<String, Value>, Failure> {
    let mut all = Map::new();
    for (name, value) in pairs {
        if all.contains_key(&name) {
            let name = crate::text::plain(&name);
            return Err(Failure::Usage(format!("given twice: {name}\nhint: each name has one value")));
        }
        all.insert(name, value);
    }
    Ok(all)
}

/// What the environment says takes the place of what the file says for all of its workflows.
fn surroundings(layout: &mut Layout, variable: impl Fn(&str) -> Option<String>) -> Result<(), Failure> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let wrong = |name: &str, value: &str, wanted: &str| {
        Failure::Usage(format!("${name} must be {wanted}: {}", crate::text::plain(value)))
    };
    if let Some(value) = given("MAX_PARALLEL_TASKS") {
        let slots = value.parse().ok().filter(|slots| *slots > 0);
        layout.slots =
            Some(slots.ok_or_else(|| wrong("MAX_PARALLEL_TASKS", &value, "a whole number from 1"))?);
    }
    if let Some(value) = given("WORKFLOW_TIMEOUT") {
        let timeout = value.parse().ok().filter(|timeout| *timeout > Span::ZERO);
        layout.timeout = Some(timeout.ok_or_else(|| wrong("WORKFLOW_TIMEOUT", &value, "a duration"))?);
    }
    Ok(())
}

impl WorkflowFile {
    /// The workflows of the file to look at, or everything that is wrong with it. Parameters that are required
    /// to run them may be missing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> Result<Result<Loaded, Vec<FileError>>, Failure> {
        self.read_for(false)
    }

    fn read_for(&self, runs: bool) -> Result<Result<Loaded, Vec<FileError>>, Failure> {
        let file = self.file.display().to_string();
        if let Some(refused) = self.size().and_then(|bytes| Format::of(&file).refuse(&file, bytes)) {
            return Ok(Err(vec![refused]));
        }
        let (name, text) = self.source()?;
        let overrides = self.overrides()?;
        let wanted = Wanted { workflow: self.workflow.as_deref(), parameters: &overrides, runs };
        let mut loaded = match orchd_workflow::load_all(&name, &text, wanted) {
            Ok(loaded) => loaded,
            Err(errors) => return Ok(Err(errors)),
        };
        surroundings(&mut loaded.layout, |name| std::env::var(name).ok())?;
        loaded.layout.slots = loaded.layout.slots.filter(|_| !self.slots_given);
        for workflow in &mut loaded.workflows {
            loaded.layout.fill(&mut workflow.spec);
        }
        Ok(Ok(loaded))
    }

    /// Whether it is in a configuration layout; a file that cannot be read, or only once, is in none.
    #[must_use]
    pub fn is_layout(&self) -> bool {
        self.size().is_some_and(|bytes| bytes <= LAYOUT_BYTES)
            && self.source().is_ok_and(|(name, text)| orchd_workflow::is_layout(&name, &text))
    }

    /// The values that were given for parameters.
    ///
    /// # Errors
    /// A usage failure when one is given twice.
    pub fn overrides(&self) -> Result<BTreeMap<String, Value>, Failure> {
        let pairs = self.parameters.iter();
        Ok(once(pairs.map(|(name, value)| (name.clone(), Value::String(value.clone()))))?
            .into_iter()
            .collect())
    }

    /// The workflow to run.
    ///
    /// # Errors
    /// A usage failure with everything that is wrong, or when there are several and none is chosen.
    pub fn load(&self) -> Result<WorkflowSpec, Failure> {
        let file = self.file.display();
        let mut loaded = self.read_for(true)?.map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::Usage(format!("invalid workflow file: {file}\n{}", errors.join("\n")))
        })?;
        if loaded.workflows.len() > 1 {
            let names: Vec<&str> = loaded.workflows.iter().map(|found| found.spec.name.as_str()).collect();
            let names = crate::text::plain(&names.join(", "));
            return Err(Failure::Usage(format!(
                "several workflows in {file}: {names}\nhint: choose one with --workflow NAME"
            )));
        }
        let only = loaded.workflows.pop().map(|only| only.spec);
        only.ok_or_else(|| Failure::Usage(format!("no workflow in {file}")))
    }

    /// How large it is, if that is known before it is read.
    fn size(&self) -> Option<u64> {
        let found = std::fs::metadata(&self.file).ok().filter(std::fs::Metadata::is_file)?;
        (!self.is_standard_input()).then_some(found.len())
    }

    /// A name whose ending tells the format, and its text; of one that is too large so much that this is known.
    pub(crate) fn source(&self) -> Result<(String, String), Failure> {
        let unreadable = |error: &std::io::Error| Failure::unreadable(&self.file, error);
        let (name, bytes) = if self.is_standard_input() {
            piped(&mut std::io::stdin().lock()).map_err(|error| unreadable(&error))?
        } else {
            let (name, mut bytes) = (self.file.display().to_string(), Vec::new());
            let limit = Format::of(&name).limit();
            let read = std::fs::File::open(&self.file).and_then(|file| read_on(file, limit, &mut bytes));
            read.map_err(|error| unreadable(&error))?;
            (name, bytes)
        };
        let text = String::from_utf8(bytes);
        let text = text
            .map_err(|_| Failure::Usage(format!("cannot read {}: it is not UTF-8", self.file.display())))?;
        Ok((name, text))
    }

    fn is_standard_input(&self) -> bool {
        self.file == Path::new("-")
    }
}

/// Reads on until there are so many bytes, and one more.
fn read_on(from: impl Read, limit: usize, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let more = (limit + 1).saturating_sub(bytes.len());
    from.take(more as u64).read_to_end(bytes).map(drop)
}

/// What comes without a name is JSON if it can be read as JSON, or begins as JSON and is too large for anything else.
fn piped(input: &mut impl Read) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    read_on(&mut *input, Format::Yaml.limit(), &mut bytes)?;
    let is_json = if bytes.len() <= Format::Yaml.limit() {
        serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok()
    } else if bytes.trim_ascii_start().starts_with(b"{") {
        read_on(input, Format::Json.limit(), &mut bytes)?;
        true
    } else {
        false
    };
    let name = match is_json {
        true => "stdin.json",
        false if begins_as_toml(&bytes) => "stdin.toml",
        false => "stdin.yaml",
    };
    Ok((name.to_owned(), bytes))
}

/// Whether the first line that says something is a table or a value of TOML, which no workflow in YAML begins with.
fn begins_as_toml(bytes: &[u8]) -> bool {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let Some(line) = lines.into_iter().find(|line| !line.is_empty() && !line.starts_with(b"#")) else {
        return false;
    };
    let is_table = line.starts_with(b"[[") || (line.starts_with(b"[") && line.ends_with(b"]"));
    let names = line.iter().position(|byte| *byte == b'=').map_or(&line[..0], |place| &line[..place]);
    (is_table && !line.contains(&b','))
        || (!names.is_empty() && !names.contains(&b':') && !names.contains(&b'{'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exit;

    #[test]
    fn a_file_that_cannot_be_run_is_a_usage_failure() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            WorkflowFile { file: path, parameters: Vec::new(), workflow: None, slots_given: false }
        };
        let good = file("good.yaml", b"name: w\nparameters: {n: 1}\ntasks:\n  - {name: a, shell: 'true'}\n");
        assert_eq!(good.load().unwrap().name, "w");
        let given = WorkflowFile { parameters: vec![("n".into(), "7".into())], ..good };
        assert_eq!(given.load().unwrap().parameters["n"], 7);
        let needs =
            file("needs.yaml", b"parameters: {n: {type: integer}}\ntasks:\n  - {name: a, shell: 'true'}\n");
        assert!(needs.read().unwrap().is_ok(), "nothing is needed for a look");
        assert!(needs.load().unwrap_err().to_string().contains("a parameter without a value: n"));
        let bad = file("bad.yaml", b"name: w\ntasks:\n  - {name: a, shel: 'true'}\n");
        let failure = bad.load().unwrap_err();
        assert_eq!(failure.exit(), Exit::USAGE);
        assert!(failure.to_string().contains("bad.yaml:3"), "{failure}");
        assert_eq!(file("latin.yaml", b"name: \xe9").load().unwrap_err().exit(), Exit::USAGE);
        let missing = file("none", b"");
        std::fs::remove_file(&missing.file).unwrap();
        assert_eq!(missing.load().unwrap_err().exit(), Exit::USAGE);
        let text = b"workflow:\n  a: {steps: [{name: x}]}\n  b: {steps: [{name: y}]}\n";
        let several = file("several.yaml", text);
        let failure = several.load().unwrap_err();
        assert_eq!(failure.exit(), Exit::USAGE);
        assert!(failure.to_string().contains("a, b\nhint: choose one with --workflow"), "{failure}");
        let chosen = WorkflowFile { workflow: Some("b".into()), ..several };
        assert_eq!(chosen.load().unwrap().tasks[0].name, "y");
    }

    #[test]
    fn what_is_piped_may_be_as_large_as_a_json_file_if_it_is_json() {
        let name = |text: &str| {
            let (name, bytes) = piped(&mut text.as_bytes()).unwrap();
            (name, bytes.len())
        };
        let named = |name: &str, text: &str| (name.to_owned(), text.len());
        for text in ["name = 'a'\n", "# w\n\n[[tasks]]\nname = 'a'\n", "[workflow.a]\n"] {
            assert_eq!(name(text), named("stdin.toml", text));
        }
        for text in ["{name: a, tasks: [{name: t}]}", "name: a\n", "", "[1, 2,]", "name: 'a = b'", "{a: x=y}"]
        {
            assert_eq!(name(text), named("stdin.yaml", text));
        }
        for text in [" {\"name\": \"a\"}", "[]", " [\n]", "[\"a\"]", "[1, 2]"] {
            assert_eq!(name(text), named("stdin.json", text));
        }
        let large = format!("{{\"name\": \"{}\"}}", "a".repeat(Format::Yaml.limit()));
        assert_eq!(name(&large), named("stdin.json", &large));
        assert_eq!(name(&format!("-{large}")), ("stdin.yaml".to_owned(), Format::Yaml.limit() + 1));
        let endless = format!("{{{}", " ".repeat(Format::Json.limit() + 10));
        assert_eq!(name(&endless), ("stdin.json".to_owned(), Format::Json.limit() + 1));
    }

    #[test]
    fn the_environment_bounds_what_the_file_says() {
        let layout = |variables: &[(&str, &str)]| {
            let found = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            let mut layout = Layout { slots: Some(4), ..Layout::default() };
            surroundings(&mut layout, found).map(|()| (layout.slots, layout.timeout))
        };
        assert_eq!(layout(&[]).unwrap(), (Some(4), None));
        let both = [("MAX_PARALLEL_TASKS", "2"), ("WORKFLOW_TIMEOUT", "90")];
        assert_eq!(layout(&both).unwrap(), (Some(2), Some(Span::from_secs(90))));
        for wrong in [("MAX_PARALLEL_TASKS", "0"), ("MAX_PARALLEL_TASKS", "x"), ("WORKFLOW_TIMEOUT", "soon")]
        {
            assert_eq!(layout(&[wrong]).unwrap_err().exit(), Exit::USAGE, "{wrong:?}");
        }
    }
}
