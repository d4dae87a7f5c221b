//! What is known of the names of tasks while a list of them is read: whether so much is wrong with them that the rest need not be.
//!
//! The names of a million tasks are known when all have been read, and that takes a kilobyte or two for each. So of a list whose
//! tasks wait for many that have not come yet the names are gathered beforehand, by themselves.

use orchd_model::DependencyTarget;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use crate::error::{ERRORS, Report};
use crate::names::Names;
use crate::task::Draft;

/// So many may wait for tasks that come after them before it is looked whether those come.
const OPEN: usize = 10_000;

/// The names of the tasks that were read so far, and what they wait for.
pub(crate) struct Taken<'n> {
    names: &'n Names<'n>,
    by_hash: HashMap<u64, usize>,
    hasher: RandomState,
    /// Tasks that have the name of one before them.
    again: usize,
    open: Vec<Waits>,
    /// The hashes of all names, once they were gathered.
    all: Option<HashSet<u64>>,
    /// Those of the open ones that wait for nothing that is there.
    unknown: Vec<Waits>,
}

/// A task, the one of its dependencies, and the hash of the name of that.
#[derive(Clone, Copy)]
struct Waits {
    draft: usize,
    dependency: usize,
    hash: u64,
}

impl<'n> Taken<'n> {
    /// `names`: of all tasks that those that are read may wait for.
    pub(crate) fn new(names: &'n Names<'n>) -> Self {
        let (by_hash, hasher) = (HashMap::new(), RandomState::new());
        Self { names, by_hash, hasher, again: 0, open: Vec::new(), all: None, unknown: Vec::new() }
    }

    /// Notes the last one of these.
    pub(crate) fn note(&mut self, drafts: &[Draft]) {
        let Some((last, before)) = drafts.split_last() else { return };
        let first = *self.by_hash.entry(self.hasher.hash_one(&last.spec.name)).or_insert(before.len());
        self.again += usize::from(before.get(first).is_some_and(|draft| draft.spec.name == last.spec.name));
        for (dependency, waits) in last.spec.dependencies.iter().enumerate() {
            let DependencyTarget::Name(name) = &waits.task else { continue };
            let hash = self.hasher.hash_one(name);
            if !self.by_hash.contains_key(&hash) {
                self.note_open(Waits { draft: before.len(), dependency, hash });
            }
        }
    }

    fn note_open(&mut self, waits: Waits) {
        self.open.push(waits);
        if self.open.len() >= OPEN || self.all.is_some() {
            let all = self.all.get_or_insert_with(|| self.names.hashes(&self.hasher));
            self.unknown.extend(self.open.drain(..).filter(|waits| !all.contains(&waits.hash)));
        }
    }

    /// Whether there are more mistakes than are told, however it goes on.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.again >= ERRORS || self.unknown.len() >= ERRORS
    }

    /// Tells of the tasks that do not exist, if there are so many.
    pub(crate) fn tell(&self, drafts: &[Draft], report: &mut Report) {
        if self.unknown.len() < ERRORS {
            return;
        }
        for waits in &self.unknown {
            let draft = &drafts[waits.draft];
            let DependencyTarget::Name(name) = &draft.spec.dependencies[waits.dependency].task else {
                continue;
            };
            let known = drafts.iter().map(|draft| draft.spec.name.as_str());
            report.unknown(draft.dependencies_at[waits.dependency], "unknown dependency", name, known);
        }
    }
}
