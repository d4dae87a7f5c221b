//! The core against a naive scheduler: whatever happens, both start the same tasks in the same order, and
//! give the same statuses and the same reasons for what was skipped.
//!
//! The comparison is exact where every resource is a lock, a rate or a quantity that is only read. Where modes and
//! amounts meet, which of several lawful reservations is taken depends on when a waiting task is looked at; there
//! every start of the core is judged: it was allowed, and nobody who could go was passed or left behind.
//!
//! The stories are the same on every run; `ORCHD_SEED=7` tells others, and `PROPTEST_CASES` how many.

mod kit;
mod naive;

use kit::{World, spec_of, taken, task};
use naive::steps::{
    API, BURST, CPU, GPU, HANDLER, How, LOCKS, MISSING, Paused, Step, Steps, Wish, claims_of, configs, delay,
    steps,
};
use naive::{Bucket, Naive, Need, State, Task, Worker, Workflow};
use orchd_core::{
    Command, Config, EdgeTarget, Join, NewTask, NewWorkflow, Output, Phase, Reply, Runner, Scope, SkipCause,
};
use orchd_model::{
    Amount, Claim, FailFast, Indices, Mode, On, Outcome, Priority, ResourceSetting, RetryPolicy, SessionId,
    Span, Status, TaskId, Time, WorkerId, WorkflowId, WorkflowStatus,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// The core and the naive scheduler, side by side. Task `n` of the one is `TaskId(n + 1)` of the other.
struct Pair {
    world: World,
    naive: Naive,
    exact: bool,
    workers: Vec<WorkerId>,
}

fn id(task: usize) -> TaskId {
    TaskId(task as u64 + 1)
}

fn index_of(task: TaskId) -> usize {
    task.0 as usize - 1
}

impl Pair {
    fn new(exact: bool, reservation_delay: Span, steps_a_batch: u32) -> Self {
        let resource = |name: &str, units| {
            let capacity = Some(Amount::units(units));
            (name.parse().expect("a resource"), ResourceSetting { capacity, ..ResourceSetting::default() })
        };
        // A thousandth of a token in each microsecond.
        let rate = ResourceSetting {
            tokens: Some(Amount::ONE),
            per: Some(Span::from_millis(1)),
            burst: Some(Amount::units(BURST)),
            ..ResourceSetting::default()
        };
        let config = Config {
            aging: Span::from_millis(30),
            max_worker_losses: 1,
            lease: Span::from_secs(1_000_000),
            seed: 0,
            resources: vec![resource(CPU, 4), resource(GPU, 2), (API.parse().expect("a resource"), rate)],
            ahead: 0,
            reservation_delay,
            grace: Span::from_secs(50_000),
        };
        let capacity = [(CPU.to_owned(), Amount::units(4)), (GPU.to_owned(), Amount::units(2))];
        let mut naive = Naive::new(config.aging, config.max_worker_losses, capacity.into());
        let level = Amount::units(BURST).as_thousandths();
        naive.missing.insert(MISSING.to_owned());
        naive.buckets.insert(API.to_owned(), Bucket { burst: level, level, at: Time(0) });
        (naive.reservation_delay, naive.grace) = (config.reservation_delay, config.grace);
        let mut world = World { steps_a_batch, ..World::new(config) };
        world.create_session("s");
        let mut pair = Self { world, naive, exact, workers: Vec::new() };
        for pool in [0, 0, 1] {
            let place = pair.join(pool);
            pair.workers.push(place);
        }
        pair
    }

    fn join(&mut self, pool: usize) -> WorkerId {
        let join = Join {
            incarnation: self.world.core.meta().next_worker.0,
            slots: 2,
            process: pool == 0,
            handlers: if pool == 1 { vec![HANDLER.into()] } else { Vec::new() },
            holds: Vec::new(),
            note: orchd_core::WorkerNote::default(),
        };
        let (worker, out) = self.world.join(join);
        self.naive.workers.push(Worker { id: worker.0, pool, slots: 2, attached: true });
        self.compare(&out);
        worker
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Add(wishes) => self.add(wishes, None),
            Step::Workflow { tasks, max_parallel, fail_fast } => {
                self.add(tasks, Some((*max_parallel, *fail_fast)))
            }
            Step::End { which, how } => self.end(which, *how),
            Step::Advance(ms) => self.advance(self.world.now + Span::from_millis(*ms)),
            Step::Pause(what, on) => self.pause(*what, *on),
            Step::Throttle(ms) => self.throttle(Span::from_millis(*ms)),
            Step::Lose(place) => self.lose(*place),
            Step::Detach(place, back) => self.detach(*place, *back),
            Step::Restart => self.restart(),
            Step::Retry(which) if !self.naive.tasks.is_empty() => {
                self.retry(which.index(self.naive.tasks.len()))
            }
            Step::Cancel(which) => self.operate(which, |task| Command::Cancel { tasks: vec![task.into()] }),
            Step::Hold(which) => self.operate(which, |task| Command::Hold { tasks: task.into() }),
            Step::Release(which) => self.operate(which, |task| Command::Release { tasks: vec![task.into()] }),
            Step::Reprioritize(which, class) => {
                self.operate(which, |task| Command::Reprioritize { tasks: task.into(), priority: *class });
            }
            Step::Retry(_) => {}
        }
    }

    // The steps

    fn add(&mut self, wishes: &[Wish], workflow: Option<(Option<u32>, FailFast)>) {
        let first = self.naive.tasks.len();
        let number = workflow.map(|_| self.naive.workflows.len());
        if let Some((max_parallel, fail_fast)) = workflow {
            let fail_fast = (fail_fast != FailFast::No).then_some(fail_fast == FailFast::Cancel);
            self.naive.workflows.push(Workflow { fail_fast, stopped_by: None });
            if let (Some(limit), Some(number)) = (max_parallel, number) {
                self.naive
                    .capacity
                    .insert(format!("workflow {}", number + 1), Amount::units(u64::from(limit)));
            }
        }
        let firsts: Vec<usize> = wishes
            .iter()
            .scan(first, |next, wish| Some(std::mem::replace(next, *next + wish.count)))
            .collect();
        let spans: Vec<(usize, usize)> =
            firsts.iter().zip(wishes).map(|(first, wish)| (*first, wish.count)).collect();
        let new = wishes.iter().zip(&firsts).map(|(wish, at)| self.new_task(*at, &spans, wish)).collect();
        for (wish, at) in wishes.iter().zip(&firsts) {
            for _ in 0..wish.count {
                self.naive.tasks.push(self.naive_task(*at, &spans, wish, number));
            }
        }
        let workflow = workflow.map(|(max_parallel, fail_fast)| NewWorkflow {
            name: "w".into(),
            max_parallel,
            fail_fast,
            ..NewWorkflow::default()
        });
        let (reply, out) = self.world.submit(new, false, workflow);
        assert!(reply.is_ok(), "{reply:?}");
        for task in first..self.naive.tasks.len() {
            self.naive.begin(task);
        }
        self.compare(&out);
    }

    fn edges(task: usize, wish: &Wish) -> Vec<(usize, On)> {
        wish.edges.iter().filter(|_| task > 0).map(|(other, on)| (other.index(task), *on)).collect()
    }

    /// `spans` are the first task and the number of tasks of each wish of the request.
    fn new_task(&self, number: usize, spans: &[(usize, usize)], wish: &Wish) -> NewTask {
        let edge = |(other, on): (usize, On)| {
            let here = spans.iter().position(|(first, count)| (*first..first + count).contains(&other));
            (here.map_or(EdgeTarget::Id(id(other)), EdgeTarget::Index), on)
        };
        let mut new = task(&format!("t{number}"));
        new.edges = Self::edges(number, wish).into_iter().map(edge).collect();
        new.runner = match wish.pool {
            0 => Runner::Process,
            1 => Runner::Handler(HANDLER.into()),
            _ => Runner::Nothing,
        };
        let retry = RetryPolicy { max_retries: wish.retries, ..RetryPolicy::default() };
        new.retry = Arc::new(RetryPolicy { delay: Span::from_millis(wish.delay_ms), ..retry });
        let (claims, claims_any) = claims_of(wish);
        let spec = spec_of(&mut new);
        let count = wish.count as u64;
        spec.array = (count > 1).then(|| Indices::new(1, count, 1).expect("indices"));
        (spec.claims, spec.claims_any) = (claims, claims_any);
        spec.timeout = wish.timeout.map(Span::from_secs);
        spec.priority = wish.class;
        spec.hold = wish.hold;
        spec.session = wish.in_session.then_some(SessionId(1).into());
        spec.not_before =
            (wish.in_ms > 0).then_some(orchd_model::NotBefore::In(Span::from_millis(wish.in_ms)));
        new
    }

    fn naive_task(
        &self,
        number: usize,
        spans: &[(usize, usize)],
        wish: &Wish,
        workflow: Option<usize>,
    ) -> Task {
        let groups = workflow.map(|number| format!("workflow {}", number + 1));
        let groups = groups.into_iter().chain(wish.in_session.then(|| "session 1".to_owned()));
        let groups: Vec<Need> = groups.map(|group| (group, Mode::Read, Amount::ONE)).collect();
        let (claims, any) = claims_of(wish);
        let needs = |variant: &[Claim]| -> Vec<Need> {
            let merged = orchd_model::merge_claims(claims.iter().chain(variant).cloned().collect());
            let needs = merged.into_iter().map(|c| (c.resource.to_string(), c.mode, c.amount));
            groups.iter().cloned().chain(needs).collect()
        };
        let variants = if any.is_empty() { vec![needs(&[])] } else { any.iter().map(|v| needs(v)).collect() };
        // To depend on an array of the same request is to depend on each of its elements.
        let all = |(other, on): (usize, On)| {
            let span = spans.iter().find(|(first, count)| (*first..first + count).contains(&other));
            let (first, count) = span.copied().unwrap_or((other, 1));
            (first..first + count).map(move |other| (other, on))
        };
        let dependencies: Vec<(usize, On)> = Self::edges(number, wish).into_iter().flat_map(all).collect();
        let at_once = dependencies.is_empty() && wish.in_ms == 0 && wish.pool != 2;
        Task {
            class: wish.class,
            variants,
            written: std::iter::once(claims).chain(any).collect(),
            variant: 0,
            pool: wish.pool,
            dependencies,
            workflow,
            max_retries: wish.retries,
            delay: Span::from_millis(wish.delay_ms),
            not_before: (wish.in_ms > 0).then(|| self.world.now + Span::from_millis(wish.in_ms)),
            hold: wish.hold,
            state: if at_once { State::Ready(self.world.now) } else { State::Waiting },
            run_at: self.world.now,
            tries: 0,
            losses: 0,
            root: None,
            timeout: wish.timeout.map(Span::from_secs),
            started: Time(0),
            reserved: Default::default(),
            reserved_amounts: Default::default(),
        }
    }

    fn end(&mut self, which: &Index, how: How) {
        let running = self.world.running();
        if running.is_empty() {
            return;
        }
        let task = index_of(running[which.index(running.len())].0);
        let outcome = match how {
            How::Well => Outcome::Succeeded,
            How::Badly => Outcome::exited(1),
            How::Snoozed(ms) => Outcome::Snoozed { delay: Span::from_millis(ms) },
        };
        let (reply, out) = self.world.report(id(task), outcome);
        assert!(reply.is_ok(), "{reply:?}");
        let this = &mut self.naive.tasks[task];
        let is_cancelled = matches!(this.state, State::Running(_, true));
        let stopped = this.workflow.is_some_and(|w| self.naive.workflows[w].stopped_by.is_some());
        match how {
            How::Well => self.naive.end_attempt(task, Status::Completed, None),
            How::Snoozed(ms) => self.naive.end_attempt(task, Status::Pending, Some(Span::from_millis(ms))),
            How::Badly if this.tries < this.max_retries && !stopped && !is_cancelled => {
                this.tries += 1;
                let delay = this.delay;
                self.naive.end_attempt(task, Status::Retrying, Some(delay));
            }
            How::Badly => self.naive.end_attempt(task, Status::Failed, None),
        }
        self.naive.reach_milestone(task);
        self.compare(&out);
    }

    /// Both go through every instant at which something is due.
    fn advance(&mut self, to: Time) {
        let mut outputs: BTreeMap<Time, Vec<Output>> = BTreeMap::new();
        for (at, out) in self.world.pass(to) {
            outputs.entry(at).or_default().push(out);
        }
        loop {
            let known = (0..self.naive.tasks.len()).flat_map(|id| self.instants(id));
            // What tasks have reserved, and so when their tokens are there, only the exact comparison knows.
            let judged = outputs.keys().copied().filter(|_| !self.exact);
            let next = known.filter(|at| *at > self.naive.now && *at <= to).chain(judged).min();
            let Some(at) = next else { break };
            self.naive.now = at;
            for task in 0..self.naive.tasks.len() {
                if self.naive.tasks[task].state == State::Delayed(at) {
                    self.naive.tasks[task].state = State::Ready(at);
                    self.naive.reach_milestone(task);
                    // One after the other: the first is the root cause of what it rules out.
                    self.naive.settle();
                }
            }
            self.naive.settle();
            let out = outputs.remove(&at).unwrap_or_default();
            self.starts(&out.iter().flat_map(taken).collect::<Vec<_>>());
        }
        let late: Vec<(TaskId, Option<u32>)> = outputs.values().flatten().flat_map(taken).collect();
        assert!(late.is_empty(), "only the core found it was time to start {late:?}");
        self.naive.now = to;
        self.compare(&Output::default());
    }

    fn instants(&self, id: usize) -> Vec<Time> {
        let task = &self.naive.tasks[id];
        match task.state {
            State::Delayed(until) => vec![until],
            State::Ready(since) => {
                let aging = [1, 2, 3].map(|steps| since + Span(self.naive.aging.0 * steps));
                let refills = task.variants.iter().flatten().filter_map(|need| self.naive.refill(need));
                let needs = task.variants.iter().flatten();
                let tokens = needs.filter_map(|need| self.naive.tokens_for_all_at(id, need));
                let throttles = self.naive.throttled.values().copied();
                let reserves = [since + self.naive.reservation_delay];
                aging.into_iter().chain(reserves).chain(throttles).chain(refills).chain(tokens).collect()
            }
            State::Waiting | State::Running(..) | State::Ended(_) => Vec::new(),
        }
    }

    /// An operator's verb on a task: it is refused for exactly those it cannot be done to.
    fn operate(&mut self, which: &Index, command: impl Fn(TaskId) -> Command) {
        if self.naive.tasks.is_empty() {
            return;
        }
        let number = which.index(self.naive.tasks.len());
        let command = command(id(number));
        let (reply, out) = self.world.handle(command.clone());
        let task = &mut self.naive.tasks[number];
        let status = task.status();
        let may = match command {
            _ if status.is_terminal() => false,
            Command::Hold { .. } => status != Status::Running,
            Command::Release { .. } => task.hold,
            _ => true,
        };
        let refused = match &reply {
            Ok(Reply::Tasks(results)) => results.iter().any(|(_, result)| result.is_err()),
            other => other.is_err(),
        };
        assert_eq!(refused, !may, "{command:?} of a task that is {status}: {reply:?}");
        match command {
            _ if !may => {}
            Command::Cancel { .. } => match task.state {
                State::Running(worker, _) => task.state = State::Running(worker, true),
                _ => self.naive.end(number, Status::Cancelled),
            },
            Command::Hold { .. } => task.hold = true,
            Command::Release { .. } => {
                task.hold = false;
                self.naive.reach_milestone(number);
            }
            Command::Reprioritize { priority, .. } => task.class = priority,
            other => panic!("not a verb on a task: {other:?}"),
        }
        self.compare(&out);
    }

    fn retry(&mut self, number: usize) {
        let (reply, out) = self.world.retry(&[id(number)]);
        assert!(reply.is_ok(), "{reply:?}");
        // A run begins later than all that was known before.
        self.naive.now = self.naive.now + Span(1);
        self.world.now = self.naive.now;
        let mut revived = Vec::new();
        if matches!(self.naive.tasks[number].status(), Status::Failed | Status::Skipped | Status::Cancelled) {
            revived.push(number);
            let skipped = self.naive.tasks.iter().enumerate().filter(|(_, task)| task.root == Some(number));
            revived.extend(skipped.map(|(other, _)| other).filter(|other| *other != number));
        }
        for number in &revived {
            let task = &mut self.naive.tasks[*number];
            (task.hold, task.root) = (false, None);
            (task.tries, task.losses, task.run_at) = (0, 0, self.naive.now);
            task.state = State::Waiting;
            if let Some(workflow) = task.workflow {
                self.naive.workflows[workflow].stopped_by = None;
            }
        }
        for number in revived {
            self.naive.begin(number);
        }
        self.compare(&out);
    }

    fn pause(&mut self, what: Paused, on: bool) {
        let scope = match what {
            Paused::All => Scope::All,
            Paused::Class(class) => Scope::Priority(class),
            Paused::Api => Scope::Resource(API.parse().expect("a resource")),
            Paused::Lock => Scope::Resource(LOCKS[1].parse().expect("a resource")),
            Paused::Session => Scope::Session(SessionId(1)),
            Paused::Workflow => Scope::Workflow(WorkflowId(1)),
        };
        let name = Some(match what {
            Paused::Api => API,
            Paused::Lock => LOCKS[1],
            Paused::Session => "session 1",
            Paused::Workflow => "workflow 1",
            Paused::All | Paused::Class(_) => "",
        });
        let command = match scope {
            Scope::Resource(resource) if what == Paused::Api && on => {
                Command::Close { resource, create: false }
            }
            Scope::Resource(resource) if what == Paused::Api => Command::Open { resource },
            scope if on => Command::Pause { scope, create: false },
            scope => Command::Resume(scope),
        };
        let (reply, out) = self.world.handle(command);
        if reply.is_ok() {
            if what == Paused::Api && !on {
                self.naive.throttled.clear();
            }
            match (what, name) {
                (Paused::All, _) => self.naive.paused_all = on,
                (Paused::Class(class), _) if on => drop(self.naive.paused_classes.insert(class)),
                (Paused::Class(class), _) => drop(self.naive.paused_classes.remove(&class)),
                (_, Some(name)) if on => drop(self.naive.paused.insert(name.to_owned())),
                (_, name) => drop(self.naive.paused.remove(name.unwrap_or_default())),
            }
        }
        self.compare(&out);
    }

    fn throttle(&mut self, pause: Span) {
        let resource = API.parse().expect("a resource");
        let (reply, out) = self.world.handle(Command::Throttle { resource, pause, by: None, create: false });
        assert!(reply.is_ok(), "{reply:?}");
        self.naive.throttle(API, self.naive.now + pause);
        self.compare(&out);
    }

    fn lose(&mut self, place: usize) {
        let worker = self.workers[place];
        let (reply, out) = self.world.handle(Command::Lose { worker, began: None });
        assert!(reply.is_ok(), "{reply:?}");
        self.world.workers.remove(&worker);
        let lost = self.naive.workers.iter().position(|w| w.id == worker.0).expect("it is known");
        let pool = self.naive.workers.remove(lost).pool;
        for number in 0..self.naive.tasks.len() {
            let max_losses = self.naive.max_losses;
            let task = &mut self.naive.tasks[number];
            let State::Running(holder, is_cancelled) = task.state else { continue };
            if holder != worker.0 {
                continue;
            }
            let again = task.losses < max_losses && !is_cancelled;
            task.losses += u32::from(again);
            self.naive.end_attempt(number, Status::Failed, again.then_some(Span::ZERO));
        }
        self.compare(&out);
        self.workers[place] = self.join(pool);
    }

    fn detach(&mut self, place: usize, back: bool) {
        let worker = self.workers[place];
        let out = if back {
            self.world.rejoin(&[worker].into())
        } else {
            self.world.handle(Command::Detach { worker }).1
        };
        let this = self.naive.workers.iter_mut().find(|w| w.id == worker.0).expect("it is known");
        this.attached = back;
        self.compare(&out);
    }

    fn restart(&mut self) {
        let effects = self.world.reload();
        assert_eq!(effects.events, Vec::new());
        self.naive.restart();
        for place in 0..self.workers.len() {
            self.detach(place, true);
        }
    }

    // The comparison

    fn compare(&mut self, out: &Output) {
        self.naive.settle();
        self.starts(&taken(out));
        for (number, task) in self.naive.tasks.iter().enumerate() {
            let record = self.world.store.task(id(number)).expect("every task is stored");
            assert_eq!(record.status(), task.status(), "task {number} is {:?}, not {task:?}", record.phase);
            let root = match &record.phase {
                Phase::Skipped(SkipCause::Dependency(root, _) | SkipCause::FailFast(root)) => {
                    Some(index_of(*root))
                }
                _ => None,
            };
            assert_eq!(root, task.root, "why task {number} was skipped");
        }
        // A paused workflow that ends is not paused any more.
        let first = self.world.store.workflows.get(&WorkflowId(1));
        if first.is_some_and(|workflow| workflow.status != WorkflowStatus::Running) {
            self.naive.paused.remove("workflow 1");
        }
        if self.world.running().is_empty() {
            assert_eq!(self.world.core.claims_held(), 0, "claims are held when idle");
        }
    }

    fn starts(&mut self, core: &[(TaskId, Option<u32>)]) {
        let start =
            |(task, variant): &(TaskId, Option<u32>)| (index_of(*task), variant.unwrap_or(0) as usize);
        let core: Vec<(usize, usize)> = core.iter().map(start).collect();
        if self.exact {
            let naive = self.naive.admit();
            assert_eq!(core, naive, "what the core started, and what it should have");
        } else {
            for (task, variant) in core {
                if let Err(why) = self.naive.may_start(task, variant) {
                    panic!("the core should not have started: {why}");
                }
                let worker = self.naive.choose_worker(self.naive.tasks[task].pool);
                self.naive.start(task, variant, worker);
            }
            if let Some(task) = self.naive.forgotten() {
                panic!("the core should have started {task}: {:?}", self.world.core.explain(id(task)));
            }
        }
    }

    /// In the end everything is let go and ends.
    fn finish(&mut self) {
        for class in Priority::ALL {
            self.pause(Paused::Class(class), false);
        }
        for what in [Paused::All, Paused::Api, Paused::Lock, Paused::Session, Paused::Workflow] {
            self.pause(what, false);
        }
        for place in 0..self.workers.len() {
            self.detach(place, true);
        }
        for number in 0..self.naive.tasks.len() {
            if self.naive.tasks[number].hold && !self.naive.tasks[number].status().is_terminal() {
                let (reply, out) = self.world.handle(Command::Release { tasks: vec![id(number).into()] });
                assert!(reply.is_ok(), "{reply:?}");
                self.naive.tasks[number].hold = false;
                self.naive.reach_milestone(number);
                self.compare(&out);
            }
        }
        while self.world.core.unfinished() > 0 {
            let running = self.world.running();
            if let Some((task, ..)) = running.first() {
                let out = self.world.report(*task, Outcome::Succeeded).1;
                self.naive.end_attempt(index_of(*task), Status::Completed, None);
                self.compare(&out);
            } else {
                let next = self.world.core.next_wake().expect("what is unfinished waits for something");
                self.advance(next);
            }
        }
        assert_eq!((self.world.core.claims_held(), self.world.core.backlog()), (0, 0));
    }
}

fn play(steps: &Steps, exact: bool, reservation_delay: Span, steps_a_batch: u32) {
    let mut pair = Pair::new(exact, reservation_delay, steps_a_batch);
    for step in &steps.0 {
        pair.apply(step);
    }
    pair.finish();
}

/// Tells stories of a kind, and holds the core to each.
fn tell<T: Debug>(stories: impl Strategy<Value = T>, play: impl Fn(T)) {
    for config in configs() {
        let told = TestRunner::new(config).run(&stories, |story| {
            play(story);
            Ok(())
        });
        told.unwrap_or_else(|wrong| panic!("{wrong}"));
    }
}

#[test]
fn the_core_starts_what_a_naive_scheduler_starts() {
    tell((steps(false), 1_u32..6, delay()), |(steps, batch, delay)| play(&steps, true, delay, batch));
}

#[test]
fn every_start_is_lawful_where_modes_and_amounts_meet() {
    tell((steps(true), 1_u32..6), |(steps, batch)| play(&steps, false, Span::from_millis(10), batch));
}
