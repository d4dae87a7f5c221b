//! When starts are held back for the load of the machine.

use orchd_model::Amount;

use super::layers::Layers;

/// Limits beyond which nothing starts. All open: the guard is off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadGuard {
    /// The least memory that must be available, bytes.
    pub free_memory: Option<u64>,
    /// The largest pressure, percent of the last ten seconds in which something waited, by [`LoadGuard::KINDS`].
    pub pressure: [Option<f64>; 3],
}

impl LoadGuard {
    /// What pressure is measured of, as the files of /proc/pressure are called.
    pub const KINDS: [&'static str; 3] = ["cpu", "memory", "io"];

    pub(super) fn read(layers: &mut Layers) -> Self {
        let free_memory = layers.optional::<Amount>("guard.free_memory");
        let keys = ["guard.cpu_pressure", "guard.memory_pressure", "guard.io_pressure"];
        let pressure = keys.map(|key| {
            let limit = layers.optional::<f64>(key);
            if limit.is_some_and(|limit| !(0.0..=100.0).contains(&limit)) {
                layers.wrong_value(key, &format!("{key} is a part of time, 0 to 100 percent"));
            }
            limit
        });
        let bytes = |amount: Amount| amount.as_thousandths() / Amount::ONE.as_thousandths();
        Self { free_memory: free_memory.map(bytes), pressure }
    }

    /// Whether anything is limited.
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }
}
