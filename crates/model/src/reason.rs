//! Why a task does not run, and why it ended without completing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::{Amount, Claim, Mode, On, Priority, ResourceName, Status, TaskId, Time};

/// Who holds a part of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The task that holds it.
    pub task: TaskId,
    /// Whether it is an ad-hoc claim, held by a client for code of its own.
    pub guard: bool,
    /// The task's name.
    pub name: String,
    /// How it is held.
    pub mode: Mode,
    /// How much is held.
    pub amount: Amount,
    /// Since when.
    pub since: Time,
    /// When its timeout or deadline ends it at the latest, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// A task that stands before another one in the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskAhead {
    /// The task.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// The class it competes in.
    pub priority: Priority,
}

/// An unfinished dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnmetDependency {
    /// The task that must end first.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// How it must end.
    pub on: On,
    /// What it is doing now.
    pub status: Status,
}

/// Why a task cannot start in one of its variants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockedVariant {
    /// Which one, from 0.
    pub variant: u32,
    /// All it would hold.
    pub claims: Vec<Claim>,
    /// What stands against it.
    pub reasons: Vec<Reason>,
}

/// One reason why a pending or retrying task does not run. In JSON `{"code": …, …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// An operator holds it.
    Held,
    /// Its time has not come: `--in`, `--at`, or the delay before a retry.
    Delayed {
        /// When it comes.
        until: Time,
    },
    /// Tasks it depends on have not ended.
    Dependencies {
        /// The unfinished ones, at most [`Reason::SHOWN`] of them.
        tasks: Vec<UnmetDependency>,
        /// How many there are.
        count: usize,
    },
    /// A resource cannot give what it wants now.
    Resource {
        /// Which one.
        resource: ResourceName,
        /// How it wants it.
        mode: Mode,
        /// How much it wants.
        wants: Amount,
        /// How much is free; none where there is no capacity.
        free: Option<Amount>,
        /// Who holds it, at most [`Reason::SHOWN`] of them.
        holders: Vec<Holder>,
        /// How many holders there are.
        holder_count: usize,
        /// How many there may be at once, if there are as many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        concurrency: Option<u32>,
    },
    /// There are too few tokens.
    Rate {
        /// Of what.
        resource: ResourceName,
        /// How many it wants.
        wants: Amount,
        /// How many there are.
        left: Amount,
        /// When there are enough for it, if nobody is served before it.
        until: Time,
    },
    /// A claimant of the resource, or an operator, was told to wait; so everybody does.
    Throttled {
        /// Which resource.
        resource: ResourceName,
        /// Until when.
        until: Time,
    },
    /// An operator has closed the resource.
    Closed {
        /// Which resource.
        resource: ResourceName,
    },
    /// A task that stands before it has reserved the resource.
    Reservation {
        /// Which resource.
        resource: ResourceName,
        /// Who goes first.
        behind: TaskAhead,
    },
    /// No connected worker runs this handler.
    NoWorker {
        /// `module.action`, or `command`.
        handler: String,
    },
    /// Every slot is taken.
    NoSlot {
        /// How many slots there are.
        slots: u32,
    },
    /// An operator has paused what it belongs to.
    Paused {
        /// `all`, `priority low`, `workflow 3`, ….
        scope: String,
        /// The name of the workflow or session.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The load of the machine holds back every start.
    Guard {
        /// What was measured, and the limit.
        because: String,
    },
    /// Its workflow or session runs as many tasks as it may.
    MaxParallel {
        /// `workflow 3`.
        group: String,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// How many may run at once.
        limit: u32,
    },
    /// Its session keeps an order, and another goes first.
    Turn {
        /// The session's name.
        session: String,
        /// Who goes first.
        behind: TaskAhead,
    },
    /// The resource has become smaller than the claim.
    Unsatisfiable {
        /// Which one.
        resource: ResourceName,
        /// How much the task wants.
        wants: Amount,
        /// How much there is in all.
        capacity: Amount,
    },
    /// None of its variants fits.
    Variants {
        /// Each of them.
        variants: Vec<BlockedVariant>,
    },
}

impl Reason {
    /// Lists inside a reason are cut to this many entries; a count tells the rest.
    pub const SHOWN: usize = 10;

    /// Whether it stays so until somebody does something: nothing that runs, and no time that passes, ends it.
    #[must_use]
    pub fn wants_somebody(&self) -> bool {
        match self {
            Self::Held
            | Self::Closed { .. }
            | Self::NoWorker { .. }
            | Self::Paused { .. }
            | Self::Unsatisfiable { .. } => true,
            Self::Variants { variants } => {
                variants.iter().all(|variant| variant.reasons.iter().any(Self::wants_somebody))
            }
            Self::Delayed { .. }
            | Self::Dependencies { .. }
            | Self::Resource { .. }
            | Self::Rate { .. }
            | Self::Throttled { .. }
            | Self::Reservation { .. }
            | Self::NoSlot { .. }
            | Self::Guard { .. }
            | Self::MaxParallel { .. }
            | Self::Turn { .. } => false,
        }
    }
}

