//! The part of `workflow` that is about workflows that the daemon keeps under their names.

use orchd_api::{Definition, DefinitionRequest, DefinitionRun, DefinitionSource};
use orchd_client::Client;
use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::documents::Removed;
use crate::screen::Piece;
use crate::workflow_file::WorkflowFile;
use crate::{Exit, Failure, Submitter, text};

#[derive(Debug, Args)]
pub(super) struct Put {
    /// The workflow file, YAML, JSON or TOML; - for standard input
    file: PathBuf,
    /// Only this workflow of the file
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
}

pub(super) async fn put(context: &Context, put: Put) -> Result<Exit, Failure> {
    let file =
        WorkflowFile { file: put.file, parameters: Vec::new(), workflow: put.workflow, slots_given: false };
    let (name, text) = file.source()?;
    let request = DefinitionRequest { file: name, text, workflow: file.workflow };
    let definitions = context.client().await?.put_definitions(&request).await?;
    if context.json {
        context.screen.json(&definitions)?;
    } else {
        for definition in &definitions {
            context.screen.line(text::plain(&definition.name))?;
        }
    }
    Ok(Exit::DONE)
}

pub(super) async fn list(context: &Context) -> Result<Exit, Failure> {
    let definitions = context.client().await?.definitions().await?;
    if context.json {
        context.screen.json(&definitions)?;
    } else if context.quiet {
        definitions.iter().try_for_each(|found| context.screen.line(text::plain(&found.name)))?;
    } else if definitions.is_empty() {
        context.screen.line("no workflows are kept")?;
    } else {
        const COLUMNS: [&str; 4] = ["NAME", "SOURCE", "FILE", "AGE"];
        context.screen.table(&COLUMNS, definitions.iter().map(row).collect())?;
    }
    Ok(Exit::DONE)
}

fn row(definition: &Definition) -> Vec<Piece> {
    vec![
        Piece::text(text::plain(&definition.name)),
        Piece::text(source(definition.source)),
        Piece::text(text::plain(&definition.file)),
        Piece::number(definition.updated_at.map(text::age).unwrap_or_default()),
    ]
}

fn source(source: DefinitionSource) -> &'static str {
    match source {
        DefinitionSource::Configuration => "configuration",
        DefinitionSource::Directory => "directory",
        DefinitionSource::Stored => "stored",
    }
}

pub(super) async fn show(context: &Context, name: &str) -> Result<Exit, Failure> {
    let shown = context.client().await?.definition(name).await?;
    if context.json {
        context.screen.json(&shown)?;
        return Ok(Exit::DONE);
    }
    let Definition { name, source: kept, file, .. } = &shown.definition;
    let (name, file) = (text::plain(name), text::plain(file));
    context.screen.line(format!("# {name}: {}, {file}", source(*kept)))?;
    match (&shown.text, &shown.spec) {
        (Some(file), _) => context.screen.line(text::plain_lines(file.trim_end()))?,
        (None, Some(spec)) => {
            let tasks: Vec<String> = spec.tasks.iter().map(|task| text::plain(&task.name)).collect();
            context.screen.line(format!("# tasks: {}", tasks.join(", ")))?;
        }
        (None, None) => {}
    }
    for error in &shown.errors {
        context.screen.line(format!("# {}", text::plain(error)))?;
    }
    Ok(Exit::DONE)
}

pub(super) async fn remove(context: &Context, name: &str) -> Result<Exit, Failure> {
    context.client().await?.remove_definition(name).await?;
    if context.json {
        context.screen.json(&Removed { removed: name.to_owned() })?;
    } else if !context.quiet {
        context.screen.line(format!("{} is kept no longer", text::plain(name)))?;
    }
    Ok(Exit::DONE)
}

/// The request that runs a workflow by its name, with the directory and the environment of this process.
pub(super) fn run_of(file: &WorkflowFile) -> Result<DefinitionRun, Failure> {
    let (env, cwd) = Submitter::here(false)?.into_parts();
    Ok(DefinitionRun {
        name: file.file.to_string_lossy().into_owned(),
        parameters: file.overrides()?.into_iter().collect(),
        env: env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        cwd: Some(cwd.to_string_lossy().into_owned()),
        session: None,
    })
}

/// Whether a word names a workflow that the daemon keeps, and not a file: there is no such file, and it does not
/// look like one.
pub(super) fn is_name(file: &WorkflowFile) -> bool {
    let word = file.file.to_string_lossy();
    let looks_like_a_file = word == "-"
        || word.contains('/')
        || [".yaml", ".yml", ".json", ".toml"].iter().any(|e| word.ends_with(e));
    !looks_like_a_file && !file.file.exists()
}

/// What a workflow that the daemon keeps means with the usual values of its parameters.
pub(super) async fn spec_of(
    client: &Client,
    name: &str,
) -> Result<Result<orchd_model::WorkflowSpec, Vec<String>>, Failure> {
    let shown = client.definition(name).await?;
    match shown.spec {
        Some(spec) => Ok(Ok(spec)),
        None if shown.errors.is_empty() => Err(Failure::Client(orchd_client::Error::Refused(
            orchd_model::Refusal::new(orchd_model::Code::NotPermitted, "this workflow is another user's")
                .value(name),
        ))),
        None => Ok(Err(shown.errors)),
    }
}
