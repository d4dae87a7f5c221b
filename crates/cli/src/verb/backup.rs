//! `backup`: copies the store of a working daemon to a new file.

use clap::Args;
use std::path::PathBuf;

use crate::context::Context;
use crate::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The new file; the daemon writes it
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Backup {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let path = std::path::absolute(&self.file)
            .map_err(|error| Failure::Usage(format!("not a path: {}: {error}", self.file.display())))?;
        let done = context.client().await?.backup(&path).await?;
        if context.json {
            context.screen.json(&done)?;
        } else if !context.quiet {
            context.screen.line(format!("{} bytes: {}", done.bytes, done.path))?;
        }
        Ok(Exit::DONE)
    }
}
