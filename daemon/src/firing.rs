//! A tick of a schedule on its way to the scheduler: what it adds is looked up and prepared as if somebody had added it now.

use orchd_core::{
    Command, Firing, NewTask, NewWorkflow, Output, Reply, Run, Submission, TickOutcome, Trigger,
};
use orchd_model::{Env, Refusal, ScheduleId, ScheduleSpec, TaskSpec, Time, WorkflowId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::engine::Engine;

/// The name of the schedule, in the environment of what it adds.
const NAME: &str = "ORCHD_SCHEDULE";
/// The time that its tick stands for.
const TICK: &str = "ORCHD_TICK";

/// A tick that has come.
pub struct Tick {
    /// The schedule.
    pub schedule: ScheduleId,
    /// Why.
    pub trigger: Trigger,
    /// The time that it stands for.
    pub at: Time,
    /// The tick after it.
    pub next: Option<Time>,
    /// How many before it are passed over.
    pub missed: u64,
    /// What it adds, or why it cannot; none when it is passed over itself.
    pub adds: Option<Result<Box<ScheduleSpec>, Refusal>>,
    /// The user id for whom.
    pub owner: u32,
}

/// The answer to a tick, and the parameters of the workflow that it has added.
pub type Ticked = (Result<Reply, Refusal>, Option<(WorkflowId, String)>);

impl Engine {
    /// Brings a tick to the scheduler.
    pub fn fire(&mut self, now: Time, tick: Tick, out: &mut Output) -> Ticked {
        if let Err(refusal) = self.refuse_when_full() {
            return (Err(refusal), None);
        }
        let Tick { schedule, trigger, at, next, missed, adds, owner } = tick;
        let mut parameters = None;
        let work = adds.map(|spec| self.work_of(*spec?, at, owner, &mut parameters));
        let firing = Box::new(Firing { schedule, trigger, at, next, missed, work });
        let reply = self.core.handle(now, Command::Fire(firing), out);
        let workflow = match &reply {
            Ok(Reply::Ticked(TickOutcome::Started(Run::Workflow(id)))) => Some(*id),
            _ => None,
        };
        (reply, workflow.zip(parameters))
    }

    fn work_of(
        &mut self,
        spec: ScheduleSpec,
        at: Time,
        owner: u32,
        parameters: &mut Option<String>,
    ) -> Result<Submission, Refusal> {
        let ScheduleSpec { name, task, workflow, .. } = spec;
        let told = [(NAME.to_owned(), name), (TICK.to_owned(), at.to_string())];
        let mut options = None;
        let mut specs: Vec<TaskSpec> = task.into_iter().map(|task| *task).collect();
        if let Some(mut workflow) = workflow {
            self.live.config().workflows.fill(&mut workflow);
            *parameters = serde_json::to_string(&workflow.parameters).ok();
            let session = workflow.session.as_ref().map(|session| self.session_id(session)).transpose()?;
            for task in &mut workflow.tasks {
                task.session = session.map(Into::into);
            }
            options = Some(NewWorkflow {
                name: workflow.name.as_str().into(),
                max_parallel: workflow.max_parallel,
                fail_fast: workflow.fail_fast,
                timeout: workflow.timeout,
                session,
            });
            specs = workflow.tasks;
        }
        for spec in &mut specs {
            tell(&mut spec.env, &told);
        }
        let specs: Vec<Arc<TaskSpec>> = specs.into_iter().map(Arc::new).collect();
        let mut places = HashMap::new();
        if options.is_some() {
            places = specs.iter().enumerate().map(|(index, spec)| (spec.name.as_str(), index)).collect();
        }
        let (policy, mut ended) = (self.live.policy(), BTreeMap::new());
        let mut tasks: Vec<NewTask> = Vec::with_capacity(specs.len());
        for spec in &specs {
            tasks.push(self.prepare(&policy, Arc::clone(spec), &places, &mut ended)?);
        }
        Ok(Submission { tasks, atomic: true, workflow: options, owner, ended })
    }
}

/// What a user has set stays.
fn tell(env: &mut Env, told: &[(String, String)]) {
    for (name, value) in told {
        env.entry(name.clone()).or_insert_with(|| value.clone());
    }
}
