//! From what is stored and scheduled to the documents that users see.

use orchd_api as api;
use orchd_core::{
    Core, Counters, Edge, Phase, Run, SessionRecord, SkipCause, Snapshot, Stuck, TaskRecord, TickOutcome,
};
use orchd_model::{
    Amount, Body, Dependency, DependencyTarget, Priority, Reason, ResourceName, Span, Status, StatusReason,
    TaskId, TaskRange, TaskResult, TaskSpec, Time, WorkerId, WorkflowMetrics, array_name,
};
use orchd_store::{StoredAttempt, StoredTask, StoredWorkflow};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::roots::Roots;
use crate::statistics::Statistics;
use crate::workflow_figures::WorkflowFigures;

/// A task as users see it; `reasons` come from the scheduler, `roots` are the tasks that others were skipped for.
pub fn task(stored: StoredTask, reasons: Vec<Reason>, roots: &Roots) -> api::Task {
    let StoredTask { record, spec, result, started_at, finished_at } = stored;
    let status_reason = status_reason(&record, result.as_ref(), roots).map(Into::into);
    let (array, spec) = element(&record, spec);
    let (command, shell, module, action) = body(spec.body);
    let execution_time = result.as_ref().filter(|r| r.attempts > 0).map(|result| result.execution_time);
    let (worker, variant) = taken(&record.phase);
    let retry = &record.retry;
    api::Task {
        id: record.id,
        last: (record.more > 0).then(|| record.range().last),
        array,
        name: spec.name,
        guard: record.claimant.is_some(),
        status: record.status(),
        priority: record.priority,
        reasons: reasons.into_iter().map(Into::into).collect(),
        status_reason,
        stopping: stopping(&record.phase),
        progress: record.progress.clone(),
        module,
        action,
        parameters: spec.parameters,
        command,
        shell,
        env: spec.env.keys().cloned().collect(),
        cwd: spec.cwd,
        stdin: spec.stdin,
        hold: record.hold,
        key: spec.key,
        reference: spec.reference,
        when: spec.when,
        not_before: spec.not_before,
        claims: record.demand.claims.to_vec(),
        claims_any: record.demand.variants.iter().map(|claims| claims.to_vec()).collect(),
        variant,
        dependencies: dependencies(&record),
        compensates: record.role.compensation.map(|compensation| compensation.of),
        finally: record.role.finally,
        timeout: record.timeout,
        deadline: record.deadline,
        max_retries: retry.max_retries,
        retry_delay: retry.delay,
        backoff: retry.backoff,
        max_delay: retry.max_delay,
        jitter: retry.jitter,
        memory_factor: retry.memory_factor,
        retry_on: retry.retry_on.clone(),
        no_retry_on: retry.no_retry_on.clone(),
        retry_count: record.tries.min(retry.max_retries),
        attempts: record.attempts.0,
        attempt_list: None,
        created_at: record.created_at,
        started_at,
        finished_at,
        wait_time: record.first_started_at.map(|at| at.since(record.run_at)),
        execution_time,
        total_time: finished_at.map(|at| at.since(record.run_at)),
        result,
        tags: spec.tags.into_iter().collect(),
        metadata: spec.metadata,
        session: record.demand.session,
        workflow: record.demand.workflow,
        owner: record.owner,
        worker,
    }
}

/// What it waits for.
fn dependencies(record: &TaskRecord) -> Vec<Dependency> {
    let dependency = |edge: &Edge| Dependency { task: DependencyTarget::Id(edge.task), on: edge.on };
    record.edges.iter().map(dependency).collect()
}

/// Who runs an attempt, and in which variant.
fn taken(phase: &Phase) -> (Option<WorkerId>, Option<u32>) {
    match phase {
        Phase::Running { worker, variant, .. } => (Some(*worker), *variant),
        _ => (None, None),
    }
}

