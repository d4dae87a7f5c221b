//! Resources: what can be claimed. A resource is `type:identifier`; the type decides how it is counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::unseen::{is_unseen, said, shown};
use crate::{Amount, Code, Rate, Refusal, Span, bytes, limits};

/// `type:identifier`, for example `database:main`. Both parts are checked: no colon, comma, equals sign or white
/// space, nothing that cannot be seen, no mode word as the identifier.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName {
    kind: Box<str>,
    identifier: Box<str>,
}

/// How a resource of some type is counted unless it is configured otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// Units that must be configured or found on the machine: cpu, memory, disk, gpu.
    Quantity,
    /// A rate or a number of holders that must be configured: `external_api`.
    Rate,
    /// Comes into being at first use, without a capacity: everything else.
    Lock,
}

/// What an operator says about a resource. `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceSetting {
    /// Units that can be held at once.
    #[serde(default)]
    pub capacity: Option<Amount>,
    /// How many holders at once, whatever their amounts.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Tokens that come in a time of `per`.
    #[serde(default)]
    pub tokens: Option<Amount>,
    /// The time in which so many tokens come.
    #[serde(default)]
    pub per: Option<Span>,
    /// The most tokens that gather; as many as `tokens` unless it is given.
    #[serde(default)]
    pub burst: Option<Amount>,
}

impl ResourceSetting {
    /// So many units, and nothing else.
    #[must_use]
    pub fn capacity(capacity: Amount) -> Self {
        Self { capacity: Some(capacity), ..Self::default() }
    }

    /// What holds when `new` is said of something of which this was said before.
    #[must_use]
    pub fn overlaid(&self, new: &Self) -> Self {
        Self {
            capacity: new.capacity.or(self.capacity),
            concurrency: new.concurrency.or(self.concurrency),
            tokens: new.tokens.or(self.tokens),
            per: new.per.or(self.per),
            burst: new.burst.or(self.burst),
        }
    }

    /// The rate, if it has one.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        let (tokens, per) = (self.tokens?, self.per?);
        Some(Rate { tokens, per, burst: self.burst.unwrap_or(tokens) })
    }

    /// Whether all of it can be said of the resource with this name.
    ///
    /// # Errors
    /// `malformed` for what is nothing, incomplete, or makes no sense for the resource's type.
    pub fn check(&self, name: &ResourceName) -> Result<(), Refusal> {
        let wrong = |message: &str, hint: &str| {
            Err(Refusal::new(Code::Malformed, message).value(name.to_string()).hint(hint))
        };
        let kind = name.counted_as();
        let rated = self.tokens.is_some() || self.per.is_some() || self.burst.is_some();
        for (key, is_nothing) in [
            ("concurrency", self.concurrency == Some(0)),
            ("tokens", self.tokens == Some(Amount::ZERO)),
            ("per", self.per == Some(Span::ZERO)),
            ("burst", self.burst == Some(Amount::ZERO)),
        ] {
            if is_nothing {
                return Err(Refusal::new(Code::Malformed, format!("{key} must be more than nothing"))
                    .value("0")
                    .hint(format!("to start nothing that needs it: orchctl resources close {name}")));
            }
        }
        if let Some(rate) = self.rate().filter(|rate| rate.fills_in().is_none()) {
            let refusal = Refusal::new(Code::Malformed, "so many tokens do not come in a hundred years");
            return Err(refusal.value(rate.burst.to_string()).hint(format!("{name} gets {rate}")));
        }
        match kind {
            ResourceKind::Quantity if rated => wrong("a quantity has no rate", "give it a capacity"),
            ResourceKind::Quantity if self.capacity.is_none() => {
                wrong("this resource needs a capacity", "give capacity=AMOUNT")
            }
            ResourceKind::Rate if self.capacity.is_some() => wrong(
                "this resource has a rate or a concurrency, not a capacity",
                "give tokens=N per=DURATION, or concurrency=N",
            ),
            _ if rated && (self.tokens.is_none() || self.per.is_none()) => {
                wrong("a rate needs tokens and per", "give tokens=60 per=1m")
            }
            _ if rated && self.capacity.is_some() => {
                wrong("a resource has either a capacity or a rate", "limit its holders with concurrency=N")
            }
            _ if !rated && self.capacity.is_none() && self.concurrency.is_none() => {
                wrong("nothing is set", "give a capacity, a rate (tokens and per) or a concurrency")
            }
            ResourceKind::Quantity | ResourceKind::Rate | ResourceKind::Lock => Ok(()),
        }
    }
}

const MODE_WORDS: [&str; 3] = ["read", "write", "exclusive"];

