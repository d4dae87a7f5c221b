//! The trace event format of Chrome, which Perfetto opens: workers as processes, slots as threads, attempts as slices,
//! claims as counters, dependencies as flows. Written event by event, so that many take no memory.
//!
//! Sources: "Trace Event Format", the Chromium project; process 0 is the idle process to Perfetto, and must not be used.

use orchd_model::{TaskId, Time};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

use super::Drawn;
use super::lanes::{Bar, Lane, Owner, lanes};
use super::series::{Series, held, running};

/// The process that the counters belong to.
const COUNTERS: u64 = 1;
/// That of clients with ad-hoc claims.
const CLIENTS: u64 = 10_000;
/// A worker's process is its id and so many: a thread with the number of its process would count as its main one.
const WORKERS: u64 = CLIENTS;
/// More arrows help nobody.
const FLOWS: usize = 10_000;

/// Writes the whole as one JSON document.
pub(crate) fn trace(drawn: &Drawn, to: &mut dyn Write) -> io::Result<()> {
    let (start, _) = drawn.span();
    let mut events = Events { to, start, is_first: true };
    write!(events.to, "{{\"traceEvents\":[")?;
    events.process(COUNTERS, "orchd")?;
    let lanes = lanes(&drawn.tasks, drawn.now);
    for lane in &lanes {
        let process = process_of(lane);
        if lane.slot == 1 {
            match lane.owner {
                Owner::Worker(id) => events.process(process, &format!("worker {id}"))?,
                Owner::Clients => events.process(process, "clients with ad-hoc claims")?,
            }
        }
        events.name("thread_name", process, lane.slot, &format!("slot {}", lane.slot))?;
        for bar in &lane.bars {
            events.slice(bar, process, lane.slot)?;
        }
    }
    events.flows(drawn, &lanes)?;
    events.counter("attempts", "running", &running(drawn))?;
    for (resource, series) in held(drawn) {
        events.counter(&resource, "held", &series)?;
    }
    let title = drawn.report.workflow.as_ref().map_or("orchd", |workflow| workflow.name.as_str());
    let about = json!({ "title": title, "start": start.to_rfc3339() });
    writeln!(to, "\n],\"displayTimeUnit\":\"ms\",\"otherData\":{about}}}")
}

fn process_of(lane: &Lane<'_>) -> u64 {
    match lane.owner {
        Owner::Worker(id) => WORKERS + id.0,
        Owner::Clients => CLIENTS,
    }
}

/// Where a slice is, and from when to when.
#[derive(Clone, Copy)]
struct Place {
    process: u64,
    slot: usize,
    from: Time,
    to: Time,
}

/// The events, one a line; their times count from the start.
struct Events<'a> {
    to: &'a mut dyn Write,
    start: Time,
    is_first: bool,
}

impl Events<'_> {
    fn put(&mut self, event: &Value) -> io::Result<()> {
        let between = if std::mem::replace(&mut self.is_first, false) { "\n" } else { ",\n" };
        write!(self.to, "{between}{event}")
    }

    fn process(&mut self, process: u64, name: &str) -> io::Result<()> {
        self.name("process_name", process, 0, name)?;
        self.put(&json!({
            "ph": "M", "name": "process_sort_index", "pid": process, "tid": 0, "args": { "sort_index": process },
        }))
    }

    fn name(&mut self, kind: &str, process: u64, thread: usize, name: &str) -> io::Result<()> {
        self.put(&json!({ "ph": "M", "name": kind, "pid": process, "tid": thread, "args": { "name": name } }))
    }

    fn slice(&mut self, bar: &Bar<'_>, process: u64, slot: usize) -> io::Result<()> {
        let (task, attempt) = (bar.task, bar.attempt);
        let claims: Vec<String> = task.claims_of(attempt).map(ToString::to_string).collect();
        let event = json!({
            "ph": "X",
            "name": task.name,
            "cat": attempt.outcome,
            "pid": process,
            "tid": slot,
            "ts": bar.from.since(self.start).0,
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
        });
        self.put(&event)
    }

    /// From the end of the last attempt of what a task depends on to its own first start.
    fn flows(&mut self, drawn: &Drawn, lanes: &[Lane<'_>]) -> io::Result<()> {
        let (ends, starts) = ends_and_starts(lanes);
        let edges =
            drawn.tasks.iter().flat_map(|task| task.dependencies.iter().map(move |edge| (task.id, edge)));
        for (flow, (to, edge)) in edges.enumerate().take(FLOWS) {
            let orchd_model::DependencyTarget::Id(from) = edge.task else { continue };
            let (Some(end), Some(begin)) = (ends.get(&from), starts.get(&to)) else { continue };
            if end.to > begin.from {
                continue;
            }
            // Within the slice that it leaves, so that a viewer finds it.
            let leaves = end.to.since(self.start).0.saturating_sub(1).max(end.from.since(self.start).0);
            let arrives = begin.from.since(self.start).0;
            for (phase, place, at) in [("s", end, leaves), ("f", begin, arrives)] {
                self.put(&json!({
                    "ph": phase, "bp": "e", "id": flow, "name": "dependency", "cat": "dependency",
                    "pid": place.process, "tid": place.slot, "ts": at,
                }))?;
            }
        }
        Ok(())
    }

    fn counter(&mut self, title: &str, of: &str, series: &Series) -> io::Result<()> {
        for (at, value) in &series.steps {
            let at = at.since(self.start).0;
            self.put(&json!({ "ph": "C", "name": title, "pid": COUNTERS, "tid": 0, "ts": at, "args": { of: value } }))?;
        }
        Ok(())
    }
}

/// The last slice and the first of each task that a worker ran.
fn ends_and_starts(lanes: &[Lane<'_>]) -> (BTreeMap<TaskId, Place>, BTreeMap<TaskId, Place>) {
    let (mut ends, mut starts) = (BTreeMap::new(), BTreeMap::new());
    for lane in lanes.iter().filter(|lane| lane.owner != Owner::Clients) {
        for bar in &lane.bars {
            let place = Place { process: process_of(lane), slot: lane.slot, from: bar.from, to: bar.to };
            let last = ends.entry(bar.task.id).or_insert(place);
            if bar.to >= last.to {
                *last = place;
            }
            let first = starts.entry(bar.task.id).or_insert(place);
            if bar.from < first.from {
                *first = place;
            }
        }
    }
    (ends, starts)
}
