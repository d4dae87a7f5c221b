//! The flat JSON form of a task spec: how it is read and how it is written.
//!
//! Specs come by the hundred thousand, so they are read without a detour: every field is read into its own
//! type as it comes, and nothing is kept aside to be looked at again. A name that is no field is refused with
//! the nearest one: a misspelt wish must not be lost in silence.

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::field_error::of_field;
use crate::unique::{twice, unique_names};
use crate::{
    Body, Claim, Code, Dependency, Env, Foreach, Indices, Matcher, NotBefore, Priority, Refusal, RetrySpec,
    SessionRef, Span, TaskSpec, WorkflowId, nearest,
};

/// The flat JSON form of a [`TaskSpec`], for reading and for the schema; it is written by [`Shown`].
#[derive(Deserialize, JsonSchema)]
#[serde(remote = "Self")]
#[schemars(deny_unknown_fields)]
pub(crate) struct SpecFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shell: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(default, deserialize_with = "unique_names", skip_serializing_if = "Map::is_empty")]
    parameters: Map<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    env: Env,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdin: Option<String>,
    #[serde(default)]
    priority: Priority,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    claims: Vec<Claim>,
    /// Variants: what it must hold besides `claims`, the first that fits when it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    claims_any: Vec<Vec<Claim>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<Dependency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<NotBefore>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<Span>,
    /// Tries after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_retries: Option<u32>,
    /// Tries in all, the first included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    /// The delay before the first retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_delay: Option<Span>,
    /// What each delay is multiplied by to give the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backoff: Option<f64>,
    /// No delay is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_delay: Option<Span>,
    /// Each delay is multiplied by a uniform number from 1-j to 1+j; from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jitter: Option<f64>,
    /// Only these failures are retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_on: Option<Vec<Matcher>>,
    /// These failures are never retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    no_retry_on: Option<Vec<Matcher>>,
    /// What the claim on memory is multiplied by after an attempt that ended with `OutOfMemory`; from 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_factor: Option<f64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hold: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    array: Option<Indices>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workflow: Option<WorkflowId>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    tags: BTreeSet<String>,
    #[serde(default, deserialize_with = "unique_names", skip_serializing_if = "Map::is_empty")]
    metadata: Map<String, Value>,
    /// One task for each element: a list, or an expression that gives one. Only in a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    foreach: Option<Foreach>,
    /// An expression over `result` that gives what is kept of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transform: Option<String>,
    /// Runs when all else of its workflow has ended. Only in a workflow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    finally: bool,
    /// The task that it undoes if the workflow does not come to a good end. Only in a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compensates: Option<String>,
    /// The sub-workflow whose names its templates use. Only in a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    within: Option<String>,
    /// Ends with the results of the tasks it depends on. Only in a workflow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    collect: bool,
    /// The first name that is no field.
    #[serde(skip)]
    unknown: Option<String>,
}

/// Names the fields, once to be listed and once to be recognised at the price of a comparison.
macro_rules! fields {
    ($($name:literal)*) => {
        /// Every field that a user gives.
        const FIELDS: &[&str] = &[$($name),*];

        /// The name as it is known, if it is one.
        fn field(name: &str) -> Option<&'static str> {
            match name {
                $($name => Some($name),)*
                // Whose workflow a task is, is said by the daemon.
                "workflow" => Some("workflow"),
                _ => None,
            }
        }
    };
}

fields! {
    "name" "command" "shell" "module" "action" "parameters" "env" "cwd" "stdin" "priority" "claims"
    "claims_any" "dependencies" "when" "not_before" "timeout" "deadline" "max_retries" "max_attempts" "retry_delay"
    "backoff" "max_delay" "jitter" "retry_on" "no_retry_on" "memory_factor" "hold" "key" "ref" "array" "session" "tags"
    "metadata" "foreach" "transform" "finally" "compensates" "within" "collect"
}

