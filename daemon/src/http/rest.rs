//! The rest of a request that was answered before all of it had come.
//!
//! Whoever is still sending would find the connection closed, and many then do not look at the answer. So what the
//! handler leaves is received and forgotten, for a while.

use axum::body::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Whoever has not seen its answer by then does not look for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The body of a request, whose rest is received when its handler drops it.
pub struct Received(Option<Incoming>);

impl Received {
    /// A body of which nothing has been read.
    pub fn new(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(PATIENCE, receive(body)));
        }
    }
}

async fn receive(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {
        // One who sends fast must not keep this thread from others.
        tokio::task::consume_budget().await;
    }
}
