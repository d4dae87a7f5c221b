//! A stream of server-sent events that is opened again when it breaks.
//!
//! To say where to go on is the caller's part: it builds the request anew from what it has seen.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::io;

use crate::backoff::Backoff;
use crate::connection::{Call, Connection, Fault, broken};
use crate::sse::{SseEvent, SseReader};
use crate::{Client, Error};

struct Open {
    body: Incoming,
    reader: SseReader,
    ready: VecDeque<SseEvent>,
    /// Dropping it would close the connection.
    _connection: Connection,
}

impl Open {
    /// The next event; none at a clean end.
    async fn next(&mut self) -> Result<Option<SseEvent>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let piece: Bytes = frame.map_err(broken)?.into_data().unwrap_or_default();
            let mut events = Vec::new();
            self.reader
                .read(&piece, &mut events)
                .map_err(|_| Error::Protocol("an event is over-large".to_owned()))?;
            self.ready.extend(events);
        }
    }
}

/// What a stream says next.
pub(crate) enum Next {
    /// An event.
    Event(SseEvent),
    /// The daemon ended the stream.
    End,
}

pub(crate) struct Source {
    client: Client,
    open: Option<Open>,
    backoff: Backoff,
}

impl Source {
    /// Sends the request once; a stream that never began is an error.
    pub(crate) async fn start(client: Client, call: &Call) -> Result<Self, Error> {
        let mut source = Self { backoff: client.transport.backoff(), client, open: None };
        source.reopen(call).await?;
        Ok(source)
    }

    /// The next event, over as many connections as it takes; `again` builds the request that goes on.
    pub(crate) async fn next(
        &mut self,
        again: impl Fn() -> Result<Call, Error> + Send,
    ) -> Result<Next, Error> {
        loop {
            let Some(open) = &mut self.open else {
                self.reopen(&again()?).await?;
                continue;
            };
            match open.next().await {
                Ok(Some(event)) => {
                    self.backoff.reset();
                    return Ok(Next::Event(event));
                }
                Ok(None) => return Ok(Next::End),
                Err(Error::Io(error)) => {
                    self.client.transport.tell_outage(&mut self.backoff);
                    self.interrupt(error).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves the stream as it is and opens it again for the next event. Waits in between, so that a daemon
    /// that ends every stream at once is not asked all the time.
    pub(crate) async fn interrupt(&mut self, error: io::Error) -> Result<(), Error> {
        self.open = None;
        if self.backoff.pause().await { Ok(()) } else { Err(Error::Io(error)) }
    }

    async fn reopen(&mut self, call: &Call) -> Result<(), Error> {
        let transport = self.client.transport.clone();
        loop {
            let error = match transport.head(call).await {
                Ok((answer, connection)) => {
                    self.open = Some(Open {
                        body: answer.into_body(),
                        reader: SseReader::default(),
                        ready: VecDeque::new(),
                        _connection: connection,
                    });
                    return Ok(());
                }
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Unsent(error) | Fault::Lost(error)) => error,
            };
            if !transport.has_met_daemon() {
                return Err(error);
            }
            transport.tell_outage(&mut self.backoff);
            if !self.backoff.pause().await {
                return Err(error);
            }
        }
    }
}

/// The daemon ended a stream that should have gone on.
pub(crate) fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon ended the stream")
}
