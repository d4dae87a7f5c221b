//! Judging another scheduler, of which it is not known what its tasks have reserved: whether it was allowed to
//! start a task, and whether it has left one behind that could go.

use orchd_model::Mode;

use super::{Block, Naive, Need, Rank, mode_in};

impl Naive {
    /// Whether it may start this task now in this variant, whatever else it may have reserved.
    pub fn may_start(&self, id: usize, variant: usize) -> Result<(), String> {
        let heads = self.heads();
        let Some(rank) = heads.iter().find(|rank| rank.2 == id) else {
            return Err(format!("{id} is not the first ready task of its demand"));
        };
        if self.paused_all || !self.is_open(self.tasks[id].pool) {
            return Err(format!("{id} has no slot, or all is paused"));
        }
        let taken = &self.tasks[id].variants[variant];
        let is_short = |need: &&Need| self.held_block(need).is_some() || self.refill(need).is_some();
        if let Some(need) = taken.iter().find(is_short) {
            return Err(format!("{id} cannot have {need:?}"));
        }
        let startable = self.startable();
        if startable.iter().any(|(other, first)| *other == id && *first < variant) {
            return Err(format!("{id} started in variant {variant} though one before it was free"));
        }
        for other in heads.iter().filter(|other| *other < rank) {
            if startable.iter().any(|(startable, _)| *startable == other.2) {
                return Err(format!("{id} started before {other:?}"));
            }
            let is_looked_at = self.is_open(self.tasks[other.2].pool);
            for needs in &self.tasks[other.2].variants {
                let block = |need| self.held_block(need).or(self.refill(need).map(|_| Block::Rate));
                let mut blocks = needs.iter().filter_map(|need| Some((need, block(need)?)));
                if let (Some((need, Block::Mode)), None, true) = (blocks.next(), blocks.next(), is_looked_at)
                    && excludes(taken, needs, &need.0)
                    && !self.may_wait_elsewhere(*other, needs, &need.0)
                {
                    return Err(format!("{id} jumped the queue of {other:?} for {need:?}"));
                }
            }
        }
        Ok(())
    }

    /// Whether a task before this one might have reserved another of its needs.
    fn may_wait_elsewhere(&self, rank: Rank, needs: &[Need], resource: &str) -> bool {
        let classes = self.classes();
        let before = |id: &usize| self.rank(*id, &classes).is_some_and(|other| other < rank);
        let mut others = needs.iter().filter(|need| need.0 != resource);
        let might = |id: usize, resource: &str| self.might_exclude(needs, id, resource);
        others.any(|need| (0..self.tasks.len()).filter(before).any(|id| might(id, &need.0)))
    }

    /// Whether a task might have reserved this resource so that one with these needs cannot have it.
    fn might_exclude(&self, needs: &[Need], other: usize, resource: &str) -> bool {
        let is_counted = self.capacity.contains_key(resource) || self.buckets.contains_key(resource);
        self.tasks[other].variants.iter().any(|theirs| {
            let both = mode_in(needs, resource).is_some() && mode_in(theirs, resource).is_some();
            excludes(needs, theirs, resource) || (is_counted && both)
        })
    }

    /// Tasks against whose start nothing can stand, and the first variant of which that is so: no holder, no slot,
    /// nobody before it that waits and might have reserved what it needs.
    fn startable(&self) -> Vec<(usize, usize)> {
        let (heads, classes) = (self.heads(), self.classes());
        let mut ranks: Vec<Rank> = (0..self.tasks.len()).filter_map(|id| self.rank(id, &classes)).collect();
        ranks.sort_unstable();
        let (mut startable, mut waiting) = (Vec::new(), Vec::new());
        for rank in ranks {
            let id = rank.2;
            let fits = |need: &Need| self.held_block(need).is_none() && self.refill(need).is_none();
            let is_free = |needs: &Vec<Need>| {
                let shares =
                    |other: &usize| needs.iter().any(|need| self.might_exclude(needs, *other, &need.0));
                needs.iter().all(fits) && !waiting.iter().any(shares)
            };
            let is_first = heads.contains(&rank) && self.is_open(self.tasks[id].pool);
            match self.tasks[id].variants.iter().position(is_free).filter(|_| is_first) {
                Some(variant) => startable.push((id, variant)),
                None => waiting.push(id),
            }
        }
        startable
    }

    /// A task that another scheduler should have started.
    pub fn forgotten(&self) -> Option<usize> {
        self.startable().first().map(|(id, _)| *id).filter(|_| !self.paused_all)
    }
}

/// Whether both need this resource, and not side by side.
fn excludes(one: &[Need], other: &[Need], resource: &str) -> bool {
    let modes = (mode_in(one, resource), mode_in(other, resource));
    matches!(modes, (Some(a), Some(b)) if (a, b) != (Mode::Read, Mode::Read))
}
