//! `orchd run FILE`: a workflow on a daemon of its own, in a temporary state directory or in one that is kept.
//!
//! In one that is kept a run can be gone on with when it was interrupted, or its machine has died: what completed
//! is not run again. The workflow as it was submitted lies beside the store, so that another file is noticed.

use anyhow::{Context, Result};
use clap::Args;
use orchd_api::WorkflowQuery;
use orchd_client::Client;
use orchd_model::{Code, Refusal, WorkflowSpec, WorkflowStatus};
use orchd_store::{SqliteStore, Store};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{Config, Flags};
use crate::hooks;
use crate::serve::{Running, runtime};
use crate::succession;
use orchd_cli::{Exit, Failure, RunOptions, Submission, WorkflowFile, run_workflow, show_ended};

/// The workflow that a kept directory was last used for.
const WORKFLOW: &str = "workflow.json";

/// What to run.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    file: WorkflowFile,
    /// Print one JSON document at the end instead of progress and a table
    #[arg(long)]
    json: bool,
    /// Keep the result as a JSON document in this file, as far as there is one by then
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on with the run that was begun in the directory of --state-dir; what completed is not run again
    #[arg(long)]
    resume: bool,
}

impl RunArgs {
    /// A file in a configuration layout is the configuration of its own daemon, too, unless another one is named. What the
    /// flags say holds over the file, and over the environment.
    pub fn configured(&mut self, flags: Flags) -> Flags {
        self.file.slots_given = flags.slots.is_some();
        let is_named =
            flags.config.is_some() || std::env::var_os("ORCHD_CONFIG").is_some_and(|c| !c.is_empty());
        if is_named || !self.file.is_layout() {
            return flags;
        }
        Flags { config: Some(self.file.file.clone()), ..flags }
    }
}

/// Runs a workflow file to its end. Without `kept` nothing of it is left.
///
/// # Errors
/// When the private daemon cannot be started.
pub fn run(config: Config, args: RunArgs, kept: Option<PathBuf>) -> Result<ExitCode> {
    let spec = match args.file.load() {
        Ok(spec) => spec,
        Err(failure) => return Ok(report(&failure, args.json)),
    };
    if args.resume
        && let Err(failure) = check_resumed(kept.as_deref())
    {
        return Ok(report(&failure, args.json));
    }
    let begun = match kept.as_deref().map(|directory| look_at(directory, &spec, args.resume)).transpose() {
        Ok(begun) => begun.unwrap_or_default(),
        Err(error) => match error.downcast::<Refusal>() {
            Ok(refusal) => return Ok(report(&refusal.into(), args.json)),
            Err(error) => return Err(error),
        },
    };
    let home = tempfile::Builder::new()
        .prefix("orchd-run-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let socket = home.path().join("orchd.sock");
    let state = kept.clone().unwrap_or_else(|| home.path().join("state"));
    let running = Running::start(config, state, socket.clone(), true)?;
    if let Some(directory) = kept.filter(|_| !begun) {
        let text = serde_json::to_vec(&spec)?;
        fs::write(directory.join(WORKFLOW), text).context("cannot note the workflow")?;
    }
    let (runtime, json) = (runtime()?, args.json);
    let code = runtime.block_on(async move {
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        let shell = Arc::clone(running.shell());
        let serving = tokio::spawn(running.serve(async move { drop(end.await) }));
        let client = Client::connect(&socket).await.context("the private daemon does not answer")?;
        let options = RunOptions { json: args.json, output: args.output, ..RunOptions::default() };
        let code = carry_out(&client, spec, begun, options).await;
        drop(client);
        tokio::select! {
            () = hooks::quiet(&shell) => {}
            _ = tokio::signal::ctrl_c() => eprintln!("orchd: hooks are not told of all events"),
        }
        drop(shell);
        // A daemon that has failed says so below.
        let _ = ended.send(());
        serving.await.context("the private daemon failed")??;
        anyhow::Ok(code)
    })?;
    runtime.shutdown_background();
    Ok(code.map_or_else(|failure| report(&failure, json), Into::into))
}

/// Begins the workflow, or goes on with the newest of its name. One that has completed is only shown.
async fn carry_out(
    client: &Client,
    spec: WorkflowSpec,
    begun: bool,
    options: RunOptions,
) -> Result<Exit, Failure> {
    let query = WorkflowQuery { name: Some(spec.name.clone()), ..WorkflowQuery::default() };
    let newest = if begun { client.list_workflows(query).await?.into_iter().next() } else { None };
    match newest {
        Some(workflow) if workflow.status == WorkflowStatus::Completed => {
            show_ended(client, workflow.id, &options).await
        }
        Some(workflow) => run_workflow(client, Submission::Resume(workflow.id), options).await,
        None => run_workflow(client, Submission::Spec(Box::new(spec)), options).await,
    }
}

/// What was begun in a directory that is kept. Nothing, if it was not even noted as a whole.
fn noted(directory: &Path) -> Option<Value> {
    let text = fs::read(directory.join(WORKFLOW)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// That there is nothing to go on with: going on begins nothing, which might do again what was done elsewhere.
fn check_resumed(kept: Option<&Path>) -> Result<(), Failure> {
    let Some(directory) = kept else {
        return Err(Failure::Usage("--resume needs --state-dir, where the run was begun".to_owned()));
    };
    if noted(directory).is_none() {
        let directory = directory.display();
        return Err(Failure::Usage(format!(
            "no run was begun in this directory: {directory}\nhint: without --resume it is begun there"
        )));
    }
    Ok(())
}

/// Whether this workflow was begun in a directory that is kept, and is to be gone on with.
///
/// # Errors
/// A [`Refusal`] when it has something unfinished that is not to be gone on with; whatever keeps it from being read.
fn look_at(directory: &Path, spec: &WorkflowSpec, resume: bool) -> Result<bool> {
    if !directory.exists() {
        return Ok(false);
    }
    let lock = succession::open(directory)?;
    let snapshot = SqliteStore::open(&lock)?.load()?;
    let noted = noted(directory);
    if resume && noted == Some(serde_json::to_value(spec)?) {
        return Ok(true);
    }
    if snapshot.tasks.is_empty() && !resume {
        return Ok(false);
    }
    let place = directory.display().to_string();
    let name = noted.as_ref().map(|noted| noted["name"].as_str().unwrap_or_default());
    let refusal = match name {
        Some(name) if !resume => {
            let message = format!("this directory has an unfinished run of {name}");
            Refusal::new(Code::Conflict, message).hint("go on with it: --resume; or take another directory")
        }
        Some(name) if name == spec.name => {
            let message = format!("the run of {name} in this directory was begun with another file");
            Refusal::new(Code::Conflict, message).hint("take the file as it was, or another directory")
        }
        Some(name) => {
            let message = format!("the run in this directory is one of {name}");
            Refusal::new(Code::Conflict, message).hint("take another directory")
        }
        None => Refusal::new(Code::Conflict, "this directory has unfinished tasks of a daemon")
            .hint("take another directory"),
    };
    Err(refusal.value(place).into())
}

fn report(failure: &Failure, json: bool) -> ExitCode {
    let text = if json { failure.document().line() } else { failure.text("orchd") };
    eprintln!("{text}");
    failure.exit().into()
}
