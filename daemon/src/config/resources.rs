//! What the machine and the file say about resources.

use anyhow::{Context, Result};
use orchd_model::{Amount, Refusal, ResourceKind, ResourceName, ResourceSetting};
use serde_json::Value;
use std::collections::BTreeMap;

use super::layers::{Layers, Shown};
use super::source::Source;

/// Bytes of a gigabyte in the keys that count in them.
const GIB: f64 = (1_u64 << 30) as f64;
/// Keys of a rate, which no resource can have yet.
const RATE: [&str; 3] = ["tokens", "per", "burst"];

/// What the machine has (cgroup limits respected).
pub struct Machine {
    pub cores: u32,
    memory: u64,
}

impl Machine {
    /// Looks.
    ///
    /// # Errors
    /// When its memory cannot be read.
    pub fn look() -> Result<Self> {
        let mut system = sysinfo::System::new().context("the machine's memory cannot be read")?;
        system.refresh_memory();
        let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
        let memory = limit.min(system.total_memory());
        let cores =
            std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        Ok(Self { cores, memory })
    }
}

type Found = BTreeMap<ResourceName, (ResourceSetting, Source)>;

/// The machine's resources with what is configured put on top, by name.
pub fn read(layers: &mut Layers, machine: &Machine) -> Vec<(ResourceName, ResourceSetting)> {
    let mut found = Found::new();
    let capacity = |units: u64| ResourceSetting { capacity: Some(Amount::units(units)), concurrency: None };
    for (kind, units) in [("cpu", u64::from(machine.cores)), ("memory", machine.memory)] {
        if let Ok(name) = ResourceName::new(kind, None) {
            found.insert(name, (capacity(units), Source::Machine));
        }
    }
    read_limits(layers, &mut found);
    for (name, content) in layers.table(&["resources"]) {
        if content.is_object() {
            read_one(layers, &name, &mut found);
        }
    }
    for (name, (setting, source)) in &found {
        if let Some(capacity) = setting.capacity {
            layers.note(&format!("resources.\"{name}\".capacity"), capacity.shown(), source.clone());
        }
        if let Some(concurrency) = setting.concurrency {
            layers.note(&format!("resources.\"{name}\".concurrency"), concurrency.into(), source.clone());
        }
    }
    found.into_iter().map(|(name, (setting, _))| (name, setting)).collect()
}

/// `cpu_limit`, `memory_limit_gb` and `disk_space_gb`: other words for three capacities.
fn read_limits(layers: &mut Layers, found: &mut Found) {
    for (key, kind, unit) in
        [("cpu_limit", "cpu", 1.0), ("memory_limit_gb", "memory", GIB), ("disk_space_gb", "disk", GIB)]
    {
        let path = ["resources", key];
        let Some((number, source)) = layers.find_in_file::<f64>(&path) else { continue };
        let name = ResourceName::new(kind, None);
        let amount = Amount::from_f64(number * unit).and_then(|amount| check_amount(amount, number));
        match name.and_then(|name| Ok((name, amount?))) {
            Ok((name, amount)) => {
                let written = [kind.to_owned(), name.to_string()];
                if let Some(other) = layers.table(&["resources"]).keys().find(|key| written.contains(key)) {
                    let message = format!("resources.{key} means the capacity of {other}: give only one");
                    layers.wrong(&path, &message);
                }
                let setting = ResourceSetting { capacity: Some(amount), concurrency: None };
                found.insert(name, (setting, source));
            }
            Err(refusal) => layers.wrong(&path, &format!("resources.{key}: {}: {number}", refusal.message)),
        }
    }
}

fn check_amount(amount: Amount, written: f64) -> Result<Amount, Refusal> {
    if amount > Amount::ZERO {
        return Ok(amount);
    }
    Err(Refusal::new(orchd_model::Code::Malformed, "a capacity must be more than nothing")
        .value(written.to_string()))
}

fn read_one(layers: &mut Layers, name: &str, found: &mut Found) {
    let path = ["resources", name];
    let parsed: ResourceName = match name.parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            let error: Refusal = error;
            return layers.wrong(&path, &format!("resources.\"{name}\": {}", error.message));
        }
    };
    let mistakes = layers.errors.len();
    if let Some(key) = RATE.iter().find(|key| layers.table(&path).contains_key(**key)) {
        let message = format!("resources.\"{name}\".{key}: rates are not supported yet: {key}");
        let hint = "limit it with concurrency";
        layers.wrong(&["resources", name, key], &format!("{message}\n  hint: {hint}"));
    }
    let capacity = layers.find_in_file::<Amount>(&["resources", name, "capacity"]);
    let concurrency = layers.find_in_file::<u32>(&["resources", name, "concurrency"]);
    for (key, is_nothing) in [
        ("capacity", capacity.as_ref().is_some_and(|(capacity, _)| *capacity == Amount::ZERO)),
        ("concurrency", concurrency.as_ref().is_some_and(|(concurrency, _)| *concurrency == 0)),
    ] {
        if is_nothing {
            let message = format!("resources.\"{name}\".{key} must be more than nothing: 0");
            layers.wrong(&["resources", name, key], &message);
        }
    }
    if layers.errors.len() > mistakes {
        return;
    }
    if parsed.counted_as() == ResourceKind::Quantity && capacity.is_none() {
        let message = format!("resources.\"{name}\": a {} needs a capacity", parsed.kind());
        return layers.wrong(&path, &message);
    }
    if capacity.is_none() && concurrency.is_none() {
        let message = format!("resources.\"{name}\" says neither capacity nor concurrency");
        return layers.wrong(&path, &message);
    }
    let source = capacity.as_ref().map(|(_, source)| source).or(concurrency.as_ref().map(|(_, s)| s));
    let source = source.cloned().unwrap_or_else(|| layers.source(&path));
    let setting = ResourceSetting {
        capacity: capacity.map(|(capacity, _)| capacity),
        concurrency: concurrency.map(|(concurrency, _)| concurrency),
    };
    let twice = found.insert(parsed.clone(), (setting, source));
    if twice.is_some_and(|(_, source)| matches!(source, Source::File { .. })) {
        layers.wrong(&path, &format!("resources.\"{name}\": {parsed} is configured twice"));
    }
}

impl Shown for Value {
    fn shown(&self) -> Value {
        self.clone()
    }
}
