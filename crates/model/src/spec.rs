//! The task spec: the immutable description a user gave. Its flat JSON form is in `spec_json`.
//!
//! Reading a spec checks everything that can be checked without the daemon's state: names, limits, one
//! body, a retry policy that makes sense. What needs the state (capacities, unknown dependencies, keys) is
//! checked when the task is submitted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

use crate::spec_json::SpecFields;
use crate::unseen::is_unseen;
use crate::{
    Claim, Code, Dependency, Env, Foreach, Indices, Priority, Refusal, RetrySpec, SessionId, SessionRef,
    Span, Time, WorkflowId, check_seen, limits,
};

/// What a task does.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Runs a program with its arguments.
    Command {
        /// The program and its arguments; at least the program.
        argv: Vec<String>,
    },
    /// Runs a line with `/bin/sh -c`.
    Shell {
        /// The line.
        line: String,
    },
    /// Is routed to a worker that registered `module.action`.
    Handler {
        /// The module.
        module: String,
        /// The action; without one the handler is `module`.
        action: Option<String>,
        /// The program and its arguments that this task runs in place of the handler: the parameters are in
        /// `$ORCHD_INPUTS`. None: a worker that offers the handler, or the command of the configuration.
        command: Option<Vec<String>>,
    },
    /// Does nothing: completes as soon as its dependencies are met.
    Milestone,
}

impl Body {
    /// The name of the handler, for a handler body.
    #[must_use]
    pub fn handler(&self) -> Option<String> {
        match self {
            Self::Handler { module, action: Some(action), .. } => Some(format!("{module}.{action}")),
            Self::Handler { module, action: None, .. } => Some(module.clone()),
            Self::Command { .. } | Self::Shell { .. } | Self::Milestone => None,
        }
    }

    /// Whether a process is started for it, whatever the configuration says of handlers.
    #[must_use]
    pub fn is_process(&self) -> bool {
        match self {
            Self::Command { .. } | Self::Shell { .. } => true,
            Self::Handler { command, .. } => command.is_some(),
            Self::Milestone => false,
        }
    }

    /// What is wrong with it, and the field that says so.
    fn mistake(&self) -> Option<(&'static str, Refusal)> {
        let malformed = |message: &str, value: &str| Refusal::new(Code::Malformed, message).value(value);
        match self {
            Self::Command { argv } => Some(("command", check_argv(argv).err()?)),
            Self::Shell { line } if line.contains('\0') => {
                Some(("shell", malformed("a shell line must not contain a zero byte", line)))
            }
            Self::Handler { module, action, command } => {
                if let Some(refusal) = command.as_deref().and_then(|argv| check_argv(argv).err()) {
                    return Some(("command", refusal));
                }
                for (what, part) in [("module", Some(module)), ("action", action.as_ref())] {
                    let Some(part) = part else { continue };
                    if part.is_empty() {
                        let name = format!("{module}.{}", action.as_deref().unwrap_or_default());
                        let refusal = malformed("a part of a handler's name is empty", &name);
                        return Some((what, refusal.hint("write MODULE.ACTION, or MODULE alone")));
                    }
                    if part.chars().any(|c| c.is_whitespace() || c == '*') {
                        return Some((what, malformed("a handler name has no white space and no *", part)));
                    }
                }
                None
            }
            Self::Shell { .. } | Self::Milestone => None,
        }
    }

    /// The name that a task gets when its user gives none; without what cannot be seen.
    #[must_use]
    pub fn default_name(&self) -> String {
        let name = match self {
            Self::Command { argv } => {
                let program = argv.first().map_or("", String::as_str);
                program.rsplit('/').next().unwrap_or(program).to_owned()
            }
            Self::Shell { line } => line.split_whitespace().next().unwrap_or("sh").to_owned(),
            Self::Handler { .. } => self.handler().unwrap_or_default(),
            Self::Milestone => "milestone".to_owned(),
        };
        truncated(name.replace(is_unseen, ""), limits::NAME_BYTES)
    }
}