/// Why an attempt is being ended, if one is.
fn stopping(phase: &Phase) -> Option<api::StopCause> {
    match phase {
        Phase::Running { stop, .. } => stop.map(crate::outbox::stop_cause),
        _ => None,
    }
}

/// The place of an element in its array, and its own spec. What stands for several shows what all of them have.
fn element(record: &TaskRecord, spec: Arc<TaskSpec>) -> (Option<api::ArrayPlace>, TaskSpec) {
    let Some(indices) = spec.array else { return (None, Arc::unwrap_or_clone(spec)) };
    let tasks = record.array_range(&spec);
    let place = record.id.0 - tasks.first.0;
    let array = api::ArrayPlace { tasks, indices, index: indices.at(place) };
    if record.more == 0 {
        return (Some(array), spec.element(place));
    }
    let name = array_name(&spec.name).to_owned();
    (Some(array), TaskSpec { name, ..Arc::unwrap_or_clone(spec) })
}

type BodyFields = (Option<Vec<String>>, Option<String>, Option<String>, Option<String>);

/// Command, shell line, module and action.
fn body(body: Body) -> BodyFields {
    match body {
        Body::Command { argv } => (Some(argv), None, None, None),
        Body::Shell { line } => (None, Some(line), None, None),
        Body::Handler { module, action, command } => (command, None, Some(module), action),
        Body::Milestone => (None, None, None, None),
    }
}

/// The attempts of a task, with the one under way.
pub fn attempts(stored: Vec<StoredAttempt>, record: &TaskRecord) -> Vec<api::Attempt> {
    let mut attempts: Vec<api::Attempt> = stored
        .into_iter()
        .map(|StoredAttempt { end: attempt, finished_at }| api::Attempt {
            number: attempt.number,
            variant: attempt.variant,
            outcome: attempt.outcome.as_str().to_owned(),
            error_type: attempt.outcome.error_type(),
            error_message: attempt.outcome.message(),
            started_at: attempt.started_at,
            finished_at: Some(finished_at),
            execution_time: Some(attempt.execution_time),
            exit_code: attempt.outcome.exit_code(),
            worker: Some(attempt.worker),
            usage: attempt.usage,
        })
        .collect();
    if let Phase::Running { worker, started_at, variant, .. } = record.phase {
        attempts.push(api::Attempt {
            number: record.attempts,
            variant,
            outcome: "running".to_owned(),
            error_type: None,
            error_message: None,
            started_at,
            finished_at: None,
            execution_time: None,
            exit_code: None,
            worker: Some(worker),
            usage: None,
        });
    }
    attempts
}

/// A task with its times; `roots` are the tasks that others were skipped for.
pub fn reported(stored: StoredTask, attempts: Vec<StoredAttempt>, roots: &Roots) -> api::ReportedTask {
    let attempts = self::attempts(attempts, &stored.record);
    let role = stored.record.role;
    let (submitted_at, waits_for_others) =
        (stored.record.run_at, role.finally || role.compensation.is_some());
    let task = task(stored, Vec::new(), roots);
    api::ReportedTask {
        id: task.id,
        last: task.last,
        name: task.name,
        guard: task.guard,
        workflow: task.workflow,
        waits_for_others,
        status: task.status,
        priority: task.priority,
        claims: task.claims,
        claims_any: task.claims_any,
        dependencies: task.dependencies,
        submitted_at,
        finished_at: task.finished_at,
        why: task.status_reason.map(|reason| reason.text),
        error_type: task.result.and_then(|result| result.error_type),
        attempts,
    }
}

