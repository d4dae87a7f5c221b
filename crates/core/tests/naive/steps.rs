//! What may happen, at random.

use orchd_model::{Amount, Claim, FailFast, Mode, On, Priority, Span};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use std::fmt;

pub const CPU: &str = "cpu:system_cpu";
pub const GPU: &str = "gpu:system_gpu";
/// A rate.
pub const API: &str = "external_api:x";
pub const BURST: u64 = 10;
pub const LOCKS: [&str; 3] = ["lock:a", "lock:b", "lock:c"];
/// Nobody says how much of it there is.
pub const MISSING: &str = "disk:system_disk";
pub const HANDLER: &str = "m.a";

#[derive(Clone)]
pub struct Wish {
    pub class: Priority,
    pub claims: Vec<(&'static str, Mode, u64)>,
    /// Its variants.
    pub any: Vec<Vec<(&'static str, Mode, u64)>>,
    pub pool: usize,
    pub edges: Vec<(Index, On)>,
    pub retries: u32,
    pub delay_ms: u64,
    pub in_ms: u64,
    pub hold: bool,
    pub in_session: bool,
    /// In seconds; more than any of these stories takes.
    pub timeout: Option<u64>,
    /// Elements, if it is an array.
    pub count: usize,
}

/// Shown one a line, so that a failure can be read.
impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, claims, any, pool, edges, .. } = self;
        let (retries, delay, later) = (self.retries, self.delay_ms, self.in_ms);
        write!(
            f,
            "{class} pool {pool} claims {claims:?} any {any:?} after {edges:?} retries {retries} delay {delay} in {later}"
        )?;
        f.write_str(if self.hold { " held" } else { "" })?;
        f.write_str(if self.in_session { " session" } else { "" })?;
        if let Some(timeout) = self.timeout {
            write!(f, " timeout {timeout}")?;
        }
        write!(f, " x{}", self.count)
    }
}

#[derive(Clone)]
pub struct Steps(pub Vec<Step>);

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "\n  {step:?}"))
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    Add(Vec<Wish>),
    Workflow { tasks: Vec<Wish>, max_parallel: Option<u32>, fail_fast: FailFast },
    End { which: Index, how: How },
    Advance(u64),
    Cancel(Index),
    Hold(Index),
    Release(Index),
    Reprioritize(Index, Priority),
    Retry(Index),
    Pause(Paused, bool),
    Throttle(u64),
    Lose(usize),
    Detach(usize, bool),
    Restart,
}

#[derive(Clone, Copy, Debug)]
pub enum How {
    Well,
    Badly,
    Snoozed(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Paused {
    All,
    Class(Priority),
    /// Closed, not paused.
    Api,
    Lock,
    Session,
    Workflow,
}

fn wish(mixed: bool) -> impl Strategy<Value = Wish> {
    let mode = || select(Mode::ALL.to_vec());
    let lock = (select(LOCKS.to_vec()), mode()).prop_map(|(lock, mode)| (lock, mode, 1000));
    let counted_mode = move || if mixed { mode().boxed() } else { Just(Mode::Read).boxed() };
    let cpu = (counted_mode(), 1_u64..=8).prop_map(|(mode, halves)| (CPU, mode, halves * 500));
    let gpu = (counted_mode(), 1_u64..=2).prop_map(|(mode, units)| (GPU, mode, units * 1000));
    let api = (counted_mode(), 1_u64..=BURST).prop_map(|(mode, tokens)| (API, mode, tokens * 1000));
    let claim = prop_oneof![3 => lock, 3 => cpu, 1 => gpu, 2 => api].boxed();
    let missing = Just((MISSING, Mode::Read, 1000));
    let variant = prop::collection::vec(prop_oneof![9 => claim.clone(), 1 => missing], 0..3);
    let variants = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(variant, 1..4)];
    let timeout = prop_oneof![2 => Just(None), 1 => select(vec![100_000, 200_000, 300_000]).prop_map(Some)];
    let on = select(vec![On::Success, On::Success, On::Failure, On::Completion]);
    (
        select(Priority::ALL.to_vec()),
        (prop::collection::vec(claim, 0..3), variants),
        prop_oneof![6 => Just(0_usize), 3 => Just(1), 1 => Just(2)],
        prop_oneof![2 => Just(0_usize..1), 1 => Just(0..3)]
            .prop_flat_map(move |count| prop::collection::vec((any::<Index>(), on.clone()), count)),
        (0_u32..3, select(vec![0_u64, 5, 20])),
        prop_oneof![9 => Just(0_u64), 1 => 1_u64..30],
        prop::bool::weighted(0.05),
        (prop::bool::weighted(0.1), timeout, prop_oneof![4 => Just(1_usize), 1 => 2_usize..6]),
    )
        .prop_map(
            |(
                class,
                (claims, any),
                pool,
                edges,
                (retries, delay_ms),
                in_ms,
                hold,
                (in_session, timeout, count),
            )| {
                Wish {
                    class,
                    claims,
                    any,
                    pool,
                    edges,
                    retries,
                    delay_ms,
                    in_ms,
                    hold,
                    in_session,
                    timeout,
                    count,
                }
            },
        )
}

fn step(mixed: bool) -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let class = || select(Priority::ALL.to_vec());
    let how = prop_oneof![
        4 => Just(How::Well),
        3 => Just(How::Badly),
        1 => select(vec![0_u64, 7]).prop_map(How::Snoozed)
    ];
    let paused = prop_oneof![
        Just(Paused::All),
        class().prop_map(Paused::Class),
        Just(Paused::Api),
        Just(Paused::Lock),
        Just(Paused::Session),
        Just(Paused::Workflow)
    ];
    let workflow = (
        prop::collection::vec(wish(mixed), 1..5),
        prop_oneof![Just(None), Just(Some(1)), Just(Some(2))],
        select(vec![FailFast::No, FailFast::Yes, FailFast::Cancel]),
    );
    prop_oneof![
        12 => prop::collection::vec(wish(mixed), 1..4).prop_map(Step::Add),
        3 => workflow.prop_map(|(tasks, max_parallel, fail_fast)| Step::Workflow { tasks, max_parallel, fail_fast }),
        14 => (index(), how).prop_map(|(which, how)| Step::End { which, how }),
        5 => (1_u64..40).prop_map(Step::Advance),
        2 => index().prop_map(Step::Cancel),
        1 => index().prop_map(Step::Hold),
        2 => index().prop_map(Step::Release),
        2 => (index(), class()).prop_map(|(which, class)| Step::Reprioritize(which, class)),
        2 => index().prop_map(Step::Retry),
        3 => (paused, any::<bool>()).prop_map(|(what, on)| Step::Pause(what, on)),
        1 => prop_oneof![3 => 0_u64..30, 1 => 100_000_000_u64..400_000_000].prop_map(Step::Throttle),
        1 => (0_usize..3).prop_map(Step::Lose),
        2 => (0_usize..3, any::<bool>()).prop_map(|(which, back)| Step::Detach(which, back)),
        1 => Just(Step::Restart),
    ]
}

