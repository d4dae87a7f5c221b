//! What a ready task needs to start: who runs it, what it must hold, and whose limits it obeys.

use orchd_model::{Amount, Claim, SessionId, TaskSpec, WorkflowId};
use serde::{Deserialize, Serialize};

use crate::record::Runner;

/// All that decides whether and where a ready task can start. Tasks with the same demand share a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Demand {
    /// What runs it.
    pub runner: Runner,
    /// What it must hold in any case. Invariant: merged, at most one claim a resource, sorted by resource.
    pub claims: Box<[Claim]>,
    /// Its variants in the order of preference: what it must hold besides, one of them or the other. None: there
    /// is but one way to run it. Invariant: each is merged and sorted.
    pub variants: Box<[Box<[Claim]>]>,
    /// The workflow whose `max_parallel` and pause it obeys.
    pub workflow: Option<WorkflowId>,
    /// The session whose `max_parallel` and pause it obeys.
    pub session: Option<SessionId>,
}

impl Demand {
    /// The demand of a new task.
    #[must_use]
    pub fn new(spec: &TaskSpec, runner: Runner, workflow: Option<WorkflowId>) -> Self {
        // What is computed runs nowhere: only its elements claim something.
        let claims = Some(spec).filter(|_| runner != Runner::Computed);
        let variants = claims.map_or(&[][..], |spec| &spec.claims_any);
        Self {
            claims: claims.map(|spec| spec.claims.clone().into()).unwrap_or_default(),
            variants: variants.iter().map(|variant| variant.clone().into()).collect(),
            runner,
            workflow,
            session: spec.session_id(),
        }
    }

    /// Whether it need not hold anything, in whatever variant.
    #[must_use]
    pub fn claims_nothing(&self) -> bool {
        self.claims.is_empty() && self.variants.iter().all(|variant| variant.is_empty())
    }

    /// The variants that there are; one that has no number for a task without.
    pub fn numbers(&self) -> impl Iterator<Item = Option<u32>> + use<> {
        let count = u32::try_from(self.variants.len()).unwrap_or(u32::MAX);
        (0..count).map(Some).chain((count == 0).then_some(None))
    }

    /// All that it must hold in a variant, merged.
    #[must_use]
    pub fn claims_in(&self, variant: Option<u32>) -> Vec<Claim> {
        let besides = variant.and_then(|variant| self.variants.get(variant as usize));
        let besides = besides.into_iter().flatten();
        orchd_model::merge_claims(self.claims.iter().chain(besides).cloned().collect())
    }

    /// Claims so much memory in a variant from now on: more of what it claims there, else of what it claims in
    /// any case.
    pub(crate) fn enlarge(&mut self, variant: Option<u32>, memory: Amount) {
        let besides = variant.and_then(|variant| self.variants.get_mut(variant as usize));
        let of_memory = |claim: &&mut Claim| claim.resource.is_memory();
        let in_any_case = self.claims.iter_mut().find(of_memory);
        let in_variant = besides.and_then(|claims| claims.iter_mut().find(of_memory));
        match (in_variant, in_any_case) {
            (Some(own), Some(common)) => own.amount = memory.saturating_sub(common.amount),
            (Some(claim), None) | (None, Some(claim)) => claim.amount = memory,
            (None, None) => {}
        }
    }
}
