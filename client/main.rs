//! The `orchctl` binary: orchd at the prompt.

use std::process::ExitCode;

fn main() -> ExitCode {
    orchd_cli::main()
}
