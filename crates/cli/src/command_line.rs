//! The program: reads the command line, runs the verb, turns what comes of it into an exit code.

use clap::error::{ContextKind, ErrorKind};
use clap::{Args, Parser};
use orchd_model::{Code, Refusal, Span};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::failure::FailureDocument;
use crate::interrupt::undisturbed;
use crate::verb::Verb;
use crate::{Color, Exit, Failure, output};

/// The name that stands before messages.
pub(crate) const PROGRAM: &str = "orchctl";

/// Adds, watches and steers the tasks of an orchd daemon.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, bin_name = PROGRAM, version, propagate_version = true, max_term_width = 100)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb understands, before or after its name.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalOptions {
    /// The daemon's socket [default: $ORCHD_SOCKET, else that of the user's own daemon]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Write JSON: one document, or one a line where it is a stream
    #[arg(long, global = true)]
    pub json: bool,
    /// Print ids only, and nothing where there are none to print
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// How long to wait for a first answer of the daemon
    #[arg(long, global = true, default_value = "5s", value_name = "DUR")]
    pub connect_timeout: Span,
}

/// Runs orchctl with the arguments of this process.
pub fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            let words: Vec<String> = std::env::args().skip(1).collect();
            let json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
            return usage(&error, words, json).into();
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended(Err(error.into()), line.global.json).into(),
    };
    let json = line.global.json;
    let context = Context::new(line.global);
    let result = runtime.block_on(async {
        if line.verb.minds_interrupts() {
            return line.verb.run(&context).await;
        }
        let mut interrupt = undisturbed(|| signal(SignalKind::interrupt()))?;
        tokio::select! {
            result = line.verb.run(&context) => result,
            _ = interrupt.recv() => Ok(Exit::INTERRUPTED),
        }
    });
    // A thread that still reads standard input must not keep the program alive.
    runtime.shutdown_background();
    ended(result, json).into()
}

fn ended(result: Result<Exit, Failure>, json: bool) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(failure) if failure.is_broken_pipe() => Exit::DONE,
        Err(failure) => {
            let text = if json { failure.document().line() } else { failure.text(PROGRAM) };
            // When standard error is closed too there is nobody left to tell.
            writeln!(std::io::stderr(), "{text}").ok();
            failure.exit()
        }
    }
}

/// Help and version go to standard output; anything else is told the way all our errors are.
fn usage(error: &clap::Error, words: Vec<String>, json: bool) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ended(error.print().map(|()| Exit::DONE).map_err(|error| output::failed(error).into()), json);
    }
    let bare = [ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, ErrorKind::MissingSubcommand];
    if bare.contains(&error.kind()) {
        // The help of the verb whose words are missing.
        write!(std::io::stderr(), "{}", error.render()).ok();
        return Exit::USAGE;
    }
    let unexpected = (error.kind() == ErrorKind::UnknownArgument).then(|| {
        error.get(ContextKind::InvalidArg).and_then(|found| misplaced(&found.to_string(), words.into_iter()))
    });
    if let Some(Misplaced::Negative(meant)) = unexpected.as_ref().and_then(Option::as_ref)
        && let Err(error) = CommandLine::try_parse_from(meant)
        && error.kind() != ErrorKind::UnknownArgument
    {
        return usage(&error, Vec::new(), json);
    }
    let text = unexpected.flatten().map_or_else(|| error.to_string(), |misplaced| misplaced.text());
    let refusal = error.source().and_then(|source| source.downcast_ref::<Refusal>());
    let text = in_our_words(&text, PROGRAM);
    if json {
        let code = refusal.map_or("usage", |refusal| refusal.code.as_str());
        let text = text.strip_prefix(PROGRAM).and_then(|text| text.strip_prefix(": ")).unwrap_or(&text);
        writeln!(std::io::stderr(), "{}", FailureDocument::of_text(code, text, None).line()).ok();
    } else {
        write!(std::io::stderr(), "{text}").ok();
    }
    // A wish that can be read and never be granted is no mistake of usage.
    match refusal {
        Some(refusal) if refusal.code == Code::TooLarge => Exit::of_code(refusal.code),
        _ => Exit::USAGE,
    }
}

/// A word that clap finds in no place, where it is plain what its writer meant.
enum Misplaced {
    /// A value below zero, which looks like an option: the line as it would be read as a value.
    Negative(Vec<String>),
    /// A command without the dashes before it: what to say.
    Command(String),
}

impl Misplaced {
    /// What is said of it if there is nothing better.
    fn text(self) -> String {
        match self {
            Self::Negative(words) => {
                let word = words.last().map(String::as_str).unwrap_or_default();
                format!("error: a value cannot be negative: {word}\nhint: for more information try '--help'.")
            }
            Self::Command(text) => text,
        }
    }
}

