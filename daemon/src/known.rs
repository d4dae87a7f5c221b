//! What is remembered of tasks that were added lately, so that one that starts at once is not read back.

use orchd_core::{Event, Fact, TaskRecord};
use orchd_model::{TaskId, TaskRange, TaskSpec, WorkflowId};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Specs of tasks that were added lately, so that a task that starts at once is not read back.
const RECENT_SPECS: usize = 8192;

/// Arrays that are remembered for the same reason.
const RECENT_ARRAYS: usize = 64;

/// What an assignment is made from.
pub struct Known {
    /// The spec, which all elements of an array share.
    pub spec: Arc<TaskSpec>,
    /// The task, or all elements of the array.
    pub tasks: TaskRange,
    pub workflow: Option<WorkflowId>,
    /// What it depends on.
    pub dependencies: Vec<TaskId>,

    /// Whether a client runs it itself: an ad-hoc claim.
    pub is_claim: bool,
}

impl Known {
    /// What a record and its spec say.
    pub fn new(spec: Arc<TaskSpec>, record: &TaskRecord) -> Arc<Self> {
        let dependencies = record.edges.iter().map(|edge| edge.task).collect();
        let tasks = record.array_range(&spec);
        let is_claim = record.claimant.is_some();
        Arc::new(Self { spec, tasks, workflow: record.demand.workflow, dependencies, is_claim })
    }
}

/// The latest tasks, the oldest is forgotten first.
#[derive(Default)]
pub struct Recent {
    /// Where a task was submitted, or edited last. Most tasks of a burst are forgotten before they start, so
    /// nothing is made of them before that.
    tasks: FxHashMap<TaskId, Place>,
    order: VecDeque<TaskId>,
    /// Arrays that lately had something started, by their first elements.
    arrays: BTreeMap<TaskId, Arc<Known>>,
}

/// An event of a batch.
struct Place {
    batch: Arc<Vec<Event>>,
    index: usize,
}

impl Place {
    fn spec(&self) -> Option<(&TaskRecord, &Arc<TaskSpec>)> {
        spec_in(&self.batch.get(self.index)?.fact)
    }
}

/// The spec that a fact brings, with its record.
fn spec_in(fact: &Fact) -> Option<(&TaskRecord, &Arc<TaskSpec>)> {
    match fact {
        Fact::Submitted { record, spec } | Fact::Edited { record, spec } => Some((record, spec.as_ref()?)),
        _ => None,
    }
}

impl Recent {
    /// A task, if it is remembered.
    pub fn get(&self, id: TaskId) -> Option<Arc<Known>> {
        let array = || self.arrays.range(..=id).next_back().filter(|(_, known)| known.tasks.contains(id));
        match self.tasks.get(&id).and_then(Place::spec) {
            Some((record, spec)) => Some(Known::new(Arc::clone(spec), record)),
            None => array().map(|(_, known)| Arc::clone(known)),
        }
    }

    /// Remembers the specs that came with a batch.
    pub fn note(&mut self, batch: &Arc<Vec<Event>>) {
        let specs = || batch.iter().enumerate().filter_map(|(at, event)| Some((at, spec_in(&event.fact)?)));
        // Those that would be forgotten right away are passed over.
        let surplus = specs().count().saturating_sub(RECENT_SPECS);
        for (index, (record, spec)) in specs().skip(surplus) {
            if spec.array.is_some() {
                self.keep_array(Known::new(Arc::clone(spec), record));
                continue;
            }
            let place = Place { batch: Arc::clone(batch), index };
            if self.tasks.insert(record.id, place).is_none() {
                self.order.push_back(record.id);
            }
        }
        while self.order.len() > RECENT_SPECS {
            if let Some(oldest) = self.order.pop_front() {
                self.tasks.remove(&oldest);
            }
        }
    }

    /// Remembers an array.
    pub fn keep_array(&mut self, known: Arc<Known>) {
        // An array whose turn comes again is read again.
        if self.arrays.len() == RECENT_ARRAYS {
            self.arrays.pop_first();
        }
        self.arrays.insert(known.tasks.first, known);
    }
}
