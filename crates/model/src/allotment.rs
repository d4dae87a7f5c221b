//! What an attempt holds of the machine itself, and how it is kept to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Amount, ResourceName};

/// The cores and the memory that an attempt has claimed of its machine (`cpu:system_cpu`,
/// `memory:system_memory`). None: it claims none, and is not kept to anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allotment {
    /// Cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Amount>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Amount>,
}

impl Allotment {
    /// Whether nothing is claimed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes note of an amount of a resource; of others than the machine's cores and memory it takes none.
    pub fn note(&mut self, resource: &ResourceName, amount: Amount) {
        match (resource.kind(), resource.identifier()) {
            ("cpu", "system_cpu") => self.cpu = Some(amount),
            ("memory", "system_memory") => self.memory = Some(amount),
            _ => {}
        }
    }

    /// How many processes or threads can be busy at once without taking more cores than are claimed: whole
    /// ones, at least one. `$ORCHD_CPUS`.
    #[must_use]
    pub fn cpus(&self) -> u64 {
        self.cpu.map_or(1, |cpu| (cpu.as_thousandths() / Amount::ONE.as_thousandths()).max(1))
    }
}

/// How a jobserver is announced in `MAKEFLAGS` (GNU make manual, "Sharing Job Slots with GNU make").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobserverStyle {
    /// By a fifo, unless the task's make is older than 4.4 and would not understand that.
    #[default]
    Auto,
    /// `--jobserver-auth=fifo:PATH`: make 4.4, ninja 1.13, cargo.
    Fifo,
    /// `--jobserver-auth=R,W`, two inherited descriptors: make 4.2, cargo.
    Pipe,
    /// There is none.
    Off,
}

/// What is done about an attempt that uses more memory than it has claimed, where the kernel does not limit it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OverMemory {
    /// Nothing, and the kernel limits nothing either.
    Off,
    /// It is told.
    #[default]
    Warn,
    /// The attempt is ended.
    Kill,
}

/// How an attempt is kept to the cores it has claimed, where there is a control group for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CpuBound {
    /// Not at all.
    Off,
    /// It gets its part when others want the rest, and more when nobody does (`cpu.weight`).
    Share,
    /// It never gets more (`cpu.max`), and its part when others want the rest.
    #[default]
    Limit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_in_whole_ones_and_never_as_none() {
        let cpus =
            |thousandths| Allotment { cpu: Some(Amount::thousandths(thousandths)), memory: None }.cpus();
        assert_eq!([1, 500, 1000, 1999, 2000, 2500].map(cpus), [1, 1, 1, 1, 2, 2]);
        assert_eq!(Allotment::default().cpus(), 1);
    }

    #[test]
    fn only_the_machines_own_cores_and_memory_count() {
        let mut allotment = Allotment::default();
        for name in ["cpu:elsewhere", "memory:elsewhere", "disk", "lock:system_cpu"] {
            allotment.note(&name.parse().unwrap(), Amount::ONE);
        }
        assert!(allotment.is_empty());
        allotment.note(&"cpu".parse().unwrap(), Amount::units(3));
        allotment.note(&"memory".parse().unwrap(), Amount::units(9));
        assert_eq!(allotment, Allotment { cpu: Some(Amount::units(3)), memory: Some(Amount::units(9)) });
    }
}
