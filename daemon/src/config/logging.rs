//! What is logged, how, and where to.

use clap::ValueEnum;
use orchd_model::Amount;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;

use super::Flags;
use super::layers::{Layers, Shown};
use super::source::Source;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Shown for LogFormat {
    fn shown(&self) -> Value {
        match self {
            Self::Text => "text".into(),
            Self::Json => "json".into(),
        }
    }
}

/// What is logged, how, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A filter as `RUST_LOG` has them; none: what the verb takes for usual.
    pub filter: Option<String>,
    /// How lines look.
    pub format: LogFormat,
    /// The file; none: standard error.
    pub file: Option<PathBuf>,
    /// A file that has grown to this is given another name.
    pub max_bytes: u64,
}

/// Some hundred thousand lines.
const MAX_BYTES: Amount = Amount::units(32 << 20);
/// Less would be no log.
const LEAST_BYTES: u64 = 4096;

/// The least important lines that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.to_ascii_uppercase().as_str() {
            "DEBUG" => Ok(Self::Debug),
            "INFO" => Ok(Self::Info),
            "WARNING" | "WARN" => Ok(Self::Warning),
            "ERROR" => Ok(Self::Error),
            _ => Err(serde::de::Error::custom("a level is one of DEBUG, INFO, WARNING, ERROR")),
        }
    }
}

impl Level {
    fn filter(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warn",
            Self::Error => "error",
        }
    }
}

impl LogSettings {
    pub(super) fn read(flags: &Flags, layers: &mut Layers) -> Self {
        let level = layers.find::<Level>("log.level");
        let everything = layers.variable("RUST_LOG");
        let filter = match (everything, level) {
            (Some(filter), _) => {
                if let Err(error) = tracing_subscriber::EnvFilter::try_new(&filter) {
                    layers.errors.push(format!("RUST_LOG: {error}: {filter}").into());
                }
                let source = Source::Variable("RUST_LOG".to_owned());
                layers.note("log.level", filter.clone().into(), source);
                Some(filter)
            }
            (None, Some((level, source))) => {
                layers.note("log.level", level.filter().into(), source);
                Some(level.filter().to_owned())
            }
            (None, None) => {
                layers.note("log.level", "info".into(), Source::Default);
                None
            }
        };
        let format = flags.log_format.map(|format| ("--log-format", format));
        let format = layers.flagged("log.format", format, LogFormat::Text, Source::Default);
        let file = match &flags.log_file {
            Some(file) => {
                let flag = Some(("--log-file", file.clone()));
                Some(layers.flagged("log.file", flag, PathBuf::new(), Source::Default))
            }
            None => layers.optional("log.file"),
        };
        let max_bytes = layers.value("log.max_bytes", MAX_BYTES).as_thousandths() / 1000;
        if max_bytes < LEAST_BYTES {
            let message = format!("log.max_bytes must be at least {LEAST_BYTES}: {max_bytes}");
            layers.wrong_value("log.max_bytes", &message);
        }
        Self { filter, format, file, max_bytes }
    }
}
