//! Pauses of a resource that somebody was told, and who may pass meanwhile.

use orchd_model::Time;
use std::collections::{BTreeMap, BTreeSet};

use super::{Demand, Naive, Need, Rank, Task};

/// The first task of a demand when it was told to wait, since when it was ready, and what else it needs, for which
/// variant, that nobody has taken from it.
pub type Watches = BTreeMap<Demand, (Time, usize, BTreeSet<(usize, String)>)>;

impl Naive {
    /// Whether it was told to wait.
    pub(super) fn is_throttled(&self, (resource, ..): &Need) -> bool {
        self.throttled.get(resource).is_some_and(|until| *until > self.now)
    }

    /// Nobody gets a resource until then.
    pub fn throttle(&mut self, resource: &str, until: Time) {
        self.throttled.insert(resource.to_owned(), until);
    }

    /// The instant before which a task cannot start in a variant, as something that it needs is throttled.
    pub(super) fn throttled_until(&self, task: &Task, variant: usize) -> Option<Time> {
        let needs = task.variants[variant].iter().filter(|need| self.is_throttled(need));
        needs.map(|need| self.throttled[&need.0]).max()
    }

    /// Whether a task that starts now has ended by an instant.
    pub(super) fn is_over_by(&self, id: usize, until: Option<Time>) -> bool {
        let end = self.tasks[id].timeout.map(|timeout| self.now + timeout + self.grace);
        end.zip(until).is_some_and(|(end, until)| end <= until)
    }

    /// One that is told to wait reserves what it could not have anyhow, and watches what else it needs.
    pub(super) fn watch(&mut self, rank: Rank, variant: usize) {
        let (_, since, id) = rank;
        let needs = self.tasks[id].variants[variant].clone();
        let (taken, left): (Vec<Need>, Vec<Need>) = needs.into_iter().partition(|need| self.is_taken(need));
        self.tasks[id].reserved.extend(taken.into_iter().map(|need| (variant, need.0)));
        let watched = self.watches.entry(self.demand(id)).or_insert((since, id, BTreeSet::new()));
        watched.2.extend(left.into_iter().map(|need| (variant, need.0)));
    }

    /// Something was taken: those who watch it reserve it, if they could not have it now.
    pub(super) fn note_taken(&mut self) {
        for (_, since, id) in self.heads() {
            let demand = self.demand(id);
            let Some((_, _, watched)) = self.watches.get(&demand).filter(|one| (one.0, one.1) == (since, id))
            else {
                continue;
            };
            let variants = &self.tasks[id].variants;
            let is_taken = |(variant, resource): &&(usize, String)| {
                let needs = &variants[*variant];
                let mut same = needs.iter().filter(|need| need.0 == *resource);
                same.any(|need| self.is_taken(need)) && !needs.iter().any(|need| self.is_barred(need))
            };
            let taken: Vec<(usize, String)> = watched.iter().filter(is_taken).cloned().collect();
            let watched = self.watches.get_mut(&demand).expect("looked at just now");
            taken.iter().for_each(|one| _ = watched.2.remove(one));
            self.tasks[id].reserved.extend(taken);
        }
    }

    /// Whether holders exclude it, or too few tokens are left.
    fn is_taken(&self, need: &Need) -> bool {
        self.excludes(need) || self.refill(need).is_some()
    }
}
