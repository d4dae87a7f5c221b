//! What the templates and the `when` of one task may name: parameters, and the results of the tasks that it
//! depends on directly, since only those are there when it starts.

use orchd_model::{Dependency, DependencyTarget};
use serde_json::{Map, Value};
use std::collections::HashSet;

use crate::calls::{calls, exists, known_calls};
use crate::code::parts;
use crate::error::{Report, did_you_mean, shown};
use crate::expression::check_value_expression;
use crate::jinja::{check_template, is_template};
use crate::names::Names;
use crate::node::{Content, Entry, Node, Position};
use crate::reference::{Reference, expression_references, references};
use crate::template::check_expression;

/// What is known of a task that others depend on.
pub(crate) const TASK_FACTS: [&str; 4] = ["status", "output", "exit_code", "attempts"];

/// What helps who wants braces as they are.
pub(crate) const LITERAL: &str = "a literal {{ or {% is written {{ '{{' }} or {{ '{%' }}";

/// What the templates of one task may name.
pub(crate) struct Scope<'s> {
    /// The task, for hints.
    pub(crate) task: &'s str,
    /// Its own parameters.
    pub(crate) own: &'s Map<String, Value>,
    /// The parameters of the workflow.
    pub(crate) parameters: &'s HashSet<String>,
    /// What it waits for.
    pub(crate) dependencies: &'s [Dependency],
    /// The tasks beside it.
    pub(crate) beside: &'s Names<'s>,
    /// Whether it is done for each element of a list.
    pub(crate) element: bool,
    /// Whether it runs at the end of the workflow.
    pub(crate) finally: bool,
}

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw<'r> {
    /// There is no such parameter.
    Parameter(&'r str),
    /// It is no direct dependency.
    Task(&'r str),
    /// This is not known of a task.
    Fact(&'r str),
    /// Nothing begins like this.
    Root(&'r str),
}

impl Scope<'_> {
    /// Checks one key of the task, if it is one that holds templates or an expression.
    pub(crate) fn check(&self, entry: &Entry, report: &mut Report) {
        match entry.key.as_str() {
            "command" | "shell" | "env" | "cwd" | "stdin" | "parameters" => {
                let mut strings = Vec::new();
                collect_templates(&entry.node, &mut strings);
                for node in strings {
                    self.check_template(node, entry.key != "parameters", report);
                }
            }
            "when" => self.check_when(&entry.node, report),
            "foreach" => self.check_value("foreach", &entry.node, &[], report),
            "transform" => self.check_value("transform", &entry.node, &["result"], report),
            _ => {}
        }
    }

    fn check_template(&self, node: &Node, sees_own: bool, report: &mut Report) {
        let Content::Text(text) = &node.content else { return };
        if let Err((line, message)) = check_template(&text.text) {
            let at = within(node, line.unwrap_or(1));
            report.add_hint(at, format!("template does not parse: {message}"), LITERAL);
            return;
        }
        let (mut line, mut counted) = (1, 0);
        for part in parts(&text.text) {
            line += newlines(&text.text[counted..part.start]);
            counted = part.start;
            check_calls(&text.text[part], within(node, line), report);
        }
        for reference in references(&text.text) {
            let at = || {
                let found = text.text.find(&reference.0.join("."));
                within(node, 1 + found.map_or(0, |at| newlines(&text.text[..at])))
            };
            self.check_reference(&reference, &at, sees_own, report);
        }
    }

    fn check_when(&self, node: &Node, report: &mut Report) {
        let Some(when) = node.as_expression() else { return };
        if let Err(refusal) = check_expression(when) {
            report.add_with(node.at, || (format!("{}: {}", refusal.message, shown(when)), refusal.hint));
            return;
        }
        check_calls(when, node.at, report);
        for reference in expression_references(when) {
            self.check_reference(&reference, &|| node.at, true, report);
        }
    }

    fn check_value(&self, field: &str, node: &Node, more: &[&str], report: &mut Report) {
        let Content::Text(text) = &node.content else { return };
        if let Err(refusal) = check_value_expression(field, &text.text) {
            // Of foreach it has been told where it was read.
            if field != "foreach" {
                report.refused(node.at, field, &refusal);
            }
            return;
        }
        check_calls(&text.text, node.at, report);
        // The list is there before its elements.
        let scope = Scope { element: self.element && field != "foreach", ..*self };
        for reference in expression_references(&text.text) {
            let is_more = reference.0.first().is_some_and(|root| more.contains(&root.as_str()));
            if !is_more {
                scope.check_reference(&reference, &|| node.at, true, report);
            }
        }
    }

    /// The names beside `parameters` and `tasks`.
    fn more_names(&self) -> impl Iterator<Item = &'static str> {
        let of_element = ["item", "index"].into_iter().filter(|_| self.element);
        of_element.chain(["workflow"].into_iter().filter(|_| self.finally))
    }

    /// All names that a template may begin with.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &'static str> {
        ["parameters", "tasks"].into_iter().chain(self.more_names())
    }

    /// The parameters that it may name.
    pub(crate) fn known_parameters(&self, sees_own: bool) -> impl Iterator<Item = &str> {
        let own = self.own.keys().map(String::as_str).filter(move |_| sees_own);
        self.parameters.iter().map(String::as_str).chain(own)
    }

    /// The names of what it waits for.
    pub(crate) fn dependency_names(&self) -> impl Iterator<Item = &str> {
        self.dependencies.iter().filter_map(name_of)
    }

    /// What is wrong with a name, as far as that is known before its task starts.
    pub(crate) fn flaw<'r>(&self, reference: &'r Reference, sees_own: bool) -> Option<Flaw<'r>> {
        let mut parts = reference.0.iter().map(String::as_str);
        match (parts.next()?, parts.next(), parts.next()) {
            ("parameters", Some(name), _) => {
                let is_known = self.parameters.contains(name) || (sees_own && self.own.contains_key(name));
                (!is_known).then_some(Flaw::Parameter(name))
            }
            ("tasks", Some(name), _) if !self.depends_on(name) => Some(Flaw::Task(name)),
            ("tasks", Some(_), Some(fact)) if !TASK_FACTS.contains(&fact) => Some(Flaw::Fact(fact)),
            (root, ..) => (!self.roots().any(|name| name == root)).then_some(Flaw::Root(root)),
        }
    }

    /// Reports a name that is not there, with the place that it is found at.
    fn check_reference(
        &self,
        reference: &Reference,
        at: &dyn Fn() -> Position,
        sees_own: bool,
        report: &mut Report,
    ) {
        let Some(flaw) = self.flaw(reference, sees_own) else { return };
        // Looking for it is worth it only if it is told.
        let at = if report.is_full() { Position::default() } else { at() };
        match flaw {
            Flaw::Parameter(name) => {
                report.unknown(at, "unknown parameter in a template", name, self.known_parameters(sees_own));
            }
            Flaw::Task(name) => self.refuse_task(name, at, report),
            Flaw::Fact(fact) => report.add_with(at, || {
                let hint = did_you_mean(fact, TASK_FACTS);
                let hint = hint.unwrap_or_else(|| format!("known are {}", TASK_FACTS.join(", ")));
                let message = format!("unknown fact of a task in a template: {}", shown(fact));
                let task = reference.0.get(1).map_or("", String::as_str);
                (message, Some(format!("tasks.{}: {hint}", shown(task))))
            }),
            Flaw::Root(root) => report.add_with(at, || {
                let hint = did_you_mean(root, self.roots())
                    .unwrap_or_else(|| "known are parameters.NAME, tasks.NAME and tasks[\"a-b\"]".to_owned());
                (format!("unknown name in a template: {}", shown(root)), Some(hint))
            }),
        }
    }

    fn depends_on(&self, name: &str) -> bool {
        self.dependency_names().any(|known| known == name)
    }

    /// A task whose results are not there.
    fn refuse_task(&self, name: &str, at: Position, report: &mut Report) {
        // Looking for it among all others is worth it only if it is told.
        if report.is_full() || self.beside.have(name) {
            report.add_with(at, || self.not_a_dependency(name));
        } else {
            let known = self.beside.all().iter().map(String::as_str);
            report.unknown(at, "a template names a task that does not exist", name, known);
        }
    }

    fn not_a_dependency(&self, name: &str) -> (String, Option<String>) {
        let names: Vec<&str> = self.dependency_names().collect();
        let add =
            format!("add it to the dependencies of {}: only those give their results", shown(self.task));
        // tasks.a-b is tasks.a minus b.
        let longer =
            names.iter().find(|d| d.strip_prefix(name).is_some_and(|rest| rest.starts_with(['-', ' ', '.'])));
        let hint = match (longer, did_you_mean(name, names.iter().copied())) {
            (Some(longer), _) => format!("did you mean tasks[\"{}\"]?", shown(longer)),
            (None, Some(near)) => format!("{add}; or {near}"),
            (None, None) => add,
        };
        (format!("a template names a task that is no direct dependency: {}", shown(name)), Some(hint))
    }
}

