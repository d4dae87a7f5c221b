//! Pauses of a resource that somebody was told, and who may pass meanwhile.

use orchd_model::Time;

use super::{Naive, Need, Task};

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
}
