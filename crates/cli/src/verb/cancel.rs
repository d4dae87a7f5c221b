//! `cancel`: by ids, or everything of a tag, session, workflow, or all, that has not ended.

use clap::{ArgGroup, Args};
use orchd_api::{OperationResult, Selector, WorkflowQuery};
use orchd_client::Client;
use orchd_model::{Code, Status, TaskRange, WorkflowStatus};

use crate::context::Context;
use crate::{Exit, Failure, operations};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)
    .args(["ids", "tag", "session", "workflow", "all"])))]
pub(crate) struct Cancel {
    /// These tasks
    #[arg(value_name = "ID", conflicts_with_all = ["tag", "session", "workflow", "all"])]
    ids: Vec<TaskRange>,
    /// Those with this tag that have not ended
    #[arg(long)]
    tag: Option<String>,
    /// Those of this session that have not ended
    #[arg(long, value_name = "S")]
    session: Option<String>,
    /// Those of this workflow that have not ended
    #[arg(long, value_name = "W")]
    workflow: Option<String>,
    /// All that have not ended
    #[arg(long, conflicts_with_all = ["tag", "session", "workflow"])]
    all: bool,
}

impl Cancel {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let workflow = self.workflow.clone();
        let select = Selector {
            ids: self.ids,
            tag: self.tag,
            session: self.session,
            workflow: self.workflow,
            all: self.all,
        };
        let client = context.client().await?;
        let results = client.cancel(select).await?;
        if results.is_empty() && !context.json {
            if !context.quiet {
                context.screen.line(nothing(&client, workflow).await?)?;
            }
        } else {
            operations::tell(context, &results, done, "not cancelled")?;
        }
        Ok(exit(&results))
    }
}

/// Why nothing was cancelled.
async fn nothing(client: &Client, workflow: Option<String>) -> Result<&'static str, Failure> {
    let query = WorkflowQuery { name: workflow.clone(), limit: Some(1), ..WorkflowQuery::default() };
    let is_open = workflow.is_some()
        && client
            .list_workflows(query)
            .await?
            .iter()
            .any(|workflow| workflow.status == WorkflowStatus::Running);
    Ok(match is_open {
        true => "nothing to cancel but what is done at the end of the workflow: once more cancels that, too",
        false => "nothing to cancel",
    })
}

fn done(result: &OperationResult) -> String {
    // The processes of one that runs are being ended.
    if result.status == Some(Status::Running) { "cancelled, ending" } else { "cancelled" }.to_owned()
}

fn exit(results: &[OperationResult]) -> Exit {
    if results.iter().any(|result| result.status.is_none()) {
        Exit::NOT_FOUND
    } else if results.iter().any(is_foreign) {
        Exit::NOT_PERMITTED
    } else if results.iter().any(|result| result.error.is_some()) {
        Exit::UNSUCCESSFUL
    } else {
        Exit::DONE
    }
}

fn is_foreign(result: &OperationResult) -> bool {
    result.error.as_ref().is_some_and(|error| error.code == Code::NotPermitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_model::{Refusal, TaskId};

    #[test]
    fn each_result_has_its_word_and_the_worst_decides_the_code() {
        let result = |status, error| OperationResult::new(TaskId(12).into(), status, error);
        let ended = Refusal::new(Code::WrongState, "it has ended: completed");
        let good = result(Some(Status::Cancelled), None);
        let ended = result(Some(Status::Completed), Some(ended));
        let unknown = result(None, Some(Refusal::new(Code::NotFound, "no such task")));
        assert_eq!(done(&good), "cancelled");
        assert_eq!(done(&result(Some(Status::Running), None)), "cancelled, ending");
        assert_eq!(exit(&[]), Exit::DONE);
        assert_eq!(exit(std::slice::from_ref(&good)), Exit::DONE);
        assert_eq!(exit(&[good.clone(), ended.clone()]), Exit::UNSUCCESSFUL);
        let foreign =
            result(Some(Status::Running), Some(Refusal::new(Code::NotPermitted, "another user's task")));
        assert_eq!(exit(&[good.clone(), ended.clone(), foreign]), Exit::NOT_PERMITTED);
        assert_eq!(exit(&[good, ended, unknown]), Exit::NOT_FOUND);
    }
}
