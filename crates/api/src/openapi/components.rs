//! The schemas of the document: what is written and what is read, by name, once each.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

use super::operation::{Content, SchemaOf};

const SCHEMAS: &str = "/components/schemas";
/// Where the schemas of what is read are until [`Components::finish`] has names for them.
const INPUTS: &str = "/components/inputs";

pub(super) struct Components {
    written: SchemaGenerator,
    read: SchemaGenerator,
}

impl Components {
    pub(super) fn new() -> Self {
        let settings = |path: &'static str| {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = path.into();
                settings.meta_schema = None;
            })
        };
        Self {
            written: settings(SCHEMAS).for_serialize().into_generator(),
            read: settings(INPUTS).for_deserialize().into_generator(),
        }
    }

    pub(super) fn written_of<T: JsonSchema>(&mut self) -> Value {
        self.written.subschema_for::<T>().to_value()
    }

    pub(super) fn read(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.read).to_value()
    }

    /// A media type object.
    pub(super) fn answer(&mut self, content: &Content) -> Value {
        match content {
            Content::Document(schema) => json!({ "schema": schema(&mut self.written) }),
            Content::Bytes => json!({}),
            Content::Lines(schema) => json!({
                "schema": { "type": "string", "description": "One JSON document a line." },
                "x-line": schema(&mut self.written),
            }),
            Content::Events(events) => {
                let mut data = Map::new();
                for (name, schema) in events {
                    data.insert((*name).to_owned(), schema(&mut self.written).to_value());
                }
                json!({
                    "schema": { "type": "string", "description": "Server-sent events; their data is JSON." },
                    "x-events": data,
                })
            }
            Content::Messages(client, daemon) => json!({
                "schema": { "type": "null" },
                "x-sent-by-client": client(&mut self.read),
                "x-sent-by-daemon": daemon(&mut self.written),
            }),
        }
    }

    /// The fields of a query.
    pub(super) fn parameters(&mut self, query: SchemaOf) -> Vec<Value> {
        let schema = query(&mut self.read).to_value();
        let Some(fields) = schema["properties"].as_object() else { return Vec::new() };
        let parameter = |(name, schema): (&String, &Value)| {
            let mut schema = schema.clone();
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            json!({ "name": name, "in": "query", "description": description, "schema": schema })
        };
        fields.iter().map(parameter).collect()
    }

    /// Puts the schemas into the document.
    pub(super) fn finish(mut self, mut document: Value) -> Value {
        let mut schemas = self.written.take_definitions(true);
        let inputs = self.read.take_definitions(true);
        let renamed = differing(&schemas, &inputs);
        for (name, mut schema) in inputs {
            rename(&mut schema, &renamed);
            let name = if renamed.contains(&name) { format!("{name}Input") } else { name };
            schemas.insert(name, schema);
        }
        rename(&mut document, &renamed);
        document["components"]["schemas"] = schemas.into();
        document
    }
}

/// The names under which something else is read than is written, also because of what it refers to.
fn differing(written: &Map<String, Value>, read: &Map<String, Value>) -> BTreeSet<String> {
    let mut differing = BTreeSet::new();
    loop {
        let before = differing.len();
        for (name, schema) in read {
            let mut schema = schema.clone();
            rename(&mut schema, &differing);
            if written.get(name).is_some_and(|written| *written != schema) {
                differing.insert(name.clone());
            }
        }
        if differing.len() == before {
            return differing;
        }
    }
}

/// Makes references to what is read lead to where it will be.
fn rename(value: &mut Value, renamed: &BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str().and_then(|text| text.strip_prefix('#')?.strip_prefix(INPUTS)) {
                    Some(name) if key == "$ref" => {
                        let name = name.trim_start_matches('/');
                        let suffix = if renamed.contains(name) { "Input" } else { "" };
                        *value = format!("#{SCHEMAS}/{name}{suffix}").into();
                    }
                    Some(_) | None => rename(value, renamed),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
