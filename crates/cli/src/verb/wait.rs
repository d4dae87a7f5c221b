//! `wait`: until tasks have ended.

use clap::{ArgGroup, Args};
use orchd_api::{ListQuery, OperationResult, Selector, Task, WaitReply, WaitRequest};
use orchd_client::Client;
use orchd_model::{Span, Status, TaskRange};
use std::io::{self, Write};

use crate::command_line::PROGRAM;
use crate::context::Context;
use crate::{Exit, Failure, text};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["ids", "session", "workflow", "all"])))]
pub(crate) struct Wait {
    /// These tasks
    #[arg(value_name = "ID")]
    ids: Vec<TaskRange>,
    /// All that have not ended now
    #[arg(long)]
    all: bool,
    /// The tasks of this workflow
    #[arg(long, value_name = "W")]
    workflow: Option<String>,
    /// The tasks of this session
    #[arg(long, value_name = "S")]
    session: Option<String>,
    /// Give up after this time; 0 looks once
    #[arg(long, value_name = "DUR")]
    timeout: Option<Span>,
}

impl Wait {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let select = if self.workflow.is_some() || self.session.is_some() {
            tasks_of(&client, self.workflow, self.session).await?.into()
        } else {
            Selector { ids: self.ids, all: self.all, ..Selector::default() }
        };
        let reply = client.wait(WaitRequest { select, timeout: self.timeout }).await?;
        if context.json {
            context.screen.json(&reply)?;
        } else if !context.quiet {
            for task in &reply.tasks {
                let status = task.status.map_or("unknown", Status::as_str);
                let count = task.count.map_or_else(String::new, |count| format!(": {count}"));
                context.screen.line(format!("{} {status}{count}", task.tasks()))?;
            }
        }
        let exit = exit(&reply);
        if exit == Exit::TIMED_OUT {
            let open = |status: Option<Status>| status.is_some_and(|status| !status.is_terminal());
            let tasks = |task: &OperationResult| task.count.unwrap_or(task.tasks().len());
            let left: u64 = reply.tasks.iter().filter(|task| open(task.status)).map(tasks).sum();
            let left = text::count(usize::try_from(left).unwrap_or(usize::MAX), "task");
            writeln!(io::stderr(), "{PROGRAM}: timed out, not yet ended: {left}").ok();
        }
        Ok(exit)
    }
}

/// Every task of a workflow or session, those that have ended too: their status counts.
async fn tasks_of(
    client: &Client,
    workflow: Option<String>,
    session: Option<String>,
) -> Result<Vec<TaskRange>, Failure> {
    let query = ListQuery { workflow, session, limit: Some(0), ..ListQuery::default() };
    let (mut tasks, mut listing) = (Vec::new(), client.listing(query).await?);
    while let Some(listed) = listing.next().await {
        tasks.extend(listed?.iter().map(Task::tasks));
    }
    tasks.sort_unstable();
    Ok(tasks)
}

fn exit(reply: &WaitReply) -> Exit {
    let statuses = || reply.tasks.iter().map(|task| task.status);
    if statuses().any(|status| status.is_none()) {
        Exit::NOT_FOUND
    } else if !reply.done {
        Exit::TIMED_OUT
    } else if statuses().all(|status| status == Some(Status::Completed)) {
        Exit::DONE
    } else {
        Exit::UNSUCCESSFUL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_model::TaskId;

    #[test]
    fn the_exit_code_tells_how_the_wait_ended() {
        let reply = |done, statuses: &[Option<Status>]| WaitReply {
            done,
            tasks: statuses
                .iter()
                .map(|status| OperationResult::new(TaskId(1).into(), *status, None))
                .collect(),
        };
        let completed = Some(Status::Completed);
        assert_eq!(exit(&reply(true, &[])), Exit::DONE);
        assert_eq!(exit(&reply(true, &[completed])), Exit::DONE);
        assert_eq!(exit(&reply(true, &[completed, Some(Status::Skipped)])), Exit::UNSUCCESSFUL);
        assert_eq!(exit(&reply(false, &[completed, Some(Status::Running)])), Exit::TIMED_OUT);
        assert_eq!(exit(&reply(true, &[completed, None])), Exit::NOT_FOUND);
    }
}
