//! What is made of the definition of a command line, of orchctl's and of orchd's: completions and man pages.

use clap::{Arg, Args, Command};
use clap_complete::Shell;
use std::io;
use std::path::PathBuf;

use crate::{Failure, output};

/// For which shell.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the completions of a program.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn print(&self, command: Command, program: &'static str) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut visible(command, program), program, &mut script);
        Ok(output::write(&script)?)
    }
}

/// A program without the verbs that nobody types.
fn visible(command: Command, program: &'static str) -> Command {
    if !command.get_subcommands().any(Command::is_hide_set) {
        return command;
    }
    let verbs: Vec<Command> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
    let options: Vec<Arg> = command.get_arguments().cloned().collect();
    Command::new(program).version(env!("CARGO_PKG_VERSION")).args(options).subcommands(verbs)
}

/// Where the pages go.
#[derive(Debug, Args)]
pub struct ManualArgs {
    /// Where the pages go; it is made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl ManualArgs {
    /// Writes the man pages of a program, one for it and one for each of its verbs. Gives the first one.
    ///
    /// # Errors
    /// When the directory cannot be made or written into.
    pub fn write(&self, command: Command, program: &str) -> Result<PathBuf, Failure> {
        let unwritable = |error: io::Error| {
            Failure::Usage(format!("cannot write into {}: {error}", self.directory.display()))
        };
        std::fs::create_dir_all(&self.directory).map_err(unwritable)?;
        clap_mangen::generate_to(command, &self.directory).map_err(unwritable)?;
        Ok(self.directory.join(format!("{program}.1")))
    }
}
