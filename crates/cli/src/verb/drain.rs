//! `drain`: nothing new starts; returns when nothing runs.

use clap::Args;
use orchd_model::Span;
use std::io::{self, Write};

use crate::command_line::PROGRAM;
use crate::context::Context;
use crate::{Exit, Failure, text};

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Stop waiting after this time, 0 does not wait; nothing new starts all the same
    #[arg(long, value_name = "DUR")]
    timeout: Option<Span>,
}

impl Drain {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let reply = context.client().await?.drain(self.timeout).await?;
        if context.json {
            context.screen.json(&reply)?;
        } else if reply.done && !context.quiet {
            context.screen.line("drained: nothing runs, nothing starts until: orchctl resume")?;
        }
        if reply.done {
            return Ok(Exit::DONE);
        }
        let running = text::count(usize::try_from(reply.running).unwrap_or(usize::MAX), "task");
        let hint = "hint: nothing new starts until: orchctl resume";
        writeln!(io::stderr(), "{PROGRAM}: timed out, still running: {running}\n{hint}").ok();
        Ok(Exit::TIMED_OUT)
    }
}
