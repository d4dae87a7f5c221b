//! `cancel`: by ids, or everything of a tag, session, workflow, or all, that has not ended.

use clap::{ArgGroup, Args};
use orchd_api::{OperationResult, Selector};
use orchd_model::{Status, TaskId};

use crate::context::Context;
use crate::{Exit, Failure};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)
    .args(["ids", "tag", "session", "workflow", "all"])))]
pub(crate) struct Cancel {
    /// These tasks
    #[arg(value_name = "ID")]
    ids: Vec<TaskId>,
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
    #[arg(long)]
    all: bool,
}

impl Cancel {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let select = Selector {
            ids: self.ids,
            tag: self.tag,
            session: self.session,
            workflow: self.workflow,
            all: self.all,
        };
        let results = context.client().await?.cancel(select).await?;
        if context.json {
            context.screen.json(&results)?;
        } else if results.is_empty() {
            context.screen.line("nothing to cancel")?;
        } else {
            results.iter().try_for_each(|result| context.screen.line(sentence(result)))?;
        }
        Ok(exit(&results))
    }
}

fn sentence(result: &OperationResult) -> String {
    let id = result.id;
    match (&result.error, result.status) {
        (Some(error), Some(_)) => format!("{id} not cancelled: {}", error.message),
        (_, None) => format!("{id} not cancelled: no such task"),
        // Its processes are being ended.
        (None, Some(Status::Running)) => format!("{id} cancelled, ending"),
        (None, Some(_)) => format!("{id} cancelled"),
    }
}

fn exit(results: &[OperationResult]) -> Exit {
    if results.iter().any(|result| result.status.is_none()) {
        Exit::NOT_FOUND
    } else if results.iter().any(|result| result.error.is_some()) {
        Exit::UNSUCCESSFUL
    } else {
        Exit::DONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_model::{Code, Refusal};

    #[test]
    fn each_result_has_its_sentence_and_the_worst_decides_the_code() {
        let result = |status, error| OperationResult { id: TaskId(12), status, error };
        let ended = Refusal::new(Code::WrongState, "it has ended: completed");
        let good = result(Some(Status::Cancelled), None);
        let ended = result(Some(Status::Completed), Some(ended));
        let unknown = result(None, Some(Refusal::new(Code::NotFound, "no such task")));
        assert_eq!(sentence(&good), "12 cancelled");
        assert_eq!(sentence(&ended), "12 not cancelled: it has ended: completed");
        assert_eq!(sentence(&unknown), "12 not cancelled: no such task");
        assert_eq!(exit(&[]), Exit::DONE);
        assert_eq!(exit(std::slice::from_ref(&good)), Exit::DONE);
        assert_eq!(exit(&[good.clone(), ended.clone()]), Exit::UNSUCCESSFUL);
        assert_eq!(exit(&[good, ended, unknown]), Exit::NOT_FOUND);
    }
}
