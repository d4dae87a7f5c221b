//! `completions` and `manual`: what shells and man(1) want to know, from the definitions of the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::command_line::{CommandLine, PROGRAM};
use crate::context::Context;
use crate::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) async fn run(self, _: &Context) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut CommandLine::command(), PROGRAM, &mut script);
        io::stdout().lock().write_all(&script)?;
        Ok(Exit::DONE)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Manual {
    /// Where the pages go; it is made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Manual {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let unwritable = |error: io::Error| {
            Failure::Usage(format!("cannot write into {}: {error}", self.directory.display()))
        };
        std::fs::create_dir_all(&self.directory).map_err(unwritable)?;
        clap_mangen::generate_to(CommandLine::command(), &self.directory).map_err(unwritable)?;
        if !context.quiet {
            let first = self.directory.join(format!("{PROGRAM}.1"));
            context.screen.line(format!("read it with: man {}", first.display()))?;
        }
        Ok(Exit::DONE)
    }
}
