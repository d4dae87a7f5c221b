//! What is checked of tasks together: their names, and what they wait for. Names that are taken, dependencies that do not exist,
//! cycles.
//!
//! It is known of tasks that were read, and of a long list in JSON before any of it is (`skim.rs`).

use orchd_model::DependencyTarget;
use std::borrow::Cow;
use std::collections::HashMap;

use crate::error::{Report, shown};
use crate::graph::{Graph, Lists};
use crate::node::Position;
use crate::task::Draft;

/// Tasks of a cycle that an error names; of a longer one it names both ends.
const CYCLE_SHOWN: usize = 12;

/// The names of tasks, and what each waits for.
///
/// Invariant: every task has a place in `waits`.
#[derive(Default)]
pub(crate) struct Outline<'t> {
    pub(crate) tasks: Vec<Task<'t>>,
    /// The names of what they wait for: those of each task follow those of the one before it.
    pub(crate) waits: Vec<Cow<'t, str>>,
}

/// A task among others.
pub(crate) struct Task<'t> {
    pub(crate) name: Cow<'t, str>,
    /// Where those that it waits for end.
    pub(crate) end: usize,
    /// Whether it runs at the end of the workflow.
    pub(crate) finally: bool,
    /// Whether it undoes what another one did.
    pub(crate) undoes: bool,
}

/// Where a task stands, or one of those that it waits for.
pub(crate) trait Places {
    /// Of this task.
    fn task(&self, task: usize) -> Position;
    /// Of what this task names, counted from 0, among what it waits for.
    fn dependency(&self, task: usize, place: usize) -> Position;
}

impl Places for [Draft] {
    fn task(&self, task: usize) -> Position {
        self[task].at
    }

    fn dependency(&self, task: usize, place: usize) -> Position {
        self[task].dependencies_at[place]
    }
}

impl<'t> Outline<'t> {
    /// Of tasks that were read.
    pub(crate) fn of(drafts: &'t [Draft]) -> Self {
        let mut outline = Self { tasks: Vec::with_capacity(drafts.len()), waits: Vec::new() };
        for Draft { spec, .. } in drafts {
            outline.waits.extend(spec.dependencies.iter().map(|dependency| match &dependency.task {
                DependencyTarget::Name(name) => Cow::Borrowed(name.as_str()),
                DependencyTarget::Id(id) => Cow::Owned(id.to_string()),
            }));
            outline.tasks.push(Task {
                name: Cow::Borrowed(&spec.name),
                end: outline.waits.len(),
                finally: spec.finally,
                undoes: spec.compensates.is_some(),
            });
        }
        outline
    }

    /// Tells all that is wrong.
    pub(crate) fn check(&self, places: &(impl Places + ?Sized), report: &mut Report) {
        let mut by_name: HashMap<&str, usize> = HashMap::with_capacity(self.tasks.len());
        for (index, task) in self.tasks.iter().enumerate() {
            let first = *by_name.entry(&task.name).or_insert(index);
            if first != index {
                report.add_with(places.task(index), || {
                    let hint = format!("the first one is in line {}", places.task(first).line);
                    (format!("a second task of this name: {}", shown(&task.name)), Some(hint))
                });
            }
        }
        let mut before = Lists::with_capacity(self.tasks.len(), self.waits.len());
        // The task that waited last for each.
        let mut waited: Vec<usize> = vec![usize::MAX; self.tasks.len()];
        for index in 0..self.tasks.len() {
            for (place, name) in self.waits_of(index).iter().enumerate() {
                match by_name.get(&**name) {
                    Some(&target) if self.may_wait(index, target) && waited[target] != index => {
                        waited[target] = index;
                        before.push(target);
                    }
                    // What is only counted needs no place.
                    _ if report.is_full() => report.count_more(),
                    found => {
                        let at = places.dependency(index, place);
                        self.refuse(index, name, found.copied(), &by_name, at, report);
                    }
                }
            }
            before.end();
        }
        for cycle in Graph::of(before).cycles() {
            if report.is_full() {
                report.count_more();
            } else {
                self.tell_cycle(&cycle, places, report);
            }
        }
    }

    fn waits_of(&self, task: usize) -> &[Cow<'t, str>] {
        let begin = task.checked_sub(1).map_or(0, |before| self.tasks[before].end);
        &self.waits[begin..self.tasks[task].end]
    }

    /// Whether one may wait for the other, apart from what else they wait for.
    fn may_wait(&self, task: usize, target: usize) -> bool {
        let (task, target, is_itself) = (&self.tasks[task], &self.tasks[target], task == target);
        !is_itself && (!target.finally || (task.finally && !task.undoes))
    }

    /// Tells why a task cannot wait for what it names.
    fn refuse(
        &self,
        index: usize,
        name: &str,
        target: Option<usize>,
        by_name: &HashMap<&str, usize>,
        at: Position,
        report: &mut Report,
    ) {
        match target {
            None if is_list(name, by_name) => {
                let hint = format!("write a list: [{}]", shown(&words(name).collect::<Vec<_>>().join(", ")));
                report.add_hint(at, format!("unknown dependency: {}", shown(name)), hint);
            }
            None => {
                let known = self.tasks.iter().map(|task| &*task.name);
                report.unknown(at, "unknown dependency", name, known);
            }
            Some(target) if target == index => {
                report.add(at, format!("a task cannot depend on itself: {}", shown(name)));
            }
            Some(target) if self.may_wait(index, target) => {
                report.add(at, format!("a dependency that is given twice: {}", shown(name)));
            }
            Some(_) if self.tasks[index].undoes => {
                let hint = "only tasks that do not run at the end are compensated";
                report.add_hint(
                    at,
                    format!("compensates a task that runs at the end: {}", shown(name)),
                    hint,
                );
            }
            Some(_) => {
                let hint = "only finally tasks come after finally tasks";
                report.add_hint(at, format!("depends on a task that runs at the end: {}", shown(name)), hint);
            }
        }
    }

    fn tell_cycle(&self, cycle: &[usize], places: &(impl Places + ?Sized), report: &mut Report) {
        let name = |task: usize| &*self.tasks[task].name;
        let (first, next) = (cycle[0], cycle.get(1).map(|&next| name(next)));
        let edge = self.waits_of(first).iter().position(|waits| Some(&**waits) == next);
        let at = edge.map_or_else(|| places.task(first), |edge| places.dependency(first, edge));
        let words = path(cycle, |task| shown(name(task)));
        report.add_hint(at, format!("dependencies form a cycle: {words}"), "remove one of them");
    }
}

/// The words of a text that may be meant as a list of names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ']).filter(|word| !word.is_empty())
}

/// Whether it is several names in one.
fn is_list(text: &str, known: &HashMap<&str, usize>) -> bool {
    words(text).nth(1).is_some() && words(text).all(|word| known.contains_key(word))
}

/// `a -> b -> a`, with the middle of a long path left out.
pub(crate) fn path(cycle: &[usize], name: impl Fn(usize) -> String) -> String {
    let name = |task: &usize| name(*task);
    let mut names: Vec<String> = if cycle.len() <= CYCLE_SHOWN {
        cycle.iter().map(name).collect()
    } else {
        let (head, tail) = (CYCLE_SHOWN - 2, cycle.len() - 2);
        let left_out = format!("({} more)", tail - head);
        cycle[..head].iter().map(name).chain([left_out]).chain(cycle[tail..].iter().map(name)).collect()
    };
    names.extend(cycle.first().map(name));
    names.join(" -> ")
}
