//! Whole graphs against an evaluator that knows nothing of scheduling: every task ends as the graph, the failures and
//! the conditions say, in whatever order things happen, and every task that was skipped names the end that ruled it out.

mod kit;

use kit::{World, spec_of, task};
use orchd_core::{
    Command, Config, EdgeTarget, Effect, Fact, NewTask, NewWorkflow, Output, Phase, Runner, SkipCause,
};
use orchd_model::{FailFast, On, Outcome, RetryPolicy, Span, Status, TaskId, WorkerId};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most tasks of a graph.
const MOST: usize = 2000;

/// What is said of one task. It only depends on those before it.
#[derive(Clone, Debug)]
struct Node {
    edges: Vec<(Index, On)>,
    /// What becomes of its condition, if it has one; none: it fails to evaluate.
    condition: Option<Option<bool>>,
    /// How often it fails before it succeeds, and how often it may.
    failures: u32,
    max_retries: u32,
    milestone: bool,
}

#[derive(Clone, Debug)]
struct Graph {
    nodes: Vec<Node>,
    /// Tasks depend on those just before them, so that there are long chains, or on any.
    near: bool,
    /// They are submitted in the other direction.
    reversed: bool,
    slots: u32,
    /// Which of the things that may happen does.
    order: u64,
    workflow: bool,
    restarts: bool,
}

fn node(edges: usize) -> impl Strategy<Value = Node> {
    let on = prop_oneof![3 => Just(On::Success), 1 => Just(On::Failure), 2 => Just(On::Completion)];
    let verdict = prop_oneof![4 => Just(Some(true)), 2 => Just(Some(false)), 1 => Just(None)];
    (
        prop::collection::vec((any::<Index>(), on), 0..=edges),
        prop::option::weighted(0.2, verdict),
        prop_oneof![3 => Just(0u32), 1 => 1..3u32],
        0..2u32,
        prop::bool::weighted(0.1),
    )
        .prop_map(|(edges, condition, failures, max_retries, milestone)| Node {
            edges,
            condition,
            failures,
            max_retries,
            milestone,
        })
}

fn graph(tasks: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Graph> {
    let nodes = (tasks, 1..5usize).prop_flat_map(|(count, edges)| prop::collection::vec(node(edges), count));
    (nodes, any::<bool>(), any::<bool>(), 1..12u32, any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
        |(nodes, near, reversed, slots, order, workflow, restarts)| Graph {
            nodes,
            near,
            reversed,
            slots,
            order,
            workflow,
            restarts,
        },
    )
}

impl Graph {
    /// What a task depends on, each only once.
    fn edges(&self, at: usize) -> Vec<(usize, On)> {
        let mut edges = BTreeMap::new();
        for (index, on) in self.nodes[at].edges.iter().filter(|_| at > 0) {
            let target = if self.near { at - 1 - index.index(at.min(6)) } else { index.index(at) };
            edges.entry(target).or_insert(*on);
        }
        edges.into_iter().collect()
    }

    fn place(&self, at: usize) -> usize {
        if self.reversed { self.nodes.len() - 1 - at } else { at }
    }

    fn id(&self, at: usize) -> TaskId {
        TaskId(self.place(at) as u64 + 1)
    }

    fn of(&self, id: TaskId) -> usize {
        self.place(id.0 as usize - 1)
    }

    fn new_task(&self, at: usize) -> NewTask {
        let node = &self.nodes[at];
        let mut new = task(&format!("t{at}"));
        spec_of(&mut new).when = node.condition.map(|_| "asked".to_owned());
        let retry = RetryPolicy { max_retries: node.max_retries, delay: Span(7), ..RetryPolicy::default() };
        let edges =
            self.edges(at).into_iter().map(|(to, on)| (EdgeTarget::Index(self.place(to)), on)).collect();
        let runner = if node.milestone { Runner::Nothing } else { Runner::Process };
        NewTask { retry: Arc::new(retry), edges, runner, ..new }
    }
}

/// Whether an edge lets its dependent go on: the contract, once more.
fn lets_go(on: On, status: Status) -> bool {
    match on {
        On::Success => status == Status::Completed,
        On::Failure => status == Status::Failed,
        On::Completion => true,
    }
}

/// How each task must end: by the graph alone.
fn evaluated(graph: &Graph) -> Vec<Status> {
    let mut ends: Vec<Status> = Vec::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let goes = graph.edges(at).into_iter().all(|(to, on)| lets_go(on, ends[to]));
        let fails = !node.milestone && node.failures > node.max_retries;
        ends.push(match (goes, node.condition) {
            (false, _) | (true, Some(None | Some(false))) => Status::Skipped,
            (true, _) if fails => Status::Failed,
            (true, _) => Status::Completed,
        });
    }
    ends
}

/// A run of a graph: what may happen next, and in which order tasks ended.
struct Run<'g> {
    graph: &'g Graph,
    world: World,
    worker: WorkerId,
    to_evaluate: BTreeSet<TaskId>,
    running: BTreeSet<TaskId>,
    ended: Vec<TaskId>,
    order: u64,
}

