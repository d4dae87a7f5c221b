//! Why a `ref` in the dependencies of a new task leads nowhere: it names itself, a circle, a line that was
//! refused or one that comes later.
//!
//! Only asked when a lookup has failed; what is accepted does not depend on it.

use orchd_model::{Code, DependencyTarget, Refusal, TaskSpec, nearest};
use std::collections::HashMap;
use std::sync::Arc;

/// Edges followed for all the refusals of one request: a large one that is wrong all over is not searched
/// for ever.
const STEPS: usize = 1_000_000;
/// Names along a longer circle are cut to this many.
const SHOWN: usize = 8;

/// The refs of a request, gathered at the first failure.
pub struct References<'a> {
    specs: &'a [Result<Arc<TaskSpec>, Refusal>],
    by_name: Option<HashMap<&'a str, usize>>,
    steps: usize,
}

impl<'a> References<'a> {
    pub fn new(specs: &'a [Result<Arc<TaskSpec>, Refusal>]) -> Self {
        Self { specs, by_name: None, steps: STEPS }
    }

    /// The refusal of the task at `index`, with the reason if it is about a ref; `before` is what became of those before it.
    pub fn explained(&mut self, index: usize, refusal: Refusal, before: &[Option<Refusal>]) -> Refusal {
        let Ok(spec) = &self.specs[index] else { return refusal };
        let is_meant = |target: &DependencyTarget| match target {
            DependencyTarget::Name(name) => refusal.value.as_ref() == Some(name),
            DependencyTarget::Id(_) => false,
        };
        let target =
            spec.dependencies.iter().map(|dependency| &dependency.task).find(|target| is_meant(target));
        match target {
            Some(DependencyTarget::Name(name)) if refusal.code == Code::UnknownDependency => {
                self.refusal(index, name, before)
            }
            _ => refusal,
        }
    }

    /// The refusal of the task at `index`, which depends on a `name` that is not known when its turn comes.
    fn refusal(&mut self, index: usize, name: &str, before: &[Option<Refusal>]) -> Refusal {
        let specs = self.specs;
        let by_name = self.by_name.get_or_insert_with(|| {
            let named = specs
                .iter()
                .enumerate()
                .filter_map(|(index, spec)| Some((spec.as_ref().ok()?.reference.as_deref()?, index)));
            named.collect()
        });
        let unknown = |message: &str| Refusal::new(Code::UnknownDependency, message).value(name);
        let Some(target) = by_name.get(name).copied() else {
            let near = nearest(name, by_name.keys().copied());
            let refusal = unknown("unknown dependency");
            return match near {
                Some(near) => refusal.hint(format!("did you mean {near}?")),
                None => {
                    refusal.hint("name the id of a task, or the ref of one before it in the same request")
                }
            };
        };
        if target == index {
            return Refusal::new(Code::SelfDependency, "a task cannot depend on itself").value(name);
        }
        if let Some(path) = self.path(target, index) {
            return Refusal::new(Code::Cycle, "dependencies form a circle").value(shown(&path));
        }
        if let Some(Some(refused)) = before.get(target) {
            return refused.consequence(name);
        }
        unknown("a task can only depend on those before it").hint("put the one with this ref first")
    }

    /// The refs along a circle that leads from `index` to `from` and back, beginning and ending with the
    /// one at `index`.
    fn path(&mut self, from: usize, index: usize) -> Option<Vec<&'a str>> {
        let by_name = self.by_name.as_ref()?;
        let mut came_from: HashMap<usize, usize> = HashMap::from([(from, index)]);
        let mut open = vec![from];
        while let Some(here) = open.pop() {
            let Ok(spec) = &self.specs[here] else { continue };
            for dependency in &spec.dependencies {
                self.steps = self.steps.checked_sub(1)?;
                let DependencyTarget::Name(name) = &dependency.task else { continue };
                let Some(next) = by_name.get(name.as_str()).copied() else { continue };
                if next == index {
                    return Some(self.circle(here, index, &came_from));
                }
                if let std::collections::hash_map::Entry::Vacant(place) = came_from.entry(next) {
                    place.insert(here);
                    open.push(next);
                }
            }
        }
        None
    }

    fn circle(&self, last: usize, index: usize, came_from: &HashMap<usize, usize>) -> Vec<&'a str> {
        let name = |index: usize| self.specs[index].as_ref().ok()?.reference.as_deref();
        let mut path = vec![name(index).unwrap_or_default()];
        let mut here = last;
        while here != index {
            path.push(name(here).unwrap_or_default());
            here = came_from[&here];
        }
        path.push(name(index).unwrap_or_default());
        path.reverse();
        path
    }
}

fn shown(path: &[&str]) -> String {
    if path.len() <= SHOWN + 1 {
        return path.join(" -> ");
    }
    let more = path.len() - 1 - SHOWN;
    format!("{} -> ({more} more) -> {}", path[..SHOWN].join(" -> "), path[path.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(lines: &[&str]) -> Vec<Result<Arc<TaskSpec>, Refusal>> {
        let spec = |line: &&str| {
            let (name, after) = line.split_once('<').unwrap_or((line, ""));
            let after: Vec<&str> = after.split(',').filter(|name| !name.is_empty()).collect();
            let json = serde_json::json!({"shell": "true", "ref": name, "dependencies": after});
            Ok(Arc::new(serde_json::from_value(json).unwrap()))
        };
        lines.iter().map(spec).collect()
    }

    #[test]
    fn each_mistake_has_its_own_refusal() {
        let specs =
            specs(&["a<b", "b<c", "c<a", "self<self", "early<late", "late", "typo<lat", "behind<typo"]);
        let mut references = References::new(&specs);
        let refused = Refusal::new(Code::SelfDependency, "a task cannot depend on itself");
        let chain = refused.consequence("self");
        let before = [None, None, None, Some(refused), None, None, Some(chain)];
        let mut said = |index, name| {
            let refusal = references.refusal(index, name, &before);
            format!("{}: {refusal}", refusal.code)
        };
        assert_eq!(said(0, "b"), "cycle: dependencies form a circle: a -> b -> c -> a");
        assert_eq!(said(2, "a"), "cycle: dependencies form a circle: c -> a -> b -> c");
        assert_eq!(said(3, "self"), "self_dependency: a task cannot depend on itself: self");
        let late = "unknown_dependency: a task can only depend on those before it: late";
        assert_eq!(said(4, "late"), format!("{late}\nhint: put the one with this ref first"));
        assert_eq!(said(6, "lat"), "unknown_dependency: unknown dependency: lat\nhint: did you mean late?");
        assert_eq!(said(6, "self"), "unknown_dependency: depends on a task that was refused: self");
        assert_eq!(said(7, "typo"), said(6, "self"), "the first that was refused");
        assert_eq!(
            said(6, "x"),
            "unknown_dependency: unknown dependency: x\nhint: name the id of a task, or the ref of one before it in the same request"
        );
    }

    #[test]
    fn a_long_circle_is_cut() {
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let path: Vec<&str> = names.iter().map(String::as_str).chain(["0"]).collect();
        assert_eq!(shown(&path), "0 -> 1 -> 2 -> 3 -> 4 -> 5 -> 6 -> 7 -> (12 more) -> 0");
    }
}
