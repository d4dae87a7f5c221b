//! When the ticks of a schedule come.
//!
//! The times of a calendar are those of crontab(5) in a time zone: one that the clocks skip when they are put forward comes at
//! the first moment after the gap if it has a fixed hour; one that comes twice when they are put back, comes once. An
//! interval counts from when the schedule was added, so it does not drift.

use croner::Cron;
use croner::parser::CronParser;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use orchd_model::{CatchUp, Code, Refusal, ScheduleSpec, Span, Time};

/// A tick that is later than this was missed, and so were those that another one has followed already.
const ON_TIME: Span = Span::from_secs(60);
/// Missed ticks that are caught up with one by one; those before them are passed over.
const CAUGHT_UP: usize = 1000;

/// The ticks of a schedule.
#[derive(Debug)]
pub enum Calendar {
    /// Those of a calendar in a time zone.
    Cron(Box<Cron>, TimeZone),
    /// Those of an interval, from an instant on.
    Every(Span, Time),
}

/// What there is to do about the ticks that have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Each with the number of those before it that are passed over.
    pub ticks: Vec<(Time, u64)>,
    /// Those after the last of them, which are passed over, and the latest of these.
    pub missed: Option<(Time, u64)>,
}

impl Calendar {
    /// Reads the times of a schedule. An interval begins at `created_at`.
    ///
    /// # Errors
    /// `malformed` with what cannot be read, also when there will never be a tick.
    pub fn of(spec: &ScheduleSpec, created_at: Time) -> Result<Self, Refusal> {
        let malformed = |message: &str, value: &str| Refusal::new(Code::Malformed, message).value(value);
        let Some(pattern) = &spec.cron else {
            return Ok(Self::Every(spec.every.unwrap_or(ScheduleSpec::SHORTEST), created_at));
        };
        let cron = CronParser::new().parse(pattern).map_err(|_| unreadable(pattern))?;
        let zone = match &spec.timezone {
            None => TimeZone::system(),
            Some(name) => TimeZone::get(name).map_err(|_| {
                malformed("no such time zone", name).hint("write its name, such as Europe/Berlin or UTC")
            })?,
        };
        let calendar = Self::Cron(Box::new(cron), zone);
        match calendar.after(created_at) {
            Some(_) => Ok(calendar),
            None => Err(Refusal::new(Code::Unsatisfiable, "this time never comes").value(pattern)),
        }
    }

    /// The name of its time zone, if it has one.
    pub fn zone(&self) -> Option<String> {
        match self {
            Self::Cron(_, zone) => Some(zone.iana_name().unwrap_or("local").to_owned()),
            Self::Every(..) => None,
        }
    }

    /// The first tick after an instant.
    pub fn after(&self, instant: Time) -> Option<Time> {
        match self {
            Self::Every(interval, from) => {
                let passed = instant.since(*from).0 / interval.0;
                Some(*from + Span(interval.0.checked_mul(passed + 1)?))
            }
            Self::Cron(cron, zone) => {
                let micros = i64::try_from(instant.0).ok()?;
                let zoned = Timestamp::from_microsecond(micros).ok()?.to_zoned(zone.clone());
                let next = cron.find_next_occurrence(&zoned, false).ok()?;
                u64::try_from(next.timestamp().as_microsecond()).ok().map(Time)
            }
        }
    }

    /// A tick and those that follow it, at most so many.
    pub fn from(&self, tick: Option<Time>, count: usize) -> Vec<Time> {
        std::iter::successors(tick, |tick| self.after(*tick)).take(count).collect()
    }

    /// What there is to do at `now` about the ticks from `expected` on, which is the one that was waited for.
    pub fn due(&self, catch_up: CatchUp, expected: Time, now: Time) -> Due {
        // Only the latest are kept: after years without a daemon there may be millions.
        let mut latest = std::collections::VecDeque::new();
        let mut dropped = 0;
        let mut tick = Some(expected);
        while let Some(at) = tick.filter(|at| *at <= now) {
            if latest.len() == CAUGHT_UP {
                latest.pop_front();
                dropped += 1;
            }
            latest.push_back(at);
            tick = self.after(at);
        }
        let Some(last) = latest.back().copied() else { return Due { ticks: Vec::new(), missed: None } };
        let before = dropped + latest.len() as u64 - 1;
        let is_late = now.since(last) > ON_TIME;
        match catch_up {
            CatchUp::None if is_late => Due { ticks: Vec::new(), missed: Some((last, before + 1)) },
            CatchUp::None | CatchUp::One => Due { ticks: vec![(last, before)], missed: None },
            CatchUp::All => {
                let first = std::mem::take(&mut dropped);
                let missed = |index: usize| if index == 0 { first } else { 0 };
                let ticks = latest.into_iter().enumerate().map(|(index, at)| (at, missed(index))).collect();
                Due { ticks, missed: None }
            }
        }
    }
}

