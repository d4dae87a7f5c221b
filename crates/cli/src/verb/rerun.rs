//! Workflows that go on: `workflow pause`, `workflow resume`, `workflow rerun`.

use clap::Args;
use orchd_api::PauseRequest;
use orchd_model::WorkflowId;
use std::path::PathBuf;

use super::pause::pause;
use super::workflow::{carry_out, named};
use crate::context::Context;
use crate::{Exit, Failure, Submission};

/// Which workflow, of which session.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Its name or id
    #[arg(value_name = "W")]
    workflow: String,
    /// The session it belongs to, if others have one of this name
    #[arg(long, value_name = "S")]
    session: Option<String>,
}

/// How it is followed.
#[derive(Debug, Args)]
pub(super) struct Following {
    /// Return at once
    #[arg(long)]
    detach: bool,
    /// Keep the result as a JSON document in this file, as far as there is one by then
    #[arg(long, value_name = "FILE", conflicts_with = "detach")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    following: Following,
}

#[derive(Debug, Args)]
pub(super) struct Rerun {
    #[command(flatten)]
    named: Named,
    /// The task to begin from, by its name or id; more than once for more of them
    #[arg(long, value_name = "TASK", required = true)]
    from: Vec<String>,
    #[command(flatten)]
    following: Following,
}

impl Rerun {
    pub(super) fn detaches(&self) -> bool {
        self.following.detach
    }

    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        self.named.goes_on(context, self.following, |workflow| Submission::Rerun(workflow, self.from)).await
    }
}

impl Resume {
    pub(super) fn detaches(&self) -> bool {
        self.following.detach
    }

    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        self.named.goes_on(context, self.following, Submission::Resume).await
    }
}

impl Named {
    async fn goes_on(
        self,
        context: &Context,
        following: Following,
        how: impl FnOnce(WorkflowId) -> Submission,
    ) -> Result<Exit, Failure> {
        let client = context.client().await?;
        let workflow = named(&client, self.workflow, self.session).await?.id;
        carry_out(context, &client, how(workflow), following.detach, following.output).await
    }

    /// No new starts of its tasks.
    pub(super) async fn pause(self, context: &Context) -> Result<Exit, Failure> {
        let workflow = named(&context.client().await?, self.workflow, self.session).await?.id;
        pause(context, PauseRequest { workflow: Some(workflow.to_string()), ..PauseRequest::default() }).await
    }
}
