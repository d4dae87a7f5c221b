//! Running a workflow in the foreground: submit it, follow its events, show what happens, sum it up.
//!
//! Shared by `orchctl workflow run` and `orchd run`. Progress goes to standard error, the summary or the
//! JSON document to standard output.

use orchd_api::{DefinitionRun, Event, EventQuery, Selector, WorkflowAdded};
use orchd_client::Client;
use orchd_model::{Status, TaskId, Time, WorkflowId, WorkflowSpec, WorkflowStatus};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::interrupt::Interrupt;
use crate::last_words::last_words;
use crate::progress::Progress;
use crate::result_file::{ResultFile, document};
use crate::screen::Screen;
use crate::waiting::Waiting;
use crate::{Color, Exit, Failure, submitter_context, text};

/// How often the spinners turn.
const TICK: Duration = Duration::from_millis(100);
/// Lines shown of what a failed task wrote to standard error.
const LINES_OF_FAILURE: u64 = 10;

/// How a workflow is shown while it runs, and after.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// One JSON document at the end and nothing else.
    pub json: bool,
    /// When to use colours.
    pub color: Color,
    /// No progress and no table, only the id.
    pub quiet: bool,
    /// A file that the JSON document is kept in, as far as there is one.
    pub output: Option<PathBuf>,
}

/// What is run.
#[derive(Clone, Debug)]
pub enum Submission {
    /// The workflow of a file.
    Spec(Box<WorkflowSpec>),
    /// A workflow that the daemon keeps.
    Named(DefinitionRun),
    /// A workflow that was submitted before and goes on, where it was paused or with what did not complete.
    Resume(WorkflowId),
    /// A workflow that was submitted before, from these tasks on.
    Rerun(WorkflowId, Vec<String>),
}

impl Submission {
    /// Submits it. Commands get the directory and the environment of this process.
    ///
    /// # Errors
    /// The daemon refused it, or does not answer.
    pub async fn submit(self, client: &Client) -> Result<WorkflowAdded, Failure> {
        match self {
            Self::Spec(mut spec) => {
                submitter_context(&mut spec)?;
                Ok(client.submit_workflow(&spec).await?)
            }
            Self::Named(run) => Ok(client.run_definition(&run).await?),
            Self::Resume(workflow) => Ok(client.resume_workflow(workflow).await?),
            Self::Rerun(workflow, from) => Ok(client.rerun_workflow(workflow, from).await?),
        }
    }
}

/// Runs a workflow and shows it. Its commands get the directory and environment of this process. Ctrl-C
/// cancels the workflow; once more leaves it behind. Returns 0 when it completed, 130 when it was
/// interrupted, else 1.
///
/// # Errors
/// The daemon refused the workflow, or went away for good.
pub async fn run_workflow(
    client: &Client,
    submission: Submission,
    options: RunOptions,
) -> Result<Exit, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let mut file = options.output.clone().map(ResultFile::new).transpose()?;
    // Events from before the submission on, so that none is missed.
    let since = Some(client.stats().await?.store.sequence.0);
    let added = submission.submit(client).await?;
    let query = EventQuery { since, workflow: Some(added.workflow.to_string()), ..EventQuery::default() };
    let mut events = client.events(query).await?;

    let mut run = Run::new(client, &added, &options);
    let mut waiting = Waiting::new();
    let mut interrupted = false;
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break };
                if run.apply(&event?).await? {
                    break;
                }
                waiting.note();
                file.iter_mut().for_each(ResultFile::note);
            }
            _ = tick.tick() => {
                run.progress.tick();
                let lines = waiting.follow(client, added.workflow, run.progress.is_idle()).await?;
                lines.iter().for_each(|line| run.progress.note(line));
                if let Some(file) = &mut file {
                    file.follow(client, added.workflow).await?;
                }
            }
            () = interrupt.come() => {
                if std::mem::replace(&mut interrupted, true) {
                    run.progress.finish();
                    if let Some(file) = &file {
                        file.write(&document(client, added.workflow).await?)?;
                    }
                    return Ok(Exit::INTERRUPTED);
                }
                run.progress.note("interrupted: cancelling the workflow, once more to leave it behind");
                let select =
                    Selector { workflow: Some(added.workflow.to_string()), ..Selector::default() };
                client.cancel(select).await?;
            }
        }
    }
    run.progress.finish();
    let exit = conclude(client, added.workflow, file.as_ref(), &options).await?;
    Ok(if interrupted { Exit::INTERRUPTED } else { exit })
}

/// Says what became of a workflow.
async fn conclude(
    client: &Client,
    workflow: WorkflowId,
    file: Option<&ResultFile>,
    options: &RunOptions,
) -> Result<Exit, Failure> {
    let summary = document(client, workflow).await?;
    if let Some(file) = file {
        file.write(&summary)?;
    }
    let screen = Screen::new(options.color);
    if options.json {
        screen.json(&summary)?;
    } else {
        summary.print(screen, options.quiet)?;
    }
    Ok(if summary.status == WorkflowStatus::Completed { Exit::DONE } else { Exit::UNSUCCESSFUL })
}

