//! Hooks: commands and addresses, of the configuration and of workflows, that are told of events, each at least once.
//!
//! ```text
//! journal, then the live feed ──► follow: which events ──► deliver: try, wait, try again ──► done
//!        ▲ where it was left          (so many at once)              └──► dead letter, durable
//!        └── reached: all before it is done with, durable within a second
//! ```
//! A hook reads like any subscriber, so the engine never waits for one: one that is slow falls behind and goes on in
//! the journal. Those of all workflows share one place in it. Hooks run as the daemon's user, which is why a submitter
//! who is another one cannot have any.
//!
//! Invariant: an event is passed over for good only when it was delivered, or its dead letter is on disk.

mod deliver;
mod follow;
mod post;
mod trust;

use orchd_api as api;
use orchd_model::{Code, HookSpec, Refusal, Sequence, Time};
use orchd_store::{DeadLetter, HookChange};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

use crate::config::{HookConfig, Target};
use crate::engine::Request;
use crate::http::Shell;
use crate::peer::Peer;

pub use deliver::once;
pub use trust::doubt;

/// What the hooks of workflows are called as a whole.
pub const OF_WORKFLOWS: &str = "(workflows)";
/// Deliveries of workflows' hooks at once: those of one hook come one after the other.
const OF_WORKFLOWS_AT_ONCE: usize = 16;
/// Deliveries of them that wait for their turn; a hook that is slower than this keeps up the others.
const OF_WORKFLOWS_WAITING: usize = 1024;
/// How often it is looked whether all hooks are done.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long the end of the daemon waits until the places of the hooks are written down; without that the next
/// one delivers again what was delivered last.
const LEAVE: Duration = Duration::from_secs(2);

/// A hook at work, or those of all workflows.
pub struct Hook {
    pub name: String,
    /// None: those of workflows.
    pub config: Option<Arc<HookConfig>>,
    /// As many permits as deliveries may be begun.
    begun: Arc<Semaphore>,
    /// As many permits as may be under way.
    at_once: Semaphore,
    /// How many those are.
    most: usize,
    state: Mutex<State>,
    /// Something is done with: how far it has come may have changed.
    moved: Notify,
    /// Held by whoever wakes it.
    waking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// It follows events.
    is_awake: bool,
    /// The last event that was looked at.
    looked: Sequence,
    /// Deliveries of each event that are begun.
    under_way: BTreeMap<Sequence, usize>,
    delivered: u64,
    failed_tries: u64,
    lost: u64,
}

impl Hook {
    fn new(config: &HookConfig) -> Self {
        let at_once = config.concurrency as usize;
        Self::with(&config.name, Some(Arc::new(config.clone())), at_once, at_once)
    }

    fn of_workflows() -> Self {
        Self::with(OF_WORKFLOWS, None, OF_WORKFLOWS_WAITING, OF_WORKFLOWS_AT_ONCE)
    }

    fn with(name: &str, config: Option<Arc<HookConfig>>, begun: usize, at_once: usize) -> Self {
        Self {
            name: name.to_owned(),
            config,
            begun: Arc::new(Semaphore::new(begun)),
            at_once: Semaphore::new(at_once),
            most: at_once,
            state: Mutex::default(),
            moved: Notify::new(),
            waking: tokio::sync::Mutex::default(),
        }
    }

    /// Whether it follows events.
    pub fn is_awake(&self) -> bool {
        self.state.lock().is_awake
    }

    /// Has it follow what happens after this.
    fn wake(self: &Arc<Self>, shell: &Arc<Shell>, after: Sequence) {
        {
            let mut state = self.state.lock();
            state.is_awake = true;
            state.looked = after;
        }
        follow::start(shell, self);
    }

    /// This event is looked at, and so many deliveries of it begin.
    fn begin(&self, sequence: Sequence, deliveries: usize) {
        let mut state = self.state.lock();
        if deliveries > 0 {
            state.under_way.insert(sequence, deliveries);
        }
        state.looked = sequence;
    }

    /// One of them has ended.
    fn end(&self, sequence: Sequence) {
        let mut state = self.state.lock();
        if let Some(left) = state.under_way.get_mut(&sequence) {
            *left -= 1;
            if *left == 0 {
                state.under_way.remove(&sequence);
            }
        }
        drop(state);
        self.moved.notify_one();
    }

    /// Counts a try, and the event if it was delivered by that.
    pub fn count(&self, tried: &Result<(), String>) {
        let mut state = self.state.lock();
        match tried {
            Ok(()) => state.delivered += 1,
            Err(_) => state.failed_tries += 1,
        }
    }

    /// All up to this event is done with.
    fn reached(&self) -> Sequence {
        let state = self.state.lock();
        state.under_way.keys().next().map_or(state.looked, |first| Sequence(first.0 - 1))
    }

    fn place(&self) -> HookChange {
        HookChange::Reached { hook: self.name.clone(), sequence: self.reached() }
    }

