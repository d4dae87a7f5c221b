//! How a workflow would go on a machine: the scheduler itself, in virtual time, with workers that take as long
//! as is expected and never fail.
//!
//! What nobody can know is left out: conditions hold, what is held is released, nothing is retried, and whoever
//! waits for a failure is skipped. A task that is done for each element of a list is done for all of them where the
//! list is known beforehand, and else once. Nothing here waits, and nothing is started.

use orchd_api::Resource;
use orchd_core::{
    Command, Config, Core, EdgeTarget, Effect, Fact, Join, NewTask, NewWorkflow, Output, Reply, Runner,
    Snapshot, Submission, WorkerNote,
};
use orchd_model::{
    Amount, AttemptNumber, AttemptReport, Body, Claim, DependencyTarget, FailFast, Indices, NotBefore,
    Outcome, Refusal, ResourceName, ResourceSetting, RetryPolicy, Span, TaskId, TaskSpec, Time, Token,
    WorkerId, WorkflowSpec,
};
use orchd_workflow::{Estimate, Layout, Plan, Unsatisfiable, known_elements};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use crate::Machine;

/// Tasks up to which a run is tried out: some seconds of work.
const TASKS: usize = 200_000;
/// No worker is silent for so long: a century.
const LEASE: Span = Span::from_secs(100 * 365 * 86_400);

/// The machine that a plan is for.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) slots: u32,
    pub(crate) resources: Vec<(ResourceName, ResourceSetting)>,
}

impl Ground {
    /// This machine, with what a file says of the one it wants.
    pub(crate) fn here(machine: Machine, layout: &Layout) -> Self {
        let mut resources: BTreeMap<ResourceName, ResourceSetting> = BTreeMap::new();
        for (kind, units) in [("cpu", u64::from(machine.cores)), ("memory", machine.memory)] {
            if let Ok(name) = ResourceName::new(kind, None) {
                resources.insert(name, ResourceSetting::capacity(Amount::units(units)));
            }
        }
        resources.extend(layout.resources.iter().cloned());
        Self { slots: layout.slots.unwrap_or(machine.cores), resources: resources.into_iter().collect() }
    }

    fn core(&self) -> Core {
        let config = Config { resources: self.resources.clone(), lease: LEASE, ..Config::default() };
        Core::load(config, Snapshot::default(), Time(0), &mut Output::default())
    }
}

/// What a daemon says of its resources; locks need nothing to be said.
pub(crate) fn settings(resources: &[Resource]) -> Vec<(ResourceName, ResourceSetting)> {
    let setting = |resource: &Resource| {
        let rate = resource.rate.as_ref();
        ResourceSetting {
            capacity: resource.capacity,
            concurrency: resource.concurrency,
            tokens: rate.map(|rate| rate.tokens),
            per: rate.map(|rate| rate.per),
            burst: rate.map(|rate| rate.burst),
        }
    };
    let named = resources.iter().filter_map(|found| Some((found.resource.parse().ok()?, setting(found))));
    named.filter(|(_, setting)| *setting != ResourceSetting::default()).collect()
}

/// Fills in how a run would go, or which tasks can never start.
pub(crate) fn try_out(plan: &mut Plan, spec: &WorkflowSpec, ground: &Ground) {
    plan.unsatisfiable = unsatisfiable(spec, ground);
    if plan.unsatisfiable.is_empty() && spec.tasks.len() <= TASKS {
        let seconds = |task: &TaskSpec| plan.durations.get(&task.name).map_or(0.0, |known| known.seconds);
        let span = |task| Span::from_secs_f64(seconds(task)).unwrap_or_default();
        let durations = spec.tasks.iter().map(span).collect();
        let lists: Vec<Option<List>> = known_elements(spec);
        let elements: u64 = lists.iter().flatten().flatten().map(Indices::len).sum();
        if elements <= TASKS as u64 {
            plan.estimate = Run::new(spec, durations, &lists, ground).and_then(Run::go);
        }
    }
}

/// The elements of a task, if there are any.
type List = Option<Indices>;

