//! `workflow`: check, plan, draw and run files; list and show what was submitted.

use clap::{Args, Subcommand};
use orchd_api::{DefinitionRun, ListQuery, Workflow as Submitted, WorkflowQuery};
use orchd_client::Client;
use orchd_model::{SessionRef, WorkflowSpec};
use orchd_workflow::{Configured, Estimate, FileError, Plan};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use super::graph::Graph;
use crate::context::Context;
use crate::documents::Plans;
use crate::screen::{Piece, Tint};
use crate::simulation::{self, Ground};
use crate::summary::{Summary, tint};
use crate::workflow_file::WorkflowFile;
use crate::{Exit, Failure, Machine, RunOptions, Submission, run_workflow, text};

use super::definition::{self, Put};
use super::rerun::{Named, Rerun, Resume};

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
    Plan(PlanFile),
    /// Draw the graph of a file, or of a workflow that was submitted
    Graph(Graph),
    /// Submit a file, or a workflow that is kept, and show it running: 0 completed, 1 not
    Run(RunFile),
    /// Keep the workflows of a file in the daemon, to be run by their names
    Put(Put),
    /// List the workflows that were submitted, the newest first, or those that are kept
    List {
        /// Those that can be run by their names
        #[arg(long, conflicts_with = "session")]
        stored: bool,
        /// Only those of this session
        #[arg(long, value_name = "S")]
        session: Option<String>,
    },
    /// Show a workflow that was submitted, with its tasks, or the file of one that is kept
    Show {
        /// Its name or id
        #[arg(value_name = "W")]
        workflow: String,
        /// The one that is run by this name
        #[arg(long, conflicts_with = "session")]
        stored: bool,
        /// The session it belongs to, if others have one of this name
        #[arg(long, value_name = "S")]
        session: Option<String>,
    },
    /// Start nothing new of a workflow until it is resumed; what runs goes on
    Pause(Named),
    /// Go on with a workflow: end its pause, or run again what failed, was cancelled or skipped
    Resume(Resume),
    /// Run tasks of an ended workflow again, and all that comes after them
    Rerun(Rerun),
    /// Print the JSON Schema of workflow files, for editors
    Schema,
    /// Keep a workflow no longer; its runs stay
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
struct PlanFile {
    #[command(flatten)]
    file: WorkflowFile,
    /// The one that is run by this name, on the daemon that has it; a word that is no file is a name anyway
    #[arg(long)]
    stored: bool,
    /// Expect of each task what it took in the latest runs of this workflow; asks the daemon
    #[arg(long)]
    remembered: bool,
    /// The slots to plan for [default: the file's, else the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    slots: Option<u32>,
}

#[derive(Debug, Args)]
struct RunFile {
    #[command(flatten)]
    file: WorkflowFile,
    /// The one that is kept under this name; a word that is no file is a name anyway
    #[arg(long)]
    stored: bool,
    /// Submit it and return at once
    #[arg(long)]
    detach: bool,
    /// The session it belongs to, by name or id
    #[arg(long, value_name = "S")]
    session: Option<SessionRef>,
    /// Keep the result as a JSON document in this file, as far as there is one by then
    #[arg(long, value_name = "FILE", conflicts_with = "detach")]
    output: Option<PathBuf>,
}

impl Workflow {
    /// A run that is interrupted cancels its tasks.
    pub(super) fn minds_interrupts(&self) -> bool {
        match &self.action {
            Action::Run(run) => !run.detach,
            Action::Resume(resume) => !resume.detaches(),
            Action::Rerun(rerun) => !rerun.detaches(),
            _ => false,
        }
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.action {
            Action::Check(file) => check(context, &file),
            Action::Plan(file) => plan(context, &file).await,
            Action::Graph(graph) => graph.run(context).await,
            Action::Run(file) => run(context, file).await,
            Action::Put(put) => definition::put(context, put).await,
            Action::Pause(named) => named.pause(context).await,
            Action::Resume(resume) => resume.run(context).await,
            Action::Rerun(rerun) => rerun.run(context).await,
            Action::Schema => {
                context.screen.line(format!("{:#}", orchd_workflow::schema().as_value()))?;
                Ok(Exit::DONE)
            }
            Action::List { stored: true, .. } => definition::list(context).await,
            Action::List { stored: false, session } => list(context, session).await,
            Action::Show { workflow, stored: true, .. } => definition::show(context, &workflow).await,
            Action::Show { workflow, stored: false, session } => show(context, workflow, session).await,
            Action::Remove { name } => definition::remove(context, &name).await,
        }
    }
}

/// The plans of the workflows in a file.
pub(super) fn planned(context: &Context, file: &WorkflowFile) -> Result<Plans, Failure> {
    let plans = match file.read()? {
        Ok(loaded) => loaded.workflows.into_iter().map(|found| of(&found, &BTreeMap::new())).collect(),
        Err(errors) => vec![Plan::refused(errors)],
    };
    Ok(told(context, plans))
}

fn of(found: &Configured, remembered: &BTreeMap<String, f64>) -> Plan {
    Plan { warnings: found.warnings.clone(), ..Plan::remembering(&found.spec, remembered) }
}

