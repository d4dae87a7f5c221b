//! The ready tasks of one demand, in order. Where such a queue stands among the others is in
//! [`queues`](crate::queues).

use orchd_model::{Amount, Priority, Span, TaskId, Time};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::demand::Demand;
use crate::ledger::ResourceIndex;
use crate::parking::Waits;
use crate::rank::Rank;
use crate::resource::Need;
use crate::variant::Variant;

/// Where a queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Empty,
    Candidate,
    /// On the resources that its variants name.
    Parked,
}

/// The ready tasks of one demand.
#[derive(Debug)]
pub(crate) struct Queue {
    pub demand: Arc<Demand>,
    /// The limit of an attempt, where there are claims.
    pub timeout: Option<Span>,
    /// The ways to run its tasks, at least one.
    pub variants: Box<[Variant]>,
    pub pool: usize,
    /// Tasks in memory with this demand, ready or not; the queue lives as long as there is one.
    pub tasks: u32,
    /// Ready tasks by class, each in the order of the moment they became ready.
    pub ready: [BTreeSet<(Time, TaskId)>; 4],
    /// How many elements of arrays the ready records stand for beyond themselves.
    pub more: u64,
    pub place: Place,
    /// The rank of the head when it was last filed, if one may start.
    pub rank: Option<Rank>,
    /// The resource whose change woke it, until it is served.
    pub woken_by: Option<ResourceIndex>,
    /// Those that had a reservation when they were last looked at. They climb with it, whoever is at the head.
    pub reserving: BTreeSet<(Time, TaskId)>,
}

impl Queue {
    /// How many tasks are ready.
    pub fn backlog(&self) -> u64 {
        self.records() as u64 + self.more
    }

    /// What its tasks need in a variant.
    pub fn needs_in(&self, variant: Option<u32>) -> &[Need] {
        &self.variants[variant.unwrap_or(0) as usize].needs
    }

    /// What its tasks may need, in whatever variant.
    pub fn needs(&self) -> impl Iterator<Item = &Need> {
        self.variants.iter().flat_map(|variant| &variant.needs)
    }

    /// Whether nothing but a slot can keep its tasks from starting.
    pub fn needs_nothing(&self) -> bool {
        self.needs().next().is_none()
    }

    /// How it needs a resource that it is parked on.
    pub fn waits_for(&self, resource: ResourceIndex) -> Option<&Need> {
        let is_parked = |variant: &&Variant| variant.parked.is_some_and(|(on, _)| on == resource);
        let variant = self.variants.iter().find(is_parked)?;
        variant.needs.iter().find(|need| need.resource == resource)
    }

    /// The least that it waits for beside what is reserved of a resource.
    pub fn beside(&self, resource: ResourceIndex) -> Option<Amount> {
        let beside = |variant: &Variant| match variant.parked {
            Some((on, Waits::Beside(amount))) if on == resource => Some(amount),
            _ => None,
        };
        self.variants.iter().filter_map(beside).min()
    }

    pub fn records(&self) -> usize {
        self.ready.iter().map(BTreeSet::len).sum()
    }

    /// The heads of its lists, but for paused classes.
    pub fn heads<'a>(&'a self, paused: &'a [bool; 4]) -> impl Iterator<Item = (Priority, Time, TaskId)> + 'a {
        Priority::ALL
            .into_iter()
            .filter(|class| !paused[class.index()])
            .filter_map(|class| self.ready[class.index()].first().map(|(since, task)| (class, *since, *task)))
    }

    /// Those whose place in the order counts: the heads, and those that have reserved something.
    pub fn climbing<'a>(
        &'a self,
        paused: &'a [bool; 4],
    ) -> impl Iterator<Item = (Priority, Time, TaskId)> + 'a {
        let class_of =
            |place| Priority::ALL.into_iter().find(|class| self.ready[class.index()].contains(place));
        let reserving = self
            .reserving
            .iter()
            .filter_map(move |place| class_of(place).map(|class| (class, place.0, place.1)));
        self.heads(paused).chain(reserving)
    }
}