/// The claims that the scheduler refuses, task by task; each set of claims is asked about once.
fn unsatisfiable(spec: &WorkflowSpec, ground: &Ground) -> Vec<Unsatisfiable> {
    let mut core = ground.core();
    let mut known: HashMap<Vec<String>, Option<Refusal>> = HashMap::new();
    let mut found = Vec::new();
    for task in spec.tasks.iter().filter(|task| !task.claims.is_empty() || !task.claims_any.is_empty()) {
        let variants = task.claims_any.iter().map(|claims| shown(claims).join(" "));
        let claims: Vec<String> = shown(&task.claims).into_iter().chain(variants).collect();
        let refusal = known.entry(claims.clone()).or_insert_with(|| {
            let (claims, claims_any) = (task.claims.clone(), task.claims_any.clone());
            let probe = TaskSpec { claims, claims_any, ..TaskSpec::command(["true"]) };
            let submission = Submission { tasks: vec![new_task(probe, Vec::new())], ..Submission::default() };
            match core.handle(Time(0), Command::Submit(submission), &mut Output::default()) {
                Ok(Reply::Submitted { mut tasks, .. }) => {
                    tasks.pop().and_then(Result::err).map(|refusal| *refusal)
                }
                Ok(_) => None,
                Err(refusal) => Some(refusal),
            }
        });
        found.extend(refusal.clone().into_iter().flat_map(Refusal::apart).map(|refusal| {
            let value = refusal.value.map(|value| format!(": {value}")).unwrap_or_default();
            Unsatisfiable {
                task: task.name.clone(),
                claims: claims.clone(),
                message: format!("{}{value}", refusal.message),
                hint: refusal.hint,
            }
        }));
    }
    found
}

fn shown(claims: &[Claim]) -> Vec<String> {
    claims.iter().map(ToString::to_string).collect()
}

fn new_task(spec: TaskSpec, edges: Vec<(EdgeTarget, orchd_model::On)>) -> NewTask {
    let runner = if spec.body == Body::Milestone { Runner::Nothing } else { Runner::Process };
    NewTask {
        spec: Arc::new(spec),
        retry: Arc::new(RetryPolicy::default()),
        runner,
        edges,
        fingerprint: 0,
        same_key: None,
    }
}

/// An attempt that ends at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ending {
    at: Time,
    token: Token,
    task: TaskId,
    attempt: AttemptNumber,
}

struct Run {
    core: Core,
    now: Time,
    worker: WorkerId,
    /// By the order of their ids, which is that of the file.
    durations: HashMap<TaskId, Span>,
    /// What tasks become that are done for each element of a list.
    elements: HashMap<TaskId, NewTask>,
    endings: BinaryHeap<Reverse<Ending>>,
    slots: u32,
    peak: usize,
    last: Time,
}

impl Run {
    fn new(
        spec: &WorkflowSpec,
        durations: Vec<Span>,
        lists: &[Option<List>],
        ground: &Ground,
    ) -> Option<Self> {
        let mut run = Self {
            core: ground.core(),
            now: Time(0),
            worker: WorkerId::default(),
            durations: HashMap::new(),
            elements: HashMap::new(),
            endings: BinaryHeap::new(),
            slots: ground.slots,
            peak: 0,
            last: Time(0),
        };
        let join = Join {
            incarnation: 1,
            slots: ground.slots,
            process: true,
            handlers: Vec::new(),
            holds: Vec::new(),
            note: WorkerNote::default(),
        };
        if let Reply::Joined(worker) = run.handle(Command::Join(join))? {
            run.worker = worker;
        }
        let workflow = NewWorkflow {
            name: spec.name.as_str().into(),
            max_parallel: spec.max_parallel,
            fail_fast: FailFast::No,
            timeout: None,
            session: None,
        };
        let by_name: HashMap<&str, usize> =
            spec.tasks.iter().enumerate().map(|(index, task)| (task.name.as_str(), index)).collect();
        let mut tasks: Vec<NewTask> =
            spec.tasks.iter().zip(&durations).map(|(task, took)| known(task, *took, &by_name)).collect();
        // Starts are told of in the same step, before the ids are known here: they follow one another.
        let ids = (run.core.meta().next_task.0..).map(TaskId);
        for ((id, task), list) in ids.clone().zip(&mut tasks).zip(lists) {
            let Some(array) = *list else { continue };
            let edges = std::mem::take(&mut task.edges);
            let one = TaskSpec { array, ..(*task.spec).clone() };
            let whole = NewTask { runner: Runner::Computed, edges, ..task.clone() };
            let each = NewTask { spec: Arc::new(one), ..std::mem::replace(task, whole) };
            if array.is_some() {
                run.elements.insert(id, each);
            }
        }
        run.durations = ids.zip(durations).collect();
        let submission = Submission { tasks, workflow: Some(workflow), ..Submission::default() };
        run.handle(Command::Submit(submission))?;
        Some(run)
    }

