//! Configuration: flags, environment, file and defaults, in this order, become one [`Config`].
//!
//! Invariant: every value of a [`Config`] is in its settings, with its source, under a name of [`key::KEYS`].

mod access;
mod definition;
mod directory;
mod enforcement;
mod hooks;
mod key;
mod layers;
mod load_guard;
mod logging;
mod policy;
mod resources;
mod source;
mod workflows;

use orchd_cli::Machine;
use orchd_model::{Amount, RetrySpec, Span, limits};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use access::{Access, Role};
pub use definition::{Definition, is_number};
pub use enforcement::Enforcement;
pub use hooks::{HookConfig, Target};
pub use load_guard::LoadGuard;
pub use logging::{LogFormat, LogSettings};
pub use policy::Policy;
pub use source::Setting;
pub use workflows::WorkflowDefaults;

use layers::Layers;
use source::Source;

/// Tasks that the worker is given ahead of its slots: what eight cores run of the shortest in the time of two
/// commits to a slow disk, and few enough to be taken back in one message.
pub const AHEAD: u32 = 256;

/// What the command line gave.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub state_dir: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub config: Option<PathBuf>,
    pub slots: Option<u32>,
    pub log_format: Option<LogFormat>,
    pub log_file: Option<PathBuf>,
}

/// What is kept of what has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long; nothing: for ever.
    pub age: Span,
    /// How many tasks at most.
    pub tasks: u64,
}

/// Everything that is configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where things are kept; none when there is neither a home nor an explicit directory.
    pub state_dir: Option<PathBuf>,
    /// Where the daemon listens.
    pub socket: PathBuf,
    /// What is logged, how and where to.
    pub log: LogSettings,
    /// How many processes run at once.
    pub slots: u32,
    /// For the scheduler.
    pub core: orchd_core::Config,
    /// From SIGTERM to SIGKILL.
    pub grace: Span,
    /// How attempts are kept to their claims.
    pub enforcement: Enforcement,
    /// When starts are held back for the load of the machine.
    pub load_guard: LoadGuard,
    /// Retries where a task says nothing.
    pub defaults: RetrySpec,
    /// What holds for every workflow that does not say otherwise.
    pub workflows: WorkflowDefaults,
    /// Workflows that can be run by their names.
    pub definitions: Vec<Definition>,
    /// Commands that stand for handlers.
    pub handlers: BTreeMap<String, Vec<String>>,
    /// Who is told of events.
    pub hooks: Vec<HookConfig>,
    /// What is kept of what has ended.
    pub retention: Retention,
    /// How much is kept of each stream of an attempt's output.
    pub output_bytes: u64,
    /// Who may do what.
    pub access: Access,
    /// Each value with where it came from, for `check-config`.
    pub settings: Vec<Setting>,
    /// What is odd, but no mistake.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);

impl Config {
    /// Reads the file, if there is one, and puts the environment and the flags on top.
    ///
    /// # Errors
    /// Everything that is wrong, each mistake with its place.
    pub fn load(flags: &Flags) -> Result<Self, Mistakes> {
        // A variable that is no text cannot be one of ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_layers(flags, Layers::read(file_of(flags), environment))
    }

    fn from_layers(flags: &Flags, mut layers: Layers) -> Result<Self, Mistakes> {
        let machine = Machine::look().map_err(|error| Mistakes(vec![error.to_string()]))?;
        let state_dir = state_dir(flags, &mut layers);
        let socket = flags.socket.clone().map(|socket| ("--socket", socket));
        let socket = layers.flagged("daemon.socket", socket, orchd_client::default_socket(), Source::Default);
        let log = LogSettings::read(flags, &mut layers);
        let slots = slots(flags, &mut layers, machine.cores);
        let grace = layers.value("scheduler.grace", Span::from_secs(10));
        let core = core(&mut layers, &machine, grace);
        let enforcement = Enforcement::read(&mut layers);
        let load_guard = LoadGuard::read(&mut layers);
        let defaults = defaults(&mut layers);
        let retention = Retention {
            age: layers.value("retention.age", Span::from_secs(7 * 86_400)),
            tasks: layers.value("retention.tasks", 1_000_000_u64),
        };
        let output_bytes = output_bytes(&mut layers);
        let access = Access::read(&mut layers);
        let handlers = handlers(&mut layers);
        let hooks = hooks::read(&mut layers);
        let workflows = WorkflowDefaults::read(&mut layers);
        let definitions = workflows::definitions(&mut layers);
        if !layers.errors.is_empty() {
            return Err(Mistakes(layers.mistakes()));
        }
        Ok(Self {
            state_dir,
            socket: std::path::absolute(&socket).unwrap_or(socket),
            log,
            slots,
            core,
            grace,
            enforcement,
            load_guard,
            defaults,
            workflows,
            definitions,
            handlers,
            hooks,
            retention,
            output_bytes,
            access,
            settings: layers.settings,
            warnings: layers.warnings,
        })
    }

