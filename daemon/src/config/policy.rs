//! What the configuration means for a task.

use orchd_core::Runner;
use orchd_model::{Body, Refusal, RetryPolicy, RetrySpec, Span, TaskSpec};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Config, Enforcement};

/// What the configuration means for a task.
pub struct Policy {
    /// From SIGTERM to SIGKILL.
    pub grace: Span,
    /// How attempts are kept to their claims.
    pub enforcement: Enforcement,
    defaults: RetrySpec,
    handlers: BTreeMap<String, Vec<String>>,
    /// The last policy that was worked out: most tasks of a burst share theirs.
    last: Mutex<(RetrySpec, Arc<RetryPolicy>)>,
}

impl Policy {
    /// The policy of a configuration.
    ///
    /// # Errors
    /// When its retry defaults make no sense.
    pub fn new(config: &Config) -> Result<Self, Refusal> {
        let standard = Arc::new(config.defaults.policy()?);
        Ok(Self {
            grace: config.grace,
            enforcement: config.enforcement.clone(),
            defaults: config.defaults.clone(),
            handlers: config.handlers.clone(),
            last: Mutex::new((RetrySpec::default(), standard)),
        })
    }

    /// The retry policy of a task.
    ///
    /// # Errors
    /// `malformed` when it makes no sense together with the defaults.
    pub fn retry(&self, spec: &TaskSpec) -> Result<Arc<RetryPolicy>, Refusal> {
        let mut last = self.last.lock();
        if last.0 != spec.retry {
            *last = (spec.retry.clone(), Arc::new(spec.retry.or(&self.defaults).policy()?));
        }
        Ok(Arc::clone(&last.1))
    }

    /// What runs a task.
    pub fn runner(&self, spec: &TaskSpec) -> Runner {
        if spec.is_computed() {
            return Runner::Computed;
        }
        match &spec.body {
            Body::Command { .. } | Body::Shell { .. } => Runner::Process,
            Body::Milestone => Runner::Nothing,
            Body::Handler { command: Some(_), .. } => Runner::Process,
            Body::Handler { .. } => {
                let name = spec.body.handler().unwrap_or_default();
                if self.handlers.contains_key(&name) { Runner::Process } else { Runner::Handler(name.into()) }
            }
        }
    }

    /// The command that a handler is bound to, if it is.
    pub fn bound_command(&self, handler: &str) -> Option<Vec<String>> {
        self.handlers.get(handler).cloned()
    }

    /// A hash of all that makes two specs the same wish; kept with the task, so its function (FNV-1a) never
    /// changes. The variables that every command gets from its submitter do not count: the same wish may
    /// come from two terminals.
    pub fn fingerprint(&self, spec: &TaskSpec) -> u64 {
        let is_surrounding = |name: &str| SURROUNDINGS.contains(&name) || name.starts_with("LC_");
        let mut wish = spec.clone();
        wish.env.retain(|name, _| !is_surrounding(name));
        // A spec that came as JSON can be written as JSON.
        let text = serde_json::to_string(&wish).unwrap_or_default();
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// Variables that a command gets from the process that submits it, beside `LC_*`.
const SURROUNDINGS: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TERM"];
