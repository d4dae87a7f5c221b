//! The OpenAPI 3.1 document of the API, made from the table of operations and from the types themselves.
//!
//! What the daemon reads may be written in more ways than what it writes (a duration is a number or a text), so
//! a type can have two schemas. The one of the reading side is then named with `Input` at its end.

mod components;
mod operation;
mod operations;

use serde_json::{Map, Value, json};

use components::Components;
pub use operation::{Method, Operation};
pub use operations::operations;

/// The version of the specification that the document follows.
const OPENAPI: &str = "3.1.1";

/// The document. `version` is that of the program.
#[must_use]
pub fn document(version: &str) -> Value {
    let mut components = Components::new();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str()] = describe(&operation, &mut components);
    }
    let problem = components.written_of::<crate::Problem>();
    let document = json!({
        "openapi": OPENAPI,
        "info": {
            "title": "orchd",
            "version": version,
            "description": "A durable priority queue of tasks with claims. JSON over HTTP/1.1 on a Unix socket.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{ "url": "http://localhost", "description": "Over the Unix socket; the host does not matter." }],
        "paths": paths,
        "components": {
            "responses": {
                "Problem": {
                    "description": "It was refused or failed: a problem document (RFC 9457).",
                    "content": { crate::MEDIA_TYPE: { "schema": problem } },
                },
            },
        },
    });
    components.finish(document)
}

fn describe(operation: &Operation, components: &mut Components) -> Value {
    let mut responses = json!({ "default": { "$ref": "#/components/responses/Problem" } });
    let mut content = Map::new();
    for (media, schema) in &operation.answers {
        content.insert((*media).to_owned(), components.answer(schema));
    }
    let answer = json!({ "description": operation.answer_text(), "content": content });
    responses[operation.status.to_string()] = answer;
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses,
    });
    let mut parameters = operation.path_parameters();
    parameters.extend(operation.query.map(|query| components.parameters(query)).unwrap_or_default());
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if !operation.bodies.is_empty() {
        let content = operation
            .bodies
            .iter()
            .map(|(media, schema)| ((*media).to_owned(), json!({ "schema": components.read(*schema) })));
        described["requestBody"] =
            json!({ "content": content.collect::<Map<_, _>>(), "required": operation.needs_body });
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` in a value.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.push(reference.clone());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document("0");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "{}", found.len());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn what_is_read_in_more_ways_than_it_is_written_has_a_schema_for_each_side() {
        let document = document("0");
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Span"]["type"], "number");
        assert_eq!(schemas["SpanInput"]["type"], json!(["number", "string"]));
        assert!(schemas["ThrottleRequest"].is_object());
        assert_eq!(schemas["ThrottleRequestInput"], Value::Null, "it is only read, so there is one of it");
        let timeout = |side: &str| schemas[side]["properties"]["timeout"].to_string();
        assert!(timeout("TaskSpecInput").contains("/SpanInput\""), "{}", timeout("TaskSpecInput"));
        assert!(timeout("TaskSpec").contains("/Span\""), "{}", timeout("TaskSpec"));
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut names: Vec<_> = operations().into_iter().map(|operation| operation.id).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
