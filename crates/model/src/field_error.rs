//! What is wrong with a field of a task's JSON, in words for people: which field, what it takes, what was given, and an
//! example. Errors are read again as text because every type reads itself, and says so only in its error.

use crate::nearest;

/// The words of serde for what something should be, and ours.
const WANTED: [(&str, &str); 9] = [
    ("a sequence", "a list"),
    ("a map", "an object"),
    ("a map of variables", "an object of variables"),
    ("a string", "text"),
    ("string or map", "a word"),
    ("a boolean", "true or false"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number of at least 0"),
    ("f64", "a number"),
];

/// How each field may look; other fields say themselves what they take.
const EXAMPLES: [(&str, &str); 21] = [
    ("priority", r#""high""#),
    ("name", r#""build""#),
    ("command", r#"["make", "all"]"#),
    ("shell", r#""make all | tee log""#),
    ("module", r#""report""#),
    ("action", r#""render""#),
    ("parameters", r#"{"rows": 10}"#),
    ("env", r#"{"LANG": "C"}"#),
    ("cwd", r#""/srv""#),
    ("stdin", r#""a line\n""#),
    ("claims", r#"["cpu=2", "lock:deploy:exclusive"]"#),
    ("claims_any", r#"[["gpu=1"], ["cpu=4"]]"#),
    ("dependencies", r#"[12, "ref", {"task": 13, "on": "completion"}]"#),
    ("when", r#""tasks.fetch.output.rows > 10""#),
    ("retry_on", r#"[7, "1-9", "SIGKILL", "Timeout"]"#),
    ("no_retry_on", r#"[7, "1-9", "SIGKILL", "Timeout"]"#),
    ("key", r#""2030-01-31""#),
    ("ref", r#""fetch""#),
    ("array", r#""1-100""#),
    ("tags", r#"["nightly"]"#),
    ("metadata", r#"{"ticket": 7}"#),
];

/// What serde's error says is wrong with a field, on one line with what was given, and a hint on a second line where
/// there is one.
#[must_use]
pub fn of_field(field: &str, error: &str) -> String {
    // Where it is in the text is said again by whoever reads the whole.
    let error = error.rfind(" at line ").map_or(error, |end| &error[..end]);
    let wrong_type = ["invalid type: ", "invalid value: "].iter().find_map(|start| error.strip_prefix(start));
    if let Some((found, wanted)) = wrong_type.and_then(|text| text.rsplit_once(", expected ")) {
        let wanted = WANTED.iter().find(|(theirs, _)| *theirs == wanted).map_or(wanted, |(_, ours)| ours);
        return with_example(field, format!("{field}: not {wanted}: {}", given(found)));
    }
    let unknown = [("unknown variant `", "no such word"), ("unknown field `", "no such field")];
    let unknown = unknown.iter().find_map(|(start, what)| Some((error.strip_prefix(start)?, what)));
    if let Some((name, rest, what)) = unknown
        .and_then(|(text, what)| text.split_once("`, expected ").map(|(name, rest)| (name, rest, what)))
    {
        let words: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let hint = match nearest(name, words.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("one of {}", words.join(", ")),
        };
        return format!("{field}: {what}: {name}\nhint: {hint}");
    }
    let text = format!("{field}: {error}");
    // What is no value at all, and what JSON has no such word for.
    if error == "expected value" { with_example(field, text) } else { text }
}

fn with_example(field: &str, text: String) -> String {
    match EXAMPLES.iter().find(|(name, _)| *name == field) {
        Some((_, example)) => format!("{text}\nhint: for example \"{field}\": {example}"),
        None => text,
    }
}

/// A value as it was given, after serde's word for its type.
fn given(found: &str) -> &str {
    match found {
        "sequence" => "a list",
        "map" => "an object",
        _ => {
            let value = ["string ", "integer ", "floating point ", "boolean "];
            let value = value.iter().find_map(|kind| found.strip_prefix(kind)).unwrap_or(found);
            value.trim_matches('`')
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::TaskSpec;

    #[test]
    fn what_is_no_word_at_all_is_told_with_an_example() {
        let error = serde_json::from_str::<TaskSpec>(r#"{"priority": 3}"#).unwrap_err().to_string();
        assert!(
            error.starts_with("priority: expected value\nhint: for example \"priority\": \"high\""),
            "{error}"
        );
        let value = serde_json::json!({ "priority": 3 });
        let error = serde_json::from_value::<TaskSpec>(value).unwrap_err().to_string();
        assert_eq!(error, "priority: not a word: 3\nhint: for example \"priority\": \"high\"");
    }

    #[test]
    fn what_a_field_does_not_take_is_said_with_the_field_the_value_and_an_example() {
        for (field, expected) in [
            (
                r#""command": "true""#,
                "command: not a list: \"true\"\nhint: for example \"command\": [\"make\", \"all\"]",
            ),
            (r#""command": [1]"#, "command: not text: 1\nhint: for example \"command\": [\"make\", \"all\"]"),
            (r#""priority": "hihg""#, "priority: no such word: hihg\nhint: did you mean high?"),
            (r#""priority": "x""#, "priority: no such word: x\nhint: one of critical, high, normal, low"),
            (
                r#""env": []"#,
                "env: not an object of variables: a list\nhint: for example \"env\": {\"LANG\": \"C\"}",
            ),
            (r#""timeout": "x""#, "timeout: not a duration: x\nhint: write seconds"),
            (r#""timeout": {}"#, "timeout: not a duration: seconds, or text such as \"1h30m\": an object"),
            (r#""max_retries": -1"#, "max_retries: not a whole number from 0 to 4294967295: -1"),
            (r#""max_retries": 1.5"#, "max_retries: not a whole number from 0 to 4294967295: 1.5"),
            (r#""jitter": "a""#, "jitter: not a number: \"a\""),
            (r#""hold": "yes""#, "hold: not true or false: \"yes\""),
            (r#""not_before": true"#, "not_before: a time (RFC 3339), or a delay such as \"10m\""),
            (
                r#""claims": [{"type": "lock", "identifier": "a", "mode": "rea"}]"#,
                "claims: no such word: rea\nhint: did you mean read?",
            ),
            (r#""claims": [{"typ": "cpu"}]"#, "claims: no such field: typ\nhint: did you mean type?"),
            (r#""dependencies": [1.5]"#, "dependencies: not a dependency: an id, a name, or {task, on}: 1.5"),
            (
                r#""dependencies": [{"task": 1, "onn": "failure"}]"#,
                "dependencies: no such field: onn\nhint: did you mean on?",
            ),
            (r#""dependencies": [{"task": []}]"#, "dependencies: a task's id or name"),
            (r#""session": []"#, "session: a session's name or id"),
            (
                r#""foreach": 5"#,
                "foreach: not a list, an expression that gives one, or {\"array\": \"1-10\"}: 5",
            ),
            (r#""foreach": {"arry": "1-2"}"#, "foreach: no such field: arry\nhint: did you mean array?"),
            (r#""foreach": {"array": "x"}"#, "foreach: not a range of indices: x\nhint: A-B or"),
        ] {
            let text = format!("{{{field}}}");
            let of_text = serde_json::from_str::<TaskSpec>(&text).unwrap_err().to_string();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let of_value = serde_json::from_value::<TaskSpec>(value).unwrap_err().to_string();
            for error in [of_text, of_value] {
                assert!(error.starts_with(expected), "{text}: {error}");
                assert!(error.matches(" at line ").count() < 2, "{error}");
            }
        }
    }
}
