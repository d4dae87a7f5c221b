//! Why a task does not run: every reason at once, who holds what it needs, and what is ahead of it.

use orchd_model::{
    Amount, BlockedVariant, Holder, Priority, Reason, ResourceName, Status, TaskAhead, TaskId, Time,
    UnmetDependency,
};

use crate::core::Core;

use crate::queue::Queue;
use crate::rank::{Rank, aged};
use crate::record::{Phase, Runner, Scope};
use crate::resource::{Asker, Block, Hold, Need, Resource, ResourceKey};
use crate::task::Task;

/// The full answer to "why does it not run?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The task's status.
    pub status: Status,
    /// The class its user gave it.
    pub priority: Priority,
    /// The class it competes in now.
    pub competes_as: Priority,
    /// The dependent that lends it a better class.
    pub inherited_from: Option<TaskAhead>,
    /// Every reason; empty for a task that runs or has ended.
    pub reasons: Vec<Reason>,
    /// The first tasks that stand before it for what it waits for.
    pub ahead: Vec<TaskAhead>,
    /// How many there are.
    pub ahead_count: usize,
    /// The instant before which it cannot start, where there is one.
    pub earliest_start: Option<Time>,
    /// By when what it waits for is free at the latest, where that is certain.
    pub free_by: Option<Time>,
}

impl Core {
    /// Explains a task in memory.
    #[must_use]
    pub fn explain(&self, id: TaskId) -> Option<Explained> {
        let asked = id;
        let id = self.standing_for(asked)?;
        let task = self.task(id);
        let rank = self.rank_of(id);
        let (mut ahead, before) = self.ahead(id, rank);
        // Elements of the same record wait in the order of their ids.
        if asked != id && ahead.len() < Reason::SHOWN {
            ahead.push(self.task_ahead(id));
        }
        let more = asked.0 - id.0;
        let ahead_count = before + usize::try_from(more).unwrap_or(usize::MAX);
        let reasons = self.reasons(id);
        let has_holders =
            |reason: &Reason| matches!(reason, Reason::Resource { .. } | Reason::Variants { .. });
        let is_first = ahead_count == 0 && reasons.iter().any(has_holders);
        Some(Explained {
            status: task.status(),
            priority: task.priority,
            competes_as: rank.class,
            inherited_from: self.lender(id),
            earliest_start: self.earliest_start(id, more, None, &reasons),
            free_by: is_first.then(|| self.free_by(id, None, &reasons)).flatten(),
            reasons,
            ahead,
            ahead_count,
        })
    }

    /// Every reason why a task in memory does not run; none for one that runs or has ended.
    #[must_use]
    pub fn reasons(&self, id: TaskId) -> Vec<Reason> {
        let Some(id) = self.standing_for(id) else { return Vec::new() };
        let task = self.task(id);
        if matches!(task.phase, Phase::Running { .. } | Phase::Ended(_) | Phase::Skipped(_)) {
            return Vec::new();
        }
        let mut reasons = Vec::new();
        if task.hold {
            reasons.push(Reason::Held);
        }
        if let Some(reason) = self.unmet_dependencies(id) {
            reasons.push(reason);
        }
        let until = match task.phase {
            Phase::Delayed { until } => Some(until),
            _ => task.not_before().filter(|at| *at > self.now),
        };
        reasons.extend(until.map(|until| Reason::Delayed { until }));
        if self.paused {
            reasons.push(paused("all".to_owned()));
        }
        if self.draining {
            reasons.push(paused("shutting down".to_owned()));
        }
        let guard_place = reasons.len();
        if self.queues.is_class_paused(task.base_class()) {
            reasons.push(paused(format!("priority {}", task.base_class())));
        }
        if let Some((session, first, _)) = self.behind(id) {
            let name = self.session(session).map_or_else(|| session.to_string(), |s| s.name.to_string());
            reasons.push(Reason::Turn { session: name, behind: self.task_ahead(first) });
        }
        if task.away {
            reasons.push(Reason::NoWorker { handler: "the client that claims".to_owned() });
        }
        let queue = self.queues.get(task.queue);
        reasons.extend(self.claim_reasons(queue, &self.asker(self.rank_of(id))));
        reasons.extend(self.worker_reason(&queue.demand.runner, task));
        if let Some(guard) = self.guard_reason(task, &reasons) {
            reasons.insert(guard_place, guard);
        }
        reasons
    }