    fn handle(&mut self, command: Command) -> Option<Reply> {
        let mut out = Output::default();
        let reply = self.core.handle(self.now, command, &mut out).ok();
        let mut decisions = Vec::new();
        for event in &out.events {
            if let Fact::Expanded { task, elements } = &event.fact {
                let took = self.durations.get(task).copied().unwrap_or(Span::ZERO);
                let ids = elements.first.0..elements.first.0 + elements.count;
                self.durations.extend(ids.map(|id| (TaskId(id), took)));
            }
        }
        for effect in out.effects {
            match effect {
                Effect::Assign { task, attempt, token, .. } => {
                    let took = self.durations.get(&task).copied().unwrap_or(Span::ZERO);
                    self.endings.push(Reverse(Ending { at: self.now + took, token, task, attempt }));
                }
                Effect::Evaluate { task } => decisions.push(Command::Decide { task, verdict: Ok(true) }),
                Effect::Compute { task, elements } => {
                    let expands = elements.is_none().then(|| self.elements.remove(&task)).flatten();
                    decisions.push(match expands {
                        Some(elements) => Command::Expand { task, elements: Box::new(elements) },
                        None => Command::Computed { task, outcome: Outcome::Succeeded, data: None },
                    });
                }
                Effect::Recall { .. }
                | Effect::Stop { .. }
                | Effect::Dismiss { .. }
                | Effect::Fence { .. }
                | Effect::Call { .. } => {}
            }
        }
        if let Some(last) = out.events.last() {
            decisions.push(Command::Committed { through: last.sequence });
        }
        for command in decisions {
            self.handle(command);
        }
        reply
    }

    /// Lets time pass until everything has ended; none when something never does.
    fn go(mut self) -> Option<Estimate> {
        loop {
            let ending = self.endings.peek().map(|Reverse(ending)| ending.at);
            match (ending, self.core.next_wake()) {
                (Some(at), wake) if wake.is_none_or(|wake| at <= wake) => self.end_next(at),
                // Where nothing is left to come, only the worker's lease would end.
                (_, Some(wake)) if self.core.workflows_running() > 0 && wake < Time(LEASE.0) => {
                    self.pass(wake);
                    self.handle(Command::Tick);
                }
                _ => break,
            }
        }
        (self.core.workflows_running() == 0).then(|| Estimate {
            makespan: self.last.since(Time(0)).as_secs_f64(),
            peak_parallelism: self.peak,
            slots: self.slots,
        })
    }

    /// Only what runs while time passes runs at once: at one instant some end and others start.
    fn pass(&mut self, to: Time) {
        if to > self.now {
            self.now = to;
            self.peak = self.peak.max(self.endings.len());
        }
    }

    fn end_next(&mut self, at: Time) {
        self.pass(at);
        let Some(Reverse(Ending { token, task, attempt, .. })) = self.endings.pop() else { return };
        self.last = self.last.max(at);
        let report = AttemptReport::new(task, attempt, token, Outcome::Succeeded);
        self.handle(Command::Report { worker: Some(self.worker), report });
    }
}

