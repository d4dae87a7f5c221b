//! Which events a hook is told of, from where it was left on, and how far it has come.

use orchd_api::{Event, matches};
use orchd_model::WorkflowId;
use orchd_store::{History, HookChange, StoreError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

use super::{Hook, deliver, keep, letter};
use crate::config::HookConfig;
use crate::feed::{self, EventBatch, Missed};
use crate::http::event_rows;
use crate::http::{Shell, until_stopped};

/// Events read from the journal at a time.
const PAGE: usize = 4096;
/// How often it is written down how far a hook has come: what happened since then is delivered once more after
/// a crash.
const KEEP: Duration = Duration::from_secs(1);
/// Until the store is asked again after it failed.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Workflows of which is remembered what they are called, and what hooks they have.
const REMEMBERED: usize = 1024;

/// Who is told of an event.
pub struct Told {
    pub config: Arc<HookConfig>,
    /// The workflow whose hook it is, and its place there.
    pub of: Option<(WorkflowId, usize)>,
}

/// Starts what serves a hook.
pub fn start(shell: &Arc<Shell>, hook: &Arc<Hook>) {
    tokio::spawn(follow(Arc::clone(shell), Arc::clone(hook)));
    tokio::spawn(keep_place(Arc::clone(shell), Arc::clone(hook)));
}

/// Writes down how far the hook has come, but for a while after it has done so.
async fn keep_place(shell: Arc<Shell>, hook: Arc<Hook>) {
    let mut stopping = shell.stopping.clone();
    let mut kept = None;
    loop {
        let sequence = hook.reached();
        if kept != Some(sequence) {
            match keep(&shell, vec![hook.place()]).await {
                Ok(()) => kept = Some(sequence),
                Err(refusal) => tracing::debug!(hook = hook.name, %refusal, "its place is not kept"),
            }
        }
        tokio::select! {
            () = hook.moved.notified() => {}
            () = until_stopped(&mut stopping) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(KEEP) => {}
            () = until_stopped(&mut stopping) => return,
        }
    }
}

async fn follow(shell: Arc<Shell>, hook: Arc<Hook>) {
    let mut stopping = shell.stopping.clone();
    let mut follower =
        Follower { shell, hook, names: HashMap::new(), hooks: HashMap::new(), last: HashMap::new() };
    tokio::select! {
        () = follower.run() => {}
        () = until_stopped(&mut stopping) => {}
    }
}

struct Follower {
    shell: Arc<Shell>,
    hook: Arc<Hook>,
    /// Names of workflows.
    names: HashMap<WorkflowId, Option<String>>,
    /// Hooks of workflows.
    hooks: HashMap<WorkflowId, Vec<Arc<HookConfig>>>,
    /// The last delivery of a workflow's hook: the next one comes after it.
    last: HashMap<(WorkflowId, usize), JoinHandle<()>>,
}

impl Follower {
    /// Looks at event after event, until the daemon ends.
    async fn run(&mut self) {
        loop {
            // Before the journal is read, so that nothing is missed in between.
            let mut live = self.shell.feed.subscribe();
            while self.replay().await {}
            loop {
                match live.recv().await {
                    Ok(events) => self.take(&events).await,
                    // It is all in the journal.
                    Err(Missed::Lagged) => break,
                    Err(Missed::Closed) => return,
                }
            }
        }
    }

    /// Looks at a page of the journal; false when it was the last.
    async fn replay(&mut self) -> bool {
        let after = self.hook.state.lock().looked;
        match self.shell.read(move |history| history.events(after, PAGE)).await {
            Ok(page) => {
                let full = page.len() == PAGE;
                if let Some(first) = page.first().filter(|first| first.sequence > after.next()) {
                    let lost = first.sequence.0 - after.0 - 1;
                    self.hook.state.lock().lost += lost;
                    tracing::warn!(hook = self.hook.name, lost, "retention was faster than a hook");
                }
                self.take(&Arc::new(page)).await;
                full
            }
            Err(refusal) => {
                tracing::warn!(hook = self.hook.name, %refusal, "a hook waits for the store");
                tokio::time::sleep(ASK_AGAIN).await;
                true
            }
        }
    }

    async fn take(&mut self, events: &EventBatch) {
        for event in events.iter() {
            if event.sequence <= self.hook.state.lock().looked {
                continue;
            }
            let told = self.told(event).await;
            self.hook.begin(event.sequence, told.len());
            if !told.is_empty()
                && let Some(mut event) = feed::describe(event)
            {
                if let Err(refusal) = event_rows::fill(&self.shell, [&mut event]).await {
                    tracing::warn!(hook = self.hook.name, %refusal, "a hook is told less of an event than there is");
                }
                let event = Arc::new(event);
                for told in told {
                    self.deliver(told, Arc::clone(&event)).await;
                }
            }
        }
        // Not for every event that nobody wants: it costs a commit.
        let idle_for = events.last().map_or(0, |last| last.sequence.0 % PAGE as u64);
        if (idle_for as usize) < events.len() {
            self.hook.moved.notify_one();
        }
    }

    /// Who is told of an event.
    async fn told(&mut self, event: &orchd_core::Event) -> Vec<Told> {
        let Some(kind) = feed::kind(&event.fact) else { return Vec::new() };
        let wants = |config: &HookConfig| config.events.iter().any(|pattern| matches(pattern, kind));
        let workflow = event.workflow.or_else(|| event.fact.workflow());
        match (self.hook.config.clone(), workflow) {
            (Some(config), _) if wants(&config) && self.admits(&config, event, workflow).await => {
                vec![Told { config, of: None }]
            }
            (None, Some(workflow)) => {
                let hooks = self.hooks_of(workflow).await.into_iter().enumerate();
                let wanted = hooks.filter(|(_, config)| wants(config));
                wanted.map(|(place, config)| Told { config, of: Some((workflow, place)) }).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Asks the store until it answers: an event is not passed over because it could not be read.
    async fn insist<T: Send + 'static>(
        &self,
        question: impl Fn(&mut dyn History) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> T {
        loop {
            match self.shell.read(question.clone()).await {
                Ok(answer) => return answer,
                Err(refusal) => {
                    tracing::warn!(hook = self.hook.name, %refusal, "a hook waits for the store");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    async fn admits(
        &mut self,
        config: &HookConfig,
        event: &orchd_core::Event,
        workflow: Option<WorkflowId>,
    ) -> bool {
        if let Some(tag) = config.tag.clone() {
            let Some(task) = event.fact.task() else { return false };
            if self.insist(move |history| history.tagged(&tag, &[task])).await.is_empty() {
                return false;
            }
        }
        match (&config.workflow, workflow) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(id)) => self.name(id).await.is_some_and(|name| name == *wanted),
        }
    }

    async fn name(&mut self, id: WorkflowId) -> Option<String> {
        if !self.names.contains_key(&id) {
            let found = self.insist(move |history| history.workflow(id)).await;
            if self.names.len() >= REMEMBERED {
                self.names.clear();
            }
            self.names.insert(id, found.map(|found| found.record.name.to_string()));
        }
        self.names.get(&id).cloned().flatten()
    }

    async fn hooks_of(&mut self, id: WorkflowId) -> Vec<Arc<HookConfig>> {
        if !self.hooks.contains_key(&id) {
            let text = self.insist(move |history| history.workflow_hooks(id)).await;
            if self.hooks.len() >= REMEMBERED {
                self.hooks.clear();
                self.last.retain(|_, delivery| !delivery.is_finished());
            }
            let read = super::of_text(text.as_deref()).unwrap_or_else(|refusal| {
                tracing::error!(workflow = %id, %refusal, "the hooks of a workflow cannot be read");
                Vec::new()
            });
            self.hooks.insert(id, read);
        }
        self.hooks.get(&id).cloned().unwrap_or_default()
    }

    /// Begins a delivery, as soon as one more may be begun.
    async fn deliver(&mut self, told: Told, event: Arc<Event>) {
        let Ok(permit) = Arc::clone(&self.hook.begun).acquire_owned().await else { return };
        let (shell, hook, of) = (Arc::clone(&self.shell), Arc::clone(&self.hook), told.of);
        let before = of.and_then(|of| self.last.remove(&of));
        let delivery = tokio::spawn(async move {
            let mut stopping = shell.stopping.clone();
            tokio::select! {
                () = settle(&shell, &hook, &told, &event, before) => {}
                // It is still under way, so the next daemon delivers it.
                () = until_stopped(&mut stopping) => return,
            }
            hook.end(event.sequence);
            drop(permit);
        });
        self.last.extend(of.map(|of| (of, delivery)));
    }
}

/// Delivers an event after the one before, or leaves a letter.
async fn settle(shell: &Arc<Shell>, hook: &Hook, told: &Told, event: &Event, before: Option<JoinHandle<()>>) {
    if let Some(before) = before {
        drop(before.await);
    }
    let Ok(_turn) = hook.at_once.acquire().await else { return };
    let name = &told.config.name;
    let failed = |tries| {
        tracing::debug!(hook = name, sequence = %event.sequence, tries, "a hook failed");
        hook.state.lock().failed_tries += 1;
    };
    match deliver::with_retries(shell, &told.config, event, failed).await {
        Ok(()) => hook.state.lock().delivered += 1,
        Err((tries, error)) => {
            tracing::warn!(hook = name, sequence = %event.sequence, error, "a hook gave up");
            let letter = letter(told, event, (tries, error), shell.clock.now());
            while let Err(refusal) = keep(shell, vec![HookChange::Died(letter.clone())]).await {
                tracing::warn!(hook = name, %refusal, "a dead letter waits for the store");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }
}