    pub(crate) fn rank_of(&self, id: TaskId) -> Rank {
        let task = self.task(id);
        let since = if let Phase::Ready { since } = task.phase { since } else { self.now };
        Rank { class: aged(task.base_class(), since, self.now, self.config.aging), since, task: id }
    }

    fn unmet_dependencies(&self, id: TaskId) -> Option<Reason> {
        let task = self.task(id);
        if !matches!(task.phase, Phase::Waiting) {
            return None;
        }
        if task.unmet == 0 {
            return self.unfinished_others(id);
        }
        let unmet = task.edges.iter().filter_map(|edge| {
            let dependency = self.tasks.get(&edge.task)?;
            let waits = !dependency.has_ended() && dependency.run_at <= task.run_at;
            waits.then(|| UnmetDependency {
                task: edge.task,
                name: dependency.name.to_string(),
                on: edge.on,
                status: dependency.status(),
            })
        });
        Some(Reason::Dependencies { tasks: unmet.take(Reason::SHOWN).collect(), count: task.unmet as usize })
    }

    /// Everything that stands against what a task claims, for each of its variants if it has some.
    fn claim_reasons(&self, queue: &Queue, asker: &Asker) -> Vec<Reason> {
        let is_group = |need: &&Need| !matches!(self.ledger.get(need.resource).key, ResourceKey::Named(_));
        let (groups, claims): (Vec<&Need>, Vec<&Need>) = queue.needs_in(None).iter().partition(is_group);
        let mut reasons: Vec<Reason> =
            groups.into_iter().flat_map(|need| self.block_reasons(need, asker)).collect();
        if queue.demand.variants.is_empty() {
            reasons.extend(claims.into_iter().flat_map(|need| self.block_reasons(need, asker)));
            return reasons;
        }
        let blocked = (0..).zip(&queue.variants).map(|(number, variant)| BlockedVariant {
            variant: number,
            claims: queue.demand.claims_in(Some(number)),
            reasons: variant
                .needs
                .iter()
                .filter(|need| !is_group(need))
                .flat_map(|need| self.block_reasons(need, asker))
                .collect(),
        });
        let variants: Vec<BlockedVariant> = blocked.collect();
        if variants.iter().all(|variant| !variant.reasons.is_empty()) {
            reasons.push(Reason::Variants { variants });
        }
        reasons
    }

    /// Everything that stands against one need.
    pub(crate) fn block_reasons(&self, need: &Need, asker: &Asker) -> Vec<Reason> {
        let resource = self.ledger.get(need.resource);
        let is_too_large = resource.blocks(need.mode, need.amount, asker).any(|b| b == Block::Unsatisfiable);
        // What is more than there is in all is more than is free.
        let is_told = |block: &Block| !(is_too_large && *block == Block::Short);
        let blocks = resource.blocks(need.mode, need.amount, asker).filter(is_told);
        let group = match &resource.key {
            ResourceKey::Named(name) => {
                let mut reasons: Vec<Reason> =
                    blocks.map(|block| self.block_reason(block, need, resource, name)).collect();
                // A holder's mode and what it leaves are the same reason.
                let is_of_holders = |reason: &Reason| matches!(reason, Reason::Resource { .. });
                reasons.dedup_by(|next, first| is_of_holders(next) && is_of_holders(first));
                return reasons;
            }
            ResourceKey::Workflow(id) => Scope::Workflow(*id),
            ResourceKey::Session(id) => Scope::Session(*id),
        };
        blocks.map(|block| group_reason(block, resource, &group, self.name_of(&group))).collect()
    }

