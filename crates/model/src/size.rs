//! Bytes, as people read them.

/// A number of bytes, to one place after the point: `512 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value.fract() == 0.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// The same without loss, as sizes are written in options and files: `512MiB`, or the number.
pub(crate) fn exact(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = |(_, shift): &(&str, u32)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match units.iter().find(|unit| whole(unit)) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Amount;

    #[test]
    fn sizes_are_rounded_for_people_and_exact_for_options() {
        assert_eq!([1023, 1536, 512 << 20].map(bytes), ["1023 B", "1.5 KiB", "512 MiB"]);
        for (size, text) in
            [(0, "0"), (1000, "1000"), (1536, "1536"), (512 << 20, "512MiB"), (3 << 40, "3TiB")]
        {
            assert_eq!(exact(size), text);
            assert!(size == 0 || text.parse() == Ok(Amount::units(size)));
        }
    }
}
