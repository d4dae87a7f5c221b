//! `logs`: the output of a task.

use clap::Args;
use orchd_api::{LogQuery, LogStream};
use orchd_client::LogItem;
use orchd_model::{AttemptNumber, TaskId};

use crate::context::Context;
use crate::documents::OutputPiece;
use crate::{Exit, Failure, follow, output};

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The task
    id: TaskId,
    /// Go on until the task has ended
    #[arg(long, short)]
    follow: bool,
    /// Which attempt [default: the last]
    #[arg(long, value_name = "N")]
    attempt: Option<AttemptNumber>,
    /// Standard error instead of standard output
    #[arg(long, conflicts_with = "both")]
    stderr: bool,
    /// Standard output and standard error, each to where it belongs
    #[arg(long)]
    both: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "N")]
    tail: Option<u64>,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let stream = match (self.both, self.stderr) {
            (true, _) => LogStream::Both,
            (false, true) => LogStream::Stderr,
            (false, false) => LogStream::Stdout,
        };
        let query = LogQuery { attempt: self.attempt, stream, follow: self.follow, tail: self.tail };
        let mut logs = context.client().await?.logs(self.id, query).await?;
        while let Some(item) = logs.next().await {
            match item? {
                LogItem::Chunk(chunk) if context.json => context.screen.json(&OutputPiece::from(&chunk))?,
                LogItem::Chunk(chunk) if self.both => follow::write(&chunk, false)?,
                LogItem::Chunk(chunk) => {
                    output::write_now(&chunk.bytes().unwrap_or_default())?;
                }
                LogItem::End(_) => break,
            }
        }
        Ok(Exit::DONE)
    }
}
