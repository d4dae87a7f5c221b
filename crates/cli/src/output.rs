//! Standard output: what cannot be written there says so, as it is no task that has failed.

use std::io::{self, Write};

/// Writes to standard output.
pub(crate) fn write(bytes: &[u8]) -> io::Result<()> {
    io::stdout().lock().write_all(bytes).map_err(failed)
}

/// Writes to standard output, to the last byte: what is written may end in the middle of a line.
pub(crate) fn write_now(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(failed)
}

/// The same error, with the place where it happened.
pub(crate) fn failed(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
}