fn truncated(mut text: String, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// When a task may start at the earliest. In JSON a time, or a delay in seconds from submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a time (RFC 3339), or a delay such as \"10m\"")]
pub enum NotBefore {
    /// An instant.
    At(Time),
    /// A delay from submission.
    In(Span),
}

/// What a user asked for. Immutable once submitted.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "SpecFields")]
#[schemars(into = "SpecFields")]
pub struct TaskSpec {
    /// Shown to people; from the body when not given.
    pub name: String,
    /// What to do.
    pub body: Body,
    /// Arguments of a handler, and `parameters` in templates and `$ORCHD_INPUTS`.
    pub parameters: Map<String, Value>,
    /// Environment variables of a command: the submitter's allow-list and what was given.
    pub env: Env,
    /// The working directory of a command.
    pub cwd: Option<String>,
    /// Standard input of a command; empty when not given.
    pub stdin: Option<String>,
    /// The class.
    pub priority: Priority,
    /// What it must hold to run; merged, one claim a resource.
    pub claims: Vec<Claim>,
    /// Its variants in the order of preference, each merged: it also holds what one of them claims, the first that
    /// fits when it starts. None: it needs no more than `claims`.
    pub claims_any: Vec<Vec<Claim>>,
    /// What must end first.
    pub dependencies: Vec<Dependency>,
    /// An expression over parameters and the results of dependencies; false: skipped.
    pub when: Option<String>,
    /// When it may start at the earliest.
    pub not_before: Option<NotBefore>,
    /// The limit of one attempt.
    pub timeout: Option<Span>,
    /// The limit of the whole task from its submission.
    pub deadline: Option<Span>,
    /// Retries.
    pub retry: RetrySpec,
    /// Whether it waits until it is released.
    pub hold: bool,
    /// Same key and same spec: the same task.
    pub key: Option<String>,
    /// A name within one bulk request, for dependencies.
    pub reference: Option<String>,
    /// The indices of an array: one task for each.
    pub array: Option<Indices>,
    /// The session it belongs to.
    pub session: Option<SessionRef>,
    /// The workflow it belongs to.
    pub workflow: Option<WorkflowId>,
    /// Labels to search by.
    pub tags: BTreeSet<String>,
    /// Free-form facts to search by.
    pub metadata: Map<String, Value>,
    /// The list that it is done once for each element of; only in a workflow.
    pub foreach: Option<Foreach>,
    /// An expression over its own result that gives the one that is kept.
    pub transform: Option<String>,
    /// Whether it runs when all else of its workflow has ended, however that ended.
    pub finally: bool,
    /// The task that it undoes, if their workflow does not come to a good end.
    pub compensates: Option<String>,
    /// The task that stands for the sub-workflow that it belongs to: names in its templates are those of the
    /// sub-workflow.
    pub within: Option<String>,
    /// Whether it ends with the results of the tasks that it depends on.
    pub collect: bool,
}

/// The two parts of a directory whose own part begins with a template: what it is taken from unless it is absolute,
/// and the template.
#[must_use]
pub fn split_directory(cwd: &str) -> Option<(&str, &str)> {
    let at = cwd.find("/./{")?;
    Some((&cwd[..at], &cwd[at + "/./".len()..]))
}

impl TaskSpec {
    /// A spec that only has a body.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self {
            name: body.default_name(),
            body,
            parameters: Map::new(),
            env: Env::default(),
            cwd: None,
            stdin: None,
            priority: Priority::default(),
            claims: Vec::new(),
            claims_any: Vec::new(),
            dependencies: Vec::new(),
            when: None,
            not_before: None,
            timeout: None,
            deadline: None,
            retry: RetrySpec::default(),
            hold: false,
            key: None,
            reference: None,
            array: None,
            session: None,
            workflow: None,
            tags: BTreeSet::new(),
            metadata: Map::new(),
            foreach: None,
            transform: None,
            finally: false,
            compensates: None,
            within: None,
            collect: false,
        }
    }

    /// A command with its arguments.
    pub fn command<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self::new(Body::Command { argv: argv.into_iter().map(Into::into).collect() })
    }

    /// A line for `/bin/sh -c`.
    pub fn shell(line: impl Into<String>) -> Self {
        Self::new(Body::Shell { line: line.into() })
    }

    /// A handler task with its parameters.
    pub fn handler(
        module: impl Into<String>,
        action: impl Into<String>,
        parameters: Map<String, Value>,
    ) -> Self {
        let body = Body::Handler { module: module.into(), action: Some(action.into()), command: None };
        Self { parameters, ..Self::new(body) }
    }

    /// Gives a process the variables and the directory that it does not name itself; a relative directory of
    /// its own is taken from this one. Of one that begins with a template nobody knows yet which it is: `/./` says
    /// where it begins, and whoever fills it in [splits](split_directory) it there.
    pub fn surround(&mut self, env: &Env, cwd: Option<&Path>) {
        if !self.body.is_process() {
            return;
        }
        if self.env.is_empty() {
            self.env = env.clone();
        }
        let missing = if self.env.is_same(env) { &Env::default() } else { env };
        for (name, value) in missing {
            if !self.env.contains_key(name) {
                self.env.insert(name.clone(), value.clone());
            }
        }
        if let Some(around) = cwd {
            let cwd = match &self.cwd {
                None => around.to_owned(),
                Some(own) if own.starts_with('{') => around.join(".").join(own),
                Some(own) => around.join(own),
            };
            self.cwd = Some(cwd.to_string_lossy().into_owned());
        }
    }

    /// Checks the limits that the types do not express.
    ///
    /// # Errors
    /// `malformed` or `too_large` with the field and the offending value.
    pub fn check(&self) -> Result<(), Refusal> {
        self.mistakes().into_iter().next().map_or(Ok(()), |(_, refusal)| Err(refusal))
    }

    /// Everything that is wrong with it, each with the field that says so; none of it is told by the types.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(&'static str, Refusal)> {
        let mut mistakes = Vec::new();
        let malformed = |message: String, value: &str| Refusal::new(Code::Malformed, message).value(value);
        if let Some(key) = self.key.as_deref().filter(|k| k.is_empty() || k.len() > limits::KEY_BYTES) {
            mistakes.push(("key", malformed(format!("a key has 1 to {} bytes", limits::KEY_BYTES), key)));
        }
        mistakes.extend(self.body.mistake());
        if self.name.is_empty() || self.name.len() > limits::NAME_BYTES {
            let message = format!("a name has 1 to {} bytes", limits::NAME_BYTES);
            mistakes.push(("name", malformed(message, &self.name)));
        }
        for (what, text) in [("name", Some(&self.name)), ("cwd", self.cwd.as_ref())] {
            if let Some(text) = text.filter(|text| text.contains('\0')) {
                mistakes.push((what, malformed(format!("a {what} must not contain a zero byte"), text)));
            }
        }
        for tag in self.tags.iter().filter(|tag| tag.is_empty() || tag.len() > limits::TAG_BYTES) {
            mistakes.push(("tags", malformed(format!("a tag has 1 to {} bytes", limits::TAG_BYTES), tag)));
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                mistakes.push(("env", malformed("not a usable environment variable".to_owned(), name)));
            }
        }
        for (what, count, limit) in
            [("claims", self.claims.len(), limits::CLAIMS), ("tags", self.tags.len(), limits::TAGS)]
                .into_iter()
                .chain([("variants", self.claims_any.len(), limits::VARIANTS)])
                .chain(self.claims_any.iter().map(|claims| ("claims", claims.len(), limits::CLAIMS)))
        {
            if count > limit {
                let refusal = Refusal::new(Code::TooLarge, format!("at most {limit} {what} a task"));
                mistakes.push((what, refusal.value(count.to_string())));
            }
        }
        mistakes.extend(self.check_foreach().err().map(|refusal| ("foreach", refusal)));
        mistakes.extend(self.retry.mistakes());
        mistakes
    }

    /// Lets it be tried again so often, if it says nothing of that.
    pub fn fill_retries(&mut self, max_retries: u32) {
        self.retry = self.retry.or(&RetrySpec { max_retries: Some(max_retries), ..RetrySpec::default() });
    }

    /// The session it belongs to, once that is known by its id.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        match self.session {
            Some(SessionRef::Id(id)) => Some(id),
            Some(SessionRef::Name(_)) | None => None,
        }
    }

    /// Checks what a new task may not ask for, though one that was stored by an earlier orchd may have it.
    ///
    /// # Errors
    /// `malformed` for a limit of no time, and for a name or a tag in which something cannot be seen.
    pub fn check_new(&self) -> Result<(), Refusal> {
        self.mistakes_of_new().into_iter().next().map_or(Ok(()), |(_, refusal)| Err(refusal))
    }

    /// Everything of that which is wrong, each with the field that says so.
    #[must_use]
    pub fn mistakes_of_new(&self) -> Vec<(&'static str, Refusal)> {
        let limits = [("timeout", self.timeout), ("deadline", self.deadline)];
        let limits = limits.map(|(field, limit)| (field, check_limit_of_time(field, limit)));
        let tags = self.tags.iter().map(|tag| ("tags", check_seen("tag", tag)));
        let checks = limits.into_iter().chain([("name", check_seen("name", &self.name))]).chain(tags);
        checks.filter_map(|(field, check)| Some((field, check.err()?))).collect()
    }
}

