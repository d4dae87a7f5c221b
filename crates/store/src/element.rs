//! Elements of arrays by their names: a row that stands for several has the name that theirs are made of.

use orchd_model::{Glob, PLACEHOLDER, TaskId, TaskRange, TaskSpec};
use std::fmt::Write;

use crate::{Filter, StoredTask};

/// The parts of what a row stands for that a filter means by name and id.
pub(crate) fn parts(filter: &Filter, task: &StoredTask) -> Vec<TaskRange> {
    let within = match filter.within {
        Some(within) => task.record.range().overlap(within),
        None => Some(task.record.range()),
    };
    match (within, &filter.name_glob) {
        (None, _) => Vec::new(),
        (Some(range), None) => vec![range],
        (Some(range), Some(glob)) => matching(glob, task, range),
    }
}

/// The parts of a range that a row stands for whose names match, by id. All of it when all have the same name.
fn matching(glob: &Glob, task: &StoredTask, range: TaskRange) -> Vec<TaskRange> {
    let (record, spec) = (&task.record, &task.spec);
    let Some(indices) = spec.array.filter(|_| spec.names_elements()) else {
        return if glob.matches(&record.name) { vec![range] } else { Vec::new() };
    };
    let first_of_all = record.array_range(spec).first.0;
    let pieces: Vec<&str> = spec.name.split(PLACEHOLDER).collect();
    let (mut name, mut found) = (String::new(), Vec::<TaskRange>::new());
    for id in range.first.0..=range.last.0 {
        // The same text again and again: there may be millions of elements.
        name.clear();
        for (position, piece) in pieces.iter().enumerate() {
            if position > 0 {
                // Writing to a string cannot fail.
                write!(name, "{}", indices.at(id - first_of_all)).ok();
            }
            name.push_str(piece);
        }
        if !glob.matches(&name) {
            continue;
        }
        match found.last_mut() {
            Some(last) if last.last.0 + 1 == id => last.last = TaskId(id),
            _ => found.push(TaskId(id).into()),
        }
    }
    found
}

/// A part of what a row stands for as a row of its own.
pub(crate) fn part(task: &StoredTask, range: TaskRange) -> StoredTask {
    let mut part = task.clone();
    (part.record.id, part.record.more) = (range.first, range.len() - 1);
    part
}

/// The name of a task that stands in a row with this name; `spec` is that of its array, which begins with
/// `first`.
pub(crate) fn name(name: &str, first: TaskId, spec: Option<&TaskSpec>, task: TaskId) -> Box<str> {
    match spec {
        Some(spec) if spec.names_elements() => spec.element_name(task.0.saturating_sub(first.0)).into(),
        Some(_) | None => name.into(),
    }
}
