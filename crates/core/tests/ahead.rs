//! Placing ahead, with workers that do what they are told at once: whatever happens, nothing begins before
//! what ranks before it and waits for a slot alone, and every task ends exactly once.

mod kit;

use kit::{World, claiming, spec_of};
use orchd_core::{Command, Config, Effect, Fact, Join, Output, Phase, Scope, WorkerNote};
use orchd_model::{
    AttemptReport, Indices, Outcome, Priority, Reason, Span, Status, TaskId, Time, Token, WorkerId,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const SLOTS: u32 = 2;
const AHEAD: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Add {
        class: Priority,
        claims: &'static str,
        count: u64,
        /// One array instead of so many tasks.
        array: bool,
        deadline: Option<u64>,
    },
    End(Index),
    Cancel(Index),
    Hold(Index),
    Release(Index),
    Reprioritize(Index, Priority),
    Pause(Option<Priority>, bool),
    Advance(u64),
    /// The connection breaks.
    Away(usize),
    /// It comes back.
    Reconnect(usize),
    Lose(usize, bool),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let class = || select(Priority::ALL.to_vec());
    let index = any::<Index>;
    let claims = select(vec!["", "", "", "", "lock:a:exclusive", "lock:b:read"]);
    let deadline = prop_oneof![9 => Just(None), 1 => (1_u64..40).prop_map(Some)];
    prop_oneof![
        10 => (class(), claims, 1_u64..6, any::<bool>(), deadline)
            .prop_map(|(class, claims, count, array, deadline)| Step::Add { class, claims, count, array, deadline }),
        14 => index().prop_map(Step::End),
        2 => index().prop_map(Step::Cancel),
        2 => index().prop_map(Step::Hold),
        2 => index().prop_map(Step::Release),
        2 => (index(), class()).prop_map(|(which, class)| Step::Reprioritize(which, class)),
        2 => (prop::option::of(class()), any::<bool>()).prop_map(|(class, on)| Step::Pause(class, on)),
        3 => (1_u64..40).prop_map(Step::Advance),
        1 => (0_usize..2).prop_map(Step::Away),
        1 => (0_usize..2).prop_map(Step::Reconnect),
        1 => (0_usize..2, any::<bool>()).prop_map(|(which, told)| Step::Lose(which, told)),
        1 => Just(Step::Restart),
    ]
}

/// A worker's side: what runs, and what waits there in its order.
#[derive(Default)]
struct Hands {
    running: BTreeSet<Token>,
    waiting: BTreeMap<((Priority, Time), TaskId), Token>,
}

struct Play {
    world: World,
    workers: Vec<WorkerId>,
    hands: BTreeMap<WorkerId, Hands>,
    tasks: BTreeMap<Token, TaskId>,
    /// Attempts that were stopped, and whose end has not been told.
    stopped: Vec<(WorkerId, Token)>,
    added: u64,
}

type Rank = (Priority, Time, TaskId);

impl Play {
    fn new() -> Self {
        let config = Config {
            aging: Span::from_millis(30),
            lease: Span::from_secs(1_000_000),
            ahead: AHEAD,
            ..Config::default()
        };
        let world = World::new(config);
        let (hands, tasks) = (BTreeMap::new(), BTreeMap::new());
        let mut play = Self { world, workers: Vec::new(), hands, tasks, stopped: Vec::new(), added: 0 };
        for _ in 0..2 {
            play.join();
        }
        // Tasks are placed where there is only one that runs processes.
        play.away(1);
        play
    }

    fn join(&mut self) {
        let incarnation = self.world.core.meta().next_worker.0;
        let join = Join {
            incarnation,
            slots: SLOTS,
            process: true,
            handlers: Vec::new(),
            holds: Vec::new(),
            note: WorkerNote::default(),
        };
        let (worker, out) = self.world.join(join);
        self.workers.push(worker);
        self.hands.insert(worker, Hands::default());
        self.react(out);
    }

    fn tell(&mut self, command: Command) {
        let (_, out) = self.world.handle(command);
        self.react(out);
    }

