//! `reprioritize`: another class for a task that has not ended.

use clap::Args;
use orchd_model::{Priority, TaskRange};

use crate::context::Context;
use crate::{Exit, Failure, operations, words};

#[derive(Debug, Args)]
pub(crate) struct Reprioritize {
    /// The task
    id: TaskRange,
    /// Its new class
    #[arg(value_name = "CLASS", value_parser = words::class())]
    priority: Priority,
}

impl Reprioritize {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let results = context.client().await?.reprioritize(vec![self.id], self.priority).await?;
        operations::tell(context, &results, |_| format!("is {}", self.priority), "not changed")?;
        Ok(operations::exit(&results))
    }
}