/// Why a task was skipped, cancelled or failed.
pub fn status_reason(
    record: &TaskRecord,
    result: Option<&TaskResult>,
    roots: &Roots,
) -> Option<StatusReason> {
    match &record.phase {
        Phase::Skipped(SkipCause::Condition) => Some(StatusReason::Condition),
        Phase::Skipped(SkipCause::NotNeeded) => Some(StatusReason::NotNeeded),
        Phase::Skipped(SkipCause::ConditionError(message)) => {
            Some(StatusReason::ConditionError { message: message.to_string() })
        }
        Phase::Skipped(SkipCause::FailFast(task)) => {
            Some(StatusReason::FailFast { task: *task, name: roots.name(*task) })
        }
        Phase::Skipped(SkipCause::Dependency(task, status)) => Some(StatusReason::Dependency {
            task: *task,
            name: roots.name(*task),
            status: *status,
            because: roots.because(*task),
        }),
        Phase::Ended(Status::Cancelled) => Some(StatusReason::Cancelled { because: None }),
        Phase::Ended(Status::Failed) => {
            let result = result?;
            if result.error_type == Some(orchd_model::ErrorType::Deadline) {
                return Some(StatusReason::Deadline);
            }
            Some(StatusReason::Failed { message: result.error_message.clone().unwrap_or_default() })
        }
        Phase::Ended(_)
        | Phase::Waiting
        | Phase::Checking
        | Phase::Computing
        | Phase::Delayed { .. }
        | Phase::Ready { .. }
        | Phase::Running { .. } => None,
    }
}

/// A workflow with its figures.
pub fn workflow(stored: StoredWorkflow, figures: &WorkflowFigures, now: Time) -> api::Workflow {
    let record = stored.record;
    let span = Span;
    let finished_at = stored.finished_at;
    let this_run = finished_at.map_or(now.since(record.run_at), |_| Span::default());
    let total_duration = Span(record.ran.0.saturating_add(this_run.0));
    let busy = total_duration.as_secs_f64() * figures.peak() as f64;
    let ratio = |part: f64, whole: f64| if whole > 0.0 { (part / whole).min(1.0) } else { 0.0 };
    let count = |tasks: u64| usize::try_from(tasks).unwrap_or(usize::MAX);
    api::Workflow {
        id: record.id,
        name: record.name.to_string(),
        status: record.status,
        paused: false,
        max_parallel: record.max_parallel,
        timeout: record.timeout,
        session: record.session,
        created_at: record.created_at,
        finished_at,
        metrics: WorkflowMetrics {
            total_duration,
            total_tasks: count(figures.total),
            completed_tasks: count(figures.completed),
            failed_tasks: count(figures.failed),
            skipped_tasks: count(figures.skipped),
            cancelled_tasks: count(figures.cancelled),
            avg_task_duration: span(figures.sum.checked_div(figures.timed).unwrap_or(0)),
            max_task_duration: span(figures.longest),
            min_task_duration: span(figures.shortest.unwrap_or(0)),
            peak_concurrency: count(figures.peak()),
            parallel_efficiency: ratio(span(figures.used(now)).as_secs_f64(), busy),
            success_rate: ratio(figures.completed as f64, (figures.completed + figures.failed) as f64),
        },
    }
}

/// A task's explanation; one that is not in memory has ended.
pub fn explanation(
    stored: StoredTask,
    explained: Option<orchd_core::Explained>,
    status_reason: Option<StatusReason>,
) -> api::Explanation {
    let StoredTask { record, spec, .. } = stored;
    let explained = explained.unwrap_or_else(|| orchd_core::Explained {
        status: record.status(),
        priority: record.priority,
        competes_as: record.priority,
        inherited_from: None,
        reasons: Vec::new(),
        ahead: Vec::new(),
        ahead_count: 0,
        earliest_start: None,
        free_by: None,
    });
    api::Explanation {
        id: record.id,
        name: element(&record, spec).1.name,
        status: explained.status,
        stopping: stopping(&record.phase),
        priority: explained.priority,
        competes_as: explained.competes_as,
        inherited_from: explained.inherited_from,
        reasons: explained.reasons.into_iter().map(Into::into).collect(),
        status_reason: status_reason.map(Into::into),
        ahead: explained.ahead,
        ahead_count: explained.ahead_count,
        earliest_start: explained.earliest_start,
        free_by: explained.free_by,
    }
}

