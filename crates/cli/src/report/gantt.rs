//! Every attempt as a bar, on the lane of the slot that ran it.

use orchd_model::{Span, Time};
use orchd_workflow::escaped;
use std::fmt::Write;

use super::Drawn;
use super::lanes::{Bar, Owner, lanes};
use crate::text::duration;

/// Marks on the line of time, about.
const MARKS: f64 = 10.0;

/// The chart.
pub(crate) fn gantt(text: &mut String, drawn: &Drawn) {
    let span = drawn.span();
    let lanes = lanes(&drawn.tasks, drawn.now);
    text.push_str("<div class=\"gantt\"><div class=\"names\"><div class=\"time\"></div>");
    for lane in &lanes {
        let name = match lane.owner {
            Owner::Worker(id) => format!("worker {id}, slot {}", lane.slot),
            Owner::Clients => format!("clients, claim {}", lane.slot),
        };
        _ = write!(text, "<div class=\"name\">{name}</div>");
    }
    text.push_str("</div><div class=\"window\"><div class=\"lanes\" id=\"lanes\"><div class=\"time\">");
    for mark in marks(span) {
        let left = percent(span, span.0 + mark);
        _ = write!(text, "<span style=\"left:{left:.3}%\">{}</span>", short(mark));
    }
    text.push_str("</div>");
    for lane in &lanes {
        text.push_str("<div class=\"lane\">");
        lane.bars.iter().for_each(|bar| draw(text, bar, span));
        text.push_str("</div>");
    }
    text.push_str("</div></div></div>");
}

fn draw(text: &mut String, bar: &Bar<'_>, span: (Time, Time)) {
    let (left, right) = (percent(span, bar.from), percent(span, bar.to));
    let (task, attempt) = (bar.task, bar.attempt);
    let name = escaped(&task.name);
    let mut note = format!(
        "{name}\ntask {}, attempt {}: {}\nran {}, from {} on",
        task.id,
        attempt.number,
        escaped(&attempt.outcome),
        duration(bar.to.since(bar.from)),
        duration(bar.from.since(span.0))
    );
    if let Some(message) = &attempt.error_message {
        _ = write!(note, "\n{}", escaped(message));
    }
    let claims: Vec<String> = task.claims_of(attempt).map(ToString::to_string).collect();
    if !claims.is_empty() {
        _ = write!(note, "\nclaims {}", escaped(&claims.join(" ")));
    }
    _ = write!(
        text,
        "<i class=\"bar {}\" data-t=\"{}\" style=\"left:{left:.4}%;width:{:.4}%\" title=\"{note}\">{name}</i>",
        escaped(&attempt.outcome),
        task.id,
        (right - left).max(0.0)
    );
}

fn percent((from, to): (Time, Time), at: Time) -> f64 {
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

/// A round time: `0`, `500ms`, `20s`, `5m`, `4h`.
fn short(span: Span) -> String {
    let micros = span.0;
    match micros {
        0 => "0".to_owned(),
        1..1000 => format!("{micros}us"),
        1000..1_000_000 => format!("{}ms", micros / 1000),
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
    fn marks_are_round_and_few() {
        for (all, first, last) in
            [(1_000, "100us", "1ms"), (3_300_000, "500ms", "3s"), (7_200_000_000, "15m", "2h")]
        {
            let found = marks((Time(5), Time(5 + all)));
            assert!((5..=12).contains(&found.len()), "{found:?}");
            assert_eq!((short(found[1]).as_str(), short(*found.last().unwrap()).as_str()), (first, last));
        }
    }
}