    /// Takes what only takes effect at a start from the configuration that was started with.
    pub fn keep_fixed(&mut self, former: &Self) {
        self.state_dir.clone_from(&former.state_dir);
        self.socket.clone_from(&former.socket);
        self.core.lease = former.core.lease;
        self.output_bytes = former.output_bytes;
        self.enforcement.cgroup.clone_from(&former.enforcement.cgroup);
        self.hooks.clone_from(&former.hooks);
        self.log.format = former.log.format;
        self.log.file.clone_from(&former.log.file);
        self.log.max_bytes = former.log.max_bytes;
        let fixed = |key: &str| key::KEYS.iter().any(|known| !known.reloads && known.name == key);
        for setting in self.settings.iter_mut().filter(|setting| fixed(&setting.key)) {
            if let Some(former) = former.settings.iter().find(|other| other.key == setting.key) {
                setting.clone_from(former);
            }
        }
    }

    /// The names of the settings that differ from `former` although they only take effect at a start.
    pub fn fixed_changes(&self, former: &Self) -> Vec<String> {
        let value = |config: &Self, key: &str| {
            config.settings.iter().find(|setting| setting.key == key).map(|setting| setting.value.clone())
        };
        let fixed = key::KEYS.iter().filter(|key| !key.reloads).map(|key| key.name);
        let changed = fixed.filter(|key| value(self, key) != value(former, key)).map(str::to_owned);
        changed.chain((self.hooks != former.hooks).then(|| "on_event".to_owned())).collect()
    }
}

/// The file that is read: flag, environment, or the first usual one that is there.
fn file_of(flags: &Flags) -> Option<PathBuf> {
    let named = || std::env::var_os("ORCHD_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    flags.config.clone().filter(|path| !path.as_os_str().is_empty()).or_else(named).or_else(|| {
        let directory = if rustix::process::geteuid().is_root() {
            PathBuf::from("/etc/orchd")
        } else {
            let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
            std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?.join("orchd")
        };
        let usual = ["toml", "yaml", "json"].map(|ending| directory.join(format!("orchd.{ending}")));
        usual.into_iter().find(|path| path.exists())
    })
}

/// The state directory: flag, environment or file, else the user's or root's usual one.
fn state_dir(flags: &Flags, layers: &mut Layers) -> Option<PathBuf> {
    let usual = if rustix::process::geteuid().is_root() {
        Some(PathBuf::from("/var/lib/orchd"))
    } else {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home).map(|state| state.join("orchd"))
    };
    let flag = flags.state_dir.clone().map(|path| ("--state-dir", path));
    let found = match usual {
        Some(usual) => Some(layers.flagged("daemon.state_dir", flag, usual, Source::Default)),
        None if flag.is_some() => {
            Some(layers.flagged("daemon.state_dir", flag, PathBuf::new(), Source::Default))
        }
        None => layers.optional("daemon.state_dir"),
    };
    found.map(|path| std::path::absolute(&path).unwrap_or(path))
}

