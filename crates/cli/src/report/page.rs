//! The report as one page: no other file, no request, readable offline, on paper, in light and dark.
//!
//! It is whole without its script, which only zooms, searches and shows a task everywhere when one points at it.

use orchd_model::{On, Status, TaskId};
use orchd_workflow::{Picture, PictureTask, STYLE, escaped};
use std::collections::BTreeMap;
use std::fmt::Write;

use super::chart::chart;
use super::gantt::gantt;
use super::series::{Series, held, running};
use super::{Drawn, sections};
use crate::text::{bytes, duration, instant};

const PAGE_STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Nothing is fetched, whatever is in a name.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
/// Larger graphs are no drawing that helps anybody.
const GRAPH_TASKS: usize = 2500;
const GRAPH_LINKS: usize = 10_000;
/// What waits for all others is drawn behind so many ends at most.
const MOST_ENDS: usize = 12;
/// Resources that have a chart.
const CHARTS: usize = 12;

/// The page.
pub(crate) fn page(drawn: &Drawn) -> String {
    let title = match &drawn.report.workflow {
        Some(workflow) => workflow.name.clone(),
        None => "all tasks".to_owned(),
    };
    let title = escaped(&title);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" \
         content=\"{POLICY}\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\
         <title>{title} · orchd report</title><style>{STYLE}{PAGE_STYLE}</style></head><body>"
    );
    let sections = sections(drawn);
    header(&mut text, drawn, &title, &sections);
    text.push_str("<main>");
    for (id, title, fill) in sections {
        _ = write!(text, "<section id=\"{id}\"><h2>{title}</h2>");
        fill(&mut text, drawn);
        text.push_str("</section>");
    }
    _ = writeln!(text, "</main><script>{SCRIPT}</script></body></html>");
    text
}

/// A section: its id, its title, and who fills it.
type Section = (&'static str, &'static str, fn(&mut String, &Drawn));

/// The sections of a page, from the top. What failed comes first where something has.
fn sections(drawn: &Drawn) -> Vec<Section> {
    let mut all: Vec<Section> = vec![("attempts", "Attempts, by slot", attempts)];
    if drawn.tasks.iter().any(|task| !task.dependencies.is_empty()) {
        all.push(("graph", "Graph", graph));
    }
    if !drawn.report.critical_path.is_empty() {
        let title = if drawn.is_under_way() { "Critical path so far" } else { "Critical path, as it was" };
        all.push(("path", title, sections::critical_path));
    }
    all.extend::<[Section; 5]>([
        ("times", "Waiting against running", sections::comparison),
        ("claims", "Claims over time", claims),
        ("slowest", "Slowest tasks", sections::slowest),
        ("waits", "Longest waits for a turn", sections::longest_waits),
        ("usage", "Claimed against used", sections::usage),
    ]);
    let place = if drawn.report.tasks.failed > 0 { 0 } else { all.len() };
    all.insert(place, ("failures", "Failures", sections::failures));
    all
}

fn attempts(text: &mut String, drawn: &Drawn) {
    if drawn.report.attempts == 0 {
        text.push_str("<p class=\"none\">Nothing has run.</p>");
    } else {
        gantt(text, drawn);
    }
}