/// What one reason keeps from ever starting.
pub fn stuck(stuck: Stuck) -> api::Stuck {
    let Stuck { reason, tasks, count } = stuck;
    let tasks = tasks.into_iter().map(|(id, name)| api::StuckTask { id, name }).collect();
    api::Stuck { reason: reason.into(), tasks, count }
}

/// A resource as users see it.
pub fn resource(view: orchd_core::ResourceView) -> api::Resource {
    api::Resource {
        resource: view.name.to_string(),
        kind: view.name.kind().to_owned(),
        identifier: view.name.identifier().to_owned(),
        capacity: view.capacity,
        held: view.held,
        free: view.free,
        reserved: view.reserved,
        waiting: view.waiting,
        holders: view
            .holders
            .into_iter()
            .map(|h| api::ResourceHolder {
                task: h.task,
                guard: h.guard,
                name: h.name,
                mode: h.mode,
                amount: h.amount,
                since: h.since,
                until: h.until,
            })
            .collect(),
        concurrency: view.concurrency,
        state: match view {
            _ if view.closed => "closed",
            _ if view.paused => "paused",
            _ if view.throttled_until.is_some() => "throttled",
            _ => "open",
        }
        .to_owned(),
        closed: view.closed,
        paused: view.paused,
        throttled_until: view.throttled_until,
        rate: view.rate.map(|view| api::ResourceRate {
            tokens: view.rate.tokens,
            per: view.rate.per,
            burst: view.rate.burst,
            left: view.left,
            next_refill: view.next_refill,
        }),
        blocked_time: view.blocked,
    }
}

/// Counts, times and rates.
pub fn stats(figures: &Statistics, now: Time, started_at: Time) -> api::Stats {
    let picture = &figures.picture;
    let counters = &picture.counters;
    let of = |status: Status| counters.by_status[status.index()];
    let (completed, failed) = (of(Status::Completed), of(Status::Failed));
    let rate =
        |part: u64| if completed + failed == 0 { 0.0 } else { part as f64 / (completed + failed) as f64 };
    let total_execution_time = counters.execution_time.as_secs_f64();
    api::Stats {
        total_tasks: counters.by_status.iter().sum(),
        pending: of(Status::Pending),
        running: of(Status::Running),
        retrying: of(Status::Retrying),
        completed,
        failed,
        skipped: of(Status::Skipped),
        cancelled: of(Status::Cancelled),
        total_execution_time,
        average_execution_time: if counters.attempts_ended == 0 {
            0.0
        } else {
            total_execution_time / counters.attempts_ended as f64
        },
        success_rate: rate(completed),
        failure_rate: rate(failed),
        by_priority: by_priority(counters),
        wait_time: figures.distributions.waits(counters.wait_time, counters.first_starts),
        run_time: figures.distributions.runs(counters.execution_time, counters.attempts_ended),
        slowest: Vec::new(),
        throughput: figures.throughput(now),
        workers: 0,
        slots: api::Slots::default(),
        resources: Vec::new(),
        sessions: picture.sessions_open,
        workflows: picture.workflows_running,
        uptime: now.since(started_at),
        backlog: picture.backlog,
        paused: picture.paused,
        shutting_down: false,
        store: api::StoreStats { bytes: 0, sequence: figures.sequence },
    }
}

/// A session with its statistics.
pub fn session(
    record: SessionRecord,
    held: Vec<(ResourceName, Amount, usize)>,
    paused: bool,
    workflows: usize,
) -> api::Session {
    let resource = |(resource, held, tasks)| api::SessionResource { resource, held, tasks };
    let statistics = session_statistics(&record);
    api::Session {
        id: record.id,
        name: record.name.into(),
        status: record.status,
        max_parallel: record.max_parallel,
        mode: record.mode,
        paused,
        owner: record.owner,
        created_at: record.created_at,
        closed_at: record.closed_at,
        workflows,
        resources: held.into_iter().map(resource).collect(),
        statistics,
    }
}

