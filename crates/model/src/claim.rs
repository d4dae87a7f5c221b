//! Claims: what a task must hold to run, and which claims go together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::size::exact;
use crate::{Amount, Code, Refusal, ResourceName, nearest};

/// How a claim shares its resource. The order is by strength.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Many holders at once, each with its amount, while the sum stays within the capacity.
    #[default]
    Read,
    /// The only holder; accounted its amount.
    Write,
    /// The only holder; takes the whole capacity.
    Exclusive,
}

impl Mode {
    /// Every mode, the weakest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Exclusive];

    /// The claim matrix: whether a claim in mode `asked` can be granted beside one held in this mode.
    /// Amounts are a separate question.
    #[must_use]
    pub fn admits(self, asked: Self) -> bool {
        match (self, asked) {
            (Self::Read, Self::Read) => true,
            (Self::Read, Self::Write | Self::Exclusive) | (Self::Write | Self::Exclusive, _) => false,
        }
    }

    /// The word that users write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exclusive => "exclusive",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|m| m.as_str() == text).ok_or_else(|| {
            let refusal = Refusal::new(Code::Malformed, "unknown claim mode").value(text);
            match nearest(text, Self::ALL.map(Self::as_str)) {
                Some(near) => refusal.hint(format!("did you mean {near}?")),
                None => refusal.hint("one of read, write, exclusive"),
            }
        })
    }
}

/// What an attempt keeps of a claim that it loosens before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Nothing: the claim is given back early.
    Nothing,
    /// Its amount in mode read, where it had write or exclusive.
    Read,
}

/// A resource, a mode and an amount above zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// What is claimed.
    pub resource: ResourceName,
    /// How it is shared.
    pub mode: Mode,
    /// How much of it: cores, bytes, tokens, or 1 for a lock.
    pub amount: Amount,
}

impl Claim {
    /// Builds a claim; without an amount it wants one unit.
    ///
    /// # Errors
    /// `malformed` when the amount is zero, or missing where there is no usual one (memory, disk).
    pub fn new(resource: ResourceName, mode: Mode, amount: Option<Amount>) -> Result<Self, Refusal> {
        let amount = match amount {
            Some(Amount::ZERO) => {
                return Err(Refusal::new(Code::Malformed, "a claim must want more than nothing")
                    .value(format!("{resource}=0")));
            }
            Some(amount) => amount,
            None if resource.needs_amount() && mode != Mode::Exclusive => {
                return Err(Refusal::new(Code::Malformed, "this claim needs an amount")
                    .value(resource.to_string())
                    .hint(format!("write {}=512MiB", resource.kind())));
            }
            None => Amount::ONE,
        };
        Ok(Self { resource, mode, amount })
    }
}

/// Merges the claims of one task: one claim a resource, with the strongest mode and the sum of the
/// amounts, ordered by resource.
#[must_use]
pub fn merge_claims(mut claims: Vec<Claim>) -> Vec<Claim> {
    claims.sort_by(|a, b| a.resource.cmp(&b.resource));
    claims.dedup_by(|next, kept| {
        let same = next.resource == kept.resource;
        if same {
            kept.mode = kept.mode.max(next.mode);
            kept.amount += next.amount;
        }
        same
    });
    claims
}

impl fmt::Display for Claim {
    /// Writes the text that [`Claim::from_str`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.resource)?;
        if self.mode != Mode::Read {
            write!(f, ":{}", self.mode)?;
        }
        let whole = self.amount.as_thousandths().is_multiple_of(1000);
        if self.resource.needs_amount() && whole {
            write!(f, "={}", exact(self.amount.as_thousandths() / 1000))?;
        } else if self.amount != Amount::ONE || self.resource.needs_amount() {
            write!(f, "={}", self.amount)?;
        }
        Ok(())
    }
}

impl FromStr for Claim {
    type Err = Refusal;