/// A workflow or a session as people call it: `workflow etl (3)`, as others may have this name, or `session nightly`.
fn named(group: &str, name: Option<&str>) -> String {
    match (name, group.split_once(' ')) {
        (Some(name), Some(("session", _))) => format!("session {name}"),
        (Some(name), Some((noun, id))) => format!("{noun} {name} ({id})"),
        (Some(_), None) | (None, _) => group.to_owned(),
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn all_taken(places: u32) -> String {
    let taken = if places == 1 { "its only place is".to_owned() } else { format!("all {places} places are") };
    format!("{taken} taken (concurrency {places})")
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("held"),
            Self::Delayed { until } => write!(f, "delayed until {until}"),
            Self::Dependencies { tasks, count } => {
                write!(f, "waiting for {}:", plural(*count, "task"))?;
                for (i, unmet) in tasks.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma} {} ({}, {}", unmet.task, unmet.name, unmet.status)?;
                    f.write_str(if unmet.on == On::Success { ")" } else { ", on " })?;
                    if unmet.on != On::Success {
                        write!(f, "{})", unmet.on)?;
                    }
                }
                f.write_str(if *count > tasks.len() { ", …" } else { "" })
            }
            Self::Resource { resource, mode, wants, free, holders, holder_count, concurrency } => {
                let lack = match (concurrency, free) {
                    (Some(limit), _) => all_taken(*limit),
                    (None, Some(free)) => {
                        let [wants, free] = resource.shown_apart(*wants, *free);
                        format!("wants {wants} {mode}, {free} free")
                    }
                    (None, None) => format!("wants {} {mode}", resource.shown(*wants)),
                };
                write!(f, "short of {resource}: {lack}")?;
                for (i, holder) in holders.iter().enumerate() {
                    f.write_str(if i == 0 { "; held by " } else { ", " })?;
                    let Holder { task, name, mode, amount, .. } = holder;
                    write!(f, "{task} ({name}, {} {mode}", resource.shown(*amount))?;
                    if let Some(until) = holder.until {
                        write!(f, ", until {until} at the latest")?;
                    }
                    f.write_str(")")?;
                }
                f.write_str(if *holder_count > holders.len() { ", …" } else { "" })
            }
            Self::Rate { resource, wants, left, until } => {
                write!(f, "rate limited until {until}: wants {wants} of {resource}, {left} left")
            }
            Self::Throttled { resource, until } => write!(f, "{resource} is throttled until {until}"),
            Self::Closed { resource } => write!(f, "{resource} is closed"),
            Self::Reservation { resource, behind } => {
                write!(f, "behind {} ({}), which has reserved {resource}", behind.task, behind.name)
            }
            Self::NoWorker { handler } => write!(f, "no worker for {handler}"),
            Self::NoSlot { slots } => write!(f, "no free slot ({})", plural(*slots as usize, "slot")),
            Self::Paused { scope, name } => write!(f, "paused ({})", named(scope, name.as_deref())),
            Self::Guard { because } => write!(f, "held back by the load guard: {because}"),
            Self::MaxParallel { group, name, limit } => {
                write!(f, "{} runs its limit of {limit} at once", named(group, name.as_deref()))
            }
            Self::Turn { session, behind } => {
                write!(f, "behind {} ({}): session {session} keeps an order", behind.task, behind.name)
            }
            Self::Unsatisfiable { resource, wants, capacity } => {
                let [wants, capacity] = resource.shown_apart(*wants, *capacity);
                write!(f, "wants {wants} of {resource}, which has only {capacity} in all")
            }
            Self::Variants { variants } => {
                f.write_str("none of its variants fits")?;
                variants.iter().try_for_each(|variant| write!(f, "; {variant}"))
            }
        }
    }
}

impl fmt::Display for BlockedVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.variant)?;
        for (i, claim) in self.claims.iter().enumerate() {
            write!(f, "{}{claim}", if i == 0 { "" } else { "," })?;
        }
        f.write_str(")")?;
        for (i, reason) in self.reasons.iter().enumerate() {
            write!(f, "{} {reason}", if i == 0 { ":" } else { " and" })?;
        }
        Ok(())
    }
}

/// Why a task was skipped or cancelled, or failed without a last attempt to blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum StatusReason {
    /// Its `when` was false.
    Condition,
    /// Its `when` could not be evaluated.
    ConditionError {
        /// What was wrong with it.
        message: String,
    },
    /// Its workflow stops at the first failure.
    FailFast {
        /// The task that failed.
        task: TaskId,
        /// Its name.
        name: String,
    },
    /// A dependency ended otherwise than it needs; names the first cause, not the nearest.
    Dependency {
        /// The root cause.
        task: TaskId,
        /// Its name; empty when it is no longer kept.
        name: String,
        /// How it ended.
        status: Status,
        /// Why, of one that was skipped for itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
    },
    /// There was nothing to do for it: nothing to undo, or others have taken its place.
    NotNeeded,
    /// It was cancelled.
    Cancelled {
        /// Why, if not because someone wanted it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
    },
    /// It met its deadline.
    Deadline,
    /// Its last attempt failed.
    Failed {
        /// What went wrong.
        message: String,
    },
}

/// The name of a task behind its id; nothing for one that is not known any more.
fn in_brackets(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" ({name})") }
}

impl fmt::Display for StatusReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition => f.write_str("its condition was false"),
            Self::ConditionError { message } => write!(f, "its condition could not be evaluated: {message}"),
            Self::FailFast { task, name } => write!(f, "fail_fast: {task}{} failed", in_brackets(name)),
            Self::Dependency { task, name, status, because } => {
                write!(f, "needs {task}{}, {status}", in_brackets(name))?;
                because.as_ref().map_or(Ok(()), |because| write!(f, ": {because}"))
            }
            Self::NotNeeded => f.write_str("not needed"),
            Self::Cancelled { because: None } => f.write_str("cancelled"),
            Self::Cancelled { because: Some(because) } => write!(f, "cancelled: {because}"),
            Self::Deadline => f.write_str("met its deadline"),
            Self::Failed { message } => f.write_str(message),
        }
    }
}
