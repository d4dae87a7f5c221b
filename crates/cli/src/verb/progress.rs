//! `progress`: a task says how far it has come.

use clap::Args;
use orchd_api::ProgressRequest;
use orchd_model::{Percentage, Token};

use crate::context::Context;
use crate::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct Progress {
    /// How much is done, 0 to 100; without it, as much as it said before
    #[arg(value_name = "PERCENT", allow_negative_numbers = true, required_unless_present = "message")]
    percentage: Option<Percentage>,
    /// What it is at
    #[arg(long, short, value_name = "M")]
    message: Option<String>,
    /// The attempt that says so
    #[arg(long, env = "ORCHD_TOKEN", hide_env_values = true)]
    token: Option<Token>,
}

impl Progress {
    /// Without a word, like everything that is called within a script; with `--json` it says what was told.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let nobody = "whose progress it is is not said: neither --token nor $ORCHD_TOKEN is given\n\
                      hint: a task finds its token in $ORCHD_TOKEN; outside of one name the attempt by --token";
        let token = self.token.ok_or_else(|| Failure::Usage(nobody.to_owned()))?;
        let request = ProgressRequest { token, percentage: self.percentage, message: self.message };
        context.client().await?.progress(request.clone()).await?;
        if context.json {
            context.screen.json(&request)?;
        }
        Ok(Exit::DONE)
    }
}
