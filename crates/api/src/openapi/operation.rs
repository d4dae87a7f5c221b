//! One operation of the API: a method of a path, what it reads and what it answers.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// Makes the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What is in an answer.
#[derive(Clone)]
pub(super) enum Content {
    /// A document of this type.
    Document(SchemaOf),
    /// Bytes that nobody looks into.
    Bytes,
    /// A document of this type a line.
    Lines(SchemaOf),
    /// Server-sent events: the type of the data by the event's name, `*` for every name.
    Events(Vec<(&'static str, SchemaOf)>),
    /// The messages of a WebSocket: those of the client, those of the daemon.
    Messages(SchemaOf, SchemaOf),
}

/// The methods that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Changes something, or asks with a body.
    Post,
}

impl Method {
    /// Its name in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
        }
    }
}

/// A method of a path.
#[derive(Clone)]
pub struct Operation {
    /// The method.
    pub method: Method,
    /// The path, with `{id}` for a number.
    pub path: &'static str,
    /// A name that no other operation has.
    pub id: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    pub(super) status: u16,
    pub(super) query: Option<SchemaOf>,
    pub(super) bodies: Vec<(&'static str, SchemaOf)>,
    pub(super) needs_body: bool,
    pub(super) answers: Vec<(&'static str, Content)>,
}

pub(super) const JSON: &str = "application/json";
pub(super) const NDJSON: &str = "application/x-ndjson";

pub(super) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Operation {
    fn new(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            status: 200,
            query: None,
            bodies: Vec::new(),
            needs_body: false,
            answers: Vec::new(),
        }
    }

    pub(super) fn get(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(Method::Get, path, id, summary)
    }

    pub(super) fn post(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(Method::Post, path, id, summary)
    }

    /// The query is one of these. Not as a reference: its fields are parameters.
    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(T::json_schema);
        self
    }

    /// Whether it reads its query.
    #[must_use]
    pub fn takes_query(&self) -> bool {
        self.query.is_some()
    }

    /// The body is a document of this type; an empty body is one without fields.
    pub(super) fn reads<T: JsonSchema>(mut self) -> Self {
        self.bodies.push((JSON, schema::<T>));
        self
    }

    /// The body must be there, and has one document of this type a line.
    pub(super) fn reads_lines<T: JsonSchema>(mut self) -> Self {
        self.bodies.push((NDJSON, schema::<T>));
        self.needs_body = true;
        self
    }

    /// The answer is a document of this type.
    pub(super) fn answers<T: JsonSchema>(self) -> Self {
        self.answers_with(JSON, Content::Document(schema::<T>))
    }

    pub(super) fn answers_with(mut self, media: &'static str, content: Content) -> Self {
        self.answers.push((media, content));
        self
    }

    pub(super) fn answers_events(self, events: &[(&'static str, SchemaOf)]) -> Self {
        self.answers_with("text/event-stream", Content::Events(events.to_vec()))
    }

    /// The connection becomes a WebSocket.
    pub(super) fn upgrades<FromClient: JsonSchema, FromDaemon: JsonSchema>(mut self) -> Self {
        self.status = 101;
        self.answers_with(JSON, Content::Messages(schema::<FromClient>, schema::<FromDaemon>))
    }

    pub(super) fn answer_text(&self) -> &'static str {
        match self.status {
            101 => "The connection is a WebSocket from here on; each message is a JSON document.",
            _ => "It was done.",
        }
    }

    pub(super) fn path_parameters(&self) -> Vec<Value> {
        let named = |part: &'static str| part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        let parameter = |name: &str| {
            let schema = json!({ "type": "integer", "minimum": 0 });
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        };
        self.path.split('/').filter_map(named).map(parameter).collect()
    }
}