    fn block_reason(&self, block: Block, need: &Need, resource: &Resource, name: &ResourceName) -> Reason {
        let wants = resource.charge(need.mode, need.amount);
        let name = name.clone();
        match block {
            Block::Paused => paused(format!("resource {name}")),
            Block::Unsatisfiable => Reason::Unsatisfiable {
                resource: name,
                wants,
                capacity: resource.whole().unwrap_or_default(),
            },
            Block::Closed => Reason::Closed { resource: name },
            Block::Throttled(until) => Reason::Throttled { resource: name, until },
            Block::Rate(until) => Reason::Rate {
                resource: name,
                wants,
                left: resource.rate(self.now).map_or(Amount::ZERO, |(_, bucket)| bucket.left()),
                until,
            },
            Block::Behind(first) | Block::Beside(first) => {
                Reason::Reservation { resource: name, behind: self.task_ahead(first) }
            }
            Block::Mode | Block::Short | Block::Crowded => Reason::Resource {
                resource: name,
                mode: need.mode,
                wants,
                free: resource.free(),
                holders: self.holders(resource),
                holder_count: resource.holders.len(),
                concurrency: resource.setting.concurrency.filter(|_| block == Block::Crowded),
            },
        }
    }

    /// The first holders of a resource.
    pub(crate) fn holders(&self, resource: &Resource) -> Vec<Holder> {
        let holder = |(task, hold): (&TaskId, &Hold)| Holder {
            task: *task,
            guard: self.task(*task).claimant().is_some(),
            name: self.task(*task).name.to_string(),
            mode: hold.mode,
            amount: hold.amount,
            since: hold.since,
            until: hold.ends_by,
        };
        resource.holders.iter().take(Reason::SHOWN).map(holder).collect()
    }

    fn worker_reason(&self, runner: &Runner, task: &Task) -> Option<Reason> {
        let slots = self.workers.slots_for(runner);
        let handler = match runner {
            // Whose client is connected waits for nothing but its claims.
            Runner::Nothing | Runner::Computed | Runner::Claimant => return None,
            Runner::Process => "command",
            Runner::Handler(name) => name,
        };
        if slots == 0 {
            return Some(Reason::NoWorker { handler: handler.to_owned() });
        }
        // What was given to a worker ahead begins with the next slot there that is free.
        let is_ready = matches!(task.phase, Phase::Ready { .. });
        let full = || is_ready && self.workers.free_for(runner).is_none();
        (task.placed || full()).then_some(Reason::NoSlot { slots })
    }

    /// The load keeps back what has its turn; what is held, paused or not yet ready is not asked about it.
    fn guard_reason(&self, task: &Task, reasons: &[Reason]) -> Option<Reason> {
        let is_kept = task.hold || reasons.iter().any(|reason| matches!(reason, Reason::Paused { .. }));
        let is_ready = matches!(task.phase, Phase::Ready { .. });
        let because = self.held_back.as_ref().filter(|_| is_ready && !is_kept)?;
        Some(Reason::Guard { because: because.clone() })
    }

    fn task_ahead(&self, id: TaskId) -> TaskAhead {
        TaskAhead { task: id, name: self.task(id).name.to_string(), priority: self.rank_of(id).class }
    }

    /// The unfinished dependent that lends a task its class.
    fn lender(&self, id: TaskId) -> Option<TaskAhead> {
        let task = self.task(id);
        let class = task.inherited?;
        let dependents = task.dependents.as_ref()?;
        let lender = dependents.edges.iter().map(|d| d.task).find(|dependent| {
            self.tasks.get(dependent).is_some_and(|d| !d.has_ended() && d.base_class() == class)
        })?;
        Some(TaskAhead { priority: class, ..self.task_ahead(lender) })
    }