fn slots(flags: &Flags, layers: &mut Layers, cores: u32) -> u32 {
    let alias = layers.find_in_file::<u32>(&["workflow", "manager", "max_parallel_tasks"]);
    let both = alias.is_some() && layers.find_in_file::<u32>(&["scheduler", "slots"]).is_some();
    if both {
        let message = "workflow.manager.max_parallel_tasks means scheduler.slots: give only one of the two";
        layers.wrong(&["workflow", "manager", "max_parallel_tasks"], message);
    }
    let (default, source) = alias.unwrap_or((cores.clamp(1, limits::SLOTS), Source::Machine));
    let flag = flags.slots.map(|slots| ("--slots", slots));
    let slots = layers.flagged("scheduler.slots", flag, default, source);
    if !(1..=limits::SLOTS).contains(&slots) {
        let message = format!("slots must be between 1 and {}: {slots}", limits::SLOTS);
        layers.wrong_value("scheduler.slots", &message);
    }
    slots
}

fn core(layers: &mut Layers, machine: &Machine, grace: Span) -> orchd_core::Config {
    let defaults = orchd_core::Config::default();
    let aging = layers.value("scheduler.aging", defaults.aging);
    let reservation_delay = layers.value("scheduler.reservation_delay", defaults.reservation_delay);
    let lease = layers.value("scheduler.lease", defaults.lease);
    if lease == Span::ZERO {
        layers.wrong_value("scheduler.lease", "a lease must be more than nothing: 0");
    }
    let max_worker_losses = layers.value("scheduler.max_worker_losses", defaults.max_worker_losses);
    let resources = resources::read(layers, machine);
    let seed = u64::from(std::process::id());
    orchd_core::Config {
        aging,
        reservation_delay,
        grace,
        max_worker_losses,
        lease,
        seed,
        resources,
        ahead: AHEAD,
    }
}

fn output_bytes(layers: &mut Layers) -> u64 {
    let default = Amount::units(limits::OUTPUT_BYTES);
    let bytes = layers.value("output.max_bytes", default).as_thousandths() / 1000;
    if bytes < limits::OUTPUT_LEAST_BYTES {
        let message = format!("output.max_bytes must be at least {}: {bytes}", limits::OUTPUT_LEAST_BYTES);
        layers.wrong_value("output.max_bytes", &message);
    }
    bytes
}

fn defaults(layers: &mut Layers) -> RetrySpec {
    let policy = orchd_model::RetryPolicy::default();
    let words = [("defaults.max_retries", policy.max_retries.into()), ("defaults.max_attempts", Value::Null)];
    let [max_retries, max_attempts] = layers.two_words(words);
    let defaults = RetrySpec {
        max_retries,
        max_attempts,
        retry_delay: layers.optional_or("defaults.retry_delay", policy.delay.to_string()),
        backoff: layers.optional_or("defaults.backoff", policy.backoff),
        max_delay: layers.optional_or("defaults.max_delay", policy.max_delay.to_string()),
        jitter: layers.optional_or("defaults.jitter", policy.jitter),
        retry_on: layers.optional("defaults.retry_on"),
        no_retry_on: layers.optional("defaults.no_retry_on"),
        memory_factor: layers.optional_or("defaults.memory_factor", policy.memory_factor),
    };
    for (field, refusal) in defaults.mistakes() {
        let value = refusal.value.map(|value| format!(": {value}")).unwrap_or_default();
        let hint = refusal.hint.map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        layers.wrong_value(
            &format!("defaults.{field}"),
            &format!("defaults: {}{value}{hint}", refusal.message),
        );
    }
    defaults
}

fn handlers(layers: &mut Layers) -> BTreeMap<String, Vec<String>> {
    let mut handlers = BTreeMap::new();
    for (name, content) in &layers.table(&["handlers"]) {
        let long = ["handlers", name, "command"];
        // A list is the command itself.
        let path = if content.is_array() { &long[..2] } else { &long[..] };
        let Some((command, source)) = layers.find_in_file::<Vec<String>>(path) else {
            if !layers.has_told_of(name) {
                layers.wrong(path, &format!("a handler without a command: {name}"));
            }
            continue;
        };
        if command.is_empty() {
            layers.wrong(path, &format!("a handler's command is empty: {name}"));
        }
        layers.note(&format!("handlers.{name:?}.command"), command.clone().into(), source);
        handlers.insert(name.clone(), command);
    }
    handlers
}

#[cfg(test)]
mod tests;