/// Says what is wrong or odd, unless that is printed as JSON.
fn told(context: &Context, mut plans: Vec<Plan>) -> Plans {
    if !context.json {
        for plan in &plans {
            for error in plan.errors.iter().chain(&plan.warnings) {
                writeln!(io::stderr(), "{}", text::plain_lines(&error.to_string())).ok();
            }
        }
    }
    match plans.pop() {
        Some(only) if plans.is_empty() => Plans::One(Box::new(only)),
        last => Plans::Several(plans.into_iter().chain(last).collect()),
    }
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

async fn plan(context: &Context, wish: &PlanFile) -> Result<Exit, Failure> {
    let plans = if wish.stored || definition::is_name(&wish.file) {
        told(context, vec![plan_of_stored(context, wish).await?])
    } else {
        told(context, plans_of_file(context, wish).await?)
    };
    if context.json {
        context.screen.json(&plans)?;
    } else {
        plans.each().iter().filter(|plan| plan.valid).try_for_each(|plan| print(context, plan))?;
    }
    Ok(plans.each().first().map_or(Exit::DONE, exit_of))
}

/// Plans for this machine, with what the file says of the one it wants.
async fn plans_of_file(context: &Context, wish: &PlanFile) -> Result<Vec<Plan>, Failure> {
    let file = WorkflowFile { slots_given: wish.slots.is_some(), ..wish.file.clone() };
    let loaded = match file.read()? {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(vec![Plan::refused(errors)]),
    };
    let ground = Ground::here(Machine::look()?, &loaded.layout);
    let ground = Ground { slots: wish.slots.unwrap_or(ground.slots), ..ground };
    let client = if wish.remembered { Some(context.client().await?) } else { None };
    let mut plans = Vec::with_capacity(loaded.workflows.len());
    for found in &loaded.workflows {
        let remembered = match &client {
            Some(client) => client.durations(&found.spec.name).await?.tasks,
            None => BTreeMap::new(),
        };
        let mut plan = of(found, &remembered);
        simulation::try_out(&mut plan, &found.spec, &ground);
        plans.push(plan);
    }
    Ok(plans)
}

/// The plan of a workflow that the daemon keeps, for the daemon's resources, with what it remembers.
async fn plan_of_stored(context: &Context, wish: &PlanFile) -> Result<Plan, Failure> {
    let client = context.client().await?;
    let name = wish.file.file.to_string_lossy();
    let spec = match definition::spec_of(&client, &name).await? {
        Ok(spec) => spec,
        Err(errors) => {
            let file = name.into_owned();
            let wrong =
                |message| FileError { file: file.clone(), line: None, column: None, message, hint: None };
            return Ok(Plan::refused(errors.into_iter().map(wrong).collect()));
        }
    };
    let mut plan = Plan::remembering(&spec, &client.durations(&name).await?.tasks);
    let slots = wish.slots.unwrap_or(client.stats().await?.slots.total.max(1));
    let resources = simulation::settings(&client.resources().await?);
    simulation::try_out(&mut plan, &spec, &Ground { slots, resources });
    Ok(plan)
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
    for task in &plan.unsatisfiable {
        let (name, message) = (text::plain(&task.task), text::plain(&task.message));
        context.screen.line(format!("never starts: {name}: {message}"))?;
    }
    if let Some(Estimate { makespan, peak_parallelism, slots }) = plan.estimate {
        let slots = text::count(slots as usize, "slot");
        context
            .screen
            .line(format!("estimated: {makespan} s on {slots}, at most {peak_parallelism} at once"))?;
    }
    Ok(())
}

async fn run(context: &Context, run: RunFile) -> Result<Exit, Failure> {
    let submission = if run.stored || definition::is_name(&run.file) {
        let named = definition::run_of(&run.file)?;
        Submission::Named(DefinitionRun { session: run.session, ..named })
    } else {
        let spec = run.file.load()?;
        let session = run.session.or(spec.session.clone());
        Submission::Spec(Box::new(WorkflowSpec { session, ..spec }))
    };
    carry_out(context, &context.client().await?, submission, run.detach, run.output).await
}

/// Lets a workflow run, or go on, and follows it to its end unless that is not wanted.
pub(super) async fn carry_out(
    context: &Context,
    client: &Client,
    submission: Submission,
    detach: bool,
    output: Option<PathBuf>,
) -> Result<Exit, Failure> {
    if !detach {
        let (json, color, quiet) = (context.json, context.global.color, context.quiet);
        return run_workflow(client, submission, RunOptions { json, color, quiet, output }).await;
    }
    let added = submission.submit(client).await?;
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

async fn list(context: &Context, session: Option<String>) -> Result<Exit, Failure> {
    let query = WorkflowQuery { session, ..WorkflowQuery::default() };
    let workflows = context.client().await?.list_workflows(query).await?;
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
        match workflow.paused {
            true => Piece::tinted(Tint::Waiting, format!("{}, paused", workflow.status)),
            false => Piece::tinted(tint(workflow.status), workflow.status),
        },
        Piece::number(metrics.total_tasks),
        Piece::number(ended),
        Piece::number(text::age(workflow.created_at)),
        Piece::number(text::duration(metrics.total_duration)),
    ]
}

async fn show(context: &Context, name: String, session: Option<String>) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let workflow = named(&client, name, session).await?;
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

/// The workflow with this id, or else the newest one with this name; of a session, if one is given.
pub(super) async fn named(
    client: &Client,
    name: String,
    session: Option<String>,
) -> Result<Submitted, Failure> {
    let unknown = Failure::NotFound(format!("no such workflow: {}", text::plain(&name)));
    let query = WorkflowQuery { name: Some(name), session, limit: None };
    client.list_workflows(query).await?.into_iter().next().ok_or(unknown)
}