fn unknown_field(name: &str) -> Refusal {
    let refusal = Refusal::new(Code::UnknownField, "a task spec has no such field").value(name);
    match nearest(name, FIELDS.iter().copied()) {
        Some(near) => refusal.hint(format!("did you mean {near}?")),
        None => refusal,
    }
}

impl<'de> Deserialize<'de> for SpecFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = SpecFields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the fields of a task spec")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SpecFields, A::Error> {
        let mut unknown = None;
        // The derived function of this name, not the trait's.
        let fields = SpecFields::deserialize(MapAccessDeserializer::new(Named {
            map,
            current: "",
            unknown: &mut unknown,
        }))
        .map_err(of_twice)?;
        Ok(SpecFields { unknown, ..fields })
    }
}

/// What serde says of a field that is given twice, in our words.
fn of_twice<E: Error>(error: E) -> E {
    let text = error.to_string();
    let name = text.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`'));
    name.map_or(error, |(name, _)| E::custom(twice(name)))
}

/// A map that remembers the first name that is no field, and says of which field a value makes no sense.
struct Named<'a, A> {
    map: A,
    /// The field whose value comes next.
    current: &'static str,
    unknown: &'a mut Option<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Named<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.map.next_key_seed(Name { seed, current: &mut self.current, unknown: self.unknown })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        let Self { map, current, .. } = self;
        map.next_value_seed(seed).map_err(|error| match *current {
            "" => error,
            field => A::Error::custom(of_field(field, &error.to_string())),
        })
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint()
    }
}

/// Reads a name, and remembers the first that is no field.
struct Name<'a, K> {
    seed: K,
    current: &'a mut &'static str,
    unknown: &'a mut Option<String>,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<'_, K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Name<'_, K> {
    type Value = K::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<K::Value, E> {
        *self.current = field(name).unwrap_or_default();
        if self.current.is_empty() {
            self.unknown.get_or_insert_with(|| name.to_owned());
        }
        self.seed.deserialize(name.into_deserializer())
    }
}

impl TryFrom<SpecFields> for TaskSpec {
    type Error = Refusal;

    fn try_from(fields: SpecFields) -> Result<Self, Refusal> {
        if let Some(name) = &fields.unknown {
            return Err(unknown_field(name));
        }
        let body = match (fields.command, fields.shell, fields.module, fields.action) {
            (Some(argv), None, None, None) => Body::Command { argv },
            (None, Some(line), None, None) => Body::Shell { line },
            (command, None, Some(module), action) => Body::Handler { module, action, command },
            (None, None, None, None) => Body::Milestone,
            (None, None, None, Some(action)) => {
                return Err(Refusal::new(Code::Malformed, "an action needs a module")
                    .value(action)
                    .hint("add module"));
            }
            _ => {
                return Err(Refusal::new(Code::Malformed, "a task has one body")
                    .hint("give one of command, shell, module"));
            }
        };
        let spec = Self {
            name: fields.name.unwrap_or_else(|| body.default_name()),
            body,
            parameters: fields.parameters,
            env: fields.env,
            cwd: fields.cwd,
            stdin: fields.stdin,
            priority: fields.priority,
            claims: crate::merge_claims(fields.claims),
            claims_any: fields.claims_any.into_iter().map(crate::merge_claims).collect(),
            dependencies: fields.dependencies,
            when: fields.when,
            not_before: fields.not_before,
            timeout: fields.timeout,
            deadline: fields.deadline,
            retry: RetrySpec {
                max_retries: fields.max_retries,
                max_attempts: fields.max_attempts,
                retry_delay: fields.retry_delay,
                backoff: fields.backoff,
                max_delay: fields.max_delay,
                jitter: fields.jitter,
                retry_on: fields.retry_on,
                no_retry_on: fields.no_retry_on,
                memory_factor: fields.memory_factor,
            },
            hold: fields.hold,
            key: fields.key,
            reference: fields.reference,
            array: fields.array,
            session: fields.session,
            workflow: fields.workflow,
            tags: fields.tags,
            metadata: fields.metadata,
            foreach: fields.foreach,
            transform: fields.transform,
            finally: fields.finally,
            compensates: fields.compensates,
            within: fields.within,
            collect: fields.collect,
        };
        spec.check()?;
        Ok(spec)
    }
}

impl TaskSpec {
    /// All of the JSON form but `env`, which is large and the same for many.
    #[must_use]
    pub fn without_env(&self) -> impl Serialize {
        Shown { spec: self, env: None }
    }
}

impl Serialize for TaskSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown { spec: self, env: Some(&self.env) }.serialize(serializer)
    }
}

/// A spec as it is written. What has its usual value is left out.
struct Shown<'a> {
    spec: &'a TaskSpec,
    env: Option<&'a Env>,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spec = self.spec;
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.some("name", Some(&spec.name))?;
        match &spec.body {
            Body::Command { argv } => fields.some("command", Some(argv))?,
            Body::Shell { line } => fields.some("shell", Some(line))?,
            Body::Handler { module, action, command } => {
                fields.some("command", command.as_ref())?;
                fields.some("module", Some(module))?;
                fields.some("action", action.as_ref())?;
            }
            Body::Milestone => {}
        }
        fields.some("parameters", Some(&spec.parameters).filter(|map| !map.is_empty()))?;
        fields.some("env", self.env.filter(|env| !env.is_empty()))?;
        fields.some("cwd", spec.cwd.as_ref())?;
        fields.some("stdin", spec.stdin.as_ref())?;
        fields.some("priority", Some(&spec.priority))?;
        fields.some("claims", Some(&spec.claims).filter(|list| !list.is_empty()))?;
        fields.some("claims_any", Some(&spec.claims_any).filter(|list| !list.is_empty()))?;
        fields.some("dependencies", Some(&spec.dependencies).filter(|list| !list.is_empty()))?;
        fields.some("when", spec.when.as_ref())?;
        fields.some("not_before", spec.not_before.as_ref())?;
        fields.some("timeout", spec.timeout.as_ref())?;
        fields.some("deadline", spec.deadline.as_ref())?;
        fields.some("max_retries", spec.retry.max_retries.as_ref())?;
        fields.some("max_attempts", spec.retry.max_attempts.as_ref())?;
        fields.some("retry_delay", spec.retry.retry_delay.as_ref())?;
        fields.some("backoff", spec.retry.backoff.as_ref())?;
        fields.some("max_delay", spec.retry.max_delay.as_ref())?;
        fields.some("jitter", spec.retry.jitter.as_ref())?;
        fields.some("retry_on", spec.retry.retry_on.as_ref())?;
        fields.some("no_retry_on", spec.retry.no_retry_on.as_ref())?;
        fields.some("memory_factor", spec.retry.memory_factor.as_ref())?;
        fields.some("hold", Some(&true).filter(|_| spec.hold))?;
        fields.some("key", spec.key.as_ref())?;
        fields.some("ref", spec.reference.as_ref())?;
        fields.some("array", spec.array.as_ref())?;
        fields.some("session", spec.session.as_ref())?;
        fields.some("workflow", spec.workflow.as_ref())?;
        fields.some("tags", Some(&spec.tags).filter(|tags| !tags.is_empty()))?;
        fields.some("metadata", Some(&spec.metadata).filter(|map| !map.is_empty()))?;
        fields.some("foreach", spec.foreach.as_ref())?;
        fields.some("transform", spec.transform.as_ref())?;
        fields.some("finally", Some(&true).filter(|_| spec.finally))?;
        fields.some("compensates", spec.compensates.as_ref())?;
        fields.some("within", spec.within.as_ref())?;
        fields.some("collect", Some(&true).filter(|_| spec.collect))?;
        fields.0.end()
    }
}

struct Fields<M>(M);

impl<M: SerializeMap> Fields<M> {
    fn some<T: Serialize + ?Sized>(&mut self, name: &'static str, value: Option<&T>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.0.serialize_entry(name, value))
    }
}
