//! Text in lines that fit a terminal.

/// Breaks a text into lines of at most `width` columns, at blanks where there are any.
pub(crate) fn lines(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let (mut lines, mut line, mut taken) = (Vec::new(), String::new(), 0);
    for (position, word) in text.split(' ').enumerate() {
        let wide = visible_width(word);
        if position > 0 && taken + 1 + wide <= width {
            line.push(' ');
            line.push_str(word);
            taken += 1 + wide;
            continue;
        }
        if position > 0 {
            lines.push(std::mem::take(&mut line));
        }
        let mut pieces = broken(word, width);
        line = pieces.pop().unwrap_or_default();
        taken = visible_width(&line);
        lines.append(&mut pieces);
    }
    lines.push(line);
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

/// The pieces of a word that is too long for a line. One that is coloured is left as it is.
fn broken(word: &str, width: usize) -> Vec<String> {
    if visible_width(word) <= width || word.contains('\x1b') {
        return vec![word.to_owned()];
    }
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(width).map(|piece| piece.iter().collect()).collect()
}

/// How many columns a text takes, without the sequences that colour it.
pub(crate) fn visible_width(text: &str) -> usize {
    let mut parts = text.split('\x1b');
    let plain = parts.next().unwrap_or_default().chars().count();
    plain + parts.map(|part| part.split_once('m').map_or(0, |(_, rest)| rest.chars().count())).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_and_nothing_too_wide() {
        for (text, width, expected) in [
            ("", 5, &[""][..]),
            ("a bc def", 8, &["a bc def"]),
            ("a bc def", 5, &["a bc", "def"]),
            ("abcdefgh ij", 3, &["abc", "def", "gh", "ij"]),
            ("a abcdefgh", 4, &["a", "abcd", "efgh"]),
            ("\x1b[32mgreen\x1b[0m b", 7, &["\x1b[32mgreen\x1b[0m b"]),
            ("ab", 0, &["a", "b"]),
        ] {
            assert_eq!(lines(text, width), expected, "{text}");
        }
    }
}
