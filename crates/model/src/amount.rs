//! Amounts of a resource: thousandths of a unit, so that half a core is exact and sums never round.

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use crate::{Code, Refusal};

/// Thousandths of a unit (a core, a byte, a token).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amount(u64);

const PER_UNIT: u64 = 1000;
/// The largest amount, in units: 2^53 is exact in JSON and leaves room for the sum of many.
const MAX_UNITS: f64 = 9_007_199_254_740_992.0;

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// More than any capacity.
    pub const MAX: Self = Self(u64::MAX);
    /// One unit.
    pub const ONE: Self = Self(PER_UNIT);

    /// An amount of whole units.
    #[must_use]
    pub const fn units(units: u64) -> Self {
        Self(units.saturating_mul(PER_UNIT))
    }

    /// An amount in thousandths of a unit.
    #[must_use]
    pub const fn thousandths(thousandths: u64) -> Self {
        Self(thousandths)
    }

    /// This amount in thousandths of a unit.
    #[must_use]
    pub const fn as_thousandths(self) -> u64 {
        self.0
    }

    /// This amount in units.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / PER_UNIT as f64
    }

    /// What is left after taking `other`, at least nothing.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// An amount of `units`. What is no whole number of thousandths is refused: nobody gets another amount than the
    /// one that was written.
    ///
    /// # Errors
    /// `malformed` for negative and not-a-number values and for parts of a thousandth, `too_large` for more than any
    /// machine has.
    pub fn from_f64(units: f64) -> Result<Self, Refusal> {
        let thousandths = units * PER_UNIT as f64;
        // What a binary fraction is off is no part of what was written.
        let slack = (thousandths.abs() * 1e-12).max(1e-6);
        if thousandths >= 1.0 && (thousandths - thousandths.round()).abs() > slack {
            let nearest = Self::nearest(units)?;
            return Err(Refusal::new(Code::Malformed, "an amount is counted in thousandths")
                .value(units.to_string())
                .hint(format!("the nearest one is {nearest}")));
        }
        Self::nearest(units)
    }

    /// An amount of `number` times `unit`. Of a unit that is made of smaller ones (a GiB) a part may be meant that is
    /// no whole number of those: it is the nearest.
    ///
    /// # Errors
    /// As [`Amount::from_f64`].
    pub fn scaled(number: f64, unit: f64) -> Result<Self, Refusal> {
        if unit > 1.0 { Self::nearest(number * unit) } else { Self::from_f64(number) }
    }

    /// An amount of `units`, to the nearest thousandth; what is above zero and below that is refused.
    ///
    /// # Errors
    /// As [`Amount::from_f64`], but for parts of a thousandth.
    pub fn nearest(units: f64) -> Result<Self, Refusal> {
        if units > MAX_UNITS {
            let refusal = Refusal::new(Code::TooLarge, format!("an amount is at most {MAX_UNITS}"));
            return Err(refusal.value(units.to_string()));
        }
        let thousandths = (units * PER_UNIT as f64).round();
        if (0.0..=MAX_UNITS).contains(&units) && (thousandths >= 1.0 || units == 0.0) {
            Ok(Self(thousandths as u64))
        } else {
            Err(Refusal::new(Code::Malformed, "an amount must be a number of at least 0.001")
                .value(units.to_string()))
        }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Amount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(PER_UNIT) {
            write!(f, "{}", self.0 / PER_UNIT)
        } else {
            write!(f, "{}", self.as_f64())
        }
    }
}

impl FromStr for Amount {
    type Err = Refusal;

    /// Reads a number (`2`, `0.5`) or a size (`512MiB`, `8GB`).
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let refuse = || {
            let is_negative = text.strip_prefix('-').is_some_and(|rest| rest.parse::<Self>().is_ok());
            let what = if is_negative { "an amount is not negative" } else { "not an amount" };
            let hint = "write a number, such as 2 or 0.5, or a size, such as 512MiB or 8GB";
            Refusal::new(Code::Malformed, what).value(text).hint(hint)
        };
        let number: f64 = text[..end].parse().map_err(|_| refuse())?;
        let scale = match text[end..].trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "t" | "tb" => 1e12,
            "ki" | "kib" => 1024.0,
            "mi" | "mib" => 1_048_576.0,
            "gi" | "gib" => 1_073_741_824.0,
            "ti" | "tib" => 1_099_511_627_776.0,
            _ => return Err(refuse()),
        };
        Self::scaled(number, scale).map_err(|refusal| refusal.value(text))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            self.0.serialize(serializer)
        } else if self.0.is_multiple_of(PER_UNIT) {
            serializer.serialize_u64(self.0 / PER_UNIT)
        } else {
            serializer.serialize_f64(self.as_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount: a number such as 2 or 0.5, or a size such as \"512MiB\"")
            }

            fn visit_u64<E: de::Error>(self, units: u64) -> Result<Amount, E> {
                Amount::from_f64(units as f64).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, units: i64) -> Result<Amount, E> {
                Amount::from_f64(units as f64).map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, units: f64) -> Result<Amount, E> {
                Amount::from_f64(units).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                text.parse().map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Reader)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_in_units_and_sizes() {
        assert_eq!("2".parse::<Amount>().unwrap(), Amount::units(2));
        assert_eq!("0.5".parse::<Amount>().unwrap(), Amount::thousandths(500));
        assert_eq!("512MiB".parse::<Amount>().unwrap(), Amount::units(512 << 20));
        assert_eq!("8GB".parse::<Amount>().unwrap(), Amount::units(8_000_000_000));
    }

    #[test]
    fn parts_of_a_thousandth_are_refused_and_not_rounded() {
        let refusal = "1.0005".parse::<Amount>().unwrap_err();
        assert_eq!((refusal.code, refusal.value.as_deref()), (Code::Malformed, Some("1.0005")));
        assert!(refusal.message.contains("thousandths"), "{refusal}");
        assert_eq!(refusal.hint.as_deref(), Some("the nearest one is 1.001"));
        assert!(Amount::from_f64(0.123_4).is_err() && serde_json::from_str::<Amount>("2.0001").is_err());
        // What only looks like a part, because it is binary, is none; a size is in whole bytes to begin with.
        for (units, thousandths) in
            [(0.1 + 0.2, 300), (1.001, 1001), (0.29, 290), (1_000_000.001, 1_000_000_001)]
        {
            assert_eq!(Amount::from_f64(units).unwrap(), Amount::thousandths(thousandths), "{units}");
        }
        assert!("0.3333GiB".parse::<Amount>().is_ok() && "1.1MB".parse::<Amount>().is_ok());
    }

    #[test]
    fn amounts_that_are_no_amount_are_refused() {
        for text in ["-1", "nan", "inf", "", "x", "1x", "0.0001", "1e99", "99999999999999999999"] {
            assert!(text.parse::<Amount>().is_err(), "{text:?} should be refused");
        }
        assert!(Amount::from_f64(f64::NAN).is_err());
        assert_eq!("99999TiB".parse::<Amount>().unwrap_err().code, Code::TooLarge);
    }
}