impl Run<'_> {
    fn new(graph: &Graph) -> Run<'_> {
        let mut world = World::new(Config { lease: Span::from_secs(1_000_000), ..Config::default() });
        world.checked = graph.nodes.len() <= 60;
        let worker = world.join_process(graph.slots);
        let (to_evaluate, running) = (BTreeSet::new(), BTreeSet::new());
        Run { graph, world, worker, to_evaluate, running, ended: Vec::new(), order: graph.order | 1 }
    }

    fn begin(&mut self) {
        let count = self.graph.nodes.len();
        let tasks = (0..count).map(|place| self.graph.new_task(self.graph.place(place))).collect();
        let workflow = self.graph.workflow.then(|| NewWorkflow {
            name: "w".into(),
            max_parallel: None,
            fail_fast: FailFast::No,
            timeout: None,
            session: None,
        });
        let (reply, out) = self.world.submit(tasks, true, workflow);
        assert!(reply.is_ok(), "{reply:?}");
        self.note(&out);
    }

    fn note(&mut self, out: &Output) {
        for event in &out.events {
            match &event.fact {
                Fact::Started { task, .. } => {
                    self.running.insert(*task);
                }
                Fact::Completed { task, .. } | Fact::Failed { task, .. } | Fact::Skipped { task, .. } => {
                    self.ended.push(*task);
                }
                _ => {}
            }
        }
        for effect in &out.effects {
            if let Effect::Evaluate { task } = effect {
                self.to_evaluate.insert(*task);
            }
        }
    }

    /// The next number of a sequence that goes through all of them (Knuth's linear congruential generator).
    fn chance(&mut self, of: usize) -> usize {
        self.order =
            self.order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.order >> 33) as usize % of
    }

    /// One of the things that may happen; false when nothing may.
    fn step(&mut self) -> bool {
        if self.graph.restarts && self.chance(40) == 0 {
            self.restart();
        }
        let open = self.to_evaluate.len() + self.running.len();
        if open == 0 {
            let Some(at) = self.world.core.next_wake() else { return false };
            for (_, out) in self.world.pass(at) {
                self.note(&out);
            }
            return true;
        }
        let which = self.chance(open);
        let chosen = self.to_evaluate.iter().chain(&self.running).nth(which).copied().expect("one of them");
        let node = &self.graph.nodes[self.graph.of(chosen)];
        let (reply, out) = if self.to_evaluate.remove(&chosen) {
            let verdict = node.condition.expect("it has one").ok_or_else(|| "no such name".to_owned());
            self.world.handle(Command::Decide { task: chosen, verdict })
        } else {
            self.running.remove(&chosen);
            let attempt = self.world.store.tasks[&chosen].attempts.0;
            let fails = attempt <= node.failures;
            self.world.report(chosen, if fails { Outcome::exited(1) } else { Outcome::Succeeded })
        };
        assert!(reply.is_ok(), "{reply:?}");
        self.note(&out);
        true
    }

    /// What was being evaluated is evaluated again, what runs goes on.
    fn restart(&mut self) {
        self.to_evaluate.clear();
        let out = self.world.reload();
        self.note(&out);
        let out = self.world.rejoin(&BTreeSet::from([self.worker]));
        self.note(&out);
    }

    fn check_roots(&self) {
        let when: BTreeMap<TaskId, usize> = self.ended.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        assert_eq!(when.len(), self.graph.nodes.len(), "each has ended once");
        for at in 0..self.graph.nodes.len() {
            let id = self.graph.id(at);
            let ruled_out = |(to, on): &(usize, On)| !lets_go(*on, self.world.status(self.graph.id(*to)));
            let by = self.graph.edges(at).into_iter().filter(ruled_out).map(|(to, _)| self.graph.id(to));
            // Of several, one that it has seen the end of.
            let by: Vec<TaskId> = by.filter(|by| when[by] < when[&id]).collect();
            let roots: Vec<(TaskId, Status)> = by.iter().map(|by| self.root_of(*by)).collect();
            match &self.world.store.tasks[&id].phase {
                Phase::Skipped(SkipCause::Dependency(root, status)) => {
                    assert!(roots.contains(&(*root, *status)), "{root} is no root of {id}: {roots:?}");
                    assert_eq!(self.root_of(*root).0, *root, "the root of {id} ended of itself");
                }
                Phase::Skipped(cause) => {
                    let says = match self.graph.nodes[at].condition {
                        Some(Some(false)) => SkipCause::Condition,
                        Some(None) => SkipCause::ConditionError("no such name".into()),
                        Some(Some(true)) | None => panic!("{id} was skipped: {cause:?}"),
                    };
                    assert_eq!((cause, roots), (&says, Vec::new()), "{id}");
                }
                phase => assert!(matches!(phase, Phase::Ended(_)) && roots.is_empty(), "{id}: {phase:?}"),
            }
        }
    }

    /// What ruled a task out, with what became of that; the task itself if nothing did.
    fn root_of(&self, id: TaskId) -> (TaskId, Status) {
        match self.world.store.tasks[&id].phase {
            Phase::Skipped(SkipCause::Dependency(root, status)) => (root, status),
            _ => (id, self.world.status(id)),
        }
    }
}

fn check(graph: &Graph) {
    let mut run = Run::new(graph);
    run.begin();
    while run.step() {}
    let ends: Vec<Status> = (0..graph.nodes.len()).map(|at| run.world.status(graph.id(at))).collect();
    assert_eq!(ends, evaluated(graph));
    run.check_roots();
    assert_eq!((run.world.core.claims_held(), run.world.core.unfinished()), (0, 0));
    assert_eq!(run.world.core.invariants(), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn small_graphs_end_as_they_must(graph in graph(1..=30)) {
        check(&graph);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn graphs_of_thousands_of_tasks_end_as_they_must(graph in graph(500..=MOST)) {
        check(&graph);
    }
}
