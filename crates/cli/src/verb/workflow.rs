//! `workflow`: check, plan, draw and run files; list and show what was submitted.

use clap::{Args, Subcommand};
use orchd_api::{ListQuery, Workflow as Submitted};
use orchd_client::Client;
use orchd_workflow::{Configured, Plan};
use std::io::{self, Write};

use super::graph::Graph;
use crate::context::Context;
use crate::documents::Plans;
use crate::screen::Piece;
use crate::summary::{Summary, tint};
use crate::workflow_file::WorkflowFile;
use crate::{Exit, Failure, RunOptions, run_workflow, submitter_context, text};

#[derive(Debug, Args)]
pub(crate) struct Workflow {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether a file is valid, and everything that is wrong with it
    Check(WorkflowFile),
    /// Show what runs after what, and the longest chain
    Plan(WorkflowFile),
    /// Draw the graph of a file, or of a workflow that was submitted
    Graph(Graph),
    /// Submit a file and show it running: 0 completed, 1 not
    Run(RunFile),
    /// List the workflows that were submitted
    List,
    /// Show a workflow and its tasks
    Show {
        /// Its name or id
        workflow: String,
    },
}

#[derive(Debug, Args)]
struct RunFile {
    #[command(flatten)]
    file: WorkflowFile,
    /// Submit it and return at once
    #[arg(long)]
    detach: bool,
}

impl Workflow {
    /// A run that is interrupted cancels its tasks.
    pub(super) fn minds_interrupts(&self) -> bool {
        matches!(&self.action, Action::Run(run) if !run.detach)
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.action {
            Action::Check(file) => check(context, &file),
            Action::Plan(file) => plan(context, &file),
            Action::Graph(graph) => graph.run(context).await,
            Action::Run(file) => run(context, file).await,
            Action::List => list(context).await,
            Action::Show { workflow } => show(context, &workflow).await,
        }
    }
}

/// The plans of the workflows in a file; what is wrong or odd has already been said, unless as JSON.
pub(super) fn planned(context: &Context, file: &WorkflowFile) -> Result<Plans, Failure> {
    let mut plans = match file.read()? {
        Ok(loaded) => {
            let plan = |found: Configured| Plan { warnings: found.warnings, ..Plan::of(&found.spec) };
            loaded.workflows.into_iter().map(plan).collect()
        }
        Err(errors) => vec![Plan::refused(errors)],
    };
    if !context.json {
        for plan in &plans {
            for error in plan.errors.iter().chain(&plan.warnings) {
                writeln!(io::stderr(), "{}", text::plain_lines(&error.to_string())).ok();
            }
        }
    }
    Ok(match plans.pop() {
        Some(only) if plans.is_empty() => Plans::One(Box::new(only)),
        last => Plans::Several(plans.into_iter().chain(last).collect()),
    })
}

pub(super) fn exit_of(plan: &Plan) -> Exit {
    if plan.valid { Exit::DONE } else { Exit::UNSUCCESSFUL }
}

fn check(context: &Context, file: &WorkflowFile) -> Result<Exit, Failure> {
    let plans = planned(context, file)?;
    if context.json {
        context.screen.json(&plans)?;
    } else if !context.quiet {
        for plan in plans.each().iter().filter(|plan| plan.valid) {
            context.screen.line(sentence(plan))?;
        }
    }
    Ok(plans.each().first().map_or(Exit::DONE, exit_of))
}

/// `data-science: valid, 8 tasks in 5 stages, at most 3 at once`
fn sentence(plan: &Plan) -> String {
    format!(
        "{}: valid, {} in {}, at most {} at once",
        text::plain(&plan.name),
        text::count(plan.total_tasks, "task"),
        text::count(plan.stages, "stage"),
        plan.max_parallelism
    )
}

