//! How attempts are kept to what they have claimed of the machine.

use orchd_model::JobserverStyle;
use serde_json::Value;

use super::layers::{Layers, Shown};

/// How attempts are kept to what they have claimed of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// How nested builds learn how many jobs they may run.
    pub jobserver: JobserverStyle,
}

impl Enforcement {
    pub(super) fn read(layers: &mut Layers) -> Self {
        Self { jobserver: layers.value("enforcement.jobserver", JobserverStyle::default()) }
    }
}

impl Shown for JobserverStyle {
    fn shown(&self) -> Value {
        match self {
            Self::Auto => "auto",
            Self::Fifo => "fifo",
            Self::Pipe => "pipe",
            Self::Off => "off",
        }
        .into()
    }
}
