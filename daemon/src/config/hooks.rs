//! Hooks: what is run or asked when an event happens.

use http::Uri;
use orchd_api::check_pattern;
use orchd_model::{Code, HookSpec, Refusal, Span, check_hook_timeout, check_hook_url};
use serde::Deserialize;
use serde_json::Value;

use super::key::known;
use super::layers::{Layers, Shown};
use crate::hooks::{OF_WORKFLOWS, doubt};

/// Deliveries of one hook at once, at most: each is a process or a connection of the daemon's.
const MOST_AT_ONCE: u32 = 64;

/// The limit of one try, where nobody says another.
const TIMEOUT: Span = Span::from_secs(30);
const RETRIES: u32 = 3;
const RETRY_DELAY: Span = Span::from_secs(1);

/// A hook as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConfig {
    /// Its name.
    pub name: String,
    /// Patterns of events.
    pub events: Vec<String>,
    /// Only those of tasks with this tag.
    pub tag: Option<String>,
    /// Only those of workflows of this name.
    pub workflow: Option<String>,
    /// What is told.
    pub target: Target,
    /// The directory of its command; the daemon's when not given.
    pub cwd: Option<String>,
    /// The limit of one try.
    pub timeout: Span,
    /// Tries after the first.
    pub retries: u32,
    /// From the first try to the second; doubled from try to try.
    pub retry_delay: Span,
    /// Deliveries at once.
    pub concurrency: u32,
}

/// What is told of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A command, with the event on its standard input.
    Command(Vec<String>),
    /// An address, with the event in a POST.
    Url(Uri),
}

impl HookConfig {
    /// The hook of a workflow that stands at this place, from 0.
    ///
    /// # Errors
    /// `malformed`, with the offending value.
    pub fn of_workflow(place: usize, spec: HookSpec) -> Result<Self, Refusal> {
        spec.check()?;
        let target = match (spec.command, spec.shell, spec.url) {
            (Some(argv), ..) => Target::Command(argv),
            (_, Some(line), _) => Target::shell(line),
            (.., url) => Target::url(&url.unwrap_or_default())?,
        };
        Ok(Self {
            name: if spec.name.is_empty() { (place + 1).to_string() } else { spec.name },
            events: spec.events,
            tag: None,
            workflow: None,
            target,
            cwd: spec.cwd,
            timeout: spec.timeout.unwrap_or(TIMEOUT),
            retries: spec.retries.unwrap_or(RETRIES),
            retry_delay: spec.retry_delay.unwrap_or(RETRY_DELAY),
            concurrency: 1,
        })
    }
}

impl Target {
    /// Whether it is asked by https.
    fn is_secure(&self) -> bool {
        matches!(self, Self::Url(uri) if uri.scheme_str() == Some("https"))
    }

    fn shell(line: String) -> Self {
        Self::Command(vec!["/bin/sh".to_owned(), "-c".to_owned(), line])
    }

    fn url(url: &str) -> Result<Self, Refusal> {
        check_hook_url(url)?;
        let unreadable = |error: http::uri::InvalidUri| {
            Refusal::new(Code::Malformed, format!("a hook's url cannot be read: {error}")).value(url)
        };
        url.parse().map(Self::Url).map_err(unreadable)
    }
}

/// Patterns of events, or one alone.
#[derive(Deserialize)]
#[serde(from = "OneOrMore")]
struct Patterns(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "not a type of events or a list of them")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl From<OneOrMore> for Patterns {
    fn from(patterns: OneOrMore) -> Self {
        match patterns {
            OneOrMore::One(pattern) => Self(vec![pattern]),
            OneOrMore::More(patterns) => Self(patterns),
        }
    }
}

impl Shown for Patterns {
    fn shown(&self) -> Value {
        self.0.shown()
    }
}

