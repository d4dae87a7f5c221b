//! The total order of ready tasks: the same at every replay.

use orchd_model::{Priority, Span, TaskId, Time};

/// The place of a ready task in the order; smaller starts first. Classes are strict, inside a class the one
/// that has been ready longer goes first, ties go by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rank {
    /// The class it competes in now.
    pub class: Priority,
    /// Since when it is ready.
    pub since: Time,
    /// The task.
    pub task: TaskId,
}

/// The class that a task of class `base`, ready since `since`, competes in at `now`: one higher for each
/// full `aging` it has waited, up to high. Nothing ages into critical; no aging when it is zero.
pub(crate) fn aged(base: Priority, since: Time, now: Time, aging: Span) -> Priority {
    let Some(steps) = now.since(since).0.checked_div(aging.0) else { return base };
    let highest = Priority::High.index().min(base.index());
    let climbed = base.index().saturating_sub(usize::try_from(steps).unwrap_or(usize::MAX));
    Priority::ALL[climbed.max(highest)]
}

/// When [`aged`] next gives another class, if it ever does.
pub(crate) fn next_aging(base: Priority, since: Time, now: Time, aging: Span) -> Option<Time> {
    if aging == Span::ZERO || aged(base, since, now, aging) <= Priority::High {
        return None;
    }
    let steps = now.since(since).0 / aging.0;
    Some(since + Span(aging.0.saturating_mul(steps + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_climb_one_class_for_each_aging_up_to_high() {
        let aging = Span::from_secs(10);
        let at = |base, seconds: u64| aged(base, Time(0), Time(seconds * 1_000_000), aging);
        assert_eq!(at(Priority::Low, 9), Priority::Low);
        assert_eq!(at(Priority::Low, 10), Priority::Normal);
        assert_eq!(at(Priority::Low, 20), Priority::High);
        assert_eq!(at(Priority::Low, 2000), Priority::High);
        assert_eq!(at(Priority::High, 2000), Priority::High);
        assert_eq!(at(Priority::Critical, 2000), Priority::Critical);
        assert_eq!(aged(Priority::Low, Time(0), Time(u64::MAX), Span::ZERO), Priority::Low);
    }

    #[test]
    fn the_next_change_of_class_is_known() {
        let aging = Span::from_secs(10);
        let next = |base, now| next_aging(base, Time(0), Time(now), aging);
        assert_eq!(next(Priority::Low, 0), Some(Time(10_000_000)));
        assert_eq!(next(Priority::Low, 10_000_000), Some(Time(20_000_000)));
        assert_eq!(next(Priority::Low, 20_000_000), None);
        assert_eq!(next(Priority::High, 0), None);
    }

    #[test]
    fn ranks_order_by_class_then_time_then_id() {
        let rank = |class, since, task| Rank { class, since: Time(since), task: TaskId(task) };
        assert!(rank(Priority::High, 9, 9) < rank(Priority::Normal, 1, 1));
        assert!(rank(Priority::High, 1, 9) < rank(Priority::High, 2, 1));
        assert!(rank(Priority::High, 1, 1) < rank(Priority::High, 1, 2));
    }
}
