//! The options that describe a task, and the spec they make.
//!
//! All of them become fields of the flat JSON form of a spec, so that the same options are a whole spec for
//! `add -- CMD` and the defaults of every line for `add --from FILE`.

use clap::{ArgGroup, Args};
use orchd_model::{
    Claim, Dependency, Indices, Matcher, Priority, Refusal, SessionRef, Span, TaskSpec, Time, UniqueNames,
    limits, merge_claims,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::workflow_file::once;
use crate::{Failure, Submitter, text, words};

type Fields = Map<String, Value>;

/// What a task is and when and how it runs.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Task")]
#[command(group(ArgGroup::new("start").args(["delay", "at"])))]
pub(crate) struct SpecOptions {
    /// Name shown to people [default: the program's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its class
    #[arg(long, short, value_name = "CLASS", value_parser = words::class())]
    pub(crate) priority: Option<Priority>,
    /// Run after this task: ID[:success|failure|completion]; may be given again
    #[arg(long, value_name = "ID[:ON]")]
    pub(crate) after: Vec<Dependency>,
    /// What it must hold to run: TYPE[:IDENTIFIER][:read|write|exclusive][=AMOUNT], such as cpu=2,
    /// memory=512MiB, database:main:write
    #[arg(long, value_name = "CLAIM")]
    pub(crate) claim: Vec<Claim>,
    /// A variant of what it must hold besides: claims with commas between. Given again, each is a variant; the
    /// first that fits is taken, $ORCHD_VARIANT says which
    #[arg(long, value_name = "CLAIM,...")]
    pub(crate) claim_any: Vec<Variant>,
    /// Limit of one attempt
    #[arg(long, value_name = "DUR", allow_negative_numbers = true)]
    pub(crate) timeout: Option<Span>,
    /// Limit of the whole task from now, waiting and retries included
    #[arg(long, value_name = "DUR", allow_negative_numbers = true)]
    pub(crate) deadline: Option<Span>,
    /// Tries after the first
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) max_retries: Option<u32>,
    /// Tries in all
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) max_attempts: Option<u32>,
    /// Delay before the first retry
    #[arg(long, value_name = "DUR", allow_negative_numbers = true)]
    pub(crate) retry_delay: Option<Span>,
    /// What each delay is multiplied by to give the next
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true, value_parser = finite)]
    pub(crate) backoff: Option<f64>,
    /// No delay is longer
    #[arg(long, value_name = "DUR", allow_negative_numbers = true)]
    pub(crate) max_delay: Option<Span>,
    /// Spread of the delays, 0 to 1
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true, value_parser = finite)]
    pub(crate) jitter: Option<f64>,
    /// Retry only these failures: exit codes (7, 1-9), signals (SIGKILL), error types (Timeout)
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) retry_on: Vec<Matcher>,
    /// Never retry these failures
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) no_retry_on: Vec<Matcher>,
    /// What the claim on memory is multiplied by after an attempt that ran out of it, up to the capacity
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true, value_parser = finite)]
    pub(crate) memory_factor: Option<f64>,
    /// Start after this time at the earliest
    #[arg(long = "in", value_name = "DUR", allow_negative_numbers = true)]
    pub(crate) delay: Option<Span>,
    /// Start at this time at the earliest (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Time>,
    /// Do not start before it is released
    #[arg(long)]
    pub(crate) hold: bool,
    /// Run only if this expression is true
    #[arg(long, value_name = "EXPR")]
    pub(crate) when: Option<String>,
    /// Environment variable for the command; may be given again
    #[arg(long, short, value_name = "K=V", value_parser = assignment)]
    pub(crate) env: Vec<(String, String)>,
    /// Pass the whole environment on, not only PATH HOME USER LOGNAME SHELL LANG LC_* TZ TERM
    #[arg(long)]
    pub(crate) env_all: bool,
    /// Directory of the command [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// File whose text is the command's standard input; - for ours
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
    /// The words after -- are a line for /bin/sh
    #[arg(long)]
    pub(crate) shell: bool,
    /// Call this handler instead of a command
    #[arg(long, value_name = "MODULE.ACTION", conflicts_with_all = ["command", "shell"])]
    pub(crate) handler: Option<String>,
    /// Parameters as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(crate) params: Option<Fields>,
    /// One task for each index: A-B or A-B/STEP; the index is in $ORCHD_INDEX and replaces {index}
    #[arg(long, value_name = "A-B[/STEP]")]
    pub(crate) array: Option<Indices>,
    /// Idempotency key: the same key and task again is the same task
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Session it belongs to, by name or id
    #[arg(long, value_name = "S")]
    pub(crate) session: Option<SessionRef>,
    /// Label to search by; may be given again
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// Fact to search by; may be given again
    #[arg(long, value_name = "K=V", value_parser = assignment)]
    pub(crate) meta: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// Claims that are taken together; an empty text is none.
