//! The stream of events.

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use orchd_api::{Event, EventQuery, routes};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::connection::Call;
use crate::source::{Next, Source, ended_early};
use crate::{Client, Error};

/// What the daemon says to a subscriber that was too slow: the events in between are to be read again.
const LAGGED: &str = "lagged";
/// What it says to one that wants to read what is not kept any more: handed on, for nothing can be done about it.
const TRIMMED: &str = "trimmed";

/// Events in their total order, without gaps: after a broken connection, and after the daemon dropped some
/// because they were not read fast enough, the stream goes on behind the last event that was seen.
pub struct Events {
    stream: BoxStream<'static, Result<Event, Error>>,
}

impl Events {
    pub(crate) async fn open(client: Client, mut query: EventQuery) -> Result<Self, Error> {
        // "From now" must mean the same instant after a reconnection.
        if query.since.is_none() && !query.no_follow {
            query.since = Some(client.stats().await?.store.sequence.0);
        }
        let source = Source::start(client, &call(&query)?).await?;
        let reader = Some(Reader { source, query });
        let stream = stream::unfold(reader, |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(event)) => Some((Ok(event), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Self { stream: stream.boxed() })
    }

    /// The next event; none when the stream has ended as the query asked (`limit`, `no_follow`). After an
    /// error there is nothing more.
    ///
    /// # Errors
    /// The daemon stayed away, or refused to go on.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.stream.next().await
    }
}

impl Stream for Events {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(context)
    }
}

fn call(query: &EventQuery) -> Result<Call, Error> {
    Ok(Call::query(routes::EVENTS, query)?.events())
}

struct Reader {
    source: Source,
    /// What is still wanted: behind the last event, and so many.
    query: EventQuery,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if self.query.limit == Some(0) {
                return Ok(None);
            }
            let query = &self.query;
            let found = match self.source.next(|| call(query)).await? {
                Next::End if self.query.no_follow => return Ok(None),
                Next::End => {
                    self.source.interrupt(ended_early()).await?;
                    continue;
                }
                Next::Event(found) => found,
            };
            if found.name == LAGGED {
                self.source.interrupt(ended_early()).await?;
                continue;
            }
            let event: Event =
                serde_json::from_str(&found.data).map_err(|e| Error::Protocol(e.to_string()))?;
            if event.kind == LAGGED {
                self.source.interrupt(ended_early()).await?;
                continue;
            }
            // What was seen already can come again after a reconnection.
            if self.query.since.is_some_and(|seen| event.sequence.0 <= seen) {
                continue;
            }
            self.query.since = Some(event.sequence.0);
            if event.kind != TRIMMED {
                self.query.limit = self.query.limit.map(|left| left - 1);
            }
            return Ok(Some(event));
        }
    }
}
