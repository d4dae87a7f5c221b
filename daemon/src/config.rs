//! Configuration: the file, the environment, the flags, and what follows from them for each task.
//!
//! Precedence: flag, environment, file, default. An unknown key is an error that names it and the nearest
//! known one.

use anyhow::{Context, Result, anyhow, bail};
use orchd_core::Runner;
use orchd_model::{
    Amount, Body, Code, Refusal, ResourceKind, ResourceName, ResourceSetting, RetryPolicy, RetrySpec, Span,
    TaskSpec, nearest,
};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What may stand in the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct File {
    scheduler: Scheduler,
    defaults: RetrySpec,
    resources: BTreeMap<String, ResourceSetting>,
    handlers: BTreeMap<String, Handler>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Scheduler {
    slots: Option<u32>,
    aging: Option<Span>,
    grace: Option<Span>,
    max_worker_losses: Option<u32>,
    lease: Option<Span>,
}

#[derive(Clone, Debug, Deserialize)]
struct Handler {
    command: Vec<String>,
}

const SECTIONS: [(&str, &[&str]); 4] = [
    ("scheduler", &["slots", "aging", "grace", "max_worker_losses", "lease"]),
    (
        "defaults",
        &[
            "max_retries",
            "max_attempts",
            "retry_delay",
            "backoff",
            "max_delay",
            "jitter",
            "retry_on",
            "no_retry_on",
        ],
    ),
    ("resources", &[]),
    ("handlers", &[]),
];

/// Everything that is configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many processes run at once.
    pub slots: u32,
    /// For the scheduler.
    pub core: orchd_core::Config,
    /// From SIGTERM to SIGKILL.
    pub grace: Span,
    /// Retries where a task says nothing.
    pub defaults: RetrySpec,
    /// Commands that stand for handlers.
    pub handlers: BTreeMap<String, Vec<String>>,
    /// Each value with where it came from, for `check-config`.
    pub sources: Vec<(String, String, String)>,
}

impl Config {
    /// Reads the file, if there is one, and the environment. `slots` is the flag.
    ///
    /// # Errors
    /// When the file cannot be read or something in it is wrong; names the file and the key.
    pub fn load(file: Option<&Path>, slots: Option<u32>) -> Result<Self> {
        let path = file.map(Path::to_path_buf).or_else(default_file);
        let read = match &path {
            Some(path) => read(path).with_context(|| format!("in {}", path.display()))?,
            None => File::default(),
        };
        let from_file = path.map_or_else(|| "default".to_owned(), |path| path.display().to_string());
        Self::from_file(read, &from_file, slots)
    }

    fn from_file(file: File, from_file: &str, flag: Option<u32>) -> Result<Self> {
        let mut sources = Vec::new();
        let mut note = |key: &str, value: String, source: &str| {
            sources.push((key.to_owned(), value, source.to_owned()));
        };
        let environment = match std::env::var("MAX_PARALLEL_TASKS") {
            Ok(text) => Some(text.parse().map_err(|_| anyhow!("MAX_PARALLEL_TASKS is no number: {text}"))?),
            Err(_) => None,
        };
        let machine = Machine::look()?;
        let (slots, source) = match (flag, environment, file.scheduler.slots) {
            (Some(slots), ..) => (slots, "--slots"),
            (None, Some(slots), _) => (slots, "MAX_PARALLEL_TASKS"),
            (None, None, Some(slots)) => (slots, from_file),
            (None, None, None) => (machine.cores, "the machine's cores"),
        };
        if slots == 0 {
            bail!("slots must be at least 1: 0 ({source})");
        }
        note("scheduler.slots", slots.to_string(), source);
        let defaults = orchd_core::Config::default();
        let mut span = |key: &str, given: Option<Span>, default: Span| {
            note(
                key,
                given.unwrap_or(default).to_string(),
                if given.is_some() { from_file } else { "default" },
            );
            given.unwrap_or(default)
        };
        let aging = span("scheduler.aging", file.scheduler.aging, defaults.aging);
        let grace = span("scheduler.grace", file.scheduler.grace, Span::from_secs(10));
        let lease = span("scheduler.lease", file.scheduler.lease, defaults.lease);
        let losses = file.scheduler.max_worker_losses;
        note(
            "scheduler.max_worker_losses",
            losses.unwrap_or(defaults.max_worker_losses).to_string(),
            if losses.is_some() { from_file } else { "default" },
        );
        file.defaults.policy().map_err(|refusal| anyhow!("in {from_file}: in [defaults]: {refusal}"))?;
        let resources = resources(&file.resources, &machine).with_context(|| format!("in {from_file}"))?;
        for (name, setting, source) in &resources {
            let source = if *source { from_file } else { "the machine" };
            let has = setting.capacity.map_or_else(|| "no capacity".to_owned(), |c| c.to_string());
            note(&format!("resources.\"{name}\".capacity"), has, source);
        }
        let core = orchd_core::Config {
            aging,
            lease,
            max_worker_losses: losses.unwrap_or(defaults.max_worker_losses),
            seed: u64::from(std::process::id()),
            resources: resources.into_iter().map(|(name, setting, _)| (name, setting)).collect(),
        };
        let handlers = file.handlers.into_iter().map(|(name, handler)| (name, handler.command)).collect();
        Ok(Self { slots, core, grace, defaults: file.defaults, handlers, sources })
    }
}

