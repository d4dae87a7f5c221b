//! The daemon's own log: what is shown can change while it runs.

use anyhow::{Context, Result};
use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogFormat, LogSettings};

/// Changes what is shown.
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    usual: &'static str,
}

/// Starts logging; `usual` is what is shown when nobody has said anything.
///
/// # Errors
/// When the filter cannot be read, or the file not be opened.
pub fn start(settings: &LogSettings, usual: &'static str) -> Result<Logs> {
    let (filter, handle) = reload::Layer::new(filter(settings, usual)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(Logs { filter: handle, usual })
}

impl Logs {
    /// Shows what these settings say from now on.
    ///
    /// # Errors
    /// When the filter cannot be read.
    pub fn show(&self, settings: &LogSettings) -> Result<()> {
        self.filter.reload(filter(settings, self.usual)?).context("the log's filter cannot be changed")
    }
}

fn filter(settings: &LogSettings, usual: &str) -> Result<EnvFilter> {
    let text = settings.filter.as_deref().unwrap_or(usual);
    EnvFilter::try_new(text).with_context(|| format!("not a log filter: {text}"))
}