#[derive(Clone, Debug)]
pub(crate) struct Variant(Vec<Claim>);

impl FromStr for Variant {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let claims = text.split(',').map(str::trim).filter(|claim| !claim.is_empty() || !text.is_empty());
        claims.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("not a whole number from 0 to {}", u32::MAX))
}

/// JSON has no other numbers: they would be lost on the way.
fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "not a number".to_owned())
}

fn object(text: &str) -> Result<Fields, String> {
    match serde_json::from_str(text) {
        Ok(UniqueNames(fields)) => Ok(fields),
        Err(error) => Err(format!("not a JSON object: {}", text::json_error(&error))),
    }
}

impl SpecOptions {
    /// The spec of one task, completed with the directory and environment of this process.
    pub(crate) fn spec(&self, submitter: &Submitter) -> Result<TaskSpec, Failure> {
        if self.command.is_empty() && self.handler.is_none() {
            return Err(Failure::Usage(
                "nothing to run\nhint: write a command after --, or --handler MODULE.ACTION".to_owned(),
            ));
        }
        let mut spec = spec_of(Value::Object(self.fields()?))?;
        submitter.complete(&mut spec);
        Ok(spec)
    }

    /// The given options as fields of a spec's JSON.
    pub(crate) fn fields(&self) -> Result<Fields, Failure> {
        let mut fields = self.body()?;
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        put("name", json_of(self.name.as_ref()));
        put("priority", json_of(self.priority));
        put("dependencies", json_list(&self.after));
        put("claims", json_list(&merge_claims(self.claim.clone())));
        let variants = self.claim_any.iter().map(|variant| merge_claims(variant.0.clone()));
        put("claims_any", json_list(&variants.collect::<Vec<_>>()));
        put("timeout", json_of(self.timeout));
        put("deadline", json_of(self.deadline));
        put("max_retries", json_of(self.max_retries));
        put("max_attempts", json_of(self.max_attempts));
        put("retry_delay", json_of(self.retry_delay));
        put("backoff", json_of(self.backoff));
        put("max_delay", json_of(self.max_delay));
        put("jitter", json_of(self.jitter));
        put("memory_factor", json_of(self.memory_factor));
        put("retry_on", json_list(&self.retry_on));
        put("no_retry_on", json_list(&self.no_retry_on));
        put("not_before", json_of(self.delay).or_else(|| json_of(self.at)));
        put("hold", self.hold.then_some(Value::Bool(true)));
        put("when", json_of(self.when.as_ref()));
        put("env", json_map(&self.env)?);
        put("cwd", self.cwd.as_deref().map(utf8).transpose()?.map(Value::String));
        put("stdin", self.stdin.as_deref().map(text_of).transpose()?.map(Value::String));
        put("parameters", self.params.clone().map(Value::Object));
        put("array", json_of(self.array));
        put("key", json_of(self.key.as_ref()));
        put("session", json_of(self.session.as_ref()));
        put("tags", json_list(&self.tag));
        put("metadata", json_map(&self.meta)?);
        Ok(fields)
    }

    fn body(&self) -> Result<Fields, Failure> {
        let mut fields = Fields::new();
        if let Some(handler) = &self.handler {
            let (module, action) = match handler.rsplit_once('.') {
                Some((module, action)) => (module, Some(action)),
                None => (handler.as_str(), None),
            };
            fields.insert("module".to_owned(), json!(module));
            if let Some(action) = action {
                fields.insert("action".to_owned(), json!(action));
            }
        } else if self.shell && self.command.is_empty() {
            return Err(Failure::Usage("--shell needs a line\nhint: --shell -- 'a | b'".to_owned()));
        } else if self.shell {
            fields.insert("shell".to_owned(), json!(self.command.join(" ")));
        } else if !self.command.is_empty() {
            fields.insert("command".to_owned(), json!(self.command));
        }
        Ok(fields)
    }
}