/// Reports filters and tests that do not exist.
fn check_calls(code: &str, at: Position, report: &mut Report) {
    for (word, name) in calls(code) {
        if !exists(word, name) {
            report.unknown(at, &format!("no such {word} in a template"), name, known_calls(word));
        }
    }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn collect_templates<'n>(node: &'n Node, found: &mut Vec<&'n Node>) {
    match &node.content {
        Content::Text(text) if is_template(&text.text) => found.push(node),
        Content::List(items) => items.iter().for_each(|item| collect_templates(item, found)),
        Content::Map(entries) => entries.iter().for_each(|e| collect_templates(&e.node, found)),
        Content::Null | Content::Bool(_) | Content::Number(..) | Content::Text(_) | Content::Items(_) => {}
    }
}

fn name_of(dependency: &Dependency) -> Option<&str> {
    match &dependency.task {
        DependencyTarget::Name(name) => Some(name),
        DependencyTarget::Id(_) => None,
    }
}

/// The place of a line (from 1) of a text: exact in a literal block, whose place is that of its first line;
/// else where the text begins.
fn within(node: &Node, line: usize) -> Position {
    match &node.content {
        Content::Text(text) if text.is_block => {
            // The parser places a block at its first line that is not empty.
            let empty = text.text.bytes().take_while(|&b| b == b'\n').count();
            let line =
                u32::try_from(line).unwrap_or(u32::MAX).saturating_sub(u32::try_from(empty).unwrap_or(0));
            Position { line: node.at.line.saturating_add(line).saturating_sub(1), column: 1 }
        }
        _ => node.at,
    }
}