fn check_argv(argv: &[String]) -> Result<(), Refusal> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(Refusal::new(Code::Malformed, "a command needs a program").value("[]"));
    }
    match argv.iter().find(|argument| argument.contains('\0')) {
        Some(bad) => {
            Err(Refusal::new(Code::Malformed, "an argument must not contain a zero byte").value(bad))
        }
        None => Ok(()),
    }
}

/// Refuses no time at all: who writes 0 for a limit mostly means that there is none.
pub(crate) fn check_limit_of_time(what: &str, limit: Option<Span>) -> Result<(), Refusal> {
    if limit == Some(Span::ZERO) {
        let refusal = Refusal::new(Code::Malformed, format!("a {what} must be more than nothing")).value("0");
        return Err(refusal.hint(format!("without a {what} there is no limit")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DependencyTarget, On, TaskId};

    fn read(json: &str) -> Result<TaskSpec, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn a_flat_spec_is_read_and_written_back() {
        let json = r#"{"command":["/bin/echo","hi"],"claims":["cpu=2",{"type":"lock","identifier":"a","mode":"write"}],
            "dependencies":[12,"first",{"task":"second","on":"failure"}],"timeout":"1m","max_retries":2,"tags":["x"],
            "claims_any":[["gpu=1", {"type":"cpu","amount":1}, "gpu=1"], ["cpu=4"], []],
            "not_before":5, "metadata":{"k":1}}"#;
        let spec = read(json).unwrap();
        assert_eq!(spec.name, "echo");
        assert_eq!(spec.dependencies[0].task, DependencyTarget::Id(TaskId(12)));
        assert_eq!(spec.dependencies[2].on, On::Failure);
        assert_eq!(spec.retry.max_retries, Some(2));
        let shown =
            |claims: &Vec<Claim>| claims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let variants: Vec<String> = spec.claims_any.iter().map(shown).collect();
        assert_eq!(variants, ["cpu:system_cpu gpu:system_gpu=2", "cpu:system_cpu=4", ""]);
        let again: TaskSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn a_handler_may_be_bound_to_a_command() {
        let spec = read(r#"{"module":"m","action":"a","command":["true"]}"#).unwrap();
        assert_eq!((spec.body.handler().as_deref(), spec.body.is_process()), (Some("m.a"), true));
        let again: TaskSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn misspelt_fields_are_named_with_a_suggestion() {
        let error = read(r#"{"comand":["true"]}"#).unwrap_err();
        assert!(error.contains("comand") && error.contains("command"), "{error}");
    }

    #[test]
    fn what_cannot_be_seen_in_a_name_is_refused_of_a_new_task_and_read_of_a_stored_one() {
        let wrong = |json: &str| {
            let mistakes = read(json).unwrap().mistakes_of_new();
            mistakes.into_iter().map(|(field, refusal)| (field, refusal.value)).collect::<Vec<_>>()
        };
        let escaped = |value: &str| Some(value.to_owned());
        assert_eq!(
            wrong("{\"shell\":\"true\",\"name\":\"a\u{200b}\",\"tags\":[\"b\",\"c\u{ad}d\"]}"),
            [("name", escaped("a\\u{200b}")), ("tags", escaped("c\\u{ad}d"))]
        );
        assert_eq!(wrong("{\"shell\":\"\u{feff}true\"}"), [], "nobody gave this name");
    }

    #[test]
    fn a_spec_has_one_body_and_sane_values() {
        for json in [
            r#"{"command":["true"],"shell":"true"}"#,
            r#"{"action":"x"}"#,
            r#"{"module":"x","command":[]}"#,
            r#"{"module":"x","shell":"true"}"#,
            r#"{"command":[]}"#,
            r#"{"shell":"a\u0000b"}"#,
            r#"{"shell":"true","max_retries":1,"max_attempts":5}"#,
            r#"{"shell":"true","priority":"urgent"}"#,
            r#"{"shell":"true","claims":["cpu=0"]}"#,
            r#"{"shell":"true","env":{"A=B":"c"}}"#,
            r#"{"shell":"true","key":""}"#,
            r#"{"module":"a b"}"#,
            r#"{"shell":"true","name":"a\u0000b"}"#,
            r#"{"shell":"true","cwd":"/a\u0000b"}"#,
            r#"{"shell":"true","tags":[""]}"#,
            r#"{"shell":"true","claims_any":["cpu=1"]}"#,
            r#"{"shell":"true","claims_any":[["cpu=0"]]}"#,
            r#"{"shell":"true","claims_any":[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