fn header(text: &mut String, drawn: &Drawn, title: &str, sections: &[Section]) {
    let report = &drawn.report;
    _ = write!(text, "<header><h1><bdi>{title}</bdi>");
    if let Some(workflow) = &report.workflow {
        _ = write!(text, " <span class=\"badge {0}\">{0}</span>", workflow.status);
    }
    text.push_str("</h1>");
    let (from, to) = drawn.span();
    let yet = if drawn.is_under_way() { ", and still under way" } else { "" };
    _ = write!(text, "<p>{} – {}{yet}</p><dl>", instant(from), instant(to));
    let mut tile = |name: &str, value: String| {
        _ = write!(text, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    tile("took", duration(to.since(from)));
    tile("tasks", report.tasks.total.to_string());
    for status in Status::ALL.into_iter().filter(|status| report.tasks.of(*status) > 0) {
        let name = format!("<span class=\"dot {status}\"></span>{status}");
        tile(&name, report.tasks.of(status).to_string());
    }
    tile("attempts", report.attempts.to_string());
    tile("at once, at most", report.peak_concurrency.to_string());
    if report.wait_time.count > 0 {
        let of = |seconds: f64| {
            orchd_model::Span::from_secs_f64(seconds).map_or_else(|_| "-".to_owned(), duration)
        };
        tile("waited, median", of(report.wait_time.p50));
        tile("for a turn, p95", of(report.ready_time.p95));
        tile("ran, median", of(report.run_time.p50));
        tile("ran, longest", of(report.run_time.max));
    }
    text.push_str("</dl><nav>");
    for (id, title, _) in sections {
        _ = write!(text, "<a href=\"#{id}\">{title}</a>");
    }
    text.push_str("</nav></header>");
}

fn graph(text: &mut String, drawn: &Drawn) {
    let tasks = drawn.tasks.len();
    let links: usize = drawn.tasks.iter().map(|task| task.dependencies.len()).sum();
    if tasks > GRAPH_TASKS || links > GRAPH_LINKS {
        _ = write!(
            text,
            "<p class=\"none\">A graph of {tasks} tasks and {links} dependencies is no drawing that helps anybody; \
             <code>orchctl workflow graph --dot</code> writes it for other tools.</p>"
        );
        return;
    }
    text.push_str(
        "<p class=\"legend\"><i class=\"critical\"></i> critical path <i class=\"edge\"></i> on failure, or on any end</p>\
         <div class=\"wide\">",
    );
    text.push_str(&picture(drawn).svg_for_page());
    text.push_str("</div>");
}

/// The graph with what has become of each task.
pub(crate) fn picture(drawn: &Drawn) -> Picture {
    let places: BTreeMap<TaskId, usize> =
        drawn.tasks.iter().enumerate().map(|(place, task)| (task.id, place)).collect();
    let path = drawn.report.critical_path.iter().enumerate();
    let steps: BTreeMap<TaskId, usize> = path.map(|(place, step)| (step.id, place)).collect();
    let mut links: Vec<(usize, usize, On)> = Vec::new();
    for (to, task) in drawn.tasks.iter().enumerate() {
        for edge in &task.dependencies {
            let orchd_model::DependencyTarget::Id(id) = edge.task else { continue };
            links.extend(places.get(&id).map(|from| (*from, to, edge.on)));
        }
    }
    links.extend(links_to_the_end(drawn, &links));
    let tasks = drawn.tasks.iter().map(|task| {
        let mut note = format!("task {}: {}", task.id, task.status);
        if let Some(time) = task.attempts.last().and_then(|attempt| attempt.execution_time) {
            _ = write!(note, ", ran {}", duration(time));
        }
        if let Some(why) = &task.why {
            _ = write!(note, "\n{why}");
        }
        PictureTask {
            id: Some(task.id),
            name: task.name.clone(),
            note,
            status: Some(task.status),
            step: steps.get(&task.id).copied(),
            ..PictureTask::default()
        }
    });
    let title = drawn.report.workflow.as_ref().map_or("tasks", |workflow| workflow.name.as_str());
    Picture { title: title.to_owned(), tasks: tasks.collect(), links }
}

/// From what nothing comes after to the tasks that wait for all others, so that these stand at the end.
fn links_to_the_end(drawn: &Drawn, links: &[(usize, usize, On)]) -> Vec<(usize, usize, On)> {
    let mut is_followed = vec![false; drawn.tasks.len()];
    for (from, to, _) in links {
        is_followed[*from] |= !drawn.tasks[*to].waits_for_others;
    }
    let mut found = Vec::new();
    for (to, last) in drawn.tasks.iter().enumerate().filter(|(_, task)| task.waits_for_others) {
        // One of several that follow each other stands behind the others already.
        if links.iter().any(|(from, target, _)| *target == to && drawn.tasks[*from].waits_for_others) {
            continue;
        }
        let ends = drawn.tasks.iter().enumerate().filter(|(from, task)| {
            !task.waits_for_others && task.workflow == last.workflow && !is_followed[*from]
        });
        let ends: Vec<usize> = ends.map(|(from, _)| from).take(MOST_ENDS + 1).collect();
        if ends.len() <= MOST_ENDS {
            found.extend(ends.into_iter().map(|from| (from, to, On::Completion)));
        }
    }
    found.retain(|link| !links.contains(link));
    found
}

fn claims(text: &mut String, drawn: &Drawn) {
    let span = drawn.span();
    let whole = |value: f64| format!("{value:.0}");
    chart(text, "running attempts", &running(drawn), span, None, whole);
    let mut resources: Vec<(String, Series)> = held(drawn).into_iter().collect();
    let count = resources.len();
    // Those that are used most of what there is, or for the longest time.
    let weight = |(name, series): &(String, Series)| {
        series.sum() / drawn.capacities.get(name).copied().unwrap_or(1.0).max(f64::MIN_POSITIVE)
    };
    resources.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then_with(|| a.0.cmp(&b.0)));
    for (name, series) in resources.iter().take(CHARTS) {
        let is_size = name.starts_with("memory:") || name.starts_with("disk:");
        let shown = |value: f64| {
            if is_size { bytes(value as u64) } else { format!("{}", (value * 1000.0).round() / 1000.0) }
        };
        chart(text, name, series, span, drawn.capacities.get(name).copied(), shown);
    }
    if count > CHARTS {
        _ = write!(text, "<p>The {CHARTS} of {count} resources that were held most.</p>");
    }
    if count == 0 {
        text.push_str("<p class=\"none\">Nothing was claimed.</p>");
    }
}
