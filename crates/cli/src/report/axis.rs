//! The line of time: round instants from the beginning on, with what they are called.

use orchd_model::{Span, Time};
use std::fmt::Write;

use crate::text::duration;

/// Marks on the line, about.
const MARKS: f64 = 10.0;
/// Room that what a mark is called needs, pixels.
const LABEL: f64 = 52.0;
/// Widths of the line, pixels: marks whose names have no room on a line of such a width have a class by which the
/// page leaves these out up to the next one.
const WIDTHS: [(f64, &str); 3] = [(230.0, "n"), (400.0, "m"), (620.0, "w")];

/// The line with its marks; whatever stands above or below it has the same width.
pub(crate) fn axis(text: &mut String, span: (Time, Time)) {
    text.push_str("<div class=\"time\">");
    let marks = marks(span);
    let step = marks.get(1).map_or(100.0, |mark| percent(span, span.0 + *mark));
    for (index, mark) in marks.iter().enumerate() {
        let left = percent(span, span.0 + *mark);
        let classes: Vec<&str> = WIDTHS
            .into_iter()
            .filter(|(width, _)| !has_room(index, left, step, *width))
            .map(|(_, class)| class)
            .collect();
        let classes =
            if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) };
        _ = write!(text, "<span{classes} style=\"left:{left:.3}%\">{}</span>", short(*mark));
    }
    text.push_str("</div>");
}

/// Whether a mark can be named on a line of some width: every one, every second one, ... and none that would be cut.
fn has_room(index: usize, left: f64, step: f64, width: f64) -> bool {
    let apart = (LABEL / (step / 100.0 * width)).ceil().max(1.0) as usize;
    index.is_multiple_of(apart) && (100.0 - left) / 100.0 * width >= LABEL
}

/// Where an instant stands between two others, in percent.
pub(crate) fn percent((from, to): (Time, Time), at: Time) -> f64 {
    at.since(from).as_secs_f64() / to.since(from).as_secs_f64() * 100.0
}

/// Round times from the beginning on.
fn marks((from, to): (Time, Time)) -> Vec<Span> {
    const STEPS: [u64; 22] = [
        100,
        200,
        500,
        1000,
        2000,
        5000,
        10_000,
        20_000,
        50_000,
        100_000,
        200_000,
        500_000,
        1_000_000,
        2_000_000,
        5_000_000,
        10_000_000,
        30_000_000,
        60_000_000,
        300_000_000,
        900_000_000,
        3_600_000_000,
        14_400_000_000,
    ];
    let all = to.since(from).0;
    let wanted = (all as f64 / MARKS) as u64;
    let day = 86_400_000_000;
    let step = STEPS.into_iter().find(|step| *step >= wanted).unwrap_or(wanted.div_ceil(day) * day);
    (0..=all / step).map(|n| Span(n * step)).collect()
}

/// A round time: `0`, `500ms`, `20s`, `5m`, `4h`, `2d`.
fn short(span: Span) -> String {
    let micros = span.0;
    match micros {
        0 => "0".to_owned(),
        1..1000 => format!("{micros}us"),
        1000..1_000_000 => format!("{}ms", micros / 1000),
        _ if micros.is_multiple_of(86_400_000_000) => format!("{}d", micros / 86_400_000_000),
        _ if micros.is_multiple_of(3_600_000_000) => format!("{}h", micros / 3_600_000_000),
        _ if micros.is_multiple_of(60_000_000) => format!("{}m", micros / 60_000_000),
        _ if micros < 60_000_000 => format!("{}s", micros as f64 / 1e6),
        _ => duration(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_marks_have_room_on_narrow_lines() {
        let named = |width: f64| -> Vec<usize> {
            (0..11).filter(|index| has_room(*index, *index as f64 * 10.0, 10.0, width)).collect()
        };
        assert_eq!(named(230.0), [0, 3, 6]);
        assert_eq!(named(400.0), [0, 2, 4, 6, 8]);
        assert_eq!(named(620.0), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn marks_are_round_and_few() {
        for (all, first, last) in [
            (1_000, "100us", "1ms"),
            (3_300_000, "500ms", "3s"),
            (7_200_000_000, "15m", "2h"),
            (8 * 86_400_000_000, "1d", "8d"),
        ] {
            let found = marks((Time(5), Time(5 + all)));
            assert!((5..=12).contains(&found.len()), "{found:?}");
            assert_eq!((short(found[1]).as_str(), short(*found.last().unwrap()).as_str()), (first, last));
        }
    }
}
