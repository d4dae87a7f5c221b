//! Which templates and expressions may cost much: those that loop, repeat or join texts, or call what goes through lists.
//!
//! Nothing that is not told here can take more time or memory than a few times what its inputs take. What is told may still
//! be cheap; whoever evaluates it does so where it can be ended.

use orchd_model::{Body, TaskSpec};
use serde_json::Value;

use crate::code::{Token, parts, tokens};
use crate::jinja::is_template;
use crate::parameters::AS_DECLARED;

/// Names and numbers in all templates of a task: each may look at all of the inputs.
const WORDS: usize = 64;
/// Filters that give no more than they are given, in one pass.
const CHEAP_FILTERS: [&str; 18] = [
    AS_DECLARED,
    "default",
    "d",
    "json",
    "tojson",
    "quote",
    "length",
    "count",
    "upper",
    "lower",
    "trim",
    "int",
    "float",
    "string",
    "bool",
    "first",
    "last",
    "abs",
];
/// Words that are no operands.
const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "raw", "endraw"];

/// Whether filling in the templates of a task may cost much.
#[must_use]
pub fn may_cost(spec: &TaskSpec) -> bool {
    let mut meter = Meter::default();
    match &spec.body {
        Body::Command { argv } => argv.iter().for_each(|text| meter.template(text)),
        Body::Shell { line } => meter.template(line),
        Body::Handler { .. } | Body::Milestone => {}
    }
    spec.env.values().chain(&spec.cwd).chain(&spec.stdin).for_each(|text| meter.template(text));
    spec.parameters.values().for_each(|value| meter.value(value));
    meter.is_much()
}

/// Whether an expression may cost much.
#[must_use]
pub fn expression_may_cost(expression: &str) -> bool {
    let mut meter = Meter::default();
    meter.code(expression);
    meter.is_much()
}

#[derive(Default)]
struct Meter {
    words: usize,
    /// Something without a bound was met.
    unbounded: bool,
}

impl Meter {
    fn is_much(&self) -> bool {
        self.unbounded || self.words > WORDS
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.template(text),
            Value::Array(items) => items.iter().for_each(|item| self.value(item)),
            Value::Object(fields) => fields.values().for_each(|field| self.value(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn template(&mut self, text: &str) {
        if is_template(text) {
            parts(text).into_iter().for_each(|part| self.code(&text[part]));
        }
    }

    fn code(&mut self, code: &str) {
        let mut filters = false;
        let mut tokens = tokens(code).filter(|token| !is_space(*token)).peekable();
        while let Some(token) = tokens.next() {
            match token {
                Token::Word(word) => self.word(word, filters, tokens.peek() == Some(&Token::Other("("))),
                Token::Other("*" | "~") => self.unbounded = true,
                Token::Number(_) => self.words += 1,
                Token::Text(_) | Token::Other(_) => {}
            }
            filters = token == Token::Other("|");
        }
    }

    fn word(&mut self, word: &str, is_filter: bool, is_called: bool) {
        let is_cheap = CHEAP_FILTERS.contains(&word);
        let is_operator = ["and", "or", "not", "in", "is", "if", "elif"].contains(&word);
        self.unbounded |=
            word == "for" || (is_filter && !is_cheap) || (is_called && !is_filter && !is_operator);
        self.words += usize::from(!STATEMENTS.contains(&word));
    }
}

fn is_space(token: Token<'_>) -> bool {
    matches!(token, Token::Other(text) if text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_things_up_is_cheap_and_all_else_is_told() {
        for cheap in [
            "echo {{ parameters.rows }} {{ tasks['a*b'].output.x | default('a ~ b') | quote }}",
            "{% if parameters.a > 3 and (tasks.b.status == 'failed') %}x{% else %}y{% endif %}",
            "{{ parameters.a + 1 }} for * ~ |",
            "no template * for all",
        ] {
            assert!(!may_cost(&TaskSpec::shell(cheap)), "{cheap}");
        }
        let many = "{{ parameters.a }}".repeat(40);
        for costly in [
            "{% for a in parameters.list %}{% endfor %}",
            "{{ 'x' * 99999 }}",
            "{{ parameters.a ~ parameters.a }}",
            "{{ range(9) }}",
            "{{ parameters.list | map('sum') }}",
            "{{ parameters.list|sum }}",
            "{{ '}}' * 9 }}",
            "{{ [x for x in y] }}",
            &many,
        ] {
            assert!(may_cost(&TaskSpec::shell(costly)), "{costly}");
        }
        assert!(!expression_may_cost("tasks.a.output.rows > 10 or item is defined"));
        assert!(expression_may_cost("result.rows | sum") && expression_may_cost("parameters.a.items()"));
    }
}