/// Shows a workflow that has ended as if it had been run just now.
///
/// # Errors
/// The daemon does not answer, or the file cannot be written.
pub async fn show_ended(
    client: &Client,
    workflow: WorkflowId,
    options: &RunOptions,
) -> Result<Exit, Failure> {
    let file = options.output.clone().map(ResultFile::new).transpose()?;
    conclude(client, workflow, file.as_ref(), options).await
}

/// A workflow under way, as its events tell it.
struct Run<'a> {
    client: &'a Client,
    names: HashMap<TaskId, String>,
    started: HashMap<TaskId, Time>,
    progress: Progress,
    shows_failures: bool,
}

impl<'a> Run<'a> {
    fn new(client: &'a Client, added: &WorkflowAdded, options: &RunOptions) -> Self {
        let names = added.tasks.iter().map(|(name, id)| (*id, text::plain(name))).collect();
        let progress = if options.json || options.quiet {
            Progress::hidden()
        } else {
            Progress::new(&text::plain(&added.name), added.tasks.len(), options.color)
        };
        Self { client, names, started: HashMap::new(), progress, shows_failures: !options.json }
    }

    /// Shows an event; true when it is the end of the workflow.
    async fn apply(&mut self, event: &Event) -> Result<bool, Failure> {
        let Some(id) = event.task else { return Ok(ends_workflow(&event.kind)) };
        if event.kind == "task.expanded" {
            let more = event.data.get("elements").and_then(serde_json::Value::as_u64).unwrap_or(0);
            self.progress.grow(usize::try_from(more).unwrap_or(0));
            return Ok(false);
        }
        if matches!(event.kind.as_str(), "task.started") || ended_as(&event.kind).is_some() {
            self.learn_name(id).await?;
        }
        let name = self.names.get(&id).cloned().unwrap_or_else(|| id.to_string());
        match event.kind.as_str() {
            "task.started" => {
                self.started.insert(id, event.time);
                self.progress.started(id, &name);
            }
            "task.progress" => {
                if let Some(progress) = progress_of(event) {
                    self.progress.at(id, &name, &text::plain(&progress.to_string()));
                }
            }
            "task.retrying" => {
                self.progress.stopped(id);
                self.progress.retrying(&name);
            }
            // Its worker was lost before it began, or it snoozes.
            "task.returned" => self.progress.stopped(id),
            kind => {
                let Some(status) = ended_as(kind) else { return Ok(false) };
                let ran = self.started.remove(&id).map(|started| event.time.since(started));
                self.progress.stopped(id);
                self.progress.ended(&name, status, ran);
                if status == Status::Failed && self.shows_failures {
                    self.show_failure(id, &name).await;
                }
            }
        }
        Ok(false)
    }

    /// Elements of a list come into being while it runs.
    async fn learn_name(&mut self, id: TaskId) -> Result<(), Failure> {
        if !self.names.contains_key(&id) {
            let name = text::plain(&self.client.get(id).await?.name);
            self.names.insert(id, name);
        }
        Ok(())
    }

    /// The last lines that a failed task wrote, or else what the daemon says about it.
    async fn show_failure(&self, id: TaskId, name: &str) {
        let mut output = last_words(self.client, id, LINES_OF_FAILURE).await.unwrap_or_default();
        if output.is_empty() {
            let result = self.client.get(id).await.ok().and_then(|task| task.result);
            output = result.and_then(|result| result.error_message).unwrap_or_default();
        }
        for line in text::plain_lines(&output).lines() {
            self.progress.note(&format!("    {name}: {line}"));
        }
    }
}

/// What an event says of the progress of its task.
fn progress_of(event: &Event) -> Option<orchd_model::Progress> {
    serde_json::from_value(serde_json::Value::Object(event.data.clone())).ok()
}

/// The status that a task ended with, if the event is its end.
fn ended_as(kind: &str) -> Option<Status> {
    let status: Status = kind.strip_prefix("task.")?.parse().ok()?;
    status.is_terminal().then_some(status)
}

fn ends_workflow(kind: &str) -> bool {
    matches!(kind, "workflow.completed" | "workflow.failed" | "workflow.cancelled" | "workflow.timed_out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_workflow_is_known_by_its_event() {
        for status in ["completed", "failed", "cancelled", "timed_out"] {
            assert!(ends_workflow(&format!("workflow.{status}")));
        }
        assert!(!ends_workflow("workflow.submitted"));
        assert_eq!(ended_as("task.skipped"), Some(Status::Skipped));
        assert_eq!((ended_as("task.retrying"), ended_as("task.ready")), (None, None));
    }
}