fn default_file() -> Option<PathBuf> {
    let directory = if rustix::process::geteuid().is_root() {
        PathBuf::from("/etc/orchd")
    } else {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
        std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?.join("orchd")
    };
    ["toml", "yaml", "json"]
        .iter()
        .map(|ending| directory.join(format!("orchd.{ending}")))
        .find(|p| p.exists())
}

fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path)?;
    let value: Value = match path.extension().and_then(|e| e.to_str()) {
        Some("json") => serde_json::from_str(&text)?,
        Some("yaml" | "yml") => {
            orchd_workflow::yaml_to_json(&path.to_string_lossy(), &text).map_err(|errors| {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                anyhow!("{}", errors.join("\n"))
            })?
        }
        _ => toml::from_str(&text)?,
    };
    parse(value)
}

fn parse(value: Value) -> Result<File> {
    let Value::Object(sections) = &value else { bail!("a configuration is a table of sections") };
    for (section, content) in sections {
        let Some((_, keys)) = SECTIONS.iter().find(|(name, _)| name == section) else {
            bail!("unknown section: {section}\nhint: {}", hint(section, &SECTIONS.map(|(name, _)| name)));
        };
        let Value::Object(content) = content else { bail!("[{section}] must be a table") };
        let key = content.keys().find(|key| !keys.is_empty() && !keys.contains(&key.as_str()));
        if let Some(key) = key {
            bail!("unknown key: {section}.{key}\nhint: {}", hint(key, keys));
        }
    }
    Ok(serde_json::from_value(value)?)
}

fn hint(key: &str, keys: &[&str]) -> String {
    match nearest(key, keys.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("one of {}", keys.join(", ")),
    }
}

/// What the machine has (cgroup limits respected).
struct Machine {
    cores: u32,
    memory: u64,
}

impl Machine {
    fn look() -> Result<Self> {
        let mut system = sysinfo::System::new().context("the machine's memory cannot be read")?;
        system.refresh_memory();
        let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
        let memory = limit.min(system.total_memory());
        let cores =
            std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        Ok(Self { cores, memory })
    }
}

/// The machine's resources and the configured ones; true: from the file.
fn resources(
    configured: &BTreeMap<String, ResourceSetting>,
    machine: &Machine,
) -> Result<Vec<(ResourceName, ResourceSetting, bool)>> {
    let capacity = |units: u64| ResourceSetting { capacity: Some(Amount::units(units)), concurrency: None };
    let mut all = BTreeMap::from([
        (ResourceName::new("cpu", None)?, (capacity(u64::from(machine.cores)), false)),
        (ResourceName::new("memory", None)?, (capacity(machine.memory), false)),
    ]);
    for (name, setting) in configured {
        let parsed: ResourceName = name.parse().with_context(|| format!("in [resources.\"{name}\"]"))?;
        if setting.capacity == Some(Amount::ZERO) || setting.concurrency == Some(0) {
            bail!("in [resources.\"{name}\"]: a capacity must be more than nothing: 0");
        }
        if parsed.counted_as() == ResourceKind::Quantity && setting.capacity.is_none() {
            bail!("in [resources.\"{name}\"]: a {} needs a capacity", parsed.kind());
        }
        all.insert(parsed, (setting.clone(), true));
    }
    Ok(all.into_iter().map(|(name, (setting, from_file))| (name, setting, from_file)).collect())
}

/// What the configuration means for a task.
pub struct Policy {
    /// From SIGTERM to SIGKILL.
    pub grace: Span,
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
        match &spec.body {
            Body::Command { .. } | Body::Shell { .. } => Runner::Process,
            Body::Milestone => Runner::Nothing,
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

/// Refuses a body that nobody could ever run here.
///
/// # Errors
/// `malformed` when a handler is bound to an empty command.
pub fn check_handlers(handlers: &BTreeMap<String, Vec<String>>) -> Result<(), Refusal> {
    match handlers.iter().find(|(_, command)| command.is_empty()) {
        Some((name, _)) => Err(Refusal::new(Code::Malformed, "a handler's command is empty").value(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        let error = parse(json!({ "schedular": {} })).unwrap_err();
        assert!(format!("{error:#}").contains("did you mean scheduler?"), "{error:#}");
        let error = parse(json!({ "scheduler": { "slot": 3 } })).unwrap_err();
        assert!(format!("{error:#}").contains("slots"), "{error:#}");
    }

    #[test]
    fn the_flag_wins_over_the_file() {
        let file =
            parse(json!({ "scheduler": { "slots": 3 }, "resources": { "memory": { "capacity": "8GiB" } } }));
        let config = Config::from_file(file.unwrap(), "file", Some(5)).unwrap();
        assert_eq!(config.slots, 5);
        let memory = config.core.resources.iter().find(|(name, _)| name.kind() == "memory").unwrap();
        assert_eq!(memory.1.capacity, Some(Amount::units(8 << 30)));
    }

    #[test]
    fn a_quantity_without_a_capacity_is_refused() {
        let file = parse(json!({ "resources": { "gpu": {} } })).unwrap();
        assert!(Config::from_file(file, "file", Some(1)).is_err());
    }
}
