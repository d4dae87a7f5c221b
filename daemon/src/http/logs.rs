//! The output of tasks: read as it stands, or followed while it grows.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response, Sse, sse};

use orchd_api::{LogChunk, LogEnd, LogQuery, LogStream};
use orchd_model::{AttemptNumber, Code, Refusal, TaskId, Token};
use orchd_store::StoredTask;
use orchd_worker::{StatePaths, Stream};
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Id, Query, Refused};
use super::tasks::unknown;
use super::{Shell, cut};
use crate::feed::Subscription;

/// Bytes of output in one piece.
const PIECE_BYTES: usize = 64 << 10;
/// How often a growing file is looked at while somebody follows it.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Sends output: plain bytes, or server-sent events where those are asked for.
pub async fn logs(
    State(shell): State<Arc<Shell>>,
    Id(id): Id,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    let wants_events = accept.contains("text/event-stream");
    if query.stream == LogStream::Both && !wants_events {
        return Err(Refusal::new(Code::Malformed, "both outputs at once need server-sent events")
            .hint("ask with Accept: text/event-stream")
            .into());
    }
    let reader = Reader::open(shell, TaskId(id), query).await?;
    if wants_events {
        return Ok(Sse::new(as_events(reader)).into_response());
    }
    let pieces = futures_util::stream::unfold(reader, |mut reader| async {
        loop {
            match reader.next().await {
                Some(Item::Piece { bytes, .. }) => return Some((Ok(bytes), reader)),
                Some(Item::CutShort) => {
                    return Some((Err(io::Error::other("the daemon is stopping")), reader));
                }
                Some(Item::End(_)) => {}
                None => return None,
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(pieces)).into_response())
}

fn as_events(reader: Reader) -> impl futures_util::Stream<Item = Result<sse::Event, Infallible>> {
    futures_util::stream::unfold(reader, |mut reader| async {
        let event = match reader.next().await? {
            Item::Piece { attempt, stream, offset, bytes } => {
                let chunk = LogChunk::new(attempt, stream, offset, &bytes);
                sse::Event::default().event("chunk").data(serde_json::to_string(&chunk).unwrap_or_default())
            }
            Item::End(end) => {
                sse::Event::default().event("end").data(serde_json::to_string(&end).unwrap_or_default())
            }
            // A stream without its end: whoever reads it asks again for the rest.
            Item::CutShort => return None,
        };
        Some((Ok(event), reader))
    })
}

enum Item {
    Piece {
        attempt: AttemptNumber,
        stream: LogStream,
        offset: u64,
        bytes: Vec<u8>,
    },
    End(LogEnd),
    /// There is more, but the daemon cannot go on.
    CutShort,
}

/// One output of one attempt that is being read.
struct Source {
    stream: LogStream,
    file: Option<File>,
    offset: u64,
    /// Lines from the end to begin with, until that is found.
    tail: Option<u64>,
}

/// Reads the output of a task, attempt after attempt.
struct Reader {
    shell: Arc<Shell>,
    task: TaskId,
    query: LogQuery,
    feed: Subscription,
    attempt: AttemptNumber,
    sources: Vec<Source>,
    ended: bool,
    /// The files of this attempt are complete: what is read to their ends is all.
    complete: bool,
}

impl Reader {
    async fn open(shell: Arc<Shell>, task: TaskId, query: LogQuery) -> Result<Self, Refusal> {
        let feed = shell.feed.subscribe();
        let stored = load(&shell, task).await?;
        let last = stored.record.attempts;
        let attempt = query.attempt.unwrap_or(last);
        if attempt > last || (query.attempt.is_some() && attempt.0 == 0) {
            let had = if last.0 == 1 { "attempt" } else { "attempts" };
            return Err(Refusal::new(Code::NotFound, format!("task {task} has had {last} {had}"))
                .value(attempt.to_string()));
        }
        let mut reader =
            Self { shell, task, query, feed, attempt, sources: Vec::new(), ended: false, complete: false };
        reader.begin_attempt(attempt);
        Ok(reader)
    }

    fn begin_attempt(&mut self, attempt: AttemptNumber) {
        let streams: &[LogStream] = match self.query.stream {
            LogStream::Stdout => &[LogStream::Stdout],
            LogStream::Stderr => &[LogStream::Stderr],
            LogStream::Both => &[LogStream::Stdout, LogStream::Stderr],
        };
        let source =
            |stream: &LogStream| Source { stream: *stream, file: None, offset: 0, tail: self.query.tail };
        self.sources = streams.iter().map(source).collect();
        self.attempt = attempt;
        self.complete = false;
    }

    async fn next(&mut self) -> Option<Item> {
        loop {
            if self.ended {
                return None;
            }
            // Whether the attempt is over is asked before its files are read: what is read after that is all
            // of it.
            self.notice_end();
            if let Some(piece) = self.read_piece() {
                return Some(piece);
            }
            if let Some(end) = self.settle().await {
                self.ended = true;
                return Some(end);
            }
        }
    }

    fn read_piece(&mut self) -> Option<Item> {
        for index in 0..self.sources.len() {
            let path = self.path(self.sources[index].stream);
            let source = &mut self.sources[index];
            if source.file.is_none() {
                source.file = path.and_then(|path| File::open(path).ok());
            }
            let Some(file) = &source.file else { continue };
            let begin = source.tail.map_or(source.offset, |lines| tail_offset(file, lines).unwrap_or(0));
            let Ok((bytes, after)) = cut::read(file, begin, PIECE_BYTES) else { continue };
            if !self.is_still_mine() {
                self.sources[index].file = None;
                continue;
            }
            let source = &mut self.sources[index];
            (source.tail, source.offset) = (None, begin);
            if !bytes.is_empty() {
                source.offset = after;
                return Some(Item::Piece {
                    attempt: self.attempt,
                    stream: source.stream,
                    offset: begin,
                    bytes,
                });
            }
        }
        None
    }

    /// Whether what was just read is this attempt's. The worker may have ended it and given its spool to
    /// the next one, and the daemon not have heard of it: then it is read again, from where the output is put.
    fn is_still_mine(&self) -> bool {
        self.complete || self.spool().is_some_and(|(paths, spool, token)| paths.is_held_by(spool, token))
    }

    /// The spool that this attempt writes to, as far as its worker has told.
    fn spool(&self) -> Option<(StatePaths, u32, Token)> {
        let running = self.shell.sessions.running(self.task)?;
        let spool = running.spool.filter(|_| running.attempt == self.attempt)?;
        Some((StatePaths::new(&self.shell.state_dir), spool, running.token))
    }

    /// Notices the end of the attempt. Its output has its final place then, and its spool may be another's.
    fn notice_end(&mut self) -> bool {
        let is_running = || self.shell.sessions.running(self.task).is_some_and(|r| r.attempt == self.attempt);
        if self.complete || self.attempt.0 == 0 || is_running() {
            return false;
        }
        self.complete = true;
        for source in &mut self.sources {
            source.file = None;
        }
        true
    }

    fn path(&self, stream: LogStream) -> Option<PathBuf> {
        let stream = if stream == LogStream::Stderr { Stream::Err } else { Stream::Out };
        if self.complete {
            let paths = StatePaths::new(&self.shell.state_dir);
            return Some(paths.output(self.task, self.attempt, stream));
        }
        let (paths, spool, _) = self.spool()?;
        Some(paths.spool(spool, stream))
    }

    /// Everything there was has been read: waits for more, goes on to the next attempt, or ends.
    async fn settle(&mut self) -> Option<Item> {
        let Ok(stored) = load(&self.shell, self.task).await else { return Some(Item::CutShort) };
        let status = stored.record.status();
        let last = stored.record.attempts;
        if self.notice_end() {
            return None;
        }
        if self.query.attempt.is_none() && last > self.attempt {
            self.begin_attempt(last);
            return None;
        }
        let attempt_is_over = self.complete && (self.query.attempt.is_some() || status.is_terminal());
        if !self.query.follow || attempt_is_over || (status.is_terminal() && self.attempt.0 == 0) {
            return Some(end_of(&stored));
        }
        if *self.shell.stopping.borrow() {
            return Some(Item::CutShort);
        }
        self.wait().await;
        None
    }

    /// Until something may have changed: a running attempt's files grow without a word, so they are looked
    /// at again and again, but only while somebody follows them; otherwise the feed tells.
    async fn wait(&mut self) {
        if self.complete || self.attempt.0 == 0 {
            // Whatever it was, it is looked at again.
            drop(self.feed.recv().await);
        } else {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn end_of(stored: &StoredTask) -> Item {
    let result = stored.result.as_ref();
    Item::End(LogEnd {
        status: stored.record.status(),
        exit_code: result.and_then(|result| result.exit_code),
        signal: result.and_then(|result| result.signal),
    })
}

async fn load(shell: &Arc<Shell>, task: TaskId) -> Result<StoredTask, Refusal> {
    shell.read(move |history| history.task(task)).await?.ok_or_else(|| unknown(task))
}

/// Where the last `lines` lines begin.
fn tail_offset(file: &File, lines: u64) -> io::Result<u64> {
    let metadata = file.metadata()?;
    let mut end = metadata.len();
    if lines == 0 {
        return Ok(end);
    }
    let mut seen = 0;
    let mut buffer = vec![0; PIECE_BYTES];
    let length = end;
    let first = cut::last_part(file, &metadata);
    while end > first {
        let start = end.saturating_sub(PIECE_BYTES as u64).max(first);
        let piece = &mut buffer[..usize::try_from(end - start).unwrap_or(PIECE_BYTES)];
        file.read_exact_at(piece, start)?;
        for (index, byte) in piece.iter().enumerate().rev() {
            let at = start + index as u64;
            // The newline that ends the last line begins no other.
            if *byte == b'\n' && at + 1 < length {
                seen += 1;
                if seen == lines {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_tail_begins_at_the_line_asked_for() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        for (lines, offset) in [(0, 14), (1, 8), (2, 4), (3, 0), (9, 0)] {
            assert_eq!(tail_offset(&file, lines).unwrap(), offset, "{lines} lines");
        }
    }
}
