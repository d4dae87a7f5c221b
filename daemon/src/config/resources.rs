//! What the machine and the file say about resources.

use orchd_cli::Machine;
use orchd_model::{Amount, Refusal, ResourceName, ResourceSetting};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

use super::layers::{Layers, Shown};
use super::source::Source;

/// Bytes of a gigabyte in the keys that count in them.
const GIB: f64 = (1_u64 << 30) as f64;

type Found = BTreeMap<ResourceName, (ResourceSetting, Source)>;

/// The machine's resources with what is configured put on top, by name.
pub fn read(layers: &mut Layers, machine: &Machine) -> Vec<(ResourceName, ResourceSetting)> {
    let mut found = Found::new();
    for (kind, units) in [("cpu", u64::from(machine.cores)), ("memory", machine.memory)] {
        if let Ok(name) = ResourceName::new(kind, None) {
            found.insert(name, (ResourceSetting::capacity(Amount::units(units)), Source::Machine));
        }
    }
    let given = read_limits(layers, &mut found);
    for (name, content) in layers.table(&["resources"]) {
        if content.is_object() {
            read_one(layers, &name, &mut found);
        }
    }
    for (name, capacity, source) in given {
        let (setting, from) =
            found.entry(name).or_insert_with(|| (ResourceSetting::capacity(capacity), source.clone()));
        (setting.capacity, *from) = (Some(capacity), source);
    }
    for (name, (setting, source)) in &found {
        for (key, value) in [
            ("capacity", setting.capacity.map(|capacity| capacity.shown())),
            ("tokens", setting.tokens.map(|tokens| tokens.shown())),
            ("per", setting.per.map(|per| per.shown())),
            ("burst", setting.burst.map(|burst| burst.shown())),
            ("concurrency", setting.concurrency.map(Value::from)),
        ] {
            if let Some(value) = value {
                layers.note(&format!("resources.\"{name}\".{key}"), value, source.clone());
            }
        }
    }
    found.into_iter().map(|(name, (setting, _))| (name, setting)).collect()
}

/// `cpu_limit`, `memory_limit_gb` and `disk_space_gb`: other words for three capacities. Gives those of the environment,
/// which win over whatever the file says.
fn read_limits(layers: &mut Layers, found: &mut Found) -> Vec<(ResourceName, Amount, Source)> {
    let mut given = Vec::new();
    for (key, kind, unit) in
        [("cpu_limit", "cpu", 1.0), ("memory_limit_gb", "memory", GIB), ("disk_space_gb", "disk", GIB)]
    {
        let (path, dotted) = (["resources", key], format!("resources.{key}"));
        let Some((number, source)) = layers.find::<f64>(&dotted) else { continue };
        let name = ResourceName::new(kind, None);
        let amount = Amount::scaled(number, unit).and_then(|amount| check_amount(amount, number));
        match name.and_then(|name| Ok((name, amount?))) {
            Ok((name, amount)) if matches!(source, Source::Variable(_)) => given.push((name, amount, source)),
            Ok((name, amount)) => {
                let written = [kind.to_owned(), name.to_string()];
                if let Some(other) = layers.table(&["resources"]).keys().find(|key| written.contains(key)) {
                    let message = format!("resources.{key} means the capacity of {other}: give only one");
                    layers.wrong(&path, &message);
                }
                let setting = ResourceSetting::capacity(amount);
                found.insert(name, (setting, source));
            }
            Err(refusal) => {
                let message = format!("{dotted}: {}: {number}", refusal.message);
                match source {
                    Source::Variable(_) => layers.errors.push(format!("{source}: {message}").into()),
                    _ => layers.wrong(&path, &message),
                }
            }
        }
    }
    given
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
    let mut sources = Vec::new();
    let setting = ResourceSetting {
        capacity: find(layers, name, "capacity", &mut sources),
        concurrency: find(layers, name, "concurrency", &mut sources),
        tokens: find(layers, name, "tokens", &mut sources),
        per: find(layers, name, "per", &mut sources),
        burst: find(layers, name, "burst", &mut sources),
    };
    if setting.capacity == Some(Amount::ZERO) {
        let message = format!("resources.\"{name}\".capacity must be more than nothing: 0");
        layers.wrong(&["resources", name, "capacity"], &message);
    }
    if layers.errors.len() > mistakes {
        return;
    }
    if let Err(Refusal { message, hint, .. }) = setting.check(&parsed) {
        let hint = hint.map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
        return layers.wrong(&path, &format!("resources.\"{name}\": {message}{hint}"));
    }
    let source = sources.into_iter().next().unwrap_or_else(|| layers.source(&path));
    let twice = found.insert(parsed.clone(), (setting, source));
    if twice.is_some_and(|(_, source)| matches!(source, Source::File { .. })) {
        layers.wrong(&path, &format!("resources.\"{name}\": {parsed} is configured twice"));
    }
}

/// One key of a resource, if it is given.
fn find<T: DeserializeOwned>(
    layers: &mut Layers,
    name: &str,
    key: &str,
    sources: &mut Vec<Source>,
) -> Option<T> {
    let (value, source) = layers.find_in_file(&["resources", name, key])?;
    sources.push(source);
    Some(value)
}

impl Shown for Value {
    fn shown(&self) -> Value {
        self.clone()
    }
}
