//! A list of tasks that is read as it comes, so that one of millions takes no more memory than a part of it.

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{self, BoxStream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use orchd_api::{ListQuery, Task, routes};
use orchd_model::limits;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::connection::{Call, Connection, Fault, broken};
use crate::{Client, Error};

/// The tasks of a list, a piece at a time: each piece has those that have come since the last one.
pub struct Listing {
    pieces: BoxStream<'static, Result<Vec<Task>, Error>>,
}

impl Client {
    /// Lists tasks as [`list`](Self::list) does, in pieces as they come.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), orchd_client::Error> {
    /// # let client = orchd_client::Client::connect_default().await?;
    /// use orchd_client::api::ListQuery;
    /// let mut listing = client.listing(ListQuery { limit: Some(0), ..ListQuery::default() }).await?;
    /// while let Some(tasks) = listing.next().await {
    ///     tasks?.iter().for_each(|task| println!("{} {}", task.id, task.status));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A refusal of the query, or no connection.
    pub async fn listing(&self, query: ListQuery) -> Result<Listing, Error> {
        let call = Call::query(routes::TASKS, &query)?;
        let (answer, connection) = self.transport.head(&call).await.map_err(Fault::into_error)?;
        let reader =
            Reader { body: answer.into_body(), elements: Elements::default(), _connection: connection };
        let pieces = stream::try_unfold(reader, |mut reader| async {
            Ok(reader.next().await?.map(|tasks| (tasks, reader)))
        });
        Ok(Listing { pieces: pieces.boxed() })
    }
}

impl Listing {
    /// The next tasks, at least one; none at the end of the list. After an error there is nothing more.
    ///
    /// # Errors
    /// The connection broke in the middle: what came is a part of the list.
    pub async fn next(&mut self) -> Option<Result<Vec<Task>, Error>> {
        self.pieces.next().await
    }
}

impl Stream for Listing {
    type Item = Result<Vec<Task>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_next_unpin(context)
    }
}

struct Reader {
    body: Incoming,
    elements: Elements,
    /// Dropping it would close the connection.
    _connection: Connection,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Vec<Task>>, Error> {
        loop {
            let Some(frame) = self.body.frame().await else {
                return match self.elements.place {
                    Place::After => Ok(None),
                    Place::Before | Place::Between | Place::Inside { .. } => {
                        Err(Error::Protocol("the list has no end".to_owned()))
                    }
                };
            };
            let piece: Bytes = frame.map_err(broken)?.into_data().unwrap_or_default();
            let mut tasks = Vec::new();
            self.elements.read(&piece, &mut |element| {
                tasks.push(serde_json::from_slice(element).map_err(|e| Error::Protocol(e.to_string()))?);
                Ok(())
            })?;
            if !tasks.is_empty() {
                return Ok(Some(tasks));
            }
        }
    }
}

/// Where in the array the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before its bracket.
    #[default]
    Before,
    /// Before an element, or the closing bracket.
    Between,
    /// In an element: so many brackets and braces are open, and it may be in a string, behind a backslash.
    Inside { depth: usize, is_text: bool, is_escaped: bool },
    /// Behind the closing bracket.
    After,
}

/// Cuts a JSON array of objects that comes in pieces into its elements.
///
/// Invariant: holds at most one unfinished element of [`limits::FRAME_BYTES`].
#[derive(Default)]
struct Elements {
    place: Place,
    begun: Vec<u8>,
}

impl Elements {
    fn read(&mut self, piece: &[u8], each: &mut impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut start = 0;
        for (position, byte) in piece.iter().enumerate() {
            let before = self.place;
            self.place = after(before, *byte)?;
            match (before, self.place) {
                (Place::Between, Place::Inside { .. }) => start = position,
                (Place::Inside { .. }, Place::Between) if self.begun.is_empty() => {
                    each(&piece[start..=position])?;
                }
                (Place::Inside { .. }, Place::Between) => {
                    self.begun.extend_from_slice(&piece[..=position]);
                    each(&std::mem::take(&mut self.begun))?;
                }
                _ => {}
            }
        }
        if matches!(self.place, Place::Inside { .. }) {
            self.begun.extend_from_slice(&piece[start..]);
        }
        match self.begun.len() > limits::FRAME_BYTES {
            true => Err(Error::Protocol("a task is over-large".to_owned())),
            false => Ok(()),
        }
    }
}

/// The place behind a byte.
fn after(place: Place, byte: u8) -> Result<Place, Error> {
    let inside = |depth, is_text| Place::Inside { depth, is_text, is_escaped: false };
    Ok(match (place, byte) {
        (Place::Inside { depth, is_text: true, is_escaped: true }, _) => inside(depth, true),
        (Place::Inside { depth, is_text: true, .. }, b'\\') => {
            Place::Inside { depth, is_text: true, is_escaped: true }
        }
        (Place::Inside { depth, is_text, .. }, b'"') => inside(depth, !is_text),
        (Place::Inside { depth, is_text: false, .. }, b'{' | b'[') => inside(depth + 1, false),
        (Place::Inside { depth: 1, is_text: false, .. }, b'}' | b']') => Place::Between,
        (Place::Inside { depth, is_text: false, .. }, b'}' | b']') => inside(depth - 1, false),
        (Place::Inside { .. }, _) => place,
        (Place::Before, b'[') => Place::Between,
        (Place::Between, b'{') => inside(1, false),
        (Place::Between, b']') => Place::After,
        (Place::Between, b',') => place,
        (_, byte) if byte.is_ascii_whitespace() => place,
        (Place::Before | Place::Between | Place::After, _) => {
            return Err(Error::Protocol("the answer is no list of tasks".to_owned()));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(pieces: &[&[u8]]) -> Result<(Vec<String>, Place), Error> {
        let (mut reader, mut found) = (Elements::default(), Vec::new());
        for piece in pieces {
            reader.read(piece, &mut |element| {
                found.push(String::from_utf8_lossy(element).into_owned());
                Ok(())
            })?;
        }
        Ok((found, reader.place))
    }

    #[test]
    fn elements_are_found_wherever_the_pieces_are_cut() {
        let list = br#" [{"a":"}]\"{\\"},{"b":[{},[1]]} , {"c":{"d":"x\\\\"}}]
"#;
        let expected =
            [r#"{"a":"}]\"{\\"}"#, r#"{"b":[{},[1]]}"#, r#"{"c":{"d":"x\\\\"}}"#].map(str::to_owned);
        for size in 1..=list.len() {
            let pieces: Vec<&[u8]> = list.chunks(size).collect();
            let (found, place) = elements(&pieces).unwrap();
            assert_eq!((found, place), (expected.to_vec(), Place::After), "in pieces of {size}");
        }
        assert_eq!(elements(&[b"[]"]).unwrap(), (Vec::new(), Place::After));
    }

    #[test]
    fn what_is_cut_off_or_no_list_is_noticed() {
        assert_ne!(elements(&[br#"[{"a":1}"#]).unwrap().1, Place::After);
        for text in ["{}", "[1]", "[] x", "null"] {
            assert!(elements(&[text.as_bytes()]).is_err(), "{text}");
        }
    }
}
