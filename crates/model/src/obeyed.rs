//! Characters that are obeyed and not shown.

/// Whether a terminal or a reader obeys this character instead of showing it: control characters, and those that turn
/// the direction of what follows (the explicit formatting characters of the Unicode bidirectional algorithm, UAX #9).
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_or_colours_other_text_is_obeyed_and_letters_are_not() {
        assert!(['\u{1b}', '\n', '\u{9b}', '\u{202e}', '\u{2067}'].into_iter().all(is_obeyed));
        assert!(!['a', 'é', '\u{5d0}', '\u{200d}', ' '].into_iter().any(is_obeyed));
    }
}
