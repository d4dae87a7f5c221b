//! The command line of `orchd`.

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, Flags, LogFormat};
use crate::{damage, evaluator, logs, run, serve, tether};

/// Where the daemon keeps and finds things.
#[derive(Args, Clone, Debug)]
struct Places {
    /// Where tasks, results and output are kept [default: $ORCHD_STATE_DIR, else the usual place]
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where the daemon listens [default: $ORCHD_SOCKET, else the usual place]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration file [default: $ORCHD_CONFIG, else the usual one, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many processes run at once; the number of cores when not given
    #[arg(long, global = true, value_name = "N")]
    slots: Option<u32>,
    /// How log lines look
    #[arg(long, global = true, value_enum)]
    log_format: Option<LogFormat>,
    /// Log to this file, which is rotated, and not to standard error
    #[arg(long, global = true, value_name = "PATH")]
    log_file: Option<PathBuf>,
}

/// A durable priority queue of tasks with claims on cores, memory, tokens and locks.
///
/// Without a verb: the daemon, in the foreground.
#[derive(Parser, Debug)]
#[command(name = "orchd", version, arg_required_else_help = false, after_help = AFTER_HELP)]
struct Orchd {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    verb: Option<Verb>,
}

const AFTER_HELP: &str = "\
Configuration: a flag wins over a variable of the environment, that over the file, that over the default.
  Variables: LOG_LEVEL, MAX_PARALLEL_TASKS, WORKFLOW_TIMEOUT, RUST_LOG, and ORCHD_ with the name of a key,
  as ORCHD_SCHEDULER_AGING. `orchd check-config` shows every value and who says so; docs/configuration.md
  has all keys.

Signals: SIGTERM and SIGINT end the daemon, running tasks stay with their worker; SIGHUP reads the
  configuration again.";

#[derive(Subcommand, Debug)]
enum Verb {
    /// Run a workflow file on a daemon of its own, and exit when it has ended
    Run(run::RunArgs),
    /// The local process worker; started by the daemon, not usually typed
    Worker {
        /// Die with the daemon, and all tasks with it
        #[arg(long)]
        tethered: bool,
    },
    /// Evaluates templates that may cost much; started by the daemon
    #[command(hide = true)]
    Evaluator,
    /// Runs a command and ends it with the daemon; started by the daemon
    #[command(hide = true)]
    Tethered {
        /// The daemon's process
        daemon: u32,
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Print the effective configuration and where each value comes from
    CheckConfig {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print the completions for a shell
    Completions(orchd_cli::CompletionsArgs),
    /// Write the man pages into a directory
    Manual(orchd_cli::ManualArgs),
}

/// The name that stands before messages.
const PROGRAM: &str = "orchd";

/// The exit code of a command line that cannot be understood, and of a configuration that is wrong.
const USAGE: u8 = 2;

/// Runs `orchd`.
#[must_use]
pub fn main() -> ExitCode {
    let Orchd { places, mut verb } = match Orchd::try_parse() {
        Ok(orchd) => orchd,
        Err(error) if error.use_stderr() => {
            eprint!("{}", orchd_cli::in_our_words(&error.to_string(), PROGRAM));
            return ExitCode::from(USAGE);
        }
        // Help, and the version.
        Err(error) => error.exit(),
    };
    // A run keeps its state only where it is told to: the usual place is the daemon's.
    let kept = places.state_dir.clone();
    let flags = Flags::from(places);
    // These have nothing to do with any configuration.
    match &verb {
        Some(Verb::Completions(shell)) => return told(shell.print(Orchd::command(), PROGRAM)),
        Some(Verb::Manual(manual)) => {
            let written = manual.write(Orchd::command(), PROGRAM);
            return told(written.map(|first| println!("read it with: man {}", first.display())));
        }
        Some(Verb::Evaluator) => return evaluated(evaluator::run()),
        Some(Verb::Tethered { daemon, command }) => return tethered(tether::run(*daemon, command)),
        Some(Verb::Run(_) | Verb::Worker { .. } | Verb::CheckConfig { .. }) | None => {}
    }
    let flags = match &mut verb {
        Some(Verb::Run(args)) => args.configured(flags),
        _ => flags,
    };
    let config = match Config::load(&flags) {
        Ok(config) => config,
        Err(mistakes) => {
            eprintln!("orchd: {mistakes}");
            return ExitCode::from(USAGE);
        }
    };
    let usual = if matches!(verb, Some(Verb::Run(_))) { "warn" } else { "info" };
    let result = match verb {
        Some(Verb::CheckConfig { json }) => check_config(&config, json),
        verb => logs::start(&config.log, usual).and_then(|logs| {
            warn(&config);
            match verb {
                Some(Verb::Run(args)) => run::run(config, args, kept),
                Some(Verb::Worker { tethered }) => worker(&config, tethered),
                Some(
                    Verb::CheckConfig { .. }
                    | Verb::Completions(_)
                    | Verb::Manual(_)
                    | Verb::Evaluator
                    | Verb::Tethered { .. },
                )
                | None => serve::daemon(flags, config, logs),
            }
        }),
    };
    result.unwrap_or_else(|error| match error.downcast_ref().and_then(damage::of) {
        Some(advice) => {
            eprintln!("orchd: {advice}");
            ExitCode::from(damage::EXIT as u8)
        }
        None => {
            eprintln!("orchd: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn tethered(ended: anyhow::Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| {
        eprintln!("orchd: {error:#}");
        ExitCode::FAILURE
    })
}

fn evaluated(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orchd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn told(done: Result<(), orchd_cli::Failure>) -> ExitCode {
    match done {
        Err(failure) if !failure.is_broken_pipe() => {
            eprintln!("{}", failure.text(PROGRAM));
            failure.exit().into()
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

impl From<Places> for Flags {
    fn from(places: Places) -> Self {
        let Places { state_dir, socket, config, slots, log_format, log_file } = places;
        Self { state_dir, socket, config, slots, log_format, log_file }
    }
}

/// Says what is odd about a configuration.
pub fn warn(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

fn worker(config: &Config, tethered: bool) -> anyhow::Result<ExitCode> {
    let state_dir = serve::state_dir(config)?;
    let output_bytes = config.output_bytes;
    orchd_worker::run(orchd_worker::Options {
        output_bytes,
        socket: config.socket.clone(),
        state_dir,
        slots: config.slots,
        cgroup: config.enforcement.place(),
        tethered,
    })?;
    Ok(ExitCode::SUCCESS)
}

fn check_config(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    use std::io::Write;
    let text = if json {
        serde_json::to_string_pretty(&config.settings)? + "\n"
    } else {
        config.settings.iter().map(|setting| format!("{setting}\n")).collect()
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot write to standard output")?,
    }
    for warning in &config.warnings {
        eprintln!("orchd: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}
