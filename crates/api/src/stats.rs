//! Figures about the daemon, its resources and its workers.

use orchd_model::{Amount, Mode, Sequence, Span, TaskId, Time, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts and times over the life of the state directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// Tasks in all.
    pub total_tasks: u64,
    /// Tasks that wait.
    pub pending: u64,
    /// Tasks that run.
    pub running: u64,
    /// Tasks that will be tried again.
    pub retrying: u64,
    /// Tasks that ended well.
    pub completed: u64,
    /// Tasks that failed.
    pub failed: u64,
    /// Tasks that were skipped.
    pub skipped: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Sum of the execution times of all attempts that ended, seconds.
    pub total_execution_time: f64,
    /// Mean execution time of those attempts, seconds.
    pub average_execution_time: f64,
    /// Completed / (completed + failed), 0..1; 0 when none has ended.
    pub success_rate: f64,
    /// Failed / (completed + failed), 0..1; 0 when none has ended.
    pub failure_rate: f64,
    /// Unfinished tasks by class.
    pub by_priority: BTreeMap<String, u64>,
    /// From submission to first start, seconds.
    pub wait_time: Distribution,
    /// Of attempts, seconds.
    pub run_time: Distribution,
    /// The tasks with the longest attempts, the longest first, at most ten.
    pub slowest: Vec<SlowTask>,
    /// Tasks that ended per second, since the daemon started.
    pub throughput: Throughput,
    /// Connected workers.
    pub workers: usize,
    /// Slots of connected workers.
    pub slots: Slots,
    /// Resources.
    pub resources: Vec<Resource>,
    /// Sessions.
    pub sessions: usize,
    /// Workflows that run.
    pub workflows: usize,
    /// Seconds since the daemon started.
    pub uptime: Span,
    /// Ready tasks.
    pub backlog: u64,
    /// Whether new starts are paused.
    #[serde(default)]
    pub paused: bool,
    /// Whether the daemon ends as soon as the running tasks have ended; nothing new starts.
    #[serde(default)]
    pub shutting_down: bool,
    /// The store.
    pub store: StoreStats,
}

/// A distribution, seconds. Percentiles are at most 1 % off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Mean.
    pub avg: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// A task with a long attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlowTask {
    /// The task.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// How long its longest attempt ran, seconds.
    pub execution_time: Span,
}

/// Rates over the last minutes, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throughput {
    /// One minute.
    pub m1: f64,
    /// Five minutes.
    pub m5: f64,
    /// Fifteen minutes.
    pub m15: f64,
}

/// Slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slots {
    /// Taken.
    pub used: u32,
    /// In all.
    pub total: u32,
}

/// The durable store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreStats {
    /// Size on disk.
    pub bytes: u64,
    /// The last durable event.
    pub sequence: Sequence,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    /// `type:identifier`.
    pub resource: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which one.
    pub identifier: String,
    /// Units that can be held at once.
    pub capacity: Option<Amount>,
    /// Units held.
    pub held: Amount,
    /// Units free; none without a capacity.
    pub free: Option<Amount>,
    /// Tasks that have reserved it, and go before those behind them; no amount.
    pub reserved: usize,
    /// Tasks that wait for it, and perhaps for others as well.
    pub waiting: u64,
    /// Who holds it, the first ones.
    pub holders: Vec<ResourceHolder>,
    /// How many holders at once.
    pub concurrency: Option<u32>,
    /// `open`, `throttled`, `paused` or `closed`: the last of these that it is.
    pub state: String,
    /// Whether an operator has closed it.
    pub closed: bool,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// Until when it is throttled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_until: Option<Time>,
    /// Its rate; none when its claims are not limited in time.
    pub rate: Option<ResourceRate>,
    /// For how long somebody has waited for it since it came into being, over restarts. A task that waits for several
    /// adds to one at a time.
    pub blocked_time: Span,
}

/// A rate and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRate {
    /// Tokens that come in a time of `per`.
    pub tokens: Amount,
    /// The time in which so many tokens come.
    pub per: Span,
    /// The most tokens that gather.
    pub burst: Amount,
    /// Tokens that are there now.
    pub left: Amount,
    /// When there is one more; none when there are as many as gather.
    pub next_refill: Option<Time>,
}

/// A holder of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceHolder {
    /// The task.
    pub task: TaskId,
    /// Whether it is an ad-hoc claim, held by a client for code of its own.
    pub guard: bool,
    /// Its name.
    pub name: String,
    /// How it holds it.
    pub mode: Mode,
    /// How much.
    pub amount: Amount,
    /// Since when.
    pub since: Time,
    /// When its timeout or deadline ends it at the latest, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// A connected worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    /// Its id.
    pub id: WorkerId,
    /// `process` or `service`.
    pub kind: String,
    /// Its process id.
    pub pid: u32,
    /// Attempts it can hold at a time.
    pub slots: u32,
    /// Attempts it holds.
    pub used: u32,
    /// Handlers it registered.
    pub handlers: Vec<String>,
    /// Labels it gave itself.
    pub labels: Vec<String>,
    /// Since when; none while its connection is broken.
    pub connected_at: Option<Time>,
    /// Tasks it runs.
    pub attempts: Vec<TaskId>,
}
