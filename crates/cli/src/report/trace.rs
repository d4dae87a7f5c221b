//! The trace event format of Chrome, which Perfetto opens: workers as processes, slots as threads, attempts as slices,
//! claims as counters, dependencies as flows.
//!
//! Source: "Trace Event Format", the Chromium project.

use orchd_model::Time;
use serde_json::{Value, json};

use super::Drawn;
use super::lanes::{Bar, Owner, lanes};
use super::series::{Series, held, running};

/// The process that the counters belong to; no worker has this id.
const COUNTERS: u64 = 0;
/// More arrows help nobody.
const FLOWS: usize = 10_000;

/// The whole as one JSON document.
pub(crate) fn trace(drawn: &Drawn) -> Value {
    let (start, _) = drawn.span();
    let mut events = vec![name("process_name", COUNTERS, 0, "orchd")];
    let lanes = lanes(&drawn.tasks, drawn.now);
    for lane in &lanes {
        let (process, title) = match lane.owner {
            Owner::Worker(id) => (id.0, format!("worker {id}")),
            Owner::Clients => (u64::from(u32::MAX), "clients with ad-hoc claims".to_owned()),
        };
        if lane.slot == 1 {
            events.push(name("process_name", process, 0, &title));
        }
        events.push(name("thread_name", process, lane.slot, &format!("slot {}", lane.slot)));
        events.extend(lane.bars.iter().map(|bar| slice(bar, process, lane.slot, start)));
    }
    flows(&mut events, drawn, &lanes, start);
    counter(&mut events, "running attempts", &running(drawn), start);
    for (resource, series) in held(drawn) {
        counter(&mut events, &resource, &series, start);
    }
    let title = drawn.report.workflow.as_ref().map_or("orchd", |workflow| workflow.name.as_str());
    json!({
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": { "title": title, "start": start.to_rfc3339() },
    })
}

fn name(kind: &str, process: u64, thread: usize, name: &str) -> Value {
    json!({ "ph": "M", "name": kind, "pid": process, "tid": thread, "args": { "name": name } })
}

fn slice(bar: &Bar<'_>, process: u64, slot: usize, start: Time) -> Value {
    let (task, attempt) = (bar.task, bar.attempt);
    let claims: Vec<String> = task.claims_of(attempt).map(ToString::to_string).collect();
    json!({
        "ph": "X",
        "name": task.name,
        "cat": attempt.outcome,
        "pid": process,
        "tid": slot,
        "ts": bar.from.since(start).0,
        "dur": bar.to.since(bar.from).0,
        "args": {
            "task": task.id,
            "attempt": attempt.number,
            "outcome": attempt.outcome,
            "error": attempt.error_message,
            "exit_code": attempt.exit_code,
            "priority": task.priority,
            "claims": claims,
            "usage": attempt.usage,
        },
    })
}

/// From the end of the last attempt of what a task depends on to its own first start.
fn flows(events: &mut Vec<Value>, drawn: &Drawn, lanes: &[super::lanes::Lane<'_>], start: Time) {
    let mut ends: std::collections::BTreeMap<_, (u64, usize, Time, Time)> = std::collections::BTreeMap::new();
    let mut starts = std::collections::BTreeMap::new();
    for lane in lanes {
        let process = match lane.owner {
            Owner::Worker(id) => id.0,
            Owner::Clients => continue,
        };
        for bar in &lane.bars {
            let place = (process, lane.slot, bar.from, bar.to);
            let last = ends.entry(bar.task.id).or_insert(place);
            if bar.to >= last.3 {
                *last = place;
            }
            let first = starts.entry(bar.task.id).or_insert(place);
            if bar.from < first.2 {
                *first = place;
            }
        }
    }
    let edges = drawn.tasks.iter().flat_map(|task| task.dependencies.iter().map(move |edge| (task.id, edge)));
    for (flow, (to, edge)) in edges.enumerate().take(FLOWS) {
        let orchd_model::DependencyTarget::Id(from) = edge.task else { continue };
        let (Some(end), Some(begin)) = (ends.get(&from), starts.get(&to)) else { continue };
        if end.3 > begin.2 {
            continue;
        }
        // Within the slice that it leaves, so that a viewer finds it.
        let leaves = end.3.since(start).0.saturating_sub(1).max(end.2.since(start).0);
        let side = |phase: &str, place: &(u64, usize, Time, Time), at: u64| json!({ "ph": phase, "bp": "e", "id": flow, "name": "dependency", "cat": "dependency", "pid": place.0, "tid": place.1, "ts": at });
        events.push(side("s", end, leaves));
        events.push(side("f", begin, begin.2.since(start).0));
    }
}

fn counter(events: &mut Vec<Value>, title: &str, series: &Series, start: Time) {
    events.extend(series.steps.iter().map(|(at, value)| {
        json!({ "ph": "C", "name": title, "pid": COUNTERS, "tid": 0, "ts": at.since(start).0, "args": { "held": value } })
    }));
}
