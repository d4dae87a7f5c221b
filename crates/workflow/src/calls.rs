//! The filters (`x | upper`) and tests (`x is defined`) that code calls: what does not exist would only be known when it runs.

use crate::code::{Token, tokens};
use crate::jinja::ENVIRONMENT;

/// Filters that are suggested.
const FILTERS: [&str; 45] = [
    "abs",
    "attr",
    "bool",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "groupby",
    "int",
    "items",
    "join",
    "json",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "quote",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "zip",
    "capitalize",
];
/// Tests that are suggested.
const TESTS: [&str; 24] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
];

/// What is called, and its name.
pub(crate) fn calls(code: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let mut before: [Option<Token<'_>>; 2] = [None, None];
    let is_blank = |token: &Token<'_>| matches!(token, Token::Other(text) if text.trim().is_empty());
    tokens(code).filter(move |token| !is_blank(token)).filter_map(move |token| {
        let call = match (before, token) {
            ([_, Some(Token::Other("|"))], Token::Word(name)) => Some(("filter", name)),
            ([_, Some(Token::Word("is"))], Token::Word(name)) if name != "not" => Some(("test", name)),
            ([Some(Token::Word("is")), Some(Token::Word("not"))], Token::Word(name)) => Some(("test", name)),
            _ => None,
        };
        // An attribute of this name is no call.
        let is_attribute = before[1] == Some(Token::Other("."));
        before = [before[1], if is_attribute { None } else { Some(token) }];
        call
    })
}

/// Whether there is a filter or test of this name.
pub(crate) fn exists(word: &str, name: &str) -> bool {
    // Most are among these, and compiling is not free.
    known_calls(word).any(|known| known == name) || is_compiled(word, name)
}

fn is_compiled(word: &str, name: &str) -> bool {
    let known = ENVIRONMENT.compile_expression_owned(format!("'{name}' is {word}"));
    known.and_then(|known| known.eval(())).is_ok_and(|exists| exists.is_true())
}

/// Those that a wrong name may have been meant for.
pub(crate) fn known_calls(word: &str) -> impl Iterator<Item = &'static str> {
    let known: &[&str] = if word == "filter" { &FILTERS } else { &TESTS };
    known.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_tests_are_found_and_text_is_none() {
        let code =
            "a | upper | nope(1) ~ 'x | y is z' and b.is is not defined and c is odd and d|json or e is none";
        let found: Vec<(&str, &str, bool)> =
            calls(code).map(|(word, name)| (word, name, exists(word, name))).collect();
        let expected = [
            ("filter", "upper", true),
            ("filter", "nope", false),
            ("test", "defined", true),
            ("test", "odd", true),
            ("filter", "json", true),
            ("test", "none", true),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_suggested_exists() {
        for (word, names) in [("filter", &FILTERS[..]), ("test", &TESTS[..])] {
            assert!(names.iter().all(|name| is_compiled(word, name)), "{word}");
        }
    }
}