/// Reads a spec with all its checks.
pub(crate) fn spec_of(value: Value) -> Result<TaskSpec, Failure> {
    let spec: TaskSpec = serde_json::from_value(value).map_err(|error| Failure::Usage(error.to_string()))?;
    spec.check_new().map_err(|refusal| Failure::Usage(refusal.to_string()))?;
    Ok(spec)
}

/// The fields of a line with those of the options under them: what the line says wins, a body in the line
/// replaces the whole body of the options, variables and facts are joined.
pub(crate) fn with_defaults(line: Fields, defaults: &Fields) -> Fields {
    const BODY: [&str; 4] = ["command", "shell", "module", "action"];
    let has_body = BODY.iter().any(|name| line.contains_key(*name));
    let mut fields = defaults.clone();
    fields.retain(|name, _| !(has_body && BODY.contains(&name.as_str())));
    for (name, value) in line {
        match (fields.get_mut(&name), value) {
            (Some(Value::Object(below)), Value::Object(above)) if name == "env" || name == "metadata" => {
                below.extend(above);
            }
            (_, value) => {
                fields.insert(name, value);
            }
        }
    }
    fields
}

fn json_of(value: Option<impl Serialize>) -> Option<Value> {
    value.map(|value| json!(value))
}

fn json_list<T: Serialize>(list: &[T]) -> Option<Value> {
    (!list.is_empty()).then(|| json!(list))
}

fn json_map(pairs: &[(String, String)]) -> Result<Option<Value>, Failure> {
    let map = once(pairs.iter().map(|(name, value)| (name.clone(), json!(value))))?;
    Ok((!map.is_empty()).then_some(Value::Object(map)))
}

fn utf8(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().ok_or_else(|| Failure::Usage(format!("not UTF-8: {}", path.display())))?;
    Ok(text.to_owned())
}

