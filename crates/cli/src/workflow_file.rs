//! A workflow file on the command line, and the parameters given with it.

use clap::Args;
use orchd_model::WorkflowSpec;
use orchd_workflow::{FILE_BYTES, FileError};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Failure;

/// A workflow file and values for its parameters.
#[derive(Clone, Debug, Args)]
pub struct WorkflowFile {
    /// The workflow file, YAML or JSON; - for standard input
    pub file: PathBuf,
    /// Value of a parameter; may be given again
    #[arg(short = 'P', long = "parameter", value_name = "K=V", value_parser = assignment)]
    pub parameters: Vec<(String, String)>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

impl WorkflowFile {
    /// The workflow to look at, or everything that is wrong with the file. Parameters that are required to
    /// run it may be missing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> Result<Result<WorkflowSpec, Vec<FileError>>, Failure> {
        self.with(orchd_workflow::inspect)
    }

    fn with<T>(&self, read: impl FnOnce(&str, &str, &BTreeMap<String, Value>) -> T) -> Result<T, Failure> {
        let text = self.text()?;
        let overrides: BTreeMap<String, Value> = self
            .parameters
            .iter()
            .map(|(name, value)| (name.clone(), Value::String(value.clone())))
            .collect();
        let name = if self.is_standard_input() { "stdin.yaml".into() } else { self.file.to_string_lossy() };
        Ok(read(&name, &text, &overrides))
    }

    /// The workflow to run.
    ///
    /// # Errors
    /// A usage failure with everything that is wrong.
    pub fn load(&self) -> Result<WorkflowSpec, Failure> {
        self.with(orchd_workflow::load)?.map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::Usage(format!("invalid workflow file: {}\n{}", self.file.display(), errors.join("\n")))
        })
    }

    fn is_standard_input(&self) -> bool {
        self.file == Path::new("-")
    }

    fn text(&self) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        let limit = FILE_BYTES as u64 + 1;
        let read = if self.is_standard_input() {
            std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
        } else {
            std::fs::File::open(&self.file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
        };
        read.map_err(|error| Failure::unreadable(&self.file, &error))?;
        String::from_utf8(bytes)
            .map_err(|_| Failure::Usage(format!("cannot read {}: it is not UTF-8", self.file.display())))
    }
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
            WorkflowFile { file: path, parameters: Vec::new() }
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
        let missing = WorkflowFile { file: directory.path().join("none"), parameters: Vec::new() };
        assert_eq!(missing.load().unwrap_err().exit(), Exit::USAGE);
    }
}