    /// The tasks that stand before this one for something that it cannot have now.
    fn ahead(&self, id: TaskId, rank: Rank) -> (Vec<TaskAhead>, usize) {
        let task = self.task(id);
        if let Some((_, first, waiting)) = self.behind(id) {
            let mut before: Vec<TaskId> = waiting.filter(|task| *task != first).collect();
            before.insert(0, first);
            let shown = before.iter().take(Reason::SHOWN).map(|task| self.task_ahead(*task)).collect();
            return (shown, before.len());
        }
        if task.queued_since().is_none() {
            return (Vec::new(), 0);
        }
        let own = self.queues.get(task.queue);
        let asker = self.asker(rank);
        let blocks =
            |need: &&Need| self.ledger.get(need.resource).block(need.mode, need.amount, &asker).is_some();
        let blocking: Vec<usize> = own.needs().filter(blocks).map(|need| need.resource).collect();
        let competes = |queue: &Queue| {
            if !std::ptr::eq(queue, own) && self.is_kept_back(queue) {
                false
            } else if blocking.is_empty() {
                queue.pool == own.pool
            } else {
                queue.needs().any(|need| blocking.contains(&need.resource))
            }
        };
        let competing = |class: &Priority| {
            !self.queues.is_class_paused(*class) || self.queues.is_class_paused(task.base_class())
        };
        let mut first: Vec<Rank> = Vec::new();
        let mut count = 0;
        for (_, queue) in self.queues.all().filter(|(_, queue)| competes(queue)) {
            for class in Priority::ALL.into_iter().filter(competing) {
                let ranks = queue.ready[class.index()].iter().map(|(since, task)| Rank {
                    class: aged(class, *since, self.now, self.config.aging),
                    since: *since,
                    task: *task,
                });
                let tasks =
                    |other: &Rank| usize::try_from(self.task(other.task).count()).unwrap_or(usize::MAX);
                let mut before = ranks.take_while(|other| *other < rank);
                first.extend(before.by_ref().take(Reason::SHOWN).inspect(|other| count += tasks(other)));
                count += before.map(|other| tasks(&other)).sum::<usize>();
            }
        }
        first.sort_unstable();
        first.truncate(Reason::SHOWN);
        (first.into_iter().map(|rank| self.task_ahead(rank.task)).collect(), count)
    }

    /// Whether an operator, or their own size, keeps back all tasks of a queue in each of their variants: they keep
    /// nobody else back, so they stand before nobody.
    fn is_kept_back(&self, queue: &Queue) -> bool {
        let keeps = |need: &Need| {
            let bar = self.ledger.get(need.resource).bar(need.mode, need.amount, self.now);
            bar.is_some_and(|bar| !matches!(bar, Block::Throttled(_)))
        };
        queue.variants.iter().all(|variant| variant.needs.iter().any(keeps))
    }

    /// The name of a workflow or session in memory.
    fn name_of(&self, group: &Scope) -> Option<String> {
        match group {
            Scope::Workflow(id) => self.workflow(*id).map(|workflow| workflow.name.to_string()),
            Scope::Session(id) => self.session(*id).map(|session| session.name.to_string()),
            Scope::All | Scope::Priority(_) | Scope::Resource(_) => None,
        }
    }

    /// What is paused, as text.
    #[must_use]
    pub fn describe_scope(scope: &Scope) -> String {
        match scope {
            Scope::All => "all".to_owned(),
            Scope::Priority(class) => format!("priority {class}"),
            Scope::Resource(name) => format!("resource {name}"),
            Scope::Workflow(id) => format!("workflow {id}"),
            Scope::Session(id) => format!("session {id}"),
        }
    }
}

/// That something is paused which has no name but this.
pub(crate) fn paused(scope: String) -> Reason {
    Reason::Paused { scope, name: None }
}

fn group_reason(block: Block, resource: &Resource, group: &Scope, name: Option<String>) -> Reason {
    let limit =
        resource.capacity().map_or(0, |c| u32::try_from(c.as_thousandths() / 1000).unwrap_or(u32::MAX));
    let group = Core::describe_scope(group);
    match block {
        Block::Paused => Reason::Paused { scope: group, name },
        _ => Reason::MaxParallel { group, name, limit },
    }
}