/// The text of a file, or of standard input, no larger than a spec may be.
fn text_of(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let limit = limits::SPEC_BYTES as u64;
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_string(&mut text))
    };
    let read = read.map_err(|error| Failure::unreadable(path, &error))?;
    if read as u64 > limit {
        return Err(Failure::Usage(format!(
            "standard input of a task has at most {limit} bytes: {}\nhint: let the command read the file",
            path.display()
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use orchd_model::{Body, NotBefore, On};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: SpecOptions,
    }

    fn options(words: &[&str]) -> Result<SpecOptions, clap::Error> {
        let words = std::iter::once("add").chain(words.iter().copied());
        Line::try_parse_from(words).map(|line| line.options)
    }

    fn spec(words: &[&str]) -> TaskSpec {
        spec_of(Value::Object(options(words).unwrap().fields().unwrap())).unwrap()
    }

    #[test]
    fn a_command_keeps_its_arguments_as_they_are() {
        let spec = spec(&["--", "grep", "-p", "--name", "a b"]);
        assert_eq!(spec.body, Body::Command { argv: ["grep", "-p", "--name", "a b"].map(Into::into).into() });
        assert_eq!((spec.name.as_str(), spec.priority), ("grep", Priority::Normal));
    }

    #[test]
    fn every_option_reaches_its_field() {
        let line = "--name n -p high --after 3 --after 4:failure --claim cpu=2 --claim database:main:write \
                    --claim-any gpu=1,cpu=1 --claim-any cpu=4 \
                    --timeout 1m --deadline 2h --max-retries 3 --retry-delay 250ms --backoff 2 --max-delay 8 \
                    --jitter 0.1 --memory-factor 1.5 --retry-on 1-9,SIGKILL --no-retry-on 7 --in 5s --hold --when true -e A=b=c \
                    --cwd /tmp --array 1-9/2 --key k --session 2 --tag x --tag y --meta m=1 --shell -- a | b";
        let spec = spec(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(spec.body, Body::Shell { line: "a | b".into() });
        assert_eq!((spec.name.as_str(), spec.priority), ("n", Priority::High));
        assert_eq!(spec.dependencies[1].on, On::Failure);
        assert_eq!(
            spec.claims.iter().map(Claim::to_string).collect::<Vec<_>>(),
            ["cpu:system_cpu=2", "database:main:write"]
        );
        let variants = spec.claims_any.iter().map(|claims| claims.iter().map(Claim::to_string).collect());
        assert_eq!(
            variants.collect::<Vec<Vec<_>>>(),
            [vec!["cpu:system_cpu", "gpu:system_gpu"], vec!["cpu:system_cpu=4"]]
        );
        assert_eq!((spec.timeout, spec.deadline), (Some(Span::from_secs(60)), Some(Span::from_secs(7200))));
        let policy = spec.retry.policy().unwrap();
        assert_eq!((policy.max_retries, policy.delay), (3, Span::from_millis(250)));
        assert_eq!((policy.backoff, policy.max_delay, policy.jitter), (2.0, Span::from_secs(8), 0.1));
        assert_eq!(policy.memory_factor, 1.5);
        assert_eq!((policy.retry_on.len(), policy.no_retry_on.len()), (2, 1));
        assert_eq!(spec.not_before, Some(NotBefore::In(Span::from_secs(5))));
        assert!(spec.hold && spec.when.as_deref() == Some("true"));
        assert_eq!((&*spec.env["A"], spec.cwd.as_deref()), ("b=c", Some("/tmp")));
        assert_eq!((spec.key.as_deref(), spec.session_id()), (Some("k"), Some(orchd_model::SessionId(2))));
        assert_eq!(spec.array.map(|indices| indices.len()), Some(5));
        assert_eq!(spec.tags.len(), 2);
        assert_eq!(spec.metadata["m"], "1");
    }

    #[test]
    fn a_handler_has_a_module_an_action_and_parameters() {
        let spec = spec(&["--handler", "a.b.c", "--params", r#"{"x": 1}"#]);
        assert_eq!(
            spec.body,
            Body::Handler { module: "a.b".into(), action: Some("c".into()), command: None }
        );
        assert_eq!(spec.parameters["x"], 1);
    }

    #[test]
    fn options_that_make_no_sense_are_refused_here() {
        for words in [
            &["--priority", "urgent", "--", "x"][..],
            &["--claim", "cpu=0", "--", "x"],
            &["--claim", "memory", "--", "x"],
            &["--claim", "lock", "--", "x"],
            &["--after", "x", "--", "x"],
            &["--timeout", "-1", "--", "x"],
            &["--max-retries", "-1", "--", "x"],
            &["--backoff", "nan", "--", "x"],
            &["--jitter", "inf", "--", "x"],
            &["--in", "5s", "--at", "2030-01-01T00:00:00Z", "--", "x"],
            &["--params", "[1]", "--handler", "a.b"],
            &["--handler", "a.b", "--", "x"],
            &["-e", "A", "--", "x"],
            &["x"],
        ] {
            assert!(options(words).is_err(), "{words:?} should be refused");
        }
        for limit in ["--timeout", "--deadline"] {
            let none = options(&[limit, "0", "--", "x"]).unwrap();
            let failure = spec_of(Value::Object(none.fields().unwrap())).unwrap_err();
            assert!(failure.to_string().contains("must be more than nothing: 0\nhint: "), "{failure}");
        }
        let name = options(&["--session", "nightly", "--", "x"]).unwrap();
        assert_eq!(name.fields().unwrap()["session"], "nightly");
        let twice = options(&["--max-retries", "3", "--max-attempts", "3", "--", "x"]).unwrap();
        assert!(spec_of(Value::Object(twice.fields().unwrap())).is_err());
    }

    #[test]
    fn a_line_wins_over_the_options() {
        let defaults =
            options(&["-p", "low", "-e", "A=1", "-e", "B=1", "--", "make"]).unwrap().fields().unwrap();
        let line = |json: Value| with_defaults(json.as_object().unwrap().clone(), &defaults);
        let spec = spec_of(Value::Object(line(json!({"shell": "x", "env": {"B": "2"}})))).unwrap();
        assert_eq!(spec.body, Body::Shell { line: "x".into() });
        assert_eq!((spec.priority, &*spec.env["A"], &*spec.env["B"]), (Priority::Low, "1", "2"));
        let spec = spec_of(Value::Object(line(json!({"priority": "high"})))).unwrap();
        assert_eq!((spec.name.as_str(), spec.priority), ("make", Priority::High));
    }
}
