//! `hold` and `release`: keeping tasks from starting, and letting them go.

use clap::Args;
use orchd_model::TaskRange;

use crate::context::Context;
use crate::{Exit, Failure, operations};

#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// Tasks that do not run yet
    #[arg(required = true, value_name = "ID")]
    ids: Vec<TaskRange>,
}

impl Hold {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let results = context.client().await?.hold(self.ids).await?;
        operations::tell(context, &results, |_| "held".to_owned(), "not held")?;
        Ok(operations::exit(&results))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Tasks that are held
    #[arg(required = true, value_name = "ID")]
    ids: Vec<TaskRange>,
}

impl Release {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let results = context.client().await?.release(self.ids).await?;
        operations::tell(context, &results, |_| "released".to_owned(), "not released")?;
        Ok(operations::exit(&results))
    }
}
