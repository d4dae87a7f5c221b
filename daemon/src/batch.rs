//! What the scheduler's events make durable: the events, and everything that they have touched as it is now.

use orchd_core::{Core, Event, Fact, ScheduleRecord};
use orchd_model::{ScheduleId, SessionId, TaskId, WorkflowId};
use orchd_store::Batch;
use std::collections::BTreeSet;

/// The batch of these events, which are the scheduler's last.
pub fn of(core: &Core, events: Vec<Event>, workflow_parameters: Vec<(WorkflowId, String)>) -> Batch {
    let mut workflows: BTreeSet<WorkflowId> = events.iter().filter_map(|e| e.fact.workflow()).collect();
    let changes = |fact: &Fact| ends_a_task(fact) || matches!(fact, Fact::Expanded { .. });
    workflows.extend(events.iter().filter(|e| changes(&e.fact)).filter_map(|e| e.workflow));
    let sessions: BTreeSet<SessionId> = events.iter().filter_map(|event| event.session).collect();
    debug_assert!(added_as_told(core, &events), "a task is not as the event that added it says");
    Batch {
        tasks: touched_tasks(&events).into_iter().filter_map(|id| core.record(id)).collect(),
        workflows: workflows.into_iter().filter_map(|id| core.workflow(id).cloned()).collect(),
        sessions: sessions.into_iter().filter_map(|id| core.session(id).cloned()).collect(),
        schedules: touched_schedules(core, &events),
        blocked: Vec::new(),
        reserved: Vec::new(),
        meta: core.meta().clone(),
        events,
        workflow_parameters,
        workflow_hooks: Vec::new(),
        hooks: Vec::new(),
        figures: None,
        definitions: Vec::new(),
    }
}

/// The tasks that these events touched, by id, but for those that were only added: their events say it all.
fn touched_tasks(events: &[Event]) -> Vec<TaskId> {
    let again = events.iter().filter(|event| !matches!(event.fact, Fact::Submitted { .. }));
    let mut tasks: Vec<TaskId> = again.flat_map(|event| event.fact.tasks()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    tasks
}

/// The schedules that these events touched, but for those that are gone.
fn touched_schedules(core: &Core, events: &[Event]) -> Vec<ScheduleRecord> {
    let touched: BTreeSet<ScheduleId> = events.iter().filter_map(|event| event.fact.schedule()).collect();
    touched.into_iter().filter_map(|id| core.schedule_record(id).cloned()).collect()
}

/// Whether those that were only added are as their events say.
fn added_as_told(core: &Core, events: &[Event]) -> bool {
    let touched = touched_tasks(events);
    events.iter().all(|event| match &event.fact {
        Fact::Submitted { record, .. } if touched.binary_search(&record.id).is_err() => {
            core.record(record.id).as_ref() == Some(&**record)
        }
        _ => true,
    })
}

/// Whether a fact ends a task, or undoes that: its workflow has changed.
pub fn ends_a_task(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Completed { .. }
            | Fact::Failed { .. }
            | Fact::Cancelled { .. }
            | Fact::Skipped { .. }
            | Fact::Revived { .. }
    )
}
