//! Pauses of a resource that somebody was told, and what they do to reservations.

use orchd_model::Time;

use super::{Naive, Need};

impl Naive {
    /// Whether it was told to wait; whether for longer than others are kept waiting for it.
    pub(super) fn is_throttled(&self, (resource, ..): &Need) -> Option<bool> {
        let (since, until) = self.throttled.get(resource).filter(|(_, until)| *until > self.now)?;
        Some(until.since(*since) > self.reservation_delay)
    }

    /// Nobody gets a resource until then. A pause that is made longer goes on.
    pub fn throttle(&mut self, resource: &str, until: Time) {
        let goes_on = self.throttled.get(resource).filter(|(_, until)| *until > self.now);
        let since = goes_on.map_or(self.now, |(since, _)| *since);
        self.throttled.insert(resource.to_owned(), (since, until));
        let is_closed = self.paused.contains(resource);
        for task in self.tasks.iter_mut().filter(|_| !is_closed) {
            let needs = |variant: usize| task.variants[variant].iter().any(|need| need.0 == resource);
            task.gathers |= task.reserved.iter().any(|(variant, _)| needs(*variant));
        }
    }

    /// What it has reserved for a variant that is throttled for long it gives up, once.
    pub(super) fn give_way(&mut self, id: usize) {
        let task = &self.tasks[id];
        let has_some = |variant: &usize| task.reserved.iter().any(|(of, _)| of == variant);
        let is_long = |variant: &usize| {
            task.variants[*variant].iter().any(|need| self.is_throttled(need) == Some(true))
        };
        let variant = (0..task.variants.len()).filter(has_some).find(is_long);
        if let Some(variant) = variant.filter(|_| !task.gave_way) {
            self.tasks[id].unreserve_variant(variant);
            self.tasks[id].gave_way = true;
        }
    }
}
