//! The `orchd` binary: the daemon, the local worker, and `orchd run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    orchd_daemon::main()
}
