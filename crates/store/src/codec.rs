//! Bytes of records and of the journal: postcard behind one version byte.
//!
//! The version stands for the shape of everything that is encoded here; it is raised when a type of
//! orchd-core or orchd-model changes its binary form, and the old form is then read by a branch of
//! [`decode`]. Golden files in `tests/golden` fail when the form changes without that.
//!
//! Equal demands and retry policies are shared on reading, so that a million alike tasks hold one of each.

use orchd_core::{Demand, Event, Fact, Meta, TaskRecord};
use orchd_model::{Amount, ResourceSetting, RetryPolicy};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::StoreError;

const VERSION: u8 = 1;
/// Different demands remembered while reading: more than a busy system has, and a few hundred kilobytes.
const SHARED_DEMANDS: usize = 4096;
/// Different retry policies remembered: most systems have one or two, and they are searched in order.
const SHARED_POLICIES: usize = 8;

/// Encodes into `buffer`, which is emptied first.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
    let mut bytes = std::mem::take(buffer);
    bytes.clear();
    bytes.push(VERSION);
    *buffer = postcard::to_extend(value, bytes).map_err(|e| StoreError::Engine(Box::new(e)))?;
    Ok(())
}

/// Decodes what [`encode`] wrote; `what` names it in errors.
pub(crate) fn decode<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|e| StoreError::Corrupt(format!("{what} cannot be read: {e}")))
        }
        Some((version, _)) => Err(StoreError::Corrupt(format!("{what} has the unknown version {version}"))),
        None => Err(StoreError::Corrupt(format!("{what} is empty"))),
    }
}

/// A setting field by field: its JSON form leaves out what is `None`, which a format without names cannot.
type PlainSetting = (Option<u64>, Option<u32>);

/// Takes a setting out and leaves one that has the same bytes whatever is left out.
fn take_setting(setting: &mut ResourceSetting) -> PlainSetting {
    let filler = ResourceSetting { capacity: Some(Amount::ZERO), concurrency: Some(0) };
    let taken = std::mem::replace(setting, filler);
    (taken.capacity.map(Amount::as_thousandths), taken.concurrency)
}

fn put_setting(setting: &mut ResourceSetting, (capacity, concurrency): PlainSetting) {
    *setting = ResourceSetting { capacity: capacity.map(Amount::thousandths), concurrency };
}

/// Encodes the events of one batch.
pub(crate) fn encode_events(events: &[Event], buffer: &mut Vec<u8>) -> Result<(), StoreError> {
    let is_setting = |e: &Event| matches!(e.fact, Fact::ResourceSet { .. });
    if !events.iter().any(is_setting) {
        return encode(&(Vec::<PlainSetting>::new(), events), buffer);
    }
    let mut events = events.to_vec();
    let mut settings = Vec::new();
    for event in &mut events {
        if let Fact::ResourceSet { setting, .. } = &mut event.fact {
            settings.push(take_setting(setting));
        }
    }
    encode(&(settings, events), buffer)
}

/// Decodes what [`encode_events`] wrote.
pub(crate) fn decode_events(bytes: &[u8]) -> Result<Vec<Event>, StoreError> {
    let (settings, mut events): (Vec<PlainSetting>, Vec<Event>) = decode("a batch of events", bytes)?;
    let mut settings = settings.into_iter();
    for event in &mut events {
        if let Fact::ResourceSet { setting, .. } = &mut event.fact {
            put_setting(setting, settings.next().unwrap_or_default());
        }
    }
    Ok(events)
}

/// Encodes the meta record.
pub(crate) fn encode_meta(meta: &Meta, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
    let mut meta = meta.clone();
    let settings: Vec<PlainSetting> = meta.resources.iter_mut().map(|(_, s)| take_setting(s)).collect();
    encode(&(settings, meta), buffer)
}

/// Decodes what [`encode_meta`] wrote.
pub(crate) fn decode_meta(bytes: &[u8]) -> Result<Meta, StoreError> {
    let (settings, mut meta): (Vec<PlainSetting>, Meta) = decode("the meta record", bytes)?;
    for ((_, setting), plain) in meta.resources.iter_mut().zip(settings) {
        put_setting(setting, plain);
    }
    Ok(meta)
}

/// Reads task records and shares what is equal in them.
#[derive(Default)]
pub(crate) struct TaskReader {
    demands: FxHashSet<Arc<Demand>>,
    policies: Vec<Arc<RetryPolicy>>,
    last: Option<Arc<Demand>>,
}

impl TaskReader {
    /// Decodes one record.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<TaskRecord, StoreError> {
        let mut record: TaskRecord = decode("a task record", bytes)?;
        self.share_demand(&mut record.demand);
        match self.policies.iter().find(|p| **p == record.retry) {
            Some(policy) => record.retry = Arc::clone(policy),
            None => {
                self.policies.truncate(SHARED_POLICIES - 1);
                self.policies.insert(0, Arc::clone(&record.retry));
            }
        }
        Ok(record)
    }

    fn share_demand(&mut self, demand: &mut Arc<Demand>) {
        match &self.last {
            Some(last) if last == demand => *demand = Arc::clone(last),
            _ => {
                if let Some(known) = self.demands.get(demand) {
                    *demand = Arc::clone(known);
                } else {
                    if self.demands.len() >= SHARED_DEMANDS {
                        self.demands.clear();
                    }
                    self.demands.insert(Arc::clone(demand));
                }
                self.last = Some(Arc::clone(demand));
            }
        }
    }
}
