//! `completions` and `manual`: what shells and man(1) want to know, from the definitions of the command line.

use clap::CommandFactory;

use crate::command_line::{CommandLine, PROGRAM};
use crate::context::Context;
use crate::definitions::{CompletionsArgs, ManualArgs};
use crate::{Exit, Failure};

pub(crate) type Completions = CompletionsArgs;
pub(crate) type Manual = ManualArgs;

impl Completions {
    pub(crate) async fn run(self, _: &Context) -> Result<Exit, Failure> {
        self.print(CommandLine::command(), PROGRAM)?;
        Ok(Exit::DONE)
    }
}

impl Manual {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let first = self.write(CommandLine::command(), PROGRAM)?;
        if !context.quiet {
            context.screen.line(format!("read it with: man {}", first.display()))?;
        }
        Ok(Exit::DONE)
    }
}