fn session_statistics(record: &SessionRecord) -> api::SessionStatistics {
    let counters = &record.counters;
    let of = |status: Status| counters.by_status[status.index()];
    let (completed, failed) = (of(Status::Completed), of(Status::Failed));
    let rate =
        |part: u64| if completed + failed == 0 { 0.0 } else { part as f64 / (completed + failed) as f64 };
    let mean = |sum: Span, count: u64| Span(sum.0.checked_div(count).unwrap_or(0));
    api::SessionStatistics {
        total_tasks: counters.by_status.iter().sum(),
        pending: of(Status::Pending),
        running: of(Status::Running),
        retrying: of(Status::Retrying),
        completed,
        failed,
        skipped: of(Status::Skipped),
        cancelled: of(Status::Cancelled),
        by_priority: by_priority(counters),
        attempts: counters.attempts_ended,
        total_execution_time: counters.execution_time,
        average_execution_time: mean(counters.execution_time, counters.attempts_ended),
        average_wait_time: mean(counters.wait_time, counters.first_starts),
        success_rate: rate(completed),
        failure_rate: rate(failed),
        cpu_time: record.cpu_time,
        memory_peak: record.memory_peak,
        io_read: record.io_read,
        io_write: record.io_write,
    }
}

/// Unfinished tasks by class.
fn by_priority(counters: &Counters) -> BTreeMap<String, u64> {
    let count = |class: Priority| (class.as_str().to_owned(), counters.unfinished_by_priority[class.index()]);
    Priority::ALL.into_iter().map(count).collect()
}

/// The slowest tasks, but for those that retention has deleted.
pub fn slowest(times: &[(TaskId, Span)], names: Vec<(TaskId, Box<str>)>) -> Vec<api::SlowTask> {
    let mut names: BTreeMap<TaskId, Box<str>> = names.into_iter().collect();
    let slow = |(id, execution_time): &(TaskId, Span)| {
        let name = names.remove(id)?.into();
        Some(api::SlowTask { id: *id, name, execution_time: *execution_time })
    };
    times.iter().filter_map(slow).collect()
}

/// Whether there is anything to go on with.
pub fn describe_snapshot(snapshot: &Snapshot) -> String {
    let Snapshot { tasks, workflows, sessions, .. } = snapshot;
    let (tasks, workflows, sessions) = (tasks.len(), workflows.len(), sessions.len());
    format!("{tasks} unfinished tasks, {workflows} running workflows, {sessions} open sessions")
}

/// Reasons of several tasks, as the scheduler sees them now.
pub fn reasons(core: &Core, ids: &[TaskId]) -> BTreeMap<TaskId, Vec<Reason>> {
    ids.iter().map(|id| (*id, core.reasons(*id))).collect()
}

/// A tick of a schedule, and what became of it.
pub fn tick(at: Time, outcome: TickOutcome) -> api::ScheduleTick {
    let word = |outcome| api::ScheduleTick { at, outcome, task: None, workflow: None, error: None };
    match outcome {
        TickOutcome::Started(Run::Tasks { first, more }) => api::ScheduleTick {
            task: Some(TaskRange::from_first(first, more)),
            ..word(api::TickWord::Started)
        },
        TickOutcome::Started(Run::Workflow(workflow)) => {
            api::ScheduleTick { workflow: Some(workflow), ..word(api::TickWord::Started) }
        }
        TickOutcome::Queued => word(api::TickWord::Queued),
        TickOutcome::Skipped => word(api::TickWord::Skipped),
        TickOutcome::Missed => word(api::TickWord::Missed),
        TickOutcome::Refused(why) => api::ScheduleTick { error: Some(why), ..word(api::TickWord::Refused) },
    }
}
