//! `retry`: a new run of ended tasks.

use clap::Args;
use orchd_api::OperationResult;
use orchd_model::TaskRange;

use crate::context::Context;
use crate::{Exit, Failure, operations};

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The failed, skipped or cancelled tasks
    #[arg(required = true, value_name = "ID")]
    ids: Vec<TaskRange>,
}

impl Retry {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let results = context.client().await?.retry(self.ids).await?;
        let done = |result: &OperationResult| result.status.unwrap_or_default().to_string();
        operations::tell(context, &results, done, "not retried")?;
        Ok(operations::exit(&results))
    }
}
