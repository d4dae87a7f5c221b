//! What a scenario says of a resource.

use orchd_model::{ResourceName, ResourceSetting};

use super::script::span;

/// `gpu capacity=2`
pub(super) fn resource_setting(name: &str, settings: &[&str]) -> (ResourceName, ResourceSetting) {
    let mut setting = ResourceSetting::default();
    for word in settings {
        match word.split_once('=').expect("key=value") {
            ("capacity", amount) => setting.capacity = Some(amount.parse().expect("an amount")),
            ("tokens", amount) => setting.tokens = Some(amount.parse().expect("an amount")),
            ("burst", amount) => setting.burst = Some(amount.parse().expect("an amount")),
            ("per", time) => setting.per = Some(span(time)),
            ("concurrency", count) => setting.concurrency = Some(count.parse().expect("a number")),
            other => panic!("not a setting: {other:?}"),
        }
    }
    (name.parse().expect("a resource"), setting)
}