    /// How it does.
    pub fn document(&self, now: Sequence, dead: usize) -> api::Hook {
        let reached = self.reached();
        let state = self.state.lock();
        let config = self.config.as_deref();
        let (command, url) = match config.map(|config| &config.target) {
            Some(Target::Command(argv)) => (Some(argv.clone()), None),
            Some(Target::Url(uri)) => (None, Some(uri.to_string())),
            None => (None, None),
        };
        api::Hook {
            name: self.name.clone(),
            events: config.map(|config| config.events.clone()).unwrap_or_default(),
            tag: config.and_then(|config| config.tag.clone()),
            workflow: config.and_then(|config| config.workflow.clone()),
            command,
            url,
            reached,
            behind: now.0.saturating_sub(reached.0),
            under_way: self.most - self.at_once.available_permits(),
            delivered: state.delivered,
            failed_tries: state.failed_tries,
            lost: state.lost,
            dead,
        }
    }
}

/// All hooks, none of which has begun.
pub fn all(configured: &[HookConfig]) -> Vec<Arc<Hook>> {
    configured.iter().map(Hook::new).chain([Hook::of_workflows()]).map(Arc::new).collect()
}

/// Starts what serves the hooks. Those that were left somewhere go on there, new ones begin with what happens from
/// now on. The places of those that are not there any more are forgotten: one that comes back is a new one.
///
/// # Errors
/// When the store cannot be read.
pub async fn start(shell: &Arc<Shell>) -> Result<(), Refusal> {
    let (mut reached, workflows_have_some) =
        shell.read(|history| Ok((history.hooks_reached()?, history.has_workflow_hooks()?))).await?;
    let now = shell.statistics.read().sequence;
    for hook in &shell.hooks {
        let is_wanted = hook.config.is_some() || (workflows_have_some && reached.contains_key(&hook.name));
        if is_wanted {
            // A store that was put back from a copy may not have come as far as the hook had.
            hook.wake(shell, reached.remove(&hook.name).map_or(now, |reached| reached.min(now)));
        }
    }
    let gone: Vec<HookChange> = reached.into_keys().map(|hook| HookChange::Forgotten { hook }).collect();
    if gone.is_empty() { Ok(()) } else { keep(shell, gone).await }
}

/// What is kept of the hooks of a new workflow; from now on somebody looks after them.
///
/// # Errors
/// A mistake in one, or `not_permitted`.
pub async fn prepare(shell: &Arc<Shell>, specs: &[HookSpec], peer: Peer) -> Result<Option<String>, Refusal> {
    let Some(first) = specs.first() else { return Ok(None) };
    if peer.only_owner().is_some() {
        let message =
            "hooks run as the daemon's user, so only that user and root may have some in a workflow";
        return Err(Refusal::new(Code::NotPermitted, message).value(&first.name));
    }
    of_workflow(specs)?;
    let malformed = |error: serde_json::Error| Refusal::new(Code::Malformed, error.to_string());
    let text = serde_json::to_string(specs).map_err(malformed)?;
    for hook in shell.hooks.iter().filter(|hook| hook.config.is_none()) {
        let _waking = hook.waking.lock().await;
        if !hook.is_awake() {
            let sequence = shell.statistics.read().sequence;
            keep(shell, vec![HookChange::Reached { hook: hook.name.clone(), sequence }]).await?;
            hook.wake(shell, sequence);
        }
    }
    Ok(Some(text))
}

/// The hooks of a workflow, ready to be told.
///
/// # Errors
/// A mistake in one.
pub fn of_workflow(specs: &[HookSpec]) -> Result<Vec<Arc<HookConfig>>, Refusal> {
    let read = |(place, spec): (usize, &HookSpec)| HookConfig::of_workflow(place, spec.clone()).map(Arc::new);
    specs.iter().enumerate().map(read).collect()
}

/// The same, of what is kept of them.
///
/// # Errors
/// As [`of_workflow`].
pub fn of_text(text: Option<&str>) -> Result<Vec<Arc<HookConfig>>, Refusal> {
    let unreadable = |error: serde_json::Error| Refusal::new(Code::StoreFailed, error.to_string());
    of_workflow(&serde_json::from_str::<Vec<HookSpec>>(text.unwrap_or("[]")).map_err(unreadable)?)
}

/// Writes down how far the hooks have come, at the end.
pub async fn leave(shell: &Shell) {
    let places: Vec<HookChange> = awake(shell).map(|hook| hook.place()).collect();
    if !places.is_empty() && !matches!(tokio::time::timeout(LEAVE, keep(shell, places)).await, Ok(Ok(()))) {
        tracing::warn!("the places of the hooks are not kept: what was delivered last will come again");
    }
}

/// Returns when the hooks are done with all that has happened until now.
pub async fn quiet(shell: &Shell) {
    let now = shell.statistics.read().sequence;
    while awake(shell).any(|hook| hook.reached() < now) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn awake(shell: &Shell) -> impl Iterator<Item = &Arc<Hook>> {
    shell.hooks.iter().filter(|hook| hook.is_awake())
}

/// Keeps something of a hook, and returns when it is durable.
///
/// # Errors
/// As [`Shell::ask`].
pub async fn keep(shell: &Shell, changes: Vec<HookChange>) -> Result<(), Refusal> {
    shell.ask(|answer| Request::Hooks { changes, answer }).await
}

/// A letter for an event that could not be delivered.
fn letter(told: &follow::Told, event: &api::Event, (tries, error): (u32, String), now: Time) -> DeadLetter {
    DeadLetter {
        id: 0,
        hook: told.config.name.clone(),
        workflow: told.of.map(|(workflow, _)| workflow),
        sequence: event.sequence,
        died_at: now,
        tries,
        error,
        event: serde_json::to_string(event).unwrap_or_default(),
    }
}
