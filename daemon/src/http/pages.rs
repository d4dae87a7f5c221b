//! A JSON array that is sent page by page as the client reads it: an array of millions takes no more memory than a
//! page.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{iter, unfold};
use orchd_model::Refusal;
use serde::Serialize;
use std::future::Future;
use std::io;

use super::answer::Refused;

/// Where the pages come from.
pub trait Pages: Send + 'static {
    /// What is in the array.
    type Item: Serialize;

    /// The next page, or nothing at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<Self::Item>>, Refusal>> + Send;
}

struct Sending<P> {
    pages: P,
    is_first: bool,
}

impl<P: Pages> Sending<P> {
    /// A page as JSON, with a comma between it and what was sent before.
    async fn next_text(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(page) = self.pages.next().await? else { return Ok(None) };
        let mut text = Vec::new();
        for item in page {
            if !std::mem::take(&mut self.is_first) {
                text.push(b',');
            }
            // Writing to memory cannot fail, and these types are plain.
            drop(serde_json::to_writer(&mut text, &item));
        }
        Ok(Some(text.into()))
    }
}

/// Answers with the array. What goes wrong before the first byte can still be told as what it is; later the answer is
/// cut off, which no client takes for an array.
///
/// # Errors
/// What the first page is refused for.
pub async fn answer<P: Pages>(pages: P) -> Result<Response, Refused> {
    let mut sending = Sending { pages, is_first: true };
    let first = sending.next_text().await?.unwrap_or_default();
    let rest = unfold(Some(sending), |sending| async {
        let mut sending = sending?;
        match sending.next_text().await {
            Ok(Some(text)) => Some((Ok(text), Some(sending))),
            Ok(None) => Some((Ok(Bytes::from_static(b"]")), None)),
            Err(refusal) => Some((Err(io::Error::other(refusal.to_string())), None)),
        }
    });
    let body = iter([Ok(Bytes::from_static(b"[")), Ok(first)]).chain(rest);
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}
