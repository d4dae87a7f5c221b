//! "Did you mean ...?"

/// The name that is nearest to what was written, if one is near enough to be meant
/// (Damerau-Levenshtein distance of at most a third of the length, at least 1; something must be the same).
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    let length = written.chars().count();
    let reach = (length / 3).max(1);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&written, &name.to_ascii_lowercase()), name))
        .filter(|(distance, _)| *distance <= reach && *distance < length)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let names = ["critical", "high", "normal", "low"];
        assert_eq!(nearest("normel", names), Some("normal"));
        assert_eq!(nearest("HIHG", names), Some("high"));
        assert_eq!(nearest("urgent", names), None);
        assert_eq!(nearest("x", ["a", "b"]), None);
    }
}
