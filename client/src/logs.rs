//! The stream of a task's output.

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use orchd_api::{LogChunk, LogEnd, LogQuery, LogStream, routes};
use orchd_model::{AttemptNumber, TaskId};
use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::connection::Call;
use crate::source::{Next, Source, ended_early};
use crate::{Client, Error};

/// A piece of output, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// A piece of output.
    Chunk(LogChunk),
    /// There is no more; how the task stands.
    End(LogEnd),
}

/// The output of a task. After a broken connection it goes on at the byte behind the last one that was seen.
pub struct Logs {
    stream: BoxStream<'static, Result<LogItem, Error>>,
}

impl Logs {
    pub(crate) async fn open(client: Client, id: TaskId, query: LogQuery) -> Result<Self, Error> {
        let source = Source::start(client, &call(id, &query)?).await?;
        let reader = Some(Reader { source, id, query, seen: HashMap::new() });
        let stream = stream::unfold(reader, |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(LogItem::Chunk(chunk)) => Some((Ok(LogItem::Chunk(chunk)), Some(reader))),
                end => Some((end, None)),
            }
        });
        Ok(Self { stream: stream.boxed() })
    }

    /// The next piece; the last one is [`LogItem::End`].
    ///
    /// # Errors
    /// The daemon stayed away, or refused to go on.
    pub async fn next(&mut self) -> Option<Result<LogItem, Error>> {
        self.stream.next().await
    }
}

impl Stream for Logs {
    type Item = Result<LogItem, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(context)
    }
}

fn call(id: TaskId, query: &LogQuery) -> Result<Call, Error> {
    Ok(Call::query(&routes::with_id(routes::TASK_LOGS, id.0), query)?.events())
}

struct Reader {
    source: Source,
    id: TaskId,
    query: LogQuery,
    /// Bytes seen of each output, from its beginning.
    seen: HashMap<(AttemptNumber, LogStream), u64>,
}

impl Reader {
    async fn next(&mut self) -> Result<LogItem, Error> {
        loop {
            let (id, query) = (self.id, &self.query);
            let found = match self.source.next(|| call(id, query)).await? {
                Next::Event(found) => found,
                Next::End => {
                    self.source.interrupt(ended_early()).await?;
                    continue;
                }
            };
            let unreadable = |e: serde_json::Error| Error::Protocol(e.to_string());
            match found.name.as_str() {
                "chunk" => {
                    let chunk = serde_json::from_str(&found.data).map_err(unreadable)?;
                    if let Some(chunk) = self.unseen(chunk)? {
                        return Ok(LogItem::Chunk(chunk));
                    }
                }
                "end" => return serde_json::from_str(&found.data).map(LogItem::End).map_err(unreadable),
                // An event of a later version.
                _ => {}
            }
        }
    }

    /// The part of a piece that was not seen before a reconnection.
    fn unseen(&mut self, chunk: LogChunk) -> Result<Option<LogChunk>, Error> {
        let bytes = chunk.bytes().ok_or_else(|| Error::Protocol("output that is no base64".to_owned()))?;
        let end = chunk.offset + bytes.len() as u64;
        let seen = self.seen.entry((chunk.attempt, chunk.stream)).or_insert(chunk.offset);
        // What follows is asked for by position and no longer by lines from the end.
        self.query.tail = None;
        let from = seen.saturating_sub(chunk.offset);
        *seen = end.max(*seen);
        Ok(match usize::try_from(from) {
            Ok(0) => Some(chunk),
            Ok(from) if from < bytes.len() => {
                Some(LogChunk::new(chunk.attempt, chunk.stream, chunk.offset + from as u64, &bytes[from..]))
            }
            _ => None,
        })
    }
}
