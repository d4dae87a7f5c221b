//! Elements of arrays by their names: a row that stands for several has the name that theirs are made of.

use crate::numbered::Search;
use crate::{Filter, StoredTask};
use orchd_model::{Glob, PLACEHOLDER, TaskId, TaskRange, TaskSpec};

/// The parts of what a row stands for that a filter means by name and id.
pub(crate) fn parts(filter: &Filter, task: &StoredTask) -> Vec<TaskRange> {
    let within = match filter.within {
        Some(within) => task.record.range().overlap(within),
        None => Some(task.record.range()),
    };
    match (within, &filter.name_glob) {
        (None, _) => Vec::new(),
        (Some(range), None) => vec![range],
        (Some(range), Some(glob)) if task.spec.names_elements() => {
            elements(glob, &task.spec, task.record.array_range(&task.spec).first.0, range)
        }
        // All have the same name.
        (Some(range), Some(glob)) if glob.matches(&task.record.name) => vec![range],
        (Some(_), Some(_)) => Vec::new(),
    }
}

/// The parts of a range of elements whose names match, by id; the array begins with `first_of_all`.
fn elements(glob: &Glob, spec: &TaskSpec, first_of_all: u64, range: TaskRange) -> Vec<TaskRange> {
    let Some(indices) = spec.array else { return Vec::new() };
    let mut found = Vec::<TaskRange>::new();
    let mut note = |part: TaskRange| match found.last_mut() {
        Some(last) if last.last.0 + 1 >= part.first.0 => last.last = part.last.max(last.last),
        _ => found.push(part),
    };
    let [prefix, suffix] = spec.name.split(PLACEHOLDER).collect::<Vec<_>>()[..] else {
        // The index is in it several times.
        let ids =
            (range.first.0..=range.last.0).filter(|id| glob.matches(&spec.element_name(id - first_of_all)));
        ids.for_each(|id| note(TaskId(id).into()));
        return found;
    };
    let bounds = indices.at(range.first.0 - first_of_all)..=indices.at(range.last.0 - first_of_all);
    let itself = literal(glob.as_str(), prefix, suffix).filter(|index| bounds.contains(index));
    let mut numbers: Vec<(u64, u64)> = itself.map(|index| (index, index)).into_iter().collect();
    Search::new(glob, prefix, suffix, bounds).run(|part| numbers.push((*part.start(), *part.end())));
    numbers.sort_unstable();
    for (first, last) in numbers {
        // Of those that match the steps may reach none.
        let (from, to) = (indices.place_from(first), indices.place_from(last.saturating_add(1)));
        if from < to {
            note(TaskRange { first: TaskId(first_of_all + from), last: TaskId(first_of_all + to - 1) });
        }
    }
    found
}

/// The index of the element whose name this is.
fn literal(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    digits.parse().ok().filter(|index: &u64| index.to_string() == digits)
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

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_model::Body;

    /// The places of the elements of an array from 100 on whose names match.
    fn places(name: &str, indices: &str, glob: &str) -> Vec<(u64, u64)> {
        let spec = TaskSpec {
            name: name.to_owned(),
            array: Some(indices.parse().unwrap()),
            ..TaskSpec::new(Body::Milestone)
        };
        let all = TaskRange::from_first(TaskId(100), spec.array.unwrap().len() - 1);
        let found = elements(&glob.parse().unwrap(), &spec, 100, all);
        found.into_iter().map(|part| (part.first.0 - 100, part.last.0 - 100)).collect()
    }

    #[test]
    fn elements_are_found_by_their_names_however_many_there_are() {
        let all = "0-999999999";
        assert_eq!(places("job-{index}", all, "nothing"), []);
        assert_eq!(places("job-{index}", all, "job-77"), [(77, 77)]);
        assert_eq!(places("job-{index}", all, "job-*"), [(0, 999_999_999)]);
        assert_eq!(places("job-{index}", "5-2000000000/2", "job-100?"), [(498, 502)]);
        assert_eq!(places("job-{index}", "0-100/10", "job-?5"), []);
        // As it is written, and as a pattern.
        assert_eq!(places("t[{index}]", all, "t[4]"), [(4, 4)]);
        assert_eq!(places("{index}", "0-20", "1*"), [(1, 1), (10, 19)]);
        assert_eq!(places("{index}-{index}", "0-20", "1?-*"), [(10, 19)]);
    }
}
