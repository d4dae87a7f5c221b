//! The command line of `orchd`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Config;
use crate::{run, serve};

/// Where the daemon keeps and finds things.
#[derive(Args, Clone, Debug)]
pub struct Places {
    /// Where tasks, results and output are kept
    #[arg(long, global = true, env = "ORCHD_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where the daemon listens
    #[arg(long, global = true, env = "ORCHD_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The configuration file
    #[arg(long, global = true, env = "ORCHD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How many processes run at once; the number of cores when not given
    #[arg(long, global = true, value_name = "N")]
    pub slots: Option<u32>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A durable priority queue of tasks with claims on cores, memory, tokens and locks.
///
/// Without a verb: the daemon, in the foreground.
#[derive(Parser, Debug)]
#[command(name = "orchd", version, arg_required_else_help = false)]
struct Orchd {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    verb: Option<Verb>,
}

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
    /// Print the effective configuration and where each value comes from
    CheckConfig,
}

/// The exit code of a command line that cannot be understood, and of a configuration that is wrong.
const USAGE: u8 = 2;

/// Runs `orchd`.
#[must_use]
pub fn main() -> ExitCode {
    let Orchd { places, verb } = Orchd::parse();
    let result = match verb {
        None => {
            start_logging(places.log_format, "info");
            with_config(&places, |config| serve::daemon(&places, config))
        }
        Some(Verb::Run(args)) => {
            start_logging(places.log_format, "warn");
            with_config(&places, |config| run::run(config, args))
        }
        Some(Verb::Worker { tethered }) => {
            start_logging(places.log_format, "info");
            worker(&places, tethered)
        }
        Some(Verb::CheckConfig) => check_config(&places),
    };
    result.unwrap_or_else(|error| {
        eprintln!("orchd: {error:#}");
        ExitCode::FAILURE
    })
}

fn worker(places: &Places, tethered: bool) -> anyhow::Result<ExitCode> {
    if tethered {
        // Its commands have the same bond with the worker.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    }
    let state_dir = serve::state_dir(places)?;
    let socket = serve::socket(places);
    let slots = places.slots.unwrap_or(1);
    orchd_worker::run(orchd_worker::Options { socket, state_dir, slots })?;
    Ok(ExitCode::SUCCESS)
}

fn check_config(places: &Places) -> anyhow::Result<ExitCode> {
    with_config(places, |config| {
        println!("state_dir = {} (flag, environment or default)", serve::state_dir(places)?.display());
        println!("socket = {} (flag, environment or default)", serve::socket(places).display());
        for (key, value, source) in &config.sources {
            println!("{key} = {value} ({source})");
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Goes on with the configuration; one that is wrong is a mistake of usage.
fn with_config(
    places: &Places,
    go_on: impl FnOnce(&Config) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    match Config::load(places.config.as_deref(), places.slots) {
        Ok(config) => go_on(&config),
        Err(error) => {
            eprintln!("orchd: {error:#}");
            Ok(ExitCode::from(USAGE))
        }
    }
}

/// `RUST_LOG` wins over `LOG_LEVEL`, which wins over `default`.
fn start_logging(format: LogFormat, default: &str) {
    let level = std::env::var("LOG_LEVEL").ok().map(|level| match level.to_ascii_uppercase().as_str() {
        "DEBUG" => "debug",
        "INFO" => "info",
        "WARNING" | "WARN" => "warn",
        "ERROR" => "error",
        _ => default,
    });
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level.unwrap_or(default)));
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(is_terminal).init(),
        LogFormat::Json => lines.json().init(),
    }
}
