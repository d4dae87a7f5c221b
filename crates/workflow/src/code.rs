//! The code within templates as a list of tokens: for what has to be known before it is compiled.
//!
//! The compiler of minijinja evaluates operators between constants as soon as it reads them, so that a file with
//! `'x' * 99999999` takes 100 MB to check. Only `*` makes much of little, and only with a number: where there is a `*`, each number
//! is passed through a filter that gives it as it is, and so is no constant ([`unfolded`]).

use std::borrow::Cow;
use std::ops::Range;

/// The filter that gives a number as it is.
pub(crate) const AS_IT_IS: &str = "number_as_it_is";

/// Words that are operators.
const OPERATORS: [&str; 7] = ["and", "or", "not", "if", "else", "in", "is"];

/// A piece of code. All of them together are the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'s> {
    Word(&'s str),
    /// Not the number of an attribute: `x.0`.
    Number(&'s str),
    /// With its quotes; without the second one if it never ends.
    Text(&'s str),
    /// One character.
    Other(&'s str),
}

impl<'s> Token<'s> {
    pub(crate) fn text(self) -> &'s str {
        match self {
            Self::Word(text) | Self::Number(text) | Self::Text(text) | Self::Other(text) => text,
        }
    }
}

/// The tokens of an expression.
pub(crate) fn tokens(code: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = code;
    let mut after_dot = false;
    std::iter::from_fn(move || {
        let token = first_token(rest, after_dot)?;
        rest = &rest[token.text().len()..];
        after_dot = token == Token::Other(".");
        Some(token)
    })
}

fn first_token(rest: &str, after_dot: bool) -> Option<Token<'_>> {
    let first = rest.chars().next()?;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word = || rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
    Some(match first {
        '\'' | '"' => Token::Text(&rest[..end_of_text(rest)]),
        '0'..='9' if !after_dot => Token::Number(&rest[..end_of_number(rest)]),
        first if is_word(first) => Token::Word(&rest[..word()]),
        first => Token::Other(&rest[..first.len_utf8()]),
    })
}

fn end_of_text(code: &str) -> usize {
    let quote = code.chars().next();
    let mut escaped = false;
    for (at, c) in code.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if Some(c) == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    code.len()
}

/// `12`, `1_000`, `0xff`, `1.5`, `1e9`, `1e-9`.
fn end_of_number(code: &str) -> usize {
    let bytes = code.as_bytes();
    let is_hex = code.starts_with("0x") || code.starts_with("0X");
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let goes_on = |at: usize| match bytes.get(at) {
        Some(b'.' | b'+' | b'-') if !digit(at + 1) => false,
        Some(b'.') => true,
        Some(b'+' | b'-') => !is_hex && matches!(bytes[at - 1], b'e' | b'E'),
        Some(byte) => byte.is_ascii_alphanumeric() || *byte == b'_',
        None => false,
    };
    (1..).find(|at| !goes_on(*at)).unwrap_or(code.len())
}

/// Where the code of a template stands, without its braces. What is raw is no code. Goes over it once.
pub(crate) fn parts(template: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut from = 0;
    while let Some(open) = next_code(&template[from..]) {
        let begin = from + open + 2;
        let close = if template[..begin].ends_with("{{") { "}}" } else { "%}" };
        let end = begin + code_before(&template[begin..], close);
        parts.push(begin..end);
        from = end;
        let word = template[begin..end].trim_matches(['-', '+', ' ', '\t', '\n']);
        if close == "%}" && word == "raw" {
            from = template[end..].find("endraw").map_or(template.len(), |at| end + at);
        }
    }
    parts
}

/// Where the next braces open.
fn next_code(rest: &str) -> Option<usize> {
    rest.match_indices('{').map(|(at, _)| at).find(|at| rest[at + 1..].starts_with(['{', '%']))
}

/// How much code there is before its closing braces, which may also stand in texts.
fn code_before(rest: &str, close: &str) -> usize {
    let mut end = 0;
    for token in tokens(rest) {
        if rest[end..].starts_with(close) {
            break;
        }
        end += token.text().len();
    }
    end
}

/// How deep an expression can be at most: each operator, call, filter, attribute and bracket may stand around all that
/// stands before or behind it.
pub(crate) fn depth(expression: &str) -> usize {
    let deepens = |token: &Token<'_>| match token {
        Token::Word(word) => OPERATORS.contains(word),
        Token::Other(other) => !matches!(*other, "," | ":" | ")" | "]" | "}") && !other.trim().is_empty(),
        Token::Number(_) | Token::Text(_) => false,
    };
    tokens(expression).filter(deepens).count()
}

/// The expression with nothing in it that the compiler would work out and that might be large.
pub(crate) fn unfolded(expression: &str) -> Cow<'_, str> {
    if !tokens(expression).any(|token| token == Token::Other("*")) {
        return Cow::Borrowed(expression);
    }
    let changed = tokens(expression).map(|token| match token {
        Token::Number(number) => format!("({number}|{AS_IT_IS})"),
        other => other.text().to_owned(),
    });
    Cow::Owned(changed.collect())
}

/// The same for all code of a template.
pub(crate) fn unfolded_template(template: &str) -> Cow<'_, str> {
    if !template.contains('*') {
        return Cow::Borrowed(template);
    }
    let mut text = String::with_capacity(template.len());
    let mut from = 0;
    for part in parts(template) {
        text.push_str(&template[from..part.start]);
        text.push_str(&unfolded(&template[part.clone()]));
        from = part.end;
    }
    text.push_str(&template[from..]);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_no_constants_where_something_is_multiplied() {
        for (code, changed) in [
            ("a + 1", "a + 1"),
            ("'2 * 3' + 4", "'2 * 3' + 4"),
            ("x1 * 2.5e-3 + y.0 - 0xff[1:-2]", "x1 * (2.5e-3|N) + y.0 - (0xff|N)[(1|N):-(2|N)]"),
            ("range(10 ** 9)", "range((10|N) ** (9|N))"),
            ("'a\\'9' * 1_000", "'a\\'9' * (1_000|N)"),
        ] {
            assert_eq!(unfolded(code).replace(AS_IT_IS, "N"), changed, "{code}");
        }
        let template = "2 * 3 {{ 2 * '}} 3' }} {% raw %}{{ 4 * 4 }}{% endraw %} {%- if 1 %}5 * 5{% endif %}";
        assert_eq!(
            unfolded_template(template).replace(AS_IT_IS, "N"),
            "2 * 3 {{ (2|N) * '}} 3' }} {% raw %}{{ 4 * 4 }}{% endraw %} {%- if 1 %}5 * 5{% endif %}"
        );
    }
}