/// A task as far as it can be known beforehand.
fn known(task: &TaskSpec, took: Span, by_name: &HashMap<&str, usize>) -> NewTask {
    let edges = task.dependencies.iter().filter_map(|dependency| match &dependency.task {
        DependencyTarget::Name(name) => {
            Some((EdgeTarget::Index(*by_name.get(name.as_str())?), dependency.on))
        }
        DependencyTarget::Id(_) => None,
    });
    let edges = edges.collect();
    let spec = TaskSpec {
        name: task.name.clone(),
        priority: task.priority,
        claims: task.claims.clone(),
        claims_any: task.claims_any.clone(),
        // How long others may overtake depends on it; one that would be met is not expected to be.
        timeout: task.timeout.filter(|timeout| *timeout > took),
        not_before: task.not_before.filter(|not_before| matches!(not_before, NotBefore::In(_))),
        finally: task.finally,
        ..TaskSpec::new(task.body.clone())
    };
    new_task(spec, edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str, slots: u32, resources: &[(&str, u64)]) -> Plan {
        let spec = orchd_workflow::load("w.yaml", text, &BTreeMap::new()).unwrap();
        let mut plan = Plan::of(&spec);
        let resources = resources
            .iter()
            .map(|(name, units)| (name.parse().unwrap(), ResourceSetting::capacity(Amount::units(*units))));
        try_out(&mut plan, &spec, &Ground { slots, resources: resources.collect() });
        plan
    }

    fn estimate(text: &str, slots: u32) -> (f64, usize) {
        let estimate = planned(text, slots, &[("cpu", 4)]).estimate.unwrap();
        (estimate.makespan, estimate.peak_parallelism)
    }

    const PIPELINE: &str = "
tasks:
  - { name: a, shell: x, metadata: { expected_duration: 0.85 } }
  - { name: b, shell: x, metadata: { expected_duration: 1.15 } }
  - { name: c, shell: x, metadata: { expected_duration: 0.65 } }
  - { name: d, shell: x, metadata: { expected_duration: 0.6 }, dependencies: [a, b, c] }
  - { name: e, shell: x, metadata: { expected_duration: 1.5 }, dependencies: [d] }
  - { name: f, shell: x, metadata: { expected_duration: 1.85 }, dependencies: [d] }
  - { name: g, shell: x, metadata: { expected_duration: 0.5 }, dependencies: [e, f] }
  - { name: h, shell: x, metadata: { expected_duration: 0.35 }, dependencies: [g] }
";

    #[test]
    fn a_run_takes_the_critical_path_where_there_is_room_and_longer_where_there_is_none() {
        assert_eq!(estimate(PIPELINE, 8), (4.45, 3));
        assert_eq!(planned(PIPELINE, 8, &[]).critical_path.duration, 4.45);
        assert_eq!(estimate(PIPELINE, 1), (7.45, 1));
        assert_eq!(estimate(&format!("max_parallel: 1\n{PIPELINE}"), 8), (7.45, 1));
    }

    #[test]
    fn claims_conditions_delays_and_milestones_count() {
        let claims = "tasks: [{name: a, shell: x, claims: [cpu=3]}, {name: b, shell: x, claims: [cpu=3]}, {name: c, shell: x, claims: [lock:l:write]}]";
        assert_eq!(estimate(claims, 8), (2.0, 2));
        let text = "tasks:\n- {name: a, shell: x, when: 'false', not_before: 5, hold: true}\n- {name: b, dependencies: [a]}\n\
                    - {name: c, shell: x, dependencies: [{task: a, on: failure}]}";
        assert_eq!(estimate(text, 1), (6.0, 1));
    }

    #[test]
    fn elements_of_a_list_run_at_once_and_what_is_at_the_end_runs_then() {
        let text = "parameters: { n: 3 }\ntasks:\n- {name: a, shell: x, not_before: 2}\n\
                    - {name: b, shell: x, foreach: 'range(parameters.n)', dependencies: [a]}\n\
                    - {name: c, shell: x, array: 1-2, dependencies: [b]}\n\
                    - {name: d, shell: x, foreach: tasks.c.output, dependencies: [c]}\n\
                    - {name: e, shell: x, foreach: []}\nfinally: [{name: f, shell: x}]";
        assert_eq!(estimate(text, 8), (7.0, 3));
        assert_eq!(estimate(text, 2), (8.0, 2));
        let plan = planned(text, 8, &[]);
        assert_eq!(
            (plan.critical_path.tasks.join(" "), plan.critical_path.duration),
            ("a b c d f".into(), 5.0)
        );
        assert_eq!((&*plan.finally, plan.stages, plan.levels["f"]), (&["f".to_owned()][..], 5, 5));
        // b has three elements and c two; e may run beside all of them, and has none.
        assert_eq!((plan.total_tasks, plan.max_parallelism), (6 + 3 + 2, 4));
    }

    #[test]
    fn what_can_never_start_is_named() {
        let text = "tasks: [{name: a, shell: x, claims: [cpu=9]}, {name: b, shell: x, claims: ['external_api:x']}, {name: c, shell: x}]";
        let plan = planned(text, 1, &[("cpu", 4)]);
        let names: Vec<&str> = plan.unsatisfiable.iter().map(|found| &*found.task).collect();
        assert_eq!((names, plan.estimate), (vec!["a", "b"], None));
        assert!(plan.unsatisfiable[0].claims[0].contains("cpu:system_cpu"), "{:?}", plan.unsatisfiable);
        let text = "tasks: [{name: a, shell: x, claims: [cpu=9, lock:l, 'external_api:x', gpu=1], claims_any: [[disk=1]]}]";
        let plan = planned(text, 1, &[("cpu", 4)]);
        let said: Vec<&str> = plan.unsatisfiable.iter().map(|found| &*found.message).collect();
        let missing = |claim| format!("this resource is not configured: {claim}");
        let all = [
            "more than there is in all: cpu:system_cpu=9",
            &missing("external_api:x"),
            &missing("gpu:system_gpu"),
        ];
        assert_eq!(said, all, "each claim of its own");
    }
}
