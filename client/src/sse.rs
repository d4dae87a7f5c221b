//! Server-sent events: bytes in, events out (the parsing rules of the WHATWG HTML standard, section 9.2).

use orchd_model::limits;

/// One event as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// Its name; empty when it has none.
    pub(crate) name: String,
    /// Its data; several lines are joined by line feeds.
    pub(crate) data: String,
}

/// Takes bytes as they arrive and gives events as they become complete.
///
/// Invariant: holds at most one unfinished event of [`limits::FRAME_BYTES`].
#[derive(Default)]
pub(crate) struct SseReader {
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    after_carriage_return: bool,
}

/// An event is larger than any that orchd sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl SseReader {
    /// Reads a piece of the stream and appends the events that it completes.
    pub(crate) fn read(&mut self, bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), TooLarge> {
        let mut rest = bytes;
        if std::mem::take(&mut self.after_carriage_return) && rest.first() == Some(&b'\n') {
            rest = &rest[1..];
        }
        while let Some(end) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            self.line.extend_from_slice(&rest[..end]);
            let crlf = rest[end] == b'\r' && rest.get(end + 1) == Some(&b'\n');
            self.after_carriage_return = rest[end] == b'\r' && end + 1 == rest.len();
            rest = &rest[end + 1 + usize::from(crlf)..];
            let line = std::mem::take(&mut self.line);
            events.extend(self.take_line(&String::from_utf8_lossy(&line)));
        }
        self.line.extend_from_slice(rest);
        if self.line.len() + self.event.data.len() > limits::FRAME_BYTES { Err(TooLarge) } else { Ok(()) }
    }

    fn take_line(&mut self, line: &str) -> Option<SseEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment (empty field), the id (also inside our data), retry: nothing to do.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> SseEvent {
        SseEvent { name: name.to_owned(), data: data.to_owned() }
    }

    const STREAM: &[u8] =
        b": hello\n\nid: 7\nevent: chunk\ndata: {\"a\":1}\n\ndata:two\r\ndata: lines\r\n\r\nevent: end\rdata: x\r\rid: 9\n\n";

    #[test]
    fn events_are_read_whatever_the_line_ends_are() {
        let mut events = Vec::new();
        SseReader::default().read(STREAM, &mut events).unwrap();
        assert_eq!(events, [event("chunk", "{\"a\":1}"), event("", "two\nlines"), event("end", "x")]);
    }

    #[test]
    fn the_pieces_in_which_a_stream_arrives_make_no_difference() {
        let mut whole = Vec::new();
        SseReader::default().read(STREAM, &mut whole).unwrap();
        for size in 1..STREAM.len() {
            let (mut reader, mut events) = (SseReader::default(), Vec::new());
            for piece in STREAM.chunks(size) {
                reader.read(piece, &mut events).unwrap();
            }
            assert_eq!(events, whole, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut reader = SseReader::default();
        let piece = vec![b'x'; limits::FRAME_BYTES / 2 + 1];
        assert_eq!(reader.read(&piece, &mut Vec::new()), Ok(()));
        assert_eq!(reader.read(&piece, &mut Vec::new()), Err(TooLarge));
    }
}
