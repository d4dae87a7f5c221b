//! The exit codes: the same code for the same cause, for ever.

use orchd_model::Code;
use std::process::ExitCode;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exit(u8);

impl Exit {
    /// All that was asked is done.
    pub const DONE: Self = Self(0);
    /// A task or workflow ended unsuccessfully.
    pub const UNSUCCESSFUL: Self = Self(1);
    /// The command line, or a file it names, makes no sense.
    pub const USAGE: Self = Self(2);
    /// No daemon answers.
    pub const UNREACHABLE: Self = Self(3);
    /// What was named does not exist.
    pub const NOT_FOUND: Self = Self(4);
    /// The daemon refused.
    pub const REFUSED: Self = Self(5);
    /// What was waited for did not come in time.
    pub const TIMED_OUT: Self = Self(6);
    /// The caller may not do this.
    pub const NOT_PERMITTED: Self = Self(7);
    /// The command may not be run, as shells say it (`run` only).
    pub const NOT_EXECUTABLE: Self = Self(126);
    /// The command does not exist, as shells say it (`run` only).
    pub const NO_COMMAND: Self = Self(127);
    /// Interrupted by Ctrl-C.
    pub const INTERRUPTED: Self = Self(130);

    /// The exit code of a command, passed on.
    #[must_use]
    pub fn of_command(code: i32) -> Self {
        // wait(2) has no other codes; anything else would be a bug of the worker and must not look like 0.
        Self(u8::try_from(code).unwrap_or(u8::MAX))
    }

    /// A command that a signal ended.
    #[must_use]
    pub fn of_signal(signal: i32) -> Self {
        Self(u8::try_from(128 + signal).unwrap_or(u8::MAX))
    }

    /// What a refusal of the daemon exits with.
    #[must_use]
    pub fn of_code(code: Code) -> Self {
        match code {
            Code::NotFound | Code::UnknownDependency => Self::NOT_FOUND,
            Code::NotPermitted => Self::NOT_PERMITTED,
            Code::TimedOut => Self::TIMED_OUT,
            Code::Malformed
            | Code::UnknownField
            | Code::Unsupported
            | Code::TooLarge
            | Code::SelfDependency
            | Code::Cycle
            | Code::Unsatisfiable
            | Code::NotConfigured
            | Code::Conflict
            | Code::WrongState
            | Code::StaleToken
            | Code::Busy
            | Code::ShuttingDown
            | Code::StoreFailed => Self::REFUSED,
        }
    }

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self.0
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_documented_exit_code() {
        for code in Code::ALL {
            let expected = match code.as_str() {
                "not_found" | "unknown_dependency" => 4,
                "not_permitted" => 7,
                "timed_out" => 6,
                _ => 5,
            };
            assert_eq!(Exit::of_code(code).code(), expected, "{code}");
        }
    }

    #[test]
    fn commands_pass_their_code_on_and_signals_count_from_128() {
        assert_eq!(Exit::of_command(7).code(), 7);
        assert_eq!(Exit::of_command(-1).code(), 255);
        assert_eq!(Exit::of_signal(9).code(), 137);
    }
}
