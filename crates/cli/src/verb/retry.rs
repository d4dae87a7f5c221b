//! `retry`: a new run of ended tasks.

use clap::Args;
use orchd_model::TaskId;

use crate::context::Context;
use crate::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The failed, skipped or cancelled tasks
    #[arg(required = true, value_name = "ID")]
    ids: Vec<TaskId>,
}

impl Retry {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let results = context.client().await?.retry(self.ids).await?;
        if context.json {
            context.screen.json(&results)?;
        } else {
            for result in &results {
                let id = result.id;
                context.screen.line(match (&result.error, result.status) {
                    (Some(error), Some(_)) => format!("{id} not retried: {}", error.message),
                    (_, None) => format!("{id} not retried: no such task"),
                    (None, Some(status)) => format!("{id} {status}"),
                })?;
            }
        }
        Ok(if results.iter().any(|result| result.status.is_none()) {
            Exit::NOT_FOUND
        } else {
            let first = results.iter().find_map(|result| result.error.as_ref());
            first.map_or(Exit::DONE, |error| Exit::of_code(error.code))
        })
    }
}