/// The fields of a calendar and what they take; the first may be left out.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, or L for the last"),
    ("month", "1 to 12, or jan to dec"),
    ("day of the week", "0 to 7, or sun to sat, with #N or L behind it for the Nth or last of the month"),
];
const NICKNAMES: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What is wrong with the times of a calendar: the first of its fields that cannot be read alone.
fn unreadable(pattern: &str) -> Refusal {
    let malformed = |message: &str, value: &str| Refusal::new(Code::Malformed, message).value(value);
    let usual = "write minute hour day month weekday, such as \"30 3 * * mon-fri\"";
    if pattern.starts_with('@') {
        let hint = match orchd_model::nearest(pattern, NICKNAMES) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("one of {}", NICKNAMES.join(", ")),
        };
        return malformed("no calendar has this name", pattern).hint(hint);
    }
    let words: Vec<&str> = pattern.split_whitespace().collect();
    let Some(missing) = FIELDS.len().checked_sub(words.len()).filter(|missing| *missing <= 1) else {
        let message = "the times of a calendar have five fields, or six with seconds first";
        return malformed(message, pattern).hint(usual);
    };
    for (place, (name, range)) in FIELDS.iter().enumerate().skip(missing) {
        let mut alone = ["*"; FIELDS.len()];
        let word = words[place - missing];
        alone[place] = word;
        if CronParser::new().parse(&alone.join(" ")).is_err() {
            let hint = format!("{range}; *, lists (1,15), ranges (9-17) and steps (*/15) may be written");
            return malformed(&format!("{word} is no {name} of a calendar"), pattern).hint(hint);
        }
    }
    malformed("not the times of a calendar", pattern).hint(usual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_model::{Overlap, TaskSpec};

    fn spec(cron: Option<&str>, zone: Option<&str>) -> ScheduleSpec {
        ScheduleSpec {
            name: "n".to_owned(),
            cron: cron.map(str::to_owned),
            timezone: zone.map(str::to_owned),
            every: cron.is_none().then(|| Span::from_secs(600)),
            overlap: Overlap::Skip,
            catch_up: CatchUp::None,
            task: Some(Box::new(TaskSpec::command(["true"]))),
            workflow: None,
            definition: None,
        }
    }

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    fn ticks(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let calendar = Calendar::of(&spec(Some(cron), Some(zone)), at(from)).unwrap();
        let short = |tick: Time| tick.to_string().replace(":00.000000Z", "Z");
        calendar.from(calendar.after(at(from)), count).into_iter().map(short).collect()
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let berlin = ticks("30 3 * * mon-fri", "Europe/Berlin", "2026-07-03T12:00:00Z", 2);
        assert_eq!(berlin, ["2026-07-06T01:30Z", "2026-07-07T01:30Z"]);
        assert_eq!(ticks("@daily", "UTC", "2026-07-03T12:00:00Z", 1), ["2026-07-04T00:00Z"]);
        assert_eq!(ticks("0 0 L 2 *", "UTC", "2028-01-01T00:00:00Z", 1), ["2028-02-29T00:00Z"]);
    }

    #[test]
    fn a_time_that_the_clocks_skip_or_repeat_comes_once() {
        // In Berlin 02:30 does not exist on 2026-03-29, and exists twice on 2026-10-25.
        let forward = ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(forward, ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]);
        let back = ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(back, ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
    }

    #[test]
    fn an_interval_does_not_drift() {
        let calendar = Calendar::of(&spec(None, None), Time(7)).unwrap();
        let interval = 600_000_000;
        assert_eq!(calendar.after(Time(7)), Some(Time(7 + interval)));
        assert_eq!(calendar.after(Time(7 + interval)), Some(Time(7 + 2 * interval)));
        assert_eq!(calendar.after(Time(8 + 5 * interval)), Some(Time(7 + 6 * interval)));
    }

    #[test]
    fn what_is_no_calendar_is_refused() {
        for (cron, zone) in
            [("* * *", None), ("61 * * * *", None), ("x", None), ("* * * * *", Some("Europe/Berlim"))]
        {
            let refusal = Calendar::of(&spec(Some(cron), zone), at("2026-01-01T00:00:00Z")).unwrap_err();
            assert_eq!((refusal.code, refusal.value.is_some()), (Code::Malformed, true), "{cron}");
        }
    }

    #[test]
    fn what_cannot_be_read_of_a_calendar_is_told_in_our_words() {
        for (cron, message, value, hint) in [
            ("61 * * * *", "61 is no minute of a calendar", "61 * * * *", "0 to 59; "),
            ("0 60 * * * *", "60 is no minute of a calendar", "0 60 * * * *", "0 to 59; "),
            ("60 0 * * * *", "60 is no second of a calendar", "60 0 * * * *", "0 to 59; "),
            ("0 24-30 * * *", "24-30 is no hour of a calendar", "0 24-30 * * *", "0 to 23; "),
            ("0 0 32 * *", "32 is no day of the month of a calendar", "0 0 32 * *", "1 to 31"),
            ("0 0 1 foo *", "foo is no month of a calendar", "0 0 1 foo *", "1 to 12"),
            ("0 0 * * mo-fr", "mo-fr is no day of the week of a calendar", "0 0 * * mo-fr", "0 to 7"),
            ("*/0 * * * *", "*/0 is no minute of a calendar", "*/0 * * * *", "0 to 59; "),
            (
                "* * *",
                "the times of a calendar have five fields, or six with seconds first",
                "* * *",
                "write minute",
            ),
            ("", "the times of a calendar have five fields, or six with seconds first", "", "write minute"),
            ("@dayly", "no calendar has this name", "@dayly", "did you mean @daily?"),
            ("@reboot", "no calendar has this name", "@reboot", "one of @yearly"),
        ] {
            let refusal = Calendar::of(&spec(Some(cron), None), at("2026-01-01T00:00:00Z")).unwrap_err();
            let told = (refusal.code, refusal.message.as_ref(), refusal.value.as_deref());
            assert_eq!(told, (Code::Malformed, message, Some(value)), "{cron}");
            assert!(refusal.hint.as_ref().is_some_and(|told| told.starts_with(hint)), "{cron}: {refusal:?}");
        }
    }

    #[test]
    fn a_time_that_never_comes_is_well_formed_but_refused() {
        let never = Calendar::of(&spec(Some("0 0 30 2 *"), None), at("2026-01-01T00:00:00Z")).unwrap_err();
        assert_eq!((never.code, never.value.as_deref()), (Code::Unsatisfiable, Some("0 0 30 2 *")));
    }

    #[test]
    fn what_was_missed_is_caught_up_with_as_wished() {
        let calendar = Calendar::Every(Span(10), Time(0));
        let minute = 60_000_000;
        let due = |catch_up, now| calendar.due(catch_up, Time(10), Time(now));
        let none = Due { ticks: Vec::new(), missed: None };
        assert_eq!(due(CatchUp::All, 9), none);
        for catch_up in [CatchUp::None, CatchUp::One, CatchUp::All] {
            let on_time = Due { ticks: vec![(Time(10), 0)], missed: None };
            assert_eq!(due(catch_up, 19), on_time);
        }
        let late = Calendar::Every(Span(minute), Time(0));
        let due = |catch_up, now| late.due(catch_up, Time(minute), Time(now));
        let third = Time(3 * minute);
        assert_eq!(due(CatchUp::None, 3 * minute + 5), Due { ticks: vec![(third, 2)], missed: None });
        let hourly = Calendar::Every(Span(60 * minute), Time(0));
        let due = |catch_up, now| hourly.due(catch_up, Time(60 * minute), Time(now));
        let second = Time(120 * minute);
        assert_eq!(due(CatchUp::None, 130 * minute), Due { ticks: Vec::new(), missed: Some((second, 2)) });
        assert_eq!(due(CatchUp::One, 130 * minute), Due { ticks: vec![(second, 1)], missed: None });
        let all = vec![(Time(60 * minute), 0), (second, 0)];
        assert_eq!(due(CatchUp::All, 130 * minute), Due { ticks: all, missed: None });
        let years = due(CatchUp::All, 5000 * 60 * minute);
        assert_eq!(
            (years.ticks.len(), years.ticks[0], years.ticks[1].1),
            (1000, (Time(4001 * 60 * minute), 4000), 0)
        );
    }
}
