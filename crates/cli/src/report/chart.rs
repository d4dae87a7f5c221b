//! A value over time as an area of steps.

use orchd_model::Time;
use orchd_workflow::escaped;
use std::fmt::Write;

use super::axis::axis;
use super::series::Series;

/// Steps across a chart: what changes more often is shown by its highest value.
const ACROSS: usize = 800;
const HEIGHT: f64 = 56.0;

/// One chart with its name, its highest value, and the line that it cannot rise above.
pub(crate) fn chart(
    text: &mut String,
    name: &str,
    series: &Series,
    span: (Time, Time),
    capacity: Option<f64>,
    shown: impl Fn(f64) -> String,
) {
    let highest = series.highest();
    let top = highest.max(capacity.unwrap_or(0.0)).max(f64::MIN_POSITIVE);
    let y = |value: f64| HEIGHT - value / top * (HEIGHT - 4.0);
    let values = sampled(series, span);
    let mut line = format!("M0 {HEIGHT}");
    let mut last = f64::NAN;
    for (place, value) in values.iter().enumerate() {
        if *value != last {
            _ = write!(line, "H{place}V{:.1}", y(*value));
            last = *value;
        }
    }
    _ = write!(line, "H{ACROSS}V{HEIGHT}Z");
    let limit = capacity.map_or_else(String::new, |capacity| {
        format!("<path class=\"limit\" d=\"M0 {:.1}H{ACROSS}\"/>", y(capacity))
    });
    let of = capacity.map_or_else(String::new, |capacity| format!(" of {}", shown(capacity)));
    _ = write!(
        text,
        "<figure class=\"chart\"><figcaption><b><bdi>{}</bdi></b><span>at most {}{}</span></figcaption>\
         <svg viewBox=\"0 0 {ACROSS} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <path class=\"area\" d=\"{line}\"/>{limit}</svg>",
        escaped(name),
        escaped(&shown(highest)),
        escaped(&of),
        escaped(name)
    );
    axis(text, span);
    text.push_str("</figure>");
}

/// The highest value in each of equal parts of the time.
fn sampled(series: &Series, (from, to): (Time, Time)) -> Vec<f64> {
    let all = to.since(from).as_secs_f64();
    let place = |at: Time| ((at.since(from).as_secs_f64() / all * ACROSS as f64) as usize).min(ACROSS - 1);
    let mut values = vec![0.0_f64; ACROSS];
    let ends = series.steps.iter().skip(1).map(|(at, _)| *at).chain([to]);
    for ((at, value), end) in series.steps.iter().zip(ends) {
        let (first, last) = (place(*at), place(end));
        // The part in which it ends belongs to what follows, unless it is the one in which it began.
        for sample in &mut values[first..last.max(first + 1)] {
            *sample = sample.max(*value);
        }
    }
    values
}
