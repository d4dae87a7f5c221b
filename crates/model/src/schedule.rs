//! Schedules: work that is added again and again, at the times of a calendar or at an interval.
//!
//! The times themselves are found by whoever knows the calendar; here is what was asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::{Code, DefinitionRun, Refusal, Span, TaskSpec, WorkflowSpec, check_seen, limits, nearest};

/// What happens at a tick while the run of an earlier one has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Nothing: this tick is passed over.
    #[default]
    Skip,
    /// The run of this tick begins when the one before it has ended.
    Queue,
    /// What runs is cancelled, and the run of this tick begins.
    Cancel,
    /// Both run.
    Allow,
}

/// What happens with ticks that came while no daemon was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are passed over.
    #[default]
    None,
    /// One run stands for all of them, that of the latest.
    One,
    /// Each has its run, in their order.
    All,
}

macro_rules! words {
    ($name:ident, $what:literal, $($word:literal => $variant:ident),+) => {
        impl $name {
            /// The words for it.
            pub const WORDS: &[&str] = &[$($word),+];

            /// Its word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Refusal;

            fn from_str(text: &str) -> Result<Self, Refusal> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => {
                        let refusal = Refusal::new(Code::Malformed, $what).value(text);
                        Err(match nearest(text, Self::WORDS.iter().copied()) {
                            Some(near) => refusal.hint(format!("did you mean {near}?")),
                            None => refusal.hint(format!("one of {}", Self::WORDS.join(", "))),
                        })
                    }
                }
            }
        }
    };
}

words!(Overlap, "no such rule for overlapping runs", "skip" => Skip, "queue" => Queue, "cancel" => Cancel, "allow" => Allow);
words!(CatchUp, "no such rule for missed ticks", "none" => None, "one" => One, "all" => All);

/// What a user asked for: when, and what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Its name, one of its kind.
    pub name: String,
    /// The times of a calendar: minute, hour, day of the month, month, day of the week, as crontab(5) has them;
    /// with seconds before them if there are six. Either this or `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of `cron`, such as `Europe/Berlin`; that of the daemon's machine when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// From one tick to the next, counted from when the schedule was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// While an earlier run has not ended.
    #[serde(default)]
    pub overlap: Overlap,
    /// After a time without a daemon.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// The task that is added at each tick. Either this, `workflow` or `definition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Box<TaskSpec>>,
    /// The workflow that is added at each tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Box<WorkflowSpec>>,
    /// The workflow that is added at each tick, kept under a name, as it is then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Box<DefinitionRun>>,
}

impl ScheduleSpec {
    /// The shortest interval.
    pub const SHORTEST: Span = Span::from_secs(1);

    /// Checks what the types do not express, apart from the calendar.
    ///
    /// # Errors
    /// `malformed` with the offending value.
    pub fn check(&self) -> Result<(), Refusal> {
        let malformed = |message: &str, value: &str| Refusal::new(Code::Malformed, message).value(value);
        if self.name.is_empty() || self.name.len() > limits::NAME_BYTES {
            let message = format!("a name has 1 to {} bytes", limits::NAME_BYTES);
            return Err(Refusal::new(Code::Malformed, message).value(&self.name));
        }
        if self.name.contains('/') {
            return Err(malformed("the name of a schedule has no slash", &self.name));
        }
        check_seen("name", &self.name)?;
        if self.name.parse::<u64>().is_ok() {
            return Err(malformed("the name of a schedule is no number", &self.name).hint("numbers are ids"));
        }
        match (&self.cron, &self.every) {
            (Some(_), None) => {}
            (None, Some(every)) if *every >= Self::SHORTEST => {}
            (None, Some(every)) => {
                return Err(malformed("the interval is at least a second", &every.to_string())
                    .hint("write it like 10s, 15m or 1d"));
            }
            (Some(_), Some(_)) => return Err(malformed("give either cron or every", &self.name)),
            (None, None) => {
                return Err(malformed("a schedule needs its times", &self.name).hint("give cron or every"));
            }
        }
        if let (Some(zone), None) = (&self.timezone, &self.cron) {
            return Err(malformed("an interval has no time zone", zone).hint("leave it out, or give cron"));
        }
        match (&self.task, &self.workflow, &self.definition) {
            (Some(_), None, None) | (None, Some(_), None) | (None, None, Some(_)) => Ok(()),
            _ => Err(malformed("a schedule adds either a task or a workflow", &self.name)
                .hint("give one of task, workflow and definition")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(seconds: u64) -> ScheduleSpec {
        ScheduleSpec {
            name: "nightly".into(),
            cron: None,
            timezone: None,
            every: Some(Span::from_secs(seconds)),
            overlap: Overlap::default(),
            catch_up: CatchUp::default(),
            task: Some(Box::new(TaskSpec::command(["true"]))),
            workflow: None,
            definition: None,
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_value() {
        assert_eq!(every(60).check(), Ok(()));
        let named = |name: &str| ScheduleSpec { name: name.into(), ..every(60) };
        let both = ScheduleSpec { cron: Some("* * * * *".into()), ..every(60) };
        let zone = ScheduleSpec { timezone: Some("UTC".into()), ..every(60) };
        let nothing = ScheduleSpec { task: None, ..every(60) };
        let never = ScheduleSpec { every: None, ..every(60) };
        let wrong = [named(""), named("a/b"), named("a\nb"), both, zone, nothing, never, every(0)];
        for spec in wrong {
            assert_eq!(spec.check().unwrap_err().code, Code::Malformed, "{spec:?}");
        }
    }

    #[test]
    fn words_are_read_and_a_slip_is_put_right() {
        for word in Overlap::WORDS {
            assert_eq!(word.parse::<Overlap>().unwrap().as_str(), *word);
        }
        assert_eq!("al".parse::<CatchUp>().unwrap_err().hint.unwrap(), "did you mean all?");
    }
}
