//! Hooks: who is told of what happens to a workflow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::{Code, Refusal, Span, check_pattern};

/// Who is told of which events of a workflow and its tasks: one of a command, a shell's line and an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookSpec {
    /// Its name; its number, from 1, when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Types of events: exact, `task.*` or `*`.
    pub events: Vec<String>,
    /// A program and its arguments; it finds the event on its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The same, as a line for `/bin/sh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// An address, `http` or `https`; it gets the event in a POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The directory of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The limit of one try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Tries after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// From the first try to the second; doubled from try to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<Span>,
}

impl HookSpec {
    /// Fills in the directory of whoever submits it.
    pub fn surround(&mut self, cwd: &Path) {
        let own = self.cwd.as_ref().map_or_else(|| cwd.to_owned(), |own| cwd.join(own));
        self.cwd = Some(own.to_string_lossy().into_owned());
    }

    /// Checks what the types do not express.
    ///
    /// # Errors
    /// `malformed`, with the offending value.
    pub fn check(&self) -> Result<(), Refusal> {
        self.check_count_of_events()?;
        self.events.iter().try_for_each(|pattern| check_pattern(pattern))?;
        self.check_target()
    }

    /// Checks that it is for some events, whatever they are.
    ///
    /// # Errors
    /// `malformed`.
    pub fn check_count_of_events(&self) -> Result<(), Refusal> {
        match self.events.is_empty() {
            true => Err(Refusal::new(Code::Malformed, "a hook must say which events it is for")),
            false => Ok(()),
        }
    }

    /// Checks that there is one to tell.
    ///
    /// # Errors
    /// `malformed`, with the offending value.
    pub fn check_target(&self) -> Result<(), Refusal> {
        let malformed = |message: &str| Err(Refusal::new(Code::Malformed, message));
        match (&self.command, &self.shell, &self.url) {
            (Some(argv), None, None) if argv.is_empty() => malformed("a hook's command is empty"),
            (Some(_), None, None) | (None, Some(_), None) => Ok(()),
            (None, None, Some(url)) if is_address(url) => Ok(()),
            (None, None, Some(url)) => {
                Err(Refusal::new(Code::Malformed, "a hook's url is http(s)://HOST[:PORT][/PATH]").value(url))
            }
            _ => malformed("a hook has one of command, shell and url"),
        }
    }
}

/// Whether it looks like an address; whoever asks it reads it for good.
fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_has_events_and_one_to_tell() {
        let refusal = |text: &str| {
            serde_json::from_str::<HookSpec>(text).unwrap().check().err().map(|refusal| refusal.message)
        };
        assert_eq!(refusal(r#"{"events":["task.*"],"shell":"true"}"#), None);
        assert_eq!(refusal(r#"{"events":["*"],"url":"https://a.example/b"}"#), None);
        for (text, message) in [
            (r#"{"events":[],"shell":"true"}"#, "a hook must say which events it is for"),
            (r#"{"events":["task.fail"],"shell":"true"}"#, "no event is of this type"),
            (r#"{"events":["*"]}"#, "a hook has one of command, shell and url"),
            (
                r#"{"events":["*"],"shell":"true","command":["true"]}"#,
                "a hook has one of command, shell and url",
            ),
            (r#"{"events":["*"],"command":[]}"#, "a hook's command is empty"),
            (r#"{"events":["*"],"url":"http:///b"}"#, "a hook's url is http(s)://HOST[:PORT][/PATH]"),
        ] {
            assert_eq!(refusal(text).as_deref(), Some(message), "{text}");
        }
    }
}