/// What was meant by a word that is in no place.
fn misplaced(found: &str, words: impl Iterator<Item = String>) -> Option<Misplaced> {
    let mut words: Vec<String> = words.collect();
    let at = words.iter().position(|word| word.starts_with(found))?;
    let is_number = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if words[at].strip_prefix('-').is_some_and(is_number) {
        let option = at.checked_sub(1).filter(|before| words[*before].starts_with('-'));
        words.truncate(at + 1);
        let word = words.remove(at);
        match option {
            Some(option) => words[option] += &format!("={word}"),
            None => words.extend(["--".to_owned(), word]),
        }
        words.insert(0, PROGRAM.to_owned());
        return Some(Misplaced::Negative(words));
    }
    let word = &words[at];
    let takes_command = |word: &&String| ["add", "run", "lock"].contains(&word.as_str());
    let verb = words[..at].iter().find(takes_command).filter(|_| !word.starts_with('-'))?;
    let command = words[at..].iter().filter(|word| *word != "--").map(String::as_str);
    let command = command.collect::<Vec<_>>().join(" ");
    Some(Misplaced::Command(format!(
        "error: unexpected argument '{word}' found\nhint: the command stands after --: {PROGRAM} {verb} -- {command}\n\
         hint: for more information try '--help'."
    )))
}

/// What clap says of a command line, told the way all errors of ours are.
#[must_use]
pub fn in_our_words(text: &str, program: &str) -> String {
    // What the standard library says of numbers.
    let text = text
        .replace("invalid digit found in string", "not a whole number of at least 0")
        .replace("cannot parse integer from empty string", "not a whole number of at least 0")
        .replace("number too large to fit in target type", "too large a number");
    let mut words = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let line = match line.strip_prefix("error: ") {
            Some(message) => format!("{program}: {message}"),
            None => match line.trim_start().strip_prefix("tip: ") {
                Some(tip) => format!("hint: {tip}"),
                None => line.replace("For more information, try", "hint: for more information try"),
            },
        };
        words.push_str(&line);
        words.push('\n');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense_to_clap() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_verb() {
        for words in [["orchctl", "--json", "stats"], ["orchctl", "stats", "--json"]] {
            assert!(CommandLine::try_parse_from(words).unwrap().global.json);
        }
    }

    #[test]
    fn what_was_meant_is_told_of_words_in_no_place() {
        for (line, expected) in [
            (
                "add --priority -3 -- true",
                "'-3' for '--priority <CLASS>': unknown priority: -3\nhint: one of",
            ),
            ("add -p -3 -- true", "'-3' for '--priority <CLASS>': unknown priority: -3\nhint: one of"),
            (
                "add --deadline -1h -- true",
                "--deadline <DUR>': a duration cannot be negative: -1h\nhint: write",
            ),
            ("list --limit -3", "invalid value '-3' for '--limit <N>': not a whole number of at least 0\n"),
            ("reprioritize 1 -3", "'-3' for '<CLASS>': unknown priority: -3\nhint: one of"),
            ("cancel -3", "invalid value '-3' for '[ID]...': a task id is not a number: -3"),
            ("add sleep 1", "'sleep' found\nhint: the command stands after --: orchctl add -- sleep 1\n"),
            ("run -p low make -j2", "the command stands after --: orchctl run -- make -j2\n"),
        ] {
            let words = || line.split(' ').map(str::to_owned);
            let error = CommandLine::try_parse_from(std::iter::once(PROGRAM.to_owned()).chain(words()));
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnknownArgument, "{line}");
            let found = error.get(ContextKind::InvalidArg).unwrap().to_string();
            let text = in_our_words(
                &match misplaced(&found, words()).unwrap() {
                    Misplaced::Negative(meant) => CommandLine::try_parse_from(meant).unwrap_err().to_string(),
                    command @ Misplaced::Command(_) => command.text(),
                },
                PROGRAM,
            );
            assert!(text.contains(expected), "{text}");
        }
        assert!(misplaced("--jsn", ["stats", "--jsn"].map(str::to_owned).into_iter()).is_none());
        assert!(misplaced("x", ["stats", "x"].map(str::to_owned).into_iter()).is_none());
    }

    #[test]
    fn usage_errors_read_like_all_others() {
        let error = CommandLine::try_parse_from(["orchctl", "add", "--priority", "normel", "--", "x"]);
        let text = in_our_words(&error.unwrap_err().to_string(), PROGRAM);
        assert!(text.starts_with("orchctl: invalid value 'normel' for '--priority <CLASS>'"), "{text}");
        assert!(text.contains("\nhint: did you mean normal?\n"), "{text}");
        let error = CommandLine::try_parse_from(["orchctl", "stats", "--jsonn"]);
        assert!(in_our_words(&error.unwrap_err().to_string(), PROGRAM).contains("\nhint: "));
    }
}
