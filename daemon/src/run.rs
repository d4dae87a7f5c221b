//! `orchd run FILE`: a workflow on a daemon of its own, in a temporary state directory.

use anyhow::{Context, Result};
use clap::Args;
use std::process::ExitCode;

use crate::config::{Config, Flags};
use crate::serve::{Running, runtime};
use orchd_cli::{Failure, RunOptions, Submission, WorkflowFile};

/// What to run.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    file: WorkflowFile,
    /// Print one JSON document at the end instead of progress and a table
    #[arg(long)]
    json: bool,
}

impl RunArgs {
    /// A file in a configuration layout is the configuration of its own daemon, too, unless another one is named.
    pub fn configured(&self, flags: Flags) -> Flags {
        let is_named =
            flags.config.is_some() || std::env::var_os("ORCHD_CONFIG").is_some_and(|c| !c.is_empty());
        if is_named || !self.file.is_layout() {
            return flags;
        }
        Flags { config: Some(self.file.file.clone()), ..flags }
    }
}

/// Runs a workflow file to its end.
///
/// # Errors
/// When the private daemon cannot be started.
pub fn run(config: Config, args: RunArgs) -> Result<ExitCode> {
    let spec = match args.file.load() {
        Ok(spec) => spec,
        Err(failure) => return Ok(report(&failure)),
    };
    let home = tempfile::Builder::new()
        .prefix("orchd-run-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let socket = home.path().join("orchd.sock");
    let running = Running::start(config, home.path().join("state"), socket.clone(), true)?;
    let code = runtime()?.block_on(async move {
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(running.serve(async move { drop(end.await) }));
        let client =
            orchd_client::Client::connect(&socket).await.context("the private daemon does not answer")?;
        let options = RunOptions { json: args.json, ..RunOptions::default() };
        let code = orchd_cli::run_workflow(&client, Submission::Spec(Box::new(spec)), options).await;
        drop(client);
        // A daemon that has failed says so below.
        let _ = ended.send(());
        serving.await.context("the private daemon failed")??;
        anyhow::Ok(code)
    })?;
    Ok(code.map_or_else(|failure| report(&failure), Into::into))
}

fn report(failure: &Failure) -> ExitCode {
    eprintln!("{}", failure.text("orchd"));
    failure.exit().into()
}
