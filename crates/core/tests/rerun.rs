//! Workflows that fail, are undone and go on, at random: what completed stays, what was done is undone in reverse
//! order, and nothing is left waiting for ever.

mod kit;

use kit::{World, after, spec_of};
use orchd_core::{Config, EdgeTarget, NewTask, NewWorkflow, Phase};
use orchd_model::{FailFast, On, Outcome, Status, TaskId, WorkflowId, WorkflowStatus};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet};

/// A task: what it waits for, and whether another one undoes it.
#[derive(Clone, Debug)]
struct Wish {
    after: Vec<(Index, On)>,
    undone: bool,
}

fn wish() -> impl Strategy<Value = Wish> {
    let on = select(vec![On::Success, On::Success, On::Success, On::Failure, On::Completion]);
    (vec((any::<Index>(), on), 0..3), any::<bool>()).prop_map(|(after, undone)| Wish { after, undone })
}

struct Flow {
    world: World,
    id: WorkflowId,
    /// What each task waits for, within the workflow.
    edges: BTreeMap<TaskId, Vec<TaskId>>,
    /// The task that each compensation undoes.
    undoes: BTreeMap<TaskId, TaskId>,
    /// The ends of this run, in order.
    completed: Vec<TaskId>,
    /// The compensations that began in this run, in order.
    undoing: Vec<TaskId>,
}

impl Flow {
    fn new(wishes: &[Wish], fail_fast: FailFast) -> Self {
        let mut tasks: Vec<NewTask> = Vec::new();
        for (place, wish) in wishes.iter().enumerate() {
            let before: BTreeMap<usize, On> = wish
                .after
                .iter()
                .filter(|_| place > 0)
                .map(|(index, on)| (index.index(place), *on))
                .collect();
            let edges = before.into_iter().map(|(index, on)| (EdgeTarget::Index(index), on));
            tasks.push(after(&format!("t{place}"), edges));
        }
        for (place, _) in wishes.iter().enumerate().filter(|(_, wish)| wish.undone) {
            let mut undo = after(&format!("u{place}"), [(EdgeTarget::Index(place), On::Success)]);
            let spec = spec_of(&mut undo);
            (spec.finally, spec.compensates) = (true, Some(format!("t{place}")));
            tasks.push(undo);
        }
        let mut world = World::new(Config::default());
        world.join_process(3);
        let workflow = NewWorkflow { name: "w".into(), fail_fast, ..NewWorkflow::default() };
        let (reply, _) = world.submit(tasks, true, Some(workflow));
        assert!(reply.is_ok(), "{reply:?}");
        let (mut edges, mut undoes) = (BTreeMap::new(), BTreeMap::new());
        for record in world.store.tasks.values() {
            let targets: Vec<TaskId> = record.edges.iter().map(|edge| edge.task).collect();
            if record.role.compensation.is_some() {
                undoes.insert(record.id, targets[0]);
            }
            edges.insert(record.id, targets);
        }
        Self { world, id: WorkflowId(1), edges, undoes, completed: Vec::new(), undoing: Vec::new() }
    }

    fn attempts(&self, id: TaskId) -> u32 {
        self.world.store.tasks[&id].attempts.0
    }

    /// Ends what runs until nothing does; `fails` says which attempts do not end well.
    fn run(&mut self, fails: &[Index], reloads: bool) {
        (self.completed, self.undoing) = (Vec::new(), Vec::new());
        let failing: BTreeSet<u64> =
            fails.iter().map(|index| index.index(self.edges.len()) as u64 + 1).collect();
        while let Some((id, ..)) = self.world.running().first().copied() {
            if self.undoes.contains_key(&id) {
                self.undoing.push(id);
            }
            let outcome = if failing.contains(&id.0) { Outcome::exited(1) } else { Outcome::Succeeded };
            self.world.report(id, outcome).0.expect("it runs");
            if self.world.status(id) == Status::Completed {
                self.completed.push(id);
            }
            if reloads {
                let workers = self.world.workers.keys().copied().collect();
                self.world.reload();
                self.world.rejoin(&workers);
            }
        }
    }

    fn workflow_status(&self) -> WorkflowStatus {
        self.world.store.workflows[&self.id].status
    }

    /// What runs again, found by looking again and again.
    fn expected(&self) -> BTreeSet<TaskId> {
        let mut again: BTreeSet<TaskId> =
            self.edges.keys().copied().filter(|id| self.world.status(*id) != Status::Completed).collect();
        again.extend(self.undoing.iter().map(|id| self.undoes[id]));
        loop {
            let more: Vec<TaskId> = self
                .edges
                .iter()
                .filter(|(id, targets)| !again.contains(id) && targets.iter().any(|t| again.contains(t)))
                .map(|(id, _)| *id)
                .collect();
            if more.is_empty() {
                break;
            }
            again.extend(more);
        }
        again
    }

    fn check_end(&self, completed_before: &[TaskId]) {
        let status = self.workflow_status();
        assert_ne!(status, WorkflowStatus::Running, "something waits for ever");
        if status == WorkflowStatus::Completed {
            assert_eq!(self.undoing, [], "nothing was to be undone");
            return;
        }
        // What completed in an earlier run and stays is undone after what completed in this one.
        let order: Vec<TaskId> = completed_before.iter().chain(&self.completed).copied().collect();
        let latest = |id: &TaskId| order.iter().rposition(|other| other == id);
        let mut expected: Vec<TaskId> = self
            .undoes
            .keys()
            .copied()
            .filter(|id| self.world.status(self.undoes[id]) == Status::Completed)
            .collect();
        expected.sort_by_key(|id| std::cmp::Reverse(latest(&self.undoes[id])));
        assert_eq!(self.undoing, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_completed_is_kept_what_was_done_is_undone_and_nothing_waits_for_ever(
        wishes in vec(wish(), 1..12),
        fail_fast in select(vec![FailFast::No, FailFast::Yes, FailFast::Cancel]),
        rounds in vec((vec(any::<Index>(), 0..4), any::<bool>()), 1..4),
    ) {
        let mut flow = Flow::new(&wishes, fail_fast);
        let mut order = Vec::new();
        for (fails, reloads) in rounds {
            flow.run(&fails, reloads);
            flow.check_end(&order);
            order.append(&mut flow.completed.clone());
            if flow.workflow_status() == WorkflowStatus::Completed {
                break;
            }
            let again = flow.expected();
            let before: BTreeMap<TaskId, u32> = flow.edges.keys().map(|id| (*id, flow.attempts(*id))).collect();
            let (reply, _) = flow.world.rerun(flow.id, None);
            prop_assert!(reply.is_ok(), "{:?}", reply);
            for (id, attempts) in before {
                if !again.contains(&id) && !flow.undoes.contains_key(&id) {
                    prop_assert_eq!((flow.world.status(id), flow.attempts(id)), (Status::Completed, attempts));
                }
                let has_ended = matches!(flow.world.store.tasks[&id].phase, Phase::Ended(_));
                prop_assert!(!(again.contains(&id) && has_ended), "{} runs again", id);
            }
        }
        flow.run(&[], false);
        prop_assert_eq!(flow.world.core.invariants(), Ok(()));
    }
}
