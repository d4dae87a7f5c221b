//! Hooks: what is run or asked when an event happens.

use http::Uri;
use orchd_api::check_pattern;
use orchd_model::{Code, HookSpec, Refusal, Span};

use super::layers::Layers;
use crate::hooks::OF_WORKFLOWS;

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
    fn shell(line: String) -> Self {
        Self::Command(vec!["/bin/sh".to_owned(), "-c".to_owned(), line])
    }

    fn url(url: &str) -> Result<Self, Refusal> {
        let parsed = url
            .parse()
            .ok()
            .filter(|uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        let message = "a hook's url is http(s)://HOST[:PORT][/PATH]";
        parsed.map(Self::Url).ok_or_else(|| Refusal::new(Code::Malformed, message).value(url))
    }
}

/// Reads `[on_event.NAME]`.
pub fn read(layers: &mut Layers) -> Vec<HookConfig> {
    let names: Vec<String> = layers.table(&["on_event"]).keys().cloned().collect();
    names.into_iter().filter_map(|name| Reader { layers, name: &name }.hook()).collect()
}

struct Reader<'a> {
    layers: &'a mut Layers,
    name: &'a str,
}

impl Reader<'_> {
    fn hook(mut self) -> Option<HookConfig> {
        let events: Vec<String> = self.value("events").unwrap_or_default();
        if self.name == OF_WORKFLOWS {
            self.wrong("events", &format!("a hook cannot have this name: {OF_WORKFLOWS}"));
        }
        if events.is_empty() {
            self.wrong("events", &format!("a hook must say which events it is for: {}", self.name));
        }
        for pattern in &events {
            if let Err(refusal) = check_pattern(pattern) {
                self.wrong("events", &refusal.to_string());
            }
        }
        let (tag, workflow) = (self.value("tag"), self.value("workflow"));
        let (timeout, retry_delay): (Option<Span>, Option<Span>) =
            (self.value("timeout"), self.value("retry_delay"));
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

    fn target(&mut self) -> Option<Target> {
        let command: Option<Vec<String>> = self.value("command");
        let url: Option<String> = self.value("url");
        let shell: Option<String> = self.value("shell");
        match (command, shell, url) {
            (Some(command), None, None) if !command.is_empty() => Some(Target::Command(command)),
            (None, Some(line), None) => Some(Target::shell(line)),
            (None, None, Some(url)) => self.url(&url),
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

    fn url(&mut self, url: &str) -> Option<Target> {
        match Target::url(url) {
            Ok(target) => Some(target),
            Err(refusal) => {
                self.wrong("url", &refusal.to_string());
                None
            }
        }
    }

    fn value<T: serde::de::DeserializeOwned + super::layers::Shown>(&mut self, key: &str) -> Option<T> {
        let (value, source) = self.layers.find_in_file::<T>(&["on_event", self.name, key])?;
        self.layers.note(&format!("on_event.{:?}.{key}", self.name), value.shown(), source);
        Some(value)
    }

    fn wrong(&mut self, key: &str, message: &str) {
        self.layers.wrong(&["on_event", self.name, key], message);
    }
}
