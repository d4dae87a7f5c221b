//! Tokens that those have reserved who stand before somebody.

use orchd_model::{Priority, Span, Time};

use super::{Naive, Need, Rank};

impl Naive {
    /// How many tokens those before this one have reserved, and when they may be needed first.
    fn tokens_before(&self, resource: &str, rank: Rank, classes: &[Priority]) -> Option<(u64, Time)> {
        let before =
            (0..self.tasks.len()).filter(|id| self.rank(*id, classes).is_some_and(|other| other < rank));
        let reserved = before.flat_map(|id| {
            let task = &self.tasks[id];
            let of_it = task.reserved.iter().filter(|(_, name)| name == resource);
            of_it.map(|(variant, _)| {
                let need =
                    task.variants[*variant].iter().find(|need| need.0 == resource).expect("it needs it");
                let charge = self.charge(resource, need.1, need.2).as_thousandths();
                (charge, self.throttled_until(task, *variant).unwrap_or(self.now))
            })
        });
        reserved.reduce(|one, other| (one.0 + other.0, one.1.min(other.1)))
    }

    /// Whether too few would be left for those before it when the first of them may start.
    pub(super) fn is_short_of_tokens(&self, need: &Need, rank: Rank, classes: &[Priority]) -> bool {
        let Some(bucket) = self.buckets.get(&need.0) else { return false };
        let Some((reserved, needed_at)) = self.tokens_before(&need.0, rank, classes) else { return false };
        let own = self.charge(&need.0, need.1, need.2).as_thousandths();
        let come = i128::from(needed_at.since(self.now).0);
        let left = i128::from(bucket.level(self.now)) - i128::from(own) + come;
        left.min(i128::from(bucket.burst)) < i128::from(reserved)
    }

    /// When there are enough for a task and those before it.
    pub fn tokens_for_all_at(&self, id: usize, need: &Need) -> Option<Time> {
        let bucket = self.buckets.get(&need.0)?;
        let classes = self.classes();
        let (reserved, _) = self.tokens_before(&need.0, self.rank(id, &classes)?, &classes)?;
        let wanted = self.charge(&need.0, need.1, need.2).as_thousandths() + reserved;
        (wanted <= bucket.burst).then(|| self.now + Span(wanted.saturating_sub(bucket.level(self.now))))
    }
}
