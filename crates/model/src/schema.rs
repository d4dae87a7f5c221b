//! The JSON Schemas of the types that are written by hand in JSON: what is read may be text where what is
//! written is a number.
//!
//! Every other type derives its schema. This module owns no format of its own: each schema says what the
//! `Serialize` and `Deserialize` of its type do.

use schemars::generate::Contract;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

use crate::claim::ClaimFields;
use crate::{
    Amount, Claim, Dependency, DependencyTarget, FailFast, Indices, Matcher, On, Span, TaskRange, Time,
};

/// Gives a type a schema under its own name, from a function of the generator.
macro_rules! schema {
    ($($name:ident => $build:expr;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let build: fn(&mut SchemaGenerator) -> Schema = $build;
                build(generator)
            }
        }
    )*};
}

fn reads(generator: &SchemaGenerator) -> bool {
    *generator.contract() == Contract::Deserialize
}

schema! {
    Amount => |generator| if reads(generator) {
        json_schema!({
            "description": "Units (cores, bytes, tokens): a number such as 2 or 0.5, or a size such as \"512MiB\".",
            "type": ["number", "string"],
            "minimum": 0,
        })
    } else {
        json_schema!({ "description": "Units (cores, bytes, tokens).", "type": "number", "minimum": 0 })
    };
    Time => |_| json_schema!({
        "description": "An instant, RFC 3339.",
        "type": "string",
        "format": "date-time",
    });
    Span => |generator| if reads(generator) {
        json_schema!({
            "description": "A duration: seconds, or text such as \"1h30m\".",
            "type": ["number", "string"],
            "minimum": 0,
        })
    } else {
        json_schema!({ "description": "A duration, seconds.", "type": "number", "minimum": 0 })
    };
    Claim => |generator| {
        let fields = ClaimFields::json_schema(generator);
        if !reads(generator) {
            return fields;
        }
        json_schema!({
            "description": "What a task must hold to run: an object, or text such as \"cpu=2\".",
            "anyOf": [fields, { "type": "string" }],
        })
    };
    Dependency => |generator| {
        let (task, on) = (generator.subschema_for::<DependencyTarget>(), generator.subschema_for::<On>());
        let edge = json_schema!({
            "type": "object",
            "properties": { "task": task, "on": on },
            "required": if reads(generator) { &["task"][..] } else { &["task", "on"] },
            "additionalProperties": false,
        });
        if !reads(generator) {
            return edge;
        }
        json_schema!({
            "description": "Which task must end first: an id, a name, or an object that also says how.",
            "anyOf": [generator.subschema_for::<DependencyTarget>(), edge],
        })
    };
    FailFast => |_| json_schema!({
        "description": "What a workflow does after its first final failure.",
        "enum": [false, true, "cancel"],
    });
    Indices => |_| json_schema!({
        "description": "The indices of an array: A-B or A-B/STEP.",
        "type": "string",
        "pattern": "^[0-9]+-[0-9]+(/[0-9]+)?$",
    });
    TaskRange => |_| json_schema!({
        "description": "A task id, or tasks with contiguous ids such as \"17-26\".",
        "type": ["integer", "string"],
    });
    Matcher => |generator| json_schema!({
        "description": "A failure: an exit code (7), a range (1-9), a signal (SIGKILL) or an error type.",
        "type": if reads(generator) { &["string", "integer"][..] } else { &["string"] },
    });
}

#[cfg(test)]
mod tests {
    use crate::TaskSpec;

    #[test]
    fn a_spec_may_be_written_with_text_and_is_shown_with_numbers() {
        let read = schemars::generate::SchemaSettings::draft2020_12().into_generator();
        let read = serde_json::to_value(read.into_root_schema_for::<TaskSpec>()).unwrap();
        assert_eq!(read["$defs"]["Span"]["type"], serde_json::json!(["number", "string"]), "{read:#}");
        assert_eq!(read["properties"]["ref"]["type"], serde_json::json!(["string", "null"]), "{read:#}");
        let shown = schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator();
        let shown = serde_json::to_value(shown.into_root_schema_for::<TaskSpec>()).unwrap();
        assert_eq!(shown["$defs"]["Span"]["type"], "number", "{shown:#}");
        assert_eq!(
            shown["$defs"]["Claim"]["required"],
            serde_json::json!(["type", "identifier", "mode", "amount"])
        );
    }
}
