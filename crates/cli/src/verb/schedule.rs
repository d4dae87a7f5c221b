//! `schedule`: work that is added again and again.

use clap::{ArgGroup, Args, Subcommand};
use orchd_api::{DefinitionRun, Schedule as Shown, ScheduleTick, ScheduledWork, TickWord};
use orchd_client::{Client, Error};
use orchd_model::{CatchUp, Code, Overlap, ScheduleSpec, Span};
use std::path::PathBuf;

use super::definition;
use crate::context::Context;
use crate::screen::{Piece, Tint};
use crate::spec_options::SpecOptions;
use crate::workflow_file::WorkflowFile;
use crate::{Exit, Failure, Submitter, submitter_context, text, words};

#[derive(Debug, Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a schedule: of a command, or of a workflow with --file
    ///
    /// What it adds finds the name of the schedule in $ORCHD_SCHEDULE, and the time that its tick stands for in
    /// $ORCHD_TICK.
    Add(Box<Add>),
    /// List the schedules by name
    List,
    /// Show one with its next ticks
    Show(Named),
    /// Forget one; its runs go on
    Remove(Named),
    /// No ticks until it is resumed
    Pause(Named),
    /// Ticks again, from now on
    Resume(Named),
    /// Run it now, beside its ticks
    Run(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// Its name or id
    #[arg(value_name = "SCHEDULE")]
    schedule: String,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("of_workflow").multiple(true)))]
#[command(group(ArgGroup::new("times").required(true).args(["cron", "every"])))]
struct Add {
    /// Its name
    #[arg(value_name = "SCHEDULE")]
    schedule: String,
    /// The times of a calendar, as crontab(5) has them: "30 3 * * mon-fri", "@hourly"
    #[arg(long, value_name = "EXPR")]
    cron: Option<String>,
    /// The time zone of the calendar [default: that of the daemon's machine]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    tz: Option<String>,
    /// From one tick to the next
    #[arg(long, value_name = "DUR", allow_negative_numbers = true)]
    every: Option<Span>,
    /// At a tick while an earlier run has not ended: skip, queue, cancel (the earlier one) or allow
    #[arg(long, value_name = "RULE", default_value_t, value_parser = words::overlap())]
    overlap: Overlap,
    /// After a time without a daemon: none of the ticks that were missed, one run for all, or all
    #[arg(long, value_name = "RULE", default_value_t, value_parser = words::catch_up())]
    catch_up: CatchUp,
    /// Add this workflow at each tick, as it is in the file now
    #[arg(long, value_name = "FILE", conflicts_with = "command", group = "of_workflow")]
    file: Option<PathBuf>,
    /// Value of a parameter of the workflow; may be given again
    #[arg(short = 'P', long = "parameter", value_name = "K=V", requires = "of_workflow", value_parser = crate::workflow_file::assignment)]
    parameters: Vec<(String, String)>,
    /// Add the workflow that is kept under this name, as it is at each tick; with --file, the one of this name in it
    #[arg(long, value_name = "NAME", conflicts_with = "command", group = "of_workflow")]
    workflow: Option<String>,
    #[command(flatten)]
    task: SpecOptions,
}

impl Schedule {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let shown = match self.action {
            Action::Add(add) => {
                let spec = add.spec()?;
                client.add_schedule(&spec).await.map_err(|error| refused(error, &spec))?
            }
            Action::List => return list(context, &client).await,
            Action::Show(named) => show(&client, &named.schedule).await?,
            Action::Remove(named) => client.remove_schedule(&named.schedule).await?,
            Action::Pause(named) => client.pause_schedule(&named.schedule).await?,
            Action::Resume(named) => client.resume_schedule(&named.schedule).await?,
            Action::Run(named) => client.run_schedule(&named.schedule).await?,
        };
        if context.json {
            context.screen.json(&shown)?;
        } else if context.quiet {
            context.screen.line(shown.id.to_string())?;
        } else {
            print(context, &shown)?;
        }
        Ok(Exit::DONE)
    }
}

impl Add {
    fn spec(self) -> Result<ScheduleSpec, Failure> {
        let mut spec = ScheduleSpec {
            name: self.schedule,
            cron: self.cron,
            timezone: self.tz,
            every: self.every,
            overlap: self.overlap,
            catch_up: self.catch_up,
            task: None,
            workflow: None,
            definition: None,
        };
        if self.file.is_some() || self.workflow.is_some() {
            check_options(&self.task)?;
        }
        if let Some(file) = self.file {
            let mut workflow = WorkflowFile {
                file,
                parameters: self.parameters,
                workflow: self.workflow,
                slots_given: false,
            }
            .load()?;
            submitter_context(&mut workflow)?;
            workflow.session = self.task.session.or(workflow.session);
            spec.workflow = Some(Box::new(workflow));
        } else if let Some(name) = self.workflow {
            let file = WorkflowFile {
                file: name.into(),
                parameters: self.parameters,
                workflow: None,
                slots_given: false,
            };
            let run = definition::run_of(&file)?;
            spec.definition = Some(Box::new(DefinitionRun { session: self.task.session, ..run }));
        } else {
            let submitter = Submitter::here(self.task.env_all)?;
            spec.task = Some(Box::new(self.task.spec(&submitter)?));
        }
        Ok(spec)
    }
}