/// Reads `[on_event.NAME]`.
pub fn read(layers: &mut Layers) -> Vec<HookConfig> {
    let hooks = layers.table(&["on_event"]);
    // What is no table has been told as such.
    let tables = hooks.iter().filter_map(|(name, hook)| Some((name, hook.as_object()?)));
    let read = tables.filter_map(|(name, table)| {
        // What is missing may be meant by a key that does not exist.
        let is_known = |key: &String| known(&["on_event", name, key]).is_some();
        let misses_nothing = !table.keys().all(is_known);
        Reader { layers, name, misses_nothing }.hook()
    });
    let read: Vec<HookConfig> = read.collect();
    if read.iter().any(|hook| hook.target.is_secure()) {
        layers.warnings.extend(doubt());
    }
    read
}

struct Reader<'a> {
    layers: &'a mut Layers,
    name: &'a str,
    /// Nothing that is not there is told to be missing.
    misses_nothing: bool,
}

impl Reader<'_> {
    fn hook(mut self) -> Option<HookConfig> {
        if self.name == OF_WORKFLOWS {
            self.wrong("events", &format!("a hook cannot have this name: {OF_WORKFLOWS}"));
        }
        let events = self.events();
        let (tag, workflow) = (self.value("tag"), self.value("workflow"));
        let (timeout, retry_delay): (Option<Span>, Option<Span>) =
            (self.value("timeout"), self.value("retry_delay"));
        self.checked("timeout", check_hook_timeout(timeout));
        let (retries, concurrency) = (self.value("retries"), self.value("concurrency").unwrap_or(1));
        if !(1..=MOST_AT_ONCE).contains(&concurrency) {
            self.wrong("concurrency", &format!("concurrency is 1 to {MOST_AT_ONCE}: {concurrency}"));
        }
        Some(HookConfig {
            name: self.name.to_owned(),
            events,
            tag,
            workflow,
            target: self.target()?,
            cwd: None,
            timeout: timeout.unwrap_or(TIMEOUT),
            retries: retries.unwrap_or(RETRIES),
            retry_delay: retry_delay.unwrap_or(RETRY_DELAY),
            concurrency,
        })
    }

    fn events(&mut self) -> Vec<String> {
        let mistakes = self.layers.errors.len();
        let events = self.value("events").map(|Patterns(events)| events);
        let is_told = self.layers.errors.len() > mistakes || (events.is_none() && self.misses_nothing);
        let events = events.unwrap_or_default();
        if events.is_empty() && !is_told {
            self.wrong("events", &format!("a hook must say which events it is for: {}", self.name));
        }
        for pattern in &events {
            self.checked("events", check_pattern(pattern));
        }
        events
    }

    fn target(&mut self) -> Option<Target> {
        let mistakes = self.layers.errors.len();
        let command: Option<Vec<String>> = self.value("command");
        let url: Option<String> = self.value("url");
        let shell: Option<String> = self.value("shell");
        match (command, shell, url) {
            (Some(command), None, None) if !command.is_empty() => Some(Target::Command(command)),
            (None, Some(line), None) => Some(Target::shell(line)),
            (None, None, Some(url)) => self.checked("url", Target::url(&url)),
            (None, None, None) if self.misses_nothing || self.layers.errors.len() > mistakes => None,
            (Some(_), None, None) => {
                self.wrong("command", &format!("a hook's command is empty: {}", self.name));
                None
            }
            _ => {
                self.wrong("command", &format!("a hook has one of command, shell and url: {}", self.name));
                None
            }
        }
    }

    fn checked<T>(&mut self, key: &str, checked: Result<T, Refusal>) -> Option<T> {
        let refused = |refusal| self.layers.refused(&["on_event", self.name, key], &refusal);
        checked.map_err(refused).ok()
    }

    fn value<T: serde::de::DeserializeOwned + Shown>(&mut self, key: &str) -> Option<T> {
        let (value, source) = self.layers.find_in_file::<T>(&["on_event", self.name, key])?;
        self.layers.note(&format!("on_event.{:?}.{key}", self.name), value.shown(), source);
        Some(value)
    }

    fn wrong(&mut self, key: &str, message: &str) {
        self.layers.wrong(&["on_event", self.name, key], message);
    }
}