pub fn steps(mixed: bool) -> impl Strategy<Value = Steps> {
    prop::collection::vec(step(mixed), 1..60).prop_map(Steps)
}

/// How long small claims may pass; half of the time for ever.
pub fn delay() -> impl Strategy<Value = Span> {
    prop_oneof![Just(Span::MAX), (0_u64..20).prop_map(Span::from_millis)]
}

/// The claims of a wish, and those of its variants: never more than there is in all, so that no task is refused.
pub fn claims_of(wish: &Wish) -> (Vec<Claim>, Vec<Vec<Claim>>) {
    let claim = |(resource, mode, thousandths): &(&str, Mode, u64)| {
        let amount = Some(Amount::thousandths(*thousandths));
        Claim::new(resource.parse().expect("a resource"), *mode, amount).expect("a claim")
    };
    let most = |claim: &Claim| match claim.resource.kind() {
        "gpu" => Amount::units(2),
        "external_api" => Amount::units(BURST),
        _ => Amount::units(4),
    };
    let capped = |mut claim: Claim, besides: &[Claim]| {
        let other = besides.iter().find(|other| other.resource == claim.resource);
        let most = most(&claim).saturating_sub(other.map_or(Amount::ZERO, |other| other.amount));
        claim.amount = claim.amount.min(most);
        (claim.amount > Amount::ZERO).then_some(claim)
    };
    let merged = |claims: &[_], besides: &[Claim]| -> Vec<Claim> {
        let merged = orchd_model::merge_claims(claims.iter().map(claim).collect());
        merged.into_iter().filter_map(|claim| capped(claim, besides)).collect()
    };
    let claims = merged(&wish.claims, &[]);
    let mut any: Vec<Vec<Claim>> = wish.any.iter().map(|variant| merged(variant, &claims)).collect();
    if let Some(last) = any.last_mut() {
        last.retain(|claim| claim.resource.to_string() != MISSING);
    }
    (claims, any)
}

/// The stories of some seeds, or of the one that is asked for.
pub fn configs() -> impl Iterator<Item = ProptestConfig> {
    let seed = std::env::var("ORCHD_SEED").map(|seed| seed.parse().expect("a number"));
    let seeds: Vec<u64> = seed.map_or_else(|_| (1..=4).collect(), |seed| vec![seed]);
    let cases = std::env::var("PROPTEST_CASES").map_or(100, |cases| cases.parse().expect("a number"));
    seeds.into_iter().map(move |seed| ProptestConfig {
        cases,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    })
}
