//! The figures of workflows: how many of their tasks have ended how, and how long they took.
//!
//! Those of a workflow that was submitted while this daemon runs are kept up by its events, so that nobody reads a million
//! tasks to say how far they have come. Those of any other are counted from its tasks and attempts.

use orchd_core::{Event, Fact, TaskRecord};
use orchd_model::{Status, TaskId, Time, WorkflowId};
use orchd_store::StoredAttempt;
use std::collections::BTreeMap;

use crate::at_once::AtOnce;

/// The figures of one workflow. Times are in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkflowFigures {
    pub total: u64,
    pub completed: u64,
    pub failed: u64,
    pub skipped: u64,
    pub cancelled: u64,
    /// Tasks that have ended and ran; of each its last attempt counts.
    pub timed: u64,
    pub sum: u64,
    pub longest: u64,
    pub shortest: Option<u64>,
    at_once: AtOnce,
    /// What all attempts that have ended took: who had to be tried again has used its share more than once.
    used: u64,
    /// Since when attempts are under way.
    running: BTreeMap<TaskId, Time>,
    /// How long the last attempts took of tasks that have not ended. Empty where they were counted.
    tried: BTreeMap<TaskId, u64>,
}

impl WorkflowFigures {
    /// Counts them.
    pub fn of(tasks: &[TaskRecord], attempts: &[(TaskId, StoredAttempt)], now: Time) -> Self {
        let mut figures = Self::default();
        for (_, attempt) in attempts {
            let started_at = attempt.end.started_at;
            figures.at_once.ran(started_at, started_at + attempt.end.execution_time);
        }
        for since in tasks.iter().filter_map(TaskRecord::running_since) {
            figures.at_once.ran(since, now);
        }
        let last: BTreeMap<TaskId, u64> =
            attempts.iter().map(|(task, attempt)| (*task, attempt.end.execution_time.0)).collect();
        for task in tasks {
            let (status, count) = (task.status(), task.range().len());
            figures.total += count;
            figures.count(status, count, last.get(&task.id).copied());
            figures.running.extend(task.running_since().map(|since| (task.id, since)));
        }
        figures.used =
            attempts.iter().fold(0, |sum, (_, attempt)| sum.saturating_add(attempt.end.execution_time.0));
        figures
    }

    /// What all attempts took so far.
    pub fn used(&self, now: Time) -> u64 {
        self.running.values().fold(self.used, |sum, since| sum.saturating_add(now.since(*since).0))
    }

    /// The most tasks that ran at one instant.
    pub fn peak(&self) -> u64 {
        self.at_once.most()
    }

    fn count(&mut self, status: Status, tasks: u64, last: Option<u64>) {
        *match status {
            Status::Completed => &mut self.completed,
            Status::Failed => &mut self.failed,
            Status::Skipped => &mut self.skipped,
            Status::Cancelled => &mut self.cancelled,
            Status::Pending | Status::Running | Status::Retrying => return,
        } += tasks;
        let Some(time) = last.filter(|_| status != Status::Skipped) else { return };
        self.timed += 1;
        self.sum = self.sum.saturating_add(time);
        self.longest = self.longest.max(time);
        self.shortest = Some(self.shortest.map_or(time, |shortest| shortest.min(time)));
    }

    fn note(&mut self, event: &Event) {
        match &event.fact {
            Fact::Submitted { record, .. } => self.total += record.range().len(),
            Fact::Started { task, at, .. } => {
                self.running.insert(*task, *at);
                self.at_once.begins(*at);
                self.at_once.settle();
            }
            fact => {
                let Some(task) = fact.task() else { return };
                if let Some(end) = fact.attempt_end() {
                    if self.running.remove(&task).is_some() {
                        self.at_once.ends(end.started_at + end.execution_time);
                    }
                    self.used = self.used.saturating_add(end.execution_time.0);
                    self.tried.insert(task, end.execution_time.0);
                }
                if let Some(status) = ended_as(fact) {
                    let last = self.tried.remove(&task);
                    self.count(status, event.more + 1, last);
                }
            }
        }
    }
}

/// The figures of workflows that have not ended, as their events tell them.
#[derive(Debug, Default)]
pub struct RunningWorkflows(BTreeMap<WorkflowId, WorkflowFigures>);

impl RunningWorkflows {
    /// Those of a workflow, if all of its events were seen.
    pub fn get(&self, workflow: WorkflowId) -> Option<&WorkflowFigures> {
        self.0.get(&workflow)
    }

    /// Takes note of durable events.
    pub fn note(&mut self, events: &[Event]) {
        for event in events {
            let Some(workflow) = event.workflow else { continue };
            match &event.fact {
                Fact::WorkflowSubmitted { .. } => {
                    self.0.insert(workflow, WorkflowFigures::default());
                }
                // What a task that runs anew took before is not in them.
                Fact::WorkflowEnded { .. } | Fact::Revived { .. } => drop(self.0.remove(&workflow)),
                _ => {
                    if let Some(figures) = self.0.get_mut(&workflow) {
                        figures.note(event);
                    }
                }
            }
        }
    }
}

/// The status that a task ends with, if the fact is its end.
fn ended_as(fact: &Fact) -> Option<Status> {
    match fact {
        Fact::Completed { .. } => Some(Status::Completed),
        Fact::Failed { .. } => Some(Status::Failed),
        Fact::Cancelled { .. } => Some(Status::Cancelled),
        Fact::Skipped { .. } => Some(Status::Skipped),
        _ => None,
    }
}
