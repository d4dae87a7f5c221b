//! `run`: a command through the daemon, as if it ran here.

use clap::Args;

use crate::context::Context;
use crate::interrupt::Interrupt;
use crate::spec_options::SpecOptions;
use crate::{Exit, Failure, Submitter, follow};

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    spec: SpecOptions,
}

impl Run {
    /// With `--json` the output of the command goes to standard error, and the task as it ended is the one
    /// document on standard output.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        if self.spec.array.is_some() {
            let message = "run shows one task, not an array: --array\nhint: orchctl add --array … --wait";
            return Err(Failure::Usage(message.to_owned()));
        }
        let spec = self.spec.spec(&Submitter::here(self.spec.env_all)?)?;
        let client = context.client().await?;
        // From here on an interrupt must reach the task, even while it is being added.
        let (mut interrupt, mut twice) = (Interrupt::listen()?, Interrupt::listen()?);
        let task = tokio::select! {
            task = client.submit(spec) => task?,
            // A daemon that does not answer is not waited for.
            () = async { twice.come().await; twice.come().await } => return Ok(Exit::INTERRUPTED),
        };
        let followed = follow::task(&client, task.id, context.json, Some(&mut interrupt)).await;
        let ended = match followed {
            // Nobody reads our output any more, as a command in a pipe would learn by SIGPIPE.
            Err(failure) if failure.is_broken_pipe() => {
                task.cancel().await?;
                return Ok(Exit::of_signal(13));
            }
            other => other?,
        };
        if context.json {
            context.screen.json(&task.get().await?)?;
        }
        Ok(ended.as_command())
    }
}