/// Times, a zone or a name that mean nothing are a mistake on the command line; all else is for the daemon to say.
fn refused(error: Error, spec: &ScheduleSpec) -> Failure {
    let every = spec.every.map(|every| every.to_string());
    let options = [Some(&spec.name), spec.cron.as_ref(), spec.timezone.as_ref(), every.as_ref()];
    match error {
        Error::Refused(refusal)
            if refusal.code == Code::Malformed
                && refusal.value.as_ref().is_some_and(|value| options.contains(&Some(value))) =>
        {
            Failure::Usage(refusal.to_string())
        }
        error => error.into(),
    }
}

/// Of the options of a task, a workflow has only its session.
fn check_options(task: &SpecOptions) -> Result<(), Failure> {
    match task.fields()?.keys().find(|name| *name != "session") {
        None => Ok(()),
        Some(name) => Err(Failure::Usage(format!(
            "this is for a single task: {name}\nhint: the tasks of a workflow have it in their file"
        ))),
    }
}

async fn show(client: &Client, name: &str) -> Result<Shown, Failure> {
    let schedules = client.schedules().await?;
    let names: Vec<String> = schedules.iter().map(|schedule| schedule.name.clone()).collect();
    let by_id = |schedule: &Shown| name.parse().is_ok_and(|id| schedule.id == id);
    let place = names.iter().position(|known| known == name).or_else(|| schedules.iter().position(by_id));
    place.and_then(|place| schedules.into_iter().nth(place)).ok_or_else(|| {
        let near = orchd_model::nearest(name, names.iter().map(String::as_str));
        let hint =
            near.map_or_else(String::new, |near| format!("\nhint: did you mean {}?", text::plain(near)));
        Failure::NotFound(format!("no such schedule: {}{hint}", text::plain(name)))
    })
}

/// `30 3 * * * Europe/Berlin`, `every 10m`
fn times(schedule: &Shown) -> String {
    match (&schedule.cron, &schedule.every) {
        (Some(cron), _) => format!("{} {}", text::plain(cron), schedule.timezone.as_deref().unwrap_or("")),
        (None, every) => format!("every {}", text::duration(every.unwrap_or_default())),
    }
}

fn adds(schedule: &Shown) -> String {
    match &schedule.adds {
        ScheduledWork::Task(name) => text::plain(name),
        ScheduledWork::Workflow(name) | ScheduledWork::Definition(name) => {
            format!("workflow {}", text::plain(name))
        }
    }
}

/// `started 17`, `refused: ...`
fn outcome(tick: &ScheduleTick) -> String {
    let word = tick.outcome.as_str();
    match (&tick.task, &tick.workflow, &tick.error) {
        (Some(task), _, _) => format!("{word} {task}"),
        (None, Some(workflow), _) => format!("{word} workflow {workflow}"),
        (None, None, Some(error)) => format!("{word}: {}", text::plain(error)),
        (None, None, None) => word.to_owned(),
    }
}

fn tint(tick: &ScheduleTick) -> Tint {
    match tick.outcome {
        TickWord::Started => Tint::Good,
        TickWord::Queued => Tint::Waiting,
        TickWord::Skipped | TickWord::Missed => Tint::Busy,
        TickWord::Refused => Tint::Bad,
    }
}

async fn list(context: &Context, client: &Client) -> Result<Exit, Failure> {
    let schedules = client.schedules().await?;
    if context.json {
        context.screen.json(&schedules)?;
    } else if context.quiet {
        schedules.iter().try_for_each(|schedule| context.screen.line(schedule.id.to_string()))?;
    } else if schedules.is_empty() {
        context.screen.line("no schedules")?;
    } else {
        const COLUMNS: [&str; 7] = ["ID", "NAME", "TIMES", "ADDS", "NEXT", "RUNS", "LAST"];
        context.screen.table(&COLUMNS, schedules.iter().map(row).collect())?;
    }
    Ok(Exit::DONE)
}

fn row(schedule: &Shown) -> Vec<Piece> {
    let next = match schedule.upcoming.first() {
        Some(next) => text::instant(*next),
        None if schedule.paused => "paused".to_owned(),
        None => "never".to_owned(),
    };
    vec![
        Piece::number(schedule.id),
        Piece::text(text::plain(&schedule.name)),
        Piece::text(times(schedule)),
        Piece::text(adds(schedule)),
        Piece::text(next),
        Piece::number(schedule.started),
        schedule
            .last
            .as_ref()
            .map_or_else(|| Piece::text(""), |tick| Piece::tinted(tint(tick), outcome(tick))),
    ]
}

fn print(context: &Context, schedule: &Shown) -> Result<(), Failure> {
    let line = |name: &str, value: String| context.screen.fact(&format!("  {name}"), &value);
    context.screen.line(format!("schedule {} {}", schedule.id, text::plain(&schedule.name)))?;
    line("adds", adds(schedule))?;
    line("times", times(schedule))?;
    line("overlap", schedule.overlap.to_string())?;
    line("catch up", schedule.catch_up.to_string())?;
    if schedule.paused {
        line("next", "paused".to_owned())?;
    } else {
        let upcoming: Vec<String> = schedule.upcoming.iter().map(|tick| text::instant(*tick)).collect();
        line("next", if upcoming.is_empty() { "never".to_owned() } else { upcoming.join(", ") })?;
    }
    if let Some(tick) = &schedule.last {
        line("last", format!("{} {}", text::instant(tick.at), outcome(tick)))?;
    }
    if !schedule.queued.is_empty() {
        let queued: Vec<String> = schedule.queued.iter().map(|tick| text::instant(*tick)).collect();
        line("queued", queued.join(", "))?;
    }
    let Shown { started, skipped, missed, .. } = schedule;
    line("runs", format!("{started}, skipped {skipped}, missed {missed}"))?;
    Ok(())
}
