//! The names that templates and expressions read, so that a file can be checked before anything runs.

use minijinja::Value as Jinja;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use crate::code::{parts, unfolded_template};
use crate::jinja::{self, ENVIRONMENT, compile};

/// A name that a template or expression reads: `tasks.fetch.output.rows` as its parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference(pub(crate) Vec<String>);

impl Reference {
    /// What is not there, in words, when the name cannot be followed through the inputs.
    pub(crate) fn missing(&self, inputs: &Value) -> Option<String> {
        let mut value = inputs;
        for (depth, part) in self.0.iter().enumerate() {
            match value.get(part) {
                Some(next) => value = next,
                None if depth == 0 => return Some(format!("{part} is not defined")),
                None => {
                    let parent = self.0[..depth].join(".");
                    return Some(format!("{} is not defined: {parent} has no {part}", self.0.join(".")));
                }
            }
        }
        None
    }
}

/// The names that a template reads, as far as they can be known without its inputs.
pub(crate) fn references(text: &str) -> BTreeSet<Reference> {
    let unfolded = unfolded_template(text);
    let names = compile(&unfolded).map(|t| t.undeclared_variables(true)).unwrap_or_default();
    gathered(names, parts(text).into_iter().map(|part| &text[part]))
}

/// The names that an expression reads.
pub(crate) fn expression_references(when: &str) -> BTreeSet<Reference> {
    let names = jinja::expression(when).map(|e| e.undeclared_variables(true)).unwrap_or_default();
    gathered(names, [when])
}

/// The names that minijinja tells, and those in the codes that it does not.
fn gathered<'c>(
    names: impl IntoIterator<Item = String>,
    codes: impl IntoIterator<Item = &'c str>,
) -> BTreeSet<Reference> {
    let globals: BTreeMap<&str, Jinja> = ENVIRONMENT.globals().collect();
    names
        .into_iter()
        .filter(|name| !globals.contains_key(name.as_str()))
        .map(|name| Reference(name.split('.').map(str::to_owned).collect()))
        .chain(codes.into_iter().flat_map(subscripts))
        .collect()
}

/// Names written as `tasks["NAME"]` or `parameters['x']`, which minijinja does not report.
fn subscripts(code: &str) -> impl Iterator<Item = Reference> + '_ {
    ["tasks", "parameters"].into_iter().flat_map(move |root| {
        code.match_indices(root).filter_map(move |(at, _)| {
            let rest = code[at + root.len()..].strip_prefix('[')?;
            let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let (name, _) = rest[1..].split_once(quote)?;
            Some(Reference(vec![root.to_owned(), name.to_owned()]))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_what_is_read() {
        let names = |text: &str| -> Vec<String> { references(text).iter().map(|r| r.0.join(".")).collect() };
        assert_eq!(names("{{ tasks.a.output.x }} {{ parameters.p }}"), ["parameters.p", "tasks.a.output.x"]);
        assert_eq!(names("{{ tasks['a b'].output }}"), ["tasks", "tasks.a b"]);
        assert_eq!(names("{% for x in range(3) %}{{ x.y }}{% endfor %}"), [""; 0]);
        assert_eq!(names("{{ tasks.a-b.output }}"), ["b.output", "tasks.a"]);
    }
}