impl ResourceName {
    /// Checks and builds a name. A quantity without an identifier gets its usual one (`cpu:system_cpu`).
    ///
    /// # Errors
    /// `malformed` when a part is empty, too long, or has a character it must not have.
    pub fn new(kind: &str, identifier: Option<&str>) -> Result<Self, Refusal> {
        check_part("resource type", kind)?;
        let identifier = match identifier {
            Some(given) => {
                check_part("resource identifier", given)?;
                given
            }
            None => default_identifier(kind).ok_or_else(|| {
                Refusal::new(Code::Malformed, "this resource type needs an identifier")
                    .value(kind)
                    .hint(format!("write {kind}:NAME"))
            })?,
        };
        if MODE_WORDS.contains(&identifier) {
            return Err(Refusal::new(Code::Malformed, "a mode is no identifier")
                .value(format!("{kind}:{identifier}"))
                .hint(format!("write {kind}:NAME:{identifier}")));
        }
        Ok(Self { kind: kind.into(), identifier: identifier.into() })
    }

    /// The type: `cpu`, `database`, or any word of the user's.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Which one of its type.
    #[must_use]
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// The cores of the machine.
    #[must_use]
    pub fn cpu() -> Self {
        Self { kind: "cpu".into(), identifier: "system_cpu".into() }
    }

    /// Whether it is the memory of the machine.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        (&*self.kind, &*self.identifier) == ("memory", "system_memory")
    }

    /// How resources of this type are counted.
    #[must_use]
    pub fn counted_as(&self) -> ResourceKind {
        match &*self.kind {
            "cpu" | "memory" | "disk" | "gpu" => ResourceKind::Quantity,
            "external_api" => ResourceKind::Rate,
            _ => ResourceKind::Lock,
        }
    }

    /// Whether a claim must say how much it wants: there is no usual amount of bytes.
    #[must_use]
    pub fn needs_amount(&self) -> bool {
        matches!(&*self.kind, "memory" | "disk")
    }

    /// An amount of it as people read it: memory and disk are counted in bytes (`512 MiB`).
    #[must_use]
    pub fn shown(&self, amount: Amount) -> String {
        match self.needs_amount() {
            true => bytes(amount.as_thousandths() / 1000),
            false => amount.to_string(),
        }
    }

    /// The same of two that are compared: those that differ look different.
    #[must_use]
    pub fn shown_apart(&self, one: Amount, other: Amount) -> [String; 2] {
        let shown = [self.shown(one), self.shown(other)];
        if one == other || shown[0] != shown[1] {
            return shown;
        }
        [one, other].map(|amount| format!("{amount} B"))
    }
}

fn default_identifier(kind: &str) -> Option<&'static str> {
    match kind {
        "cpu" => Some("system_cpu"),
        "memory" => Some("system_memory"),
        "disk" => Some("system_disk"),
        "gpu" => Some("system_gpu"),
        _ => None,
    }
}

fn check_part(what: &str, part: &str) -> Result<(), Refusal> {
    if part.is_empty() || part.len() > limits::RESOURCE_PART_BYTES {
        return Err(Refusal::new(
            Code::Malformed,
            format!("a {what} has 1 to {} bytes", limits::RESOURCE_PART_BYTES),
        )
        .value(part));
    }
    let is_wrong = |c: &char| matches!(c, ':' | ',' | '=') || c.is_whitespace() || is_unseen(*c);
    if let Some(c) = part.chars().find(is_wrong) {
        return Err(Refusal::new(Code::Malformed, format!("a {what} must not contain {}", said(c)))
            .value(shown(part)));
    }
    Ok(())
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.identifier)
    }
}

impl FromStr for ResourceName {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text.split_once(':') {
            Some((kind, identifier)) => Self::new(kind, Some(identifier)),
            None => Self::new(text, None),
        }
    }
}

impl TryFrom<String> for ResourceName {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        text.parse()
    }
}

impl From<ResourceName> for String {
    fn from(name: ResourceName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Refusal {
        text.parse::<ResourceName>().unwrap_err()
    }

    #[test]
    fn names_that_would_look_alike_are_refused_and_say_why() {
        for unseen in
            ['\u{200b}', '\u{202e}', '\u{2066}', '\u{ad}', '\u{feff}', '\u{e0041}', '\u{7}', '\u{9f}']
        {
            for text in [format!("lock:a{unseen}b"), format!("lo{unseen}ck:ab")] {
                let refusal = refused(&text);
                let escaped = unseen.escape_unicode().to_string();
                assert_eq!(refusal.code, Code::Malformed);
                assert!(refusal.message.contains("the invisible character"), "{refusal}");
                let value = refusal.value.unwrap();
                assert!(value.contains(&escaped) && !value.contains(unseen), "{value:?}");
            }
        }
        for text in ["lock:größe", "lock:鍵", "ключ:a-b_c.d/e@f"] {
            assert_eq!(text.parse::<ResourceName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_separates_claims_is_in_no_name() {
        for text in ["lock:a,b", "lo,ck:a"] {
            assert_eq!(refused(text).message.rsplit_once(' ').unwrap().1, "','");
        }
    }
}
