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
        self.check_target()?;
        check_hook_timeout(self.timeout)
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
            (None, None, Some(url)) => check_hook_url(url),
            _ => malformed("a hook has one of command, shell and url"),
        }
    }
}

/// Checks that a url looks like an address; whoever asks it reads it for good.
///
/// # Errors
/// `malformed`, with the url.
pub fn check_hook_url(url: &str) -> Result<(), Refusal> {
    let refusal = || Refusal::new(Code::Malformed, "a hook's url is http(s)://HOST[:PORT][/PATH]").value(url);
    let (scheme, rest) = url.split_once("://").ok_or_else(refusal)?;
    let is_web = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Behind whoever asks.
    let place = authority.rsplit('@').next().unwrap_or_default();
    // An address of IPv6 has colons of its own.
    let after_host = place.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match place[after_host..].find(':') {
        Some(colon) => (&place[..after_host + colon], Some(&place[after_host + colon + 1..])),
        None => (place, None),
    };
    if !is_web || host.is_empty() {
        return Err(refusal());
    }
    // What reads addresses takes one with a port that cannot be for one without.
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok(()),
        Some(_) => Err(refusal().hint("a port is a number from 1 to 65535")),
    }
}

/// Refuses no time at all for a try of a hook: whoever writes 0 mostly means that there is no limit.
///
/// # Errors
/// `malformed`.
pub fn check_hook_timeout(timeout: Option<Span>) -> Result<(), Refusal> {
    match timeout {
        Some(Span::ZERO) => {
            let refusal =
                Refusal::new(Code::Malformed, "a hook's timeout must be more than nothing").value("0");
            Err(refusal.hint("each try has a limit: without this one it is the usual one"))
        }
        _ => Ok(()),
    }
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
            (r#"{"events":["*"],"shell":"true","timeout":0}"#, "a hook's timeout must be more than nothing"),
        ] {
            assert_eq!(refusal(text).as_deref(), Some(message), "{text}");
        }
    }
    #[test]
    fn the_port_of_a_url_is_one_that_there_is() {
        for url in [
            "http://a",
            "HTTPS://a/b:99999",
            "http://a:1/",
            "http://u:99999@a:65535",
            "http://[::1]",
            "http://[::1]:80",
        ] {
            assert_eq!(check_hook_url(url), Ok(()), "{url}");
        }
        for url in
            ["https://u:p@a:99999/", "http://a:65536", "http://a:0/", "http://a:x/", "http://[::1]:70000/"]
        {
            let refusal = check_hook_url(url).unwrap_err();
            let hint = "a port is a number from 1 to 65535";
            assert_eq!((refusal.value.as_deref(), refusal.hint.as_deref()), (Some(url), Some(hint)));
        }
        for url in ["a", "ftp://a", "http://", "http://:80", "http://u@/", "https://?a"] {
            assert_eq!(check_hook_url(url).unwrap_err().hint, None, "{url}");
        }
    }
}
