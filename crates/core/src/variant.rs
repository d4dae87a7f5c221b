//! Variants: the ways to run a task among which the first that fits is taken when it starts.
//!
//! A waiting task waits for each of its variants as one that has no other would: it is parked on what blocks it
//! there, and has a reservation of its own there. It starts in the first variant, in the order given, that nothing
//! blocks, and then gives up all it has reserved. So it waits no longer than without the others, and what it has
//! reserved for them is free again.
//!
//! Invariant: a running task holds what it claims in its variant, and nothing else.

use orchd_model::{Amount, Claim, Code, Mode, Refusal, ResourceKind, TaskId, TaskSpec, Time};

use crate::core::Core;
use crate::demand::Demand;
use crate::ledger::{Ledger, ResourceIndex};
use crate::parking::Waits;
use crate::record::Runner;
use crate::resource::{Need, ResourceKey};

/// One way to run the tasks of a queue.
#[derive(Debug)]
pub(crate) struct Variant {
    /// The groups that they belong to, and what they claim; groups first.
    pub needs: Box<[Need]>,
    /// The task that was last found at the head and had to wait, since when it was ready, and for what.
    pub waits_for: Option<(Time, TaskId, ResourceIndex)>,
    /// Where the queue is parked for it, if it is.
    pub parked: Option<(ResourceIndex, Waits)>,
}

impl Variant {
    /// The needs of a demand in a variant, resolved; each resource has one user more.
    pub fn new(demand: &Demand, number: Option<u32>, ledger: &mut Ledger) -> Self {
        let groups = [demand.workflow.map(ResourceKey::Workflow), demand.session.map(ResourceKey::Session)];
        let groups = groups.into_iter().flatten().map(|key| (key, Mode::Read, Amount::ONE));
        let claims = demand.claims_in(number);
        let claims = claims.into_iter().map(|c| (ResourceKey::Named(c.resource), c.mode, c.amount));
        let needs: Box<[Need]> = groups
            .chain(claims)
            .map(|(key, mode, amount)| Need { resource: ledger.intern(&key), mode, amount })
            .collect();
        for need in &needs {
            ledger.add_user(need.resource);
        }
        Self { needs, waits_for: None, parked: None }
    }
}

impl Core {
    /// What a running task needs in its variant.
    pub(crate) fn needs_of(&self, id: TaskId) -> &[Need] {
        let task = self.task(id);
        self.queues.get(task.queue).needs_in(task.variant())
    }

    /// What a running task claims in its variant.
    pub(crate) fn claims_held_by(&self, id: TaskId) -> Vec<Claim> {
        let task = self.task(id);
        self.queues.get(task.queue).demand.claims_in(task.variant())
    }

    /// Whether a task can ever have what it claims, in one of its variants.
    ///
    /// # Errors
    /// `unsatisfiable`, or that a resource is not configured, with what was asked and what there is: of every claim.
    pub fn check_claims_of(&self, spec: &TaskSpec) -> Result<(), Refusal> {
        self.check_claims_together(&spec.claims)?;
        let demand = Demand::new(spec, Runner::Process, None);
        let fits = |number| self.check_claims_together(&demand.claims_in(number));
        let refusals: Vec<Refusal> = demand.numbers().map_while(|number| fits(number).err()).collect();
        let Some(first) = refusals.first().filter(|_| refusals.len() == spec.claims_any.len()) else {
            return Ok(());
        };
        let code = first.code;
        let is_same = refusals.iter().all(|refusal| refusal.code == code);
        let code = if is_same { code } else { Code::Unsatisfiable };
        let said = |refusal: Refusal| {
            let hint = refusal.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
            format!("{}: {}{hint}", refusal.message, refusal.value.unwrap_or_default())
        };
        let why = refusals.into_iter().enumerate().map(|(number, refusal)| {
            let all: Vec<String> = refusal.apart().map(said).collect();
            format!("variant {number}: {}", all.join(" and "))
        });
        let variants = spec.claims_any.iter().map(|claims| text_of(claims)).collect::<Vec<_>>();
        Err(Refusal::new(code, "none of its variants can ever fit")
            .value(variants.join(" | "))
            .hint(why.collect::<Vec<_>>().join("; ")))
    }

    /// Whether each of these claims can ever be granted: all that is wrong with them in one refusal.
    pub(crate) fn check_claims_together(&self, claims: &[Claim]) -> Result<(), Refusal> {
        let refused = claims.iter().filter_map(|claim| self.check_claim(claim).err());
        Refusal::of_all(refused).map_or(Ok(()), Err)
    }

    /// Whether a claim can ever be granted.
    fn check_claim(&self, claim: &Claim) -> Result<(), Refusal> {
        let resource =
            self.ledger.find(&ResourceKey::Named(claim.resource.clone())).map(|i| self.ledger.get(i));
        let resource = resource.filter(|resource| !resource.is_missing());
        let Some(resource) = resource else {
            let hint = match claim.resource.counted_as() {
                ResourceKind::Lock => return Ok(()),
                ResourceKind::Quantity => "give it a capacity",
                ResourceKind::Rate => "give it a rate (tokens and per) or a concurrency",
            };
            return Err(Refusal::new(Code::NotConfigured, "this resource is not configured")
                .value(claim.to_string())
                .hint(format!("{hint}: [resources.\"{}\"], or orchctl resources set", claim.resource)));
        };
        match resource.whole() {
            Some(whole) if claim.amount > whole => {
                let hint = match resource.setting.rate() {
                    Some(rate) => format!("{} has {rate}: the burst is the most at once", claim.resource),
                    None => {
                        let [_, whole] = claim.resource.shown_apart(claim.amount, whole);
                        format!("{} has {whole}", claim.resource)
                    }
                };
                Err(Refusal::new(Code::Unsatisfiable, "more than there is in all")
                    .value(claim.to_string())
                    .hint(hint))
            }
            Some(Amount::ZERO) => {
                Err(Refusal::new(Code::Unsatisfiable, "this resource has no capacity")
                    .value(claim.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Claims as they are written on a command line.
pub(crate) fn text_of(claims: &[Claim]) -> String {
    claims.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
