//! How attempts are kept to what they have claimed of the machine.

use orchd_model::{CpuBound, JobserverStyle, OverMemory};
use orchd_worker::CgroupPlace;
use serde_json::Value;

use super::layers::{Layers, Shown};

/// How attempts are kept to what they have claimed of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// How nested builds learn how many jobs they may run.
    pub jobserver: JobserverStyle,
    /// What is done about more memory than was claimed, where the kernel does not limit it.
    pub memory: OverMemory,
    /// How attempts are kept to their cores.
    pub cpu: CpuBound,
    /// Where control groups may be made: `auto`, `off` or a directory.
    pub cgroup: String,
}

impl Enforcement {
    pub(super) fn read(layers: &mut Layers) -> Self {
        let cgroup: String = layers.value("enforcement.cgroup", "auto".to_owned());
        if !["auto", "off"].contains(&&*cgroup) && !cgroup.starts_with('/') {
            let message = format!("enforcement.cgroup must be auto, off or a directory: {cgroup}");
            layers.wrong_value("enforcement.cgroup", &message);
        }
        Self {
            jobserver: layers.value("enforcement.jobserver", JobserverStyle::default()),
            memory: layers.value("enforcement.memory", OverMemory::default()),
            cpu: layers.value("enforcement.cpu", CpuBound::default()),
            cgroup,
        }
    }

    /// Where the worker may make control groups.
    pub fn place(&self) -> CgroupPlace {
        match &*self.cgroup {
            "auto" => CgroupPlace::Auto,
            "off" => CgroupPlace::Off,
            directory => CgroupPlace::At(directory.into()),
        }
    }
}

/// The word of a value, as the file has it.
fn word(value: &impl serde::Serialize) -> Value {
    // These are words, and a word can be written.
    serde_json::to_value(value).unwrap_or_default()
}

impl Shown for JobserverStyle {
    fn shown(&self) -> Value {
        word(self)
    }
}

impl Shown for OverMemory {
    fn shown(&self) -> Value {
        word(self)
    }
}

impl Shown for CpuBound {
    fn shown(&self) -> Value {
        word(self)
    }
}
