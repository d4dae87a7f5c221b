//! Characters that leave no trace of their own, or turn the others round: two names would look like one.

use unicode_general_category::{GeneralCategory, get_general_category};

use crate::{Code, Refusal};

/// Whether a character cannot be seen: a control character, or one that only formats (Unicode categories Cc and Cf).
pub(crate) fn is_unseen(c: char) -> bool {
    let is_plain = c.is_ascii_graphic() || c == ' ';
    !is_plain && matches!(get_general_category(c), GeneralCategory::Control | GeneralCategory::Format)
}

/// Refuses a name in which something cannot be seen. What was stored before this was asked is loaded without it.
///
/// # Errors
/// `malformed` with the first such character, and the name as it can be shown.
pub fn check_seen(what: &str, name: &str) -> Result<(), Refusal> {
    let Some(c) = name.chars().find(|c| is_unseen(*c)) else { return Ok(()) };
    let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let message = format!("{article} {what} must not contain {}", said(c));
    Err(Refusal::new(Code::Malformed, message).value(shown(name)))
}

/// A character as a message names it.
pub(crate) fn said(c: char) -> String {
    if is_unseen(c) { format!("the invisible character {c:?}") } else { format!("{c:?}") }
}

/// A text as it can be shown: what cannot be seen is escaped.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_another_is_refused_and_shown_with_what_is_unseen() {
        for unseen in ['\u{200b}', '\u{202e}', '\u{ad}', '\u{feff}', '\u{e0041}', '\u{7}', '\n', '\0'] {
            let refusal = check_seen("name", &format!("a{unseen}b")).unwrap_err();
            assert_eq!(
                refusal.message,
                format!("a name must not contain the invisible character {unseen:?}")
            );
            assert_eq!(refusal.value, Some(format!("a{}b", unseen.escape_unicode())));
        }
        for seen in ["nightly", "Größe 2 ~", "日本", "👍", ""] {
            assert_eq!(check_seen("name", seen), Ok(()), "{seen}");
        }
        assert!(check_seen("identifier", "\u{200b}").unwrap_err().message.starts_with("an identifier must"));
    }
}