fn plan(context: &Context, file: &WorkflowFile) -> Result<Exit, Failure> {
    let plans = planned(context, file)?;
    if context.json {
        context.screen.json(&plans)?;
    } else {
        plans.each().iter().filter(|plan| plan.valid).try_for_each(|plan| print(context, plan))?;
    }
    Ok(plans.each().first().map_or(Exit::DONE, exit_of))
}

fn print(context: &Context, plan: &Plan) -> Result<(), Failure> {
    context.screen.line(sentence(plan))?;
    let rows = plan
        .execution_order
        .iter()
        .enumerate()
        .map(|(stage, tasks)| vec![Piece::number(stage + 1), Piece::text(text::plain(&tasks.join(", ")))])
        .collect();
    context.screen.table(&["STAGE", "TASKS"], rows)?;
    let path = &plan.critical_path;
    context.screen.line(format!(
        "critical path: {} ({} s expected)",
        text::plain(&path.tasks.join(" -> ")),
        path.duration
    ))?;
    Ok(())
}

async fn run(context: &Context, run: RunFile) -> Result<Exit, Failure> {
    let mut spec = run.file.load()?;
    let client = context.client().await?;
    if !run.detach {
        let options = RunOptions { json: context.json, color: context.global.color, quiet: context.quiet };
        return run_workflow(&client, spec, options).await;
    }
    submitter_context(&mut spec.tasks)?;
    let added = client.submit_workflow(&spec).await?;
    if context.json {
        context.screen.json(&added)?;
    } else if context.quiet {
        context.screen.line(added.workflow.to_string())?;
    } else {
        context.screen.line(format!(
            "{} {}, {}",
            added.workflow,
            text::plain(&added.name),
            text::count(added.tasks.len(), "task")
        ))?;
    }
    Ok(Exit::DONE)
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let workflows = context.client().await?.workflows().await?;
    if context.json {
        context.screen.json(&workflows)?;
    } else if context.quiet {
        workflows.iter().try_for_each(|workflow| context.screen.line(workflow.id.to_string()))?;
    } else if workflows.is_empty() {
        context.screen.line("no workflows")?;
    } else {
        const COLUMNS: [&str; 7] = ["ID", "NAME", "STATUS", "TASKS", "DONE", "AGE", "TIME"];
        context.screen.table(&COLUMNS, workflows.iter().map(row).collect())?;
    }
    Ok(Exit::DONE)
}

fn row(workflow: &Submitted) -> Vec<Piece> {
    let metrics = &workflow.metrics;
    let ended =
        metrics.completed_tasks + metrics.failed_tasks + metrics.skipped_tasks + metrics.cancelled_tasks;
    vec![
        Piece::number(workflow.id),
        Piece::text(text::plain(&workflow.name)),
        Piece::tinted(tint(workflow.status), workflow.status),
        Piece::number(metrics.total_tasks),
        Piece::number(ended),
        Piece::number(text::age(workflow.created_at)),
        Piece::number(text::duration(metrics.total_duration)),
    ]
}

async fn show(context: &Context, name: &str) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let workflow = named(&client, name).await?;
    let query = ListQuery { workflow: Some(workflow.id.to_string()), limit: Some(0), ..ListQuery::default() };
    let summary = Summary::new(workflow, client.list(query).await?);
    if context.json {
        context.screen.json(&summary)?;
    } else if context.quiet {
        context.screen.line(summary.id())?;
    } else {
        summary.print(context.screen, false)?;
    }
    Ok(Exit::DONE)
}

/// The workflow with this id, or else the newest one with this name.
pub(super) async fn named(client: &Client, name: &str) -> Result<Submitted, Failure> {
    if let Ok(id) = name.parse() {
        return Ok(client.workflow(id).await?);
    }
    let workflows = client.workflows().await?;
    let newest = workflows.into_iter().filter(|workflow| workflow.name == name).max_by_key(|found| found.id);
    newest.ok_or_else(|| Failure::NotFound(format!("no such workflow: {}", text::plain(name))))
}
