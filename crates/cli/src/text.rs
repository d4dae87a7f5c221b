//! Small things as people read them: durations, ages, sizes, names that cannot play tricks on a terminal.

pub(crate) use orchd_model::bytes;
use orchd_model::{Span, Time, is_obeyed};
use std::time::{SystemTime, UNIX_EPOCH};

/// A duration in at most two units: `350ms`, `2.4s`, `3m05s`, `2h10m`, `4d3h`.
pub(crate) fn duration(span: Span) -> String {
    let seconds = span.as_secs_f64();
    let whole = span.0 / 1_000_000;
    match whole {
        0 if span.0 == 0 => "0s".to_owned(),
        0 if span.0 < 1000 => format!("{}us", span.0),
        0 => format!("{}ms", span.0 / 1000),
        1..=59 => format!("{seconds:.1}s"),
        60..=3599 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..=86_399 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// A duration that may be missing.
pub(crate) fn duration_or_dash(span: Option<Span>) -> String {
    span.map_or_else(|| "-".to_owned(), duration)
}

/// The wall clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// How long ago something was.
pub(crate) fn age(time: Time) -> String {
    duration(Span(now().since(time).0 / 1_000_000 * 1_000_000))
}

/// An instant to the second, UTC: `2030-01-31 18:00:00Z`.
pub(crate) fn instant(time: Time) -> String {
    let text = time.to_rfc3339();
    let seconds = text.get(..19).map(|start| start.replace('T', " ") + "Z");
    seconds.unwrap_or(text)
}

/// What the daemon says, with its instants as people are shown them elsewhere: to the second.
pub(crate) fn sentence(text: &str) -> String {
    /// `2030-01-31T18:00:00.000000Z`.
    const LENGTH: usize = 27;
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let time = rest.get(..LENGTH).filter(|part| part.ends_with('Z') && part.as_bytes()[10] == b'T');
        if let Some(time) = time.and_then(|part| part.parse().ok()) {
            told.push_str(&instant(time));
            rest = &rest[LENGTH..];
        } else {
            told.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    plain(&told)
}

/// Text that others chose, on one line and without characters that a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// The same over several lines.
pub(crate) fn plain_lines(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

/// `1 task`, `2 tasks`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// What is wrong with JSON and where; a hint stays on its own line.
pub(crate) fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place).and_then(|text| text.split_once("\nhint: ")) {
        Some((what, hint)) => format!("{what}{place}\nhint: {hint}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        for (micros, text) in [
            (0, "0s"),
            (900, "900us"),
            (350_000, "350ms"),
            (2_440_000, "2.4s"),
            (185_000_000, "3m05s"),
            (7_800_000_000, "2h10m"),
            (356_400_000_000, "4d3h"),
        ] {
            assert_eq!(duration(Span(micros)), text);
        }
    }

    #[test]
    fn instants_in_what_the_daemon_says_are_told_to_the_second() {
        let told = "delayed until 2030-01-31T18:00:00.250000Z, äöü 2030-01-31T18:00:00Z";
        assert_eq!(sentence(told), "delayed until 2030-01-31 18:00:00Z, äöü 2030-01-31T18:00:00Z");
        assert_eq!(sentence("2030-01-31T18:00:00.250000"), "2030-01-31T18:00:00.250000");
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
