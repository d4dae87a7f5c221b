//! Every attempt as a bar, on the lane of the slot that ran it.

use orchd_model::Time;
use orchd_workflow::escaped;
use std::fmt::Write;

use super::Drawn;
use super::axis::{axis, percent};
use super::lanes::{Bar, Lane, Owner, lanes};
use crate::text::duration;

/// Bars that are drawn: a browser shows so many within some seconds.
const BARS: usize = 20_000;
/// What the colours of bars mean, and which outcomes have them.
const LEGEND: [(&str, &[&str]); 5] = [
    ("succeeded", &["succeeded"]),
    ("failed", &["failed", "timed_out", "deadline_met"]),
    ("running", &["running"]),
    ("lost, or snoozing", &["worker_lost", "snoozed"]),
    ("cancelled", &["cancelled"]),
];

/// The chart.
pub(crate) fn gantt(text: &mut String, drawn: &Drawn) {
    let span = drawn.span();
    let lanes = lanes(&drawn.tasks, drawn.now);
    let mut shown = Shown::of(&lanes, BARS);
    tools(text, &lanes);
    text.push_str("<div class=\"gantt\"><div class=\"names\"><div class=\"time\"></div>");
    for lane in &lanes {
        let name = match lane.owner {
            Owner::Worker(id) => format!("worker {id}, slot {}", lane.slot),
            Owner::Clients => format!("clients, claim {}", lane.slot),
        };
        _ = write!(text, "<div class=\"name\">{name}</div>");
    }
    let length = span.1.since(span.0).0;
    _ = write!(text, "</div><div class=\"window\"><div class=\"lanes\" id=\"lanes\" data-span=\"{length}\">");
    axis(text, span);
    for lane in &lanes {
        text.push_str("<div class=\"lane\">");
        lane.bars.iter().filter(|bar| shown.take(bar)).for_each(|bar| draw(text, bar, span));
        text.push_str("</div>");
    }
    text.push_str("</div></div></div>");
    shown.tell(text);
}

/// Which bars are drawn where there are too many: those that took longest.
struct Shown {
    all: usize,
    drawn: usize,
    /// Shorter ones are left out, microseconds.
    least: u64,
    /// How many of those that are just as long still have room.
    ties: usize,
}

impl Shown {
    fn of(lanes: &[Lane<'_>], most: usize) -> Self {
        let bars = lanes.iter().flat_map(|lane| &lane.bars);
        let mut lengths: Vec<u64> = bars.map(length).collect();
        let all = lengths.len();
        if all <= most {
            return Self { all, drawn: all, least: 0, ties: all };
        }
        lengths.sort_unstable();
        let least = lengths[all - most];
        let longer = all - lengths.partition_point(|length| *length <= least);
        Self { all, drawn: most, least, ties: most - longer }
    }

    fn take(&mut self, bar: &Bar<'_>) -> bool {
        let is_tie = length(bar) == self.least;
        let has_room = !is_tie || self.ties > 0;
        self.ties -= usize::from(is_tie && has_room);
        length(bar) >= self.least && has_room
    }

    fn tell(&self, text: &mut String) {
        if self.drawn < self.all {
            _ = write!(text, "<p class=\"none\">The {} longest of {} attempts.</p>", self.drawn, self.all);
        }
    }
}

fn length(bar: &Bar<'_>) -> u64 {
    bar.to.since(bar.from).0
}

fn tools(text: &mut String, lanes: &[Lane<'_>]) {
    text.push_str(
        "<p class=\"tools\"><label>Zoom <input id=\"zoom\" type=\"range\" min=\"0\" max=\"8\" step=\"0.25\" value=\"0\"></label> \
         <label>Find <input id=\"find\" type=\"search\" placeholder=\"name of a task\"></label> <output id=\"found\"></output>\
         <span class=\"legend\">",
    );
    for (name, outcomes) in LEGEND {
        let mut bars = lanes.iter().flat_map(|lane| &lane.bars);
        if bars.any(|bar| outcomes.contains(&bar.attempt.outcome.as_str())) {
            _ = write!(text, "<i class=\"{}\"></i> {name}", outcomes[0]);
        }
    }
    text.push_str("</span></p>");
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
        "<i class=\"bar {}\" data-t=\"{}\" style=\"left:{left:.4}%;width:{:.4}%\" title=\"{note}\"><b>{name}</b></i>",
        escaped(&attempt.outcome),
        task.id,
        (right - left).max(0.0)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_api::ReportedTask;

    #[test]
    fn of_too_many_bars_the_longest_are_drawn() {
        let task = |id: u64, length: u64| -> ReportedTask {
            serde_json::from_value(serde_json::json!({
                "id": id, "name": "t", "status": "completed", "priority": "normal", "claims": [], "dependencies": [],
                "submitted_at": "2026-01-01T00:00:00Z", "finished_at": null, "why": null,
                "attempts": [{
                    "number": 1, "outcome": "succeeded", "worker": 1, "started_at": "2026-01-01T00:00:00Z",
                    "finished_at": "2026-01-01T00:00:09Z", "execution_time": length as f64 / 1e6,
                }],
            }))
            .unwrap()
        };
        for (lengths, most, expected) in [
            (vec![5, 9, 7, 1], 2, vec![9, 7]),
            (vec![4, 4, 4, 9], 3, vec![9, 4, 4]),
            (vec![4, 4], 3, vec![4, 4]),
        ] {
            let tasks: Vec<ReportedTask> =
                lengths.iter().zip(1..).map(|(length, id)| task(id, *length)).collect();
            let lanes = lanes(&tasks, Time(0));
            let mut shown = Shown::of(&lanes, most);
            let mut found: Vec<u64> =
                lanes.iter().flat_map(|lane| &lane.bars).filter(|bar| shown.take(bar)).map(length).collect();
            found.sort_unstable_by(|a, b| b.cmp(a));
            assert_eq!(found, expected);
        }
    }
}