    /// Reads `TYPE[:IDENTIFIER][:MODE][=AMOUNT]`.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (name, amount) = match text.split_once('=') {
            Some((name, amount)) => (name, Some(amount.parse()?)),
            None => (text, None),
        };
        let parts: Vec<&str> = name.split(':').collect();
        let (kind, identifier, mode) = match parts[..] {
            [kind] => (kind, None, Mode::Read),
            [kind, second] => match Mode::ALL.into_iter().find(|m| m.as_str() == second) {
                Some(mode) => (kind, None, mode),
                None => (kind, Some(second), Mode::Read),
            },
            [kind, identifier, mode] => (kind, Some(identifier), mode.parse()?),
            _ => {
                return Err(Refusal::new(Code::Malformed, "a claim has at most three parts")
                    .value(text)
                    .hint("write TYPE[:IDENTIFIER][:read|write|exclusive][=AMOUNT]"));
            }
        };
        Self::new(ResourceName::new(kind, identifier)?, mode, amount)
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimFields {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    identifier: Option<String>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    amount: Option<Amount>,
}

impl Serialize for Claim {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return (&self.resource, self.mode, self.amount).serialize(serializer);
        }
        ClaimFields {
            kind: self.resource.kind().to_owned(),
            identifier: Some(self.resource.identifier().to_owned()),
            mode: self.mode,
            amount: Some(self.amount),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Claim {
    /// In JSON and YAML a claim is an object `{type, identifier, mode, amount}` or the text of the command
    /// line.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Claim;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a claim: {type, identifier, mode, amount} or text such as cpu=2")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Claim, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Claim, A::Error> {
                let fields = ClaimFields::deserialize(MapAccessDeserializer::new(map))?;
                ResourceName::new(&fields.kind, fields.identifier.as_deref())
                    .and_then(|resource| Claim::new(resource, fields.mode, fields.amount))
                    .map_err(A::Error::custom)
            }
        }
        if !deserializer.is_human_readable() {
            let (resource, mode, amount) = Deserialize::deserialize(deserializer)?;
            return Ok(Self { resource, mode, amount });
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_as_the_command_line_writes_them() {
        for (text, shown) in [
            ("cpu=2", "cpu:system_cpu=2"),
            ("cpu", "cpu:system_cpu"),
            ("cpu:exclusive", "cpu:system_cpu:exclusive"),
            ("memory=512MiB", "memory:system_memory=512MiB"),
            ("disk=1500", "disk:system_disk=1500"),
            ("external_api:openai=100", "external_api:openai=100"),
            ("database:main:write", "database:main:write"),
            ("lock:deploy:exclusive", "lock:deploy:exclusive"),
        ] {
            let claim: Claim = text.parse().unwrap();
            assert_eq!(claim.to_string(), shown);
            assert_eq!(shown.parse::<Claim>().unwrap(), claim);
        }
    }

    #[test]
    fn claims_that_make_no_sense_are_refused() {
        for text in [
            "",
            "database",
            "memory",
            "cpu=0",
            "cpu=-1",
            "cpu=nan",
            "lock:a:b:c",
            "lock:a:rite",
            "lock::x",
            "lock:read:read",
            "a b:c",
        ] {
            assert!(text.parse::<Claim>().is_err(), "{text:?} should be refused");
        }
    }

    #[test]
    fn merging_takes_the_strongest_mode_and_the_sum() {
        let claims = ["cpu=1", "lock:a", "cpu:write=2", "lock:a:exclusive"].map(|c| c.parse().unwrap());
        let merged: Vec<String> = merge_claims(claims.into()).iter().map(Claim::to_string).collect();
        assert_eq!(merged, ["cpu:system_cpu:write=3", "lock:a:exclusive=2"]);
    }

    #[test]
    fn the_claim_matrix_shares_only_among_readers() {
        for held in Mode::ALL {
            for asked in Mode::ALL {
                assert_eq!(held.admits(asked), held == Mode::Read && asked == Mode::Read, "{held} {asked}");
            }
        }
    }
}