    /// Workers carry out what they are told, and say so at once.
    fn react(&mut self, out: Output) {
        let mut outputs = VecDeque::from([out]);
        while let Some(out) = outputs.pop_front() {
            for event in &out.events {
                if let Fact::Started { task, token, .. } = event.fact {
                    self.tasks.insert(token, task);
                }
                if let Fact::Placed { placement } = event.fact {
                    self.tasks.insert(placement.token, placement.task);
                }
            }
            for effect in out.effects {
                outputs.extend(self.carry_out(effect).map(|command| self.world.handle(command).1));
            }
        }
        // Attempts end once all has arrived that was decided before.
        while let Some((worker, token)) = self.stopped.pop() {
            let report = self.report(token, Outcome::Cancelled);
            self.begin_next(worker, report);
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Command> {
        match effect {
            Effect::Assign { worker, task, token, order, .. } => {
                let hands = self.hands.get_mut(&worker)?;
                if hands.running.len() == SLOTS as usize {
                    hands.waiting.insert((order, task), token);
                    return None;
                }
                hands.running.insert(token);
                Some(Command::Begun { worker: Some(worker), token, at: self.world.now })
            }
            Effect::Recall { worker, token } => self.let_go(worker, token),
            Effect::Stop { worker, token, .. } => {
                if self.hands.get_mut(&worker)?.running.remove(&token) {
                    self.stopped.push((worker, token));
                    return None;
                }
                self.let_go(worker, token)
            }
            Effect::Dismiss { .. }
            | Effect::Evaluate { .. }
            | Effect::Compute { .. }
            | Effect::Call { .. }
            | Effect::Fence { .. } => None,
        }
    }

    fn let_go(&mut self, worker: WorkerId, token: Token) -> Option<Command> {
        let hands = self.hands.get_mut(&worker)?;
        let waited = hands.waiting.len();
        hands.waiting.retain(|_, other| *other != token);
        (hands.waiting.len() < waited).then_some(Command::Unbegun { worker, token })
    }

    fn report(&self, token: Token, outcome: Outcome) -> AttemptReport {
        let task = self.tasks[&token];
        let attempt = self.world.store.tasks[&task].attempts;
        let execution_time = Span::from_millis(1);
        AttemptReport { execution_time, ..AttemptReport::new(task, attempt, token, outcome) }
    }

    /// A slot of a worker is free: what waits there first begins, and that is told with the end.
    fn begin_next(&mut self, worker: WorkerId, ended: AttemptReport) {
        let hands = self.hands.get_mut(&worker).expect("a worker that is there");
        let next = hands.waiting.pop_first();
        hands.running.extend(next.map(|(_, token)| token));
        if let Some((((class, since), task), token)) = next {
            self.is_first((class, since, task));
            let (reply, out) =
                self.world.handle(Command::Begun { worker: Some(worker), token, at: self.world.now });
            assert!(reply.is_ok(), "{reply:?}");
            self.react(out);
        }
        self.tell(Command::Report { worker: Some(worker), report: ended });
    }

    /// Nothing that waits for a slot alone comes before this. Of what was placed at a worker that is away nobody
    /// knows whether it has begun.
    fn is_first(&self, rank: Rank) {
        let attached = |id: WorkerId| self.world.core.workers().iter().any(|w| w.id == id && w.attached);
        let placed = self.world.core.meta().placed.iter();
        let unknown: BTreeSet<TaskId> = placed.filter(|p| !attached(p.worker)).map(|p| p.task).collect();
        for (id, record) in self.world.store.tasks.iter().filter(|(id, _)| !unknown.contains(id)) {
            let Phase::Ready { since } = record.phase else { continue };
            let Some(explained) = self.world.core.explain(*id) else { continue };
            let waits_for_slot = matches!(explained.reasons[..], [Reason::NoSlot { .. }]);
            let other = (explained.competes_as, since, *id);
            assert!(!waits_for_slot || other >= rank, "{rank:?} begins before {other:?}");
        }
    }

    fn apply(&mut self, step: Step) {
        let ids: Vec<TaskId> = self.world.store.tasks.keys().copied().collect();
        let pick = |which: Index| (!ids.is_empty()).then(|| ids[which.index(ids.len())]);
        match step {
            Step::Add { class, claims, count, array, deadline } => {
                let mut tasks = Vec::new();
                for _ in 0..if array { 1 } else { count } {
                    self.added += 1;
                    let mut task = claiming(&format!("t{}", self.added), claims);
                    spec_of(&mut task).priority = class;
                    let indices = Indices::new(1, count, 1).expect("indices");
                    spec_of(&mut task).array = (array && count > 1).then_some(indices);
                    spec_of(&mut task).deadline = deadline.map(Span::from_millis);
                    tasks.push(task);
                }
                let (reply, out) = self.world.submit(tasks, true, None);
                assert!(reply.is_ok(), "{reply:?}");
                self.react(out);
            }
            Step::End(which) => {
                let running: Vec<(WorkerId, Token)> = self
                    .hands
                    .iter()
                    .flat_map(|(id, hands)| hands.running.iter().map(|t| (*id, *t)))
                    .collect();
                if !running.is_empty() {
                    let (worker, token) = running[which.index(running.len())];
                    self.end(worker, token);
                }
            }
            Step::Cancel(which) => {
                pick(which).into_iter().for_each(|id| self.tell(Command::Cancel { tasks: vec![id.into()] }));
            }
            Step::Hold(which) => {
                pick(which).into_iter().for_each(|id| self.tell(Command::Hold { tasks: id.into() }));
            }
            Step::Release(which) => {
                pick(which).into_iter().for_each(|id| self.tell(Command::Release { tasks: vec![id.into()] }));
            }
            Step::Reprioritize(which, priority) => {
                let change = |id: TaskId| Command::Reprioritize { tasks: id.into(), priority };
                pick(which).into_iter().for_each(|task| self.tell(change(task)));
            }
            Step::Pause(class, on) => {
                let scope = class.map_or(Scope::All, Scope::Priority);
                self.tell(if on { Command::Pause { scope, create: false } } else { Command::Resume(scope) });
            }
            Step::Advance(ms) => self.advance(self.world.now + Span::from_millis(ms)),
            Step::Away(place) => self.away(place),
            Step::Reconnect(place) => self.rejoin(self.workers[place]),
            Step::Lose(place, told) => self.lose(place, told),
            Step::Restart => {
                let out = self.world.reload();
                self.react(out);
                self.workers.clone().into_iter().for_each(|worker| self.rejoin(worker));
            }
        }
    }

    fn end(&mut self, worker: WorkerId, token: Token) {
        let report = self.report(token, Outcome::Succeeded);
        self.hands.get_mut(&worker).expect("a worker that is there").running.remove(&token);
        self.begin_next(worker, report);
    }

    /// One wake-up after the other, each with what workers do.
    fn advance(&mut self, to: Time) {
        while let Some(at) = self.world.core.next_wake().filter(|at| *at <= to) {
            self.world.now = self.world.now.max(at);
            self.tell(Command::Tick);
        }
        self.world.now = to;
    }

    /// What waits at a worker is gone with its connection, what runs there goes on.
    fn away(&mut self, place: usize) {
        let worker = self.workers[place];
        self.hands.get_mut(&worker).expect("a worker that is there").waiting.clear();
        self.tell(Command::Detach { worker });
    }

    fn rejoin(&mut self, worker: WorkerId) {
        let hands = self.hands.get_mut(&worker).expect("a worker that is there");
        hands.waiting.clear();
        let holds = hands.running.iter().copied().collect();
        let join = Join { holds, ..self.world.workers[&worker].clone() };
        let (_, out) = self.world.join(join);
        self.react(out);
    }

    /// A worker dies; what had begun may not have been told, but is found.
    fn lose(&mut self, place: usize, told: bool) {
        let worker = self.workers.remove(place);
        self.world.workers.remove(&worker);
        let hands = self.hands.remove(&worker).expect("a worker that is there");
        if told {
            for token in hands.running {
                self.tell(Command::Begun { worker: None, token, at: self.world.now });
            }
        }
        self.tell(Command::Lose { worker, began: None });
        self.join();
    }

    fn finish(mut self) {
        for class in [None].into_iter().chain(Priority::ALL.map(Some)) {
            self.apply(Step::Pause(class, false));
        }
        self.workers.clone().into_iter().for_each(|worker| self.rejoin(worker));
        for id in self.world.core.unfinished_tasks() {
            self.tell(Command::Release { tasks: vec![id.into()] });
        }
        while self.world.core.unfinished() > 0 {
            let first = self.hands.iter().find_map(|(id, hands)| Some((*id, *hands.running.first()?)));
            match first {
                Some((worker, token)) => self.end(worker, token),
                None => {
                    let next = self.world.core.next_wake().expect("what is unfinished waits for something");
                    self.advance(next);
                }
            }
        }
        assert_eq!((self.world.core.placed(), self.world.core.backlog()), (0, 0));
        assert_eq!(self.world.core.claims_held(), 0);
        assert!(self.world.store.tasks.values().all(|record| record.status().is_terminal()));
        assert_eq!(self.world.core.counters().by_status[Status::Pending.index()], 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_placed_ahead_overtakes_nothing_and_ends_once(steps in prop::collection::vec(step(), 1..60)) {
        let mut play = Play::new();
        for step in steps {
            play.apply(step);
        }
        play.finish();
    }
}
